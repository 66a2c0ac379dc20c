/* snapshot.c - all that one control plane may see, at one version, in snapshot order.
 *
 * One read transaction. Realms by number, then consumers by (scope number, id), each with its keys
 * by id. Records go out as they are stored. The header's counts come from the counters of each
 * scope.
 */
#include "control/repo/lmdb/snapshot.h"

#include "control/repo/entity.h"
#include "control/repo/errors.h"
#include "control/repo/lmdb/load.h"
#include "control/repo/lmdb/names.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/state.h"
#include "control/repo/lmdb/store.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/lmdb/view.h"
#include "control/repo/scopes.h"
#include "control/repo/view.h"
#include "store/record.h"

struct snapshot {
    struct lmdb_view view;
    const struct lmdb_txn *txn; /* the view's */
    const struct repo_snapshot_sink *sink;
    struct repo_scopes scopes;
};

/* ---- header ---- */

static int sink_error(int code, struct error *err)
{
    return code == 0
               ? 0
               : error_set(err, code, "the snapshot could not be written: %s", error_text(code));
}

static int send_header(struct snapshot *snapshot, const struct uuid *control_plane_id,
                       struct error *err)
{
    struct snapshot_header header = {.control_plane_id = *control_plane_id,
                                     .realms = snapshot->scopes.count - 1};
    struct lmdb_state state;
    int rc = lmdb_state_read(snapshot->txn, &state, err);

    for (size_t i = 0; rc == 0 && i < snapshot->scopes.count; i++) {
        struct repo_counts counts;

        rc = lmdb_counts_get(snapshot->txn, &snapshot->scopes.items[i].id, &counts, err);
        header.consumers += counts.consumers;
        header.keys += counts.keys;
    }
    if (rc != 0)
        return rc;
    header.cursor.epoch = snapshot->txn->repo->epoch;
    header.cursor.version = state.version;
    header.time_ms = state.time_ms;
    return sink_error(snapshot->sink->header(snapshot->sink->context, &header), err);
}

/* ---- records ---- */

static int send_record(struct snapshot *snapshot, enum snapshot_kind kind, uint32_t number,
                       const struct repo_record *stored, struct error *err)
{
    const struct snapshot_record record = {
        .kind = kind, .scope = number, .bytes = stored->bytes, .size = stored->size};

    return sink_error(snapshot->sink->record(snapshot->sink->context, &record), err);
}

static int send_realms(struct snapshot *snapshot, struct error *err)
{
    int rc = 0;

    for (size_t i = 1; rc == 0 && i < snapshot->scopes.count; i++) {
        const struct repo_numbered_scope *scope = &snapshot->scopes.items[i];
        struct repo_realm_row row;

        rc = lmdb_realm_load(snapshot->txn, &scope->id.id, "realmId", &row, err);
        if (rc == 0)
            rc = send_record(snapshot, SNAPSHOT_REALM, scope->number, &row.record, err);
    }
    return rc;
}

/* Where the walk over a scope's consumers is, and the one over its keys beside it: both tables are
 * in the order of the consumers, so neither is ever searched. */
struct visit {
    struct snapshot *snapshot;
    const struct repo_numbered_scope *scope;
    MDB_cursor *keys;
    MDB_val key;
    MDB_val value;
    bool at_end;
};

static int next_key(struct visit *visit, MDB_cursor_op op, struct error *err)
{
    int rc = lmdb_cursor_get(visit->keys, &visit->key, &visit->value, op, err);

    visit->at_end = rc == E_NOT_FOUND;
    return visit->at_end ? 0 : rc;
}

static int send_key(struct visit *visit, struct error *err)
{
    struct repo_key_row row;
    struct repo_record record;
    int rc = lmdb_key_row_read(&visit->value, &row, err);

    if (rc == 0)
        rc = lmdb_key_record(visit->snapshot->txn, &visit->scope->id, &row, &record, err);
    if (rc == 0)
        rc = send_record(visit->snapshot, SNAPSHOT_KEY, visit->scope->number, &record, err);
    return rc == 0 ? next_key(visit, MDB_NEXT, err) : rc;
}

/* A key that no consumer of the walk takes stops the rest: then the header's count is missed. */
static int send_keys_of(struct visit *visit, const struct uuid *consumer_id, struct error *err)
{
    const struct lmdb_rowkey keys = lmdb_rowkey_keys(&visit->scope->id, consumer_id);
    int rc = 0;

    while (rc == 0 && !visit->at_end && lmdb_has_prefix(&visit->key, &keys))
        rc = send_key(visit, err);
    return rc;
}

static int visit_consumer(void *context, MDB_cursor *cursor, const MDB_val *key,
                          const MDB_val *value, struct error *err)
{
    struct visit *visit = context;
    struct repo_consumer_row row;
    struct record_consumer view;
    int rc = lmdb_consumer_row_read(value, &row, err);

    (void)cursor;
    (void)key;
    if (rc != 0)
        return rc;
    if (!record_view_consumer(row.record.bytes, row.record.size, &view))
        return repo_corrupt("a consumer's record is wrong", err);
    rc = send_record(visit->snapshot, SNAPSHOT_CONSUMER, visit->scope->number, &row.record, err);
    return rc == 0 ? send_keys_of(visit, &view.id, err) : rc;
}

static int send_scope(struct visit *visit, struct error *err)
{
    const struct lmdb_rowkey prefix = lmdb_rowkey_scope(&visit->scope->id);
    int rc;

    visit->key = (MDB_val){prefix.size, (void *)(uintptr_t)prefix.bytes};
    rc = next_key(visit, MDB_SET_RANGE, err);
    return rc == 0 ? lmdb_walk(visit->snapshot->txn, TABLE_CONSUMERS, &prefix, visit_consumer,
                               visit, err)
                   : rc;
}

static int send_consumers(struct snapshot *snapshot, struct error *err)
{
    struct visit visit = {.snapshot = snapshot};
    int rc = lmdb_cursor_open(snapshot->txn, TABLE_KEYS, &visit.keys, err);

    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < snapshot->scopes.count; i++) {
        visit.scope = &snapshot->scopes.items[i];
        rc = send_scope(&visit, err);
    }
    mdb_cursor_close(visit.keys);
    return rc;
}

/* ---- the operation ---- */

static int send_all(struct snapshot *snapshot, const struct uuid *control_plane_id,
                    struct error *err)
{
    int rc = repo_scopes_visible(&snapshot->view.base, control_plane_id, &snapshot->scopes, err);

    if (rc == 0)
        rc = send_header(snapshot, control_plane_id, err);
    if (rc == 0)
        rc = send_realms(snapshot, err);
    return rc == 0 ? send_consumers(snapshot, err) : rc;
}

int lmdb_snapshot(struct repo *repo, const struct uuid *control_plane_id,
                  const struct repo_snapshot_sink *sink, struct error *err)
{
    struct snapshot snapshot = {.sink = sink};
    int rc = lmdb_view_init(&snapshot.view, lmdb_repo(repo), err);

    if (rc != 0)
        return rc;
    snapshot.txn = &snapshot.view.txn;
    rc = send_all(&snapshot, control_plane_id, err);
    repo_scopes_finish(&snapshot.scopes);
    lmdb_view_finish(&snapshot.view);
    return rc;
}

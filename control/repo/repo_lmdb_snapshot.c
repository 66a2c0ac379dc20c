/* repo_lmdb_snapshot.c - all that one control plane may see, at one version, in snapshot order.
 *
 * One read transaction. Realms by number, then consumers by (scope number, id), each with its keys
 * by id. Records go out as they are stored. The header's counts come from the counters of each
 * scope.
 */
#include "control/repo/repo_lmdb.h"

#include <stdlib.h>

struct scope {
    struct repo_scope id;
    uint32_t number;
};

struct snapshot {
    const struct repo_txn *txn;
    const struct repo_snapshot_sink *sink;
    char control_plane[UUID_TEXT_SIZE];
    struct scope *scopes; /* owned; by number, the control plane's own first */
    size_t n_scopes;
    size_t capacity;
};

/* ---- which scopes ---- */

static int add_scope(struct snapshot *snapshot, const struct repo_scope *id, uint32_t number,
                     struct error *err)
{
    if (snapshot->n_scopes == snapshot->capacity) {
        size_t wanted = snapshot->capacity == 0 ? 16 : snapshot->capacity * 2;
        struct scope *grown = realloc(snapshot->scopes, wanted * sizeof(*grown));

        if (grown == NULL)
            return repo_no_memory(err);
        snapshot->scopes = grown;
        snapshot->capacity = wanted;
    }
    snapshot->scopes[snapshot->n_scopes++] = (struct scope){.id = *id, .number = number};
    return 0;
}

static int visit_realm(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                       struct error *err)
{
    struct snapshot *snapshot = context;
    struct repo_scope id = {.kind = REPO_SCOPE_REALM};
    struct repo_realm_row row;
    struct record_realm view;
    int rc = repo_realm_row_read(value, &row, err);

    (void)cursor;
    (void)key;
    if (rc != 0 || !repo_visible_to(&row.visibility, snapshot->control_plane))
        return rc;
    if (!record_view_realm(row.record.mv_data, row.record.mv_size, &view))
        return repo_corrupt("a realm's record is wrong", err);
    id.id = view.id;
    return add_scope(snapshot, &id, view.number, err);
}

static int compare_scopes(const void *a, const void *b)
{
    const struct scope *x = a;
    const struct scope *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

static int find_scopes(struct snapshot *snapshot, const struct uuid *control_plane_id,
                       struct error *err)
{
    const struct repo_scope own = {.kind = REPO_SCOPE_CP, .id = *control_plane_id};
    static const struct repo_bytes everything;
    int rc = add_scope(snapshot, &own, MODEL_SCOPE_CP, err);

    if (rc == 0)
        rc = repo_walk(snapshot->txn, TABLE_REALMS, &everything, visit_realm, snapshot, err);
    if (rc == 0)
        qsort(snapshot->scopes, snapshot->n_scopes, sizeof(*snapshot->scopes), compare_scopes);
    return rc;
}

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
                                     .realms = snapshot->n_scopes - 1};
    struct repo_state state;
    int rc = repo_state_read(snapshot->txn, &state, err);

    for (size_t i = 0; rc == 0 && i < snapshot->n_scopes; i++) {
        struct repo_counts counts;

        rc = repo_counts_get(snapshot->txn, &snapshot->scopes[i].id, &counts, err);
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
                       const MDB_val *bytes, struct error *err)
{
    const struct snapshot_record record = {
        .kind = kind, .scope = number, .bytes = bytes->mv_data, .size = bytes->mv_size};

    return sink_error(snapshot->sink->record(snapshot->sink->context, &record), err);
}

static int send_realms(struct snapshot *snapshot, struct error *err)
{
    int rc = 0;

    for (size_t i = 1; rc == 0 && i < snapshot->n_scopes; i++) {
        const struct scope *scope = &snapshot->scopes[i];
        struct repo_realm_row row;

        rc = repo_realm_load(snapshot->txn, &scope->id.id, "realmId", &row, err);
        if (rc == 0)
            rc = send_record(snapshot, SNAPSHOT_REALM, scope->number, &row.record, err);
    }
    return rc;
}

/* Where the walk over consumers and their keys is. */
struct visit {
    struct snapshot *snapshot;
    const struct scope *scope;
};

static int visit_key(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                     struct error *err)
{
    const struct visit *visit = context;
    struct repo_key_row row;
    MDB_val record;
    int rc = repo_key_row_read(value, &row, err);

    (void)cursor;
    (void)key;
    if (rc == 0)
        rc = repo_key_record(visit->snapshot->txn, &visit->scope->id, &row, &record, err);
    return rc == 0 ? send_record(visit->snapshot, SNAPSHOT_KEY, visit->scope->number, &record, err)
                   : rc;
}

static int visit_consumer(void *context, MDB_cursor *cursor, const MDB_val *key,
                          const MDB_val *value, struct error *err)
{
    const struct visit *visit = context;
    struct repo_consumer_row row;
    struct record_consumer view;
    struct repo_bytes keys;
    int rc = repo_consumer_row_read(value, &row, err);

    (void)cursor;
    (void)key;
    if (rc != 0)
        return rc;
    if (!record_view_consumer(row.record.mv_data, row.record.mv_size, &view))
        return repo_corrupt("a consumer's record is wrong", err);
    rc = send_record(visit->snapshot, SNAPSHOT_CONSUMER, visit->scope->number, &row.record, err);
    if (rc != 0)
        return rc;
    keys = repo_keys_of(&visit->scope->id, &view.id);
    return repo_walk(visit->snapshot->txn, TABLE_KEYS, &keys, visit_key, context, err);
}

static int send_consumers(struct snapshot *snapshot, struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < snapshot->n_scopes; i++) {
        const struct repo_bytes prefix = repo_key_scope(&snapshot->scopes[i].id);
        struct visit visit = {.snapshot = snapshot, .scope = &snapshot->scopes[i]};

        rc = repo_walk(snapshot->txn, TABLE_CONSUMERS, &prefix, visit_consumer, &visit, err);
    }
    return rc;
}

/* ---- the operation ---- */

static int send_all(struct snapshot *snapshot, const struct uuid *control_plane_id,
                    struct error *err)
{
    int rc = find_scopes(snapshot, control_plane_id, err);

    if (rc == 0)
        rc = send_header(snapshot, control_plane_id, err);
    if (rc == 0)
        rc = send_realms(snapshot, err);
    return rc == 0 ? send_consumers(snapshot, err) : rc;
}

int repo_snapshot(struct repo *repo, const struct uuid *control_plane_id,
                  const struct repo_snapshot_sink *sink, struct error *err)
{
    struct snapshot snapshot = {.sink = sink};
    struct repo_txn txn;
    int rc = repo_read_begin(repo_lmdb(repo), &txn, err);

    if (rc != 0)
        return rc;
    snapshot.txn = &txn;
    uuid_format(control_plane_id, snapshot.control_plane);
    rc = send_all(&snapshot, control_plane_id, err);
    free(snapshot.scopes);
    repo_read_end(&txn);
    return rc;
}

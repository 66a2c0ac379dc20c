/* repo_lmdb_snapshot.c - all that one control plane may see, at one version, in snapshot order.
 *
 * One read transaction. Realms by number, consumers by (scope number, id), then keys by digest: the
 * scopes' secrets are ordered ranges, which a heap of cursors merges. Records go out as they are
 * stored. The header's counts come from the counters of each scope.
 */
#include "control/repo/repo_lmdb.h"

#include <stdlib.h>
#include <string.h>

struct scope {
    struct repo_scope id;
    uint32_t number;
    MDB_cursor *cursor; /* on its next secret while keys are merged */
    MDB_val key;
    MDB_val record;
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

/* ---- realms and consumers ---- */

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

struct consumers {
    struct snapshot *snapshot;
    uint32_t number;
};

static int visit_consumer(void *context, MDB_cursor *cursor, const MDB_val *key,
                          const MDB_val *value, struct error *err)
{
    const struct consumers *consumers = context;
    struct repo_consumer_row row;
    int rc = repo_consumer_row_read(value, &row, err);

    (void)cursor;
    (void)key;
    return rc == 0 ? send_record(consumers->snapshot, SNAPSHOT_CONSUMER, consumers->number,
                                 &row.record, err)
                   : rc;
}

static int send_consumers(struct snapshot *snapshot, struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < snapshot->n_scopes; i++) {
        const struct repo_bytes prefix = repo_key_scope(&snapshot->scopes[i].id);
        struct consumers consumers = {.snapshot = snapshot, .number = snapshot->scopes[i].number};

        rc = repo_walk(snapshot->txn, TABLE_CONSUMERS, &prefix, visit_consumer, &consumers, err);
    }
    return rc;
}

/* ---- keys: the merge ---- */

/* A binary heap of scopes; the least (digest, number) is at the top. */
struct heap {
    struct scope **scopes;
    size_t count;
};

static bool before(const struct scope *a, const struct scope *b)
{
    const uint8_t *x = (const uint8_t *)a->key.mv_data + REPO_SCOPE_BYTES;
    const uint8_t *y = (const uint8_t *)b->key.mv_data + REPO_SCOPE_BYTES;
    int order = memcmp(x, y, DIGEST_BYTES);

    return order != 0 ? order < 0 : a->number < b->number;
}

static void sink_down(struct heap *heap, size_t at)
{
    while (2 * at + 1 < heap->count) {
        size_t child = 2 * at + 1;
        struct scope *moved = heap->scopes[at];

        if (child + 1 < heap->count && before(heap->scopes[child + 1], heap->scopes[child]))
            child++;
        if (!before(heap->scopes[child], moved))
            return;
        heap->scopes[at] = heap->scopes[child];
        heap->scopes[child] = moved;
        at = child;
    }
}

/* To the scope's next secret; E_NOT_FOUND when it has no more. */
static int advance(struct scope *scope, MDB_cursor_op op, struct error *err)
{
    const struct repo_bytes prefix = repo_key_scope(&scope->id);
    int rc = repo_cursor_get(scope->cursor, &scope->key, &scope->record, op, err);

    if (rc != 0)
        return rc;
    if (!repo_has_prefix(&scope->key, &prefix))
        return E_NOT_FOUND;
    return scope->key.mv_size == REPO_SCOPE_BYTES + DIGEST_BYTES
               ? 0
               : repo_corrupt("a secret's row has a wrong name", err);
}

static int heap_fill(struct snapshot *snapshot, struct heap *heap, struct error *err)
{
    for (size_t i = 0; i < snapshot->n_scopes; i++) {
        struct scope *scope = &snapshot->scopes[i];
        struct repo_bytes prefix = repo_key_scope(&scope->id);
        int rc = repo_cursor_open(snapshot->txn, TABLE_SECRETS, &scope->cursor, err);

        if (rc != 0)
            return rc;
        scope->key = (MDB_val){.mv_size = prefix.size, .mv_data = prefix.bytes};
        rc = advance(scope, MDB_SET_RANGE, err);
        if (rc == 0)
            heap->scopes[heap->count++] = scope;
        else if (rc != E_NOT_FOUND)
            return rc;
    }
    for (size_t i = heap->count / 2; i-- > 0;)
        sink_down(heap, i);
    return 0;
}

static int merge(struct snapshot *snapshot, struct heap *heap, struct error *err)
{
    while (heap->count > 0) {
        struct scope *top = heap->scopes[0];
        int rc = send_record(snapshot, SNAPSHOT_KEY, top->number, &top->record, err);

        if (rc == 0)
            rc = advance(top, MDB_NEXT, err);
        if (rc == E_NOT_FOUND)
            heap->scopes[0] = heap->scopes[--heap->count];
        else if (rc != 0)
            return rc;
        sink_down(heap, 0);
    }
    return 0;
}

static int send_keys(struct snapshot *snapshot, struct error *err)
{
    struct heap heap = {.scopes = calloc(snapshot->n_scopes, sizeof(struct scope *))};
    int rc;

    if (heap.scopes == NULL)
        return repo_no_memory(err);
    rc = heap_fill(snapshot, &heap, err);
    if (rc == 0)
        rc = merge(snapshot, &heap, err);
    for (size_t i = 0; i < snapshot->n_scopes; i++) {
        if (snapshot->scopes[i].cursor != NULL)
            mdb_cursor_close(snapshot->scopes[i].cursor);
    }
    free(heap.scopes);
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
    if (rc == 0)
        rc = send_consumers(snapshot, err);
    return rc == 0 ? send_keys(snapshot, err) : rc;
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

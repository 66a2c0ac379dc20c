/* source_guard.c - what a load would take away: the consumers of each scope before and after it.
 *
 * Realms are recognised by their UUID: another control plane gives the same number to another
 * realm. Both sides are counted by walking the consumers' tables, which takes a second for ten
 * million, and is done only for a load that does not continue the history of what serves.
 */
#include <stdlib.h>
#include <string.h>

#include "store/source_load.h"

struct scope_count {
    struct uuid realm_id; /* nil: the control plane's own consumers */
    uint64_t consumers;
};

struct scope_counts {
    struct scope_count *items; /* owned */
    size_t count;
    size_t capacity;
};

static int source_guard_find_realm(const struct tables *tables, uint32_t scope, struct uuid *ret,
                                   struct error *err)
{
    struct record_realm realm;
    MDB_val record;
    int rc;

    *ret = (struct uuid){{0}};
    if (scope == MODEL_SCOPE_CP)
        return 0;
    rc = tables_get(tables, TABLE_REALMS, env_val(&scope, sizeof(scope)), &record, err);
    if (rc != 0 || !record_view_realm(record.mv_data, record.mv_size, &realm))
        return error_set(err, E_CORRUPT, "scope %u has consumers, but no realm", scope);
    *ret = realm.id;
    return 0;
}

static int add_scope(struct scope_counts *counts, const struct tables *tables, uint32_t scope,
                     struct error *err)
{
    if (counts->count == counts->capacity) {
        size_t capacity = counts->capacity > 0 ? counts->capacity * 2 : 16;
        struct scope_count *grown = reallocarray(counts->items, capacity, sizeof(*grown));

        if (grown == NULL)
            return error_set(err, E_NO_MEMORY, NULL);
        counts->items = grown;
        counts->capacity = capacity;
    }
    counts->items[counts->count].consumers = 0;
    return source_guard_find_realm(tables, scope, &counts->items[counts->count++].realm_id, err);
}

static int source_guard_compare(const void *a, const void *b)
{
    return uuid_compare(&((const struct scope_count *)a)->realm_id,
                        &((const struct scope_count *)b)->realm_id);
}

static int source_guard_walk(const struct tables *tables, MDB_cursor *cursor,
                             struct scope_counts *ret, struct error *err)
{
    uint32_t scope = 0;
    MDB_val key;
    MDB_val value;
    int rc = 0;
    int mdb = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);

    for (; mdb == 0 && rc == 0; mdb = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size != LAYOUT_CONSUMER_KEY_BYTES)
            continue; /* a key's row */
        if (ret->count == 0 || layout_key_scope(key.mv_data) != scope) {
            scope = layout_key_scope(key.mv_data);
            rc = add_scope(ret, tables, scope, err);
        }
        if (rc == 0)
            ret->items[ret->count - 1].consumers++;
    }
    if (rc == 0 && mdb != MDB_NOTFOUND)
        rc = env_error(err, mdb, "count the consumers");
    return rc;
}

static int count_scopes(const struct tables *tables, struct scope_counts *ret, struct error *err)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(tables->txn, tables->env->tables[TABLE_CONSUMERS], &cursor);

    if (rc != 0)
        return env_error(err, rc, "count the consumers");
    rc = source_guard_walk(tables, cursor, ret, err);
    mdb_cursor_close(cursor);
    if (rc == 0 && ret->count > 0)
        qsort(ret->items, ret->count, sizeof(*ret->items), source_guard_compare);
    return rc;
}

/* What cannot be read cannot be compared: an operator decides. */
static int count_serving(struct source *source, struct scope_counts *ret, struct error *err)
{
    struct tables tables = {.env = &source->live.env};
    int rc = mdb_txn_begin(tables.env->mdb, NULL, MDB_RDONLY, &tables.txn);

    if (rc != 0)
        return env_error(err, rc, "begin a transaction");
    rc = tables_watch(&tables, &source->live.env, &source->trees, false, err);
    if (rc == 0)
        rc = trees_check_table(&source->trees, TABLE_CONSUMERS, err);
    if (rc == 0)
        rc = count_scopes(&tables, ret, err);
    mdb_txn_abort(tables.txn);
    if (rc != E_CORRUPT)
        return rc;
    err->code = E_REFUSED;
    return error_context(err, "what serves cannot be compared with the snapshot");
}

/* The greater share, without overflow for any number of consumers there can be. */
static bool loses_more(const struct source_loss *a, const struct source_loss *b)
{
    return (double)(a->before - a->after) * (double)b->before >
           (double)(b->before - b->after) * (double)a->before;
}

static struct source_loss greatest_loss(const struct scope_counts *before,
                                        const struct scope_counts *after)
{
    struct source_loss greatest = {.before = 1, .after = 1};

    for (size_t i = 0; i < before->count; i++) {
        const struct scope_count *was = &before->items[i];
        const struct scope_count *is = after->count > 0
                                           ? bsearch(was, after->items, after->count,
                                                     sizeof(*after->items), source_guard_compare)
                                           : NULL;
        const struct source_loss loss = {was->realm_id, was->consumers,
                                         is != NULL ? is->consumers : 0};

        if (loss.after < loss.before && loses_more(&loss, &greatest))
            greatest = loss;
    }
    return greatest;
}

int source_load_loss(struct source *source, struct source_loss *ret, struct error *err)
{
    struct scope_counts before = {.items = NULL};
    struct scope_counts after = {.items = NULL};
    int rc;

    if (source->load == NULL)
        return error_set(err, E_INVALID, "no load is under way");
    rc = load_finish_records(source->load, err);
    if (rc == 0 && source->live.number != 0)
        rc = count_serving(source, &before, err);
    if (rc == 0)
        rc = count_scopes(&source->load->tables, &after, err);
    if (rc == 0)
        *ret = greatest_loss(&before, &after);
    free(before.items);
    free(after.items);
    return rc;
}

/* view.c - the embedded store's side of control/repo/view.h: a read transaction and gets in it.
 *
 * Loans last as long as the transaction, which is longer than the interface asks for.
 */
#include "control/repo/lmdb/view.h"

#include <stdlib.h>

#include "control/repo/entity.h"
#include "control/repo/errors.h"
#include "control/repo/lmdb/scope_hashes.h"
#include "control/repo/lmdb/load.h"
#include "control/repo/lmdb/log.h"
#include "control/repo/lmdb/names.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/state.h"
#include "control/repo/lmdb/store.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/view.h"
#include "control/repo/visibility.h"
#include "store/record.h"

static const struct lmdb_txn *txn_of(struct repo_view *view)
{
    return &((struct lmdb_view *)view)->txn;
}

static int head(struct repo_view *view, struct repo_view_head *ret, struct error *err)
{
    const struct lmdb_txn *txn = txn_of(view);
    struct lmdb_state state;
    int rc = lmdb_state_read(txn, &state, err);

    if (rc == 0)
        *ret = (struct repo_view_head){.epoch = txn->repo->epoch,
                                       .version = state.version,
                                       .oldest = state.oldest,
                                       .time_ms = state.time_ms};
    return rc;
}

static int log_of(struct repo_view *view, uint64_t from, uint64_t to, repo_touch_fn visit,
                  void *context, struct error *err)
{
    return lmdb_log_walk(txn_of(view), from, to, visit, context, err);
}

/* ---- realms ---- */

static int describe(const struct repo_realm_row *row, struct repo_realm_view *ret,
                    struct error *err)
{
    struct record_realm view;

    if (!record_view_realm(row->record.bytes, row->record.size, &view))
        return repo_corrupt("a realm's record is wrong", err);
    *ret = (struct repo_realm_view){
        .id = view.id, .number = view.number, .visibility = row->visibility, .record = row->record};
    return 0;
}

struct realm_walk {
    char control_plane[UUID_TEXT_SIZE];
    repo_realm_fn visit;
    void *context;
};

static int visit_realm(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                       struct error *err)
{
    const struct realm_walk *walk = context;
    struct repo_realm_view realm;
    struct repo_realm_row row;
    int rc = lmdb_realm_row_read(value, &row, err);

    (void)cursor;
    (void)key;
    if (rc != 0 || !repo_visible_to(&row.visibility, walk->control_plane))
        return rc;
    rc = describe(&row, &realm, err);
    return rc == 0 ? walk->visit(walk->context, &realm, err) : rc;
}

static int realms(struct repo_view *view, const struct uuid *control_plane_id, repo_realm_fn visit,
                  void *context, struct error *err)
{
    static const struct lmdb_rowkey everything;
    struct realm_walk walk = {.visit = visit, .context = context};

    (void)uuid_format(control_plane_id, walk.control_plane);
    return lmdb_walk(txn_of(view), TABLE_REALMS, &everything, visit_realm, &walk, err);
}

static int realm(struct repo_view *view, const struct uuid *id, struct repo_realm_view *ret,
                 struct error *err)
{
    struct repo_realm_row row;
    int rc = lmdb_realm_load(txn_of(view), id, "realmId", &row, err);

    return rc == 0 ? describe(&row, ret, err) : rc;
}

/* ---- consumers and keys ---- */

static struct lmdb_rowkey consumer_name(const struct repo_path *path)
{
    return lmdb_rowkey_consumer(&path->scope, &path->consumer_id);
}

static struct lmdb_rowkey key_name(const struct repo_path *path)
{
    return lmdb_rowkey_with_id(lmdb_rowkey_keys(&path->scope, &path->consumer_id), &path->key_id);
}

static int exist(struct repo_view *view, const struct repo_path *paths, size_t count, bool *ret,
                 struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        const bool is_key = !uuid_is_nil(&paths[i].key_id);
        const struct lmdb_rowkey name = is_key ? key_name(&paths[i]) : consumer_name(&paths[i]);
        MDB_val value;
        int rc = lmdb_get(txn_of(view), is_key ? TABLE_KEYS : TABLE_CONSUMERS, &name, &value, err);

        if (rc != 0 && rc != E_NOT_FOUND)
            return rc;
        ret[i] = rc == 0;
    }
    return 0;
}

/* A walk over the rows of one path. */
struct record_walk {
    const struct lmdb_txn *txn;
    const struct repo_scope *scope;
    const struct set_hash_marks *buckets;
    size_t at;
    repo_record_fn visit;
    void *context;
};

/* By the consumer whose UUID follows the scope in the row's key. */
static bool is_selected(const struct record_walk *walk, const MDB_val *key)
{
    struct lmdb_reader reader = lmdb_reader_on(key);
    struct uuid consumer_id;

    if (walk->buckets == NULL)
        return true;
    (void)lmdb_read_scope(&reader);
    consumer_id = lmdb_read_uuid(&reader);
    return reader.ok && set_hash_marked(walk->buckets, set_hash_bucket(&consumer_id));
}

static int visit_consumer(void *context, MDB_cursor *cursor, const MDB_val *key,
                          const MDB_val *value, struct error *err)
{
    const struct record_walk *walk = context;
    struct repo_consumer_row row;
    int rc;

    (void)cursor;
    if (!is_selected(walk, key))
        return 0;
    rc = lmdb_consumer_row_read(value, &row, err);
    return rc == 0 ? walk->visit(walk->context, walk->at, &row.record, err) : rc;
}

static int visit_key(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                     struct error *err)
{
    const struct record_walk *walk = context;
    struct repo_record record;
    struct repo_key_row row;
    int rc;

    (void)cursor;
    if (!is_selected(walk, key))
        return 0;
    rc = lmdb_key_row_read(value, &row, err);
    if (rc == 0)
        rc = lmdb_key_record(walk->txn, walk->scope, &row, &record, err);
    return rc == 0 ? walk->visit(walk->context, walk->at, &record, err) : rc;
}

/* One row, when it is there. */
static int visit_row(struct record_walk *walk, enum lmdb_table table,
                     const struct lmdb_rowkey *name, lmdb_visit_fn visit, struct error *err)
{
    const MDB_val key = {name->size, (void *)(uintptr_t)name->bytes};
    MDB_val value;
    int rc = lmdb_get(walk->txn, table, name, &value, err);

    if (rc == E_NOT_FOUND)
        return 0;
    return rc == 0 ? visit(walk, NULL, &key, &value, err) : rc;
}

static int select_records(struct repo_view *view, const struct repo_selection *selection,
                          struct record_walk *walk, bool keys, struct error *err)
{
    const enum lmdb_table table = keys ? TABLE_KEYS : TABLE_CONSUMERS;
    const lmdb_visit_fn visit = keys ? visit_key : visit_consumer;
    int rc = 0;

    walk->txn = txn_of(view);
    walk->buckets = selection->buckets;
    for (size_t i = 0; rc == 0 && i < selection->count; i++) {
        const struct repo_path *path = &selection->paths[i];
        const bool all_consumers = uuid_is_nil(&path->consumer_id);
        const bool all_keys = keys && !all_consumers && uuid_is_nil(&path->key_id);
        struct lmdb_rowkey name = lmdb_rowkey_scope(&path->scope);

        if (!all_consumers)
            name = keys && !all_keys ? key_name(path) : consumer_name(path);
        walk->at = i;
        walk->scope = &path->scope;
        rc = all_consumers || all_keys ? lmdb_walk(walk->txn, table, &name, visit, walk, err)
                                       : visit_row(walk, table, &name, visit, err);
    }
    return rc;
}

static int consumers(struct repo_view *view, const struct repo_selection *selection,
                     repo_record_fn visit, void *context, struct error *err)
{
    struct record_walk walk = {.visit = visit, .context = context};

    return select_records(view, selection, &walk, false, err);
}

static int keys(struct repo_view *view, const struct repo_selection *selection,
                repo_record_fn visit, void *context, struct error *err)
{
    struct record_walk walk = {.visit = visit, .context = context};

    return select_records(view, selection, &walk, true, err);
}

/* ---- counts and digests ---- */

static int counts(struct repo_view *view, const struct repo_numbered_scope *scopes, size_t count,
                  struct repo_counts *ret, struct error *err)
{
    *ret = (struct repo_counts){0};
    for (size_t i = 0; i < count; i++) {
        struct repo_counts one;
        int rc = lmdb_counts_get(txn_of(view), &scopes[i].id, &one, err);

        if (rc != 0)
            return rc;
        ret->consumers += one.consumers;
        ret->keys += one.keys;
    }
    return 0;
}

static int digests(struct repo_view *view, const struct repo_numbered_scope *scopes, size_t count,
                   struct set_hash *ret, struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = lmdb_scope_hash_get(txn_of(view), &scopes[i].id, &ret[i], err);
    return rc;
}

static int buckets(struct repo_view *view, const struct repo_scope *scope,
                   struct set_hash ret[SET_HASH_BUCKETS], struct error *err)
{
    return lmdb_scope_hash_buckets(txn_of(view), scope, ret, err);
}

/* ---- life ---- */

static void close_view(struct repo_view *view)
{
    lmdb_view_finish((struct lmdb_view *)view);
    free(view);
}

int lmdb_view_init(struct lmdb_view *view, struct lmdb_repo *repo, struct error *err)
{
    static const struct repo_view_ops ops = {
        .close = close_view,
        .head = head,
        .log = log_of,
        .realms = realms,
        .realm = realm,
        .exist = exist,
        .consumers = consumers,
        .keys = keys,
        .counts = counts,
        .digests = digests,
        .buckets = buckets,
    };

    view->base.ops = &ops;
    return lmdb_txn_open(repo, &view->txn, err);
}

void lmdb_view_finish(struct lmdb_view *view)
{
    lmdb_txn_close(&view->txn);
}

int lmdb_view_open(struct repo *repo, struct repo_view **ret, struct error *err)
{
    struct lmdb_view *view = malloc(sizeof(*view));
    int rc;

    if (view == NULL)
        return repo_no_memory(err);
    rc = lmdb_view_init(view, lmdb_repo(repo), err);
    if (rc == 0)
        *ret = &view->base;
    else
        free(view);
    return rc;
}

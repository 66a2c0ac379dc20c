/* consumers.c - consumers of realms and of control planes.
 *
 * Rows by (scope, id); usernames and custom ids unique within the scope. Moving takes the row, its
 * names and its keys to another realm in one transaction: a feed that sees both realms gets one
 * step, a feed that sees one of them gets an appearance or a disappearance.
 */
#include "control/repo/lmdb/consumers.h"

#include <assert.h>
#include <string.h>

#include "control/repo/entity.h"
#include "control/repo/errors.h"
#include "control/repo/lmdb/scope_hashes.h"
#include "control/repo/lmdb/keys.h"
#include "control/repo/lmdb/load.h"
#include "control/repo/lmdb/log.h"
#include "control/repo/lmdb/names.h"
#include "control/repo/lmdb/page.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/lmdb/writer.h"
#include "control/repo/scopes.h"
#include "control/repo/view.h"
#include "store/record.h"

/* ---- reading ---- */

static int consumer_decode(const struct lmdb_page_row *row, struct arena *arena, void *ret,
                           struct error *err)
{
    struct repo_consumer_row consumer;
    int rc = lmdb_consumer_row_read(row->value, &consumer, err);

    return rc == 0 ? repo_consumer_export(&consumer, arena, ret, err) : rc;
}

static bool matches(const struct model_consumer *consumer, const struct repo_consumer_query *filter)
{
    if (filter->username != NULL &&
        (consumer->username == NULL || strcmp(consumer->username, filter->username) != 0))
        return false;
    return filter->custom_id == NULL ||
           (consumer->custom_id != NULL && strcmp(consumer->custom_id, filter->custom_id) == 0);
}

/* The one consumer that a filter can name. E_NOT_FOUND when there is none. */
static int find_filtered(const struct lmdb_txn *txn, const struct repo_scope *scope,
                         const struct repo_consumer_query *filter, struct repo_consumer_row *ret,
                         struct uuid *ret_id, struct error *err)
{
    const bool by_username = filter->username != NULL;
    const struct lmdb_name name = {.namespace = lmdb_rowkey_scope(scope),
                                   .kind = by_username ? LMDB_NAME_USERNAME : LMDB_NAME_CUSTOM_ID,
                                   .text = by_username ? filter->username : filter->custom_id};
    struct repo_labels labels;
    struct model_consumer consumer;
    int rc = lmdb_name_find(txn, &name, ret_id, err);

    if (rc == 0)
        rc = lmdb_consumer_load(txn, scope, ret_id, ret, err);
    if (rc == 0)
        rc = repo_consumer_borrow(&ret->record, &labels, &consumer, err);
    if (rc == 0 && !matches(&consumer, filter))
        return E_NOT_FOUND;
    return rc;
}

/* A filter selects one row at most; the page's bounds still hold for it. */
static int list_filtered(const struct lmdb_txn *txn, const struct repo_scope *scope,
                         const struct repo_consumer_query *filter, struct arena *arena,
                         struct lmdb_page_result *ret, struct error *err)
{
    const struct repo_page *page = &filter->page;
    struct repo_consumer_row row;
    struct uuid id;
    int rc = find_filtered(txn, scope, filter, &row, &id, err);

    *ret = (struct lmdb_page_result){.count = 0};
    ret->rows = arena_array(arena, 1, sizeof(struct repo_consumer));
    if (ret->rows == NULL)
        return repo_no_memory(err);
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    ret->info.more_before = page->has_after && uuid_compare(&id, &page->after) <= 0;
    ret->info.more_after = page->has_before && uuid_compare(&id, &page->before) >= 0;
    if (ret->info.more_before || ret->info.more_after)
        return 0;
    ret->count = 1;
    return repo_consumer_export(&row, arena, ret->rows, err);
}

static int list_page(const struct lmdb_txn *txn, const struct repo_scope *scope,
                     const struct repo_page *page, struct arena *arena,
                     struct lmdb_page_result *ret, struct error *err)
{
    const struct lmdb_page_query query = {.table = TABLE_CONSUMERS,
                                          .prefix = lmdb_rowkey_scope(scope),
                                          .row_size = sizeof(struct repo_consumer),
                                          .decode = consumer_decode};

    return lmdb_page_read(txn, &query, page, arena, ret, err);
}

int lmdb_consumer_list(const struct repo_call *call, const struct repo_scope *scope,
                       const struct repo_consumer_query *query, struct repo_consumer_rows *ret)
{
    const bool filtered = query->username != NULL || query->custom_id != NULL;
    struct lmdb_page_result result;
    struct lmdb_txn txn;
    int rc = lmdb_txn_open_for(call, &txn);

    if (rc != 0)
        return rc;
    rc = lmdb_scope_check(&txn, scope, LMDB_READ, call->err);
    if (rc == 0)
        rc = filtered ? list_filtered(&txn, scope, query, call->arena, &result, call->err)
                      : list_page(&txn, scope, &query->page, call->arena, &result, call->err);
    lmdb_txn_close(&txn);
    if (rc == 0)
        *ret = (struct repo_consumer_rows){result.rows, result.count, result.info};
    return rc;
}

int lmdb_consumer_get(const struct repo_call *call, const struct repo_path *path,
                      struct repo_consumer *ret)
{
    struct repo_consumer_row row;
    struct lmdb_txn txn;
    int rc = lmdb_txn_open_for(call, &txn);

    if (rc != 0)
        return rc;
    rc = lmdb_scope_check(&txn, &path->scope, LMDB_READ, call->err);
    if (rc == 0)
        rc = lmdb_consumer_load(&txn, &path->scope, &path->consumer_id, &row, call->err);
    if (rc == 0)
        rc = repo_consumer_export(&row, call->arena, ret, call->err);
    lmdb_txn_close(&txn);
    return rc;
}

/* ---- writing ---- */

static int consumer_put_row(const struct lmdb_txn *txn, const struct repo_scope *scope,
                            const struct uuid *id, const struct repo_consumer_row *row,
                            struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_consumer(scope, id);
    struct buffer out;
    int rc;

    buffer_init(&out, LMDB_ROW_MAX_BYTES);
    rc = repo_encode_error(lmdb_consumer_row_append(row, &out), "the consumer", err);
    if (rc == 0)
        rc = lmdb_put(txn, TABLE_CONSUMERS, &key, out.data, out.size, err);
    buffer_finish(&out);
    return rc;
}

static int consumer_touch(struct lmdb_write *write, enum repo_touch_kind kind,
                          const struct repo_scope *scope, const struct uuid *id, struct error *err)
{
    const struct repo_touch entry = {.kind = kind, .scope = *scope, .consumer_id = *id};

    return lmdb_log_touch(write, &entry, err);
}

static struct lmdb_name username_of(const struct repo_scope *scope,
                                    const struct model_consumer *consumer)
{
    return (struct lmdb_name){.namespace = lmdb_rowkey_scope(scope),
                              .kind = LMDB_NAME_USERNAME,
                              .text = consumer->username};
}

static struct lmdb_name custom_id_of(const struct repo_scope *scope,
                                     const struct model_consumer *consumer)
{
    return (struct lmdb_name){.namespace = lmdb_rowkey_scope(scope),
                              .kind = LMDB_NAME_CUSTOM_ID,
                              .text = consumer->custom_id};
}

static int take_names(const struct lmdb_txn *txn, const struct repo_scope *scope,
                      const struct model_consumer *consumer, struct error *err)
{
    const struct lmdb_name username = username_of(scope, consumer);
    const struct lmdb_name custom_id = custom_id_of(scope, consumer);
    int rc = lmdb_name_take(txn, &username, &consumer->id, err);

    return rc == 0 ? lmdb_name_take(txn, &custom_id, &consumer->id, err) : rc;
}

static int release_names(const struct lmdb_txn *txn, const struct repo_scope *scope,
                         const struct model_consumer *consumer, struct error *err)
{
    const struct lmdb_name username = username_of(scope, consumer);
    const struct lmdb_name custom_id = custom_id_of(scope, consumer);
    int rc = lmdb_name_release(txn, &username, err);

    return rc == 0 ? lmdb_name_release(txn, &custom_id, err) : rc;
}

static int change_names(const struct lmdb_txn *txn, const struct repo_scope *scope,
                        const struct model_consumer *before, const struct model_consumer *after,
                        struct error *err)
{
    const struct lmdb_name username = username_of(scope, before);
    const struct lmdb_name custom_id = custom_id_of(scope, before);
    int rc = lmdb_name_change(txn, &username, after->username, &before->id, err);

    return rc == 0 ? lmdb_name_change(txn, &custom_id, after->custom_id, &before->id, err) : rc;
}

/* `former` or `next` may be NULL. */
static int consumer_change_digest(const struct lmdb_txn *txn, const struct repo_scope *scope,
                                  const struct uuid *id, const struct repo_record *former,
                                  const struct repo_record *next, struct error *err)
{
    return lmdb_scope_hash_change(txn, scope, set_hash_bucket(id), former, next, err);
}

struct consumer_args {
    const struct repo_call *call;
    const struct repo_scope *scope;
    const struct uuid *id;                     /* consumer_update, delete */
    const struct repo_consumer *input;         /* create */
    const struct repo_consumer_change *change; /* update */
    struct repo_consumer *ret;
};

/* Encodes into *record, which the row borrows. */
static int encode(const struct repo_consumer *consumer, struct buffer *record,
                  struct repo_consumer_row *ret, struct error *err)
{
    int rc =
        repo_encode_error(record_encode_consumer(&consumer->model, record), "the consumer", err);

    if (rc == 0)
        *ret = (struct repo_consumer_row){.created_ms = consumer->created_ms,
                                          .updated_ms = consumer->updated_ms,
                                          .record = {record->data, record->size}};
    return rc;
}

static int create_encoded(struct lmdb_write *write, const struct consumer_args *args,
                          const struct repo_consumer *consumer, const struct repo_consumer_row *row,
                          struct error *err)
{
    const struct uuid *id = &consumer->model.id;
    int rc = take_names(&write->txn, args->scope, &consumer->model, err);

    if (rc == 0)
        rc = consumer_change_digest(&write->txn, args->scope, id, NULL, &row->record, err);
    if (rc == 0)
        rc = consumer_put_row(&write->txn, args->scope, id, row, err);
    if (rc == 0)
        rc = lmdb_counts_add(&write->txn, args->scope, 1, 0, err);
    if (rc == 0)
        rc = consumer_touch(write, REPO_TOUCH_CONSUMER, args->scope, id, err);
    return rc == 0 ? repo_consumer_export(row, args->call->arena, args->ret, err) : rc;
}

static int consumer_create(struct lmdb_write *write, void *context, struct error *err)
{
    const struct consumer_args *args = context;
    struct repo_consumer consumer = *args->input;
    struct repo_consumer_row row;
    struct buffer record;
    int rc = lmdb_scope_check(&write->txn, args->scope, LMDB_CHANGE, err);

    if (rc == 0)
        rc = lmdb_new_id(write, &consumer.model.id, err);
    if (rc != 0)
        return rc;
    consumer.created_ms = consumer.updated_ms = write->now_ms;
    buffer_init(&record, RECORD_MAX_BYTES);
    rc = encode(&consumer, &record, &row, err);
    if (rc == 0)
        rc = create_encoded(write, args, &consumer, &row, err);
    buffer_finish(&record);
    return rc;
}

int lmdb_consumer_create(const struct repo_call *call, const struct repo_scope *scope,
                         const struct repo_consumer *input, struct repo_consumer *ret)
{
    struct consumer_args args = {.call = call, .scope = scope, .input = input, .ret = ret};

    return lmdb_write(call, consumer_create, &args, LMDB_WRITE_SHARED);
}

/* ---- updating ---- */

static void consumer_merge(struct model_consumer *consumer, const struct model_consumer *input,
                           unsigned set)
{
    if (set & REPO_SET_USERNAME)
        consumer->username = input->username;
    if (set & REPO_SET_CUSTOM_ID)
        consumer->custom_id = input->custom_id;
    if (set & REPO_SET_TYPE)
        consumer->type = input->type;
    if (set & REPO_SET_TAGS)
        consumer->tags = input->tags;
    if (set & REPO_SET_GROUPS)
        consumer->groups = input->groups;
}

/* `before` is a copy: what is borrowed from the transaction, as `old_record` is, ends with its
 * first write. */
static int update_merged(struct lmdb_write *write, const struct consumer_args *args,
                         const struct repo_consumer *before, const struct repo_record *old_record,
                         struct buffer *record, struct error *err)
{
    struct repo_consumer after = *before;
    struct repo_consumer_row row;
    int rc;

    consumer_merge(&after.model, &args->change->to.model, args->change->set);
    after.updated_ms = write->now_ms;
    rc = encode(&after, record, &row, err);
    if (rc == 0 && !repo_same_record(old_record, &row.record))
        rc = consumer_touch(write, REPO_TOUCH_CONSUMER, args->scope, args->id, err);
    if (rc == 0)
        rc = consumer_change_digest(&write->txn, args->scope, args->id, old_record, &row.record,
                                    err);
    if (rc == 0)
        rc = change_names(&write->txn, args->scope, &before->model, &after.model, err);
    if (rc == 0)
        rc = consumer_put_row(&write->txn, args->scope, args->id, &row, err);
    return rc == 0 ? repo_consumer_export(&row, args->call->arena, args->ret, err) : rc;
}

static int consumer_update(struct lmdb_write *write, void *context, struct error *err)
{
    const struct consumer_args *args = context;
    struct repo_consumer_row row;
    struct repo_consumer before;
    struct buffer record;
    struct arena scratch;
    int rc = lmdb_scope_check(&write->txn, args->scope, LMDB_CHANGE, err);

    if (rc == 0)
        rc = lmdb_consumer_load(&write->txn, args->scope, args->id, &row, err);
    if (rc != 0)
        return rc;
    arena_init(&scratch, LMDB_ROW_MAX_BYTES * (size_t)2);
    buffer_init(&record, RECORD_MAX_BYTES);
    rc = repo_consumer_export(&row, &scratch, &before, err);
    if (rc == 0)
        rc = update_merged(write, args, &before, &row.record, &record, err);
    buffer_finish(&record);
    arena_finish(&scratch);
    return rc;
}

int lmdb_consumer_update(const struct repo_call *call, const struct repo_path *path,
                         const struct repo_consumer_change *change, struct repo_consumer *ret)
{
    struct consumer_args args = {.call = call,
                                 .scope = &path->scope,
                                 .id = &path->consumer_id,
                                 .change = change,
                                 .ret = ret};

    return lmdb_write(call, consumer_update, &args, LMDB_WRITE_SHARED);
}

/* ---- deleting ---- */

/* Loads a consumer that is to go, as a copy in `scratch` that outlives writes. */
static int load_copy(const struct lmdb_txn *txn, const struct repo_scope *scope,
                     const struct uuid *id, struct arena *scratch, struct repo_consumer *ret,
                     struct error *err)
{
    struct repo_consumer_row row;
    int rc = lmdb_scope_check(txn, scope, LMDB_CHANGE, err);

    if (rc == 0)
        rc = lmdb_consumer_load(txn, scope, id, &row, err);
    return rc == 0 ? repo_consumer_export(&row, scratch, ret, err) : rc;
}

/* Takes the row away, and its record out of the digest. */
static int remove_row(const struct lmdb_txn *txn, const struct repo_scope *scope,
                      const struct uuid *id, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_consumer(scope, id);
    struct repo_consumer_row row;
    int rc = lmdb_consumer_load(txn, scope, id, &row, err);

    if (rc == 0)
        rc = consumer_change_digest(txn, scope, id, &row.record, NULL, err);
    return rc == 0 ? lmdb_del(txn, TABLE_CONSUMERS, &key, err) : rc;
}

static int remove_loaded(struct lmdb_write *write, const struct consumer_args *args,
                         const struct repo_consumer *consumer, struct error *err)
{
    size_t n_keys = 0;
    int rc = lmdb_keys_delete(&write->txn, args->scope, args->id, &n_keys, err);

    if (rc == 0)
        rc = release_names(&write->txn, args->scope, &consumer->model, err);
    if (rc == 0)
        rc = remove_row(&write->txn, args->scope, args->id, err);
    if (rc == 0)
        rc = lmdb_counts_add(&write->txn, args->scope, -1, -(int64_t)n_keys, err);
    return rc == 0 ? consumer_touch(write, REPO_TOUCH_CONSUMER, args->scope, args->id, err) : rc;
}

static int delete_consumer(struct lmdb_write *write, void *context, struct error *err)
{
    const struct consumer_args *args = context;
    struct repo_consumer consumer;
    struct arena scratch;
    int rc;

    arena_init(&scratch, LMDB_ROW_MAX_BYTES * (size_t)2);
    rc = load_copy(&write->txn, args->scope, args->id, &scratch, &consumer, err);
    if (rc == 0)
        rc = remove_loaded(write, args, &consumer, err);
    arena_finish(&scratch);
    return rc;
}

int lmdb_consumer_delete(const struct repo_call *call, const struct repo_path *path)
{
    struct consumer_args args = {.call = call, .scope = &path->scope, .id = &path->consumer_id};

    return lmdb_write(call, delete_consumer, &args, LMDB_WRITE_SHARED);
}

/* ---- moving ---- */

struct move_args {
    struct repo_scope from;
    struct repo_scope to;
    const struct uuid *id;
};

/* Names and row; the record has no scope inside and is the same in the target. */
static int move_row(struct lmdb_write *write, const struct move_args *args,
                    const struct repo_consumer *consumer, struct error *err)
{
    struct repo_consumer_row row;
    struct buffer record;
    int rc;

    buffer_init(&record, RECORD_MAX_BYTES);
    rc = encode(consumer, &record, &row, err);
    if (rc == 0)
        rc = take_names(&write->txn, &args->to, &consumer->model, err);
    if (rc == 0)
        rc = release_names(&write->txn, &args->from, &consumer->model, err);
    if (rc == 0)
        rc = consumer_change_digest(&write->txn, &args->to, args->id, NULL, &row.record, err);
    if (rc == 0)
        rc = consumer_put_row(&write->txn, &args->to, args->id, &row, err);
    if (rc == 0)
        rc = remove_row(&write->txn, &args->from, args->id, err);
    buffer_finish(&record);
    return rc;
}

static int move_loaded(struct lmdb_write *write, const struct move_args *args,
                       const struct repo_consumer *consumer, struct error *err)
{
    size_t n_keys = 0;
    int rc = move_row(write, args, consumer, err);

    if (rc == 0)
        rc = lmdb_keys_move(&write->txn, &args->from, &args->to, args->id, &n_keys, err);
    if (rc == 0)
        rc = lmdb_counts_add(&write->txn, &args->from, -1, -(int64_t)n_keys, err);
    if (rc == 0)
        rc = lmdb_counts_add(&write->txn, &args->to, 1, (int64_t)n_keys, err);
    if (rc == 0)
        rc = consumer_touch(write, REPO_TOUCH_CONSUMER, &args->from, args->id, err);
    return rc == 0 ? consumer_touch(write, REPO_TOUCH_CONSUMER_WHOLE, &args->to, args->id, err)
                   : rc;
}

/* A realm that the actor may not see is none to it. */
static int check_target(const struct lmdb_txn *txn, const struct uuid *id, struct error *err)
{
    struct repo_realm_row row;
    int rc = lmdb_realm_load_to_change(txn, id, "target_realm_id", &row, err);

    return rc == E_NOT_FOUND ? error_set_field(err, E_MISSING_REFERENCE, "target_realm_id",
                                               "target_realm_id names no realm; create it first")
                             : rc;
}

static int move(struct lmdb_write *write, void *context, struct error *err)
{
    const struct move_args *args = context;
    struct repo_consumer consumer;
    struct arena scratch;
    int rc;

    arena_init(&scratch, LMDB_ROW_MAX_BYTES * (size_t)2);
    rc = load_copy(&write->txn, &args->from, args->id, &scratch, &consumer, err);
    if (rc == 0)
        rc = check_target(&write->txn, &args->to.id, err);
    if (rc == 0 && !repo_scope_equal(&args->from, &args->to)) {
        consumer.updated_ms = write->now_ms;
        rc = move_loaded(write, args, &consumer, err);
    }
    arena_finish(&scratch);
    return rc;
}

int lmdb_consumer_move(const struct repo_call *call, const struct repo_path *path,
                       const struct uuid *target_realm_id)
{
    struct move_args args = {.from = path->scope,
                             .to = {.kind = REPO_SCOPE_REALM, .id = *target_realm_id},
                             .id = &path->consumer_id};

    assert(path->scope.kind == REPO_SCOPE_REALM);
    return lmdb_write(call, move, &args, LMDB_WRITE_SHARED);
}

/* keys.c - API keys: by consumer, and by digest.
 *
 * "secrets" holds a scope's key records by their digests, for authentication; "keys" lists a
 * consumer's keys, with the record once more: a snapshot reads all of them in this order, and
 * following ten million digests took longer than all the rest of it. A record never changes. The
 * secret itself is hashed on arrival and stored nowhere.
 *
 * Failure modes: a secret that another key of the scope has is E_CONFLICT; messages never hold a
 * secret or a digest.
 */
#include "control/repo/lmdb/keys.h"

#include <string.h>

#include "control/repo/entity.h"
#include "control/repo/errors.h"
#include "control/repo/lmdb/scope_hashes.h"
#include "control/repo/lmdb/load.h"
#include "control/repo/lmdb/log.h"
#include "control/repo/lmdb/names.h"
#include "control/repo/lmdb/page.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/store.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/lmdb/writer.h"
#include "control/repo/view.h"
#include "store/record.h"

/* The path above a key exists, and the actor may read or change what is there. */
static int check_path(const struct lmdb_txn *txn, const struct repo_path *path,
                      enum lmdb_access access, struct error *err)
{
    struct repo_consumer_row consumer;
    int rc = lmdb_scope_check(txn, &path->scope, access, err);

    return rc == 0 ? lmdb_consumer_load(txn, &path->scope, &path->consumer_id, &consumer, err) : rc;
}

/* ---- reading ---- */

/* `context`: the scope. */
static int key_decode(const struct lmdb_page_row *row, struct arena *arena, void *ret,
                      struct error *err)
{
    const struct repo_scope *scope = row->context;
    struct repo_key_row key;
    struct repo_record record;
    int rc = lmdb_key_row_read(row->value, &key, err);

    if (rc == 0)
        rc = lmdb_key_record(row->txn, scope, &key, &record, err);
    return rc == 0 ? repo_key_export(&key, &record, arena, ret, err) : rc;
}

int lmdb_key_list(const struct repo_call *call, const struct repo_path *path,
                  const struct repo_page *page, struct repo_key_rows *ret)
{
    struct repo_scope context = path->scope;
    const struct lmdb_page_query query = {.table = TABLE_KEYS,
                                          .prefix = lmdb_rowkey_keys(&context, &path->consumer_id),
                                          .row_size = sizeof(struct repo_key),
                                          .decode = key_decode,
                                          .context = &context};
    struct lmdb_page_result result;
    struct lmdb_txn txn;
    int rc = lmdb_txn_open_for(call, &txn);

    if (rc != 0)
        return rc;
    rc = check_path(&txn, path, LMDB_READ, call->err);
    if (rc == 0)
        rc = lmdb_page_read(&txn, &query, page, call->arena, &result, call->err);
    lmdb_txn_close(&txn);
    if (rc == 0)
        *ret = (struct repo_key_rows){result.rows, result.count, result.info};
    return rc;
}

int lmdb_key_get(const struct repo_call *call, const struct repo_path *path, struct repo_key *ret)
{
    struct repo_key_row row = {.created_ms = 0};
    struct lmdb_txn txn;
    struct repo_record record;
    int rc = lmdb_txn_open_for(call, &txn);

    if (rc != 0)
        return rc;
    rc = check_path(&txn, path, LMDB_READ, call->err);
    if (rc == 0)
        rc = lmdb_key_load(&txn, path, &row, call->err);
    if (rc == 0)
        rc = lmdb_key_record(&txn, &path->scope, &row, &record, call->err);
    if (rc == 0)
        rc = repo_key_export(&row, &record, call->arena, ret, call->err);
    lmdb_txn_close(&txn);
    return rc;
}

/* ---- authentication ---- */

/* One question: in which scope, by which digest. */
struct login {
    const struct repo_call *call;
    const struct repo_scope *scope;
    uint8_t digest[DIGEST_BYTES];
    int64_t now_ms;
};

static int nobody(struct error *err)
{
    return error_set_field(err, E_NOT_FOUND, "secret", "this secret belongs to nobody here");
}

static int find_owner(const struct lmdb_txn *txn, const struct login *login,
                      const struct repo_record *record, struct repo_owner *ret)
{
    struct repo_path path = {.scope = *login->scope};
    struct error *err = login->call->err;
    struct repo_consumer_row consumer;
    struct repo_key_row row;
    struct record_key view;
    int rc;

    if (!record_view_key(record->bytes, record->size, &view))
        return repo_corrupt("a key's record is wrong", err);
    if (model_is_expired(view.expires_at_ms, login->now_ms))
        return nobody(err);
    path.consumer_id = view.consumer_id;
    path.key_id = view.id;
    rc = lmdb_key_load(txn, &path, &row, err);
    if (rc == 0)
        rc = lmdb_consumer_load(txn, login->scope, &view.consumer_id, &consumer, err);
    if (rc == E_NOT_FOUND)
        return repo_corrupt("a secret has no owner", err);
    if (rc == 0)
        rc = repo_key_export(&row, record, login->call->arena, &ret->key, err);
    return rc == 0 ? repo_consumer_export(&consumer, login->call->arena, &ret->consumer, err) : rc;
}

static int log_in(const struct lmdb_txn *txn, const struct login *login, struct repo_owner *ret)
{
    struct lmdb_rowkey key = lmdb_rowkey_secret(login->scope, login->digest);
    struct error *err = login->call->err;
    struct repo_record record;
    MDB_val value;
    int rc = lmdb_scope_check(txn, login->scope, LMDB_READ, err);

    if (rc != 0)
        return rc;
    rc = lmdb_get(txn, TABLE_SECRETS, &key, &value, err);
    if (rc == E_NOT_FOUND)
        return nobody(err);
    if (rc != 0)
        return rc;
    record = (struct repo_record){value.mv_data, value.mv_size};
    return find_owner(txn, login, &record, ret);
}

int lmdb_authenticate(const struct repo_call *call, const struct repo_scope *scope,
                      const struct repo_login *given, struct repo_owner *ret)
{
    struct login login = {.call = call, .scope = scope, .now_ms = given->now_ms};
    struct lmdb_txn txn;
    int rc;

    if (given->secret_size > MODEL_SECRET_MAX)
        return nobody(call->err);
    digest_compute(&lmdb_repo(call->repo)->digest_key, given->secret, given->secret_size,
                   login.digest);
    rc = lmdb_txn_open_for(call, &txn);
    if (rc != 0)
        return rc;
    rc = log_in(&txn, &login, ret);
    lmdb_txn_close(&txn);
    return rc;
}

/* ---- creating ---- */

struct key_args {
    const struct repo_call *call;
    struct repo_path path;        /* create: the key's id comes with it */
    const struct repo_key *input; /* create */
    uint8_t digest[DIGEST_BYTES]; /* create */
    struct repo_key *ret;
};

static int key_touch(struct lmdb_write *write, const struct repo_path *path, struct error *err)
{
    const struct repo_touch entry = {.kind = REPO_TOUCH_KEY,
                                     .scope = path->scope,
                                     .consumer_id = path->consumer_id,
                                     .key_id = path->key_id};

    return lmdb_log_touch(write, &entry, err);
}

static int put_record(const struct lmdb_txn *txn, const struct repo_scope *scope,
                      const uint8_t digest[DIGEST_BYTES], const struct repo_record *record,
                      struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_secret(scope, digest);
    int rc = lmdb_put_new(txn, TABLE_SECRETS, &key, record->bytes, record->size, err);

    if (rc != E_CONFLICT)
        return rc;
    return error_set_field(err, rc, "secret",
                           "the secret is in use by another key of this scope; choose another one");
}

static int key_put_row(const struct lmdb_txn *txn, const struct lmdb_rowkey *key,
                       const struct repo_key_row *row, struct error *err)
{
    struct buffer out;
    int rc;

    buffer_init(&out, LMDB_ROW_MAX_BYTES);
    rc = repo_encode_error(lmdb_key_row_append(row, &out), "the key", err);
    if (rc == 0)
        rc = lmdb_put(txn, TABLE_KEYS, key, out.data, out.size, err);
    buffer_finish(&out);
    return rc;
}

static int store(struct lmdb_write *write, const struct key_args *args,
                 const struct repo_key_row *row, struct error *err)
{
    const struct repo_path *path = &args->path;
    const struct lmdb_rowkey key = lmdb_rowkey_key(path);
    int rc = put_record(&write->txn, &path->scope, row->digest, &row->record, err);

    if (rc == 0)
        rc = lmdb_scope_hash_change(&write->txn, &path->scope, set_hash_bucket(&path->consumer_id),
                                    NULL, &row->record, err);
    if (rc == 0)
        rc = key_put_row(&write->txn, &key, row, err);
    if (rc == 0)
        rc = lmdb_counts_add(&write->txn, &path->scope, 0, 1, err);
    if (rc == 0)
        rc = key_touch(write, path, err);
    return rc == 0 ? repo_key_export(row, &row->record, args->call->arena, args->ret, err) : rc;
}

static int key_create(struct lmdb_write *write, void *context, struct error *err)
{
    struct key_args *args = context;
    struct model_key model = args->input->model;
    struct repo_key_row row = {
        .created_ms = write->now_ms, .updated_ms = write->now_ms, .type = args->input->type};
    struct buffer record;
    int rc = check_path(&write->txn, &args->path, LMDB_CHANGE, err);

    if (rc == 0)
        rc = lmdb_new_id(write, &args->path.key_id, err);
    if (rc != 0)
        return rc;
    model.id = args->path.key_id;
    model.consumer_id = args->path.consumer_id;
    memcpy(model.digest, args->digest, DIGEST_BYTES);
    memcpy(row.digest, args->digest, DIGEST_BYTES);
    buffer_init(&record, RECORD_MAX_BYTES);
    rc = repo_encode_error(record_encode_key(&model, &record), "the key", err);
    if (rc == 0) {
        row.record = (struct repo_record){record.data, record.size};
        rc = store(write, args, &row, err);
    }
    buffer_finish(&record);
    return rc;
}

int lmdb_key_create(const struct repo_call *call, const struct repo_path *path,
                    const struct repo_key_input *input, struct repo_key *ret)
{
    struct key_args args = {.call = call, .path = *path, .input = &input->key, .ret = ret};

    if (input->secret_size == 0 || input->secret_size > MODEL_SECRET_MAX)
        return error_set_field(call->err, E_INVALID, "secret", "a secret has 1 to %d bytes",
                               MODEL_SECRET_MAX);
    digest_compute(&lmdb_repo(call->repo)->digest_key, input->secret, input->secret_size,
                   args.digest);
    return lmdb_write(call, key_create, &args, LMDB_WRITE_SHARED);
}

/* ---- deleting ---- */

static int delete_record(const struct lmdb_txn *txn, const struct repo_scope *scope,
                         const struct uuid *consumer_id, const struct repo_key_row *row,
                         struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_secret(scope, row->digest);
    struct repo_record record;
    int rc = lmdb_key_record(txn, scope, row, &record, err);

    if (rc == 0)
        rc = lmdb_scope_hash_change(txn, scope, set_hash_bucket(consumer_id), &record, NULL, err);
    return rc == 0 ? lmdb_del(txn, TABLE_SECRETS, &key, err) : rc;
}

static int delete_key(struct lmdb_write *write, void *context, struct error *err)
{
    const struct repo_path *path = &((const struct key_args *)context)->path;
    const struct lmdb_rowkey key = lmdb_rowkey_key(path);
    struct repo_key_row row = {.created_ms = 0};
    int rc = check_path(&write->txn, path, LMDB_CHANGE, err);

    if (rc == 0)
        rc = lmdb_key_load(&write->txn, path, &row, err);
    if (rc == 0)
        rc = delete_record(&write->txn, &path->scope, &path->consumer_id, &row, err);
    if (rc == 0)
        rc = lmdb_del(&write->txn, TABLE_KEYS, &key, err);
    if (rc == 0)
        rc = lmdb_counts_add(&write->txn, &path->scope, 0, -1, err);
    return rc == 0 ? key_touch(write, path, err) : rc;
}

int lmdb_key_delete(const struct repo_call *call, const struct repo_path *path)
{
    struct key_args args = {.call = call, .path = *path};

    return lmdb_write(call, delete_key, &args, LMDB_WRITE_SHARED);
}

/* ---- all keys of a consumer ---- */

struct all_keys {
    const struct lmdb_txn *txn;
    const struct repo_scope *from;
    const struct repo_scope *to; /* NULL: deleted */
    const struct uuid *consumer_id;
    size_t count;
};

static int put_moved(const struct all_keys *all, const struct lmdb_rowkey *key,
                     const struct repo_key_row *row, struct error *err)
{
    int rc = put_record(all->txn, all->to, row->digest, &row->record, err);

    if (rc == 0)
        rc = lmdb_scope_hash_change(all->txn, all->to, set_hash_bucket(all->consumer_id), NULL,
                                    &row->record, err);
    return rc == 0 ? key_put_row(all->txn, key, row, err) : rc;
}

/* Writes the key where it goes, from a copy, because a write ends the loan. `name`: the row's name
 * without its scope. */
static int move_key(const struct all_keys *all, const uint8_t name[2 * UUID_BYTES],
                    const struct repo_key_row *row, struct error *err)
{
    const struct lmdb_rowkey key =
        lmdb_rowkey_with(lmdb_rowkey_scope(all->to), name, 2 * (size_t)UUID_BYTES);
    struct repo_key_row moved = *row;
    struct buffer copy;
    struct repo_record record;
    int rc = lmdb_key_record(all->txn, all->from, row, &record, err);

    if (rc != 0)
        return rc;
    buffer_init(&copy, RECORD_MAX_BYTES);
    rc = repo_encode_error(buffer_append(&copy, record.bytes, record.size), "the key", err);
    if (rc == 0) {
        moved.record = (struct repo_record){copy.data, copy.size};
        rc = put_moved(all, &key, &moved, err);
    }
    buffer_finish(&copy);
    return rc;
}

static int take_key(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                    struct error *err)
{
    struct all_keys *all = context;
    uint8_t name[2 * UUID_BYTES];
    struct repo_key_row row;
    int rc;

    if (key->mv_size != LMDB_SCOPE_BYTES + sizeof(name))
        return repo_corrupt("a key's row has a wrong name", err);
    memcpy(name, (const uint8_t *)key->mv_data + LMDB_SCOPE_BYTES, sizeof(name));
    rc = lmdb_key_row_read(value, &row, err);
    if (rc == 0 && all->to != NULL) {
        rc = move_key(all, name, &row, err);
        row.record.size = 0; /* its loan is over: it is found in "secrets" */
    }
    if (rc == 0)
        rc = delete_record(all->txn, all->from, all->consumer_id, &row, err);
    if (rc == 0)
        rc = lmdb_error(mdb_cursor_del(cursor, 0), "to delete a row", err);
    all->count++;
    return rc;
}

int lmdb_keys_delete(const struct lmdb_txn *txn, const struct repo_scope *scope,
                     const struct uuid *consumer_id, size_t *ret_count, struct error *err)
{
    struct all_keys all = {.txn = txn, .from = scope, .consumer_id = consumer_id};
    const struct lmdb_rowkey prefix = lmdb_rowkey_keys(scope, consumer_id);
    int rc = lmdb_walk(txn, TABLE_KEYS, &prefix, take_key, &all, err);

    *ret_count = all.count;
    return rc;
}

int lmdb_keys_move(const struct lmdb_txn *txn, const struct repo_scope *from,
                   const struct repo_scope *to, const struct uuid *consumer_id, size_t *ret_count,
                   struct error *err)
{
    struct all_keys all = {.txn = txn, .from = from, .to = to, .consumer_id = consumer_id};
    const struct lmdb_rowkey prefix = lmdb_rowkey_keys(from, consumer_id);
    int rc = lmdb_walk(txn, TABLE_KEYS, &prefix, take_key, &all, err);

    *ret_count = all.count;
    return rc;
}

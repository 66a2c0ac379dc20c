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
#include "control/repo/lmdb/repo_lmdb.h"

#include <string.h>

struct repo_bytes repo_secret_key(const struct repo_scope *scope,
                                  const uint8_t digest[DIGEST_BYTES])
{
    return repo_key_with(repo_key_scope(scope), digest, DIGEST_BYTES);
}

struct repo_bytes repo_keys_of(const struct repo_scope *scope, const struct uuid *consumer_id)
{
    return repo_key_with_id(repo_key_scope(scope), consumer_id);
}

int repo_key_record(const struct repo_txn *txn, const struct repo_scope *scope,
                    const struct repo_key_row *row, struct repo_record *ret, struct error *err)
{
    struct repo_bytes key;
    MDB_val value;
    int rc;

    if (row->record.size > 0) {
        *ret = row->record;
        return 0;
    }
    key = repo_secret_key(scope, row->digest);
    rc = repo_get(txn, TABLE_SECRETS, &key, &value, err);
    if (rc == 0)
        *ret = (struct repo_record){value.mv_data, value.mv_size};
    return rc == E_NOT_FOUND ? repo_corrupt("a key has no record", err) : rc;
}

static struct repo_bytes key_of(const struct repo_path *path)
{
    return repo_key_with_id(repo_keys_of(&path->scope, &path->consumer_id), &path->key_id);
}

static int load(const struct repo_txn *txn, const struct repo_path *path, struct repo_key_row *ret,
                struct error *err)
{
    struct repo_bytes key = key_of(path);
    MDB_val value;
    int rc = repo_get(txn, TABLE_KEYS, &key, &value, err);

    if (rc == E_NOT_FOUND)
        return repo_not_found("keyId", "key", &path->key_id, err);
    return rc == 0 ? repo_key_row_read(&value, ret, err) : rc;
}

/* The path above a key exists, and the actor may read or change what is there. */
static int check_path(const struct repo_txn *txn, const struct repo_path *path,
                      enum repo_access access, struct error *err)
{
    struct repo_consumer_row consumer;
    int rc = repo_scope_check(txn, &path->scope, access, err);

    return rc == 0 ? repo_consumer_load(txn, &path->scope, &path->consumer_id, &consumer, err) : rc;
}

/* ---- reading ---- */

/* `context`: the scope. */
static int decode(const struct repo_txn *txn, void *context, const struct uuid *id,
                  const MDB_val *value, struct arena *arena, void *ret, struct error *err)
{
    const struct repo_scope *scope = context;
    struct repo_key_row row;
    struct repo_record record;
    int rc = repo_key_row_read(value, &row, err);

    (void)id;
    if (rc == 0)
        rc = repo_key_record(txn, scope, &row, &record, err);
    return rc == 0 ? repo_key_export(&row, &record, arena, ret, err) : rc;
}

int lmdb_key_list(const struct repo_call *call, const struct repo_path *path,
                  const struct repo_page *page, struct repo_key_rows *ret)
{
    struct repo_scope context = path->scope;
    const struct repo_page_query query = {.table = TABLE_KEYS,
                                          .prefix = repo_keys_of(&context, &path->consumer_id),
                                          .row_size = sizeof(struct repo_key),
                                          .decode = decode,
                                          .context = &context};
    struct repo_page_result result;
    struct repo_txn txn;
    int rc = repo_read_begin(call, &txn);

    if (rc != 0)
        return rc;
    rc = check_path(&txn, path, REPO_READ, call->err);
    if (rc == 0)
        rc = repo_page_read(&txn, &query, page, call->arena, &result, call->err);
    repo_read_end(&txn);
    if (rc == 0)
        *ret = (struct repo_key_rows){result.rows, result.count, result.info};
    return rc;
}

int lmdb_key_get(const struct repo_call *call, const struct repo_path *path, struct repo_key *ret)
{
    struct repo_key_row row = {.created_ms = 0};
    struct repo_txn txn;
    struct repo_record record;
    int rc = repo_read_begin(call, &txn);

    if (rc != 0)
        return rc;
    rc = check_path(&txn, path, REPO_READ, call->err);
    if (rc == 0)
        rc = load(&txn, path, &row, call->err);
    if (rc == 0)
        rc = repo_key_record(&txn, &path->scope, &row, &record, call->err);
    if (rc == 0)
        rc = repo_key_export(&row, &record, call->arena, ret, call->err);
    repo_read_end(&txn);
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

static int find_owner(const struct repo_txn *txn, const struct login *login,
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
    if (view.expires_at_ms != 0 && view.expires_at_ms <= login->now_ms)
        return nobody(err);
    path.consumer_id = view.consumer_id;
    path.key_id = view.id;
    rc = load(txn, &path, &row, err);
    if (rc == 0)
        rc = repo_consumer_load(txn, login->scope, &view.consumer_id, &consumer, err);
    if (rc == E_NOT_FOUND)
        return repo_corrupt("a secret has no owner", err);
    if (rc == 0)
        rc = repo_key_export(&row, record, login->call->arena, &ret->key, err);
    return rc == 0 ? repo_consumer_export(&consumer, login->call->arena, &ret->consumer, err) : rc;
}

static int log_in(const struct repo_txn *txn, const struct login *login, struct repo_owner *ret)
{
    struct repo_bytes key = repo_secret_key(login->scope, login->digest);
    struct error *err = login->call->err;
    struct repo_record record;
    MDB_val value;
    int rc = repo_scope_check(txn, login->scope, REPO_READ, err);

    if (rc != 0)
        return rc;
    rc = repo_get(txn, TABLE_SECRETS, &key, &value, err);
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
    struct repo_txn txn;
    int rc;

    if (given->secret_size > MODEL_SECRET_MAX)
        return nobody(call->err);
    digest_compute(&repo_lmdb(call->repo)->digest_key, given->secret, given->secret_size,
                   login.digest);
    rc = repo_read_begin(call, &txn);
    if (rc != 0)
        return rc;
    rc = log_in(&txn, &login, ret);
    repo_read_end(&txn);
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

static int touch(struct repo_write *write, const struct repo_path *path, struct error *err)
{
    const struct repo_touch entry = {.kind = REPO_TOUCH_KEY,
                                     .scope = path->scope,
                                     .consumer_id = path->consumer_id,
                                     .key_id = path->key_id};

    return repo_log_touch(write, &entry, err);
}

static int put_record(const struct repo_txn *txn, const struct repo_scope *scope,
                      const uint8_t digest[DIGEST_BYTES], const struct repo_record *record,
                      struct error *err)
{
    struct repo_bytes key = repo_secret_key(scope, digest);
    MDB_val existing;
    int rc = repo_put_new(txn, TABLE_SECRETS, &key, record->bytes, record->size, &existing, err);

    if (rc != E_CONFLICT)
        return rc;
    return error_set_field(err, rc, "secret",
                           "the secret is in use by another key of this scope; choose another one");
}

static int put_row(const struct repo_txn *txn, const struct repo_bytes *key,
                   const struct repo_key_row *row, struct error *err)
{
    struct buffer out;
    int rc;

    buffer_init(&out, REPO_ROW_MAX_BYTES);
    rc = repo_encode_error(repo_key_row_append(row, &out), "the key", err);
    if (rc == 0)
        rc = repo_put(txn, TABLE_KEYS, key, out.data, out.size, err);
    buffer_finish(&out);
    return rc;
}

static int store(struct repo_write *write, const struct key_args *args,
                 const struct repo_key_row *row, struct error *err)
{
    const struct repo_path *path = &args->path;
    const struct repo_bytes key = key_of(path);
    int rc = put_record(&write->txn, &path->scope, row->digest, &row->record, err);

    if (rc == 0)
        rc = repo_digest_change(&write->txn, &path->scope, set_hash_bucket(&path->consumer_id),
                                NULL, &row->record, err);
    if (rc == 0)
        rc = put_row(&write->txn, &key, row, err);
    if (rc == 0)
        rc = repo_counts_add(&write->txn, &path->scope, 0, 1, err);
    if (rc == 0)
        rc = touch(write, path, err);
    return rc == 0 ? repo_key_export(row, &row->record, args->call->arena, args->ret, err) : rc;
}

static int create(struct repo_write *write, void *context, struct error *err)
{
    struct key_args *args = context;
    struct model_key model = args->input->model;
    struct repo_key_row row = {
        .created_ms = write->now_ms, .updated_ms = write->now_ms, .type = args->input->type};
    struct buffer record;
    int rc = check_path(&write->txn, &args->path, REPO_CHANGE, err);

    if (rc == 0)
        rc = repo_new_id(write, &args->path.key_id, err);
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
    digest_compute(&repo_lmdb(call->repo)->digest_key, input->secret, input->secret_size,
                   args.digest);
    return repo_write(call, create, &args, REPO_WRITE_SHARED);
}

/* ---- deleting ---- */

static int delete_record(const struct repo_txn *txn, const struct repo_scope *scope,
                         const struct uuid *consumer_id, const struct repo_key_row *row,
                         struct error *err)
{
    struct repo_bytes key = repo_secret_key(scope, row->digest);
    struct repo_record record;
    int rc = repo_key_record(txn, scope, row, &record, err);

    if (rc == 0)
        rc = repo_digest_change(txn, scope, set_hash_bucket(consumer_id), &record, NULL, err);
    return rc == 0 ? repo_del(txn, TABLE_SECRETS, &key, err) : rc;
}

static int delete_key(struct repo_write *write, void *context, struct error *err)
{
    const struct repo_path *path = &((const struct key_args *)context)->path;
    const struct repo_bytes key = key_of(path);
    struct repo_key_row row = {.created_ms = 0};
    int rc = check_path(&write->txn, path, REPO_CHANGE, err);

    if (rc == 0)
        rc = load(&write->txn, path, &row, err);
    if (rc == 0)
        rc = delete_record(&write->txn, &path->scope, &path->consumer_id, &row, err);
    if (rc == 0)
        rc = repo_del(&write->txn, TABLE_KEYS, &key, err);
    if (rc == 0)
        rc = repo_counts_add(&write->txn, &path->scope, 0, -1, err);
    return rc == 0 ? touch(write, path, err) : rc;
}

int lmdb_key_delete(const struct repo_call *call, const struct repo_path *path)
{
    struct key_args args = {.call = call, .path = *path};

    return repo_write(call, delete_key, &args, REPO_WRITE_SHARED);
}

/* ---- all keys of a consumer ---- */

struct all_keys {
    const struct repo_txn *txn;
    const struct repo_scope *from;
    const struct repo_scope *to; /* NULL: deleted */
    const struct uuid *consumer_id;
    size_t count;
};

static int put_moved(const struct all_keys *all, const struct repo_bytes *key,
                     const struct repo_key_row *row, struct error *err)
{
    int rc = put_record(all->txn, all->to, row->digest, &row->record, err);

    if (rc == 0)
        rc = repo_digest_change(all->txn, all->to, set_hash_bucket(all->consumer_id), NULL,
                                &row->record, err);
    return rc == 0 ? put_row(all->txn, key, row, err) : rc;
}

/* Writes the key where it goes, from a copy, because a write ends the loan. `name`: the row's name
 * without its scope. */
static int move_key(const struct all_keys *all, const uint8_t name[2 * UUID_BYTES],
                    const struct repo_key_row *row, struct error *err)
{
    const struct repo_bytes key =
        repo_key_with(repo_key_scope(all->to), name, 2 * (size_t)UUID_BYTES);
    struct repo_key_row moved = *row;
    struct buffer copy;
    struct repo_record record;
    int rc = repo_key_record(all->txn, all->from, row, &record, err);

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

    if (key->mv_size != REPO_SCOPE_BYTES + sizeof(name))
        return repo_corrupt("a key's row has a wrong name", err);
    memcpy(name, (const uint8_t *)key->mv_data + REPO_SCOPE_BYTES, sizeof(name));
    rc = repo_key_row_read(value, &row, err);
    if (rc == 0 && all->to != NULL) {
        rc = move_key(all, name, &row, err);
        row.record.size = 0; /* its loan is over: it is found in "secrets" */
    }
    if (rc == 0)
        rc = delete_record(all->txn, all->from, all->consumer_id, &row, err);
    if (rc == 0)
        rc = repo_lmdb_error(mdb_cursor_del(cursor, 0), "to delete a row", err);
    all->count++;
    return rc;
}

int repo_keys_delete(const struct repo_txn *txn, const struct repo_scope *scope,
                     const struct uuid *consumer_id, size_t *ret_count, struct error *err)
{
    struct all_keys all = {.txn = txn, .from = scope, .consumer_id = consumer_id};
    const struct repo_bytes prefix = repo_keys_of(scope, consumer_id);
    int rc = repo_walk(txn, TABLE_KEYS, &prefix, take_key, &all, err);

    *ret_count = all.count;
    return rc;
}

int repo_keys_move(const struct repo_txn *txn, const struct repo_scope *from,
                   const struct repo_scope *to, const struct uuid *consumer_id, size_t *ret_count,
                   struct error *err)
{
    struct all_keys all = {.txn = txn, .from = from, .to = to, .consumer_id = consumer_id};
    const struct repo_bytes prefix = repo_keys_of(from, consumer_id);
    int rc = repo_walk(txn, TABLE_KEYS, &prefix, take_key, &all, err);

    *ret_count = all.count;
    return rc;
}

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
                    const struct repo_key_row *row, MDB_val *ret, struct error *err)
{
    struct repo_bytes key;
    int rc;

    if (row->record.mv_size > 0) {
        *ret = row->record;
        return 0;
    }
    key = repo_secret_key(scope, row->digest);
    rc = repo_get(txn, TABLE_SECRETS, &key, ret, err);
    return rc == E_NOT_FOUND ? repo_corrupt("a key has no record", err) : rc;
}

static int load(const struct repo_txn *txn, const struct repo_scope *scope,
                const struct uuid *consumer_id, const struct uuid *id, struct repo_key_row *ret,
                struct error *err)
{
    struct repo_bytes key = repo_key_with_id(repo_keys_of(scope, consumer_id), id);
    MDB_val value;
    int rc = repo_get(txn, TABLE_KEYS, &key, &value, err);

    if (rc == E_NOT_FOUND)
        return repo_not_found("keyId", "key", id, err);
    return rc == 0 ? repo_key_row_read(&value, ret, err) : rc;
}

/* The path above a key exists. */
static int check_path(const struct repo_txn *txn, const struct repo_scope *scope,
                      const struct uuid *consumer_id, struct error *err)
{
    struct repo_consumer_row consumer;
    int rc = repo_scope_check(txn, scope, err);

    return rc == 0 ? repo_consumer_load(txn, scope, consumer_id, &consumer, err) : rc;
}

/* ---- reading ---- */

/* `context`: the scope. */
static int decode(const struct repo_txn *txn, void *context, const struct uuid *id,
                  const MDB_val *value, struct arena *arena, void *ret, struct error *err)
{
    const struct repo_scope *scope = context;
    struct repo_key_row row;
    MDB_val record;
    int rc = repo_key_row_read(value, &row, err);

    (void)id;
    if (rc == 0)
        rc = repo_key_record(txn, scope, &row, &record, err);
    return rc == 0 ? repo_key_export(&row, &record, arena, ret, err) : rc;
}

int repo_key_list(struct repo *repo, const struct repo_scope *scope, const struct uuid *consumer_id,
                  const struct repo_page *page, struct arena *arena, struct repo_key **ret,
                  size_t *ret_count, struct repo_page_info *ret_info, struct error *err)
{
    struct repo_scope context = *scope;
    const struct repo_page_query query = {.table = TABLE_KEYS,
                                          .prefix = repo_keys_of(scope, consumer_id),
                                          .row_size = sizeof(struct repo_key),
                                          .decode = decode,
                                          .context = &context};
    struct repo_page_result result;
    struct repo_txn txn;
    int rc = repo_read_begin(repo_lmdb(repo), &txn, err);

    if (rc != 0)
        return rc;
    rc = check_path(&txn, scope, consumer_id, err);
    if (rc == 0)
        rc = repo_page_read(&txn, &query, page, arena, &result, err);
    repo_read_end(&txn);
    if (rc != 0)
        return rc;
    *ret = result.rows;
    *ret_count = result.count;
    *ret_info = result.info;
    return 0;
}

int repo_key_get(struct repo *repo, const struct repo_scope *scope, const struct uuid *consumer_id,
                 const struct uuid *id, struct arena *arena, struct repo_key *ret,
                 struct error *err)
{
    struct repo_key_row row = {.created_ms = 0};
    struct repo_txn txn;
    MDB_val record;
    int rc = repo_read_begin(repo_lmdb(repo), &txn, err);

    if (rc != 0)
        return rc;
    rc = check_path(&txn, scope, consumer_id, err);
    if (rc == 0)
        rc = load(&txn, scope, consumer_id, id, &row, err);
    if (rc == 0)
        rc = repo_key_record(&txn, scope, &row, &record, err);
    if (rc == 0)
        rc = repo_key_export(&row, &record, arena, ret, err);
    repo_read_end(&txn);
    return rc;
}

/* ---- authentication ---- */

struct login {
    const struct repo_scope *scope;
    uint8_t digest[DIGEST_BYTES];
    int64_t now_ms;
    struct arena *arena;
};

static int nobody(struct error *err)
{
    return error_set_field(err, E_NOT_FOUND, "secret", "this secret belongs to nobody here");
}

static int expired(const MDB_val *record, int64_t now_ms, struct error *err)
{
    struct record_key view;

    if (!record_view_key(record->mv_data, record->mv_size, &view))
        return repo_corrupt("a key's record is wrong", err);
    return view.expires_at_ms != 0 && view.expires_at_ms <= now_ms ? nobody(err) : 0;
}

static int find_owner(const struct repo_txn *txn, const struct login *login, const MDB_val *record,
                      struct repo_consumer *ret_consumer, struct repo_key *ret_key,
                      struct error *err)
{
    struct repo_consumer_row consumer;
    struct repo_key_row row;
    struct record_key view;
    int rc;

    if (!record_view_key(record->mv_data, record->mv_size, &view))
        return repo_corrupt("a key's record is wrong", err);
    rc = load(txn, login->scope, &view.consumer_id, &view.id, &row, err);
    if (rc == 0)
        rc = repo_consumer_load(txn, login->scope, &view.consumer_id, &consumer, err);
    if (rc == E_NOT_FOUND)
        return repo_corrupt("a secret has no owner", err);
    if (rc == 0)
        rc = repo_key_export(&row, record, login->arena, ret_key, err);
    return rc == 0 ? repo_consumer_export(&consumer, login->arena, ret_consumer, err) : rc;
}

static int log_in(const struct repo_txn *txn, const struct login *login,
                  struct repo_consumer *ret_consumer, struct repo_key *ret_key, struct error *err)
{
    struct repo_bytes key = repo_secret_key(login->scope, login->digest);
    MDB_val record;
    int rc = repo_scope_check(txn, login->scope, err);

    if (rc != 0)
        return rc;
    rc = repo_get(txn, TABLE_SECRETS, &key, &record, err);
    if (rc == E_NOT_FOUND)
        return nobody(err);
    if (rc == 0)
        rc = expired(&record, login->now_ms, err);
    return rc == 0 ? find_owner(txn, login, &record, ret_consumer, ret_key, err) : rc;
}

int repo_authenticate(struct repo *repo, const struct repo_scope *scope, const void *secret,
                      size_t secret_size, int64_t now_ms, struct arena *arena,
                      struct repo_consumer *ret_consumer, struct repo_key *ret_key,
                      struct error *err)
{
    struct login login = {.scope = scope, .now_ms = now_ms, .arena = arena};
    struct repo_txn txn;
    int rc = repo_read_begin(repo_lmdb(repo), &txn, err);

    if (rc != 0)
        return rc;
    if (secret_size > MODEL_SECRET_MAX) {
        rc = nobody(err);
    } else {
        digest_compute(&repo_lmdb(repo)->digest_key, secret, secret_size, login.digest);
        rc = log_in(&txn, &login, ret_consumer, ret_key, err);
    }
    repo_read_end(&txn);
    return rc;
}

/* ---- creating ---- */

struct key_args {
    const struct repo_scope *scope;
    const struct uuid *consumer_id;
    const struct uuid *id;        /* delete */
    const struct repo_key *input; /* create */
    uint8_t digest[DIGEST_BYTES]; /* create */
    struct arena *arena;
    struct repo_key *ret;
};

static int touch(struct repo_write *write, const struct key_args *args, const struct uuid *id,
                 struct error *err)
{
    const struct repo_touch entry = {.kind = REPO_TOUCH_KEY,
                                     .scope = *args->scope,
                                     .consumer_id = *args->consumer_id,
                                     .key_id = *id};

    return repo_log_touch(write, &entry, err);
}

static int put_record(const struct repo_txn *txn, const struct repo_scope *scope,
                      const uint8_t digest[DIGEST_BYTES], const MDB_val *record, struct error *err)
{
    struct repo_bytes key = repo_secret_key(scope, digest);
    MDB_val existing;
    int rc =
        repo_put_new(txn, TABLE_SECRETS, &key, record->mv_data, record->mv_size, &existing, err);

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
                 const struct repo_key_row *row, const struct uuid *id, const MDB_val *record,
                 struct error *err)
{
    struct repo_bytes key = repo_key_with_id(repo_keys_of(args->scope, args->consumer_id), id);
    int rc = put_record(&write->txn, args->scope, row->digest, record, err);

    if (rc == 0)
        rc = repo_digest_change(&write->txn, args->scope, set_hash_bucket(args->consumer_id), NULL,
                                record, err);
    if (rc == 0)
        rc = put_row(&write->txn, &key, row, err);
    if (rc == 0)
        rc = repo_counts_add(&write->txn, args->scope, 0, 1, err);
    if (rc == 0)
        rc = touch(write, args, id, err);
    return rc == 0 ? repo_key_export(row, record, args->arena, args->ret, err) : rc;
}

static int create(struct repo_write *write, void *context, struct error *err)
{
    const struct key_args *args = context;
    struct model_key model = args->input->model;
    struct repo_key_row row = {
        .created_ms = write->now_ms, .updated_ms = write->now_ms, .type = args->input->type};
    struct buffer record;
    int rc = check_path(&write->txn, args->scope, args->consumer_id, err);

    if (rc == 0)
        rc = repo_new_id(write, &model.id, err);
    if (rc != 0)
        return rc;
    model.consumer_id = *args->consumer_id;
    memcpy(model.digest, args->digest, DIGEST_BYTES);
    memcpy(row.digest, args->digest, DIGEST_BYTES);
    buffer_init(&record, RECORD_MAX_BYTES);
    rc = repo_encode_error(record_encode_key(&model, &record), "the key", err);
    if (rc == 0) {
        row.record = (MDB_val){.mv_size = record.size, .mv_data = record.data};
        rc = store(write, args, &row, &model.id, &row.record, err);
    }
    buffer_finish(&record);
    return rc;
}

int repo_key_create(struct repo *repo, const struct repo_scope *scope,
                    const struct uuid *consumer_id, const struct repo_key *input,
                    const void *secret, size_t secret_size, struct arena *arena,
                    struct repo_key *ret, struct repo_commit *commit, struct error *err)
{
    struct key_args args = {
        .scope = scope, .consumer_id = consumer_id, .input = input, .arena = arena, .ret = ret};

    if (secret_size == 0 || secret_size > MODEL_SECRET_MAX)
        return error_set_field(err, E_INVALID, "secret", "a secret has 1 to %d bytes",
                               MODEL_SECRET_MAX);
    digest_compute(&repo_lmdb(repo)->digest_key, secret, secret_size, args.digest);
    return repo_write(repo_lmdb(repo), create, &args, REPO_WRITE_SHARED, commit, err);
}

/* ---- deleting ---- */

static int delete_record(const struct repo_txn *txn, const struct repo_scope *scope,
                         const struct uuid *consumer_id, const struct repo_key_row *row,
                         struct error *err)
{
    struct repo_bytes key = repo_secret_key(scope, row->digest);
    MDB_val record;
    int rc = repo_key_record(txn, scope, row, &record, err);

    if (rc == 0)
        rc = repo_digest_change(txn, scope, set_hash_bucket(consumer_id), &record, NULL, err);
    return rc == 0 ? repo_del(txn, TABLE_SECRETS, &key, err) : rc;
}

static int delete_key(struct repo_write *write, void *context, struct error *err)
{
    const struct key_args *args = context;
    struct repo_bytes key =
        repo_key_with_id(repo_keys_of(args->scope, args->consumer_id), args->id);
    struct repo_key_row row = {.created_ms = 0};
    int rc = check_path(&write->txn, args->scope, args->consumer_id, err);

    if (rc == 0)
        rc = load(&write->txn, args->scope, args->consumer_id, args->id, &row, err);
    if (rc == 0)
        rc = delete_record(&write->txn, args->scope, args->consumer_id, &row, err);
    if (rc == 0)
        rc = repo_del(&write->txn, TABLE_KEYS, &key, err);
    if (rc == 0)
        rc = repo_counts_add(&write->txn, args->scope, 0, -1, err);
    return rc == 0 ? touch(write, args, args->id, err) : rc;
}

int repo_key_delete(struct repo *repo, const struct repo_scope *scope,
                    const struct uuid *consumer_id, const struct uuid *id,
                    struct repo_commit *commit, struct error *err)
{
    struct key_args args = {.scope = scope, .consumer_id = consumer_id, .id = id};

    return repo_write(repo_lmdb(repo), delete_key, &args, REPO_WRITE_SHARED, commit, err);
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
    MDB_val record;
    int rc = repo_key_record(all->txn, all->from, row, &record, err);

    if (rc != 0)
        return rc;
    buffer_init(&copy, RECORD_MAX_BYTES);
    rc = repo_encode_error(buffer_append(&copy, record.mv_data, record.mv_size), "the key", err);
    if (rc == 0) {
        moved.record = (MDB_val){.mv_size = copy.size, .mv_data = copy.data};
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
        row.record.mv_size = 0; /* its loan is over: it is found in "secrets" */
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

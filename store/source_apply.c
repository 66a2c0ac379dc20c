/* source_apply.c - live changes: one LMDB transaction from source_begin() to source_commit().
 *
 * Every change keeps three things true at once: the records, the `lookup` entries that lead to
 * them, and the counts. LMDB makes the whole visible or nothing of it, cursor included. A change
 * that would break a reference is refused, and the caller drops the transaction.
 */
#include "store/source_internal.h"

#include <assert.h>
#include <string.h>

#include "store/bytes.h"

/* Gives LMDB's code. */
static int begin_txn(struct source *source)
{
    retention_wait(source);
    retention_advance(source); /* before the transaction may use pages again */
    return mdb_txn_begin(source->live.env.mdb, NULL, 0, &source->tables.txn);
}

int source_begin(struct source *source, struct error *err)
{
    int rc;

    assert(source->tables.txn == NULL);
    if (source->live.number == 0)
        return error_set(err, E_NOT_READY, NULL);
    rc = begin_txn(source);
    if (rc == MDB_PANIC) {
        source->tables.txn = NULL;
        rc = source_reopen(source, err);
        if (rc != 0)
            return rc;
        rc = begin_txn(source);
    }
    if (rc != 0) {
        source->tables.txn = NULL;
        return env_error(err, rc, "begin a transaction");
    }
    source->tables.env = &source->live.env;
    source->pending = source->live.meta;
    return 0;
}

void source_abort(struct source *source)
{
    if (source->tables.txn != NULL)
        mdb_txn_abort(source->tables.txn);
    source->tables.txn = NULL;
}

int source_commit(struct source *source, const struct model_cursor *cursor, int64_t time_ms,
                  struct error *err)
{
    int rc;

    source->pending.cursor = *cursor;
    source->pending.commit_time_ms = time_ms;
    rc = tables_put_meta(&source->tables, &source->pending, err);
    if (rc != 0) {
        source_abort(source);
        return rc;
    }
    rc = mdb_txn_commit(source->tables.txn);
    source->tables.txn = NULL; /* the handle is gone either way */
    if (rc != 0)
        return env_commit_error(&source->live.env, err, rc, "commit");
    source->live.meta = source->pending;
    store_publish(source->store, source->slot, source->region, &source->live);
    /* The commit stands whatever this gives; at worst a reader refuses to open the file until the
     * next one. */
    (void)env_cover_file(&source->live.env, NULL);
    return 0;
}

/* ---- upserts ---- */

/* Writes a record under `key`; tells whether it is new. */
static int put_record(struct source *source, enum table table, MDB_val key, bool *ret_new,
                      struct error *err)
{
    const struct buffer *record = &source->record;
    MDB_val value = env_val(record->data, record->size);
    int rc = tables_put(&source->tables, table, key, value, MDB_NOOVERWRITE, err);

    *ret_new = rc == 0;
    return rc == E_CONFLICT ? tables_put(&source->tables, table, key, value, 0, err) : rc;
}

static int encode_failed(int rc, const char *what, const struct uuid *id, struct error *err)
{
    char text[UUID_TEXT_SIZE];

    return error_set(err, rc, "%s %s does not fit a record: %s", what, uuid_format(id, text),
                     error_text(rc));
}

/* A number stands for one realm and a realm has one number, for ever. */
static int check_realm_number(struct source *source, const struct model_realm *realm,
                              struct error *err)
{
    char text[UUID_TEXT_SIZE];
    struct record_realm view;
    MDB_val value;
    int rc = tables_get(&source->tables, TABLE_REALMS,
                        env_val(&realm->number, sizeof(realm->number)), &value, err);

    if (rc == E_NOT_FOUND)
        return 0;
    if (rc != 0)
        return rc;
    if (!record_view_realm(value.mv_data, value.mv_size, &view))
        return error_set(err, E_CORRUPT, "the record of realm number %u is damaged", realm->number);
    if (!uuid_equal(&view.id, &realm->id))
        return error_set(err, E_PROTOCOL, "realm number %u is %s already", realm->number,
                         uuid_format(&view.id, text));
    return 0;
}

static int put_realm_id(struct source *source, const struct model_realm *realm, struct error *err)
{
    char text[UUID_TEXT_SIZE];
    int rc = tables_put(&source->tables, TABLE_REALM_IDS, env_val(&realm->id, sizeof(realm->id)),
                        env_val(&realm->number, sizeof(realm->number)), MDB_NOOVERWRITE, err);

    if (rc == E_CONFLICT)
        return error_set(err, E_PROTOCOL, "realm %s has two numbers, one of them %u",
                         uuid_format(&realm->id, text), realm->number);
    return rc;
}

int source_put_realm(struct source *source, const struct model_realm *realm, struct error *err)
{
    bool is_new;
    int rc;

    buffer_clear(&source->record);
    rc = record_encode_realm(realm, &source->record);
    if (rc != 0)
        return encode_failed(rc, "realm", &realm->id, err);
    rc = check_realm_number(source, realm, err);
    if (rc == 0)
        rc = put_record(source, TABLE_REALMS, env_val(&realm->number, sizeof(realm->number)),
                        &is_new, err);
    if (rc != 0 || !is_new)
        return rc;
    source->pending.realms++;
    return put_realm_id(source, realm, err);
}

int source_put_consumer(struct source *source, uint32_t scope,
                        const struct model_consumer *consumer, struct error *err)
{
    unsigned char key[LAYOUT_CONSUMER_KEY_BYTES];
    bool is_new;
    int rc = tables_need_scope(&source->tables, scope, err);

    if (rc != 0)
        return rc;
    buffer_clear(&source->record);
    rc = record_encode_consumer(consumer, &source->record);
    if (rc != 0)
        return encode_failed(rc, "consumer", &consumer->id, err);
    layout_consumer_key(scope, &consumer->id, key);
    rc = put_record(source, TABLE_CONSUMERS, env_val(key, sizeof(key)), &is_new, err);
    if (rc == 0 && is_new)
        source->pending.consumers++;
    return rc;
}

/* Takes the lookup entry of a key's former secret away, if it has another one now (or none). */
static int drop_former_digest(struct source *source, uint32_t scope, MDB_val key,
                              const uint8_t *kept_digest, struct error *err)
{
    struct record_key former;
    uint8_t digest[DIGEST_BYTES];
    MDB_val value;
    int rc = tables_get(&source->tables, TABLE_CONSUMER_KEYS, key, &value, err);

    if (rc != 0)
        return rc;
    if (!record_view_key(value.mv_data, value.mv_size, &former))
        return error_set(err, E_CORRUPT, "a key's record is damaged");
    if (kept_digest != NULL && memcmp(former.digest, kept_digest, DIGEST_BYTES) == 0)
        return 0;
    memcpy(digest, former.digest, sizeof(digest)); /* the map's bytes move with the next change */
    return tables_drop_lookup(&source->tables, digest, scope, &source->lookup, err);
}

static int put_key_record(struct source *source, uint32_t scope, const struct model_key *key,
                          struct error *err)
{
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    bool is_new;
    int rc;

    layout_key_key(scope, &key->consumer_id, &key->id, bytes);
    rc = drop_former_digest(source, scope, env_val(bytes, sizeof(bytes)), key->digest, err);
    if (rc != 0 && rc != E_NOT_FOUND)
        return rc;
    rc = put_record(source, TABLE_CONSUMER_KEYS, env_val(bytes, sizeof(bytes)), &is_new, err);
    if (rc == 0 && is_new)
        source->pending.keys++;
    return rc;
}

int source_put_key(struct source *source, uint32_t scope, const struct model_key *key,
                   struct error *err)
{
    struct layout_lookup entry = {
        .scope = scope,
        .consumer_id = key->consumer_id,
        .key_id = key->id,
        .expires_at_ms = key->expires_at_ms,
    };
    int rc = tables_need_consumer(&source->tables, scope, &key->consumer_id, err);

    if (rc != 0)
        return rc;
    buffer_clear(&source->record);
    rc = record_encode_key(key, &source->record);
    if (rc != 0)
        return encode_failed(rc, "key", &key->id, err);
    rc = put_key_record(source, scope, key, err);
    if (rc != 0)
        return rc;
    memcpy(entry.digest, key->digest, sizeof(entry.digest));
    return tables_put_lookup(&source->tables, &entry, &source->lookup, err);
}

/* ---- deletes ---- */

static int delete_key_at(struct source *source, uint32_t scope,
                         const unsigned char bytes[LAYOUT_KEY_KEY_BYTES], struct error *err)
{
    MDB_val key = env_val(bytes, LAYOUT_KEY_KEY_BYTES);
    int rc = drop_former_digest(source, scope, key, NULL, err);

    if (rc == 0)
        rc = tables_delete(&source->tables, TABLE_CONSUMER_KEYS, key, err);
    if (rc == 0)
        source->pending.keys--;
    return rc == E_NOT_FOUND ? 0 : rc;
}

int source_delete_key(struct source *source, uint32_t scope, const struct uuid *consumer_id,
                      const struct uuid *key_id, struct error *err)
{
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];

    layout_key_key(scope, consumer_id, key_id, bytes);
    return delete_key_at(source, scope, bytes, err);
}

/* Deletes every key whose key in the table begins with the consumer's. */
static int delete_keys_of(struct source *source, uint32_t scope,
                          const unsigned char consumer[LAYOUT_CONSUMER_KEY_BYTES],
                          struct error *err)
{
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    MDB_val key;
    MDB_val value;
    int rc;

    for (;;) {
        rc = tables_first(&source->tables, TABLE_CONSUMER_KEYS, consumer, LAYOUT_CONSUMER_KEY_BYTES,
                          &key, &value, err);
        if (rc != 0)
            return rc == E_NOT_FOUND ? 0 : rc;
        if (key.mv_size != sizeof(bytes))
            return error_set(err, E_CORRUPT, "consumer_keys holds a key of %zu bytes", key.mv_size);
        memcpy(bytes, key.mv_data, sizeof(bytes));
        rc = delete_key_at(source, scope, bytes, err);
        if (rc != 0)
            return rc;
    }
}

static int delete_consumer_at(struct source *source, uint32_t scope,
                              const unsigned char bytes[LAYOUT_CONSUMER_KEY_BYTES],
                              struct error *err)
{
    int rc = delete_keys_of(source, scope, bytes, err);

    if (rc == 0)
        rc = tables_delete(&source->tables, TABLE_CONSUMERS,
                           env_val(bytes, LAYOUT_CONSUMER_KEY_BYTES), err);
    if (rc == 0)
        source->pending.consumers--;
    return rc == E_NOT_FOUND ? 0 : rc;
}

int source_delete_consumer(struct source *source, uint32_t scope, const struct uuid *id,
                           struct error *err)
{
    unsigned char bytes[LAYOUT_CONSUMER_KEY_BYTES];

    layout_consumer_key(scope, id, bytes);
    return delete_consumer_at(source, scope, bytes, err);
}

static int delete_consumers_of(struct source *source, uint32_t scope, struct error *err)
{
    unsigned char prefix[sizeof(uint32_t)];
    unsigned char bytes[LAYOUT_CONSUMER_KEY_BYTES];
    MDB_val key;
    MDB_val value;
    int rc;

    bytes_put_u32_be(prefix, scope);
    for (;;) {
        rc = tables_first(&source->tables, TABLE_CONSUMERS, prefix, sizeof(prefix), &key, &value,
                          err);
        if (rc != 0)
            return rc == E_NOT_FOUND ? 0 : rc;
        if (key.mv_size != sizeof(bytes))
            return error_set(err, E_CORRUPT, "consumers holds a key of %zu bytes", key.mv_size);
        memcpy(bytes, key.mv_data, sizeof(bytes));
        rc = delete_consumer_at(source, scope, bytes, err);
        if (rc != 0)
            return rc;
    }
}

int source_delete_realm(struct source *source, uint32_t scope, struct error *err)
{
    MDB_val key = env_val(&scope, sizeof(scope));
    struct record_realm view;
    MDB_val value;
    int rc;

    if (scope == MODEL_SCOPE_CP)
        return error_set(err, E_PROTOCOL, "the control plane's own scope cannot be deleted");
    rc = tables_get(&source->tables, TABLE_REALMS, key, &value, err);
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    if (!record_view_realm(value.mv_data, value.mv_size, &view))
        return error_set(err, E_CORRUPT, "the record of realm number %u is damaged", scope);
    rc = delete_consumers_of(source, scope, err);
    if (rc == 0)
        rc = tables_delete(&source->tables, TABLE_REALM_IDS, env_val(&view.id, sizeof(view.id)),
                           err);
    if (rc == 0)
        rc = tables_delete(&source->tables, TABLE_REALMS, key, err);
    if (rc == E_NOT_FOUND)
        return error_set(err, E_CORRUPT, "realm number %u is not in realm_ids", scope);
    if (rc == 0)
        source->pending.realms--;
    return rc;
}

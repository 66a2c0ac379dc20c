/* source_apply.c - live changes: one LMDB transaction from source_begin() to source_commit().
 *
 * Every change keeps four things true at once: the records, the `lookup` entries that lead to
 * them, the counts, and the digests. LMDB makes the whole visible or nothing of it, cursor
 * included. A change that would break a reference is refused, and the caller drops the transaction.
 */
#include "store/source_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "store/bytes.h"
#include "store/scope_hashes.h"
#include "store/holding.h"

/* Gives LMDB's code. */
static int source_apply_begin_txn(struct source *source)
{
    int rc;

    retention_wait(source);
    retention_advance(source); /* before the transaction may use pages again */
    rc = env_slots_keep(&source->live.env, NULL);
    if (rc != 0)
        return EIO;
    return mdb_txn_begin(source->live.env.mdb, NULL, 0, &source->tables.txn);
}

int source_begin(struct source *source, struct error *err)
{
    int rc;

    assert(source->tables.txn == NULL);
    if (source->live.number == 0)
        return error_set(err, E_NOT_READY, NULL);
    rc = source_settle(source, err);
    if (rc != 0)
        return rc; /* the pages of the version that a power loss would leave must stay */
    rc = source_apply_begin_txn(source);
    if (rc == MDB_PANIC) {
        source->tables.txn = NULL;
        rc = source_reopen(source, err);
        if (rc != 0)
            return rc;
        rc = source_apply_begin_txn(source);
    }
    if (rc != 0) {
        source->tables.txn = NULL;
        return env_error(err, rc, "begin a transaction");
    }
    source->tables.env = &source->live.env;
    source->pending = source->live.meta;
    rc = tables_watch(&source->tables, &source->live.env, &source->trees, true, err);
    if (rc == 0)
        rc = trees_check_free(&source->trees, err);
    if (rc != 0)
        source_abort(source);
    return rc;
}

void source_abort(struct source *source)
{
    if (source->tables.txn == NULL)
        return;
    mdb_txn_abort(source->tables.txn);
    source->tables.txn = NULL;
    walk_again(&source->walk); /* it was told of changes that are taken back */
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
    if (rc != 0) {
        walk_again(&source->walk); /* as if it had been taken back */
        return env_write_error(&source->live.env, err, rc, "commit");
    }
    env_slots_announce(&source->live.env);
    source->live.meta = source->pending;
    store_publish(source->store, source->slot, source->region, &source->live);
    /* The commit stands whatever this gives; at worst a reader refuses to open the file until the
     * next one. */
    (void)env_cover_file(&source->live.env, NULL);
    return source_sync(source, err);
}

/* ---- digests ---- */

static const struct set_hash nothing;

/* `less` is replaced by `more` in the consumer's bucket, or the realm's (NULL). */
static int change_digest(struct source *source, uint32_t scope, const struct uuid *consumer_id,
                         const struct set_hash *less, const struct set_hash *more,
                         struct error *err)
{
    unsigned bucket = consumer_id != NULL ? set_hash_bucket(consumer_id) : SET_HASH_BUCKET_OF_REALM;

    walk_note(&source->walk, scope, consumer_id, less, more);
    return scope_hashes_change(&source->tables, scope, bucket, less, more, err);
}

static struct set_hash source_apply_hash_of(MDB_val record)
{
    return set_hash_of(record.mv_data, record.mv_size);
}

int source_scope_hash(const struct source *source, uint32_t scope, struct set_hash *ret,
                      struct error *err)
{
    return scope_hashes_get(&source->tables, scope, ret, err);
}

int source_scope_hash_buckets(const struct source *source, uint32_t scope,
                              struct set_hash ret[SET_HASH_BUCKETS], struct error *err)
{
    return scope_hashes_get_buckets(&source->tables, scope, ret, err);
}

int source_scope_hash_sum(struct source *source, uint32_t scope, struct error *err)
{
    struct set_hash buckets[SET_HASH_BUCKETS];
    int rc = scope_hashes_get_buckets(&source->tables, scope, buckets, err);

    return rc == 0 ? scope_hashes_set(&source->tables, scope, buckets, err) : rc;
}

int source_next_scope(const struct source *source, uint32_t from, uint32_t *ret, struct error *err)
{
    return holding_next_scope(&source->tables, from, ret, err);
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

/* A number stands for one realm and a realm has one number, for ever. Gives the former record's
 * hash. */
static int check_realm_number(struct source *source, const struct model_realm *realm,
                              struct set_hash *ret_former, struct error *err)
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
    *ret_former = source_apply_hash_of(value);
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
    struct set_hash former = nothing;
    struct set_hash next;
    bool is_new;
    int rc;

    buffer_clear(&source->record);
    rc = record_encode_realm(realm, &source->record);
    if (rc != 0)
        return encode_failed(rc, "realm", &realm->id, err);
    next = set_hash_of(source->record.data, source->record.size);
    rc = check_realm_number(source, realm, &former, err);
    if (rc == 0)
        rc = change_digest(source, realm->number, NULL, &former, &next, err);
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
    struct consumer_place former;
    struct set_hash less = nothing;
    struct set_hash more;
    bool is_new;
    int rc = tables_need_scope(&source->tables, scope, err);

    if (rc != 0)
        return rc;
    buffer_clear(&source->record);
    rc = record_encode_consumer(consumer, &source->record);
    if (rc != 0)
        return encode_failed(rc, "consumer", &consumer->id, err);
    rc = consumers_find(&source->tables, scope, &consumer->id, &former, err);
    is_new = rc == E_NOT_FOUND;
    if (rc != 0 && !is_new)
        return rc;
    if (!is_new)
        less = source_apply_hash_of(former.record);
    more = set_hash_of(source->record.data, source->record.size);
    rc = consumers_put(&source->index, is_new ? NULL : &former, scope, &consumer->id,
                       is_new ? 0 : former.n_keys,
                       env_val(source->record.data, source->record.size), err);
    if (rc == 0 && is_new)
        source->pending.consumers++;
    return rc == 0 ? change_digest(source, scope, &consumer->id, &less, &more, err) : rc;
}

/* The consumer that a key belongs to, with its record copied out of the map into source->consumer:
 * it is written again while the map changes. E_NOT_FOUND with *err untouched. */
static int find_owner(struct source *source, uint32_t scope, const struct uuid *id,
                      struct consumer_place *ret, struct error *err)
{
    int rc = consumers_find(&source->tables, scope, id, ret, err);

    if (rc != 0)
        return rc;
    buffer_clear(&source->consumer);
    rc = buffer_append(&source->consumer, ret->record.mv_data, ret->record.mv_size);
    if (rc != 0)
        return error_set(err, rc, NULL);
    ret->record = env_val(source->consumer.data, source->consumer.size);
    return 0;
}

/* A digest that stands in the scope already must be this very key's. */
static int check_digest(const struct source *source, uint32_t scope, const struct model_key *key,
                        struct error *err)
{
    char ours[UUID_TEXT_SIZE];
    char theirs[UUID_TEXT_SIZE];
    struct entry entry;
    int rc = index_find(&source->tables, key->digest, scope, false, &entry, err);

    if (rc == 0 && !uuid_equal(&entry.key_id, &key->id))
        return error_set(err, E_PROTOCOL, "keys %s and %s of scope %u have the same secret",
                         uuid_format(&entry.key_id, theirs), uuid_format(&key->id, ours), scope);
    return rc == E_NOT_FOUND ? 0 : rc;
}

/* Takes the lookup entry of a key's former secret away, if it has another one now (or none). Gives
 * the hash of the former record. */
static int drop_former_digest(struct source *source, uint32_t scope, MDB_val key,
                              const uint8_t *kept_digest, struct set_hash *ret_hash,
                              struct error *err)
{
    uint8_t digest[DIGEST_BYTES];
    struct record_key former;
    struct entry entry;
    MDB_val value;
    int rc = tables_get(&source->tables, TABLE_CONSUMERS, key, &value, err);

    if (rc != 0)
        return rc;
    rc = consumers_read_row(&source->tables, key, value, &former, &entry, err);
    if (rc != 0)
        return rc == E_NOT_FOUND ? error_set(err, E_CORRUPT, "a key has no lookup entry") : rc;
    rc = holding_key_hash(value, &former, &source->index.entry, ret_hash, err);
    if (rc != 0)
        return rc;
    if (kept_digest != NULL && memcmp(former.digest, kept_digest, DIGEST_BYTES) == 0)
        return 0;
    memcpy(digest, former.digest, DIGEST_BYTES); /* the entry moves when the map changes */
    return index_drop(&source->index, digest, scope, false, err);
}

/* Writes the key's row; tells whether it is new. */
static int put_row(struct source *source, MDB_val name, bool *ret_new, struct error *err)
{
    const struct buffer *record = &source->record;
    struct buffer *row = &source->index.value;
    struct record_key view;
    MDB_val value;
    int rc = E_CORRUPT;

    if (record_view_key(record->data, record->size, &view))
        rc = consumers_pack_row(&view, env_val(record->data, record->size), row);
    if (rc != 0)
        return error_set(err, rc, NULL);
    value = env_val(row->data, row->size);
    rc = tables_put(&source->tables, TABLE_CONSUMERS, name, value, MDB_NOOVERWRITE, err);
    *ret_new = rc == 0;
    return rc == E_CONFLICT ? tables_put(&source->tables, TABLE_CONSUMERS, name, value, 0, err)
                            : rc;
}

/* Row and entry of the key, whose consumer is `owner`; the entries of the consumer's other keys
 * follow when the record moves. */
static int put_key_of(struct source *source, const struct consumer_place *owner,
                      const struct model_key *key, struct error *err)
{
    const struct consumer_key entry = {key->id, key->digest, key->expires_at_ms};
    const struct set_hash more = set_hash_of(source->record.data, source->record.size);
    struct set_hash less = nothing;
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    MDB_val name = env_val(bytes, sizeof(bytes));
    bool is_new = false;
    int rc;

    layout_key_key(owner->scope, &key->consumer_id, &key->id, bytes);
    rc = drop_former_digest(source, owner->scope, name, key->digest, &less, err);
    if (rc == 0 || rc == E_NOT_FOUND)
        rc = change_digest(source, owner->scope, &owner->id, &less, &more, err);
    if (rc == 0)
        rc = check_digest(source, owner->scope, key, err);
    if (rc == 0)
        rc = put_row(source, name, &is_new, err);
    if (rc == 0)
        rc = consumers_put_key(&source->index, owner->scope, &owner->id, &entry,
                               consumers_home(owner->n_keys + is_new, owner->record.mv_size),
                               owner->record, err);
    if (rc != 0 || !is_new)
        return rc;
    source->pending.keys++;
    return consumers_put(&source->index, owner, owner->scope, &owner->id, owner->n_keys + 1,
                         owner->record, err);
}

int source_put_key(struct source *source, uint32_t scope, const struct model_key *key,
                   struct error *err)
{
    struct consumer_place owner;
    char text[UUID_TEXT_SIZE];
    int rc;

    buffer_clear(&source->record);
    rc = record_encode_key(key, &source->record);
    if (rc != 0)
        return encode_failed(rc, "key", &key->id, err);
    rc = find_owner(source, scope, &key->consumer_id, &owner, err);
    if (rc == E_NOT_FOUND)
        return error_set(err, E_MISSING_REFERENCE, "there is no consumer %s in scope %u",
                         uuid_format(&key->consumer_id, text), scope);
    return rc == 0 ? put_key_of(source, &owner, key, err) : rc;
}

/* ---- deletes ---- */

/* The key's row and entry, without regard to its consumer. E_NOT_FOUND: there was none. */
static int delete_key_at(struct source *source, uint32_t scope,
                         const unsigned char bytes[LAYOUT_KEY_KEY_BYTES], struct error *err)
{
    MDB_val key = env_val(bytes, LAYOUT_KEY_KEY_BYTES);
    struct set_hash less;
    struct uuid consumer_id;
    int rc = drop_former_digest(source, scope, key, NULL, &less, err);

    memcpy(consumer_id.bytes, bytes + LAYOUT_SCOPE_BYTES, UUID_BYTES);
    if (rc == 0)
        rc = change_digest(source, scope, &consumer_id, &less, &nothing, err);
    if (rc == 0)
        rc = tables_delete(&source->tables, TABLE_CONSUMERS, key, err);
    if (rc == 0)
        source->pending.keys--;
    return rc;
}

int source_delete_key(struct source *source, uint32_t scope, const struct uuid *consumer_id,
                      const struct uuid *key_id, struct error *err)
{
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    struct consumer_place owner;
    int rc = find_owner(source, scope, consumer_id, &owner, err);

    layout_key_key(scope, consumer_id, key_id, bytes);
    if (rc == 0)
        rc = delete_key_at(source, scope, bytes, err);
    if (rc == 0)
        rc = consumers_put(&source->index, &owner, scope, consumer_id, owner.n_keys - 1,
                           owner.record, err);
    return rc == E_NOT_FOUND ? 0 : rc;
}

/* A row that is found again after it was deleted would be for ever. */
static int still_there(struct error *err)
{
    return error_set(err, E_CORRUPT, "a row is found and cannot be deleted");
}

/* Deletes every key of the consumer. */
static int delete_keys_of(struct source *source, uint32_t scope,
                          const unsigned char consumer[LAYOUT_CONSUMER_KEY_BYTES],
                          struct error *err)
{
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    MDB_val key;
    MDB_val value;
    int rc;

    for (;;) {
        rc = consumers_next_key(&source->tables, consumer, NULL, &key, &value, err);
        if (rc != 0)
            return rc == E_NOT_FOUND ? 0 : rc;
        memcpy(bytes, key.mv_data, sizeof(bytes));
        rc = delete_key_at(source, scope, bytes, err);
        if (rc != 0)
            return rc == E_NOT_FOUND ? still_there(err) : rc;
    }
}

static int delete_consumer_at(struct source *source, uint32_t scope,
                              const unsigned char bytes[LAYOUT_CONSUMER_KEY_BYTES],
                              struct error *err)
{
    uint8_t name[ENTRY_NAME_BYTES];
    struct consumer_place place;
    struct set_hash less;
    struct uuid id;
    int rc;

    memcpy(id.bytes, bytes + LAYOUT_SCOPE_BYTES, UUID_BYTES);
    rc = consumers_find(&source->tables, scope, &id, &place, err);
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    less = source_apply_hash_of(place.record);
    rc = delete_keys_of(source, scope, bytes, err);
    entry_name_of_consumer(scope, &id, name);
    if (rc == 0)
        rc = change_digest(source, scope, &id, &less, &nothing, err);
    if (rc == 0)
        rc = index_drop(&source->index, name, scope, true, err);
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
    unsigned char bytes[LAYOUT_CONSUMER_KEY_BYTES] = {0};
    bool first = true;
    MDB_val key;
    MDB_val value;
    int rc;

    layout_scope_key(scope, prefix);
    for (;; first = false) {
        rc = tables_first(&source->tables, TABLE_CONSUMERS, prefix, sizeof(prefix), &key, &value,
                          err);
        if (rc != 0)
            return rc == E_NOT_FOUND ? 0 : rc;
        if (key.mv_size != sizeof(bytes))
            return error_set(err, E_CORRUPT, "consumers holds a key of %zu bytes", key.mv_size);
        if (!first && memcmp(bytes, key.mv_data, sizeof(bytes)) >= 0)
            return still_there(err);
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
    struct set_hash less;
    MDB_val value;
    int rc;

    if (scope == MODEL_SCOPE_CP)
        return error_set(err, E_PROTOCOL, "the control plane's own scope cannot be deleted");
    rc = tables_get(&source->tables, TABLE_REALMS, key, &value, err);
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    if (!record_view_realm(value.mv_data, value.mv_size, &view))
        return error_set(err, E_CORRUPT, "the record of realm number %u is damaged", scope);
    less = source_apply_hash_of(value);
    rc = delete_consumers_of(source, scope, err);
    if (rc == 0)
        rc = change_digest(source, scope, NULL, &less, &nothing, err);
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

/* digests.c - the set hash of each scope's records (base/set_hash.h), kept with every
 * write: what a host holds of the scope must have the same.
 *
 *     scope            -> hash of the scope, the sum of its buckets
 *     scope, bucket    -> hash of the bucket
 *
 * A row that would be zero is left out, so that a small scope costs a row for each consumer and
 * an empty one nothing. Reading a scope's hash is one look, changing a record four small ones.
 */
#include "control/repo/lmdb/repo_lmdb.h"

static struct repo_bytes key_of(const struct repo_scope *scope, const unsigned *bucket)
{
    struct repo_bytes key = repo_key_scope(scope);
    uint8_t byte;

    if (bucket == NULL)
        return key;
    byte = (uint8_t)*bucket;
    return repo_key_with(key, &byte, sizeof(byte));
}

static int get(const struct repo_txn *txn, const struct repo_bytes *key, struct set_hash *ret,
               struct error *err)
{
    MDB_val value;
    int rc = repo_get(txn, TABLE_DIGESTS, key, &value, err);

    *ret = (struct set_hash){0};
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    if (value.mv_size != SET_HASH_BYTES)
        return repo_corrupt("a digest's row has a wrong size", err);
    *ret = set_hash_unpack(value.mv_data);
    return 0;
}

static int put(const struct repo_txn *txn, const struct repo_bytes *key,
               const struct set_hash *hash, struct error *err)
{
    uint8_t bytes[SET_HASH_BYTES];
    int rc;

    if (set_hash_is_zero(hash)) {
        rc = repo_del(txn, TABLE_DIGESTS, key, err);
        return rc == E_NOT_FOUND ? 0 : rc;
    }
    set_hash_pack(hash, bytes);
    return repo_put(txn, TABLE_DIGESTS, key, bytes, sizeof(bytes), err);
}

/* `less` may be zero, as may `more`. */
static int change_row(const struct repo_txn *txn, const struct repo_bytes *key,
                      const struct set_hash *less, const struct set_hash *more, struct error *err)
{
    struct set_hash hash;
    int rc = get(txn, key, &hash, err);

    if (rc != 0)
        return rc;
    set_hash_remove(&hash, less);
    set_hash_add(&hash, more);
    return put(txn, key, &hash, err);
}

static struct set_hash hash_of(const struct repo_record *record)
{
    return record != NULL ? set_hash_of(record->bytes, record->size) : (struct set_hash){0};
}

int repo_digest_change(const struct repo_txn *txn, const struct repo_scope *scope, unsigned bucket,
                       const struct repo_record *former, const struct repo_record *next,
                       struct error *err)
{
    const struct repo_bytes whole = key_of(scope, NULL);
    const struct repo_bytes part = key_of(scope, &bucket);
    const struct set_hash less = hash_of(former);
    const struct set_hash more = hash_of(next);
    int rc;

    if (set_hash_equal(&less, &more))
        return 0;
    rc = change_row(txn, &whole, &less, &more, err);
    return rc == 0 ? change_row(txn, &part, &less, &more, err) : rc;
}

int repo_digest_get(const struct repo_txn *txn, const struct repo_scope *scope,
                    struct set_hash *ret, struct error *err)
{
    const struct repo_bytes key = key_of(scope, NULL);

    return get(txn, &key, ret, err);
}

int repo_digest_buckets(const struct repo_txn *txn, const struct repo_scope *scope,
                        struct set_hash ret[SET_HASH_BUCKETS], struct error *err)
{
    int rc = 0;

    for (unsigned bucket = 0; rc == 0 && bucket < SET_HASH_BUCKETS; bucket++) {
        const struct repo_bytes key = key_of(scope, &bucket);

        rc = get(txn, &key, &ret[bucket], err);
    }
    return rc;
}

/* ---- from the records ---- */

/* Rows of consumers and keys begin with the scope and the consumer. */
static int owner_of(const MDB_val *key, struct repo_scope *ret_scope, unsigned *ret_bucket,
                    struct error *err)
{
    struct repo_reader reader = repo_reader_on(key);
    struct uuid consumer_id;

    *ret_scope = repo_read_scope(&reader);
    consumer_id = repo_read_uuid(&reader);
    *ret_bucket = set_hash_bucket(&consumer_id);
    return reader.ok ? 0 : repo_corrupt("a row has a wrong name", err);
}

static int add_realm(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                     struct error *err)
{
    struct repo_scope scope = {.kind = REPO_SCOPE_REALM};
    struct repo_reader reader = repo_reader_on(key);
    struct repo_realm_row row;
    int rc = repo_realm_row_read(value, &row, err);

    (void)cursor;
    scope.id = repo_read_uuid(&reader);
    return rc == 0 ? repo_digest_change(context, &scope, SET_HASH_BUCKET_OF_REALM, NULL,
                                        &row.record, err)
                   : rc;
}

static int add_consumer(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                        struct error *err)
{
    struct repo_consumer_row row;
    struct repo_scope scope;
    unsigned bucket;
    int rc = owner_of(key, &scope, &bucket, err);

    (void)cursor;
    if (rc == 0)
        rc = repo_consumer_row_read(value, &row, err);
    return rc == 0 ? repo_digest_change(context, &scope, bucket, NULL, &row.record, err) : rc;
}

static int add_key(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                   struct error *err)
{
    struct repo_key_row row;
    struct repo_scope scope;
    unsigned bucket;
    struct repo_record record;
    int rc = owner_of(key, &scope, &bucket, err);

    (void)cursor;
    if (rc == 0)
        rc = repo_key_row_read(value, &row, err);
    if (rc == 0)
        rc = repo_key_record(context, &scope, &row, &record, err);
    return rc == 0 ? repo_digest_change(context, &scope, bucket, NULL, &record, err) : rc;
}

int repo_digests_rebuild(struct repo_txn *txn, struct error *err)
{
    static const struct repo_bytes everything;
    int rc = repo_del_prefix(txn, TABLE_DIGESTS, &everything, err);

    if (rc == 0)
        rc = repo_walk(txn, TABLE_REALMS, &everything, add_realm, txn, err);
    if (rc == 0)
        rc = repo_walk(txn, TABLE_CONSUMERS, &everything, add_consumer, txn, err);
    return rc == 0 ? repo_walk(txn, TABLE_KEYS, &everything, add_key, txn, err) : rc;
}

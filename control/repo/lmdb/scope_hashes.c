/* scope_hashes.c - the set hash of each scope's records (base/set_hash.h), kept with every
 * write: what a host holds of the scope must have the same.
 *
 *     scope            -> hash of the scope, the sum of its buckets
 *     scope, bucket    -> hash of the bucket
 *
 * A row that would be zero is left out, so that a small scope costs a row for each consumer and
 * an empty one nothing. Reading a scope's hash is one look, changing a record four small ones.
 */
#include "control/repo/lmdb/scope_hashes.h"

#include "control/repo/entity.h"
#include "control/repo/errors.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/txn.h"

static struct lmdb_rowkey digest_key_of(const struct repo_scope *scope, const unsigned *bucket)
{
    struct lmdb_rowkey key = lmdb_rowkey_scope(scope);
    uint8_t byte;

    if (bucket == NULL)
        return key;
    byte = (uint8_t)*bucket;
    return lmdb_rowkey_with(key, &byte, sizeof(byte));
}

static int digest_get(const struct lmdb_txn *txn, const struct lmdb_rowkey *key,
                      struct set_hash *ret, struct error *err)
{
    MDB_val value;
    int rc = lmdb_get(txn, TABLE_DIGESTS, key, &value, err);

    *ret = (struct set_hash){0};
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    if (value.mv_size != SET_HASH_BYTES)
        return repo_corrupt("a digest's row has a wrong size", err);
    *ret = set_hash_unpack(value.mv_data);
    return 0;
}

static int digest_put(const struct lmdb_txn *txn, const struct lmdb_rowkey *key,
                      const struct set_hash *hash, struct error *err)
{
    uint8_t bytes[SET_HASH_BYTES];
    int rc;

    if (set_hash_is_zero(hash)) {
        rc = lmdb_del(txn, TABLE_DIGESTS, key, err);
        return rc == E_NOT_FOUND ? 0 : rc;
    }
    set_hash_pack(hash, bytes);
    return lmdb_put(txn, TABLE_DIGESTS, key, bytes, sizeof(bytes), err);
}

/* `less` may be zero, as may `more`. */
static int change_row(const struct lmdb_txn *txn, const struct lmdb_rowkey *key,
                      const struct set_hash *less, const struct set_hash *more, struct error *err)
{
    struct set_hash hash;
    int rc = digest_get(txn, key, &hash, err);

    if (rc != 0)
        return rc;
    set_hash_remove(&hash, less);
    set_hash_add(&hash, more);
    return digest_put(txn, key, &hash, err);
}

static struct set_hash scope_hashes_hash_of(const struct repo_record *record)
{
    return record != NULL ? set_hash_of(record->bytes, record->size) : (struct set_hash){0};
}

int lmdb_scope_hash_change(const struct lmdb_txn *txn, const struct repo_scope *scope,
                           unsigned bucket, const struct repo_record *former,
                           const struct repo_record *next, struct error *err)
{
    const struct lmdb_rowkey whole = digest_key_of(scope, NULL);
    const struct lmdb_rowkey part = digest_key_of(scope, &bucket);
    const struct set_hash less = scope_hashes_hash_of(former);
    const struct set_hash more = scope_hashes_hash_of(next);
    int rc;

    if (set_hash_equal(&less, &more))
        return 0;
    rc = change_row(txn, &whole, &less, &more, err);
    return rc == 0 ? change_row(txn, &part, &less, &more, err) : rc;
}

int lmdb_scope_hash_get(const struct lmdb_txn *txn, const struct repo_scope *scope,
                        struct set_hash *ret, struct error *err)
{
    const struct lmdb_rowkey key = digest_key_of(scope, NULL);

    return digest_get(txn, &key, ret, err);
}

int lmdb_scope_hash_buckets(const struct lmdb_txn *txn, const struct repo_scope *scope,
                            struct set_hash ret[SET_HASH_BUCKETS], struct error *err)
{
    int rc = 0;

    for (unsigned bucket = 0; rc == 0 && bucket < SET_HASH_BUCKETS; bucket++) {
        const struct lmdb_rowkey key = digest_key_of(scope, &bucket);

        rc = digest_get(txn, &key, &ret[bucket], err);
    }
    return rc;
}

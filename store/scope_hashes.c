/* scope_hashes.c - see digests.h. */
#include "store/scope_hashes.h"

#include <string.h>

struct key {
    unsigned char bytes[LAYOUT_SCOPE_BYTES + 1];
    size_t size;
};

static struct key scope_key(uint32_t scope)
{
    struct key key = {.size = LAYOUT_SCOPE_BYTES};

    layout_scope_key(scope, key.bytes);
    return key;
}

static struct key bucket_key_of(uint32_t scope, unsigned bucket)
{
    struct key key = scope_key(scope);

    key.bytes[key.size++] = (unsigned char)bucket;
    return key;
}

static int get(const struct tables *tables, const struct key *key, struct set_hash *ret,
               struct error *err)
{
    MDB_val value;
    int rc = tables_get(tables, TABLE_DIGESTS, env_val(key->bytes, key->size), &value, err);

    *ret = (struct set_hash){0};
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    if (value.mv_size != SET_HASH_BYTES)
        return error_set(err, E_CORRUPT, "a digest has %zu bytes", value.mv_size);
    *ret = set_hash_unpack(value.mv_data);
    return 0;
}

static int scope_hashes_put(const struct tables *tables, const struct key *key,
                            const struct set_hash *hash, struct error *err)
{
    uint8_t bytes[SET_HASH_BYTES];
    int rc;

    if (set_hash_is_zero(hash)) {
        rc = tables_delete(tables, TABLE_DIGESTS, env_val(key->bytes, key->size), err);
        return rc == E_NOT_FOUND ? 0 : rc;
    }
    set_hash_pack(hash, bytes);
    return tables_put(tables, TABLE_DIGESTS, env_val(key->bytes, key->size),
                      env_val(bytes, sizeof(bytes)), 0, err);
}

int scope_hashes_get(const struct tables *tables, uint32_t scope, struct set_hash *ret,
                     struct error *err)
{
    const struct key key = scope_key(scope);

    return get(tables, &key, ret, err);
}

int scope_hashes_get_buckets(const struct tables *tables, uint32_t scope,
                             struct set_hash ret[SET_HASH_BUCKETS], struct error *err)
{
    int rc = 0;

    for (unsigned bucket = 0; rc == 0 && bucket < SET_HASH_BUCKETS; bucket++) {
        const struct key key = bucket_key_of(scope, bucket);

        rc = get(tables, &key, &ret[bucket], err);
    }
    return rc;
}

static int change_row(const struct tables *tables, const struct key *key,
                      const struct set_hash *less, const struct set_hash *more, struct error *err)
{
    struct set_hash hash;
    int rc = get(tables, key, &hash, err);

    if (rc != 0)
        return rc;
    set_hash_remove(&hash, less);
    set_hash_add(&hash, more);
    return scope_hashes_put(tables, key, &hash, err);
}

int scope_hashes_change(const struct tables *tables, uint32_t scope, unsigned bucket,
                        const struct set_hash *less, const struct set_hash *more, struct error *err)
{
    const struct key whole = scope_key(scope);
    const struct key part = bucket_key_of(scope, bucket);
    int rc;

    if (set_hash_equal(less, more))
        return 0;
    rc = change_row(tables, &whole, less, more, err);
    return rc == 0 ? change_row(tables, &part, less, more, err) : rc;
}

int scope_hashes_set(const struct tables *tables, uint32_t scope,
                     const struct set_hash buckets[SET_HASH_BUCKETS], struct error *err)
{
    const struct key whole = scope_key(scope);
    struct set_hash sum = {0};
    int rc = 0;

    for (unsigned bucket = 0; rc == 0 && bucket < SET_HASH_BUCKETS; bucket++) {
        const struct key key = bucket_key_of(scope, bucket);

        rc = scope_hashes_put(tables, &key, &buckets[bucket], err);
        set_hash_add(&sum, &buckets[bucket]);
    }
    return rc == 0 ? scope_hashes_put(tables, &whole, &sum, err) : rc;
}

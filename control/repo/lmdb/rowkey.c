/* rowkey.c - see rowkey.h. Keys hold versions big-endian, so that their order is numeric. */
#include "control/repo/lmdb/rowkey.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

struct lmdb_rowkey lmdb_rowkey_with(struct lmdb_rowkey key, const void *bytes, size_t size)
{
    assert(size <= sizeof(key.bytes) - key.size);
    memcpy(key.bytes + key.size, bytes, size);
    key.size += size;
    return key;
}

struct lmdb_rowkey lmdb_rowkey_scope(const struct repo_scope *scope)
{
    struct lmdb_rowkey key = {.bytes = {(uint8_t)(scope->kind + 1)}, .size = 1};

    return lmdb_rowkey_with_id(key, &scope->id);
}

struct lmdb_rowkey lmdb_rowkey_uuid(const struct uuid *id)
{
    return lmdb_rowkey_with_id((struct lmdb_rowkey){.size = 0}, id);
}

struct lmdb_rowkey lmdb_rowkey_meta(const char *name)
{
    return lmdb_rowkey_with((struct lmdb_rowkey){.size = 0}, name, strlen(name));
}

struct lmdb_rowkey lmdb_rowkey_version(uint64_t version)
{
    const uint64_t big = htobe64(version);

    return lmdb_rowkey_with((struct lmdb_rowkey){.size = 0}, &big, sizeof(big));
}

struct lmdb_rowkey lmdb_rowkey_consumer(const struct repo_scope *scope, const struct uuid *id)
{
    return lmdb_rowkey_with_id(lmdb_rowkey_scope(scope), id);
}

struct lmdb_rowkey lmdb_rowkey_secret(const struct repo_scope *scope,
                                      const uint8_t digest[DIGEST_BYTES])
{
    return lmdb_rowkey_with(lmdb_rowkey_scope(scope), digest, DIGEST_BYTES);
}

struct lmdb_rowkey lmdb_rowkey_keys(const struct repo_scope *scope, const struct uuid *consumer_id)
{
    return lmdb_rowkey_with_id(lmdb_rowkey_scope(scope), consumer_id);
}

struct lmdb_rowkey lmdb_rowkey_key(const struct repo_path *path)
{
    return lmdb_rowkey_with_id(lmdb_rowkey_keys(&path->scope, &path->consumer_id), &path->key_id);
}

bool lmdb_has_prefix(const MDB_val *key, const struct lmdb_rowkey *prefix)
{
    return key->mv_size >= prefix->size && memcmp(key->mv_data, prefix->bytes, prefix->size) == 0;
}

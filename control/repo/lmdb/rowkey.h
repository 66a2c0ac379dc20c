/* rowkey.h - keys of rows: where in a table something stands. */
#ifndef RS_CONTROL_REPO_LMDB_ROWKEY_H
#define RS_CONTROL_REPO_LMDB_ROWKEY_H

#include <lmdb.h>

#include "control/repo/repo.h"

/* A key under construction; the longest is namespace, letter and hash. */
enum { LMDB_SCOPE_BYTES = 1 + UUID_BYTES, LMDB_ROWKEY_MAX_BYTES = 64 };
struct lmdb_rowkey {
    uint8_t bytes[LMDB_ROWKEY_MAX_BYTES];
    size_t size;
};

struct lmdb_rowkey lmdb_rowkey_scope(const struct repo_scope *scope);
struct lmdb_rowkey lmdb_rowkey_uuid(const struct uuid *id);
struct lmdb_rowkey lmdb_rowkey_meta(const char *name);    /* of a row of TABLE_META */
struct lmdb_rowkey lmdb_rowkey_version(uint64_t version); /* big-endian: ascending */
struct lmdb_rowkey lmdb_rowkey_with(struct lmdb_rowkey key, const void *bytes, size_t size);
static inline struct lmdb_rowkey lmdb_rowkey_with_id(struct lmdb_rowkey key, const struct uuid *id)
{
    return lmdb_rowkey_with(key, id->bytes, UUID_BYTES);
}

struct lmdb_rowkey lmdb_rowkey_consumer(const struct repo_scope *scope, const struct uuid *id);
struct lmdb_rowkey lmdb_rowkey_secret(const struct repo_scope *scope,
                                      const uint8_t digest[DIGEST_BYTES]);
/* The prefix of a consumer's keys. */
struct lmdb_rowkey lmdb_rowkey_keys(const struct repo_scope *scope, const struct uuid *consumer_id);
struct lmdb_rowkey lmdb_rowkey_key(const struct repo_path *path);

bool lmdb_has_prefix(const MDB_val *key, const struct lmdb_rowkey *prefix);

#endif

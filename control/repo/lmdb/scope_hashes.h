/* scope_hashes.h - set hashes of each scope's records. */
#ifndef RS_CONTROL_REPO_LMDB_SCOPE_HASHES_H
#define RS_CONTROL_REPO_LMDB_SCOPE_HASHES_H

#include "base/set_hash.h"
#include "control/repo/entity.h"
#include "control/repo/lmdb/txn.h"

/* A record comes (`former` NULL), changes, or goes (`next` NULL). Before the rows are written,
 * which ends the loan of `former`. */
int lmdb_scope_hash_change(const struct lmdb_txn *txn, const struct repo_scope *scope,
                           unsigned bucket, const struct repo_record *former,
                           const struct repo_record *next, struct error *err);
/* Of the whole scope, and of each bucket. */
int lmdb_scope_hash_get(const struct lmdb_txn *txn, const struct repo_scope *scope,
                        struct set_hash *ret, struct error *err);
int lmdb_scope_hash_buckets(const struct lmdb_txn *txn, const struct repo_scope *scope,
                            struct set_hash ret[SET_HASH_BUCKETS], struct error *err);

#endif

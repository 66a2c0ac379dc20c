/* txn.h - transactions, single rows and walks. */
#ifndef RS_CONTROL_REPO_LMDB_TXN_H
#define RS_CONTROL_REPO_LMDB_TXN_H

#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/store.h"

struct lmdb_txn {
    struct lmdb_repo *repo;
    MDB_txn *handle;
    const struct uuid *actor; /* whom the caller is bound to; NULL: nobody, or it is the feed */
};

/* lmdb_code() with a message: `doing` completes "the control store failed ...". 0 stays 0. */
int lmdb_error(int code, const char *doing, struct error *err);

/* A consistent view; values read from it are borrowed until lmdb_txn_close(). */
int lmdb_txn_open_for(const struct repo_call *call, struct lmdb_txn *ret);
/* The same without a caller. */
int lmdb_txn_open(struct lmdb_repo *repo, struct lmdb_txn *ret, struct error *err);
void lmdb_txn_close(struct lmdb_txn *txn);

/* E_NOT_FOUND without a message of its own: the caller knows what was looked for. */
int lmdb_get(const struct lmdb_txn *txn, enum lmdb_table table, const struct lmdb_rowkey *key,
             MDB_val *ret, struct error *err);
int lmdb_put(const struct lmdb_txn *txn, enum lmdb_table table, const struct lmdb_rowkey *key,
             const void *value, size_t size, struct error *err);
/* E_CONFLICT, without a message, when the key is there. */
int lmdb_put_new(const struct lmdb_txn *txn, enum lmdb_table table, const struct lmdb_rowkey *key,
                 const void *value, size_t size, struct error *err);
int lmdb_del(const struct lmdb_txn *txn, enum lmdb_table table, const struct lmdb_rowkey *key,
             struct error *err);

int lmdb_cursor_open(const struct lmdb_txn *txn, enum lmdb_table table, MDB_cursor **ret,
                     struct error *err);
/* mdb_cursor_get(), where the end of the table is E_NOT_FOUND. */
int lmdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op,
                    struct error *err);

/* Calls visit() for each row whose key begins with `prefix`, in order; a code other than 0 ends
 * the walk and is returned. visit() may delete the row it stands on through `cursor`. */
typedef int (*lmdb_visit_fn)(void *context, MDB_cursor *cursor, const MDB_val *key,
                             const MDB_val *value, struct error *err);
int lmdb_walk(const struct lmdb_txn *txn, enum lmdb_table table, const struct lmdb_rowkey *prefix,
              lmdb_visit_fn visit, void *context, struct error *err);
int lmdb_del_prefix(const struct lmdb_txn *txn, enum lmdb_table table,
                    const struct lmdb_rowkey *prefix, struct error *err);

#endif

/* tables.h - reading and changing a generation's tables inside one transaction.
 *
 * Below the rules of live changes (source_apply.c) and of full loads (source_load.c), above LMDB.
 * Errors carry what was being done; absence is E_NOT_FOUND with an untouched *err, because it is
 * often no error at all.
 */
#ifndef RS_STORE_TABLES_H
#define RS_STORE_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <lmdb.h>

#include "base/error.h"
#include "store/env.h"
#include "store/trees.h"

struct tables {
    const struct env *env; /* borrowed */
    MDB_txn *txn;          /* NULL: no transaction is open */
    /* Borrowed: what is in the file is checked before it is followed. NULL, for loads: this process
     * has just written it all. */
    const struct trees *trees;
};

/* Opens `trees` for the transaction. */
int tables_watch(struct tables *tables, struct env *env, struct trees *trees, bool writes,
                 struct error *err);

/* What *ret points to lives until the next change in the transaction. */
int tables_get(const struct tables *tables, enum table table, MDB_val key, MDB_val *ret,
               struct error *err);
/* `flags` as for mdb_put(); E_CONFLICT, with *err untouched, where they refuse an existing key. */
int tables_put(const struct tables *tables, enum table table, MDB_val key, MDB_val value,
               unsigned flags, struct error *err);
/* Deleting what is not there is E_NOT_FOUND. */
int tables_delete(const struct tables *tables, enum table table, MDB_val key, struct error *err);
/* First pair whose key is `key` or behind it; E_NOT_FOUND: none. Never one in front of it, whatever
 * has become of the file. */
int tables_at_or_after(const struct tables *tables, enum table table, MDB_val key, MDB_val *ret_key,
                       MDB_val *ret_value, struct error *err);
/* The key in front of `key`, whether that is there or not; E_NOT_FOUND: none. */
int tables_before(const struct tables *tables, enum table table, MDB_val key, MDB_val *ret_key,
                  struct error *err);
/* First pair whose key begins with the `size` bytes at `prefix`; E_NOT_FOUND: none. */
int tables_first(const struct tables *tables, enum table table, const void *prefix, size_t size,
                 MDB_val *ret_key, MDB_val *ret_value, struct error *err);

/* E_MISSING_REFERENCE when the scope is a realm that is not there. */
int tables_need_scope(const struct tables *tables, uint32_t scope, struct error *err);

int tables_put_meta(const struct tables *tables, const struct layout_meta *meta, struct error *err);

#endif

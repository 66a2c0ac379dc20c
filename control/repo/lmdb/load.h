/* load.h - entities by their path, as far as the transaction's actor may see or change them. */
#ifndef RS_CONTROL_REPO_LMDB_LOAD_H
#define RS_CONTROL_REPO_LMDB_LOAD_H

#include "control/repo/entity.h"
#include "control/repo/lmdb/txn.h"

enum lmdb_access { LMDB_READ, LMDB_CHANGE };

/* E_NOT_FOUND with `field`, also for a realm that the actor may not see. */
int lmdb_realm_load(const struct lmdb_txn *txn, const struct uuid *id, const char *field,
                    struct repo_realm_row *ret, struct error *err);
/* Of one to be changed: E_PERMISSION for a realm that others may use too. */
int lmdb_realm_load_to_change(const struct lmdb_txn *txn, const struct uuid *id, const char *field,
                              struct repo_realm_row *ret, struct error *err);
/* Whether consumers can live there (the realm exists, or it is a control plane), and the actor may
 * read or change them. E_NOT_FOUND, E_PERMISSION. */
int lmdb_scope_check(const struct lmdb_txn *txn, const struct repo_scope *scope,
                     enum lmdb_access access, struct error *err);
int lmdb_consumer_load(const struct lmdb_txn *txn, const struct repo_scope *scope,
                       const struct uuid *id, struct repo_consumer_row *ret, struct error *err);
int lmdb_key_load(const struct lmdb_txn *txn, const struct repo_path *path,
                  struct repo_key_row *ret, struct error *err);
/* The record of the key that the row describes. */
int lmdb_key_record(const struct lmdb_txn *txn, const struct repo_scope *scope,
                    const struct repo_key_row *row, struct repo_record *ret, struct error *err);

#endif

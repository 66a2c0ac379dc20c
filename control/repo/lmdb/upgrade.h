/* upgrade.h - a store of the former format is brought up to date. */
#ifndef RS_CONTROL_REPO_LMDB_UPGRADE_H
#define RS_CONTROL_REPO_LMDB_UPGRADE_H

#include "control/repo/lmdb/txn.h"

/* All digests anew, from the records. */
int lmdb_scope_hash_rebuild(struct lmdb_txn *txn, struct error *err);

#endif

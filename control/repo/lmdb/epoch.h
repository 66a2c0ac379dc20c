/* epoch.h - the epoch as its operator sees it. */
#ifndef RS_CONTROL_REPO_LMDB_EPOCH_H
#define RS_CONTROL_REPO_LMDB_EPOCH_H

#include "control/repo/lmdb/txn.h"

int lmdb_epoch_accept(struct repo *repo, const struct uuid *epoch, struct error *err);
/* When the store's epoch was accepted; 0: it was not. */
int lmdb_epoch_accepted(const struct lmdb_txn *txn, int64_t *ret_ms, struct error *err);

#endif

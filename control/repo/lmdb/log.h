/* log.h - the change log: which entities each version touched. */
#ifndef RS_CONTROL_REPO_LMDB_LOG_H
#define RS_CONTROL_REPO_LMDB_LOG_H

#include "control/repo/view.h"
#include "control/repo/lmdb/writer.h"

int lmdb_log_touch(struct lmdb_write *write, const struct repo_touch *touch, struct error *err);
/* Gives the write its version and stores its entry, if it touched anything. */
int lmdb_log_append(struct lmdb_write *write, struct error *err);
/* Drops what is older than the retention asks for, at most `max` entries. */
int lmdb_log_trim(const struct lmdb_txn *txn, struct lmdb_state *state, size_t max,
                  struct error *err);

/* Calls visit() for each touched entity of the versions in (from, to], ascending. */
int lmdb_log_walk(const struct lmdb_txn *txn, uint64_t from, uint64_t to, repo_touch_fn visit,
                  void *context, struct error *err);

#endif

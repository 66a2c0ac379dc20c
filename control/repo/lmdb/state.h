/* state.h - the row that says where the history stands. */
#ifndef RS_CONTROL_REPO_LMDB_STATE_H
#define RS_CONTROL_REPO_LMDB_STATE_H

#include "control/repo/repo.h"

struct lmdb_txn;

/* What meta holds about the history; one row, rewritten with every commit. */
struct lmdb_state {
    uint64_t version; /* newest */
    uint64_t oldest;  /* smallest cursor that can be served: the log holds (oldest, version] */
    int64_t time_ms;  /* commit time of `version` */
    uint32_t next_number;
    struct uuid last_id; /* the greatest identifier ever given */
};

int lmdb_state_read(const struct lmdb_txn *txn, struct lmdb_state *ret, struct error *err);
int lmdb_state_write(const struct lmdb_txn *txn, const struct lmdb_state *state, struct error *err);

#endif

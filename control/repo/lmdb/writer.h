/* writer.h - writing: one thread, and a queue before it. */
#ifndef RS_CONTROL_REPO_LMDB_WRITER_H
#define RS_CONTROL_REPO_LMDB_WRITER_H

#include "base/buffer.h"
#include "control/repo/lmdb/txn.h"

/* One caller's write, run by the writer thread inside its own (nested) transaction. */
struct lmdb_write {
    struct lmdb_txn txn;
    struct lmdb_state state;
    struct buffer touched; /* log entries; empty at the end: no version is spent */
    int64_t now_ms;
};

typedef int (*lmdb_write_fn)(struct lmdb_write *write, void *args, struct error *err);

enum lmdb_write_mode {
    LMDB_WRITE_SHARED, /* may share a commit with other writes */
    LMDB_WRITE_ALONE   /* large: gets a transaction of its own */
};

int lmdb_writer_start(struct lmdb_repo *repo, const struct lmdb_state *state, struct error *err);
/* Runs what is queued, then ends the thread. */
void lmdb_writer_stop(struct lmdb_repo *repo);
/* Blocks until the write is durable or has failed. */
int lmdb_write(const struct repo_call *call, lmdb_write_fn run, void *args,
               enum lmdb_write_mode mode);

#endif

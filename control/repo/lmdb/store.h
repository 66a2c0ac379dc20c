/* store.h - the embedded repository as a whole: what its modules have in common.
 *
 *     repo.c         open, close, the table of operations
 *     env.c          lock file, LMDB environment, tables, identity
 *     txn.c          transactions, single rows, walks; LMDB's codes become ours
 *     writer.c       the writer thread and its group commit
 *     rowkey.c, rows.c     keys and values as bytes, and back
 *     state.c, epoch.c, log.c, names.c, digests.c    what is kept beside entities
 *     load.c         entities by their path, as far as the caller may see or change them
 *     page.c         pages of rows
 *     realms.c, consumers.c, keys.c, groups.c, tokens.c    the entities
 *     view.c, snapshot.c   what feeds read
 *     upgrade.c      stores of the former format
 *
 * Each has its header. docs/control-store.md gives the layout of the tables.
 */
#ifndef RS_CONTROL_REPO_LMDB_STORE_H
#define RS_CONTROL_REPO_LMDB_STORE_H

#include <lmdb.h>
#include <pthread.h>

#include "control/repo/lmdb/state.h"
#include "control/repo/ops.h"
#include "store/record.h"

enum lmdb_table {
    TABLE_META,
    TABLE_REALMS,
    TABLE_CONSUMERS,
    TABLE_NAMES,
    TABLE_KEYS,
    TABLE_SECRETS,
    TABLE_COUNTS,
    TABLE_GROUPS,
    TABLE_TOKENS,
    TABLE_LOG,
    TABLE_DIGESTS,
    TABLES
};

enum {
    LMDB_FORMAT = 3,
    LMDB_FORMAT_NO_DIGESTS = 2, /* is brought up to date when it is opened */
    LMDB_POOL_MAX = 64,         /* idle read transactions that are kept; each holds a reader slot */
    LMDB_ALLOWED_MAX = 1024,    /* control planes that one realm may name */
    LMDB_ROW_MAX_BYTES = RECORD_MAX_BYTES + 64 * 1024
};

struct lmdb_job;

struct lmdb_writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wanted;  /* a job was queued, or stop */
    struct lmdb_job *first; /* borrowed: jobs live on their callers' stacks */
    struct lmdb_job *last;
    bool stopping;
    struct lmdb_state state; /* the writer thread's; what the newest commit left */
};

struct lmdb_listener {
    pthread_mutex_t lock; /* held during the call, so that taking it away waits for the end */
    repo_commit_fn call;  /* NULL: nobody listens */
    void *context;
};

struct lmdb_pool {
    pthread_mutex_t lock;
    MDB_txn *idle[LMDB_POOL_MAX]; /* reset read transactions */
    size_t count;
};

struct lmdb_repo {
    struct repo base; /* first: struct repo * and struct lmdb_repo * are the same address */
    int lock_fd;
    MDB_env *env;
    MDB_dbi tables[TABLES];
    char region[MODEL_REGION_MAX + 1];
    uint64_t keep_versions;
    struct clock clock;
    struct uuid epoch;
    uint8_t digest_secret[DIGEST_KEY_BYTES];
    struct digest_key digest_key;
    struct lmdb_pool pool;
    struct lmdb_listener listener;
    struct lmdb_writer writer;
};

static inline struct lmdb_repo *lmdb_repo(struct repo *repo)
{
    return (struct lmdb_repo *)repo;
}

#endif

/* trees.h - the agent's own look at the pages of its file, before LMDB follows them.
 *
 * LMDB trusts its pages: a flipped bit makes it abort, run in circles or write into the wrong page.
 * So what only reads goes by tree.h alone, and before LMDB is sent to a key in a write transaction,
 * the way there is checked in the version that the transaction began with: every page that it has
 * not written itself is one of those.
 *
 * Failure: E_CORRUPT. The copy is to be replaced.
 */
#ifndef RS_STORE_TREES_H
#define RS_STORE_TREES_H

#include <stdbool.h>

#include "store/env.h"
#include "store/tree.h"

struct trees {
    struct tree free; /* LMDB's own, of free pages */
    struct tree tables[TABLES];
    bool writes; /* in a write transaction: what it has changed is not in here */
    struct tree_seen seen;
};

/* The tables as of transaction `txn_id`, the newest; `env` was opened for writing. */
int trees_open(struct trees *trees, struct env *env, uint64_t txn_id, bool writes,
               struct error *err);
/* Those of a reader's snapshot: of the unnamed table that env_begin_pages() found. */
int trees_open_snapshot(struct trees *trees, const struct tree *unnamed, uint64_t txn_id,
                        struct error *err);
/* All that LMDB itself reads and frees when it takes pages: no number may be out of the file or
 * twice in the list. */
int trees_check_free(const struct trees *trees, struct error *err);
/* Every page of the table, or of every table and the list of free ones. */
int trees_check_table(const struct trees *trees, enum table table, struct error *err);
int trees_check_all(const struct trees *trees, struct error *err);

/* What env_open_writer() lets LMDB go through; before it does. */
int trees_check_names(const char *dir, struct error *err);

#endif

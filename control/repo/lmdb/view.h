/* view.h - what feeds read: a read transaction. */
#ifndef RS_CONTROL_REPO_LMDB_VIEW_H
#define RS_CONTROL_REPO_LMDB_VIEW_H

#include "control/repo/view.h"
#include "control/repo/lmdb/txn.h"

struct lmdb_view {
    struct repo_view base;
    struct lmdb_txn txn;
};
int lmdb_view_init(struct lmdb_view *view, struct lmdb_repo *repo, struct error *err);
void lmdb_view_finish(struct lmdb_view *view);

int lmdb_view_open(struct repo *repo, struct repo_view **ret, struct error *err);

#endif

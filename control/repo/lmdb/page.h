/* page.h - pages of rows. */
#ifndef RS_CONTROL_REPO_LMDB_PAGE_H
#define RS_CONTROL_REPO_LMDB_PAGE_H

#include "control/repo/lmdb/txn.h"

/* A row of a page, borrowed. */
struct lmdb_page_row {
    const struct lmdb_txn *txn;
    const struct uuid *id;
    const MDB_val *value;
    void *context; /* the query's */
};
struct lmdb_page_query {
    enum lmdb_table table;
    struct lmdb_rowkey prefix; /* followed by the row's id */
    size_t row_size;
    /* Whether the actor may know of the row; NULL: every one. */
    int (*sees)(const struct lmdb_txn *txn, const MDB_val *value, bool *ret, struct error *err);
    /* Turns the row into the caller's entity, `row_size` bytes at `ret`. */
    int (*decode)(const struct lmdb_page_row *row, struct arena *arena, void *ret,
                  struct error *err);
    void *context;
};
struct lmdb_page_result {
    void *rows;
    size_t count;
    struct repo_page_info info;
};
int lmdb_page_read(const struct lmdb_txn *txn, const struct lmdb_page_query *query,
                   const struct repo_page *page, struct arena *arena, struct lmdb_page_result *ret,
                   struct error *err);

#endif

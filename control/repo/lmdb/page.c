/* page.c - pages of rows by ascending id.
 *
 * A page is first found (where it starts, how many rows, whether there are others on either side),
 * then its rows are decoded, so that the caller's array has exactly their number. A page that goes
 * backward from an id walks `size` rows back and is then read forward like any other. Bounds are
 * ids, not positions: rows may come and go between two pages. Rows that the actor may not see are
 * not there for it: they fill no page, and are not "more" on either side.
 *
 * A page ends early when its rows are large: a thousand rows at all their limits, in each of many
 * requests at once, would let one caller take the server's memory.
 */
#include "control/repo/lmdb/page.h"

#include <string.h>

#include "control/repo/errors.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/txn.h"

enum { PAGE_MAX_BYTES = 4 * 1024 * 1024 };

struct span {
    struct uuid first; /* when count > 0 */
    size_t count;
    size_t bytes;
    bool more_before;
    bool more_after;
};

struct pager {
    const struct lmdb_txn *txn;
    const struct lmdb_page_query *query;
    MDB_cursor *cursor;
    const struct lmdb_rowkey *prefix;
    MDB_val key;
    MDB_val value;
};

static int sees(const struct pager *pager, bool *ret, struct error *err)
{
    *ret = true;
    return pager->query->sees != NULL ? pager->query->sees(pager->txn, &pager->value, ret, err) : 0;
}

/* One step, in its direction over rows that the actor may not see; E_NOT_FOUND also beyond the
 * prefix. */
static int step(struct pager *pager, MDB_cursor_op op, struct error *err)
{
    const bool backward = op == MDB_PREV || op == MDB_LAST;
    bool seen = false;

    while (!seen) {
        int rc = lmdb_cursor_get(pager->cursor, &pager->key, &pager->value, op, err);

        if (rc != 0)
            return rc;
        if (!lmdb_has_prefix(&pager->key, pager->prefix))
            return E_NOT_FOUND;
        rc = sees(pager, &seen, err);
        if (rc != 0)
            return rc;
        op = backward ? MDB_PREV : MDB_NEXT;
    }
    return 0;
}

/* To the first row at or after `id`. */
static int seek(struct pager *pager, const struct uuid *id, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_with_id(*pager->prefix, id);

    pager->key = (MDB_val){.mv_size = key.size, .mv_data = key.bytes};
    return step(pager, MDB_SET_RANGE, err);
}

static int current_id(const struct pager *pager, struct uuid *ret, struct error *err)
{
    if (pager->key.mv_size != pager->prefix->size + UUID_BYTES)
        return repo_corrupt("a row's key has a wrong size", err);
    memcpy(ret->bytes, (const uint8_t *)pager->key.mv_data + pager->prefix->size, UUID_BYTES);
    return 0;
}

/* To the last row of the prefix below `id`. */
static int seek_below(struct pager *pager, const struct uuid *id, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_with_id(*pager->prefix, id);
    int rc;

    pager->key = (MDB_val){.mv_size = key.size, .mv_data = key.bytes};
    rc = lmdb_cursor_get(pager->cursor, &pager->key, &pager->value, MDB_SET_RANGE, err);
    if (rc != 0 && rc != E_NOT_FOUND)
        return rc;
    return step(pager, rc == 0 ? MDB_PREV : MDB_LAST, err);
}

/* To the first row of the prefix above `id`. */
static int seek_above(struct pager *pager, const struct uuid *id, struct error *err)
{
    struct uuid found;
    int rc = seek(pager, id, err);

    if (rc == 0)
        rc = current_id(pager, &found, err);
    if (rc == 0 && uuid_equal(&found, id))
        rc = step(pager, MDB_NEXT, err);
    return rc;
}

/* Whether the prefix has rows with ids up to `id`, itself included. */
static int exists_up_to(struct pager *pager, const struct uuid *id, bool *ret, struct error *err)
{
    struct uuid found;
    int rc = seek(pager, id, err);

    if (rc == 0)
        rc = current_id(pager, &found, err);
    if (rc != 0 && rc != E_NOT_FOUND)
        return rc;
    *ret = rc == 0 && uuid_equal(&found, id);
    if (*ret)
        return 0;
    rc = seek_below(pager, id, err);
    *ret = rc == 0;
    return rc == E_NOT_FOUND ? 0 : rc;
}

/* Takes the row in; false: the page is full. */
static bool take_row(const struct pager *pager, const struct repo_page *page, struct span *span)
{
    if (span->count == page->size || span->bytes >= PAGE_MAX_BYTES)
        return false;
    span->count++;
    span->bytes += pager->value.mv_size;
    return true;
}

/* Rows below `before`, at most `size`, counted backward. */
static int find_backward(struct pager *pager, const struct repo_page *page, struct span *span,
                         struct error *err)
{
    int rc = seek_below(pager, &page->before, err);
    struct uuid id;

    while (rc == 0) {
        rc = current_id(pager, &id, err);
        if (rc != 0)
            return rc;
        if ((page->has_after && uuid_compare(&id, &page->after) <= 0) ||
            !take_row(pager, page, span))
            break;
        span->first = id;
        rc = step(pager, MDB_PREV, err);
    }
    span->more_before = rc == 0;
    if (rc != 0 && rc != E_NOT_FOUND)
        return rc;
    rc = seek(pager, &page->before, err);
    span->more_after = rc == 0;
    return rc == E_NOT_FOUND ? 0 : rc;
}

static int find_forward(struct pager *pager, const struct repo_page *page, struct span *span,
                        struct error *err)
{
    static const struct uuid nil;
    int rc = page->has_after ? seek_above(pager, &page->after, err) : seek(pager, &nil, err);

    if (rc == 0)
        rc = current_id(pager, &span->first, err);
    while (rc == 0 && take_row(pager, page, span))
        rc = step(pager, MDB_NEXT, err);
    span->more_after = rc == 0;
    if (rc != 0 && rc != E_NOT_FOUND)
        return rc;
    return page->has_after ? exists_up_to(pager, &page->after, &span->more_before, err) : 0;
}

static int decode_span(struct pager *pager, const struct span *span, struct arena *arena,
                       void *rows, struct error *err)
{
    const struct lmdb_page_query *query = pager->query;
    int rc = span->count > 0 ? seek(pager, &span->first, err) : 0;

    for (size_t i = 0; rc == 0 && i < span->count; i++) {
        struct uuid id;
        const struct lmdb_page_row row = {
            .txn = pager->txn, .id = &id, .value = &pager->value, .context = query->context};

        rc = current_id(pager, &id, err);
        if (rc == 0)
            rc = query->decode(&row, arena, (char *)rows + i * query->row_size, err);
        if (rc == 0 && i + 1 < span->count)
            rc = step(pager, MDB_NEXT, err);
    }
    return rc;
}

static int read_page(struct pager *pager, const struct repo_page *page, struct arena *arena,
                     struct lmdb_page_result *ret, struct error *err)
{
    struct span span = {.count = 0};
    void *rows;
    int rc = page->has_before ? find_backward(pager, page, &span, err)
                              : find_forward(pager, page, &span, err);

    if (rc != 0)
        return rc;
    rows = arena_array(arena, span.count, pager->query->row_size);
    if (rows == NULL)
        return repo_no_memory(err);
    rc = decode_span(pager, &span, arena, rows, err);
    if (rc != 0)
        return rc;
    *ret = (struct lmdb_page_result){
        .rows = rows,
        .count = span.count,
        .info = {.more_before = span.more_before, .more_after = span.more_after}};
    return 0;
}

int lmdb_page_read(const struct lmdb_txn *txn, const struct lmdb_page_query *query,
                   const struct repo_page *page, struct arena *arena, struct lmdb_page_result *ret,
                   struct error *err)
{
    struct pager pager = {.txn = txn, .query = query, .prefix = &query->prefix};
    int rc = lmdb_cursor_open(txn, query->table, &pager.cursor, err);

    if (rc != 0)
        return rc;
    rc = read_page(&pager, page, arena, ret, err);
    mdb_cursor_close(pager.cursor);
    return rc;
}

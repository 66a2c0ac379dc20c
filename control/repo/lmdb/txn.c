/* txn.c - thin layer over LMDB: transactions, single rows, walks, error codes.
 *
 * Read transactions are pooled: a reset one keeps its reader slot and holds no page, and renewing
 * it is far cheaper than beginning another. MDB_NOTLS lets any thread take any of them.
 *
 * Failure modes: every LMDB code passes lmdb_error(). "No such row" and "row exists" come back
 * without a message, because only the caller knows what it was looking for.
 */
#include "control/repo/lmdb/txn.h"

#include <string.h>

#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/store.h"
#include "store/lmdb_code.h"

static const char *advice_for(int code)
{
    switch (code) {
    case E_NO_SPACE:
        return "; free space on its file system or raise the address space limit";
    case E_CORRUPT:
    case E_FORMAT:
        return "; restore the data directory from a backup";
    case E_IO:
        return "; check the disk, then restart";
    default:
        return "";
    }
}

int lmdb_error(int code, const char *doing, struct error *err)
{
    int ours;

    if (code == 0)
        return 0;
    ours = lmdb_code(code);
    if (ours == E_PERMISSION)
        ours = E_IO; /* the other is what a caller may not do */
    if (ours == E_NOT_FOUND || ours == E_CONFLICT)
        return error_set(err, ours, NULL);
    return error_set(err, ours, "the control store failed %s: %s%s", doing, mdb_strerror(code),
                     advice_for(ours));
}

static MDB_txn *pool_take(struct lmdb_pool *pool)
{
    MDB_txn *txn = NULL;

    pthread_mutex_lock(&pool->lock);
    if (pool->count > 0)
        txn = pool->idle[--pool->count];
    pthread_mutex_unlock(&pool->lock);
    return txn;
}

int lmdb_txn_open(struct lmdb_repo *repo, struct lmdb_txn *ret, struct error *err)
{
    MDB_txn *txn = pool_take(&repo->pool);
    int rc;

    if (txn != NULL) {
        rc = mdb_txn_renew(txn);
        if (rc != 0)
            mdb_txn_abort(txn);
    } else {
        rc = mdb_txn_begin(repo->env, NULL, MDB_RDONLY, &txn);
    }
    if (rc != 0)
        return lmdb_error(rc, "to begin reading", err);
    *ret = (struct lmdb_txn){.repo = repo, .handle = txn};
    return 0;
}

int lmdb_txn_open_for(const struct repo_call *call, struct lmdb_txn *ret)
{
    int rc = lmdb_txn_open(lmdb_repo(call->repo), ret, call->err);

    if (rc == 0)
        ret->actor = call->actor;
    return rc;
}

void lmdb_txn_close(struct lmdb_txn *txn)
{
    struct lmdb_pool *pool = &txn->repo->pool;
    MDB_txn *handle = txn->handle;

    mdb_txn_reset(handle);
    pthread_mutex_lock(&pool->lock);
    if (pool->count < LMDB_POOL_MAX) {
        pool->idle[pool->count++] = handle;
        handle = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
    if (handle != NULL)
        mdb_txn_abort(handle);
}

/* LMDB takes keys and values through pointers to non-const that it does not write through. */
static MDB_val value_of(const void *bytes, size_t size)
{
    MDB_val value = {.mv_size = size};

    memcpy(&value.mv_data, &bytes, sizeof(value.mv_data));
    return value;
}

int lmdb_get(const struct lmdb_txn *txn, enum lmdb_table table, const struct lmdb_rowkey *key,
             MDB_val *ret, struct error *err)
{
    MDB_val name = value_of(key->bytes, key->size);

    return lmdb_error(mdb_get(txn->handle, txn->repo->tables[table], &name, ret), "to read a row",
                      err);
}

int lmdb_put(const struct lmdb_txn *txn, enum lmdb_table table, const struct lmdb_rowkey *key,
             const void *value, size_t size, struct error *err)
{
    MDB_val name = value_of(key->bytes, key->size);
    MDB_val data = value_of(value, size);

    return lmdb_error(mdb_put(txn->handle, txn->repo->tables[table], &name, &data, 0),
                      "to write a row", err);
}

int lmdb_put_new(const struct lmdb_txn *txn, enum lmdb_table table, const struct lmdb_rowkey *key,
                 const void *value, size_t size, struct error *err)
{
    MDB_val name = value_of(key->bytes, key->size);
    MDB_val data = value_of(value, size);

    return lmdb_error(mdb_put(txn->handle, txn->repo->tables[table], &name, &data, MDB_NOOVERWRITE),
                      "to write a row", err);
}

int lmdb_del(const struct lmdb_txn *txn, enum lmdb_table table, const struct lmdb_rowkey *key,
             struct error *err)
{
    MDB_val name = value_of(key->bytes, key->size);

    return lmdb_error(mdb_del(txn->handle, txn->repo->tables[table], &name, NULL),
                      "to delete a row", err);
}

int lmdb_cursor_open(const struct lmdb_txn *txn, enum lmdb_table table, MDB_cursor **ret,
                     struct error *err)
{
    return lmdb_error(mdb_cursor_open(txn->handle, txn->repo->tables[table], ret),
                      "to open a cursor", err);
}

int lmdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op,
                    struct error *err)
{
    return lmdb_error(mdb_cursor_get(cursor, key, value, op), "to read rows", err);
}

static int txn_walk(MDB_cursor *cursor, const struct lmdb_rowkey *prefix, lmdb_visit_fn visit,
                    void *context, struct error *err)
{
    MDB_val key = value_of(prefix->bytes, prefix->size);
    MDB_val value;
    int rc =
        lmdb_cursor_get(cursor, &key, &value, prefix->size > 0 ? MDB_SET_RANGE : MDB_FIRST, err);

    while (rc == 0 && lmdb_has_prefix(&key, prefix)) {
        rc = visit(context, cursor, &key, &value, err);
        if (rc != 0)
            return rc;
        rc = lmdb_cursor_get(cursor, &key, &value, MDB_NEXT, err);
    }
    return rc == E_NOT_FOUND ? 0 : rc;
}

int lmdb_walk(const struct lmdb_txn *txn, enum lmdb_table table, const struct lmdb_rowkey *prefix,
              lmdb_visit_fn visit, void *context, struct error *err)
{
    MDB_cursor *cursor;
    int rc = lmdb_cursor_open(txn, table, &cursor, err);

    if (rc != 0)
        return rc;
    rc = txn_walk(cursor, prefix, visit, context, err);
    mdb_cursor_close(cursor);
    return rc;
}

static int delete_row(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                      struct error *err)
{
    (void)context;
    (void)key;
    (void)value;
    return lmdb_error(mdb_cursor_del(cursor, 0), "to delete rows", err);
}

int lmdb_del_prefix(const struct lmdb_txn *txn, enum lmdb_table table,
                    const struct lmdb_rowkey *prefix, struct error *err)
{
    return lmdb_walk(txn, table, prefix, delete_row, NULL, err);
}

/* txn.c - thin layer over LMDB: transactions, single rows, walks, error codes.
 *
 * Read transactions are pooled: a reset one keeps its reader slot and holds no page, and renewing
 * it is far cheaper than beginning another. MDB_NOTLS lets any thread take any of them.
 *
 * Failure modes: every LMDB code passes repo_lmdb_error(). "No such row" and "row exists" come back
 * without a message, because only the caller knows what it was looking for.
 */
#include "control/repo/lmdb/repo_lmdb.h"

#include <string.h>

static int code_of(int code)
{
    switch (code) {
    case MDB_NOTFOUND:
        return E_NOT_FOUND;
    case MDB_KEYEXIST:
        return E_CONFLICT;
    case MDB_MAP_FULL:
        return E_NO_SPACE;
    case MDB_TXN_FULL:
        return E_TOO_LARGE;
    case MDB_READERS_FULL:
        return E_READERS_FULL;
    case MDB_VERSION_MISMATCH:
    case MDB_INVALID:
        return E_FORMAT;
    case MDB_PANIC:
        return E_IO;
    default:
        return code > 0 ? error_from_errno(code) : E_CORRUPT;
    }
}

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

int repo_lmdb_error(int code, const char *doing, struct error *err)
{
    int ours;

    if (code == 0)
        return 0;
    ours = code_of(code);
    if (ours == E_NOT_FOUND || ours == E_CONFLICT)
        return error_set(err, ours, NULL);
    return error_set(err, ours, "the control store failed %s: %s%s", doing, mdb_strerror(code),
                     advice_for(ours));
}

static MDB_txn *pool_take(struct repo_pool *pool)
{
    MDB_txn *txn = NULL;

    pthread_mutex_lock(&pool->lock);
    if (pool->count > 0)
        txn = pool->idle[--pool->count];
    pthread_mutex_unlock(&pool->lock);
    return txn;
}

int repo_snapshot_begin(struct repo_lmdb *repo, struct repo_txn *ret, struct error *err)
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
        return repo_lmdb_error(rc, "to begin reading", err);
    *ret = (struct repo_txn){.repo = repo, .handle = txn};
    return 0;
}

int repo_read_begin(const struct repo_call *call, struct repo_txn *ret)
{
    int rc = repo_snapshot_begin(repo_lmdb(call->repo), ret, call->err);

    if (rc == 0)
        ret->actor = call->actor;
    return rc;
}

void repo_read_end(struct repo_txn *txn)
{
    struct repo_pool *pool = &txn->repo->pool;
    MDB_txn *handle = txn->handle;

    mdb_txn_reset(handle);
    pthread_mutex_lock(&pool->lock);
    if (pool->count < REPO_POOL_MAX) {
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

int repo_get(const struct repo_txn *txn, enum repo_table table, const struct repo_bytes *key,
             MDB_val *ret, struct error *err)
{
    MDB_val name = value_of(key->bytes, key->size);

    return repo_lmdb_error(mdb_get(txn->handle, txn->repo->tables[table], &name, ret),
                           "to read a row", err);
}

int repo_put(const struct repo_txn *txn, enum repo_table table, const struct repo_bytes *key,
             const void *value, size_t size, struct error *err)
{
    MDB_val name = value_of(key->bytes, key->size);
    MDB_val data = value_of(value, size);

    return repo_lmdb_error(mdb_put(txn->handle, txn->repo->tables[table], &name, &data, 0),
                           "to write a row", err);
}

int repo_put_new(const struct repo_txn *txn, enum repo_table table, const struct repo_bytes *key,
                 const void *value, size_t size, MDB_val *ret_existing, struct error *err)
{
    MDB_val name = value_of(key->bytes, key->size);
    MDB_val data = value_of(value, size);
    int rc = mdb_put(txn->handle, txn->repo->tables[table], &name, &data, MDB_NOOVERWRITE);

    if (rc == MDB_KEYEXIST)
        *ret_existing = data;
    return repo_lmdb_error(rc, "to write a row", err);
}

int repo_del(const struct repo_txn *txn, enum repo_table table, const struct repo_bytes *key,
             struct error *err)
{
    MDB_val name = value_of(key->bytes, key->size);

    return repo_lmdb_error(mdb_del(txn->handle, txn->repo->tables[table], &name, NULL),
                           "to delete a row", err);
}

int repo_cursor_open(const struct repo_txn *txn, enum repo_table table, MDB_cursor **ret,
                     struct error *err)
{
    return repo_lmdb_error(mdb_cursor_open(txn->handle, txn->repo->tables[table], ret),
                           "to open a cursor", err);
}

int repo_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op,
                    struct error *err)
{
    return repo_lmdb_error(mdb_cursor_get(cursor, key, value, op), "to read rows", err);
}

bool repo_has_prefix(const MDB_val *key, const struct repo_bytes *prefix)
{
    return key->mv_size >= prefix->size && memcmp(key->mv_data, prefix->bytes, prefix->size) == 0;
}

static int walk(MDB_cursor *cursor, const struct repo_bytes *prefix, repo_visit_fn visit,
                void *context, struct error *err)
{
    MDB_val key = value_of(prefix->bytes, prefix->size);
    MDB_val value;
    int rc =
        repo_cursor_get(cursor, &key, &value, prefix->size > 0 ? MDB_SET_RANGE : MDB_FIRST, err);

    while (rc == 0 && repo_has_prefix(&key, prefix)) {
        rc = visit(context, cursor, &key, &value, err);
        if (rc != 0)
            return rc;
        rc = repo_cursor_get(cursor, &key, &value, MDB_NEXT, err);
    }
    return rc == E_NOT_FOUND ? 0 : rc;
}

int repo_walk(const struct repo_txn *txn, enum repo_table table, const struct repo_bytes *prefix,
              repo_visit_fn visit, void *context, struct error *err)
{
    MDB_cursor *cursor;
    int rc = repo_cursor_open(txn, table, &cursor, err);

    if (rc != 0)
        return rc;
    rc = walk(cursor, prefix, visit, context, err);
    mdb_cursor_close(cursor);
    return rc;
}

static int delete_row(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                      struct error *err)
{
    (void)context;
    (void)key;
    (void)value;
    return repo_lmdb_error(mdb_cursor_del(cursor, 0), "to delete rows", err);
}

int repo_del_prefix(const struct repo_txn *txn, enum repo_table table,
                    const struct repo_bytes *prefix, struct error *err)
{
    return repo_walk(txn, table, prefix, delete_row, NULL, err);
}

/* tables.c - see tables.h. */
#include "store/tables.h"

#include <string.h>

#include "store/bytes.h"
#include "store/lmdb_format.h"

static int tables_damaged(struct error *err)
{
    return error_set(err, E_CORRUPT, "a page on the way to a record is damaged");
}

int tables_watch(struct tables *tables, struct env *env, struct trees *trees, bool writes,
                 struct error *err)
{
    uint64_t txn_id = mdb_txn_id(tables->txn) - (writes ? 1 : 0);
    int rc = trees_open(trees, env, txn_id, writes, err);

    tables->trees = rc == 0 ? trees : NULL;
    return rc;
}

/* The transaction's changes are not in the file. */
static const struct tree *readable(const struct tables *tables, enum table table)
{
    return tables->trees != NULL && !tables->trees->writes ? &tables->trees->tables[table] : NULL;
}

static int guard(const struct tables *tables, enum table table, MDB_val key, struct error *err)
{
    if (tables->trees == NULL || tree_guard(&tables->trees->tables[table], key) == 0)
        return 0;
    return tables_damaged(err);
}

static int guard_beside(const struct tables *tables, enum table table, MDB_val key,
                        struct error *err)
{
    if (tables->trees == NULL || tree_guard_delete(&tables->trees->tables[table], key) == 0)
        return 0;
    return tables_damaged(err);
}

static int tables_compare(enum table table, const MDB_val *a, const MDB_val *b)
{
    size_t size = a->mv_size < b->mv_size ? a->mv_size : b->mv_size;
    int order;

    if (table == TABLE_REALMS && size == sizeof(uint32_t)) {
        uint32_t x = bytes_get_u32(a->mv_data);
        uint32_t y = bytes_get_u32(b->mv_data);

        return (x > y) - (x < y);
    }
    order = memcmp(a->mv_data, b->mv_data, size);
    return order != 0 ? order : (a->mv_size > b->mv_size) - (a->mv_size < b->mv_size);
}

/* By the file alone; a whole walk's step proves that a pair is not there. */
static int seek(const struct tree *tree, MDB_val key, MDB_val *ret_key, MDB_val *ret_value,
                struct error *err)
{
    struct tree_walk walk;
    int rc = tree_walk_begin(&walk, tree, key);

    if (rc != 0)
        return rc == E_NOT_FOUND ? rc : tables_damaged(err);
    *ret_key = walk.key;
    *ret_value = walk.value;
    return 0;
}

int tables_get(const struct tables *tables, enum table table, MDB_val key, MDB_val *ret,
               struct error *err)
{
    const struct tree *tree = readable(tables, table);
    MDB_val found;
    MDB_val value;
    int rc;

    if (tree != NULL) {
        rc = seek(tree, key, &found, &value, err);
        if (rc == 0 && tables_compare(table, &found, &key) != 0)
            return E_NOT_FOUND;
        if (rc == 0)
            *ret = value;
        return rc;
    }
    rc = guard(tables, table, key, err);
    if (rc != 0)
        return rc;
    rc = mdb_get(tables->txn, tables->env->tables[table], &key, ret);

    if (rc == 0 || rc == MDB_NOTFOUND)
        return lmdb_code(rc);
    return env_error(err, rc, "read the store");
}

int tables_delete(const struct tables *tables, enum table table, MDB_val key, struct error *err)
{
    int rc = guard_beside(tables, table, key, err);

    if (rc != 0)
        return rc;
    rc = mdb_del(tables->txn, tables->env->tables[table], &key, NULL);
    if (rc == 0 || rc == MDB_NOTFOUND)
        return lmdb_code(rc);
    return env_write_error(tables->env, err, rc, "delete from the store");
}

/* Of a value that has pages of its own. */
static size_t value_pages(const struct env *env, size_t size)
{
    return (size + PAGE_HEAD_BYTES + env->page_bytes - 1) / env->page_bytes;
}

/* LMDB writes a shorter value over a longer one of the same transaction and keeps the longer one's
 * count of pages. A count that fits its value is what tells a sound one from a rotten one, by which
 * LMDB would free the pages of others: so the longer value goes first. */
static int make_way(const struct tables *tables, enum table table, MDB_val key, size_t size,
                    struct error *err)
{
    MDB_val former;
    int rc = mdb_get(tables->txn, tables->env->tables[table], &key, &former);

    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return env_error(err, rc, "read the store");
    return value_pages(tables->env, former.mv_size) > value_pages(tables->env, size)
               ? tables_delete(tables, table, key, err)
               : 0;
}

int tables_put(const struct tables *tables, enum table table, MDB_val key, MDB_val value,
               unsigned flags, struct error *err)
{
    int rc = guard(tables, table, key, err);

    if (rc == 0 && tables->trees != NULL && (flags & MDB_NOOVERWRITE) == 0)
        rc = make_way(tables, table, key, value.mv_size, err);
    if (rc != 0)
        return rc;
    rc = mdb_put(tables->txn, tables->env->tables[table], &key, &value, flags);
    if (rc == 0 || rc == MDB_KEYEXIST)
        return lmdb_code(rc);
    return env_write_error(tables->env, err, rc, "write to the store");
}

int tables_at_or_after(const struct tables *tables, enum table table, MDB_val key, MDB_val *ret_key,
                       MDB_val *ret_value, struct error *err)
{
    const struct tree *tree = readable(tables, table);
    MDB_cursor *cursor;
    int rc;

    if (tree != NULL)
        return seek(tree, key, ret_key, ret_value, err);
    rc = guard_beside(tables, table, key, err);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_open(tables->txn, tables->env->tables[table], &cursor);
    if (rc != 0)
        return env_error(err, rc, "open a cursor");
    *ret_key = key;
    rc = mdb_cursor_get(cursor, ret_key, ret_value, MDB_SET_RANGE);
    mdb_cursor_close(cursor);
    if (rc == 0 && tables_compare(table, ret_key, &key) < 0)
        return tables_damaged(err);
    if (rc == 0 || rc == MDB_NOTFOUND)
        return lmdb_code(rc);
    return env_error(err, rc, "read the store");
}

int tables_before(const struct tables *tables, enum table table, MDB_val key, MDB_val *ret_key,
                  struct error *err)
{
    MDB_cursor *cursor;
    MDB_val value;
    int rc = mdb_cursor_open(tables->txn, tables->env->tables[table], &cursor);

    if (rc != 0)
        return env_error(err, rc, "open a cursor");
    *ret_key = key;
    rc = mdb_cursor_get(cursor, ret_key, &value, MDB_SET_RANGE);
    if (rc == 0 || rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(cursor, ret_key, &value, rc == 0 ? MDB_PREV : MDB_LAST);
    mdb_cursor_close(cursor);
    if (rc == 0 || rc == MDB_NOTFOUND)
        return lmdb_code(rc);
    return env_error(err, rc, "read the store");
}

int tables_first(const struct tables *tables, enum table table, const void *prefix, size_t size,
                 MDB_val *ret_key, MDB_val *ret_value, struct error *err)
{
    int rc = tables_at_or_after(tables, table, env_val(prefix, size), ret_key, ret_value, err);

    if (rc == 0 && (ret_key->mv_size < size || memcmp(ret_key->mv_data, prefix, size) != 0))
        return E_NOT_FOUND;
    return rc;
}

int tables_need_scope(const struct tables *tables, uint32_t scope, struct error *err)
{
    MDB_val value;
    int rc;

    if (scope == MODEL_SCOPE_CP)
        return 0;
    rc = tables_get(tables, TABLE_REALMS, env_val(&scope, sizeof(scope)), &value, err);
    if (rc == E_NOT_FOUND)
        return error_set(err, E_MISSING_REFERENCE, "there is no realm number %u", scope);
    return rc;
}

int tables_put_meta(const struct tables *tables, const struct layout_meta *meta, struct error *err)
{
    unsigned char bytes[LAYOUT_META_BYTES];

    layout_pack_meta(meta, bytes);
    return tables_put(tables, TABLE_META, env_val(layout_meta_key, sizeof(layout_meta_key)),
                      env_val(bytes, sizeof(bytes)), 0, err);
}

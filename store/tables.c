/* tables.c - see tables.h. */
#include "store/tables.h"

#include <string.h>

int tables_get(const struct tables *tables, enum table table, MDB_val key, MDB_val *ret,
               struct error *err)
{
    int rc = mdb_get(tables->txn, tables->env->tables[table], &key, ret);

    if (rc == 0 || rc == MDB_NOTFOUND)
        return env_code(rc);
    return env_error(err, rc, "read the store");
}

int tables_put(const struct tables *tables, enum table table, MDB_val key, MDB_val value,
               unsigned flags, struct error *err)
{
    int rc = mdb_put(tables->txn, tables->env->tables[table], &key, &value, flags);

    if (rc == 0 || rc == MDB_KEYEXIST)
        return env_code(rc);
    return env_error(err, rc, "write to the store");
}

int tables_delete(const struct tables *tables, enum table table, MDB_val key, struct error *err)
{
    int rc = mdb_del(tables->txn, tables->env->tables[table], &key, NULL);

    if (rc == 0 || rc == MDB_NOTFOUND)
        return env_code(rc);
    return env_error(err, rc, "delete from the store");
}

int tables_first(const struct tables *tables, enum table table, const void *prefix, size_t size,
                 MDB_val *ret_key, MDB_val *ret_value, struct error *err)
{
    MDB_val key = env_val(prefix, size);
    MDB_val value;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(tables->txn, tables->env->tables[table], &cursor);

    if (rc != 0)
        return env_error(err, rc, "open a cursor");
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return env_error(err, rc, "read the store");
    if (rc != 0 || key.mv_size < size || memcmp(key.mv_data, prefix, size) != 0)
        return E_NOT_FOUND;
    *ret_key = key;
    *ret_value = value;
    return 0;
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

int tables_need_consumer(const struct tables *tables, uint32_t scope, const struct uuid *id,
                         struct error *err)
{
    unsigned char key[LAYOUT_CONSUMER_KEY_BYTES];
    char text[UUID_TEXT_SIZE];
    MDB_val value;
    int rc;

    layout_consumer_key(scope, id, key);
    rc = tables_get(tables, TABLE_CONSUMERS, env_val(key, sizeof(key)), &value, err);
    if (rc == E_NOT_FOUND)
        return error_set(err, E_MISSING_REFERENCE, "there is no consumer %s in scope %u",
                         uuid_format(id, text), scope);
    return rc;
}

/* Copies the value of a lookup key into `scratch`; empty when there is none. */
static int copy_lookup(const struct tables *tables, uint64_t key, struct buffer *scratch,
                       struct error *err)
{
    MDB_val value;
    int rc = tables_get(tables, TABLE_LOOKUP, env_val(&key, sizeof(key)), &value, err);

    buffer_clear(scratch);
    if (rc == E_NOT_FOUND)
        return 0;
    if (rc != 0)
        return rc;
    if (value.mv_size % LAYOUT_LOOKUP_BYTES != 0)
        return error_set(err, E_CORRUPT, "a lookup entry has a wrong size");
    rc = buffer_append(scratch, value.mv_data, value.mv_size);
    return rc == 0 ? 0 : error_set(err, rc, NULL);
}

/* A digest that stands in the scope already must be this very key's. */
static int check_owner(const struct buffer *value, const struct layout_lookup *entry,
                       struct error *err)
{
    const unsigned char *found = NULL;
    struct layout_lookup owner;
    char ours[UUID_TEXT_SIZE];
    char theirs[UUID_TEXT_SIZE];

    if (value->size > 0)
        found = layout_find_lookup(value->data, value->size, entry->digest, entry->scope);
    if (found == NULL)
        return 0;
    layout_unpack_lookup(found, &owner);
    if (uuid_equal(&owner.key_id, &entry->key_id) &&
        uuid_equal(&owner.consumer_id, &entry->consumer_id))
        return 0;
    return error_set(err, E_PROTOCOL, "keys %s and %s of scope %u have the same secret",
                     uuid_format(&owner.key_id, theirs), uuid_format(&entry->key_id, ours),
                     entry->scope);
}

int tables_put_lookup(const struct tables *tables, const struct layout_lookup *entry,
                      struct buffer *scratch, struct error *err)
{
    uint64_t key = layout_lookup_key(entry->digest);
    int rc = copy_lookup(tables, key, scratch, err);

    if (rc == 0)
        rc = check_owner(scratch, entry, err);
    if (rc != 0)
        return rc;
    rc = layout_put_lookup(scratch, entry);
    if (rc != 0)
        return error_set(err, rc, NULL);
    return tables_put(tables, TABLE_LOOKUP, env_val(&key, sizeof(key)),
                      env_val(scratch->data, scratch->size), 0, err);
}

int tables_drop_lookup(const struct tables *tables, const uint8_t digest[DIGEST_BYTES],
                       uint32_t scope, struct buffer *scratch, struct error *err)
{
    uint64_t key = layout_lookup_key(digest);
    int rc = copy_lookup(tables, key, scratch, err);

    if (rc != 0)
        return rc;
    layout_drop_lookup(scratch, digest, scope);
    if (scratch->size > 0)
        return tables_put(tables, TABLE_LOOKUP, env_val(&key, sizeof(key)),
                          env_val(scratch->data, scratch->size), 0, err);
    rc = tables_delete(tables, TABLE_LOOKUP, env_val(&key, sizeof(key)), err);
    return rc == E_NOT_FOUND ? 0 : rc;
}

int tables_put_meta(const struct tables *tables, const struct layout_meta *meta, struct error *err)
{
    unsigned char bytes[LAYOUT_META_BYTES];

    layout_pack_meta(meta, bytes);
    return tables_put(tables, TABLE_META, env_val(layout_meta_key, sizeof(layout_meta_key)),
                      env_val(bytes, sizeof(bytes)), 0, err);
}

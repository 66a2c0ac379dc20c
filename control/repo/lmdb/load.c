/* load.c - see load.h. Every read of a realm passes lmdb_realm_load(), which
 * looks at the actor. */
#include "control/repo/lmdb/load.h"

#include "control/repo/entity.h"
#include "control/repo/errors.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/visibility.h"

int lmdb_realm_load(const struct lmdb_txn *txn, const struct uuid *id, const char *field,
                    struct repo_realm_row *ret, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_uuid(id);
    MDB_val value;
    int rc = lmdb_get(txn, TABLE_REALMS, &key, &value, err);

    if (rc == 0)
        rc = lmdb_realm_row_read(&value, ret, err);
    if (rc == 0 && !repo_actor_sees(txn->actor, &ret->visibility))
        rc = E_NOT_FOUND;
    return rc == E_NOT_FOUND ? repo_not_found(field, "realm", id, err) : rc;
}

int lmdb_realm_load_to_change(const struct lmdb_txn *txn, const struct uuid *id, const char *field,
                              struct repo_realm_row *ret, struct error *err)
{
    int rc = lmdb_realm_load(txn, id, field, ret, err);

    return rc == 0 ? repo_actor_may_change(txn->actor, &ret->visibility, err) : rc;
}

int lmdb_scope_check(const struct lmdb_txn *txn, const struct repo_scope *scope,
                     enum lmdb_access access, struct error *err)
{
    struct repo_realm_row row;

    if (scope->kind == REPO_SCOPE_CP)
        return repo_actor_may_use(txn->actor, &scope->id, err);
    return access == LMDB_CHANGE ? lmdb_realm_load_to_change(txn, &scope->id, "realmId", &row, err)
                                 : lmdb_realm_load(txn, &scope->id, "realmId", &row, err);
}

int lmdb_consumer_load(const struct lmdb_txn *txn, const struct repo_scope *scope,
                       const struct uuid *id, struct repo_consumer_row *ret, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_consumer(scope, id);
    MDB_val value;
    int rc = lmdb_get(txn, TABLE_CONSUMERS, &key, &value, err);

    if (rc == E_NOT_FOUND)
        return repo_not_found("consumerId", "consumer", id, err);
    return rc == 0 ? lmdb_consumer_row_read(&value, ret, err) : rc;
}

int lmdb_key_load(const struct lmdb_txn *txn, const struct repo_path *path,
                  struct repo_key_row *ret, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_key(path);
    MDB_val value;
    int rc = lmdb_get(txn, TABLE_KEYS, &key, &value, err);

    if (rc == E_NOT_FOUND)
        return repo_not_found("keyId", "key", &path->key_id, err);
    return rc == 0 ? lmdb_key_row_read(&value, ret, err) : rc;
}

int lmdb_key_record(const struct lmdb_txn *txn, const struct repo_scope *scope,
                    const struct repo_key_row *row, struct repo_record *ret, struct error *err)
{
    struct lmdb_rowkey key;
    MDB_val value;
    int rc;

    if (row->record.size > 0) {
        *ret = row->record;
        return 0;
    }
    key = lmdb_rowkey_secret(scope, row->digest);
    rc = lmdb_get(txn, TABLE_SECRETS, &key, &value, err);
    if (rc == 0)
        *ret = (struct repo_record){value.mv_data, value.mv_size};
    return rc == E_NOT_FOUND ? repo_corrupt("a key has no record", err) : rc;
}

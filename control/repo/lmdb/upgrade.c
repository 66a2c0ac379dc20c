/* upgrade.c - see upgrade.h. Stores of format 2 have no digests. */
#include "control/repo/lmdb/upgrade.h"

#include "control/repo/entity.h"
#include "control/repo/errors.h"
#include "control/repo/lmdb/scope_hashes.h"
#include "control/repo/lmdb/load.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/txn.h"

/* Rows of consumers and keys begin with the scope and the consumer. */
static int owner_of(const MDB_val *key, struct repo_scope *ret_scope, unsigned *ret_bucket,
                    struct error *err)
{
    struct lmdb_reader reader = lmdb_reader_on(key);
    struct uuid consumer_id;

    *ret_scope = lmdb_read_scope(&reader);
    consumer_id = lmdb_read_uuid(&reader);
    *ret_bucket = set_hash_bucket(&consumer_id);
    return reader.ok ? 0 : repo_corrupt("a row has a wrong name", err);
}

static int add_realm(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                     struct error *err)
{
    struct repo_scope scope = {.kind = REPO_SCOPE_REALM};
    struct lmdb_reader reader = lmdb_reader_on(key);
    struct repo_realm_row row;
    int rc = lmdb_realm_row_read(value, &row, err);

    (void)cursor;
    scope.id = lmdb_read_uuid(&reader);
    return rc == 0 ? lmdb_scope_hash_change(context, &scope, SET_HASH_BUCKET_OF_REALM, NULL,
                                            &row.record, err)
                   : rc;
}

static int add_consumer(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                        struct error *err)
{
    struct repo_consumer_row row;
    struct repo_scope scope;
    unsigned bucket;
    int rc = owner_of(key, &scope, &bucket, err);

    (void)cursor;
    if (rc == 0)
        rc = lmdb_consumer_row_read(value, &row, err);
    return rc == 0 ? lmdb_scope_hash_change(context, &scope, bucket, NULL, &row.record, err) : rc;
}

static int add_key(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                   struct error *err)
{
    struct repo_key_row row;
    struct repo_scope scope;
    unsigned bucket;
    struct repo_record record;
    int rc = owner_of(key, &scope, &bucket, err);

    (void)cursor;
    if (rc == 0)
        rc = lmdb_key_row_read(value, &row, err);
    if (rc == 0)
        rc = lmdb_key_record(context, &scope, &row, &record, err);
    return rc == 0 ? lmdb_scope_hash_change(context, &scope, bucket, NULL, &record, err) : rc;
}

int lmdb_scope_hash_rebuild(struct lmdb_txn *txn, struct error *err)
{
    static const struct lmdb_rowkey everything;
    int rc = lmdb_del_prefix(txn, TABLE_DIGESTS, &everything, err);

    if (rc == 0)
        rc = lmdb_walk(txn, TABLE_REALMS, &everything, add_realm, txn, err);
    if (rc == 0)
        rc = lmdb_walk(txn, TABLE_CONSUMERS, &everything, add_consumer, txn, err);
    return rc == 0 ? lmdb_walk(txn, TABLE_KEYS, &everything, add_key, txn, err) : rc;
}

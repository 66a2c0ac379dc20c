/* epoch.c - the epoch as its operator sees it: is what hosts may lose with it meant?
 *
 * The acceptance names the epoch that it was given for, in a meta row, so that a later epoch is not
 * accepted by it, nor a former one that comes back with a backup.
 */
#include "control/repo/lmdb/epoch.h"

#include <string.h>

#include "control/repo/errors.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/store.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/lmdb/writer.h"

static const char *const accepted_row = "accepted";

int lmdb_epoch_accepted(const struct lmdb_txn *txn, int64_t *ret_ms, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_meta(accepted_row);
    struct lmdb_reader reader;
    struct uuid epoch;
    int64_t at_ms;
    MDB_val value;
    int rc = lmdb_get(txn, TABLE_META, &key, &value, err);

    *ret_ms = 0;
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    reader = lmdb_reader_on(&value);
    epoch = lmdb_read_uuid(&reader);
    at_ms = (int64_t)lmdb_read_u64(&reader);
    if (!reader.ok)
        return repo_corrupt("the row of the accepted epoch is cut short", err);
    if (uuid_equal(&epoch, &txn->repo->epoch))
        *ret_ms = at_ms;
    return 0;
}

static int write_row(const struct lmdb_write *write, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_meta(accepted_row);
    struct buffer out;
    int rc;

    buffer_init(&out, 64);
    rc = lmdb_append_uuid(&out, &write->txn.repo->epoch);
    if (rc == 0)
        rc = lmdb_append_u64(&out, (uint64_t)write->now_ms);
    rc = rc == 0 ? lmdb_put(&write->txn, TABLE_META, &key, out.data, out.size, err)
                 : repo_encode_error(rc, "the accepted epoch", err);
    buffer_finish(&out);
    return rc;
}

/* The time of the first acceptance stands. */
static int accept(struct lmdb_write *write, void *context, struct error *err)
{
    int64_t accepted_ms;
    int rc = lmdb_epoch_accepted(&write->txn, &accepted_ms, err);

    (void)context;
    return rc == 0 && accepted_ms == 0 ? write_row(write, err) : rc;
}

int lmdb_epoch_accept(struct repo *base, const struct uuid *epoch, struct error *err)
{
    const struct repo_call call = {.repo = base, .err = err};
    struct lmdb_repo *repo = lmdb_repo(base);
    char text[UUID_TEXT_SIZE];

    if (!uuid_equal(epoch, &repo->epoch))
        return error_set(err, E_CONFLICT, "The epoch is %s, not the one to be accepted.",
                         uuid_format(&repo->epoch, text));
    return lmdb_write(&call, accept, NULL, LMDB_WRITE_SHARED);
}

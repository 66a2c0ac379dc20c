/* epoch.c - the epoch as its operator sees it: is what hosts may lose with it meant?
 *
 * The acceptance names the epoch that it was given for, in a meta row, so that a later epoch is not
 * accepted by it, nor a former one that comes back with a backup.
 */
#include <string.h>

#include "control/repo/lmdb/repo_lmdb.h"

static const char *const accepted_row = "accepted";

int repo_epoch_accepted(const struct repo_txn *txn, int64_t *ret_ms, struct error *err)
{
    struct repo_bytes key = repo_meta_key(accepted_row);
    struct repo_reader reader;
    struct uuid epoch;
    int64_t at_ms;
    MDB_val value;
    int rc = repo_get(txn, TABLE_META, &key, &value, err);

    *ret_ms = 0;
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    reader = repo_reader_on(&value);
    epoch = repo_read_uuid(&reader);
    at_ms = (int64_t)repo_read_u64(&reader);
    if (!reader.ok)
        return repo_corrupt("the row of the accepted epoch is cut short", err);
    if (uuid_equal(&epoch, &txn->repo->epoch))
        *ret_ms = at_ms;
    return 0;
}

static int write_row(const struct repo_write *write, struct error *err)
{
    struct repo_bytes key = repo_meta_key(accepted_row);
    struct buffer out;
    int rc;

    buffer_init(&out, 64);
    rc = repo_append_uuid(&out, &write->txn.repo->epoch);
    if (rc == 0)
        rc = repo_append_u64(&out, (uint64_t)write->now_ms);
    rc = rc == 0 ? repo_put(&write->txn, TABLE_META, &key, out.data, out.size, err)
                 : repo_encode_error(rc, "the accepted epoch", err);
    buffer_finish(&out);
    return rc;
}

/* The time of the first acceptance stands. */
static int accept(struct repo_write *write, void *context, struct error *err)
{
    int64_t accepted_ms;
    int rc = repo_epoch_accepted(&write->txn, &accepted_ms, err);

    (void)context;
    return rc == 0 && accepted_ms == 0 ? write_row(write, err) : rc;
}

int lmdb_epoch_accept(struct repo *base, const struct uuid *epoch, struct error *err)
{
    const struct repo_call call = {.repo = base, .err = err};
    struct repo_lmdb *repo = repo_lmdb(base);
    char text[UUID_TEXT_SIZE];

    if (!uuid_equal(epoch, &repo->epoch))
        return error_set(err, E_CONFLICT, "The epoch is %s, not the one to be accepted.",
                         uuid_format(&repo->epoch, text));
    return repo_write(&call, accept, NULL, REPO_WRITE_SHARED);
}

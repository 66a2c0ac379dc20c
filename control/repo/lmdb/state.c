/* state.c - see state.h. Rewritten with every commit. */
#include "control/repo/lmdb/state.h"

#include "control/repo/errors.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/txn.h"

int lmdb_state_read(const struct lmdb_txn *txn, struct lmdb_state *ret, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_meta("state");
    struct lmdb_reader reader;
    MDB_val value;
    int rc = lmdb_get(txn, TABLE_META, &key, &value, err);

    if (rc == E_NOT_FOUND)
        return repo_corrupt("its state row is missing", err);
    if (rc != 0)
        return rc;
    reader = lmdb_reader_on(&value);
    ret->version = lmdb_read_u64(&reader);
    ret->oldest = lmdb_read_u64(&reader);
    ret->time_ms = (int64_t)lmdb_read_u64(&reader);
    ret->next_number = lmdb_read_u32(&reader);
    ret->last_id = lmdb_read_uuid(&reader);
    if (!reader.ok || ret->oldest > ret->version || ret->next_number == 0)
        return repo_corrupt("its state row is wrong", err);
    return 0;
}

int lmdb_state_write(const struct lmdb_txn *txn, const struct lmdb_state *state, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_meta("state");
    struct buffer out;
    int rc;

    buffer_init(&out, 256);
    rc = lmdb_append_u64(&out, state->version);
    if (rc == 0)
        rc = lmdb_append_u64(&out, state->oldest);
    if (rc == 0)
        rc = lmdb_append_u64(&out, (uint64_t)state->time_ms);
    if (rc == 0)
        rc = lmdb_append_u32(&out, state->next_number);
    if (rc == 0)
        rc = lmdb_append_uuid(&out, &state->last_id);
    rc = rc == 0 ? lmdb_put(txn, TABLE_META, &key, out.data, out.size, err)
                 : repo_encode_error(rc, "the state", err);
    buffer_finish(&out);
    return rc;
}

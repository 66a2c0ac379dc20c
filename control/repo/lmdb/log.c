/* log.c - the change log: which entities each version touched, never what they held.
 *
 *     version (big-endian) -> commit time, then one entry for each touched entity
 *
 * A realm's entry says who could see it before the transaction; who can see it after is what the
 * next entry of that realm says, or its row. That is all a feed needs to turn "touched" into
 * "appeared", "changed" and "vanished" for any control plane (delta.c).
 *
 * The log holds the versions in (state.oldest, state.version]. Trimming takes a bounded number of
 * old entries along with each commit, so writers never stop for it.
 */
#include "control/repo/lmdb/log.h"

#include "control/repo/errors.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/state.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/lmdb/writer.h"
#include "control/repo/view.h"

static int append_touch(struct buffer *out, const struct repo_touch *touch)
{
    int rc = lmdb_append_u8(out, (uint8_t)touch->kind);

    if (rc == 0)
        rc = lmdb_append_scope(out, &touch->scope);
    if (rc == 0 && touch->kind == REPO_TOUCH_REALM) {
        rc = lmdb_append_u32(out, touch->number);
        return rc == 0 ? lmdb_append_visibility(out, &touch->before) : rc;
    }
    if (rc == 0)
        rc = lmdb_append_uuid(out, &touch->consumer_id);
    if (rc == 0 && touch->kind == REPO_TOUCH_KEY)
        rc = lmdb_append_uuid(out, &touch->key_id);
    return rc;
}

int lmdb_log_touch(struct lmdb_write *write, const struct repo_touch *touch, struct error *err)
{
    return repo_encode_error(append_touch(&write->touched, touch), "the change log's entry", err);
}

static int put_entry(const struct lmdb_txn *txn, uint64_t version, int64_t time_ms,
                     const struct buffer *touched, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_version(version);
    struct buffer out;
    int rc;

    buffer_init(&out, touched->size + sizeof(uint64_t));
    rc = lmdb_append_u64(&out, (uint64_t)time_ms);
    if (rc == 0)
        rc = buffer_append(&out, touched->data, touched->size);
    rc = repo_encode_error(rc, "the change log's entry", err);
    if (rc == 0)
        rc = lmdb_put(txn, TABLE_LOG, &key, out.data, out.size, err);
    buffer_finish(&out);
    return rc;
}

int lmdb_log_append(struct lmdb_write *write, struct error *err)
{
    if (write->touched.size == 0)
        return 0;
    write->state.version++;
    write->state.time_ms = write->now_ms;
    return put_entry(&write->txn, write->state.version, write->now_ms, &write->touched, err);
}

int lmdb_log_trim(const struct lmdb_txn *txn, struct lmdb_state *state, size_t max,
                  struct error *err)
{
    const uint64_t keep = txn->repo->keep_versions;

    for (size_t i = 0; i < max && state->version - state->oldest > keep; i++) {
        struct lmdb_rowkey key = lmdb_rowkey_version(state->oldest + 1);
        int rc = lmdb_del(txn, TABLE_LOG, &key, err);

        if (rc == E_NOT_FOUND)
            return repo_corrupt("the change log has a gap", err);
        if (rc != 0)
            return rc;
        state->oldest++;
    }
    return 0;
}

/* ---- reading ---- */

static struct repo_touch read_touch(struct lmdb_reader *reader)
{
    struct repo_touch touch = {.kind = (enum repo_touch_kind)lmdb_read_u8(reader)};

    touch.scope = lmdb_read_scope(reader);
    if (touch.kind == REPO_TOUCH_REALM) {
        touch.number = lmdb_read_u32(reader);
        touch.before = lmdb_read_visibility(reader);
        return touch;
    }
    touch.consumer_id = lmdb_read_uuid(reader);
    if (touch.kind == REPO_TOUCH_KEY)
        touch.key_id = lmdb_read_uuid(reader);
    if (touch.kind < REPO_TOUCH_REALM || touch.kind > REPO_TOUCH_KEY)
        reader->ok = false;
    return touch;
}

static int walk_entry(uint64_t version, const MDB_val *value, repo_touch_fn visit, void *context,
                      struct error *err)
{
    struct lmdb_reader reader = lmdb_reader_on(value);
    struct repo_log_position position = {.version = version};

    position.time_ms = (int64_t)lmdb_read_u64(&reader);
    while (reader.ok && reader.left > 0) {
        struct repo_touch touch = read_touch(&reader);
        int rc = reader.ok ? visit(context, &position, &touch, err) : 0;

        if (rc != 0)
            return rc;
    }
    return reader.ok ? 0 : repo_corrupt("an entry of the change log is wrong", err);
}

static bool is_version(const MDB_val *key, uint64_t version)
{
    const struct lmdb_rowkey expected = lmdb_rowkey_version(version);

    return key->mv_size == expected.size && lmdb_has_prefix(key, &expected);
}

static int log_walk(MDB_cursor *cursor, uint64_t from, uint64_t to, repo_touch_fn visit,
                    void *context, struct error *err)
{
    struct lmdb_rowkey start = lmdb_rowkey_version(from + 1);
    MDB_val key = {.mv_size = start.size, .mv_data = start.bytes};
    MDB_val value;
    int rc = lmdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE, err);

    for (uint64_t version = from + 1; rc == 0 && is_version(&key, version); version++) {
        rc = walk_entry(version, &value, visit, context, err);
        if (rc != 0 || version == to)
            return rc;
        rc = lmdb_cursor_get(cursor, &key, &value, MDB_NEXT, err);
    }
    return rc == 0 || rc == E_NOT_FOUND ? repo_corrupt("the change log has a gap", err) : rc;
}

int lmdb_log_walk(const struct lmdb_txn *txn, uint64_t from, uint64_t to, repo_touch_fn visit,
                  void *context, struct error *err)
{
    MDB_cursor *cursor;
    int rc;

    if (from >= to)
        return 0;
    rc = lmdb_cursor_open(txn, TABLE_LOG, &cursor, err);
    if (rc != 0)
        return rc;
    rc = log_walk(cursor, from, to, visit, context, err);
    mdb_cursor_close(cursor);
    return rc;
}

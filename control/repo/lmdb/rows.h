/* rows.h - values of rows as bytes, and back. */
#ifndef RS_CONTROL_REPO_LMDB_ROWS_H
#define RS_CONTROL_REPO_LMDB_ROWS_H

#include "base/buffer.h"
#include "control/repo/entity.h"
#include "control/repo/lmdb/rowkey.h"

/* Bounds-checked reading of a stored value; after a read past the end `ok` is false and all reads
 * give zero. */
struct lmdb_reader {
    const uint8_t *at;
    size_t left;
    bool ok;
};
struct lmdb_reader lmdb_reader_on(const MDB_val *value);
const uint8_t *lmdb_read_bytes(struct lmdb_reader *reader, size_t size); /* NULL when not ok */
uint8_t lmdb_read_u8(struct lmdb_reader *reader);
uint32_t lmdb_read_u32(struct lmdb_reader *reader);
uint64_t lmdb_read_u64(struct lmdb_reader *reader);
struct uuid lmdb_read_uuid(struct lmdb_reader *reader);
struct repo_scope lmdb_read_scope(struct lmdb_reader *reader);

int lmdb_append_u8(struct buffer *out, uint8_t value);
int lmdb_append_u32(struct buffer *out, uint32_t value);
int lmdb_append_u64(struct buffer *out, uint64_t value);
int lmdb_append_uuid(struct buffer *out, const struct uuid *id);
int lmdb_append_scope(struct buffer *out, const struct repo_scope *scope);

int lmdb_append_visibility(struct buffer *out, const struct repo_visibility *visibility);
struct repo_visibility lmdb_read_visibility(struct lmdb_reader *reader);

/* Rows, borrowed from the transaction: the next write in it ends the loan. A key's record is empty
 * in rows from before it was kept here too. */
int lmdb_realm_row_read(const MDB_val *value, struct repo_realm_row *ret, struct error *err);
int lmdb_consumer_row_read(const MDB_val *value, struct repo_consumer_row *ret, struct error *err);
int lmdb_key_row_read(const MDB_val *value, struct repo_key_row *ret, struct error *err);
int lmdb_realm_row_append(const struct repo_realm_row *row, struct buffer *out);
int lmdb_consumer_row_append(const struct repo_consumer_row *row, struct buffer *out);
int lmdb_key_row_append(const struct repo_key_row *row, struct buffer *out);

#endif

/* rows.c - values of the embedded store as bytes, and back.
 *
 * Values are a short head of our own (times, visibility) followed by the record of store/record.h,
 * byte for byte as hosts store it, so that a snapshot copies and never encodes. Integers are
 * little-endian.
 *
 * Failure modes: whatever was read from disk may be wrong; the reader checks bounds and its users
 * answer E_CORRUPT.
 */
#include "control/repo/lmdb/rows.h"

#include <endian.h>
#include <string.h>

#include "control/repo/entity.h"
#include "control/repo/errors.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/visibility.h"

/* ---- reading values ---- */

struct lmdb_reader lmdb_reader_on(const MDB_val *value)
{
    return (struct lmdb_reader){.at = value->mv_data, .left = value->mv_size, .ok = true};
}

const uint8_t *lmdb_read_bytes(struct lmdb_reader *reader, size_t size)
{
    const uint8_t *bytes = reader->at;

    if (!reader->ok || size > reader->left) {
        reader->ok = false;
        return NULL;
    }
    reader->at += size;
    reader->left -= size;
    return bytes;
}

static void read_into(struct lmdb_reader *reader, void *to, size_t size)
{
    const uint8_t *bytes = lmdb_read_bytes(reader, size);

    if (bytes != NULL)
        memcpy(to, bytes, size);
}

uint8_t lmdb_read_u8(struct lmdb_reader *reader)
{
    uint8_t value = 0;

    read_into(reader, &value, sizeof(value));
    return value;
}

uint32_t lmdb_read_u32(struct lmdb_reader *reader)
{
    uint32_t value = 0;

    read_into(reader, &value, sizeof(value));
    return le32toh(value);
}

uint64_t lmdb_read_u64(struct lmdb_reader *reader)
{
    uint64_t value = 0;

    read_into(reader, &value, sizeof(value));
    return le64toh(value);
}

struct uuid lmdb_read_uuid(struct lmdb_reader *reader)
{
    struct uuid id = {{0}};

    read_into(reader, &id, sizeof(id));
    return id;
}

struct repo_scope lmdb_read_scope(struct lmdb_reader *reader)
{
    uint8_t kind = lmdb_read_u8(reader);
    struct repo_scope scope = {.kind =
                                   kind == REPO_SCOPE_CP + 1 ? REPO_SCOPE_CP : REPO_SCOPE_REALM};

    if (kind != REPO_SCOPE_CP + 1 && kind != REPO_SCOPE_REALM + 1)
        reader->ok = false;
    scope.id = lmdb_read_uuid(reader);
    return scope;
}

/* ---- writing values ---- */

int lmdb_append_u8(struct buffer *out, uint8_t value)
{
    return buffer_append(out, &value, sizeof(value));
}

int lmdb_append_u32(struct buffer *out, uint32_t value)
{
    const uint32_t little = htole32(value);

    return buffer_append(out, &little, sizeof(little));
}

int lmdb_append_u64(struct buffer *out, uint64_t value)
{
    const uint64_t little = htole64(value);

    return buffer_append(out, &little, sizeof(little));
}

int lmdb_append_uuid(struct buffer *out, const struct uuid *id)
{
    return buffer_append(out, id->bytes, UUID_BYTES);
}

int lmdb_append_scope(struct buffer *out, const struct repo_scope *scope)
{
    const struct lmdb_rowkey key = lmdb_rowkey_scope(scope);

    return buffer_append(out, key.bytes, key.size);
}

/* ---- visibility ---- */

enum { VISIBILITY_EXISTS = 1, VISIBILITY_ALL = 2 };

int lmdb_append_visibility(struct buffer *out, const struct repo_visibility *visibility)
{
    const unsigned flags = (visibility->exists ? VISIBILITY_EXISTS : 0U) |
                           (visibility->allow_all ? VISIBILITY_ALL : 0U);
    int rc = lmdb_append_u8(out, (uint8_t)flags);

    if (rc == 0)
        rc = lmdb_append_u32(out, visibility->allowed_count);
    if (rc == 0)
        rc = lmdb_append_u32(out, (uint32_t)visibility->allowed_size);
    if (rc == 0)
        rc = buffer_append(out, visibility->allowed, visibility->allowed_size);
    return rc;
}

struct repo_visibility lmdb_read_visibility(struct lmdb_reader *reader)
{
    const unsigned flags = lmdb_read_u8(reader);
    struct repo_visibility visibility = {.exists = (flags & VISIBILITY_EXISTS) != 0,
                                         .allow_all = (flags & VISIBILITY_ALL) != 0};

    visibility.allowed_count = lmdb_read_u32(reader);
    visibility.allowed_size = lmdb_read_u32(reader);
    visibility.allowed = (const char *)lmdb_read_bytes(reader, visibility.allowed_size);
    if (visibility.allowed == NULL)
        return (struct repo_visibility){.exists = false};
    if (visibility.allowed_size > 0 && visibility.allowed[visibility.allowed_size - 1] != '\0')
        reader->ok = false;
    return visibility;
}

/* ---- rows ---- */

/* The rest of a value is its record. */
static struct repo_record read_record(const struct lmdb_reader *reader)
{
    return (struct repo_record){.bytes = reader->at, .size = reader->left};
}

int lmdb_realm_row_read(const MDB_val *value, struct repo_realm_row *ret, struct error *err)
{
    struct lmdb_reader reader = lmdb_reader_on(value);

    ret->created_ms = (int64_t)lmdb_read_u64(&reader);
    ret->updated_ms = (int64_t)lmdb_read_u64(&reader);
    ret->visibility = lmdb_read_visibility(&reader);
    ret->record = read_record(&reader);
    return reader.ok ? 0 : repo_corrupt("a realm's row is cut short", err);
}

int lmdb_consumer_row_read(const MDB_val *value, struct repo_consumer_row *ret, struct error *err)
{
    struct lmdb_reader reader = lmdb_reader_on(value);

    ret->created_ms = (int64_t)lmdb_read_u64(&reader);
    ret->updated_ms = (int64_t)lmdb_read_u64(&reader);
    ret->record = read_record(&reader);
    return reader.ok ? 0 : repo_corrupt("a consumer's row is cut short", err);
}

int lmdb_key_row_read(const MDB_val *value, struct repo_key_row *ret, struct error *err)
{
    struct lmdb_reader reader = lmdb_reader_on(value);

    ret->created_ms = (int64_t)lmdb_read_u64(&reader);
    ret->updated_ms = (int64_t)lmdb_read_u64(&reader);
    ret->type = lmdb_read_u8(&reader) == REPO_KEY_LEGACY ? REPO_KEY_LEGACY : REPO_KEY_NEW;
    read_into(&reader, ret->digest, DIGEST_BYTES);
    ret->record = read_record(&reader);
    return reader.ok ? 0 : repo_corrupt("a key's row is cut short", err);
}

static int append_times(struct buffer *out, int64_t created_ms, int64_t updated_ms)
{
    int rc = lmdb_append_u64(out, (uint64_t)created_ms);

    return rc == 0 ? lmdb_append_u64(out, (uint64_t)updated_ms) : rc;
}

int lmdb_realm_row_append(const struct repo_realm_row *row, struct buffer *out)
{
    int rc = append_times(out, row->created_ms, row->updated_ms);

    if (rc == 0)
        rc = lmdb_append_visibility(out, &row->visibility);
    return rc == 0 ? buffer_append(out, row->record.bytes, row->record.size) : rc;
}

int lmdb_consumer_row_append(const struct repo_consumer_row *row, struct buffer *out)
{
    int rc = append_times(out, row->created_ms, row->updated_ms);

    return rc == 0 ? buffer_append(out, row->record.bytes, row->record.size) : rc;
}

int lmdb_key_row_append(const struct repo_key_row *row, struct buffer *out)
{
    int rc = append_times(out, row->created_ms, row->updated_ms);

    if (rc == 0)
        rc = lmdb_append_u8(out, (uint8_t)row->type);
    if (rc == 0)
        rc = buffer_append(out, row->digest, DIGEST_BYTES);
    return rc == 0 ? buffer_append(out, row->record.bytes, row->record.size) : rc;
}

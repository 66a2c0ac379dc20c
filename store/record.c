/* record.c - checking records and reading them in place.
 *
 * Two depths of trust. record_check() takes hostile bytes and walks everything once, when a record
 * enters a store. record_is_intact() and record_check_header() are for the lookup path, over bytes
 * that passed record_check() once but may have rotted, or be recycled, since: after the latter
 * every accessor stays inside the record, whatever its offsets say, because the last byte is a NUL
 * and an offset out of bounds gives NULL.
 */
#include "store/record.h"

#include <string.h>

#include "base/utf8.h"
#include "store/bytes.h"
#include "store/checksum.h"
#include "store/record_layout.h"

/* ---- head ---- */

static size_t fixed_bytes(enum record_kind kind)
{
    switch (kind) {
    case RECORD_REALM:
        return REALM_FIXED_BYTES;
    case RECORD_CONSUMER:
        return CONSUMER_FIXED_BYTES;
    case RECORD_KEY:
        return KEY_FIXED_BYTES;
    }
    return RECORD_MAX_BYTES; /* no record is that long: refuses the kind */
}

/* How long each list is, in the order of their offsets. */
struct counts {
    uint32_t first;
    uint32_t second; /* only consumers have two lists */
};

static bool read_counts(enum record_kind kind, const unsigned char *record, struct counts *ret)
{
    struct counts counts = {0, 0};

    if (kind == RECORD_CONSUMER) {
        counts.first = bytes_get_u32(record + CONSUMER_AT_GROUPS);
        counts.second = bytes_get_u32(record + CONSUMER_AT_TAGS);
    } else {
        counts.first =
            bytes_get_u32(record + (kind == RECORD_REALM ? REALM_AT_GROUPS : KEY_AT_TAGS));
    }
    BYTES_READ_ONCE(counts.first);
    BYTES_READ_ONCE(counts.second);
    *ret = counts;
    return counts.first <= MODEL_LABELS_MAX && counts.second <= MODEL_LABELS_MAX;
}

static size_t offsets_of(const struct counts *counts)
{
    return (size_t)counts->first + counts->second;
}

static bool check_header(enum record_kind kind, const void *bytes, size_t size, struct counts *ret)
{
    const unsigned char *record = bytes;

    if (size > RECORD_MAX_BYTES || size <= fixed_bytes(kind))
        return false;
    if (record[RECORD_AT_KIND] != kind || record[RECORD_AT_FORMAT] != RECORD_FORMAT ||
        bytes_get_u32(record + RECORD_AT_SIZE) != size || record[size - 1] != 0)
        return false;
    return read_counts(kind, record, ret) &&
           fixed_bytes(kind) + offsets_of(ret) * RECORD_OFFSET_BYTES < size;
}

bool record_check_header(enum record_kind kind, const void *bytes, size_t size)
{
    struct counts counts;

    return check_header(kind, bytes, size, &counts);
}

uint32_t record_checksum(const void *bytes, size_t size)
{
    const unsigned char *record = bytes;

    return checksum_two(record, RECORD_AT_CHECK, record + RECORD_HEAD_BYTES,
                        size - RECORD_HEAD_BYTES);
}

bool record_is_intact(const void *bytes, size_t size)
{
    const unsigned char *record = bytes;

    return size > RECORD_HEAD_BYTES && size <= RECORD_MAX_BYTES &&
           bytes_get_u32(record + RECORD_AT_CHECK) == record_checksum(bytes, size);
}

/* ---- full check ---- */

/* Walks the strings in the only order in which they may stand. */
struct walk {
    const unsigned char *record;
    size_t size;
    size_t string_at; /* where the next string must begin */
};

static bool walk_string(struct walk *walk, uint32_t offset_at, size_t max_bytes)
{
    const unsigned char *string = walk->record + walk->string_at;
    const unsigned char *end;

    if (walk->string_at >= walk->size || bytes_get_u32(walk->record + offset_at) != walk->string_at)
        return false;
    end = memchr(string, 0, walk->size - walk->string_at);
    if (end == NULL || (size_t)(end - string) > max_bytes ||
        !utf8_valid(string, (size_t)(end - string), NULL))
        return false;
    walk->string_at += (size_t)(end - string) + 1;
    return true;
}

static bool walk_optional(struct walk *walk, uint32_t offset_at, size_t max_bytes)
{
    return bytes_get_u32(walk->record + offset_at) == 0 || walk_string(walk, offset_at, max_bytes);
}

/* The labels, then the padding: as short as the alignment allows, and zero. */
static bool walk_rest(struct walk *walk, size_t offsets_at, size_t n_offsets)
{
    size_t strings_at = offsets_at + n_offsets * RECORD_OFFSET_BYTES;
    size_t end;

    for (size_t i = 0; i < n_offsets; i++) {
        if (!walk_string(walk, (uint32_t)(offsets_at + i * RECORD_OFFSET_BYTES), MODEL_LABEL_MAX))
            return false;
    }
    end = walk->string_at > strings_at ? walk->string_at : strings_at + 1;
    if ((end + RECORD_ALIGNMENT - 1) / RECORD_ALIGNMENT * RECORD_ALIGNMENT != walk->size)
        return false;
    for (size_t i = walk->string_at; i < walk->size; i++) {
        if (walk->record[i] != 0)
            return false;
    }
    return true;
}

/* The fields and strings that only one kind has. */
static bool walk_fixed(enum record_kind kind, struct walk *walk)
{
    const unsigned char *record = walk->record;
    uint16_t type = bytes_get_u16(record + RECORD_AT_TYPE);

    switch (kind) {
    case RECORD_REALM:
        return type == 0 && bytes_get_u32(record + REALM_AT_NUMBER) != MODEL_SCOPE_CP &&
               walk_string(walk, REALM_AT_NAME, MODEL_NAME_MAX) &&
               walk_string(walk, REALM_AT_REGION, MODEL_REGION_MAX);
    case RECORD_CONSUMER:
        return type < MODEL_CONSUMER_TYPES &&
               walk_optional(walk, CONSUMER_AT_USERNAME, MODEL_NAME_MAX) &&
               walk_optional(walk, CONSUMER_AT_CUSTOM_ID, MODEL_NAME_MAX);
    case RECORD_KEY:
        return type == 0 && (int64_t)bytes_get_u64(record + KEY_AT_EXPIRES) >= 0;
    }
    return false;
}

bool record_check(enum record_kind kind, const void *bytes, size_t size)
{
    struct walk walk = {.record = bytes, .size = size};
    struct counts counts;

    if (!check_header(kind, bytes, size, &counts) ||
        bytes_get_u32(walk.record + RECORD_AT_CHECK) != record_checksum(bytes, size))
        return false;
    walk.string_at = fixed_bytes(kind) + offsets_of(&counts) * RECORD_OFFSET_BYTES;
    return walk_fixed(kind, &walk) && walk_rest(&walk, fixed_bytes(kind), offsets_of(&counts));
}

/* ---- views ---- */

/* NULL for offset 0 and for one that is out of bounds. */
static const char *string_at(const unsigned char *record, size_t size, uint32_t offset_at)
{
    uint32_t offset = bytes_get_u32(record + offset_at);

    BYTES_READ_ONCE(offset);
    return offset == 0 || offset >= size ? NULL : (const char *)record + offset;
}

const char *record_strings_get(const struct record_strings *list, size_t i)
{
    if (i >= list->count)
        return NULL;
    return string_at(list->record, list->size,
                     list->offsets_at + (uint32_t)(i * RECORD_OFFSET_BYTES));
}

static struct uuid uuid_at(const unsigned char *record, size_t at)
{
    struct uuid id;

    memcpy(id.bytes, record + at, UUID_BYTES);
    return id;
}

static struct record_strings list_at(const unsigned char *record, size_t size, size_t offsets_at,
                                     uint32_t count)
{
    return (struct record_strings){.record = record,
                                   .size = (uint32_t)size,
                                   .offsets_at = (uint32_t)offsets_at,
                                   .count = count};
}

bool record_view_realm(const void *bytes, size_t size, struct record_realm *ret)
{
    const unsigned char *record = bytes;
    struct counts counts;

    if (!check_header(RECORD_REALM, bytes, size, &counts))
        return false;
    *ret = (struct record_realm){
        .id = uuid_at(record, RECORD_AT_ID),
        .number = bytes_get_u32(record + REALM_AT_NUMBER),
        .ttl_min = bytes_get_u32(record + REALM_AT_TTL),
        .negative_ttl_min = bytes_get_u32(record + REALM_AT_NEGATIVE_TTL),
        .name = string_at(record, size, REALM_AT_NAME),
        .region = string_at(record, size, REALM_AT_REGION),
        .groups = list_at(record, size, REALM_FIXED_BYTES, counts.first),
    };
    return true;
}

bool record_view_consumer(const void *bytes, size_t size, struct record_consumer *ret)
{
    const unsigned char *record = bytes;
    struct counts counts;

    if (!check_header(RECORD_CONSUMER, bytes, size, &counts))
        return false;
    *ret = (struct record_consumer){
        .record = record,
        .id = uuid_at(record, RECORD_AT_ID),
        .type = (enum model_consumer_type)bytes_get_u16(record + RECORD_AT_TYPE),
        .username = string_at(record, size, CONSUMER_AT_USERNAME),
        .custom_id = string_at(record, size, CONSUMER_AT_CUSTOM_ID),
        .groups = list_at(record, size, CONSUMER_FIXED_BYTES, counts.first),
        .tags =
            list_at(record, size, CONSUMER_FIXED_BYTES + (size_t)counts.first * RECORD_OFFSET_BYTES,
                    counts.second),
    };
    return true;
}

bool record_view_key(const void *bytes, size_t size, struct record_key *ret)
{
    const unsigned char *record = bytes;
    struct counts counts;

    if (!check_header(RECORD_KEY, bytes, size, &counts))
        return false;
    *ret = (struct record_key){
        .id = uuid_at(record, RECORD_AT_ID),
        .consumer_id = uuid_at(record, KEY_AT_CONSUMER),
        .digest = record + KEY_AT_DIGEST,
        .expires_at_ms = (int64_t)bytes_get_u64(record + KEY_AT_EXPIRES),
        .tags = list_at(record, size, KEY_FIXED_BYTES, counts.first),
    };
    return true;
}

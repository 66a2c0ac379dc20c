/* bucket.c - see bucket.h. */
#include "store/bucket.h"

#include <string.h>

#include "base/error.h"
#include "store/bytes.h"
#include "store/checksum.h"

enum {
    AT_COUNT = 0, /* u32 */
    AT_USED = 4,  /* u32: where the last entry ends */
    AT_SLOTS = 8,
    SLOT_BYTES = 4,
    SLOT_TAG_BITS = 12, /* low bits: of the hash; the others: offset / ENTRY_ALIGNMENT */
    SLOT_TAG_MASK = (1 << SLOT_TAG_BITS) - 1,

    RANGE_AT_FIRST = 0, /* u64; counted from the range's start */
    RANGE_AT_LAST = 8,  /* u64 */
    RANGE_AT_CHECK = 20 /* u32: checksum of count, used, slots, and the range in front of it */
};

void bucket_key(uint64_t last_hash, unsigned char bytes[BUCKET_KEY_BYTES])
{
    bytes[0] = BUCKET_KEY_FIRST_BYTE;
    bytes_put_u32_be(bytes + 1, (uint32_t)(last_hash >> 32));
    bytes_put_u32_be(bytes + 5, (uint32_t)last_hash);
}

bool bucket_key_read(const void *bytes, size_t size, uint64_t *ret)
{
    const unsigned char *key = bytes;

    if (size != BUCKET_KEY_BYTES || key[0] != BUCKET_KEY_FIRST_BYTE)
        return false;
    *ret = bytes_get_u64_be(key + 1);
    return true;
}

/* ---- reading ---- */

static uint32_t tag_of(const uint8_t name[ENTRY_NAME_BYTES])
{
    return (uint32_t)entry_hash(name) & SLOT_TAG_MASK;
}

size_t bucket_count(const void *value, size_t size)
{
    size_t count = size >= AT_SLOTS ? bytes_get_u32((const unsigned char *)value + AT_COUNT) : 0;

    BYTES_READ_ONCE(count);
    return count <= (size - AT_SLOTS) / SLOT_BYTES ? count : 0;
}

size_t bucket_used(const void *value, size_t size)
{
    return size >= AT_SLOTS ? bytes_get_u32((const unsigned char *)value + AT_USED) : 0;
}

static const unsigned char *bucket_follow(const unsigned char *bucket, size_t size, uint32_t slot,
                                          size_t *ret_room)
{
    size_t offset = (size_t)(slot >> SLOT_TAG_BITS) * ENTRY_ALIGNMENT;

    BYTES_READ_ONCE(offset);
    if (offset < AT_SLOTS || size < ENTRY_HEAD_BYTES || offset > size - ENTRY_HEAD_BYTES)
        return NULL;
    *ret_room = size - offset;
    return bucket + offset;
}

const unsigned char *bucket_at(const void *value, size_t size, size_t i, size_t *ret_room)
{
    const unsigned char *bucket = value;

    if (i >= bucket_count(value, size))
        return NULL;
    return bucket_follow(bucket, size, bytes_get_u32(bucket + AT_SLOTS + i * SLOT_BYTES), ret_room);
}

/* Asks for the cache lines that a caller will read next, all at once: head and record of an entry
 * of usual size, whose groups stand last. */
static void fetch(const unsigned char *entry)
{
    enum { LINE_BYTES = 64, LINES = 6 };

    for (int i = 1; i < LINES; i++)
        __builtin_prefetch(entry + (ptrdiff_t)i * LINE_BYTES);
}

const unsigned char *bucket_find(const void *value, size_t size,
                                 const uint8_t name[ENTRY_NAME_BYTES], uint32_t scope,
                                 bool consumer, size_t *ret_room, bool *ret_damaged)
{
    const unsigned char *bucket = value;
    size_t count = bucket_count(value, size);
    uint32_t tag = tag_of(name);

    *ret_damaged = count == 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = bytes_get_u32(bucket + AT_SLOTS + i * SLOT_BYTES);
        const unsigned char *entry;

        if ((slot & SLOT_TAG_MASK) != tag)
            continue;
        entry = bucket_follow(bucket, size, slot, ret_room);
        if (entry == NULL) {
            *ret_damaged = true;
            continue;
        }
        fetch(entry);
        if (entry_is(entry, name, scope, consumer))
            return entry;
        if (!entry_head_check(entry, *ret_room))
            *ret_damaged = true; /* it may have been the one */
    }
    return NULL;
}

/* Where entries begin behind `count` slots. */
static size_t entries_at(size_t count)
{
    return (AT_SLOTS + count * SLOT_BYTES + ENTRY_ALIGNMENT - 1) / ENTRY_ALIGNMENT *
           ENTRY_ALIGNMENT;
}

/* The whole pages that `used` bytes need, less what LMDB takes of the first. */
static size_t padded(size_t used)
{
    size_t pages = (used + BUCKET_PAGE_HEAD_BYTES + BUCKET_PAGE_BYTES - 1) / BUCKET_PAGE_BYTES;

    return pages * BUCKET_PAGE_BYTES - BUCKET_PAGE_HEAD_BYTES;
}

static bool is_zero(const unsigned char *bytes, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

/* ---- the range ---- */

static uint32_t range_check(const unsigned char *bucket, size_t count, const unsigned char *range)
{
    return checksum_two(bucket, AT_SLOTS + count * SLOT_BYTES, range, RANGE_AT_CHECK);
}

/* NULL: an earlier version of the agent wrote the bucket. */
static const unsigned char *range_of(const unsigned char *bucket, size_t size)
{
    if (size < AT_SLOTS + BUCKET_RANGE_BYTES || is_zero(bucket, size - BUCKET_RANGE_BYTES, size))
        return NULL;
    return bucket + size - BUCKET_RANGE_BYTES;
}

bool bucket_range(const void *value, size_t size, uint64_t *ret_first, uint64_t *ret_last)
{
    const unsigned char *range = range_of(value, size);
    size_t count = bucket_count(value, size);

    if (range == NULL || count == 0 ||
        bytes_get_u32(range + RANGE_AT_CHECK) != range_check(value, count, range))
        return false;
    *ret_first = bytes_get_u64(range + RANGE_AT_FIRST);
    *ret_last = bytes_get_u64(range + RANGE_AT_LAST);
    return true;
}

/* What stands between head and range, which begins at `end`. */
static bool check_contents(const unsigned char *bucket, size_t size, size_t end)
{
    const unsigned char *former = NULL;
    size_t count = bucket_count(bucket, size);
    size_t at = entries_at(count);

    if (count == 0 || at > end || padded(bytes_get_u32(bucket + AT_USED) + size - end) != size ||
        !is_zero(bucket, AT_SLOTS + count * SLOT_BYTES, at))
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t room = 0;
        const unsigned char *entry = bucket_at(bucket, size, i, &room);

        if (entry != bucket + at || entry_size(entry) > room ||
            entry_size(entry) % ENTRY_ALIGNMENT != 0 || !entry_check(entry, entry_size(entry)) ||
            (bytes_get_u32(bucket + AT_SLOTS + i * SLOT_BYTES) & SLOT_TAG_MASK) !=
                tag_of(entry_name(entry)) ||
            (former != NULL && entry_compare(former, entry) >= 0))
            return false;
        former = entry;
        at += entry_size(entry);
    }
    return at == bytes_get_u32(bucket + AT_USED) && at <= end && is_zero(bucket, at, end);
}

bool bucket_covers(const void *value, size_t size, uint64_t hash)
{
    uint64_t first;
    uint64_t last;

    if (bucket_range(value, size, &first, &last))
        return first <= hash && hash <= last;
    return check_contents(value, size, size);
}

bool bucket_check(const void *value, size_t size, uint64_t first, uint64_t last)
{
    const unsigned char *bucket = value;
    uint64_t from;
    uint64_t to;

    if (bucket_range(value, size, &from, &to))
        return from <= first && to == last &&
               check_contents(bucket, size, size - BUCKET_RANGE_BYTES);
    return check_contents(bucket, size, size);
}

/* ---- building ---- */

void bucket_draft_init(struct bucket_draft *draft)
{
    buffer_init(&draft->entries, (size_t)2 * BUCKET_MAX_BYTES);
    buffer_init(&draft->offsets, BUCKET_MAX_BYTES / ENTRY_HEAD_BYTES * sizeof(uint32_t));
}

void bucket_draft_finish(struct bucket_draft *draft)
{
    buffer_finish(&draft->entries);
    buffer_finish(&draft->offsets);
}

void bucket_draft_clear(struct bucket_draft *draft)
{
    buffer_clear(&draft->entries);
    buffer_clear(&draft->offsets);
}

int bucket_draft_add(struct bucket_draft *draft, const unsigned char *entry, size_t size)
{
    uint32_t offset = (uint32_t)draft->entries.size;
    int rc = buffer_append(&draft->entries, entry, size);

    return rc == 0 ? buffer_append(&draft->offsets, &offset, sizeof(offset)) : rc;
}

int bucket_draft_edit(struct bucket_draft *draft, const void *value, size_t size,
                      const unsigned char *without, const unsigned char *with)
{
    size_t count = bucket_count(value, size);
    int rc = 0;

    if (size > 0 && count == 0)
        return E_CORRUPT;
    for (size_t i = 0; i < count && rc == 0; i++) {
        size_t room = 0;
        const unsigned char *entry = bucket_at(value, size, i, &room);

        if (entry == NULL || entry_size(entry) > room || entry_size(entry) < ENTRY_HEAD_BYTES)
            return E_CORRUPT;
        if (with != NULL && entry_compare(with, entry) < 0) {
            rc = bucket_draft_add(draft, with, entry_size(with));
            with = NULL;
        }
        if (rc == 0 && (without == NULL || entry_compare(without, entry) != 0))
            rc = bucket_draft_add(draft, entry, entry_size(entry));
    }
    if (rc == 0 && with != NULL)
        rc = bucket_draft_add(draft, with, entry_size(with));
    return rc;
}

size_t bucket_draft_count(const struct bucket_draft *draft)
{
    return draft->offsets.size / sizeof(uint32_t);
}

/* Where the i-th entry begins; the end of all for i = count. */
static size_t offset_of(const struct bucket_draft *draft, size_t i)
{
    uint32_t offset;

    if (i >= bucket_draft_count(draft))
        return draft->entries.size;
    memcpy(&offset, draft->offsets.data + i * sizeof(offset), sizeof(offset));
    return offset;
}

const unsigned char *bucket_draft_at(const struct bucket_draft *draft, size_t i)
{
    return draft->entries.data + offset_of(draft, i);
}

size_t bucket_draft_bytes(const struct bucket_draft *draft, size_t from, size_t to)
{
    return entries_at(to - from) + offset_of(draft, to) - offset_of(draft, from);
}

/* Whether a bucket may end between entries i - 1 and i. */
static bool is_boundary(const struct bucket_draft *draft, size_t i)
{
    return entry_hash(entry_name(bucket_draft_at(draft, i - 1))) !=
           entry_hash(entry_name(bucket_draft_at(draft, i)));
}

size_t bucket_draft_middle(const struct bucket_draft *draft)
{
    size_t count = bucket_draft_count(draft);
    size_t half = draft->entries.size / 2;
    size_t best = count;
    size_t best_distance = SIZE_MAX;

    for (size_t i = 1; i < count; i++) {
        size_t offset = offset_of(draft, i);
        size_t distance = offset > half ? offset - half : half - offset;

        if (distance < best_distance && is_boundary(draft, i)) {
            best = i;
            best_distance = distance;
        }
    }
    return best;
}

static void put_range(unsigned char *bucket, size_t size, size_t count, uint64_t first,
                      uint64_t last)
{
    unsigned char *range = bucket + size - BUCKET_RANGE_BYTES;

    bytes_put_u64(range + RANGE_AT_FIRST, first);
    bytes_put_u64(range + RANGE_AT_LAST, last);
    bytes_put_u32(range + RANGE_AT_CHECK, range_check(bucket, count, range));
}

int bucket_build(const struct bucket_draft *draft, size_t from, size_t to, uint64_t first,
                 uint64_t last, struct buffer *out)
{
    size_t used = bucket_draft_bytes(draft, from, to);
    size_t at = entries_at(to - from);
    size_t size = padded(used + BUCKET_RANGE_BYTES);
    unsigned char *bucket;
    int rc;

    if (size > BUCKET_MAX_BYTES)
        return E_TOO_LARGE;
    buffer_clear(out);
    rc = buffer_append_zero(out, size, &bucket);
    if (rc != 0)
        return rc;
    bytes_put_u32(bucket + AT_COUNT, (uint32_t)(to - from));
    bytes_put_u32(bucket + AT_USED, (uint32_t)used);
    memcpy(bucket + at, bucket_draft_at(draft, from), used - at);
    for (size_t i = from; i < to; i++) {
        size_t offset = at + offset_of(draft, i) - offset_of(draft, from);
        uint32_t tag = tag_of(entry_name(bucket_draft_at(draft, i)));

        bytes_put_u32(bucket + AT_SLOTS + (i - from) * SLOT_BYTES,
                      (uint32_t)(offset / ENTRY_ALIGNMENT) << SLOT_TAG_BITS | tag);
    }
    put_range(bucket, size, to - from, first, last);
    return 0;
}

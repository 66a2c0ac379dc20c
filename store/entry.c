/* entry.c - packing and reading entries; docs/store-format.md has each byte. */
#include "store/entry.h"

#include <string.h>

#include "base/error.h"
#include "store/bytes.h"
#include "store/checksum.h"

enum {
    AT_SIZE = 0,  /* u32: the whole entry */
    AT_CHECK = 4, /* u32: checksum of the other bytes in front of the record */
    AT_NAME = 8,
    AT_SCOPE = 40,
    AT_KIND = 44, /* u32 */
    AT_KEY = 48,
    AT_EXPIRES = 64,
    AT_CONSUMER = ENTRY_HEAD_BYTES, /* of a reference */
    REFERENCE_BYTES = ENTRY_HEAD_BYTES + UUID_BYTES
};

bool entry_is_inline(uint64_t n_keys, size_t record_size)
{
    return n_keys > 0 && n_keys <= ENTRY_INLINE_KEYS && record_size <= ENTRY_INLINE_MAX_BYTES;
}

/* Finalizer of MurmurHash3 (Appleby): spreads every bit of its input over all of its output. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

void entry_name_of_consumer(uint32_t scope, const struct uuid *id, uint8_t name[ENTRY_NAME_BYTES])
{
    uint64_t hash = mix(bytes_get_u64(id->bytes) + scope);

    memset(name, 0, ENTRY_NAME_BYTES);
    bytes_put_u64(name, mix(hash ^ bytes_get_u64(id->bytes + 8)));
    memcpy(name + 8, id->bytes, UUID_BYTES);
}

uint64_t entry_hash(const uint8_t name[ENTRY_NAME_BYTES])
{
    return bytes_get_u64_be(name);
}

/* Bytes of a packed entry that its own checksum covers. */
static size_t covered_bytes(enum entry_kind kind)
{
    return kind == ENTRY_KEY_REFERENCE ? REFERENCE_BYTES : ENTRY_HEAD_BYTES;
}

static uint32_t check_of(const unsigned char *bytes, size_t covered)
{
    return checksum_two(bytes, AT_CHECK, bytes + AT_NAME, covered - AT_NAME);
}

int entry_pack(const struct entry *entry, struct buffer *out)
{
    size_t head = covered_bytes(entry->kind);
    size_t size = head + (entry->record != NULL ? entry->record_size : 0);
    unsigned char *bytes;
    int rc = buffer_append_zero(out, size, &bytes);

    if (rc != 0)
        return rc;
    bytes_put_u32(bytes + AT_SIZE, (uint32_t)size);
    memcpy(bytes + AT_NAME, entry->name, ENTRY_NAME_BYTES);
    bytes_put_u32(bytes + AT_SCOPE, entry->scope);
    bytes_put_u32(bytes + AT_KIND, entry->kind);
    memcpy(bytes + AT_KEY, entry->key_id.bytes, UUID_BYTES);
    bytes_put_u64(bytes + AT_EXPIRES, (uint64_t)entry->expires_at_ms);
    if (entry->kind == ENTRY_KEY_REFERENCE)
        memcpy(bytes + AT_CONSUMER, entry->consumer_id.bytes, UUID_BYTES);
    else if (entry->record != NULL)
        memcpy(bytes + head, entry->record, entry->record_size);
    bytes_put_u32(bytes + AT_CHECK, check_of(bytes, head));
    return 0;
}

bool entry_view(const unsigned char *bytes, size_t room, struct entry *ret)
{
    size_t size;

    if (room < ENTRY_HEAD_BYTES)
        return false;
    size = bytes_get_u32(bytes + AT_SIZE);
    BYTES_READ_ONCE(size);
    if (size > room || size < ENTRY_HEAD_BYTES)
        return false;
    *ret = (struct entry){
        .kind = (enum entry_kind)bytes_get_u32(bytes + AT_KIND),
        .scope = bytes_get_u32(bytes + AT_SCOPE),
        .name = bytes + AT_NAME,
        .expires_at_ms = (int64_t)bytes_get_u64(bytes + AT_EXPIRES),
    };
    memcpy(ret->key_id.bytes, bytes + AT_KEY, UUID_BYTES);
    switch (ret->kind) {
    case ENTRY_KEY_RECORD:
    case ENTRY_CONSUMER:
        ret->record = bytes + ENTRY_HEAD_BYTES;
        ret->record_size = size - ENTRY_HEAD_BYTES;
        return true;
    case ENTRY_KEY_REFERENCE:
        if (size != REFERENCE_BYTES)
            return false;
        memcpy(ret->consumer_id.bytes, bytes + AT_CONSUMER, UUID_BYTES);
        return true;
    }
    return false;
}

bool entry_view_intact(const unsigned char *bytes, size_t room, struct entry *ret)
{
    return entry_view(bytes, room, ret) &&
           bytes_get_u32(bytes + AT_CHECK) == check_of(bytes, covered_bytes(ret->kind));
}

bool entry_head_check(const unsigned char *bytes, size_t room)
{
    struct entry entry;

    return entry_view_intact(bytes, room, &entry);
}

bool entry_check(const unsigned char *bytes, size_t size)
{
    struct entry entry;

    if (!entry_view_intact(bytes, size, &entry) || entry_size(bytes) != size)
        return false;
    return entry.record == NULL || record_check(RECORD_CONSUMER, entry.record, entry.record_size);
}

size_t entry_size(const unsigned char *bytes)
{
    return bytes_get_u32(bytes + AT_SIZE);
}

const uint8_t *entry_name(const unsigned char *bytes)
{
    return bytes + AT_NAME;
}

static bool is_consumer(const unsigned char *bytes)
{
    return bytes_get_u32(bytes + AT_KIND) == ENTRY_CONSUMER;
}

bool entry_is(const unsigned char *bytes, const uint8_t name[ENTRY_NAME_BYTES], uint32_t scope,
              bool consumer)
{
    return memcmp(bytes + AT_NAME, name, ENTRY_NAME_BYTES) == 0 &&
           bytes_get_u32(bytes + AT_SCOPE) == scope && is_consumer(bytes) == consumer;
}

int entry_compare(const unsigned char *a, const unsigned char *b)
{
    int order = memcmp(a + AT_NAME, b + AT_NAME, ENTRY_NAME_BYTES);
    uint32_t scopes[2] = {bytes_get_u32(a + AT_SCOPE), bytes_get_u32(b + AT_SCOPE)};

    if (order != 0)
        return order;
    if (scopes[0] != scopes[1])
        return scopes[0] < scopes[1] ? -1 : 1;
    return (int)is_consumer(a) - (int)is_consumer(b);
}

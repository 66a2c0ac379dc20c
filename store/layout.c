/* layout.c - packing of keys and values; see layout.h for the tables. */
#include "store/layout.h"

#include <string.h>

#include "base/error.h"
#include "store/bytes.h"

enum {
    META_AT_FORMAT = 0,
    META_AT_SIZE = 4,
    META_AT_CONTROL_PLANE = 8,
    META_AT_EPOCH = 24,
    META_AT_VERSION = 40,
    META_AT_COMMIT_TIME = 48,
    META_AT_REALMS = 56,
    META_AT_CONSUMERS = 64,
    META_AT_KEYS = 72,
    META_AT_KEY_CHECK = 80,
    META_AT_REGION = 96,

    LOOKUP_AT_DIGEST = 0,
    LOOKUP_AT_SCOPE = 32, /* 4 zero bytes follow */
    LOOKUP_AT_CONSUMER = 40,
    LOOKUP_AT_KEY = 56,
    LOOKUP_AT_EXPIRES = 72
};

const char layout_meta_key[4] = {'m', 'e', 't', 'a'};

void layout_pack_meta(const struct layout_meta *meta, unsigned char bytes[LAYOUT_META_BYTES])
{
    memset(bytes, 0, LAYOUT_META_BYTES);
    bytes_put_u32(bytes + META_AT_FORMAT, LAYOUT_FORMAT);
    bytes_put_u32(bytes + META_AT_SIZE, LAYOUT_META_BYTES);
    memcpy(bytes + META_AT_CONTROL_PLANE, meta->control_plane_id.bytes, UUID_BYTES);
    memcpy(bytes + META_AT_EPOCH, meta->cursor.epoch.bytes, UUID_BYTES);
    bytes_put_u64(bytes + META_AT_VERSION, meta->cursor.version);
    bytes_put_u64(bytes + META_AT_COMMIT_TIME, (uint64_t)meta->commit_time_ms);
    bytes_put_u64(bytes + META_AT_REALMS, meta->realms);
    bytes_put_u64(bytes + META_AT_CONSUMERS, meta->consumers);
    bytes_put_u64(bytes + META_AT_KEYS, meta->keys);
    memcpy(bytes + META_AT_KEY_CHECK, meta->digest_key_check, LAYOUT_CHECK_BYTES);
    memcpy(bytes + META_AT_REGION, meta->region, strnlen(meta->region, MODEL_REGION_MAX));
}

int layout_unpack_meta(const void *bytes, size_t size, struct layout_meta *ret)
{
    const unsigned char *meta = bytes;

    if (size < META_AT_SIZE)
        return E_CORRUPT;
    if (bytes_get_u32(meta + META_AT_FORMAT) != LAYOUT_FORMAT)
        return E_FORMAT;
    if (size != LAYOUT_META_BYTES || bytes_get_u32(meta + META_AT_SIZE) != size ||
        meta[size - 1] != 0)
        return E_CORRUPT;
    memcpy(ret->control_plane_id.bytes, meta + META_AT_CONTROL_PLANE, UUID_BYTES);
    memcpy(ret->cursor.epoch.bytes, meta + META_AT_EPOCH, UUID_BYTES);
    ret->cursor.version = bytes_get_u64(meta + META_AT_VERSION);
    ret->commit_time_ms = (int64_t)bytes_get_u64(meta + META_AT_COMMIT_TIME);
    ret->realms = bytes_get_u64(meta + META_AT_REALMS);
    ret->consumers = bytes_get_u64(meta + META_AT_CONSUMERS);
    ret->keys = bytes_get_u64(meta + META_AT_KEYS);
    memcpy(ret->digest_key_check, meta + META_AT_KEY_CHECK, LAYOUT_CHECK_BYTES);
    memcpy(ret->region, meta + META_AT_REGION, LAYOUT_REGION_SIZE);
    return 0;
}

void layout_key_check(const uint8_t digest_key[DIGEST_KEY_BYTES], uint8_t check[LAYOUT_CHECK_BYTES])
{
    uint8_t digest[DIGEST_BYTES];

    digest_sha256(digest_key, DIGEST_KEY_BYTES, digest);
    memcpy(check, digest, LAYOUT_CHECK_BYTES);
}

bool layout_region_valid(const char *region)
{
    size_t length = strlen(region);

    return length > 0 && length <= MODEL_REGION_MAX &&
           strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

void layout_consumer_key(uint32_t scope, const struct uuid *consumer_id,
                         unsigned char bytes[LAYOUT_CONSUMER_KEY_BYTES])
{
    bytes_put_u32_be(bytes, scope);
    memcpy(bytes + 4, consumer_id->bytes, UUID_BYTES);
}

void layout_key_key(uint32_t scope, const struct uuid *consumer_id, const struct uuid *key_id,
                    unsigned char bytes[LAYOUT_KEY_KEY_BYTES])
{
    layout_consumer_key(scope, consumer_id, bytes);
    memcpy(bytes + LAYOUT_CONSUMER_KEY_BYTES, key_id->bytes, UUID_BYTES);
}

uint32_t layout_key_scope(const unsigned char *bytes)
{
    return bytes_get_u32_be(bytes);
}

uint64_t layout_lookup_key(const uint8_t digest[DIGEST_BYTES])
{
    return bytes_get_u64_be(digest);
}

void layout_pack_lookup(const struct layout_lookup *entry, unsigned char bytes[LAYOUT_LOOKUP_BYTES])
{
    memset(bytes, 0, LAYOUT_LOOKUP_BYTES);
    memcpy(bytes + LOOKUP_AT_DIGEST, entry->digest, DIGEST_BYTES);
    bytes_put_u32(bytes + LOOKUP_AT_SCOPE, entry->scope);
    memcpy(bytes + LOOKUP_AT_CONSUMER, entry->consumer_id.bytes, UUID_BYTES);
    memcpy(bytes + LOOKUP_AT_KEY, entry->key_id.bytes, UUID_BYTES);
    bytes_put_u64(bytes + LOOKUP_AT_EXPIRES, (uint64_t)entry->expires_at_ms);
}

void layout_unpack_lookup(const unsigned char bytes[LAYOUT_LOOKUP_BYTES], struct layout_lookup *ret)
{
    memcpy(ret->digest, bytes + LOOKUP_AT_DIGEST, DIGEST_BYTES);
    ret->scope = bytes_get_u32(bytes + LOOKUP_AT_SCOPE);
    memcpy(ret->consumer_id.bytes, bytes + LOOKUP_AT_CONSUMER, UUID_BYTES);
    memcpy(ret->key_id.bytes, bytes + LOOKUP_AT_KEY, UUID_BYTES);
    ret->expires_at_ms = (int64_t)bytes_get_u64(bytes + LOOKUP_AT_EXPIRES);
}

/* Order of the entries in one value. */
static int compare(const unsigned char *entry, const uint8_t digest[DIGEST_BYTES], uint32_t scope)
{
    int order = memcmp(entry + LOOKUP_AT_DIGEST, digest, DIGEST_BYTES);
    uint32_t its_scope = bytes_get_u32(entry + LOOKUP_AT_SCOPE);

    if (order != 0)
        return order;
    return its_scope < scope ? -1 : its_scope > scope;
}

const unsigned char *layout_find_lookup(const void *value, size_t size,
                                        const uint8_t digest[DIGEST_BYTES], uint32_t scope)
{
    const unsigned char *entries = value;

    if (size % LAYOUT_LOOKUP_BYTES != 0)
        return NULL;
    for (size_t at = 0; at < size; at += LAYOUT_LOOKUP_BYTES) {
        if (compare(entries + at, digest, scope) == 0)
            return entries + at;
    }
    return NULL;
}

int layout_put_lookup(struct buffer *value, const struct layout_lookup *entry)
{
    size_t at = 0;
    int rc;

    layout_drop_lookup(value, entry->digest, entry->scope);
    rc = buffer_append_zero(value, LAYOUT_LOOKUP_BYTES, NULL);
    if (rc != 0)
        return rc;
    while (at + LAYOUT_LOOKUP_BYTES < value->size &&
           compare(value->data + at, entry->digest, entry->scope) < 0)
        at += LAYOUT_LOOKUP_BYTES;
    memmove(value->data + at + LAYOUT_LOOKUP_BYTES, value->data + at,
            value->size - at - LAYOUT_LOOKUP_BYTES);
    layout_pack_lookup(entry, value->data + at);
    return 0;
}

void layout_drop_lookup(struct buffer *value, const uint8_t digest[DIGEST_BYTES], uint32_t scope)
{
    const unsigned char *found;
    size_t at;

    if (value->size == 0)
        return;
    found = layout_find_lookup(value->data, value->size, digest, scope);
    if (found == NULL)
        return;
    at = (size_t)(found - value->data);
    memmove(value->data + at, found + LAYOUT_LOOKUP_BYTES, value->size - at - LAYOUT_LOOKUP_BYTES);
    value->size -= LAYOUT_LOOKUP_BYTES;
}

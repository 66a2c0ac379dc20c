/* layout.c - packing of keys and values; see layout.h for the tables. */
#include "store/layout.h"

#include <string.h>

#include "base/error.h"
#include "base/grammar.h"
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
    META_AT_REGION = 96
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
    return grammar_is(GRAMMAR_REGION, GRAMMAR_TAKEN, region);
}

void layout_scope_key(uint32_t scope, unsigned char bytes[LAYOUT_SCOPE_BYTES])
{
    bytes_put_u32_be(bytes, scope);
}

void layout_consumer_key(uint32_t scope, const struct uuid *consumer_id,
                         unsigned char bytes[LAYOUT_CONSUMER_KEY_BYTES])
{
    layout_scope_key(scope, bytes);
    memcpy(bytes + LAYOUT_SCOPE_BYTES, consumer_id->bytes, UUID_BYTES);
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

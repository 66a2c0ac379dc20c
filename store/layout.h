/* layout.h - what stands in which table of a generation: keys, and values that are no records.
 *
 *     meta           "meta"                                    -> struct layout_meta
 *     realms         number (native u32, MDB_INTEGERKEY)       -> realm record
 *     realm_ids      realm UUID                                -> number (u32)
 *     consumers      scope (u32 big-endian), UUID              -> consumer record, while the
 * consumer has no keys; else nothing scope, consumer UUID, key UUID            -> hash of the key's
 * lookup entry (u64); with tags also the record lookup         0xff, greatest hash of the bucket
 *                    (u64 big-endian)                          -> bucket (store/bucket.h)
 *
 * `lookup` is LMDB's unnamed database, which a transaction knows without looking it up by name. The
 * others' names are keys in it too; the byte 0xff puts the buckets behind them, to be appended.
 *
 * A consumer's row and those of its keys are neighbours, so that a change of both writes one page.
 *
 * Writer, reader and realmctl all go through this file; nothing else knows an offset.
 */
#ifndef RS_STORE_LAYOUT_H
#define RS_STORE_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/model.h"

enum table {
    TABLE_META,
    TABLE_REALMS,
    TABLE_REALM_IDS,
    TABLE_CONSUMERS,
    TABLE_DIGESTS,
    TABLE_LOOKUP,
    TABLES /* how many there are */
};

enum {
    LAYOUT_FORMAT = 3,
    LAYOUT_META_BYTES = 160,
    LAYOUT_REGION_SIZE = MODEL_REGION_MAX + 1,
    LAYOUT_CHECK_BYTES = 16,
    LAYOUT_SCOPE_BYTES = 4,
    LAYOUT_CONSUMER_KEY_BYTES = LAYOUT_SCOPE_BYTES + UUID_BYTES,
    LAYOUT_KEY_KEY_BYTES = LAYOUT_CONSUMER_KEY_BYTES + UUID_BYTES,
    LAYOUT_HASH_BYTES = 8 /* in front of a record in a key's row */
};

/* The one value of `meta`. */
struct layout_meta {
    struct uuid control_plane_id;
    struct model_cursor cursor;
    int64_t commit_time_ms; /* wall time of the source's commit */
    uint64_t realms;
    uint64_t consumers;
    uint64_t keys;
    uint8_t digest_key_check[LAYOUT_CHECK_BYTES]; /* layout_key_check() of the digest key */
    char region[LAYOUT_REGION_SIZE];
};

extern const char layout_meta_key[4]; /* "meta" without a NUL */

void layout_pack_meta(const struct layout_meta *meta, unsigned char bytes[LAYOUT_META_BYTES]);
/* 0, E_FORMAT (another version wrote it) or E_CORRUPT. */
int layout_unpack_meta(const void *bytes, size_t size, struct layout_meta *ret);

/* Tells a digest key from another without giving it away: the start of its SHA-256. */
void layout_key_check(const uint8_t digest_key[DIGEST_KEY_BYTES],
                      uint8_t check[LAYOUT_CHECK_BYTES]);

/* What keys of a scope begin with. */
void layout_scope_key(uint32_t scope, unsigned char bytes[LAYOUT_SCOPE_BYTES]);
void layout_consumer_key(uint32_t scope, const struct uuid *consumer_id,
                         unsigned char bytes[LAYOUT_CONSUMER_KEY_BYTES]);
void layout_key_key(uint32_t scope, const struct uuid *consumer_id, const struct uuid *key_id,
                    unsigned char bytes[LAYOUT_KEY_KEY_BYTES]);
/* A region is a directory's name: 1 to 63 of a-z, 0-9 and -. */
bool layout_region_valid(const char *region);

/* Both kinds of key begin with the scope. */
uint32_t layout_key_scope(const unsigned char *bytes);

#endif

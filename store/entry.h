/* entry.h - what `lookup` holds: an API key with the consumer it leads to, or a consumer by itself.
 *
 *     key with record      consumers of one or two keys: the record stands with each key, so that a
 *                          lookup ends where it arrives
 *     key with reference   consumers of more keys, or of a long record: the consumer's UUID
 *     consumer             the record that references lead to; also of consumers without keys
 *
 * Every entry has a name of 32 bytes, which places it: a key's is its digest, a consumer's is made
 * from scope and UUID. The name's first 8 bytes, read as big-endian, are the entry's hash; entries
 * are sorted by name, scope and kind.
 */
#ifndef RS_STORE_ENTRY_H
#define RS_STORE_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/model.h"
#include "store/record.h"

enum entry_kind { ENTRY_KEY_RECORD = 1, ENTRY_KEY_REFERENCE = 2, ENTRY_CONSUMER = 3 };

enum {
    ENTRY_HEAD_BYTES = 72, /* what all kinds begin with */
    ENTRY_ALIGNMENT = 8,
    ENTRY_MAX_BYTES = ENTRY_HEAD_BYTES + RECORD_MAX_BYTES,
    ENTRY_INLINE_KEYS = 2,            /* up to so many keys have the record with them */
    ENTRY_INLINE_MAX_BYTES = 8 * 128, /* a longer record would spread keys over many pages */
    ENTRY_NAME_BYTES = DIGEST_BYTES
};

struct entry {
    enum entry_kind kind;
    uint32_t scope;
    const uint8_t *name; /* ENTRY_NAME_BYTES, borrowed */
    struct uuid key_id;  /* nil in consumers */
    int64_t expires_at_ms;
    struct uuid consumer_id;     /* of ENTRY_KEY_REFERENCE; else it is in the record */
    const unsigned char *record; /* borrowed; NULL in ENTRY_KEY_REFERENCE */
    size_t record_size;
};

/* Whether the record of a consumer stands with its keys. */
bool entry_is_inline(uint64_t n_keys, size_t record_size);

void entry_name_of_consumer(uint32_t scope, const struct uuid *id, uint8_t name[ENTRY_NAME_BYTES]);
uint64_t entry_hash(const uint8_t name[ENTRY_NAME_BYTES]);

/* Appends the entry's bytes. */
int entry_pack(const struct entry *entry, struct buffer *out);
/* Reads what stands within `room` bytes, checking bounds only; false when it does not fit. */
bool entry_view(const unsigned char *bytes, size_t room, struct entry *ret);
/* The same, and the checksum of the entry itself. Not of its record: record_is_intact(). */
bool entry_view_intact(const unsigned char *bytes, size_t room, struct entry *ret);
bool entry_head_check(const unsigned char *bytes, size_t room);
/* Full check of `size` bytes: shape, checksum, the record in it. */
bool entry_check(const unsigned char *bytes, size_t size);

/* Bytes that the entry says it has; `bytes` must hold ENTRY_HEAD_BYTES. */
size_t entry_size(const unsigned char *bytes);
/* The packed entry's name, inside it. */
const uint8_t *entry_name(const unsigned char *bytes);
/* Whether the packed entry is this key's or (`consumer`) this consumer's. */
bool entry_is(const unsigned char *bytes, const uint8_t name[ENTRY_NAME_BYTES], uint32_t scope,
              bool consumer);
/* Order of two packed entries; 0: they are of one key or consumer. */
int entry_compare(const unsigned char *a, const unsigned char *b);

#endif

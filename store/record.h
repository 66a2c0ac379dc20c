/* record.h - the flat records of realms, consumers and keys: encoding, checking, reading in place.
 *
 * One layout serves three places: the host's LMDB file, the snapshot stream, and the control
 * plane's embedded store, so that source and host can compare bytes. It is canonical: equal
 * entities have equal bytes. docs/store-format.md describes each byte and tests/data holds golden
 * ones.
 *
 * All integers are little-endian. LMDB gives no alignment beyond 2 bytes inside a page, so every
 * field is read through memcpy. Strings stand NUL-terminated at the end of the record and the
 * record's last byte is a NUL, so that an offset that is in bounds gives a string that ends in
 * bounds.
 */
#ifndef RS_STORE_RECORD_H
#define RS_STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/model.h"

enum record_kind { RECORD_REALM = 1, RECORD_CONSUMER = 2, RECORD_KEY = 3 };

enum {
    RECORD_FORMAT = 2,
    RECORD_MAX_BYTES = 256 * 1024 /* above any entity at the limits of model.h */
};

/* Append the record's bytes. 0, E_INVALID (over a limit of model.h), E_TOO_LARGE, E_NO_MEMORY. */
int record_encode_realm(const struct model_realm *realm, struct buffer *out);
int record_encode_consumer(const struct model_consumer *consumer, struct buffer *out);
int record_encode_key(const struct model_key *key, struct buffer *out);

/* Full check of hostile bytes: kind, format, size, checksum, every offset, every string (inside, in
 * order, terminated, UTF-8, within the limits). True when every accessor below is safe on it. */
bool record_check(enum record_kind kind, const void *bytes, size_t size);

/* Constant-time check: kind, format, size field, final NUL, list bounds. Accessors are memory-safe
 * after it (an offset out of bounds gives NULL), though a string may be wrong; record_is_intact()
 * tells. */
bool record_check_header(enum record_kind kind, const void *bytes, size_t size);

/* What the checksum of a record of `size` bytes must be; at least the head must be there. */
uint32_t record_checksum(const void *bytes, size_t size);

/* Whether the record's checksum fits; any bytes are safe. */
bool record_is_intact(const void *bytes, size_t size);

/* A list of strings inside a record. */
struct record_strings {
    const unsigned char *record; /* borrowed */
    uint32_t size;               /* of the record */
    uint32_t offsets_at;         /* where the array of 32-bit offsets begins */
    uint32_t count;
};
/* The i-th string, or NULL when i or the offset is out of bounds. */
const char *record_strings_get(const struct record_strings *list, size_t i);

/* In-place views, filled without allocation. Pointers are borrowed from `bytes`. False when
 * record_check_header() says no. */
struct record_realm {
    struct uuid id;
    uint32_t number;
    uint32_t ttl_min;
    uint32_t negative_ttl_min;
    const char *name;
    const char *region;
    struct record_strings groups;
};
struct record_consumer {
    const unsigned char *record; /* borrowed */
    struct uuid id;
    enum model_consumer_type type;
    const char *username;  /* NULL: none */
    const char *custom_id; /* NULL: none */
    struct record_strings tags;
    struct record_strings groups;
};
struct record_key {
    struct uuid id;
    struct uuid consumer_id;
    const uint8_t *digest; /* DIGEST_BYTES, borrowed */
    int64_t expires_at_ms;
    struct record_strings tags;
};
bool record_view_realm(const void *bytes, size_t size, struct record_realm *ret);
bool record_view_consumer(const void *bytes, size_t size, struct record_consumer *ret);
bool record_view_key(const void *bytes, size_t size, struct record_key *ret);

#endif

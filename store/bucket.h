/* bucket.h - one value of `lookup`: the entries of a range of hashes, in whole pages.
 *
 *     count | used | slots: u32 each | zeros up to 8 | entries, sorted | zeros | range
 *
 * A leaf of LMDB's tree is searched by halving, each step a cache miss of its own. A bucket takes
 * the leaf's place: its slots, a few bits of hash and the place of each entry, stand in the first
 * cache lines, so that a search costs these and the entry. A value is always so long that LMDB
 * keeps it in pages of its own (16 bytes of each first page are LMDB's), which leaves the tree
 * above so small that it stays in the processor's cache.
 *
 * A bucket stands under the byte 0xff and the greatest hash that belongs to it, big-endian; the
 * range begins behind the former bucket. Entries of one hash are never apart. Nothing here knows
 * LMDB.
 *
 * What is found in a bucket has checksums of its own. What is not found is proved by the range at
 * the bucket's end: the first and the last hash that belong to it, with a checksum over these and
 * the slots. So a "no" depends neither on the entries nor on any page of the tree that led here.
 * Buckets of an earlier version of the agent have zeros there; they are checked in whole instead.
 */
#ifndef RS_STORE_BUCKET_H
#define RS_STORE_BUCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "store/entry.h"

enum {
    BUCKET_KEY_FIRST_BYTE = 0xff, /* behind the names of tables */
    BUCKET_KEY_BYTES = 9,
    BUCKET_PAGE_BYTES = 4096,
    BUCKET_PAGE_HEAD_BYTES = 16, /* LMDB's */
    BUCKET_ONE_PAGE_BYTES = BUCKET_PAGE_BYTES - BUCKET_PAGE_HEAD_BYTES,
    BUCKET_SLOT_ROOM = 8,    /* what one more slot takes at most */
    BUCKET_RANGE_BYTES = 24, /* at the end */
    BUCKET_FULL_BYTES =
        BUCKET_ONE_PAGE_BYTES - BUCKET_RANGE_BYTES, /* of one page, less the range */
    BUCKET_MAX_BYTES = 8 * 1024 * 1024 /* as far as a slot reaches; only equal hashes get there */
};

void bucket_key(uint64_t last_hash, unsigned char bytes[BUCKET_KEY_BYTES]);
/* The greatest hash again; false for any other key. */
bool bucket_key_read(const void *bytes, size_t size, uint64_t *ret);

/* ---- reading; any bytes are safe ---- */

size_t bucket_count(const void *value, size_t size);
size_t bucket_used(const void *value, size_t size); /* bytes, less the final zeros */
/* The i-th entry and how many bytes follow from its start; NULL when the slot or the entry's head
 * is out of bounds. */
const unsigned char *bucket_at(const void *value, size_t size, size_t i, size_t *ret_room);
/* The entry of that name: its address or NULL; *ret_room as above. *ret_damaged when a slot led out
 * of bounds or to a damaged entry: then NULL proves nothing. Else bucket_covers() tells whether it
 * does. */
const unsigned char *bucket_find(const void *value, size_t size,
                                 const uint8_t name[ENTRY_NAME_BYTES], uint32_t scope,
                                 bool consumer, size_t *ret_room, bool *ret_damaged);
/* Whether all entries of the hash must be in this bucket and every slot is as it was written. */
bool bucket_covers(const void *value, size_t size, uint64_t hash);
/* Reads the range; false: there is none, or it is damaged. */
bool bucket_range(const void *value, size_t size, uint64_t *ret_first, uint64_t *ret_last);
/* Whether every byte is what bucket_build() would have written, each entry passes its check, and
 * the bucket covers the hashes from `first` to `last`, which is its key's. */
bool bucket_check(const void *value, size_t size, uint64_t first, uint64_t last);

/* ---- building ---- */

/* Entries to be, in order. */
struct bucket_draft {
    struct buffer entries;
    struct buffer offsets; /* uint32_t each: where an entry begins in `entries` */
};

void bucket_draft_init(struct bucket_draft *draft);
void bucket_draft_finish(struct bucket_draft *draft);
void bucket_draft_clear(struct bucket_draft *draft);
/* Appends. */
int bucket_draft_add(struct bucket_draft *draft, const unsigned char *entry, size_t size);
/* Takes the entries of a value over with one change: what is of the same key or consumer as
 * `without` is left out, `with` gets its place; either may be NULL. E_CORRUPT: the value is no
 * bucket. */
int bucket_draft_edit(struct bucket_draft *draft, const void *value, size_t size,
                      const unsigned char *without, const unsigned char *with);
size_t bucket_draft_count(const struct bucket_draft *draft);
const unsigned char *bucket_draft_at(const struct bucket_draft *draft, size_t i);
/* Bytes of a value with the entries [from, to), less its final zeros. */
size_t bucket_draft_bytes(const struct bucket_draft *draft, size_t from, size_t to);
/* Where to cut a draft that needs more than a page: the hash boundary nearest to the middle; the
 * count when there is none. */
size_t bucket_draft_middle(const struct bucket_draft *draft);
/* Puts the value with the entries [from, to), for the hashes from `first` to `last`, into `out`,
 * replacing its contents. E_TOO_LARGE. */
int bucket_build(const struct bucket_draft *draft, size_t from, size_t to, uint64_t first,
                 uint64_t last, struct buffer *out);

#endif

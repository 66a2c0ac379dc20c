/* set_hash.h - an order-independent digest of a set of records: both ends of the feed keep one for
 * each scope, so that "do we hold the same" is a comparison of 16 bytes.
 *
 * The hash of a set is the sum modulo 2^128 of the first half of each record's SHA-256. So a record
 * comes and goes in constant time, in any order, and sets can be split: a scope has 256 buckets,
 * which together give the scope's hash, and a difference is narrowed down to a bucket. Against
 * chance (rot, a lost change, a mistake of ours) 128 bits are plenty. Against an adversary who may
 * choose many records a sum is no proof; whoever can do that is the control plane itself.
 *
 * A consumer is in the bucket of its UUID, its keys with it; a realm's record in bucket 0.
 */
#ifndef RS_BASE_SET_HASH_H
#define RS_BASE_SET_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"

enum {
    SET_HASH_BYTES = 16,
    SET_HASH_BUCKETS = 256,
    SET_HASH_BUCKET_OF_REALM = 0,
    SET_HASH_MARK_BYTES = SET_HASH_BUCKETS / 8
};

/* All zero: of the empty set. */
struct set_hash {
    uint64_t low;
    uint64_t high;
};

/* Of the set with this one record. */
struct set_hash set_hash_of(const void *record, size_t size);
void set_hash_add(struct set_hash *set, const struct set_hash *part);
void set_hash_remove(struct set_hash *set, const struct set_hash *part);
bool set_hash_equal(const struct set_hash *a, const struct set_hash *b);
bool set_hash_is_zero(const struct set_hash *set);

/* The sum as a little-endian number. */
void set_hash_pack(const struct set_hash *set, uint8_t bytes[SET_HASH_BYTES]);
struct set_hash set_hash_unpack(const uint8_t bytes[SET_HASH_BYTES]);

/* All bytes of the UUID XORed: whatever part of it varies, the buckets fill evenly. */
unsigned set_hash_bucket(const struct uuid *consumer_id);

/* Which buckets of a scope: bucket b is bit b % 8 of byte b / 8. */
struct set_hash_marks {
    uint8_t bits[SET_HASH_MARK_BYTES];
};
void set_hash_mark(struct set_hash_marks *marks, unsigned bucket);
bool set_hash_marked(const struct set_hash_marks *marks, unsigned bucket);
unsigned set_hash_marks_count(const struct set_hash_marks *marks);

#endif

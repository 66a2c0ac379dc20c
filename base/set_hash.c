/* set_hash.c - see set_hash.h. */
#include "base/set_hash.h"

#include <endian.h>
#include <string.h>

#include "base/digest.h"

struct set_hash set_hash_of(const void *record, size_t size)
{
    uint8_t digest[DIGEST_BYTES];

    digest_sha256(record, size, digest);
    return set_hash_unpack(digest);
}

void set_hash_add(struct set_hash *set, const struct set_hash *part)
{
    set->low += part->low;
    set->high += part->high + (set->low < part->low);
}

void set_hash_remove(struct set_hash *set, const struct set_hash *part)
{
    set->high -= part->high + (set->low < part->low);
    set->low -= part->low;
}

bool set_hash_equal(const struct set_hash *a, const struct set_hash *b)
{
    return a->low == b->low && a->high == b->high;
}

bool set_hash_is_zero(const struct set_hash *set)
{
    return set->low == 0 && set->high == 0;
}

void set_hash_pack(const struct set_hash *set, uint8_t bytes[SET_HASH_BYTES])
{
    const uint64_t words[] = {htole64(set->low), htole64(set->high)};

    memcpy(bytes, words, sizeof(words));
}

struct set_hash set_hash_unpack(const uint8_t bytes[SET_HASH_BYTES])
{
    uint64_t words[2];

    memcpy(words, bytes, sizeof(words));
    return (struct set_hash){le64toh(words[0]), le64toh(words[1])};
}

unsigned set_hash_bucket(const struct uuid *consumer_id)
{
    unsigned bucket = 0;

    for (size_t i = 0; i < UUID_BYTES; i++)
        bucket ^= consumer_id->bytes[i];
    return bucket;
}

void set_hash_mark(struct set_hash_marks *marks, unsigned bucket)
{
    marks->bits[bucket / 8] |= (uint8_t)(1U << bucket % 8);
}

bool set_hash_marked(const struct set_hash_marks *marks, unsigned bucket)
{
    return (marks->bits[bucket / 8] >> bucket % 8 & 1) != 0;
}

unsigned set_hash_marks_count(const struct set_hash_marks *marks)
{
    unsigned count = 0;

    for (unsigned bucket = 0; bucket < SET_HASH_BUCKETS; bucket++)
        count += set_hash_marked(marks, bucket);
    return count;
}

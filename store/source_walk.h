/* source_walk.h - inside of the walk over a source's own file; see source_walk.c. */
#ifndef RS_STORE_SOURCE_WALK_H
#define RS_STORE_SOURCE_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/set_hash.h"
#include "base/uuid.h"
#include "store/bucket.h"

enum walk_stage { WALK_LOOKUP, WALK_SCOPES };

struct walk {
    enum walk_stage stage;

    /* WALK_LOOKUP: buckets up to here were seen. */
    bool has_bucket;
    unsigned char bucket[BUCKET_KEY_BYTES];

    /* WALK_SCOPES: consumers of `scope` up to `consumer_id` were seen, and add up to `sums`, live
     * changes included. */
    uint32_t scope;
    bool in_scope; /* else it is the next one */
    bool has_consumer;
    struct uuid consumer_id;
    struct set_hash sums[SET_HASH_BUCKETS];
};

/* A live change has replaced `less` by `more` in the consumer's bucket (NULL: the realm's). */
void walk_note(struct walk *walk, uint32_t scope, const struct uuid *consumer_id,
               const struct set_hash *less, const struct set_hash *more);
/* Something happened that walk_note() was not told of, or that is being taken back: the scope under
 * way is walked again from its start. */
void walk_again(struct walk *walk);
/* Another generation serves. */
void walk_reset(struct walk *walk);

#endif

/* ask_cache.h - answers of control planes, kept in memory for a while.
 *
 * An answer is known by a digest of the key and the place it was looked for in, under a random key
 * of this process; the API key itself is nowhere kept. Found answers stay for the realm's ttl at
 * most, and never past the key's own expiry; misses stay for its negative_ttl. The memory is
 * bounded: what was used least lately goes first.
 *
 * The feed supersedes answers at once. An answer was true at a version (epoch, version) of its
 * source. When all up to some version is visible to lookups (ask_cache_reached()), then
 *
 *   - found answers of that version or an older one, or of another history, go: the store knows
 *     them, and knows what has become of them since. So no answer outlives the change that revokes
 *     its key in the store;
 *   - misses stay: whoever asks has found nothing in the store either, and the store goes first.
 *     With their history they go too (ask_cache_forget()).
 *
 * Belongs to one thread.
 */
#ifndef RS_AGENT_ASK_CACHE_H
#define RS_AGENT_ASK_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/ask_question.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/model.h"

struct ask_cache;

struct ask_answer {
    bool found;
    struct model_cursor cursor; /* when it was true */
    int64_t ttl_ms;             /* how long it may be given */
    int64_t expires_wall_ms;    /* of the key; 0: never */
    const char *text;           /* found: what to answer; else NULL */
};

struct ask_cache_stats {
    uint64_t entries;
    uint64_t bytes;
    uint64_t superseded; /* since the start: dropped because the feed caught up */
    uint64_t evicted;    /* since the start: dropped to make room */
};

/* E_NO_MEMORY; E_IO when the system has no randomness. */
int ask_cache_create(size_t max_bytes, const struct clock *clock, struct ask_cache **ret,
                     struct error *err);
void ask_cache_destroy(struct ask_cache *cache); /* NULL allowed */

/* What an answer is known by. */
void ask_cache_digest(const struct ask_cache *cache, const struct ask_place *place,
                      const char *secret, size_t secret_size, uint8_t digest[DIGEST_BYTES]);

/* Keeps a copy, in the place of an older one; not at all when memory is short. */
void ask_cache_put(struct ask_cache *cache, const uint8_t digest[DIGEST_BYTES], const char *region,
                   const struct ask_answer *answer);
/* The answer, if it may still be given; borrowed until the next call. */
const struct ask_answer *ask_cache_get(struct ask_cache *cache, const uint8_t digest[DIGEST_BYTES]);
void ask_cache_drop(struct ask_cache *cache, const uint8_t digest[DIGEST_BYTES]);
/* All that the source said up to `cursor` is visible to lookups. */
void ask_cache_reached(struct ask_cache *cache, const char *region,
                       const struct model_cursor *cursor);
/* Drops all of the region: it is followed no more, or has another history. */
void ask_cache_forget(struct ask_cache *cache, const char *region);

struct ask_cache_stats ask_cache_stats(const struct ask_cache *cache);

#endif

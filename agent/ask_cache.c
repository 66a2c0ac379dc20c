/* ask_cache.c - see ask_cache.h. */
#include "agent/ask_cache.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

struct kept {
    uint8_t digest[DIGEST_BYTES]; /* the tree's order */
    struct ask_answer answer;
    char region[MODEL_REGION_MAX + 1];
    int64_t expires_boot_ms;
    size_t bytes;
    TAILQ_ENTRY(kept) lru;
    TAILQ_ENTRY(kept) found; /* in the list of found ones, which each commit looks through */
    char text[];             /* the answer's */
};

TAILQ_HEAD(kept_list, kept);

struct ask_cache {
    struct clock clock;
    struct digest_key key;
    size_t max_bytes;
    void *tree;           /* of tsearch(3), over all entries */
    struct kept_list lru; /* all, last used first */
    struct kept_list found;
    struct ask_cache_stats stats;
};

/* A tree node and malloc's own; an estimate is enough for a bound. */
enum { NODE_BYTES = 64 };

/* ---- the tree ---- */

static int ask_cache_compare(const void *a, const void *b)
{
    const struct kept *left = a;
    const struct kept *right = b;

    return memcmp(left->digest, right->digest, DIGEST_BYTES);
}

static struct kept *ask_cache_find(const struct ask_cache *cache,
                                   const uint8_t digest[DIGEST_BYTES])
{
    struct kept wanted;
    struct kept *const *node;

    memcpy(wanted.digest, digest, DIGEST_BYTES);
    node = tfind(&wanted, &cache->tree, ask_cache_compare);
    return node != NULL ? *node : NULL;
}

static void ask_cache_drop_entry(struct ask_cache *cache, struct kept *entry)
{
    (void)tdelete(entry, &cache->tree, ask_cache_compare); /* it is in there */
    TAILQ_REMOVE(&cache->lru, entry, lru);
    if (entry->answer.found)
        TAILQ_REMOVE(&cache->found, entry, found);
    cache->stats.entries--;
    cache->stats.bytes -= entry->bytes;
    free(entry);
}

/* ---- life ---- */

int ask_cache_create(size_t max_bytes, const struct clock *clock, struct ask_cache **ret,
                     struct error *err)
{
    struct ask_cache *cache = calloc(1, sizeof(*cache));
    uint8_t secret[DIGEST_KEY_BYTES];

    if (cache == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    if (getrandom(secret, sizeof(secret), 0) != (ssize_t)sizeof(secret)) {
        free(cache);
        return error_set(err, E_IO, "the system gives no random bytes");
    }
    digest_key_init(&cache->key, secret);
    explicit_bzero(secret, sizeof(secret));
    cache->clock = *clock;
    cache->max_bytes = max_bytes;
    TAILQ_INIT(&cache->lru);
    TAILQ_INIT(&cache->found);
    *ret = cache;
    return 0;
}

void ask_cache_destroy(struct ask_cache *cache)
{
    if (cache == NULL)
        return;
    while (!TAILQ_EMPTY(&cache->lru))
        ask_cache_drop_entry(cache, TAILQ_FIRST(&cache->lru));
    digest_key_wipe(&cache->key);
    free(cache);
}

void ask_cache_digest(const struct ask_cache *cache, const struct ask_place *place,
                      const char *secret, size_t secret_size, uint8_t digest[DIGEST_BYTES])
{
    struct {
        uint8_t is_realm;
        uint8_t realm_id[UUID_BYTES];
        char region[MODEL_REGION_MAX + 1];
        char secret[MODEL_SECRET_MAX];
    } text = {.is_realm = place->is_realm};
    size_t size = secret_size < sizeof(text.secret) ? secret_size : sizeof(text.secret);

    memcpy(text.realm_id, place->realm_id.bytes, UUID_BYTES);
    memcpy(text.region, place->region, strlen(place->region));
    memcpy(text.secret, secret, size);
    digest_compute(&cache->key, &text, sizeof(text) - sizeof(text.secret) + size, digest);
    explicit_bzero(&text, sizeof(text));
}

/* ---- keeping and giving ---- */

static struct kept *make_entry(const struct ask_cache *cache, const uint8_t digest[DIGEST_BYTES],
                               const char *region, const struct ask_answer *answer)
{
    size_t text_size = answer->text != NULL ? strlen(answer->text) + 1 : 0;
    struct kept *entry = malloc(sizeof(*entry) + text_size);

    if (entry == NULL)
        return NULL;
    memset(entry, 0, sizeof(*entry));
    memcpy(entry->digest, digest, DIGEST_BYTES);
    memcpy(entry->region, region, strnlen(region, MODEL_REGION_MAX));
    entry->answer = *answer;
    if (answer->text != NULL) {
        memcpy(entry->text, answer->text, text_size);
        entry->answer.text = entry->text;
    }
    entry->expires_boot_ms = cache->clock.boot_ms(cache->clock.context) + answer->ttl_ms;
    entry->bytes = sizeof(*entry) + text_size + NODE_BYTES;
    return entry;
}

void ask_cache_put(struct ask_cache *cache, const uint8_t digest[DIGEST_BYTES], const char *region,
                   const struct ask_answer *answer)
{
    struct kept *entry = make_entry(cache, digest, region, answer);

    ask_cache_drop(cache, digest);
    if (entry == NULL)
        return;
    if (entry->bytes > cache->max_bytes ||
        tsearch(entry, &cache->tree, ask_cache_compare) == NULL) {
        free(entry);
        return;
    }
    TAILQ_INSERT_HEAD(&cache->lru, entry, lru);
    if (answer->found)
        TAILQ_INSERT_HEAD(&cache->found, entry, found);
    cache->stats.entries++;
    cache->stats.bytes += entry->bytes;
    while (cache->stats.bytes > cache->max_bytes) {
        ask_cache_drop_entry(cache, TAILQ_LAST(&cache->lru, kept_list));
        cache->stats.evicted++;
    }
}

/* The key's own expiry is wall time, which may be set; the ttl counts on the boot clock. */
static bool is_over(const struct ask_cache *cache, const struct kept *entry)
{
    const struct clock *clock = &cache->clock;

    return clock->boot_ms(clock->context) >= entry->expires_boot_ms ||
           model_is_expired(entry->answer.expires_wall_ms, clock->wall_ms(clock->context));
}

const struct ask_answer *ask_cache_get(struct ask_cache *cache, const uint8_t digest[DIGEST_BYTES])
{
    struct kept *entry = ask_cache_find(cache, digest);

    if (entry == NULL)
        return NULL;
    if (is_over(cache, entry)) {
        ask_cache_drop_entry(cache, entry);
        return NULL;
    }
    TAILQ_REMOVE(&cache->lru, entry, lru);
    TAILQ_INSERT_HEAD(&cache->lru, entry, lru);
    return &entry->answer;
}

void ask_cache_drop(struct ask_cache *cache, const uint8_t digest[DIGEST_BYTES])
{
    struct kept *entry = ask_cache_find(cache, digest);

    if (entry != NULL)
        ask_cache_drop_entry(cache, entry);
}

/* ---- the feed ---- */

void ask_cache_reached(struct ask_cache *cache, const char *region,
                       const struct model_cursor *cursor)
{
    struct kept *next;

    for (struct kept *entry = TAILQ_FIRST(&cache->found); entry != NULL; entry = next) {
        const struct model_cursor *true_at = &entry->answer.cursor;
        bool newer =
            uuid_equal(&true_at->epoch, &cursor->epoch) && true_at->version > cursor->version;

        next = TAILQ_NEXT(entry, found);
        if (newer || strcmp(entry->region, region) != 0)
            continue;
        ask_cache_drop_entry(cache, entry);
        cache->stats.superseded++;
    }
}

void ask_cache_forget(struct ask_cache *cache, const char *region)
{
    struct kept *next;

    for (struct kept *entry = TAILQ_FIRST(&cache->lru); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, lru);
        if (strcmp(entry->region, region) != 0)
            continue;
        ask_cache_drop_entry(cache, entry);
        cache->stats.superseded++;
    }
}

struct ask_cache_stats ask_cache_stats(const struct ask_cache *cache)
{
    return cache->stats;
}

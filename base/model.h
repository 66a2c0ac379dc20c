/* model.h - the entities, as every folder sees them: plain values, no behaviour.
 *
 * All pointers are borrowed from whoever made the value (an arena, a decoded line, a record view)
 * and live as long as that owner says. Strings are valid UTF-8 without NUL; their limits, in
 * bytes, stand here because records, feed lines and REST bodies all enforce the same ones.
 */
#ifndef RS_BASE_MODEL_H
#define RS_BASE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/uuid.h"

enum {
    MODEL_NAME_MAX = 1024, /* realm name, username, custom id: 256 characters of up to 4 bytes */
    MODEL_LABEL_MAX = 512, /* one tag or group name: 128 characters */
    MODEL_REGION_MAX = 63,
    MODEL_LABELS_MAX = 64,  /* tags of one entity; groups of one consumer or realm */
    MODEL_SECRET_MAX = 1024 /* an API key, in bytes; longer ones are unknown without a lookup */
};

/* A scope is a realm, known by the number its control plane gave it once and for ever (1, 2, ...),
 * or the control plane's own consumers. */
enum { MODEL_SCOPE_CP = 0 };

enum model_consumer_type {
    MODEL_CONSUMER_PROXY,
    MODEL_CONSUMER_DEVELOPER,
    MODEL_CONSUMER_ADMIN,
    MODEL_CONSUMER_APPLICATION,
    MODEL_CONSUMER_TYPES /* how many there are */
};

struct model_strings {
    const char *const *items;
    size_t count;
};

struct model_realm {
    struct uuid id;
    uint32_t number; /* its scope; 1 or more */
    uint32_t ttl_min;
    uint32_t negative_ttl_min;
    const char *name;
    const char *region;
    struct model_strings groups;
};

struct model_consumer {
    struct uuid id;
    enum model_consumer_type type;
    const char *username;  /* NULL where there is none (control-plane consumers only) */
    const char *custom_id; /* NULL where there is none */
    struct model_strings tags;
    struct model_strings groups;
};

struct model_key {
    struct uuid id;
    struct uuid consumer_id;
    uint8_t digest[DIGEST_BYTES];
    int64_t expires_at_ms; /* wall time; 0: never */
    struct model_strings tags;
};

/* Whether a key with this expiry (0: never) is of no use any more: it is good until its last
 * millisecond, and not in the one that it names. */
static inline bool model_is_expired(int64_t expires_at_ms, int64_t wall_ms)
{
    return expires_at_ms != 0 && expires_at_ms <= wall_ms;
}

/* Where a feed stands: which history (epoch) and how far. A nil epoch is "nothing yet". */
struct model_cursor {
    struct uuid epoch;
    uint64_t version;
};
static inline bool model_cursor_equal(const struct model_cursor *a, const struct model_cursor *b)
{
    return a->version == b->version && uuid_equal(&a->epoch, &b->epoch);
}

#endif

/* change.h - one change of the feed, and its two forms: a C value and one line of NDJSON.
 *
 * Shared by both ends: realm-control encodes with change_encode(), the agent's session decodes with
 * change_decode(). docs/protocol.md gives the lines. A value that was encoded and decoded again is
 * equal to the first (tests/unit/sync/test_change.c holds that).
 */
#ifndef RS_SYNC_CHANGE_H
#define RS_SYNC_CHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/model.h"
#include "base/set_hash.h"

/* In the order in which a transaction carries them: deletes first, so that a secret or a name that
 * one entity gives up is free before another takes it; realms before what lives in them. */
enum change_kind {
    CHANGE_REALM_DELETE,
    CHANGE_KEY_DELETE,
    CHANGE_CONSUMER_DELETE,
    CHANGE_BUCKET, /* what follows in the transaction is all that the bucket of the scope holds */
    CHANGE_REALM,
    CHANGE_CONSUMER,
    CHANGE_KEY,
    CHANGE_KINDS
};

/* Upserts carry the whole entity. Deleting a consumer deletes its keys; deleting a realm deletes
 * all in it; deleting a missing entity succeeds. */
struct change {
    enum change_kind kind;
    uint32_t scope; /* realm number, or MODEL_SCOPE_CP; equals realm.number for realms */
    union {
        struct model_realm realm;       /* CHANGE_REALM */
        struct model_consumer consumer; /* CHANGE_CONSUMER */
        struct model_key key;           /* CHANGE_KEY; id and consumer_id alone for KEY_DELETE */
        struct uuid id;                 /* CHANGE_CONSUMER_DELETE */
        unsigned bucket;                /* CHANGE_BUCKET */
    };
};

/* The set hash of a scope's records after the transaction (base/set_hash.h). */
struct feed_scope_hash {
    uint32_t scope;
    struct set_hash hash;
    const struct set_hash *buckets; /* SET_HASH_BUCKETS, borrowed; NULL: not told */
};

/* What a host asks of the first transaction that its feed carries, besides the changes since its
 * cursor: to compare, or to repair. */
enum feed_wish_kind {
    FEED_WISH_NONE,
    FEED_WISH_DIGESTS, /* the digest of each visible scope */
    FEED_WISH_BUCKETS, /* the digests of the buckets of `scope` */
    FEED_WISH_CONTENT  /* the same, and all that `buckets` of `scope` hold */
};
struct feed_wish {
    enum feed_wish_kind kind;
    uint32_t scope;
    struct set_hash_marks buckets;
};

bool feed_wish_equal(const struct feed_wish *a, const struct feed_wish *b);

/* Appends one line with its newline. 0, E_TOO_LARGE or E_NO_MEMORY. */
int change_encode(const struct change *change, struct buffer *out);

/* What a feed line can be besides a change. */
enum feed_line_kind {
    FEED_LINE_HELLO,
    FEED_LINE_BEGIN,
    FEED_LINE_CHANGE,
    FEED_LINE_DIGEST,
    FEED_LINE_COMMIT,
    FEED_LINE_HEARTBEAT,
    FEED_LINE_PREPARING, /* a snapshot is being made; sent like heartbeats until the resync */
    FEED_LINE_RESYNC
};

enum feed_resync_reason {
    FEED_RESYNC_NO_CURSOR,      /* the agent came with nothing */
    FEED_RESYNC_UNKNOWN_EPOCH,  /* another history: the control plane was restored or replaced */
    FEED_RESYNC_TOO_OLD,        /* the changes since the cursor are no longer kept */
    FEED_RESYNC_FUTURE_VERSION, /* the cursor is ahead of the source */
    FEED_RESYNC_TOO_LARGE,      /* a snapshot is cheaper than the changes */
    FEED_RESYNC_REASONS
};

/* A snapshot file, addressed by its content: the path never means anything else. */
#define SNAPSHOT_PATH "/v1/sync/snapshots/" /* then the digest in lower-case hexadecimal */
struct snapshot_name {
    uint8_t sha256[DIGEST_BYTES]; /* of the compressed bytes */
    uint64_t size;                /* of them */
    struct model_cursor cursor;   /* the one version that it holds */
};

struct feed_line {
    enum feed_line_kind kind;
    union {
        struct {
            uint32_t protocol;
            struct uuid control_plane_id;
            struct uuid epoch;
            uint64_t version; /* the source's current one */
            uint32_t heartbeat_ms;
            const char *region;
            uint8_t digest_key[DIGEST_KEY_BYTES];
            bool accepted; /* an operator has said that this epoch is meant: no guard is needed */
            struct uuid feed; /* which one this is, for acknowledgements; nil: not told */
            bool name_shared; /* another host has this host's name */
        } hello;
        struct {
            uint64_t prev;    /* the version that the feed carried before this transaction */
            uint64_t version; /* the version the store has after it */
            int64_t time_ms;  /* wall time of the source's commit */
        } begin;
        struct change change;
        struct feed_scope_hash digest;
        struct {
            uint64_t version;
            uint64_t changes; /* how many change lines stood between begin and commit */
            bool all_scopes;  /* each visible scope had a digest */
        } commit;
        struct {
            uint64_t version; /* all up to here that this feed may see has been sent */
            int64_t time_ms;
            bool acknowledge; /* somebody waits: say as soon as all of it is visible */
            bool name_shared; /* another host has this host's name */
        } heartbeat;
        struct {
            enum feed_resync_reason reason;
            struct snapshot_name snapshot;
        } resync;
    };
};

/* Longest line either side accepts: an entity at all its limits, JSON-escaped, with room to
 * spare. */
enum { FEED_LINE_MAX_BYTES = 1024 * 1024 };

/* Appends one line with its newline (FEED_LINE_CHANGE goes through change_encode). */
int feed_line_encode(const struct feed_line *line, struct buffer *out);

/* Decodes one line without its newline. Strings and arrays go to the arena, the result borrows
 * them. Every member is checked (types, ranges, limits of model.h, UTF-8, unknown type); unknown
 * members are passed over, so that a newer control plane can add some. 0, E_PROTOCOL with a reason,
 * or E_NO_MEMORY (also when the arena's ceiling is hit). */
int feed_line_decode(const char *text, size_t length, struct arena *arena, struct feed_line *ret,
                     struct error *err);

const char *feed_resync_reason_text(enum feed_resync_reason reason);

#endif

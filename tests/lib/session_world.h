/* session_world.h - a session (sync/session.h) with a sink that makes everything durable at once,
 * and a source on a real socket that does what a script says.
 *
 * A test sets members of a zeroed world, starts it, runs its loop until a condition holds, looks at
 * the counters and finishes it. Include after cmocka.h.
 */
#ifndef RS_TESTS_SESSION_WORLD_H
#define RS_TESTS_SESSION_WORLD_H

#include <inttypes.h>
#include <stdbool.h>

#include "sync/session.h"
#include "tests/lib/fake_source.h"

#define CONTROL_PLANE "497f6eca-6276-4993-bfeb-53cbbbba6f08"
#define OTHER_PLANE   "6c1f1d3e-0000-4000-8000-00000000000b"
#define EPOCH_1       "01932f00-0000-7000-8000-000000000001"
#define EPOCH_2       "01932f00-0000-7000-8000-000000000002"
#define KEY_HEX       "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define TOKEN         "secret-token-of-this-test"

enum {
    NEWEST = 3,
    GUARD_MS = 20 * 1000,
    HEARTBEAT_MS = 200, /* as hellos say, unless told otherwise */
    SNAPSHOT_KEYS = 2000,
    SNAPSHOT_MAX_BYTES = 8 * 1024 * 1024
};

/* What the source does, by number of the feed request (from 1). */
struct session_world;
typedef void (*feed_script)(struct session_world *world, unsigned nth, struct fake_reply *reply);

struct session_world {
    uv_loop_t loop;
    uv_async_t changed;
    uv_timer_t guard;
    bool late;
    struct fake_source *fake;
    struct fake_source *second; /* NULL: the source has one URL */
    struct http_client *http;
    struct session *session;
    bool session_closed;
    bool http_closed;

    /* The source; written by its threads under the fake's lock, read by the loop. */
    feed_script script;
    uint32_t heartbeat_ms; /* what a good source's hello says; 0: HEARTBEAT_MS */
    bool awaited;          /* its heartbeat asks for an acknowledgement */
    const char *epoch;
    _Atomic unsigned feeds;
    _Atomic unsigned snapshots;
    const char *hello_more;     /* members of every hello, each with its comma; NULL: none */
    const char *heartbeat_more; /* the same of a heartbeat */
    const char *ack_status;     /* NULL: 204 */
    char target[2048];          /* of the last feed request */
    char ack_body[1024];        /* of the last acknowledgement */
    _Atomic unsigned acks;
    _Atomic uint64_t acked;
    _Atomic uint64_t verified;
    uint64_t asked;                /* version= of the last feed request; UINT64_MAX: none */
    bool authorized;               /* every request carried the token */
    _Atomic unsigned second_feeds; /* of the feeds, those that were asked of the second URL */
    bool two_urls;
    feed_script second_script;
    size_t cut; /* for scripts */
    const char *text;
    void (*snapshot_script)(struct session_world *world, struct fake_reply *reply);
    bool keep;                 /* what was handed over last is never durable */
    _Atomic bool told_refused; /* in the last request for the feed */
    bool deaf;                 /* knows no ranges */
    unsigned misplaced;        /* answers a range that begins so much later */
    uint64_t range_from;       /* asked for by the last request; UINT64_MAX: all */
    uint64_t size;             /* of the snapshot */
    uint64_t sent;             /* bytes of it, in all answers, before they are cut */

    /* The session. */
    struct uuid instance;

    /* The sink. */
    bool name_shared;
    unsigned name_changes; /* told so often */
    struct model_cursor durable;
    unsigned hellos;
    unsigned heartbeats;
    unsigned transactions;
    unsigned changes;
    unsigned failures;
    struct error last_error;
    enum session_state failed_during;
    uint32_t last_delay_ms;
    unsigned resyncs[SESSION_RESYNCS];
    unsigned snapshots_begun;
    unsigned snapshots_ended;
    unsigned snapshots_aborted;
    unsigned records;
    struct model_cursor loading;
    bool busy; /* something is not durable yet */
    bool full;
    unsigned full_from; /* full when so many records of a snapshot have come; 0: never by itself */
    unsigned pauses;
    bool refuse_key;
    struct feed_wish wish;
    _Atomic uint64_t asked_scope; /* compare= of the last feed request; UINT64_MAX: none */
};

/* ---- life ---- */

/* Short times, but for what a test must not meet by chance. */
extern const struct session_limits session_world_limits;

/* `version` 0: the host has nothing yet; else a cursor of EPOCH_1. */
void session_world_start(struct session_world *world, feed_script script, uint64_t version);
/* Fails the test when the condition does not come to hold. */
void session_world_run_until(struct session_world *world,
                             bool (*condition)(const struct session_world *world));
void session_world_finish(struct session_world *world);

bool session_world_is_current(const struct session_world *world);
bool session_world_is_streaming(const struct session_world *world);
bool session_world_has_paused(const struct session_world *world);
/* A snapshot is on its way. */
bool session_world_copies(const struct session_world *world);
bool session_world_has_failed(const struct session_world *world);

/* ---- what the source says ---- */

void source_put(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void source_put_ok(struct buffer *out); /* the head of a feed */
void source_put_hello(struct buffer *out, const char *control_plane, const char *epoch,
                      unsigned protocol);
void source_put_transaction(struct buffer *out, uint64_t prev, uint64_t version);
void source_put_heartbeat(struct buffer *out);
/* The line that names the snapshot that source_answer_snapshot() gives. */
void source_put_resync(struct buffer *out, const char *epoch, const char *reason);
/* A snapshot of version 1 with keys that do not compress. */
void source_make_snapshot(const char *control_plane, const char *epoch, uint32_t noise,
                          struct buffer *out);

/* What a good source answers to the cursor that was asked with. */
void source_answer_well(struct session_world *world, struct fake_reply *reply);
/* The whole snapshot, or the part that was asked for. */
void source_answer_snapshot(struct session_world *world, struct fake_reply *reply);

void source_always_well(struct session_world *world, unsigned nth, struct fake_reply *reply);
/* The first answer is cut at a byte, world->cut, the others are good. */
void source_cut_first(struct session_world *world, unsigned nth, struct fake_reply *reply);

#endif

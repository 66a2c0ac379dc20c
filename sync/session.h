/* session.h - follows the feed of one source: connects, streams, takes snapshots, backs off, for
 * ever.
 *
 * session_core.h has the state diagram and the limits, docs/protocol.md the protocol and what is
 * done about each kind of trouble. The session knows no store: what it receives goes to a sink.
 *
 *     session_create -> session_start -> sink calls ... -> session_close -> closed()
 *
 * Back-pressure: before each piece it hands over, the session asks sink.full(). While the answer is
 * true the transfer is paused (TCP then slows the source) until session_resume(). At most one
 * buffer of curl (16 KiB of lines, or what 256 bytes of a snapshot decompress to) comes after
 * "full".
 *
 * All functions and callbacks belong to the loop's thread. Sink functions must not call the
 * session.
 */
#ifndef RS_SYNC_SESSION_H
#define RS_SYNC_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "base/model.h"
#include "sync/feed.h"
#include "sync/http.h"
#include "sync/session_core.h"
#include "sync/snapshot.h"

/* Why a snapshot is taken: the source's reasons, then ours. */
enum session_resync {
    SESSION_RESYNC_NO_CURSOR = FEED_RESYNC_NO_CURSOR,
    SESSION_RESYNC_UNKNOWN_EPOCH = FEED_RESYNC_UNKNOWN_EPOCH,
    SESSION_RESYNC_TOO_OLD = FEED_RESYNC_TOO_OLD,
    SESSION_RESYNC_FUTURE_VERSION = FEED_RESYNC_FUTURE_VERSION,
    SESSION_RESYNC_TOO_LARGE = FEED_RESYNC_TOO_LARGE,
    SESSION_RESYNC_GAP = FEED_RESYNC_REASONS, /* the feed did not follow our cursor, twice */
    SESSION_RESYNC_DIGEST_KEY,                /* same epoch, another digest key */
    SESSION_RESYNC_STORE,                     /* the store cannot go on from what it has */
    SESSION_RESYNC_DIGEST,                    /* it is not what the source says, repair or not */
    SESSION_RESYNCS,
    SESSION_RESYNC_NONE = SESSION_RESYNCS
};
const char *session_resync_text(enum session_resync reason); /* static */

struct session_hello {
    struct uuid epoch;
    uint64_t version; /* the source's newest */
    uint32_t heartbeat_ms;
    bool accepted;             /* an operator accepted this epoch, whatever it drops */
    const uint8_t *digest_key; /* DIGEST_KEY_BYTES; borrowed for the call */
};

/* One failure, after which the session backs off. All borrowed for the call. */
struct session_failure {
    const struct error *err;
    const char *url;   /* the base URL that was in use */
    unsigned failures; /* in a row */
    uint32_t delay_ms; /* until the next try */
    enum session_state during;
};

struct session_sink {
    /* The durable cursor, to connect with (nil epoch: none). The control plane counts what it is
     * told here as applied. False: something handed over is still being made durable;
     * session_resume() follows when it is. */
    bool (*durable)(void *context, struct model_cursor *ret);
    /* What to ask of the first transaction of the connection that begins; FEED_WISH_NONE: nothing.
     * Not called for one that begins without a cursor. May be NULL. */
    void (*wish)(void *context, struct feed_wish *ret);
    bool (*full)(void *context);
    /* False: what the store holds was made with another digest key; a snapshot is taken. */
    bool (*hello)(void *context, const struct session_hello *hello);
    /* Ownership is transferred. A code other than 0 ends the connection. */
    int (*transaction)(void *context, struct feed_transaction *transaction, struct error *err);
    void (*heartbeat)(void *context, uint64_t version);
    /* A snapshot: begin, records, then end or abort. The digest key is the one of its epoch. */
    int (*snapshot_begin)(void *context, const struct snapshot_header *header,
                          const uint8_t digest_key[DIGEST_KEY_BYTES], struct error *err);
    int (*snapshot_record)(void *context, const struct snapshot_record *record, struct error *err);
    int (*snapshot_end)(void *context, struct error *err);
    void (*snapshot_abort)(void *context);
    /* For logs and counters. */
    void (*state)(void *context, enum session_state state);
    void (*resync)(void *context, enum session_resync reason);
    void (*failed)(void *context, const struct session_failure *failure);
    void (*received)(void *context, size_t bytes);
    void (*paused)(void *context);
    /* The source says that another host has this host's name, or has it no more. May be NULL. */
    void (*name_shared)(void *context, bool shared);
    void *context;
};

struct session_options {
    uv_loop_t *loop;          /* borrowed */
    struct http_client *http; /* borrowed; outlives the session */
    struct uuid control_plane_id;
    const char *region;      /* these strings are borrowed for the session's life */
    const char *host_name;   /* shown to operators of the control plane */
    struct uuid instance;    /* tells hosts of one name apart; nil: not told */
    const char *const *urls; /* base URLs, tried in order */
    size_t n_urls;           /* 1 or more */
    struct http_credentials credentials;
    struct session_limits limits;
};

struct session;

int session_create(const struct session_options *options, const struct session_sink *sink,
                   struct session **ret, struct error *err);
void session_start(struct session *session);
/* The sink has room again, or has made durable what it had. */
void session_resume(struct session *session);
/* `durable` is visible to lookups and stays so, and up to `verified` (0: not known) all of it was
 * compared with the source and equal: acknowledges it to the control plane, newest only, one call
 * at a time; at once when somebody waits for it or the last call was a while ago, else when it was.
 */
void session_ack(struct session *session, const struct model_cursor *durable, uint64_t verified);
/* The sink could not use what it was given and has dropped all that was handed over: back off, then
 * go on from the durable cursor, or with a snapshot unless `resync` is SESSION_RESYNC_NONE. */
void session_reject(struct session *session, const struct error *err, enum session_resync resync);
/* Leaves the feed, or the request for one, and comes back with the durable cursor and what the sink
 * wishes for then. In other states nothing is to be done: each connection asks the sink. */
void session_reconnect(struct session *session);
/* The same for a snapshot that is to be refused until session_accept_epoch(): as long as the source
 * names this one, it is not fetched again, and the source is told so. */
void session_refuse(struct session *session, const struct error *err);
/* No snapshot is refused any more; does not wait for the end of a back-off. */
void session_accept_epoch(struct session *session);
/* Stops; the sink hears nothing more (but a snapshot that was begun is aborted). closed(context)
 * follows from the loop when the session is freed. */
void session_close(struct session *session, void (*closed)(void *context), void *context);

enum session_state session_state(const struct session *session);

#endif

/* session_internal.h - what the parts of a session share.
 *
 *     session.c           life, state, time, trouble
 *     session_stream.c    the feed's bytes and the acknowledgements
 *     session_snapshot.c  the snapshot's bytes
 *     session_request.c   URLs of the three calls
 */
#ifndef RS_SYNC_SESSION_INTERNAL_H
#define RS_SYNC_SESSION_INTERNAL_H

#include "base/buffer.h"
#include "sync/session.h"

/* What the control plane is told of the host. */
struct session_standing {
    struct model_cursor cursor; /* visible to lookups */
    uint64_t verified;          /* compared with the source up to here, and equal; 0: not known */
};

struct session {
    struct session_options options;
    struct session_sink sink;
    enum session_state state;
    uv_timer_t timer;       /* one: its meaning is the state's */
    size_t url;             /* index of the one in use */
    int64_t *hold_until_ms; /* owned; of each URL, loop time: asked not to be asked before */

    /* The transfer of the state CONNECTING, STREAMING or SNAPSHOT. */
    struct http_request *transfer;
    bool paused;           /* sink.full() said so; the timer stands still */
    uint32_t heartbeat_ms; /* of the last hello */
    uint32_t silence_ms;   /* without a byte */
    int64_t streaming_ms;  /* loop time of the hello */
    struct session_progress progress;

    struct uuid former;         /* the feed that we had last; nil: none */
    struct model_cursor cursor; /* the connection began with it */
    struct feed_wish wish;      /* and asked for this */
    struct feed_reader *feed;   /* owned; CONNECTING and STREAMING */
    bool hello_seen;            /* set inside feed_reader_take(), acted on after it */
    bool hello_refused;         /* the same; the sink did not like it */
    enum session_resync resync_seen;

    /* Of the last hello. */
    struct uuid feed_id; /* nil: not told, or the hello has not come */
    bool name_shared;    /* also of heartbeats */
    struct uuid epoch;
    uint8_t digest_key[DIGEST_KEY_BYTES];

    /* The snapshot that the source named, and what has come of it; kept over a back-off when the
     * transfer was cut. */
    struct snapshot_name snapshot;
    uint64_t snapshot_bytes;          /* taken: decoded, or in `held` */
    uint64_t snapshot_cut;            /* the same when it was last cut */
    bool snapshot_placed;             /* this transfer has said where it begins, */
    uint64_t snapshot_known;          /* and that many bytes of it are known already */
    struct digest_stream digest;      /* of what was taken */
    struct snapshot_decoder *decoder; /* owned; SNAPSHOT, or BACKOFF after a cut */
    bool snapshot_begun;              /* the sink knows of it */
    bool snapshot_received;           /* the transfer is over; `held` may still hold bytes */
    struct buffer held;               /* compressed bytes that wait for the sink */

    /* The one that the sink refused; only its digest is used. */
    bool refusing;
    uint8_t refused[DIGEST_BYTES];

    /* Trouble. */
    unsigned failures;                 /* in a row */
    bool snapshot_taken;               /* since the last back-off or progress */
    enum session_resync resync_wanted; /* connect without a cursor, for this reason */
    bool gap_seen;
    struct model_cursor gap_cursor; /* where */

    struct http_request *ack;           /* the acknowledgement in flight */
    struct session_standing ack_wanted; /* the newest to acknowledge */
    struct session_standing ack_sent;   /* of the call in flight, or the last that was answered */
    uint64_t ack_awaited;               /* somebody waits for this version; 0: nobody does */
    int64_t ack_next_ms;                /* loop time: until then others are not sent one by one, */
    uv_timer_t ack_timer;               /* and this one sends the newest of them */
    int64_t
        ack_first_ms; /* loop time: then at the latest the first on this feed; 0: not yet said */
    bool ack_first;   /* nothing was acknowledged on this feed */
    unsigned ack_refusals;      /* on this feed, in a row */
    int64_t ack_reconnected_ms; /* loop time: when that last ended a feed; 0: never */

    void (*closed)(void *context);
    void *closed_context;
};

/* ---- session.c ---- */

/* Takes the transition, stops the timer, tells the sink. */
void session_advance(struct session *session, enum session_event event);
/* (Re)starts the timer; its meaning is the state's. */
void session_arm(struct session *session, uint32_t delay_ms);
/* 32 random bits, or half of their range: where the system has no randomness a fixed share of a
 * delay is better than none. */
uint32_t session_random(void);
/* Ends what is under way, backs off. retry_after_ms: 0 when not said. */
void session_fail(struct session *session, const struct error *err, int64_t retry_after_ms);
/* Ends the transfer of a snapshot, backs off, and goes on from where it was cut. */
void session_interrupt(struct session *session, const struct error *err, int64_t retry_after_ms);
/* The snapshot that was named is needed: ends the feed and asks for it, or backs off when the last
 * one did not help. */
void session_resynchronise(struct session *session, enum session_resync reason);
/* Stops the transfer at the sink's wish. */
void session_pause(struct session *session);

/* ---- session_stream.c ---- */

void session_connect(struct session *session);
void session_send_ack(struct session *session);

/* ---- session_snapshot.c ---- */

void session_snapshot_start(struct session *session);
/* Asks for the rest of one that was cut. */
void session_snapshot_retry(struct session *session);
/* Goes on with the bytes that were held back. */
void session_snapshot_resume(struct session *session);
/* Drops what was begun. */
void session_snapshot_drop(struct session *session);

/* ---- session_request.c ---- */

/* Each appends a NUL-terminated URL of the call at the session's current base. Buffer errors. */
int session_feed_url(const struct session *session, struct buffer *out);
int session_snapshot_url(const struct session *session, struct buffer *out);
int session_ack_url(const struct session *session, struct buffer *out);
/* The acknowledgement's body, NUL-terminated. */
int session_ack_body(const struct session *session, const struct session_standing *standing,
                     struct buffer *out);
/* Starts a call; `write_url` is one of the above, `what` says the rest but for credentials and
 * times. */
int session_request(struct session *session,
                    int (*write_url)(const struct session *, struct buffer *),
                    const struct http_request_options *what, const struct http_handler *handler,
                    struct http_request **ret, struct error *err);

#endif

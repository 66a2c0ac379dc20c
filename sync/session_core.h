/* session_core.h - what a session decides, without I/O: states, delays, limits. Pure functions.
 *
 * The states and what leads from one to the next are a table (session_machine); docs/states.md has
 * its picture, printed from it.
 *
 * DRAINING: wants to connect, but what was handed over is still being made durable; the cursor that
 * a connection begins with is always the durable one.
 */
#ifndef RS_SYNC_SESSION_CORE_H
#define RS_SYNC_SESSION_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/states.h"

enum session_state {
    SESSION_IDLE,       /* not started, or stopped */
    SESSION_DRAINING,   /* waits for the sink to apply what it has */
    SESSION_CONNECTING, /* the feed was asked for; its hello has not come */
    SESSION_STREAMING,  /* transactions and heartbeats come */
    SESSION_SNAPSHOT,   /* a snapshot is asked for or comes */
    SESSION_BACKOFF,    /* waits before it tries the next URL */
    SESSION_STATES
};

enum session_event {
    SESSION_EVENT_START,
    SESSION_EVENT_DRAINED,
    SESSION_EVENT_HELLO,
    SESSION_EVENT_RESYNC,
    SESSION_EVENT_RECEIVED,  /* the snapshot is complete and handed over */
    SESSION_EVENT_RECONNECT, /* the sink wishes for something that only a new connection gives */
    SESSION_EVENT_FAILED,
    SESSION_EVENT_TIMER, /* the back-off is over */
    SESSION_EVENT_RETRY, /* the same, and a snapshot was cut: its rest is asked for */
    SESSION_EVENT_STOP,
    SESSION_EVENTS
};

/* Its states are enum session_state, its events enum session_event. */
extern const struct states_machine session_machine;
/* The state after `event`; SESSION_STATES when the event cannot happen in `state` (our own
 * mistake). */
enum session_state session_next_state(enum session_state state, enum session_event event);
const char *session_state_text(enum session_state state); /* static */

/* Every timer, limit and retry of a session. */
struct session_limits {
    uint32_t connect_ms;     /* TCP and TLS */
    uint32_t hello_ms;       /* from the request to the hello, connecting included */
    uint32_t failover_ms;    /* the same, while there are URLs that have not been tried */
    uint32_t silence_min_ms; /* bounds of three heartbeat periods without a byte */
    uint32_t silence_max_ms;
    uint32_t progress_ms;    /* drips: in this time at least one line of the feed, */
    uint32_t progress_bytes; /* or so many bytes of a snapshot, must come */
    uint32_t
        snapshot_wait_ms; /* from the request to a snapshot's first byte: it may have to be built */
    uint32_t ack_ms;      /* one acknowledgement, all in all */
    uint32_t ack_interval_max_ms; /* between two that nobody waits for */
    uint32_t backoff_min_ms;      /* upper end of the first delay; doubles with each failure */
    uint32_t backoff_max_ms;
    uint32_t retry_after_max_ms; /* a longer Retry-After is cut to this */
    uint32_t stable_ms; /* a stream that lived so long makes the next failure a first one */
    uint32_t max_transaction_bytes;
};

extern const struct session_limits session_limits_default;

/* Three heartbeat periods within the limits. */
uint32_t session_silence_ms(const struct session_limits *limits, uint32_t heartbeat_ms);

/* From an acknowledgement to the next that nobody waits for: a share of the heartbeat period, so
 * that an operator of very many hosts thins out both at once, and jittered, so that hosts which
 * heard of the same change do not answer in step. */
uint32_t session_ack_interval_ms(const struct session_limits *limits, uint32_t heartbeat_ms,
                                 uint32_t random);

/* How long a hello is waited for: a URL that does not answer must not keep the next ones waiting
 * until every one has had its chance. `failures` in a row so far. */
uint32_t session_hello_ms(const struct session_limits *limits, unsigned failures, size_t urls);

/* What went wrong, as far as the delay depends on it. */
struct session_trouble {
    unsigned failures; /* in a row, this one included; 1 or more */
    size_t urls;       /* each is tried once before the delay grows */
    uint32_t floor_ms; /* until the next URL may be asked */
};

/* Full jitter: anything from 0 to the doubling ceiling, so that a fleet does not come back at once;
 * on top of the floor. `random`: 32 random bits, here and below. */
uint32_t session_delay_ms(const struct session_limits *limits,
                          const struct session_trouble *trouble, uint32_t random);

/* How long a URL is left alone after what it answered, and it alone: until Retry-After (0: not
 * said) has passed, and after a refusal (401, 403), when trying again soon helps nobody, for at
 * least half of the longest delay. */
uint32_t session_url_hold_ms(const struct session_limits *limits, bool refused,
                             int64_t retry_after_ms, uint32_t random);
/* The URL to go on with after `url`: the next in turn that may be asked now, or else the one that
 * may be asked soonest. `hold_until_ms`: of each of the `n`. */
size_t session_pick_url(const int64_t *hold_until_ms, size_t n, size_t url, int64_t now_ms);

/* Progress of a transfer in windows of time. */
struct session_progress {
    int64_t since_ms; /* start of the window */
    uint64_t amount;  /* since then */
};
void session_progress_start(struct session_progress *progress, int64_t now_ms);
/* Counts `amount`; false when a whole window has gone by with less than `min`. */
bool session_progress_add(struct session_progress *progress, int64_t now_ms, uint64_t amount,
                          uint64_t min, uint32_t window_ms);

#endif

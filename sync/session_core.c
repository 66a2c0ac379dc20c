/* session_core.c - see session_core.h: the table of states, and every delay of a session. */
#include "sync/session_core.h"

#include <assert.h>
#include <stddef.h>

/* The back-off's numbers are those of docs/protocol.md and design.md; the others are bounded from
 * below by what a slow but healthy network does, and from above by what an operator waits. */
const struct session_limits session_limits_default = {
    .connect_ms = 10 * 1000,
    .hello_ms = 10 * 1000,
    .failover_ms = 2 * 1000,
    .silence_min_ms = 200,
    .silence_max_ms = 60 * 1000,
    .progress_ms = 60 * 1000,
    .progress_bytes = 16 * 1024,
    .snapshot_wait_ms = 60 * 1000,
    .ack_ms = 10 * 1000,
    .ack_interval_max_ms = 5 * 1000,
    .backoff_min_ms = 250,
    .backoff_max_ms = 30 * 1000,
    .retry_after_max_ms = 5 * 60 * 1000,
    .stable_ms = 5 * 1000,
    .max_transaction_bytes = 64 * 1024 * 1024,
};

enum { HEARTBEATS_OF_SILENCE = 3, ACKS_A_HEARTBEAT = 4 };

static const char *const state_texts[SESSION_STATES] = {
    [SESSION_IDLE] = "idle",
    [SESSION_DRAINING] = "draining",
    [SESSION_CONNECTING] = "connecting",
    [SESSION_STREAMING] = "streaming",
    [SESSION_SNAPSHOT] = "snapshot",
    [SESSION_BACKOFF] = "backoff",
};

static const char *const event_texts[SESSION_EVENTS] = {
    [SESSION_EVENT_START] = "start",       [SESSION_EVENT_DRAINED] = "drained",
    [SESSION_EVENT_HELLO] = "hello",       [SESSION_EVENT_RESYNC] = "resync",
    [SESSION_EVENT_RECEIVED] = "received", [SESSION_EVENT_RECONNECT] = "reconnect",
    [SESSION_EVENT_FAILED] = "failed",     [SESSION_EVENT_TIMER] = "timer",
    [SESSION_EVENT_RETRY] = "retry",       [SESSION_EVENT_STOP] = "stop",
};

static const struct states_way ways[] = {
    {SESSION_IDLE, SESSION_EVENT_START, SESSION_DRAINING,
     "waits for what was handed over before: a connection begins with the durable cursor"},
    {SESSION_DRAINING, SESSION_EVENT_DRAINED, SESSION_CONNECTING, "asks the next URL for its feed"},
    {SESSION_CONNECTING, SESSION_EVENT_HELLO, SESSION_STREAMING,
     "the hello is the right control plane's; silence is watched from now on"},
    {SESSION_STREAMING, SESSION_EVENT_RESYNC, SESSION_SNAPSHOT,
     "the cursor cannot be served; the named snapshot is asked for"},
    {SESSION_CONNECTING, SESSION_EVENT_RECONNECT, SESSION_DRAINING,
     "the request that is on its way has another wish, or none: it is made anew"},
    {SESSION_STREAMING, SESSION_EVENT_RECONNECT, SESSION_DRAINING,
     "the sink wishes for what only a new connection gives"},
    {SESSION_SNAPSHOT, SESSION_EVENT_RECEIVED, SESSION_DRAINING,
     "the load is published, then the feed goes on from its version"},
    {SESSION_BACKOFF, SESSION_EVENT_TIMER, SESSION_DRAINING, "the next URL's turn"},
    {SESSION_BACKOFF, SESSION_EVENT_RETRY, SESSION_SNAPSHOT,
     "a snapshot was cut: its rest is asked for"},
    {SESSION_IDLE, SESSION_EVENT_FAILED, STATES_NONE, "nothing is under way"},
    {STATES_ANY, SESSION_EVENT_FAILED, SESSION_BACKOFF, "drops what is under way, and waits"},
    {STATES_ANY, SESSION_EVENT_STOP, SESSION_IDLE, "drops what is under way"},
};

const struct states_machine session_machine = {
    .name = "A session: one source's feed, as the host follows it",
    .source = "sync/session_core.c",
    .states = state_texts,
    .n_states = SESSION_STATES,
    .events = event_texts,
    .n_events = SESSION_EVENTS,
    .ways = ways,
    .n_ways = sizeof(ways) / sizeof(ways[0]),
    .first = SESSION_IDLE,
};

enum session_state session_next_state(enum session_state state, enum session_event event)
{
    const int next = states_next(&session_machine, (int)state, (int)event);

    return next < 0 ? SESSION_STATES : (enum session_state)next;
}

const char *session_state_text(enum session_state state)
{
    assert((unsigned)state < SESSION_STATES);
    return state_texts[state];
}

uint32_t session_silence_ms(const struct session_limits *limits, uint32_t heartbeat_ms)
{
    uint64_t silence = (uint64_t)heartbeat_ms * HEARTBEATS_OF_SILENCE;

    if (silence < limits->silence_min_ms)
        return limits->silence_min_ms;
    return silence > limits->silence_max_ms ? limits->silence_max_ms : (uint32_t)silence;
}

/* A share of `range`, both ends included. */
static uint32_t spread(uint32_t range, uint32_t random)
{
    return (uint32_t)((uint64_t)random * ((uint64_t)range + 1) >> 32);
}

static uint32_t ceiling_ms(const struct session_limits *limits,
                           const struct session_trouble *trouble)
{
    size_t rounds = (trouble->failures - 1) / (trouble->urls > 0 ? trouble->urls : 1);
    uint32_t ceiling = limits->backoff_min_ms;

    for (; rounds > 0 && ceiling < limits->backoff_max_ms; rounds--)
        ceiling = ceiling > limits->backoff_max_ms / 2 ? limits->backoff_max_ms : ceiling * 2;
    return ceiling;
}

uint32_t session_delay_ms(const struct session_limits *limits,
                          const struct session_trouble *trouble, uint32_t random)
{
    assert(trouble->failures > 0);
    return trouble->floor_ms + spread(ceiling_ms(limits, trouble), random);
}

uint32_t session_url_hold_ms(const struct session_limits *limits, bool refused,
                             int64_t retry_after_ms, uint32_t random)
{
    uint32_t half = limits->backoff_max_ms / 2;
    uint32_t alone = refused ? half + spread(limits->backoff_max_ms - half, random) : 0;

    if (retry_after_ms <= alone)
        return alone;
    return retry_after_ms > limits->retry_after_max_ms ? limits->retry_after_max_ms
                                                       : (uint32_t)retry_after_ms;
}

size_t session_pick_url(const int64_t *hold_until_ms, size_t n, size_t url, int64_t now_ms)
{
    size_t soonest = (url + 1) % n;

    for (size_t i = 1; i <= n; i++) {
        size_t next = (url + i) % n;

        if (hold_until_ms[next] <= now_ms)
            return next;
        if (hold_until_ms[next] < hold_until_ms[soonest])
            soonest = next;
    }
    return soonest;
}

uint32_t session_ack_interval_ms(const struct session_limits *limits, uint32_t heartbeat_ms,
                                 uint32_t random)
{
    uint32_t interval = heartbeat_ms / ACKS_A_HEARTBEAT;

    if (interval > limits->ack_interval_max_ms)
        interval = limits->ack_interval_max_ms;
    return interval / 2 + spread(interval, random);
}

uint32_t session_hello_ms(const struct session_limits *limits, unsigned failures, size_t urls)
{
    bool others_left = failures < urls - 1;

    return others_left && limits->failover_ms < limits->hello_ms ? limits->failover_ms
                                                                 : limits->hello_ms;
}

void session_progress_start(struct session_progress *progress, int64_t now_ms)
{
    *progress = (struct session_progress){.since_ms = now_ms};
}

bool session_progress_add(struct session_progress *progress, int64_t now_ms, uint64_t amount,
                          uint64_t min, uint32_t window_ms)
{
    bool enough;

    progress->amount += amount;
    if (now_ms - progress->since_ms < window_ms)
        return true;
    enough = progress->amount >= min;
    session_progress_start(progress, now_ms);
    return enough;
}

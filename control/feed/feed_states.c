/* feed_states.c - what a follower goes through, as a table. */
#include <assert.h>

#include "control/feed/feed_internal.h"

static const char *const state_texts[FOLLOWER_STATES] = {
    [FOLLOWER_GREETING] = "greeting", [FOLLOWER_DECLINING] = "declining",
    [FOLLOWER_IDLE] = "idle",         [FOLLOWER_WAITING] = "waiting",
    [FOLLOWER_READY] = "ready",       [FOLLOWER_SENDING] = "sending",
    [FOLLOWER_REFUSED] = "refused",   [FOLLOWER_PREPARING] = "preparing",
    [FOLLOWER_NAMED] = "named",       [FOLLOWER_LAST] = "last",
    [FOLLOWER_OVER] = "over",
};

static const char *const event_texts[FOLLOWER_EVENTS] = {
    [FOLLOWER_EVENT_GREETED] = "greeted", [FOLLOWER_EVENT_ASK] = "ask",
    [FOLLOWER_EVENT_MADE] = "made",       [FOLLOWER_EVENT_NONE] = "none",
    [FOLLOWER_EVENT_SEND] = "send",       [FOLLOWER_EVENT_SENT] = "sent",
    [FOLLOWER_EVENT_REFUSE] = "refuse",   [FOLLOWER_EVENT_ORDER] = "order",
    [FOLLOWER_EVENT_NAME] = "name",       [FOLLOWER_EVENT_RESYNC] = "resync",
    [FOLLOWER_EVENT_DRAINED] = "drained", [FOLLOWER_EVENT_END] = "end",
};

static const struct states_way ways[] = {
    {FOLLOWER_GREETING, FOLLOWER_EVENT_REFUSE, FOLLOWER_DECLINING,
     "no cursor, or one of another history: known as soon as the host connects"},
    {FOLLOWER_GREETING, FOLLOWER_EVENT_GREETED, FOLLOWER_IDLE,
     "the hello goes alone: nothing else is made before the transport comes again"},
    {FOLLOWER_DECLINING, FOLLOWER_EVENT_GREETED, FOLLOWER_REFUSED, "the same"},
    {FOLLOWER_IDLE, FOLLOWER_EVENT_ASK, FOLLOWER_WAITING,
     "it wishes for something, or is behind all shared segments: queued for a worker, once"},
    {FOLLOWER_WAITING, FOLLOWER_EVENT_MADE, FOLLOWER_READY,
     "the wish goes with the answer; what is ready is sent before anything else is asked for"},
    {FOLLOWER_WAITING, FOLLOWER_EVENT_NONE, FOLLOWER_IDLE,
     "the host may see nothing of what happened: its position moves"},
    {FOLLOWER_IDLE, FOLLOWER_EVENT_SEND, FOLLOWER_SENDING, "a shared segment fits"},
    {FOLLOWER_WAITING, FOLLOWER_EVENT_SEND, FOLLOWER_SENDING,
     "the same, made for another meanwhile; it leaves the queue"},
    {FOLLOWER_READY, FOLLOWER_EVENT_SEND, FOLLOWER_SENDING, "its own delta"},
    {FOLLOWER_SENDING, FOLLOWER_EVENT_SENT, FOLLOWER_IDLE, "cursor and position move"},
    {FOLLOWER_WAITING, FOLLOWER_EVENT_REFUSE, FOLLOWER_REFUSED,
     "the worker found the cursor too old, or of the future"},
    {FOLLOWER_IDLE, FOLLOWER_EVENT_REFUSE, FOLLOWER_REFUSED, "the shared segment is too large"},
    {FOLLOWER_READY, FOLLOWER_EVENT_REFUSE, FOLLOWER_REFUSED, "its own delta is too large"},
    {FOLLOWER_REFUSED, FOLLOWER_EVENT_ORDER, FOLLOWER_PREPARING, "a snapshot is ordered"},
    {FOLLOWER_PREPARING, FOLLOWER_EVENT_NAME, FOLLOWER_NAMED, "the builder has it"},
    {FOLLOWER_NAMED, FOLLOWER_EVENT_RESYNC, FOLLOWER_LAST, "the line that names it is written"},
    {FOLLOWER_LAST, FOLLOWER_EVENT_DRAINED, FOLLOWER_OVER, "and handed out"},
    {STATES_ANY, FOLLOWER_EVENT_END, FOLLOWER_OVER,
     "it does not read, its credentials are gone, something failed, or the feed stops"},
};

const struct states_machine feed_follower_machine = {
    .name = "A follower: one host's feed, as the control plane serves it",
    .source = "control/feed/feed_states.c",
    .states = state_texts,
    .n_states = FOLLOWER_STATES,
    .events = event_texts,
    .n_events = FOLLOWER_EVENTS,
    .ways = ways,
    .n_ways = sizeof(ways) / sizeof(ways[0]),
    .first = FOLLOWER_GREETING,
};

void feed_follower_advance(struct follower *follower, enum follower_event event)
{
    const int next = states_next(&feed_follower_machine, (int)follower->state, (int)event);

    feed_assert_locked(follower->feed);
    assert(next >= 0);
    follower->state = (enum follower_state)next;
}

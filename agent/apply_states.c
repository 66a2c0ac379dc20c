/* apply_states.c - see apply_states.h. */
#include "agent/apply_states.h"

#include <assert.h>

static const char *const state_texts[APPLY_STATES] = {
    [APPLY_IDLE] = "idle",
    [APPLY_RUNNING] = "running",
    [APPLY_TELLING] = "telling",
    [APPLY_CLOSING] = "closing",
};

static const char *const event_texts[APPLY_EVENTS] = {
    [APPLY_EVENT_QUEUED] = "queued", [APPLY_EVENT_DONE] = "done", [APPLY_EVENT_FAILED] = "failed",
    [APPLY_EVENT_NEXT] = "next",     [APPLY_EVENT_REST] = "rest", [APPLY_EVENT_CLOSE] = "close",
};

static const struct states_way ways[] = {
    {APPLY_IDLE, APPLY_EVENT_QUEUED, APPLY_RUNNING,
     "given to the writer thread at once: nothing waits for a timer"},
    {APPLY_RUNNING, APPLY_EVENT_QUEUED, STATES_SAME,
     "waits: the transactions that have come by the end of the job become one"},
    {APPLY_TELLING, APPLY_EVENT_QUEUED, STATES_SAME,
     "waits: a new job would write over what is being told"},
    {APPLY_RUNNING, APPLY_EVENT_DONE, APPLY_TELLING,
     "the cursors are as the job left them; then applied(), loaded() or an answer"},
    {APPLY_RUNNING, APPLY_EVENT_FAILED, APPLY_TELLING,
     "what waited follows a state that will never be there, and is dropped; then failed()"},
    {APPLY_TELLING, APPLY_EVENT_NEXT, APPLY_RUNNING, "what has come becomes the next job; moved()"},
    {APPLY_TELLING, APPLY_EVENT_REST, APPLY_IDLE, "nothing waits; moved()"},
    {APPLY_CLOSING, APPLY_EVENT_QUEUED, STATES_SAME, "dropped: nobody will hear of it"},
    {APPLY_CLOSING, APPLY_EVENT_DONE, STATES_SAME, "the last job is finished, and not told of"},
    {APPLY_CLOSING, APPLY_EVENT_FAILED, STATES_SAME, "the same"},
    {APPLY_CLOSING, APPLY_EVENT_CLOSE, STATES_NONE, "it is closed once"},
    {STATES_ANY, APPLY_EVENT_CLOSE, APPLY_CLOSING, "what waits is dropped, what runs is finished"},
};

const struct states_machine apply_machine = {
    .name = "An apply queue: between one source's session and its store",
    .source = "agent/apply_states.c",
    .states = state_texts,
    .n_states = APPLY_STATES,
    .events = event_texts,
    .n_events = APPLY_EVENTS,
    .ways = ways,
    .n_ways = sizeof(ways) / sizeof(ways[0]),
    .first = APPLY_IDLE,
};

enum apply_state apply_next_state(enum apply_state state, enum apply_event event)
{
    const int next = states_next(&apply_machine, (int)state, (int)event);

    assert(next >= 0);
    return (enum apply_state)next;
}

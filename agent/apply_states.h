/* apply_states.h - what an apply queue goes through, as a table (base/states.h). */
#ifndef RS_AGENT_APPLY_STATES_H
#define RS_AGENT_APPLY_STATES_H

#include "base/states.h"

enum apply_state {
    APPLY_IDLE,
    APPLY_RUNNING, /* the writer thread has the job */
    APPLY_TELLING, /* the job has ended; its result is being told of, and stays until then */
    APPLY_CLOSING,
    APPLY_STATES
};

enum apply_event {
    APPLY_EVENT_QUEUED,
    APPLY_EVENT_DONE,
    APPLY_EVENT_FAILED,
    APPLY_EVENT_NEXT,
    APPLY_EVENT_REST,
    APPLY_EVENT_CLOSE,
    APPLY_EVENTS
};

extern const struct states_machine apply_machine;

/* An event that cannot happen is our own mistake, and ends the process. */
enum apply_state apply_next_state(enum apply_state state, enum apply_event event);

#endif

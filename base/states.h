/* states.h - state machines as tables: what may follow what, and why.
 *
 * A module declares its machine once: names of its states and events, and the ways between states,
 * each with a comment. It moves by states_next(). docs/states.md is printed from the same tables
 * (`make states`), and a test holds it to them, so that code and picture cannot drift apart.
 *
 * Tables are constant data; every function may be called from any thread.
 */
#ifndef RS_BASE_STATES_H
#define RS_BASE_STATES_H

#include <stddef.h>
#include <stdio.h>

enum {
    STATES_ANY = -1,  /* as `state`: every state that no way before it names with this event */
    STATES_NONE = -2, /* the event cannot happen in this state: our own mistake */
    STATES_SAME = -3  /* as `next`: stays where it is */
};

struct states_way {
    int state;
    int event;
    int next;
    const char *comment; /* what is done on the way, and why it exists */
};

struct states_machine {
    const char *name;   /* as the heading of its picture */
    const char *source; /* the file that declares it */
    const char *const *states;
    size_t n_states;
    const char *const *events;
    size_t n_events;
    const struct states_way *ways;
    size_t n_ways;
    int first; /* the state that it begins in */
};

/* The state after `event`, or STATES_NONE. The first way that fits decides. */
int states_next(const struct states_machine *machine, int state, int event);

/* Its heading, its diagram (Mermaid's stateDiagram-v2) and its table, as Markdown. What fails shows
 * in the stream's error indicator. */
void states_print(const struct states_machine *machine, FILE *to);

#endif

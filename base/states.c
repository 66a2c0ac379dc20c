/* states.c - see states.h. Tables have a dozen rows: a walk is quicker than anything clever. */
#include "base/states.h"

#include <assert.h>
#include <stdbool.h>

int states_next(const struct states_machine *machine, int state, int event)
{
    assert(state >= 0 && (size_t)state < machine->n_states);
    assert(event >= 0 && (size_t)event < machine->n_events);
    for (size_t i = 0; i < machine->n_ways; i++) {
        const struct states_way *way = &machine->ways[i];

        if (way->event == event && (way->state == state || way->state == STATES_ANY))
            return way->next == STATES_SAME ? state : way->next;
    }
    return STATES_NONE;
}

/* Whether the way is what decides in `state`: a row above it may have said otherwise. */
static bool decides(const struct states_machine *machine, size_t row, int state)
{
    const struct states_way *way = &machine->ways[row];

    if (way->state != STATES_ANY && way->state != state)
        return false;
    for (size_t i = 0; i < row; i++) {
        if (machine->ways[i].event == way->event &&
            (machine->ways[i].state == state || machine->ways[i].state == STATES_ANY))
            return false;
    }
    return way->next != STATES_NONE;
}

static int target(const struct states_way *way, int state)
{
    return way->next == STATES_SAME ? state : way->next;
}

static void print_diagram(const struct states_machine *machine, FILE *to)
{
    (void)fprintf(to, "```mermaid\nstateDiagram-v2\n    [*] --> %s\n",
                  machine->states[machine->first]);
    for (size_t row = 0; row < machine->n_ways; row++) {
        for (size_t state = 0; state < machine->n_states; state++) {
            if (decides(machine, row, (int)state))
                (void)fprintf(to, "    %s --> %s: %s\n", machine->states[state],
                              machine->states[target(&machine->ways[row], (int)state)],
                              machine->events[machine->ways[row].event]);
        }
    }
    (void)fputs("```\n", to);
}

static const char *state_name(const struct states_machine *machine, int state)
{
    if (state == STATES_ANY)
        return "any other";
    if (state == STATES_SAME)
        return "the same";
    return state == STATES_NONE ? "cannot be" : machine->states[state];
}

void states_print(const struct states_machine *machine, FILE *to)
{
    (void)fprintf(to, "## %s\n\n`%s`\n\n", machine->name, machine->source);
    print_diagram(machine, to);
    (void)fputs("\n| state | event | then | |\n| --- | --- | --- | --- |\n", to);
    for (size_t i = 0; i < machine->n_ways; i++) {
        const struct states_way *way = &machine->ways[i];

        (void)fprintf(to, "| %s | %s | %s | %s |\n", state_name(machine, way->state),
                      machine->events[way->event], state_name(machine, way->next), way->comment);
    }
}

/* machines.c - see machines.h. A new machine is added to the list. */
#include "tests/lib/machines.h"

#include <stddef.h>

#include "agent/apply_states.h"
#include "base/states.h"
#include "control/feed/feed_internal.h"
#include "sync/session_core.h"

static const struct states_machine *const machines[] = {
    &session_machine,
    &apply_machine,
    &feed_follower_machine,
};

void machines_print(FILE *to)
{
    (void)fputs(
        "# State machines\n\n"
        "Printed from the tables in the code by `make states`; a test compares the two. A row "
        "that\n"
        "names a state goes before one for any other.\n",
        to);
    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        (void)fputc('\n', to);
        states_print(machines[i], to);
    }
}

/* patience.c - see patience.h. */
#include "tools/patience.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

enum { PATIENCE_S = 10 };

/* Nothing was changed: a slot that was not taken is nobody's. */
static void give_up(int number)
{
    static const char text[] =
        "realmctl: no reader slot within 10 s: a process keeps the mutex in lock.mdb. Every member "
        "of the reader group can do that (`fuser -v .../lock.mdb` names who has it open); the "
        "agent "
        "and readers without slots are not touched by it\n";

    (void)number;
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1); /* there is nobody else to tell */
    _exit(TOOL_UNKNOWN);
}

void patience_begin(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = give_up;
    (void)sigaction(SIGALRM, &action, NULL); /* fails for unknown signals only */
    (void)alarm(PATIENCE_S);
}

void patience_end(void)
{
    (void)alarm(0);
}

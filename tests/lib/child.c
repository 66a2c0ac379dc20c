#include "tests/lib/child.h"

#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

pid_t child_fork(void)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
    const pid_t pid = fork();

    if (pid != 0)
        return pid;
    for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++)
        (void)signal(crashes[i], SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    return 0;
}

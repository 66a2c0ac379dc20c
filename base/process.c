/* process.c - see process.h. */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { EXIT_CANNOT_RUN = 2 };

void process_open_standard(void)
{
    /* Each in the direction that it is not used in: its use fails instead of being lost. */
    static const int directions[] = {O_WRONLY, O_RDONLY, O_RDONLY};

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        /* The lowest free number: all below it are open. */
        if (open("/dev/null", directions[fd]) !=
            fd)                     // NOLINT(android-cloexec-open): it is inherited
            _exit(EXIT_CANNOT_RUN); /* there is nowhere to say so */
    }
}

void process_begin_daemon(void)
{
    const char *dumpable = getenv("REALMSTORE_DUMPABLE");

    process_open_standard();
    (void)signal(SIGPIPE, SIG_IGN); /* these cannot fail with such arguments */
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGUSR1, SIG_IGN);
    (void)signal(SIGUSR2, SIG_IGN);
    if (dumpable == NULL || strcmp(dumpable, "1") != 0)
        (void)prctl(PR_SET_DUMPABLE, 0);
}

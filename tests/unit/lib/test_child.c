/* tests/lib/child.h: a crash of a child is the child's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/child.h"

static void child_that_crashes_dies_of_it(void **state)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

    (void)state;
    for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++) {
        const pid_t pid = child_fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0) {
            (void)prctl(PR_SET_DUMPABLE, 0); /* no core file */
            (void)raise(crashes[i]);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), crashes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(child_that_crashes_dies_of_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

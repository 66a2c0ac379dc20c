/* test_agent_kill.c - an agent that is killed at any of its writes is the source's equal
 * afterwards.
 *
 * The agent loads a snapshot, applies what came after it, starts again and applies more, and is
 * answered by a snapshot when a transaction is impossible: each step of apply and of a generation
 * switch is among its writes, which tests/interpose counts. It is killed before the k-th, started
 * again, and then compared record by record with one that was never killed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "tests/interpose/write_log.h"
#include "tests/lib/child.h"
#include "tests/lib/replica_world.h"
#include "tests/lib/store_check.h"
#include "tests/lib/tool_run.h"

enum { SNAPSHOT = 3, FIRST = 8, SECOND = 12, LAST = 15 };

static char base[] = "/tmp/realmstore-test-XXXXXX";
static char victim[64];      /* the store of the agent that is killed */
static char undisturbed[64]; /* and of the one that is not */
static struct {
    _Atomic uint64_t writes;
} * told; /* of a whole life; shared with the children */

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(base));
    (void)snprintf(victim, sizeof(victim), "%s/victim", base);
    (void)snprintf(undisturbed, sizeof(undisturbed), "%s/undisturbed", base);
    told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(told, MAP_FAILED);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(munmap(told, sizeof(*told)), 0);
    assert_int_equal(files_remove_tree(base, NULL), 0);
    return 0;
}

static void follow_to(struct world *world, uint64_t version)
{
    world->plane->version = version;
    world_start(world);
    world_run_until(world, world_is_live);
    world_stop(world);
}

static void live(struct world *world)
{
    world->plane->snapshot_version = SNAPSHOT;
    follow_to(world, FIRST);
    follow_to(world, SECOND);
    world->plane->snapshot_version = 0;
    world->plane->impossible = true;
    follow_to(world, LAST);
}

static void recover(struct world *world)
{
    follow_to(world, LAST);
}

/* In a process of its own, with the control plane in it. Gives the wait status. */
static int run_agent(const char *dir, void (*run)(struct world *world), uint64_t kill_at)
{
    int status;
    pid_t pid = child_fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct world world;

        world_open_in(&world, dir, LAST);
        write_log_start(dir, -1);
        write_log_kill_at(kill_at);
        run(&world);
        atomic_store(&told->writes, write_log_count());
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_equal_to_undisturbed(uint64_t killed_at)
{
    const char *const arguments[] = {victim, undisturbed, NULL};
    const struct tool tool = {.store_dir = victim};
    char output[4096];
    char label[64];

    (void)snprintf(label, sizeof(label), "killed at write %" PRIu64, killed_at);
    store_check(victim, LAST, label, NULL);
    if (tool_run(base, &tool, &command_diff, "", arguments, output, sizeof(output)) != TOOL_YES)
        fail_msg("%s: not the source's equal:\n%s", label, output);
}

static void agent_killed_at_any_write_is_the_sources_equal_afterwards(void **state)
{
    uint64_t life;

    (void)state;
    assert_int_equal(run_agent(undisturbed, live, 0), 0);
    life = told->writes;
    assert_true(life > 50);
    for (uint64_t k = 1; k <= life; k++) {
        int status = run_agent(victim, live, k);

        /* Batches depend on timing, so that a life may end a few writes early. */
        assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || status == 0);
        assert_int_equal(run_agent(victim, recover, 0), 0);
        assert_equal_to_undisturbed(k);
        assert_int_equal(files_remove_tree(victim, NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(agent_killed_at_any_write_is_the_sources_equal_afterwards,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests_name("agent_kill", tests, NULL, NULL);
}

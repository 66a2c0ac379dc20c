/* test_switch.c - readers in processes of their own, while generations switch and changes commit.
 *
 * alice is in every generation and in every version of it: whatever a reader sees, it must find
 * her. What changes around her is another consumer in each commit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/store_fixture.h"

enum { READERS = 2, SWITCHES = 20, COMMITS = 25, LOOKUPS_BETWEEN = 200 };

/* Shared with the readers. */
struct board {
    atomic_bool stop;
    atomic_ullong lookups[READERS];
    atomic_ullong failures[READERS];
};

static struct fixture f;
static struct board *board;

static int set_up(void **state)
{
    (void)state;
    (void)alarm(120); /* a reader that died would be waited for */
    fixture_init(&f);
    fixture_open(&f);
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(board, MAP_FAILED);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(munmap(board, sizeof(*board)), 0);
    fixture_finish(&f);
    return 0;
}

/* ---- the readers: no cmocka in here, the exit code and the board tell ---- */

/* The fixture's control plane was heard long ago by this host's clock: stale is an answer. */
static bool finds_alice(rs_store *store)
{
    const rs_source source = fixture_realm_source(7);
    rs_snapshot *snapshot;
    rs_consumer consumer;
    int rc;

    if (rs_begin(store, &snapshot) != 0)
        return false;
    rc = rs_lookup(snapshot, &source, 1, "alice-key", strlen("alice-key"), &consumer);
    if ((rc == RS_FOUND || rc == RS_STALE) &&
        (rs_consumer_username(&consumer) == NULL ||
         strcmp(rs_consumer_username(&consumer), "alice") != 0))
        rc = RS_NOT_FOUND;
    rs_end(snapshot);
    return rc == RS_FOUND || rc == RS_STALE;
}

static _Noreturn void read_on(unsigned number)
{
    rs_store *store;

    if (rs_open(&store, f.dir, NULL) != 0)
        _exit(1);
    while (!atomic_load(&board->stop)) {
        if (!finds_alice(store))
            (void)atomic_fetch_add(&board->failures[number], 1);
        (void)atomic_fetch_add(&board->lookups[number], 1);
    }
    rs_close(store);
    _exit(0);
}

/* ---- the writer ---- */

static void commit_changes(void)
{
    for (unsigned i = 0; i < COMMITS; i++) {
        fixture_begin(&f);
        fixture_put_consumer(f.source, 7, 1000 + i, "somebody");
        fixture_put_consumer(f.source, 7, 1, "alice");
        fixture_commit(&f);
    }
}

/* Both readers have looked up since, so that every step of the writer is seen by both. */
static void wait_for_lookups(void)
{
    unsigned long long from[READERS];

    for (int i = 0; i < READERS; i++)
        from[i] = atomic_load(&board->lookups[i]);
    for (int i = 0; i < READERS; i++) {
        while (atomic_load(&board->lookups[i]) < from[i] + LOOKUPS_BETWEEN)
            (void)usleep(100);
    }
}

static void start_readers(pid_t pids[READERS])
{
    for (unsigned i = 0; i < READERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            (void)alarm(120); /* never outlives a failed test */
            read_on(i);
        }
    }
}

static void stop_readers(const pid_t pids[READERS])
{
    atomic_store(&board->stop, true);
    for (int i = 0; i < READERS; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static void no_lookup_fails_while_generations_switch_and_changes_commit(void **state)
{
    pid_t pids[READERS];

    (void)state;
    fixture_load_alice(&f);
    start_readers(pids);
    for (int i = 0; i < SWITCHES; i++) {
        wait_for_lookups();
        commit_changes();
        fixture_load_alice(&f);
    }
    wait_for_lookups();
    stop_readers(pids);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(atomic_load(&board->failures[i]), 0);
}

static void no_lookup_fails_while_rollback_switches_to_and_fro(void **state)
{
    struct error err = ERROR_INIT;
    pid_t pids[READERS];

    (void)state;
    fixture_load_alice(&f);
    fixture_load_alice(&f);
    start_readers(pids);
    for (int i = 0; i < SWITCHES; i++) {
        wait_for_lookups();
        if (source_rollback(f.source, &err) != 0)
            fail_msg("%s", err.message);
    }
    wait_for_lookups();
    stop_readers(pids);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(atomic_load(&board->failures[i]), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_lookup_fails_while_generations_switch_and_changes_commit),
        TEST(no_lookup_fails_while_rollback_switches_to_and_fro),
    };

    return cmocka_run_group_tests_name("switch", tests, NULL, NULL);
}

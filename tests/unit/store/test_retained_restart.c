/* test_retained_restart.c - what agents that come and go must not do to readers without slots, nor
 * leave behind.
 *
 * test_retained.c has the rest. Here one agent follows another: with another retention time, with
 * another generation, with the pid of its predecessor.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "store/reader_internal.h"
#include "store/source_internal.h"
#include "tests/lib/child.h"
#include "tests/lib/store_fixture.h"
#include "tools/sources.h"

enum { RETENTION_MS = 100, NOT_PERMITTED = 100 };

static struct fixture f;
static rs_store *store;
static rs_snapshot *snapshot;
static rs_consumer consumer;

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.retention_ms = RETENTION_MS;
    store = NULL;
    snapshot = NULL;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rs_end(snapshot);
    rs_close(store);
    fixture_finish(&f);
    return 0;
}

static int find_alice(void)
{
    rs_source source = fixture_realm_source(7);

    return rs_lookup(snapshot, &source, 1, "alice-key", strlen("alice-key"), &consumer);
}

/* Opens, and looks alice up in a snapshot that stays. */
static int read_alice(rs_mode mode)
{
    rs_options options = RS_OPTIONS_INIT;
    int rc;

    options.mode = mode;
    rc = reader_open(&store, f.dir, &options, &f.clock);
    if (rc == 0)
        rc = rs_begin(store, &snapshot);
    return rc != 0 ? rc : find_alice();
}

static void make_people(void)
{
    fixture_open(&f);
    fixture_load_people(&f);
}

/* Each commit renames alice and so frees the pages of the version before. */
static void rename_alice(void)
{
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 1, f.version % 2 == 0 ? "Alice" : "alice");
    fixture_commit(&f);
}

/* By the test's clock; whatever was read before has been overtaken. */
static void rename_past_retention(void)
{
    for (int i = 0; i < 4; i++) {
        f.boot_ms += RETENTION_MS;
        rename_alice();
    }
}

static void restart_with(unsigned retention_ms)
{
    fixture_close(&f);
    f.retention_ms = retention_ms;
    fixture_open(&f);
}

static void skip_if_not_permitted(int rc, const char *what)
{
    if (rc != NOT_PERMITTED)
        return;
    print_message("skipped: %s not permitted here\n", what);
    skip();
}

/* ---- what was overtaken stays so ---- */

/* After a switch the page names another generation and tells nothing of this one; then a longer
 * retention time must not make good again what was lost under the shorter one. */
static void overtaken_snapshot_stays_so_through_a_switch_and_a_longer_time(void **state)
{
    (void)state;
    make_people();
    assert_int_equal(read_alice(RS_MODE_RETAINED), RS_FOUND);
    rename_past_retention();
    assert_int_equal(rs_check(snapshot), RS_E_OVERTAKEN);
    fixture_load_people(&f);
    assert_int_equal(rs_check(snapshot), RS_E_OVERTAKEN);
    restart_with(100 * RETENTION_MS);
    assert_int_equal(rs_check(snapshot), RS_E_OVERTAKEN);
    assert_int_equal(find_alice(), RS_E_OVERTAKEN);
}

static void shorter_time_of_a_new_agent_holds_at_once(void **state)
{
    (void)state;
    f.retention_ms = 100 * RETENTION_MS;
    make_people();
    assert_int_equal(read_alice(RS_MODE_RETAINED), RS_FOUND);
    f.boot_ms += RETENTION_MS;
    assert_int_equal(rs_check(snapshot), 0);
    restart_with(RETENTION_MS);
    assert_int_equal(rs_check(snapshot), RS_E_OVERTAKEN);
}

/* ---- the same for realmctl, whose passes may be longer than the retention time ---- */

/* As a process on a read-only mount: opens a view, says so, and waits for a word before it tells
 * whether the view is overtaken. */
static int judge_view(int out, int in)
{
    struct tool_sources sources;
    struct error err = ERROR_INIT;
    char byte = 0;
    int overtaken;

    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(f.dir, f.dir, NULL, MS_BIND, NULL) != 0 ||
        mount(NULL, f.dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0)
        return NOT_PERMITTED;
    if (sources_open(f.dir, &sources, &err) != 0 || !sources.items[0].retained ||
        source_view_overtaken(&sources.items[0]))
        return 99;
    if (write(out, &byte, 1) != 1 || read(in, &byte, 1) != 1)
        return 98;
    overtaken = source_view_overtaken(&sources.items[0]) ? 1 : 0;
    sources_close(&sources);
    return overtaken;
}

static void view_of_realmctl_that_was_overtaken_stays_so_through_a_switch(void **state)
{
    int to_parent[2];
    int to_child[2];
    int64_t until_ms;
    char byte = 0;
    int status;
    pid_t pid;

    (void)state;
    f.clock = clock_system; /* as realmctl's */
    make_people();
    assert_int_equal(pipe(to_parent), 0);
    assert_int_equal(pipe(to_child), 0);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(judge_view(to_parent[1], to_child[0]));
    (void)close(to_parent[1]);
    if (read(to_parent[0], &byte, 1) == 1) { /* else it has ended */
        until_ms = clock_boot_ms() + 5 * RETENTION_MS / 2;
        while (clock_boot_ms() < until_ms)
            rename_alice();
        fixture_load_people(&f);
        assert_int_equal(write(to_child[1], &byte, 1), 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    (void)close(to_parent[0]);
    (void)close(to_child[0]);
    (void)close(to_child[1]);
    assert_true(WIFEXITED(status));
    skip_if_not_permitted(WEXITSTATUS(status), "mount namespaces are");
    assert_int_equal(WEXITSTATUS(status), 1);
}

/* ---- an agent that is process 1 ---- */

/* Runs `body` as process 1 of a PID namespace of its own, which ends without closing anything, as a
 * killed one does. */
static int as_process_one(int (*body)(void))
{
    int status = 0;
    pid_t pid = child_fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (unshare(CLONE_NEWPID) != 0)
            _exit(NOT_PERMITTED);
        pid = child_fork();
        if (pid == 0)
            _exit(body());
        _exit(pid < 0 || waitpid(pid, &status, 0) != pid ? 99 : WEXITSTATUS(status));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int make_people_and_die(void)
{
    make_people();
    return 0;
}

static int restart_and_die(void)
{
    fixture_open(&f);
    rename_alice();
    return 0;
}

static void count_own_slot(void *context, pid_t pid, uint64_t txn_id)
{
    (void)txn_id;
    if (pid == getpid())
        ++*(int *)context;
}

/* How many slots of process 1 there are. */
static int count_leftovers(void)
{
    int own = 0;

    fixture_open(&f);
    env_slots_each(&f.source->live.env, count_own_slot, &own);
    return own;
}

/* The reader with a slot keeps LMDB from making the table anew when the agent opens it. */
static void killed_agent_leaves_no_slots_to_a_successor_with_its_pid(void **state)
{
    int rc;

    (void)state;
    rc = as_process_one(make_people_and_die);
    skip_if_not_permitted(rc, "PID namespaces are");
    assert_int_equal(rc, 0);
    assert_int_equal(read_alice(RS_MODE_SLOTS), RS_FOUND);
    for (int i = 0; i < 3; i++)
        assert_int_equal(as_process_one(restart_and_die), 0);
    assert_int_equal(as_process_one(count_leftovers), 0);
    assert_int_equal(find_alice(), RS_FOUND); /* its own slot is still there */
    assert_string_equal(rs_consumer_username(&consumer), "alice");
}

static int ready_out; /* where read_and_stay() says what it read, */
static int stay_in;   /* and what it waits for the end of */

static int read_and_stay(void)
{
    char byte = (char)read_alice(RS_MODE_SLOTS);

    if (write(ready_out, &byte, 1) != 1 || read(stay_in, &byte, 1) != 0)
        return 99;
    return find_alice() == RS_FOUND && rs_check(snapshot) == 0 ? 0 : 98;
}

static int start_agent_and_change(void)
{
    struct store_options options = fixture_options(&f);
    struct error err = ERROR_INIT;

    if (store_open(&options, &f.store, &err) != 0)
        return 99;
    if (source_open(f.store, "us", &f.source, NULL, &err) != 0)
        return 98;
    for (int i = 0; i < 20; i++)
        rename_alice();
    return 0;
}

/* The slot of a living process of our pid is not taken for a leftover, and its pages stay. */
static void agent_with_a_living_readers_pid_starts_and_clears_nothing(void **state)
{
    int ready[2];
    int stay[2];
    char byte = 1;
    int status;
    int rc;
    pid_t pid;

    (void)state;
    rc = as_process_one(make_people_and_die);
    skip_if_not_permitted(rc, "PID namespaces are");
    assert_int_equal(rc, 0);
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(stay), 0);
    ready_out = ready[1];
    stay_in = stay[0];
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(stay[1]);
        _exit(as_process_one(read_and_stay));
    }
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, RS_FOUND);
    assert_int_equal(as_process_one(start_agent_and_change), 0);
    (void)close(stay[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    (void)close(ready[0]);
    (void)close(stay[0]);
}

/* ---- callers of an earlier library ---- */

static void options_without_a_mode_mean_slots(void **state)
{
    rs_options options = RS_OPTIONS_INIT;
    rs_status_info status;

    (void)state;
    make_people();
    options.size = offsetof(rs_options, mode);
    options.mode = RS_MODE_RETAINED; /* beyond what the caller says that it has */
    assert_int_equal(reader_open(&store, f.dir, &options, &f.clock), 0);
    assert_int_equal(store->mode, RS_MODE_SLOTS);
    assert_int_equal(rs_status(store, &status), 0);
    assert_int_equal(status.mode, RS_MODE_SLOTS);
    rs_close(store);
    store = NULL;
    options.size--;
    assert_int_equal(reader_open(&store, f.dir, &options, &f.clock), RS_E_INVALID);
    options.size = sizeof(options);
    options.mode = (rs_mode)(RS_MODE_RETAINED + 1);
    assert_int_equal(reader_open(&store, f.dir, &options, &f.clock), RS_E_INVALID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(overtaken_snapshot_stays_so_through_a_switch_and_a_longer_time),
        TEST(shorter_time_of_a_new_agent_holds_at_once),
        TEST(view_of_realmctl_that_was_overtaken_stays_so_through_a_switch),
        TEST(killed_agent_leaves_no_slots_to_a_successor_with_its_pid),
        TEST(agent_with_a_living_readers_pid_starts_and_clears_nothing),
        TEST(options_without_a_mode_mean_slots),
    };

    return cmocka_run_group_tests_name("retained_restart", tests, NULL, NULL);
}

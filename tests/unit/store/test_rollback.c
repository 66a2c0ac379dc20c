/* test_rollback.c - the generation that is kept, going back to it, and crashes on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "tests/lib/child.h"
#include "tests/lib/store_fixture.h"
#include "tests/lib/tool_run.h"

static struct fixture f;
static char output[4096];

/* Generation 1 knows alice and bob, generation 2 is empty. */
static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_load_empty(&f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_finish(&f);
    return 0;
}

static bool exists(const char *name)
{
    return access(fixture_path(&f, name), F_OK) == 0;
}

static void write_current(const char *lines)
{
    assert_int_equal(
        files_write(fixture_path(&f, "us"), "current", lines, strlen(lines), FILES_NO_GROUP, NULL),
        0);
}

static void assert_consumers(uint64_t consumers)
{
    assert_int_equal(source_counts(f.source).consumers, consumers);
}

/* What a reader answers now. */
static int lookup_bob(void)
{
    const rs_source source = fixture_cp_source();
    rs_options options = RS_OPTIONS_INIT;
    rs_store *store;
    rs_snapshot *snapshot;
    rs_consumer consumer;
    int rc;

    assert_int_equal(rs_open(&store, f.dir, &options), 0);
    assert_int_equal(rs_begin(store, &snapshot), 0);
    rc = rs_lookup(snapshot, &source, 1, "bob-key", strlen("bob-key"), &consumer);
    rs_end(snapshot);
    rs_close(store);
    return rc;
}

static int rollback(const char *first, const char *second)
{
    const char *const arguments[] = {first, second, NULL};
    const struct tool tool = {.store_dir = f.dir};

    return tool_run(f.base, &tool, &command_rollback, "", arguments, output, sizeof(output));
}

static void previous_generation_is_kept_and_older_ones_go(void **state)
{
    (void)state;
    assert_int_equal(source_fallback(f.source), SOURCE_FALLBACK_KEPT);
    assert_true(exists("us/g-000001/data.mdb"));
    fixture_load_empty(&f);
    assert_false(exists("us/g-000001"));
    assert_true(exists("us/g-000002/data.mdb"));
    fixture_close(&f);
    fixture_open(&f);
    assert_true(exists("us/g-000002/data.mdb"));
}

static void rollback_goes_back_and_forward_with_each_cursor(void **state)
{
    uint64_t newest = f.version;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(source_rollback(f.source, &err), 0);
    assert_consumers(2);
    assert_int_equal(source_visible(f.source).version, newest - 1);
    fixture_close(&f);
    assert_int_not_equal(lookup_bob(), RS_NOT_FOUND);
    fixture_open(&f);
    assert_consumers(2);
    assert_int_equal(source_rollback(f.source, &err), 0);
    assert_consumers(0);
    assert_int_equal(source_visible(f.source).version, newest);
    fixture_close(&f);
    assert_int_equal(lookup_bob(), RS_NOT_FOUND);
}

static uint64_t verified_version(void)
{
    rs_status_info status;
    rs_store *store;

    assert_int_equal(rs_open(&store, f.dir, NULL), 0);
    assert_int_equal(rs_status(store, &status), 0);
    rs_close(store);
    assert_int_equal(status.sources[0].verified_ms == 0, status.sources[0].verified_version == 0);
    return status.sources[0].verified_version;
}

static void what_was_verified_of_a_newer_copy_is_forgotten(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(verified_version(), 0);
    source_verified(f.source, f.version);
    assert_int_equal(verified_version(), f.version);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(verified_version(), f.version);
    assert_int_equal(source_rollback(f.source, &err), 0);
    assert_int_equal(verified_version(), 0);
}

static void changes_continue_after_rollback_and_a_load_takes_a_new_number(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(source_rollback(f.source, &err), 0);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 3, "carol");
    fixture_commit(&f);
    assert_consumers(3);
    fixture_load_empty(&f);
    assert_true(exists("us/g-000003/data.mdb"));
    assert_true(exists("us/g-000001/data.mdb"));
    assert_false(exists("us/g-000002"));
}

static void rollback_without_previous_changes_nothing(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    fixture_close(&f);
    write_current("g-000002\n");
    fixture_open(&f);
    assert_false(exists("us/g-000001"));
    assert_int_equal(source_rollback(f.source, &err), E_NOT_FOUND);
    assert_consumers(0);
}

static void rollback_to_a_damaged_generationss_what_serves(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(truncate(fixture_path(&f, "us/g-000001/data.mdb"), 3L * 4096), 0);
    assert_int_equal(source_rollback(f.source, &err), E_CORRUPT);
    fixture_close(&f);
    fixture_open(&f);
    assert_consumers(0);
    assert_int_equal(lookup_bob(), RS_NOT_FOUND);
}

/* A crash before the rename leaves `current` as it was and a temporary file beside it. */
static void crash_before_the_switch_leaves_the_serving_generation(void **state)
{
    (void)state;
    fixture_close(&f);
    assert_int_equal(
        files_write(fixture_path(&f, "us"), "current.tmp", "g-0", 3, FILES_NO_GROUP, NULL), 0);
    assert_int_equal(lookup_bob(), RS_NOT_FOUND);
    fixture_open(&f);
    assert_consumers(0);
    assert_true(exists("us/g-000001"));
}

/* A crash between `current` and the status page: readers go on in the generation that the page
 * names, which is kept; the next open puts the page right. */
static void crash_after_the_switch_serves_and_is_repaired(void **state)
{
    (void)state;
    fixture_close(&f);
    write_current("g-000001\ng-000002\n");
    assert_int_equal(lookup_bob(), RS_NOT_FOUND);
    fixture_open(&f);
    assert_consumers(2);
    fixture_close(&f);
    assert_int_not_equal(lookup_bob(), RS_NOT_FOUND);
    assert_true(exists("us/g-000002/data.mdb"));
}

/* A crash in a publication before older generations were removed. */
static void generations_that_current_does_not_name_are_removed(void **state)
{
    (void)state;
    fixture_close(&f);
    assert_int_equal(mkdir(fixture_path(&f, "us/g-000003"), 0750), 0);
    fixture_open(&f);
    assert_false(exists("us/g-000003"));
    assert_true(exists("us/g-000001"));
    assert_true(exists("us/g-000002"));
}

static void command_refuses_while_an_agent_runs(void **state)
{
    char text[1024] = "";
    char pid[32];
    size_t size;

    (void)state;
    (void)snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
    assert_int_equal(rollback(NULL, NULL), TOOL_UNKNOWN);
    assert_int_equal(files_read(f.base, "err", text, sizeof(text) - 1, &size, NULL), 0);
    assert_non_null(strstr(text, pid));
    assert_non_null(strstr(text, "stop it"));
    assert_consumers(0);
}

static void command_rolls_back_and_forward(void **state)
{
    (void)state;
    fixture_close(&f);
    assert_int_equal(rollback("--region", "us"), TOOL_YES);
    assert_string_equal(output, "us: serves version 2\n");
    assert_int_not_equal(lookup_bob(), RS_NOT_FOUND);
    assert_int_equal(rollback(NULL, NULL), TOOL_YES);
    assert_string_equal(output, "us: serves version 3\n");
    assert_int_equal(rollback("--region", "eu"), TOOL_UNKNOWN);
    write_current("g-000002\n");
    assert_int_equal(rollback(NULL, NULL), TOOL_NO);
}

static void command_goes_back_from_a_damaged_copy(void **state)
{
    (void)state;
    fixture_close(&f);
    assert_int_equal(truncate(fixture_path(&f, "us/g-000002/data.mdb"), 3L * 4096), 0);
    assert_int_equal(rollback(NULL, NULL), TOOL_YES);
    assert_int_not_equal(lookup_bob(), RS_NOT_FOUND);
}

static void command_makes_no_store(void **state)
{
    (void)state;
    fixture_close(&f);
    (void)snprintf(f.dir, sizeof(f.dir), "%s/nowhere", f.base);
    assert_int_equal(rollback(NULL, NULL), TOOL_UNKNOWN);
    assert_int_not_equal(access(f.dir, F_OK), 0);
}

/* ---- a snapshot that lives through it all ---- */

static void step(int in, int out)
{
    char byte = 'x';

    if (write(out, &byte, 1) != 1 || read(in, &byte, 1) != 1)
        _exit(1);
}

/* Its oldest snapshot stays in generation 1, while that is left, served again, and left again; each
 * step waits for the writer. */
static _Noreturn void outlive_switches(int in, int out)
{
    const rs_source source = fixture_cp_source();
    rs_snapshot *snapshots[3];
    rs_consumer consumer;
    rs_store *store;

    if (rs_open(&store, f.dir, NULL) != 0)
        _exit(2);
    for (int i = 0; i < 3; i++) {
        if (rs_begin(store, &snapshots[i]) != 0)
            _exit(3);
        (void)rs_lookup(snapshots[i], &source, 1, "bob-key", 7, &consumer);
        if (i > 0)
            rs_end(snapshots[i]);
        step(in, out);
    }
    if (rs_begin(store, &snapshots[1]) != 0) /* follows, and lets go of what is not needed */
        _exit(4);
    rs_end(snapshots[1]);
    step(in, out);
    rs_end(snapshots[0]);
    rs_close(store);
    _exit(0);
}

static void switch_back_or_forward(void)
{
    struct error err = ERROR_INIT;

    if (source_rollback(f.source, &err) != 0)
        fail_msg("%s", err.message);
}

static void snapshot_that_lives_through_switch_and_rollback_keeps_its_slot(void **state)
{
    struct source_readers readers;
    struct error err = ERROR_INIT;
    int to_child[2];
    int to_parent[2];
    char byte;
    int status;
    pid_t pid;

    (void)state;
    switch_back_or_forward(); /* to generation 1 */
    assert_int_equal(pipe(to_child) | pipe(to_parent), 0);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(to_child[1]); /* so that it ends with the test */
        outlive_switches(to_child[0], to_parent[1]);
    }
    assert_int_equal(close(to_child[0]) | close(to_parent[1]), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(read(to_parent[0], &byte, 1), 1);
        switch_back_or_forward(); /* the child's second snapshot is in 2, its third in 1 again */
        assert_int_equal(write(to_child[1], &byte, 1), 1);
    }
    assert_int_equal(read(to_parent[0], &byte, 1), 1);
    switch_back_or_forward(); /* where its first snapshot still is */
    assert_int_equal(source_check_readers(f.source, &readers, &err), 0);
    assert_int_equal(readers.cleared, 0); /* it was not taken for dead */
    assert_true(readers.in_use > 0);
    assert_int_equal(readers.oldest_pid, 0); /* nothing was committed since */
    assert_int_equal(write(to_child[1], &byte, 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(close(to_child[1]) | close(to_parent[0]), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(previous_generation_is_kept_and_older_ones_go),
        TEST(rollback_goes_back_and_forward_with_each_cursor),
        TEST(what_was_verified_of_a_newer_copy_is_forgotten),
        TEST(changes_continue_after_rollback_and_a_load_takes_a_new_number),
        TEST(rollback_without_previous_changes_nothing),
        TEST(rollback_to_a_damaged_generationss_what_serves),
        TEST(crash_before_the_switch_leaves_the_serving_generation),
        TEST(crash_after_the_switch_serves_and_is_repaired),
        TEST(generations_that_current_does_not_name_are_removed),
        TEST(command_refuses_while_an_agent_runs),
        TEST(command_rolls_back_and_forward),
        TEST(command_goes_back_from_a_damaged_copy),
        TEST(command_makes_no_store),
        TEST(snapshot_that_lives_through_switch_and_rollback_keeps_its_slot),
    };

    return cmocka_run_group_tests_name("rollback", tests, NULL, NULL);
}

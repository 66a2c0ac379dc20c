/* test_rollback.c - the generation that is kept, going back to it, and crashes on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
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
    assert_int_equal(source_cursor(f.source).version, newest - 1);
    fixture_close(&f);
    assert_int_not_equal(lookup_bob(), RS_NOT_FOUND);
    fixture_open(&f);
    assert_consumers(2);
    assert_int_equal(source_rollback(f.source, &err), 0);
    assert_consumers(0);
    assert_int_equal(source_cursor(f.source).version, newest);
    fixture_close(&f);
    assert_int_equal(lookup_bob(), RS_NOT_FOUND);
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

static void rollback_to_a_damaged_generation_keeps_what_serves(void **state)
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(previous_generation_is_kept_and_older_ones_go),
        TEST(rollback_goes_back_and_forward_with_each_cursor),
        TEST(changes_continue_after_rollback_and_a_load_takes_a_new_number),
        TEST(rollback_without_previous_changes_nothing),
        TEST(rollback_to_a_damaged_generation_keeps_what_serves),
        TEST(crash_before_the_switch_leaves_the_serving_generation),
        TEST(crash_after_the_switch_serves_and_is_repaired),
        TEST(generations_that_current_does_not_name_are_removed),
        TEST(command_refuses_while_an_agent_runs),
        TEST(command_rolls_back_and_forward),
        TEST(command_goes_back_from_a_damaged_copy),
        TEST(command_makes_no_store),
    };

    return cmocka_run_group_tests_name("rollback", tests, NULL, NULL);
}

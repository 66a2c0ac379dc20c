/* test_switch.c - readers in processes of their own, while generations switch and changes commit.
 *
 * alice is in every generation and in every version of it: whatever a reader sees, it must find
 * her. What changes around her is another consumer in each commit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/reader_process.h"
#include "tests/lib/store_fixture.h"

enum { READERS = 2, SWITCHES = 20, COMMITS = 25 };

static struct fixture f;
static struct reader_process readers[READERS];

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.clock = clock_system; /* the readers' own */
    fixture_open(&f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < READERS; i++)
        reader_process_finish(&readers[i]);
    fixture_finish(&f);
    return 0;
}

static void start_readers(void)
{
    for (int i = 0; i < READERS; i++)
        reader_process_start(&readers[i], f.dir, READER_LOOKS_UP);
}

/* Every step of the writer is seen by each. */
static void wait_for_switches(unsigned n)
{
    for (int i = 0; i < READERS; i++)
        reader_process_wait(&readers[i].seen->switches, n - 1);
}

static void assert_no_lookup_failed(void)
{
    for (int i = 0; i < READERS; i++) {
        reader_process_wait_lookups(&readers[i]);
        reader_process_stop(&readers[i]);
        assert_int_equal(readers[i].seen->last_failure, 0);
        assert_int_equal(readers[i].seen->failures, 0);
        assert_int_equal(readers[i].seen->switches, 1 + SWITCHES);
    }
}

static void commit_changes(void)
{
    for (unsigned i = 0; i < COMMITS; i++) {
        fixture_begin(&f);
        fixture_put_consumer(f.source, 7, 1000 + i, "somebody");
        fixture_put_consumer(f.source, 7, 1, "alice");
        fixture_commit(&f);
    }
}

static void no_lookup_fails_while_generations_switch_and_changes_commit(void **state)
{
    (void)state;
    fixture_load_alice(&f);
    start_readers();
    for (unsigned i = 1; i <= SWITCHES; i++) {
        commit_changes();
        fixture_load_alice(&f);
        wait_for_switches(1 + i);
    }
    assert_no_lookup_failed();
}

static void no_lookup_fails_while_rollback_switches_to_and_fro(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    fixture_load_alice(&f);
    fixture_load_alice(&f);
    start_readers();
    for (unsigned i = 1; i <= SWITCHES; i++) {
        if (source_rollback(f.source, &err) != 0)
            fail_msg("%s", err.message);
        wait_for_switches(1 + i);
    }
    assert_no_lookup_failed();
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

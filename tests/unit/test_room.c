/* test_room.c - the map that grows by itself, with readers that never fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/reader_process.h"
#include "tests/lib/store_check.h"
#include "tests/lib/store_fixture.h"

enum { READERS = 2, MEBIBYTE = 1024 * 1024 };

static struct fixture f;
static struct reader_process readers[READERS];

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.clock = clock_system; /* the readers' own */
    f.retention_ms = 100;
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

static void assert_reader_served(struct reader_process *reader)
{
    reader_process_wait_lookups(reader);
    reader_process_stop(reader);
    assert_int_equal(reader->seen->last_failure, 0);
    assert_int_equal(reader->seen->failures, 0);
}

/* Consumers from number *n on; gives the first failure's code, with the transaction open. */
static int put_many(unsigned *n, unsigned count, struct error *err)
{
    char name[64];
    int rc = 0;

    for (unsigned end = *n + count; *n < end && rc == 0; (*n)++) {
        struct model_consumer consumer = {.id = fixture_uuid(*n), .username = name};

        (void)snprintf(name, sizeof(name), "consumer-%u", *n);
        rc = source_put_consumer(f.source, 7, &consumer, err);
    }
    return rc;
}

static void map_grows_when_a_transaction_needs_it(void **state)
{
    struct error err = ERROR_INIT;
    unsigned grown = 0;
    unsigned n = 100;

    (void)state;
    f.map_bytes = MEBIBYTE;
    fixture_open(&f);
    fixture_load_alice(&f);
    reader_process_start(&readers[0], f.dir, READER_LOOKS_UP);
    reader_process_start(&readers[1], f.dir, READER_RETAINED);
    while (grown < 3) {
        fixture_begin(&f);
        if (put_many(&n, 4000, &err) == 0) {
            fixture_commit(&f);
            continue;
        }
        assert_int_equal(err.code, E_NO_SPACE);
        source_abort(f.source);
        assert_true(source_make_room(f.source));
        grown++;
    }
    assert_true(fixture_upkeep(&f).map_bytes > 4 * MEBIBYTE);
    assert_reader_served(&readers[0]);
    assert_reader_served(&readers[1]);
    fixture_close(&f);
    store_check(f.dir, f.version, "grown", NULL);
}

static void load_makes_its_map_as_large_as_it_needs(void **state)
{
    enum { CONSUMERS = 250000 }; /* three transactions of the load */
    struct error err = ERROR_INIT;

    (void)state;
    f.map_bytes = 16 * MEBIBYTE;
    fixture_open(&f);
    if (fixture_try_load(&f, CONSUMERS, &err) != 0)
        fail_msg("%s", err.message);
    assert_true(fixture_upkeep(&f).file_bytes > f.map_bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(map_grows_when_a_transaction_needs_it),
        TEST(load_makes_its_map_as_large_as_it_needs),
    };

    return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}

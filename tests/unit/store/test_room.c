/* test_room.c - the map that grows by itself, and the bound on what a stuck reader costs, with
 * readers that never fail. */
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

/* One transaction of consumers from number `first` on; the code of the first failure. */
static int try_many(unsigned first, unsigned count)
{
    struct model_cursor cursor = {fixture_epoch(), f.version + 1};
    struct error err = ERROR_INIT;
    char name[64];
    int rc = source_begin(f.source, &err);

    for (unsigned n = first; n < first + count && rc == 0; n++) {
        struct model_consumer consumer = {.id = fixture_uuid(n), .username = name};

        (void)snprintf(name, sizeof(name), "consumer-%u", n);
        rc = source_put_consumer(f.source, 7, &consumer, &err);
    }
    if (rc == 0)
        rc = source_commit(f.source, &cursor, 1, &err);
    else
        source_abort(f.source);
    f.version += rc == 0;
    return rc;
}

static void map_grows_when_a_transaction_needs_it(void **state)
{
    enum { AT_ONCE = 4000 };
    unsigned grown = 0;
    unsigned n = 100;

    (void)state;
    f.map_bytes = MEBIBYTE;
    fixture_open(&f);
    fixture_load_alice(&f);
    reader_process_start(&readers[0], f.dir, READER_LOOKS_UP);
    reader_process_start(&readers[1], f.dir, READER_RETAINED);
    while (grown < 3) {
        int rc = try_many(n, AT_ONCE);

        if (rc == 0) {
            n += AT_ONCE;
            continue;
        }
        assert_int_equal(rc, E_NO_SPACE);
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
    enum { CONSUMERS = 250000, FREE_PAGES = 16, PAGE = 4096 }; /* five transactions of the load */
    struct error err = ERROR_INIT;
    struct source_upkeep upkeep;

    (void)state;
    f.map_bytes = 16 * MEBIBYTE;
    fixture_open(&f);
    if (fixture_try_load(&f, CONSUMERS, &err) != 0)
        fail_msg("%s", err.message);
    upkeep = fixture_upkeep(&f);
    assert_true(upkeep.file_bytes > f.map_bytes);
    /* What one transaction of the load freed the next but one used again: else 27 pages are
     * left. */
    assert_true(upkeep.file_bytes - upkeep.used_bytes < FREE_PAGES * (uint64_t)PAGE);
}

/* ---- stuck readers ---- */

/* Rewrites the same fifty consumers. */
static void commit_something(unsigned n)
{
    char name[32];

    fixture_begin(&f);
    for (unsigned i = 0; i < 50; i++) {
        (void)snprintf(name, sizeof(name), "consumer-%u-%u", i, n);
        fixture_put_consumer(f.source, 7, 1000 + i * 50, name);
    }
    fixture_commit(&f);
}

static void stuck_reader_is_safe_seen_and_cannot_make_the_file_grow(void **state)
{
    enum { ROUNDS = 6, COMMITS = 300 };
    struct source_upkeep now = {.file_bytes = 0};
    struct source_readers slots;
    struct error err = ERROR_INIT;
    unsigned compactions = 0;
    uint64_t largest = 0;

    (void)state;
    f.retention_ms = 0; /* what is retained would count too */
    f.compact_bytes = 2 * MEBIBYTE;
    f.compact_lag_txns = 100;
    fixture_open(&f);
    fixture_load_alice(&f);
    commit_something(0);
    reader_process_start(&readers[0], f.dir, READER_STAYS);
    reader_process_start(&readers[1], f.dir, READER_LOOKS_UP);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned n = 0; n < COMMITS; n++)
            commit_something(n);
        if (compactions == 0) {
            assert_int_equal(source_check_readers(f.source, &slots, &err), 0);
            assert_int_equal(slots.oldest_pid, readers[0].pid);
            assert_true(slots.oldest_lag_txns >= COMMITS);
        }
        now = fixture_upkeep(&f);
        compactions += now.compacted;
        largest = now.compacted_from_bytes > largest ? now.compacted_from_bytes : largest;
    }
    assert_int_equal(compactions, 1); /* the copy has no stuck reader */
    assert_true(largest > f.compact_bytes);
    assert_true(now.file_bytes < f.compact_bytes);
    assert_int_equal(source_visible(f.source).version, f.version);
    assert_int_equal(readers[0].seen->failures, 0); /* the old snapshot stays what it was */
    assert_reader_served(&readers[1]);
    assert_int_equal(readers[1].seen->switches, 2);
    fixture_close(&f);
    store_check(f.dir, f.version, "compacted", NULL);
}

static bool exists(const char *name)
{
    return access(fixture_path(&f, name), F_OK) == 0;
}

static void compaction_keeps_what_a_rollback_goes_back_to(void **state)
{
    const struct source_readers slow = {.oldest_lag_txns = 5};
    struct error err = ERROR_INIT;
    struct source_upkeep now;

    (void)state;
    f.compact_bytes = 1;
    f.compact_lag_txns = 1;
    fixture_open(&f);
    fixture_load_alice(&f);
    fixture_load_alice(&f);
    for (unsigned n = 0; n < 20; n++)
        commit_something(n);
    fixture_begin(&f);
    assert_int_equal(source_delete_realm(f.source, 7, &err), 0);
    fixture_commit(&f);
    assert_int_equal(source_upkeep(f.source, &slow, &now, &err), 0);
    assert_true(now.compacted);
    assert_int_equal(now.previous, 1);
    assert_false(exists("us/g-000002"));
    assert_true(exists("us/g-000003"));
    assert_int_equal(source_rollback(f.source, &err), 0);
    assert_int_equal(source_visible(f.source).version, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(map_grows_when_a_transaction_needs_it),
        TEST(load_makes_its_map_as_large_as_it_needs),
        TEST(stuck_reader_is_safe_seen_and_cannot_make_the_file_grow),
        TEST(compaction_keeps_what_a_rollback_goes_back_to),
    };

    return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}

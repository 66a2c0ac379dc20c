/* test_generations.c - switching, keeping, going back, compacting: with readers that never fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "tests/lib/reader_process.h"
#include "tests/lib/store_fixture.h"

enum { READERS = 2, SWITCHES = 20, COMMITS_BETWEEN = 10, MEBIBYTE = 1024 * 1024 };

static struct fixture f;
static struct reader_process readers[READERS];

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.clock = clock_system; /* the readers' own */
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

static uint64_t version_now(void)
{
    return source_cursor(f.source).version;
}

static bool exists(const char *name)
{
    return access(fixture_path(&f, name), F_OK) == 0;
}

static struct source_upkeep upkeep(void)
{
    struct source_readers slots;
    struct source_upkeep ret;
    struct error err = ERROR_INIT;

    if (source_check_readers(f.source, &slots, &err) != 0 ||
        source_upkeep(f.source, &slots, &ret, &err) != 0)
        fail_msg("%s", err.message);
    return ret;
}

/* ---- switching ---- */

static void no_lookup_fails_through_twenty_switches_and_live_commits(void **state)
{
    (void)state;
    fixture_open(&f);
    fixture_load_alice(&f);
    for (int i = 0; i < READERS; i++)
        reader_process_start(&readers[i], f.dir, READER_LOOKS_UP);
    for (unsigned n = 0; n < SWITCHES; n++) {
        for (unsigned commit = 0; commit < COMMITS_BETWEEN; commit++)
            commit_something(n * COMMITS_BETWEEN + commit);
        fixture_load_alice(&f);
        for (int i = 0; i < READERS; i++) /* every reader sees this generation */
            reader_process_wait(&readers[i].seen->switches, n + 1);
    }
    for (int i = 0; i < READERS; i++) {
        reader_process_stop(&readers[i]);
        assert_int_equal(readers[i].seen->failures, 0);
        assert_int_equal(readers[i].seen->last_failure, 0);
        assert_int_equal(readers[i].seen->switches, SWITCHES + 1);
    }
}

static void two_generations_stay_and_no_third(void **state)
{
    (void)state;
    fixture_open(&f);
    for (int i = 0; i < 4; i++)
        fixture_load_alice(&f);
    assert_true(exists("us/g-000004"));
    assert_true(exists("us/g-000003"));
    assert_false(exists("us/g-000002"));
    assert_false(exists("us/g-000001"));
    assert_int_equal(upkeep().previous, 3);
    fixture_close(&f);
    fixture_open(&f);
    assert_true(exists("us/g-000003"));
    fixture_load_alice(&f);
    assert_true(exists("us/g-000005"));
    assert_false(exists("us/g-000003"));
}

/* ---- going back ---- */

static void rollback_serves_the_former_generation_with_its_own_cursor(void **state)
{
    struct error err = ERROR_INIT;
    uint64_t former;

    (void)state;
    fixture_open(&f);
    fixture_load_alice(&f);
    commit_something(1);
    former = version_now();
    fixture_load_empty(&f); /* the mistake */
    reader_process_start(&readers[0], f.dir, READER_LOOKS_UP);
    reader_process_wait(&readers[0].seen->failures, 0); /* alice is gone */
    if (source_rollback(f.source, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(version_now(), former);
    reader_process_wait(&readers[0].seen->switches, 1);
    atomic_store(&readers[0].seen->failures, 0);
    reader_process_wait_lookups(&readers[0]);
    assert_int_equal(readers[0].seen->failures, 0);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(version_now(), former);
    commit_something(2); /* the feed goes on from there */
    /* A rollback can be rolled back. */
    assert_int_equal(source_rollback(f.source, &err), 0);
    assert_int_equal(source_counts(f.source).consumers, 0);
}

static void rollback_without_a_kept_generation_is_refused(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    fixture_open(&f);
    assert_int_equal(source_rollback(f.source, &err), E_NOT_FOUND);
    fixture_load_alice(&f);
    assert_int_equal(source_rollback(f.source, &err), E_NOT_FOUND);
    assert_int_equal(source_counts(f.source).consumers, 1);
}

static void rollback_to_a_damaged_generation_changes_nothing(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    fixture_open(&f);
    fixture_load_alice(&f);
    fixture_load_alice(&f);
    assert_int_equal(truncate(fixture_path(&f, "us/g-000001/data.mdb"), 8192), 0);
    assert_int_equal(source_rollback(f.source, &err), E_CORRUPT);
    assert_int_equal(version_now(), 2);
    commit_something(1);
}

/* What was heard of the source since belongs to the data that was given up. */
static void ages_after_a_rollback_count_from_the_last_commit_of_what_serves(void **state)
{
    const struct timespec times[2] = {{.tv_sec = clock_wall_ms() / 1000 - 100},
                                      {.tv_sec = clock_wall_ms() / 1000 - 100}};
    struct error err = ERROR_INIT;
    rs_status_info status;
    rs_store *store;

    (void)state;
    fixture_open(&f);
    fixture_load_alice(&f);
    fixture_load_alice(&f);
    assert_int_equal(utimensat(AT_FDCWD, fixture_path(&f, "us/g-000001/data.mdb"), times, 0), 0);
    assert_int_equal(source_rollback(f.source, &err), 0);
    fixture_close(&f);
    assert_int_equal(rs_open(&store, f.dir, NULL), 0);
    assert_int_equal(rs_status(store, &status), 0);
    rs_close(store);
    assert_in_range(status.sources[0].age_ms, 99000, 160000);
}

static void damaged_serving_generation_leaves_the_kept_one_to_go_back_to(void **state)
{
    struct store_options options = fixture_options(&f);
    struct error discarded = ERROR_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    fixture_open(&f);
    fixture_load_alice(&f);
    fixture_load_alice(&f);
    fixture_close(&f);
    assert_int_equal(truncate(fixture_path(&f, "us/g-000002/data.mdb"), 8192), 0);
    assert_int_equal(store_open(&options, &f.store, &err), 0);
    assert_int_equal(source_open(f.store, "us", &f.source, &discarded, &err), 0);
    assert_int_equal(discarded.code, E_CORRUPT);
    assert_int_equal(version_now(), 0); /* never silently an older state */
    assert_int_equal(source_rollback(f.source, &err), 0);
    assert_int_equal(version_now(), 1);
}

/* ---- slow readers ---- */

static void stuck_reader_is_safe_seen_and_cannot_make_the_file_grow(void **state)
{
    enum { ROUNDS = 6, COMMITS = 300 };
    struct source_upkeep now = {.file_bytes = 0};
    struct source_readers slots;
    struct error err = ERROR_INIT;
    unsigned compactions = 0;
    uint64_t largest = 0;

    (void)state;
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
        now = upkeep();
        compactions += now.compacted;
        largest = now.compacted_from_bytes > largest ? now.compacted_from_bytes : largest;
    }
    assert_int_equal(compactions, 1); /* the copy has no stuck reader */
    assert_true(largest > f.compact_bytes);
    assert_true(now.file_bytes < f.compact_bytes);
    assert_int_equal(version_now(), f.version);
    assert_int_equal(readers[0].seen->failures, 0); /* the old snapshot stays what it was */
    assert_int_equal(readers[1].seen->failures, 0);
    reader_process_stop(&readers[1]);
    assert_int_equal(readers[1].seen->switches, 2);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(version_now(), f.version);
}

static void compaction_keeps_what_a_rollback_goes_back_to(void **state)
{
    struct error err = ERROR_INIT;
    struct source_readers slow = {.oldest_lag_txns = 5};
    struct source_upkeep now;

    (void)state;
    f.compact_bytes = 1;
    f.compact_lag_txns = 1;
    fixture_open(&f);
    fixture_load_alice(&f);
    fixture_load_empty(&f);
    fixture_begin(&f);
    fixture_put_realm(f.source, 7);
    fixture_commit(&f);
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
    assert_int_equal(version_now(), 1);
}

/* ---- map room ---- */

static void map_grows_when_a_transaction_needs_it(void **state)
{
    struct error err = ERROR_INIT;
    unsigned grown = 0;
    unsigned n = 100;
    char name[64];

    (void)state;
    f.map_bytes = MEBIBYTE;
    fixture_open(&f);
    fixture_load_alice(&f);
    reader_process_start(&readers[0], f.dir, READER_LOOKS_UP);
    while (grown < 3) {
        int rc = 0;

        fixture_begin(&f);
        for (unsigned end = n + 4000; n < end && rc == 0; n++) {
            struct model_consumer consumer = {.id = fixture_uuid(n), .username = name};

            (void)snprintf(name, sizeof(name), "consumer-%u", n);
            rc = source_put_consumer(f.source, 7, &consumer, &err);
        }
        if (rc == 0) {
            fixture_commit(&f);
            continue;
        }
        assert_int_equal(rc, E_NO_SPACE);
        source_abort(f.source);
        assert_true(source_make_room(f.source));
        grown++;
    }
    reader_process_wait_lookups(&readers[0]);
    assert_int_equal(readers[0].seen->failures, 0);
    assert_true(upkeep().map_bytes > 4 * MEBIBYTE);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(version_now(), f.version);
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
    assert_true(upkeep().file_bytes > f.map_bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_lookup_fails_through_twenty_switches_and_live_commits),
        TEST(two_generations_stay_and_no_third),
        TEST(rollback_serves_the_former_generation_with_its_own_cursor),
        TEST(rollback_without_a_kept_generation_is_refused),
        TEST(rollback_to_a_damaged_generation_changes_nothing),
        TEST(ages_after_a_rollback_count_from_the_last_commit_of_what_serves),
        TEST(damaged_serving_generation_leaves_the_kept_one_to_go_back_to),
        TEST(stuck_reader_is_safe_seen_and_cannot_make_the_file_grow),
        TEST(compaction_keeps_what_a_rollback_goes_back_to),
        TEST(map_grows_when_a_transaction_needs_it),
        TEST(load_makes_its_map_as_large_as_it_needs),
    };

    return cmocka_run_group_tests_name("generations", tests, NULL, NULL);
}

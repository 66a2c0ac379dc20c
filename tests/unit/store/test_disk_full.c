/* test_disk_full.c - a full disk: the last good state serves, and all arrives when room comes back.
 *
 * Readers map the files meanwhile: a page that the file system could not give would end them by
 * SIGBUS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "tests/lib/reader_process.h"
#include "tests/lib/small_disk.h"
#include "tests/lib/store_check.h"
#include "tests/lib/store_fixture.h"

enum { KIBIBYTE = 1024, MEBIBYTE = 1024 * KIBIBYTE, DISK_MEBIBYTES = 6, BATCH = 500 };

static struct fixture f;
static struct reader_process reader;

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.clock = clock_system; /* the reader's own */
    if (!small_disk_allowed())
        return 0;
    small_disk_mount(f.base, DISK_MEBIBYTES);
    fixture_open(&f);
    fixture_load_alice(&f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    reader_process_finish(&reader);
    fixture_close(&f);
    if (small_disk_allowed())
        small_disk_unmount(f.base);
    fixture_finish(&f);
    return 0;
}

static void need_disk(void)
{
    if (!small_disk_allowed())
        skip();
}

static int put_batch(unsigned number, struct error *err)
{
    char name[300];
    int rc = 0;

    for (unsigned i = 0; i < BATCH && rc == 0; i++) {
        struct model_consumer consumer = {.id = fixture_uuid(1000 + number * BATCH + i),
                                          .username = name};

        (void)snprintf(name, sizeof(name), "%0250u", number * BATCH + i);
        rc = source_put_consumer(f.source, 7, &consumer, err);
    }
    return rc;
}

/* A batch of changes as the agent applies it, with its retries. */
static int try_batch(unsigned number)
{
    struct model_cursor cursor = {fixture_epoch(), f.version + 1};
    struct error err = ERROR_INIT;
    int rc;

    do {
        rc = source_begin(f.source, &err);
        if (rc == 0)
            rc = put_batch(number, &err);
        if (rc == 0)
            rc = source_commit(f.source, &cursor, 1, &err);
        else
            source_abort(f.source);
    } while (rc == E_NO_SPACE && source_make_room(f.source));
    f.version += rc == 0;
    return rc;
}

/* No lookup has failed, and the newest ones neither. */
static void assert_reader_serves(void)
{
    reader_process_wait_lookups(&reader);
    assert_int_equal(reader.seen->last_failure, 0);
    assert_int_equal(reader.seen->failures, 0);
}

static void assert_sound_with(uint64_t consumers)
{
    fixture_close(&f);
    store_check(f.dir, f.version, "after the full disk", NULL);
    fixture_open(&f);
    assert_int_equal(source_counts(f.source).consumers, consumers);
}

static void live_changes_stop_at_a_full_disk_and_all_arrive_later(void **state)
{
    uint64_t consumers;
    unsigned batch = 0;
    int rc;

    (void)state;
    need_disk();
    small_disk_fill(f.base, 3 * MEBIBYTE);
    fixture_load_alice(&f); /* a generation is kept, until room is short */
    reader_process_start(&reader, f.dir, READER_LOOKS_UP);
    while ((rc = try_batch(batch)) == 0)
        batch++;
    assert_int_equal(rc, E_NO_SPACE);
    assert_true(batch > 2);
    assert_int_not_equal(access(fixture_path(&f, "us/g-000001"), F_OK), 0); /* given up first */
    /* Pages that the retention time has let go of may take a batch more. */
    for (int full = 0; full < 20;) {
        rc = try_batch(batch);
        full = rc == 0 ? 0 : full + 1;
        batch += rc == 0;
        assert_true(rc == 0 || rc == E_NO_SPACE);
    }
    consumers = source_counts(f.source).consumers;
    assert_int_equal(consumers, 1 + batch * BATCH);
    assert_int_equal(source_visible(f.source).version, f.version);
    assert_reader_serves();
    small_disk_clear(f.base);
    assert_int_equal(try_batch(batch), 0);
    assert_int_equal(try_batch(batch + 1), 0);
    assert_reader_serves();
    reader_process_stop(&reader);
    assert_sound_with(consumers + 2 * BATCH);
}

static void load_stops_at_a_full_disk_and_succeeds_later(void **state)
{
    enum { OTHERS = 30000 }; /* several megabytes */
    struct error err = ERROR_INIT;

    (void)state;
    need_disk();
    small_disk_fill(f.base, 2 * MEBIBYTE);
    reader_process_start(&reader, f.dir, READER_LOOKS_UP);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fixture_try_load(&f, OTHERS, &err), E_NO_SPACE);
        assert_int_equal(source_visible(f.source).version, 1);
        assert_reader_serves();
    }
    small_disk_clear(f.base);
    if (fixture_try_load(&f, OTHERS, &err) != 0)
        fail_msg("%s", err.message);
    assert_reader_serves();
    reader_process_stop(&reader);
    assert_sound_with(1 + OTHERS);
}

static void former_generation_is_not_kept_without_room(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    need_disk();
    assert_int_equal(fixture_try_load(&f, 8000, &err), 0);
    assert_int_equal(source_fallback(f.source), SOURCE_FALLBACK_KEPT);
    small_disk_fill(f.base, 400 * KIBIBYTE);
    fixture_load_alice(&f);
    assert_int_not_equal(access(fixture_path(&f, "us/g-000001"), F_OK), 0);
    assert_int_equal(fixture_upkeep(&f).previous_dropped, true); /* for the load's sake */
}

static void previous_generation_goes_when_the_disk_is_short_and_it_is_told_once(void **state)
{
    struct source_upkeep now;
    struct error err = ERROR_INIT;

    (void)state;
    need_disk();
    assert_int_equal(fixture_try_load(&f, 8000, &err), 0);
    now = fixture_upkeep(&f);
    assert_int_equal(now.previous, 1); /* there is room for a third */
    assert_false(now.previous_dropped);
    small_disk_fill(f.base, MEBIBYTE / 2);
    now = fixture_upkeep(&f);
    assert_int_equal(now.previous, 0);
    assert_true(now.previous_dropped);
    assert_int_equal(source_rollback(f.source, &err), E_NOT_FOUND);
    assert_false(fixture_upkeep(&f).previous_dropped);
}

/* The status page and the small files are there before the disk is full; a restart needs no
 * more. */
static void agent_that_restarts_on_a_full_disk_serves(void **state)
{
    unsigned batch = 0;

    (void)state;
    need_disk();
    while (try_batch(batch) == 0)
        batch++;
    reader_process_start(&reader, f.dir, READER_LOOKS_UP);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(source_visible(f.source).version, f.version);
    assert_int_equal(try_batch(batch), E_NO_SPACE);
    assert_reader_serves();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(live_changes_stop_at_a_full_disk_and_all_arrive_later),
        TEST(load_stops_at_a_full_disk_and_succeeds_later),
        TEST(former_generation_is_not_kept_without_room),
        TEST(previous_generation_goes_when_the_disk_is_short_and_it_is_told_once),
        TEST(agent_that_restarts_on_a_full_disk_serves),
    };

    return cmocka_run_group_tests_name("disk_full", tests, NULL, NULL);
}

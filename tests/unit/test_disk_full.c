/* test_disk_full.c - a full disk: the last good state serves, and all arrives when room comes back.
 *
 * On a real file system of a few megabytes: a tmpfs in a mount namespace of this program's own,
 * which takes the right to mount. Readers map the files meanwhile: a page that the file system
 * could not give would end them by SIGBUS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "tests/lib/reader_process.h"
#include "tests/lib/store_fixture.h"
#include "tools/verify.h"

enum { MEBIBYTE = 1024 * 1024, BALLAST_BYTES = 2 * MEBIBYTE };

static struct fixture f;
static struct reader_process reader;
static const char *why_not; /* NULL: mounts work */

static int set_up_all(void **state)
{
    (void)state;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        why_not = strerror(errno);
        (void)fprintf(stderr, "skipped: no mount namespace of our own: %s\n", why_not);
    }
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.clock = clock_system; /* the reader's own */
    if (why_not != NULL)
        return 0;
    assert_int_equal(mount("none", f.base, "tmpfs", 0, "size=6m,mode=755"), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    reader_process_finish(&reader);
    fixture_close(&f);
    if (why_not == NULL)
        assert_int_equal(umount2(f.base, MNT_DETACH), 0);
    fixture_finish(&f);
    return 0;
}

static const char *ballast_path(void)
{
    static char path[PATH_MAX];

    assert_int_equal(files_join(path, f.base, "ballast", NULL), 0);
    return path;
}

static void take(const char *path, off_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, bytes), 0);
    assert_int_equal(close(fd), 0);
}

static void take_room(void)
{
    take(ballast_path(), BALLAST_BYTES);
}

/* All but half a megabyte. */
static void take_all_room(void)
{
    take(ballast_path(), BALLAST_BYTES + (off_t)files_free_bytes(f.base) - MEBIBYTE / 2);
}

static void give_room(void)
{
    assert_int_equal(unlink(ballast_path()), 0);
}

/* A batch of changes as the agent applies it, with its retries. */
static int try_commit(unsigned batch)
{
    enum { CONSUMERS = 500 };
    struct model_cursor cursor = {fixture_epoch(), f.version + 1};
    struct error err = ERROR_INIT;
    char name[300];
    int rc;

    do {
        rc = source_begin(f.source, &err);
        for (unsigned i = 0; i < CONSUMERS && rc == 0; i++) {
            struct model_consumer consumer = {.id = fixture_uuid(1000 + batch * CONSUMERS + i),
                                              .username = name};

            (void)snprintf(name, sizeof(name), "%0250u", batch * CONSUMERS + i);
            rc = source_put_consumer(f.source, 7, &consumer, &err);
        }
        if (rc == 0)
            rc = source_commit(f.source, &cursor, 1, &err);
        else
            source_abort(f.source);
    } while (rc == E_NO_SPACE && source_make_room(f.source));
    f.version += rc == 0;
    return rc;
}

static void on_fault(void *context, const struct tool_source *source, const char *table,
                     const char *fault)
{
    (void)context;
    (void)source;
    fail_msg("%s: %s", table, fault);
}

static void assert_sound(void)
{
    const struct verify_sink sink = {.fault = on_fault};
    struct tool_sources sources;
    struct error err = ERROR_INIT;

    if (sources_open(f.dir, &sources, &err) != 0 ||
        verify_source(&sources.items[0], &sink, &err) != 0)
        fail_msg("%s", err.message);
    sources_close(&sources);
}

/* No lookup has failed, and the newest ones neither. */
static void assert_reader_serves(void)
{
    reader_process_wait_lookups(&reader);
    assert_int_equal(reader.seen->last_failure, 0);
    assert_int_equal(reader.seen->failures, 0);
}

static void live_changes_stop_at_a_full_disk_and_all_arrive_later(void **state)
{
    uint64_t consumers;
    unsigned batch = 0;
    int rc;

    (void)state;
    if (why_not != NULL)
        skip();
    take_room();
    fixture_open(&f);
    fixture_load_alice(&f);
    fixture_load_alice(&f); /* a generation is kept, until room is short */
    reader_process_start(&reader, f.dir, READER_LOOKS_UP);
    while ((rc = try_commit(batch)) == 0)
        batch++;
    assert_int_equal(rc, E_NO_SPACE);
    assert_true(batch > 2);
    assert_int_not_equal(access(fixture_path(&f, "us/g-000001"), F_OK), 0); /* given up first */
    for (int i = 0; i < 20; i++)
        assert_int_equal(try_commit(batch), E_NO_SPACE);
    consumers = source_counts(f.source).consumers;
    assert_int_equal(consumers, 1 + batch * 500);
    assert_int_equal(source_cursor(f.source).version, f.version);
    assert_reader_serves();
    give_room();
    assert_int_equal(try_commit(batch), 0);
    assert_int_equal(try_commit(batch + 1), 0);
    assert_reader_serves();
    reader_process_stop(&reader);
    fixture_close(&f);
    assert_sound();
    fixture_open(&f);
    assert_int_equal(source_counts(f.source).consumers, consumers + 1000);
}

static void load_stops_at_a_full_disk_and_succeeds_later(void **state)
{
    enum { OTHERS = 42000 }; /* needs the ballast's room */
    struct error err = ERROR_INIT;

    (void)state;
    if (why_not != NULL)
        skip();
    take_room();
    fixture_open(&f);
    fixture_load_alice(&f);
    reader_process_start(&reader, f.dir, READER_LOOKS_UP);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fixture_try_load(&f, OTHERS, &err), E_NO_SPACE);
        assert_int_equal(source_cursor(f.source).version, 1);
        assert_reader_serves();
    }
    give_room();
    if (fixture_try_load(&f, OTHERS, &err) != 0)
        fail_msg("%s", err.message);
    assert_reader_serves();
    reader_process_stop(&reader);
    fixture_close(&f);
    assert_sound();
    fixture_open(&f);
    assert_int_equal(source_counts(f.source).consumers, 1 + OTHERS);
}

static void kept_generation_goes_when_the_disk_is_short_and_it_is_told_once(void **state)
{
    const struct source_readers none = {.in_use = 0};
    struct source_upkeep upkeep;
    struct error err = ERROR_INIT;

    (void)state;
    if (why_not != NULL)
        skip();
    fixture_open(&f);
    assert_int_equal(fixture_try_load(&f, 10000, &err), 0);
    assert_int_equal(fixture_try_load(&f, 10000, &err), 0);
    assert_int_equal(source_upkeep(f.source, &none, &upkeep, &err), 0);
    assert_int_equal(upkeep.previous, 1); /* there is room for a third */
    assert_false(upkeep.previous_dropped);
    take_room();
    take_all_room();
    assert_int_equal(source_upkeep(f.source, &none, &upkeep, &err), 0);
    assert_int_equal(upkeep.previous, 0);
    assert_true(upkeep.previous_dropped);
    assert_int_equal(source_rollback(f.source, &err), E_NOT_FOUND);
    assert_int_equal(source_upkeep(f.source, &none, &upkeep, &err), 0);
    assert_false(upkeep.previous_dropped);
    give_room();
}

/* The status page and the small files are there before the disk is full; a restart needs no more.
 */
static void agent_that_restarts_on_a_full_disk_serves(void **state)
{
    unsigned batch = 0;

    (void)state;
    if (why_not != NULL)
        skip();
    fixture_open(&f);
    fixture_load_alice(&f);
    while (try_commit(batch) == 0)
        batch++;
    reader_process_start(&reader, f.dir, READER_LOOKS_UP);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(source_cursor(f.source).version, f.version);
    assert_int_equal(try_commit(batch), E_NO_SPACE);
    assert_reader_serves();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(live_changes_stop_at_a_full_disk_and_all_arrive_later),
        TEST(load_stops_at_a_full_disk_and_succeeds_later),
        TEST(kept_generation_goes_when_the_disk_is_short_and_it_is_told_once),
        TEST(agent_that_restarts_on_a_full_disk_serves),
    };

    return cmocka_run_group_tests_name("disk_full", tests, set_up_all, NULL);
}

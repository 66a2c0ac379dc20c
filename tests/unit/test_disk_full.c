/* test_disk_full.c - a real file system without space left: nothing is lost, nothing is half-done.
 *
 * A small tmpfs in a mount namespace of the test's own; skipped where that is not permitted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "tests/lib/store_fixture.h"

enum { BALLAST_BYTES = 1024 * 1024, BATCH = 500, BATCHES_MAX = 100, LOAD_CONSUMERS = 40000 };

static struct fixture f;
static bool may_mount;
static char ballast[BALLAST_BYTES];

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    if (!may_mount)
        return 0;
    assert_int_equal(mount("tmpfs", f.base, "tmpfs", 0, "size=4m,mode=0755"), 0);
    fixture_open(&f);
    fixture_load_people(&f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_close(&f);
    if (may_mount)
        assert_int_equal(umount2(f.base, MNT_DETACH), 0);
    fixture_finish(&f);
    return 0;
}

static void need_mount(void)
{
    if (may_mount)
        return;
    print_message("a mount namespace is not permitted here\n");
    skip();
}

static void take_room(void)
{
    assert_int_equal(files_write(f.base, "ballast", ballast, sizeof(ballast), FILES_NO_GROUP, NULL),
                     0);
}

static void give_room(void)
{
    char path[PATH_MAX];

    assert_int_equal(files_join(path, f.base, "ballast", NULL), 0);
    assert_int_equal(unlink(path), 0);
}

static int lookup_bob(rs_store *store)
{
    const rs_source source = fixture_cp_source();
    rs_snapshot *snapshot;
    rs_consumer consumer;
    int rc;

    assert_int_equal(rs_begin(store, &snapshot), 0);
    rc = rs_lookup(snapshot, &source, 1, "bob-key", strlen("bob-key"), &consumer);
    rs_end(snapshot);
    return rc;
}

/* One transaction of BATCH new consumers; gives its code. */
static int try_batch(unsigned number, struct error *err)
{
    struct model_cursor cursor = {fixture_epoch(), f.version + 1};
    int rc = source_begin(f.source, err);

    for (unsigned i = 0; i < BATCH && rc == 0; i++) {
        struct model_consumer consumer = {.id = fixture_uuid(1000 + number * BATCH + i),
                                          .username = "somebody with a name of some length"};

        rc = source_put_consumer(f.source, MODEL_SCOPE_CP, &consumer, err);
    }
    if (rc != 0) {
        source_abort(f.source);
        return rc;
    }
    rc = source_commit(f.source, &cursor, 1700000000000, err);
    if (rc == 0)
        f.version++;
    return rc;
}

static void live_changes_wait_for_room_and_then_arrive(void **state)
{
    struct error err = ERROR_INIT;
    rs_store *store;
    unsigned done = 0;
    int rc = 0;

    (void)state;
    need_mount();
    take_room();
    assert_int_equal(rs_open(&store, f.dir, NULL), 0);
    while (done < BATCHES_MAX && (rc = try_batch(done, &err)) == 0)
        done++;
    assert_int_equal(rc, E_NO_SPACE);
    assert_int_equal(source_counts(f.source).consumers, 2 + done * BATCH);
    assert_int_equal(source_cursor(f.source).version, f.version);
    assert_int_equal(lookup_bob(store), RS_FOUND);
    assert_int_equal(try_batch(done, &err), E_NO_SPACE); /* it stays usable, and full */
    assert_int_equal(lookup_bob(store), RS_FOUND);
    give_room();
    assert_int_equal(try_batch(done, &err), 0);
    assert_int_equal(source_counts(f.source).consumers, 2 + (done + 1) * BATCH);
    assert_int_equal(lookup_bob(store), RS_FOUND);
    rs_close(store);
}

/* Consumers in the order of a snapshot, then the publication; gives the first failure's code. */
static int try_load(unsigned consumers, struct error *err)
{
    struct model_cursor cursor = {fixture_epoch(), f.version + 1};
    struct source_counts expected = {.consumers = consumers};
    struct buffer record;
    int rc = source_load_begin(f.source, fixture_digest_key, err);

    buffer_init(&record, RECORD_MAX_BYTES);
    for (unsigned i = 0; i < consumers && rc == 0; i++) {
        struct model_consumer consumer = {.id = fixture_uuid(1000 + i),
                                          .username = "somebody with a name of some length"};

        buffer_clear(&record);
        assert_int_equal(record_encode_consumer(&consumer, &record), 0);
        rc = source_load_record(f.source, RECORD_CONSUMER, MODEL_SCOPE_CP, record.data, record.size,
                                err);
    }
    buffer_finish(&record);
    if (rc == 0)
        rc = source_load_publish(f.source, &cursor, 1700000000000, &expected, err);
    if (rc == 0)
        f.version++;
    else
        source_load_abort(f.source);
    return rc;
}

static void load_without_room_leaves_what_serves(void **state)
{
    struct error err = ERROR_INIT;
    rs_store *store;

    (void)state;
    need_mount();
    assert_int_equal(rs_open(&store, f.dir, NULL), 0);
    assert_int_equal(try_load(LOAD_CONSUMERS, &err), E_NO_SPACE);
    assert_int_not_equal(access(fixture_path(&f, "us/g-000002"), F_OK), 0);
    assert_int_equal(lookup_bob(store), RS_FOUND);
    assert_int_equal(source_counts(f.source).consumers, 2);
    assert_int_equal(try_batch(0, &err), 0);
    assert_int_equal(lookup_bob(store), RS_FOUND);
    rs_close(store);
    assert_int_equal(try_load(BATCH, &err), 0);
    assert_int_equal(source_counts(f.source).consumers, BATCH);
}

/* The way back is given up before the way on is. */
static void former_generation_is_not_kept_without_room(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    need_mount();
    assert_int_equal(try_load(LOAD_CONSUMERS / 4, &err), 0);
    assert_int_equal(source_fallback(f.source), SOURCE_FALLBACK_KEPT);
    take_room();
    assert_int_equal(try_load(BATCH, &err), 0);
    assert_int_not_equal(access(fixture_path(&f, "us/g-000001"), F_OK), 0);
    assert_int_equal(source_counts(f.source).consumers, BATCH);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(live_changes_wait_for_room_and_then_arrive),
        TEST(load_without_room_leaves_what_serves),
        TEST(former_generation_is_not_kept_without_room),
    };

    /* Private, so that what is mounted is seen here alone and goes with the process. */
    may_mount = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    return cmocka_run_group_tests_name("disk full", tests, NULL, NULL);
}

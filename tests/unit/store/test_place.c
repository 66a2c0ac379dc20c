/* test_place.c - a store directory that is removed, made anew or replaced under a reader: readers
 * move to the new store when their ages say that something is wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "store/reader_internal.h"
#include "tests/lib/store_fixture.h"

enum { BEFORE_LOOKING_MS = 5000, LONG_ENOUGH_MS = 8000, MINUTE_MS = 60000 };

static struct fixture f;
static rs_store *store;
static char buffer[RS_ANSWER_MAX_BYTES];
static rs_answer answer;

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.retention_ms = 1000;
    fixture_open(&f);
    fixture_load_people(&f);
    assert_int_equal(reader_open(&store, f.dir, NULL, &f.clock), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rs_close(store);
    fixture_finish(&f);
    return 0;
}

static int find_alice(void)
{
    const rs_source source = fixture_realm_source(7);

    return rs_lookup_copy(store, &source, 1, "alice-key", 9, buffer, sizeof(buffer), &answer);
}

static rs_state state_now(void)
{
    rs_status_info status;

    assert_int_equal(rs_status(store, &status), 0);
    assert_true(status.n_sources > 0);
    return status.sources[0].state;
}

static void remove_store(void)
{
    if (f.store != NULL)
        fixture_close(&f);
    assert_int_equal(files_remove_tree(f.dir, NULL), 0);
}

/* Another store at the same path, with realm 7 and without alice. */
static void make_anew(void)
{
    fixture_open(&f);
    fixture_load_empty(&f);
    fixture_begin(&f);
    fixture_put_realm(f.source, 7);
    fixture_commit(&f);
    source_heard(f.source);
    source_set_state(f.source, SOURCE_LIVE);
}

static void reader_moves_to_a_store_that_was_made_anew(void **state)
{
    (void)state;
    assert_int_equal(find_alice(), RS_FOUND);
    remove_store();
    make_anew();
    f.boot_ms += LONG_ENOUGH_MS;
    source_heard(f.source);
    assert_int_equal(find_alice(), RS_NOT_FOUND);
    assert_int_equal(answer.age_ms, 0);
    assert_int_equal(state_now(), RS_STATE_LIVE);
    fixture_begin(&f); /* and follows it */
    fixture_put_consumer(f.source, 7, 1, "alice");
    fixture_put_key(f.source, 7, 1, 11, "alice-key");
    fixture_commit(&f);
    assert_int_equal(find_alice(), RS_FOUND);
}

static void it_looks_only_when_the_age_is_strange_and_then_once_a_second(void **state)
{
    (void)state;
    assert_int_equal(find_alice(), RS_FOUND);
    remove_store();
    f.boot_ms += BEFORE_LOOKING_MS;
    assert_int_equal(state_now(), RS_STATE_STOPPED); /* as the page says: nobody has looked */
    f.boot_ms += LONG_ENOUGH_MS - BEFORE_LOOKING_MS;
    assert_int_equal(state_now(), RS_STATE_GONE);
    make_anew();
    f.boot_ms += 999;
    assert_int_equal(state_now(), RS_STATE_GONE);
    f.boot_ms += 1;
    assert_int_equal(state_now(), RS_STATE_LIVE);
}

static void removed_store_serves_on_and_grows_old(void **state)
{
    (void)state;
    assert_int_equal(find_alice(), RS_FOUND);
    remove_store();
    f.boot_ms += LONG_ENOUGH_MS;
    assert_int_equal(find_alice(), RS_FOUND);
    assert_int_equal(answer.age_ms, LONG_ENOUGH_MS);
    assert_int_equal(state_now(), RS_STATE_GONE);
    f.boot_ms += 11 * MINUTE_MS;
    assert_int_equal(find_alice(), RS_STALE);
    assert_string_equal(answer.username, "alice");
}

static void new_store_is_waited_for_until_it_has_a_copy(void **state)
{
    (void)state;
    assert_int_equal(find_alice(), RS_FOUND);
    remove_store();
    fixture_open(&f);
    f.boot_ms += LONG_ENOUGH_MS;
    assert_int_equal(find_alice(), RS_FOUND);
    assert_int_equal(state_now(), RS_STATE_GONE);
    fixture_load_empty(&f);
    source_heard(f.source);
    f.boot_ms += 1000;
    assert_int_equal(find_alice(), RS_NOT_FOUND);
    assert_int_not_equal(state_now(), RS_STATE_GONE);
}

static void store_of_another_control_plane_is_moved_to_at_once(void **state)
{
    struct error err = ERROR_INIT;
    struct store_options options;

    (void)state;
    assert_int_equal(find_alice(), RS_FOUND);
    remove_store();
    options = fixture_options(&f);
    options.control_plane_id = fixture_uuid(4711);
    assert_int_equal(store_open(&options, &f.store, &err), 0);
    assert_int_equal(source_open(f.store, "us", &f.source, NULL, &err), 0);
    f.boot_ms += LONG_ENOUGH_MS;
    assert_int_equal(find_alice(), RS_E_NOT_READY);
}

static void directory_that_became_a_link_elsewhere_is_followed(void **state)
{
    char elsewhere[PATH_MAX];
    char link[PATH_MAX];

    (void)state;
    assert_int_equal(find_alice(), RS_FOUND);
    remove_store();
    memcpy(link, f.dir, sizeof(link));
    (void)snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", f.base);
    memcpy(f.dir, elsewhere, sizeof(elsewhere));
    make_anew();
    assert_int_equal(symlink(elsewhere, link), 0);
    f.boot_ms += LONG_ENOUGH_MS;
    source_heard(f.source);
    assert_int_equal(find_alice(), RS_NOT_FOUND);
    assert_int_equal(unlink(link), 0);
}

static void page_that_was_replaced_alone_is_opened(void **state)
{
    char path[PATH_MAX];
    char copy[STATUS_BYTES];
    size_t size;

    (void)state;
    assert_int_equal(find_alice(), RS_FOUND);
    fixture_close(&f);
    assert_int_equal(files_read(f.dir, "status", copy, sizeof(copy), &size, NULL), 0);
    assert_int_equal(files_join(path, f.dir, "status", NULL), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(files_write(f.dir, "status", copy, size, FILES_NO_GROUP, NULL), 0);
    fixture_open(&f);
    source_heard(f.source);
    f.boot_ms += LONG_ENOUGH_MS;
    source_heard(f.source);
    assert_int_equal(find_alice(), RS_FOUND);
    assert_int_equal(answer.age_ms, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reader_moves_to_a_store_that_was_made_anew),
        TEST(it_looks_only_when_the_age_is_strange_and_then_once_a_second),
        TEST(removed_store_serves_on_and_grows_old),
        TEST(new_store_is_waited_for_until_it_has_a_copy),
        TEST(store_of_another_control_plane_is_moved_to_at_once),
        TEST(directory_that_became_a_link_elsewhere_is_followed),
        TEST(page_that_was_replaced_alone_is_opened),
    };

    return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}

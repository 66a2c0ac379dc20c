/* test_find.c - rs_find(): the control plane's own consumers by id and username, wherever the
 * number of their keys has put their records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "store/reader_internal.h"
#include "tests/lib/store_fixture.h"

enum { MANY = 500, FIRST = 10000, KEYS = 100 };

static struct fixture f;
static rs_store *store;
static rs_snapshot *snapshot;
static rs_consumer consumer;

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    store = NULL;
    snapshot = NULL;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rs_end(snapshot);
    rs_close(store);
    fixture_finish(&f);
    return 0;
}

/* MANY consumers of the control plane, the i-th with i % 5 keys, beside the people. */
static void open_many(rs_mode mode)
{
    rs_options options = RS_OPTIONS_INIT;
    char text[32];

    f.retention_ms = mode == RS_MODE_RETAINED ? 1000 : 0;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(text, sizeof(text), "own-%u", i);
        fixture_put_consumer(f.source, MODEL_SCOPE_CP, FIRST + i, text);
        for (unsigned k = 0; k < i % 5; k++) {
            (void)snprintf(text, sizeof(text), "key-%u-%u", i, k);
            fixture_put_key(f.source, MODEL_SCOPE_CP, FIRST + i, FIRST + (i + 1) * KEYS * 10 + k,
                            text);
        }
    }
    fixture_commit(&f);
    options.mode = mode;
    assert_int_equal(reader_open(&store, f.dir, &options, &f.clock), 0);
    assert_int_equal(rs_begin(store, &snapshot), 0);
}

static int find(const char *name)
{
    return rs_find(snapshot, NULL, name, &consumer);
}

static void expect_each_by_id_and_username(void)
{
    char id[UUID_TEXT_SIZE];
    char name[32];

    for (unsigned i = 0; i < MANY; i++) {
        struct uuid uuid = fixture_uuid(FIRST + i);

        (void)snprintf(name, sizeof(name), "own-%u", i);
        assert_int_equal(find(uuid_format(&uuid, id)), RS_FOUND);
        assert_string_equal(rs_consumer_username(&consumer), name);
        if (i % 50 > 5)
            continue; /* each reads many */
        assert_int_equal(find(name), RS_FOUND);
        assert_string_equal(rs_consumer_id(&consumer), id);
    }
}

static void each_is_found_whatever_its_number_of_keys(void **state)
{
    (void)state;
    open_many(RS_MODE_SLOTS);
    expect_each_by_id_and_username();
}

static void each_is_found_without_slots(void **state)
{
    (void)state;
    open_many(RS_MODE_RETAINED);
    expect_each_by_id_and_username();
    assert_int_equal(rs_check(snapshot), 0);
}

static void found_one_has_its_members_and_no_credential(void **state)
{
    (void)state;
    open_many(RS_MODE_SLOTS);
    assert_int_equal(find("bob"), RS_FOUND);
    assert_string_equal(rs_consumer_id(&consumer), "01900000-0000-7000-8000-000000000002");
    assert_null(rs_consumer_credential_id(&consumer));
    assert_null(rs_consumer_realm_name(&consumer));
    assert_int_equal(rs_consumer_scope(&consumer), RS_SCOPE_CP);
    assert_int_equal(rs_consumer_group_count(&consumer), 2);
    assert_non_null(rs_consumer_group(&consumer, 1));
    assert_int_equal(rs_consumer_age_ms(&consumer), 0);
}

static void who_is_not_the_control_planes_own_is_not_found(void **state)
{
    (void)state;
    open_many(RS_MODE_SLOTS);
    assert_int_equal(find("alice"), RS_NOT_FOUND);
    assert_null(rs_consumer_id(&consumer));
    assert_int_equal(find("01900000-0000-7000-8000-000000000001"), RS_NOT_FOUND);
    assert_int_equal(find("nobody"), RS_NOT_FOUND);
    assert_int_equal(find(""), RS_NOT_FOUND);
    assert_int_equal(find("OWN-1"), RS_NOT_FOUND);
}

static void region_that_is_not_there_is_not_ready(void **state)
{
    (void)state;
    open_many(RS_MODE_SLOTS);
    assert_int_equal(rs_find(snapshot, "us", "bob", &consumer), RS_FOUND);
    assert_int_equal(rs_find(snapshot, "", "bob", &consumer), RS_FOUND);
    assert_int_equal(rs_find(snapshot, "eu", "bob", &consumer), RS_E_NOT_READY);
    assert_int_equal(rs_find(snapshot, NULL, NULL, &consumer), RS_E_INVALID);
    assert_int_equal(rs_find(NULL, NULL, "bob", &consumer), RS_E_INVALID);
    assert_int_equal(rs_find(snapshot, NULL, "bob", NULL), RS_E_INVALID);
}

static void source_without_a_copy_is_not_a_no(void **state)
{
    struct error discarded = ERROR_INIT;
    struct error err = ERROR_INIT;
    struct source *empty;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    assert_int_equal(source_open(f.store, "eu", &empty, &discarded, &err), 0);
    assert_int_equal(reader_open(&store, f.dir, NULL, &f.clock), 0);
    assert_int_equal(rs_begin(store, &snapshot), 0);
    assert_int_equal(find("bob"), RS_FOUND);
    assert_int_equal(find("nobody"), RS_E_NOT_READY);
    source_close(empty);
}

static void consumer_that_was_never_heard_of_lately_is_found_all_the_same(void **state)
{
    (void)state;
    open_many(RS_MODE_SLOTS);
    f.boot_ms += 1000000000;
    f.wall_ms += 1000000000;
    assert_int_equal(find("bob"), RS_FOUND);
    assert_int_equal(rs_consumer_age_ms(&consumer), 1000000000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_is_found_whatever_its_number_of_keys),
        TEST(each_is_found_without_slots),
        TEST(found_one_has_its_members_and_no_credential),
        TEST(who_is_not_the_control_planes_own_is_not_found),
        TEST(region_that_is_not_there_is_not_ready),
        TEST(source_without_a_copy_is_not_a_no),
        TEST(consumer_that_was_never_heard_of_lately_is_found_all_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

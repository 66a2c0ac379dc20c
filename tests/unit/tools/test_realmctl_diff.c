/* test_realmctl_diff.c - realmctl diff on pairs of stores whose differences are known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/store_fixture.h"
#include "tests/lib/tool_run.h"

static struct fixture a;
static struct fixture b;
static char output[16384];

#define REALM_7 "01900000-0000-7000-8000-0000000002bc"
#define ALICE   "01900000-0000-7000-8000-000000000001"
#define BOB     "01900000-0000-7000-8000-000000000002"
#define CAROL   "01900000-0000-7000-8000-000000000003"
#define KEY_11  "01900000-0000-7000-8000-00000000000b"
#define KEY_22  "01900000-0000-7000-8000-000000000016"

static int set_up(void **state)
{
    (void)state;
    fixture_init(&a);
    fixture_open(&a);
    fixture_load_people(&a);
    fixture_close(&a);
    fixture_init(&b);
    fixture_open(&b);
    fixture_load_people(&b);
    fixture_begin(&b);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_finish(&a);
    fixture_finish(&b);
    return 0;
}

/* Commits what the test has put into B and compares. */
static int diff(bool json)
{
    const char *const arguments[] = {a.dir, b.dir, NULL};
    const struct tool tool = {.store_dir = "/nowhere", .json = json};

    if (b.source != NULL) {
        fixture_commit(&b);
        fixture_close(&b);
    }
    return tool_run(a.base, &tool, &command_diff, "", arguments, output, sizeof(output));
}

static void equal_records_at_another_version_are_equal(void **state)
{
    (void)state;
    assert_int_equal(diff(false), TOOL_YES);
    assert_string_equal(output, "");
    assert_int_equal(diff(true), TOOL_YES);
    assert_string_equal(output, "");
}

static void each_difference_is_one_line(void **state)
{
    struct uuid bob = fixture_uuid(2);
    struct error err = ERROR_INIT;

    (void)state;
    fixture_put_consumer(b.source, 7, 1, "alicia");
    fixture_put_consumer(b.source, MODEL_SCOPE_CP, 3, "carol");
    assert_int_equal(source_delete_consumer(b.source, MODEL_SCOPE_CP, &bob, &err), 0);
    assert_int_equal(diff(false), TOOL_NO);
    assert_string_equal(output,
                        "us: consumer " BOB " in cp: only in A\n"
                        "us: key " KEY_22 " of consumer " BOB " in cp: only in A\n"
                        "us: consumer " CAROL " in cp: only in B\n"
                        "us: consumer " ALICE " in realm:" REALM_7 ": different username\n");
}

static void changed_realm_names_its_fields(void **state)
{
    struct model_realm realm = {.id = fixture_uuid(700),
                                .number = 7,
                                .ttl_min = 11,
                                .negative_ttl_min = 5,
                                .name = "people",
                                .region = "us"};
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(source_put_realm(b.source, &realm, &err), 0);
    assert_int_equal(diff(true), TOOL_NO);
    assert_string_equal(output, "{\"region\":\"us\",\"entity\":\"realm\",\"id\":\"" REALM_7
                                "\",\"scope\":\"realm:" REALM_7 "\",\"consumer_id\":null,"
                                "\"difference\":\"changed\","
                                "\"fields\":[\"ttl\",\"consumer_groups\"]}\n");
}

static void digest_difference_is_told_not_shown(void **state)
{
    (void)state;
    fixture_put_key(b.source, 7, 1, 11, "another secret");
    assert_int_equal(diff(true), TOOL_NO);
    assert_string_equal(output, "{\"region\":\"us\",\"entity\":\"key\",\"id\":\"" KEY_11
                                "\",\"scope\":\"realm:" REALM_7 "\",\"consumer_id\":\"" ALICE
                                "\",\"difference\":\"changed\",\"fields\":[\"digest\"]}\n");
}

static void another_digest_key_is_told_once(void **state)
{
    static const uint8_t other_key[DIGEST_KEY_BYTES] = "another digest key of 32 bytes";
    struct model_cursor cursor = {fixture_epoch(), 9};
    struct source_counts none = {0};
    struct error err = ERROR_INIT;

    (void)state;
    source_abort(b.source);
    assert_int_equal(source_load_begin(b.source, other_key, &err), 0);
    assert_int_equal(source_load_publish(b.source, &cursor, 1700000000000, &none, &err), 0);
    fixture_begin(&b);
    fixture_put_realm(b.source, 7);
    fixture_put_consumer(b.source, 7, 1, "alice");
    fixture_put_key(b.source, 7, 1, 11, "another secret");
    fixture_put_consumer(b.source, MODEL_SCOPE_CP, 2, "bob");
    fixture_put_key(b.source, MODEL_SCOPE_CP, 2, 22, "bob-key");
    assert_int_equal(diff(false), TOOL_NO);
    assert_string_equal(output, "us: source: different digest_key\n");
}

static void source_of_one_side_is_a_difference(void **state)
{
    struct source *eu;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(source_open(b.store, "eu", &eu, NULL, &err), 0);
    fixture_load_empty_source(eu, 1);
    source_close(eu);
    assert_int_equal(diff(false), TOOL_NO);
    assert_string_equal(output, "eu: source: only in B\n");
}

static void store_that_cannot_be_read_cannot_tell(void **state)
{
    struct source *eu;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(source_open(b.store, "eu", &eu, NULL, &err), 0);
    source_close(eu); /* without a copy */
    assert_int_equal(diff(false), TOOL_UNKNOWN);
    (void)snprintf(b.dir, sizeof(b.dir), "%s/nowhere", b.base);
    assert_int_equal(diff(false), TOOL_UNKNOWN);
}

static void store_equals_itself(void **state)
{
    (void)state;
    (void)snprintf(b.dir, sizeof(b.dir), "%s", a.dir);
    source_abort(b.source);
    source_close(b.source);
    b.source = NULL;
    assert_int_equal(diff(false), TOOL_YES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(equal_records_at_another_version_are_equal),
        TEST(each_difference_is_one_line),
        TEST(changed_realm_names_its_fields),
        TEST(digest_difference_is_told_not_shown),
        TEST(another_digest_key_is_told_once),
        TEST(source_of_one_side_is_a_difference),
        TEST(store_that_cannot_be_read_cannot_tell),
        TEST(store_equals_itself),
    };

    return cmocka_run_group_tests_name("realmctl diff", tests, NULL, NULL);
}

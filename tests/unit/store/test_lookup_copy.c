/* test_lookup_copy.c - rs_lookup_copy() and rs_find_copy(): the answer is a copy, whole or not at
 * all, and what was overtaken or outgrown meanwhile is asked again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "store/reader_internal.h"
#include "tests/lib/store_fixture.h"

enum { RETENTION_MS = 1000, FILL = 0xa5 };

static struct fixture f;
static rs_store *store;
static rs_answer answer;
static char buffer[RS_ANSWER_MAX_BYTES];

/* A clock that stands, but jumps beyond the retention time at some of its readings. */
static struct {
    unsigned readings;
    unsigned jump_at; /* this reading; 0: none */
    bool jump_always; /* and every later one */
    unsigned jumps;
} hook;

static int64_t hooked_boot_ms(void *context)
{
    (void)context;
    hook.readings++;
    if (hook.readings == hook.jump_at || (hook.jump_always && hook.readings > hook.jump_at)) {
        f.boot_ms += RETENTION_MS;
        hook.jumps++;
    }
    return f.boot_ms;
}

static int64_t hooked_wall_ms(void *context)
{
    (void)context;
    return f.wall_ms;
}

static const struct clock hooked = {hooked_wall_ms, hooked_boot_ms, NULL};

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.retention_ms = RETENTION_MS;
    store = NULL;
    memset(&hook, 0, sizeof(hook));
    memset(&answer, FILL, sizeof(answer));
    memset(buffer, FILL, sizeof(buffer));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rs_close(store);
    fixture_finish(&f);
    return 0;
}

static void open_people(rs_mode mode)
{
    rs_options options = RS_OPTIONS_INIT;

    options.mode = mode;
    fixture_open(&f);
    fixture_load_people(&f);
    assert_int_equal(reader_open(&store, f.dir, &options, &hooked), 0);
}

static int look_up(const char *key, void *at, size_t size)
{
    const rs_source sources[] = {fixture_realm_source(7), fixture_cp_source()};

    return rs_lookup_copy(store, sources, 2, key, strlen(key), at, size, &answer);
}

static bool inside(const void *at, const void *from, size_t size)
{
    return (uintptr_t)at >= (uintptr_t)from && (uintptr_t)at < (uintptr_t)from + size;
}

static void expect_id(const char *text, unsigned n)
{
    struct uuid id = fixture_uuid(n);
    char expected[UUID_TEXT_SIZE];

    assert_string_equal(text, uuid_format(&id, expected));
}

static void expect_alice_in(const char *at, size_t size)
{
    expect_id(answer.id, 1);
    assert_string_equal(answer.username, "alice");
    expect_id(answer.credential_id, 11);
    assert_int_equal(answer.scope, RS_SCOPE_REALM);
    expect_id(answer.realm_id, 700);
    assert_true(answer.n_groups >= 2);
    assert_string_equal(answer.groups[0], "gold");
    assert_string_equal(answer.groups[1], "eu");
    assert_int_equal(answer.stale, 0);
    assert_int_equal(answer.age_ms, 0);
    assert_int_equal(answer.needed, 0);
    assert_int_equal((uintptr_t)answer.groups % alignof(const char *), 0);
    assert_true(inside(answer.id, at, size) && inside(answer.username, at, size) &&
                inside(answer.credential_id, at, size) && inside(answer.realm_id, at, size) &&
                inside(answer.realm_name, at, size) && inside(answer.groups, at, size));
    for (size_t i = 0; i < answer.n_groups; i++)
        assert_true(inside(answer.groups[i], at, size));
    for (size_t i = 0; i < answer.n_tags; i++)
        assert_true(inside(answer.tags[i], at, size));
}

static void expect_nobody(void)
{
    assert_null(answer.id);
    assert_null(answer.username);
    assert_null(answer.custom_id);
    assert_null(answer.credential_id);
    assert_null(answer.realm_id);
    assert_null(answer.realm_name);
    assert_null(answer.groups);
    assert_null(answer.tags);
    assert_int_equal(answer.n_groups + answer.n_tags, 0);
}

/* ---- the copy ---- */

static void members_are_those_of_the_lookup(void **state)
{
    rs_snapshot *snapshot;
    rs_consumer consumer;
    rs_source source = fixture_realm_source(7);

    (void)state;
    open_people(RS_MODE_SLOTS);
    assert_int_equal(look_up("alice-key", buffer, sizeof(buffer)), RS_FOUND);
    expect_alice_in(buffer, sizeof(buffer));
    assert_int_equal(rs_begin(store, &snapshot), 0);
    assert_int_equal(rs_lookup(snapshot, &source, 1, "alice-key", 9, &consumer), RS_FOUND);
    assert_int_equal(answer.n_groups, rs_consumer_group_count(&consumer));
    for (size_t i = 0; i < answer.n_groups; i++)
        assert_string_equal(answer.groups[i], rs_consumer_group(&consumer, i));
    assert_int_equal(answer.n_tags, rs_consumer_tag_count(&consumer));
    for (size_t i = 0; i < answer.n_tags; i++)
        assert_string_equal(answer.tags[i], rs_consumer_tag(&consumer, i));
    assert_string_equal(answer.realm_name, rs_consumer_realm_name(&consumer));
    rs_end(snapshot);
}

static void copy_outlives_the_store(void **state)
{
    (void)state;
    open_people(RS_MODE_RETAINED);
    assert_int_equal(look_up("alice-key", buffer, sizeof(buffer)), RS_FOUND);
    rs_close(store);
    store = NULL;
    fixture_close(&f);
    expect_alice_in(buffer, sizeof(buffer));
}

static void unknown_key_is_nobody_with_an_age(void **state)
{
    (void)state;
    open_people(RS_MODE_SLOTS);
    f.boot_ms += 7000;
    assert_int_equal(look_up("no-key", buffer, sizeof(buffer)), RS_NOT_FOUND);
    expect_nobody();
    assert_int_equal(answer.age_ms, 7000);
    assert_int_equal(look_up("no-key", NULL, 0), RS_NOT_FOUND); /* takes no room */
}

static void stale_answer_is_marked(void **state)
{
    (void)state;
    open_people(RS_MODE_SLOTS);
    f.boot_ms += 11 * 60 * 1000;
    assert_int_equal(look_up("alice-key", buffer, sizeof(buffer)), RS_STALE);
    assert_string_equal(answer.username, "alice");
    assert_int_equal(answer.stale, 1);
    assert_int_equal(look_up("no-key", buffer, sizeof(buffer)), RS_STALE);
    assert_null(answer.id);
    assert_int_equal(answer.stale, 1);
}

static void control_planes_own_has_no_realm_and_a_found_one_no_credential(void **state)
{
    (void)state;
    open_people(RS_MODE_SLOTS);
    assert_int_equal(look_up("bob-key", buffer, sizeof(buffer)), RS_FOUND);
    assert_int_equal(answer.scope, RS_SCOPE_CP);
    assert_null(answer.realm_id);
    assert_null(answer.realm_name);
    assert_non_null(answer.credential_id);
    assert_int_equal(rs_find_copy(store, NULL, "bob", buffer, sizeof(buffer), &answer), RS_FOUND);
    assert_string_equal(answer.username, "bob");
    assert_null(answer.credential_id);
    assert_int_equal(rs_find_copy(store, "us", "eve", buffer, sizeof(buffer), &answer),
                     RS_NOT_FOUND);
    expect_nobody();
}

/* ---- the buffer ---- */

static void too_small_a_buffer_says_how_much_and_stays_as_it_was(void **state)
{
    size_t needed;

    (void)state;
    open_people(RS_MODE_SLOTS);
    assert_int_equal(look_up("alice-key", NULL, 0), RS_E_TOO_SMALL);
    needed = answer.needed;
    assert_in_range(needed, 100, 1000);
    for (size_t size = 0; size < needed; size++) {
        assert_int_equal(look_up("alice-key", buffer, size), RS_E_TOO_SMALL);
        expect_nobody();
        assert_int_equal(answer.needed, needed);
    }
    for (size_t i = 0; i < needed; i++)
        assert_int_equal((unsigned char)buffer[i], FILL);
}

static void what_is_needed_is_enough_at_any_alignment_and_no_byte_behind_it_is_written(void **state)
{
    size_t needed;

    (void)state;
    open_people(RS_MODE_SLOTS);
    assert_int_equal(look_up("alice-key", NULL, 0), RS_E_TOO_SMALL);
    needed = answer.needed;
    for (size_t shift = 0; shift < 2 * alignof(max_align_t); shift++) {
        memset(buffer, FILL, sizeof(buffer));
        assert_int_equal(look_up("alice-key", buffer + shift, needed), RS_FOUND);
        expect_alice_in(buffer + shift, needed);
        for (size_t i = 0; i < shift; i++)
            assert_int_equal((unsigned char)buffer[i], FILL);
        for (size_t i = shift + needed; i < shift + needed + 64; i++)
            assert_int_equal((unsigned char)buffer[i], FILL);
    }
}

static void largest_consumer_fits_the_promised_size(void **state)
{
    static char labels[3 * MODEL_LABELS_MAX][MODEL_LABEL_MAX + 1];
    static char name[MODEL_NAME_MAX + 1];
    const char *list[3 * MODEL_LABELS_MAX];
    struct model_realm realm = {.id = fixture_uuid(800), .number = 8, .region = "us"};
    struct model_consumer consumer = {.id = fixture_uuid(5)};
    const rs_source source = fixture_realm_source(8);
    struct error err = ERROR_INIT;

    (void)state;
    memset(name, 'n', MODEL_NAME_MAX);
    for (unsigned i = 0; i < 3 * MODEL_LABELS_MAX; i++) {
        memset(labels[i], 'l', MODEL_LABEL_MAX);
        labels[i][0] = (char)('0' + i / 64);
        labels[i][1] = (char)('0' + i % 64);
        list[i] = labels[i];
    }
    realm.name = name;
    realm.ttl_min = realm.negative_ttl_min = 10;
    realm.groups = (struct model_strings){list, MODEL_LABELS_MAX};
    consumer.username = consumer.custom_id = name;
    consumer.groups = (struct model_strings){list + MODEL_LABELS_MAX, MODEL_LABELS_MAX};
    consumer.tags = (struct model_strings){list + (size_t)2 * MODEL_LABELS_MAX, MODEL_LABELS_MAX};
    open_people(RS_MODE_SLOTS);
    fixture_begin(&f);
    assert_int_equal(source_put_realm(f.source, &realm, &err), 0);
    assert_int_equal(source_put_consumer(f.source, 8, &consumer, &err), 0);
    fixture_put_key(f.source, 8, 5, 55, "eve-key");
    fixture_commit(&f);
    assert_int_equal(
        rs_lookup_copy(store, &source, 1, "eve-key", 7, buffer, sizeof(buffer), &answer), RS_FOUND);
    assert_int_equal(answer.n_groups, 2 * MODEL_LABELS_MAX);
    assert_int_equal(answer.n_tags, MODEL_LABELS_MAX);
    for (size_t i = 0; i < answer.n_groups; i++)
        assert_string_equal(answer.groups[i], labels[i]);
    assert_string_equal(answer.custom_id, name);
    assert_string_equal(answer.realm_name, name);
}

/* ---- again ---- */

static void overtaken_at_any_moment_it_asks_again(void **state)
{
    (void)state;
    open_people(RS_MODE_RETAINED);
    assert_int_equal(look_up("alice-key", buffer, sizeof(buffer)), RS_FOUND);
    for (unsigned at = 1;; at++) {
        hook.readings = hook.jumps = 0;
        hook.jump_at = at;
        (void)fixture_upkeep(&f); /* the agent holds a fresh version */
        fixture_begin(&f);
        fixture_commit(&f);
        memset(buffer, FILL, sizeof(buffer));
        assert_int_equal(look_up("alice-key", buffer, sizeof(buffer)), RS_FOUND);
        assert_string_equal(answer.username, "alice");
        if (hook.jumps == 0) {
            assert_true(at > 3); /* it was overtaken at each of these */
            break;
        }
    }
}

static void always_overtaken_it_gives_up(void **state)
{
    (void)state;
    open_people(RS_MODE_RETAINED);
    hook.jump_always = true;
    assert_int_equal(look_up("alice-key", buffer, sizeof(buffer)), RS_E_OVERTAKEN);
    expect_nobody();
    assert_true(hook.readings < 200);
    hook.jump_always = false;
    assert_int_equal(look_up("alice-key", buffer, sizeof(buffer)), RS_FOUND);
}

/* ---- misuse ---- */

static void misuse_is_refused(void **state)
{
    const rs_source wrong = {.scope = (rs_scope)9};
    const rs_source source = fixture_realm_source(7);

    (void)state;
    open_people(RS_MODE_SLOTS);
    assert_int_equal(rs_lookup_copy(NULL, &source, 1, "k", 1, buffer, 9, &answer), RS_E_INVALID);
    assert_int_equal(rs_lookup_copy(store, &source, 1, "k", 1, buffer, 9, NULL), RS_E_INVALID);
    assert_int_equal(rs_lookup_copy(store, &source, 1, "k", 1, NULL, 9, &answer), RS_E_INVALID);
    assert_int_equal(rs_lookup_copy(store, NULL, 1, "k", 1, buffer, 9, &answer), RS_E_INVALID);
    assert_int_equal(rs_lookup_copy(store, &source, 1, NULL, 1, buffer, 9, &answer), RS_E_INVALID);
    assert_int_equal(rs_lookup_copy(store, &wrong, 1, "k", 1, buffer, 9, &answer), RS_E_INVALID);
    expect_nobody();
    assert_int_equal(rs_find_copy(store, NULL, NULL, buffer, 9, &answer), RS_E_INVALID);
    assert_int_equal(rs_find_copy(store, "eu", "bob", buffer, 9, &answer), RS_E_NOT_READY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(members_are_those_of_the_lookup),
        TEST(copy_outlives_the_store),
        TEST(unknown_key_is_nobody_with_an_age),
        TEST(stale_answer_is_marked),
        TEST(control_planes_own_has_no_realm_and_a_found_one_no_credential),
        TEST(too_small_a_buffer_says_how_much_and_stays_as_it_was),
        TEST(what_is_needed_is_enough_at_any_alignment_and_no_byte_behind_it_is_written),
        TEST(largest_consumer_fits_the_promised_size),
        TEST(overtaken_at_any_moment_it_asks_again),
        TEST(always_overtaken_it_gives_up),
        TEST(misuse_is_refused),
    };

    return cmocka_run_group_tests_name("lookup_copy", tests, NULL, NULL);
}

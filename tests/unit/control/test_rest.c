/* What the REST API does when all is well: every endpoint of docs/rest.md, over real HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/control_fixture.h"

static const char cp[] = "497f6eca-6276-4993-bfeb-53cbbbba6f08";
static const char other_cp[] = "6c1f1d3e-0000-4000-8000-00000000000b";

static int start(void **state)
{
    *state = fixture_start(NULL);
    return 0;
}

static int stop(void **state)
{
    fixture_stop(*state);
    return 0;
}

static const char *text(const json_t *object, const char *member)
{
    const char *value = json_string_value(json_object_get(object, member));

    return value != NULL ? value : "";
}

static void assert_json(const json_t *object, const char *member, const char *expected)
{
    json_t *wanted = json_loads(expected, JSON_DECODE_ANY, NULL);

    assert_non_null(wanted);
    if (!json_equal(json_object_get(object, member), wanted)) {
        char *whole = json_dumps(object, JSON_DECODE_ANY);

        fail_msg("%s is not %s in %s", member, expected, whole);
    }
    json_decref(wanted);
}

/* ---- realms ---- */

static void first_request_of_the_issue_creates_the_realm(void **state)
{
    static const char body[] =
        "{\"name\":\"prod\",\"allowed_control_planes\":[\"497f6eca-6276-4993-bfeb-53cbbbba6f08\"],"
        "\"ttl\":10,\"negative_ttl\":10,\"consumer_groups\":[\"gold\"]}";
    struct fixture *f = *state;
    json_t *realm = fixture_call(f, 201, "POST", "/v1/realms", body);
    json_t *again = fixture_callf(f, 200, "GET", NULL, "/v1/realms/%s", text(realm, "id"));
    json_t *consumer =
        fixture_callf(f, 201, "POST", "{\"username\":\"Alice\",\"consumer_groups\":[\"gold\"]}",
                      "/v1/realms/%s/consumers", text(realm, "id"));

    assert_json(realm, "name", "\"prod\"");
    assert_json(realm, "ttl", "10");
    assert_json(realm, "negative_ttl", "10");
    assert_json(realm, "consumer_groups", "[\"gold\"]");
    assert_json(realm, "allowed_control_planes", "[\"497f6eca-6276-4993-bfeb-53cbbbba6f08\"]");
    assert_json(realm, "allow_all_control_planes", "false");
    assert_int_equal(strlen(text(realm, "created_at")), 24);
    assert_true(json_equal(realm, again));
    assert_json(consumer, "username", "\"Alice\"");
    assert_json(consumer, "custom_id", "null");
    assert_json(consumer, "type", "\"proxy\"");
    assert_json(consumer, "tags", "[]");
    assert_json(consumer, "consumer_groups", "[\"gold\"]");
    json_decref(realm);
    json_decref(again);
    json_decref(consumer);
}

static void realm_has_defaults_and_is_patched_member_by_member(void **state)
{
    struct fixture *f = *state;
    json_t *realm = fixture_call(f, 201, "POST", "/v1/realms", "{\"name\":\"r\"}");
    char *id = strdup(text(realm, "id"));
    json_t *same = fixture_callf(f, 200, "PATCH", "{}", "/v1/realms/%s", id);
    json_t *changed = fixture_callf(
        f, 200, "PATCH",
        "{\"ttl\":5,\"consumer_groups\":[\"a\",\"b\"],\"allowed_control_planes\":[\"*\"]}",
        "/v1/realms/%s", id);
    json_t *cleared =
        fixture_callf(f, 200, "PATCH", "{\"consumer_groups\":null,\"allowed_control_planes\":null}",
                      "/v1/realms/%s", id);

    assert_json(realm, "ttl", "10");
    assert_json(realm, "negative_ttl", "10");
    assert_json(realm, "allowed_control_planes", "[]");
    assert_json(same, "ttl", "10");
    assert_json(changed, "ttl", "5");
    assert_json(changed, "negative_ttl", "10");
    assert_json(changed, "name", "\"r\"");
    assert_json(changed, "consumer_groups", "[\"a\",\"b\"]");
    assert_json(changed, "allowed_control_planes", "[\"*\"]");
    assert_json(cleared, "consumer_groups", "[]");
    assert_json(cleared, "allowed_control_planes", "[]");
    assert_json(cleared, "ttl", "5");
    json_decref(realm);
    json_decref(same);
    json_decref(changed);
    json_decref(cleared);
    free(id);
}

static void control_planes_are_kept_in_lower_case(void **state)
{
    json_t *realm = fixture_call(
        *state, 201, "POST", "/v1/realms",
        "{\"name\":\"r\",\"allowed_control_planes\":[\"497F6ECA-6276-4993-BFEB-53CBBBBA6F08\"]}");

    assert_json(realm, "allowed_control_planes", "[\"497f6eca-6276-4993-bfeb-53cbbbba6f08\"]");
    json_decref(realm);
}

static void realm_with_consumers_goes_by_force_only(void **state)
{
    struct fixture *f = *state;
    char realm[UUID_TEXT_SIZE];
    char consumer[UUID_TEXT_SIZE];

    fixture_make_realm(f, "r", cp, realm);
    fixture_make_consumer(f, realm, "c", consumer);
    json_decref(fixture_callf(f, 400, "DELETE", NULL, "/v1/realms/%s", realm));
    json_decref(fixture_callf(f, 400, "DELETE", NULL, "/v1/realms/%s?force=false", realm));
    json_decref(fixture_callf(f, 204, "DELETE", NULL, "/v1/realms/%s?force=true", realm));
    json_decref(fixture_callf(f, 404, "GET", NULL, "/v1/realms/%s", realm));
    fixture_make_realm(f, "r", cp, realm); /* the name is free again */
    json_decref(fixture_callf(f, 204, "DELETE", NULL, "/v1/realms/%s", realm));
}

/* ---- consumers ---- */

static void consumer_is_patched_and_null_takes_the_custom_id_away(void **state)
{
    struct fixture *f = *state;
    char realm[UUID_TEXT_SIZE];
    json_t *made;
    json_t *kept;
    json_t *cleared;
    char *id;

    fixture_make_realm(f, "r", cp, realm);
    made = fixture_callf(f, 201, "POST",
                         "{\"username\":\"u\",\"custom_id\":\"x-1\",\"type\":\"developer\","
                         "\"tags\":[\"t\"],\"consumer_groups\":[\"g\"]}",
                         "/v1/realms/%s/consumers", realm);
    id = strdup(text(made, "id"));
    kept = fixture_callf(f, 200, "PATCH", "{\"username\":\"v\"}", "/v1/realms/%s/consumers/%s",
                         realm, id);
    cleared =
        fixture_callf(f, 200, "PATCH", "{\"custom_id\":null,\"tags\":null,\"consumer_groups\":[]}",
                      "/v1/realms/%s/consumers/%s", realm, id);
    assert_json(made, "type", "\"developer\"");
    assert_json(kept, "username", "\"v\"");
    assert_json(kept, "custom_id", "\"x-1\"");
    assert_json(kept, "tags", "[\"t\"]");
    assert_json(cleared, "custom_id", "null");
    assert_json(cleared, "tags", "[]");
    assert_json(cleared, "consumer_groups", "[]");
    assert_json(cleared, "username", "\"v\"");
    json_decref(fixture_callf(f, 204, "DELETE", NULL, "/v1/realms/%s/consumers/%s", realm, id));
    json_decref(fixture_callf(f, 404, "DELETE", NULL, "/v1/realms/%s/consumers/%s", realm, id));
    json_decref(made);
    json_decref(kept);
    json_decref(cleared);
    free(id);
}

static void names_are_unique_within_a_realm_only(void **state)
{
    struct fixture *f = *state;
    char one[UUID_TEXT_SIZE];
    char two[UUID_TEXT_SIZE];
    char id[UUID_TEXT_SIZE];
    static const char by_custom[] = "{\"username\":\"other\",\"custom_id\":\"same\"}";
    static const char same_custom[] = "{\"username\":\"third\",\"custom_id\":\"same\"}";

    fixture_make_realm(f, "one", cp, one);
    fixture_make_realm(f, "two", cp, two);
    fixture_make_consumer(f, one, "u", id);
    fixture_make_consumer(f, two, "u", id);
    json_decref(
        fixture_callf(f, 409, "POST", "{\"username\":\"u\"}", "/v1/realms/%s/consumers", one));
    json_decref(fixture_callf(f, 201, "POST", by_custom, "/v1/realms/%s/consumers", one));
    json_decref(fixture_callf(f, 409, "POST", same_custom, "/v1/realms/%s/consumers", one));
    json_decref(fixture_callf(f, 200, "PATCH", "{\"custom_id\":\"same\"}",
                              "/v1/realms/%s/consumers/%s", two, id)); /* is free in two */
}

static void move_takes_the_keys_along(void **state)
{
    struct fixture *f = *state;
    char one[UUID_TEXT_SIZE];
    char two[UUID_TEXT_SIZE];
    char id[UUID_TEXT_SIZE];
    char body[128];
    json_t *answer;

    fixture_make_realm(f, "one", cp, one);
    fixture_make_realm(f, "two", cp, two);
    fixture_make_consumer(f, one, "u", id);
    json_decref(fixture_callf(f, 201, "POST", "{\"type\":\"legacy\",\"secret\":\"s3\"}",
                              "/v1/realms/%s/consumers/%s/keys", one, id));
    (void)snprintf(body, sizeof(body), "{\"target_realm_id\":\"%s\"}", two);
    answer = fixture_callf(f, 201, "POST", body, "/v1/realms/%s/consumers/%s/move", one, id);
    assert_string_equal(text(answer, "realm_id"), two);
    json_decref(answer);
    json_decref(fixture_callf(f, 404, "GET", NULL, "/v1/realms/%s/consumers/%s", one, id));
    json_decref(fixture_callf(f, 200, "GET", NULL, "/v1/realms/%s/consumers/%s", two, id));
    json_decref(fixture_callf(f, 404, "POST", "{\"secret\":\"s3\"}", "/v1/realms/%s/auth", one));
    json_decref(fixture_callf(f, 200, "POST", "{\"secret\":\"s3\"}", "/v1/realms/%s/auth", two));
}

/* ---- keys ---- */

static void secret_is_in_the_creations_answer_alone(void **state)
{
    struct fixture *f = *state;
    char realm[UUID_TEXT_SIZE];
    char consumer[UUID_TEXT_SIZE];
    char path[256];
    json_t *made;
    json_t *seen;
    json_t *all;
    char *listed;

    fixture_make_realm(f, "r", cp, realm);
    fixture_make_consumer(f, realm, "u", consumer);
    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers/%s/keys", realm, consumer);
    made = fixture_call(f, 201, "POST", path,
                        "{\"type\":\"new\",\"tags\":[\"t\"],"
                        "\"expires_at\":\"2090-01-31T01:59:59.5+02:00\"}");
    seen = fixture_callf(f, 200, "GET", NULL, "%s/%s", path, text(made, "id"));
    all = fixture_call(f, 200, "GET", path, NULL);
    listed = json_dumps(all, 0);
    assert_int_equal(strncmp(text(made, "secret"), "rsk_us_", 7), 0);
    assert_int_equal(strlen(text(made, "secret")), 7 + 43);
    assert_string_equal(text(made, "expires_at"), "2090-01-30T23:59:59.500Z");
    assert_non_null(json_object_get(made, "updated_at"));
    assert_null(json_object_get(seen, "secret"));
    assert_null(json_object_get(seen, "updated_at"));
    assert_string_equal(text(seen, "expires_at"), "2090-01-30T23:59:59.500Z");
    assert_json(seen, "tags", "[\"t\"]");
    assert_null(strstr(listed, text(made, "secret")));
    json_decref(fixture_callf(f, 204, "DELETE", NULL, "%s/%s", path, text(made, "id")));
    json_decref(fixture_callf(f, 404, "GET", NULL, "%s/%s", path, text(made, "id")));
    json_decref(made);
    json_decref(seen);
    json_decref(all);
    free(listed);
}

static void legacy_secret_is_unique_within_its_realm(void **state)
{
    struct fixture *f = *state;
    char one[UUID_TEXT_SIZE];
    char two[UUID_TEXT_SIZE];
    char in_one[UUID_TEXT_SIZE];
    char in_two[UUID_TEXT_SIZE];
    static const char body[] = "{\"type\":\"legacy\",\"secret\":\"caf\xc3\xa9 + \\\"x\\\"\"}";
    json_t *made;

    fixture_make_realm(f, "one", cp, one);
    fixture_make_realm(f, "two", cp, two);
    fixture_make_consumer(f, one, "u", in_one);
    fixture_make_consumer(f, two, "u", in_two);
    made = fixture_callf(f, 201, "POST", body, "/v1/realms/%s/consumers/%s/keys", one, in_one);
    assert_string_equal(text(made, "secret"), "caf\xc3\xa9 + \"x\"");
    assert_null(json_object_get(made, "expires_at"));
    json_decref(made);
    made = fixture_callf(f, 409, "POST", body, "/v1/realms/%s/consumers/%s/keys", one, in_one);
    assert_null(strstr(text(made, "detail"), "caf")); /* no secret in an error */
    json_decref(made);
    json_decref(
        fixture_callf(f, 201, "POST", body, "/v1/realms/%s/consumers/%s/keys", two, in_two));
}

static void authentication_answers_the_consumer_or_404(void **state)
{
    struct fixture *f = *state;
    char consumer[UUID_TEXT_SIZE];
    json_t *realm = fixture_call(f, 201, "POST", "/v1/realms",
                                 "{\"name\":\"r\",\"ttl\":7,\"negative_ttl\":6,"
                                 "\"consumer_groups\":[\"gold\",\"eu\"]}");
    const char *id = text(realm, "id");
    json_t *answer;

    answer = fixture_callf(f, 201, "POST",
                           "{\"username\":\"u\",\"consumer_groups\":[\"gold\",\"beta\"]}",
                           "/v1/realms/%s/consumers", id);
    (void)snprintf(consumer, sizeof(consumer), "%s", text(answer, "id"));
    json_decref(answer);
    answer = fixture_callf(f, 201, "POST", "{\"type\":\"legacy\",\"secret\":\"k\"}",
                           "/v1/realms/%s/consumers/%s/keys", id, consumer);
    json_decref(answer);
    answer = fixture_callf(f, 200, "POST", "{\"secret\":\"k\",\"meta\":{\"a\":1}}",
                           "/v1/realms/%s/auth", id);
    assert_string_equal(text(json_object_get(answer, "consumer"), "id"), consumer);
    assert_json(answer, "ttl", "7");
    assert_json(answer, "negative_ttl", "6");
    assert_json(answer, "consumer_group_names", "[\"gold\",\"eu\",\"beta\"]");
    assert_int_equal(strlen(text(json_object_get(answer, "credential"), "id")), 36);
    json_decref(answer);
    json_decref(fixture_callf(f, 404, "POST", "{\"secret\":\"K\"}", "/v1/realms/%s/auth", id));
    json_decref(realm);
}

/* ---- pages ---- */

static size_t follow(struct fixture *f, const char *first, const char *direction, char names[][16])
{
    char *path = strdup(first);
    size_t count = 0;

    while (path != NULL) {
        json_t *page = fixture_call(f, 200, "GET", path, NULL);
        json_t *meta = json_object_get(page, "meta");
        json_t *item;
        size_t i;

        json_array_foreach(json_object_get(page, "data"), i, item)(void)
            snprintf(names[count++], 16, "%s", text(item, "username"));
        free(path);
        path =
            json_is_null(json_object_get(meta, direction)) ? NULL : strdup(text(meta, direction));
        json_decref(page);
    }
    return count;
}

/* A realm with `count` consumers u0, u1, ...; names and identifiers as they are listed. */
static void make_crowd(struct fixture *f, int count, char realm[UUID_TEXT_SIZE], char names[][16],
                       char ids[][UUID_TEXT_SIZE])
{
    json_t *page;
    json_t *item;
    size_t i;

    fixture_make_realm(f, "r", cp, realm);
    for (int n = 0; n < count; n++) {
        char name[16];
        char id[UUID_TEXT_SIZE];

        (void)snprintf(name, sizeof(name), "u%d", n);
        fixture_make_consumer(f, realm, name, id);
    }
    page = fixture_callf(f, 200, "GET", NULL, "/v1/realms/%s/consumers?page[size]=1000", realm);
    assert_int_equal(json_array_size(json_object_get(page, "data")), count);
    json_array_foreach(json_object_get(page, "data"), i, item)
    {
        (void)snprintf(names[i], 16, "%s", text(item, "username"));
        (void)snprintf(ids[i], UUID_TEXT_SIZE, "%s", text(item, "id"));
    }
    json_decref(page);
}

static void pages_are_followed_to_the_end(void **state)
{
    struct fixture *f = *state;
    char realm[UUID_TEXT_SIZE];
    char ids[25][UUID_TEXT_SIZE];
    char names[25][16];
    char seen[64][16];
    char path[256];
    json_t *page;

    make_crowd(f, 25, realm, names, ids);
    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers", realm);
    assert_int_equal(follow(f, path, "next", seen), 25); /* ten a page by default */
    for (int i = 0; i < 25; i++)
        assert_string_equal(seen[i], names[i]);
    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers?page[size]=7", realm);
    assert_int_equal(follow(f, path, "next", seen), 25);
    page = fixture_call(f, 200, "GET", path, NULL);
    assert_json(json_object_get(page, "meta"), "size", "7");
    assert_json(json_object_get(page, "meta"), "previous", "null");
    assert_int_equal(json_array_size(json_object_get(page, "data")), 7);
    json_decref(page);
}

static void pages_stay_right_while_rows_come_and_go(void **state)
{
    struct fixture *f = *state;
    char realm[UUID_TEXT_SIZE];
    char ids[10][UUID_TEXT_SIZE];
    char names[10][16];
    char seen[64][16];
    char late[UUID_TEXT_SIZE];
    json_t *page;
    char *next;
    char *previous;

    make_crowd(f, 10, realm, names, ids);
    page = fixture_callf(f, 200, "GET", NULL, "/v1/realms/%s/consumers?page[size]=4", realm);
    next = strdup(text(json_object_get(page, "meta"), "next"));
    json_decref(page);
    /* The row that the cursor names goes, one before it too, and one comes at the end. */
    json_decref(fixture_callf(f, 204, "DELETE", NULL, "/v1/realms/%s/consumers/%s", realm, ids[3]));
    json_decref(fixture_callf(f, 204, "DELETE", NULL, "/v1/realms/%s/consumers/%s", realm, ids[0]));
    fixture_make_consumer(f, realm, "late", late);
    assert_int_equal(follow(f, next, "next", seen), 7);
    for (int i = 0; i < 6; i++)
        assert_string_equal(seen[i], names[i + 4]);
    assert_string_equal(seen[6], "late");
    page = fixture_call(f, 200, "GET", next, NULL);
    previous = strdup(text(json_object_get(page, "meta"), "previous"));
    assert_int_equal(follow(f, previous, "previous", seen), 2);
    assert_string_equal(seen[0], names[1]);
    assert_string_equal(seen[1], names[2]);
    json_decref(page);
    free(next);
    free(previous);
}

static void filters_compare_whole_values_in_both_spellings(void **state)
{
    static const struct {
        const char *query;
        size_t found;
    } rows[] = {
        {"filter[username]=a%20b%2B%26", 1},
        {"filter%5Busername%5D=a+b%2b%26", 1},
        {"filter[username][eq]=a%20b%2B%26", 1},
        {"filter[username]=a", 0},
        {"filter[custom_id]=c%C3%A9", 1},
        {"filter[custom_id][eq]=c%C3%A9", 1},
        {"filter[custom_id]=C%C3%A9", 0},
        {"unknown=1&filter[custom_id]=c%C3%A9", 1},
        {"filter[username]=d&filter[custom_id]=c%C3%A9", 0},
    };
    struct fixture *f = *state;
    char realm[UUID_TEXT_SIZE];
    char id[UUID_TEXT_SIZE];

    fixture_make_realm(f, "r", cp, realm);
    fixture_make_consumer(f, realm, "d", id);
    json_decref(fixture_callf(f, 201, "POST",
                              "{\"username\":\"a b+&\",\"custom_id\":\"c\xc3\xa9\"}",
                              "/v1/realms/%s/consumers", realm));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_t *page =
            fixture_callf(f, 200, "GET", NULL, "/v1/realms/%s/consumers?%s", realm, rows[i].query);

        if (json_array_size(json_object_get(page, "data")) != rows[i].found)
            fail_msg("%s", rows[i].query);
        json_decref(page);
    }
}

/* ---- core entities ---- */

#define CORE "/v2/control-planes/%s/core-entities"

static void core_consumer_is_found_by_id_or_username(void **state)
{
    struct fixture *f = *state;
    json_t *made = fixture_callf(f, 201, "POST",
                                 "{\"username\":\"a/b c\",\"custom_id\":\"x\",\"tags\":[\"t\"],"
                                 "\"consumer_groups\":[\"g\"]}",
                                 CORE "/consumers", cp);
    json_t *by_id = fixture_callf(f, 200, "GET", NULL, CORE "/consumers/%s", cp, text(made, "id"));
    json_t *by_name = fixture_callf(f, 200, "GET", NULL, CORE "/consumers/a%%2Fb%%20c", cp);
    json_t *patched =
        fixture_callf(f, 200, "PATCH", "{\"custom_id\":null}", CORE "/consumers/a%%2Fb%%20c", cp);
    json_t *put = fixture_callf(f, 200, "PUT", "{\"custom_id\":\"only\"}", CORE "/consumers/%s", cp,
                                text(made, "id"));

    assert_true(json_is_integer(json_object_get(made, "created_at")));
    assert_true(json_integer_value(json_object_get(made, "created_at")) > 1600000000);
    assert_null(json_object_get(made, "type"));
    assert_true(json_equal(made, by_id));
    assert_true(json_equal(made, by_name));
    assert_json(patched, "custom_id", "null");
    assert_json(patched, "username", "\"a/b c\"");
    assert_json(put, "username", "null");
    assert_json(put, "custom_id", "\"only\"");
    assert_json(put, "tags", "[]");
    json_decref(
        fixture_callf(f, 404, "GET", NULL, CORE "/consumers/%s", other_cp, text(made, "id")));
    json_decref(fixture_callf(f, 204, "DELETE", NULL, CORE "/consumers/%s", cp, text(made, "id")));
    json_decref(made);
    json_decref(by_id);
    json_decref(by_name);
    json_decref(patched);
    json_decref(put);
}

static void core_pages_have_next_and_offset(void **state)
{
    struct fixture *f = *state;
    json_t *first;
    json_t *second;

    for (int i = 0; i < 3; i++) {
        char body[64];

        (void)snprintf(body, sizeof(body), "{\"username\":\"u%d\"}", i);
        json_decref(fixture_callf(f, 201, "POST", body, CORE "/consumers", cp));
    }
    first = fixture_callf(f, 200, "GET", NULL, CORE "/consumers?size=2", cp);
    assert_int_equal(json_array_size(json_object_get(first, "data")), 2);
    assert_non_null(strstr(text(first, "next"), text(first, "offset")));
    second = fixture_call(f, 200, "GET", text(first, "next"), NULL);
    assert_int_equal(json_array_size(json_object_get(second, "data")), 1);
    assert_json(second, "next", "null");
    assert_null(json_object_get(second, "offset"));
    json_decref(first);
    json_decref(second);
}

static void key_auth_has_kongs_shape(void **state)
{
    struct fixture *f = *state;
    json_t *consumer = fixture_callf(f, 201, "POST", "{\"username\":\"u\"}", CORE "/consumers", cp);
    json_t *given = fixture_callf(f, 201, "POST", "{\"key\":\"k1\",\"ttl\":60,\"tags\":[\"t\"]}",
                                  CORE "/consumers/u/key-auth", cp);
    json_t *generated = fixture_callf(f, 201, "POST", "{}", CORE "/consumers/u/key-auth", cp);
    json_t *seen =
        fixture_callf(f, 200, "GET", NULL, CORE "/consumers/u/key-auth/%s", cp, text(given, "id"));
    json_t *all = fixture_callf(f, 200, "GET", NULL, CORE "/consumers/u/key-auth", cp);

    assert_json(given, "key", "\"k1\"");
    assert_json(given, "ttl", "60");
    assert_string_equal(text(json_object_get(given, "consumer"), "id"), text(consumer, "id"));
    assert_int_equal(strncmp(text(generated, "key"), "rsk_us_", 7), 0);
    assert_json(generated, "ttl", "null");
    assert_null(json_object_get(seen, "key"));
    assert_in_range(json_integer_value(json_object_get(seen, "ttl")), 1, 60);
    assert_int_equal(json_array_size(json_object_get(all, "data")), 2);
    json_decref(
        fixture_callf(f, 409, "POST", "{\"key\":\"k1\"}", CORE "/consumers/u/key-auth", cp));
    json_decref(fixture_callf(f, 204, "DELETE", NULL, CORE "/consumers/u/key-auth/%s", cp,
                              text(given, "id")));
    json_decref(consumer);
    json_decref(given);
    json_decref(generated);
    json_decref(seen);
    json_decref(all);
}

static void consumer_groups_are_created_changed_and_deleted(void **state)
{
    struct fixture *f = *state;
    json_t *made = fixture_callf(f, 201, "POST", "{\"name\":\"gold\",\"tags\":[\"t\"]}",
                                 CORE "/consumer_groups", cp);
    json_t *by_name = fixture_callf(f, 200, "GET", NULL, CORE "/consumer_groups/gold", cp);
    json_t *put = fixture_callf(f, 200, "PUT", "{\"name\":\"silver\"}", CORE "/consumer_groups/%s",
                                cp, text(made, "id"));
    json_t *patched =
        fixture_callf(f, 200, "PATCH", "{\"tags\":[\"x\"]}", CORE "/consumer_groups/silver", cp);
    json_t *all = fixture_callf(f, 200, "GET", NULL, CORE "/consumer_groups", cp);

    assert_true(json_equal(made, by_name));
    assert_json(put, "tags", "[]");
    assert_json(patched, "name", "\"silver\"");
    assert_json(patched, "tags", "[\"x\"]");
    assert_int_equal(json_array_size(json_object_get(all, "data")), 1);
    json_decref(
        fixture_callf(f, 409, "POST", "{\"name\":\"silver\"}", CORE "/consumer_groups", cp));
    json_decref(fixture_callf(f, 204, "DELETE", NULL, CORE "/consumer_groups/silver", cp));
    json_decref(fixture_callf(f, 404, "GET", NULL, CORE "/consumer_groups/silver", cp));
    json_decref(made);
    json_decref(by_name);
    json_decref(put);
    json_decref(patched);
    json_decref(all);
}

/* ---- the rest ---- */

static void tokens_work_until_they_are_deleted(void **state)
{
    struct fixture *f = *state;
    json_t *made =
        fixture_call(f, 201, "POST", "/v1/tokens", "{\"name\":\"v\",\"role\":\"viewer\"}");
    json_t *all = fixture_call(f, 200, "GET", "/v1/tokens", NULL);
    struct reply *reply;

    assert_int_equal(strncmp(text(made, "token"), "rst_", 4), 0);
    assert_json(made, "control_plane_id", "null");
    assert_int_equal(json_array_size(json_object_get(all, "data")), 1);
    assert_null(json_object_get(json_array_get(json_object_get(all, "data"), 0), "token"));
    reply = fixture_request(f, text(made, "token"), "GET", "/v1/realms", NULL, NULL, 0);
    assert_int_equal(reply->status, 200);
    reply_free(reply);
    json_decref(fixture_callf(f, 204, "DELETE", NULL, "/v1/tokens/%s", text(made, "id")));
    reply = fixture_request(f, text(made, "token"), "GET", "/v1/realms", NULL, NULL, 0);
    assert_int_equal(reply->status, 401);
    reply_free(reply);
    json_decref(made);
    json_decref(all);
}

static void health_and_metrics_need_no_token(void **state)
{
    static const char *const paths[] = {"/healthz", "/readyz", "/metrics"};
    struct fixture *f = *state;
    char realm[UUID_TEXT_SIZE];
    struct reply *reply;

    fixture_make_realm(f, "r", cp, realm);
    for (size_t i = 0; i < 3; i++) {
        reply = fixture_request(f, NULL, "GET", paths[i], NULL, NULL, 0);
        assert_int_equal(reply->status, 200);
        if (i < 2)
            reply_free(reply);
    }
    assert_non_null(strstr(reply->headers, "text/plain; version=0.0.4"));
    assert_non_null(strstr(reply->body, "\nrealm_control_version 1\n"));
    assert_non_null(strstr(reply->body, "realm_control_http_requests_total{method=\"POST\","
                                        "route=\"/v1/realms\",status=\"201\"} 1\n"));
    assert_non_null(strstr(reply->body, "realm_control_build_info{version="));
    assert_null(strstr(reply->body, realm));
    reply_free(reply);
}

static void head_answers_like_get_without_a_body(void **state)
{
    struct reply *reply =
        fixture_request(*state, FIXTURE_ADMIN, "HEAD", "/v1/realms", NULL, NULL, 0);

    assert_int_equal(reply->status, 200);
    assert_non_null(strstr(reply->headers, "application/json"));
    assert_true(reply->body == NULL || reply->body[0] == 0);
    reply_free(reply);
}

static void body_of_a_delete_is_passed_over(void **state)
{
    struct fixture *f = *state;
    char realm[UUID_TEXT_SIZE];
    char path[128];
    struct reply *reply;

    fixture_make_realm(f, "r", cp, realm);
    (void)snprintf(path, sizeof(path), "/v1/realms/%s", realm);
    reply = fixture_request(f, FIXTURE_ADMIN, "DELETE", path, NULL, "not json", 8);
    assert_int_equal(reply->status, 204);
    reply_free(reply);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(first_request_of_the_issue_creates_the_realm),
        TEST(realm_has_defaults_and_is_patched_member_by_member),
        TEST(control_planes_are_kept_in_lower_case),
        TEST(realm_with_consumers_goes_by_force_only),
        TEST(consumer_is_patched_and_null_takes_the_custom_id_away),
        TEST(names_are_unique_within_a_realm_only),
        TEST(move_takes_the_keys_along),
        TEST(secret_is_in_the_creations_answer_alone),
        TEST(legacy_secret_is_unique_within_its_realm),
        TEST(authentication_answers_the_consumer_or_404),
        TEST(pages_are_followed_to_the_end),
        TEST(pages_stay_right_while_rows_come_and_go),
        TEST(filters_compare_whole_values_in_both_spellings),
        TEST(core_consumer_is_found_by_id_or_username),
        TEST(core_pages_have_next_and_offset),
        TEST(key_auth_has_kongs_shape),
        TEST(consumer_groups_are_created_changed_and_deleted),
        TEST(tokens_work_until_they_are_deleted),
        TEST(health_and_metrics_need_no_token),
        TEST(head_answers_like_get_without_a_body),
        TEST(body_of_a_delete_is_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Every rule of docs/rest.md, with a request that breaks it; and after each refusal nothing has
 * changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/control_fixture.h"

static const char cp[] = "497f6eca-6276-4993-bfeb-53cbbbba6f08";

struct world {
    struct fixture *fixture;
    char realm[UUID_TEXT_SIZE];
    char consumer[UUID_TEXT_SIZE];
};

static int make_world(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    json_t *answer;

    world->fixture = fixture_start(NULL);
    fixture_make_realm(world->fixture, "prod", cp, world->realm);
    fixture_make_consumer(world->fixture, world->realm, "Alice", world->consumer);
    answer = fixture_callf(world->fixture, 201, "POST", "{\"username\":\"core\"}",
                           "/v2/control-planes/%s/core-entities/consumers", cp);
    json_decref(answer);
    *state = world;
    return 0;
}

static int end_world(void **state)
{
    struct world *world = *state;

    fixture_stop(world->fixture);
    free(world);
    return 0;
}

/* Everything that the requests below could change. */
static json_t *look(struct world *world)
{
    json_t *all = json_array();
    struct fixture *f = world->fixture;

    json_array_append_new(all, fixture_call(f, 200, "GET", "/v1/realms", NULL));
    json_array_append_new(
        all, fixture_callf(f, 200, "GET", NULL, "/v1/realms/%s/consumers", world->realm));
    json_array_append_new(all, fixture_callf(f, 200, "GET", NULL, "/v1/realms/%s/consumers/%s/keys",
                                             world->realm, world->consumer));
    json_array_append_new(all, fixture_callf(f, 200, "GET", NULL,
                                             "/v2/control-planes/%s/core-entities/consumers", cp));
    json_array_append_new(all,
                          fixture_callf(f, 200, "GET", NULL,
                                        "/v2/control-planes/%s/core-entities/consumer_groups", cp));
    json_array_append_new(all, fixture_call(f, 200, "GET", "/v1/tokens", NULL));
    return all;
}

static const json_t *find_violation(const json_t *problem, const char *field, const char *rule,
                                    const char *source)
{
    const json_t *list = json_object_get(problem, "invalid_parameters");
    json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (strcmp(json_string_value(json_object_get(item, "field")), field) == 0 &&
            strcmp(json_string_value(json_object_get(item, "rule")), rule) == 0 &&
            strcmp(json_string_value(json_object_get(item, "source")), source) == 0)
            return item;
    }
    return NULL;
}

/* %R and %C in paths stand for the realm and the consumer, %P for the control plane. */
static void expand(const struct world *world, const char *pattern, char *path, size_t size)
{
    size_t used = 0;

    for (; *pattern != 0; pattern++) {
        const char *part = NULL;

        if (pattern[0] == '%' && pattern[1] == 'R')
            part = world->realm;
        else if (pattern[0] == '%' && pattern[1] == 'C')
            part = world->consumer;
        else if (pattern[0] == '%' && pattern[1] == 'P')
            part = cp;
        if (part != NULL) {
            used += (size_t)snprintf(path + used, size - used, "%s", part);
            pattern++;
        } else {
            path[used++] = *pattern;
        }
        assert_true(used + 1 < size);
    }
    path[used] = 0;
}

struct row {
    const char *method;
    const char *path;
    const char *body;
    const char *field;
    const char *rule;
    const char *source;
};

static void check_row(struct world *world, const struct row *row, size_t body_size)
{
    char path[2048];
    struct reply *reply;

    expand(world, row->path, path, sizeof(path));
    reply = fixture_request(world->fixture, FIXTURE_ADMIN, row->method, path, NULL, row->body,
                            body_size);
    if (reply->status != 400 ||
        find_violation(reply->json, row->field, row->rule, row->source) == NULL)
        fail_msg("%s %s %.200s\nexpected 400 with %s %s %s, got %ld %.2000s", row->method,
                 row->path, row->body != NULL ? row->body : "", row->source, row->field, row->rule,
                 reply->status, reply->body);
    assert_int_equal(json_integer_value(json_object_get(reply->json, "status")), 400);
    assert_non_null(strstr(reply->headers, "application/problem+json"));
    reply_free(reply);
}

static void check_rows(struct world *world, const struct row *rows, size_t count)
{
    json_t *before = look(world);
    json_t *after;

    for (size_t i = 0; i < count; i++)
        check_row(world, &rows[i], rows[i].body != NULL ? strlen(rows[i].body) : 0);
    after = look(world);
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
}

#define CHECK(world, rows) check_rows((world), (rows), sizeof(rows) / sizeof((rows)[0]))

#define REALMS    "/v1/realms"
#define REALM     "/v1/realms/%R"
#define CONSUMERS REALM "/consumers"
#define CONSUMER  CONSUMERS "/%C"
#define KEYS      CONSUMER "/keys"
#define CORE      "/v2/control-planes/%P/core-entities"
#define NONE      "00000000-0000-4000-8000-000000000000"

static void bodies_that_are_not_an_object_are_refused(void **state)
{
    static const struct row rows[] = {
        {"POST", REALMS, "", "", "is_json", "body"},
        {"POST", REALMS, "{", "", "is_json", "body"},
        {"POST", REALMS, "{\"name\":}", "", "is_json", "body"},
        {"POST", REALMS, "{\"name\":\"a\"} x", "", "is_json", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"ttl\":99999999999999999999}", "", "is_json", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"name\":\"b\"}", "", "unique_members", "body"},
        {"POST", REALMS, "{\"name\":\"a\\u0000b\"}", "", "no_nul", "body"},
        {"POST", REALMS, "{\"na\\u0000me\":\"ab\"}", "", "no_nul", "body"},
        {"POST", REALMS, "{\"name\":\"\xff\"}", "", "is_utf8", "body"},
        {"POST", REALMS, "{\"name\":\"\xc0\xaf\"}", "", "is_utf8", "body"},
        {"POST", REALMS, "{\"name\":\"\xed\xa0\x80\"}", "", "is_utf8", "body"},
        {"POST", REALMS, "[]", "", "is_object", "body"},
        {"POST", REALMS, "null", "", "is_object", "body"},
        {"POST", REALMS, "\"name\"", "", "is_object", "body"},
        {"POST", REALMS, "NaN", "", "is_json", "body"},
        {"PATCH", REALM, "", "", "is_json", "body"},
    };

    CHECK(*state, rows);
}

static void nesting_without_end_and_raw_nul_are_refused(void **state)
{
    struct row row = {"POST", REALMS, NULL, "", "max_depth", "body"};
    size_t size = 100000;
    char *deep = malloc(size + 1);

    memset(deep, '[', size);
    deep[size] = 0;
    row.body = deep;
    check_row(*state, &row, size);
    free(deep);
    row = (struct row){"POST", REALMS, "{\"name\":\"a\0b\"}", "", "is_json", "body"};
    check_row(*state, &row, 14);
}

static void position_of_the_fault_is_told(void **state)
{
    struct world *world = *state;
    struct reply *reply = fixture_request(world->fixture, FIXTURE_ADMIN, "POST", REALMS, NULL,
                                          "{\n \"name\": sekrit\n}", 18);

    assert_int_equal(reply->status, 400);
    assert_non_null(strstr(reply_text(reply, "detail"), "line 2"));
    assert_null(strstr(reply->body, "sekrit")); /* the input is not quoted */
    reply_free(reply);
}

static void realms_are_checked(void **state)
{
    static const struct row rows[] = {
        {"POST", REALMS, "{}", "name", "required", "body"},
        {"POST", REALMS, "{\"name\":null}", "name", "is_string", "body"},
        {"POST", REALMS, "{\"name\":5}", "name", "is_string", "body"},
        {"POST", REALMS, "{\"name\":\"\"}", "name", "min_length", "body"},
        {"POST", REALMS, "{\"name\":\"a\\nb\"}", "name", "no_control_characters", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"nmae\":1}", "nmae", "unknown_property", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"id\":\"" NONE "\"}", "id", "unknown_property", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"ttl\":4}", "ttl", "min", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"ttl\":-1}", "ttl", "min", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"ttl\":525601}", "ttl", "max", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"ttl\":4294967306}", "ttl", "max", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"ttl\":10.0}", "ttl", "is_integer", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"ttl\":\"10\"}", "ttl", "is_integer", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"ttl\":null}", "ttl", "is_integer", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"negative_ttl\":0}", "negative_ttl", "min", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"consumer_groups\":\"g\"}", "consumer_groups",
         "is_array", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"consumer_groups\":[\"g\",\"g\"]}", "consumer_groups",
         "unique_items", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"consumer_groups\":[\"g\",1]}", "consumer_groups[1]",
         "is_string", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"consumer_groups\":[\"\"]}", "consumer_groups[0]",
         "min_length", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"allowed_control_planes\":[\"x\"]}",
         "allowed_control_planes[0]", "is_uuid", "body"},
        {"POST", REALMS,
         "{\"name\":\"a\",\"allowed_control_planes\":[\"497f6eca-6276-4993-bfeb-53cbbbba6f08\","
         "\"497F6ECA-6276-4993-BFEB-53CBBBBA6F08\"]}",
         "allowed_control_planes", "unique_items", "body"},
        {"POST", REALMS, "{\"name\":\"a\",\"allow_all_control_planes\":1}",
         "allow_all_control_planes", "is_boolean", "body"},
        {"PATCH", REALM, "{\"name\":null}", "name", "is_string", "body"},
        {"PATCH", REALM, "{\"ttl\":1}", "ttl", "min", "body"},
        {"PATCH", REALM, "{\"foo\":1}", "foo", "unknown_property", "body"},
        {"PATCH", "/v1/realms/nope", "{}", "realmId", "is_uuid", "path"},
        {"GET", "/v1/realms/nope", NULL, "realmId", "is_uuid", "path"},
        {"GET", "/v1/realms/%ff", NULL, "realmId", "is_utf8", "path"},
        {"GET", "/v1/realms/a%2Fb", NULL, "realmId", "is_uuid", "path"},
        {"GET", "/v1/realms/%00", NULL, "realmId", "is_utf8", "path"},
        {"DELETE", REALM, NULL, "force", "required", "query"},
        {"DELETE", REALM "?force=maybe", NULL, "force", "is_boolean", "query"},
    };

    CHECK(*state, rows);
}

static void consumers_are_checked(void **state)
{
    static const struct row rows[] = {
        {"POST", CONSUMERS, "{}", "username", "required", "body"},
        {"POST", CONSUMERS, "{\"username\":null}", "username", "is_string", "body"},
        {"POST", CONSUMERS, "{\"username\":\"b\",\"custom_id\":\"\"}", "custom_id", "min_length",
         "body"},
        {"POST", CONSUMERS, "{\"username\":\"b\",\"type\":\"robot\"}", "type", "enum", "body"},
        {"POST", CONSUMERS, "{\"username\":\"b\",\"type\":7}", "type", "is_string", "body"},
        {"POST", CONSUMERS, "{\"username\":\"b\",\"tags\":{}}", "tags", "is_array", "body"},
        {"POST", CONSUMERS, "{\"username\":\"b\",\"realm\":{}}", "realm", "unknown_property",
         "body"},
        {"PATCH", CONSUMER, "{\"username\":null}", "username", "is_string", "body"},
        {"PATCH", CONSUMER, "{\"type\":null}", "type", "is_string", "body"},
        {"PATCH", CONSUMER, "{\"username\":\"\"}", "username", "min_length", "body"},
        {"POST", CONSUMER "/move", "{}", "target_realm_id", "required", "body"},
        {"POST", CONSUMER "/move", "{\"target_realm_id\":\"x\"}", "target_realm_id", "is_uuid",
         "body"},
        {"POST", CONSUMER "/move", "{\"target_realm_id\":5}", "target_realm_id", "is_string",
         "body"},
        {"POST", CONSUMER "/move", "{\"target_realm_id\":\"" NONE "\"}", "target_realm_id",
         "missing_reference", "body"},
        {"GET", CONSUMERS "/x", NULL, "consumerId", "is_uuid", "path"},
        {"GET", CONSUMERS "?page[size]=0", NULL, "page[size]", "min", "query"},
        {"GET", CONSUMERS "?page%5Bsize%5D=1001", NULL, "page[size]", "max", "query"},
        {"GET", CONSUMERS "?page[size]=ten", NULL, "page[size]", "is_integer", "query"},
        {"GET", CONSUMERS "?page[size]=", NULL, "page[size]", "is_integer", "query"},
        {"GET", CONSUMERS "?page[size]=%2B5", NULL, "page[size]", "is_integer", "query"},
        {"GET", CONSUMERS "?page[after]=zzz", NULL, "page[after]", "is_cursor", "query"},
        {"GET", CONSUMERS "?page[after]=AAAAAAAAAAAAAAAAAAAAAB", NULL, "page[after]", "is_cursor",
         "query"},
        {"GET", CONSUMERS "?page[before]=!", NULL, "page[before]", "is_cursor", "query"},
        {"GET", CONSUMERS "?page[before]=AAAAAAAAAAAAAAAAAAAAAA&page[after]=AAAAAAAAAAAAAAAAAAAAAA",
         NULL, "page[before]", "dependent_fields", "query"},
        {"GET", CONSUMERS "?page[number]=3", NULL, "page[number]", "unknown_property", "query"},
        {"GET", CONSUMERS "?filter[nmae]=a", NULL, "filter[nmae]", "unknown_property", "query"},
        {"GET", CONSUMERS "?filter[username][contains]=a", NULL, "filter[username][contains]",
         "unknown_property", "query"},
        {"GET", CONSUMERS "?filter=a", NULL, "filter", "unknown_property", "query"},
        {"GET", CONSUMERS "?filter[username]=%zz", NULL, "filter[username]", "is_utf8", "query"},
        {"GET", CONSUMERS "?filter[username]=%ff", NULL, "filter[username]", "is_utf8", "query"},
        {"GET", CONSUMERS "?filter[username]=%00", NULL, "filter[username]", "is_utf8", "query"},
        {"GET", REALMS "?filter[name]=a", NULL, "filter[name]", "unknown_property", "query"},
        {"POST", CONSUMERS "?wait=forever", "{\"username\":\"b\"}", "wait", "enum", "query"},
        {"POST", CONSUMERS "?wait=applied&timeout_ms=60001", "{\"username\":\"b\"}", "timeout_ms",
         "max", "query"},
        {"POST", CONSUMERS "?wait=applied&timeout_ms=-1", "{\"username\":\"b\"}", "timeout_ms",
         "is_integer", "query"},
    };

    CHECK(*state, rows);
}

static void keys_are_checked(void **state)
{
    static const struct row rows[] = {
        {"POST", KEYS, "{}", "type", "required", "body"},
        {"POST", KEYS, "{\"type\":\"old\"}", "type", "enum", "body"},
        {"POST", KEYS, "{\"type\":\"legacy\"}", "secret", "dependent_fields", "body"},
        {"POST", KEYS, "{\"type\":\"new\",\"secret\":\"x\"}", "secret", "dependent_fields", "body"},
        {"POST", KEYS, "{\"type\":\"legacy\",\"secret\":\"\"}", "secret", "min_length", "body"},
        {"POST", KEYS, "{\"type\":\"legacy\",\"secret\":null}", "secret", "is_string", "body"},
        {"POST", KEYS, "{\"type\":\"legacy\",\"secret\":\"a\\tb\"}", "secret",
         "no_control_characters", "body"},
        {"POST", KEYS, "{\"type\":\"new\",\"expires_at\":\"tomorrow\"}", "expires_at",
         "is_date_time", "body"},
        {"POST", KEYS, "{\"type\":\"new\",\"expires_at\":5}", "expires_at", "is_string", "body"},
        {"POST", KEYS, "{\"type\":\"new\",\"expires_at\":\"2020-01-01T00:00:00Z\"}", "expires_at",
         "is_future", "body"},
        {"GET", KEYS "/x", NULL, "keyId", "is_uuid", "path"},
        {"POST", REALM "/auth", "{}", "secret", "required", "body"},
        {"POST", REALM "/auth", "{\"secret\":null}", "secret", "is_string", "body"},
        {"POST", REALM "/auth", "{\"secret\":\"a\",\"x\":1}", "x", "unknown_property", "body"},
    };

    CHECK(*state, rows);
}

static void core_entities_and_tokens_are_checked(void **state)
{
    static const struct row rows[] = {
        {"POST", CORE "/consumers", "{}", "username", "required", "body"},
        {"POST", CORE "/consumers", "{\"username\":null,\"custom_id\":null}", "username",
         "required", "body"},
        {"POST", CORE "/consumers", "{\"username\":\"a\",\"type\":\"proxy\"}", "type",
         "unknown_property", "body"},
        {"PATCH", CORE "/consumers/core", "{\"username\":null}", "username", "required", "body"},
        {"PUT", CORE "/consumers/core", "{\"tags\":[]}", "username", "required", "body"},
        {"GET", CORE "/consumers?size=0", NULL, "size", "min", "query"},
        {"GET", CORE "/consumers?offset=x", NULL, "offset", "is_cursor", "query"},
        {"GET", "/v2/control-planes/x/core-entities/consumers", NULL, "cpId", "is_uuid", "path"},
        {"POST", CORE "/consumers/core/key-auth", "{\"key\":\"\"}", "key", "min_length", "body"},
        {"POST", CORE "/consumers/core/key-auth", "{\"ttl\":-1}", "ttl", "min", "body"},
        {"POST", CORE "/consumers/core/key-auth", "{\"ttl\":100000001}", "ttl", "max", "body"},
        {"POST", CORE "/consumer_groups", "{}", "name", "required", "body"},
        {"POST", CORE "/consumer_groups", "{\"name\":\"\"}", "name", "min_length", "body"},
        {"POST", "/v1/tokens", "{}", "role", "required", "body"},
        {"POST", "/v1/tokens", "{\"name\":\"a\",\"role\":\"root\"}", "role", "enum", "body"},
        {"POST", "/v1/tokens", "{\"name\":\"a\",\"role\":\"data-plane\"}", "control_plane_id",
         "dependent_fields", "body"},
        {"POST", "/v1/tokens",
         "{\"name\":\"a\",\"role\":\"viewer\",\"control_plane_id\":\"" NONE "\"}",
         "control_plane_id", "dependent_fields", "body"},
        {"POST", "/v1/tokens",
         "{\"name\":\"a\",\"role\":\"data-plane\",\"control_plane_id\":\"x\"}", "control_plane_id",
         "is_uuid", "body"},
        {"DELETE", "/v1/tokens/x", NULL, "id", "is_uuid", "path"},
    };

    CHECK(*state, rows);
}

/* A body with one string of `count` repetitions of `unit` between the two ends. */
static char *long_body(const char *start, const char *unit, size_t count, const char *end)
{
    size_t size = strlen(unit) * count;
    char *text = malloc(size + 1);
    char *body = NULL;

    for (size_t i = 0; i < count; i++)
        memcpy(text + i * strlen(unit), unit, strlen(unit));
    text[size] = 0;
    assert_true(asprintf(&body, "%s%s%s", start, text, end) > 0);
    free(text);
    return body;
}

static void lengths_are_counted_in_characters_or_bytes(void **state)
{
    static const struct {
        const char *path;
        const char *start;
        const char *unit;
        size_t longest;
        const char *end;
        const char *field;
    } rows[] = {
        {REALMS, "{\"name\":\"", "\xf0\x9f\x94\x91", 256, "\"}", "name"},
        {CONSUMERS, "{\"username\":\"", "\xc3\xa9", 256, "\"}", "username"},
        {CONSUMERS, "{\"username\":\"l\",\"tags\":[\"", "t", 128, "\"]}", "tags[0]"},
        {KEYS, "{\"type\":\"legacy\",\"secret\":\"", "k", 1024, "\"}", "secret"},
        {KEYS, "{\"type\":\"legacy\",\"secret\":\"", "\xc3\xa9", 512, "\"}", "secret"},
    };
    struct world *world = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *good = long_body(rows[i].start, rows[i].unit, rows[i].longest, rows[i].end);
        char *bad = long_body(rows[i].start, rows[i].unit, rows[i].longest + 1, rows[i].end);
        const struct row row = {"POST", rows[i].path, bad, rows[i].field, "max_length", "body"};
        char path[512];

        check_row(world, &row, strlen(bad));
        expand(world, rows[i].path, path, sizeof(path));
        json_decref(fixture_call(world->fixture, 201, "POST", path, good));
        free(good);
        free(bad);
    }
}

static void more_than_64_items_are_refused(void **state)
{
    struct row row = {"POST", REALMS, NULL, "consumer_groups", "max_items", "body"};
    char body[4096];
    size_t used = (size_t)sprintf(body, "{\"name\":\"many\",\"consumer_groups\":[\"g\"");

    for (int i = 0; i < 64; i++)
        used += (size_t)sprintf(body + used, ",\"g%d\"", i);
    (void)sprintf(body + used, "]}");
    row.body = body;
    check_row(*state, &row, strlen(body));
}

static void all_violations_are_reported_at_once(void **state)
{
    struct world *world = *state;
    static const char body[] = "{\"ttl\":1,\"negative_ttl\":\"x\",\"zzz\":0,"
                               "\"consumer_groups\":[1,\"\"],\"allow_all_control_planes\":null}";
    struct reply *reply =
        fixture_request(world->fixture, FIXTURE_ADMIN, "POST", REALMS, NULL, body, strlen(body));
    const json_t *ttl = find_violation(reply->json, "ttl", "min", "body");

    assert_int_equal(reply->status, 400);
    assert_int_equal(json_array_size(json_object_get(reply->json, "invalid_parameters")), 7);
    assert_int_equal(json_integer_value(json_object_get(ttl, "minimum")), 5);
    assert_non_null(reply_text(reply, "instance"));
    assert_string_equal(reply_text(reply, "title"), "Bad Request");
    reply_free(reply);
}

static void a_hundred_thousand_violations_give_a_short_answer(void **state)
{
    struct world *world = *state;
    char *body = malloc(2000000);
    size_t used = (size_t)sprintf(body, "{\"name\":\"a\"");
    struct reply *reply;

    for (int i = 0; i < 60000; i++)
        used += (size_t)sprintf(body + used, ",\"x%d\":0", i);
    used += (size_t)sprintf(body + used, "}");
    reply = fixture_request(world->fixture, FIXTURE_ADMIN, "POST", REALMS, NULL, body, used);
    assert_int_equal(reply->status, 400);
    assert_true(strlen(reply->body) < 20000);
    reply_free(reply);
    free(body);
}

static void other_refusals_have_their_status(void **state)
{
    static const struct {
        long status;
        const char *token;
        const char *method;
        const char *path;
        const char *header;
        const char *body;
        const char *answer_header;
    } rows[] = {
        {401, NULL, "GET", REALMS, NULL, NULL, "WWW-Authenticate: Bearer"},
        {401, "wrong-token-of-some-length", "GET", REALMS, NULL, NULL, "WWW-Authenticate: Bearer"},
        {401, NULL, "GET", REALMS, "Authorization: Basic eDp5", NULL, "WWW-Authenticate: Bearer"},
        {401, NULL, "GET", REALMS, "Authorization: Bearer", NULL, "WWW-Authenticate: Bearer"},
        {404, FIXTURE_ADMIN, "GET", "/", NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "GET", "/v1/realms/", NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "GET", "/v1//realms", NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "GET", "/v1/realms/" NONE, NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "DELETE", "/v1/realms/" NONE, NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "PATCH", "/v1/realms/" NONE, NULL, "{}", NULL},
        {404, FIXTURE_ADMIN, "GET", "/v1/realms/" NONE "/consumers", NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "POST", "/v1/realms/" NONE "/consumers", NULL, "{\"username\":\"x\"}",
         NULL},
        {404, FIXTURE_ADMIN, "GET", CONSUMERS "/" NONE, NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "GET", CONSUMERS "/" NONE "/keys", NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "POST", CONSUMERS "/" NONE "/keys", NULL, "{\"type\":\"new\"}", NULL},
        {404, FIXTURE_ADMIN, "GET", KEYS "/" NONE, NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "DELETE", KEYS "/" NONE, NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "POST", CONSUMERS "/" NONE "/move", NULL,
         "{\"target_realm_id\":\"" NONE "\"}", NULL},
        {404, FIXTURE_ADMIN, "GET", CORE "/consumers/nobody", NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "GET", CORE "/consumer_groups/nothing", NULL, NULL, NULL},
        {404, FIXTURE_ADMIN, "DELETE", "/v1/tokens/" NONE, NULL, NULL, NULL},
        {405, FIXTURE_ADMIN, "PUT", REALMS, NULL, "{}", "Allow: GET, HEAD, POST"},
        {405, FIXTURE_ADMIN, "OPTIONS", REALM, NULL, NULL, "Allow: GET, HEAD, PATCH, DELETE"},
        {405, FIXTURE_ADMIN, "HEAD", "/v1/sync/feed", NULL, NULL, "Allow: GET"},
        {501, FIXTURE_ADMIN, "BREW", REALMS, NULL, NULL, NULL},
        {409, FIXTURE_ADMIN, "POST", REALMS, NULL, "{\"name\":\"prod\"}", NULL},
        {409, FIXTURE_ADMIN, "POST", CONSUMERS, NULL, "{\"username\":\"Alice\"}", NULL},
        {415, FIXTURE_ADMIN, "POST", REALMS, "Content-Type: text/plain", "{\"name\":\"q\"}", NULL},
        {415, FIXTURE_ADMIN, "POST", REALMS, "Content-Type: application/jsonx", "{\"name\":\"q\"}",
         NULL},
    };
    struct world *world = *state;
    json_t *before = look(world);
    json_t *after;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[1024];
        struct reply *reply;

        expand(world, rows[i].path, path, sizeof(path));
        reply = fixture_request(world->fixture, rows[i].token, rows[i].method, path, rows[i].header,
                                rows[i].body, rows[i].body != NULL ? strlen(rows[i].body) : 0);
        if (reply->status != rows[i].status ||
            (rows[i].answer_header != NULL &&
             strstr(reply->headers, rows[i].answer_header) == NULL))
            fail_msg("%s %s: %ld\n%s%s", rows[i].method, path, reply->status, reply->headers,
                     reply->body != NULL ? reply->body : "");
        assert_non_null(strstr(reply->headers, "application/problem+json"));
        reply_free(reply);
    }
    after = look(world);
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
}

static void conflict_names_the_field(void **state)
{
    struct world *world = *state;
    struct reply *reply = fixture_request(world->fixture, FIXTURE_ADMIN, "POST", REALMS, NULL,
                                          "{\"name\":\"prod\"}", 15);

    assert_int_equal(reply->status, 409);
    assert_non_null(find_violation(reply->json, "name", "unique", "body"));
    reply_free(reply);
}

static void body_over_one_mebibyte_is_413(void **state)
{
    struct world *world = *state;
    size_t size = (1 << 20) + 1;
    char *body = malloc(size);
    struct reply *reply;

    memset(body, ' ', size);
    reply = fixture_request(world->fixture, FIXTURE_ADMIN, "POST", REALMS, NULL, body, size);
    assert_int_equal(reply->status, 413);
    reply_free(reply);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_that_are_not_an_object_are_refused),
        cmocka_unit_test(nesting_without_end_and_raw_nul_are_refused),
        cmocka_unit_test(position_of_the_fault_is_told),
        cmocka_unit_test(realms_are_checked),
        cmocka_unit_test(consumers_are_checked),
        cmocka_unit_test(keys_are_checked),
        cmocka_unit_test(core_entities_and_tokens_are_checked),
        cmocka_unit_test(other_refusals_have_their_status),
        cmocka_unit_test(conflict_names_the_field),
        cmocka_unit_test(all_violations_are_reported_at_once),
        cmocka_unit_test(a_hundred_thousand_violations_give_a_short_answer),
        cmocka_unit_test(body_over_one_mebibyte_is_413),
        cmocka_unit_test(more_than_64_items_are_refused),
        cmocka_unit_test(lengths_are_counted_in_characters_or_bytes),
    };

    return cmocka_run_group_tests(tests, make_world, end_world);
}

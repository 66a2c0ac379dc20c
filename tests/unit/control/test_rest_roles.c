/* Who may do what: every role against one route of every kind, and what a data-plane host may
 * see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/control_fixture.h"

#define CP       "497f6eca-6276-4993-bfeb-53cbbbba6f08"
#define OTHER_CP "6c1f1d3e-0000-4000-8000-00000000000b"
#define CORE     "/v2/control-planes/" CP "/core-entities"
#define OTHER    "/v2/control-planes/" OTHER_CP "/core-entities"

enum caller { ADMIN, CP_ADMIN, BOUND_ADMIN, VIEWER, DATA_PLANE, CALLERS };

struct world {
    struct fixture *fixture;
    char realm[UUID_TEXT_SIZE];
    char hidden[UUID_TEXT_SIZE]; /* a realm that no control plane may use */
    char tokens[CALLERS][AUTH_SECRET_SIZE];
};

static void make_token(struct world *world, enum caller caller, const char *role, const char *cp)
{
    (void)snprintf(world->tokens[caller], AUTH_SECRET_SIZE, "%s",
                   fixture_make_token(world->fixture, role, cp));
}

static void make_legacy_key(struct fixture *f, const char *realm)
{
    char consumer[UUID_TEXT_SIZE];

    fixture_make_consumer(f, realm, "u", consumer);
    json_decref(fixture_callf(f, 201, "POST", "{\"type\":\"legacy\",\"secret\":\"k\"}",
                              "/v1/realms/%s/consumers/%s/keys", realm, consumer));
}

static int make_world(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    json_t *hidden;

    world->fixture = fixture_start(NULL);
    fixture_make_realm(world->fixture, "prod", CP, world->realm);
    make_legacy_key(world->fixture, world->realm);
    hidden = fixture_call(world->fixture, 201, "POST", "/v1/realms", "{\"name\":\"hidden\"}");
    (void)snprintf(world->hidden, UUID_TEXT_SIZE, "%s",
                   json_string_value(json_object_get(hidden, "id")));
    json_decref(hidden);
    make_legacy_key(world->fixture, world->hidden);
    (void)snprintf(world->tokens[ADMIN], AUTH_SECRET_SIZE, FIXTURE_ADMIN);
    make_token(world, CP_ADMIN, "control-plane-admin", NULL);
    make_token(world, BOUND_ADMIN, "control-plane-admin", CP);
    make_token(world, VIEWER, "viewer", NULL);
    make_token(world, DATA_PLANE, "data-plane", CP);
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

static long status_of(struct world *world, enum caller caller, const char *method, const char *path,
                      const char *body)
{
    char full[512];
    const char *mark = strstr(path, "%R");
    struct reply *reply;
    long status;

    if (mark != NULL)
        (void)snprintf(full, sizeof(full), "%.*s%s%s", (int)(mark - path), path, world->realm,
                       mark + 2);
    else
        (void)snprintf(full, sizeof(full), "%s", path);
    reply = fixture_request(world->fixture, world->tokens[caller], method, full, NULL, body,
                            body != NULL ? strlen(body) : 0);
    status = reply->status;
    reply_free(reply);
    return status;
}

/* {} is a bad body (400) to whoever may try, so that no row changes anything for the next. */
static void each_role_may_do_what_the_table_says(void **state)
{
    static const struct {
        const char *method;
        const char *path;
        const char *body;
        long status[CALLERS]; /* admin, cp admin, bound cp admin, viewer, data plane */
    } rows[] = {
        {"GET", "/v1/realms", NULL, {200, 200, 200, 200, 403}},
        {"POST", "/v1/realms", "{}", {400, 400, 400, 403, 403}},
        {"PATCH", "/v1/realms/%R", "{}", {200, 200, 200, 403, 403}},
        {"GET", "/v1/realms/%R/consumers", NULL, {200, 200, 200, 200, 403}},
        {"POST", "/v1/realms/%R/consumers", "{}", {400, 400, 400, 403, 403}},
        {"POST", "/v1/realms/%R/auth", "{\"secret\":\"k\"}", {200, 200, 200, 403, 200}},
        {"POST", "/v1/realms/%R/auth", "{\"secret\":\"x\"}", {404, 404, 404, 403, 404}},
        {"GET", CORE "/consumers", NULL, {200, 200, 200, 200, 403}},
        {"POST", CORE "/consumers", "{}", {400, 400, 400, 403, 403}},
        {"GET", CORE "/consumer_groups", NULL, {200, 200, 200, 200, 403}},
        {"POST", CORE "/consumer_groups", "{}", {400, 400, 400, 403, 403}},
        {"GET", OTHER "/consumers", NULL, {200, 200, 403, 200, 403}},
        {"POST", OTHER "/consumers", "{}", {400, 400, 403, 403, 403}},
        {"GET", "/v2/control-planes/x/core-entities/consumers", NULL, {400, 400, 400, 400, 403}},
        {"GET", "/v1/tokens", NULL, {200, 403, 403, 403, 403}},
        {"POST", "/v1/tokens", "{}", {400, 403, 403, 403, 403}},
        {"DELETE", "/v1/tokens/" CP, NULL, {404, 403, 403, 403, 403}},
        {"GET", "/v1/hosts", NULL, {200, 200, 200, 200, 403}},
        {"GET", "/v1/epoch", NULL, {200, 200, 200, 200, 403}},
        {"POST", "/v1/epoch/accept", "{}", {400, 403, 403, 403, 403}},
        {"GET", "/v1/sync/snapshots/x", NULL, {403, 403, 403, 403, 404}},
        {"HEAD", "/v1/sync/snapshots/x", NULL, {403, 403, 403, 403, 404}},
        {"GET", "/v1/sync/feed?host=h&control_plane_id=" OTHER_CP, NULL, {403, 403, 403, 403, 403}},
        {"GET", "/v1/sync/feed", NULL, {403, 403, 403, 403, 400}},
        {"POST", "/v1/sync/ack", "{}", {403, 403, 403, 403, 400}},
        {"POST", "/v1/sync/auth", "{}", {403, 403, 403, 403, 400}},
        {"POST",
         "/v1/sync/auth",
         "{\"control_plane_id\":\"" CP "\",\"secret\":\"k\"}",
         {403, 403, 403, 403, 200}},
        {"POST",
         "/v1/sync/auth",
         "{\"control_plane_id\":\"" OTHER_CP "\",\"secret\":\"k\"}",
         {403, 403, 403, 403, 403}},
        {"GET", "/healthz", NULL, {200, 200, 200, 200, 200}},
    };
    struct world *world = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int caller = 0; caller < CALLERS; caller++) {
            long status =
                status_of(world, (enum caller)caller, rows[i].method, rows[i].path, rows[i].body);

            if (status != rows[i].status[caller])
                fail_msg("%s %s as %d: %ld, not %ld", rows[i].method, rows[i].path, caller, status,
                         rows[i].status[caller]);
        }
    }
}

static void host_is_not_told_of_realms_that_are_not_for_it(void **state)
{
    struct world *world = *state;
    static const char body[] = "{\"secret\":\"k\"}";
    char path[128];

    (void)snprintf(path, sizeof(path), "/v1/realms/%s/auth", world->hidden);
    assert_int_equal(status_of(world, ADMIN, "POST", path, body), 200);
    assert_int_equal(status_of(world, DATA_PLANE, "POST", path, body), 404);
    json_decref(fixture_callf(world->fixture, 200, "PATCH", "{\"allow_all_control_planes\":true}",
                              "/v1/realms/%s", world->hidden));
    assert_int_equal(status_of(world, DATA_PLANE, "POST", path, body), 200);
    json_decref(
        fixture_callf(world->fixture, 200, "PATCH",
                      "{\"allow_all_control_planes\":false,\"allowed_control_planes\":[\"*\"]}",
                      "/v1/realms/%s", world->hidden));
    assert_int_equal(status_of(world, DATA_PLANE, "POST", path, body), 200);
    json_decref(fixture_callf(world->fixture, 200, "PATCH",
                              "{\"allowed_control_planes\":[\"" OTHER_CP "\"]}", "/v1/realms/%s",
                              world->hidden));
    assert_int_equal(status_of(world, DATA_PLANE, "POST", path, body), 404);
}

static void scheme_is_taken_in_any_case_and_a_longer_token_is_another_one(void **state)
{
    static const struct {
        const char *header;
        long status;
    } rows[] = {
        {"Authorization: bearer " FIXTURE_ADMIN, 200},
        {"Authorization: BEARER   " FIXTURE_ADMIN, 200},
        {"Authorization: Bearer " FIXTURE_ADMIN "x", 401},
        {"Authorization: Bearer " FIXTURE_ADMIN " x", 401},
        {"Authorization: Bearer" FIXTURE_ADMIN, 401},
        {"Authorization: Token " FIXTURE_ADMIN, 401},
    };
    struct world *world = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct reply *reply =
            fixture_request(world->fixture, NULL, "GET", "/v1/realms", rows[i].header, NULL, 0);

        if (reply->status != rows[i].status)
            fail_msg("%s: %ld", rows[i].header, reply->status);
        reply_free(reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_role_may_do_what_the_table_says),
        cmocka_unit_test(host_is_not_told_of_realms_that_are_not_for_it),
        cmocka_unit_test(scheme_is_taken_in_any_case_and_a_longer_token_is_another_one),
    };

    return cmocka_run_group_tests(tests, make_world, end_world);
}

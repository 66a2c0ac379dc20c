/* POST /v1/sync/auth: what a host is told about one key, and as of which version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "tests/lib/control_fixture.h"

#define CP "497f6eca-6276-4993-bfeb-53cbbbba6f08"

struct world {
    struct fixture *fixture;
    char token[AUTH_SECRET_SIZE];
    char realm[UUID_TEXT_SIZE];
    char consumer[UUID_TEXT_SIZE];
};

static int make_world(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    json_t *realm;

    assert_non_null(world);
    world->fixture = fixture_start(NULL);
    realm = fixture_call(world->fixture, 201, "POST", "/v1/realms",
                         "{\"name\":\"prod\",\"ttl\":7,\"negative_ttl\":8,"
                         "\"consumer_groups\":[\"gold\"],"
                         "\"allowed_control_planes\":[\"" CP "\"]}");
    (void)snprintf(world->realm, UUID_TEXT_SIZE, "%s",
                   json_string_value(json_object_get(realm, "id")));
    json_decref(realm);
    fixture_make_consumer(world->fixture, world->realm, "Alice", world->consumer);
    (void)snprintf(world->token, AUTH_SECRET_SIZE, "%s",
                   fixture_make_token(world->fixture, "data-plane", CP));
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

/* The key's id is to be freed. */
static char *make_key(struct world *world, const char *body)
{
    json_t *key = fixture_callf(world->fixture, 201, "POST", body,
                                "/v1/realms/%s/consumers/%s/keys", world->realm, world->consumer);
    char *id = strdup(json_string_value(json_object_get(key, "id")));

    json_decref(key);
    assert_non_null(id);
    return id;
}

/* `realm` NULL: the control plane's own consumers. */
static json_t *ask(struct world *world, const char *realm, const char *secret)
{
    json_t *question =
        json_pack("{s:s, s:s, s:s*}", "control_plane_id", CP, "secret", secret, "realm_id", realm);
    char *body = json_dumps(question, 0);
    struct reply *reply;
    json_t *answer;

    assert_non_null(body);
    reply = fixture_request(world->fixture, world->token, "POST", "/v1/sync/auth", NULL, body,
                            strlen(body));
    if (reply->status != 200)
        fail_msg("%ld: %s", reply->status, reply->body);
    answer = json_incref(reply->json);
    reply_free(reply);
    json_decref(question);
    free(body);
    return answer;
}

static const char *text_of(const json_t *answer, const char *member, const char *inner)
{
    const json_t *value = json_object_get(answer, member);

    return json_string_value(inner != NULL ? json_object_get(value, inner) : value);
}

static int64_t number_of(const json_t *answer, const char *member)
{
    return json_integer_value(json_object_get(answer, member));
}

static void assert_not_found(json_t *answer)
{
    assert_string_equal(text_of(answer, "result", NULL), "not_found");
    assert_null(json_object_get(answer, "consumer"));
    json_decref(answer);
}

static void known_key_is_answered_with_its_consumer_and_the_times(void **state)
{
    struct world *world = *state;
    char *id = make_key(world, "{\"type\":\"legacy\",\"secret\":\"known\"}");
    json_t *answer = ask(world, world->realm, "known");
    const json_t *credential = json_object_get(answer, "credential");

    assert_string_equal(text_of(answer, "result", NULL), "found");
    assert_string_equal(text_of(answer, "realm_name", NULL), "prod");
    assert_string_equal(text_of(answer, "consumer", "id"), world->consumer);
    assert_string_equal(text_of(answer, "consumer", "username"), "Alice");
    assert_true(json_is_null(json_object_get(json_object_get(answer, "consumer"), "custom_id")));
    assert_string_equal(text_of(answer, "credential", "id"), id);
    assert_int_equal(number_of(credential, "expires_at_ms"), 0);
    assert_int_equal(number_of(answer, "ttl"), 7);
    assert_int_equal(number_of(answer, "negative_ttl"), 8);
    json_decref(answer);
    free(id);
}

static void answer_says_at_which_version_it_was_true(void **state)
{
    struct world *world = *state;
    json_t *before = ask(world, world->realm, "later");
    char *id = make_key(world, "{\"type\":\"legacy\",\"secret\":\"later\"}");
    json_t *after = ask(world, world->realm, "later");
    struct error err = ERROR_INIT;
    struct repo_head head;
    char epoch[UUID_TEXT_SIZE];

    assert_int_equal(repo_head(world->fixture->repo, &head, &err), 0);
    assert_int_equal(number_of(after, "version"), head.version);
    assert_int_equal(number_of(before, "version"), head.version - 1);
    assert_string_equal(text_of(after, "epoch", NULL), uuid_format(&head.epoch, epoch));
    assert_string_equal(text_of(after, "result", NULL), "found");
    assert_not_found(before);
    json_decref(after);
    free(id);
}

static void revoked_key_is_not_found(void **state)
{
    struct world *world = *state;
    char *revoked = make_key(world, "{\"type\":\"legacy\",\"secret\":\"revoked\"}");

    json_decref(fixture_callf(world->fixture, 204, "DELETE", NULL,
                              "/v1/realms/%s/consumers/%s/keys/%s", world->realm, world->consumer,
                              revoked));
    assert_not_found(ask(world, world->realm, "revoked"));
    free(revoked);
}

static void own_consumers_are_asked_for_without_a_realm(void **state)
{
    struct world *world = *state;
    json_t *answer;

    json_decref(fixture_call(world->fixture, 201, "POST",
                             "/v2/control-planes/" CP "/core-entities/consumers",
                             "{\"username\":\"Izumi\",\"consumer_groups\":[\"silver\"]}"));
    json_decref(fixture_call(world->fixture, 201, "POST",
                             "/v2/control-planes/" CP "/core-entities/consumers/Izumi/key-auth",
                             "{\"key\":\"own\",\"ttl\":3600}"));
    assert_not_found(ask(world, world->realm, "own"));
    answer = ask(world, NULL, "own");
    assert_string_equal(text_of(answer, "consumer", "username"), "Izumi");
    assert_true(json_is_null(json_object_get(answer, "realm_name")));
    assert_true(number_of(json_object_get(answer, "credential"), "expires_at_ms") >
                clock_wall_ms());
    json_decref(answer);
}

/* What a host may not use is answered like what does not exist. */
static void realms_of_others_and_unknown_ones_know_no_key(void **state)
{
    struct world *world = *state;
    json_t *hidden = fixture_call(world->fixture, 201, "POST", "/v1/realms", "{\"name\":\"dark\"}");
    const char *realm = json_string_value(json_object_get(hidden, "id"));
    char consumer[UUID_TEXT_SIZE];

    fixture_make_consumer(world->fixture, realm, "Eve", consumer);
    json_decref(fixture_callf(world->fixture, 201, "POST",
                              "{\"type\":\"legacy\",\"secret\":\"hidden\"}",
                              "/v1/realms/%s/consumers/%s/keys", realm, consumer));
    assert_not_found(ask(world, realm, "hidden"));
    assert_not_found(ask(world, CP, "hidden"));
    json_decref(fixture_callf(world->fixture, 200, "PATCH",
                              "{\"allowed_control_planes\":[\"" CP "\"]}", "/v1/realms/%s", realm));
    json_decref(ask(world, realm, "hidden"));
    json_decref(hidden);
}

static void longer_secrets_than_any_key_are_not_found(void **state)
{
    struct world *world = *state;
    char secret[MODEL_SECRET_MAX + 2];

    memset(secret, 'x', sizeof(secret));
    secret[MODEL_SECRET_MAX + 1] = 0;
    assert_not_found(ask(world, world->realm, secret));
    assert_not_found(ask(world, NULL, secret));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_key_is_answered_with_its_consumer_and_the_times),
        cmocka_unit_test(answer_says_at_which_version_it_was_true),
        cmocka_unit_test(revoked_key_is_not_found),
        cmocka_unit_test(own_consumers_are_asked_for_without_a_realm),
        cmocka_unit_test(realms_of_others_and_unknown_ones_know_no_key),
        cmocka_unit_test(longer_secrets_than_any_key_are_not_found),
    };

    return cmocka_run_group_tests(tests, make_world, end_world);
}

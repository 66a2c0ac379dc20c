/* The REST API's door: who comes in before a byte of the body, and on whose account. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/control_fixture.h"
#include "tests/lib/raw_client.h"

#define CP       "497f6eca-6276-4993-bfeb-53cbbbba6f08"
#define OTHER_CP "597f6eca-6276-4993-bfeb-53cbbbba6f08"

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

static struct http_stats stats_of(struct fixture *fixture)
{
    struct http_stats stats;

    http_stats(fixture->http, &stats);
    return stats;
}

static int begin_post(struct fixture *fixture, const char *path, const char *token, size_t length)
{
    char head[512];
    int fd = raw_dial(raw_port_of(fixture->url));

    (void)snprintf(head, sizeof(head),
                   "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s%s%sContent-Length: "
                   "%zu\r\n\r\n",
                   path, token != NULL ? "Authorization: Bearer " : "", token != NULL ? token : "",
                   token != NULL ? "\r\n" : "", length);
    raw_say(fd, head);
    return fd;
}

static void assert_answer(int fd, const char *start)
{
    char *answer = raw_hear(fd, NULL, NULL);

    if (strncmp(answer, start, strlen(start)) != 0)
        fail_msg("'%s' instead of '%s'", answer, start);
    free(answer);
    (void)close(fd);
}

/* No byte of these bodies is ever sent. */
static void refusals_come_before_the_body(void **state)
{
    struct fixture *f = *state;
    char viewer[128];

    (void)snprintf(viewer, sizeof(viewer), "%s", fixture_make_token(f, "viewer", NULL));
    assert_answer(begin_post(f, "/v1/realms", NULL, 10), "HTTP/1.1 401");
    assert_answer(begin_post(f, "/v1/realms", "wrong-wrong-wrong-wrong", 10), "HTTP/1.1 401");
    assert_answer(begin_post(f, "/v1/realms", viewer, 10), "HTTP/1.1 403");
    assert_answer(begin_post(f, "/v1/nothing", FIXTURE_ADMIN, 10), "HTTP/1.1 404");
    assert_answer(begin_post(f, "/v1/sync/feed", FIXTURE_ADMIN, 10), "HTTP/1.1 405");
    assert_answer(begin_post(f, "/v1/realms", FIXTURE_ADMIN, 2 << 20), "HTTP/1.1 413");
    assert_int_equal(stats_of(f).body_bytes, 0);
}

static void token_that_is_revoked_while_its_body_is_on_the_way_changes_nothing(void **state)
{
    static const char body[] = "{\"name\":\"late\"}";
    struct fixture *f = *state;
    json_t *tokens;
    const json_t *list;
    char *secret;
    int fd;

    secret = strdup(fixture_make_token(f, "org-admin", NULL));
    fd = begin_post(f, "/v1/realms", secret, strlen(body));
    while (stats_of(f).body_bytes != strlen(body)) /* it was let in */
        (void)poll(NULL, 0, 1);
    tokens = fixture_call(f, 200, "GET", "/v1/tokens", NULL);
    list = json_object_get(tokens, "data");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_object_get(json_array_get(list, i), "id");

        json_decref(fixture_callf(f, 204, "DELETE", NULL, "/v1/tokens/%s", json_string_value(id)));
    }
    json_decref(tokens);
    raw_say(fd, body);
    assert_answer(fd, "HTTP/1.1 401");
    free(secret);
}

static void public_paths_take_no_body(void **state)
{
    assert_answer(begin_post(*state, "/healthz", FIXTURE_ADMIN, 10), "HTTP/1.1 405");
    assert_int_equal(stats_of(*state).body_bytes, 0);
}

static void connections_are_on_the_account_of_who_is_at_the_other_end(void **state)
{
    struct fixture *f = *state;
    const char *token = fixture_make_token(f, "data-plane", CP);
    char head[512];
    int fd = raw_dial(raw_port_of(f->url));

    (void)snprintf(head, sizeof(head),
                   "GET /v1/sync/snapshots/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                   "%s\r\n\r\n",
                   token);
    raw_say(fd, head);
    free(raw_hear(fd, "}", NULL));
    assert_int_equal(stats_of(f).by_class[HTTP_HOST], 1);
    (void)close(fd);
    while (stats_of(f).by_class[HTTP_HOST] > 0)
        (void)poll(NULL, 0, 1);
}

/* Each token of its own could hold half of the hosts' room, and two of them all of it. */
static void slow_bodies_of_two_tokens_of_a_tenant_leave_room_for_another(void **state)
{
    enum { CROWD = 260, BODY = 64 * 1024, HALF = 8 * 1024 * 1024 };
    static const char body[] = "{}";
    struct fixture *f = *state;
    const uint64_t refused = stats_of(f).refused_busy;
    char *tokens[3];
    int crowd[CROWD];
    int fd;

    for (int i = 0; i < 3; i++)
        tokens[i] = strdup(fixture_make_token(f, "data-plane", i < 2 ? CP : OTHER_CP));
    for (int i = 0; i < CROWD; i++)
        crowd[i] = begin_post(f, "/v1/sync/ack", tokens[i % 2], BODY);
    while (stats_of(f).refused_busy - refused < CROWD - HALF / BODY)
        (void)poll(NULL, 0, 1);
    assert_int_equal(stats_of(f).body_bytes, HALF);
    fd = begin_post(f, "/v1/sync/ack", tokens[2], strlen(body));
    raw_say(fd, body);
    assert_answer(fd, "HTTP/1.1 400"); /* it was read */
    for (int i = 0; i < CROWD; i++)
        (void)close(crowd[i]);
    while (stats_of(f).body_bytes > 0)
        (void)poll(NULL, 0, 1);
    for (int i = 0; i < 3; i++)
        free(tokens[i]);
}

static struct reply *ask_wrongly(struct fixture *fixture)
{
    return fixture_request(fixture, "wrong-wrong-wrong-wrong", "GET", "/v1/realms", NULL, NULL, 0);
}

static void failures_are_told_to_wait_with_a_time(void **state)
{
    const struct fixture_options options = {.auth_failures = 5};
    struct fixture *f = fixture_start(&options);
    struct reply *reply = ask_wrongly(f);

    (void)state;
    for (int i = 0; i < 100 && reply->status == 401; i++) {
        reply_free(reply);
        reply = ask_wrongly(f);
    }
    assert_int_equal(reply->status, 429);
    assert_non_null(strstr(reply->headers, "Retry-After: "));
    assert_null(strstr(reply->headers, "Retry-After: 0"));
    reply_free(reply);
    reply = fixture_request(f, FIXTURE_ADMIN, "GET", "/v1/realms", NULL, NULL, 0);
    assert_int_equal(reply->status, 200);
    reply_free(reply);
    fixture_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_come_before_the_body),
        cmocka_unit_test(token_that_is_revoked_while_its_body_is_on_the_way_changes_nothing),
        cmocka_unit_test(public_paths_take_no_body),
        cmocka_unit_test(connections_are_on_the_account_of_who_is_at_the_other_end),
        cmocka_unit_test(slow_bodies_of_two_tokens_of_a_tenant_leave_room_for_another),
        cmocka_unit_test(failures_are_told_to_wait_with_a_time),
    };

    return cmocka_run_group_tests(tests, start, stop);
}

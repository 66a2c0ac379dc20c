/* test_session_http.c - a session whose source refuses, redirects, is silent or drips, and what its
 * other URLs are for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/session_world.h"

/* The first answer is world->text from the status line on. */
static void raw_first(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth > 1) {
        source_answer_well(world, reply);
        return;
    }
    assert_int_equal(buffer_append_string(&reply->bytes, world->text), 0);
    reply->then = FAKE_CLOSE;
}

static void assert_status_fails(const char *text, int code, const char *says)
{
    struct session_world world = {.text = text};

    session_world_start(&world, raw_first, 1);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, code);
    if (strstr(world.last_error.message, says) == NULL)
        fail_msg("\"%s\" is not in: %s", says, world.last_error.message);
    session_world_finish(&world);
}

static void refusals_are_told_with_the_reason_of_the_source(void **state)
{
    (void)state;
    assert_status_fails("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"
                        "Content-Length: 0\r\n\r\n",
                        E_PROTOCOL, "redirect (302)");
    assert_status_fails("HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\n"
                        "Connection: close\r\n\r\n"
                        "{\"status\":401,\"title\":\"Unauthorized\",\"detail\":\"no such token\"}",
                        E_UNAUTHORIZED, "answered 401: no such token");
    assert_status_fails("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nnot JSON",
                        E_UNAUTHORIZED, "answered 403");
    assert_status_fails("HTTP/1.1 410 Gone\r\nConnection: close\r\n\r\n", E_PROTOCOL,
                        "answered 410");
    assert_status_fails("HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n",
                        E_NETWORK, "answered 500");
    assert_status_fails("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n", E_NETWORK,
                        "answered 503");
    assert_status_fails("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", E_NETWORK,
                        "ended the feed");
    assert_status_fails("SSH-2.0-OpenSSH_9.2p1\r\n", E_PROTOCOL, "HTTP/0.9");
    assert_status_fails("", E_NETWORK, "");
}

struct stranger {
    _Atomic unsigned asked;
};

static void note_strayed(void *context, const struct fake_request *request,
                         struct fake_reply *reply)
{
    struct stranger *stranger = context;

    (void)request;
    stranger->asked++;
    fake_head(&reply->bytes, "200 OK", "");
}

/* Every kind of redirect, to another host's open port: no request, and so no token, gets there. */
static void token_follows_no_redirect(void **state)
{
    static const char *const kinds[] = {"301 Moved Permanently", "302 Found", "303 See Other",
                                        "307 Temporary Redirect", "308 Permanent Redirect"};
    struct stranger stranger = {0};
    struct fake_source *fake = fake_source_start(note_strayed, &stranger, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char text[256];

        (void)snprintf(text, sizeof(text),
                       "HTTP/1.1 %s\r\nLocation: %s/v1/sync/feed\r\nContent-Length: 0\r\n\r\n",
                       kinds[i], fake_source_url(fake));
        assert_status_fails(text, E_PROTOCOL, "redirect");
    }
    assert_int_equal(stranger.asked, 0);
    fake_source_stop(fake);
}

static void retry_after_is_heeded_up_to_its_limit(void **state)
{
    struct session_world world = {.text = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\n"
                                          "Connection: close\r\n\r\n"};

    (void)state;
    session_world_start(&world, raw_first, 1);
    session_world_run_until(&world, session_world_has_failed);
    assert_in_range(world.last_delay_ms, session_world_limits.retry_after_max_ms,
                    session_world_limits.retry_after_max_ms + session_world_limits.backoff_max_ms);
    session_world_run_until(&world, session_world_is_current);
    session_world_finish(&world);
}

static void raw_always(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    (void)nth;
    assert_int_equal(buffer_append_string(&reply->bytes, world->text), 0);
    reply->then = world->text[0] != 0 ? FAKE_CLOSE : FAKE_HOLD;
}

/* A first URL that refuses, asks for an hour's patience, is silent: the second one takes over
 * without waiting for what was meant for the first. */
static void next_url_takes_over_whatever_the_first_one_says(void **state)
{
    static const char *const texts[] = {
        "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 410 Gone\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nConnection: close\r\n\r\n",
        "",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct session_world world = {
            .two_urls = true, .text = texts[i], .second_script = source_always_well};

        session_world_start(&world, raw_always, 1);
        session_world_run_until(&world, session_world_is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.feeds, 1);
        assert_int_equal(world.second_feeds, 1);
        assert_in_range(world.last_delay_ms, 0, session_world_limits.backoff_min_ms);
        session_world_finish(&world);
    }
}

static void hold_well(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    source_answer_well(world, reply);
    reply->then = nth == 1 ? FAKE_HOLD : FAKE_CLOSE;
}

/* The first one streams, then falls silent; the second one goes on from the cursor. */
static void silent_stream_is_gone_on_with_at_the_next_url(void **state)
{
    struct session_world world = {.two_urls = true, .second_script = source_always_well};

    (void)state;
    session_world_start(&world, hold_well, 1);
    session_world_run_until(&world, session_world_is_current);
    session_world_run_until(&world, session_world_has_failed);
    assert_int_equal(world.last_error.code, E_TIMEOUT);
    world.heartbeats = 0;
    session_world_run_until(&world, session_world_is_streaming);
    assert_int_equal(world.asked, NEWEST);
    assert_int_equal(world.second_feeds, 1);
    assert_int_equal(world.snapshots, 0);
    session_world_finish(&world);
}

static void stall_first(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    source_answer_well(world, reply);
    if (nth > 1)
        return;
    reply->then = FAKE_HOLD;
    reply->bytes.size = world->cut < reply->bytes.size ? world->cut : reply->bytes.size;
}

static void silence_is_a_dead_source_before_and_after_the_hello(void **state)
{
    static const size_t cuts[] = {0, 40, 90, 500};

    (void)state;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct session_world world = {.cut = cuts[i]};

        session_world_start(&world, stall_first, 1);
        session_world_run_until(&world, session_world_is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.last_error.code, E_TIMEOUT);
        session_world_finish(&world);
    }
}

static void drip_first(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth > 1) {
        source_answer_well(world, reply);
        return;
    }
    source_put_ok(&reply->bytes);
    source_put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_1, 1);
    source_put_transaction(&reply->bytes, 1, 2);
    reply->drip_ms = world->cut == 0 ? 10 : 0;
    if (world->cut != 0) { /* a session_world_limits hello, then spaces for ever */
        assert_int_equal(buffer_append_zero(&reply->bytes, 1, NULL), 0);
        reply->then = FAKE_HOLD;
    }
}

static void source_that_drips_its_hello_times_out(void **state)
{
    struct session_world world = {.cut = 0};

    (void)state;
    session_world_start(&world, drip_first, 1);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, E_TIMEOUT);
    session_world_finish(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_are_told_with_the_reason_of_the_source),
        cmocka_unit_test(token_follows_no_redirect),
        cmocka_unit_test(retry_after_is_heeded_up_to_its_limit),
        cmocka_unit_test(next_url_takes_over_whatever_the_first_one_says),
        cmocka_unit_test(silent_stream_is_gone_on_with_at_the_next_url),
        cmocka_unit_test(silence_is_a_dead_source_before_and_after_the_hello),
        cmocka_unit_test(source_that_drips_its_hello_times_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* sync/session_core.h and sync/url.h: what a session decides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "sync/session_core.h"
#include "sync/url.h"

static const struct session_limits limits = {
    .silence_min_ms = 200,
    .ack_interval_max_ms = 1000,
    .silence_max_ms = 60000,
    .backoff_min_ms = 250,
    .backoff_max_ms = 30000,
    .retry_after_max_ms = 300000,
};

static void every_state_fails_to_backoff_and_stops_to_idle(void **state)
{
    (void)state;
    for (int from = SESSION_IDLE; from < SESSION_STATES; from++) {
        assert_int_equal(session_next_state(from, SESSION_EVENT_STOP), SESSION_IDLE);
        assert_int_equal(session_next_state(from, SESSION_EVENT_FAILED),
                         from == SESSION_IDLE ? SESSION_STATES : SESSION_BACKOFF);
    }
}

static void the_good_way_is_the_only_way(void **state)
{
    static const struct {
        enum session_state from;
        enum session_event event;
        enum session_state to;
    } ways[] = {
        {SESSION_IDLE, SESSION_EVENT_START, SESSION_DRAINING},
        {SESSION_DRAINING, SESSION_EVENT_DRAINED, SESSION_CONNECTING},
        {SESSION_CONNECTING, SESSION_EVENT_HELLO, SESSION_STREAMING},
        {SESSION_STREAMING, SESSION_EVENT_RESYNC, SESSION_SNAPSHOT},
        {SESSION_CONNECTING, SESSION_EVENT_RECONNECT, SESSION_DRAINING},
        {SESSION_STREAMING, SESSION_EVENT_RECONNECT, SESSION_DRAINING},
        {SESSION_SNAPSHOT, SESSION_EVENT_RECEIVED, SESSION_DRAINING},
        {SESSION_BACKOFF, SESSION_EVENT_TIMER, SESSION_DRAINING},
        {SESSION_BACKOFF, SESSION_EVENT_RETRY, SESSION_SNAPSHOT},
    };
    enum { WAYS = sizeof(ways) / sizeof(ways[0]) };
    unsigned allowed = 0;

    (void)state;
    for (size_t i = 0; i < WAYS; i++)
        assert_int_equal(session_next_state(ways[i].from, ways[i].event), ways[i].to);
    for (int from = 0; from < SESSION_STATES; from++) {
        for (int event = 0; event < SESSION_EVENTS; event++)
            allowed += event != SESSION_EVENT_FAILED && event != SESSION_EVENT_STOP &&
                       session_next_state(from, event) != SESSION_STATES;
    }
    assert_int_equal(allowed, WAYS);
}

static void every_state_has_a_name(void **state)
{
    (void)state;
    for (int i = 0; i < SESSION_STATES; i++)
        assert_true(strlen(session_state_text(i)) > 0);
}

static void acknowledgements_keep_a_share_of_the_heartbeat_period_apart(void **state)
{
    (void)state;
    assert_int_equal(session_ack_interval_ms(&limits, 2000, 0), 250);
    assert_int_equal(session_ack_interval_ms(&limits, 2000, UINT32_MAX), 750);
    assert_int_equal(session_ack_interval_ms(&limits, 0, UINT32_MAX), 0);
    assert_int_equal(session_ack_interval_ms(&limits, UINT32_MAX, 0), 500);
    assert_int_equal(session_ack_interval_ms(&limits, UINT32_MAX, UINT32_MAX), 1500);
}

static void silence_is_three_heartbeats_within_bounds(void **state)
{
    (void)state;
    assert_int_equal(session_silence_ms(&limits, 2000), 6000);
    assert_int_equal(session_silence_ms(&limits, 1), 200);
    assert_int_equal(session_silence_ms(&limits, 20000), 60000);
    assert_int_equal(session_silence_ms(&limits, UINT32_MAX), 60000);
}

static uint32_t longest(unsigned failures, unsigned urls)
{
    struct session_trouble trouble = {.failures = failures, .urls = urls};

    return session_delay_ms(&limits, &trouble, UINT32_MAX);
}

static void delay_doubles_up_to_its_limit_with_full_jitter(void **state)
{
    struct session_trouble trouble = {.failures = 4, .urls = 1};

    (void)state;
    assert_int_equal(longest(1, 1), 250);
    assert_int_equal(longest(2, 1), 500);
    assert_int_equal(longest(7, 1), 16000);
    assert_int_equal(longest(8, 1), 30000);
    assert_int_equal(longest(9, 1), 30000);
    assert_int_equal(longest(UINT32_MAX, 1), 30000);
    assert_int_equal(session_delay_ms(&limits, &trouble, 0), 0);
    assert_in_range(session_delay_ms(&limits, &trouble, UINT32_MAX / 2), 990, 1010);
}

static void each_url_is_tried_before_the_delay_grows(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(longest(i, 3), 250);
    assert_int_equal(longest(4, 3), 500);
}

static void refusal_waits_long_and_retry_after_is_a_bounded_floor(void **state)
{
    (void)state;
    assert_int_equal(session_url_hold_ms(&limits, false, 0, UINT32_MAX), 0);
    assert_int_equal(session_url_hold_ms(&limits, true, 0, 0), 15000);
    assert_int_equal(session_url_hold_ms(&limits, true, 0, UINT32_MAX), 30000);
    assert_int_equal(session_url_hold_ms(&limits, false, 5000, UINT32_MAX), 5000);
    assert_int_equal(session_url_hold_ms(&limits, true, 20000, 0), 20000);
    assert_int_equal(session_url_hold_ms(&limits, false, INT64_MAX, 0), 300000);
}

static void floor_is_under_the_jitter(void **state)
{
    struct session_trouble trouble = {.failures = 1, .urls = 1, .floor_ms = 5000};

    (void)state;
    assert_int_equal(session_delay_ms(&limits, &trouble, 0), 5000);
    assert_int_equal(session_delay_ms(&limits, &trouble, UINT32_MAX), 5250);
}

/* What one server wishes is no reason to leave the others alone. */
static void next_url_that_may_be_asked_is_taken_else_the_soonest(void **state)
{
    static const int64_t free_ones[] = {0, 0, 0};
    static const int64_t second_waits[] = {0, 900, 0};
    static const int64_t all_wait[] = {700, 900, 800};
    static const int64_t others_wait[] = {900, 0, 900};
    static const int64_t one[] = {900};

    (void)state;
    assert_int_equal(session_pick_url(free_ones, 3, 0, 500), 1);
    assert_int_equal(session_pick_url(free_ones, 3, 2, 500), 0);
    assert_int_equal(session_pick_url(second_waits, 3, 0, 500), 2);
    assert_int_equal(session_pick_url(second_waits, 3, 0, 900), 1);
    assert_int_equal(session_pick_url(all_wait, 3, 0, 500), 0);
    assert_int_equal(session_pick_url(all_wait, 3, 1, 750), 0);
    assert_int_equal(session_pick_url(others_wait, 3, 1, 500), 1);
    assert_int_equal(session_pick_url(one, 1, 0, 500), 0);
}

static void hello_is_waited_for_briefly_while_other_urls_are_left(void **state)
{
    (void)state;
    assert_int_equal(session_hello_ms(&limits, 0, 1), limits.hello_ms);
    assert_int_equal(session_hello_ms(&limits, 0, 2), limits.failover_ms);
    assert_int_equal(session_hello_ms(&limits, 1, 2), limits.hello_ms);
    assert_int_equal(session_hello_ms(&limits, 1, 3), limits.failover_ms);
    assert_int_equal(session_hello_ms(&limits, 2, 3), limits.hello_ms);
    assert_int_equal(session_hello_ms(&limits, 1000, 3), limits.hello_ms);
}

static void progress_needs_its_minimum_in_every_window(void **state)
{
    struct session_progress progress;

    (void)state;
    session_progress_start(&progress, 1000);
    assert_true(session_progress_add(&progress, 1500, 0, 10, 1000));
    assert_true(session_progress_add(&progress, 2000, 10, 10, 1000));
    assert_true(session_progress_add(&progress, 2999, 9, 10, 1000));
    assert_false(session_progress_add(&progress, 3000, 0, 10, 1000));
}

static void urls_of_control_planes_are_checked(void **state)
{
    static const struct {
        const char *url;
        bool plain_allowed;
        int rc;
    } cases[] = {
        {"https://us.control.example:8443", false, 0},
        {"https://us.control.example/prefix/", false, 0},
        {"http://127.0.0.1:8001", false, 0},
        {"http://127.9.9.9", false, 0},
        {"http://localhost:1", false, 0},
        {"http://LOCALHOST:1", false, 0},
        {"http://[::1]:8001/", false, 0},
        {"http://us.control.example", true, 0},
        {"http://us.control.example", false, E_CONFIG},
        {"http://128.0.0.1", false, E_CONFIG},
        {"http://127.0.0.1.example", false, E_CONFIG},
        {"http://localhost.example", false, E_CONFIG},
        {"http://127.0.0.1@evil.example", false, E_CONFIG},
        {"http://[::2]:8001/", false, E_CONFIG},
        {"https://user:secret@us.control.example", false, E_CONFIG},
        {"https://us.control.example/?x=1", false, E_CONFIG},
        {"https://us.control.example/#x", false, E_CONFIG},
        {"ftp://127.0.0.1", true, E_CONFIG},
        {"file:///etc/passwd", true, E_CONFIG},
        {"us.control.example:8443", false, E_CONFIG},
        {"https://", false, E_CONFIG},
        {"", false, E_CONFIG},
        {"https://us control.example", false, E_CONFIG},
        {"https://host:99999", false, E_CONFIG},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = ERROR_INIT;

        if (url_check(cases[i].url, cases[i].plain_allowed, &err) != cases[i].rc)
            fail_msg("%s: %s", cases[i].url, err.message);
        assert_null(strstr(err.message, "secret@"));
    }
}

static void queries_are_percent_encoded(void **state)
{
    struct buffer out;

    (void)state;
    buffer_init(&out, 1024);
    assert_int_equal(url_append_base(&out, "https://host//", "/v1/sync/feed"), 0);
    assert_int_equal(url_append_query(&out, '?', "host", "a b&c=d/\xc3\xa4-._~%"), 0);
    assert_int_equal(buffer_terminate(&out), 0);
    assert_string_equal((char *)out.data,
                        "https://host/v1/sync/feed?host=a%20b%26c%3Dd%2F%C3%A4-._~%25");
    buffer_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_fails_to_backoff_and_stops_to_idle),
        cmocka_unit_test(the_good_way_is_the_only_way),
        cmocka_unit_test(every_state_has_a_name),
        cmocka_unit_test(acknowledgements_keep_a_share_of_the_heartbeat_period_apart),
        cmocka_unit_test(silence_is_three_heartbeats_within_bounds),
        cmocka_unit_test(delay_doubles_up_to_its_limit_with_full_jitter),
        cmocka_unit_test(each_url_is_tried_before_the_delay_grows),
        cmocka_unit_test(refusal_waits_long_and_retry_after_is_a_bounded_floor),
        cmocka_unit_test(floor_is_under_the_jitter),
        cmocka_unit_test(next_url_that_may_be_asked_is_taken_else_the_soonest),
        cmocka_unit_test(hello_is_waited_for_briefly_while_other_urls_are_left),
        cmocka_unit_test(progress_needs_its_minimum_in_every_window),
        cmocka_unit_test(urls_of_control_planes_are_checked),
        cmocka_unit_test(queries_are_percent_encoded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

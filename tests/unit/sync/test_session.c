/* test_session.c - sync/session.h against a source that misbehaves: the last good state stays, the
 * reason is told once, and the session recovers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/session_world.h"

/* The first answer is world->text after the head, the others are good. */
static void text_first(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth > 1) {
        source_answer_well(world, reply);
        return;
    }
    source_put_ok(&reply->bytes);
    source_put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_1, 1);
    assert_int_equal(buffer_append_string(&reply->bytes, world->text), 0);
    reply->then = FAKE_HOLD;
}

static void session_catches_up_from_its_cursor(void **state)
{
    struct session_world world = {.late = false};

    (void)state;
    session_world_start(&world, source_always_well, 1);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.transactions, 2);
    assert_int_equal(world.changes, 4);
    assert_int_equal(world.failures, 0);
    assert_int_equal(world.snapshots, 0);
    session_world_finish(&world);
}

static void session_without_a_cursor_takes_a_snapshot_first(void **state)
{
    struct session_world world = {.late = false};

    (void)state;
    session_world_start(&world, source_always_well, 0);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.resyncs[SESSION_RESYNC_NO_CURSOR], 1);
    assert_int_equal(world.snapshots_ended, 1);
    assert_int_equal(world.records, SNAPSHOT_KEYS);
    assert_int_equal(world.transactions, 2);
    assert_int_equal(world.failures, 0);
    session_world_finish(&world);
}

static void feed_broken_off_at_any_byte_is_resumed(void **state)
{
    size_t whole = 1200; /* more than a good answer has */

    (void)state;
    for (size_t cut = 0; cut < whole; cut++) {
        struct session_world world = {.cut = cut};

        session_world_start(&world, source_cut_first, 1);
        session_world_run_until(&world, session_world_is_current);
        session_world_run_until(&world, session_world_has_failed);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.transactions, 2);
        assert_int_equal(world.snapshots, 0);
        session_world_finish(&world);
    }
}

static void assert_text_fails(const char *text, int code, enum session_resync resync)
{
    struct session_world world = {.text = text};

    session_world_start(&world, text_first, 1);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, code);
    assert_int_equal(world.failed_during, SESSION_STREAMING);
    assert_int_equal(world.transactions, 2);
    for (int i = 0; i < SESSION_RESYNCS; i++)
        assert_int_equal(world.resyncs[i], i == (int)resync);
    session_world_finish(&world);
}

#define BEGIN(prev, version)                                                                       \
    "{\"type\":\"begin\",\"prev\":" #prev ",\"version\":" #version ",\"time_ms\":1}\n"
#define CHANGE       "{\"type\":\"realm_delete\",\"number\":1}\n"
#define LATER_CHANGE "{\"type\":\"consumer_delete\",\"scope\":1,\"id\":\"" OTHER_PLANE "\"}\n"
#define COMMIT(version, changes)                                                                   \
    "{\"type\":\"commit\",\"version\":" #version ",\"changes\":" #changes "}\n"
#define HEARTBEAT(version) "{\"type\":\"heartbeat\",\"version\":" #version ",\"time_ms\":1}\n"

static void lines_out_of_place_drop_the_open_transaction(void **state)
{
    static const char *const texts[] = {
        BEGIN(1, 2) BEGIN(1, 2),
        COMMIT(2, 0),
        CHANGE,
        BEGIN(1, 2) HEARTBEAT(3),
        BEGIN(1, 2) CHANGE "{\"type\":\"resync\",\"reason\":\"too_old\"}\n",
        BEGIN(1, 2) CHANGE COMMIT(2, 2),
        BEGIN(1, 2) CHANGE COMMIT(2, 0),
        BEGIN(1, 2) CHANGE COMMIT(3, 1),
        BEGIN(1, 2) LATER_CHANGE CHANGE COMMIT(2, 2),
        BEGIN(1, 1) COMMIT(1, 0),
        BEGIN(1, 0) COMMIT(0, 0),
        HEARTBEAT(0),
        "{\"type\":\"later\"}\n",
        "\n",
        "rubbish\n",
        "{\"type\":\"heartbeat\",\"version\":3,\n",
        "{\"type\":\"hello\"}\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_text_fails(texts[i], E_PROTOCOL, SESSION_RESYNC_NONE);
}

static void skipped_or_repeated_version_is_a_gap_and_the_feed_resumed(void **state)
{
    (void)state;
    assert_text_fails(BEGIN(2, 3) CHANGE COMMIT(3, 1), E_RESYNC, SESSION_RESYNC_NONE);
    assert_text_fails(BEGIN(0, 1) CHANGE COMMIT(1, 1), E_RESYNC, SESSION_RESYNC_NONE);
}

static void gap_always(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    (void)nth;
    if (world->snapshots > 0 || world->asked == UINT64_MAX) {
        source_answer_well(world, reply);
        return;
    }
    source_put_ok(&reply->bytes);
    source_put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_1, 1);
    source_put_transaction(&reply->bytes, 0, 2);
    reply->then = FAKE_HOLD;
}

static void gap_that_repeats_asks_for_a_snapshot(void **state)
{
    struct session_world world = {.late = false};

    (void)state;
    session_world_start(&world, gap_always, 1);
    world.durable.version = 1;
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.failures, 2);
    assert_int_equal(world.resyncs[SESSION_RESYNC_GAP], 1);
    assert_int_equal(world.snapshots_ended, 1);
    session_world_finish(&world);
}

static void transaction_over_the_limit_asks_for_a_snapshot(void **state)
{
    struct session_world world = {.late = false};
    struct buffer text;

    (void)state;
    buffer_init(&text, 64 * 1024 * 1024);
    assert_int_equal(buffer_append_string(&text, BEGIN(1, 2)), 0);
    for (unsigned i = 0; i < 30000; i++)
        assert_int_equal(buffer_append_string(&text, CHANGE), 0);
    assert_int_equal(buffer_append_string(&text, COMMIT(2, 30000)), 0);
    assert_int_equal(buffer_terminate(&text), 0);
    world.text = (const char *)text.data;
    session_world_start(&world, text_first, 1);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, E_TOO_LARGE);
    assert_int_equal(world.resyncs[SESSION_RESYNC_TOO_LARGE], 1);
    session_world_finish(&world);
    buffer_finish(&text);
}

static void huge_line_first(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth > 1) {
        source_answer_well(world, reply);
        return;
    }
    source_put_ok(&reply->bytes);
    source_put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_1, 1);
    assert_int_equal(buffer_append_zero(&reply->bytes, 32 * 1024 * 1024, NULL), 0);
    reply->then = FAKE_HOLD;
}

static void line_without_end_is_refused_at_its_limit(void **state)
{
    struct session_world world = {.late = false};

    (void)state;
    session_world_start(&world, huge_line_first, 1);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, E_PROTOCOL);
    assert_non_null(strstr(world.last_error.message, "longer than"));
    session_world_finish(&world);
}

static void hello_first(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth > 1) {
        source_answer_well(world, reply);
        return;
    }
    source_put_ok(&reply->bytes);
    if (world->cut == 0)
        source_put_hello(&reply->bytes, OTHER_PLANE, EPOCH_1, 1);
    else if (world->cut == 1)
        source_put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_1, 2);
    else if (world->cut == 2)
        source_put_heartbeat(&reply->bytes);
    else
        source_put(&reply->bytes,
                   "{\"type\":\"hello\",\"protocol\":1,\"region\":\"eu\","
                   "\"control_plane_id\":\"" CONTROL_PLANE "\",\"epoch\":\"" EPOCH_1 "\","
                   "\"version\":3,\"heartbeat_ms\":200,\"digest_key\":\"" KEY_HEX "\"}\n");
    reply->then = FAKE_HOLD;
}

static void hello_of_another_plane_protocol_or_region_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct session_world world = {.cut = i};

        session_world_start(&world, hello_first, 1);
        session_world_run_until(&world, session_world_is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.last_error.code, E_PROTOCOL);
        assert_int_equal(world.failed_during, SESSION_CONNECTING);
        assert_int_equal(world.hellos, 1);
        session_world_finish(&world);
    }
}

static void full_sink_pauses_the_feed_without_loss(void **state)
{
    struct session_world world = {.full = true};

    (void)state;
    session_world_start(&world, source_always_well, 1);
    session_world_run_until(&world, session_world_has_paused);
    assert_int_equal(world.hellos, 0);
    world.full = false;
    session_resume(world.session);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.transactions, 2);
    assert_int_equal(world.failures, 0);
    session_world_finish(&world);
}

static void session_waits_for_a_busy_sink_before_it_connects(void **state)
{
    struct session_world world = {.busy = true};

    (void)state;
    session_world_start(&world, source_always_well, 1);
    assert_int_equal(session_state(world.session), SESSION_DRAINING);
    session_resume(world.session);
    assert_int_equal(session_state(world.session), SESSION_DRAINING);
    assert_int_equal(world.feeds, 0);
    world.busy = false;
    session_resume(world.session);
    session_world_run_until(&world, session_world_is_current);
    session_world_finish(&world);
}

static bool is_connecting(const struct session_world *world)
{
    return session_state(world->session) == SESSION_CONNECTING;
}

/* The first request is never answered, not even by a head. */
static void mute_first(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth > 1)
        source_answer_well(world, reply);
    else
        reply->then = FAKE_HOLD;
}

static bool has_asked(const struct session_world *world)
{
    return world->feeds >= 1;
}

/* Found wanting while the request is on its way: that one asks for nothing, or for something
 * else. */
static void wish_that_comes_while_connecting_is_asked_for_by_another_request(void **state)
{
    struct session_world world = {.late = false};

    (void)state;
    session_world_start(&world, mute_first, 1);
    session_world_run_until(&world, has_asked);
    assert_int_equal(world.asked_scope, UINT64_MAX);
    assert_int_equal(session_state(world.session), SESSION_CONNECTING);
    world.wish = (struct feed_wish){.kind = FEED_WISH_BUCKETS, .scope = 7};
    session_reconnect(world.session);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.feeds, 2);
    assert_int_equal(world.asked_scope, 7);
    assert_int_equal(world.failures, 0);
    session_world_finish(&world);
}

static void session_closes_in_every_state(void **state)
{
    static bool (*const conditions[])(const struct session_world *) = {
        is_connecting, session_world_is_streaming, session_world_has_failed, session_world_copies};
    static const feed_script scripts[] = {source_always_well, source_always_well, source_cut_first,
                                          source_always_well};
    static const uint64_t versions[] = {1, 1, 1, 0};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct session_world world = {.cut = 1};

        session_world_start(&world, scripts[i], versions[i]);
        session_world_run_until(&world, conditions[i]);
        session_world_finish(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session_catches_up_from_its_cursor),
        cmocka_unit_test(session_without_a_cursor_takes_a_snapshot_first),
        cmocka_unit_test(feed_broken_off_at_any_byte_is_resumed),
        cmocka_unit_test(lines_out_of_place_drop_the_open_transaction),
        cmocka_unit_test(skipped_or_repeated_version_is_a_gap_and_the_feed_resumed),
        cmocka_unit_test(gap_that_repeats_asks_for_a_snapshot),
        cmocka_unit_test(transaction_over_the_limit_asks_for_a_snapshot),
        cmocka_unit_test(line_without_end_is_refused_at_its_limit),
        cmocka_unit_test(hello_of_another_plane_protocol_or_region_is_refused),
        cmocka_unit_test(full_sink_pauses_the_feed_without_loss),
        cmocka_unit_test(session_waits_for_a_busy_sink_before_it_connects),
        cmocka_unit_test(wish_that_comes_while_connecting_is_asked_for_by_another_request),
        cmocka_unit_test(session_closes_in_every_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

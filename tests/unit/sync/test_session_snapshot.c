/* test_session_snapshot.c - when a session takes a snapshot, and what becomes of one that is cut,
 * damaged, gone or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/session_world.h"

static void unknown_epoch_resync(struct session_world *world, unsigned nth,
                                 struct fake_reply *reply)
{
    world->epoch = EPOCH_2;
    if (nth > 1) {
        source_answer_well(world, reply);
        return;
    }
    source_put_ok(&reply->bytes);
    source_put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_2, 1);
    if (world->cut == 0)
        source_put_resync(&reply->bytes, EPOCH_2, "unknown_epoch");
    else
        source_put_transaction(&reply->bytes, 1, 2);
}

static void restored_source_with_a_new_epoch_is_copied_anew(void **state)
{
    struct session_world world = {.cut = 0};
    struct uuid epoch;

    (void)state;
    session_world_start(&world, unknown_epoch_resync, 2);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.resyncs[SESSION_RESYNC_UNKNOWN_EPOCH], 1);
    assert_int_equal(world.failures, 0);
    assert_true(uuid_parse(EPOCH_2, &epoch));
    assert_true(uuid_equal(&world.durable.epoch, &epoch));
    session_world_finish(&world);
}

static void changes_of_another_epoch_are_never_applied(void **state)
{
    struct session_world world = {.cut = 1};

    (void)state;
    session_world_start(&world, unknown_epoch_resync, 1);
    session_world_run_until(&world, session_world_has_failed);
    assert_int_equal(world.last_error.code, E_RESYNC);
    assert_int_equal(world.transactions, 0);
    assert_int_equal(world.durable.version, 1);
    session_world_finish(&world);
}

static void other_digest_key_in_the_same_epoch_is_copied_anew(void **state)
{
    struct session_world world = {.refuse_key = true};

    (void)state;
    session_world_start(&world, source_always_well, 2);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.resyncs[SESSION_RESYNC_DIGEST_KEY], 1);
    assert_int_equal(world.snapshots_ended, 1);
    session_world_finish(&world);
}

static void resync_for_ever(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    (void)nth;
    source_put_ok(&reply->bytes);
    source_put_hello(&reply->bytes, CONTROL_PLANE, world->epoch, 1);
    source_put_resync(&reply->bytes, world->epoch, "too_old");
}

static bool has_failed_3_times(const struct session_world *world)
{
    return world->failures >= 3;
}

static void snapshots_that_do_not_help_are_not_taken_in_a_tight_loop(void **state)
{
    struct session_world world = {.late = false};

    (void)state;
    session_world_start(&world, resync_for_ever, 0);
    session_world_run_until(&world, has_failed_3_times);
    assert_int_equal(world.last_error.code, E_RESYNC);
    assert_in_range(world.snapshots, 3, 4);
    session_world_finish(&world);
}

static void snapshot_cut(struct session_world *world, struct fake_reply *reply)
{
    source_answer_snapshot(world, reply);
    if (world->snapshots > 1 || world->cut >= reply->bytes.size)
        return;
    reply->bytes.size -= world->cut;
    world->sent -= world->cut;
}

static void snapshot_cut_anywhere_goes_on_from_there(void **state)
{
    static const size_t cuts[] = {1, 2, 4, 5, 100, 20000, 300000, 500000};

    (void)state;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct session_world world = {.cut = cuts[i], .snapshot_script = snapshot_cut};

        session_world_start(&world, source_always_well, 0);
        session_world_run_until(&world, session_world_is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.failed_during, SESSION_SNAPSHOT);
        assert_int_equal(world.snapshots, 2);
        assert_int_equal(world.snapshots_begun, 1);
        assert_int_equal(world.snapshots_ended, 1);
        assert_int_equal(world.records, SNAPSHOT_KEYS);
        assert_int_equal(world.sent, world.size); /* each byte once */
        session_world_finish(&world);
    }
}

static void server_without_ranges_sends_it_again_and_nothing_is_taken_twice(void **state)
{
    struct session_world world = {.cut = 300000, .snapshot_script = snapshot_cut, .deaf = true};

    (void)state;
    session_world_start(&world, source_always_well, 0);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.snapshots_begun, 1);
    assert_int_equal(world.records, SNAPSHOT_KEYS);
    session_world_finish(&world);
}

static void snapshot_misplaced(struct session_world *world, struct fake_reply *reply)
{
    world->misplaced = world->snapshots == 2;
    snapshot_cut(world, reply);
}

static void range_that_leaves_a_hole_is_refused(void **state)
{
    struct session_world world = {.cut = 300000, .snapshot_script = snapshot_misplaced};

    (void)state;
    session_world_start(&world, source_always_well, 0);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.failures, 2);
    assert_int_equal(world.last_error.code, E_PROTOCOL);
    assert_int_equal(world.snapshots_begun, 2);
    session_world_finish(&world);
}

static void snapshot_gone(struct session_world *world, struct fake_reply *reply)
{
    if (world->snapshots == 2)
        fake_head(&reply->bytes, "404 Not Found", "");
    else
        snapshot_cut(world, reply);
}

static void snapshot_removed_while_it_was_fetched_is_asked_for_anew(void **state)
{
    struct session_world world = {.cut = 300000, .snapshot_script = snapshot_gone};

    (void)state;
    session_world_start(&world, source_always_well, 0);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.failures, 2);
    assert_int_equal(world.last_error.code, E_NOT_FOUND);
    assert_int_equal(world.snapshots, 3);
    assert_int_equal(world.snapshots_begun, 2);
    assert_int_equal(world.records, SNAPSHOT_KEYS);
    session_world_finish(&world);
}

static void snapshot_damaged(struct session_world *world, struct fake_reply *reply)
{
    source_answer_snapshot(world, reply);
    if (world->snapshots == 1)
        reply->bytes.data[reply->bytes.size - world->cut] ^= 1;
}

static void snapshot_with_a_flipped_bit_is_refused(void **state)
{
    static const size_t places[] = {1, 3, 100, 300000, 500000};

    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct session_world world = {.cut = places[i], .snapshot_script = snapshot_damaged};

        session_world_start(&world, source_always_well, 0);
        session_world_run_until(&world, session_world_is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.last_error.code, E_PROTOCOL);
        assert_int_equal(world.snapshots_ended, 1);
        session_world_finish(&world);
    }
}

static void snapshot_in_gzip(struct session_world *world, struct fake_reply *reply)
{
    static const unsigned char gzip[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0};

    if (world->snapshots > 1) {
        source_answer_snapshot(world, reply);
        return;
    }
    fake_head(&reply->bytes, "200 OK", "");
    assert_int_equal(buffer_append(&reply->bytes, gzip, sizeof(gzip)), 0);
}

static void snapshot_with_the_wrong_compression_is_refused(void **state)
{
    struct session_world world = {.snapshot_script = snapshot_in_gzip};

    (void)state;
    session_world_start(&world, source_always_well, 0);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, E_PROTOCOL);
    assert_int_equal(world.snapshots_begun, 1);
    session_world_finish(&world);
}

static void snapshot_too_long(struct session_world *world, struct fake_reply *reply)
{
    source_answer_snapshot(world, reply);
    if (world->snapshots == 1)
        source_put(&reply->bytes, "more");
}

static void snapshot_longer_than_announced_is_refused(void **state)
{
    struct session_world world = {.snapshot_script = snapshot_too_long};

    (void)state;
    session_world_start(&world, source_always_well, 0);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, E_PROTOCOL);
    session_world_finish(&world);
}

static void snapshot_stall(struct session_world *world, struct fake_reply *reply)
{
    snapshot_cut(world, reply);
    if (world->snapshots == 1)
        reply->then = FAKE_HOLD;
}

static void snapshot_that_stalls_times_out(void **state)
{
    static const size_t cuts[] = {1, 300000};

    (void)state;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct session_world world = {.cut = cuts[i], .snapshot_script = snapshot_stall};

        session_world_start(&world, source_always_well, 0);
        session_world_run_until(&world, session_world_is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.last_error.code, E_TIMEOUT);
        session_world_finish(&world);
    }
}

static void snapshot_wrong(struct session_world *world, struct fake_reply *reply)
{
    struct buffer body;

    if (world->snapshots > 1) {
        source_answer_snapshot(world, reply);
        return;
    }
    buffer_init(&body, SNAPSHOT_MAX_BYTES);
    source_make_snapshot(world->cut == 0 ? OTHER_PLANE : CONTROL_PLANE,
                         world->cut == 1 ? EPOCH_2 : EPOCH_1, world->cut == 2 ? 2 : 1, &body);
    fake_head(&reply->bytes, "200 OK", "");
    assert_int_equal(buffer_append(&reply->bytes, body.data, body.size), 0);
    buffer_finish(&body);
}

static void snapshot_of_another_plane_history_or_content_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct session_world world = {.cut = i, .snapshot_script = snapshot_wrong};

        session_world_start(&world, source_always_well, 0);
        session_world_run_until(&world, session_world_is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.last_error.code, E_PROTOCOL);
        assert_int_equal(world.snapshots_begun, i == 2 ? 2 : 1);
        assert_int_equal(world.snapshots_ended, 1);
        session_world_finish(&world);
    }
}

static void full_sink_pauses_a_snapshot_without_loss(void **state)
{
    struct session_world world = {.full_from = 1};

    (void)state;
    session_world_start(&world, source_always_well, 0);
    for (unsigned i = 0; i < 3; i++) {
        unsigned before = world.records;

        world.pauses = 0;
        session_world_run_until(&world, session_world_has_paused);
        assert_true(world.records > before); /* it went on when it was told to */
        assert_true(world.records < SNAPSHOT_KEYS);
        assert_int_equal(world.snapshots_ended, 0);
        world.full_from = world.records + 1;
        world.full = false;
        session_resume(world.session);
    }
    world.full_from = 0;
    world.full = false;
    session_resume(world.session);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.records, SNAPSHOT_KEYS);
    assert_int_equal(world.failures, 0);
    session_world_finish(&world);
}

static bool has_snapshot(const struct session_world *world)
{
    return world->snapshots_ended > 0 && world->durable.version == NEWEST;
}

static void rejected_by_the_store_starts_over_with_a_snapshot(void **state)
{
    struct session_world world = {.late = false};
    struct error err = {E_MISSING_REFERENCE, NULL, "a key of an unknown consumer"};

    (void)state;
    session_world_start(&world, source_always_well, 2);
    session_world_run_until(&world, session_world_is_current);
    world.durable.version = 2; /* as if the last transaction had not gone through */
    session_reject(world.session, &err, SESSION_RESYNC_STORE);
    assert_int_equal(session_state(world.session), SESSION_BACKOFF);
    session_world_run_until(&world, has_snapshot);
    assert_int_equal(world.resyncs[SESSION_RESYNC_STORE], 1);
    assert_int_equal(world.failures, 1);
    session_world_finish(&world);
}

static bool has_begun_a_snapshot_and_ended_it(const struct session_world *world)
{
    return world->snapshots_ended > 0;
}

static bool has_refused_three_times(const struct session_world *world)
{
    return world->failures >= 4;
}

static void refused_snapshot_is_not_fetched_again_until_it_is_accepted(void **state)
{
    struct session_world world = {.keep = true};
    struct error err = {E_REFUSED, NULL, "it would drop too much"};

    (void)state;
    session_world_start(&world, source_always_well, 0);
    session_world_run_until(&world, has_begun_a_snapshot_and_ended_it);
    session_refuse(world.session, &err);
    assert_false(world.told_refused);
    session_world_run_until(&world, has_refused_three_times);
    assert_int_equal(world.snapshots, 1);
    assert_int_equal(world.last_error.code, E_REFUSED);
    assert_true(world.told_refused);
    world.keep = false;
    session_accept_epoch(world.session);
    session_world_run_until(&world, session_world_is_current);
    assert_int_equal(world.snapshots, 2);
    assert_false(world.told_refused);
    session_world_finish(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restored_source_with_a_new_epoch_is_copied_anew),
        cmocka_unit_test(changes_of_another_epoch_are_never_applied),
        cmocka_unit_test(other_digest_key_in_the_same_epoch_is_copied_anew),
        cmocka_unit_test(snapshots_that_do_not_help_are_not_taken_in_a_tight_loop),
        cmocka_unit_test(snapshot_cut_anywhere_goes_on_from_there),
        cmocka_unit_test(server_without_ranges_sends_it_again_and_nothing_is_taken_twice),
        cmocka_unit_test(range_that_leaves_a_hole_is_refused),
        cmocka_unit_test(snapshot_removed_while_it_was_fetched_is_asked_for_anew),
        cmocka_unit_test(snapshot_with_a_flipped_bit_is_refused),
        cmocka_unit_test(snapshot_with_the_wrong_compression_is_refused),
        cmocka_unit_test(snapshot_longer_than_announced_is_refused),
        cmocka_unit_test(snapshot_that_stalls_times_out),
        cmocka_unit_test(snapshot_of_another_plane_history_or_content_is_refused),
        cmocka_unit_test(full_sink_pauses_a_snapshot_without_loss),
        cmocka_unit_test(rejected_by_the_store_starts_over_with_a_snapshot),
        cmocka_unit_test(refused_snapshot_is_not_fetched_again_until_it_is_accepted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

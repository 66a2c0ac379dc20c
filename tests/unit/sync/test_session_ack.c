/* test_session_ack.c - what a session tells the source of what is visible, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/session_world.h"

static bool has_acked_newest(const struct session_world *world)
{
    return world->acked == NEWEST;
}

static void applied_version_is_acknowledged(void **state)
{
    struct session_world world = {.acked = 0};

    (void)state;
    session_world_start(&world, source_always_well, 1);
    session_world_run_until(&world, session_world_is_current);
    session_ack(world.session, &world.durable, 0);
    session_world_run_until(&world, has_acked_newest);
    session_ack(world.session, &world.durable, 0);
    assert_int_equal(world.acks, 1);
    session_world_finish(&world);
}

static bool has_said_verified(const struct session_world *world)
{
    return world->acked == NEWEST && world->verified == NEWEST;
}

static bool has_taken_it_back(const struct session_world *world)
{
    return world->acked == NEWEST && world->verified == 0;
}

static void what_was_verified_is_told_and_taken_back_at_the_same_version(void **state)
{
    struct session_world world = {.acked = 0};

    (void)state;
    session_world_start(&world, source_always_well, 1);
    session_world_run_until(&world, session_world_is_current);
    session_ack(world.session, &world.durable, NEWEST);
    session_world_run_until(&world, has_said_verified);
    session_ack(world.session, &world.durable, 0);
    session_world_run_until(&world, has_taken_it_back);
    session_world_finish(&world);
}

/* A heartbeat period so long that a second acknowledgement comes too late for the test's guard. */
static void start_rare(struct session_world *world)
{
    world->heartbeat_ms = 4 * 4 * GUARD_MS;
    session_world_start(world, source_always_well, 1);
    session_world_run_until(world, session_world_is_current);
}

/* `version` is visible. */
static void acknowledge(struct session_world *world, uint64_t version)
{
    struct model_cursor cursor = world->durable;

    cursor.version = version;
    session_ack(world->session, &cursor, 0);
}

static bool has_acked_another(const struct session_world *world)
{
    return world->acked == NEWEST - 1;
}

static void on_pause_over(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Long enough for an acknowledgement, if one were sent. */
static void turn_a_while(struct session_world *world)
{
    uv_timer_t pause;
    bool over = false;

    assert_int_equal(uv_timer_init(&world->loop, &pause), 0);
    pause.data = &over;
    assert_int_equal(uv_timer_start(&pause, on_pause_over, 100, 0), 0);
    while (!over)
        (void)uv_run(&world->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&pause, NULL);
    (void)uv_run(&world->loop, UV_RUN_NOWAIT);
}

static void acknowledgements_that_nobody_waits_for_are_thinned_out(void **state)
{
    struct session_world world = {.acked = 0};

    (void)state;
    start_rare(&world);
    acknowledge(&world, NEWEST - 1); /* the first after a while goes at once */
    session_world_run_until(&world, has_acked_another);
    acknowledge(&world, NEWEST);
    turn_a_while(&world);
    assert_int_equal(world.acks, 1);
    session_world_finish(&world);
}

static void one_that_was_held_back_is_sent_when_its_time_comes(void **state)
{
    struct session_world world = {.acked = 0};

    (void)state;
    session_world_start(&world, source_always_well, 1);
    session_world_run_until(&world, session_world_is_current);
    acknowledge(&world, NEWEST - 1);
    session_world_run_until(&world, has_acked_another);
    acknowledge(&world, NEWEST);
    session_world_run_until(&world, has_acked_newest);
    assert_int_equal(world.acks, 2);
    session_world_finish(&world);
}

static void one_that_somebody_waits_for_is_sent_at_once(void **state)
{
    struct session_world world = {.awaited = true};

    (void)state;
    start_rare(&world);
    acknowledge(&world, NEWEST - 1); /* not yet what is awaited */
    session_world_run_until(&world, has_acked_another);
    acknowledge(&world, NEWEST);
    session_world_run_until(&world, has_acked_newest);
    assert_int_equal(world.acks, 2);
    session_world_finish(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applied_version_is_acknowledged),
        cmocka_unit_test(what_was_verified_is_told_and_taken_back_at_the_same_version),
        cmocka_unit_test(acknowledgements_that_nobody_waits_for_are_thinned_out),
        cmocka_unit_test(one_that_was_held_back_is_sent_when_its_time_comes),
        cmocka_unit_test(one_that_somebody_waits_for_is_sent_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

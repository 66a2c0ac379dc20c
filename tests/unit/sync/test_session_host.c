/* test_session_host.c - how a session says who its host is, to a control plane of now and to one of
 * before, and what it does when it is not believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/session_world.h"

#define INSTANCE  "aaaaaaaa-0000-4000-8000-000000000001"
#define FEED_1    "bbbbbbbb-0000-4000-8000-000000000001"
#define FEED_2    "bbbbbbbb-0000-4000-8000-000000000002"
#define NAMES(id) ",\"feed\":\"" id "\""

static struct session_world as_instance(void)
{
    struct session_world world = {.acked = 0};

    assert_true(uuid_parse(INSTANCE, &world.instance));
    return world;
}

static bool has_acked(const struct session_world *world)
{
    return world->acks > 0;
}

static bool says(const char *text, const char *what)
{
    return strstr(text, what) != NULL;
}

static void names_feed_1(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    (void)nth;
    world->hello_more = NAMES(FEED_1);
    source_answer_well(world, reply);
}

static void instance_is_told_and_the_feed_is_acknowledged_by_name(void **state)
{
    struct session_world world = as_instance();

    (void)state;
    session_world_start(&world, names_feed_1, 1);
    session_world_run_until(&world, session_world_is_current);
    assert_true(says(world.target, "&instance=" INSTANCE));
    assert_false(says(world.target, "former="));
    session_ack(world.session, &world.durable, 0);
    session_world_run_until(&world, has_acked);
    assert_true(says(world.ack_body, "\"instance\":\"" INSTANCE "\""));
    assert_true(says(world.ack_body, "\"feed\":\"" FEED_1 "\""));
    session_world_finish(&world);
}

/* It refuses members of a body that it does not know. */
static void control_plane_of_before_gets_an_acknowledgement_as_before(void **state)
{
    struct session_world world = as_instance();

    (void)state;
    session_world_start(&world, source_always_well, 1);
    session_world_run_until(&world, session_world_is_current);
    session_ack(world.session, &world.durable, 0);
    session_world_run_until(&world, has_acked);
    assert_false(says(world.ack_body, "instance"));
    assert_false(says(world.ack_body, "feed"));
    session_world_finish(&world);
}

/* The second feed is cut before its hello: it has no name that could be told. */
static void ends_feeds(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth == 2) {
        reply->then = FAKE_CLOSE;
        return;
    }
    world->hello_more = nth == 1 ? NAMES(FEED_1) : NAMES(FEED_2);
    source_answer_well(world, reply);
    if (nth == 1)
        reply->then = FAKE_CLOSE;
}

static bool has_third_feed(const struct session_world *world)
{
    return world->feeds == 3 && session_world_is_streaming(world);
}

static void next_connection_names_the_last_feed_that_was_greeted(void **state)
{
    struct session_world world = as_instance();

    (void)state;
    session_world_start(&world, ends_feeds, 1);
    session_world_run_until(&world, has_third_feed);
    assert_true(says(world.target, "&former=" FEED_1));
    session_ack(world.session, &world.durable, 0);
    session_world_run_until(&world, has_acked);
    assert_true(says(world.ack_body, FEED_2));
    session_world_finish(&world);
}

/* The control plane remembers hosts that have acknowledged something. */
static void host_with_nothing_new_acknowledges_once(void **state)
{
    struct session_world world = as_instance();

    (void)state;
    session_world_start(&world, names_feed_1, NEWEST);
    session_world_run_until(&world, has_acked);
    assert_int_equal(world.acked, NEWEST);
    session_world_finish(&world);
}

static bool has_two_refusals(const struct session_world *world)
{
    return world->acks >= 2 && world->feeds >= 2 && session_world_is_streaming(world);
}

static void next_feed_is_another(struct session_world *world, unsigned nth,
                                 struct fake_reply *reply)
{
    world->ack_status = nth == 1 ? "409 Conflict" : NULL;
    world->hello_more = nth == 1 ? NAMES(FEED_1) : NAMES(FEED_2);
    source_answer_well(world, reply);
}

static void host_that_is_not_believed_connects_anew(void **state)
{
    struct session_world world = as_instance();

    (void)state;
    session_world_start(&world, next_feed_is_another, NEWEST);
    session_world_run_until(&world, has_two_refusals);
    assert_true(says(world.last_error.message, "409"));
    assert_true(says(world.target, "&former=" FEED_1));
    session_world_finish(&world);
}

static void shared_name_is_told_when_it_changes(void **state)
{
    struct session_world world = as_instance();

    (void)state;
    world.hello_more = NAMES(FEED_1) ",\"name_shared\":true";
    world.heartbeat_more = ",\"name_shared\":true";
    session_world_start(&world, source_always_well, NEWEST);
    session_world_run_until(&world, session_world_is_current);
    assert_true(world.name_shared);
    assert_int_equal(world.name_changes, 1);
    session_world_finish(&world);

    world = as_instance();
    world.hello_more = NAMES(FEED_1) ",\"name_shared\":true";
    session_world_start(&world, source_always_well, NEWEST);
    session_world_run_until(&world, session_world_is_current);
    assert_false(world.name_shared);
    assert_int_equal(world.name_changes, 2);
    session_world_finish(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instance_is_told_and_the_feed_is_acknowledged_by_name),
        cmocka_unit_test(control_plane_of_before_gets_an_acknowledgement_as_before),
        cmocka_unit_test(next_connection_names_the_last_feed_that_was_greeted),
        cmocka_unit_test(host_with_nothing_new_acknowledges_once),
        cmocka_unit_test(host_that_is_not_believed_connects_anew),
        cmocka_unit_test(shared_name_is_told_when_it_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* agent/ask_cache.h with a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ask_cache.h"

enum { MINUTE_MS = 60 * 1000, ROOM = 64 * 1024 };

struct world {
    int64_t wall_ms;
    int64_t boot_ms;
    struct ask_cache *cache;
};

static int64_t world_wall_ms(void *context)
{
    const struct world *world = context;

    return world->wall_ms;
}

static int64_t world_boot_ms(void *context)
{
    const struct world *world = context;

    return world->boot_ms;
}

static void open_cache(struct world *world, size_t max_bytes)
{
    struct clock clock = {.wall_ms = world_wall_ms, .boot_ms = world_boot_ms};
    struct error err = ERROR_INIT;

    *world = (struct world){.wall_ms = 1000000000, .boot_ms = 5000};
    clock.context = world;
    assert_int_equal(ask_cache_create(max_bytes, &clock, &world->cache, &err), 0);
}

static void pass_time(struct world *world, int64_t ms)
{
    world->wall_ms += ms;
    world->boot_ms += ms;
}

static struct model_cursor at(uint8_t epoch, uint64_t version)
{
    return (struct model_cursor){{{epoch}}, version};
}

static struct ask_answer found_at(uint64_t version)
{
    return (struct ask_answer){
        .found = true, .cursor = at(1, version), .ttl_ms = 5 * MINUTE_MS, .text = "{}"};
}

static struct ask_answer miss_at(uint64_t version)
{
    return (struct ask_answer){.cursor = at(1, version), .ttl_ms = 5 * MINUTE_MS};
}

static struct ask_place place_in(const char *region)
{
    struct ask_place place = {.is_realm = true, .realm_id = {{7}}};

    (void)snprintf(place.region, sizeof(place.region), "%s", region);
    return place;
}

static void digest_of(const struct world *world, const char *region, const char *secret,
                      uint8_t digest[DIGEST_BYTES])
{
    struct ask_place place = place_in(region);

    ask_cache_digest(world->cache, &place, secret, strlen(secret), digest);
}

static void put(struct world *world, const char *region, const char *secret,
                struct ask_answer answer)
{
    uint8_t digest[DIGEST_BYTES];

    digest_of(world, region, secret, digest);
    ask_cache_put(world->cache, digest, region, &answer);
}

static const struct ask_answer *get(struct world *world, const char *region, const char *secret)
{
    uint8_t digest[DIGEST_BYTES];

    digest_of(world, region, secret, digest);
    return ask_cache_get(world->cache, digest);
}

static void reached(struct world *world, const char *region, struct model_cursor cursor)
{
    ask_cache_reached(world->cache, region, &cursor);
}

/* ---- tests ---- */

static void answer_is_given_until_its_ttl_and_not_a_moment_longer(void **state)
{
    struct world world;

    (void)state;
    open_cache(&world, ROOM);
    put(&world, "us", "key", found_at(10));
    put(&world, "us", "wrong", miss_at(10));
    pass_time(&world, 5 * MINUTE_MS - 1);
    assert_string_equal(get(&world, "us", "key")->text, "{}");
    assert_false(get(&world, "us", "wrong")->found);
    pass_time(&world, 1);
    assert_null(get(&world, "us", "key"));
    assert_null(get(&world, "us", "wrong"));
    assert_int_equal(ask_cache_stats(world.cache).entries, 0);
    assert_int_equal(ask_cache_stats(world.cache).bytes, 0);
    ask_cache_destroy(world.cache);
}

static void key_that_expires_ends_its_answer_before_the_ttl(void **state)
{
    struct ask_answer answer = found_at(10);
    struct world world;

    (void)state;
    open_cache(&world, ROOM);
    answer.expires_wall_ms = world.wall_ms + 1000;
    put(&world, "us", "key", answer);
    pass_time(&world, 999);
    assert_non_null(get(&world, "us", "key"));
    pass_time(&world, 1);
    assert_null(get(&world, "us", "key"));
    ask_cache_destroy(world.cache);
}

/* The ttl is not the wall clock's matter; a key's own expiry is. */
static void wall_clock_set_by_an_hour_changes_no_ttl(void **state)
{
    static const int64_t hours_ms[] = {-60 * MINUTE_MS, 60 * MINUTE_MS};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world world;

        open_cache(&world, ROOM);
        put(&world, "us", "key", found_at(10));
        world.wall_ms += hours_ms[i];
        assert_non_null(get(&world, "us", "key"));
        pass_time(&world, 5 * MINUTE_MS);
        assert_null(get(&world, "us", "key"));
        ask_cache_destroy(world.cache);
    }
}

static void found_answer_goes_when_the_feed_has_caught_up_with_it(void **state)
{
    struct world world;

    (void)state;
    open_cache(&world, ROOM);
    put(&world, "us", "key", found_at(10));
    reached(&world, "us", at(1, 9));
    assert_non_null(get(&world, "us", "key"));
    reached(&world, "us", at(1, 10));
    assert_null(get(&world, "us", "key"));
    put(&world, "us", "key", found_at(10));
    reached(&world, "us", at(1, 4000));
    assert_null(get(&world, "us", "key"));
    assert_int_equal(ask_cache_stats(world.cache).superseded, 2);
    ask_cache_destroy(world.cache);
}

static void answers_of_other_regions_are_left_alone(void **state)
{
    struct world world;

    (void)state;
    open_cache(&world, ROOM);
    put(&world, "us", "key", found_at(10));
    put(&world, "eu", "key", found_at(10));
    put(&world, "eu", "wrong", miss_at(10));
    reached(&world, "us", at(1, 10));
    ask_cache_forget(world.cache, "us");
    assert_null(get(&world, "us", "key"));
    assert_non_null(get(&world, "eu", "key"));
    assert_non_null(get(&world, "eu", "wrong"));
    ask_cache_destroy(world.cache);
}

static void found_answer_of_another_history_goes_with_the_next_word_of_the_feed(void **state)
{
    struct world world;

    (void)state;
    open_cache(&world, ROOM);
    put(&world, "us", "key", found_at(10));
    reached(&world, "us", at(2, 3));
    assert_null(get(&world, "us", "key"));
    ask_cache_destroy(world.cache);
}

static void miss_stays_when_the_feed_moves_on_and_goes_with_its_history(void **state)
{
    struct world world;

    (void)state;
    open_cache(&world, ROOM);
    put(&world, "us", "wrong", miss_at(10));
    reached(&world, "us", at(1, 11));
    assert_non_null(get(&world, "us", "wrong"));
    ask_cache_forget(world.cache, "us");
    assert_null(get(&world, "us", "wrong"));
    ask_cache_destroy(world.cache);
}

static void newer_answer_takes_the_place_of_the_older_one(void **state)
{
    struct world world;

    (void)state;
    open_cache(&world, ROOM);
    put(&world, "us", "key", miss_at(10));
    put(&world, "us", "key", found_at(11));
    assert_true(get(&world, "us", "key")->found);
    put(&world, "us", "key", miss_at(12));
    assert_false(get(&world, "us", "key")->found);
    assert_int_equal(ask_cache_stats(world.cache).entries, 1);
    reached(&world, "us", at(1, 12));
    assert_non_null(get(&world, "us", "key"));
    ask_cache_destroy(world.cache);
}

static void memory_is_bounded_and_the_least_lately_used_goes_first(void **state)
{
    enum { KEYS = 1000 };
    struct world world;
    char secret[32];

    (void)state;
    open_cache(&world, ROOM);
    put(&world, "us", "favourite", found_at(10));
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(secret, sizeof(secret), "key-%d", i);
        put(&world, "us", secret, i % 2 == 0 ? found_at(10) : miss_at(10));
        assert_non_null(get(&world, "us", "favourite"));
        assert_true(ask_cache_stats(world.cache).bytes <= ROOM);
    }
    assert_null(get(&world, "us", "key-0"));
    assert_non_null(get(&world, "us", secret));
    assert_int_equal(ask_cache_stats(world.cache).entries + ask_cache_stats(world.cache).evicted,
                     KEYS + 1);
    ask_cache_destroy(world.cache);
}

static void answer_larger_than_the_cache_is_not_kept(void **state)
{
    struct ask_answer answer = found_at(10);
    char text[2048];
    struct world world;

    (void)state;
    open_cache(&world, 1024);
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = 0;
    answer.text = text;
    put(&world, "us", "key", answer);
    assert_null(get(&world, "us", "key"));
    ask_cache_destroy(world.cache);
}

static void digest_tells_keys_places_and_processes_apart(void **state)
{
    struct ask_place places[] = {place_in("us"), place_in("eu"), place_in("us"), place_in("us")};
    uint8_t digests[sizeof(places) / sizeof(places[0]) + 2][DIGEST_BYTES];
    size_t n = sizeof(places) / sizeof(places[0]);
    struct world other;
    struct world world;

    (void)state;
    open_cache(&world, ROOM);
    open_cache(&other, ROOM);
    places[2].realm_id.bytes[0] = 8;
    places[3].is_realm = false;
    for (size_t i = 0; i < n; i++)
        ask_cache_digest(world.cache, &places[i], "key", 3, digests[i]);
    ask_cache_digest(world.cache, &places[0], "kez", 3, digests[n]);
    ask_cache_digest(other.cache, &places[0], "key", 3, digests[n + 1]);
    for (size_t i = 0; i < n + 2; i++) {
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(digests[i], digests[j], DIGEST_BYTES);
    }
    ask_cache_destroy(world.cache);
    ask_cache_destroy(other.cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_is_given_until_its_ttl_and_not_a_moment_longer),
        cmocka_unit_test(key_that_expires_ends_its_answer_before_the_ttl),
        cmocka_unit_test(wall_clock_set_by_an_hour_changes_no_ttl),
        cmocka_unit_test(found_answer_goes_when_the_feed_has_caught_up_with_it),
        cmocka_unit_test(answers_of_other_regions_are_left_alone),
        cmocka_unit_test(found_answer_of_another_history_goes_with_the_next_word_of_the_feed),
        cmocka_unit_test(miss_stays_when_the_feed_moves_on_and_goes_with_its_history),
        cmocka_unit_test(newer_answer_takes_the_place_of_the_older_one),
        cmocka_unit_test(memory_is_bounded_and_the_least_lately_used_goes_first),
        cmocka_unit_test(answer_larger_than_the_cache_is_not_kept),
        cmocka_unit_test(digest_tells_keys_places_and_processes_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

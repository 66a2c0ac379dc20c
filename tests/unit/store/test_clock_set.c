/* The wall clock is set by an hour, back and forth, on either side: answers do not age by it, keys
 * expire by it, and changes are numbered and delivered as if nothing had happened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control/feed/feed.h"
#include "store/reader_internal.h"
#include "tests/lib/feed_client.h"
#include "tests/lib/repo_fixture.h"
#include "tests/lib/store_fixture.h"

enum { HOUR_MS = 3600 * 1000, MINUTE_MS = 60 * 1000 };

static const int64_t jumps_ms[] = {-HOUR_MS, HOUR_MS};

/* ---- the host ---- */

static int look_up(struct fixture *f, rs_source source, const char *key, int64_t *ret_age_ms)
{
    rs_options options = RS_OPTIONS_INIT;
    rs_snapshot *snapshot;
    rs_consumer consumer;
    rs_store *store;
    int rc;

    assert_int_equal(reader_open(&store, f->dir, &options, &f->clock), 0);
    assert_int_equal(rs_begin(store, &snapshot), 0);
    rc = rs_lookup(snapshot, &source, 1, key, strlen(key), &consumer);
    *ret_age_ms = rs_consumer_age_ms(&consumer);
    rs_end(snapshot);
    rs_close(store);
    return rc;
}

/* Realm 7 has a ttl of 10 minutes and a negative_ttl of 5. */
static void answers_do_not_age_when_the_clock_is_set(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        int64_t age_ms;

        fixture_init(&f);
        fixture_open(&f);
        fixture_load_people(&f);
        f.wall_ms += jumps_ms[i];
        f.boot_ms += MINUTE_MS;
        assert_int_equal(look_up(&f, fixture_realm_source(7), "alice-key", &age_ms), RS_FOUND);
        assert_int_equal(age_ms, MINUTE_MS);
        assert_int_equal(look_up(&f, fixture_realm_source(7), "no-key", &age_ms), RS_NOT_FOUND);
        f.boot_ms += 5 * MINUTE_MS;
        assert_int_equal(look_up(&f, fixture_realm_source(7), "no-key", &age_ms), RS_STALE);
        f.boot_ms += 5 * MINUTE_MS;
        assert_int_equal(look_up(&f, fixture_realm_source(7), "alice-key", &age_ms), RS_STALE);
        fixture_finish(&f);
    }
}

static void agent_that_starts_again_with_the_clock_set_goes_on_counting(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        int64_t age_ms;

        fixture_init(&f);
        fixture_open(&f);
        fixture_load_people(&f);
        fixture_close(&f);
        f.wall_ms += jumps_ms[i];
        f.boot_ms += MINUTE_MS;
        fixture_open(&f);
        assert_int_equal(look_up(&f, fixture_realm_source(7), "alice-key", &age_ms), RS_FOUND);
        assert_int_equal(age_ms, MINUTE_MS);
        fixture_finish(&f);
    }
}

static void key_that_expires_follows_the_clock_there_and_back(void **state)
{
    struct error err = ERROR_INIT;
    struct fixture f;
    int64_t age_ms;

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    assert_int_equal(fixture_try_key(f.source, 7, 1, 33, "short-lived",
                                     f.wall_ms + 30 * (int64_t)MINUTE_MS, &err),
                     0);
    fixture_commit(&f);
    assert_int_equal(look_up(&f, fixture_realm_source(7), "short-lived", &age_ms), RS_FOUND);
    f.wall_ms += HOUR_MS;
    assert_int_equal(look_up(&f, fixture_realm_source(7), "short-lived", &age_ms), RS_NOT_FOUND);
    f.wall_ms -= HOUR_MS;
    assert_int_equal(look_up(&f, fixture_realm_source(7), "short-lived", &age_ms), RS_FOUND);
    fixture_finish(&f);
}

/* ---- the control plane ---- */

static _Atomic int64_t wall_ms;

static int64_t moving_wall_ms(void *context)
{
    (void)context;
    return wall_ms;
}

static int64_t real_boot_ms(void *context)
{
    (void)context;
    return clock_boot_ms();
}

/* The transaction of the change that was just made. */
static void expect_next(struct feed_client *client, uint64_t version)
{
    struct feed_line begin = feed_client_skip_to(client, FEED_LINE_BEGIN);

    assert_int_equal(begin.begin.prev, version - 1);
    assert_int_equal(begin.begin.version, version);
    assert_int_equal(feed_client_skip_to(client, FEED_LINE_COMMIT).commit.version, version);
}

static void changes_are_numbered_and_delivered_on_when_the_clock_is_set(void **state)
{
    struct log log = {STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT};
    struct feed_options options = {.region = "us", .log = &log};
    struct repo_fixture *repo = repo_fixture_create(0);
    struct uuid cp = repo_fixture_uuid(1);
    struct repo_scope scope = repo_fixture_cp(1);
    struct feed_client client = {.follower = NULL};
    struct uuid last = {{0}};
    struct repo_head head;
    struct feed *feed;
    char dir[128];

    (void)state;
    wall_ms = clock_wall_ms();
    repo->options.clock = (struct clock){.wall_ms = moving_wall_ms, .boot_ms = real_boot_ms};
    repo_fixture_reopen(repo);
    (void)snprintf(dir, sizeof(dir), "%s/snapshots", repo->dir);
    options.snapshot_dir = dir;
    assert_int_equal(feed_create(repo->repo, &options, &feed, &repo->err), 0);
    assert_int_equal(repo_head(repo->repo, &head, &repo->err), 0);
    feed_client_connect(&client, feed, &cp, "host", &head.epoch, head.version);
    for (unsigned i = 0; i < 6; i++) {
        struct repo_consumer consumer;
        char name[32];

        (void)snprintf(name, sizeof(name), "user-%u", i);
        consumer = repo_fixture_consumer(repo, &scope, name);
        assert_true(uuid_compare(&consumer.model.id, &last) > 0); /* pages stay in order */
        last = consumer.model.id;
        expect_next(&client, head.version + i + 1);
        wall_ms += jumps_ms[i % 2];
    }
    feed_client_disconnect(&client);
    feed_stop(feed);
    feed_destroy(feed);
    repo_fixture_destroy(repo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_do_not_age_when_the_clock_is_set),
        cmocka_unit_test(agent_that_starts_again_with_the_clock_set_goes_on_counting),
        cmocka_unit_test(key_that_expires_follows_the_clock_there_and_back),
        cmocka_unit_test(changes_are_numbered_and_delivered_on_when_the_clock_is_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

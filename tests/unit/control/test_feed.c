/* test_feed.c - what followers get: greeting, transactions, heartbeats, the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/feed_client.h"
#include "tests/lib/repo_fixture.h"

enum { QUIET_MS = 60 * 1000, BRISK_MS = 30 }; /* heartbeat out of the way, or awaited */

static const struct log quiet_log = {.fd = 2, .level = LOG_LEVEL_ERROR};

static struct repo_fixture *f;
static struct feed_options options;
static struct feed *feed;
static struct feed_client client;
static struct feed_client other;
static struct repo_scope scope;
static struct uuid cp;
static struct uuid epoch;
static char snapshot_dir[128];

static void start_feed(uint32_t heartbeat_ms, size_t transaction_max_bytes)
{
    struct error err = ERROR_INIT;

    options = (struct feed_options){.heartbeat_ms = heartbeat_ms,
                                    .transaction_max_bytes = transaction_max_bytes,
                                    .snapshot_dir = snapshot_dir,
                                    .region = "us",
                                    .log = &quiet_log};
    assert_int_equal(feed_create(f->repo, &options, &feed, &err), 0);
}

static void stop_feed(void)
{
    feed_stop(feed);
    feed_client_disconnect(&client);
    feed_client_disconnect(&other);
    feed_destroy(feed);
    feed = NULL;
}

static void restart_feed(uint32_t heartbeat_ms, size_t transaction_max_bytes)
{
    stop_feed();
    start_feed(heartbeat_ms, transaction_max_bytes);
}

static void start_repo(uint64_t keep_versions)
{
    struct repo_head head;

    f = repo_fixture_create(keep_versions);
    (void)snprintf(snapshot_dir, sizeof(snapshot_dir), "%s/snapshots", f->dir);
    assert_int_equal(repo_head(f->repo, &head, &f->err), 0);
    epoch = head.epoch;
    cp = repo_fixture_uuid(1);
    scope = repo_fixture_cp(1);
    client = (struct feed_client){.follower = NULL};
    other = (struct feed_client){.follower = NULL};
    start_feed(QUIET_MS, 0);
}

static int set_up(void **state)
{
    (void)state;
    start_repo(0);
    return 0;
}

static int set_up_short_history(void **state)
{
    (void)state;
    start_repo(20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stop_feed();
    repo_fixture_destroy(f);
    return 0;
}

static uint64_t newest(void)
{
    return repo_fixture_version(f);
}

static void add_consumers(const struct repo_scope *where, const char *prefix, int count)
{
    for (int i = 0; i < count; i++) {
        char name[64];

        (void)snprintf(name, sizeof(name), "%s-%d", prefix, i);
        repo_fixture_consumer(f, where, name);
    }
}

static void connect_current(struct feed_client *who, const char *host)
{
    feed_client_connect(who, feed, &cp, host, &epoch, newest());
    feed_client_expect(who, FEED_LINE_HELLO);
    feed_client_expect(who, FEED_LINE_HEARTBEAT);
}

/* One transaction of consumers alone; gives its begin line. */
static struct feed_line expect_consumers(struct feed_client *who, uint64_t count)
{
    struct feed_line begin = feed_client_expect(who, FEED_LINE_BEGIN);
    struct feed_line line;

    for (uint64_t i = 0; i < count; i++) {
        line = feed_client_expect(who, FEED_LINE_CHANGE);
        assert_int_equal(line.change.kind, CHANGE_CONSUMER);
    }
    if (count > 0)
        (void)feed_client_expect(who, FEED_LINE_DIGEST); /* test_repo_model looks at their values */
    line = feed_client_expect(who, FEED_LINE_COMMIT);
    assert_int_equal(line.commit.version, begin.begin.version);
    assert_int_equal(line.commit.changes, count);
    return begin;
}

static void expect_resync(struct feed_client *who, enum feed_resync_reason reason)
{
    struct feed_line line =
        feed_client_skip_to(who, FEED_LINE_RESYNC); /* "preparing" may come first */

    assert_int_equal(line.resync.reason, reason);
    assert_true(line.resync.snapshot.size > 0);
    feed_client_expect_end(who);
}

/* ---- wishes ---- */

/* The first transaction of a follower at the newest version that wishes for something. */
static void connect_wishing(const struct feed_wish *wish)
{
    struct feed_line begin;

    client.wish = *wish;
    feed_client_connect(&client, feed, &cp, "edge-1", &epoch, newest());
    feed_client_expect(&client, FEED_LINE_HELLO);
    begin = feed_client_expect(&client, FEED_LINE_BEGIN);
    assert_int_equal(begin.begin.prev, newest());
    assert_int_equal(begin.begin.version, newest());
}

/* The end of that transaction, after which the feed is like any other. */
static void expect_wish_granted(bool all_scopes)
{
    assert_int_equal(feed_client_expect(&client, FEED_LINE_COMMIT).commit.all_scopes, all_scopes);
    feed_client_expect(&client, FEED_LINE_HEARTBEAT);
    add_consumers(&scope, "later", 1);
    expect_consumers(&client, 1);
    feed_client_disconnect(&client);
}

static void wish_for_digests_is_granted_without_a_change(void **state)
{
    const struct feed_wish wish = {.kind = FEED_WISH_DIGESTS};

    (void)state;
    add_consumers(&scope, "own", 3);
    (void)repo_fixture_realm(f, "prod", (const unsigned[]){1, 0});
    (void)repo_fixture_realm(f, "hidden", (const unsigned[]){2, 0});
    connect_wishing(&wish);
    assert_int_equal(feed_client_expect(&client, FEED_LINE_DIGEST).digest.scope, 0);
    assert_int_equal(feed_client_expect(&client, FEED_LINE_DIGEST).digest.scope, 1);
    expect_wish_granted(true);
}

static void wish_for_buckets_of_a_scope_out_of_sight_says_that_it_is_empty(void **state)
{
    const struct feed_wish wish = {.kind = FEED_WISH_BUCKETS, .scope = 77};
    struct feed_line line;

    (void)state;
    connect_wishing(&wish);
    line = feed_client_expect(&client, FEED_LINE_DIGEST);
    assert_int_equal(line.digest.scope, 77);
    assert_true(set_hash_is_zero(&line.digest.hash));
    for (int i = 0; i < SET_HASH_BUCKETS; i++)
        assert_true(set_hash_is_zero(&line.digest.buckets[i]));
    expect_wish_granted(false);
}

static void wish_for_content_gives_the_buckets_and_nothing_else(void **state)
{
    struct feed_wish wish = {.kind = FEED_WISH_CONTENT};
    struct repo_consumer wanted;
    struct feed_line line;

    (void)state;
    add_consumers(&scope, "own", 50);
    wanted = repo_fixture_consumer(f, &scope, "wanted");
    (void)repo_fixture_key(f, &scope, &wanted.model.id, "secret");
    set_hash_mark(&wish.buckets, set_hash_bucket(&wanted.model.id));
    connect_wishing(&wish);
    line = feed_client_expect(&client, FEED_LINE_CHANGE);
    assert_int_equal(line.change.kind, CHANGE_BUCKET);
    assert_int_equal(line.change.bucket, set_hash_bucket(&wanted.model.id));
    do {
        line = feed_client_expect(&client, FEED_LINE_CHANGE);
        assert_true(
            set_hash_marked(&wish.buckets, set_hash_bucket(line.change.kind == CHANGE_KEY
                                                               ? &line.change.key.consumer_id
                                                               : &line.change.consumer.id)));
    } while (line.change.kind == CHANGE_CONSUMER);
    assert_true(uuid_equal(&line.change.key.consumer_id, &wanted.model.id));
    line = feed_client_expect(&client, FEED_LINE_DIGEST);
    assert_non_null(line.digest.buckets);
    expect_wish_granted(false);
}

/* ---- greeting ---- */

static void current_follower_gets_hello_and_a_heartbeat(void **state)
{
    struct repo_head head;
    struct feed_line line;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    assert_int_equal(repo_head(f->repo, &head, &f->err), 0);
    feed_client_connect(&client, feed, &cp, "edge-1", &epoch, newest());
    line = feed_client_expect(&client, FEED_LINE_HELLO);
    assert_int_equal(line.hello.protocol, 1);
    assert_string_equal(line.hello.region, "us");
    assert_true(uuid_equal(&line.hello.control_plane_id, &cp));
    assert_true(uuid_equal(&line.hello.epoch, &epoch));
    assert_int_equal(line.hello.version, 1);
    assert_int_equal(line.hello.heartbeat_ms, QUIET_MS);
    assert_memory_equal(line.hello.digest_key, head.digest_key, DIGEST_KEY_BYTES);
    line = feed_client_expect(&client, FEED_LINE_HEARTBEAT);
    assert_int_equal(line.heartbeat.version, 1);
}

static void follower_without_a_usable_cursor_is_told_why(void **state)
{
    const struct uuid foreign = repo_fixture_uuid(77);

    (void)state;
    feed_client_connect(&client, feed, &cp, "edge-1", NULL, 0);
    feed_client_expect(&client, FEED_LINE_HELLO);
    expect_resync(&client, FEED_RESYNC_NO_CURSOR);
    feed_client_disconnect(&client);
    feed_client_connect(&client, feed, &cp, "edge-1", &foreign, 0);
    feed_client_expect(&client, FEED_LINE_HELLO);
    expect_resync(&client, FEED_RESYNC_UNKNOWN_EPOCH);
    feed_client_disconnect(&client);
    feed_client_connect(&client, feed, &cp, "edge-1", &epoch, 5);
    feed_client_expect(&client, FEED_LINE_HELLO);
    expect_resync(&client, FEED_RESYNC_FUTURE_VERSION);
}

static void cursor_of_a_compacted_version_is_too_old(void **state)
{
    (void)state;
    add_consumers(&scope, "user", 60);
    feed_client_connect(&client, feed, &cp, "edge-1", &epoch, 3);
    feed_client_expect(&client, FEED_LINE_HELLO);
    expect_resync(&client, FEED_RESYNC_TOO_OLD);
}

/* ---- transactions ---- */

static void lagging_follower_gets_one_transaction_for_all_it_missed(void **state)
{
    struct feed_line begin;

    (void)state;
    add_consumers(&scope, "user", 10);
    feed_client_connect(&client, feed, &cp, "edge-1", &epoch, 2);
    feed_client_expect(&client, FEED_LINE_HELLO);
    begin = expect_consumers(&client, 8);
    assert_int_equal(begin.begin.prev, 2);
    assert_int_equal(begin.begin.version, 10);
    feed_client_expect(&client, FEED_LINE_HEARTBEAT);
}

static void live_change_arrives_with_the_version_before_it(void **state)
{
    struct feed_line begin;

    (void)state;
    connect_current(&client, "edge-1");
    add_consumers(&scope, "user", 1);
    begin = expect_consumers(&client, 1);
    assert_int_equal(begin.begin.prev, 0);
    assert_int_equal(begin.begin.version, 1);
    add_consumers(&scope, "next", 1);
    begin = expect_consumers(&client, 1);
    assert_int_equal(begin.begin.prev, 1);
    assert_int_equal(begin.begin.version, 2);
}

static void invisible_versions_are_jumped_over(void **state)
{
    const struct repo_scope foreign = repo_fixture_cp(2);
    struct feed_line begin;

    (void)state;
    connect_current(&client, "edge-1");
    add_consumers(&foreign, "user", 5);
    repo_fixture_consumer(f, &scope, "alice");
    begin = expect_consumers(&client, 1);
    assert_int_equal(begin.begin.prev, 0);
    assert_int_equal(begin.begin.version, 6);
}

static void followers_at_different_places_get_the_same_changes(void **state)
{
    struct feed_line begin;

    (void)state;
    add_consumers(&scope, "user", 3);
    connect_current(&client, "edge-1");
    feed_client_connect(&other, feed, &cp, "edge-2", &epoch, 1);
    feed_client_expect(&other, FEED_LINE_HELLO);
    expect_consumers(&other, 2);
    feed_client_expect(&other, FEED_LINE_HEARTBEAT);
    repo_fixture_consumer(f, &scope, "alice");
    begin = expect_consumers(&client, 1);
    assert_int_equal(begin.begin.prev, 3);
    begin = expect_consumers(&other, 1);
    assert_int_equal(begin.begin.prev, 3);
}

static void bytes_may_be_read_one_at_a_time(void **state)
{
    (void)state;
    client.read_max = 1;
    connect_current(&client, "edge-1");
    add_consumers(&scope, "user", 1);
    expect_consumers(&client, 1);
}

/* Whatever a follower does not read is not queued for it: it merges. */
static void slow_reader_gets_what_it_missed_merged(void **state)
{
    uint64_t versions = 0;
    uint64_t changes = 0;
    int transactions = 0;

    (void)state;
    connect_current(&client, "edge-1");
    add_consumers(&scope, "user", 200);
    while (versions < 200) {
        struct feed_line line = feed_client_skip_to(&client, FEED_LINE_COMMIT);

        assert_true(line.commit.version > versions);
        versions = line.commit.version;
        changes += line.commit.changes;
        transactions++;
    }
    assert_int_equal(changes, 200);       /* no consumer was touched twice */
    assert_in_range(transactions, 1, 17); /* the shared segments, and one of its own */
}

static void transaction_over_the_limit_is_a_resync(void **state)
{
    (void)state;
    restart_feed(QUIET_MS, 2048);
    connect_current(&client, "edge-1");
    add_consumers(&scope, "user", 1);
    expect_consumers(&client, 1);
    add_consumers(&scope, "more", 60);
    feed_client_connect(&other, feed, &cp, "edge-2", &epoch, 1);
    feed_client_expect(&other, FEED_LINE_HELLO);
    expect_resync(&other, FEED_RESYNC_TOO_LARGE);
}

/* One commit that is over the limit ends live followers too, and all of them. */
static void live_followers_are_told_of_a_transaction_over_the_limit(void **state)
{
    const unsigned allowed[] = {1, 0};
    struct repo_realm realm = repo_fixture_realm(f, "prod", NULL);
    struct repo_scope inside = repo_fixture_realm_scope(&realm);

    (void)state;
    add_consumers(&inside, "user", 60);
    restart_feed(QUIET_MS, 2048);
    connect_current(&client, "edge-1");
    connect_current(&other, "edge-2");
    repo_fixture_allow(f, &realm.model.id, allowed);
    expect_resync(&client, FEED_RESYNC_TOO_LARGE);
    expect_resync(&other, FEED_RESYNC_TOO_LARGE);
}

/* ---- heartbeats ---- */

static void silence_is_filled_with_heartbeats(void **state)
{
    const struct repo_scope foreign = repo_fixture_cp(2);
    struct feed_line line;

    (void)state;
    restart_feed(BRISK_MS, 0);
    connect_current(&client, "edge-1");
    add_consumers(&foreign, "user", 3);
    do {
        line = feed_client_expect(&client, FEED_LINE_HEARTBEAT);
    } while (line.heartbeat.version != 3); /* invisible versions move it all the same */
    feed_client_expect(&client, FEED_LINE_HEARTBEAT);
}

/* Reads up to the heartbeat of the newest version; counts the empty transactions before it. */
static int moves_until_current(struct feed_client *who)
{
    struct feed_line line;
    int moves = 0;

    do {
        assert_true(feed_client_line(who, &line));
        if (line.kind == FEED_LINE_COMMIT) {
            assert_int_equal(line.commit.changes, 0);
            moves++;
        }
    } while (line.kind != FEED_LINE_HEARTBEAT || line.heartbeat.version != newest());
    return moves;
}

static void cursor_is_moved_before_it_grows_too_old(void **state)
{
    const struct repo_scope foreign = repo_fixture_cp(2);
    int moves = 0;

    (void)state;
    restart_feed(BRISK_MS, 0);
    connect_current(&client, "edge-1");
    for (int i = 0; i < 12; i++) { /* 60 versions; the history is 20 long */
        char prefix[32];

        (void)snprintf(prefix, sizeof(prefix), "round%d", i);
        add_consumers(&foreign, prefix, 5);
        moves += moves_until_current(&client);
    }
    assert_true(moves > 0);
}

/* ---- ends ---- */

static void host_that_names_its_former_feed_replaces_that_stream(void **state)
{
    struct feed_stats stats;

    (void)state;
    connect_current(&client, "edge-1");
    other.former = client.feed;
    connect_current(&other, "edge-1");
    feed_client_expect_end(&client);
    repo_fixture_consumer(f, &scope, "alice");
    expect_consumers(&other, 1);
    feed_client_disconnect(&client);
    feed_stats(feed, &stats);
    assert_int_equal(stats.followers, 1);
}

static void stop_ends_every_stream(void **state)
{
    struct follower_options late = {.control_plane_id = cp, .host = "late"};
    struct follower *follower;
    struct error err = ERROR_INIT;

    (void)state;
    connect_current(&client, "edge-1");
    connect_current(&other, "edge-2");
    feed_stop(feed);
    feed_client_expect_end(&client);
    feed_client_expect_end(&other);
    assert_int_equal(feed_follower_create(feed, &late, &follower, &err), E_CANCELED);
}

static void statistics_count_what_was_sent(void **state)
{
    struct feed_stats stats;

    (void)state;
    connect_current(&client, "edge-1");
    add_consumers(&scope, "user", 1);
    expect_consumers(&client, 1);
    feed_client_connect(&other, feed, &cp, "edge-2", NULL, 0);
    feed_client_expect(&other, FEED_LINE_HELLO);
    expect_resync(&other, FEED_RESYNC_NO_CURSOR);
    feed_stats(feed, &stats);
    assert_int_equal(stats.followers, 2);
    assert_int_equal(stats.transactions_sent, 1);
    assert_int_equal(stats.resyncs_sent, 1);
    assert_true(stats.bytes_sent > 500);
}

/* ---- many ---- */

static void every_one_of_many_followers_gets_the_change(void **state)
{
    enum { MANY = 1000 };
    struct feed_client *many = calloc(MANY, sizeof(*many));

    (void)state;
    assert_non_null(many);
    for (int i = 0; i < MANY; i++) {
        char host[32];

        (void)snprintf(host, sizeof(host), "edge-%d", i);
        connect_current(&many[i], host);
    }
    repo_fixture_consumer(f, &scope, "alice");
    for (int i = 0; i < MANY; i++)
        expect_consumers(&many[i], 1);
    for (int i = 0; i < MANY; i++)
        feed_client_disconnect(&many[i]);
    free(many);
}

struct writer {
    pthread_t thread;
    int number;
    int failures;
};

enum { WRITERS = 4, WRITES = 150 };

/* Into the scope of the control plane or out of its sight, in turn. */
static void *write_many(void *context)
{
    struct writer *writer = context;

    for (int i = 0; i < WRITES; i++) {
        const struct repo_scope where = repo_fixture_cp(1 + (unsigned)i % 2);
        struct repo_consumer created;
        struct error err = ERROR_INIT;
        struct arena arena;
        char name[32];
        const struct repo_consumer input = {.model = {.username = name}};

        (void)snprintf(name, sizeof(name), "w%d-%d", writer->number, i);
        arena_init(&arena, 1024 * 1024);
        if (repo_consumer_create(&(struct repo_call){.repo = f->repo, .arena = &arena, .err = &err},
                                 &where, &input, &created) != 0)
            writer->failures++;
        arena_finish(&arena);
    }
    return NULL;
}

/* Follows to the end through reconnections; every consumer must come exactly once. */
static void follow_through_reconnections(uint64_t expected)
{
    uint64_t version = 0;
    uint64_t changes = 0;
    int transactions = 0;

    feed_client_connect(&client, feed, &cp, "edge-1", &epoch, 0);
    while (changes < expected) {
        struct feed_line line = feed_client_skip_to(&client, FEED_LINE_BEGIN);

        assert_int_equal(line.begin.prev, version);
        assert_true(line.begin.version > version);
        line = feed_client_skip_to(&client, FEED_LINE_COMMIT);
        version = line.commit.version;
        changes += line.commit.changes;
        if (++transactions % 7 == 0) {
            feed_client_disconnect(&client);
            feed_client_connect(&client, feed, &cp, "edge-1", &epoch, version);
        }
    }
    assert_int_equal(changes, expected);
}

static void nothing_is_lost_or_repeated_while_writers_and_connections_change(void **state)
{
    struct writer writers[WRITERS];

    (void)state;
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_many, &writers[i]), 0);
    }
    follow_through_reconnections(WRITERS * WRITES / 2);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
        assert_int_equal(writers[i].failures, 0);
    }
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_SHORT(name) cmocka_unit_test_setup_teardown(name, set_up_short_history, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wish_for_digests_is_granted_without_a_change),
        TEST(wish_for_buckets_of_a_scope_out_of_sight_says_that_it_is_empty),
        TEST(wish_for_content_gives_the_buckets_and_nothing_else),
        TEST(current_follower_gets_hello_and_a_heartbeat),
        TEST(follower_without_a_usable_cursor_is_told_why),
        TEST_SHORT(cursor_of_a_compacted_version_is_too_old),
        TEST(lagging_follower_gets_one_transaction_for_all_it_missed),
        TEST(live_change_arrives_with_the_version_before_it),
        TEST(invisible_versions_are_jumped_over),
        TEST(followers_at_different_places_get_the_same_changes),
        TEST(bytes_may_be_read_one_at_a_time),
        TEST(slow_reader_gets_what_it_missed_merged),
        TEST(transaction_over_the_limit_is_a_resync),
        TEST(live_followers_are_told_of_a_transaction_over_the_limit),
        TEST(silence_is_filled_with_heartbeats),
        TEST_SHORT(cursor_is_moved_before_it_grows_too_old),
        TEST(host_that_names_its_former_feed_replaces_that_stream),
        TEST(stop_ends_every_stream),
        TEST(statistics_count_what_was_sent),
        TEST(every_one_of_many_followers_gets_the_change),
        TEST(nothing_is_lost_or_repeated_while_writers_and_connections_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

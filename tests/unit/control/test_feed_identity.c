/* test_feed_identity.c - which host is which, whom an acknowledgement is believed, and how many
 * hosts there may be: with two of one name, liars, and agents of before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/feed_client.h"
#include "tests/lib/random.h"
#include "tests/lib/repo_fixture.h"

enum { QUIET_MS = 60 * 1000, BRISK_MS = 20, LONG_MS = 30 * 1000, NEVER_MS = 60 * 60 * 1000 };
enum { CAP = 3, PHANTOMS = 1000 };

static const struct log quiet_log = {.fd = 2, .level = LOG_LEVEL_ERROR};

static struct repo_fixture *f;
static struct feed_options options;
static struct feed *feed;
static struct feed_client clients[CAP + 2];
static struct feed_client *const one = &clients[0];
static struct feed_client *const two = &clients[1];
static struct feed_client *const liar = &clients[2];
static struct repo_scope scope;
static struct uuid cp;
static struct uuid epoch;
static struct uuid token; /* of all but the liar */
static struct error err;

static int start(uint32_t heartbeat_ms, int64_t twins_ms)
{
    static char snapshot_dir[128];
    struct repo_head head;

    f = repo_fixture_create(0);
    (void)snprintf(snapshot_dir, sizeof(snapshot_dir), "%s/snapshots", f->dir);
    options = (struct feed_options){.heartbeat_ms = heartbeat_ms,
                                    .twins_ms = twins_ms,
                                    .snapshot_dir = snapshot_dir,
                                    .region = "us",
                                    .log = &quiet_log,
                                    .max_feeds = {CAP, 0},
                                    .max_hosts = {CAP, 0}};
    assert_int_equal(feed_create(f->repo, &options, &feed, &err), 0);
    assert_int_equal(repo_head(f->repo, &head, &err), 0);
    epoch = head.epoch;
    cp = repo_fixture_uuid(1);
    token = repo_fixture_uuid(21);
    scope = repo_fixture_cp(1);
    for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++)
        clients[i] = (struct feed_client){.instance = repo_fixture_uuid(100 + (unsigned)i),
                                          .credential = token};
    liar->credential = repo_fixture_uuid(22);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return start(QUIET_MS, NEVER_MS);
}

static int set_up_brisk(void **state)
{
    (void)state;
    return start(BRISK_MS, NEVER_MS);
}

/* Whoever is connected twice is seen to be at once. */
static int set_up_brisk_twins(void **state)
{
    (void)state;
    return start(BRISK_MS, 1);
}

static int tear_down(void **state)
{
    (void)state;
    feed_stop(feed);
    for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++)
        feed_client_disconnect(&clients[i]);
    feed_destroy(feed);
    repo_fixture_destroy(f);
    return 0;
}

static void connect_as(struct feed_client *client, const char *name)
{
    feed_client_connect(client, feed, &cp, name, &epoch, repo_fixture_version(f));
    feed_client_expect(client, FEED_LINE_HELLO);
    feed_client_expect(client, FEED_LINE_HEARTBEAT);
}

static struct feed_ack ack_of(const struct feed_client *client, const char *name, uint64_t version)
{
    return (struct feed_ack){.control_plane_id = cp,
                             .host = name,
                             .instance = client->instance,
                             .feed = client->feed,
                             .credential = client->credential,
                             .applied = {.epoch = epoch, .version = version}};
}

static int ack(const struct feed_client *client, const char *name, uint64_t version)
{
    const struct feed_ack said = ack_of(client, name, version);

    return feed_ack(feed, &said, &err);
}

static void assert_refused(const struct feed_ack *said, const char *reason)
{
    assert_int_equal(feed_ack(feed, said, &err), E_CONFLICT);
    if (strstr(err.message, reason) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, reason);
}

/* The version that the client has read, and not acknowledged. */
static uint64_t read_change(struct feed_client *client)
{
    return feed_client_skip_to(client, FEED_LINE_COMMIT).commit.version;
}

static struct feed_host_info *list(size_t expected)
{
    struct feed_host_info *hosts;
    size_t count;

    assert_int_equal(feed_hosts(feed, &f->arena, &hosts, &count, &err), 0);
    assert_int_equal(count, expected);
    return hosts;
}

struct outcome {
    int calls;
    size_t total;
    size_t applied;
    struct uuid late; /* the first one's instance */
    bool late_shares_name;
};

static void note_outcome(void *context, const struct feed_wait_result *result)
{
    struct outcome *outcome = context;

    outcome->calls++;
    outcome->total = result->total;
    outcome->applied = result->applied;
    if (result->applied < result->total) {
        outcome->late = result->late[0].instance;
        outcome->late_shares_name = result->late[0].name_shared;
    }
}

static void wait_for(uint64_t version, struct outcome *outcome)
{
    const struct feed_wait_request request = {
        .version = version, .timeout_ms = LONG_MS, .done = note_outcome, .context = outcome};

    assert_int_equal(feed_wait(feed, &request, &err), 0);
}

/* What a wait that gives nobody time says. */
static struct outcome who_has(uint64_t version)
{
    struct outcome outcome = {.calls = 0};

    wait_for(version, &outcome);
    if (outcome.calls == 0)
        feed_stop(feed); /* ends it with what is known */
    assert_int_equal(outcome.calls, 1);
    return outcome;
}

/* ---- two of one name ---- */

static void two_instances_of_one_name_are_two_hosts(void **state)
{
    struct feed_stats stats;
    struct outcome outcome;
    uint64_t version;

    (void)state;
    connect_as(one, "edge-7");
    connect_as(two, "edge-7");
    repo_fixture_consumer(f, &scope, "alice");
    version = read_change(one);
    assert_int_equal(read_change(two), version); /* neither stream has ended */
    assert_true(list(2)[0].name_shared);
    feed_stats(feed, &stats);
    assert_int_equal(stats.hosts_sharing, 2);
    assert_int_equal(ack(one, "edge-7", version), 0);
    assert_int_equal(list(2)[0].applied_version, version);
    assert_int_equal(list(2)[1].applied_version, 0);
    outcome = who_has(version);
    assert_int_equal(outcome.total, 2);
    assert_int_equal(outcome.applied, 1);
    assert_true(uuid_equal(&outcome.late, &two->instance));
    assert_true(outcome.late_shares_name);
}

static void both_agents_of_a_shared_name_are_told_until_one_is_gone(void **state)
{
    struct feed_line line;

    (void)state;
    connect_as(one, "edge-7");
    feed_client_connect(two, feed, &cp, "edge-7", &epoch, repo_fixture_version(f));
    line = feed_client_expect(two, FEED_LINE_HELLO);
    assert_true(line.hello.name_shared);
    do
        line = feed_client_expect(one, FEED_LINE_HEARTBEAT);
    while (!line.heartbeat.name_shared);
    feed_client_disconnect(two);
    do
        line = feed_client_expect(one, FEED_LINE_HEARTBEAT);
    while (line.heartbeat.name_shared);
}

static void other_names_and_control_planes_share_nothing(void **state)
{
    struct feed_line line;

    (void)state;
    connect_as(one, "edge-7");
    connect_as(two, "edge-8");
    cp = repo_fixture_uuid(2);
    feed_client_connect(liar, feed, &cp, "edge-7", &epoch, repo_fixture_version(f));
    line = feed_client_expect(liar, FEED_LINE_HELLO);
    assert_false(line.hello.name_shared);
    for (size_t i = 0; i < 3; i++)
        assert_false(list(3)[i].name_shared);
}

/* Copies of one store directory that could not be told apart on their hosts. */
static void one_instance_with_two_feeds_is_two_hosts_and_told(void **state)
{
    struct outcome outcome;
    struct feed_line line;
    uint64_t version;

    (void)state;
    two->instance = one->instance;
    connect_as(one, "edge-7");
    connect_as(two, "edge-7");
    do
        line = feed_client_skip_to(one, FEED_LINE_HEARTBEAT);
    while (!line.heartbeat.name_shared);
    repo_fixture_consumer(f, &scope, "alice");
    version = read_change(one);
    assert_int_equal(read_change(two), version);
    assert_int_equal(ack(one, "edge-7", version), 0);
    outcome = who_has(version);
    assert_int_equal(outcome.total, 2);
    assert_int_equal(outcome.applied, 1);
}

/* The control plane hears of the new connection before it hears that the former one is dead. */
static void reconnection_that_overlaps_is_no_shared_name_and_leaves_one_host(void **state)
{
    (void)state;
    connect_as(one, "edge-7");
    assert_int_equal(ack(one, "edge-7", 0), 0);
    two->instance = one->instance;
    connect_as(two, "edge-7");
    assert_false(list(2)[0].name_shared);
    feed_client_disconnect(one);
    assert_true(list(1)[0].connected);
    two->former = two->feed;
    *one = (struct feed_client){
        .instance = two->instance, .credential = two->credential, .former = two->feed};
    connect_as(one, "edge-7");
    feed_client_expect_end(two);
    list(1);
}

/* The agent never saw the hello of its second feed; it names the first. */
static void feed_whose_hello_was_lost_is_replaced_by_the_name_of_the_one_before(void **state)
{
    struct uuid known;

    (void)state;
    connect_as(one, "edge-7");
    known = one->feed;
    two->instance = one->instance;
    two->former = known;
    connect_as(two, "edge-7");
    feed_client_expect_end(one);
    feed_client_disconnect(one);
    one->former = known;
    connect_as(one, "edge-7");
    feed_client_expect_end(two);
    list(1);
}

/* ---- lies ---- */

static void acknowledgement_never_says_more_than_what_was_sent(void **state)
{
    struct feed_ack said;
    uint64_t version;

    (void)state;
    connect_as(one, "edge-7");
    said = ack_of(one, "edge-7", 1000000000000000);
    assert_refused(&said, "was not sent");
    said = ack_of(one, "edge-7", 1);
    assert_refused(&said, "was not sent");
    repo_fixture_consumer(f, &scope, "alice");
    said = ack_of(one, "edge-7", repo_fixture_version(f));
    assert_refused(&said, "was not sent"); /* it is on its way, at best */
    version = read_change(one);
    said = ack_of(one, "edge-7", version);
    said.verified = version + 1;
    assert_refused(&said, "Verified");
    said.applied.epoch = repo_fixture_uuid(9);
    assert_refused(&said, "epoch");
    assert_int_equal(list(1)[0].applied_version, 0);
    assert_int_equal(ack(one, "edge-7", version), 0);
    assert_int_equal(list(1)[0].applied_version, version);
}

/* A cursor of the future is none of this history; later versions reach it. */
static void cursor_of_the_future_opens_no_way_to_acknowledge_it(void **state)
{
    struct feed_ack said;

    (void)state;
    feed_client_connect(one, feed, &cp, "edge-7", &epoch, 1000);
    feed_client_expect(one, FEED_LINE_HELLO);
    said = ack_of(one, "edge-7", 1000);
    assert_refused(&said, "was not sent");
    repo_fixture_consumer(f, &scope, "alice");
    said = ack_of(one, "edge-7", 1);
    assert_refused(&said, "was not sent");
    assert_int_equal(list(1)[0].applied_version, 0);
}

static void only_the_credential_that_opened_a_feed_acknowledges_on_it(void **state)
{
    struct feed_ack said;
    uint64_t version;

    (void)state;
    connect_as(one, "edge-7");
    repo_fixture_consumer(f, &scope, "alice");
    version = read_change(one);
    said = ack_of(one, "edge-7", version);
    said.credential = liar->credential;
    assert_refused(&said, "opened with these credentials");
    connect_as(liar, "edge-8"); /* a feed of its own does not help */
    assert_refused(&said, "opened with these credentials");
    said.feed = liar->feed;
    assert_refused(&said, "opened with these credentials");
    said.credential = token;
    assert_refused(&said, "opened with these credentials");
}

static void feed_that_is_over_takes_no_acknowledgement(void **state)
{
    const struct uuid *former = &one->feed;
    struct feed_ack said;

    (void)state;
    connect_as(one, "edge-7");
    said = ack_of(one, "edge-7", 0);
    assert_int_equal(feed_ack(feed, &said, &err), 0);
    feed_client_disconnect(one);
    assert_refused(&said, "is connected");
    one->former = *former;
    connect_as(one, "edge-7");
    assert_refused(&said, "is connected"); /* the id of the former feed */
    assert_int_equal(ack(one, "edge-7", 0), 0);
}

/* Name and instance can be seen in the list of hosts; credential and feed cannot. */
static void stranger_with_name_and_instance_is_another_host(void **state)
{
    struct outcome outcome;
    uint64_t version;

    (void)state;
    liar->instance = one->instance;
    connect_as(one, "edge-7");
    connect_as(liar, "edge-7");
    repo_fixture_consumer(f, &scope, "alice");
    version = read_change(one); /* its stream has not ended */
    assert_int_equal(read_change(liar), version);
    assert_int_equal(ack(liar, "edge-7", version), 0);
    outcome = who_has(version);
    assert_int_equal(outcome.total, 2);
    assert_int_equal(outcome.applied, 1);
}

/* The host is stopped while somebody waits for it; whoever comes in its name does not count. */
static void nobody_speaks_for_a_host_that_stopped(void **state)
{
    struct outcome outcome = {.calls = 0};
    uint64_t version;

    (void)state;
    liar->instance = two->instance = one->instance;
    connect_as(one, "edge-7");
    repo_fixture_consumer(f, &scope, "alice");
    version = repo_fixture_version(f);
    wait_for(version, &outcome);
    feed_client_disconnect(one);
    connect_as(liar, "edge-7");
    assert_int_equal(ack(liar, "edge-7", version), 0);
    connect_as(two, "edge-7"); /* even with the same credential */
    assert_int_equal(ack(two, "edge-7", version), 0);
    feed_stop(feed);
    assert_int_equal(outcome.calls, 1);
    assert_int_equal(outcome.total, 1);
    assert_int_equal(outcome.applied, 0);
}

/* ---- agents of before ---- */

static void unnamed(struct feed_client *client)
{
    client->instance = (struct uuid){{0}};
}

/* No instance, and an acknowledgement that names no feed. */
static struct feed_ack ack_of_before(const struct feed_client *client, const char *name,
                                     uint64_t version)
{
    struct feed_ack said = ack_of(client, name, version);

    said.feed = (struct uuid){{0}};
    return said;
}

static void agent_of_before_is_known_by_its_name_and_credential(void **state)
{
    struct feed_ack said;
    uint64_t version;

    (void)state;
    unnamed(one);
    connect_as(one, "edge-7");
    repo_fixture_consumer(f, &scope, "alice");
    said = ack_of_before(one, "edge-7", repo_fixture_version(f));
    assert_refused(&said, "was not sent");
    version = read_change(one);
    said.credential = liar->credential;
    assert_refused(&said, "opened with these credentials");
    said.credential = token;
    assert_int_equal(feed_ack(feed, &said, &err), 0);
    assert_int_equal(list(1)[0].applied_version, version);
    feed_client_disconnect(one);
    assert_false(list(1)[0].connected);
    connect_as(one, "edge-7");
    assert_true(list(1)[0].connected);
}

/* They used to evict each other, for ever. Neither can say which of the two it is, so neither is
 * believed. */
static void two_agents_of_before_with_one_name_are_both_waited_for(void **state)
{
    struct outcome outcome;
    struct feed_ack said;

    (void)state;
    unnamed(one);
    unnamed(two);
    connect_as(one, "edge-7");
    connect_as(two, "edge-7");
    repo_fixture_consumer(f, &scope, "alice");
    said = ack_of_before(one, "edge-7", read_change(one));
    (void)read_change(two);
    assert_refused(&said, "does not name one");
    outcome = who_has(repo_fixture_version(f));
    assert_int_equal(outcome.total, 2);
    assert_int_equal(outcome.applied, 0);
}

static void two_agents_of_before_with_tokens_of_their_own_are_two_hosts(void **state)
{
    struct feed_line line;
    uint64_t version;

    (void)state;
    unnamed(one);
    unnamed(liar);
    connect_as(one, "edge-7");
    feed_client_connect(liar, feed, &cp, "edge-7", &epoch, repo_fixture_version(f));
    line = feed_client_expect(liar, FEED_LINE_HELLO);
    assert_true(line.hello.name_shared);
    repo_fixture_consumer(f, &scope, "alice");
    version = read_change(one);
    (void)read_change(liar);
    for (int i = 0; i < 2; i++) {
        struct feed_ack said = ack_of_before(i == 0 ? one : liar, "edge-7", version);

        assert_int_equal(feed_ack(feed, &said, &err), 0);
    }
    assert_int_equal(who_has(version).applied, 2);
}

/* One of two that cannot be told apart comes back with another token. */
static void name_stays_shared_when_credentials_change(void **state)
{
    (void)state;
    two->instance = one->instance;
    connect_as(one, "edge-7");
    connect_as(two, "edge-7");
    assert_false(list(2)[0].name_shared);
    clients[3].instance = one->instance;
    clients[3].credential = repo_fixture_uuid(77);
    clients[3].former = one->feed;
    connect_as(&clients[3], "edge-7");
    feed_client_expect_end(one);
    assert_true(list(2)[0].name_shared);
    feed_client_disconnect(two);
    assert_false(list(1)[0].name_shared);
    feed_client_disconnect(&clients[3]);
    list(0);
}

static void agent_of_before_does_not_acknowledge_for_one_of_now(void **state)
{
    struct feed_ack said;

    (void)state;
    connect_as(one, "edge-7");
    said = ack_of_before(one, "edge-7", 0);
    unnamed(one);
    said.instance = one->instance;
    assert_refused(&said, "is connected");
}

static void agent_that_was_brought_up_to_date_is_listed_once(void **state)
{
    const struct uuid instance = one->instance;

    (void)state;
    unnamed(one);
    connect_as(one, "edge-7");
    assert_int_equal(ack(one, "edge-7", 0), 0);
    feed_client_disconnect(one);
    liar->instance = instance; /* with other credentials it is another one */
    connect_as(liar, "edge-7");
    list(2);
    one->instance = instance;
    connect_as(one, "edge-7");
    assert_true(list(2)[0].connected);
    assert_true(list(2)[1].connected);
}

/* ---- how many ---- */

static void host_that_never_acknowledged_is_forgotten_when_it_leaves(void **state)
{
    struct feed_stats stats;

    (void)state;
    for (unsigned i = 0; i < PHANTOMS; i++) {
        char name[32];

        one->instance = repo_fixture_uuid(1000 + i);
        (void)snprintf(name, sizeof(name), "phantom-%u", i);
        feed_client_connect(one, feed, &cp, name, &epoch, 0);
        feed_client_disconnect(one);
    }
    feed_stats(feed, &stats);
    assert_int_equal(stats.hosts, 0);
    assert_int_equal(stats.feeds_refused, 0);
}

static void phantom_that_acknowledges_displaces_what_is_gone_and_no_host_that_is_there(void **state)
{
    struct feed_host_info *hosts;
    bool found = false;

    (void)state;
    connect_as(two, "edge-7");
    for (unsigned i = 0; i < 10 * CAP; i++) {
        char name[32];

        one->instance = repo_fixture_uuid(1000 + i);
        (void)snprintf(name, sizeof(name), "phantom-%u", i);
        connect_as(one, name);
        assert_int_equal(ack(one, name, 0), 0);
        feed_client_disconnect(one);
    }
    hosts = list(CAP);
    for (size_t i = 0; i < CAP; i++)
        found |= hosts[i].connected && strcmp(hosts[i].host, "edge-7") == 0;
    assert_true(found);
}

/* Under the cap of all of them, only the liar's own are forgotten for the liar's. */
static void phantoms_of_one_credential_displace_no_others(void **state)
{
    bool found = false;

    (void)state;
    feed_destroy(feed);
    options.max_hosts[FEED_CAP_CREDENTIAL] = options.max_hosts[FEED_CAP_CONTROL_PLANE] = CAP;
    assert_int_equal(feed_create(f->repo, &options, &feed, &err), 0);
    connect_as(one, "edge-1");
    assert_int_equal(ack(one, "edge-1", 0), 0);
    feed_client_disconnect(one);
    for (unsigned i = 0; i < 10 * CAP; i++) {
        liar->instance = repo_fixture_uuid(1000 + i);
        connect_as(liar, "phantom");
        assert_int_equal(ack(liar, "phantom", 0), 0);
        feed_client_disconnect(liar);
    }
    for (size_t i = 0; i < CAP; i++)
        found |= strcmp(list(CAP)[i].host, "edge-1") == 0;
    assert_true(found);
}

static int try_one_more(const struct feed_client *like, const char *name)
{
    struct follower_options more = {.control_plane_id = cp,
                                    .host = name,
                                    .instance = repo_fixture_uuid(999),
                                    .credential = like->credential,
                                    .wake = NULL};
    struct follower *follower = NULL;
    int rc;

    err = (struct error)ERROR_INIT;
    rc = feed_follower_create(feed, &more, &follower, &err);
    feed_follower_destroy(follower);
    return rc;
}

static void feeds_of_one_credential_have_a_cap_that_others_do_not_feel(void **state)
{
    static const char *const names[] = {"edge-1", "edge-2", "edge-3"};
    struct feed_stats stats;

    (void)state;
    clients[2].credential = token;
    for (int i = 0; i < CAP; i++)
        connect_as(&clients[i], names[i]);
    assert_int_equal(try_one_more(one, "edge-4"), E_TOO_MANY);
    assert_non_null(strstr(err.message, "max_feeds_per_token"));
    feed_stats(feed, &stats);
    assert_int_equal(stats.feeds_refused, 1);
    assert_int_equal(stats.hosts, CAP);
    clients[CAP].credential = repo_fixture_uuid(22);
    connect_as(&clients[CAP], "edge-4");
    /* Its place is taken by its own successor, and only by that. */
    clients[CAP + 1] = *one;
    clients[CAP + 1].follower = NULL;
    clients[CAP + 1].former = one->feed;
    connect_as(&clients[CAP + 1], "edge-1");
    feed_client_expect_end(one);
    feed_client_disconnect(one);
    feed_client_disconnect(two);
    assert_int_equal(try_one_more(two, "edge-5"), 0);
}

/* A fleet that was rolled out with one name and no instances. */
static void hosts_that_cannot_be_told_apart_have_a_cap(void **state)
{
    enum { TWINS = 1000 };
    static struct follower *twins[TWINS];
    struct follower_options like = {
        .control_plane_id = cp, .host = "localhost", .credential = liar->credential};
    struct follower *more = NULL;

    (void)state;
    feed_destroy(feed);
    options.max_feeds[FEED_CAP_CREDENTIAL] = options.max_hosts[FEED_CAP_CREDENTIAL] = 0;
    assert_int_equal(feed_create(f->repo, &options, &feed, &err), 0);
    for (int i = 0; i < TWINS; i++)
        assert_int_equal(feed_follower_create(feed, &like, &twins[i], &err), 0);
    assert_int_equal(feed_follower_create(feed, &like, &more, &err), E_TOO_MANY);
    assert_non_null(strstr(err.message, "told apart"));
    like.host = "another";
    assert_int_equal(feed_follower_create(feed, &like, &more, &err), 0);
    feed_follower_destroy(more);
    for (int i = 0; i < TWINS; i++)
        feed_follower_destroy(twins[i]);
    list(0);
}

static void feeds_of_one_control_plane_have_a_cap(void **state)
{
    (void)state;
    feed_destroy(feed);
    options.max_feeds[FEED_CAP_CONTROL_PLANE] = 1;
    assert_int_equal(feed_create(f->repo, &options, &feed, &err), 0);
    connect_as(one, "edge-1");
    assert_int_equal(try_one_more(liar, "edge-2"), E_TOO_MANY);
    assert_non_null(strstr(err.message, "max_feeds_per_control_plane"));
    cp = repo_fixture_uuid(2);
    assert_int_equal(try_one_more(liar, "edge-2"), 0);
}

/* ---- whatever happens ---- */

enum { ACTORS = 12, STEPS = 1500, MOMENT_MS = 5 };

/* An agent, as the list of hosts should see it. */
struct actor {
    struct feed_client client;
    const char *name;
    bool replaced; /* another one took its place; its stream is over */
};
static struct actor actors[ACTORS];

static bool is_there(const struct actor *actor)
{
    return actor->client.follower != NULL && !actor->replaced;
}

static bool differ(const struct actor *a, const struct actor *b)
{
    return !uuid_equal(&a->client.instance, &b->client.instance) ||
           !uuid_equal(&a->client.credential, &b->client.credential);
}

static bool shares_name(const struct actor *actor)
{
    for (int i = 0; i < ACTORS; i++) {
        if (is_there(&actors[i]) && actors[i].name == actor->name && differ(actor, &actors[i]))
            return true;
    }
    return false;
}

/* Some come as themselves, some as nobody, some with the name of another's feed. */
static void arrive(struct actor *actor, uint64_t *seed)
{
    static const char *const names[] = {"edge-1", "edge-2"};
    struct actor *former = &actors[random_below(seed, ACTORS)];

    actor->name = names[random_below(seed, 2)];
    actor->replaced = false;
    actor->client.instance = (struct uuid){{(uint8_t)(random_below(seed, 3))}};
    actor->client.credential = (struct uuid){{(uint8_t)(1 + random_below(seed, 2))}};
    actor->client.former = (struct uuid){{0}};
    if (random_below(seed, 2) == 0 && is_there(former)) {
        actor->client.former = former->client.feed;
        if (former->name == actor->name &&
            uuid_equal(&former->client.instance, &actor->client.instance))
            former->replaced = true;
    }
    connect_as(&actor->client, actor->name);
}

static void ignore_outcome(void *context, const struct feed_wait_result *result)
{
    (void)context;
    (void)result;
}

/* Something that nobody has yet: for a moment every host that is there is kept. */
static void wait_a_moment(void)
{
    static unsigned n;
    char name[32];
    struct feed_wait_request request = {.timeout_ms = MOMENT_MS, .done = ignore_outcome};

    (void)snprintf(name, sizeof(name), "user-%u", n++);
    repo_fixture_consumer(f, &scope, name);
    request.version = repo_fixture_version(f);
    assert_int_equal(feed_wait(feed, &request, &err), 0);
}

static void act(struct actor *actor, uint64_t *seed)
{
    if (actor->client.follower == NULL)
        arrive(actor, seed);
    else if (random_below(seed, 3) == 0)
        feed_client_disconnect(&actor->client);
    else if (random_below(seed, 3) == 0)
        (void)ack(&actor->client, actor->name, random_below(seed, 3));
    else
        wait_a_moment();
}

static void check_list(void)
{
    struct feed_host_info *hosts;
    size_t count;
    size_t there = 0;
    size_t listed = 0;
    size_t sharing = 0;

    arena_reset(&f->arena);
    assert_int_equal(feed_hosts(feed, &f->arena, &hosts, &count, &err), 0);
    for (int i = 0; i < ACTORS; i++) {
        there += is_there(&actors[i]);
        sharing += is_there(&actors[i]) && shares_name(&actors[i]);
    }
    for (size_t i = 0; i < count; i++) {
        listed += hosts[i].connected;
        sharing -= hosts[i].name_shared;
    }
    assert_int_equal(listed, there);
    assert_int_equal(sharing, 0);
}

static void list_tells_who_is_there_whoever_comes_and_goes(void **state)
{
    struct feed_stats stats;
    uint64_t seed = 20261128;

    (void)state;
    feed_destroy(feed);
    options.max_feeds[FEED_CAP_CREDENTIAL] = options.max_hosts[FEED_CAP_CREDENTIAL] = 0;
    assert_int_equal(feed_create(f->repo, &options, &feed, &err), 0);
    for (int i = 0; i < STEPS; i++) {
        act(&actors[random_below(&seed, ACTORS)], &seed);
        check_list();
    }
    for (int i = 0; i < ACTORS; i++)
        feed_client_disconnect(&actors[i].client);
    check_list();
    feed_stats(feed, &stats);
    assert_int_equal(stats.followers, 0);
    assert_int_equal(stats.hosts_sharing, 0);
}

#define TEST(name)          cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_WITH(name, up) cmocka_unit_test_setup_teardown(name, up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_instances_of_one_name_are_two_hosts),
        TEST_WITH(both_agents_of_a_shared_name_are_told_until_one_is_gone, set_up_brisk),
        TEST(other_names_and_control_planes_share_nothing),
        TEST_WITH(one_instance_with_two_feeds_is_two_hosts_and_told, set_up_brisk_twins),
        TEST(reconnection_that_overlaps_is_no_shared_name_and_leaves_one_host),
        TEST(feed_whose_hello_was_lost_is_replaced_by_the_name_of_the_one_before),
        TEST(acknowledgement_never_says_more_than_what_was_sent),
        TEST(cursor_of_the_future_opens_no_way_to_acknowledge_it),
        TEST(only_the_credential_that_opened_a_feed_acknowledges_on_it),
        TEST(feed_that_is_over_takes_no_acknowledgement),
        TEST(stranger_with_name_and_instance_is_another_host),
        TEST(nobody_speaks_for_a_host_that_stopped),
        TEST(agent_of_before_is_known_by_its_name_and_credential),
        TEST(two_agents_of_before_with_one_name_are_both_waited_for),
        TEST(two_agents_of_before_with_tokens_of_their_own_are_two_hosts),
        TEST(name_stays_shared_when_credentials_change),
        TEST(agent_of_before_does_not_acknowledge_for_one_of_now),
        TEST(host_that_never_acknowledged_is_forgotten_when_it_leaves),
        TEST(phantom_that_acknowledges_displaces_what_is_gone_and_no_host_that_is_there),
        TEST(feeds_of_one_credential_have_a_cap_that_others_do_not_feel),
        TEST(feeds_of_one_control_plane_have_a_cap),
        TEST(hosts_that_cannot_be_told_apart_have_a_cap),
        TEST(list_tells_who_is_there_whoever_comes_and_goes),
        TEST(phantoms_of_one_credential_displace_no_others),
        TEST(agent_that_was_brought_up_to_date_is_listed_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_feed_hosts.c - which hosts there are, what they acknowledged, and waiting for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "tests/lib/feed_client.h"
#include "tests/lib/repo_fixture.h"

enum { QUIET_MS = 60 * 1000, PATIENCE_S = 10, LONG_MS = 30 * 1000, SHORT_MS = 50 };

static const struct log quiet_log = {.fd = 2, .level = LOG_LEVEL_ERROR};

static struct repo_fixture *f;
static struct feed *feed;
static struct feed_client one;   /* edge-1 of control plane 1 */
static struct feed_client two;   /* edge-2 of control plane 1 */
static struct feed_client three; /* edge-1 of control plane 2 */
static struct repo_scope scope;
static struct uuid cp;
static struct uuid other_cp;
static struct uuid epoch;
static struct error err;

static void connect_host(struct feed_client *client, const struct uuid *plane, const char *host)
{
    feed_client_connect(client, feed, plane, host, &epoch, repo_fixture_version(f));
    feed_client_expect(client, FEED_LINE_HELLO);
    feed_client_expect(client, FEED_LINE_HEARTBEAT);
}

static int set_up(void **state)
{
    static char snapshot_dir[128];
    struct feed_options options = {
        .heartbeat_ms = QUIET_MS, .snapshot_dir = snapshot_dir, .region = "us", .log = &quiet_log};
    struct repo_head head;

    (void)state;
    f = repo_fixture_create(0);
    (void)snprintf(snapshot_dir, sizeof(snapshot_dir), "%s/snapshots", f->dir);
    assert_int_equal(feed_create(f->repo, &options, &feed, &err), 0);
    assert_int_equal(repo_head(f->repo, &head, &err), 0);
    epoch = head.epoch;
    cp = repo_fixture_uuid(1);
    other_cp = repo_fixture_uuid(2);
    scope = repo_fixture_cp(1);
    one = (struct feed_client){.instance = repo_fixture_uuid(11), .credential = cp};
    two = (struct feed_client){.instance = repo_fixture_uuid(12), .credential = cp};
    three = (struct feed_client){.instance = repo_fixture_uuid(13), .credential = other_cp};
    connect_host(&one, &cp, "edge-1");
    connect_host(&two, &cp, "edge-2");
    connect_host(&three, &other_cp, "edge-1");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    feed_stop(feed);
    feed_client_disconnect(&one);
    feed_client_disconnect(&two);
    feed_client_disconnect(&three);
    feed_destroy(feed);
    repo_fixture_destroy(f);
    return 0;
}

static int ack(const struct feed_client *client, const struct uuid *plane, const char *host,
               uint64_t version)
{
    const struct feed_ack said = {.control_plane_id = *plane,
                                  .host = host,
                                  .instance = client->instance,
                                  .feed = client->feed,
                                  .credential = client->credential,
                                  .applied = {.epoch = epoch, .version = version}};

    return feed_ack(feed, &said, &err);
}

/* Reads one transaction and acknowledges it. */
static void apply(struct feed_client *client, const struct uuid *plane, const char *host)
{
    struct feed_line line = feed_client_skip_to(client, FEED_LINE_COMMIT);

    assert_int_equal(ack(client, plane, host, line.commit.version), 0);
}

/* ---- waiting ---- */

struct wait {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int calls;
    size_t total;
    size_t applied;
    size_t late_others;
    size_t n_late;
    char late[256]; /* names, each with a space behind it */
};

static void wait_init(struct wait *wait)
{
    *wait = (struct wait){.calls = 0};
    pthread_mutex_init(&wait->lock, NULL);
    pthread_cond_init(&wait->ended, NULL);
}

static void note_end(void *context, const struct feed_wait_result *result)
{
    struct wait *wait = context;

    pthread_mutex_lock(&wait->lock);
    wait->calls++;
    wait->total = result->total;
    wait->applied = result->applied;
    wait->late_others = result->late_others;
    wait->n_late = result->n_late;
    for (size_t i = 0; i < result->n_late; i++) {
        size_t used = strlen(wait->late);

        (void)snprintf(wait->late + used, sizeof(wait->late) - used, "%s ", result->late[i].host);
    }
    pthread_cond_signal(&wait->ended);
    pthread_mutex_unlock(&wait->lock);
}

static int wait_as(const struct uuid *viewer, struct wait *wait, uint64_t version,
                   int64_t timeout_ms)
{
    const struct feed_wait_request request = {.version = version,
                                              .timeout_ms = timeout_ms,
                                              .viewer = viewer,
                                              .done = note_end,
                                              .context = wait};

    wait_init(wait);
    return feed_wait(feed, &request, &err);
}

static void start_wait(struct wait *wait, uint64_t version, int64_t timeout_ms)
{
    assert_int_equal(wait_as(NULL, wait, version, timeout_ms), 0);
}

static int calls(struct wait *wait)
{
    int count;

    pthread_mutex_lock(&wait->lock);
    count = wait->calls;
    pthread_mutex_unlock(&wait->lock);
    return count;
}

static void assert_ends(struct wait *wait, size_t total, size_t applied, const char *late)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&wait->lock);
    while (wait->calls == 0 && rc == 0)
        rc = pthread_cond_timedwait(&wait->ended, &wait->lock, &until);
    assert_int_equal(wait->calls, 1);
    assert_int_equal(wait->total, total);
    assert_int_equal(wait->applied, applied);
    assert_string_equal(wait->late, late);
    pthread_mutex_unlock(&wait->lock);
    pthread_cond_destroy(&wait->ended);
    pthread_mutex_destroy(&wait->lock);
}

static void wait_ends_when_every_concerned_host_has_applied(void **state)
{
    struct wait wait;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    start_wait(&wait, repo_fixture_version(f), LONG_MS);
    apply(&one, &cp, "edge-1");
    assert_int_equal(calls(&wait), 0);
    apply(&two, &cp, "edge-2");
    assert_ends(&wait, 2, 2, "");
}

static void wait_for_what_is_applied_already_ends_at_once(void **state)
{
    struct wait wait;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    apply(&one, &cp, "edge-1");
    apply(&two, &cp, "edge-2");
    start_wait(&wait, repo_fixture_version(f), LONG_MS);
    assert_int_equal(calls(&wait), 1);
    assert_ends(&wait, 2, 2, "");
}

static void wait_that_concerns_nobody_ends_at_once(void **state)
{
    const struct repo_scope unseen = repo_fixture_cp(3);
    struct wait wait;

    (void)state;
    repo_fixture_consumer(f, &unseen, "alice");
    start_wait(&wait, repo_fixture_version(f), LONG_MS);
    assert_int_equal(calls(&wait), 1);
    assert_ends(&wait, 0, 0, "");
}

static void wait_that_times_out_names_the_late_hosts(void **state)
{
    struct wait wait;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    apply(&one, &cp, "edge-1");
    start_wait(&wait, repo_fixture_version(f), SHORT_MS);
    assert_ends(&wait, 2, 1, "edge-2 ");
}

/* Where thousands are late, a name for each would be made by the thread that sends revocations. */
static void many_late_hosts_are_counted_and_some_are_named(void **state)
{
    enum { MANY = FEED_LATE_MAX + 20 };
    static struct feed_client crowd[MANY];
    struct wait wait;

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        crowd[i] =
            (struct feed_client){.instance = repo_fixture_uuid(100 + i), .credential = other_cp};
        connect_host(&crowd[i], &other_cp, "x");
    }
    scope = repo_fixture_cp(2);
    repo_fixture_consumer(f, &scope, "alice");
    apply(&three, &other_cp, "edge-1");
    start_wait(&wait, repo_fixture_version(f), SHORT_MS);
    while (calls(&wait) == 0)
        (void)sched_yield();
    assert_int_equal(wait.total, MANY + 1);
    assert_int_equal(wait.applied, 1);
    assert_int_equal(wait.n_late, FEED_LATE_MAX);
    feed_stop(feed);
    for (size_t i = 0; i < MANY; i++)
        feed_client_disconnect(&crowd[i]);
}

static void host_that_disconnects_is_late_and_one_that_comes_is_not_counted(void **state)
{
    struct wait wait;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    start_wait(&wait, repo_fixture_version(f), LONG_MS);
    feed_client_disconnect(&two);
    connect_host(&two, &cp, "edge-3");
    apply(&one, &cp, "edge-1");
    feed_stop(feed);
    assert_ends(&wait, 2, 1, "edge-2 ");
}

/* As the same agent does. */
static void disconnect_for_a_moment(struct feed_client *client)
{
    client->former = client->feed;
    feed_client_disconnect(client);
}

static void host_that_comes_back_with_the_version_has_applied_it(void **state)
{
    struct wait wait;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    apply(&one, &cp, "edge-1");
    start_wait(&wait, repo_fixture_version(f), LONG_MS);
    disconnect_for_a_moment(&two);
    connect_host(&two, &cp, "edge-2");
    assert_ends(&wait, 2, 2, "");
}

/* It may be anybody's: an agent that was started again, or a liar. */
static void host_that_comes_back_without_naming_its_feed_is_late(void **state)
{
    struct wait wait;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    apply(&one, &cp, "edge-1");
    start_wait(&wait, repo_fixture_version(f), LONG_MS);
    feed_client_disconnect(&two);
    connect_host(&two, &cp, "edge-2");
    repo_fixture_consumer(f, &scope, "bob");
    apply(&two, &cp, "edge-2");
    assert_int_equal(calls(&wait), 0);
    feed_stop(feed);
    assert_ends(&wait, 2, 1, "edge-2 ");
}

/* Nobody is ever sent such a change, so nobody could acknowledge it. */
static void change_that_was_undone_at_once_counts_as_applied(void **state)
{
    const unsigned allowed[] = {1, 0};
    struct repo_realm realm = repo_fixture_realm(f, "prod", allowed);
    uint64_t version = repo_fixture_version(f);
    struct wait wait;

    (void)state;
    assert_int_equal(repo_realm_delete(REPO_CALL(f, .err = &err), &realm.model.id, true), 0);
    start_wait(&wait, version, LONG_MS);
    /* The feed may have seen the two versions apart; then there is something to apply. */
    while (calls(&wait) == 0) {
        char bytes[4096];

        for (int i = 0; i < 2; i++) {
            struct feed_client *client = i == 0 ? &one : &two;

            while (feed_follower_read(client->follower, bytes, sizeof(bytes)) > 0)
                continue;
            /* Refused when nothing was sent: then there is nothing to acknowledge either. */
            (void)ack(client, &cp, i == 0 ? "edge-1" : "edge-2", repo_fixture_version(f));
        }
    }
    assert_ends(&wait, 2, 2, "");
}

static void stop_ends_every_wait_and_refuses_new_ones(void **state)
{
    struct wait refused;
    struct wait wait;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    start_wait(&wait, repo_fixture_version(f), LONG_MS);
    feed_stop(feed);
    assert_ends(&wait, 2, 0, "edge-1 edge-2 ");
    assert_int_equal(wait_as(NULL, &refused, repo_fixture_version(f), LONG_MS), E_CANCELED);
    assert_int_equal(wait.calls, 1); /* no thread is left that could call */
    assert_int_equal(refused.calls, 0);
}

/* The realm is for both: one control plane's caller hears of its own hosts, and of one late one. */
static void hosts_of_other_control_planes_are_a_number(void **state)
{
    const unsigned both[] = {1, 2, 0};
    struct wait wait;

    (void)state;
    (void)repo_fixture_realm(f, "shared", both);
    apply(&one, &cp, "edge-1");
    assert_int_equal(wait_as(&cp, &wait, repo_fixture_version(f), SHORT_MS), 0);
    assert_ends(&wait, 2, 1, "edge-2 ");
    assert_int_equal(wait.late_others, 1);
    assert_int_equal(wait_as(&other_cp, &wait, repo_fixture_version(f), SHORT_MS), 0);
    assert_ends(&wait, 1, 0, "edge-1 ");
    assert_int_equal(wait.late_others, 1);
}

/* Else "applied" would be said of a change that other hosts do not have. */
static void wait_is_for_hosts_that_the_caller_may_not_know_too(void **state)
{
    const unsigned both[] = {1, 2, 0};
    struct wait wait;

    (void)state;
    (void)repo_fixture_realm(f, "shared", both);
    apply(&one, &cp, "edge-1");
    apply(&two, &cp, "edge-2");
    assert_int_equal(wait_as(&cp, &wait, repo_fixture_version(f), LONG_MS), 0);
    assert_int_equal(calls(&wait), 0);
    apply(&three, &other_cp, "edge-1");
    assert_ends(&wait, 2, 2, "");
    assert_int_equal(wait.late_others, 0);
}

static void visibility_change_concerns_both_sides(void **state)
{
    const unsigned first[] = {1, 0};
    const unsigned second[] = {2, 0};
    struct repo_realm realm = repo_fixture_realm(f, "prod", first);
    struct wait wait;

    (void)state;
    apply(&one, &cp, "edge-1");
    apply(&two, &cp, "edge-2");
    repo_fixture_allow(f, &realm.model.id, second);
    start_wait(&wait, repo_fixture_version(f), LONG_MS);
    apply(&one, &cp, "edge-1");
    apply(&two, &cp, "edge-2");
    assert_int_equal(calls(&wait), 0);
    apply(&three, &other_cp, "edge-1");
    assert_ends(&wait, 3, 3, "");
}

static void read_up_to(struct feed_client *client, uint64_t version)
{
    while (feed_client_skip_to(client, FEED_LINE_COMMIT).commit.version < version)
        continue;
}

static void many_waits_end_with_their_own_versions(void **state)
{
    enum { WAITS = 20 };
    static struct wait waits[WAITS];

    (void)state;
    for (int i = 0; i < WAITS; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "user-%d", i);
        repo_fixture_consumer(f, &scope, name);
        start_wait(&waits[i], repo_fixture_version(f), LONG_MS);
    }
    read_up_to(&one, WAITS);
    read_up_to(&two, WAITS);
    for (int i = 0; i < WAITS; i++) {
        assert_int_equal(ack(&one, &cp, "edge-1", (uint64_t)i + 1), 0);
        assert_int_equal(ack(&two, &cp, "edge-2", (uint64_t)i + 1), 0);
        assert_ends(&waits[i], 2, 2, "");
        if (i + 1 < WAITS)
            assert_int_equal(calls(&waits[i + 1]), 0);
    }
}

/* Heartbeats are a minute apart here: one that comes was sent for the wait. */
static void hosts_that_somebody_waits_for_are_asked_to_acknowledge(void **state)
{
    struct feed_line line;
    struct wait wait;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    start_wait(&wait, repo_fixture_version(f), LONG_MS);
    (void)feed_client_skip_to(&one, FEED_LINE_COMMIT);
    line = feed_client_expect(&one, FEED_LINE_HEARTBEAT);
    assert_true(line.heartbeat.acknowledge);
    assert_int_equal(line.heartbeat.version, repo_fixture_version(f));
    assert_int_equal(ack(&one, &cp, "edge-1", line.heartbeat.version), 0);
    apply(&two, &cp, "edge-2");
    assert_ends(&wait, 2, 2, "");
}

static void host_that_comes_back_without_the_version_is_asked_too(void **state)
{
    const uint64_t before = repo_fixture_version(f);
    struct feed_line line;
    struct wait wait;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    apply(&one, &cp, "edge-1");
    start_wait(&wait, repo_fixture_version(f), LONG_MS);
    disconnect_for_a_moment(&two);
    feed_client_connect(&two, feed, &cp, "edge-2", &epoch, before);
    do /* the first one may be that of a host that came before it was missed */
        line = feed_client_skip_to(&two, FEED_LINE_HEARTBEAT);
    while (!line.heartbeat.acknowledge);
    assert_int_equal(ack(&two, &cp, "edge-2", line.heartbeat.version), 0);
    assert_ends(&wait, 2, 2, "");
}

static void host_that_has_acknowledged_is_not_asked(void **state)
{
    struct wait wait;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    apply(&one, &cp, "edge-1");
    start_wait(&wait, repo_fixture_version(f), LONG_MS);
    (void)feed_client_skip_to(&two, FEED_LINE_HEARTBEAT); /* has been asked */
    repo_fixture_consumer(f, &scope, "bob");
    (void)feed_client_expect(&one, FEED_LINE_BEGIN);
    apply(&two, &cp, "edge-2");
    assert_ends(&wait, 2, 2, "");
}

/* ---- acknowledging and listing ---- */

static void only_connected_hosts_can_acknowledge(void **state)
{
    (void)state;
    assert_int_equal(ack(&one, &cp, "edge-9", 0), E_CONFLICT);
    assert_int_equal(ack(&two, &other_cp, "edge-2", 0), E_CONFLICT);
    feed_client_disconnect(&two);
    assert_int_equal(ack(&two, &cp, "edge-2", 0), E_CONFLICT);
    assert_int_equal(ack(&one, &cp, "edge-1", 0), 0);
}

static struct feed_host_info *list(size_t expected)
{
    struct feed_host_info *hosts;
    size_t count;

    assert_int_equal(feed_hosts(feed, &f->arena, &hosts, &count, &err), 0);
    assert_int_equal(count, expected);
    return hosts;
}

static void hosts_are_listed_with_what_they_applied(void **state)
{
    struct feed_host_info *hosts;

    (void)state;
    repo_fixture_consumer(f, &scope, "alice");
    apply(&one, &cp, "edge-1");
    hosts = list(3);
    assert_string_equal(hosts[0].host, "edge-1");
    assert_string_equal(hosts[0].agent, "0.1.0");
    assert_true(hosts[0].connected);
    assert_int_equal(hosts[0].applied_version, 1);
    assert_int_equal(hosts[0].lag_ms, 0);
    assert_string_equal(hosts[1].host, "edge-2");
    assert_int_equal(hosts[1].applied_version, 0);
    assert_true(hosts[1].lag_ms >= 0);
    assert_true(uuid_equal(&hosts[2].control_plane_id, &other_cp));
    assert_int_equal(hosts[2].lag_ms, 0); /* it may not see what happened */
    assert_true(hosts[2].age_ms >= 0);
}

static void host_that_left_stays_listed(void **state)
{
    struct feed_host_info *hosts;

    (void)state;
    assert_int_equal(ack(&two, &cp, "edge-2", 0), 0);
    feed_client_disconnect(&two);
    hosts = list(3);
    assert_string_equal(hosts[1].host, "edge-2");
    assert_true(uuid_equal(&hosts[1].instance, &two.instance));
    assert_false(hosts[1].connected);
    connect_host(&two, &cp, "edge-2");
    assert_true(list(3)[1].connected);
}

static void lag_counts_from_the_commit_that_was_missed(void **state)
{
    struct repo_consumer alice = repo_fixture_consumer(f, &scope, "alice");
    int64_t lag_ms;
    int64_t now_ms;

    (void)state;
    feed_client_skip_to(&one, FEED_LINE_COMMIT); /* sent, not acknowledged */
    lag_ms = list(3)[0].lag_ms;
    now_ms = clock_wall_ms();
    assert_true(lag_ms <= now_ms - alice.created_ms);
    while (list(3)[0].lag_ms <= lag_ms)
        continue; /* it grows with the clock */
    assert_int_equal(ack(&one, &cp, "edge-1", repo_fixture_version(f)), 0);
    assert_int_equal(list(3)[0].lag_ms, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wait_ends_when_every_concerned_host_has_applied),
        TEST(wait_for_what_is_applied_already_ends_at_once),
        TEST(wait_that_concerns_nobody_ends_at_once),
        TEST(wait_that_times_out_names_the_late_hosts),
        TEST(many_late_hosts_are_counted_and_some_are_named),
        TEST(host_that_disconnects_is_late_and_one_that_comes_is_not_counted),
        TEST(host_that_comes_back_with_the_version_has_applied_it),
        TEST(host_that_comes_back_without_naming_its_feed_is_late),
        TEST(change_that_was_undone_at_once_counts_as_applied),
        TEST(stop_ends_every_wait_and_refuses_new_ones),
        TEST(hosts_of_other_control_planes_are_a_number),
        TEST(wait_is_for_hosts_that_the_caller_may_not_know_too),
        TEST(visibility_change_concerns_both_sides),
        TEST(many_waits_end_with_their_own_versions),
        TEST(hosts_that_somebody_waits_for_are_asked_to_acknowledge),
        TEST(host_that_comes_back_without_the_version_is_asked_too),
        TEST(host_that_has_acknowledged_is_not_asked),
        TEST(only_connected_hosts_can_acknowledge),
        TEST(hosts_are_listed_with_what_they_applied),
        TEST(host_that_left_stays_listed),
        TEST(lag_counts_from_the_commit_that_was_missed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

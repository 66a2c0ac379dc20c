/* test_feed_queue.c - transactions for single followers: none is lost or made twice, control planes
 * and credentials take turns, memory is bounded, who does not read is cut, and a commit waits for
 * none of them.
 *
 * repo_transaction() is wrapped by the linker: it notes who asked and stands still at a gate while
 * a test wants it to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/feed_client.h"
#include "tests/lib/repo_fixture.h"

enum {
    QUIET_MS = 60 * 1000,
    PATIENCE_MS = 10 * 1000,
    CALLS_MAX = 512,
    HOSTS = 40,
    FAR = 120,
    LARGE = 1100 /* of a thousand bytes each: more than the feed thread does itself */
};

static const struct log quiet_log = {.fd = 2, .level = LOG_LEVEL_ERROR};

static struct repo_fixture *f;
static struct feed *feed;
static struct uuid epoch;
static char snapshot_dir[128];
static struct feed_client clients[HOSTS];

/* ---- the gate ---- */

struct call {
    struct uuid control_plane_id;
    uint64_t from;
    enum feed_wish_kind wish;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool (*holds)(const struct repo_transaction_query *query); /* NULL: none */
    unsigned inside;                                           /* calls that stand still */
    unsigned count;
    struct call calls[CALLS_MAX];
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int __real_repo_transaction(struct repo *repo, const struct repo_transaction_query *query,
                            const struct repo_transaction_sink *sink, struct repo_delta *ret,
                            struct error *err);
int __wrap_repo_transaction(struct repo *repo, const struct repo_transaction_query *query,
                            const struct repo_transaction_sink *sink, struct repo_delta *ret,
                            struct error *err);

int __wrap_repo_transaction(struct repo *repo, const struct repo_transaction_query *query,
                            const struct repo_transaction_sink *sink, struct repo_delta *ret,
                            struct error *err)
{
    pthread_mutex_lock(&gate.lock);
    if (gate.count < CALLS_MAX)
        gate.calls[gate.count++] =
            (struct call){*query->control_plane_id, query->from,
                          query->wish != NULL ? query->wish->kind : FEED_WISH_NONE};
    gate.inside++;
    pthread_cond_broadcast(&gate.changed);
    while (gate.holds != NULL && gate.holds(query))
        pthread_cond_wait(&gate.changed, &gate.lock);
    gate.inside--;
    pthread_mutex_unlock(&gate.lock);
    return __real_repo_transaction(repo, query, sink, ret, err);
}

/* Those that it held before and does not hold any more go on. */
static void gate_hold(bool (*holds)(const struct repo_transaction_query *query))
{
    pthread_mutex_lock(&gate.lock);
    gate.holds = holds;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static bool all(const struct repo_transaction_query *query)
{
    (void)query;
    return true;
}

static bool is_plane(const struct uuid *control_plane_id, unsigned cp)
{
    const struct uuid id = repo_fixture_uuid(cp);

    return uuid_equal(control_plane_id, &id);
}

static bool wishes(const struct repo_transaction_query *query)
{
    return query->wish != NULL;
}

static bool only_9(const struct repo_transaction_query *query)
{
    return is_plane(query->control_plane_id, 9);
}

/* Waits until so many calls stand at the gate. */
static void gate_await(unsigned inside)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&gate.lock);
    while (gate.inside < inside && rc == 0)
        rc = pthread_cond_timedwait(&gate.changed, &gate.lock, &until);
    pthread_mutex_unlock(&gate.lock);
    assert_int_equal(rc, 0);
}

/* ---- the feed ---- */

static void start_feed(const struct feed_options *wanted)
{
    struct feed_options options = *wanted;
    struct error err = ERROR_INIT;

    if (options.heartbeat_ms == 0)
        options.heartbeat_ms = QUIET_MS;
    options.snapshot_dir = snapshot_dir;
    options.region = "us";
    options.log = &quiet_log;
    assert_int_equal(feed_create(f->repo, &options, &feed, &err), 0);
}

static void stop_feed(void)
{
    gate_hold(NULL);
    feed_stop(feed);
    for (size_t i = 0; i < HOSTS; i++)
        feed_client_disconnect(&clients[i]);
    feed_destroy(feed);
}

static void restart_feed(const struct feed_options *options)
{
    stop_feed();
    start_feed(options);
}

static int set_up(void **state)
{
    struct repo_head head;

    (void)state;
    f = repo_fixture_create(0);
    (void)snprintf(snapshot_dir, sizeof(snapshot_dir), "%s/snapshots", f->dir);
    assert_int_equal(repo_head(f->repo, &head, &f->err), 0);
    epoch = head.epoch;
    memset(clients, 0, sizeof(clients));
    gate.count = 0;
    start_feed(&(struct feed_options){.heartbeat_ms = 0});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stop_feed();
    repo_fixture_destroy(f);
    return 0;
}

static struct feed_stats stats(void)
{
    struct feed_stats now;

    feed_stats(feed, &now);
    return now;
}

/* Turns until the condition holds; it must within ten seconds. */
static void await(bool (*condition)(void))
{
    const int64_t end_ms = clock_boot_ms() + PATIENCE_MS;

    while (!condition()) {
        assert_true(clock_boot_ms() < end_ms);
        (void)sched_yield();
    }
}

static void add_to(const struct repo_scope *scope, int count, size_t name_size)
{
    static unsigned serial;
    char name[MODEL_NAME_MAX + 1];

    for (int i = 0; i < count; i++) {
        memset(name, 'x', sizeof(name));
        (void)snprintf(name + name_size - 12, 13, "%012u", ++serial);
        repo_fixture_consumer(f, scope, name);
    }
}

static void add_consumers(unsigned cp, int count, size_t name_size)
{
    const struct repo_scope scope = repo_fixture_cp(cp);

    add_to(&scope, count, name_size);
}

/* Connects and takes the hello, after which the next read asks for what it needs. */
static struct feed_client *greet(size_t n, unsigned cp, uint64_t version)
{
    const struct uuid id = repo_fixture_uuid(cp);
    char host[32];

    (void)snprintf(host, sizeof(host), "edge-%zu", n);
    feed_client_connect(&clients[n], feed, &id, host, &epoch, version);
    feed_client_expect(&clients[n], FEED_LINE_HELLO);
    return &clients[n];
}

/* The same, and it has asked. */
static struct feed_client *ask(size_t n, unsigned cp, uint64_t version)
{
    struct feed_client *client = greet(n, cp, version);

    feed_client_expect_nothing(client);
    return client;
}

static struct feed_client *ask_wishing(size_t n, unsigned cp, uint64_t version)
{
    clients[n].wish = (struct feed_wish){.kind = FEED_WISH_DIGESTS};
    return ask(n, cp, version);
}

/* Passes over a transaction; its commit line. */
static struct feed_line expect_commit(struct feed_client *client)
{
    (void)feed_client_expect(client, FEED_LINE_BEGIN);
    return feed_client_skip_to(client, FEED_LINE_COMMIT);
}

/* How many calls there were for the control plane, wishes alone or all. */
static unsigned calls_of(unsigned cp, bool wished)
{
    const struct uuid id = repo_fixture_uuid(cp);
    unsigned count = 0;

    pthread_mutex_lock(&gate.lock);
    for (unsigned i = 0; i < gate.count; i++)
        count += uuid_equal(&gate.calls[i].control_plane_id, &id) &&
                 (!wished || gate.calls[i].wish != FEED_WISH_NONE);
    pthread_mutex_unlock(&gate.lock);
    return count;
}

/* ---- nothing is lost, nothing is made twice ---- */

static void wish_survives_reads_while_it_is_computed(void **state)
{
    struct feed_client *client;

    (void)state;
    add_consumers(1, 5, 20);
    gate_hold(all);
    client = ask_wishing(0, 1, 1);
    gate_await(1);
    for (int i = 0; i < 10; i++)
        feed_client_expect_nothing(client); /* the transport comes by */
    gate_hold(NULL);
    assert_true(expect_commit(client).commit.all_scopes);
    feed_client_expect(client, FEED_LINE_HEARTBEAT);
    assert_int_equal(calls_of(1, false), 1);
    assert_int_equal(stats().held_bytes, 0);
}

/* Reads without waiting to be woken, as a busy transport does. */
static void *read_to_the_answer(void *argument)
{
    struct feed_client *client = argument;
    static const char commit[] = "\"all_scopes\":true";
    char bytes[257];
    size_t kept = 0;
    ssize_t count;

    while ((count = feed_follower_read(client->follower, bytes + kept, 256 - kept)) >= 0) {
        bytes[kept + (size_t)count] = 0;
        if (strstr(bytes, commit) != NULL)
            return client;
        kept += (size_t)count;
        if (kept > sizeof(commit)) {
            memmove(bytes, bytes + kept - sizeof(commit), sizeof(commit));
            kept = sizeof(commit);
        }
        if (count == 0)
            (void)sched_yield();
    }
    return NULL;
}

static void hosts_far_behind_that_come_first_all_get_their_answer(void **state)
{
    pthread_t threads[HOSTS];
    void *answered;

    (void)state;
    for (unsigned cp = 1; cp <= HOSTS; cp++)
        add_consumers(cp, FAR / HOSTS + 1, 20);
    for (size_t i = 0; i < HOSTS; i++) {
        clients[i].wish = (struct feed_wish){.kind = FEED_WISH_DIGESTS};
        (void)greet(i, 1 + (unsigned)i, 0);
    }
    for (size_t i = 0; i < HOSTS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_to_the_answer, &clients[i]), 0);
    for (size_t i = 0; i < HOSTS; i++) {
        assert_int_equal(pthread_join(threads[i], &answered), 0);
        assert_ptr_equal(answered, &clients[i]);
        assert_int_equal(calls_of(1 + (unsigned)i, true), 1);
    }
}

static void followers_at_one_place_share_one_transaction(void **state)
{

    (void)state;
    add_consumers(1, 5, 20);
    gate_hold(all);
    for (size_t i = 0; i < 8; i++)
        (void)ask_wishing(i, 1, 2);
    for (size_t i = 8; i < 16; i++)
        (void)ask(i, 1, 2);
    gate_hold(NULL);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(expect_commit(&clients[i]).commit.all_scopes, i < 8);
    assert_int_equal(calls_of(1, false), 2);
}

/* All hosts of a control plane are started anew while others are written for. */
static bool of_1(const struct repo_transaction_query *query)
{
    return is_plane(query->control_plane_id, 1);
}

/* The feed's thread has not looked at the newest version; a host that has it is not in sync with
 * one that does not. */
static void comparison_from_a_version_not_looked_at_skips_it_for_nobody(void **state)
{
    struct feed_line line;
    uint64_t before;

    (void)state;
    add_consumers(1, 2, 20);
    before = repo_fixture_version(f);
    gate_hold(of_1);
    (void)ask_wishing(0, 1, before); /* the one job that runs: others wait for their turn */
    gate_await(1);
    add_consumers(1, 1, 20);
    gate_await(2); /* the feed's thread */
    (void)ask_wishing(1, 1, before + 1);
    (void)ask_wishing(2, 1, before);
    gate_hold(NULL);
    line = expect_commit(&clients[2]);
    assert_int_equal(line.commit.version, before + 1);
    assert_int_equal(line.commit.changes, 1);
}

static void hosts_in_sync_share_a_comparison_wherever_they_stand(void **state)
{
    (void)state;
    add_consumers(1, 2, 20);
    gate_hold(wishes);
    (void)ask_wishing(0, 1, repo_fixture_version(f));
    gate_await(1);
    for (size_t i = 1; i < 12; i++) {
        add_consumers(2, 1, 20);
        (void)ask_wishing(i, 1, repo_fixture_version(f));
    }
    gate_hold(NULL);
    for (size_t i = 0; i < 12; i++)
        assert_true(expect_commit(&clients[i]).commit.all_scopes);
    assert_int_equal(calls_of(1, true), 2);
    /* A change that they see makes a difference. */
    add_consumers(1, 1, 20);
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(feed_client_skip_to(&clients[i], FEED_LINE_COMMIT).commit.changes, 1);
}

/* A heartbeat would call a host current that is not. */
static void who_waits_hears_that_it_is_alive_and_never_that_it_is_current(void **state)
{
    struct feed_line line;

    (void)state;
    add_consumers(1, 5, 20);
    restart_feed(&(struct feed_options){.heartbeat_ms = 20});
    gate_hold(all);
    clients[0].wish = (struct feed_wish){.kind = FEED_WISH_DIGESTS};
    (void)greet(0, 1, 2);
    for (int i = 0; i < 3; i++)
        feed_client_expect(&clients[0], FEED_LINE_PREPARING);
    clients[1].wish = clients[0].wish;
    (void)greet(1, 2, 5); /* it has missed nothing, and only wishes */
    line = feed_client_expect(&clients[1], FEED_LINE_HEARTBEAT);
    assert_int_equal(line.heartbeat.version, 5);
    gate_hold(NULL);
    (void)feed_client_skip_to(&clients[0], FEED_LINE_BEGIN);
    assert_true(feed_client_skip_to(&clients[0], FEED_LINE_COMMIT).commit.all_scopes);
}

/* What costs something waits until the transport has taken the hello. */
static void greeting_alone_costs_nothing(void **state)
{
    (void)state;
    add_consumers(1, 5, 20);
    clients[0].wish = (struct feed_wish){.kind = FEED_WISH_DIGESTS};
    (void)greet(0, 1, 2);
    assert_int_equal(stats().deltas_waiting + stats().deltas_running + stats().deltas_made, 0);
}

/* A follower that goes is not held up by what is computed for it, and nobody else gets it. */
static void follower_that_leaves_waits_for_no_transaction(void **state)
{

    (void)state;
    add_consumers(1, 5, 20);
    gate_hold(all);
    (void)ask_wishing(0, 1, 2);
    (void)ask(1, 1, 1);
    gate_await(1);
    feed_client_disconnect(&clients[0]);
    feed_client_disconnect(&clients[1]);
    (void)ask_wishing(0, 1, 2);
    gate_hold(NULL);
    assert_true(expect_commit(&clients[0]).commit.all_scopes);
    assert_int_equal(calls_of(1, true), 2);
    assert_int_equal(stats().held_bytes, 0);
}

/* ---- turns ---- */

static void commits_go_out_while_all_workers_are_busy(void **state)
{
    struct feed_client *live;

    (void)state;
    add_consumers(1, 3, 20);
    add_consumers(2, 3, 20);
    live = greet(0, 3, repo_fixture_version(f));
    feed_client_expect(live, FEED_LINE_HEARTBEAT);
    gate_hold(wishes);
    (void)ask_wishing(1, 1, 0);
    (void)ask_wishing(2, 2, 0);
    gate_await(2);
    assert_int_equal(stats().deltas_running, 2);
    add_consumers(3, 1, 20);
    assert_int_equal(expect_commit(live).commit.changes, 1);
}

static bool nothing_waits(void)
{
    const struct feed_stats now = stats();

    return now.deltas_waiting + now.deltas_running == 0;
}

/* Both workers are busy with others. One of them stays so, for the other one's order. */
static void busy_the_workers(void)
{
    gate_hold(all);
    (void)ask_wishing(HOSTS - 1, 8, 0);
    (void)ask_wishing(HOSTS - 2, 9, 0);
    gate_await(2);
    gate.count = 0;
}

static bool one_runs(void)
{
    const struct feed_stats now = stats();

    return now.deltas_waiting == 0 && now.deltas_running == 1;
}

static void free_a_worker(void)
{
    gate_hold(only_9);
    await(one_runs);
}

static void control_planes_take_turns(void **state)
{
    (void)state;
    add_consumers(1, 20, 20);
    add_consumers(2, 2, 20);
    busy_the_workers();
    for (size_t i = 0; i < 20; i++)
        (void)ask(i, 1, i);
    (void)ask(20, 2, 20);
    (void)ask(21, 2, 21);
    assert_int_equal(stats().deltas_waiting, 22);
    free_a_worker();
    assert_int_equal(gate.count, 22);
    for (unsigned i = 0; i < 4; i++)
        assert_true(is_plane(&gate.calls[i].control_plane_id, 1 + i % 2));
}

static void credentials_of_a_control_plane_take_turns(void **state)
{
    (void)state;
    add_consumers(1, 20, 20);
    busy_the_workers();
    for (size_t i = 0; i < 15; i++) {
        clients[i].credential = repo_fixture_uuid(70);
        (void)ask(i, 1, i);
    }
    clients[15].credential = repo_fixture_uuid(71);
    (void)ask(15, 1, 15);
    free_a_worker();
    assert_int_equal(gate.count, 16);
    assert_int_equal(gate.calls[0].from, 0);
    assert_int_equal(gate.calls[1].from, 15);
    assert_int_equal(gate.calls[2].from, 1);
}

/* A realm that becomes visible is left to the workers when it is large, once for all hosts at one
 * place, and is no reason for a snapshot. */
static void large_commit_is_computed_by_a_worker_once(void **state)
{
    struct repo_realm realm = repo_fixture_realm(f, "large", NULL);
    const struct repo_scope scope = repo_fixture_realm_scope(&realm);

    (void)state;
    add_to(&scope, LARGE, MODEL_NAME_MAX - 1);
    for (size_t i = 0; i < 4; i++) {
        (void)greet(i, 2, repo_fixture_version(f));
        feed_client_expect(&clients[i], FEED_LINE_HEARTBEAT);
        feed_client_expect_nothing(&clients[i]);
    }
    gate.count = 0;
    repo_fixture_allow(f, &realm.model.id, (const unsigned[]){2, 0});
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(expect_commit(&clients[i]).commit.changes, LARGE + 1);
    assert_int_equal(stats().deltas_made, 1);
    assert_int_equal(calls_of(2, false), 2); /* the feed thread's, which stopped at its bound */
    assert_int_equal(stats().resyncs_sent, 0);
}

/* ---- memory ---- */

/* Transactions of some 14 KB; a control plane has room for 96 KB, all together for 128. */
static const struct feed_options tight = {
    .transaction_max_bytes = 32 * 1024, .memory_max_bytes = 128 * 1024, .patience_ms = 100};

static bool waits_for_memory(void)
{
    const struct feed_stats now = stats();

    return now.deltas_waiting > 0 && now.deltas_running == 0 && now.held_bytes > 0;
}

static bool five_are_cut(void)
{
    return stats().followers_cut == 5;
}

/* Five that do not read share their control plane's part; another one's host has what it needs at
 * once, and their own as soon as they are cut. */
static void who_does_not_read_has_a_bounded_share_and_is_cut(void **state)
{
    struct feed_options patient = tight;
    struct feed_client *honest;
    struct feed_client *other;

    (void)state;
    patient.patience_ms = QUIET_MS;
    add_consumers(1, 60, 500);
    restart_feed(&patient);
    for (size_t i = 0; i < 9; i++)
        (void)ask(i, 1, 40 + i);
    await(waits_for_memory);
    assert_in_range(stats().held_bytes, 1, 96 * 1024);
    other = ask_wishing(10, 2, 60);
    assert_true(expect_commit(other).commit.all_scopes);

    restart_feed(&tight);
    for (size_t i = 0; i < 5; i++)
        (void)ask(i, 1, 40 + i);
    honest = ask(9, 1, 50);
    assert_int_equal(expect_commit(honest).commit.version, 60);
    feed_client_disconnect(honest);
    await(five_are_cut);
    await(nothing_waits);
    assert_int_equal(stats().held_bytes, 0);
    for (size_t i = 0; i < 5; i++) {
        pthread_mutex_lock(&clients[i].lock);
        assert_int_equal(clients[i].cuts, 1);
        pthread_mutex_unlock(&clients[i].lock);
        feed_client_expect_end(&clients[i]);
    }
}

/* A byte now and then is progress, but not for ever while others wait for the memory. */
static void who_reads_byte_by_byte_is_cut_while_others_wait(void **state)
{
    struct feed_options options = tight;
    int64_t end_ms;
    char byte;

    (void)state;
    options.memory_max_bytes = 1;
    add_consumers(1, 60, 500);
    restart_feed(&options);
    (void)ask(0, 1, 40);
    await(nothing_waits);
    for (int i = 0; i < 40; i++) { /* nobody waits: it may take its time */
        for (end_ms = clock_boot_ms() + tight.patience_ms / 10; clock_boot_ms() < end_ms;)
            (void)sched_yield();
        assert_int_equal(feed_follower_read(clients[0].follower, &byte, 1), 1);
    }
    (void)ask(1, 2, 20);
    while (stats().followers_cut == 0) {
        for (end_ms = clock_boot_ms() + tight.patience_ms / 10; clock_boot_ms() < end_ms;)
            (void)sched_yield();
        (void)feed_follower_read(clients[0].follower, &byte, 1);
    }
    feed_client_expect_end(&clients[0]);
    feed_client_expect(&clients[1], FEED_LINE_HEARTBEAT); /* it had missed nothing */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wish_survives_reads_while_it_is_computed),
        TEST(hosts_far_behind_that_come_first_all_get_their_answer),
        TEST(followers_at_one_place_share_one_transaction),
        TEST(hosts_in_sync_share_a_comparison_wherever_they_stand),
        TEST(comparison_from_a_version_not_looked_at_skips_it_for_nobody),
        TEST(who_waits_hears_that_it_is_alive_and_never_that_it_is_current),
        TEST(greeting_alone_costs_nothing),
        TEST(follower_that_leaves_waits_for_no_transaction),
        TEST(commits_go_out_while_all_workers_are_busy),
        TEST(control_planes_take_turns),
        TEST(credentials_of_a_control_plane_take_turns),
        TEST(large_commit_is_computed_by_a_worker_once),
        TEST(who_does_not_read_has_a_bounded_share_and_is_cut),
        TEST(who_reads_byte_by_byte_is_cut_while_others_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

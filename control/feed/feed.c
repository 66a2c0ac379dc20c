/* feed.c - life of the feed, and its thread.
 *
 * The thread sleeps until a version is committed, a host acknowledges what somebody waits for, a
 * worker has made what a follower waits for, or the next heartbeat or wait is due; then it does all
 * that there is, wakes followers, and looks again. The repository's listener only notes the
 * version. It does what is urgent alone: what may take long is the workers' (feed_queue.c).
 *
 * Failure modes: a repository that fails is asked again after a second (feed_channel.c); nothing
 * else ends the thread but feed_stop().
 */
#include "control/feed/feed_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <openssl/crypto.h>

static const uint32_t heartbeat_default_ms = 5000;
static const size_t transaction_default_bytes = (size_t)16 * 1024 * 1024;
static const size_t memory_default_bytes = (size_t)256 * 1024 * 1024;
static const uint64_t snapshots_default_bytes = (uint64_t)16 * 1024 * 1024 * 1024;
static const int64_t snapshot_verify_default_ms = (int64_t)60 * 1000;
static const int64_t twins_default_ms =
    (int64_t)120 * 1000; /* twice what a dead connection takes */

/* ---- the thread ---- */

static int64_t min_time(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static bool versions_to_examine(const struct feed *feed)
{
    return feed->newest > feed->examined;
}

/* Boot time at which something is due. */
static int64_t next_deadline(const struct feed *feed)
{
    const struct follower *first = TAILQ_FIRST(&feed->timers);
    int64_t deadline = min_time(feed->prune_ms, feed_waits_deadline(feed));

    deadline = min_time(deadline, feed_queue_deadline(feed));
    if (first != NULL)
        deadline = min_time(deadline, first->line_ms + feed->heartbeat_ms);
    if (versions_to_examine(feed))
        deadline = min_time(deadline, feed->retry_ms);
    return deadline;
}

/* Sleeps until signalled or `boot_ms`. The condition counts on the monotonic clock, which stands
 * still during suspend: then the sleep is longer than it must be, and ends all the same. */
static void sleep_until(struct feed *feed, int64_t boot_ms)
{
    const int64_t delay_ms = boot_ms - clock_boot_ms();
    struct timespec until;

    if (delay_ms <= 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += delay_ms / 1000;
    until.tv_nsec += delay_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&feed->work, &feed->lock, &until);
}

static void prune(struct feed *feed)
{
    if (clock_boot_ms() < feed->prune_ms)
        return;
    feed_hosts_prune(feed);
    feed_shelf_prune(&feed->shelf);
    feed->prune_ms = clock_boot_ms() + FEED_PRUNE_MS;
}

/* One round; each step may release the lock, so that the next may find more to do. */
static void work(struct feed *feed)
{
    if (versions_to_examine(feed) && clock_boot_ms() >= feed->retry_ms)
        feed_channels_advance(feed);
    feed_timers_run(feed);
    feed_queue_cut(feed);
    feed_wakes_run(feed);
    feed_waits_run(feed);
    prune(feed);
}

static bool has_work(const struct feed *feed)
{
    return !TAILQ_EMPTY(&feed->wakes) || next_deadline(feed) <= clock_boot_ms();
}

static void end_all(struct feed *feed)
{
    struct follower *follower;

    for (follower = TAILQ_FIRST(&feed->timers); follower != NULL;
         follower = TAILQ_NEXT(follower, in_timers)) {
        feed_follower_end(follower);
    }
    feed_wakes_run(feed);
    feed_waits_run(feed);
}

static void *feed_main(void *context)
{
    struct feed *feed = context;

    pthread_mutex_lock(&feed->lock);
    while (!feed->stopping) {
        work(feed);
        if (!feed->stopping && !has_work(feed))
            sleep_until(feed, next_deadline(feed));
    }
    end_all(feed);
    pthread_mutex_unlock(&feed->lock);
    return NULL;
}

/* The repository's listener: its writer thread waits for it. */
static void on_commit(void *context, uint64_t version)
{
    struct feed *feed = context;

    pthread_mutex_lock(&feed->lock);
    if (version > feed->newest)
        feed->newest = version;
    pthread_cond_signal(&feed->work);
    pthread_mutex_unlock(&feed->lock);
}

/* ---- life ---- */

static void init_lists(struct feed *feed)
{
    for (size_t i = 0; i < FEED_BUCKETS; i++) {
        LIST_INIT(&feed->channel_buckets[i]);
        LIST_INIT(&feed->host_buckets[i]);
        LIST_INIT(&feed->name_buckets[i]);
        LIST_INIT(&feed->room_buckets[i]);
        LIST_INIT(&feed->queue.buckets[i]);
    }
    TAILQ_INIT(&feed->channels);
    TAILQ_INIT(&feed->hosts);
    TAILQ_INIT(&feed->timers);
    TAILQ_INIT(&feed->wakes);
    TAILQ_INIT(&feed->waits);
    TAILQ_INIT(&feed->queue.line);
    TAILQ_INIT(&feed->queue.held);
    TAILQ_INIT(&feed->queue.owed);
    TAILQ_INIT(&feed->shelf.files);
    TAILQ_INIT(&feed->shelf.orders);
}

/* These cannot fail on Linux: all kinds of lock used here need no allocation. */
static void init_locks(struct feed *feed)
{
    pthread_condattr_t monotonic;
    pthread_mutexattr_t checked;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&feed->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&feed->unpinned, NULL);
    pthread_cond_init(&feed->queue.work, NULL);
    pthread_mutexattr_init(&checked);
    pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK); /* feed_assert_locked() */
    pthread_mutex_init(&feed->lock, &checked);
    pthread_mutexattr_destroy(&checked);
    pthread_mutex_init(&feed->shelf.lock, NULL);
    pthread_cond_init(&feed->shelf.ordered, NULL);
}

void feed_assert_locked(struct feed *feed)
{
    assert(pthread_mutex_lock(&feed->lock) == EDEADLK);
    (void)feed;
}

static void feed_free(struct feed *feed)
{
    feed_shelf_close(&feed->shelf);
    while (!TAILQ_EMPTY(&feed->hosts))
        feed_host_free(feed, TAILQ_FIRST(&feed->hosts));
    while (!TAILQ_EMPTY(&feed->channels))
        feed_channel_free(feed, TAILQ_FIRST(&feed->channels));
    pthread_cond_destroy(&feed->shelf.ordered);
    pthread_mutex_destroy(&feed->shelf.lock);
    pthread_mutex_destroy(&feed->lock);
    pthread_cond_destroy(&feed->queue.work);
    pthread_cond_destroy(&feed->unpinned);
    pthread_cond_destroy(&feed->work);
    OPENSSL_cleanse(feed->digest_key, sizeof(feed->digest_key));
    free(feed->region);
    free(feed);
}

static void set_caps(struct feed *feed, const struct feed_options *options)
{
    for (int cap = 0; cap < FEED_CAPS; cap++) {
        feed->max_feeds[cap] =
            options->max_feeds[cap] != 0 ? options->max_feeds[cap] : FEED_CAP_DEFAULT;
        feed->max_hosts[cap] =
            options->max_hosts[cap] != 0 ? options->max_hosts[cap] : FEED_CAP_DEFAULT;
    }
    feed->twins_ms = options->twins_ms != 0 ? options->twins_ms : twins_default_ms;
}

static int64_t patience_of(const struct feed *feed, const struct feed_options *options)
{
    const int64_t beats_ms = (int64_t)feed->heartbeat_ms * FEED_PATIENCE_BEATS;

    if (options->patience_ms != 0)
        return options->patience_ms;
    return beats_ms > FEED_PATIENCE_MIN_MS ? beats_ms : FEED_PATIENCE_MIN_MS;
}

static struct feed *feed_new(struct repo *repo, const struct feed_options *options)
{
    struct feed *feed = calloc(1, sizeof(*feed));

    if (feed == NULL)
        return NULL;
    feed->repo = repo;
    feed->heartbeat_ms = options->heartbeat_ms != 0 ? options->heartbeat_ms : heartbeat_default_ms;
    feed->transaction_max_bytes = options->transaction_max_bytes != 0
                                      ? options->transaction_max_bytes
                                      : transaction_default_bytes;
    feed->queue.max_bytes =
        options->memory_max_bytes != 0 ? options->memory_max_bytes : memory_default_bytes;
    feed->queue.patience_ms = patience_of(feed, options);
    feed->log = options->log;
    feed->prune_ms = clock_boot_ms() + FEED_PRUNE_MS;
    set_caps(feed, options);
    init_lists(feed);
    init_locks(feed);
    feed->region = strdup(options->region);
    if (feed->region == NULL ||
        getrandom(&feed->hash_seed, sizeof(feed->hash_seed), 0) != sizeof(feed->hash_seed)) {
        feed_free(feed);
        return NULL;
    }
    return feed;
}

static int read_head(struct feed *feed, struct error *err)
{
    struct repo_head head;
    int rc = repo_head(feed->repo, &head, err);

    if (rc != 0)
        return rc;
    pthread_mutex_lock(&feed->lock); /* the listener may have been called already */
    feed->epoch = head.epoch;
    feed->newest = feed->newest > head.version ? feed->newest : head.version;
    feed->examined = feed->newest;
    feed->oldest = head.oldest;
    feed->accepted = head.accepted_ms != 0;
    memcpy(feed->digest_key, head.digest_key, DIGEST_KEY_BYTES);
    pthread_mutex_unlock(&feed->lock);
    OPENSSL_cleanse(&head, sizeof(head));
    return 0;
}

void feed_accept_epoch(struct feed *feed)
{
    pthread_mutex_lock(&feed->lock);
    feed->accepted = true;
    pthread_mutex_unlock(&feed->lock);
}

static int start_threads(struct feed *feed, struct error *err)
{
    int rc = feed_builder_start(feed, err);

    if (rc != 0)
        return rc;
    rc = feed_workers_start(feed, err);
    if (rc != 0)
        goto stop_builder;
    if (pthread_create(&feed->thread, NULL, feed_main, feed) == 0)
        return 0;
    rc = error_set(err, E_NO_MEMORY, "cannot start the feed's thread");
    feed_workers_stop(feed);
stop_builder:
    feed_builder_stop(feed);
    return rc;
}

/* Listens before it looks, so that no commit falls between the two. */
static int feed_start(struct feed *feed, struct error *err)
{
    struct repo *repo = feed->repo;
    int rc;

    repo_on_commit(repo, on_commit, feed);
    rc = read_head(feed, err);
    if (rc == 0)
        rc = start_threads(feed, err);
    if (rc != 0)
        repo_on_commit(repo, NULL, NULL);
    return rc;
}

int feed_create(struct repo *repo, const struct feed_options *options, struct feed **ret,
                struct error *err)
{
    struct feed *feed = feed_new(repo, options);
    int rc;

    if (feed == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    rc = feed_shelf_open(&feed->shelf, options->snapshot_dir,
                         options->snapshots_max_bytes != 0 ? options->snapshots_max_bytes
                                                           : snapshots_default_bytes,
                         err);
    feed->shelf.verify_ms =
        options->snapshot_verify_ms != 0 ? options->snapshot_verify_ms : snapshot_verify_default_ms;
    if (rc == 0)
        rc = feed_start(feed, err);
    if (rc != 0) {
        feed_free(feed);
        return rc;
    }
    *ret = feed;
    return 0;
}

void feed_stop(struct feed *feed)
{
    if (feed->stopped)
        return;
    repo_on_commit(feed->repo, NULL, NULL);
    pthread_mutex_lock(&feed->lock);
    feed->stopping = true;
    pthread_cond_signal(&feed->work);
    pthread_mutex_unlock(&feed->lock);
    (void)pthread_join(feed->thread, NULL); /* fails only for a thread that is not ours */
    feed_workers_stop(feed);
    feed_builder_stop(feed);
    feed->stopped = true;
}

void feed_destroy(struct feed *feed)
{
    if (feed == NULL)
        return;
    feed_stop(feed);
    feed_free(feed);
}

void feed_stats(struct feed *feed, struct feed_stats *ret)
{
    pthread_mutex_lock(&feed->lock);
    *ret = feed->stats;
    feed_hosts_count(feed, ret);
    ret->deltas_waiting = feed->queue.waiting;
    ret->deltas_running = feed->queue.running;
    ret->deltas_oldest_ms = feed_queue_age_ms(feed);
    ret->held_bytes = feed->queue.held_bytes + feed->queue.kept_bytes;
    pthread_mutex_unlock(&feed->lock);
    pthread_mutex_lock(&feed->shelf.lock);
    ret->snapshots_built = feed->shelf.built;
    ret->snapshot_transfers = feed->shelf.transfers;
    ret->snapshot_bytes = feed->shelf.sent_bytes;
    ret->snapshot_disk_bytes = feed->shelf.bytes;
    pthread_mutex_unlock(&feed->shelf.lock);
}

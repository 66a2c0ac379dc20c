/* feed_queue.c - who waits for a transaction of its own, whose turn it is, and what fits in memory.
 *
 * What is urgent (a commit, for hosts that are in sync) is the feed thread's and never waits here.
 * Everything else that takes a while, a laggard's transaction or what a host wishes for, is a job:
 * workers compute it one by one. Followers at one position that wish for the same share one, and so
 * do all that are in sync: when every host of a control plane is started anew, and wants to
 * compare, that is one job and the one that waits behind it.
 *
 *     line      --> control plane A --> control plane B --> ...        the next one first
 *                   |
 *     turns         credential 1 --> credential 2 --> ...              the next one first
 *                   |
 *     jobs          job, job, ...                                      first come, first served
 *
 * Whoever had a turn goes behind the others, so a control plane with ten thousand jobs costs
 * another one a job for each of its own, and a control plane runs FEED_RUNNING_MAX at a time.
 *
 * Memory: what followers hold and what running jobs may make, counted by control plane. A job
 * begins when its largest result fits into its control plane's share and into the whole. A reader
 * that takes nothing for `patience_ms` is cut; one that is slow is cut after so long only while
 * somebody waits for the memory that it holds.
 *
 * Failure modes: out of memory ends the follower's stream, as does a repository that fails; the
 * host comes back with its cursor and its wish.
 */
#include "control/feed/feed_internal.h"

#include <assert.h>
#include <stdlib.h>

/* A repair comes once in a long while, to one host, which bounds what it asks for: room for the
 * buckets of a scope of ten million. */
enum { REPAIR_FACTOR = 3 };

/* ---- memory ---- */

static size_t largest(const struct feed *feed, enum feed_wish_kind kind)
{
    return feed->transaction_max_bytes * (kind == FEED_WISH_CONTENT ? REPAIR_FACTOR : 1);
}

/* A control plane's part; the largest of all jobs fits into it. */
static size_t share(const struct feed *feed)
{
    const size_t part = feed->queue.max_bytes / FEED_SHARE;
    const size_t least = largest(feed, FEED_WISH_CONTENT);

    return part > least ? part : least;
}

static bool fits(size_t used, size_t room, size_t max)
{
    return used == 0 || (used <= max && room <= max - used);
}

static bool fits_share(const struct feed *feed, const struct feed_channel *channel, size_t room)
{
    return fits(channel->held_bytes + channel->kept_bytes, room, share(feed));
}

static bool fits_all(const struct feed_queue *queue, size_t room)
{
    return fits(queue->held_bytes + queue->kept_bytes, room, queue->max_bytes);
}

void feed_queue_hold(struct follower *follower, struct feed_segment *segment)
{
    struct feed_queue *queue = &follower->feed->queue;

    feed_assert_locked(follower->feed);
    assert(!follower->holding);
    segment->refs++;
    if (segment->holders++ == 0) {
        follower->channel->held_bytes += segment->size;
        queue->held_bytes += segment->size;
    }
    follower->holding = true;
    follower->held_ms = clock_boot_ms();
    TAILQ_INSERT_TAIL(&queue->held, follower, in_held);
}

void feed_queue_release(struct follower *follower, struct feed_segment *segment)
{
    struct feed_queue *queue = &follower->feed->queue;

    feed_assert_locked(follower->feed);
    assert(follower->holding);
    follower->holding = false;
    TAILQ_REMOVE(&queue->held, follower, in_held);
    if (--segment->holders == 0) {
        follower->channel->held_bytes -= segment->size;
        queue->held_bytes -= segment->size;
        if (queue->waiting > 0)
            pthread_cond_broadcast(&queue->work);
    }
    feed_segment_unref(segment);
}

/* ---- jobs ---- */

/* Where a job stands in the table: a tenant's thousands of different wishes must not make a long
 * list. Jobs for hosts in sync are found wherever those are. */
static struct feed_job_bucket *feed_queue_bucket_of(struct feed *feed,
                                                    const struct feed_channel *channel,
                                                    uint64_t from, bool in_sync,
                                                    const struct feed_wish *wish)
{
    const uint64_t place = in_sync ? UINT64_MAX : from;
    uint64_t hash = feed_hash(feed->hash_seed, channel->control_plane_id.bytes, UUID_BYTES);

    hash = feed_hash(hash, &place, sizeof(place));
    hash = feed_hash(hash, &wish->kind, sizeof(wish->kind));
    hash = feed_hash(hash, &wish->scope, sizeof(wish->scope));
    hash = feed_hash(hash, wish->buckets.bits, sizeof(wish->buckets.bits));
    return &feed->queue.buckets[hash % FEED_BUCKETS];
}

/* Between two places in [low, covered] nothing happened that the control plane may see, so that a
 * transaction from one is good at the other; if it does not begin before the follower has come: it
 * must not lead to a version below the follower's. What the channel has not looked at (a host may
 * come with a version above `covered`) is left out for nobody. */
static bool job_serves(const struct feed_job *job, const struct follower *follower, bool in_sync)
{
    if (job->channel != follower->channel || job->in_sync != in_sync ||
        !feed_wish_equal(&job->wish, &follower->wish))
        return false;
    if (!in_sync)
        return job->from == follower->position;
    return job->turn != NULL && job->from >= job->channel->low &&
           (job->from <= job->channel->covered || job->from <= follower->position);
}

static struct feed_job *job_find(struct follower *follower)
{
    const bool in_sync = feed_follower_is_in_sync(follower);
    const struct feed_job_bucket *bucket = feed_queue_bucket_of(
        follower->feed, follower->channel, follower->position, in_sync, &follower->wish);
    struct feed_job *job = NULL;

    LIST_FOREACH(job, bucket, in_bucket)
    {
        if (job_serves(job, follower, in_sync))
            return job;
    }
    return NULL;
}

/* Found or made, behind the others in the line; NULL when out of memory. */
static struct feed_turn *turn_open(struct feed_queue *queue, struct feed_channel *channel,
                                   const struct uuid *credential)
{
    struct feed_turn *turn = NULL;

    TAILQ_FOREACH(turn, &channel->turns, in_channel)
    {
        if (uuid_equal(&turn->credential, credential))
            return turn;
    }
    turn = calloc(1, sizeof(*turn));
    if (turn == NULL)
        return NULL;
    turn->credential = *credential;
    TAILQ_INIT(&turn->jobs);
    if (TAILQ_EMPTY(&channel->turns))
        TAILQ_INSERT_TAIL(&queue->line, channel, in_line);
    TAILQ_INSERT_TAIL(&channel->turns, turn, in_channel);
    return turn;
}

static void turn_close(struct feed_queue *queue, struct feed_channel *channel,
                       struct feed_turn *turn)
{
    TAILQ_REMOVE(&channel->turns, turn, in_channel);
    if (TAILQ_EMPTY(&channel->turns))
        TAILQ_REMOVE(&queue->line, channel, in_line);
    free(turn);
}

static struct feed_job *job_new(struct follower *follower)
{
    struct feed *feed = follower->feed;
    struct feed_queue *queue = &feed->queue;
    struct feed_job *job = calloc(1, sizeof(*job));
    struct feed_turn *turn =
        job != NULL ? turn_open(queue, follower->channel, &follower->credential) : NULL;

    if (turn == NULL) {
        free(job);
        return NULL;
    }
    job->channel = follower->channel;
    job->turn = turn;
    job->in_sync = feed_follower_is_in_sync(follower);
    job->from = feed_channel_reach(job->channel, follower->position);
    job->wish = follower->wish;
    job->room = largest(feed, job->wish.kind);
    job->asked_ms = clock_boot_ms();
    TAILQ_INIT(&job->followers);
    TAILQ_INSERT_TAIL(&turn->jobs, job, in_turn);
    LIST_INSERT_HEAD(feed_queue_bucket_of(feed, job->channel, job->from, job->in_sync, &job->wish),
                     job, in_bucket);
    queue->waiting++;
    pthread_cond_signal(&queue->work);
    return job;
}

bool feed_queue_ask(struct follower *follower)
{
    struct feed_job *job;

    feed_assert_locked(follower->feed);
    assert(follower->job == NULL && follower->pending == NULL && follower->segment == NULL);
    job = job_find(follower);
    if (job == NULL)
        job = job_new(follower);
    if (job == NULL)
        return false;
    follower->job = job;
    TAILQ_INSERT_TAIL(&job->followers, follower, in_job);
    return true;
}

/* Takes a job that waits out of the line. */
static void unqueue(struct feed_queue *queue, struct feed_job *job)
{
    TAILQ_REMOVE(&job->turn->jobs, job, in_turn);
    if (TAILQ_EMPTY(&job->turn->jobs))
        turn_close(queue, job->channel, job->turn);
    job->turn = NULL;
    queue->waiting--;
}

void feed_queue_leave(struct follower *follower)
{
    struct feed_job *job = follower->job;

    feed_assert_locked(follower->feed);
    if (job == NULL)
        return;
    follower->job = NULL;
    TAILQ_REMOVE(&job->followers, follower, in_job);
    if (!TAILQ_EMPTY(&job->followers))
        return;
    LIST_REMOVE(job, in_bucket); /* nobody shall join it any more */
    if (job->turn == NULL) {
        atomic_store(&job->abandoned, true); /* its worker frees it */
        return;
    }
    unqueue(&follower->feed->queue, job);
    free(job);
}

/* ---- turns ---- */

static void feed_queue_begin(struct feed_queue *queue, struct feed_job *job)
{
    struct feed_channel *channel = job->channel;
    struct feed_turn *turn = job->turn;

    TAILQ_REMOVE(&channel->turns, turn, in_channel);
    TAILQ_INSERT_TAIL(&channel->turns, turn, in_channel);
    TAILQ_REMOVE(&queue->line, channel, in_line);
    TAILQ_INSERT_TAIL(&queue->line, channel, in_line);
    unqueue(queue, job);
    queue->running++;
    queue->kept_bytes += job->room;
    channel->running++;
    channel->kept_bytes += job->room;
}

static struct feed_job *next_of(const struct feed_channel *channel)
{
    return TAILQ_FIRST(&TAILQ_FIRST(&channel->turns)->jobs);
}

struct feed_job *feed_queue_take(struct feed *feed)
{
    struct feed_queue *queue = &feed->queue;
    struct feed_channel *channel = NULL;

    feed_assert_locked(feed);
    queue->starved = false;
    TAILQ_FOREACH(channel, &queue->line, in_line)
    {
        struct feed_job *job = next_of(channel);

        if (channel->running >= FEED_RUNNING_MAX || !fits_share(feed, channel, job->room))
            continue;
        queue->starved = !fits_all(queue, job->room);
        if (queue->starved)
            break; /* smaller ones behind it would keep it waiting for ever */
        feed_queue_begin(queue, job);
        return job;
    }
    if (queue->waiting > 0)
        pthread_cond_signal(&feed->work); /* somebody may be slow: feed_queue_deadline() */
    return NULL;
}

/* What the job found is good for others too. */
static void share_delta(struct feed *feed, struct feed_job *job, const struct feed_delta *delta)
{
    if (delta->repo.version > feed->newest)
        feed->newest = delta->repo.version;
    if (delta->segment != NULL && job->wish.kind == FEED_WISH_NONE && job->channel->n_followers > 0)
        feed_channel_remember(job->channel, delta->segment);
}

void feed_queue_done(struct feed *feed, struct feed_job *job, const struct feed_delta *delta)
{
    struct feed_queue *queue = &feed->queue;
    struct follower *follower;

    feed_assert_locked(feed);
    if (delta != NULL)
        share_delta(feed, job, delta);
    queue->running--;
    queue->kept_bytes -= job->room;
    job->channel->running--;
    job->channel->kept_bytes -= job->room;
    if (!atomic_load(&job->abandoned))
        LIST_REMOVE(job, in_bucket);
    while ((follower = TAILQ_FIRST(&job->followers)) != NULL) {
        TAILQ_REMOVE(&job->followers, follower, in_job);
        follower->job = NULL;
        if (delta != NULL)
            feed_follower_take(follower, delta);
        else
            feed_follower_end(follower);
        feed_wake(follower);
    }
    free(job);
    pthread_cond_broadcast(&queue->work);
}

int64_t feed_queue_age_ms(const struct feed *feed)
{
    const int64_t now_ms = clock_boot_ms();
    const struct feed_channel *channel = NULL;
    const struct feed_turn *turn = NULL;
    int64_t oldest_ms = now_ms;

    TAILQ_FOREACH(channel, &feed->queue.line, in_line)
    {
        TAILQ_FOREACH(turn, &channel->turns, in_channel)
        {
            const int64_t asked_ms = TAILQ_FIRST(&turn->jobs)->asked_ms;

            if (asked_ms < oldest_ms)
                oldest_ms = asked_ms;
        }
    }
    return now_ms - oldest_ms;
}

/* ---- readers that are too slow ---- */

void feed_queue_owe(struct follower *follower, bool again)
{
    struct feed_queue *queue = &follower->feed->queue;

    feed_assert_locked(follower->feed);
    if (follower->owing)
        TAILQ_REMOVE(&queue->owed, follower, in_owed);
    follower->owing = again;
    if (!again)
        return;
    follower->owed_ms = clock_boot_ms();
    TAILQ_INSERT_TAIL(&queue->owed, follower, in_owed);
}

/* Whether somebody waits for memory that this control plane's followers hold. */
static bool is_pressed(const struct feed *feed, const struct feed_channel *channel)
{
    const struct feed_queue *queue = &feed->queue;

    if (queue->waiting == 0)
        return false;
    return queue->starved ||
           (!TAILQ_EMPTY(&channel->turns) && channel->running < FEED_RUNNING_MAX &&
            !fits_share(feed, channel, next_of(channel)->room));
}

static void cut(struct follower *follower, const char *why)
{
    struct feed *feed = follower->feed;
    char text[LOG_LEFT_OUT_SIZE];
    char id[UUID_TEXT_SIZE];
    unsigned left_out;

    if (log_pace_due(&feed->cut_pace, FEED_CUT_LOG_MS, &left_out))
        log_warning(feed->log, "feed: host \"%s\" of control plane %s %s: its feed is cut%s",
                    follower->host != NULL ? follower->host->name->text : "(replaced)",
                    uuid_format(&follower->channel->control_plane_id, id), why,
                    log_left_out(left_out, text));
    feed->stats.followers_cut++;
    feed_queue_owe(follower, false);
    feed_follower_end(follower);
    feed_cut(follower);
}

void feed_queue_cut(struct feed *feed)
{
    const int64_t due_ms = clock_boot_ms() - feed->queue.patience_ms;
    struct follower *follower;
    struct follower *next;

    feed_assert_locked(feed);
    while ((follower = TAILQ_FIRST(&feed->queue.owed)) != NULL && follower->owed_ms <= due_ms)
        cut(follower, "takes no bytes");
    for (follower = TAILQ_FIRST(&feed->queue.held); follower != NULL && follower->held_ms <= due_ms;
         follower = next) {
        next = TAILQ_NEXT(follower, in_held);
        if (is_pressed(feed, follower->channel))
            cut(follower, "takes bytes too slowly while others wait");
    }
}

int64_t feed_queue_deadline(const struct feed *feed)
{
    const struct feed_queue *queue = &feed->queue;
    const struct follower *owed = TAILQ_FIRST(&queue->owed);
    int64_t deadline_ms = INT64_MAX;

    if (owed != NULL)
        deadline_ms = owed->owed_ms + queue->patience_ms;
    if (queue->waiting > 0 && !TAILQ_EMPTY(&queue->held)) {
        const int64_t tick_ms =
            queue->patience_ms < FEED_TICK_MS ? queue->patience_ms : FEED_TICK_MS;

        if (clock_boot_ms() + tick_ms < deadline_ms)
            deadline_ms = clock_boot_ms() + tick_ms;
    }
    return deadline_ms;
}

/* feed_channel.c - what one control plane's followers share.
 *
 * A channel knows that nothing visible happened in (low, covered]. When a version above `covered`
 * is committed, one delta from there either finds nothing, and `covered` moves on, or makes a
 * segment that every follower in sync with a version in [low, covered] can take. Followers that are
 * further back find a recent segment, or get a delta of their own (feed_queue.c). So do all of them
 * when the delta is over FEED_URGENT_MAX_BYTES: other control planes' commits wait for the feed
 * thread, and must not wait for a large realm that becomes visible here.
 *
 * Failure modes: when the repository fails, the channels stay where they are and it is asked again
 * after a second; nothing is skipped.
 */
#include "control/feed/feed_internal.h"

#include <stdlib.h>
#include <string.h>

static size_t feed_channel_bucket_of(const struct uuid *id)
{
    uint32_t tail;

    memcpy(&tail, id->bytes + UUID_BYTES - sizeof(tail), sizeof(tail)); /* the random end */
    return tail % FEED_BUCKETS;
}

struct feed_channel *feed_channel_find(struct feed *feed, const struct uuid *control_plane_id)
{
    struct feed_channel *channel;

    for (channel = LIST_FIRST(&feed->channel_buckets[feed_channel_bucket_of(control_plane_id)]);
         channel != NULL; channel = LIST_NEXT(channel, in_bucket)) {
        if (uuid_equal(&channel->control_plane_id, control_plane_id))
            return channel;
    }
    return NULL;
}

struct feed_channel *feed_channel_open(struct feed *feed, const struct uuid *control_plane_id)
{
    struct feed_channel *channel = feed_channel_find(feed, control_plane_id);

    if (channel != NULL)
        return channel;
    channel = calloc(1, sizeof(*channel));
    if (channel == NULL)
        return NULL;
    channel->control_plane_id = *control_plane_id;
    TAILQ_INIT(&channel->followers);
    TAILQ_INIT(&channel->room.gone);
    TAILQ_INIT(&channel->turns);
    LIST_INSERT_HEAD(&feed->channel_buckets[feed_channel_bucket_of(control_plane_id)], channel,
                     in_bucket);
    TAILQ_INSERT_TAIL(&feed->channels, channel, in_feed);
    return channel;
}

void feed_channel_free(struct feed *feed, struct feed_channel *channel)
{
    feed_channel_rest(channel);
    LIST_REMOVE(channel, in_bucket);
    TAILQ_REMOVE(&feed->channels, channel, in_feed);
    free(channel);
}

void feed_channel_restart(struct feed *feed, struct feed_channel *channel)
{
    channel->low = channel->covered = feed->newest;
    channel->generation++;
    channel->n_history = 0;
}

/* ---- recent segments ---- */

static void forget_oldest(struct feed_channel *channel)
{
    struct feed_segment *oldest = channel->recent[0];

    channel->recent_bytes -= oldest->size;
    channel->n_recent--;
    for (size_t i = 0; i < channel->n_recent; i++)
        channel->recent[i] = channel->recent[i + 1];
    feed_segment_unref(oldest);
}

void feed_channel_rest(struct feed_channel *channel)
{
    while (channel->n_recent > 0)
        forget_oldest(channel);
}

void feed_channel_remember(struct feed_channel *channel, struct feed_segment *segment)
{
    if (segment->size > FEED_RECENT_MAX_BYTES)
        return;
    while (channel->n_recent > 0 && (channel->n_recent == FEED_RECENT_MAX ||
                                     channel->recent_bytes + segment->size > FEED_RECENT_MAX_BYTES))
        forget_oldest(channel);
    segment->refs++;
    channel->recent[channel->n_recent++] = segment;
    channel->recent_bytes += segment->size;
}

/* The newest that fits: it leads furthest. */
struct feed_segment *feed_channel_match(const struct feed_channel *channel, uint64_t position)
{
    for (size_t i = channel->n_recent; i-- > 0;) {
        struct feed_segment *segment = channel->recent[i];

        if (segment->low <= position && position <= segment->base)
            return segment;
    }
    return NULL;
}

uint64_t feed_channel_reach(const struct feed_channel *channel, uint64_t position)
{
    return position >= channel->low && position < channel->covered ? channel->covered : position;
}

/* ---- history ---- */

static void note_moment(struct feed_channel *channel, uint64_t version, int64_t time_ms)
{
    if (channel->n_history == FEED_HISTORY) {
        channel->n_history--;
        memmove(channel->history, channel->history + 1,
                channel->n_history * sizeof(*channel->history));
    }
    channel->history[channel->n_history++] =
        (struct feed_moment){.version = version, .time_ms = time_ms};
}

int64_t feed_channel_since(const struct feed_channel *channel, uint64_t version)
{
    for (size_t i = 0; i < channel->n_history; i++) {
        if (channel->history[i].version > version)
            return channel->history[i].time_ms;
    }
    return 0;
}

/* ---- moving on ---- */

static void wake_all(struct feed_channel *channel)
{
    struct follower *follower;

    for (follower = TAILQ_FIRST(&channel->followers); follower != NULL;
         follower = TAILQ_NEXT(follower, in_channel)) {
        feed_wake(follower);
    }
}

/* Takes the delta in; `delta->segment` is consumed. */
static void take_delta(struct feed *feed, struct feed_channel *channel, struct feed_delta *delta)
{
    struct feed_segment *segment = delta->segment;

    if (delta->repo.version > feed->newest)
        feed->newest = delta->repo.version;
    if (delta->repo.outcome == REPO_DELTA_TOO_OLD || (segment != NULL && segment->too_large)) {
        /* Commits outran us by the whole history, or it is more than what others may wait for: each
         * follower asks for itself, those at one place for one transaction. */
        channel->low = delta->repo.version;
        wake_all(channel);
        feed_segment_unref(segment);
    } else if (segment != NULL) {
        segment->low = channel->low;
        feed_channel_remember(channel, segment);
        note_moment(channel, segment->to, segment->time_ms);
        channel->low = segment->to;
        wake_all(channel);
        feed_segment_unref(segment);
    }
    channel->covered = delta->repo.version;
}

static size_t urgent_max(const struct feed *feed)
{
    return feed->transaction_max_bytes < FEED_URGENT_MAX_BYTES ? feed->transaction_max_bytes
                                                               : FEED_URGENT_MAX_BYTES;
}

/* False: the repository failed. */
static bool advance(struct feed *feed, struct feed_channel *channel)
{
    const struct uuid id = channel->control_plane_id;
    const uint64_t from = channel->covered;
    const struct repo_transaction_query query = {.control_plane_id = &id, .from = from};
    const struct feed_bounds bounds = {.max_bytes = urgent_max(feed)};
    const unsigned generation = channel->generation;
    struct error err = ERROR_INIT;
    struct feed_delta delta;
    int rc;

    pthread_mutex_unlock(&feed->lock);
    rc = feed_segment_make(feed->repo, &query, &bounds, &delta, &err);
    pthread_mutex_lock(&feed->lock);
    if (rc != 0) {
        log_error(feed->log,
                  "feed: cannot read the changes since version %llu: %s; trying again "
                  "in %d ms",
                  (unsigned long long)from, err.message, FEED_RETRY_MS);
        return false;
    }
    if (channel->n_followers > 0 && channel->generation == generation && channel->covered == from &&
        delta.repo.version >= from)
        take_delta(feed, channel, &delta);
    else
        feed_segment_unref(delta.segment);
    return true;
}

/* How far back cursors may be changes with the newest version. */
static void refresh_oldest(struct feed *feed)
{
    struct error err = ERROR_INIT;
    struct repo_head head;
    int rc;

    pthread_mutex_unlock(&feed->lock);
    rc = repo_head(feed->repo, &head, &err);
    pthread_mutex_lock(&feed->lock);
    if (rc == 0)
        feed->oldest = head.oldest;
}

void feed_channels_advance(struct feed *feed)
{
    const uint64_t target = feed->newest;
    struct feed_channel *channel;

    feed_assert_locked(feed);
    refresh_oldest(feed);
    for (channel = TAILQ_FIRST(&feed->channels); channel != NULL;
         channel = TAILQ_NEXT(channel, in_feed)) {
        if (channel->n_followers == 0 || channel->covered >= target)
            continue;
        if (!advance(feed, channel)) {
            feed->retry_ms = clock_boot_ms() + FEED_RETRY_MS;
            return;
        }
        feed_wakes_run(feed); /* they do not wait for the control planes that follow */
    }
    feed->examined = target;
}

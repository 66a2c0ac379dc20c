/* feed_connect.c - hosts connecting to the feed and leaving it. */
#include "control/feed/feed_internal.h"

#include <stdlib.h>
#include <string.h>

/* What can be said of the cursor without asking the repository. */
static void judge_cursor(struct follower *follower, const struct model_cursor *cursor)
{
    const struct feed *feed = follower->feed;

    if (uuid_is_nil(&cursor->epoch))
        feed_follower_refuse(follower, FEED_RESYNC_NO_CURSOR);
    else if (!uuid_equal(&cursor->epoch, &feed->epoch))
        feed_follower_refuse(follower, FEED_RESYNC_UNKNOWN_EPOCH);
    else
        follower->cursor = follower->position = cursor->version;
}

/* The host's former follower, if it has one, ends. */
static void replace(struct feed_host *host, struct follower *follower)
{
    if (host->follower != NULL) {
        host->follower->host = NULL;
        feed_follower_end(host->follower);
    }
    host->follower = follower;
    follower->host = host;
    /* A durable cursor is what the host's lookups see; one ahead of us is of no history of ours. */
    host->applied = follower->cursor <= follower->feed->newest ? follower->cursor : 0;
    host->heard_ms = clock_boot_ms();
}

static void enter(struct follower *follower, struct feed_channel *channel)
{
    struct feed *feed = follower->feed;

    if (channel->n_followers++ == 0)
        feed_channel_restart(feed, channel);
    follower->channel = channel;
    follower->since_ms = follower->line_ms = clock_boot_ms();
    TAILQ_INSERT_TAIL(&channel->followers, follower, in_channel);
    TAILQ_INSERT_TAIL(&feed->timers, follower, in_timers);
    feed->stats.followers++;
    pthread_cond_signal(&feed->work); /* the first one starts the timer */
}

/* Lock held. */
static int connect_follower(struct follower *follower, const struct follower_options *options)
{
    struct feed *feed = follower->feed;
    struct feed_channel *channel;
    struct feed_host *host;

    if (feed->stopping)
        return E_CANCELED;
    channel = feed_channel_open(feed, &options->control_plane_id);
    host = channel != NULL ? feed_host_open(feed, channel, options->host) : NULL;
    if (host == NULL || feed_host_set_agent(host, options->agent) != 0)
        return E_NO_MEMORY;
    judge_cursor(follower, &options->cursor);
    enter(follower, channel);
    replace(host, follower);
    host->refusing = options->refusing;
    return 0;
}

int feed_follower_create(struct feed *feed, const struct follower_options *options,
                         struct follower **ret, struct error *err)
{
    struct follower *follower = calloc(1, sizeof(*follower));
    int rc;

    if (follower == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    follower->feed = feed;
    follower->wake = options->wake;
    follower->context = options->context;
    follower->credential = options->credential;
    follower->wish = options->wish;
    buffer_init(&follower->line, FEED_LINES_MAX_BYTES);
    pthread_mutex_lock(&feed->lock);
    rc = connect_follower(follower, options);
    pthread_mutex_unlock(&feed->lock);
    if (rc != 0) {
        free(follower);
        return error_set(err, rc, "cannot follow the feed: %s", error_text(rc));
    }
    *ret = follower;
    return 0;
}

static void leave(struct follower *follower)
{
    struct feed *feed = follower->feed;
    struct feed_channel *channel = follower->channel;

    if (follower->queued)
        TAILQ_REMOVE(&feed->todo, follower, in_todo);
    if (follower->waking)
        TAILQ_REMOVE(&feed->wakes, follower, in_wakes);
    TAILQ_REMOVE(&feed->timers, follower, in_timers);
    TAILQ_REMOVE(&channel->followers, follower, in_channel);
    if (--channel->n_followers == 0)
        feed_channel_rest(channel);
    feed->stats.followers--;
    feed_segment_unref(follower->segment);
    feed_segment_unref(follower->pending);
}

void feed_follower_destroy(struct follower *follower)
{
    struct feed *feed;

    if (follower == NULL)
        return;
    feed = follower->feed;
    pthread_mutex_lock(&feed->lock);
    while (follower->pinned)
        pthread_cond_wait(&feed->unpinned, &feed->lock);
    leave(follower);
    if (follower->host != NULL) {
        follower->host->follower = NULL;
        follower->host->heard_ms = clock_boot_ms();
    }
    pthread_mutex_unlock(&feed->lock);
    buffer_finish(&follower->line);
    free(follower);
}

void feed_revoke(struct feed *feed, const struct uuid *credential)
{
    struct follower *follower = NULL;

    pthread_mutex_lock(&feed->lock);
    TAILQ_FOREACH(follower, &feed->timers, in_timers)
    {
        if (uuid_equal(&follower->credential, credential))
            feed_follower_end(follower);
    }
    pthread_mutex_unlock(&feed->lock);
}

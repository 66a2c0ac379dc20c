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
    /* What a host presents is durable there, and its lookups see it: it counts as applied. One
     * ahead of us is of no history of ours. */
    if (follower->cursor <= feed->newest)
        follower->sent = follower->cursor;
}

static void feed_connect_enter(struct follower *follower, struct feed_channel *channel)
{
    struct feed *feed = follower->feed;

    if (channel->n_followers++ == 0)
        feed_channel_restart(feed, channel);
    follower->channel = channel;
    follower->since_ms = follower->line_ms = clock_boot_ms();
    TAILQ_INSERT_TAIL(&channel->followers, follower, in_channel);
    TAILQ_INSERT_TAIL(&feed->timers, follower, in_timers);
    feed_queue_owe(follower, true);
    feed->stats.followers++;
    pthread_cond_signal(&feed->work); /* the first one starts the timer */
}

/* Lock held. */
static int connect_follower(struct follower *follower, const struct follower_options *options,
                            struct error *err)
{
    struct feed *feed = follower->feed;
    struct feed_channel *channel;
    struct feed_room *room;
    struct feed_host *host;
    int rc;

    feed_assert_locked(follower->feed);
    if (feed->stopping)
        return error_set(err, E_CANCELED, NULL);
    channel = feed_channel_open(feed, &options->control_plane_id);
    room = channel != NULL ? feed_room_open(feed, &options->credential) : NULL;
    if (room == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    room->n_feeds++; /* this one; keeps the room, whatever is forgotten meanwhile */
    rc = feed_host_admit(feed, channel, room, options, &host, err);
    if (rc != 0) {
        room->n_feeds--;
        feed_room_settle(room);
        return rc;
    }
    follower->room = room;
    judge_cursor(follower, &options->cursor);
    feed_connect_enter(follower, channel);
    feed_host_connect(host, follower, &options->former);
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
    follower->cut = options->cut;
    follower->context = options->context;
    follower->credential = options->credential;
    follower->wish = options->wish;
    buffer_init_secret(&follower->line, FEED_LINES_MAX_BYTES);
    rc = uuid_random(&follower->id);
    if (rc != 0)
        (void)error_set(err, rc, "the system has no randomness");
    pthread_mutex_lock(&feed->lock);
    if (rc == 0)
        rc = connect_follower(follower, options, err);
    pthread_mutex_unlock(&feed->lock);
    if (rc == 0)
        *ret = follower;
    else
        free(follower);
    return rc;
}

static void leave(struct follower *follower)
{
    struct feed *feed = follower->feed;
    struct feed_channel *channel = follower->channel;

    feed_follower_drop(follower);
    feed_queue_owe(follower, false);
    if (follower->waking)
        TAILQ_REMOVE(&feed->wakes, follower, in_wakes);
    TAILQ_REMOVE(&feed->timers, follower, in_timers);
    TAILQ_REMOVE(&channel->followers, follower, in_channel);
    if (--channel->n_followers == 0)
        feed_channel_rest(channel);
    follower->room->n_feeds--;
    feed_room_settle(follower->room);
    feed->stats.followers--;
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
    feed_host_leave(follower);
    leave(follower);
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

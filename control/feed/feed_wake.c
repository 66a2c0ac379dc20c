/* feed_wake.c - calling followers' wake() without the lock, and the heartbeat timers.
 *
 * Whoever has news for a follower queues it; the feed thread alone calls wake(), for a batch at a
 * time, with the followers pinned so that they cannot be destroyed meanwhile.
 *
 * Timers: every follower has the same period, so a list in the order of the last line is in the
 * order of the deadlines. Restarting one moves it to the end; a tick looks at the front only.
 */
#include "control/feed/feed_internal.h"

enum { WAKE_BATCH = 64 };

static void feed_wake_enqueue(struct feed *feed, struct follower *follower)
{
    follower->waking = true;
    TAILQ_INSERT_TAIL(&feed->wakes, follower, in_wakes);
    pthread_cond_signal(&feed->work);
}

void feed_wake(struct follower *follower)
{
    struct feed *feed = follower->feed;

    feed_assert_locked(follower->feed);
    if (!follower->waiting || follower->waking)
        return;
    follower->waiting = false;
    feed_queue_owe(follower, true);
    feed_wake_enqueue(feed, follower);
}

void feed_cut(struct follower *follower)
{
    feed_assert_locked(follower->feed);
    follower->cutting = true;
    if (!follower->waking)
        feed_wake_enqueue(follower->feed, follower);
}

static size_t feed_wake_take_batch(struct feed *feed, struct follower *batch[WAKE_BATCH])
{
    size_t count = 0;

    while (count < WAKE_BATCH && !TAILQ_EMPTY(&feed->wakes)) {
        struct follower *follower = TAILQ_FIRST(&feed->wakes);

        TAILQ_REMOVE(&feed->wakes, follower, in_wakes);
        follower->waking = false;
        follower->pinned = true;
        batch[count++] = follower;
    }
    return count;
}

/* `cutting` is set once and for ever, before the follower was pinned. */
static void call(const struct follower *follower)
{
    if (follower->cutting && follower->cut != NULL)
        follower->cut(follower->context);
    else
        follower->wake(follower->context);
}

void feed_wakes_run(struct feed *feed)
{
    struct follower *batch[WAKE_BATCH];
    size_t count;

    feed_assert_locked(feed);
    while ((count = feed_wake_take_batch(feed, batch)) > 0) {
        pthread_mutex_unlock(&feed->lock);
        for (size_t i = 0; i < count; i++)
            call(batch[i]);
        pthread_mutex_lock(&feed->lock);
        for (size_t i = 0; i < count; i++)
            batch[i]->pinned = false;
        pthread_cond_broadcast(&feed->unpinned);
    }
}

void feed_timer_restart(struct follower *follower)
{
    struct feed *feed = follower->feed;

    feed_assert_locked(follower->feed);
    follower->line_ms = clock_boot_ms();
    TAILQ_REMOVE(&feed->timers, follower, in_timers);
    TAILQ_INSERT_TAIL(&feed->timers, follower, in_timers);
}

void feed_timers_run(struct feed *feed)
{
    const int64_t due = clock_boot_ms() - feed->heartbeat_ms;
    struct follower *follower;

    feed_assert_locked(feed);
    while ((follower = TAILQ_FIRST(&feed->timers)) != NULL && follower->line_ms <= due) {
        follower->beat = true;
        feed_timer_restart(follower);
        feed_wake(follower);
    }
}

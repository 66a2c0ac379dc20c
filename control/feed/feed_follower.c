/* feed_follower.c - one connected host: which bytes it gets next.
 *
 *     GREETING --hello--> LIVE --transactions, heartbeats--> LIVE --resync--> LAST --sent--> OVER
 *                         LIVE --refused: "preparing" until the snapshot is there--> LIVE
 *     any --replaced, stop, failure--> OVER
 *
 * feed_follower_read() hands out the line being sent, then the segment behind it, and produces the
 * next only when both are out: what is held for a slow reader is one transaction, and what happens
 * meanwhile merges into the next. A follower that no shared segment fits asks the feed thread for a
 * delta of its own ("todo").
 *
 * Invariant: position >= cursor, and nothing that the host may see happened between them.
 *
 * Failure modes: out of memory, or a repository that fails during a follower's own delta, ends its
 * stream; the host comes back with its cursor.
 */
#include "control/feed/feed_internal.h"

#include <stdlib.h>
#include <string.h>

void feed_follower_end(struct follower *follower)
{
    follower->state = FOLLOWER_OVER;
    feed_wake(follower);
}

void feed_follower_refuse(struct follower *follower, enum feed_resync_reason reason)
{
    follower->refusal = REFUSAL_NEW;
    follower->reason = reason;
}

void feed_follower_tell(struct follower *follower, const struct snapshot_name *name)
{
    if (name == NULL) {
        feed_follower_end(follower);
        return;
    }
    follower->refusal = REFUSAL_NAMED;
    follower->snapshot = *name;
    feed_wake(follower);
}

/* ---- lines ---- */

/* Queues a line; out of memory ends the stream. */
static void put_line(struct follower *follower, const struct feed_line *line)
{
    if (feed_line_encode(line, &follower->line) != 0)
        follower->state = FOLLOWER_OVER;
    feed_timer_restart(follower);
}

static bool shares_name(const struct follower *follower)
{
    return follower->host != NULL && feed_host_shares_name(follower->feed, follower->host);
}

/* What was handed out may be acknowledged. A position that the host made up is none of ours. */
static void note_sent(struct follower *follower, uint64_t version)
{
    if (version > follower->sent && version <= follower->feed->newest)
        follower->sent = version;
}

static void put_hello(struct follower *follower)
{
    const struct feed *feed = follower->feed;
    struct feed_line line = {.kind = FEED_LINE_HELLO,
                             .hello = {.protocol = 1,
                                       .control_plane_id = follower->channel->control_plane_id,
                                       .epoch = feed->epoch,
                                       .version = feed->newest,
                                       .heartbeat_ms = feed->heartbeat_ms,
                                       .region = feed->region,
                                       .accepted = feed->accepted,
                                       .feed = follower->id,
                                       .name_shared = shares_name(follower)}};

    memcpy(line.hello.digest_key, feed->digest_key, DIGEST_KEY_BYTES);
    put_line(follower, &line);
}

static void put_begin(struct follower *follower, uint64_t version, int64_t time_ms)
{
    const struct feed_line line = {
        .kind = FEED_LINE_BEGIN,
        .begin = {.prev = follower->cursor, .version = version, .time_ms = time_ms}};

    put_line(follower, &line);
    follower->feed->stats.transactions_sent++;
}

static void put_preparing(struct follower *follower)
{
    const struct feed_line line = {.kind = FEED_LINE_PREPARING};

    follower->beat = false;
    put_line(follower, &line);
}

static void put_resync(struct follower *follower)
{
    const struct feed_line line = {
        .kind = FEED_LINE_RESYNC,
        .resync = {.reason = follower->reason, .snapshot = follower->snapshot}};

    follower->state = FOLLOWER_LAST;
    follower->feed->stats.resyncs_sent++;
    put_line(follower, &line);
}

/* A transaction without changes, for a host whose cursor would otherwise grow too old. */
static void put_empty_transaction(struct follower *follower)
{
    const struct feed_line commit = {.kind = FEED_LINE_COMMIT,
                                     .commit = {.version = follower->position}};

    put_begin(follower, follower->position, clock_wall_ms());
    put_line(follower, &commit);
    follower->cursor = follower->position;
}

/* Far behind in numbers, or close to the end of a history that is being trimmed. */
static bool cursor_needs_move(const struct follower *follower)
{
    const struct feed *feed = follower->feed;
    const uint64_t behind = follower->position - follower->cursor;

    return behind >= FEED_MOVE_AFTER ||
           (feed->oldest > 0 && behind > 0 && behind >= (feed->newest - feed->oldest) / 4);
}

/* Somebody waits for a version, all that the host may see of it has been sent, and not all of that
 * was acknowledged. */
static bool is_awaited(const struct follower *follower)
{
    const struct feed_host *host = follower->host;

    return host != NULL && host->awaited > follower->asked && host->applied < follower->cursor &&
           feed_channel_reach(follower->channel, follower->position) >= host->awaited;
}

static void put_heartbeat(struct follower *follower)
{
    struct feed_line line = {.kind = FEED_LINE_HEARTBEAT};

    follower->position = feed_channel_reach(follower->channel, follower->position);
    line.heartbeat.acknowledge = is_awaited(follower);
    if (line.heartbeat.acknowledge)
        follower->asked = follower->host->awaited;
    line.heartbeat.name_shared = shares_name(follower);
    line.heartbeat.version = follower->position;
    note_sent(follower, follower->position);
    line.heartbeat.time_ms = clock_wall_ms();
    if (cursor_needs_move(follower))
        put_empty_transaction(follower);
    put_line(follower, &line);
    follower->beat = false;
}

/* ---- what comes next ---- */

static void start_segment(struct follower *follower, struct feed_segment *segment)
{
    if (segment->too_large) {
        feed_follower_refuse(follower, FEED_RESYNC_TOO_LARGE);
        return;
    }
    segment->refs++;
    follower->segment = segment;
    follower->segment_at = 0;
    put_begin(follower, segment->to, segment->time_ms);
}

static bool has_wish(const struct follower *follower)
{
    return follower->wish.kind != FEED_WISH_NONE;
}

/* Takes the follower's own delta if it has one, or a shared segment, which grants no wish. */
static bool start_transaction(struct follower *follower)
{
    struct feed_segment *segment = follower->pending;

    if (segment == NULL && has_wish(follower))
        return false;
    if (segment == NULL)
        segment = feed_channel_match(follower->channel, follower->position);
    if (segment == NULL)
        return false;
    start_segment(follower, segment);
    feed_segment_unref(follower->pending);
    follower->pending = NULL;
    return true;
}

/* Wishes for something, or is in sync with a version that says nothing about the newest, or with
 * one that does not exist. */
static bool needs_own_delta(const struct follower *follower)
{
    return has_wish(follower) || follower->position < follower->channel->low ||
           follower->position > follower->feed->newest;
}

static void ask_for_delta(struct follower *follower)
{
    struct feed *feed = follower->feed;

    if (follower->queued)
        return;
    follower->queued = true;
    TAILQ_INSERT_TAIL(&feed->todo, follower, in_todo);
    pthread_cond_signal(&feed->work);
}

/* A snapshot is needed; false: it is not there yet. */
static bool produce_refused(struct follower *follower)
{
    if (follower->refusal == REFUSAL_NEW) {
        follower->refusal = REFUSAL_WAITS;
        if (feed_builder_order(follower->feed, &follower->channel->control_plane_id) != 0)
            follower->state = FOLLOWER_OVER;
    }
    if (follower->refusal == REFUSAL_NAMED)
        put_resync(follower);
    else if (follower->beat)
        put_preparing(follower);
    return follower->line.size > 0;
}

/* What a live follower gets; false: nothing now. */
static bool produce_live(struct follower *follower)
{
    if (follower->refusal != REFUSAL_NONE)
        return produce_refused(follower);
    if (start_transaction(follower))
        return true;
    if (needs_own_delta(follower)) {
        ask_for_delta(follower);
    } else if (!follower->announced) {
        follower->announced = true;
        follower->beat = true;
    }
    if (follower->beat || (!needs_own_delta(follower) && is_awaited(follower)))
        put_heartbeat(follower);
    return follower->line.size > 0;
}

static bool produce(struct follower *follower)
{
    switch (follower->state) {
    case FOLLOWER_GREETING:
        follower->state = FOLLOWER_LIVE;
        put_hello(follower);
        return true;
    case FOLLOWER_LIVE:
        return produce_live(follower);
    case FOLLOWER_LAST:
        follower->state = FOLLOWER_OVER;
        break;
    case FOLLOWER_OVER:
        break;
    }
    return false;
}

/* ---- handing out ---- */

static size_t drain_line(struct follower *follower, char *bytes, size_t max)
{
    size_t count = follower->line.size - follower->line_at;

    if (count > max)
        count = max;
    if (count == 0)
        return 0;
    memcpy(bytes, follower->line.data + follower->line_at, count);
    follower->line_at += count;
    if (follower->line_at == follower->line.size) {
        buffer_finish(&follower->line); /* idle followers hold no buffer */
        follower->line_at = 0;
    }
    return count;
}

static void finish_segment(struct follower *follower)
{
    follower->cursor = follower->position = follower->segment->to;
    note_sent(follower, follower->cursor);
    feed_segment_unref(follower->segment);
    follower->segment = NULL;
    feed_timer_restart(follower);
}

static size_t drain_segment(struct follower *follower, char *bytes, size_t max)
{
    struct feed_segment *segment = follower->segment;
    size_t count;

    if (segment == NULL || max == 0)
        return 0;
    count = segment->size - follower->segment_at;
    if (count > max)
        count = max;
    memcpy(bytes, segment->bytes + follower->segment_at, count);
    follower->segment_at += count;
    if (follower->segment_at == segment->size)
        finish_segment(follower);
    return count;
}

static size_t read_some(struct follower *follower, char *bytes, size_t max)
{
    size_t count = 0;

    while (follower->state != FOLLOWER_OVER) {
        count += drain_line(follower, bytes + count, max - count);
        if (follower->line.size == 0)
            count += drain_segment(follower, bytes + count, max - count);
        if (count == max || !produce(follower))
            break;
    }
    return count;
}

ssize_t feed_follower_read(struct follower *follower, char *bytes, size_t max)
{
    struct feed *feed = follower->feed;
    ssize_t result;
    size_t count;

    pthread_mutex_lock(&feed->lock);
    count = read_some(follower, bytes, max);
    feed->stats.bytes_sent += count;
    result = (ssize_t)count;
    if (count == 0 && follower->state == FOLLOWER_OVER)
        result = -1;
    follower->waiting = result == 0 && max > 0;
    pthread_mutex_unlock(&feed->lock);
    return result;
}

uint64_t feed_follower_applied(const struct follower *follower, uint64_t acknowledged)
{
    const bool idle = follower->state == FOLLOWER_LIVE && follower->refusal == REFUSAL_NONE &&
                      follower->segment == NULL && follower->pending == NULL &&
                      !needs_own_delta(follower);

    if (!idle || acknowledged < follower->cursor)
        return acknowledged;
    return feed_channel_reach(follower->channel, follower->position);
}

/* ---- deltas of their own: the feed thread's part ---- */

static void take_delta(struct follower *follower, const struct feed_delta *delta)
{
    if (delta->repo.outcome == REPO_DELTA_TOO_OLD) {
        feed_follower_refuse(follower, FEED_RESYNC_TOO_OLD);
        return;
    }
    if (delta->repo.outcome == REPO_DELTA_FUTURE) {
        feed_follower_refuse(follower, FEED_RESYNC_FUTURE_VERSION);
        return;
    }
    if (delta->repo.version > follower->feed->newest)
        follower->feed->newest = delta->repo.version;
    if (delta->segment == NULL) {
        follower->position = delta->repo.version;
        return;
    }
    if (has_wish(follower))
        follower->wish.kind = FEED_WISH_NONE;
    else
        feed_channel_remember(follower->channel, delta->segment);
    delta->segment->refs++;
    follower->pending = delta->segment;
}

/* Computes one delta with the follower pinned and the lock released. */
static void serve(struct feed *feed, struct follower *follower)
{
    const struct uuid id = follower->channel->control_plane_id;
    const uint64_t from = follower->position;
    const struct feed_wish wish = follower->wish;
    const struct repo_transaction_query query = {
        .control_plane_id = &id, .from = from, .wish = has_wish(follower) ? &wish : NULL};
    struct error err = ERROR_INIT;
    struct feed_delta delta;
    int rc;

    follower->pinned = true;
    pthread_mutex_unlock(&feed->lock);
    rc = feed_segment_make(feed, &query, &delta, &err);
    pthread_mutex_lock(&feed->lock);
    follower->pinned = false;
    pthread_cond_broadcast(&feed->unpinned);
    if (rc == 0) {
        take_delta(follower, &delta);
        feed_segment_unref(delta.segment);
    } else {
        log_error(feed->log,
                  "feed: cannot read the changes since version %llu: %s; the host is "
                  "disconnected and will come back",
                  (unsigned long long)from, err.message);
        feed_follower_end(follower);
    }
}

void feed_followers_serve(struct feed *feed)
{
    struct follower *follower;

    while ((follower = TAILQ_FIRST(&feed->todo)) != NULL) {
        TAILQ_REMOVE(&feed->todo, follower, in_todo);
        follower->queued = false;
        if (follower->state == FOLLOWER_LIVE &&
            (has_wish(follower) ||
             feed_channel_match(follower->channel, follower->position) == NULL) &&
            needs_own_delta(follower))
            serve(feed, follower);
        feed_wake(follower);
    }
}

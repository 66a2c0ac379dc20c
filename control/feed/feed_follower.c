/* feed_follower.c - one connected host: which bytes it gets next. docs/states.md has its states.
 *
 * feed_follower_read() hands out the line being sent, then the segment behind it, and produces the
 * next only when both are out: what is held for a slow reader is one transaction, and what happens
 * meanwhile merges into the next. A follower that no shared segment fits, or that wishes for
 * something, asks for a delta of its own (feed_queue.c), and never for a second one before it has
 * the first: a `job` becomes `pending`, that becomes the `segment` being sent. The wish goes with
 * the job. It is not asked for before the transport has taken the hello.
 *
 * Invariants: position >= cursor, and nothing that the host may see happened between them; the
 * position stays while there is a job or something pending.
 *
 * Failure modes: out of memory, or a repository that fails during a follower's own delta, ends its
 * stream; the host comes back with its cursor.
 */
#include "control/feed/feed_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void feed_follower_end(struct follower *follower)
{
    feed_assert_locked(follower->feed);
    feed_follower_advance(follower, FOLLOWER_EVENT_END);
    feed_follower_drop(follower);
    feed_wake(follower);
}

void feed_follower_drop(struct follower *follower)
{
    feed_queue_leave(follower);
    if (follower->pending != NULL)
        feed_queue_release(follower, follower->pending);
    if (follower->segment != NULL)
        feed_queue_release(follower, follower->segment);
    follower->pending = follower->segment = NULL;
}

void feed_follower_refuse(struct follower *follower, enum feed_resync_reason reason)
{
    feed_assert_locked(follower->feed);
    feed_follower_advance(follower, FOLLOWER_EVENT_REFUSE);
    follower->reason = reason;
}

bool feed_follower_is_refused(const struct follower *follower)
{
    switch (follower->state) {
    case FOLLOWER_DECLINING:
    case FOLLOWER_REFUSED:
    case FOLLOWER_PREPARING:
    case FOLLOWER_NAMED:
    case FOLLOWER_LAST:
        return true;
    default:
        return false;
    }
}

void feed_follower_tell(struct follower *follower, const struct snapshot_name *name)
{
    feed_assert_locked(follower->feed);
    if (name == NULL) {
        feed_follower_end(follower);
        return;
    }
    feed_follower_advance(follower, FOLLOWER_EVENT_NAME);
    follower->snapshot = *name;
    feed_wake(follower);
}

/* ---- lines ---- */

/* Queues a line; out of memory ends the stream. */
static void put_line(struct follower *follower, const struct feed_line *line)
{
    if (feed_line_encode(line, &follower->line) != 0)
        feed_follower_advance(follower, FOLLOWER_EVENT_END);
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

    feed_follower_advance(follower, FOLLOWER_EVENT_RESYNC);
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

/* Its own delta is on the way: the next transaction begins where it stands. */
static bool is_bound(const struct follower *follower)
{
    return follower->state == FOLLOWER_WAITING || follower->state == FOLLOWER_READY;
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

    if (!is_bound(follower))
        follower->position = feed_channel_reach(follower->channel, follower->position);
    line.heartbeat.acknowledge = is_awaited(follower);
    if (line.heartbeat.acknowledge)
        follower->asked = follower->host->awaited;
    line.heartbeat.name_shared = shares_name(follower);
    line.heartbeat.version = follower->position;
    note_sent(follower, follower->position);
    line.heartbeat.time_ms = clock_wall_ms();
    if (!is_bound(follower) && cursor_needs_move(follower))
        put_empty_transaction(follower);
    put_line(follower, &line);
    follower->beat = false;
}

/* ---- what comes next ---- */

static bool has_wish(const struct follower *follower)
{
    return follower->wish.kind != FEED_WISH_NONE;
}

/* `segment` is held already. */
static void start_segment(struct follower *follower, struct feed_segment *segment)
{
    if (segment->too_large) {
        feed_queue_release(follower, segment);
        feed_follower_refuse(follower, FEED_RESYNC_TOO_LARGE);
        return;
    }
    feed_follower_advance(follower, FOLLOWER_EVENT_SEND);
    follower->segment = segment;
    follower->segment_at = 0;
    put_begin(follower, segment->to, segment->time_ms);
}

static void start_pending(struct follower *follower)
{
    struct feed_segment *segment = follower->pending;

    follower->pending = NULL;
    start_segment(follower, segment);
}

/* A shared segment grants no wish. False: none fits. */
static bool start_shared(struct follower *follower)
{
    struct feed_segment *segment =
        has_wish(follower) ? NULL : feed_channel_match(follower->channel, follower->position);

    if (segment == NULL)
        return false;
    feed_queue_leave(follower); /* if it waits: that is here, made for another */
    feed_queue_hold(follower, segment);
    start_segment(follower, segment);
    return true;
}

bool feed_follower_is_in_sync(const struct follower *follower)
{
    return follower->position >= follower->channel->low &&
           follower->position <= follower->feed->newest;
}

/* Wishes for something, or is in sync with a version that says nothing about the newest, or with
 * one that does not exist. */
static bool needs_own_delta(const struct follower *follower)
{
    return has_wish(follower) || !feed_follower_is_in_sync(follower);
}

static void ask_for_delta(struct follower *follower)
{
    if (feed_queue_ask(follower))
        feed_follower_advance(follower, FOLLOWER_EVENT_ASK);
    else
        feed_follower_advance(follower, FOLLOWER_EVENT_END);
}

/* A heartbeat would say that it is current; where it is not, "preparing" says that the source is
 * alive. */
static void produce_waiting(struct follower *follower)
{
    if (start_shared(follower) || !follower->beat)
        return;
    if (feed_follower_is_in_sync(follower))
        put_heartbeat(follower);
    else
        put_preparing(follower);
}

static void order_snapshot(struct follower *follower)
{
    if (feed_builder_order(follower->feed, &follower->channel->control_plane_id) == 0)
        feed_follower_advance(follower, FOLLOWER_EVENT_ORDER);
    else
        feed_follower_advance(follower, FOLLOWER_EVENT_END);
}

static void produce_idle(struct follower *follower)
{
    if (start_shared(follower))
        return;
    if (needs_own_delta(follower)) {
        ask_for_delta(follower);
        return;
    }
    if (!follower->announced) {
        follower->announced = true;
        follower->beat = true;
    }
    if (follower->beat || is_awaited(follower))
        put_heartbeat(follower);
}

/* One step towards the next bytes. */
static void produce(struct follower *follower)
{
    switch (follower->state) {
    case FOLLOWER_GREETING:
    case FOLLOWER_DECLINING:
        feed_follower_advance(follower, FOLLOWER_EVENT_GREETED);
        put_hello(follower);
        break;
    case FOLLOWER_IDLE:
        produce_idle(follower);
        break;
    case FOLLOWER_WAITING:
        produce_waiting(follower);
        break;
    case FOLLOWER_READY:
        start_pending(follower);
        break;
    case FOLLOWER_REFUSED:
        order_snapshot(follower);
        break;
    case FOLLOWER_PREPARING:
        if (follower->beat)
            put_preparing(follower);
        break;
    case FOLLOWER_NAMED:
        put_resync(follower);
        break;
    case FOLLOWER_LAST:
        feed_follower_advance(follower, FOLLOWER_EVENT_DRAINED);
        break;
    case FOLLOWER_SENDING: /* drain_segment() gives the bytes */
    case FOLLOWER_OVER:
    case FOLLOWER_STATES:
        break;
    }
}

/* False: there is nothing now. Steps that give no bytes are followed by others; no two states lead
 * to each other without any. */
static bool produce_some(struct follower *follower)
{
    enum follower_state before;

    do {
        before = follower->state;
        produce(follower);
    } while (follower->line.size == 0 && follower->state != before);
    return follower->line.size > 0;
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
    feed_queue_release(follower, follower->segment);
    follower->segment = NULL;
    feed_follower_advance(follower, FOLLOWER_EVENT_SENT);
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

/* The hello goes alone: what costs something is begun when the transport comes again, so that
 * somebody who does not read gets a hello and no more. */
static size_t read_some(struct follower *follower, char *bytes, size_t max)
{
    const bool greeting =
        follower->state == FOLLOWER_GREETING || follower->state == FOLLOWER_DECLINING;
    size_t count = 0;

    while (follower->state != FOLLOWER_OVER) {
        count += drain_line(follower, bytes + count, max - count);
        if (follower->line.size == 0)
            count += drain_segment(follower, bytes + count, max - count);
        if (count == max || (greeting && count > 0) || !produce_some(follower))
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
    if (follower->state == FOLLOWER_OVER)
        feed_follower_drop(follower); /* what is not out yet never will be */
    if (count == 0 && follower->state == FOLLOWER_OVER)
        result = -1;
    follower->waiting = result == 0 && max > 0;
    feed_queue_owe(follower, result > 0);
    pthread_mutex_unlock(&feed->lock);
    return result;
}

uint64_t feed_follower_applied(const struct follower *follower, uint64_t acknowledged)
{
    const bool idle = follower->state == FOLLOWER_IDLE && !needs_own_delta(follower);

    if (!idle || acknowledged < follower->cursor)
        return acknowledged;
    return feed_channel_reach(follower->channel, follower->position);
}

/* ---- deltas of their own ---- */

void feed_follower_take(struct follower *follower, const struct feed_delta *delta)
{
    struct feed_segment *segment = delta->segment;

    feed_assert_locked(follower->feed);
    assert(follower->pending == NULL && follower->segment == NULL);
    if (delta->repo.outcome == REPO_DELTA_TOO_OLD) {
        feed_follower_refuse(follower, FEED_RESYNC_TOO_OLD);
    } else if (delta->repo.outcome == REPO_DELTA_FUTURE) {
        feed_follower_refuse(follower, FEED_RESYNC_FUTURE_VERSION);
    } else if (segment == NULL) {
        feed_follower_advance(follower, FOLLOWER_EVENT_NONE);
        follower->position = delta->repo.version;
    } else {
        feed_follower_advance(follower, FOLLOWER_EVENT_MADE);
        follower->wish.kind = FEED_WISH_NONE;
        feed_queue_hold(follower, segment);
        follower->pending = segment;
    }
}

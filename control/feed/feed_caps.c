/* feed_caps.c - how many hosts and feeds one credential, and one control plane, may have.
 *
 * A feed over a cap is refused: each costs a connection. A host over a cap takes the place of the
 * one that has been gone for longest; it is refused only when all of them are connected. So whoever
 * invents hosts crowds out what is remembered, and nobody who is there.
 *
 * A credential's room lives as long as it has a host or a feed.
 */
#include "control/feed/feed_internal.h"

#include <stdlib.h>

enum { LOG_INTERVAL_MS = 10 * 1000 };

static struct feed_room_bucket *feed_caps_bucket_of(struct feed *feed,
                                                    const struct uuid *credential)
{
    return &feed->room_buckets[feed_hash(feed->hash_seed, credential->bytes, UUID_BYTES) %
                               FEED_BUCKETS];
}

struct feed_room *feed_room_open(struct feed *feed, const struct uuid *credential)
{
    struct feed_room_bucket *bucket = feed_caps_bucket_of(feed, credential);
    struct feed_room *room;

    for (room = LIST_FIRST(bucket); room != NULL; room = LIST_NEXT(room, in_bucket)) {
        if (uuid_equal(&room->id, credential))
            return room;
    }
    room = calloc(1, sizeof(*room));
    if (room == NULL)
        return NULL;
    room->id = *credential;
    TAILQ_INIT(&room->gone);
    LIST_INSERT_HEAD(bucket, room, in_bucket);
    return room;
}

void feed_room_settle(struct feed_room *room)
{
    if (room->n_hosts > 0 || room->n_feeds > 0)
        return;
    LIST_REMOVE(room, in_bucket);
    free(room);
}

static const struct {
    const char *whose;
    const char *feeds_setting;
    const char *hosts_setting;
} caps[FEED_CAPS] = {
    [FEED_CAP_CREDENTIAL] = {"These credentials have", "max_feeds_per_token",
                             "max_hosts_per_token"},
    [FEED_CAP_CONTROL_PLANE] = {"This control plane has", "max_feeds_per_control_plane",
                                "max_hosts_per_control_plane"},
};

int feed_refuse(struct feed *feed, const struct feed_channel *channel, struct error *err)
{
    char id[UUID_TEXT_SIZE];
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;

    feed->stats.feeds_refused++;
    if (log_pace_due(&feed->cap_pace, LOG_INTERVAL_MS, &left_out))
        log_warning(feed->log, "feed: a host of control plane %s is refused: %s%s",
                    uuid_format(&channel->control_plane_id, id), err->message,
                    log_left_out(left_out, text));
    return err->code;
}

int feed_caps_check_feeds(struct feed *feed, const struct feed_channel *channel,
                          const struct feed_room *room, struct error *err)
{
    const size_t open[FEED_CAPS] = {
        [FEED_CAP_CREDENTIAL] = room->n_feeds - 1, [FEED_CAP_CONTROL_PLANE] = channel->n_followers};

    for (int cap = 0; cap < FEED_CAPS; cap++) {
        if (open[cap] < feed->max_feeds[cap])
            continue;
        (void)error_set(err, E_TOO_MANY, "%s %zu feeds open, as many as %s allows.",
                        caps[cap].whose, open[cap], caps[cap].feeds_setting);
        return feed_refuse(feed, channel, err);
    }
    return 0;
}

static bool forget_longest_gone(struct feed *feed, struct feed_room *room)
{
    struct feed_host *host = TAILQ_FIRST(&room->gone);

    if (host == NULL)
        return false;
    feed_host_free(feed, host);
    return true;
}

/* Its own first: whoever invents hosts does not make others' be forgotten. */
static bool feed_caps_displace(struct feed *feed, struct feed_room *own, struct feed_room *room)
{
    return forget_longest_gone(feed, own) || forget_longest_gone(feed, room);
}

int feed_caps_make_room(struct feed *feed, const struct feed_channel *channel,
                        struct feed_room *const rooms[FEED_CAPS], struct error *err)
{
    for (int cap = 0; cap < FEED_CAPS; cap++) {
        if (rooms[cap]->n_hosts < feed->max_hosts[cap] ||
            feed_caps_displace(feed, rooms[FEED_CAP_CREDENTIAL], rooms[cap]))
            continue;
        (void)error_set(err, E_TOO_MANY, "%s %zu hosts connected, as many as %s allows.",
                        caps[cap].whose, rooms[cap]->n_hosts, caps[cap].hosts_setting);
        return feed_refuse(feed, channel, err);
    }
    return 0;
}

/* feed_ack.c - what hosts say that they have made visible, and the list of them.
 *
 * An acknowledgement is believed when it names an open feed of its host, comes with the credential
 * that opened it, and says no more than what was sent on it. An agent of before names no feed: then
 * the host must have one only. What is not believed changes nothing and is told why.
 */
#include "control/feed/feed_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_INTERVAL_MS = 60 * 1000, BUCKETS_AT_ONCE = 8 };
_Static_assert(FEED_BUCKETS % BUCKETS_AT_ONCE == 0, "all are looked at");

/* ---- acknowledgement ---- */

static bool is_open(const struct feed_host *host, const struct feed_ack *ack)
{
    const struct follower *follower = host->follower;

    return follower != NULL && follower->state != FOLLOWER_OVER &&
           uuid_equal(&follower->credential, &ack->credential) &&
           (uuid_is_nil(&ack->feed) || uuid_equal(&follower->id, &ack->feed));
}

/* The host that has the feed. */
static int find_acknowledging(struct feed *feed, const struct feed_ack *ack, struct feed_host **ret,
                              struct error *err)
{
    struct feed_host *host = NULL;
    size_t count = 0;

    while ((host = feed_host_next(feed, host, &ack->control_plane_id, ack->host, &ack->instance)) !=
           NULL) {
        if (is_open(host, ack)) {
            count++;
            *ret = host;
        }
    }
    if (count == 0)
        return error_set(err, E_CONFLICT,
                         "No such feed of this host that was opened with these credentials is "
                         "connected: nothing to acknowledge against.");
    if (count > 1)
        return error_set(err, E_CONFLICT,
                         "%zu feeds of this host are open, and the acknowledgement does not name "
                         "one of them.",
                         count);
    return 0;
}

static int check_claim(const struct feed *feed, const struct follower *follower,
                       const struct feed_ack *ack, struct error *err)
{
    char epoch[UUID_TEXT_SIZE];

    if (!uuid_equal(&ack->applied.epoch, &feed->epoch))
        return error_set(err, E_CONFLICT, "The epoch of this feed is another one: %s.",
                         uuid_format(&feed->epoch, epoch));
    if (ack->applied.version > follower->sent)
        return error_set(err, E_CONFLICT,
                         "Version %" PRIu64 " was not sent on this feed, which has come to version "
                         "%" PRIu64 ".",
                         ack->applied.version, follower->sent);
    if (ack->verified > ack->applied.version)
        return error_set(err, E_CONFLICT,
                         "Verified up to version %" PRIu64 ", but applied only up to %" PRIu64 ".",
                         ack->verified, ack->applied.version);
    return 0;
}

static void note(struct feed *feed, struct feed_host *host, const struct feed_ack *ack)
{
    host->heard_ms = clock_boot_ms();
    host->acknowledged = true;
    if (ack->applied.version > host->applied)
        host->applied = ack->applied.version;
    host->verified = ack->verified;
    if (!TAILQ_EMPTY(&feed->waits))
        pthread_cond_signal(&feed->work);
}

static void log_refused(struct feed *feed, const struct feed_ack *ack, const struct error *err)
{
    char id[UUID_TEXT_SIZE];
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;

    if (log_pace_due(&feed->ack_pace, LOG_INTERVAL_MS, &left_out))
        log_warning(feed->log,
                    "feed: an acknowledgement for \"%s\" of control plane %s is refused: %s%s",
                    ack->host, uuid_format(&ack->control_plane_id, id), err->message,
                    log_left_out(left_out, text));
}

int feed_ack(struct feed *feed, const struct feed_ack *ack, struct error *err)
{
    struct feed_host *host = NULL;
    int rc;

    pthread_mutex_lock(&feed->lock);
    rc = find_acknowledging(feed, ack, &host, err);
    if (rc == 0)
        rc = check_claim(feed, host->follower, ack, err);
    if (rc == 0)
        note(feed, host, ack);
    else
        feed->stats.acks_refused++;
    pthread_mutex_unlock(&feed->lock);
    if (rc != 0)
        log_refused(feed, ack, err);
    return rc;
}

uint64_t feed_host_applied(const struct feed_host *host)
{
    return host->follower != NULL ? feed_follower_applied(host->follower, host->applied)
                                  : host->applied;
}

/* ---- the list ---- */

static int64_t not_negative(int64_t value)
{
    return value > 0 ? value : 0;
}

/* For how long the oldest change that the host has not applied has been waiting. Without a feed
 * nobody looks at what is visible to the host; then it is the time since it was heard of. */
static int64_t lag_of(const struct feed *feed, const struct feed_host *host)
{
    const uint64_t applied = feed_host_applied(host);
    const struct follower *follower = host->follower;
    int64_t since;

    if (applied >= feed->newest)
        return 0;
    if (follower == NULL)
        return not_negative(clock_boot_ms() - host->heard_ms);
    if (!feed_follower_is_refused(follower) && applied >= host->channel->low)
        return 0;
    since = feed_channel_since(host->channel, applied);
    if (since != 0 && !feed_follower_is_refused(follower))
        return not_negative(clock_wall_ms() - since);
    return not_negative(clock_boot_ms() - follower->since_ms);
}

static int export_host(const struct feed *feed, const struct feed_host *host, struct arena *arena,
                       struct feed_host_info *ret)
{
    *ret = (struct feed_host_info){.host = arena_string(arena, host->name->text),
                                   .instance = host->instance,
                                   .name_shared = feed_host_shares_name(feed, host),
                                   .agent = arena_string(arena, host->agent),
                                   .control_plane_id = host->channel->control_plane_id,
                                   .connected = host->follower != NULL,
                                   .refusing = host->refusing,
                                   .applied_version = host->applied,
                                   .verified_version = host->verified,
                                   .lag_ms = lag_of(feed, host),
                                   .age_ms = not_negative(clock_boot_ms() - host->heard_ms)};
    return ret->host != NULL && (ret->agent != NULL || host->agent == NULL) ? 0 : E_NO_MEMORY;
}

static int compare_hosts(const void *a, const void *b)
{
    const struct feed_host_info *x = a;
    const struct feed_host_info *y = b;
    int order = uuid_compare(&x->control_plane_id, &y->control_plane_id);

    if (order == 0)
        order = strcmp(x->host, y->host);
    return order != 0 ? order : uuid_compare(&x->instance, &y->instance);
}

struct host_list {
    struct arena *arena;
    struct feed_host_info *hosts;
    size_t count;
    size_t room;
};

/* Room for one more. */
static bool list_grow(struct host_list *list)
{
    const size_t room = list->room > 0 ? 2 * list->room : 16;
    struct feed_host_info *hosts;

    if (list->count < list->room)
        return true;
    hosts = arena_array(list->arena, room, sizeof(*hosts));
    if (hosts == NULL)
        return false;
    if (list->count > 0)
        memcpy(hosts, list->hosts, list->count * sizeof(*hosts));
    list->hosts = hosts;
    list->room = room;
    return true;
}

/* Lock held. A host stays in its bucket as long as it is known. */
static int export_buckets(const struct feed *feed, size_t first, size_t end, struct host_list *list)
{
    const struct feed_host *host;

    for (size_t i = first; i < end; i++) {
        LIST_FOREACH(host, &feed->host_buckets[i], in_bucket)
        {
            if (!list_grow(list) ||
                export_host(feed, host, list->arena, &list->hosts[list->count++]) != 0)
                return E_NO_MEMORY;
        }
    }
    return 0;
}

/* In parts: whoever lists tens of thousands of hosts, again and again, must not hold up the thread
 * that sends revocations. */
int feed_hosts(struct feed *feed, struct arena *arena, struct feed_host_info **ret,
               size_t *ret_count, struct error *err)
{
    struct host_list list = {.arena = arena};
    int rc = 0;

    for (size_t at = 0; at < FEED_BUCKETS && rc == 0; at += BUCKETS_AT_ONCE) {
        pthread_mutex_lock(&feed->lock);
        rc = export_buckets(feed, at, at + BUCKETS_AT_ONCE, &list);
        pthread_mutex_unlock(&feed->lock);
    }
    if (rc != 0)
        return error_set(err, rc, NULL);
    if (list.count > 0)
        qsort(list.hosts, list.count, sizeof(*list.hosts), compare_hosts);
    *ret = list.hosts;
    *ret_count = list.count;
    return 0;
}

void feed_hosts_count(const struct feed *feed, struct feed_stats *ret)
{
    const struct feed_host *host;

    ret->hosts = feed->n_hosts;
    ret->hosts_sharing = 0;
    for (host = TAILQ_FIRST(&feed->hosts); host != NULL; host = TAILQ_NEXT(host, in_feed))
        ret->hosts_sharing += feed_host_shares_name(feed, host);
}

/* feed_hosts.c - which hosts there are, and what they have made visible.
 *
 * A peer is a host by name within a control plane. It outlives its connection by a day, so that an
 * operator sees who is missing.
 */
#include "control/feed/feed_internal.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a over control plane and name. */
static size_t bucket_of(const struct uuid *control_plane_id, const char *host)
{
    uint64_t hash = 0xcbf29ce484222325ULL;

    for (size_t i = 0; i < UUID_BYTES; i++)
        hash = (hash ^ control_plane_id->bytes[i]) * 0x100000001b3ULL;
    for (; *host != '\0'; host++)
        hash = (hash ^ (unsigned char)*host) * 0x100000001b3ULL;
    return hash % FEED_BUCKETS;
}

static struct feed_peer *peer_find(struct feed *feed, const struct uuid *control_plane_id,
                                   const char *host)
{
    struct feed_peer *peer;

    for (peer = LIST_FIRST(&feed->peer_buckets[bucket_of(control_plane_id, host)]); peer != NULL;
         peer = LIST_NEXT(peer, in_bucket)) {
        if (uuid_equal(&peer->channel->control_plane_id, control_plane_id) &&
            strcmp(peer->host, host) == 0)
            return peer;
    }
    return NULL;
}

struct feed_peer *feed_peer_open(struct feed *feed, struct feed_channel *channel, const char *host)
{
    const size_t bucket = bucket_of(&channel->control_plane_id, host);
    struct feed_peer *peer = peer_find(feed, &channel->control_plane_id, host);

    if (peer != NULL)
        return peer;
    peer = calloc(1, sizeof(*peer));
    if (peer == NULL)
        return NULL;
    peer->host = strdup(host);
    if (peer->host == NULL) {
        free(peer);
        return NULL;
    }
    peer->channel = channel;
    peer->heard_ms = clock_boot_ms();
    LIST_INSERT_HEAD(&feed->peer_buckets[bucket], peer, in_bucket);
    TAILQ_INSERT_TAIL(&feed->peers, peer, in_feed);
    channel->n_peers++;
    feed->n_peers++;
    return peer;
}

int feed_peer_set_agent(struct feed_peer *peer, const char *agent)
{
    char *copy = agent != NULL ? strdup(agent) : NULL;

    if (agent != NULL && copy == NULL)
        return E_NO_MEMORY;
    free(peer->agent);
    peer->agent = copy;
    return 0;
}

uint64_t feed_peer_applied(const struct feed_peer *peer)
{
    return peer->follower != NULL ? feed_follower_applied(peer->follower, peer->applied)
                                  : peer->applied;
}

void feed_peer_free(struct feed *feed, struct feed_peer *peer)
{
    LIST_REMOVE(peer, in_bucket);
    TAILQ_REMOVE(&feed->peers, peer, in_feed);
    peer->channel->n_peers--;
    feed->n_peers--;
    free(peer->host);
    free(peer->agent);
    free(peer);
}

void feed_peers_prune(struct feed *feed)
{
    const int64_t forgotten = clock_boot_ms() - FEED_FORGET_MS;
    struct feed_peer *peer = TAILQ_FIRST(&feed->peers);
    struct feed_channel *channel = TAILQ_FIRST(&feed->channels);

    while (peer != NULL) {
        struct feed_peer *next = TAILQ_NEXT(peer, in_feed);

        if (peer->follower == NULL && peer->pins == 0 && peer->heard_ms < forgotten)
            feed_peer_free(feed, peer);
        peer = next;
    }
    while (channel != NULL) {
        struct feed_channel *next = TAILQ_NEXT(channel, in_feed);

        if (channel->n_peers == 0 && channel->n_followers == 0)
            feed_channel_free(feed, channel);
        channel = next;
    }
}

/* ---- acknowledgement ---- */

int feed_ack(struct feed *feed, const struct uuid *control_plane_id, const char *host,
             const struct model_cursor *applied, uint64_t verified, struct error *err)
{
    struct feed_peer *peer;
    bool connected;

    pthread_mutex_lock(&feed->lock);
    peer = peer_find(feed, control_plane_id, host);
    connected = peer != NULL && peer->follower != NULL;
    if (connected) {
        peer->heard_ms = clock_boot_ms();
        if (uuid_equal(&applied->epoch, &feed->epoch) && applied->version > peer->applied)
            peer->applied = applied->version;
        if (uuid_equal(&applied->epoch, &feed->epoch))
            peer->verified = verified;
        if (!TAILQ_EMPTY(&feed->waits))
            pthread_cond_signal(&feed->work);
    }
    pthread_mutex_unlock(&feed->lock);
    if (!connected)
        return error_set(err, E_NOT_FOUND, "no feed of this host is connected");
    return 0;
}

/* ---- the list ---- */

static int64_t not_negative(int64_t value)
{
    return value > 0 ? value : 0;
}

/* For how long the oldest change that the host has not applied has been waiting. Without a feed
 * nobody looks at what is visible to the host; then it is the time since it was heard of. */
static int64_t lag_of(const struct feed *feed, const struct feed_peer *peer)
{
    const uint64_t applied = feed_peer_applied(peer);
    const struct follower *follower = peer->follower;
    int64_t since;

    if (applied >= feed->newest)
        return 0;
    if (follower == NULL)
        return not_negative(clock_boot_ms() - peer->heard_ms);
    if (follower->refusal == REFUSAL_NONE && applied >= peer->channel->low)
        return 0;
    since = feed_channel_since(peer->channel, applied);
    if (since != 0 && follower->refusal == REFUSAL_NONE)
        return not_negative(clock_wall_ms() - since);
    return not_negative(clock_boot_ms() - follower->since_ms);
}

static int export_peer(const struct feed *feed, const struct feed_peer *peer, struct arena *arena,
                       struct feed_host *ret)
{
    *ret = (struct feed_host){.host = arena_string(arena, peer->host),
                              .agent = arena_string(arena, peer->agent),
                              .control_plane_id = peer->channel->control_plane_id,
                              .connected = peer->follower != NULL,
                              .refusing = peer->refusing,
                              .applied_version = peer->applied,
                              .verified_version = peer->verified,
                              .lag_ms = lag_of(feed, peer),
                              .age_ms = not_negative(clock_boot_ms() - peer->heard_ms)};
    return ret->host != NULL && (ret->agent != NULL || peer->agent == NULL) ? 0 : E_NO_MEMORY;
}

static int compare_hosts(const void *a, const void *b)
{
    const struct feed_host *x = a;
    const struct feed_host *y = b;
    int order = uuid_compare(&x->control_plane_id, &y->control_plane_id);

    return order != 0 ? order : strcmp(x->host, y->host);
}

/* Lock held. */
static int export_peers(struct feed *feed, struct arena *arena, struct feed_host **ret,
                        size_t *ret_count)
{
    struct feed_host *hosts = arena_array(arena, feed->n_peers, sizeof(*hosts));
    struct feed_peer *peer;
    size_t count = 0;

    if (hosts == NULL)
        return E_NO_MEMORY;
    for (peer = TAILQ_FIRST(&feed->peers); peer != NULL; peer = TAILQ_NEXT(peer, in_feed)) {
        if (export_peer(feed, peer, arena, &hosts[count++]) != 0)
            return E_NO_MEMORY;
    }
    *ret = hosts;
    *ret_count = count;
    return 0;
}

int feed_hosts(struct feed *feed, struct arena *arena, struct feed_host **ret, size_t *ret_count,
               struct error *err)
{
    int rc;

    pthread_mutex_lock(&feed->lock);
    rc = export_peers(feed, arena, ret, ret_count);
    pthread_mutex_unlock(&feed->lock);
    if (rc != 0)
        return error_set(err, rc, NULL);
    qsort(*ret, *ret_count, sizeof(**ret), compare_hosts);
    return 0;
}

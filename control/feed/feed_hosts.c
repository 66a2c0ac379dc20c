/* feed_hosts.c - which hosts there are, and what they have made visible.
 *
 * A host is known by its name within a control plane. It outlives its connection by a day, so that
 * an operator sees who is missing.
 */
#include "control/feed/feed_internal.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a over control plane and name. */
static size_t bucket_of(const struct uuid *control_plane_id, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325ULL;

    for (size_t i = 0; i < UUID_BYTES; i++)
        hash = (hash ^ control_plane_id->bytes[i]) * 0x100000001b3ULL;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3ULL;
    return hash % FEED_BUCKETS;
}

static struct feed_host *find_host(struct feed *feed, const struct uuid *control_plane_id,
                                   const char *name)
{
    struct feed_host *host;

    for (host = LIST_FIRST(&feed->host_buckets[bucket_of(control_plane_id, name)]); host != NULL;
         host = LIST_NEXT(host, in_bucket)) {
        if (uuid_equal(&host->channel->control_plane_id, control_plane_id) &&
            strcmp(host->name, name) == 0)
            return host;
    }
    return NULL;
}

struct feed_host *feed_host_open(struct feed *feed, struct feed_channel *channel, const char *name)
{
    const size_t bucket = bucket_of(&channel->control_plane_id, name);
    struct feed_host *host = find_host(feed, &channel->control_plane_id, name);

    if (host != NULL)
        return host;
    host = calloc(1, sizeof(*host));
    if (host == NULL)
        return NULL;
    host->name = strdup(name);
    if (host->name == NULL) {
        free(host);
        return NULL;
    }
    host->channel = channel;
    host->heard_ms = clock_boot_ms();
    LIST_INSERT_HEAD(&feed->host_buckets[bucket], host, in_bucket);
    TAILQ_INSERT_TAIL(&feed->hosts, host, in_feed);
    channel->n_hosts++;
    feed->n_hosts++;
    return host;
}

int feed_host_set_agent(struct feed_host *host, const char *agent)
{
    char *copy = agent != NULL ? strdup(agent) : NULL;

    if (agent != NULL && copy == NULL)
        return E_NO_MEMORY;
    free(host->agent);
    host->agent = copy;
    return 0;
}

uint64_t feed_host_applied(const struct feed_host *host)
{
    return host->follower != NULL ? feed_follower_applied(host->follower, host->applied)
                                  : host->applied;
}

void feed_host_free(struct feed *feed, struct feed_host *host)
{
    LIST_REMOVE(host, in_bucket);
    TAILQ_REMOVE(&feed->hosts, host, in_feed);
    host->channel->n_hosts--;
    feed->n_hosts--;
    free(host->name);
    free(host->agent);
    free(host);
}

void feed_hosts_prune(struct feed *feed)
{
    const int64_t forgotten = clock_boot_ms() - FEED_FORGET_MS;
    struct feed_host *host = TAILQ_FIRST(&feed->hosts);
    struct feed_channel *channel = TAILQ_FIRST(&feed->channels);

    while (host != NULL) {
        struct feed_host *next = TAILQ_NEXT(host, in_feed);

        if (host->follower == NULL && host->pins == 0 && host->heard_ms < forgotten)
            feed_host_free(feed, host);
        host = next;
    }
    while (channel != NULL) {
        struct feed_channel *next = TAILQ_NEXT(channel, in_feed);

        if (channel->n_hosts == 0 && channel->n_followers == 0)
            feed_channel_free(feed, channel);
        channel = next;
    }
}

/* ---- acknowledgement ---- */

int feed_ack(struct feed *feed, const struct uuid *control_plane_id, const char *name,
             const struct model_cursor *applied, uint64_t verified, struct error *err)
{
    struct feed_host *host;
    bool connected;

    pthread_mutex_lock(&feed->lock);
    host = find_host(feed, control_plane_id, name);
    connected = host != NULL && host->follower != NULL;
    if (connected) {
        host->heard_ms = clock_boot_ms();
        if (uuid_equal(&applied->epoch, &feed->epoch) && applied->version > host->applied)
            host->applied = applied->version;
        if (uuid_equal(&applied->epoch, &feed->epoch))
            host->verified = verified;
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
static int64_t lag_of(const struct feed *feed, const struct feed_host *host)
{
    const uint64_t applied = feed_host_applied(host);
    const struct follower *follower = host->follower;
    int64_t since;

    if (applied >= feed->newest)
        return 0;
    if (follower == NULL)
        return not_negative(clock_boot_ms() - host->heard_ms);
    if (follower->refusal == REFUSAL_NONE && applied >= host->channel->low)
        return 0;
    since = feed_channel_since(host->channel, applied);
    if (since != 0 && follower->refusal == REFUSAL_NONE)
        return not_negative(clock_wall_ms() - since);
    return not_negative(clock_boot_ms() - follower->since_ms);
}

static int export_host(const struct feed *feed, const struct feed_host *host, struct arena *arena,
                       struct feed_host_info *ret)
{
    *ret = (struct feed_host_info){.host = arena_string(arena, host->name),
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

    return order != 0 ? order : strcmp(x->host, y->host);
}

/* Lock held. */
static int export_hosts(struct feed *feed, struct arena *arena, struct feed_host_info **ret,
                        size_t *ret_count)
{
    struct feed_host_info *hosts = arena_array(arena, feed->n_hosts, sizeof(*hosts));
    struct feed_host *host;
    size_t count = 0;

    if (hosts == NULL)
        return E_NO_MEMORY;
    for (host = TAILQ_FIRST(&feed->hosts); host != NULL; host = TAILQ_NEXT(host, in_feed)) {
        if (export_host(feed, host, arena, &hosts[count++]) != 0)
            return E_NO_MEMORY;
    }
    *ret = hosts;
    *ret_count = count;
    return 0;
}

int feed_hosts(struct feed *feed, struct arena *arena, struct feed_host_info **ret,
               size_t *ret_count, struct error *err)
{
    int rc;

    pthread_mutex_lock(&feed->lock);
    rc = export_hosts(feed, arena, ret, ret_count);
    pthread_mutex_unlock(&feed->lock);
    if (rc != 0)
        return error_set(err, rc, NULL);
    qsort(*ret, *ret_count, sizeof(**ret), compare_hosts);
    return 0;
}

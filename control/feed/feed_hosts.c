/* feed_hosts.c - which host is which.
 *
 * A host is a name within a control plane and an instance: the random id that its agent keeps in
 * its store directory. An agent of before has no instance (nil). Which host a feed is of:
 *
 *   1. the one whose former feed it names: only the agent that had that feed knows its id. Whatever
 *      has become of the credentials meanwhile, it is the same process; a feed that is still open
 *      ends.
 *   2. one of the same name, instance and credential that is not connected and that nobody waits
 *      for: an agent that was started again.
 *   3. another host, even if all three are the same: two agents on copies of one store directory,
 * or one whose former connection is dead and not yet known to be.
 *
 * So no feed ends another's, no host is taken for another that somebody waits for, and what cannot
 * be told apart is counted twice rather than once.
 *
 * A host outlives its connection by a day, so that an operator sees who is missing; one that never
 * acknowledged anything does not, or whoever has a token could invent them without end.
 */
#include "control/feed/feed_internal.h"

#include <stdlib.h>
#include <string.h>

enum { LOG_INTERVAL_MS = 1000 };

/* FNV-1a, with the higher half folded into the lower. */
uint64_t feed_hash(uint64_t hash, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * 0x100000001b3ULL;
    return hash ^ hash >> 32;
}

/* ---- names ---- */

static uint64_t hash_name(const struct feed *feed, const struct uuid *control_plane_id,
                          const char *text)
{
    uint64_t hash = feed_hash(feed->hash_seed, control_plane_id->bytes, UUID_BYTES);

    return feed_hash(hash, text, strlen(text));
}

static struct feed_name *name_open(struct feed *feed, struct feed_channel *channel,
                                   const char *text)
{
    struct feed_name_bucket *bucket =
        &feed->name_buckets[hash_name(feed, &channel->control_plane_id, text) % FEED_BUCKETS];
    struct feed_name *name;

    for (name = LIST_FIRST(bucket); name != NULL; name = LIST_NEXT(name, in_bucket)) {
        if (name->channel == channel && strcmp(name->text, text) == 0)
            return name;
    }
    name = calloc(1, sizeof(*name));
    if (name == NULL)
        return NULL;
    name->text = strdup(text);
    if (name->text == NULL) {
        free(name);
        return NULL;
    }
    name->channel = channel;
    LIST_INSERT_HEAD(bucket, name, in_bucket);
    return name;
}

static void name_settle(struct feed_name *name)
{
    if (name->n_hosts > 0)
        return;
    LIST_REMOVE(name, in_bucket);
    free(name->text);
    free(name);
}

static bool is_shared(const struct feed *feed, const struct feed_name *name)
{
    return name->n_instances > 1 ||
           (name->twins_ms != 0 && clock_boot_ms() - name->twins_ms >= feed->twins_ms);
}

bool feed_host_shares_name(const struct feed *feed, const struct feed_host *host)
{
    return host->follower != NULL && is_shared(feed, host->name);
}

static const char *instance_text(const struct feed_host *host, char text[UUID_TEXT_SIZE])
{
    return uuid_is_nil(&host->instance) ? "unknown" : uuid_format(&host->instance, text);
}

static const struct feed_host *find_namesake(const struct feed *feed, const struct feed_host *host)
{
    const struct feed_host *other;

    for (other = TAILQ_FIRST(&feed->hosts); other != NULL; other = TAILQ_NEXT(other, in_feed)) {
        if (other != host && other->name == host->name && other->follower != NULL)
            break;
    }
    return other;
}

/* Once for a name, as long as it is known and for an hour. */
static void tell_if_shared(struct feed *feed, const struct feed_host *host)
{
    struct feed_name *name = host->name;
    const int64_t now_ms = clock_boot_ms();
    const struct feed_host *other;
    char text[LOG_LEFT_OUT_SIZE];
    char id[3][UUID_TEXT_SIZE];
    bool same_directory;
    unsigned left_out;

    if (!is_shared(feed, name) ||
        (name->told_ms != 0 && now_ms - name->told_ms < FEED_SAY_AGAIN_MS) ||
        !log_pace_due(&feed->shared_pace, LOG_INTERVAL_MS, &left_out))
        return;
    other = find_namesake(feed, host);
    same_directory = other != NULL && !uuid_is_nil(&host->instance) &&
                     uuid_equal(&other->instance, &host->instance);
    name->told_ms = now_ms;
    log_warning(feed->log,
                "feed: %zu connected hosts of control plane %s are named \"%s\" (instances %s and "
                "%s%s): each of them counts; give each agent a host_name of its own%s%s",
                name->n_connected, uuid_format(&name->channel->control_plane_id, id[0]), name->text,
                other != NULL ? instance_text(other, id[1]) : "unknown", instance_text(host, id[2]),
                name->n_connected > 2 ? " among them" : "",
                same_directory ? ", and a store directory" : "", log_left_out(left_out, text));
}

/* ---- finding ---- */

static struct feed_host_bucket *feed_hosts_bucket_of(struct feed *feed,
                                                     const struct uuid *control_plane_id,
                                                     const char *name, const struct uuid *instance)
{
    uint64_t hash = hash_name(feed, control_plane_id, name);

    return &feed->host_buckets[feed_hash(hash, instance->bytes, UUID_BYTES) % FEED_BUCKETS];
}

struct feed_host *feed_host_next(struct feed *feed, const struct feed_host *after,
                                 const struct uuid *control_plane_id, const char *name,
                                 const struct uuid *instance)
{
    struct feed_host *host =
        after != NULL ? LIST_NEXT(after, in_bucket)
                      : LIST_FIRST(feed_hosts_bucket_of(feed, control_plane_id, name, instance));

    for (; host != NULL; host = LIST_NEXT(host, in_bucket)) {
        if (uuid_equal(&host->instance, instance) &&
            uuid_equal(&host->channel->control_plane_id, control_plane_id) &&
            strcmp(host->name->text, name) == 0)
            break;
    }
    return host;
}

/* The next with the same name and instance. */
static struct feed_host *next_twin(struct feed *feed, const struct feed_host *after,
                                   const struct feed_host *host)
{
    return feed_host_next(feed, after, &host->channel->control_plane_id, host->name->text,
                          &host->instance);
}

static bool had_feed(const struct feed_host *host, const struct uuid *feed)
{
    return !uuid_is_nil(feed) && (uuid_equal(feed, &host->feed) || uuid_equal(feed, &host->known));
}

/* The first two of the three ways; `ret_connected`: how many of the same name and instance are. */
static struct feed_host *find_host(struct feed *feed, const struct follower_options *options,
                                   size_t *ret_connected)
{
    struct feed_host *found = NULL;
    struct feed_host *host = NULL;

    *ret_connected = 0;
    while ((host = feed_host_next(feed, host, &options->control_plane_id, options->host,
                                  &options->instance)) != NULL) {
        if (had_feed(host, &options->former))
            return host;
        *ret_connected += host->follower != NULL;
        if (host->gone && uuid_equal(&host->rooms[FEED_CAP_CREDENTIAL]->id, &options->credential))
            found = host;
    }
    return found;
}

/* The same host before its agent knew of instances: gone, and not coming back as such. */
static struct feed_host *find_unnamed(struct feed *feed, const struct follower_options *options)
{
    static const struct uuid nil;
    struct feed_host *host = NULL;

    if (uuid_is_nil(&options->instance))
        return NULL;
    while ((host = feed_host_next(feed, host, &options->control_plane_id, options->host, &nil)) !=
           NULL) {
        if (host->gone && uuid_equal(&host->rooms[FEED_CAP_CREDENTIAL]->id, &options->credential))
            break;
    }
    return host;
}

/* ---- coming and going ---- */

static void count_in(struct feed_host *host, struct feed_room *credential)
{
    host->rooms[FEED_CAP_CREDENTIAL] = credential;
    credential->n_hosts++;
}

static void count_out(struct feed_host *host)
{
    struct feed_room *credential = host->rooms[FEED_CAP_CREDENTIAL];

    credential->n_hosts--;
    feed_room_settle(credential);
}

static void set_gone(struct feed_host *host, bool gone)
{
    if (host->gone == gone)
        return;
    host->gone = gone;
    for (int cap = 0; cap < FEED_CAPS; cap++) {
        if (gone)
            TAILQ_INSERT_TAIL(&host->rooms[cap]->gone, host, in_gone[cap]);
        else
            TAILQ_REMOVE(&host->rooms[cap]->gone, host, in_gone[cap]);
    }
}

void feed_host_free(struct feed *feed, struct feed_host *host)
{
    set_gone(host, false);
    LIST_REMOVE(host, in_bucket);
    TAILQ_REMOVE(&feed->hosts, host, in_feed);
    host->channel->room.n_hosts--;
    feed->n_hosts--;
    count_out(host);
    host->name->n_hosts--;
    name_settle(host->name);
    free(host->agent);
    free(host);
}

static struct feed_host *host_new(struct feed *feed, struct feed_channel *channel,
                                  const struct follower_options *options, struct feed_room *room)
{
    struct feed_host *host = calloc(1, sizeof(*host));

    if (host == NULL)
        return NULL;
    host->name = name_open(feed, channel, options->host);
    if (host->name == NULL) {
        free(host);
        return NULL;
    }
    host->channel = channel;
    host->instance = options->instance;
    host->rooms[FEED_CAP_CONTROL_PLANE] = &channel->room;
    host->heard_ms = clock_boot_ms();
    LIST_INSERT_HEAD(
        feed_hosts_bucket_of(feed, &channel->control_plane_id, options->host, &options->instance),
        host, in_bucket);
    TAILQ_INSERT_TAIL(&feed->hosts, host, in_feed);
    host->name->n_hosts++;
    channel->room.n_hosts++;
    feed->n_hosts++;
    count_in(host, room);
    return host;
}

static int set_agent(struct feed_host *host, const char *agent, struct error *err)
{
    char *copy = agent != NULL ? strdup(agent) : NULL;

    if (agent != NULL && copy == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    free(host->agent);
    host->agent = copy;
    return 0;
}

static int admit_new(struct feed *feed, struct feed_channel *channel, struct feed_room *room,
                     const struct follower_options *options, struct feed_host **ret,
                     struct error *err)
{
    struct feed_room *const rooms[FEED_CAPS] = {
        [FEED_CAP_CREDENTIAL] = room, [FEED_CAP_CONTROL_PLANE] = &channel->room};
    struct feed_host *unnamed;
    int rc = feed_caps_make_room(feed, channel, rooms, err);

    if (rc != 0)
        return rc;
    *ret = host_new(feed, channel, options, room);
    if (*ret == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    rc = set_agent(*ret, options->agent, err);
    if (rc != 0) {
        feed_host_free(feed, *ret);
        return rc;
    }
    unnamed = find_unnamed(feed, options);
    if (unnamed != NULL)
        feed_host_free(feed, unnamed);
    return 0;
}

int feed_host_admit(struct feed *feed, struct feed_channel *channel, struct feed_room *room,
                    const struct follower_options *options, struct feed_host **ret,
                    struct error *err)
{
    size_t twins;
    struct feed_host *host = find_host(feed, options, &twins);
    int rc = 0;

    if (host == NULL || host->follower == NULL) /* else it takes the place of one */
        rc = feed_caps_check_feeds(feed, channel, room, err);
    if (rc == 0 && host == NULL && twins >= FEED_TWINS_MAX) {
        (void)error_set(
            err, E_TOO_MANY,
            "%zu hosts are connected that cannot be told apart from this one: give each "
            "agent a host_name and a store directory of its own.",
            twins);
        rc = feed_refuse(feed, channel, err);
    }
    if (rc == 0)
        rc = host == NULL ? admit_new(feed, channel, room, options, &host, err)
                          : set_agent(host, options->agent, err);
    if (rc == 0)
        *ret = host;
    return rc;
}

/* One that may be the same host. */
static bool has_connected_twin(struct feed *feed, const struct feed_host *host)
{
    struct feed_host *twin = NULL;

    while ((twin = next_twin(feed, twin, host)) != NULL) {
        if (twin != host && twin->follower != NULL &&
            twin->rooms[FEED_CAP_CREDENTIAL] == host->rooms[FEED_CAP_CREDENTIAL])
            return true;
    }
    return false;
}

/* The host is connected now, or has just ceased to be. */
static void count_connected(struct feed *feed, struct feed_host *host, bool connected)
{
    struct feed_name *name = host->name;
    const size_t step = connected ? 1 : (size_t)-1;

    name->n_connected += step;
    if (!has_connected_twin(feed, host))
        name->n_instances += step;
    if (name->n_connected == name->n_instances)
        name->twins_ms = 0;
    else if (name->twins_ms == 0)
        name->twins_ms = clock_boot_ms();
}

/* It comes back with other credentials. */
static void move_room(struct feed *feed, struct feed_host *host, struct feed_room *room)
{
    const bool connected = host->follower != NULL;

    if (host->rooms[FEED_CAP_CREDENTIAL] == room)
        return;
    if (connected)
        count_connected(feed, host, false);
    count_out(host);
    count_in(host, room);
    if (connected)
        count_connected(feed, host, true);
}

void feed_host_connect(struct feed_host *host, struct follower *follower, const struct uuid *former)
{
    static const struct uuid nil;
    struct feed *feed = follower->feed;
    struct follower *replaced = host->follower;

    set_gone(host, false);
    move_room(feed, host, follower->room);
    host->follower = follower;
    follower->host = host;
    if (replaced == NULL) {
        count_connected(feed, host, true);
    } else {
        replaced->host = NULL;
        feed_follower_end(replaced);
    }
    host->known = had_feed(host, former) ? *former : nil;
    host->feed = follower->id;
    /* The cursor is what the host's lookups see, and its first word on this feed. */
    host->applied = follower->sent;
    if (host->verified > host->applied)
        host->verified = 0;
    host->heard_ms = clock_boot_ms();
    tell_if_shared(feed, host);
}

/* Neither connected nor waited for: remembered, if there is anything to remember. A reconnection
 * that was faster than the end of the former connection leaves the same host twice. */
static void feed_hosts_settle(struct feed *feed, struct feed_host *host)
{
    if ((host->acknowledged || host->refusing) && !has_connected_twin(feed, host))
        set_gone(host, true);
    else
        feed_host_free(feed, host);
}

void feed_host_leave(struct follower *follower)
{
    struct feed_host *host = follower->host;

    if (host == NULL)
        return;
    host->follower = NULL;
    host->heard_ms = clock_boot_ms();
    count_connected(follower->feed, host, false);
    if (host->pins == 0)
        feed_hosts_settle(follower->feed, host);
}

void feed_host_unpin(struct feed *feed, struct feed_host *host)
{
    feed_assert_locked(feed);
    if (--host->pins == 0 && host->follower == NULL)
        feed_hosts_settle(feed, host);
}

/* ---- pruning ---- */

static bool is_forgotten(const struct feed_host *host, int64_t now_ms)
{
    const int64_t kept_ms = host->acknowledged ? FEED_FORGET_MS : FEED_FORGET_NEW_MS;

    return host->gone && now_ms - host->heard_ms > kept_ms;
}

void feed_hosts_prune(struct feed *feed)
{
    const int64_t now_ms = clock_boot_ms();
    struct feed_host *host = TAILQ_FIRST(&feed->hosts);
    struct feed_channel *channel = TAILQ_FIRST(&feed->channels);

    feed_assert_locked(feed);
    while (host != NULL) {
        struct feed_host *next = TAILQ_NEXT(host, in_feed);

        if (is_forgotten(host, now_ms))
            feed_host_free(feed, host);
        else if (host->follower != NULL)
            tell_if_shared(feed, host);
        host = next;
    }
    while (channel != NULL) {
        struct feed_channel *next = TAILQ_NEXT(channel, in_feed);

        if (channel->room.n_hosts == 0 && channel->n_followers == 0 && channel->running == 0)
            feed_channel_free(feed, channel);
        channel = next;
    }
}

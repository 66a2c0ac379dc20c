/* feed_wait.c - callers who wait until the connected hosts have applied a version.
 *
 * The hosts that count are gathered once. Acknowledgements only wake the feed thread, which moves
 * each wait's mark over the hosts that are done; a wait costs its number of hosts once, not for
 * each acknowledgement. A host counts as done when it acknowledged the version, or when all that it
 * may see up to there has been sent and acknowledged: a change that was undone at once is never
 * sent.
 *
 * No wake-up is lost: a wait is entered and acknowledgements are noted under the one lock.
 */
#include "control/feed/feed_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- ending ---- */

static void waiter_free(struct feed *feed, struct feed_waiter *waiter)
{
    for (size_t i = 0; i < waiter->count; i++)
        feed_host_unpin(feed, waiter->hosts[i]);
    free(waiter->hosts);
    free(waiter->late);
    free(waiter);
}

static bool is_complete(struct feed_waiter *waiter)
{
    while (waiter->next < waiter->count &&
           feed_host_applied(waiter->hosts[waiter->next]) >= waiter->version)
        waiter->next++;
    return waiter->next == waiter->count;
}

static void name_late(const struct feed_host *host, struct feed_late *ret)
{
    *ret = (struct feed_late){.host = host->name->text,
                              .instance = host->instance,
                              .control_plane_id = host->channel->control_plane_id,
                              .name_shared = host->name->n_hosts > 1};
}

static bool may_know(const struct feed_waiter *waiter, const struct feed_host *host)
{
    return !waiter->has_viewer || uuid_equal(&host->channel->control_plane_id, &waiter->viewer);
}

/* The viewer's hosts are counted, and some are named when they are late; of the others it hears how
 * many are late. */
static void feed_wait_tell(struct feed_waiter *waiter, struct feed_wait_result *ret)
{
    *ret = (struct feed_wait_result){.late = waiter->late};
    for (size_t i = 0; i < waiter->count; i++) {
        const struct feed_host *host = waiter->hosts[i];
        const bool done = i < waiter->next || feed_host_applied(host) >= waiter->version;

        if (!may_know(waiter, host)) {
            ret->late_others += !done;
            continue;
        }
        ret->total++;
        ret->applied += done;
        if (!done && ret->n_late < FEED_LATE_MAX)
            name_late(host, &waiter->late[ret->n_late++]);
    }
}

/* Lock held, and released during done(); the waiter is in no list and is freed. Names are borrowed
 * from the hosts, which stay pinned. */
static void feed_wait_finish(struct feed *feed, struct feed_waiter *waiter)
{
    struct feed_wait_result result;

    feed_assert_locked(feed);
    feed_wait_tell(waiter, &result);
    pthread_mutex_unlock(&feed->lock);
    waiter->done(waiter->context, &result);
    pthread_mutex_lock(&feed->lock);
    waiter_free(feed, waiter);
}

/* Hosts that keep up acknowledge now and then; those that a caller waits for shall do it at once.
 * Only when all channels have looked at the version: what is sent of it goes before the wish. */
static void feed_wait_ask(struct feed_waiter *waiter)
{
    waiter->asked = true;
    for (size_t i = waiter->next; i < waiter->count; i++) {
        struct feed_host *host = waiter->hosts[i];

        if (host->awaited < waiter->version)
            host->awaited = waiter->version;
        if (host->follower != NULL)
            feed_wake(host->follower);
    }
}

void feed_waits_run(struct feed *feed)
{
    struct feed_waiter *waiter = TAILQ_FIRST(&feed->waits);

    while (waiter != NULL) {
        struct feed_waiter *next = TAILQ_NEXT(waiter, in_feed);

        if (is_complete(waiter) || feed->stopping || waiter->deadline_ms <= clock_boot_ms()) {
            TAILQ_REMOVE(&feed->waits, waiter, in_feed);
            feed_wait_finish(feed, waiter);
            next = TAILQ_FIRST(&feed->waits); /* the list may be another after the call */
        } else if (!waiter->asked && feed->examined >= waiter->version) {
            feed_wait_ask(waiter);
        }
        waiter = next;
    }
}

int64_t feed_waits_deadline(const struct feed *feed)
{
    const struct feed_waiter *waiter;
    int64_t deadline_ms = INT64_MAX;

    for (waiter = TAILQ_FIRST(&feed->waits); waiter != NULL; waiter = TAILQ_NEXT(waiter, in_feed)) {
        if (waiter->deadline_ms < deadline_ms)
            deadline_ms = waiter->deadline_ms;
    }
    return deadline_ms;
}

/* ---- beginning ---- */

/* The control planes that have followers now. */
static int gather_ids(struct feed *feed, struct uuid **ret, size_t *ret_count)
{
    struct feed_channel *channel;
    size_t count = 0;

    for (channel = TAILQ_FIRST(&feed->channels); channel != NULL;
         channel = TAILQ_NEXT(channel, in_feed)) {
        count += channel->n_followers > 0;
    }
    *ret = calloc(count + 1, sizeof(**ret));
    if (*ret == NULL)
        return E_NO_MEMORY;
    *ret_count = 0;
    for (channel = TAILQ_FIRST(&feed->channels); channel != NULL;
         channel = TAILQ_NEXT(channel, in_feed)) {
        if (channel->n_followers > 0)
            (*ret)[(*ret_count)++] = channel->control_plane_id;
    }
    return 0;
}

/* Keeps the ids that the version concerns. */
static int filter_ids(struct feed *feed, uint64_t version, struct uuid *ids, size_t *count,
                      struct error *err)
{
    size_t kept = 0;

    for (size_t i = 0; i < *count; i++) {
        bool concerned = false;
        int rc = repo_concerns(feed->repo, version, &ids[i], &concerned, err);

        if (rc != 0)
            return rc;
        if (concerned)
            ids[kept++] = ids[i];
    }
    *count = kept;
    return 0;
}

static size_t count_hosts(struct feed *feed, const struct uuid *ids, size_t n_ids)
{
    size_t count = 0;

    for (size_t i = 0; i < n_ids; i++) {
        const struct feed_channel *channel = feed_channel_find(feed, &ids[i]);

        count += channel != NULL ? channel->n_followers : 0;
    }
    return count;
}

static void pin_hosts(struct feed *feed, struct feed_waiter *waiter, const struct uuid *ids,
                      size_t n_ids)
{
    for (size_t i = 0; i < n_ids; i++) {
        struct feed_channel *channel = feed_channel_find(feed, &ids[i]);
        struct follower *follower;

        if (channel == NULL)
            continue;
        for (follower = TAILQ_FIRST(&channel->followers); follower != NULL;
             follower = TAILQ_NEXT(follower, in_channel)) {
            if (follower->host == NULL)
                continue; /* replaced; its successor counts */
            follower->host->pins++;
            waiter->hosts[waiter->count++] = follower->host;
        }
    }
}

/* Lock held. */
static struct feed_waiter *waiter_new(struct feed *feed, const struct feed_waiter *request,
                                      const struct uuid *ids, size_t n_ids)
{
    const size_t room = count_hosts(feed, ids, n_ids) + 1;
    struct feed_waiter *waiter = calloc(1, sizeof(*waiter));

    feed_assert_locked(feed);
    if (waiter == NULL)
        return NULL;
    *waiter = *request;
    waiter->hosts = calloc(room, sizeof(struct feed_host *));
    waiter->late = calloc(room < FEED_LATE_MAX ? room : FEED_LATE_MAX, sizeof(*waiter->late));
    if (waiter->hosts == NULL || waiter->late == NULL) {
        waiter_free(feed, waiter);
        return NULL;
    }
    pin_hosts(feed, waiter, ids, n_ids);
    return waiter;
}

/* Enters the wait, or ends it at once when there is nothing to wait for. */
static int feed_wait_begin(struct feed *feed, const struct feed_waiter *request,
                           const struct uuid *ids, size_t n_ids)
{
    struct feed_waiter *waiter;

    pthread_mutex_lock(&feed->lock);
    waiter = waiter_new(feed, request, ids, n_ids);
    if (waiter != NULL) {
        if (feed->stopping || is_complete(waiter)) {
            feed_wait_finish(feed, waiter);
        } else {
            TAILQ_INSERT_TAIL(&feed->waits, waiter, in_feed);
            pthread_cond_signal(&feed->work); /* it may have the earliest deadline */
        }
    }
    pthread_mutex_unlock(&feed->lock);
    return waiter != NULL ? 0 : E_NO_MEMORY;
}

int feed_wait(struct feed *feed, const struct feed_wait_request *request, struct error *err)
{
    struct feed_waiter waiter = {.version = request->version,
                                 .deadline_ms = clock_boot_ms() + request->timeout_ms,
                                 .has_viewer = request->viewer != NULL,
                                 .done = request->done,
                                 .context = request->context};
    struct uuid *ids = NULL;
    size_t n_ids = 0;
    int rc;

    if (request->viewer != NULL)
        waiter.viewer = *request->viewer;
    pthread_mutex_lock(&feed->lock);
    rc = feed->stopping ? E_CANCELED : gather_ids(feed, &ids, &n_ids);
    pthread_mutex_unlock(&feed->lock);
    if (rc != 0)
        return error_set(err, rc, "%s",
                         rc == E_CANCELED ? "the feed is being stopped" : error_text(rc));
    rc = filter_ids(feed, request->version, ids, &n_ids, err);
    if (rc == 0 && feed_wait_begin(feed, &waiter, ids, n_ids) != 0)
        rc = error_set(err, E_NO_MEMORY, NULL);
    free(ids);
    return rc;
}

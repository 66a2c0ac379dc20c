/* feed_workers.c - the threads that compute transactions of their own, for the followers that wait.
 *
 * They run below the priority of everything else in the process: on a machine whose processors are
 * all busy, a commit goes before them. A job holds nothing that anybody waits for while it runs, so
 * a follower that leaves, and a server that stops, wait for nothing: the job finds out at its next
 * line and ends.
 *
 * Failure modes: a repository that fails ends the streams of those who wait, once told in the log.
 */
#include "control/feed/feed_internal.h"

#include <sys/resource.h>
#include <unistd.h>

enum { NICENESS = 10 };

static void feed_workers_run(struct feed *feed, struct feed_job *job)
{
    const struct uuid id = job->channel->control_plane_id;
    const struct feed_wish wish = job->wish;
    const struct repo_transaction_query query = {.control_plane_id = &id,
                                                 .from = job->from,
                                                 .wish =
                                                     wish.kind != FEED_WISH_NONE ? &wish : NULL};
    const struct feed_bounds bounds = {.max_bytes = job->room, .canceled = &job->abandoned};
    struct error err = ERROR_INIT;
    struct feed_delta delta;
    int rc;

    pthread_mutex_unlock(&feed->lock);
    rc = feed_segment_make(feed->repo, &query, &bounds, &delta, &err);
    pthread_mutex_lock(&feed->lock);
    if (rc != 0 && rc != E_CANCELED)
        log_error(feed->log,
                  "feed: cannot read the changes since version %llu: %s; the hosts that wait are "
                  "disconnected and will come back",
                  (unsigned long long)query.from, err.message);
    feed->stats.deltas_made++;
    feed_queue_done(feed, job, rc == 0 ? &delta : NULL);
    if (rc == 0)
        feed_segment_unref(delta.segment);
}

static void *worker_main(void *context)
{
    struct feed *feed = context;
    struct feed_job *job;

    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS); /* works at any; lower never fails */
    pthread_mutex_lock(&feed->lock);
    while (!feed->stopping) {
        job = feed_queue_take(feed);
        if (job != NULL)
            feed_workers_run(feed, job);
        else
            pthread_cond_wait(&feed->queue.work, &feed->lock);
    }
    pthread_mutex_unlock(&feed->lock);
    return NULL;
}

int feed_workers_start(struct feed *feed, struct error *err)
{
    struct feed_queue *queue = &feed->queue;

    for (; queue->n_workers < FEED_WORKERS; queue->n_workers++) {
        if (pthread_create(&queue->workers[queue->n_workers], NULL, worker_main, feed) == 0)
            continue;
        feed_workers_stop(feed);
        return error_set(err, E_NO_MEMORY, "cannot start the threads that compute transactions");
    }
    return 0;
}

void feed_workers_stop(struct feed *feed)
{
    struct feed_queue *queue = &feed->queue;

    pthread_mutex_lock(&feed->lock);
    feed->stopping = true;
    pthread_cond_broadcast(&queue->work);
    pthread_mutex_unlock(&feed->lock);
    while (queue->n_workers > 0)
        (void)pthread_join(queue->workers[--queue->n_workers], NULL); /* ours: never fails */
}

/* http_pool.c - the worker threads and their queues.
 *
 * Many workers, because a worker mostly waits for the disk: writes of concurrent requests share one
 * synchronisation, so throughput grows with the number that wait together.
 *
 * Two lanes for letting requests in and one for each class: each has workers that no other lane
 * gets, and all but the strangers' gate may use what is left over. So whatever operators or
 * strangers do, a host's acknowledgement finds a worker, and a health check does.
 */
#include <errno.h>
#include <stdlib.h>

#include "control/http/http_internal.h"

/* jansson at its deepest nesting (2048) was seen to use 168 KiB, LMDB and TLS verification less;
 * the rest is margin, also for the sanitizers, which keep their own state here. */
enum { WORKER_STACK_BYTES = 1024 * 1024 };

/* In sixteenths of all workers; what is missing to sixteen is shared. */
static const size_t reserved_16ths[LANES] = {
    [LANE_STRANGER] = 1, [LANE_OPERATOR] = 4, [LANE_HOST] = 4, [LANE_GATE] = 1, [LANE_DOOR] = 1};

static bool has_worker(const struct http_pool *pool, const struct http_lane_state *lane)
{
    size_t shared = 0;

    if (lane->running < lane->reserved)
        return true;
    /* A flood of false credentials wakes no more threads than these, and takes turns with the
     * rest. */
    if (lane == &pool->lanes[LANE_GATE] && lane->reserved > 0)
        return false;
    for (size_t i = 0; i < LANES; i++) {
        const struct http_lane_state *other = &pool->lanes[i];

        if (other->running > other->reserved)
            shared += other->running - other->reserved;
    }
    return shared < pool->shared;
}

static struct exchange *take_from(struct http_pool *pool, struct http_lane_state *lane)
{
    struct exchange *exchange = lane->head;

    if (exchange == NULL || (!has_worker(pool, lane) && !pool->stopping))
        return NULL;
    lane->head = exchange->next;
    if (lane->head == NULL)
        lane->tail = &lane->head;
    lane->queued--;
    lane->running++;
    exchange->lane = lane;
    return exchange;
}

/* From door and gate first: what is behind them is short, and everybody waits there. */
static struct exchange *take_any(struct http_pool *pool)
{
    struct exchange *exchange = NULL;

    for (size_t i = LANES; i > 0 && exchange == NULL; i--)
        exchange = take_from(pool, &pool->lanes[i - 1]);
    return exchange;
}

static struct exchange *pool_take(struct http_pool *pool)
{
    struct exchange *exchange;

    while ((exchange = take_any(pool)) == NULL && !pool->stopping)
        pthread_cond_wait(&pool->filled, &pool->mutex);
    return exchange;
}

static void *pool_main(void *context)
{
    struct http_pool *pool = context;
    struct http_worker worker = {.pool = pool};
    struct exchange *exchange;

    pthread_mutex_lock(&pool->mutex);
    while ((exchange = pool_take(pool)) != NULL) {
        worker.lane = exchange->lane;
        pthread_mutex_unlock(&pool->mutex);
        pool->run(&worker, exchange); /* after which the exchange may be gone */
        pthread_mutex_lock(&pool->mutex);
        worker.lane->running--;
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* False when it is full. */
static bool append(struct http_pool *pool, struct exchange *exchange, struct http_lane_state *lane)
{
    if (lane->queued >= pool->queue_max || pool->stopping)
        return false;
    exchange->next = NULL;
    *lane->tail = exchange;
    lane->tail = &exchange->next;
    lane->queued++;
    pthread_cond_signal(&pool->filled);
    return true;
}

bool http_pool_push(struct http_pool *pool, struct exchange *exchange, enum http_lane lane)
{
    bool accepted;

    pthread_mutex_lock(&pool->mutex);
    accepted = append(pool, exchange, &pool->lanes[lane]);
    pthread_mutex_unlock(&pool->mutex);
    return accepted;
}

enum http_stay http_pool_stay(struct http_worker *worker, struct exchange *exchange,
                              enum http_lane lane)
{
    struct http_pool *pool = worker->pool;
    struct http_lane_state *wanted = &pool->lanes[lane];
    enum http_stay stay = HTTP_STAY;

    pthread_mutex_lock(&pool->mutex);
    worker->lane->running--;
    if (wanted->head == NULL && has_worker(pool, wanted)) {
        worker->lane = wanted;
        pthread_cond_signal(&pool->filled); /* there is a worker more for what the lane had left */
    } else {
        stay = append(pool, exchange, wanted) ? HTTP_STAY_QUEUED : HTTP_STAY_REFUSED;
    }
    worker->lane->running++;
    pthread_mutex_unlock(&pool->mutex);
    return stay;
}

size_t http_pool_queued(struct http_pool *pool)
{
    size_t queued = 0;

    pthread_mutex_lock(&pool->mutex);
    for (size_t i = 0; i < LANES; i++)
        queued += pool->lanes[i].queued;
    pthread_mutex_unlock(&pool->mutex);
    return queued;
}

static void lanes_init(struct http_pool *pool, size_t threads)
{
    pool->shared = threads;
    for (size_t i = 0; i < LANES; i++) {
        struct http_lane_state *lane = &pool->lanes[i];

        lane->tail = &lane->head;
        lane->reserved = threads * reserved_16ths[i] / 16;
        pool->shared -= lane->reserved;
    }
}

int http_pool_start(struct http_pool *pool, size_t threads, size_t queue_max, http_run_fn run,
                    struct error *err)
{
    pthread_attr_t attributes;
    int errnum = 0;

    *pool = (struct http_pool){.queue_max = queue_max, .run = run};
    lanes_init(pool, threads);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->filled, NULL);
    pool->threads = calloc(threads, sizeof(*pool->threads));
    if (pool->threads == NULL)
        errnum = ENOMEM;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    while (errnum == 0 && pool->n_threads < threads) {
        errnum = pthread_create(&pool->threads[pool->n_threads], &attributes, pool_main, pool);
        if (errnum == 0)
            pool->n_threads++;
    }
    pthread_attr_destroy(&attributes);
    if (errnum == 0)
        return 0;
    http_pool_stop(pool);
    return error_set_errno(err, errnum, "starting worker threads");
}

void http_pool_stop(struct http_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->filled);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    free(pool->threads);
    pool->threads = NULL;
    pool->n_threads = 0;
    pthread_cond_destroy(&pool->filled);
    pthread_mutex_destroy(&pool->mutex);
}

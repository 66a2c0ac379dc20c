/* http_pool.c - the worker threads and their queue.
 *
 * Many workers, because a worker mostly waits for the disk: writes of concurrent requests share one
 * synchronisation, so throughput grows with the number that wait together.
 */
#include <errno.h>
#include <stdlib.h>

#include "control/http/http_internal.h"

/* jansson at its deepest nesting (2048) was seen to use 168 KiB, LMDB and TLS verification less;
 * the rest is margin, also for the sanitizers, which keep their own state here. */
enum { WORKER_STACK_BYTES = 1024 * 1024 };

static struct exchange *pool_take(struct http_pool *pool)
{
    struct exchange *exchange;

    pthread_mutex_lock(&pool->mutex);
    while (pool->head == NULL && !pool->stopping)
        pthread_cond_wait(&pool->filled, &pool->mutex);
    exchange = pool->head;
    if (exchange != NULL) {
        pool->head = exchange->next;
        if (pool->head == NULL)
            pool->tail = &pool->head;
        pool->queued--;
    }
    pthread_mutex_unlock(&pool->mutex);
    return exchange;
}

static void *pool_main(void *context)
{
    struct http_pool *pool = context;
    struct exchange *exchange;

    while ((exchange = pool_take(pool)) != NULL)
        pool->run(exchange);
    return NULL;
}

bool http_pool_push(struct http_pool *pool, struct exchange *exchange)
{
    bool accepted;

    exchange->next = NULL;
    pthread_mutex_lock(&pool->mutex);
    accepted = pool->queued < pool->queue_max && !pool->stopping;
    if (accepted) {
        *pool->tail = exchange;
        pool->tail = &exchange->next;
        pool->queued++;
        pthread_cond_signal(&pool->filled);
    }
    pthread_mutex_unlock(&pool->mutex);
    return accepted;
}

size_t http_pool_queued(struct http_pool *pool)
{
    size_t queued;

    pthread_mutex_lock(&pool->mutex);
    queued = pool->queued;
    pthread_mutex_unlock(&pool->mutex);
    return queued;
}

int http_pool_start(struct http_pool *pool, size_t threads, size_t queue_max,
                    void (*run)(struct exchange *exchange), struct error *err)
{
    pthread_attr_t attributes;
    int errnum = 0;

    *pool = (struct http_pool){.queue_max = queue_max, .run = run};
    pool->tail = &pool->head;
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

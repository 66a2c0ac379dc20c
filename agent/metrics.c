/* metrics.c - see metrics.h. */
#include "agent/metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct board {
    pthread_mutex_t mutex;
    struct board_copy now; /* under the mutex */
};

/* From a synced commit of one record (0.6 ms) to a minute of falling behind. */
const double histogram_bounds_s[HISTOGRAM_BOUNDS] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};

void histogram_add(struct histogram *histogram, double seconds)
{
    size_t i = 0;

    while (i < HISTOGRAM_BOUNDS && seconds > histogram_bounds_s[i])
        i++;
    histogram->buckets[i]++;
    histogram->sum_s += seconds;
}

uint64_t histogram_count(const struct histogram *histogram)
{
    uint64_t count = 0;

    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++)
        count += histogram->buckets[i];
    return count;
}

struct board *board_create(const struct uuid *control_plane_id, const char *host_name,
                           const struct uuid *instance)
{
    struct board *board = calloc(1, sizeof(*board));

    if (board == NULL)
        return NULL;
    if (pthread_mutex_init(&board->mutex, NULL) != 0) {
        free(board);
        return NULL;
    }
    (void)uuid_format(control_plane_id, board->now.control_plane_id);
    (void)uuid_format(instance, board->now.instance);
    (void)snprintf(board->now.host_name, sizeof(board->now.host_name), "%s", host_name);
    return board;
}

void board_destroy(struct board *board)
{
    if (board == NULL)
        return;
    (void)pthread_mutex_destroy(&board->mutex); /* nobody holds it */
    free(board);
}

static struct source_metrics *metrics_find(struct board *board, const char *region)
{
    for (size_t i = 0; i < CONFIG_SOURCES_MAX; i++) {
        if (strcmp(board->now.sources[i].region, region) == 0)
            return &board->now.sources[i];
    }
    return NULL;
}

void board_publish(struct board *board, const struct source_metrics *metrics)
{
    struct source_metrics *place;

    (void)pthread_mutex_lock(&board->mutex);
    place = metrics_find(board, metrics->region);
    if (place == NULL)
        place = metrics_find(board, "");
    if (place != NULL) /* always: a configuration has no more sources than the board */
        *place = *metrics;
    (void)pthread_mutex_unlock(&board->mutex);
}

void board_remove(struct board *board, const char *region)
{
    struct source_metrics *place;

    (void)pthread_mutex_lock(&board->mutex);
    place = metrics_find(board, region);
    if (place != NULL)
        *place = (struct source_metrics){.region = ""};
    (void)pthread_mutex_unlock(&board->mutex);
}

void board_publish_ask(struct board *board, const struct ask_metrics *metrics)
{
    (void)pthread_mutex_lock(&board->mutex);
    board->now.ask = *metrics;
    (void)pthread_mutex_unlock(&board->mutex);
}

void board_count_refused(struct board *board)
{
    (void)pthread_mutex_lock(&board->mutex);
    board->now.ask_refused++;
    (void)pthread_mutex_unlock(&board->mutex);
}

void board_read(struct board *board, struct board_copy *ret)
{
    (void)pthread_mutex_lock(&board->mutex);
    *ret = board->now;
    (void)pthread_mutex_unlock(&board->mutex);
}

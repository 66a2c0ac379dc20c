/* http_arrival.c - how long a request may take to arrive.
 *
 * MHD closes a connection on which nothing happens, but one byte now and then keeps it open for
 * ever (slowloris). So every connection from which a request is awaited stands in a list, in the
 * order of its deadline: all have the same time, so appending keeps the order. A thread shuts the
 * expired ones down, upon which MHD sees them closed. A connection leaves the list when its request
 * is complete: followers, which stay for months, cost nothing here.
 */
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "control/http/http_internal.h"

enum { TICK_S = 1 };

struct arrival {
    int fd; /* borrowed: open until the connection's CLOSED */
    bool listed;
    int64_t deadline_ms;
    TAILQ_ENTRY(arrival) entry;
};

static void unlist(struct http_arrivals *arrivals, struct arrival *arrival)
{
    if (arrival->listed)
        TAILQ_REMOVE(&arrivals->awaited, arrival, entry);
    arrival->listed = false;
}

static void list(struct http_arrivals *arrivals, struct arrival *arrival)
{
    unlist(arrivals, arrival);
    arrival->deadline_ms = clock_boot_ms() + arrivals->limit_ms;
    TAILQ_INSERT_TAIL(&arrivals->awaited, arrival, entry);
    arrival->listed = true;
}

static struct arrival *arrival_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info != NULL ? info->socket_context : NULL;
}

void http_arrival_await(struct http_server *server, struct MHD_Connection *connection)
{
    struct arrival *arrival = arrival_of(connection);

    if (arrival == NULL)
        return; /* there was no memory for it: this connection has MHD's timeout alone */
    pthread_mutex_lock(&server->arrivals.mutex);
    list(&server->arrivals, arrival);
    pthread_mutex_unlock(&server->arrivals.mutex);
}

void http_arrival_done(struct http_server *server, struct MHD_Connection *connection)
{
    struct arrival *arrival = arrival_of(connection);

    if (arrival == NULL)
        return;
    pthread_mutex_lock(&server->arrivals.mutex);
    unlist(&server->arrivals, arrival);
    pthread_mutex_unlock(&server->arrivals.mutex);
}

void http_on_connection(void *context, struct MHD_Connection *connection, void **state,
                        enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = context;
    struct arrival *arrival = *state;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

        arrival = calloc(1, sizeof(*arrival));
        if (arrival == NULL || info == NULL) {
            free(arrival);
            return;
        }
        arrival->fd = info->connect_fd;
        *state = arrival;
        http_arrival_await(server, connection);
    } else if (arrival != NULL) {
        http_arrival_done(server, connection);
        free(arrival);
        *state = NULL;
    }
}

static void shut_expired(struct http_arrivals *arrivals)
{
    int64_t now_ms = clock_boot_ms();
    struct arrival *arrival;

    while ((arrival = TAILQ_FIRST(&arrivals->awaited)) != NULL && arrival->deadline_ms <= now_ms) {
        unlist(arrivals, arrival);
        (void)shutdown(arrival->fd, SHUT_RDWR); /* fails when the peer was faster */
    }
}

static void *arrivals_main(void *context)
{
    struct http_arrivals *arrivals = context;

    pthread_mutex_lock(&arrivals->mutex);
    while (!arrivals->stopping) {
        struct timespec until;

        (void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail for a clock that exists */
        until.tv_sec += TICK_S;
        (void)pthread_cond_timedwait(&arrivals->stop, &arrivals->mutex, &until);
        shut_expired(arrivals);
    }
    pthread_mutex_unlock(&arrivals->mutex);
    return NULL;
}

int http_arrivals_start(struct http_arrivals *arrivals, int64_t limit_ms, struct error *err)
{
    int errnum;

    arrivals->limit_ms = limit_ms;
    TAILQ_INIT(&arrivals->awaited);
    pthread_mutex_init(&arrivals->mutex, NULL);
    http_cond_init(&arrivals->stop);
    errnum = pthread_create(&arrivals->thread, NULL, arrivals_main, arrivals);
    if (errnum == 0)
        return 0;
    pthread_cond_destroy(&arrivals->stop);
    pthread_mutex_destroy(&arrivals->mutex);
    return error_set_errno(err, errnum, "starting a thread");
}

void http_arrivals_stop(struct http_arrivals *arrivals)
{
    pthread_mutex_lock(&arrivals->mutex);
    arrivals->stopping = true;
    pthread_cond_signal(&arrivals->stop);
    pthread_mutex_unlock(&arrivals->mutex);
    pthread_join(arrivals->thread, NULL);
    pthread_cond_destroy(&arrivals->stop);
    pthread_mutex_destroy(&arrivals->mutex);
}

/* http_linger.c - the thread that lets go of connections: of those that were closed while the
 * client still sends, and (through guests_expire()) of those that take too long.
 *
 * A socket that is closed with bytes unread answers with a reset, and a client that gets it while
 * it sends may never look at the answer that came before. So MHD closes its descriptor, and a copy
 * of it is kept here: the answer's end is signalled, what still comes is read and thrown away,
 * until the client has had enough, or time or bytes are over. When all places are taken, the oldest
 * is given up.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/http/http_internal.h"

enum {
    TICK_MS = 1000,
    LINGER_MS = 10000,
    LINGER_MAX_BYTES = 8 * 1024 * 1024,
    READ_AT_ONCE_BYTES = 256 * 1024 /* of one client, so that the others have their turn */
};

void http_linger_add(struct http_linger *linger, int fd)
{
    const uint64_t one = 1;
    const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (copy < 0)
        return;                    /* the client may miss its answer */
    (void)shutdown(copy, SHUT_WR); /* MHD has done that, but not under TLS */
    pthread_mutex_lock(&linger->mutex);
    if (linger->stopping || linger->count == HTTP_LINGERING_MAX)
        (void)close(copy);
    else
        linger->waiting[linger->count++] =
            (struct http_lingering){.fd = copy, .deadline_ms = clock_boot_ms() + LINGER_MS};
    pthread_mutex_unlock(&linger->mutex);
    (void)!write(linger->wake_fd, &one, sizeof(one)); /* fails only when it is awake already */
}

static void http_linger_drop(struct http_linger *linger, size_t index)
{
    (void)close(linger->taken[index].fd); /* nothing was written */
    linger->n_taken--;
    memmove(&linger->taken[index], &linger->taken[index + 1],
            (linger->n_taken - index) * sizeof(linger->taken[0]));
}

/* From the list that is shared into the thread's own, oldest first. False: the end. */
static bool take_waiting(struct http_linger *linger)
{
    bool stopping;

    pthread_mutex_lock(&linger->mutex);
    for (size_t i = 0; i < linger->count; i++) {
        if (linger->n_taken == HTTP_LINGERING_MAX)
            http_linger_drop(linger, 0);
        linger->taken[linger->n_taken++] = linger->waiting[i];
    }
    linger->count = 0;
    stopping = linger->stopping;
    pthread_mutex_unlock(&linger->mutex);
    return !stopping;
}

/* False: the client has closed, or had its share. */
static bool drain(struct http_lingering *lingering)
{
    char bytes[16 * 1024];
    size_t at_once = 0;
    ssize_t count = 0;

    while (at_once < READ_AT_ONCE_BYTES &&
           (count = recv(lingering->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        at_once += (size_t)count;
    lingering->read += at_once;
    if (lingering->read > LINGER_MAX_BYTES)
        return false;
    return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
}

static void drain_all(struct http_linger *linger, const struct pollfd *ready, int64_t now_ms)
{
    for (size_t i = linger->n_taken; i > 0;
         i--) { /* backward: http_linger_drop() moves those behind */
        struct http_lingering *lingering = &linger->taken[i - 1];

        if (lingering->deadline_ms <= now_ms || (ready[i - 1].revents != 0 && !drain(lingering)))
            http_linger_drop(linger, i - 1);
    }
}

static void wait_for_something(struct http_linger *linger, struct pollfd *ready)
{
    uint64_t woken;

    for (size_t i = 0; i < linger->n_taken; i++)
        ready[i] = (struct pollfd){linger->taken[i].fd, POLLIN, 0};
    ready[linger->n_taken] = (struct pollfd){linger->wake_fd, POLLIN, 0};
    if (poll(ready, linger->n_taken + 1, TICK_MS) > 0 && ready[linger->n_taken].revents != 0)
        (void)!read(linger->wake_fd, &woken, sizeof(woken)); /* only to make it quiet again */
}

static void *linger_main(void *context)
{
    struct http_linger *linger = context;
    struct pollfd ready[HTTP_LINGERING_MAX + 1];
    int64_t looked_ms = 0;

    while (take_waiting(linger)) {
        int64_t now_ms;

        wait_for_something(linger, ready);
        now_ms = clock_boot_ms();
        drain_all(linger, ready, now_ms);
        if (now_ms - looked_ms < TICK_MS)
            continue;
        guests_expire(linger->guests, now_ms);
        looked_ms = now_ms;
    }
    while (linger->n_taken > 0)
        http_linger_drop(linger, 0);
    return NULL;
}

int http_linger_start(struct http_linger *linger, struct guests *guests, struct error *err)
{
    int errnum;

    linger->guests = guests;
    linger->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (linger->wake_fd < 0)
        return error_set_errno(err, errno, "cannot make an event descriptor");
    pthread_mutex_init(&linger->mutex, NULL);
    errnum = pthread_create(&linger->thread, NULL, linger_main, linger);
    if (errnum == 0)
        return 0;
    pthread_mutex_destroy(&linger->mutex);
    (void)close(linger->wake_fd);
    return error_set_errno(err, errnum, "starting a thread");
}

void http_linger_stop(struct http_linger *linger)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&linger->mutex);
    linger->stopping = true;
    pthread_mutex_unlock(&linger->mutex);
    (void)!write(linger->wake_fd, &one, sizeof(one)); /* fails only when it is awake already */
    pthread_join(linger->thread, NULL);
    pthread_mutex_destroy(&linger->mutex);
    (void)close(linger->wake_fd);
}

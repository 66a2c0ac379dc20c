#include "tests/lib/fake_source.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "tests/lib/loopback.h"

enum { REQUEST_MAX = 64 * 1024, CONNECTIONS_MAX = 4096, REPLY_MAX = 64 * 1024 * 1024 };

struct fake_source {
    void (*respond)(void *context, const struct fake_request *request, struct fake_reply *reply);
    void *context;
    uv_async_t *changed;
    int listener;
    char url[64];
    pthread_t acceptor;

    pthread_mutex_t mutex; /* over what follows, and one respond() at a time */
    bool stopping;
    pthread_t threads[CONNECTIONS_MAX];
    int sockets[CONNECTIONS_MAX]; /* -1: closed */
    size_t n_connections;
};

struct connection {
    struct fake_source *fake;
    size_t index;
    int fd;
};

/* ---- one connection ---- */

static size_t body_size(const char *head)
{
    const char *header = strcasestr(head, "\r\nContent-Length:");

    return header != NULL ? strtoul(header + 17, NULL, 10) : 0;
}

/* Reads a whole request into `text`; false when the client went away first. */
static bool read_request(int fd, char *text, char **ret_body)
{
    size_t used = 0;

    for (;;) {
        char *end = NULL;
        ssize_t count;

        text[used] = 0;
        end = strstr(text, "\r\n\r\n");
        if (end != NULL && used >= (size_t)(end + 4 - text) + body_size(text)) {
            *ret_body = end + 4;
            return true;
        }
        count = recv(fd, text + used, REQUEST_MAX - 1 - used, 0);
        if (count <= 0)
            return false;
        used += (size_t)count;
    }
}

/* Waits until the client goes, or for ms; true while it is there. */
static bool linger(int fd, int ms)
{
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    char byte;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    return recv(fd, &byte, 1, 0) < 0 && errno == EAGAIN;
}

static void send_reply(int fd, const struct fake_reply *reply)
{
    size_t step = reply->drip_ms > 0 ? 1 : reply->bytes.size;

    for (size_t at = 0; at < reply->bytes.size;) {
        size_t left = reply->bytes.size - at;
        ssize_t count = send(fd, reply->bytes.data + at, left < step ? left : step, MSG_NOSIGNAL);

        if (count <= 0)
            return;
        at += (size_t)count;
        if (reply->drip_ms > 0 && !linger(fd, (int)reply->drip_ms))
            return;
    }
    while (reply->then == FAKE_HOLD && linger(fd, 1000))
        continue;
}

static void close_connection(struct connection *connection, enum fake_then then)
{
    struct linger reset = {1, 0};

    if (then == FAKE_RESET)
        (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    (void)pthread_mutex_lock(&connection->fake->mutex);
    connection->fake->sockets[connection->index] = -1;
    (void)pthread_mutex_unlock(&connection->fake->mutex);
    (void)close(connection->fd);
}

static void *serve(void *argument)
{
    struct connection *connection = argument;
    struct fake_source *fake = connection->fake;
    char *text = malloc(REQUEST_MAX);
    struct fake_reply reply = {.then = FAKE_CLOSE};
    struct fake_request request = {.head = text};
    char *body;

    assert(text != NULL);
    buffer_init(&reply.bytes, REPLY_MAX);
    if (read_request(connection->fd, text, &body)) {
        char *target = strdup(strchr(text, ' ') + 1);

        assert(target != NULL);
        target[strcspn(target, " ")] = 0;
        request.target = target;
        request.body = body;
        (void)pthread_mutex_lock(&fake->mutex);
        if (!fake->stopping)
            fake->respond(fake->context, &request, &reply);
        if (fake->changed != NULL && !fake->stopping)
            (void)uv_async_send(fake->changed);
        (void)pthread_mutex_unlock(&fake->mutex);
        free(target);
        send_reply(connection->fd, &reply);
    }
    close_connection(connection, reply.then);
    buffer_finish(&reply.bytes);
    free(text);
    free(connection);
    return NULL;
}

/* ---- the server ---- */

static void add_connection(struct fake_source *fake, int fd)
{
    struct connection *connection = calloc(1, sizeof(*connection));

    assert(connection != NULL);
    (void)pthread_mutex_lock(&fake->mutex);
    assert(fake->n_connections < CONNECTIONS_MAX);
    *connection = (struct connection){fake, fake->n_connections++, fd};
    fake->sockets[connection->index] = fd;
    if (fake->stopping)
        (void)shutdown(fd, SHUT_RDWR);
    if (pthread_create(&fake->threads[connection->index], NULL, serve, connection) != 0)
        abort();
    (void)pthread_mutex_unlock(&fake->mutex);
}

static void *accept_all(void *argument)
{
    struct fake_source *fake = argument;
    int fd;

    while ((fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        add_connection(fake, fd);
    return NULL;
}

struct fake_source *fake_source_start(void (*respond)(void *context,
                                                      const struct fake_request *request,
                                                      struct fake_reply *reply),
                                      void *context, uv_async_t *changed)
{
    struct fake_source *fake = calloc(1, sizeof(*fake));
    uint16_t port;

    assert(fake != NULL);
    fake->respond = respond;
    fake->context = context;
    fake->changed = changed;
    (void)pthread_mutex_init(&fake->mutex, NULL);
    fake->listener = loopback_listen(&port);
    if (pthread_create(&fake->acceptor, NULL, accept_all, fake) != 0)
        abort();
    (void)snprintf(fake->url, sizeof(fake->url), "http://127.0.0.1:%u", port);
    return fake;
}

void fake_source_stop(struct fake_source *fake)
{
    (void)pthread_mutex_lock(&fake->mutex);
    fake->stopping = true;
    for (size_t i = 0; i < fake->n_connections; i++) {
        if (fake->sockets[i] >= 0)
            (void)shutdown(fake->sockets[i], SHUT_RDWR);
    }
    (void)pthread_mutex_unlock(&fake->mutex);
    (void)shutdown(fake->listener, SHUT_RDWR); /* ends accept4() */
    (void)pthread_join(fake->acceptor, NULL);
    for (size_t i = 0; i < fake->n_connections; i++)
        (void)pthread_join(fake->threads[i], NULL);
    (void)close(fake->listener);
    (void)pthread_mutex_destroy(&fake->mutex);
    free(fake);
}

const char *fake_source_url(const struct fake_source *fake)
{
    return fake->url;
}

void fake_head(struct buffer *out, const char *status, const char *headers)
{
    if (buffer_printf(out, "HTTP/1.1 %s\r\nConnection: close\r\n%s\r\n", status, headers) != 0)
        abort();
}

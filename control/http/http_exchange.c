/* http_exchange.c - one request from its first line to its answer: MHD's callbacks.
 *
 * MHD calls, all in the listener's epoll thread: http_on_uri once the first line is read,
 * http_on_access for the headers, for each piece of the body, at its end, and again after a
 * suspended connection was resumed; http_on_completed at the end, whatever the end was.
 *
 * A request that is refused before its body was read closes the connection after the answer, since
 * what follows on it is that body. One whose body turns out too large on the way is read on (and
 * thrown away) for a while, so that the client gets to see the 413.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/hex.h"
#include "control/http/http_internal.h"

enum {
    /* A handler's working memory: a page of 1000 consumers at all their limits is larger than is
     * reasonable to answer; at usual sizes it is under 1 MiB. */
    REQUEST_ARENA_MAX_BYTES = 256 * 1024 * 1024,
    DISCARD_MAX_BYTES = 8 * 1024 * 1024
};

static int64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_BOOTTIME, &now); /* cannot fail for a clock that exists */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void make_id(char id[HTTP_ID_SIZE])
{
    uint8_t bytes[HTTP_ID_SIZE / 2] = {0};

    /* Fails only while the kernel has no entropy; the identifier is for people, not for security.
     */
    (void)!getrandom(bytes, sizeof(bytes), GRND_NONBLOCK);
    hex_encode(bytes, sizeof(bytes), id);
}

/* Splits a request target. The absolute form ("http://host/path") is legal for any client. */
static bool split_target(struct http_request *request, const char *uri)
{
    const char *scheme_end = uri[0] == '/' ? NULL : strstr(uri, "://");
    const char *path = uri;
    char *copy;
    char *mark;

    if (scheme_end != NULL) {
        path = strchr(scheme_end + 3, '/');
        if (path == NULL)
            path = "/";
    }
    copy = arena_string(&request->arena, path);
    if (copy == NULL)
        return false;
    mark = strchr(copy, '?');
    if (mark != NULL)
        *mark = 0;
    request->path = copy;
    request->query = mark != NULL ? mark + 1 : "";
    return true;
}

static void exchange_free(struct exchange *exchange)
{
    struct http_server *server = exchange->server;

    if (exchange->response != NULL)
        MHD_destroy_response(exchange->response);
    (void)atomic_fetch_sub(&server->bodies, exchange->body.capacity);
    if (exchange->body.size > 0)
        explicit_bzero(exchange->body.data, exchange->body.size); /* may hold a secret */
    buffer_finish(&exchange->body);
    arena_finish(&exchange->request.arena);
    free(exchange);
    pthread_mutex_lock(&server->mutex);
    server->active--;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
}

/* NULL (out of memory) closes the connection in http_on_access. */
void *http_on_uri(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct http_server *server = context;
    struct exchange *exchange = calloc(1, sizeof(*exchange));

    http_arrival_await(server, connection); /* anew: the connection may have been idle before */
    if (exchange == NULL)
        return NULL;
    exchange->server = server;
    exchange->connection = connection;
    exchange->request.start_us = now_us();
    exchange->request.route = HTTP_NO_ROUTE;
    make_id(exchange->request.id);
    arena_init(&exchange->request.arena, REQUEST_ARENA_MAX_BYTES);
    buffer_init(&exchange->body, server->options.body_max_bytes);
    pthread_mutex_lock(&server->mutex);
    server->active++;
    pthread_mutex_unlock(&server->mutex);
    if (split_target(&exchange->request, uri))
        return exchange;
    exchange_free(exchange);
    return NULL;
}

void http_on_completed(void *context, struct MHD_Connection *connection, void **state,
                       enum MHD_RequestTerminationCode code)
{
    (void)code;                              /* however it ended, nothing is left to do but this */
    http_arrival_await(context, connection); /* the next one, on the same connection */
    if (*state != NULL)
        exchange_free(*state);
    *state = NULL;
}

static enum http_method parse_method(const char *text)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET",         [HTTP_HEAD] = "HEAD",   [HTTP_POST] = "POST",
        [HTTP_PUT] = "PUT",         [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE",
        [HTTP_OPTIONS] = "OPTIONS",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0)
            return (enum http_method)i;
    }
    return HTTP_OTHER;
}

/* Hands the finished answer to MHD. */
static enum MHD_Result queue_answer(struct exchange *exchange)
{
    const struct http_options *options = &exchange->server->options;
    struct http_request *request = &exchange->request;
    enum MHD_Result result;

    if (exchange->response == NULL)
        return MHD_NO;
    if (options->observer != NULL)
        options->observer(options->context, request, exchange->status,
                          now_us() - request->start_us);
    exchange->state = EXCHANGE_SENDING;
    result = MHD_queue_response(exchange->connection, exchange->status, exchange->response);
    /* The call above may already have sent everything, but it never frees the exchange: that
     * happens when the loop next cleans up. */
    MHD_destroy_response(exchange->response);
    exchange->response = NULL;
    if (exchange->is_stream)
        arena_reset(&request->arena); /* it may stay for months; nobody reads the request again */
    return result;
}

/* Answers without a handler. */
static enum MHD_Result refuse(struct exchange *exchange, unsigned status, const char *detail)
{
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE) {
        (void)atomic_fetch_add(&exchange->server->refused_busy, 1);
        (void)http_answer_header(&exchange->request, "Retry-After", "1");
    }
    http_complete(exchange, status, http_problem_response(exchange, status, detail, NULL));
    return queue_answer(exchange);
}

static enum MHD_Result refuse_too_large(struct exchange *exchange)
{
    return refuse(exchange, MHD_HTTP_CONTENT_TOO_LARGE, "The request body is too large.");
}

/* The headers are complete. */
static enum MHD_Result begin(struct exchange *exchange, const char *method)
{
    const char *length = http_header(&exchange->request, "Content-Length");

    exchange->state = EXCHANGE_RECEIVING;
    exchange->request.method = parse_method(method);
    if (atomic_load(&exchange->server->stopping))
        return refuse(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "The server is stopping.");
    if (length != NULL && strtoull(length, NULL, 10) > exchange->server->options.body_max_bytes)
        return refuse_too_large(exchange);
    return MHD_YES;
}

/* Room for more body, within this request's limit and that of all together. */
static bool reserve(struct exchange *exchange, size_t size)
{
    struct http_server *server = exchange->server;
    size_t before = exchange->body.capacity;
    size_t grown;

    if (exchange->discarded > 0 || buffer_reserve(&exchange->body, size) != 0)
        return false;
    grown = exchange->body.capacity - before;
    return atomic_fetch_add(&server->bodies, grown) + grown <= server->options.bodies_max_bytes;
}

static enum MHD_Result receive(struct exchange *exchange, const char *bytes, size_t *size)
{
    if (reserve(exchange, *size)) {
        (void)buffer_append(&exchange->body, bytes, *size); /* cannot fail: reserved */
    } else {
        exchange->discarded += *size;
        if (exchange->discarded > DISCARD_MAX_BYTES)
            return MHD_NO;
    }
    *size = 0;
    return MHD_YES;
}

static enum MHD_Result dispatch(struct exchange *exchange)
{
    struct http_server *server = exchange->server;

    if (exchange->discarded > 0 &&
        exchange->body.size + exchange->discarded > server->options.body_max_bytes)
        return refuse_too_large(exchange);
    if (exchange->discarded > 0)
        return refuse(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "Too many requests are in hand.");
    http_arrival_done(server, exchange->connection);
    exchange->request.body = (const char *)exchange->body.data;
    exchange->request.body_size = exchange->body.size;
    pthread_mutex_lock(&server->mutex);
    server->pending++;
    pthread_mutex_unlock(&server->mutex);
    exchange->state = EXCHANGE_PENDING;
    MHD_suspend_connection(exchange->connection);
    if (http_pool_push(&server->pool, exchange))
        return MHD_YES;
    (void)atomic_fetch_add(&server->refused_busy, 1);
    (void)http_answer_header(&exchange->request, "Retry-After", "1");
    http_answer_problem(&exchange->request, MHD_HTTP_SERVICE_UNAVAILABLE,
                        "Too many requests are waiting.", NULL);
    return MHD_YES;
}

void http_run(struct exchange *exchange)
{
    const struct http_options *options = &exchange->server->options;

    options->handler(options->context, &exchange->request);
}

enum MHD_Result http_on_access(void *context, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload,
                               size_t *upload_size, void **state)
{
    struct exchange *exchange = *state;

    (void)context;
    (void)connection;
    (void)url; /* decoded, hence ambiguous; http_on_uri kept the original */
    (void)version;
    if (exchange == NULL)
        return MHD_NO;
    switch (exchange->state) {
    case EXCHANGE_NEW:
        return begin(exchange, method);
    case EXCHANGE_RECEIVING:
        return *upload_size > 0 ? receive(exchange, upload, upload_size) : dispatch(exchange);
    case EXCHANGE_ANSWERED:
        return queue_answer(exchange);
    case EXCHANGE_PENDING:
    case EXCHANGE_SENDING:
        break;
    }
    return MHD_YES;
}

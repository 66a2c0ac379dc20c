/* http_exchange.c - one request from its first line to its answer: MHD's callbacks.
 *
 * MHD calls, all in the listener's epoll thread: http_on_uri once the first line is read,
 * http_on_access for the headers, again after admit(), for each piece of the body, at its end, and
 * again when there is an answer; http_on_completed at the end, whatever the end was.
 *
 * A request that is refused before its body was read closes the connection after the answer, since
 * what follows on it is that body. A chunked one that turns out too large on the way is read on
 * (and thrown away) for a while: MHD takes no answer then.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/request_head_mhd.h"
#include "control/http/http_internal.h"

enum {
    /* A handler's working memory: a page of 1000 consumers at all their limits is larger than is
     * reasonable to answer; at usual sizes it is under 1 MiB. */
    REQUEST_ARENA_MAX_BYTES = 256 * 1024 * 1024,
    /* Acknowledgements and questions; a secret of 1 KiB, escaped, is 6. All hosts may have one
     * token, and so one share: the smaller a body may be, the more of them one bad host must keep
     * on their way. */
    HOST_BODY_MAX_BYTES = 64 * 1024,
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

    /* Fails only while the kernel has no entropy; the identifier is for people, not for
     * security. */
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
    http_bodies_give(&server->bodies, &exchange->admission, exchange->reserved);
    http_bodies_give(&server->answers, &exchange->admission, exchange->answered);
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

    http_connection_begin(server, http_connection_of(connection));
    if (exchange == NULL)
        return NULL;
    exchange->server = server;
    exchange->connection = connection;
    exchange->guest = http_connection_of(connection);
    request_target_note(&exchange->target, uri);
    exchange->request.start_us = now_us();
    exchange->request.route = HTTP_NO_ROUTE;
    make_id(exchange->request.id);
    arena_init(&exchange->request.arena, REQUEST_ARENA_MAX_BYTES);
    buffer_init_secret(&exchange->body, 0);
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
    (void)code; /* however it ended, nothing is left to do but this */
    http_connection_idle(context, http_connection_of(connection));
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
    http_connection_sending(exchange->server, exchange->guest);
    if (exchange->guest != NULL && exchange->must_close)
        exchange->guest->linger = true;
    result = MHD_queue_response(exchange->connection, exchange->status, exchange->response);
    /* The call above may already have sent everything, but it never frees the exchange: that
     * happens when the loop next cleans up. */
    MHD_destroy_response(exchange->response);
    exchange->response = NULL;
    arena_reset(&request->arena); /* the client may take its time; nobody reads the request again */
    return result;
}

static void count_busy(struct exchange *exchange)
{
    (void)atomic_fetch_add(&exchange->server->refused_busy, 1);
    (void)http_answer_header(&exchange->request, "Retry-After", "1");
}

/* Answers in the epoll thread. */
static enum MHD_Result http_exchange_refuse(struct exchange *exchange, unsigned status,
                                            const char *detail)
{
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
        count_busy(exchange);
    http_complete(exchange, status, http_problem_response(exchange, status, detail, NULL));
    return queue_answer(exchange);
}

/* Answers in a worker. */
void http_refuse_busy(struct exchange *exchange, unsigned status, const char *detail)
{
    count_busy(exchange);
    http_answer_problem(&exchange->request, status, detail, NULL);
}

/* ---- the headers ---- */

static const char too_large[] = "The request body is too large.";
static const char too_many_waiting[] = "Too many requests are waiting.";

/* Gives the exchange to the pool. */
static enum MHD_Result http_exchange_hand_over(struct exchange *exchange, enum exchange_state state,
                                               enum http_lane lane)
{
    struct http_server *server = exchange->server;

    http_connection_busy(server, exchange->guest);
    pthread_mutex_lock(&server->mutex);
    server->pending++;
    pthread_mutex_unlock(&server->mutex);
    exchange->state = state;
    MHD_suspend_connection(exchange->connection);
    if (!http_pool_push(&server->pool, exchange, lane))
        http_refuse_busy(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, too_many_waiting);
    return MHD_YES;
}

static enum MHD_Result refuse_malformed(struct exchange *exchange, const char *fault)
{
    (void)atomic_fetch_add(&exchange->server->malformed, 1);
    exchange->must_close = true;
    return http_exchange_refuse(exchange, MHD_HTTP_BAD_REQUEST, fault);
}

/* The headers are complete. */
static enum MHD_Result http_exchange_begin(struct exchange *exchange, const char *method,
                                           const char *version)
{
    const char *length;
    const char *fault;
    struct request_head head;

    exchange->at_headers = true;
    request_head_read(&head, exchange->connection, &exchange->target, method, version);
    fault = request_head_fault(&head);
    if (fault != NULL)
        return refuse_malformed(exchange, fault);
    exchange->request.method = parse_method(method);
    exchange->chunked = request_is_chunked(&head);
    length = http_header(&exchange->request, "Content-Length");
    exchange->length = length != NULL ? strtoull(length, NULL, 10) : 0;
    exchange->must_close = exchange->chunked;
    if (atomic_load(&exchange->server->stopping)) {
        exchange->must_close = true;
        return http_exchange_refuse(exchange, MHD_HTTP_SERVICE_UNAVAILABLE,
                                    "The server is stopping.");
    }
    return http_exchange_hand_over(exchange, EXCHANGE_KNOCKING,
                                   http_connection_is_known(exchange->guest) ? LANE_DOOR
                                                                             : LANE_GATE);
}

/* ---- the door, in a worker ---- */

static bool admit(struct exchange *exchange)
{
    const struct http_options *options = &exchange->server->options;
    struct http_connection *guest = exchange->guest;

    exchange->admission = (struct http_admission){.class = HTTP_OPERATOR};
    if (options->admit != NULL &&
        !options->admit(options->context, &exchange->request, &exchange->admission))
        return false;
    /* Who was known once keeps a connection's place for what is public. */
    if (guest == NULL || exchange->admission.class == HTTP_STRANGER ||
        guests_classify(&exchange->server->guests, &guest->guest, exchange->admission.class))
        return true;
    exchange->must_close = true;
    http_refuse_busy(exchange, MHD_HTTP_SERVICE_UNAVAILABLE,
                     "Too many connections of this kind are open.");
    return false;
}

static size_t body_max(const struct exchange *exchange)
{
    const size_t max = exchange->server->options.body_max_bytes;

    switch (exchange->admission.class) {
    case HTTP_OPERATOR:
        return max;
    case HTTP_HOST:
        return max < HOST_BODY_MAX_BYTES ? max : HOST_BODY_MAX_BYTES;
    case HTTP_STRANGER:
    case HTTP_CLASSES:
        break;
    }
    return 0;
}

static enum http_room take_room(struct exchange *exchange, size_t size)
{
    enum http_room room = http_bodies_take(&exchange->server->bodies, &exchange->admission, size);

    if (room == HTTP_ROOM)
        exchange->reserved += size;
    return room;
}

/* All of an announced body, before a byte of it: either there is room or the client need not
 * send. */
static bool admit_body(struct exchange *exchange)
{
    enum http_room room;

    if (exchange->length > body_max(exchange) || (exchange->chunked && body_max(exchange) == 0)) {
        http_answer_problem(&exchange->request, MHD_HTTP_CONTENT_TOO_LARGE, too_large, NULL);
        return false;
    }
    buffer_init_secret(&exchange->body, exchange->chunked ? body_max(exchange) : exchange->length);
    room = take_room(exchange, exchange->length);
    if (room == HTTP_ROOM && buffer_reserve(&exchange->body, exchange->length) == 0)
        return true;
    if (room == HTTP_ROOM_NOT_FOR_CALLER)
        http_refuse_busy(exchange, MHD_HTTP_TOO_MANY_REQUESTS,
                         "Too many request bodies of this caller are in hand.");
    else
        http_refuse_busy(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "Too many requests are in hand.");
    return false;
}

static void handle(struct exchange *exchange)
{
    const struct http_options *options = &exchange->server->options;

    exchange->state = EXCHANGE_PENDING;
    options->handler(options->context, &exchange->request);
}

/* Without a body nothing has to be waited for. */
static void knock(struct http_worker *worker, struct exchange *exchange)
{
    if (!admit(exchange) || !admit_body(exchange))
        return;
    if (exchange->length > 0 || exchange->chunked) {
        exchange->state = EXCHANGE_ADMITTED;
        http_give_back(exchange);
        return;
    }
    exchange->state = EXCHANGE_PENDING;
    switch (http_pool_stay(worker, exchange, (enum http_lane)exchange->admission.class)) {
    case HTTP_STAY:
        handle(exchange);
        break;
    case HTTP_STAY_QUEUED:
        break;
    case HTTP_STAY_REFUSED:
        http_refuse_busy(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, too_many_waiting);
        break;
    }
}

void http_run(struct http_worker *worker, struct exchange *exchange)
{
    if (exchange->state == EXCHANGE_KNOCKING)
        knock(worker, exchange);
    else
        handle(exchange);
}

/* ---- the body ---- */

/* Room for more of a chunked body; an announced one has its room already. */
static bool reserve(struct exchange *exchange, size_t size)
{
    const size_t before = exchange->body.capacity;

    if (exchange->discarded > 0 || buffer_reserve(&exchange->body, size) != 0)
        return false;
    return take_room(exchange, exchange->body.capacity - before) == HTTP_ROOM;
}

static enum MHD_Result http_exchange_receive(struct exchange *exchange, const char *bytes,
                                             size_t *size)
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

static enum MHD_Result receive_first(struct exchange *exchange)
{
    exchange->state = EXCHANGE_RECEIVING;
    http_connection_body(exchange->server, exchange->guest,
                         exchange->chunked ? body_max(exchange) : exchange->length);
    return MHD_YES;
}

static enum MHD_Result http_exchange_dispatch(struct exchange *exchange)
{
    if (exchange->discarded > 0 && exchange->body.size + exchange->discarded > body_max(exchange))
        return http_exchange_refuse(exchange, MHD_HTTP_CONTENT_TOO_LARGE, too_large);
    if (exchange->discarded > 0)
        return http_exchange_refuse(exchange, MHD_HTTP_SERVICE_UNAVAILABLE,
                                    "Too many requests are in hand.");
    exchange->request.body = (const char *)exchange->body.data;
    exchange->request.body_size = exchange->body.size;
    return http_exchange_hand_over(exchange, EXCHANGE_PENDING,
                                   (enum http_lane)exchange->admission.class);
}

/* MHD closes the connection after an answer that is given at the headers. A request that ends there
 * is at its end in the next call, which follows at once. */
static bool answer_early(struct exchange *exchange)
{
    const bool early = exchange->at_headers && !exchange->must_close;

    exchange->at_headers = false;
    return early;
}

enum MHD_Result http_on_access(void *context, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload,
                               size_t *upload_size, void **state)
{
    struct exchange *exchange = *state;

    (void)context;
    (void)connection;
    (void)url; /* decoded, hence ambiguous; http_on_uri kept the original */
    if (exchange == NULL)
        return MHD_NO;
    switch (exchange->state) {
    case EXCHANGE_NEW:
        return http_exchange_begin(exchange, method, version);
    case EXCHANGE_ADMITTED:
        exchange->at_headers = false;
        return receive_first(exchange);
    case EXCHANGE_RECEIVING:
        return *upload_size > 0 ? http_exchange_receive(exchange, upload, upload_size)
                                : http_exchange_dispatch(exchange);
    case EXCHANGE_ANSWERED:
        return answer_early(exchange) ? MHD_YES : queue_answer(exchange);
    case EXCHANGE_KNOCKING:
    case EXCHANGE_PENDING:
    case EXCHANGE_SENDING:
        break;
    }
    return MHD_YES;
}

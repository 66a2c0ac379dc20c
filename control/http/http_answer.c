/* http_answer.c - turning what a handler says into a response on its connection.
 *
 * Responses are built by the thread that answers; only queueing them is the epoll thread's work.
 * When memory runs out the connection is closed without an answer: there is nothing to say it with.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <jansson.h>

#include "base/utf8.h"
#include "base/wipe.h"
#include "control/http/http_internal.h"
#include "control/http/http_range.h"

static const char problem_type[] = "application/problem+json";

/* Smaller ones cost no more than their connections do. */
enum { ANSWER_COUNTS_BYTES = 64 * 1024 };

/* Whether what follows on the connection is no request that can be relied on: a body that was not
 * waited for, or a chunked one, about whose end there can be two opinions. */
static bool closes_after(const struct exchange *exchange)
{
    return exchange->must_close || exchange->chunked ||
           (exchange->state == EXCHANGE_KNOCKING && exchange->length > 0);
}

void http_complete(struct exchange *exchange, unsigned status, struct MHD_Response *response)
{
    bool suspended = exchange->state == EXCHANGE_PENDING || exchange->state == EXCHANGE_KNOCKING;

    exchange->status = status;
    exchange->response = response;
    exchange->must_close = closes_after(exchange);
    exchange->state = EXCHANGE_ANSWERED;
    if (suspended)
        http_give_back(exchange);
}

void http_give_back(struct exchange *exchange)
{
    struct http_server *server = exchange->server;

    MHD_resume_connection(exchange->connection);
    /* Only now: while `pending` counts, the server is not stopped under the call above. */
    pthread_mutex_lock(&server->mutex);
    server->pending--;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
}

static bool has_header(const struct exchange *exchange, const char *name)
{
    for (const struct http_extra_header *header = exchange->headers; header != NULL;
         header = header->next) {
        if (strcasecmp(header->name, name) == 0)
            return true;
    }
    return false;
}

struct MHD_Response *http_decorate(struct exchange *exchange, struct MHD_Response *response,
                                   const char *content_type)
{
    bool ok;

    if (response == NULL)
        return NULL;
    ok = MHD_add_response_header(response, "Request-Id", exchange->request.id) == MHD_YES;
    if (content_type != NULL)
        ok = ok && MHD_add_response_header(response, "Content-Type", content_type) == MHD_YES;
    for (struct http_extra_header *header = exchange->headers; header != NULL;
         header = header->next)
        ok = ok && MHD_add_response_header(response, header->name, header->value) == MHD_YES;
    /* Answers hold credentials and the state of the moment, unless the handler knows better. */
    if (!has_header(exchange, "Cache-Control"))
        ok = ok && MHD_add_response_header(response, "Cache-Control", "no-store") == MHD_YES;
    if (closes_after(exchange) || atomic_load(&exchange->server->stopping))
        ok = ok && MHD_add_response_header(response, "Connection", "close") == MHD_YES;
    if (ok)
        return response;
    MHD_destroy_response(response);
    return NULL;
}

int http_answer_header(struct http_request *request, const char *name, const char *value)
{
    struct exchange *exchange = exchange_of(request);
    struct http_extra_header *header = arena_alloc(&request->arena, sizeof(*header));

    if (header == NULL)
        return E_NO_MEMORY;
    header->name = arena_string(&request->arena, name);
    header->value = arena_string(&request->arena, value);
    if (header->name == NULL || header->value == NULL)
        return E_NO_MEMORY;
    header->next = exchange->headers;
    exchange->headers = header;
    return 0;
}

/* What is being sent is held until the client has taken it, which may be never. An answer to a
 * change is not refused: the change is made. */
static enum http_room take_room(struct exchange *exchange, size_t size)
{
    enum http_room room;

    if (size < ANSWER_COUNTS_BYTES || exchange->request.method != HTTP_GET)
        return HTTP_ROOM;
    room = http_bodies_take(&exchange->server->answers, &exchange->admission, size);
    if (room == HTTP_ROOM)
        exchange->answered = size;
    return room;
}

static void refuse_for_room(struct exchange *exchange, enum http_room room)
{
    if (room == HTTP_ROOM_NOT_FOR_CALLER)
        http_refuse_busy(exchange, MHD_HTTP_TOO_MANY_REQUESTS,
                         "Too many large answers to this caller have not been taken.");
    else
        http_refuse_busy(exchange, MHD_HTTP_SERVICE_UNAVAILABLE,
                         "Too many large answers have not been taken.");
}

void http_answer(struct http_request *request, unsigned status, const char *content_type,
                 char *body, size_t size)
{
    struct exchange *exchange = exchange_of(request);
    const enum http_room room = take_room(exchange, size);
    struct MHD_Response *response;

    if (room != HTTP_ROOM) {
        wipe_free(body);
        refuse_for_room(exchange, room);
        return;
    }
    response = MHD_create_response_from_buffer_with_free_callback(size, body, wipe_free);
    if (response == NULL)
        wipe_free(body);
    http_complete(exchange, status, http_decorate(exchange, response, content_type));
}

/* ---- files ---- */

struct file_part {
    unsigned status;
    uint64_t first;
    uint64_t size;
};

/* A range counts only while the client's copy is of the same file (RFC 9110, If-Range). */
static struct file_part choose_part(const struct http_request *request, const char *etag,
                                    uint64_t size)
{
    const struct file_part whole = {MHD_HTTP_OK, 0, size};
    const char *condition = http_header(request, "If-Range");
    uint64_t first;
    uint64_t last;

    if (request->method != HTTP_GET || (condition != NULL && strcmp(condition, etag) != 0))
        return whole;
    switch (http_range_read(http_header(request, "Range"), size, &first, &last)) {
    case HTTP_RANGE_WHOLE:
        break;
    case HTTP_RANGE_PART:
        return (struct file_part){MHD_HTTP_PARTIAL_CONTENT, first, last - first + 1};
    case HTTP_RANGE_UNSATISFIABLE:
        return (struct file_part){MHD_HTTP_RANGE_NOT_SATISFIABLE, 0, 0};
    }
    return whole;
}

static int add_part_headers(struct http_request *request, const struct file_part *part,
                            uint64_t size)
{
    char text[96]; /* three numbers of 20 digits */

    if (part->status == MHD_HTTP_OK)
        return 0;
    if (part->status == MHD_HTTP_RANGE_NOT_SATISFIABLE)
        (void)snprintf(text, sizeof(text), "bytes */%" PRIu64, size);
    else
        (void)snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, part->first,
                       part->first + part->size - 1, size);
    return http_answer_header(request, "Content-Range", text);
}

uint64_t http_answer_file(struct http_request *request, const char *content_type, const char *etag,
                          int fd, uint64_t size)
{
    struct exchange *exchange = exchange_of(request);
    const struct file_part part = choose_part(request, etag, size);
    const uint64_t sent = request->method == HTTP_HEAD ? 0 : part.size;
    struct MHD_Response *response = NULL;

    if (add_part_headers(request, &part, size) == 0 &&
        http_answer_header(request, "ETag", etag) == 0 &&
        http_answer_header(request, "Accept-Ranges", "bytes") == 0)
        response = MHD_create_response_from_fd_at_offset64(part.size, fd, part.first);
    if (response == NULL)
        (void)close(fd); /* nothing was written through it */
    http_complete(exchange, part.status, http_decorate(exchange, response, content_type));
    return sent;
}

static char *problem_text(const struct exchange *exchange, unsigned status, const char *detail,
                          json_t *extra)
{
    json_t *problem = json_pack(
        "{s:i, s:s, s:o, s:s*}", "status", (int)status, "title", MHD_get_reason_phrase_for(status),
        "instance", json_sprintf("realmstore:trace:%s", exchange->request.id), "detail", detail);
    char *text = NULL;

    if (problem != NULL && (extra == NULL || json_object_update(problem, extra) == 0))
        text = utf8_json_take(json_dumps(problem, JSON_COMPACT));
    json_decref(problem);
    return text;
}

struct MHD_Response *http_problem_response(struct exchange *exchange, unsigned status,
                                           const char *detail, json_t *extra)
{
    char *text = problem_text(exchange, status, detail, extra);
    struct MHD_Response *response = NULL;

    json_decref(extra);
    if (text != NULL)
        response =
            MHD_create_response_from_buffer_with_free_callback(strlen(text), text, wipe_free);
    if (response == NULL)
        free(text);
    return http_decorate(exchange, response, problem_type);
}

void http_answer_problem(struct http_request *request, unsigned status, const char *detail,
                         json_t *extra)
{
    struct exchange *exchange = exchange_of(request);

    http_complete(exchange, status, http_problem_response(exchange, status, detail, extra));
}

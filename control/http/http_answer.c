/* http_answer.c - turning what a handler says into a response on its connection.
 *
 * Responses are built by the thread that answers; only queueing them is the epoll thread's work.
 * When memory runs out the connection is closed without an answer: there is nothing to say it with.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "control/http/http_internal.h"

static const char problem_type[] = "application/problem+json";

void http_complete(struct exchange *exchange, unsigned status, struct MHD_Response *response)
{
    struct http_server *server = exchange->server;
    bool suspended = exchange->state == EXCHANGE_PENDING;

    exchange->status = status;
    exchange->response = response;
    exchange->state = EXCHANGE_ANSWERED;
    if (!suspended)
        return;
    MHD_resume_connection(exchange->connection);
    /* Only now: while `pending` counts, the server is not stopped under the call above. */
    pthread_mutex_lock(&server->mutex);
    server->pending--;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
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
    /* Answers hold credentials and the state of the moment. */
    ok = ok && MHD_add_response_header(response, "Cache-Control", "no-store") == MHD_YES;
    if (atomic_load(&exchange->server->stopping))
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

void http_answer(struct http_request *request, unsigned status, const char *content_type,
                 char *body, size_t size)
{
    struct exchange *exchange = exchange_of(request);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, body, MHD_RESPMEM_MUST_FREE);

    if (response == NULL)
        free(body);
    http_complete(exchange, status, http_decorate(exchange, response, content_type));
}

void http_answer_file(struct http_request *request, const char *content_type, int fd, uint64_t size)
{
    struct exchange *exchange = exchange_of(request);
    struct MHD_Response *response = MHD_create_response_from_fd64(size, fd);

    if (response == NULL)
        (void)close(fd); /* nothing was written through it */
    http_complete(exchange, MHD_HTTP_OK, http_decorate(exchange, response, content_type));
}

static char *problem_text(const struct exchange *exchange, unsigned status, const char *detail,
                          json_t *extra)
{
    json_t *problem = json_pack(
        "{s:i, s:s, s:o, s:s*}", "status", (int)status, "title", MHD_get_reason_phrase_for(status),
        "instance", json_sprintf("realmstore:trace:%s", exchange->request.id), "detail", detail);
    char *text = NULL;

    if (problem != NULL && (extra == NULL || json_object_update(problem, extra) == 0))
        text = json_dumps(problem, JSON_COMPACT);
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
        response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
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

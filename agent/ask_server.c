/* See ask_server.h.
 *
 * Happy path: on_access() collects the body, parses it, suspends the connection and queues the
 * exchange; the loop answers and resumes; on_access() is called again and queues the answer.
 *
 * Failure: bad requests are answered in the server's thread and never reach the loop. A client that
 * goes away while its question is under way is noticed when the connection is resumed.
 */
#include "agent/ask_server.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "agent/answer.h"
#include "agent/visitors.h"
#include "base/request_head_mhd.h"
#include "base/utf8.h"

enum {
    CONNECTIONS_MAX = 320,         /* of a file-descriptor limit of 1024 */
    CONNECTIONS_OF_USER_MAX = 256, /* so that one user never shuts the others out */
    BACKLOG = 128,
    DISCARD_MAX_BYTES = 8 * 1024 * 1024, /* of an overlong body: read so that the 413 arrives */
    ANSWER_MAX_BYTES = 1024 * 1024
};

#define PATH "/v1/auth"

/* Who touches the exchange: the server's thread, but for PENDING, when it is the loop's. */
enum exchange_state { EXCHANGE_NEW, EXCHANGE_RECEIVING, EXCHANGE_PENDING, EXCHANGE_ANSWERED };

struct ask_exchange {
    struct ask_server *server; /* borrowed */
    struct MHD_Connection *connection;
    enum exchange_state state;
    struct request_target target;
    bool last; /* what follows on the connection is no request */
    struct buffer body;
    size_t discarded;
    struct ask_question *question; /* owned until the loop takes it */
    unsigned status;
    struct buffer answer;
    STAILQ_ENTRY(ask_exchange) next;
};

struct ask_server {
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    struct board *board;
    ask_handler_fn handler;
    void *context;
    struct MHD_Daemon *daemon; /* owned */
    struct visitors visitors;
    uv_async_t async;
    void (*closed)(void *context);
    void *closed_context;

    pthread_mutex_t mutex; /* over what follows */
    STAILQ_HEAD(exchange_queue, ask_exchange) queue;
    bool quiet; /* nothing is queued any more */
};

/* ---- answers ---- */

static const char *title_of(unsigned status)
{
    switch (status) {
    case MHD_HTTP_BAD_REQUEST:
        return "Bad Request";
    case MHD_HTTP_NOT_FOUND:
        return "Not Found";
    case MHD_HTTP_METHOD_NOT_ALLOWED:
        return "Method Not Allowed";
    case MHD_HTTP_CONTENT_TOO_LARGE:
        return "Content Too Large";
    default:
        return "Service Unavailable";
    }
}

/* Makes the problem document the exchange's answer; without memory its body stays empty. */
static void set_problem(struct ask_exchange *exchange, unsigned status, const char *detail)
{
    json_t *problem = json_pack("{s:i, s:s, s:s}", "status", (int)status, "title", title_of(status),
                                "detail", detail);
    char *text = utf8_json_take(json_dumps(problem, JSON_COMPACT));

    exchange->status = status;
    if (text != NULL)
        (void)buffer_append_string(&exchange->answer, text);
    free(text);
    json_decref(problem);
}

static enum MHD_Result queue_answer(struct ask_exchange *exchange)
{
    bool good = exchange->status == MHD_HTTP_OK;
    bool method = exchange->status == MHD_HTTP_METHOD_NOT_ALLOWED;

    visitors_hurry(&exchange->server->visitors, exchange->connection);
    return answer_queue(exchange->connection, exchange->status,
                        good ? "application/json" : "application/problem+json",
                        method ? MHD_HTTP_METHOD_POST : NULL, exchange->last, &exchange->answer);
}

static enum MHD_Result ask_server_refuse(struct ask_exchange *exchange, unsigned status,
                                         const char *detail)
{
    board_count_refused(exchange->server->board);
    exchange->state = EXCHANGE_ANSWERED;
    set_problem(exchange, status, detail);
    return queue_answer(exchange);
}

void ask_server_answer(void *context, enum ask_result result, const char *text)
{
    struct ask_exchange *exchange = context;

    exchange->status = MHD_HTTP_OK;
    if (result == ASK_UNAVAILABLE)
        set_problem(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, text);
    else if (buffer_append_string(&exchange->answer, text) != 0)
        set_problem(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
    exchange->state = EXCHANGE_ANSWERED;
    MHD_resume_connection(exchange->connection); /* from here on it is the server's thread's */
}

/* ---- the server's thread ---- */

static void exchange_destroy(struct ask_exchange *exchange)
{
    buffer_finish(&exchange->body);
    buffer_finish(&exchange->answer);
    ask_question_destroy(exchange->question);
    free(exchange);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct ask_server *server = context;

    (void)code; /* however it ended, nothing is left to do but this */
    visitors_idle(&server->visitors, connection);
    if (*state != NULL)
        exchange_destroy(*state);
    *state = NULL;
}

/* The first line is there. NULL (out of memory) closes the connection in on_access(). */
static void *on_target(void *context, const char *text, struct MHD_Connection *connection)
{
    struct ask_server *server = context;
    struct ask_exchange *exchange = calloc(1, sizeof(*exchange));

    visitors_hurry(&server->visitors, connection);
    if (exchange == NULL)
        return NULL;
    exchange->server = server;
    exchange->connection = connection;
    request_target_note(&exchange->target, text);
    buffer_init_secret(&exchange->body, ASK_BODY_MAX_BYTES);
    buffer_init(&exchange->answer, ANSWER_MAX_BYTES);
    return exchange;
}

/* The headers are complete. */
static enum MHD_Result ask_server_begin(struct ask_exchange *exchange, const char *path,
                                        const char *method, const char *version)
{
    const char *length = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND,
                                                     MHD_HTTP_HEADER_CONTENT_LENGTH);
    struct request_head head;
    const char *fault;

    exchange->state = EXCHANGE_RECEIVING;
    request_head_read(&head, exchange->connection, &exchange->target, method, version);
    fault = request_head_fault(&head);
    exchange->last = fault != NULL || request_is_chunked(&head);
    if (fault != NULL)
        return ask_server_refuse(exchange, MHD_HTTP_BAD_REQUEST, fault);
    if (strcmp(path, PATH) != 0)
        return ask_server_refuse(exchange, MHD_HTTP_NOT_FOUND, "there is nothing but " PATH);
    if (strcmp(method, MHD_HTTP_METHOD_POST) != 0)
        return ask_server_refuse(exchange, MHD_HTTP_METHOD_NOT_ALLOWED, PATH " takes POST alone");
    /* A client that is refused while it sends may see a broken pipe in place of the answer. */
    if (length != NULL && strtoull(length, NULL, 10) > ASK_BODY_MAX_BYTES + DISCARD_MAX_BYTES)
        return ask_server_refuse(exchange, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
    return MHD_YES;
}

static enum MHD_Result ask_server_receive(struct ask_exchange *exchange, const char *bytes,
                                          size_t *size)
{
    if (exchange->discarded > 0 || buffer_append(&exchange->body, bytes, *size) != 0)
        exchange->discarded += *size;
    *size = 0;
    return exchange->discarded <= DISCARD_MAX_BYTES ? MHD_YES : MHD_NO;
}

/* Hands the question to the loop; false: it takes none any more. */
static bool push(struct ask_exchange *exchange)
{
    struct ask_server *server = exchange->server;
    bool quiet;

    (void)pthread_mutex_lock(&server->mutex);
    quiet = server->quiet;
    if (!quiet) {
        /* Under the mutex: the loop cannot resume the connection before it is suspended. */
        exchange->state = EXCHANGE_PENDING;
        visitors_busy(&server->visitors, exchange->connection);
        MHD_suspend_connection(exchange->connection);
        STAILQ_INSERT_TAIL(&server->queue, exchange, next);
        (void)uv_async_send(&server->async); /* never fails on an open handle */
    }
    (void)pthread_mutex_unlock(&server->mutex);
    return !quiet;
}

/* The body is complete. */
static enum MHD_Result ask_server_dispatch(struct ask_exchange *exchange)
{
    struct error err = ERROR_INIT;
    int rc;

    if (exchange->discarded > 0)
        return ask_server_refuse(exchange, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
    rc = ask_question_parse(exchange->body.data, exchange->body.size, &exchange->question, &err);
    if (rc != 0)
        return ask_server_refuse(
            exchange, rc == E_INVALID ? MHD_HTTP_BAD_REQUEST : MHD_HTTP_SERVICE_UNAVAILABLE,
            err.message);
    if (!push(exchange))
        return ask_server_refuse(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "the agent is stopping");
    return MHD_YES;
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *path,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_size, void **state)
{
    struct ask_exchange *exchange = *state;

    (void)context;
    (void)connection;
    if (exchange == NULL)
        return MHD_NO;
    if (exchange->state == EXCHANGE_NEW)
        return ask_server_begin(exchange, path, method, version);
    if (exchange->state == EXCHANGE_ANSWERED)
        return queue_answer(exchange);
    return *upload_size > 0 ? ask_server_receive(exchange, upload, upload_size)
                            : ask_server_dispatch(exchange);
}

/* ---- the loop's thread ---- */

/* The next question, or NULL. */
static struct ask_exchange *pop(struct ask_server *server)
{
    struct ask_exchange *exchange;

    (void)pthread_mutex_lock(&server->mutex);
    exchange = STAILQ_FIRST(&server->queue);
    if (exchange != NULL)
        STAILQ_REMOVE_HEAD(&server->queue, next);
    (void)pthread_mutex_unlock(&server->mutex);
    return exchange;
}

static void on_async(uv_async_t *async)
{
    struct ask_server *server = async->data;
    struct ask_exchange *exchange;

    while ((exchange = pop(server)) != NULL) {
        struct ask_question *question = exchange->question;

        exchange->question = NULL;
        server->handler(server->context, question, exchange);
    }
}

/* ---- the socket ---- */

static int set_path(struct ask_server *server, const char *dir, struct error *err)
{
    int length = snprintf(server->path, sizeof(server->path), "%s/" ASK_SOCKET_NAME, dir);

    if (length < 0 || (size_t)length >= sizeof(server->path))
        return error_set(err, E_TOO_LARGE, "%s/" ASK_SOCKET_NAME " is longer than %zu bytes", dir,
                         sizeof(server->path) - 1);
    return 0;
}

/* The directory's group may ask; a directory without the set-group-ID bit has not passed it on. */
static int give_to_group(const struct ask_server *server, const char *dir, struct error *err)
{
    struct stat parent;
    struct stat socket;

    if (stat(dir, &parent) != 0 || stat(server->path, &socket) != 0 ||
        (parent.st_gid != socket.st_gid && chown(server->path, (uid_t)-1, parent.st_gid) != 0) ||
        chmod(server->path, S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP) != 0)
        return error_set_errno(err, errno, "%s: cannot be given to the reader group", server->path);
    return 0;
}

static int remove_old(const struct ask_server *server, struct error *err)
{
    struct stat facts;

    if (lstat(server->path, &facts) != 0)
        return errno == ENOENT ? 0 : error_set_errno(err, errno, "%s", server->path);
    if (!S_ISSOCK(facts.st_mode))
        return error_set(err, E_IO, "%s is no socket; remove it", server->path);
    return unlink(server->path) == 0 ? 0 : error_set_errno(err, errno, "%s", server->path);
}

static int open_socket(const struct ask_server *server, const char *dir, int *ret,
                       struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;
    int rc = remove_old(server, err);

    if (rc != 0)
        return rc;
    memcpy(address.sun_path, server->path, sizeof(address.sun_path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot make a socket");
    /* Before bind(), so that it never has more rights than in the end. */
    if (fchmod(fd, S_IRUSR | S_IWUSR) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        rc = error_set_errno(err, errno, "%s", server->path);
    else
        rc = give_to_group(server, dir, err);
    if (rc == 0 && listen(fd, BACKLOG) != 0)
        rc = error_set_errno(err, errno, "%s", server->path);
    if (rc != 0) {
        (void)close(fd); /* it was never used */
        return rc;
    }
    *ret = fd;
    return 0;
}

/* ---- life ---- */

/* Owns `fd` afterwards, whatever the result. */
static int start_daemon(struct ask_server *server, int fd, struct error *err)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME;

    server->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_access, server,
                                      MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK,
                                      on_target, server, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
                                      server, VISITORS_OPTIONS(&server->visitors), MHD_OPTION_END);
    if (server->daemon != NULL)
        return 0;
    (void)error_set_errno(err, errno, "cannot serve %s", server->path);
    (void)close(fd);
    (void)unlink(server->path);
    return err->code;
}

int ask_server_start(uv_loop_t *loop, const char *dir, struct board *board, ask_handler_fn handler,
                     void *context, struct ask_server **ret, struct error *err)
{
    struct ask_server *server = calloc(1, sizeof(*server));
    int fd = -1;
    int rc;

    if (server == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    server->board = board;
    server->handler = handler;
    server->context = context;
    STAILQ_INIT(&server->queue);
    rc = set_path(server, dir, err);
    if (rc == 0)
        rc = open_socket(server, dir, &fd, err);
    if (rc != 0) {
        free(server);
        return rc;
    }
    (void)pthread_mutex_init(&server->mutex, NULL); /* default attributes: cannot fail */
    visitors_init(&server->visitors, CONNECTIONS_MAX, CONNECTIONS_OF_USER_MAX);
    rc = uv_async_init(loop, &server->async, on_async);
    server->async.data = server;
    if (rc != 0) {
        (void)close(fd);
        (void)unlink(server->path);
        (void)pthread_mutex_destroy(&server->mutex);
        visitors_finish(&server->visitors);
        free(server);
        return error_set(err, E_NO_MEMORY, "cannot make an event: %s", uv_strerror(rc));
    }
    *ret = server; /* also when its thread does not start: its handle must be closed by the loop */
    return start_daemon(server, fd, err);
}

void ask_server_tick(struct ask_server *server)
{
    if (server != NULL)
        visitors_tick(&server->visitors);
}

void ask_server_quiesce(struct ask_server *server)
{
    struct ask_exchange *exchange;

    (void)pthread_mutex_lock(&server->mutex);
    server->quiet = true;
    (void)pthread_mutex_unlock(&server->mutex);
    while ((exchange = pop(server)) != NULL)
        ask_server_answer(exchange, ASK_UNAVAILABLE, "the agent is stopping");
}

static void ask_server_on_closed(uv_handle_t *handle)
{
    struct ask_server *server = handle->data;
    void (*closed)(void *) = server->closed;
    void *context = server->closed_context;

    (void)pthread_mutex_destroy(&server->mutex); /* nobody holds it */
    visitors_finish(&server->visitors);
    free(server);
    closed(context);
}

void ask_server_stop(struct ask_server *server, void (*closed)(void *context), void *context)
{
    server->closed = closed;
    server->closed_context = context;
    if (server->daemon != NULL) {
        MHD_stop_daemon(server->daemon); /* closes the socket */
        (void)unlink(server->path);      /* a new agent replaces it if this fails */
    }
    uv_close((uv_handle_t *)&server->async, ask_server_on_closed);
}

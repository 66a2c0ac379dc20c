/* status_server.c - see status_server.h. */
#include "agent/status_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <microhttpd.h>

#include "agent/answer.h"
#include "agent/listen.h"
#include "agent/status_text.h"
#include "agent/visitors.h"
#include "base/clock.h"
#include "base/request_head_mhd.h"

/* Scrapers and probes: a handful at once. Whoever comes finds room: the one that has waited for
 * longest gives way. */
enum { STATUS_CONNECTIONS_MAX = 64, STATUS_CONNECTIONS_OF_ADDRESS = 16 };

struct status_server {
    struct MHD_Daemon *daemon; /* owned */
    struct visitors visitors;
    struct board *board; /* borrowed */
    const _Atomic int64_t *pulse;
};

struct page {
    unsigned status;
    const char *type;
    struct buffer body;
};

/* ---- pages; each gives 0 or a buffer error ---- */

static int make_metrics(const struct status_server *server, struct page *page)
{
    struct board_copy *board = malloc(sizeof(*board));
    int rc = E_NO_MEMORY;

    if (board != NULL) {
        board_read(server->board, board);
        rc = status_metrics(board, clock_boot_ms(), &page->body);
    }
    free(board);
    page->type = "text/plain; version=0.0.4; charset=utf-8";
    return rc;
}

static int make_status(const struct status_server *server, struct page *page)
{
    struct board_copy *board = malloc(sizeof(*board));
    int rc = E_NO_MEMORY;

    if (board != NULL) {
        board_read(server->board, board);
        rc = status_json(board, clock_boot_ms(), &page->body);
    }
    free(board);
    page->type = "application/json";
    return rc;
}

static int make_ready(const struct status_server *server, struct page *page)
{
    struct board_copy *board = malloc(sizeof(*board));
    bool ready;

    if (board == NULL)
        return E_NO_MEMORY;
    board_read(server->board, board);
    ready = status_ready(board);
    free(board);
    page->status = ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    return buffer_append_string(&page->body,
                                ready ? "ready\n" : "a source has no complete copy yet\n");
}

static int make_health(const struct status_server *server, struct page *page)
{
    int64_t silence_ms = clock_boot_ms() - atomic_load(server->pulse);
    bool alive = silence_ms < STATUS_PULSE_MAX_MS;

    page->status = alive ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    return buffer_append_string(&page->body, alive ? "ok\n" : "the agent's loop stands still\n");
}

static int make_not_found(const struct status_server *server, struct page *page)
{
    (void)server;
    page->status = MHD_HTTP_NOT_FOUND;
    return buffer_append_string(&page->body, "/metrics, /healthz, /readyz, /status\n");
}

static const struct route {
    const char *path;
    int (*make)(const struct status_server *server, struct page *page);
} routes[] = {
    {"/metrics", make_metrics},
    {"/healthz", make_health},
    {"/readyz", make_ready},
    {"/status", make_status},
};

static int make_page(const struct status_server *server, const char *path, struct page *page)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (strcmp(path, routes[i].path) == 0)
            return routes[i].make(server, page);
    }
    return make_not_found(server, page);
}

/* ---- microhttpd ---- */

static enum MHD_Result status_server_answer(struct MHD_Connection *connection, struct page *page)
{
    return answer_queue(connection, page->status, page->type, NULL, true, &page->body);
}

static enum MHD_Result status_server_refuse(struct MHD_Connection *connection, unsigned status,
                                            const char *detail, struct page *page)
{
    page->status = status;
    if (detail != NULL) /* without memory it is an answer without a text */
        (void)buffer_append_string(&page->body, detail);
    return status_server_answer(connection, page);
}

/* ---- one request; its context is a struct request_target ---- */

/* NULL (out of memory) closes the connection in on_request(). */
static void *on_target(void *context, const char *text, struct MHD_Connection *connection)
{
    struct status_server *server = context;
    struct request_target *target = malloc(sizeof(*target));

    visitors_hurry(&server->visitors, connection);
    if (target != NULL)
        request_target_note(target, text);
    return target;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct status_server *server = context;

    (void)code; /* however it ended */
    visitors_idle(&server->visitors, connection);
    free(*request);
    *request = NULL;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *upload, size_t *upload_size, void **request)
{
    struct status_server *server = context;
    struct page page = {MHD_HTTP_OK, "text/plain; charset=utf-8", {0}};
    struct request_head head;
    const char *fault;

    (void)upload;
    (void)upload_size;
    if (*request == NULL)
        return MHD_NO;
    visitors_hurry(&server->visitors, connection);
    buffer_init(&page.body, STATUS_PAGE_MAX_BYTES);
    request_head_read(&head, connection, *request, method, version);
    fault = request_head_fault(&head);
    if (fault != NULL)
        return status_server_refuse(connection, MHD_HTTP_BAD_REQUEST, fault, &page);
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return status_server_refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, NULL, &page);
    if (make_page(server, path, &page) != 0) {
        buffer_finish(&page.body);
        page.status = MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
    return status_server_answer(connection, &page);
}

int status_server_start(const char *listen, struct board *board, const _Atomic int64_t *pulse,
                        struct status_server **ret, struct error *err)
{
    struct status_server *server;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD;
    int family;
    int fd;

    if (listen_open(listen, &fd, &family, err) != 0)
        return err->code;
    server = calloc(1, sizeof(*server));
    if (server == NULL) {
        (void)close(fd); /* it was never used */
        return error_set(err, E_NO_MEMORY, NULL);
    }
    server->board = board;
    server->pulse = pulse;
    visitors_init(&server->visitors, STATUS_CONNECTIONS_MAX, STATUS_CONNECTIONS_OF_ADDRESS);
    if (family == AF_INET6)
        flags |= MHD_USE_IPv6;
    server->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, server,
                                      MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK,
                                      on_target, server, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
                                      server, VISITORS_OPTIONS(&server->visitors), MHD_OPTION_END);
    if (server->daemon == NULL) {
        (void)error_set_errno(err, errno, "listen: cannot serve on %s", listen);
        visitors_finish(&server->visitors);
        free(server);
        (void)close(fd); /* it was never used */
        return err->code;
    }
    *ret = server;
    return 0;
}

uint16_t status_server_port(const struct status_server *server)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT);

    return info != NULL ? info->port : 0;
}

void status_server_tick(struct status_server *server)
{
    if (server != NULL)
        visitors_tick(&server->visitors);
}

void status_server_stop(struct status_server *server)
{
    if (server == NULL)
        return;
    MHD_stop_daemon(server->daemon);
    visitors_finish(&server->visitors);
    free(server);
}

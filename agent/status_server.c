#include "agent/status_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <microhttpd.h>

#include "agent/answer.h"
#include "agent/listen.h"
#include "agent/status_text.h"
#include "base/clock.h"

/* Scrapers and probes: a handful at once; a client that is slower than this is gone. */
enum { STATUS_CONNECTIONS_MAX = 32, STATUS_TIMEOUT_S = 10 };

struct status_server {
    struct MHD_Daemon *daemon; /* owned */
    struct board *board;       /* borrowed */
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

static enum MHD_Result answer(struct MHD_Connection *connection, struct page *page)
{
    return answer_queue(connection, page->status, page->type, NULL, &page->body);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *upload, size_t *upload_size, void **request)
{
    const struct status_server *server = context;
    struct page page = {MHD_HTTP_OK, "text/plain; charset=utf-8", {0}};

    (void)version;
    (void)upload;
    (void)upload_size;
    (void)request;
    buffer_init(&page.body, STATUS_PAGE_MAX_BYTES);
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        page.status = MHD_HTTP_METHOD_NOT_ALLOWED;
        return answer(connection, &page);
    }
    if (make_page(server, path, &page) != 0) {
        buffer_finish(&page.body);
        page.status = MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
    return answer(connection, &page);
}

int status_server_start(const char *listen, struct board *board, const _Atomic int64_t *pulse,
                        struct status_server **ret, struct error *err)
{
    struct sockaddr_storage address;
    struct status_server *server;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD;

    if (listen_parse(listen, &address, err) != 0)
        return err->code;
    server = calloc(1, sizeof(*server));
    if (server == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    server->board = board;
    server->pulse = pulse;
    if (address.ss_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    server->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, server,
                                      MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address,
                                      MHD_OPTION_CONNECTION_LIMIT, (unsigned)STATUS_CONNECTIONS_MAX,
                                      MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)STATUS_TIMEOUT_S,
                                      MHD_OPTION_LISTENING_ADDRESS_REUSE, 1U, MHD_OPTION_END);
    if (server->daemon == NULL) {
        (void)error_set_errno(err, errno, "listen: cannot listen on %s", listen);
        free(server);
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

void status_server_stop(struct status_server *server)
{
    if (server == NULL)
        return;
    MHD_stop_daemon(server->daemon);
    free(server);
}

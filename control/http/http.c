/* http.c - the server's life: created, listening, no longer accepting, gone.
 *
 * MHD aborts the process when it is stopped with a connection suspended. So http_destroy() waits,
 * without a limit, for every request that a handler has in hand (`pending`), and only for a while
 * for answers that are being sent.
 */
#include "control/http/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "control/http/http_internal.h"

enum {
    DEFAULT_WORKERS = 32,
    DEFAULT_QUEUE = 4096,
    DEFAULT_CONNECTIONS = 20000,
    DEFAULT_IDLE_S = 60,
    DEFAULT_BODY_BYTES = 1024 * 1024,
    DEFAULT_BODIES_BYTES = 64 * 1024 * 1024,
    /* Headers, URI and the write buffer of one connection; a follower holds it all its life. */
    CONNECTION_MEMORY_BYTES = 8 * 1024,
    SPARE_FDS = 256, /* database, logs, snapshots, listeners */
    STOP_PATIENCE_S = 5,
    /* Twice the idle time: a connection that is merely idle is MHD's to close. */
    ARRIVAL_LIMIT_MS_PER_S = 2000
};

/* TLS 1.2 is the oldest that is not deprecated (RFC 8996). */
static const char tls_priorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

static void fill_defaults(struct http_options *options)
{
    if (options->workers == 0)
        options->workers = DEFAULT_WORKERS;
    if (options->queue_max == 0)
        options->queue_max = DEFAULT_QUEUE;
    if (options->max_connections == 0)
        options->max_connections = DEFAULT_CONNECTIONS;
    if (options->idle_timeout_s == 0)
        options->idle_timeout_s = DEFAULT_IDLE_S;
    if (options->body_max_bytes == 0)
        options->body_max_bytes = DEFAULT_BODY_BYTES;
    if (options->bodies_max_bytes == 0)
        options->bodies_max_bytes = DEFAULT_BODIES_BYTES;
}

static void raise_fd_limit(const struct http_options *options)
{
    rlim_t wanted = (rlim_t)options->max_connections + SPARE_FDS;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return; /* accept() will tell */
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* the check below sees the outcome */
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < wanted)
        log_warning(options->log,
                    "%llu files may be open, but %u connections need %llu: raise the hard limit "
                    "(LimitNOFILE=) or lower max_connections",
                    (unsigned long long)limit.rlim_cur, options->max_connections,
                    (unsigned long long)wanted);
}

void http_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

int http_create(const struct http_options *options, struct http_server **ret, struct error *err)
{
    struct http_server *server = calloc(1, sizeof(*server));
    int rc;

    if (server == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    server->options = *options;
    fill_defaults(&server->options);
    raise_fd_limit(&server->options);
    pthread_mutex_init(&server->mutex, NULL);
    http_cond_init(&server->changed);
    rc = http_pool_start(&server->pool, server->options.workers, server->options.queue_max,
                         http_run, err);
    if (rc != 0)
        goto free_server;
    rc = http_arrivals_start(&server->arrivals,
                             (int64_t)server->options.idle_timeout_s * ARRIVAL_LIMIT_MS_PER_S, err);
    if (rc != 0)
        goto stop_pool;
    *ret = server;
    return 0;

stop_pool:
    http_pool_stop(&server->pool);
free_server:
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->mutex);
    free(server);
    return rc;
}

static void log_mhd(void *context, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* MHD reports peers that went away and requests it could not parse: nothing to act upon. */
static void log_mhd(void *context, const char *format, va_list args)
{
    char text[256];
    int length = vsnprintf(text, sizeof(text), format, args);

    if (length > 0 && (size_t)length < sizeof(text) && text[length - 1] == '\n')
        text[length - 1] = 0;
    log_debug(context, "http: %s", text);
}

/* MHD wants mutable pointers but only reads through these. */
static void *unconst(const void *pointer)
{
    return (void *)(uintptr_t)pointer;
}

/* Fills `items` (room for five) with the TLS options, none for plain HTTP. */
static void tls_items(const struct http_options *options, struct MHD_OptionItem *items)
{
    if (options->tls_cert_pem != NULL) {
        *items++ = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, unconst(tls_priorities)};
        *items++ =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, unconst(options->tls_cert_pem)};
        *items++ =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, unconst(options->tls_key_pem)};
        if (options->client_ca_pem != NULL)
            *items++ = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0,
                                               unconst(options->client_ca_pem)};
    }
    *items = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
}

static struct MHD_Daemon *start_daemon(struct http_server *server, int fd, int family)
{
    const struct http_options *options = &server->options;
    struct MHD_OptionItem tls[5];
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;

    if (family == AF_INET6)
        flags |= MHD_USE_IPv6;
    if (options->tls_cert_pem != NULL)
        flags |= MHD_USE_TLS;
    tls_items(options, tls);
    return MHD_start_daemon(
        flags, 0, NULL, NULL, http_on_access, server, MHD_OPTION_EXTERNAL_LOGGER, log_mhd,
        unconst(options->log), MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK,
        http_on_uri, server, MHD_OPTION_NOTIFY_CONNECTION, http_on_connection, server,
        MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, server, MHD_OPTION_CONNECTION_LIMIT,
        options->max_connections, MHD_OPTION_CONNECTION_TIMEOUT, options->idle_timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_ARRAY, tls,
        MHD_OPTION_END);
}

int http_listen(struct http_server *server, const char *address, char ret_url[HTTP_URL_SIZE],
                struct error *err)
{
    struct MHD_Daemon *daemon;
    int family;
    int fd;
    int rc;

    if (server->n_listeners == HTTP_LISTENERS_MAX)
        return error_set(err, E_CONFIG, "more than %d addresses to listen on", HTTP_LISTENERS_MAX);
    rc = http_socket_open(address, &fd, &family, err);
    if (rc != 0)
        return rc;
    rc = http_socket_url(fd, server->options.tls_cert_pem != NULL, ret_url, err);
    if (rc != 0)
        goto close_socket;
    daemon = start_daemon(server, fd, family);
    if (daemon == NULL) {
        rc = error_set(err, E_CONFIG, "cannot serve on '%s'%s", address,
                       server->options.tls_cert_pem != NULL
                           ? ": do certificate, key and authority hold what they should?"
                           : "");
        goto close_socket;
    }
    pthread_mutex_lock(&server->mutex); /* requests for figures may have come to an earlier one */
    server->listeners[server->n_listeners++] = daemon;
    pthread_mutex_unlock(&server->mutex);
    return 0;

close_socket:
    (void)close(fd); /* nothing was written; MHD closes only what it has accepted as its own */
    return rc;
}

void http_stop_accepting(struct http_server *server)
{
    atomic_store(&server->stopping, true);
    for (size_t i = 0; i < server->n_listeners; i++) {
        MHD_socket fd = MHD_quiesce_daemon(server->listeners[i]);

        if (fd != MHD_INVALID_SOCKET)
            (void)close(fd); /* nothing was written */
    }
}

/* Until no handler has a request in hand, and, for a while, until all answers are out. */
static void wait_for_answers(struct http_server *server)
{
    struct timespec until;
    int rc = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail for a clock that exists */
    until.tv_sec += STOP_PATIENCE_S;
    pthread_mutex_lock(&server->mutex);
    while (server->active > 0 && rc == 0)
        rc = pthread_cond_timedwait(&server->changed, &server->mutex, &until);
    while (server->pending > 0)
        pthread_cond_wait(&server->changed, &server->mutex);
    pthread_mutex_unlock(&server->mutex);
}

void http_destroy(struct http_server *server)
{
    if (server == NULL)
        return;
    http_stop_accepting(server);
    wait_for_answers(server);
    for (size_t i = 0; i < server->n_listeners; i++)
        MHD_stop_daemon(server->listeners[i]);
    http_arrivals_stop(&server->arrivals);
    http_pool_stop(&server->pool);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

void http_stats(struct http_server *server, struct http_stats *ret)
{
    *ret = (struct http_stats){.refused_busy = atomic_load(&server->refused_busy),
                               .queued = http_pool_queued(&server->pool)};
    pthread_mutex_lock(&server->mutex);
    for (size_t i = 0; i < server->n_listeners; i++) {
        const union MHD_DaemonInfo *info =
            MHD_get_daemon_info(server->listeners[i], MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

        if (info != NULL)
            ret->connections += info->num_connections;
    }
    ret->requests = server->active;
    pthread_mutex_unlock(&server->mutex);
}

const char *http_header(const struct http_request *request, const char *name)
{
    const struct exchange *exchange = (const struct exchange *)request;

    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

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

#include "base/clock.h"
#include "control/http/http_internal.h"

enum {
    DEFAULT_WORKERS = 48,
    DEFAULT_QUEUE = 4096,
    DEFAULT_CONNECTIONS = 20000,
    DEFAULT_HEADER_S = 10,
    DEFAULT_IDLE_S = 60,
    DEFAULT_DEAD_S = 60,
    DEFAULT_AUTH_FAILURES = 60,
    /* max_connections is how many hosts may be connected. The others have a part of that number,
     * and places of their own. */
    OPERATORS_PART = 4,
    STRANGERS_PART = 8,
    OPERATORS_MIN = 64,
    STRANGERS_MIN = 1024, /* as many hosts may come at once, after a restart */
    STRANGERS_MIN_OF_FEW_FDS = 16,
    ADDRESS_PART = 4,
    HOSTS_BODIES_PART = 4,
    STRANGERS_ANSWERS_PART = 4,
    OPERATORS_ANSWERS_FACTOR = 4, /* half of it holds a list of a few hundred thousand hosts */
    /* Connections that were sent away and that MHD has not closed yet; at its own limit it would
     * stop accepting. */
    LEAVING = 256,
    DEFAULT_BODY_BYTES = 1024 * 1024,
    DEFAULT_BODIES_BYTES = 64 * 1024 * 1024,
    /* Headers, URI and the write buffer of one connection; a follower holds it all its life. */
    CONNECTION_MEMORY_BYTES = 8 * 1024,
    SPARE_FDS = 256 + HTTP_LINGERING_MAX, /* database, logs, snapshots, listeners */
    STOP_PATIENCE_S = 5
};

static void fill_defaults(struct http_options *options)
{
    if (options->workers == 0)
        options->workers = DEFAULT_WORKERS;
    if (options->queue_max == 0)
        options->queue_max = DEFAULT_QUEUE;
    if (options->max_connections == 0)
        options->max_connections = DEFAULT_CONNECTIONS;
    if (options->header_timeout_s == 0)
        options->header_timeout_s = DEFAULT_HEADER_S;
    if (options->auth_failures_per_minute == 0)
        options->auth_failures_per_minute = DEFAULT_AUTH_FAILURES;
    if (options->idle_timeout_s == 0)
        options->idle_timeout_s = DEFAULT_IDLE_S;
    if (options->dead_timeout_s == 0)
        options->dead_timeout_s = DEFAULT_DEAD_S;
    if (options->body_max_bytes == 0)
        options->body_max_bytes = DEFAULT_BODY_BYTES;
    if (options->bodies_max_bytes == 0)
        options->bodies_max_bytes = DEFAULT_BODIES_BYTES;
}

static unsigned part_of(unsigned connections, unsigned part, unsigned min)
{
    return connections / part > min ? connections / part : min;
}

static unsigned operators_of(const struct http_options *options)
{
    return part_of(options->max_connections, OPERATORS_PART, OPERATORS_MIN);
}

static rlim_t connections_of(const struct http_options *options)
{
    return (rlim_t)options->max_connections + operators_of(options) + options->max_strangers;
}

static rlim_t raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return RLIM_INFINITY; /* accept() will tell */
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* the next line sees the outcome */
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur;
}

/* Budgets that cannot be paid in descriptors protect nobody: they shrink until they can. */
static void shrink_connections(struct http_options *options, rlim_t files)
{
    const unsigned wanted = options->max_connections;

    do {
        options->max_connections -= (options->max_connections + 15) / 16;
        options->max_strangers =
            part_of(options->max_connections, STRANGERS_PART, STRANGERS_MIN_OF_FEW_FDS);
    } while (options->max_connections > 1 && files < SPARE_FDS + LEAVING + connections_of(options));
    log_warning(options->log,
                "%llu files may be open, which is enough for %u hosts and not for %u: raise the "
                "hard limit (LimitNOFILE=) or lower max_connections",
                (unsigned long long)files, options->max_connections, wanted);
}

static void fit_connections(struct http_options *options)
{
    const rlim_t files = raise_fd_limit();

    if (options->max_strangers == 0)
        options->max_strangers = part_of(options->max_connections, STRANGERS_PART, STRANGERS_MIN);
    if (files != RLIM_INFINITY && files < SPARE_FDS + LEAVING + connections_of(options))
        shrink_connections(options, files);
    if (options->max_strangers_per_address == 0)
        options->max_strangers_per_address = part_of(options->max_strangers, ADDRESS_PART, 1);
}

static void budgets_init(struct http_server *server)
{
    const struct http_options *options = &server->options;
    const struct guest_limits limits = {.classes = HTTP_CLASSES,
                                        .max = {[HTTP_STRANGER] = options->max_strangers,
                                                [HTTP_OPERATOR] = operators_of(options),
                                                [HTTP_HOST] = options->max_connections},
                                        .per_key = options->max_strangers_per_address};

    const size_t bodies[HTTP_CLASSES] = {[HTTP_OPERATOR] = options->bodies_max_bytes,
                                         [HTTP_HOST] =
                                             options->bodies_max_bytes / HOSTS_BODIES_PART};
    const size_t answers[HTTP_CLASSES] = {
        [HTTP_STRANGER] = options->bodies_max_bytes / STRANGERS_ANSWERS_PART,
        [HTTP_OPERATOR] = options->bodies_max_bytes * OPERATORS_ANSWERS_FACTOR,
        [HTTP_HOST] = options->bodies_max_bytes / HOSTS_BODIES_PART};

    guests_init(&server->guests, &limits, clock_boot_ms());
    http_bodies_init(&server->bodies, bodies);
    http_bodies_init(&server->answers, answers);
    http_failures_init(&server->failures, options->auth_failures_per_minute);
}

static void budgets_finish(struct http_server *server)
{
    http_failures_finish(&server->failures);
    http_bodies_finish(&server->bodies);
    http_bodies_finish(&server->answers);
    guests_finish(&server->guests);
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
    fit_connections(&server->options);
    budgets_init(server);
    pthread_mutex_init(&server->mutex, NULL);
    http_cond_init(&server->changed);
    rc = http_pool_start(&server->pool, server->options.workers, server->options.queue_max,
                         http_run, err);
    if (rc != 0)
        goto free_server;
    rc = http_linger_start(&server->linger, &server->guests, err);
    if (rc != 0)
        goto stop_pool;
    *ret = server;
    return 0;

stop_pool:
    http_pool_stop(&server->pool);
free_server:
    budgets_finish(server);
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
        *items++ =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, unconst(http_tls_priorities)};
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
        (unsigned)(connections_of(options) + LEAVING), MHD_OPTION_CONNECTION_TIMEOUT,
        options->idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
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
    rc = http_socket_open(address, server->options.dead_timeout_s, &fd, &family, err);
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
    http_linger_stop(&server->linger);
    http_pool_stop(&server->pool);
    budgets_finish(server);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

static void guest_stats(struct guests *guests, struct http_stats *ret)
{
    pthread_mutex_lock(&guests->mutex);
    for (size_t i = 0; i < HTTP_CLASSES; i++)
        ret->by_class[i] = guests->count[i];
    ret->displaced = guests->displaced;
    ret->expired = guests->expired;
    ret->turned_away = guests->refused;
    pthread_mutex_unlock(&guests->mutex);
}

static void failure_stats(struct http_failures *failures, struct http_stats *ret)
{
    pthread_mutex_lock(&failures->mutex);
    ret->auth_failures = failures->count;
    ret->auth_limited = failures->limited;
    pthread_mutex_unlock(&failures->mutex);
}

static size_t daemon_connections(struct MHD_Daemon *daemon)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

    return info != NULL ? info->num_connections : 0;
}

void http_stats(struct http_server *server, struct http_stats *ret)
{
    *ret = (struct http_stats){.refused_busy = atomic_load(&server->refused_busy),
                               .malformed = atomic_load(&server->malformed),
                               .queued = http_pool_queued(&server->pool),
                               .body_bytes = http_bodies_used(&server->bodies),
                               .answer_bytes = http_bodies_used(&server->answers)};
    guest_stats(&server->guests, ret);
    failure_stats(&server->failures, ret);
    pthread_mutex_lock(&server->mutex);
    for (size_t i = 0; i < server->n_listeners; i++)
        ret->connections += daemon_connections(server->listeners[i]);
    ret->requests = server->active;
    pthread_mutex_unlock(&server->mutex);
}

unsigned http_auth_failed(const struct http_request *request)
{
    const struct exchange *exchange = (const struct exchange *)request;
    int64_t wait_ms;

    if (exchange->guest == NULL)
        return 0;
    wait_ms = http_failures_count(&exchange->server->failures, &exchange->guest->address,
                                  clock_boot_ms());
    return (unsigned)((wait_ms + 999) / 1000);
}

const char *http_header(const struct http_request *request, const char *name)
{
    const struct exchange *exchange = (const struct exchange *)request;

    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

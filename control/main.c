/* main.c - realm-control: reads the settings, starts the parts in order, waits for a signal, stops
 * them in the reverse order. SIGHUP reads the administrator's token and the log's settings again.
 *
 * Exit codes: 0 stopped as asked; 1 bad usage or configuration; 2 cannot run (data directory in
 * use, address taken, no permission).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "base/process.h"
#include "base/utf8.h"
#include "base/wipe.h"
#include "control/config.h"
#include "control/rest/json.h"
#include "control/rest/rest.h"
#include "control/tls.h"

enum { EXIT_STOPPED = 0, EXIT_CONFIG = 1, EXIT_CANNOT_RUN = 2 };
enum { DEAD_TIMEOUT_MIN_S = 15, DEAD_TIMEOUT_MAX_S = 60 };

/* Everything that runs; each pointer NULL until it does. */
struct control {
    int argc; /* borrowed: read again at a reload */
    char **argv;
    struct control_config config;
    struct log log;
    struct auth auth;
    struct repo *repo;
    struct feed *feed;
    struct metrics *metrics;
    struct http_server *http;
    struct log_pace failure_pace;
    struct rest rest;
    struct control_tls tls;
};

/* ---- starting ---- */

static int start_repo(struct control *control, struct error *err)
{
    const struct repo_options options = {.region = control->config.region,
                                         .keep_versions = control->config.keep_versions,
                                         .clock = clock_system};
    char warning[OWN_WARNING_SIZE];
    int rc = own_check_dir(control->config.data_dir, warning, err);

    if (rc == 0 && warning[0] != 0)
        log_warning(&control->log, "data directory: %s", warning);
    if (rc == 0)
        rc = repo_lmdb_open(control->config.data_dir, &options, &control->repo, err);
    if (rc != 0)
        return error_context(err, "data directory '%s'", control->config.data_dir);
    control->auth.repo = control->repo;
    return 0;
}

static int start_feed(struct control *control, struct error *err)
{
    const struct control_config *config = &control->config;
    char directory[4096];
    const struct feed_options options = {
        .heartbeat_ms = control->config.heartbeat_ms,
        .memory_max_bytes = (size_t)config->feed_max_mib * 1024 * 1024,
        .snapshot_dir = directory,
        .region = control->config.region,
        .log = &control->log,
        .max_feeds = {config->max_feeds_per_token, config->max_feeds_per_control_plane},
        .max_hosts = {config->max_hosts_per_token, config->max_hosts_per_control_plane}};

    if ((size_t)snprintf(directory, sizeof(directory), "%s/snapshots", control->config.data_dir) >=
        sizeof(directory))
        return error_set(err, E_CONFIG, "--data-dir is too long");
    return feed_create(control->repo, &options, &control->feed, err);
}

static int start_metrics(struct control *control, struct error *err)
{
    size_t count = rest_route_count();
    struct metrics_route *routes = calloc(count, sizeof(*routes));
    int rc;

    if (routes == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    for (size_t i = 0; i < count; i++)
        routes[i] = (struct metrics_route){rest_route_method(i), rest_route_pattern(i)};
    rc = metrics_create(routes, count, &control->metrics);
    free(routes);
    return rc != 0 ? error_set(err, rc, NULL) : 0;
}

/* Several heartbeats that nobody acknowledged; long enough for a network that comes back. */
static unsigned dead_timeout_s(uint32_t heartbeat_ms)
{
    const uint32_t timeout_s = heartbeat_ms * 12 / 1000;

    if (timeout_s < DEAD_TIMEOUT_MIN_S)
        return DEAD_TIMEOUT_MIN_S;
    return timeout_s < DEAD_TIMEOUT_MAX_S ? timeout_s : DEAD_TIMEOUT_MAX_S;
}

static int start_http(struct control *control, struct error *err)
{
    const struct http_options options = {
        .max_connections = control->config.max_connections,
        .max_strangers = control->config.max_strangers,
        .max_strangers_per_address = control->config.max_strangers_per_address,
        .auth_failures_per_minute = control->config.auth_failures_per_minute,
        .dead_timeout_s = dead_timeout_s(control->config.heartbeat_ms),
        .tls_cert_pem = control->tls.cert,
        .tls_key_pem = control->tls.key,
        .client_ca_pem = control->tls.client_ca,
        .admit = rest_admit,
        .handler = rest_handle,
        .observer = rest_observe,
        .context = &control->rest,
        .log = &control->log};
    int rc = http_create(&options, &control->http, err);

    control->rest = (struct rest){.repo = control->repo,
                                  .feed = control->feed,
                                  .auth = &control->auth,
                                  .metrics = control->metrics,
                                  .failure_pace = &control->failure_pace,
                                  .http = control->http,
                                  .region = control->config.region,
                                  .log = &control->log};
    return rc;
}

static int listen_on(struct control *control, const char *address, struct error *err)
{
    char url[HTTP_URL_SIZE];
    int rc = http_listen(control->http, address, url, err);

    if (rc != 0)
        return rc;
    if (control->tls.cert == NULL && !http_address_is_loopback(address))
        log_warning(&control->log,
                    "%s is reachable from other hosts without TLS: tokens and the digest key "
                    "travel in the clear; give --tls-cert and --tls-key",
                    url);
    (void)printf("listening on %s\n", url);
    (void)fflush(stdout);
    return 0;
}

static int control_start(struct control *control, struct error *err)
{
    int rc = start_repo(control, err);

    if (rc == 0)
        rc = start_feed(control, err);
    if (rc == 0)
        rc = start_metrics(control, err);
    if (rc == 0)
        rc = start_http(control, err);
    for (size_t i = 0; i < control->config.n_listen && rc == 0; i++)
        rc = listen_on(control, control->config.listen[i], err);
    return rc;
}

/* From any state that control_start() left. The order matters: no new requests; feeds end and waits
 * are answered; only then can the HTTP server go, and after it what its handlers use. */
static void stop(struct control *control)
{
    if (control->http != NULL)
        http_stop_accepting(control->http);
    if (control->feed != NULL)
        feed_stop(control->feed);
    http_destroy(control->http);
    if (control->feed != NULL)
        feed_destroy(control->feed);
    metrics_destroy(control->metrics);
    if (control->repo != NULL)
        repo_close(control->repo);
    control_tls_finish(&control->tls);
    control_config_finish(&control->config);
}

/* ---- running ---- */

/* Blocked in every thread, so that sigwait() below gets them. */
static void block_signals(sigset_t *ret_awaited)
{
    (void)sigemptyset(ret_awaited);
    (void)sigaddset(ret_awaited, SIGTERM);
    (void)sigaddset(ret_awaited, SIGINT);
    (void)sigaddset(ret_awaited, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, ret_awaited, NULL); /* cannot fail with these arguments */
    (void)signal(SIGHUP, SIG_DFL); /* it was ignored so far; now it is waited for */
}

/* SIGHUP: the administrator's token and the log's level and format are read again. What is wrong is
 * told, and everything stays as it was. */
static void reload(struct control *control)
{
    enum control_config_action action;
    struct error err = ERROR_INIT;
    struct control_config next;

    if (control_config_read(control->argc, control->argv, &next, &action, &err) != 0) {
        log_error(&control->log, "reload: %s; nothing has changed", err.message);
        return;
    }
    if (auth_reload(&control->auth, next.admin_token_file, &err) != 0) {
        log_error(&control->log, "reload: %s; nothing has changed", err.message);
    } else {
        control->log.level = next.log_level;
        control->log.format = next.log_format;
        log_info(&control->log, "reloaded: administrator's token, log level and format; everything "
                                "else needs a restart");
    }
    control_config_finish(&next);
}

static void wait_for_the_end(struct control *control, const sigset_t *awaited)
{
    int received;

    for (;;) {
        (void)sigwait(awaited, &received); /* cannot fail with a valid set */
        if (received != SIGHUP)
            break;
        reload(control);
    }
    log_info(&control->log, "stopping on signal %d", received);
}

static void warn_of_certificates(const struct control *control)
{
    for (size_t i = 0; i < 2; i++) {
        if (control->tls.warnings[i].text[0] != 0)
            log_warning(&control->log, "%s", control->tls.warnings[i].text);
    }
}

static int control_run(struct control *control)
{
    struct error err = ERROR_INIT;
    sigset_t awaited;
    int rc;

    block_signals(&awaited);
    warn_of_certificates(control);
    rc = control_start(control, &err);
    if (rc != 0) {
        log_error(&control->log, "cannot run: %s", err.message);
        return rc == E_CONFIG ? EXIT_CONFIG : EXIT_CANNOT_RUN;
    }
    log_info(&control->log, "realm-control %s runs, region %s, data in %s", REALMSTORE_VERSION,
             control->config.region, control->config.data_dir);
    wait_for_the_end(control, &awaited);
    return EXIT_STOPPED;
}

/* What prepare() found good. */
static int tell_check(const struct control *control)
{
    for (size_t i = 0; i < 2; i++) {
        if (control->tls.warnings[i].text[0] != 0)
            utf8_complain("realm-control: warning", control->tls.warnings[i].text);
    }
    (void)puts("configuration OK");
    return EXIT_STOPPED;
}

/* Settings, token and TLS files: what an operator can have got wrong. */
static int prepare(struct control *control, int argc, char **argv,
                   enum control_config_action *ret_action, struct error *err)
{
    int rc = control_config_read(argc, argv, &control->config, ret_action, err);

    if (rc != 0 || *ret_action == CONTROL_CONFIG_HELP || *ret_action == CONTROL_CONFIG_VERSION)
        return rc;
    control->log =
        (struct log){STDERR_FILENO, control->config.log_level, control->config.log_format};
    rc = auth_init(&control->auth, control->config.admin_token_file, err);
    return rc != 0 ? rc : control_tls_read(&control->config, &control->tls, err);
}

int main(int argc, char **argv)
{
    struct control control = {
        .argc = argc, .argv = argv, .log = {STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_TEXT}};
    struct error err = ERROR_INIT;
    enum control_config_action action;
    int status = EXIT_STOPPED;

    process_begin_daemon();
    wipe_openssl();
    json_wipe_memory();
    if (prepare(&control, argc, argv, &action, &err) != 0) {
        utf8_complain("realm-control", err.message);
        status = EXIT_CONFIG;
    } else if (action == CONTROL_CONFIG_HELP) {
        control_config_print_help(stdout);
    } else if (action == CONTROL_CONFIG_VERSION) {
        (void)printf("realm-control %s\n", REALMSTORE_VERSION);
    } else if (action == CONTROL_CONFIG_CHECK) {
        status = tell_check(&control);
    } else {
        status = control_run(&control);
    }
    stop(&control);
    return status;
}

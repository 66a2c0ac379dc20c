/* main.c - realm-control: reads the settings, starts the parts in order, waits for a signal, stops
 * them in the reverse order.
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

#include <openssl/crypto.h>

#include "base/utf8.h"
#include "control/config.h"
#include "control/rest/rest.h"

enum { EXIT_STOPPED = 0, EXIT_CONFIG = 1, EXIT_CANNOT_RUN = 2, PEM_MAX_BYTES = 1024 * 1024 };

/* Everything that runs; each pointer NULL until it does. */
struct control {
    struct control_config config;
    struct log log;
    struct auth auth;
    struct repo *repo;
    struct feed *feed;
    struct metrics *metrics;
    struct http_server *http;
    struct log_pace failure_pace;
    struct rest rest;
    char *tls_cert_pem;
    char *tls_key_pem;
    char *client_ca_pem;
};

/* ---- TLS files ---- */

/* The file's text, to be freed; NULL path gives NULL. */
static int read_pem(const char *path, char **ret, struct error *err)
{
    struct buffer text;
    FILE *file;
    char part[4096];
    size_t count;
    int rc = 0;

    if (path == NULL)
        return 0;
    file = fopen(path, "re");
    if (file == NULL)
        return error_set_errno(err, errno, "TLS file '%s'", path);
    buffer_init(&text, PEM_MAX_BYTES);
    while (rc == 0 && (count = fread(part, 1, sizeof(part), file)) > 0)
        rc = buffer_append(&text, part, count);
    if (rc == 0 && ferror(file))
        rc = E_IO;
    if (rc == 0)
        rc = buffer_terminate(&text);
    (void)fclose(file); /* only read from */
    OPENSSL_cleanse(part, sizeof(part));
    if (rc == 0)
        *ret = (char *)buffer_take(&text, &count);
    buffer_finish(&text);
    return rc != 0 ? error_set(err, rc, "TLS file '%s': %s", path, error_text(rc)) : 0;
}

static int read_tls_files(struct control *control, struct error *err)
{
    const struct control_config *config = &control->config;
    int rc = read_pem(config->tls_cert, &control->tls_cert_pem, err);

    if (rc == 0)
        rc = read_pem(config->tls_key, &control->tls_key_pem, err);
    if (rc == 0)
        rc = read_pem(config->client_ca, &control->client_ca_pem, err);
    return rc;
}

static void wipe(char *secret)
{
    if (secret != NULL)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}

/* ---- starting ---- */

static int start_repo(struct control *control, struct error *err)
{
    const struct repo_options options = {.region = control->config.region,
                                         .keep_versions = control->config.keep_versions,
                                         .clock = clock_system};
    int rc = repo_lmdb_open(control->config.data_dir, &options, &control->repo, err);

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

static int start_http(struct control *control, struct error *err)
{
    const struct http_options options = {.max_connections = control->config.max_connections,
                                         .tls_cert_pem = control->tls_cert_pem,
                                         .tls_key_pem = control->tls_key_pem,
                                         .client_ca_pem = control->client_ca_pem,
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
    if (control->tls_cert_pem == NULL && !http_address_is_loopback(address))
        log_warning(&control->log,
                    "%s is reachable from other hosts without TLS: tokens and the digest key "
                    "travel in the clear; give --tls-cert and --tls-key",
                    url);
    (void)printf("listening on %s\n", url);
    (void)fflush(stdout);
    return 0;
}

static int start(struct control *control, struct error *err)
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

/* From any state that start() left. The order matters: no new requests; feeds end and waits are
 * answered; only then can the HTTP server go, and after it what its handlers use. */
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
    free(control->tls_cert_pem);
    wipe(control->tls_key_pem);
    free(control->client_ca_pem);
    control_config_finish(&control->config);
}

/* ---- running ---- */

/* Blocked in every thread, so that sigwait() below gets them; SIGPIPE is an error code of write. */
static void block_signals(sigset_t *ret_awaited)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(ret_awaited);
    (void)sigaddset(ret_awaited, SIGTERM);
    (void)sigaddset(ret_awaited, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, ret_awaited, NULL); /* cannot fail with these arguments */
}

static int run(struct control *control)
{
    struct error err = ERROR_INIT;
    sigset_t awaited;
    int received = 0;
    int rc;

    block_signals(&awaited);
    rc = start(control, &err);
    if (rc != 0) {
        log_error(&control->log, "cannot run: %s", err.message);
        return rc == E_CONFIG ? EXIT_CONFIG : EXIT_CANNOT_RUN;
    }
    log_info(&control->log, "realm-control %s runs, region %s, data in %s", REALMSTORE_VERSION,
             control->config.region, control->config.data_dir);
    (void)sigwait(&awaited, &received); /* cannot fail with a valid set */
    log_info(&control->log, "stopping on signal %d", received);
    return EXIT_STOPPED;
}

/* Settings, token and TLS files: what an operator can have got wrong. */
static int prepare(struct control *control, int argc, char **argv,
                   enum control_config_action *ret_action, struct error *err)
{
    int rc = control_config_read(argc, argv, &control->config, ret_action, err);

    if (rc != 0 || *ret_action != CONTROL_CONFIG_RUN)
        return rc;
    control->log =
        (struct log){STDERR_FILENO, control->config.log_level, control->config.log_format};
    rc = auth_init(&control->auth, control->config.admin_token_file, err);
    return rc != 0 ? rc : read_tls_files(control, err);
}

int main(int argc, char **argv)
{
    struct control control = {.log = {STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_TEXT}};
    struct error err = ERROR_INIT;
    enum control_config_action action;
    int status = EXIT_STOPPED;

    if (prepare(&control, argc, argv, &action, &err) != 0) {
        utf8_complain("realm-control", err.message);
        status = EXIT_CONFIG;
    } else if (action == CONTROL_CONFIG_HELP) {
        control_config_print_help(stdout);
    } else if (action == CONTROL_CONFIG_VERSION) {
        (void)printf("realm-control %s\n", REALMSTORE_VERSION);
    } else {
        status = run(&control);
    }
    stop(&control);
    return status;
}

/* hosts.c - many data-plane hosts, as the control plane sees them: feeds that are followed and
 * acknowledged, without the store behind them, which on real hosts has a disk and cores of its own.
 *
 *     hosts URL TOKEN_FILE COUNT     follows until it is stopped; says "following" when all do
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "bench/lib/bench.h"
#include "sync/feed.h"
#include "sync/session.h"
#include "sync/session_core.h"

enum { NAME_SIZE = 32, TOKEN_SIZE = 256 };

struct host {
    struct session *session;
    struct model_cursor cursor; /* of what it has been given */
    struct model_cursor loading;
    char name[NAME_SIZE];
    bool following;
};

static size_t n_hosts;
static size_t n_following;

/* ---- the sink: everything is taken, and visible at once ---- */

static bool on_durable(void *context, struct model_cursor *ret)
{
    *ret = ((struct host *)context)->cursor;
    return true;
}

static bool on_full(void *context)
{
    (void)context;
    return false;
}

static bool on_hello(void *context, const struct session_hello *hello)
{
    (void)context;
    (void)hello;
    return true;
}

static int on_transaction(void *context, struct feed_transaction *transaction, struct error *err)
{
    struct host *host = context;

    (void)err;
    host->cursor = transaction->cursor;
    feed_transaction_destroy(transaction);
    session_ack(host->session, &host->cursor, 0);
    return 0;
}

static void on_heartbeat(void *context, uint64_t version)
{
    struct host *host = context;

    (void)version;
    if (host->following)
        return;
    host->following = true;
    if (++n_following == n_hosts) {
        (void)puts("following");
        (void)fflush(stdout);
    }
}

static int on_snapshot_begin(void *context, const struct snapshot_header *header,
                             const uint8_t digest_key[DIGEST_KEY_BYTES], struct error *err)
{
    (void)digest_key;
    (void)err;
    ((struct host *)context)->loading = header->cursor;
    return 0;
}

static int on_snapshot_record(void *context, const struct snapshot_record *record,
                              struct error *err)
{
    (void)context;
    (void)record;
    (void)err;
    return 0;
}

static int on_snapshot_end(void *context, struct error *err)
{
    struct host *host = context;

    (void)err;
    host->cursor = host->loading;
    return 0;
}

static void on_snapshot_abort(void *context)
{
    (void)context;
}

static void on_state(void *context, enum session_state state)
{
    (void)context;
    (void)state;
}

static void on_resync(void *context, enum session_resync reason)
{
    (void)context;
    (void)reason;
}

static void on_failed(void *context, const struct session_failure *failure)
{
    (void)fprintf(stderr, "bench: %s: %s\n", ((struct host *)context)->name, failure->err->message);
}

static void on_received(void *context, size_t bytes)
{
    (void)context;
    (void)bytes;
}

static void on_paused(void *context)
{
    (void)context;
}

/* ---- the program ---- */

static void start(struct host *host, const struct session_options *options)
{
    const struct session_sink sink = {.durable = on_durable,
                                      .full = on_full,
                                      .hello = on_hello,
                                      .transaction = on_transaction,
                                      .heartbeat = on_heartbeat,
                                      .snapshot_begin = on_snapshot_begin,
                                      .snapshot_record = on_snapshot_record,
                                      .snapshot_end = on_snapshot_end,
                                      .snapshot_abort = on_snapshot_abort,
                                      .state = on_state,
                                      .resync = on_resync,
                                      .failed = on_failed,
                                      .received = on_received,
                                      .paused = on_paused,
                                      .context = host};
    struct session_options own = *options;
    struct error err = ERROR_INIT;

    own.host_name = host->name;
    bench_check("a session", session_create(&own, &sink, &host->session, &err), &err);
    session_start(host->session);
}

static void read_token(const char *path, char token[TOKEN_SIZE])
{
    FILE *file = fopen(path, "re");
    bool read = file != NULL && fgets(token, TOKEN_SIZE, file) != NULL;

    if (file != NULL)
        (void)fclose(file); /* nothing was written */
    if (!read)
        bench_die(path, "cannot be read");
    token[strcspn(token, "\n")] = 0;
}

int main(int argc, char **argv)
{
    struct session_options options = {
        .region = "us", .n_urls = 1, .limits = session_limits_default};
    struct error err = ERROR_INIT;
    char token[TOKEN_SIZE];
    const char *url;
    struct host *hosts;
    uv_loop_t loop;

    if (argc != 4 || (n_hosts = strtoull(argv[3], NULL, 10)) == 0) {
        (void)fprintf(stderr, "bench: usage: hosts URL TOKEN_FILE COUNT\n");
        return 2;
    }
    url = argv[1];
    read_token(argv[2], token);
    options.urls = &url;
    options.credentials.token = token;
    options.loop = &loop;
    (void)uuid_parse("497f6eca-6276-4993-bfeb-53cbbbba6f08", &options.control_plane_id);
    hosts = calloc(n_hosts, sizeof(*hosts));
    if (hosts == NULL || uv_loop_init(&loop) != 0)
        bench_die("memory", "there is not enough");
    bench_check("HTTP", http_client_create(&loop, &options.http, &err), &err);
    for (size_t i = 0; i < n_hosts; i++) {
        (void)snprintf(hosts[i].name, NAME_SIZE, "elsewhere-%zu", i);
        start(&hosts[i], &options);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT); /* until it is stopped */
    free(hosts);
    return 0;
}

/* metrics.c - see metrics.h. */
#include "control/rest/metrics.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"

/* Upper bounds in microseconds: from a lookup to a wait for the slowest host. */
static const int64_t bounds_us[] = {500,   1000,   2500,   5000,    10000,   25000,
                                    50000, 100000, 250000, 1000000, 5000000, 60000000};
enum { BUCKETS = sizeof(bounds_us) / sizeof(bounds_us[0]) };

/* Every status that the server gives; the last one stands for what a newer one may add. */
static const unsigned statuses[] = {200, 201, 202, 204, 206, 400, 401, 403, 404, 405,
                                    409, 413, 415, 416, 429, 500, 501, 503, 507, 0};
enum { STATUSES = sizeof(statuses) / sizeof(statuses[0]) };

struct route_counters {
    struct metrics_route route;
    atomic_uint_fast64_t by_status[STATUSES];
    atomic_uint_fast64_t buckets[BUCKETS + 1];
    atomic_uint_fast64_t sum_us;
};

struct metrics {
    size_t count; /* with the last one, for requests without a route */
    struct route_counters routes[];
};

int metrics_create(const struct metrics_route *routes, size_t count, struct metrics **ret)
{
    struct metrics *metrics =
        calloc(1, sizeof(*metrics) + (count + 1) * sizeof(metrics->routes[0]));

    if (metrics == NULL)
        return E_NO_MEMORY;
    metrics->count = count + 1;
    for (size_t i = 0; i < count; i++)
        metrics->routes[i].route = routes[i];
    metrics->routes[count].route = (struct metrics_route){"", "none"};
    *ret = metrics;
    return 0;
}

void metrics_destroy(struct metrics *metrics)
{
    free(metrics);
}

static void add(atomic_uint_fast64_t *counter, uint64_t value)
{
    (void)atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

static uint64_t get(atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void metrics_count(struct metrics *metrics, int route, unsigned status, int64_t duration_us)
{
    size_t index = route < 0 ? metrics->count - 1 : (size_t)route;
    struct route_counters *counters = &metrics->routes[index];
    size_t at = 0;
    size_t bucket = 0;

    while (at < STATUSES - 1 && statuses[at] != status)
        at++;
    while (bucket < BUCKETS && duration_us > bounds_us[bucket])
        bucket++;
    add(&counters->by_status[at], 1);
    add(&counters->buckets[bucket], 1);
    add(&counters->sum_us, (uint64_t)duration_us);
}

static int render_requests(struct metrics *metrics, struct buffer *out)
{
    int rc = buffer_append_string(
        out, "# HELP realm_control_http_requests_total Requests answered, by route and status.\n"
             "# TYPE realm_control_http_requests_total counter\n");

    for (size_t i = 0; i < metrics->count; i++) {
        struct route_counters *counters = &metrics->routes[i];

        for (size_t j = 0; j < STATUSES && rc == 0; j++) {
            uint64_t count = get(&counters->by_status[j]);

            if (count > 0)
                rc = buffer_printf(
                    out,
                    "realm_control_http_requests_total{method=\"%s\",route=\"%s\",status=\"%u\"} "
                    "%llu\n",
                    counters->route.method, counters->route.pattern, statuses[j],
                    (unsigned long long)count);
        }
    }
    return rc;
}

static int render_route_durations(struct route_counters *counters, struct buffer *out)
{
    static const char name[] = "realm_control_http_request_duration_seconds";
    const struct metrics_route *route = &counters->route;
    uint64_t below = 0;
    int rc = 0;

    for (size_t i = 0; i < BUCKETS && rc == 0; i++) {
        below += get(&counters->buckets[i]);
        rc = buffer_printf(out, "%s_bucket{method=\"%s\",route=\"%s\",le=\"%g\"} %llu\n", name,
                           route->method, route->pattern, (double)bounds_us[i] / 1e6,
                           (unsigned long long)below);
    }
    below += get(&counters->buckets[BUCKETS]);
    if (rc == 0)
        rc = buffer_printf(out,
                           "%s_bucket{method=\"%s\",route=\"%s\",le=\"+Inf\"} %llu\n"
                           "%s_sum{method=\"%s\",route=\"%s\"} %.6f\n"
                           "%s_count{method=\"%s\",route=\"%s\"} %llu\n",
                           name, route->method, route->pattern, (unsigned long long)below, name,
                           route->method, route->pattern, (double)get(&counters->sum_us) / 1e6,
                           name, route->method, route->pattern, (unsigned long long)below);
    return rc;
}

static int render_durations(struct metrics *metrics, struct buffer *out)
{
    int rc = buffer_append_string(
        out, "# HELP realm_control_http_request_duration_seconds Time from a request's first line "
             "to the start of its answer.\n"
             "# TYPE realm_control_http_request_duration_seconds histogram\n");

    for (size_t i = 0; i < metrics->count && rc == 0; i++) {
        /* Not every route is in use everywhere; the sum tells whether one ever was. */
        if (get(&metrics->routes[i].sum_us) > 0)
            rc = render_route_durations(&metrics->routes[i], out);
    }
    return rc;
}

struct state_row {
    const char *name; /* behind realm_control_ */
    const char *type;
    const char *help;
    uint64_t value;
};

static int render_rows(const struct state_row *rows, size_t count, struct buffer *out)
{
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++)
        rc = buffer_printf(out,
                           "# HELP realm_control_%s %s\n# TYPE realm_control_%s %s\n"
                           "realm_control_%s %llu\n",
                           rows[i].name, rows[i].help, rows[i].name, rows[i].type, rows[i].name,
                           (unsigned long long)rows[i].value);
    return rc;
}

static int render_http(const struct http_stats *http, struct buffer *out)
{
    const struct state_row rows[] = {
        {"connections", "gauge", "Open HTTP connections.", http->connections},
        {"requests_in_progress", "gauge", "Requests in progress, feed streams included.",
         http->requests},
        {"requests_queued", "gauge", "Requests waiting for a worker.", http->queued},
        {"requests_refused_total", "counter",
         "Requests answered 503 for lack of room, or 429 for a caller's share of it.",
         http->refused_busy},
        {"requests_malformed_total", "counter", "Requests answered 400 because of their head.",
         http->malformed},
        {"request_body_bytes", "gauge", "Room that request bodies in hand have.", http->body_bytes},
        {"answer_bytes", "gauge", "Larger answers that are being sent.", http->answer_bytes},
        {"connections_strangers", "gauge", "Connections whose caller is not known.",
         http->by_class[HTTP_STRANGER]},
        {"connections_operators", "gauge", "Connections of operators.",
         http->by_class[HTTP_OPERATOR]},
        {"connections_hosts", "gauge", "Connections of hosts.", http->by_class[HTTP_HOST]},
        {"connections_displaced_total", "counter",
         "Connections closed because a newer one needed the room.", http->displaced},
        {"connections_expired_total", "counter",
         "Connections closed because a request took too long to arrive.", http->expired},
        {"connections_turned_away_total", "counter", "Connections for which there was no room.",
         http->turned_away},
        {"authentication_failures_total", "counter", "Requests without valid credentials.",
         http->auth_failures},
        {"authentication_limited_total", "counter",
         "Of these, those answered 429: too many from one address.", http->auth_limited},
    };

    return render_rows(rows, sizeof(rows) / sizeof(rows[0]), out);
}

static int render_feed(const struct feed_stats *feed, struct buffer *out)
{
    const struct state_row rows[] = {
        {"followers", "gauge", "Hosts connected to the feed.", feed->followers},
        {"hosts", "gauge", "Hosts that are connected or remembered.", feed->hosts},
        {"hosts_sharing_name", "gauge", "Hosts connected under a name that another one has too.",
         feed->hosts_sharing},
        {"feeds_refused_total", "counter", "Feeds refused because of a cap on feeds or hosts.",
         feed->feeds_refused},
        {"acknowledgements_refused_total", "counter",
         "Acknowledgements that named no open feed of their host, or said more than was sent on "
         "it.",
         feed->acks_refused},
        {"feed_transactions_total", "counter", "Transactions sent to hosts.",
         feed->transactions_sent},
        {"feed_bytes_total", "counter", "Bytes sent in feeds.", feed->bytes_sent},
        {"feed_snapshots_built_total", "counter", "Snapshots built.", feed->snapshots_built},
        {"feed_snapshot_transfers_total", "counter",
         "Snapshots, or parts of one, that hosts or caches asked for.", feed->snapshot_transfers},
        {"feed_snapshot_bytes_total", "counter", "Bytes of snapshots in those answers.",
         feed->snapshot_bytes},
        {"feed_snapshot_disk_bytes", "gauge", "Bytes of the snapshots that are kept.",
         feed->snapshot_disk_bytes},
        {"feed_resyncs_total", "counter", "Hosts told to take a snapshot.", feed->resyncs_sent},
        {"feed_deltas_total", "counter", "Transactions computed for single hosts.",
         feed->deltas_made},
        {"feed_deltas_waiting", "gauge", "Of these, those that wait for their turn.",
         feed->deltas_waiting},
        {"feed_deltas_running", "gauge", "Of these, those that are being computed.",
         feed->deltas_running},
        {"feed_deltas_oldest_ms", "gauge", "How long the oldest of them waits.",
         (uint64_t)feed->deltas_oldest_ms},
        {"feed_held_bytes", "gauge", "Memory for transactions that are being made or sent.",
         feed->held_bytes},
        {"feed_cut_total", "counter", "Feeds that were cut because the host did not read.",
         feed->followers_cut},
    };

    return render_rows(rows, sizeof(rows) / sizeof(rows[0]), out);
}

static int render_state(const struct metrics_state *state, struct buffer *out)
{
    const struct state_row version = {"version", "gauge", "Newest version in the repository.",
                                      state->version};
    int rc = buffer_printf(out,
                           "# HELP realm_control_build_info Always 1; the label is the version.\n"
                           "# TYPE realm_control_build_info gauge\n"
                           "realm_control_build_info{version=\"%s\"} 1\n",
                           REALMSTORE_VERSION);

    if (rc == 0)
        rc = render_http(&state->http, out);
    if (rc == 0)
        rc = render_feed(&state->feed, out);
    return rc == 0 ? render_rows(&version, 1, out) : rc;
}

int metrics_render(struct metrics *metrics, const struct metrics_state *state, struct buffer *out)
{
    int rc = render_state(state, out);

    if (rc == 0)
        rc = render_requests(metrics, out);
    if (rc == 0)
        rc = render_durations(metrics, out);
    return rc;
}

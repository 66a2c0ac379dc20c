/* /metrics: each figure is declared once, in a table, with its name, type and meaning. */
#include "agent/status_text.h"

#include <inttypes.h>
#include <stddef.h>

enum metric_type { COUNTER, GAUGE };

/* A figure that is one uint64_t of struct source_metrics. */
static const struct metric {
    const char *name;
    enum metric_type type;
    const char *help;
    size_t offset;
} metrics[] = {
#define METRIC(name, type, member, help)                                                           \
    {                                                                                              \
        name, type, help, offsetof(struct source_metrics, member)                                  \
    }
    METRIC("version", GAUGE, cursor.version, "Version of the source that lookups see."),
    METRIC("source_version", GAUGE, source_version, "Newest version that the source has named."),
    METRIC("realms", GAUGE, counts.realms, "Realms in the store."),
    METRIC("consumers", GAUGE, counts.consumers, "Consumers in the store."),
    METRIC("keys", GAUGE, counts.keys, "Keys in the store."),
    METRIC("transactions_applied_total", COUNTER, transactions,
           "Transactions of the source that were made visible."),
    METRIC("changes_applied_total", COUNTER, changes,
           "Changes in those transactions, and records of snapshots."),
    METRIC("commits_total", COUNTER, commits,
           "Commits of the store; under load one holds several transactions."),
    METRIC("connects_total", COUNTER, connects, "Feeds that began with a good hello."),
    METRIC("connection_failures_total", COUNTER, failures,
           "Attempts and feeds that ended in trouble."),
    METRIC("snapshots_total", COUNTER, snapshots, "Snapshots that were published."),
    METRIC("apply_failures_total", COUNTER, apply_failures,
           "Transactions and snapshots that the store refused or could not write."),
    METRIC("refusing", GAUGE, refusing,
           "1: a snapshot was refused because of what it would drop; SIGUSR1 accepts it."),
    METRIC("received_bytes_total", COUNTER, received_bytes,
           "Bytes of feeds and snapshots, as received."),
    METRIC("queue_bytes", GAUGE, queue_bytes, "Memory of what waits to be written."),
    METRIC("pauses_total", COUNTER, pauses, "Times the source was slowed down by a full queue."),
    METRIC("readers", GAUGE, readers, "Reader slots of the store that are in use."),
    METRIC("reader_lag_transactions", GAUGE, reader_lag,
           "Commits that the oldest open snapshot of a reader is behind."),
    METRIC("readers_cleared_total", COUNTER, readers_cleared,
           "Reader slots of dead processes that were cleared."),
    METRIC("retained_transactions", GAUGE, retained,
           "Old versions that are kept for readers without slots."),
#undef METRIC
};

static bool is_used(const struct source_metrics *source)
{
    return source->region[0] != 0;
}

static int declare(struct buffer *out, const char *name, const char *type, const char *help)
{
    return buffer_printf(out, "# HELP realm_agent_%s %s\n# TYPE realm_agent_%s %s\n", name, help,
                         name, type);
}

static int put_metric(const struct board_copy *board, const struct metric *metric,
                      struct buffer *out)
{
    int rc =
        declare(out, metric->name, metric->type == COUNTER ? "counter" : "gauge", metric->help);

    for (size_t i = 0; i < CONFIG_SOURCES_MAX && rc == 0; i++) {
        const struct source_metrics *source = &board->sources[i];
        const uint64_t *value =
            (const uint64_t *)(const void *)((const char *)source + metric->offset);

        if (is_used(source))
            rc = buffer_printf(out, "realm_agent_%s{region=\"%s\"} %" PRIu64 "\n", metric->name,
                               source->region, *value);
    }
    return rc;
}

static int put_buckets(const char *name, const struct source_metrics *source,
                       const struct histogram *histogram, struct buffer *out)
{
    uint64_t below = 0;
    int rc = 0;

    for (size_t i = 0; i < HISTOGRAM_BOUNDS && rc == 0; i++) {
        below += histogram->buckets[i];
        rc = buffer_printf(out, "realm_agent_%s_bucket{region=\"%s\",le=\"%g\"} %" PRIu64 "\n",
                           name, source->region, histogram_bounds_s[i], below);
    }
    if (rc == 0)
        rc = buffer_printf(out,
                           "realm_agent_%s_bucket{region=\"%s\",le=\"+Inf\"} %" PRIu64 "\n"
                           "realm_agent_%s_sum{region=\"%s\"} %.6f\n"
                           "realm_agent_%s_count{region=\"%s\"} %" PRIu64 "\n",
                           name, source->region, histogram_count(histogram), name, source->region,
                           histogram->sum_s, name, source->region, histogram_count(histogram));
    return rc;
}

static int put_histogram(const struct board_copy *board, const char *name, const char *help,
                         size_t offset, struct buffer *out)
{
    int rc = declare(out, name, "histogram", help);

    for (size_t i = 0; i < CONFIG_SOURCES_MAX && rc == 0; i++) {
        const struct source_metrics *source = &board->sources[i];

        if (is_used(source))
            rc = put_buckets(
                name, source,
                (const struct histogram *)(const void *)((const char *)source + offset), out);
    }
    return rc;
}

static int put_states(const struct board_copy *board, struct buffer *out)
{
    int rc = declare(out, "state", "gauge", "1 for the state the source is in, 0 for the others.");

    for (size_t i = 0; i < CONFIG_SOURCES_MAX && rc == 0; i++) {
        for (int state = SOURCE_EMPTY; state <= SOURCE_STOPPED && rc == 0; state++) {
            if (is_used(&board->sources[i]))
                rc = buffer_printf(out, "realm_agent_state{region=\"%s\",state=\"%s\"} %d\n",
                                   board->sources[i].region, status_state_text(state),
                                   (int)board->sources[i].state == state);
        }
    }
    return rc;
}

static int put_resyncs(const struct board_copy *board, struct buffer *out)
{
    int rc = declare(out, "resyncs_total", "counter", "Snapshots that were needed, by reason.");

    for (size_t i = 0; i < CONFIG_SOURCES_MAX && rc == 0; i++) {
        for (int reason = 0; reason < SESSION_RESYNCS && rc == 0; reason++) {
            if (is_used(&board->sources[i]))
                rc = buffer_printf(out,
                                   "realm_agent_resyncs_total{region=\"%s\",reason=\"%s\"} "
                                   "%" PRIu64 "\n",
                                   board->sources[i].region, session_resync_text(reason),
                                   board->sources[i].resyncs[reason]);
        }
    }
    return rc;
}

static int put_ages(const struct board_copy *board, int64_t boot_ms, struct buffer *out)
{
    int rc = declare(out, "age_seconds", "gauge",
                     "Time since the control plane was last heard; absent when it never was.");

    for (size_t i = 0; i < CONFIG_SOURCES_MAX && rc == 0; i++) {
        const struct source_metrics *source = &board->sources[i];

        if (is_used(source) && source->heard_boot_ms != 0)
            rc = buffer_printf(out, "realm_agent_age_seconds{region=\"%s\"} %.3f\n", source->region,
                               (double)(boot_ms - source->heard_boot_ms) / 1000);
    }
    return rc;
}

static int put_retained_ages(const struct board_copy *board, struct buffer *out)
{
    int rc = declare(out, "retained_age_seconds", "gauge",
                     "Time since the oldest of those versions was the newest.");

    for (size_t i = 0; i < CONFIG_SOURCES_MAX && rc == 0; i++) {
        const struct source_metrics *source = &board->sources[i];

        if (is_used(source))
            rc = buffer_printf(out, "realm_agent_retained_age_seconds{region=\"%s\"} %.3f\n",
                               source->region, (double)source->retained_age_ms / 1000);
    }
    return rc;
}

static int put_complete(const struct board_copy *board, struct buffer *out)
{
    int rc = declare(out, "complete", "gauge", "1 when the source has a complete copy.");

    for (size_t i = 0; i < CONFIG_SOURCES_MAX && rc == 0; i++) {
        if (is_used(&board->sources[i]))
            rc = buffer_printf(out, "realm_agent_complete{region=\"%s\"} %d\n",
                               board->sources[i].region, (int)board->sources[i].complete);
    }
    return rc;
}

int status_metrics(const struct board_copy *board, int64_t boot_ms, struct buffer *out)
{
    int rc = declare(out, "build_info", "gauge", "Always 1; the version is the label.");

    if (rc == 0)
        rc = buffer_printf(out, "realm_agent_build_info{version=\"%s\"} 1\n", REALMSTORE_VERSION);
    if (rc == 0)
        rc = put_states(board, out);
    if (rc == 0)
        rc = put_complete(board, out);
    if (rc == 0)
        rc = put_ages(board, boot_ms, out);
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]) && rc == 0; i++)
        rc = put_metric(board, &metrics[i], out);
    if (rc == 0)
        rc = put_retained_ages(board, out);
    if (rc == 0)
        rc = put_resyncs(board, out);
    if (rc == 0)
        rc = put_histogram(board, "commit_duration_seconds", "Time that commits of the store took.",
                           offsetof(struct source_metrics, commit_duration), out);
    if (rc == 0)
        rc = put_histogram(
            board, "propagation_seconds",
            "Time from the source's commit to visible here, by both hosts' clocks; the "
            "oldest transaction of each commit.",
            offsetof(struct source_metrics, propagation), out);
    return rc;
}

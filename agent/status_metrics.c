/* /metrics: each figure is declared once, in a table, with its name, type and meaning. */
#include "agent/status_text.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "agent/ask.h"

enum metric_type { COUNTER, GAUGE };

/* A figure that is one uint64_t of struct source_metrics, or of struct ask_metrics. */
struct metric {
    const char *name;
    enum metric_type type;
    const char *help;
    size_t offset;
};
#define FIGURE(of, name, type, member, help)                                                       \
    {                                                                                              \
        name, type, help, offsetof(struct of, member)                                              \
    }

static const struct metric metrics[] = {
#define METRIC(name, type, member, help) FIGURE(source_metrics, name, type, member, help)
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
    METRIC("host_name_shared", GAUGE, name_shared,
           "1 while another host is connected under this host's name."),
    METRIC("received_bytes_total", COUNTER, received_bytes,
           "Bytes of feeds and snapshots, as received."),
    METRIC("queue_bytes", GAUGE, queue_bytes, "Memory of what waits to be written."),
    METRIC("pauses_total", COUNTER, pauses, "Times the source was slowed down by a full queue."),
    METRIC("readers", GAUGE, readers, "Reader slots of the store that are in use."),
    METRIC("reader_lag_transactions", GAUGE, reader_lag,
           "Commits that the oldest open snapshot of a reader is behind."),
    METRIC("oldest_reader_pid", GAUGE, reader_pid,
           "Process that has that snapshot open, as the agent's PID namespace knows it; 0: none."),
    METRIC("readers_cleared_total", COUNTER, readers_cleared,
           "Reader slots of dead processes that were cleared."),
    METRIC("retained_transactions", GAUGE, retained,
           "Old versions that are kept for readers without slots."),
    METRIC("commit_waits_milliseconds", GAUGE, commit_waits_ms,
           "How long the store's writer has been waiting for its disk; 0 below 10 s."),
    METRIC("no_room", GAUGE, no_room,
           "1 while the disk has no room for what has come: the last good copy serves."),
    METRIC("store_bytes", GAUGE, file_bytes, "Size of the file that serves."),
    METRIC("store_used_bytes", GAUGE, used_bytes,
           "Bytes of it that the newest version needs; the rest is free or kept for readers."),
    METRIC("store_map_bytes", GAUGE, map_bytes, "Address space of that file; it grows by itself."),
    METRIC("compactions_total", COUNTER, compactions,
           "Compacted copies that were made because a reader kept the file from using its pages."),
    METRIC("disk_free_bytes", GAUGE, disk_free_bytes, "Room on the store's file system."),
    METRIC("previous_generation", GAUGE, previous,
           "1 when the previous generation is kept for `realmctl rollback`."),
    METRIC("verified_version", GAUGE, verified,
           "Version at which all was compared with the source, and equal; 0: not known just now."),
    METRIC("digests_compared_total", COUNTER, digests_compared,
           "Digests of scopes that were compared with the source's."),
    METRIC("digest_mismatches_total", COUNTER, digest_mismatches,
           "Digests that differed from the source's, or from the records in the store."),
    METRIC("unanswered_total", COUNTER, unanswered,
           "Connections that did not answer what was asked to compare or repair the copy."),
    METRIC("repairs_total", COUNTER, repairs, "Repairs from the source."),
    METRIC("repairs_failed_total", COUNTER, repairs_failed,
           "Repairs from the source that the store could not apply."),
    METRIC("repaired_entities_total", COUNTER, repaired,
           "Realms, and consumers with their keys, that repairs put right."),
    METRIC("mended_buckets_total", COUNTER, mended,
           "Damaged pieces of the lookup table that were written anew or dropped."),
    METRIC("walked_records_total", COUNTER, walked_records,
           "Records of the store's own file that were checked in the background."),
    METRIC("walk_rounds_total", COUNTER, walk_rounds,
           "Times that the whole file has been checked in the background."),
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

static const char *type_text(const struct metric *metric)
{
    return metric->type == COUNTER ? "counter" : "gauge";
}

static uint64_t value_of(const void *figures, const struct metric *metric)
{
    return *(const uint64_t *)(const void *)((const char *)figures + metric->offset);
}

static int put_metric(const struct board_copy *board, const struct metric *metric,
                      struct buffer *out)
{
    int rc = declare(out, metric->name, type_text(metric), metric->help);

    for (size_t i = 0; i < CONFIG_SOURCES_MAX && rc == 0; i++) {
        const struct source_metrics *source = &board->sources[i];

        if (is_used(source))
            rc = buffer_printf(out, "realm_agent_%s{region=\"%s\"} %" PRIu64 "\n", metric->name,
                               source->region, value_of(source, metric));
    }
    return rc;
}

/* `region` "": of the whole agent, without that label. */
static int put_buckets(const char *name, const char *region, const struct histogram *histogram,
                       struct buffer *out)
{
    char label[MODEL_REGION_MAX + sizeof("region=\"\",")] = "";
    char labels[sizeof(label) + 2] = "";
    uint64_t below = 0;
    int rc = 0;

    if (region[0] != 0) {
        (void)snprintf(label, sizeof(label), "region=\"%s\",", region);
        (void)snprintf(labels, sizeof(labels), "{region=\"%s\"}", region);
    }
    for (size_t i = 0; i < HISTOGRAM_BOUNDS && rc == 0; i++) {
        below += histogram->buckets[i];
        rc = buffer_printf(out, "realm_agent_%s_bucket{%sle=\"%g\"} %" PRIu64 "\n", name, label,
                           histogram_bounds_s[i], below);
    }
    if (rc == 0)
        rc = buffer_printf(out,
                           "realm_agent_%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n"
                           "realm_agent_%s_sum%s %.6f\n"
                           "realm_agent_%s_count%s %" PRIu64 "\n",
                           name, label, histogram_count(histogram), name, labels, histogram->sum_s,
                           name, labels, histogram_count(histogram));
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
                name, source->region,
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

/* ---- questions on demand ---- */

static const struct metric ask_metrics[] = {
#define METRIC(name, type, member, help) FIGURE(ask_metrics, name, type, member, help)
    METRIC("ask_upstream_total", COUNTER, upstream, "Questions to control planes."),
    METRIC("ask_upstream_failures_total", COUNTER, upstream_failures,
           "Questions that no URL of a control plane answered."),
    METRIC("ask_joined_total", COUNTER, joined,
           "Questions that waited for the answer to an equal one."),
    METRIC("ask_cache_entries", GAUGE, cache_entries, "Answers of control planes that are kept."),
    METRIC("ask_cache_bytes", GAUGE, cache_bytes, "Memory of them."),
    METRIC("ask_cache_superseded_total", COUNTER, superseded,
           "Kept answers that were dropped because the feed has caught up with them."),
    METRIC("ask_cache_evicted_total", COUNTER, evicted,
           "Kept answers that were dropped to make room."),
#undef METRIC
};

/* A figure with one value for each of a label's. */
struct split {
    const char *value;
    uint64_t count;
};

static int put_split(const char *name, const char *help, const char *label,
                     const struct split *parts, size_t n_parts, struct buffer *out)
{
    int rc = declare(out, name, "counter", help);

    for (size_t i = 0; i < n_parts && rc == 0; i++)
        rc = buffer_printf(out, "realm_agent_%s{%s=\"%s\"} %" PRIu64 "\n", name, label,
                           parts[i].value, parts[i].count);
    return rc;
}

static int put_ask(const struct board_copy *board, struct buffer *out)
{
    const struct ask_metrics *ask = &board->ask;
    const struct split results[] = {{"found", ask->results[ASK_FOUND]},
                                    {"not_found", ask->results[ASK_NOT_FOUND]},
                                    {"unavailable", ask->results[ASK_UNAVAILABLE]},
                                    {"refused", board->ask_refused}};
    const struct split origins[] = {{"store", ask->from_store},
                                    {"cache", ask->from_cache},
                                    {"control_plane", ask->from_control_plane}};
    int rc = put_split("ask_questions_total", "Questions on demand, by their answer.", "result",
                       results, sizeof(results) / sizeof(results[0]), out);

    if (rc == 0)
        rc = put_split("ask_answers_total", "Answers to questions on demand, by who gave them.",
                       "from", origins, sizeof(origins) / sizeof(origins[0]), out);
    for (size_t i = 0; i < sizeof(ask_metrics) / sizeof(ask_metrics[0]) && rc == 0; i++) {
        const struct metric *metric = &ask_metrics[i];

        rc = declare(out, metric->name, type_text(metric), metric->help);
        if (rc == 0)
            rc = buffer_printf(out, "realm_agent_%s %" PRIu64 "\n", metric->name,
                               value_of(ask, metric));
    }
    if (rc == 0)
        rc = declare(out, "ask_upstream_duration_seconds", "histogram",
                     "Time that control planes took to answer, tries at several URLs together.");
    return rc == 0 ? put_buckets("ask_upstream_duration_seconds", "", &ask->upstream_duration, out)
                   : rc;
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
            "Time from the source's commit to visible and synced here, by both hosts' clocks; "
            "the oldest transaction of each commit.",
            offsetof(struct source_metrics, propagation), out);
    if (rc == 0)
        rc = put_ask(board, out);
    return rc;
}

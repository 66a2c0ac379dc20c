/* metrics.h - the agent's figures, and the board through which other threads see them.
 *
 * The loop owns a struct source_metrics for each source, changes it freely and publishes copies;
 * the status server's thread takes a copy of the whole board. Only the copying holds the mutex.
 */
#ifndef RS_AGENT_METRICS_H
#define RS_AGENT_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/config.h"
#include "base/model.h"
#include "store/source.h"
#include "sync/session.h"

/* Upper bounds in seconds; one more bucket stands for infinity. */
enum { HISTOGRAM_BOUNDS = 15 };
extern const double histogram_bounds_s[HISTOGRAM_BOUNDS];

struct histogram {
    uint64_t buckets[HISTOGRAM_BOUNDS + 1]; /* not cumulative */
    double sum_s;
};
void histogram_add(struct histogram *histogram, double seconds);
uint64_t histogram_count(const struct histogram *histogram);

struct source_metrics {
    char region[MODEL_REGION_MAX + 1]; /* "": this place of the board is free */
    enum source_state state;
    bool complete; /* it has a complete copy */
    struct model_cursor cursor;
    int64_t commit_time_ms;  /* source's wall time of `cursor`; 0: not known */
    int64_t heard_boot_ms;   /* last word from the control plane; 0: none in this process */
    uint64_t source_version; /* newest that the source has named */
    struct source_counts counts;
    uint64_t transactions;
    uint64_t changes;
    uint64_t commits;
    struct histogram commit_duration;
    struct histogram propagation; /* source's commit to visible here */
    uint64_t connects;
    uint64_t failures; /* connections that failed or broke */
    uint64_t snapshots;
    uint64_t resyncs[SESSION_RESYNCS];
    uint64_t apply_failures;
    uint64_t refusing;    /* 1: the guard refused a snapshot, and the former copy serves on */
    uint64_t name_shared; /* 1: another host is connected under this host's name */
    uint64_t received_bytes;
    uint64_t queue_bytes;
    uint64_t pauses;
    uint64_t readers;
    uint64_t reader_lag; /* commits that the oldest reader is behind */
    uint64_t reader_pid; /* of that reader; 0: none */
    uint64_t readers_cleared;
    uint64_t retained; /* transactions kept for readers without slots */
    int64_t retained_age_ms;
    uint64_t
        commit_waits_ms; /* the writer has not come back for so long; 0: it has, or not long ago */
    uint64_t no_room;    /* 1: the last attempt to write failed for want of room */
    uint64_t file_bytes; /* of the generation that serves */
    uint64_t used_bytes; /* of it, what the newest version needs */
    uint64_t map_bytes;
    uint64_t disk_free_bytes;
    uint64_t compactions;
    uint64_t previous; /* 1: a generation is kept for a rollback */
    uint64_t verified; /* version up to which all was compared, and equal; 0: not known just now */
    uint64_t digests_compared;  /* of scopes, with the source's */
    uint64_t digest_mismatches; /* of these, and what the walk found */
    uint64_t unanswered;        /* connections that did not answer what they were asked for */
    uint64_t repairs;           /* transactions that brought the content of buckets */
    uint64_t repairs_failed;    /* of which the store could use nothing */
    uint64_t repaired;          /* consumers and realms that were put right by them */
    uint64_t mended;            /* pieces of the lookup table that were damaged */
    uint64_t walked_records;
    uint64_t walk_rounds;
};

/* Questions on demand, of all sources together. */
enum { ASK_RESULTS = 3 }; /* enum ask_result */
struct ask_metrics {
    uint64_t results[ASK_RESULTS]; /* questions by their answer */
    uint64_t from_store;           /* and by who gave it; a miss of a place in the cache counts */
    uint64_t from_cache;
    uint64_t from_control_plane;
    uint64_t upstream; /* requests to control planes */
    uint64_t upstream_failures;
    uint64_t joined; /* questions that waited for an equal one's request */
    struct histogram upstream_duration;
    uint64_t cache_entries;
    uint64_t cache_bytes;
    uint64_t superseded;
    uint64_t evicted;
};

struct board_copy {
    struct source_metrics sources[CONFIG_SOURCES_MAX];
    struct ask_metrics ask;
    uint64_t ask_refused; /* questions that were none */
    char control_plane_id[UUID_TEXT_SIZE];
    char host_name[CONFIG_HOST_NAME_MAX + 1];
    char instance[UUID_TEXT_SIZE];
};

struct board;

/* NULL when out of memory. */
struct board *board_create(const struct uuid *control_plane_id, const char *host_name,
                           const struct uuid *instance);
void board_destroy(struct board *board); /* NULL allowed */
/* Copies `metrics` to the place of its region, or to a free one. Any thread. */
void board_publish(struct board *board, const struct source_metrics *metrics);
/* Frees the region's place. Any thread. */
void board_remove(struct board *board, const char *region);
/* Questions on demand: the loop's figures; and one more refused, from any thread. */
void board_publish_ask(struct board *board, const struct ask_metrics *metrics);
void board_count_refused(struct board *board);
void board_read(struct board *board, struct board_copy *ret);

#endif

/* replica.h - one source at work: its store, its apply queue, its session, its figures and log
 * lines.
 *
 *     session --transaction, records--> apply --store--> visible
 *        ^                                |
 *        +------ack, resume, reject-------+
 *
 * States for readers (the status page): EMPTY until the first complete copy; then DISCONNECTED
 * until a hello, SYNCING until a heartbeat finds everything applied, LIVE from there.
 *
 * The control plane counts as heard when all that it said is visible: a heartbeat that finds the
 * queue empty, or a commit of what came within the last REPLICA_FRESH_MS. Bytes alone do not make
 * answers current.
 */
#ifndef RS_AGENT_REPLICA_H
#define RS_AGENT_REPLICA_H

#include <uv.h>

#include "agent/config.h"
#include "agent/metrics.h"
#include "base/log.h"
#include "store/source.h"
#include "sync/http.h"

enum {
    REPLICA_FRESH_MS = 10 * 1000,
    REPLICA_LOG_INTERVAL_MS = 60 * 1000, /* between lines about the same trouble */
    REPLICA_NAME_LOG_INTERVAL_MS = 60 * 60 * 1000,
    REPLICA_STUCK_MS = 10 * 1000,  /* a commit that takes longer is told */
    REPLICA_READER_LAG_MAX = 1000, /* commits behind, from which on a reader is warned of */
    /* Between slices of the walk over the own file, which take 10 ms at most: a hundredth of one
     * processor's time, and some 4,000 records, half an hour for 7 million. */
    REPLICA_WALK_MS = 1000,
    /* At least so long between comparisons of everything, each of which takes a new connection; a
     * round of a large file takes longer by itself. */
    REPLICA_COMPARE_MS = 10 * 60 * 1000,
    /* For so many heartbeats the answer to a wish is waited for: a busy control plane answers one
     * host after the other. */
    REPLICA_ANSWER_HEARTBEATS = 24
};

struct replica_options {
    uv_loop_t *loop; /* these are borrowed for the replica's life */
    struct store *store;
    struct http_client *http;
    struct board *board;
    const struct log *log;
    struct uuid control_plane_id;
    const char *host_name;              /* copied */
    struct uuid instance;               /* of the store directory */
    unsigned guard_percent;             /* 100: off; agent/apply.h */
    const struct config_source *source; /* copied */
    /* All that the control plane said up to `cursor` is visible to lookups; told before it is
     * acknowledged. May be NULL. */
    void (*visible)(void *context, const char *region, const struct model_cursor *cursor);
    void *context;
};

struct replica;

/* Opens the source and starts. On failure the loop must still turn to let go of what was begun. */
int replica_create(const struct replica_options *options, struct replica **ret, struct error *err);
/* Finishes the commit under way; then closed(context), with the source closed. */
void replica_close(struct replica *replica, void (*closed)(void *context), void *context);
/* Clears dead readers, warns of slow ones. */
void replica_check_readers(struct replica *replica);

/* Looks whether the writer has come to a stand; due every second or so. */
void replica_watch(struct replica *replica);
/* One slice of the walk over the store's own file; due every REPLICA_WALK_MS. */
void replica_walk(struct replica *replica);
/* A snapshot that the guard refused is welcome after all. */
void replica_accept_epoch(struct replica *replica);
/* Another guard_percent. A snapshot that was refused is fetched and judged again if it is
 * higher. */
void replica_set_guard(struct replica *replica, unsigned percent);

const struct config_source *replica_config(const struct replica *replica);

#endif

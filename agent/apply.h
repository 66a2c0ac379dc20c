/* apply.h - the queue between a session and the store of one source.
 *
 * What the session hands over is applied in order by a writer thread, one job at a time. While a
 * job runs more may queue up; the transactions that have arrived by its end become one LMDB
 * transaction: batches grow with the load, and nothing ever waits for a timer.
 *
 *     apply_transaction ...                 --> applied()  one call for each batch
 *
 *     apply_load_begin, _record ..., _end   --> loaded()
 *
 *     any job that fails                    --> failed()   the queue is dropped
 *
 *     each finished job                     --> moved()    the session may go on
 *
 * Its states: apply_states.c. A job's result stays until it has been told of: what is queued
 * meanwhile waits for that.
 *
 * Memory: APPLY_QUEUE_MAX_BYTES of transactions, or APPLY_CHUNKS_MAX chunks of a load, are "full";
 * what runs comes on top once.
 *
 * All functions and callbacks belong to the loop's thread.
 */
#ifndef RS_AGENT_APPLY_H
#define RS_AGENT_APPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "base/model.h"
#include "store/source.h"
#include "sync/feed.h"
#include "sync/snapshot.h"

enum {
    APPLY_QUEUE_MAX_BYTES = 32 * 1024 * 1024,
    APPLY_CHUNK_BYTES = 1024 * 1024, /* records of a load that travel together */
    APPLY_CHUNKS_MAX = 8,
    APPLY_DIFFERENCES_MAX = 8 /* that are named in the log; more are counted */
};

/* What the digests of a batch's transactions said. */
struct apply_compared {
    uint64_t scopes;     /* that were compared */
    uint64_t unseen;     /* that were touched without the source saying what they are now */
    uint64_t mismatches; /* of these */
    uint32_t scope;      /* the first of them */
    bool with_buckets;   /* the source's buckets of `scope` were there: */
    struct set_hash_marks differing;
    enum feed_wish_kind answered; /* which wish was granted; FEED_WISH_CONTENT: a repair */
    uint64_t repaired;            /* consumers and realms that were not as they should be */
    struct source_difference differences[APPLY_DIFFERENCES_MAX]; /* the first of them */
};

/* What became of the store; for applied() and loaded() the two cursors are one (store/source.h). */
struct apply_result {
    struct model_cursor visible;
    struct model_cursor durable;
    struct source_counts counts;
    struct source_key_check key_check;
    int64_t time_ms;               /* source's wall time of its commit */
    int64_t oldest_time_ms;        /* the same of the first transaction of the batch */
    int64_t received_ms;           /* boot time at which the newest of it came */
    uint64_t transactions;         /* the source's; 0 for a load */
    uint64_t changes;              /* records for a load */
    enum source_fallback fallback; /* of a load: what became of the former copy */
    uint64_t duration_us;          /* of the store's work; for a load, of its publication */
    struct apply_compared compared;
};

struct apply_events {
    void (*applied)(void *context, const struct apply_result *result);
    void (*loaded)(void *context, const struct apply_result *result);
    /* `loading`: it was a load that failed. */
    void (*failed)(void *context, const struct error *err, bool loading);
    void (*readers)(void *context, const struct source_readers *readers);
    /* Follows readers(); err->code 0: all is well. */
    void (*upkeep)(void *context, const struct source_upkeep *upkeep, const struct error *err);
    void (*walked)(void *context, const struct source_walked *walked);
    void (*moved)(void *context);
    void *context;
};

struct apply;

/* `source` is borrowed until closed(); from here on it is the writer thread's, but for
 * source_set_state() and source_heard(). */
int apply_create(uv_loop_t *loop, struct source *source, const struct apply_events *events,
                 struct apply **ret, struct error *err);
/* Drops what waits, finishes what runs, without events; then closed(context). */
void apply_close(struct apply *apply, void (*closed)(void *context), void *context);

/* Takes ownership, also on failure (E_NO_MEMORY: this transaction was dropped, earlier ones
 * stay). */
int apply_transaction(struct apply *apply, struct feed_transaction *transaction, struct error *err);

/* A load that is of another history than what serves, or of an older version, fails with E_REFUSED
 * when it drops more than this share of a scope's consumers; 100: none does. */
void apply_set_guard(struct apply *apply, unsigned percent);
/* Loads of this epoch pass all the same. */
void apply_accept_epoch(struct apply *apply, const struct uuid *epoch);

/* A full load. After a failure of one of these, or to give it up, call apply_load_abort(). */
int apply_load_begin(struct apply *apply, const struct snapshot_header *header,
                     const uint8_t digest_key[DIGEST_KEY_BYTES], struct error *err);
int apply_load_record(struct apply *apply, const struct snapshot_record *record, struct error *err);
int apply_load_end(struct apply *apply, struct error *err);
void apply_load_abort(struct apply *apply);

/* Asks for readers() and upkeep(), unless an earlier question waits still. */
void apply_upkeep(struct apply *apply);

/* Asks for one slice of the walk over the store's own file: walked(), or failed() when the file
 * cannot be read. */
void apply_walk(struct apply *apply);

bool apply_full(const struct apply *apply);
/* How long the job under way has taken so far; 0: there is none. */
int64_t apply_running_ms(const struct apply *apply);
/* The last job that finished brought the content of buckets. */
bool apply_was_repair(const struct apply *apply);
/* Nothing waits and nothing runs. */
bool apply_idle(const struct apply *apply);
size_t apply_queued_bytes(const struct apply *apply);
/* As of the last job that finished. */
struct model_cursor apply_visible(const struct apply *apply);
struct model_cursor apply_durable(const struct apply *apply);
struct source_counts apply_counts(const struct apply *apply);
bool apply_has_digest_key(const struct apply *apply, const uint8_t digest_key[DIGEST_KEY_BYTES]);

#endif

/* apply_job.h - what waits in the apply queue, and how the writer thread does it.
 *
 * Items are made and queued by apply.c (loop's thread); apply_job_run() is the thread's side and
 * touches the job alone.
 */
#ifndef RS_AGENT_APPLY_JOB_H
#define RS_AGENT_APPLY_JOB_H

#include "agent/apply.h"
#include "base/buffer.h"

enum apply_kind {
    APPLY_TRANSACTION,
    APPLY_LOAD_BEGIN,
    APPLY_LOAD_CHUNK,
    APPLY_LOAD_END,
    APPLY_LOAD_ABORT,
    APPLY_READERS,
    APPLY_WALK
};

struct apply_item {
    struct apply_item *next;
    enum apply_kind kind;
    size_t bytes; /* counted against the queue's limit */
    union {
        struct {
            struct feed_transaction *transaction; /* owned */
            int64_t received_ms;
        };
        struct {
            struct snapshot_header header;
            uint8_t digest_key[DIGEST_KEY_BYTES];
        } load;              /* APPLY_LOAD_BEGIN */
        struct buffer chunk; /* APPLY_LOAD_CHUNK: apply_chunk_add() */
    };
};

/* Zeroed but for the kind; NULL when out of memory. */
struct apply_item *apply_item_create(enum apply_kind kind);
void apply_item_destroy(struct apply_item *item);

/* One record more. E_NO_MEMORY, E_TOO_LARGE. */
int apply_chunk_add(struct buffer *chunk, const struct snapshot_record *record);

/* One job and, across jobs, the load that is open in the thread. */
struct apply_job {
    struct source *source;    /* borrowed */
    struct apply_item *items; /* owned: one, or a batch of transactions */

    bool loading;                  /* a load is open */
    struct snapshot_header header; /* of that load */

    /* The answer. */
    enum apply_kind kind;
    struct error err; /* code 0: done */
    struct apply_result result;
    struct source_readers readers; /* APPLY_READERS */
    bool readers_known;            /* they are right, whatever err says of the upkeep */
    struct source_upkeep upkeep;   /* APPLY_READERS */
    struct source_walked walked;   /* APPLY_WALK */
};

void apply_job_run(struct apply_job *job);

/* ---- apply_compare.c: inside the LMDB transaction ---- */

/* After the transaction's changes: compares its digests, notes what differs. */
int apply_compare(struct apply_job *job, const struct feed_transaction *transaction);
/* Makes the buckets that the transaction brings, if it does, what they should be. */
int apply_repair(struct apply_job *job, const struct feed_transaction *transaction);

#endif

/* feed.h - the bytes of a feed to its events: lines, hello, whole transactions. No I/O.
 *
 *     HELLO --hello--> BETWEEN --begin--> INSIDE --change, digest--> INSIDE --commit--> BETWEEN
 *                      BETWEEN --heartbeat, preparing--> BETWEEN --resync--> OVER
 *
 * Anything else is refused. Transactions come out whole or not at all: with the count that the
 * commit names, in the order of enum change_kind, and following the cursor that the reader stands
 * at.
 *
 * Memory is bounded: a line by FEED_LINE_MAX_BYTES, an open transaction by max_transaction_bytes.
 */
#ifndef RS_SYNC_FEED_H
#define RS_SYNC_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/model.h"
#include "sync/change.h"

/* One step of the source, or several that it merged. */
struct feed_transaction {
    struct feed_transaction *next; /* for its owner's queue */
    struct model_cursor cursor;    /* after it */
    int64_t time_ms;               /* wall time of the source's commit */
    struct change *changes;        /* owned; their strings are the arena's */
    size_t count;
    size_t capacity;
    struct feed_scope_hash *digests; /* owned; ascending scopes */
    size_t n_digests;
    size_t digests_capacity;
    bool all_scopes; /* there is a digest of each scope that the host may hold */
    struct arena arena;
};

/* NULL when out of memory. */
struct feed_transaction *feed_transaction_create(size_t max_bytes);
void feed_transaction_destroy(struct feed_transaction *transaction); /* NULL allowed */
/* It grants a wish: it brings what only that brings. */
bool feed_transaction_answers(const struct feed_transaction *transaction);
/* What it occupies. */
size_t feed_transaction_bytes(const struct feed_transaction *transaction);

/* What the hello must say, and where this host stands. */
struct feed_expectation {
    struct uuid control_plane_id;
    const char *region;         /* borrowed for the reader's life */
    struct model_cursor cursor; /* as sent with the request; nil epoch: none */
    size_t max_transaction_bytes;
    bool wished; /* something was: the transaction that answers it may stay at the cursor */
};

/* Called from feed_reader_take(); must not destroy the reader. */
struct feed_events {
    /* `line` is borrowed for the call. False: this feed is of no use, pass over the rest of it. */
    bool (*hello)(void *context, const struct feed_line *line);
    /* Ownership of the transaction is transferred. A code other than 0 stops the reader. */
    int (*transaction)(void *context, struct feed_transaction *transaction, struct error *err);
    /* All up to heartbeat.version that this feed may see has been sent. `line` is borrowed. */
    void (*heartbeat)(void *context, const struct feed_line *line);
    /* The last event: a snapshot is needed. */
    void (*resync)(void *context, enum feed_resync_reason reason,
                   const struct snapshot_name *snapshot);
    void *context;
};

enum { FEED_PROTOCOL = 1 };

struct feed_reader;

int feed_reader_create(const struct feed_expectation *expectation, const struct feed_events *events,
                       struct feed_reader **ret);
void feed_reader_destroy(struct feed_reader *reader); /* NULL allowed */

/* Takes bytes, cut anywhere. E_PROTOCOL: not the protocol, or another control plane's; E_RESYNC: a
 * gap, the transaction does not follow the cursor; E_TOO_LARGE: a transaction over the limit;
 * E_NO_MEMORY. After a failure the reader can only be destroyed; the open transaction is dropped.
 */
int feed_reader_take(struct feed_reader *reader, const void *bytes, size_t size, struct error *err);

/* Where the reader stands: after the last transaction that it gave out; nil epoch: nowhere. */
struct model_cursor feed_reader_cursor(const struct feed_reader *reader);

/* Complete lines so far: what a peer that drips bytes does not make. */
uint64_t feed_reader_lines(const struct feed_reader *reader);

#endif

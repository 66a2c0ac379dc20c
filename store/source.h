/* source.h - the writing side of a store: one handle for the agent, one per source (region).
 *
 * A store directory holds
 *
 *     lock                    held by flock while an agent runs; a second agent is refused
 *     status                  one small page shared with all readers by mmap (store/status.h)
 *     <region>/current        names the generation that serves, and the previous one if it is kept
 *     <region>/g-000001/      one LMDB environment: data.mdb, lock.mdb, and beside them digest.key
 *
 * Each source has a directory of its own, so that its cursor, its resynchronisation and its removal
 * cannot touch another region's lookups.
 *
 * Life of a source:
 *
 *     store_open -> source_open -> source_begin, source_put_..., source_delete_..., source_commit
 *                               -> source_walk (a slice, and again)
 *                               -> source_load_begin, source_load_record..., source_load_publish
 *
 * THREADS: begin..commit and load_begin..load_publish of one source belong to one thread (LMDB's
 * write lock does). source_set_state and source_heard may be called from another thread at any
 * time. Not fork-safe. Nothing here logs; errors carry a message.
 */
#ifndef RS_STORE_SOURCE_H
#define RS_STORE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/model.h"
#include "base/set_hash.h"
#include "store/record.h"

struct store;
struct source;

struct store_options {
    const char *dir;
    const char *reader_group; /* name, or NULL for the process's own group */
    struct uuid control_plane_id;
    size_t map_bytes; /* address space per generation to begin with; 0: 64 GiB */
    /* A file that a slow reader keeps from using its pages again is replaced by a compacted copy
     * when it is larger than the first, more than half of it is of no use, and the reader is more
     * commits behind than the second. 0: 64 MiB, 1000 commits. */
    uint64_t compact_bytes;
    uint64_t compact_lag_txns;
    unsigned retention_ms; /* how long pages stay for readers without slots; 0: they are refused */
    struct clock clock;
};

/* Creates the directory when missing (2750, the reader group's), takes the lock, maps the status
 * page. E_LOCKED: another agent holds it (the message names its pid). E_PERMISSION, E_IO,
 * E_NO_SPACE, E_NOT_FOUND (no such group), E_EXISTS_ELSEWHERE (the store belongs to another control
 * plane), E_FORMAT. */
int store_open(const struct store_options *options, struct store **ret, struct error *err);
/* Marks every source stopped, releases the lock. Sources must be closed. NULL allowed. */
void store_close(struct store *store);

/* Which host the directory makes its agent: a random id that it keeps, and that a copy of it does
 * not have (store/instance.c). */
enum store_instance_news {
    STORE_INSTANCE_KEPT,
    STORE_INSTANCE_NEW,    /* there was none */
    STORE_INSTANCE_COPIED, /* it was made for another machine or directory; now there is another */
    STORE_INSTANCE_ODD     /* the file could not be used; now there is another */
};
struct store_instance {
    struct uuid id;
    enum store_instance_news news;
    struct error odd;    /* why it could not be used */
    struct error unkept; /* why a new one could not be written: it holds until the agent stops */
};
/* `machine_id_file`: NULL is that of machine-id(5). Fails when there is no randomness, or no
 * directory. */
int store_instance(const struct store *store, const char *machine_id_file,
                   struct store_instance *ret, struct error *err);

/* Removes the directories and status entries of sources that were not opened since store_open():
 * regions that left the configuration. */
int store_prune(struct store *store, struct error *err);

/* Opens the source's current generation, if it has one. A generation that is damaged or of another
 * format is set aside: the source opens empty (nil cursor) and *ret_discarded (may be NULL) says
 * why. All but this and the previous generation
 * (source_rollback()) is removed. `region`: 1 to 63 of [a-z0-9-]. */
int source_open(struct store *store, const char *region, struct source **ret,
                struct error *ret_discarded, struct error *err);
void source_close(struct source *source); /* NULL allowed; aborts what is open */

const char *source_region(const struct source *source);
/* Two cursors, each with a nil epoch when there is none. Visible: what lookups answer from.
 * Durable: what a power loss leaves at least. They differ after a sync failed, until
 * source_settle() makes them one; only the durable one may be told to the control plane. */
struct model_cursor source_visible(const struct source *source);
struct model_cursor source_durable(const struct source *source);
/* Makes durable what is visible; nothing to do for a source that is. On failure it is not, and may
 * be tried again: what failed to reach the disk is written again. */
int source_settle(struct source *source, struct error *err);

/* By what the serving generation's digest key is recognised; all zero: nothing serves. */
enum { SOURCE_KEY_CHECK_BYTES = 16 };
struct source_key_check {
    uint8_t bytes[SOURCE_KEY_CHECK_BYTES];
};
struct source_key_check source_key_check(const struct source *source);
bool source_key_matches(const struct source_key_check *check,
                        const uint8_t digest_key[DIGEST_KEY_BYTES]);

struct source_counts {
    uint64_t realms;
    uint64_t consumers;
    uint64_t keys;
};
struct source_counts source_counts(const struct source *source);

/* ---- live changes: one LMDB transaction ---- */

/* E_NOT_READY without a generation. E_NO_SPACE, E_IO. The first one after source_open() waits until
 * the retention time has passed since then (store/retention.h). */
int source_begin(struct source *source, struct error *err);
/* Upserts. An unknown scope, or a key of an unknown consumer, is E_MISSING_REFERENCE: the source
 * sent an impossible transaction. After any error only source_abort() may follow. */
int source_put_realm(struct source *source, const struct model_realm *realm, struct error *err);
int source_put_consumer(struct source *source, uint32_t scope,
                        const struct model_consumer *consumer, struct error *err);
int source_put_key(struct source *source, uint32_t scope, const struct model_key *key,
                   struct error *err);
/* Deletes cascade (realm: consumers: keys). Deleting a missing entity succeeds. */
int source_delete_realm(struct source *source, uint32_t scope, struct error *err);
int source_delete_consumer(struct source *source, uint32_t scope, const struct uuid *id,
                           struct error *err);
int source_delete_key(struct source *source, uint32_t scope, const struct uuid *consumer_id,
                      const struct uuid *key_id, struct error *err);
/* Makes the changes, the cursor and the commit time visible to readers in one step, and then
 * durable: revocations do not wait for the second sync. The transaction is over either way. On
 * failure nothing of it is visible, but when that last sync fails: then it is, source_visible()
 * says so, a power loss may take it back, and source_begin() settles it before anything else. */
int source_commit(struct source *source, const struct model_cursor *cursor, int64_t time_ms,
                  struct error *err);
void source_abort(struct source *source); /* no transaction open: no effect */

/* ---- digests (base/set_hash.h) ---- */

/* What the scope's records add up to in the open transaction, as its changes made it. */
int source_scope_hash(const struct source *source, uint32_t scope, struct set_hash *ret,
                      struct error *err);
int source_scope_hash_buckets(const struct source *source, uint32_t scope,
                              struct set_hash ret[SET_HASH_BUCKETS], struct error *err);
/* Sets the scope's digest to the sum of its buckets. */
int source_scope_hash_sum(struct source *source, uint32_t scope, struct error *err);
/* The smallest scope from `from` on that holds anything; E_NOT_FOUND with *err untouched. */
int source_next_scope(const struct source *source, uint32_t from, uint32_t *ret, struct error *err);

/* What buckets of one scope hold at the source. All is borrowed. */
struct source_content {
    uint32_t scope;
    struct set_hash_marks buckets;
    /* With bucket 0 of a realm; NULL then: there is no such realm, and nothing of it shall stay. */
    const struct model_realm *realm;
    const struct model_consumer *const *consumers; /* by id, each once */
    size_t n_consumers;
    const struct model_key *const *keys; /* by consumer and id, each once */
    size_t n_keys;
};
enum source_difference_kind { SOURCE_MISSING, SOURCE_EXTRA, SOURCE_DIFFERENT };
/* A realm, or a consumer with its keys, that was not as it is at the source. */
struct source_difference {
    enum source_difference_kind kind;
    uint32_t scope;
    bool is_realm;
    struct uuid id;
};
typedef void (*source_difference_fn)(void *context, const struct source_difference *difference);
/* In the open transaction: makes the buckets what `content` says, and tells what was different. As
 * for a change, only source_abort() may follow an error. */
int source_repair(struct source *source, const struct source_content *content,
                  source_difference_fn differs, void *context, struct error *err);

/* One slice of the walk over the source's own file, which goes round for ever: a few milliseconds
 * of reading, outside a transaction. What is damaged is taken out or written anew where that can be
 * done here; the digests then say what is left, so that a comparison with the source shows what is
 * missing. E_NOT_READY without a generation; E_CORRUPT: the file cannot be read, copy it anew. */
struct source_walked {
    uint64_t records;
    bool round_done; /* the whole file has been seen */
    bool mended;     /* a part of the lookup table was written anew */
    bool differs;    /* the records of `scope` were not what its digests said */
    uint32_t scope;
};
int source_walk(struct source *source, struct source_walked *ret, struct error *err);

/* ---- full load: a new generation beside the serving one ---- */

/* `digest_key` is written beside the new environment, 0640, and takes effect with it. */
int source_load_begin(struct source *source, const uint8_t digest_key[DIGEST_KEY_BYTES],
                      struct error *err);
/* One record in snapshot order (sync/snapshot.h). It is checked in full; E_CORRUPT says what is
 * wrong. */
int source_load_record(struct source *source, enum record_kind kind, uint32_t scope,
                       const void *bytes, size_t size, struct error *err);
/* After the last record: the scope that would lose the greatest share of its consumers, compared
 * with what serves; before == after: none loses any. Reads both wholly. */
struct source_loss {
    struct uuid realm_id; /* nil: the control plane's own consumers */
    uint64_t before;
    uint64_t after;
};
int source_load_loss(struct source *source, struct source_loss *ret, struct error *err);
/* Verifies the counts, syncs, switches `current` and the status page to the new generation. The
 * former one is kept for source_rollback(), room permitting, and the one before it removed. On
 * failure the former one serves, but when the switch alone could not be synced: as for a commit,
 * the new one is visible then and not durable. */
int source_load_publish(struct source *source, const struct model_cursor *cursor, int64_t time_ms,
                        const struct source_counts *expected, struct error *err);
/* What became of the former generation when the last load was begun or published. */
enum source_fallback {
    SOURCE_FALLBACK_NONE,   /* there was none */
    SOURCE_FALLBACK_KEPT,   /* source_rollback() goes back to it */
    SOURCE_FALLBACK_DROPPED /* removed: the file system has less free space than what serves takes
                             */
};
enum source_fallback source_fallback(const struct source *source);
void source_load_abort(struct source *source); /* removes the unfinished generation */

/* Lets the previous generation serve again, at its own cursor, from which the feed goes on; the
 * present one becomes the previous one, so that a second call goes forward again. E_NOT_FOUND:
 * there is none. On failure the present one goes on serving. Visible when it returns;
 * source_settle() tells whether it is durable. */
int source_rollback(struct source *source, struct error *err);

/* ---- room ---- */

/* After E_NO_SPACE and source_abort(): may the transaction be tried again? Enlarges the map, or
 * gives up the previous generation; false when neither is possible, and the disk is full. */
bool source_make_room(struct source *source);
/* After E_NO_SPACE in a load that was aborted: gives up the previous generation for the next
 * one. */
void source_make_load_room(struct source *source);

/* ---- status page ---- */

enum source_state {
    SOURCE_EMPTY = 0, /* the numbers of rs_state */
    SOURCE_SYNCING = 1,
    SOURCE_LIVE = 2,
    SOURCE_DISCONNECTED = 3,
    SOURCE_STOPPED = 4
};
void source_set_state(struct source *source, enum source_state state);
/* The control plane was heard just now: ages count from here. No LMDB, no system call. */
void source_heard(struct source *source);
/* All that the store holds at `version` was compared with the source just now, and equal. Forgotten
 * with the epoch. Any thread. */
void source_verified(struct source *source, uint64_t version);

/* Clears the slots of readers that died and reports the oldest live one. Gives up what need not be
 * retained any more. */
struct source_readers {
    unsigned cleared;
    unsigned in_use;
    pid_t oldest_pid;         /* 0: none */
    uint64_t oldest_lag_txns; /* how many commits behind the newest its snapshot is */
    unsigned retained;        /* transactions kept for readers without slots */
    int64_t retained_age_ms;  /* of the oldest of them */
};
/* From the thread that commits. Without a generation all are 0. */
int source_check_readers(struct source *source, struct source_readers *ret, struct error *err);

/* What is done now and then beside it: see store_options.compact_bytes, and the previous generation
 * goes when the file system has less free space than what serves takes. */
struct source_upkeep {
    uint64_t file_bytes; /* of data.mdb, as far as it was ever written */
    uint64_t used_bytes; /* of it, what the newest version needs */
    uint64_t map_bytes;
    uint64_t disk_free_bytes;
    uint32_t previous;     /* the generation kept for source_rollback(); 0: none */
    bool previous_dropped; /* since the last call, because there was no room */
    bool compacted;
    uint64_t compacted_from_bytes;
};
/* From the thread that commits, with no transaction open; `readers` is fresh. *ret is set also upon
 * failure, of a compaction for one. */
int source_upkeep(struct source *source, const struct source_readers *readers,
                  struct source_upkeep *ret, struct error *err);

#endif

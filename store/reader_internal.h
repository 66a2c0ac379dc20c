/* reader_internal.h - what the files behind realmstore.h share.
 *
 *     rs_store ── view ──┬── page            the mapped status page
 *                │       └── sources[] ── opened    one generation's environment
 *     rs_snapshot┘  one read transaction a source, begun when first used
 *
 * A view is the set of generations that served at one moment and never changes. When the status
 * page says that a generation was switched, the next rs_begin() makes a new view, which shares what
 * did not change; an old view, and what only it holds, goes with the last snapshot that uses it.
 *
 * All reference counts, the lists of open generations and idle snapshots, and store->view are
 * guarded by store->mutex. A
 * snapshot in use touches none of them.
 */
#ifndef RS_STORE_READER_INTERNAL_H
#define RS_STORE_READER_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/digest.h"
#include "realmstore.h"
#include "store/bucket.h"
#include "store/generation.h"
#include "store/record.h"
#include "store/status.h"
#include "store/tree.h"

/* A mapped status page. */
struct page {
    unsigned refs;
    struct status status;
};

/* An open generation. */
struct opened {
    unsigned refs;
    struct opened *next; /* in store->opened */
    struct generation generation;
    dev_t device; /* of data.mdb: a directory of the same number may be another one */
    ino_t inode;
    bool retained; /* read without a slot */
    struct digest_key digest_key;
};

struct view_source {
    unsigned slot; /* in the status page */
    char region[STATUS_REGION_SIZE];
    int error;             /* 0, or why `opened` is NULL: E_NOT_READY, E_CORRUPT, ... */
    unsigned same_key;     /* the first source of the view with the same digest key */
    struct opened *opened; /* counted */
};

struct view {
    unsigned refs;
    struct page *page; /* counted */
    uint64_t switches; /* of the page, when the view was made */
    bool faulty;       /* a source could not be opened: worth another try later */
    int64_t retry_at_ms;
    bool retained;       /* some source is read without a slot */
    bool to_be_retained; /* as the page wanted it when the view was made */
    unsigned n_sources;
    struct view_source sources[STATUS_SLOTS];
};

enum { REALM_CACHE_ENTRIES = 16 };

/* What a realm's UUID means in one source. Right while the transaction id is the same: records are
 * borrowed from its version of the map. */
struct realm_entry {
    size_t txn_id; /* 0: empty */
    unsigned source;
    uint32_t number; /* 0: the source does not hold it */
    struct uuid id;
    struct record_realm realm;
};

enum { ENTRY_CACHE_BITS = 12, ENTRY_CACHE_SLOTS = 1 << ENTRY_CACHE_BITS };

/* Where an entry of `lookup` was found; right while the transaction id is the same. Slots stand in
 * the order of hashes, so that one says where others of its place most likely are. */
struct entry_slot {
    uint64_t hash;
    const unsigned char *entry; /* borrowed from the map */
    uint32_t room;              /* bytes of its bucket from there on */
    uint32_t epoch;             /* of the source's version, below; 0: empty */
};

struct rs_snapshot {
    rs_store *store;             /* borrowed */
    struct view *view;           /* counted */
    struct rs_snapshot *next;    /* while idle */
    MDB_txn *txns[STATUS_SLOTS]; /* NULL: never begun */
    uint32_t active;             /* bit i: txns[i] is begun */
    uint32_t answered; /* bit i: something that txns[i] gave may be in the caller's hands */
    int64_t begun_ms[STATUS_SLOTS];    /* boot clock; of retained ones */
    int64_t promised_ms[STATUS_SLOTS]; /* the retention time at that moment */
    size_t versions[STATUS_SLOTS]; /* the transaction id for which the next two stand; 0: none */
    struct tree lookups[STATUS_SLOTS]; /* the table `lookup` */
    uint32_t epochs[STATUS_SLOTS];
    uint32_t last_epoch;
    struct realm_entry realms[REALM_CACHE_ENTRIES];
    struct entry_slot entries[ENTRY_CACHE_SLOTS]; /* by hash; never needed, often hit */
};

struct rs_store {
    char dir[PATH_MAX];
    rs_mode mode;
    struct clock clock;
    const volatile unsigned char *alive; /* one byte of a page that fork() wipes; 1 in the opener */
    pid_t pid;                           /* of the opener, where the kernel cannot wipe; else 0 */
    pthread_mutex_t mutex;
    struct view *view;
    struct opened *opened; /* all of them, of any view that is in use */
    rs_snapshot *idle;     /* of `view`, ready for reuse */
    unsigned n_in_use;     /* snapshots begun and not ended */
    int64_t look_at_ms;    /* boot clock: no need to look at the directory before */
    atomic_bool suspect;   /* a lookup met a strange age, or failed: reason to look */
    bool gone; /* the directory leads to another page, or none, and there we cannot go */
};

/* rs_open() with another clock. */
int reader_open(rs_store **ret, const char *dir, const rs_options *options,
                const struct clock *clock);

/* An internal code as a public one. */
int reader_code(int code);
bool reader_is_forked(const rs_store *store);

/* ---- reader_place.c; the caller holds store->mutex ---- */

/* The age of a source that was never heard, or not for longer than heartbeats are apart. */
enum { PLACE_SUSPECT_AGE_MS = 6000 }; /* above the control plane's usual heartbeat of 5 s */
static inline void place_note_age(rs_store *store, int64_t age_ms)
{
    if (age_ms < 0 || age_ms >= PLACE_SUSPECT_AGE_MS)
        atomic_store_explicit(&store->suspect, true, memory_order_relaxed);
}
/* Whether the store's path leads to another store now, to which readers should move: its page,
 * which the caller then owns, or NULL, which it is nearly always. Sets store->gone. */
struct page *place_look(rs_store *store);

/* ---- reader_view.c; the caller holds store->mutex ---- */

/* Maps the page at the store's path; the caller owns one reference. NULL, with the reason in
 * *err. */
struct page *page_open(const rs_store *store, struct error *err);
void page_release(struct page *page); /* NULL allowed */

/* Makes store->view anew if the status page says so (or there is none yet). Sources that cannot be
 * opened are noted in the view with their code, the first one's reason in *err. E_NO_MEMORY;
 * without a former view also what the status page gives. */
int view_refresh(rs_store *store, struct error *err);
void view_release(rs_store *store, struct view *view); /* NULL allowed */

/* ---- reader.c ---- */

/* The snapshot's transaction in one source of its view, begun if need be; with it
 * snapshot->lookups[source] and epochs[source] are right. */
int reader_txn(rs_snapshot *snapshot, unsigned source, MDB_txn **ret);
/* A named table of a source whose transaction is begun; it is there, else E_CORRUPT. */
int reader_table(const rs_snapshot *snapshot, unsigned source, enum table table, struct tree *ret);
/* One value of it. E_NOT_FOUND, which proves nothing (tree.h), E_CORRUPT. */
int reader_get(const rs_snapshot *snapshot, unsigned source, enum table table, MDB_val key,
               MDB_val *ret);

/* ---- reader_lookup.c ---- */

struct consumer_view;
/* Runs `once`, and again what was overtaken; its answer, of which *ret is right when it is not
 * negative. */
typedef int (*reader_once)(void *context, struct consumer_view *ret);
int reader_answer(rs_snapshot *snapshot, reader_once once, void *context,
                  struct consumer_view *ret);
/* record_view_*() of what is intact: no answer is made of anything else. */
static inline bool reader_view_consumer(const void *bytes, size_t size, struct record_consumer *ret)
{
    return record_is_intact(bytes, size) && record_view_consumer(bytes, size, ret);
}
static inline bool reader_view_realm(const MDB_val *value, struct record_realm *ret)
{
    return record_is_intact(value->mv_data, value->mv_size) &&
           record_view_realm(value->mv_data, value->mv_size, ret);
}
/* Which groups of the consumer come on top of the realm's: bit i, the i-th. */
uint64_t reader_own_groups(const struct record_strings *consumers,
                           const struct record_strings *realms);

/* ---- reader_retained.c: sources that are read without a slot ---- */

/* The source's transaction is about to begin. */
void retained_note_begin(rs_snapshot *snapshot, unsigned source);
/* Before pages are read: drops transactions that are too old to go on with. E_OVERTAKEN: one of
 * them has answered already. E_UNSUPPORTED: the agent does not retain any more. */
int retained_before(rs_snapshot *snapshot);
/* After pages were read: *ret_repeat says that what was read is void and was dropped, so that it
 * can be read again. E_OVERTAKEN as above. */
int retained_after(rs_snapshot *snapshot, bool *ret_repeat);

/* ---- rs_consumer from the inside ---- */

struct __attribute__((may_alias)) consumer_view {
    struct record_consumer consumer; /* .record NULL: nothing was found */
    struct record_realm realm;       /* .number 0: found among the control plane's own */
    uint64_t own_groups;             /* bit i: the consumer's group i is not the realm's too */
    int64_t age_ms;
    struct uuid key_id;
    char id[UUID_TEXT_SIZE]; /* text forms, made when asked for */
    char credential_id[UUID_TEXT_SIZE];
    char realm_id[UUID_TEXT_SIZE];
};

_Static_assert(sizeof(struct consumer_view) <= sizeof(rs_consumer), "rs_consumer is too small");
_Static_assert(MODEL_LABELS_MAX <= 64, "own_groups has a bit a group");

#endif

/* feed_internal.h - inside of the feed; only feed*.c include it.
 *
 *   feed.c             life, the thread's loop, what the repository's listener tells
 *   feed_segment.c     transactions as bytes, shared by followers
 *   feed_channel.c     one for each control plane: how far it has looked, its recent segments
 *   feed_follower.c    one connected host: which bytes it gets next
 *   feed_states.c      its states, as a table
 *   feed_queue.c       transactions of their own: who waits, whose turn it is, what fits in memory
 *   feed_workers.c     the threads that compute them
 *   feed_connect.c     hosts coming and going
 *   feed_wake.c        calling wake() without locks; heartbeat timers
 *   feed_hosts.c       which host is which
 *   feed_caps.c        how many there may be
 *   feed_ack.c         what hosts acknowledge, and the list of them
 *   feed_wait.c        callers who wait for hosts to apply a version
 *   feed_snapshot.c    snapshot files
 *   feed_builder.c     the thread that makes them
 *
 * One lock guards everything but the snapshot files, which have their own. It is never held during
 * a call of the repository, of wake(), cut() or done(). What the feed thread uses meanwhile is
 * pinned (followers; hosts by the waits that count them), checked by its generation (channels), or
 * freed by that thread alone (channels). A worker uses its job alone, whose channel stays while one
 * runs.
 */
#ifndef RS_CONTROL_FEED_INTERNAL_H
#define RS_CONTROL_FEED_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/buffer.h"
#include "base/states.h"
#include "control/feed/feed.h"
#include "sync/change.h"

enum {
    FEED_BUCKETS = 1024,
    FEED_LINES_MAX_BYTES = 8 * 1024,         /* a hello, or a few short lines */
    FEED_RECENT_MAX = 16,                    /* segments that a channel keeps for laggards */
    FEED_RECENT_MAX_BYTES = 4 * 1024 * 1024, /* the same, in bytes; larger ones are not kept */
    /* What the feed thread encodes for a commit at most, some 4 ms: more is left to the workers. */
    FEED_URGENT_MAX_BYTES = 1024 * 1024,
    FEED_WORKERS = 2,
    FEED_RUNNING_MAX = 1,             /* of the workers, for one control plane */
    FEED_SHARE = 4,                   /* a control plane's part of the memory is one in so many */
    FEED_PATIENCE_BEATS = 6,          /* heartbeat periods that a reader may owe a read, */
    FEED_PATIENCE_MIN_MS = 10 * 1000, /* and at least so long */
    FEED_CUT_LOG_MS = 10 * 1000,
    FEED_TICK_MS = 1000, /* between looks at slow readers while somebody waits for memory */
    FEED_HISTORY = 32,   /* commit times that a channel keeps for lag */
    FEED_MOVE_AFTER =
        10000, /* versions without a line, then an empty transaction moves the cursor */
    FEED_PATH_BYTES = 4096,
    FEED_RETRY_MS = 1000, /* after the repository failed */
    FEED_PRUNE_MS = 60 * 1000,
    FEED_FORGET_MS = 24 * 60 * 60 * 1000, /* a host that does not come back */
    FEED_FORGET_NEW_MS = 2 * 60 * 1000, /* one that refuses, and has never acknowledged anything */
    FEED_SAY_AGAIN_MS = 60 * 60 * 1000, /* between lines about one shared name */
    FEED_TWINS_MAX = 1000               /* feeds of one instance at the same time */
};

/* ---- segments: change lines and the commit line; the begin line is each follower's own ---- */

struct feed_segment {
    unsigned refs;
    unsigned holders; /* of these, followers: it counts as held memory */
    /* Who may take it: whoever is in sync with a version in [low, base], between which nothing
     * visible happened. After it the follower is in sync with `to`. */
    uint64_t low;
    uint64_t base;
    uint64_t to;
    int64_t time_ms;
    bool too_large; /* no bytes: whoever would take it needs a snapshot */
    size_t size;
    unsigned char *bytes; /* owned */
};

struct feed_delta {
    struct repo_delta repo;
    struct feed_segment *segment; /* transferred to the caller; NULL: nothing to send */
};

struct feed_bounds {
    size_t max_bytes;
    const atomic_bool *canceled; /* NULL: never; E_CANCELED once it is true */
};
/* Asks the repository for all that happened since `query->from`; without the lock. With a wish
 * there is a segment even when nothing happened. */
int feed_segment_make(struct repo *repo, const struct repo_transaction_query *query,
                      const struct feed_bounds *bounds, struct feed_delta *ret, struct error *err);
void feed_segment_unref(struct feed_segment *segment); /* NULL allowed */

/* ---- channels ---- */

// clang-format off
/* Versions on one line, and where a channel and three of its followers (A, B, C) stand on it:
 *
 *      A             B                             C
 *   ---+-------------+=======+-------------+=======+=======+ - - - - - +-->
 *                  s.low   s.base         s.to          covered      newest
 *                                         low
 *
 *   ===   nothing happened that the control plane may see
 *   - -   committed, and not looked at yet
 *   s     the newest shared segment: it takes whoever is in [s.low, s.base] to s.to, which is `low`
 *   A     below all shared segments: gets a delta of its own
 *   B     in [s.low, s.base]: takes s
 *   C     in [low, covered]: in sync; it may be told of all up to `covered` (feed_channel_reach())
 *
 * A follower has two places: its `position` is the one above, up to where it is known to be in sync;
 * its `cursor`, at or below it with === between them, is where its last transaction led: the `prev`
 * of the next one.
 */
// clang-format on

struct feed_moment {
    uint64_t version;
    int64_t time_ms;
};

/* What counts for a cap: the hosts and feeds of one credential, or of one control plane. */
struct feed_room {
    LIST_ENTRY(feed_room) in_bucket; /* a credential's */
    struct uuid id;
    size_t n_hosts;
    size_t n_feeds;
    TAILQ_HEAD(feed_gone_list, feed_host) gone; /* hosts not connected, the longest gone first */
};

struct feed_channel {
    LIST_ENTRY(feed_channel) in_bucket;
    TAILQ_ENTRY(feed_channel) in_feed;
    struct uuid control_plane_id;
    TAILQ_HEAD(follower_list, follower) followers;
    size_t n_followers;
    struct feed_room room;
    TAILQ_ENTRY(feed_channel) in_line; /* while `turns` is not empty */
    TAILQ_HEAD(feed_turn_list, feed_turn) turns;
    unsigned running;  /* jobs that workers have */
    size_t held_bytes; /* of segments that followers have, */
    size_t kept_bytes; /* and room for what the running jobs may make */
    /* Nothing visible happened in (low, covered]; `low` is where the last segment led. */
    uint64_t low;
    uint64_t covered;
    unsigned generation; /* counts resets, so that a delta of before is recognised */
    struct feed_segment *recent[FEED_RECENT_MAX]; /* oldest first; a reference each */
    size_t n_recent;
    size_t recent_bytes;
    struct feed_moment history[FEED_HISTORY]; /* oldest first */
    size_t n_history;
};

struct feed_channel *feed_channel_find(struct feed *feed, const struct uuid *control_plane_id);
/* Found or made; NULL when out of memory. */
struct feed_channel *feed_channel_open(struct feed *feed, const struct uuid *control_plane_id);
void feed_channel_free(struct feed *feed, struct feed_channel *channel);
/* Its first follower came: look from the newest version on. */
void feed_channel_restart(struct feed *feed, struct feed_channel *channel);
/* Its last follower left. */
void feed_channel_rest(struct feed_channel *channel);
/* The segment for a follower that is in sync with `position`, or NULL. */
struct feed_segment *feed_channel_match(const struct feed_channel *channel, uint64_t position);
/* Keeps a segment for others; takes a reference of its own. */
void feed_channel_remember(struct feed_channel *channel, struct feed_segment *segment);
/* Up to where a follower at `position` is in sync: further than it knows when nothing happened. */
uint64_t feed_channel_reach(const struct feed_channel *channel, uint64_t position);
/* Commit time of the oldest remembered transaction after `version`; 0: none. */
int64_t feed_channel_since(const struct feed_channel *channel, uint64_t version);
/* Feed thread, lock held (and released in between): brings every channel up to date. */
void feed_channels_advance(struct feed *feed);

/* ---- the lock ---- */

/* Asserts that the caller holds it. */
void feed_assert_locked(struct feed *feed);

/* ---- followers ---- */

/* feed_states.c has the table, docs/states.md its picture. */
enum follower_state {
    FOLLOWER_GREETING,  /* hello comes first */
    FOLLOWER_DECLINING, /* the same, for a cursor that cannot be served */
    FOLLOWER_IDLE,      /* nothing is being sent to it but heartbeats */
    FOLLOWER_WAITING,   /* for its own delta: has a `job` */
    FOLLOWER_READY,     /* that is there: `pending` */
    FOLLOWER_SENDING,   /* a transaction is on its way: `segment` */
    FOLLOWER_REFUSED,   /* needs a snapshot; the builder has not been asked */
    FOLLOWER_PREPARING, /* waits for the builder */
    FOLLOWER_NAMED,     /* the snapshot is there: the resync line can be written */
    FOLLOWER_LAST,      /* its last line is on its way */
    FOLLOWER_OVER,
    FOLLOWER_STATES
};

enum follower_event {
    FOLLOWER_EVENT_GREETED,
    FOLLOWER_EVENT_ASK,    /* for its own delta */
    FOLLOWER_EVENT_MADE,   /* by a worker */
    FOLLOWER_EVENT_NONE,   /* nothing had happened */
    FOLLOWER_EVENT_SEND,   /* a transaction begins */
    FOLLOWER_EVENT_SENT,   /* its last byte is handed out */
    FOLLOWER_EVENT_REFUSE, /* the cursor cannot be served */
    FOLLOWER_EVENT_ORDER,
    FOLLOWER_EVENT_NAME,
    FOLLOWER_EVENT_RESYNC,
    FOLLOWER_EVENT_DRAINED, /* the last line is handed out */
    FOLLOWER_EVENT_END,     /* cut, revoked, failed, stopped */
    FOLLOWER_EVENTS
};

struct follower;

/* Asserts that the event can happen. */
void feed_follower_advance(struct follower *follower, enum follower_event event);
extern const struct states_machine feed_follower_machine;

struct feed_host;
struct feed_job;

struct follower {
    struct feed *feed;
    struct feed_channel *channel;
    struct feed_host *host; /* NULL: replaced */
    struct feed_room *room; /* of the credential */
    struct uuid id;         /* of this feed, as its hello says */
    TAILQ_ENTRY(follower) in_channel;
    TAILQ_ENTRY(follower) in_timers;
    TAILQ_ENTRY(follower) in_wakes; /* when `waking` */
    TAILQ_ENTRY(follower) in_owed;  /* when not `waiting`: the transport owes a read */
    TAILQ_ENTRY(follower) in_held;  /* with a `pending` or a `segment` */
    TAILQ_ENTRY(follower) in_job;   /* with a `job` */
    void (*wake)(void *context);
    void (*cut)(void *context); /* NULL: wake() does */
    void *context;
    enum follower_state state;
    struct uuid credential;         /* nil: none */
    struct feed_wish wish;          /* of the first transaction; until that is `pending` */
    enum feed_resync_reason reason; /* from FOLLOWER_REFUSED on */
    struct snapshot_name snapshot;  /* from FOLLOWER_NAMED on */
    bool waiting;                   /* wake() was promised */
    bool waking;                    /* queued for wake(), or cut() */
    bool cutting;                   /* cut() it is */
    bool pinned;                    /* the feed thread calls it without the lock */
    bool announced;                 /* the heartbeat of having caught up was given */
    bool beat;                      /* a heartbeat is due */
    uint64_t asked;                 /* up to here it was asked to acknowledge at once */
    uint64_t cursor;                /* where the last transaction led, or the host's own cursor */
    uint64_t position;              /* in sync with this version; at or above cursor */
    uint64_t sent;    /* an acknowledgement beyond this version is a lie; never above the newest */
    int64_t line_ms;  /* boot clock: when it was last given something */
    int64_t since_ms; /* boot clock: connection */
    struct buffer line; /* small lines */
    size_t line_at;
    struct feed_segment *segment; /* being sent, after `line`; a reference */
    size_t segment_at;
    struct feed_segment *pending; /* its own delta, ready to be sent; a reference */
    struct feed_job *job;         /* its own delta, asked for; never beside `pending` */
    bool owing;                   /* in the list of those */
    bool holding;                 /* the same */
    int64_t owed_ms;              /* boot clock: since when the transport owes a read */
    int64_t held_ms;              /* boot clock: since when it holds what it holds */
};

/* Needs a snapshot, and is on the way to it. */
bool feed_follower_is_refused(const struct follower *follower);
/* All up to its position is known to be the newest that it may see. */
bool feed_follower_is_in_sync(const struct follower *follower);
/* Its own delta is there; consumes nothing. */
void feed_follower_take(struct follower *follower, const struct feed_delta *delta);
/* Lets go of all that is held for it. */
void feed_follower_drop(struct follower *follower);
/* Lock held: ends it, and what is held for it is free at once. */
void feed_follower_end(struct follower *follower);
/* The next thing it gets, as soon as there is a snapshot, is a resync line, and then the end. */
void feed_follower_refuse(struct follower *follower, enum feed_resync_reason reason);
/* Of a follower that waits: the snapshot is there, or (NULL) there will be none: the end. */
void feed_follower_tell(struct follower *follower, const struct snapshot_name *name);
/* All that may concern the host up to here has been sent and acknowledged. */
uint64_t feed_follower_applied(const struct follower *follower, uint64_t acknowledged);

/* ---- transactions of their own ---- */

/* One transaction to compute, for all followers at one position that wish for the same, or that are
 * all in sync and wish for the same. */
struct feed_job {
    LIST_ENTRY(feed_job) in_bucket; /* while followers may join it */
    TAILQ_ENTRY(feed_job) in_turn;  /* with a `turn` */
    struct feed_channel *channel;
    struct feed_turn *turn; /* NULL: a worker has it */
    uint64_t from;
    bool in_sync; /* `from` is the channel's, not one host's alone */
    struct feed_wish wish;
    size_t room;           /* the largest that it may make */
    int64_t asked_ms;      /* boot clock */
    atomic_bool abandoned; /* nobody waits for it any more */
    TAILQ_HEAD(feed_job_followers, follower) followers;
};

/* What the followers of one credential wait for, first come first served. */
struct feed_turn {
    TAILQ_ENTRY(feed_turn) in_channel;
    struct uuid credential;
    TAILQ_HEAD(feed_job_list, feed_job) jobs; /* never empty */
};

/* Control planes take turns, and within one its credentials. */
struct feed_queue {
    TAILQ_HEAD(feed_line_of_channels, feed_channel)
    line; /* those that have turns; the next first */
    LIST_HEAD(feed_job_bucket, feed_job) buckets[FEED_BUCKETS];
    TAILQ_HEAD(feed_held_list, follower) held; /* by held_ms */
    TAILQ_HEAD(feed_owed_list, follower) owed; /* by owed_ms */
    pthread_cond_t work;                       /* for the workers */
    pthread_t workers[FEED_WORKERS];
    unsigned n_workers;
    int64_t patience_ms;
    size_t max_bytes;  /* held and kept, of all control planes */
    size_t held_bytes; /* sums of the channels' */
    size_t kept_bytes;
    bool starved; /* the next in line waits for memory that other control planes have */
    size_t waiting;
    size_t running;
};

/* Asks for a transaction from its position with its wish; false: out of memory. */
bool feed_queue_ask(struct follower *follower);
/* It waits for nothing any more. */
void feed_queue_leave(struct follower *follower);
/* The job whose turn it is, which is the caller's until feed_queue_done(); NULL: none can run. */
struct feed_job *feed_queue_take(struct feed *feed);
/* `delta` NULL: the job failed, its followers end. Frees the job. */
void feed_queue_done(struct feed *feed, struct feed_job *job, const struct feed_delta *delta);
/* How long the oldest job waits. */
int64_t feed_queue_age_ms(const struct feed *feed);
/* A follower's reference to a segment, which counts as its control plane's memory. */
void feed_queue_hold(struct follower *follower, struct feed_segment *segment);
void feed_queue_release(struct follower *follower, struct feed_segment *segment);
/* Feed thread, lock held: cuts the readers that are too slow. */
void feed_queue_cut(struct feed *feed);
/* Boot time of the next look; INT64_MAX: none. */
int64_t feed_queue_deadline(const struct feed *feed);
/* The transport has read (`again`: and owes another read), or was woken. */
void feed_queue_owe(struct follower *follower, bool again);

int feed_workers_start(struct feed *feed, struct error *err);
void feed_workers_stop(struct feed *feed);

/* ---- waking and timers ---- */

/* wake() follows if the follower waits for it. */
void feed_wake(struct follower *follower);
/* cut() follows, whether it waits or not. */
void feed_cut(struct follower *follower);
/* Feed thread, lock held (and released in between). */
void feed_wakes_run(struct feed *feed);
/* The follower was given something, or a heartbeat: its silence begins anew. */
void feed_timer_restart(struct follower *follower);
/* Feed thread, lock held: marks the heartbeats that are due. */
void feed_timers_run(struct feed *feed);

/* ---- hosts ---- */

/* A host's name within a control plane; it lives as long as a host has it. */
struct feed_name {
    LIST_ENTRY(feed_name) in_bucket;
    struct feed_channel *channel;
    char *text; /* owned */
    size_t n_hosts;
    size_t n_connected;
    size_t n_instances; /* of those, who differ in instance or credential */
    int64_t twins_ms;   /* boot clock: since when two that do not have been connected; 0: none */
    int64_t told_ms;    /* boot clock: when the log had it last; 0: never */
};

struct feed_host {
    LIST_ENTRY(feed_host) in_bucket;
    TAILQ_ENTRY(feed_host) in_feed;
    TAILQ_ENTRY(feed_host) in_gone[FEED_CAPS];
    struct feed_room *rooms[FEED_CAPS];
    struct feed_channel *channel;
    struct feed_name *name;
    struct uuid instance;      /* nil: an agent of before */
    struct uuid feed;          /* its newest, */
    struct uuid known;         /* and the newest that its agent has named; nil: none */
    char *agent;               /* owned; NULL: not told */
    struct follower *follower; /* NULL: not connected */
    bool acknowledged;         /* something, once */
    bool gone; /* not connected, and nobody waits for it: in the lists of its rooms */
    uint64_t applied;
    uint64_t awaited;  /* the newest version that somebody waits for */
    uint64_t verified; /* 0: not known */
    bool refusing;     /* said so when it last connected */
    int64_t heard_ms;  /* boot clock: last acknowledgement, connection or disconnection */
    unsigned pins;     /* waits that count it */
};

uint64_t feed_hash(uint64_t seed, const void *bytes, size_t size);
/* The host that connects: found, or made if the caps allow it; feed_host_connect() follows.
 * E_TOO_MANY or E_NO_MEMORY. */
int feed_host_admit(struct feed *feed, struct feed_channel *channel, struct feed_room *room,
                    const struct follower_options *options, struct feed_host **ret,
                    struct error *err);
/* It has this follower from now on; one that it had ends. `former`: as the follower's options. */
void feed_host_connect(struct feed_host *host, struct follower *follower,
                       const struct uuid *former);
/* The follower leaves, or a wait ends: what is not worth remembering is freed. */
void feed_host_leave(struct follower *follower);
void feed_host_unpin(struct feed *feed, struct feed_host *host);
/* The hosts of a name and an instance, one after the other; NULL begins, and ends. */
struct feed_host *feed_host_next(struct feed *feed, const struct feed_host *after,
                                 const struct uuid *control_plane_id, const char *name,
                                 const struct uuid *instance);
uint64_t feed_host_applied(const struct feed_host *host);
bool feed_host_shares_name(const struct feed *feed, const struct feed_host *host);
void feed_host_free(struct feed *feed, struct feed_host *host);
/* Feed thread, lock held: forgets hosts that did not come back, and channels without any. */
void feed_hosts_prune(struct feed *feed);
void feed_hosts_count(const struct feed *feed, struct feed_stats *ret);

/* ---- caps ---- */

/* A credential's; found or made, NULL when out of memory. */
struct feed_room *feed_room_open(struct feed *feed, const struct uuid *credential);
/* Frees it when nothing is left in it. */
void feed_room_settle(struct feed_room *room);
/* One feed more (counted in its room already), one host more: E_TOO_MANY, with what was reached in
 * the message. */
int feed_caps_check_feeds(struct feed *feed, const struct feed_channel *channel,
                          const struct feed_room *room, struct error *err);
int feed_caps_make_room(struct feed *feed, const struct feed_channel *channel,
                        struct feed_room *const rooms[FEED_CAPS], struct error *err);
/* Counts and logs what `err` says; returns its code. */
int feed_refuse(struct feed *feed, const struct feed_channel *channel, struct error *err);

/* ---- waits ---- */

struct feed_waiter {
    TAILQ_ENTRY(feed_waiter) in_feed;
    uint64_t version;
    int64_t deadline_ms; /* boot clock */
    bool has_viewer;
    struct uuid viewer; /* whose hosts the caller may know of; without one: all */
    bool asked;         /* the hosts that are not done know that somebody waits */
    void (*done)(void *context, const struct feed_wait_result *result);
    void *context;
    size_t next; /* hosts before it have applied the version */
    size_t count;
    struct feed_host **hosts; /* owned; pinned */
    struct feed_late *late;   /* owned; room for as many, FEED_LATE_MAX at most */
};

/* Feed thread, lock held (and released in between): ends the waits that are over; all at stop. */
void feed_waits_run(struct feed *feed);
/* Boot time at which the next wait ends; INT64_MAX: none. */
int64_t feed_waits_deadline(const struct feed *feed);

/* ---- snapshots ---- */

struct feed_file {
    TAILQ_ENTRY(feed_file) in_shelf;
    struct uuid control_plane_id;
    struct snapshot_name name;
    uint64_t records;
    uint64_t checked; /* newest version at which it was found to serve */
    bool serves;      /* the one that the control plane's hosts are told of */
    int64_t used_ms;  /* boot clock */
    int64_t read_ms;  /* boot clock: when its bytes were last seen to be what its name says */
};

struct feed_order;

/* Its lock may be taken while the feed's is held, never the other way round. */
struct feed_shelf {
    pthread_mutex_t lock;
    TAILQ_HEAD(feed_file_list, feed_file) files; /* last used first */
    TAILQ_HEAD(feed_order_list, feed_order) orders;
    pthread_cond_t ordered; /* for the builder */
    pthread_t builder;
    atomic_bool stopping;
    char *dir; /* owned */
    uint64_t max_bytes;
    int64_t verify_ms;
    uint64_t bytes; /* of all files */
    uint64_t built;
    uint64_t transfers;
    uint64_t sent_bytes;
};

int feed_shelf_open(struct feed_shelf *shelf, const char *dir, uint64_t max_bytes,
                    struct error *err);
void feed_shelf_close(struct feed_shelf *shelf);
/* Removes the files that nobody has asked for in a while. */
void feed_shelf_prune(struct feed_shelf *shelf);
/* Where the builder writes, and where a finished file is. */
void feed_shelf_new_path(const struct feed_shelf *shelf, char path[FEED_PATH_BYTES]);
void feed_shelf_path(const struct feed_shelf *shelf, const uint8_t sha256[DIGEST_BYTES],
                     char path[FEED_PATH_BYTES]);
/* A copy of what the control plane's hosts are told of; false: there is none. */
bool feed_shelf_serving(struct feed_shelf *shelf, const struct uuid *control_plane_id,
                        struct feed_file *ret);
void feed_shelf_checked(struct feed_shelf *shelf, const uint8_t sha256[DIGEST_BYTES],
                        uint64_t version);
/* The file's bytes are, or are not any more, what its name says: it is forgotten then. */
void feed_shelf_read(struct feed_shelf *shelf, const uint8_t sha256[DIGEST_BYTES], bool intact);
/* Takes the finished file over from the builder's path. */
int feed_shelf_add(struct feed_shelf *shelf, const struct feed_file *made, struct error *err);

int feed_builder_start(struct feed *feed, struct error *err);
/* Cuts a build short; everybody who waits is told. */
void feed_builder_stop(struct feed *feed);
/* The followers of this control plane that wait will be told. E_NO_MEMORY. */
int feed_builder_order(struct feed *feed, const struct uuid *control_plane_id);

/* ---- the feed ---- */

struct feed {
    struct repo *repo;
    uint32_t heartbeat_ms;
    size_t transaction_max_bytes;
    char *region; /* owned */
    const struct log *log;
    struct uuid epoch;
    uint8_t digest_key[DIGEST_KEY_BYTES];
    bool accepted; /* the epoch, by an operator, for every host */

    pthread_mutex_t lock;
    pthread_cond_t work;     /* for the feed thread */
    pthread_cond_t unpinned; /* for feed_follower_destroy() */
    pthread_t thread;
    bool stopping;
    bool stopped;
    uint64_t newest;   /* version, as far as we heard */
    uint64_t examined; /* every channel has looked up to here */
    uint64_t oldest;   /* cursors below are too old, as of the last look */
    int64_t retry_ms;  /* boot clock: not before */
    int64_t prune_ms;  /* boot clock: next pruning */
    LIST_HEAD(feed_channel_bucket, feed_channel) channel_buckets[FEED_BUCKETS];
    TAILQ_HEAD(feed_channel_list, feed_channel) channels;
    size_t max_feeds[FEED_CAPS];
    size_t max_hosts[FEED_CAPS];
    int64_t twins_ms;
    uint64_t hash_seed; /* of the three tables below */
    LIST_HEAD(feed_host_bucket, feed_host) host_buckets[FEED_BUCKETS];
    LIST_HEAD(feed_name_bucket, feed_name) name_buckets[FEED_BUCKETS];
    LIST_HEAD(feed_room_bucket, feed_room) room_buckets[FEED_BUCKETS];
    TAILQ_HEAD(feed_host_list, feed_host) hosts;
    TAILQ_HEAD(feed_timer_list, follower) timers; /* by line_ms */
    TAILQ_HEAD(feed_wake_list, follower) wakes;
    TAILQ_HEAD(feed_waiter_list, feed_waiter) waits;
    size_t n_hosts;
    struct log_pace shared_pace;
    struct log_pace cap_pace;
    struct log_pace ack_pace;
    struct feed_queue queue;
    struct log_pace cut_pace;
    struct feed_stats stats;
    struct feed_shelf shelf;
};

#endif

/* feed.h - followers of the change feed: who is connected, what they are sent, what they have
 * applied.
 *
 * Knows nothing of HTTP. A follower is a byte source that the transport reads from when its socket
 * is writable; when it has nothing to give, it calls wake() once as soon as it has. Lines are
 * docs/protocol.md's.
 *
 *     commit --> repo listener --> feed thread --> one delta a control plane, as a shared segment
 *                                              --> wake the followers that wait
 *
 *     lags, or wishes for something --> queue --> workers: a delta of its own --> wake
 *
 * Followers that keep up share segments; one that lags is given a delta of its own from where it
 * stands, so the memory held for it is one transaction at most, however slow it reads. What is held
 * for all of one control plane, and for all of them, is bounded, and one that does not read is cut.
 * docs/design.md, "What is urgent, and what takes turns" has the rules. A heartbeat
 * goes out when heartbeat_ms passed without a line. Idle followers cost their struct and no work in
 * between.
 *
 * THREADS: one feed thread, workers and a builder of snapshots, started by feed_create. All
 * functions may be called from any thread; the calls of one follower must not overlap. wake(),
 * cut() and done() run in the feed thread (done() also in the caller of feed_wait()), without locks
 * held. They may read but must not destroy their follower; feed_follower_destroy() waits for the
 * end of a running one, so it must not be called with a lock that they take. When it returns, none
 * will be called again. It never waits for a transaction that is being computed.
 */
#ifndef RS_CONTROL_FEED_H
#define RS_CONTROL_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/log.h"
#include "control/repo/repo.h"
#include "sync/change.h"

struct feed;
struct follower;

/* Whose hosts and feeds a limit counts. */
enum feed_cap { FEED_CAP_CREDENTIAL, FEED_CAP_CONTROL_PLANE, FEED_CAPS };
enum { FEED_CAP_DEFAULT = 20000 };

struct feed_options {
    uint32_t heartbeat_ms;        /* 0: 5000 */
    size_t transaction_max_bytes; /* larger ones become a resync; 0: 16 MiB */
    const char *snapshot_dir; /* built snapshots are kept here, 0600; created (its parent exists),
                                 emptied at start */
    uint64_t snapshots_max_bytes; /* of all files in it; the newest may be over it; 0: 16 GiB */
    int64_t snapshot_verify_ms;   /* a file is read through before hosts are told of it, unless that
                                     was done so lately; 0: a minute, -1: each time */
    size_t memory_max_bytes;      /* of transactions for single followers, made or being made; 0:
                                     256 MiB. A control plane has a quarter at most */
    int64_t patience_ms;   /* a follower that takes nothing for so long is cut; 0: six heartbeat
                              periods, at least 10 s */
    const char *region;    /* copied */
    const struct log *log; /* borrowed */
    /* Feeds that are open, and hosts that are known (connected, or remembered): of one credential,
     * of one control plane. 0: FEED_CAP_DEFAULT. */
    size_t max_feeds[FEED_CAPS];
    size_t max_hosts[FEED_CAPS];
    int64_t twins_ms; /* one instance with two feeds is no reconnection after this; 0: 2 minutes */
};

/* `repo` is borrowed and outlives the feed, which is its one listener. */
int feed_create(struct repo *repo, const struct feed_options *options, struct feed **ret,
                struct error *err);
/* Ends every follower's stream (wakes them all), completes every wait, joins the thread. Followers
 * must be destroyed before feed_destroy(); between the two, feed_follower_read() gives the end of
 * the stream. */
void feed_stop(struct feed *feed);
void feed_destroy(struct feed *feed); /* NULL allowed */

/* ---- following ---- */

struct follower_options {
    struct uuid control_plane_id;
    const char *host;           /* copied */
    struct uuid instance;       /* which of the hosts of this name; nil: an agent of before */
    struct uuid former;         /* the feed that the same agent had before; nil: none */
    const char *agent;          /* the agent's version, or NULL; copied */
    struct model_cursor cursor; /* nil epoch: none */
    struct uuid credential;     /* who opened it; see feed_revoke() */
    bool refusing;              /* the host has refused a snapshot for what it would drop */
    struct feed_wish wish;      /* for its first transaction, which comes in any case then */
    void (*wake)(void *context);
    /* It does not read, and its stream is over: the connection shall end. NULL: wake() is
     * called. */
    void (*cut)(void *context);
    void *context;
};

/* Which host it is: feed_hosts.c. It takes the place of another follower, whose stream ends, only
 * when it names that one's feed. E_TOO_MANY with the cap in the message. */
int feed_follower_create(struct feed *feed, const struct follower_options *options,
                         struct follower **ret, struct error *err);
/* Up to `max` bytes: their number, 0 when there is nothing now (wake() will come), -1 at the
 * end. */
ssize_t feed_follower_read(struct follower *follower, char *bytes, size_t max);
void feed_follower_destroy(struct follower *follower); /* NULL allowed */

/* Ends the streams of all followers that came with this credential. One that connects at the same
 * time is the caller's matter: look at the credential again after feed_follower_create(). */
void feed_revoke(struct feed *feed, const struct uuid *credential);

/* The repository's epoch has been accepted: followers that connect from now on are told. */
void feed_accept_epoch(struct feed *feed);

/* ---- snapshots ---- */

/* The file that a resync line has named. `fd` is the caller's to close; the file stays readable
 * through it after it was removed. E_NOT_FOUND: it is not kept, or not this control plane's. */
struct feed_snapshot {
    int fd;
    struct snapshot_name name;
};
int feed_snapshot_open(struct feed *feed, const struct uuid *control_plane_id,
                       const uint8_t sha256[DIGEST_BYTES], struct feed_snapshot *ret,
                       struct error *err);
/* For the figures: `bytes` of a snapshot were given to a host, or to a cache. */
void feed_snapshot_sent(struct feed *feed, uint64_t bytes);

/* ---- acknowledgement ---- */

struct feed_ack {
    struct uuid control_plane_id;
    const char *host;
    struct uuid instance;
    struct uuid feed;       /* as the hello said; nil: an agent of before, which has no instance */
    struct uuid credential; /* the one that opened the feed */
    struct model_cursor applied;
    uint64_t verified; /* the copy was compared with ours up to here, and equal; 0: not told */
};
/* E_CONFLICT with a reason for whoever sent it: no open feed of this host was opened with this
 * credential, or it says more than was sent on it. Nothing is noted then. */
int feed_ack(struct feed *feed, const struct feed_ack *ack, struct error *err);

struct feed_host_info {
    const char *host;
    struct uuid instance; /* nil: not told */
    bool name_shared;     /* another connected host has its name */
    const char *agent;    /* NULL: not told */
    struct uuid control_plane_id;
    bool connected;
    bool refusing;             /* serves its former copy, because it has refused a snapshot */
    uint64_t applied_version;  /* 0: not yet acknowledged */
    uint64_t verified_version; /* the host has compared all up to it with ours; 0: not known */
    int64_t lag_ms; /* how long the oldest change it has not applied has been waiting; 0: current.
                       Of a host that is not connected and may have missed something: age_ms */
    int64_t age_ms; /* since its last acknowledgement, connection or disconnection */
};
/* Hosts that are connected, and those that were in the last 24 hours and had acknowledged
 * something, by control plane, name and instance. */
int feed_hosts(struct feed *feed, struct arena *arena, struct feed_host_info **ret,
               size_t *ret_count, struct error *err);

/* Waits, without blocking the caller, until every connected host that may see `version` has applied
 * it, or the time is over. done() is called exactly once, from the feed thread or at once, unless
 * feed_wait() fails; hosts that connect later do not count. One that loses its feed before it
 * applied the version is late, unless its agent comes back, names the feed that it had, and has the
 * version then. A change that was undone before it was sent counts as applied. */
/* Whoever waits hears this many names: thousands would cost the thread that sends revocations. */
enum { FEED_LATE_MAX = 100 };
struct feed_late {
    const char *host;
    struct uuid instance; /* nil: not told */
    struct uuid control_plane_id;
    bool name_shared; /* it takes the instance to know which one it is */
};
struct feed_wait_result {
    size_t total;
    size_t applied;
    const struct feed_late *late; /* some of the total - applied; borrowed during the call */
    size_t n_late;                /* so many: FEED_LATE_MAX at most */
    size_t late_others;           /* hosts that are late, and that the viewer may not know of */
};
struct feed_wait_request {
    uint64_t version;
    int64_t timeout_ms;
    /* The control plane whose hosts the caller may know of; only these are counted and named. NULL:
     * all. The wait is for all of them in any case. */
    const struct uuid *viewer;
    void (*done)(void *context, const struct feed_wait_result *result);
    void *context;
};
/* E_CANCELED once the feed is being stopped. */
int feed_wait(struct feed *feed, const struct feed_wait_request *request, struct error *err);

struct feed_stats {
    size_t followers;
    size_t hosts;         /* connected or remembered */
    size_t hosts_sharing; /* connected, with the name of another that is */
    uint64_t feeds_refused;
    uint64_t acks_refused;
    uint64_t transactions_sent;
    uint64_t bytes_sent;
    uint64_t snapshots_built;
    uint64_t snapshot_transfers; /* snapshots, or parts of one, that were asked for */
    uint64_t snapshot_bytes;     /* in them */
    uint64_t snapshot_disk_bytes;
    uint64_t resyncs_sent;
    uint64_t deltas_made;  /* transactions for single followers, or for a few at one place */
    size_t deltas_waiting; /* that were asked for and wait for their turn */
    size_t deltas_running;
    int64_t deltas_oldest_ms; /* how long the oldest of them waits */
    size_t held_bytes;        /* in transactions that are being made or sent */
    uint64_t followers_cut;   /* because they did not read */
};
void feed_stats(struct feed *feed, struct feed_stats *ret);

#endif

/* realmstore.h - turn an API key into a consumer, from the local copy of the realms.
 *
 * CAVEATS FIRST
 *
 *  - Open the store once per process, and after fork(). A child that uses its parent's store gets
 *    RS_E_FORKED. Opening one directory twice in one process makes LMDB lose its locks: don't.
 *  - Everything that a lookup gives is borrowed from the map and dies at rs_end(): copy what stays.
 *  - A snapshot is for one request: begin and end around it; it costs tens of nanoseconds.
 *  - There are two modes of reading. "Retained" writes nothing and works on a read-only mount, in
 *    another PID namespace and with read permission alone: the agent keeps pages for a retention
 *    time (retention_ms, 1 s by default), whether anybody reads them or not. A snapshot lives no
 *    longer than that, and the library finds out: rs_lookup() checks before it answers, and
 *    rs_check() tells whether what was borrowed may still be read. This is the default
 *    (RS_MODE_AUTO) wherever the agent retains.
 *  - "Slots" (RS_MODE_SLOTS) is for snapshots that must outlive the retention time. It writes one
 *    slot of the store's lock file: the process must be in the reader group, a read-only mount is
 *    refused, and a snapshot that stays open keeps its pages from being used again, so that the
 * file grows. The price is trust: whoever can write lock.mdb, which is every member of the reader
 *    group, can keep readers with slots waiting for ever, take their pages away, or crash them.
 *  - What remains in retained mode: a thread that is stopped (SIGSTOP, the freezer, a starved
 *    machine) inside one call of rs_lookup(), or between rs_check() and the use of a string, for
 *    longer than half the retention time goes on in pages that the agent may have used again. In
 *    rs_lookup() that is found out and looked up again; every number in a page is checked before
 *    it is followed, so that no page leads out of the file, whatever is in it. A string that you
 *    hold may become other bytes, and lose its end: copy what you need with a limit (strnlen(),
 *    "%.*s"; nothing is longer than 1024 bytes), then call rs_check(), then use the copies.
 *  - RS_STALE carries an answer. Whether to serve it is the caller's policy, not ours.
 *
 * LIFE CYCLE
 *
 *     rs_store *store;
 *     int rc = rs_open(&store, "/var/lib/realm-agent", NULL);     // once, in the worker process
 *
 *     rs_source sources[] = {RS_SOURCE_REALM_INIT, {.scope = RS_SCOPE_CP}};
 *     rs_source_parse("realm:us:2b9c7c22-...", &sources[0]);      // once, from the configuration
 *
 *     char buffer[4096];                                          // per request
 *     rs_answer answer;
 *     rc = rs_lookup_copy(store, sources, 2, key, key_size, buffer, sizeof(buffer), &answer);
 *     if (rc == RS_FOUND)
 *         printf("%s\n", answer.username != NULL ? answer.username : answer.id);
 *
 *     rs_close(store);
 *
 * The parts, for who wants to read without a copy or ask twice of one version:
 *
 *     rs_snapshot *snapshot;
 *     rs_consumer consumer;
 *     char name[1025] = "";
 *     rc = rs_begin(store, &snapshot);
 *     rc = rs_lookup(snapshot, sources, 2, key, key_size, &consumer);
 *     if (rc == RS_FOUND && rs_consumer_username(&consumer) != NULL)
 *         snprintf(name, sizeof(name), "%.1024s", rs_consumer_username(&consumer));
 *     if (rs_check(snapshot) == 0)                                // the copy is good
 *         printf("%s\n", name);
 *     rs_end(snapshot);
 *
 * ERRORS: functions that return int give 0 or more for an answer and a negative RS_E_* code for a
 * failure; outputs are written on success alone. rs_strerror() has a text for each. A failure
 * leaves the store as usable as it was before.
 *
 * THREADS: one rs_store may be used by any number of threads at once. An rs_snapshot and what it
 * gave belong to one thread at a time.
 *
 * SIGNALS: no function is async-signal-safe.
 *
 * The library never logs, never exits, never writes the data, and starts no thread.
 */
#ifndef REALMSTORE_H
#define REALMSTORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RS_VERSION_MAJOR 1
#define RS_VERSION_MINOR 0

#if defined(__GNUC__)
#    define RS_API __attribute__((visibility("default")))
#else
#    define RS_API
#endif

typedef struct rs_store rs_store;       /* one open store directory */
typedef struct rs_snapshot rs_snapshot; /* one consistent version of it */

/* What rs_lookup() answers. */
enum {
    RS_FOUND = 0,
    RS_NOT_FOUND = 1,
    RS_STALE = 2 /* older than the realm's ttl (found) or negative_ttl (not found) allows */
};

/* Failures. Numbers are part of the ABI. */
enum {
    RS_E_NO_MEMORY = -1,
    RS_E_INVALID = -2,    /* an argument is outside what the function allows */
    RS_E_NO_STORE = -3,   /* the directory is missing or no agent has made a store in it */
    RS_E_FORMAT = -4,     /* written by another format version; update the library or the agent */
    RS_E_CORRUPT = -5,    /* truncated, damaged, or not a store; `realmctl verify` tells more */
    RS_E_PERMISSION = -6, /* this user may not read the store; see the reader group */
    RS_E_READ_ONLY_MOUNT = -7, /* slots need to write the lock file; they were asked for, or the
                                * agent retains nothing */
    RS_E_FORKED = -8,          /* opened in the parent process */
    RS_E_READERS_FULL = -9,   /* all reader slots are taken; `realmctl readers` names the holders */
    RS_E_PID_COLLISION = -10, /* a reader with our pid in another PID namespace holds the lock;
                               * RS_MODE_RETAINED needs none */
    RS_E_NOT_READY = -11, /* the source has never been copied completely: no answer is possible */
    RS_E_IO = -12,
    RS_E_BUSY = -13,
    RS_E_MAP_RESIZED = -14,
    RS_E_UNSUPPORTED =
        -15,              /* retained mode, but the agent's retention_ms is 0, or it has no slots */
    RS_E_OVERTAKEN = -16, /* retained mode: the snapshot is older than the agent keeps pages; end it
                           * and begin another one */
    RS_E_TOO_SMALL = -17  /* the caller's buffer is; rs_answer.needed has the size */
};

/* Text of a code, answers included; never NULL, static. Thread-safe. */
RS_API const char *rs_strerror(int code);

/* ---- opening ---- */

typedef enum rs_mode {
    RS_MODE_AUTO = 0,    /* retained, or slots where the agent's retention_ms is 0 */
    RS_MODE_SLOTS = 1,   /* slots or nothing */
    RS_MODE_RETAINED = 2 /* never writes anything */
} rs_mode;

typedef struct rs_options {
    size_t size;   /* sizeof(rs_options) of the caller: lets later versions add members */
    char *message; /* NULL, or where a failing rs_open() puts what, where, why and what to do */
    size_t message_size; /* bytes at message, 256 is plenty; cut and NUL-terminated */
    rs_mode mode; /* where `size` ends before it: RS_MODE_SLOTS, since such a caller was built
                   * before there was rs_check(), and may keep a snapshot as long as it likes */
} rs_options;

/* clang-format off */
#define RS_OPTIONS_INIT {sizeof(rs_options), NULL, 0, RS_MODE_AUTO}
/* clang-format on */

/* Opens the store at `dir` read-only. `options` may be NULL, which is RS_OPTIONS_INIT. The store is
 * created by realm-agent; it need not be complete yet (lookups then give RS_E_NOT_READY). On
 * success *ret is owned by the caller until rs_close(). Codes: NO_MEMORY, INVALID, NO_STORE,
 * FORMAT, CORRUPT, PERMISSION, READ_ONLY_MOUNT, READERS_FULL, PID_COLLISION, UNSUPPORTED (retained
 * mode, and the agent retains nothing), OVERTAKEN (its pages changed faster than they could be
 * opened), IO. */
RS_API int rs_open(rs_store **ret, const char *dir, const rs_options *options);

/* Closes; every snapshot must have ended. NULL is allowed. In a forked child it frees the library's
 * own memory and leaves LMDB's, through which it could harm the parent's reader slots, alone. */
RS_API void rs_close(rs_store *store);

/* ---- snapshots ---- */

/* Begins a snapshot: each source is fixed at the newest complete version when first used in it. No
 * allocation and no system call once the store is warm and while threads do not meet in it (a
 * switch to a new generation, made by a full resynchronisation, opens files; while no source was
 * heard for 6 s, one stat() a second looks whether the directory was removed and made anew, and if
 * so the new store is opened). A source that cannot
 * be opened does not stop the others: lookups that need it give its code, and opening it is tried
 * again once a second. *ret is owned until rs_end(). Codes: INVALID, NO_MEMORY, FORKED. */
RS_API int rs_begin(rs_store *store, rs_snapshot **ret);

/* Ends it; all that was borrowed from it is gone. NULL is allowed. */
RS_API void rs_end(rs_snapshot *snapshot);

/* Whether everything that was read from the snapshot until now was right: 0, or RS_E_OVERTAKEN when
 * the agent may have used its pages again, so that strings borrowed from it, and copies of them
 * made since, are void. Always 0 with slots. INVALID, FORKED. No system call. */
RS_API int rs_check(const rs_snapshot *snapshot);

/* ---- lookup ---- */

typedef enum rs_scope { RS_SCOPE_REALM = 1, RS_SCOPE_CP = 2 } rs_scope;

/* One place to look for a key: a realm by its UUID, or the control plane's own consumers. */
typedef struct rs_source {
    rs_scope scope;
    uint8_t realm_id[16]; /* RS_SCOPE_REALM: the UUID's bytes in text order */
    char region[64]; /* "" looks in every source of the store, else in the source of this name */
} rs_source;

/* clang-format off */
#define RS_SOURCE_REALM_INIT {RS_SCOPE_REALM, {0}, {0}}
/* clang-format on */

/* Reads "cp", "cp:REGION", "realm:UUID" or "realm:REGION:UUID". 0 or RS_E_INVALID. Thread-safe. */
RS_API int rs_source_parse(const char *text, rs_source *ret);

/* The answer; the caller provides the memory, the members are the library's. */
typedef struct rs_consumer {
    uint64_t opaque[40];
} rs_consumer;

/* Looks `key` (raw API key, `key_size` bytes, any bytes) up in the `n` sources in order; the first
 * that knows it answers. An expired key is not found. A source whose realm the store does not hold
 * (unknown, or not allowed for this control plane) knows no key. An empty key and one above 1024
 * bytes are not found. The answers:
 *
 *  - RS_FOUND: *ret is the consumer, valid until rs_end().
 *  - RS_NOT_FOUND: *ret is empty (rs_consumer_id() gives NULL).
 *  - RS_STALE: one of these two, told apart by rs_consumer_id(), but the control plane has not been
 *    heard for longer than the realm's ttl (found) or negative_ttl (not found) allows; 10 minutes
 *    for a realm that the store does not hold. The control plane's own consumers have no ttl: like
 *    pushed configuration, they stay.
 *  - RS_E_NOT_READY: a source that had to be asked has no complete copy yet, or the store knows no
 *    region of this name. Not a "no".
 *  - RS_E_OVERTAKEN (retained mode): the snapshot has answered from this source before, and is now
 *    older than half the retention time or overtaken by the agent; or it was overtaken several
 * times within this call. End it, begin another one. Before the first answer of a source the
 * library does that by itself. Not a "no".
 *
 * Other codes: INVALID; CORRUPT (the record under this key is damaged); what opening the source
 * gave (CORRUPT, FORMAT, PERMISSION, IO, ...); READERS_FULL, PID_COLLISION, MAP_RESIZED (end all
 * snapshots and try again), UNSUPPORTED (the agent was started again with retention_ms 0),
 * NO_MEMORY and IO when a source is first used in the snapshot. No
 * allocation and no system call once the snapshot's memory has served before. */
RS_API int rs_lookup(rs_snapshot *snapshot, const rs_source *sources, size_t n, const void *key,
                     size_t key_size, rs_consumer *ret);

/* Finds one of the control plane's own consumers by its id, or else by its username: for a
 * consumer without a key, such as a gateway's anonymous consumer. `region` is the source to look
 * in; NULL or "": all in turn. By id this costs what a lookup does; by username it reads, up to all
 * of the control plane's own consumers, about a microsecond each: find it once and keep its id.
 * RS_FOUND, without a credential id; RS_NOT_FOUND; never RS_STALE, since these consumers have no
 * ttl; failures as of rs_lookup(). */
RS_API int rs_find(rs_snapshot *snapshot, const char *region, const char *name, rs_consumer *ret);

/* Members of the answer. Strings are UTF-8, NUL-terminated, borrowed until rs_end(); the three ids
 * are text inside *consumer and live as long as it does. NULL: there is none. An index out of range
 * gives NULL. */
RS_API const char *rs_consumer_id(rs_consumer *consumer);
RS_API const char *rs_consumer_username(const rs_consumer *consumer);
RS_API const char *rs_consumer_custom_id(const rs_consumer *consumer);
RS_API const char *rs_consumer_credential_id(rs_consumer *consumer);
RS_API size_t rs_consumer_tag_count(const rs_consumer *consumer);
RS_API const char *rs_consumer_tag(const rs_consumer *consumer, size_t i);
/* Groups: the realm's, then the consumer's own that the realm has not, each once. */
RS_API size_t rs_consumer_group_count(const rs_consumer *consumer);
RS_API const char *rs_consumer_group(const rs_consumer *consumer, size_t i);
/* Where it was found: RS_SCOPE_REALM with the realm's id and name, or RS_SCOPE_CP with NULLs. */
RS_API rs_scope rs_consumer_scope(const rs_consumer *consumer);
RS_API const char *rs_consumer_realm_id(rs_consumer *consumer);
RS_API const char *rs_consumer_realm_name(const rs_consumer *consumer);
/* Milliseconds since the answering source's control plane was last heard; for a miss, the oldest of
 * the sources that were asked. -1: a source was never heard. */
RS_API int64_t rs_consumer_age_ms(const rs_consumer *consumer);

/* ---- a request in one call ---- */

/* What rs_lookup_copy() found. Every pointer is into the caller's buffer (or NULL: there is none)
 * and stays as long as that does; strings are UTF-8 and NUL-terminated. Nothing needs to be set
 * before the call. */
typedef struct rs_answer {
    const char *id;            /* NULL: nobody was found */
    const char *username;      /* NULL: none */
    const char *custom_id;     /* NULL: none */
    const char *credential_id; /* NULL: found by rs_find_copy() */
    const char *const *groups; /* n_groups of them: the realm's, then the consumer's own */
    size_t n_groups;
    const char *const *tags; /* n_tags of them */
    size_t n_tags;
    rs_scope scope;         /* 0: nobody was found */
    const char *realm_id;   /* RS_SCOPE_REALM; else NULL */
    const char *realm_name; /* the same */
    int64_t age_ms;         /* as rs_consumer_age_ms() gives it */
    int stale;              /* 1: the call gave RS_STALE */
    size_t needed;          /* bytes, after RS_E_TOO_SMALL; else 0 */
    uint64_t reserved[8];   /* 0 */
} rs_answer;

/* rs_begin(), rs_lookup(), copying, rs_check() and rs_end() in one, again as often as it makes
 * sense where the agent was faster (OVERTAKEN) or the map has to grow (MAP_RESIZED): what most
 * programs want. Like the parts it makes no allocation and no
 * system call once the store is warm.
 *
 * `buffer`: `buffer_size` bytes of the caller's, of any alignment; 4096 are enough for usual
 * consumers, RS_ANSWER_MAX_BYTES for every one; NULL with size 0 is allowed. Gives what rs_lookup()
 * gives: RS_FOUND, RS_NOT_FOUND, RS_STALE (told apart by ret->id), or a negative code. Then *ret
 * has no pointers and n_groups = n_tags = 0, and the buffer is as it was; RS_E_TOO_SMALL says in
 * ret->needed how many bytes this answer takes: call again with as many, in a loop, for the
 * consumer may have grown meanwhile. OVERTAKEN and MAP_RESIZED come only when it was tried many
 * times: the machine is too slow for the agent's retention_ms, or other threads stay in snapshots.
 * FORKED in a child of the process that opened the store. Any number of threads may call it on one
 * store at once, each with its own buffer; the calling thread should not be in a snapshot of the
 * store, since the map cannot grow then. Not async-signal-safe. */
RS_API int rs_lookup_copy(rs_store *store, const rs_source *sources, size_t n, const void *key,
                          size_t key_size, void *buffer, size_t buffer_size, rs_answer *ret);
/* The same for rs_find(). */
RS_API int rs_find_copy(rs_store *store, const char *region, const char *name, void *buffer,
                        size_t buffer_size, rs_answer *ret);

/* More than any answer takes: 128 groups and 64 tags of 512 bytes, four texts of 1024, ids. */
enum { RS_ANSWER_MAX_BYTES = 106496 };

/* ---- status ---- */

typedef enum rs_state {
    RS_STATE_EMPTY = 0,        /* no complete copy yet */
    RS_STATE_SYNCING = 1,      /* connected, catching up; the last good copy serves */
    RS_STATE_LIVE = 2,         /* connected and current */
    RS_STATE_DISCONNECTED = 3, /* the control plane is not heard; the last good copy serves */
    RS_STATE_STOPPED = 4,      /* the agent was stopped; the last good copy serves */
    RS_STATE_GONE = 5          /* the store's directory was removed, or is another one without a
                                * complete copy yet; the copy that was opened serves and grows old */
} rs_state;

enum { RS_SOURCES_MAX = 32 };

typedef struct rs_source_status {
    char region[64];
    rs_state state;
    uint32_t generation;    /* 0: none yet */
    uint8_t epoch[16];      /* the source's history; all zero: none */
    uint64_t version;       /* what lookups see */
    int64_t age_ms;         /* since the control plane was last heard; -1: never */
    int64_t commit_time_ms; /* wall time of the source's commit of `version`; 0: none */
    uint64_t realms;
    uint64_t consumers;
    uint64_t keys;
    uint64_t verified_version; /* the newest version of this epoch at which all that the store holds
                                  was compared with the control plane and equal; 0: none yet */
    int64_t verified_ms;       /* wall time of that comparison; 0: none yet */
} rs_source_status;

typedef struct rs_status_info {
    uint8_t control_plane_id[16];
    int64_t agent_pid;    /* 0: no agent runs */
    int64_t retention_ms; /* how long the agent keeps pages for retained readers; 0: it does not */
    rs_mode mode; /* RS_MODE_RETAINED when a source is read so by this process, else SLOTS */
    size_t n_sources;
    rs_source_status sources[RS_SOURCES_MAX];
} rs_status_info;

/* Copies the status out of the shared page; no system call, but for what rs_begin() says. 0,
 * RS_E_FORKED, or RS_E_CORRUPT when the page cannot be read consistently. */
RS_API int rs_status(rs_store *store, rs_status_info *ret);

#ifdef __cplusplus
}
#endif

#endif

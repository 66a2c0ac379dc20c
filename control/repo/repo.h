/* repo.h - the repository: all durable state of a control plane, behind one interface.
 *
 * Two implementations are foreseen: LMDB in the data directory (lmdb/, the default) and
 * PostgreSQL. Everything above this line (REST, feed) knows only what stands here.
 *
 * Each write is one transaction: the entity, the indexes that keep names and secrets unique, and
 * the entry in the change log become durable together, under a version that no reader's cursor can
 * already have passed. When a write function returns 0, the change is on disk.
 *
 * Results are copied into the caller's arena and live as long as it does. Identifiers, numbers and
 * times are the repository's to give. THREADS: every function may be called from any thread. Writes
 * of concurrent callers may share one disk synchronisation. Failing calls change nothing.
 *
 * Codes used throughout: E_NOT_FOUND (err->field names which of the path: "realmId", "consumerId",
 * "keyId", "id"), E_CONFLICT (err->field: "name", "username", "custom_id", "secret"), E_NOT_EMPTY,
 * E_MISSING_REFERENCE, E_NO_MEMORY, E_NO_SPACE, E_IO, E_CORRUPT.
 */
#ifndef RS_CONTROL_REPO_H
#define RS_CONTROL_REPO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/model.h"
#include "sync/change.h"
#include "sync/snapshot.h"

struct repo;

/* ---- entities as the control plane keeps them ---- */

struct repo_realm {
    struct model_realm model; /* number and region are the repository's */
    bool allow_all_control_planes;
    struct model_strings allowed_control_planes; /* UUIDs in lower case, or "*"; as given */
    int64_t created_ms;
    int64_t updated_ms;
};

struct repo_consumer {
    struct model_consumer model;
    int64_t created_ms;
    int64_t updated_ms;
};

enum repo_key_type { REPO_KEY_NEW, REPO_KEY_LEGACY };

struct repo_key {
    struct model_key model; /* the digest stands for the secret, which is nowhere stored */
    enum repo_key_type type;
    int64_t created_ms;
    int64_t updated_ms;
};

/* A control plane's own consumer group: a name to which its gateways attach a meaning. */
struct repo_group {
    struct uuid id;
    const char *name;
    struct model_strings tags;
    int64_t created_ms;
    int64_t updated_ms;
};

enum repo_role {
    REPO_ROLE_ORG_ADMIN,
    REPO_ROLE_CONTROL_PLANE_ADMIN,
    REPO_ROLE_VIEWER,
    REPO_ROLE_DATA_PLANE,
    REPO_ROLES
};

struct repo_token {
    struct uuid id;
    const char *name;
    enum repo_role role;
    bool has_control_plane;
    struct uuid control_plane_id;
    int64_t created_ms;
};

/* Where consumers live. */
enum repo_scope_kind { REPO_SCOPE_REALM, REPO_SCOPE_CP };
struct repo_scope {
    enum repo_scope_kind kind;
    struct uuid id; /* realm, or control plane (which nothing has to create) */
};

/* ---- pages: rows by ascending id, which is order of creation ---- */

struct repo_page {
    size_t size; /* rows at most, 1 or more */
    bool has_after;
    struct uuid after; /* rows with id > after; the row itself need not exist any more */
    bool has_before;
    struct uuid before; /* the last `size` rows with id < before, still ascending */
};

/* Whether rows exist beyond the page on either side. */
struct repo_page_info {
    bool more_before;
    bool more_after;
};

/* NULL: no filter. Both compare whole values. */
struct repo_consumer_filter {
    const char *username;
    const char *custom_id;
};

/* ---- partial updates: a member counts when its bit is set ---- */

enum {
    REPO_SET_NAME = 1 << 0,
    REPO_SET_TTL = 1 << 1,
    REPO_SET_NEGATIVE_TTL = 1 << 2,
    REPO_SET_GROUPS = 1 << 3,
    REPO_SET_ALLOWED = 1 << 4,
    REPO_SET_ALLOW_ALL = 1 << 5,
    REPO_SET_USERNAME = 1 << 6,
    REPO_SET_CUSTOM_ID = 1 << 7, /* with a NULL value: removed */
    REPO_SET_TYPE = 1 << 8,
    REPO_SET_TAGS = 1 << 9
};

/* What a committed write was, for those who wait for it. */
struct repo_commit {
    uint64_t
        version; /* 0: the write changed nothing that a feed carries (an update to equal values) */
};

struct repo_head {
    struct uuid epoch;
    uint64_t version;    /* newest */
    uint64_t oldest;     /* cursors below this are too old; the log holds (oldest, version] */
    int64_t accepted_ms; /* when an operator accepted the epoch for every host; 0: nobody has */
    uint8_t digest_key[DIGEST_KEY_BYTES];
};

/* ---- the feed's view ---- */

enum repo_delta_outcome {
    REPO_DELTA_OK,
    REPO_DELTA_TOO_OLD,
    REPO_DELTA_FUTURE,
    REPO_DELTA_TOO_LARGE
};

struct repo_delta {
    enum repo_delta_outcome outcome;
    uint64_t version; /* the state that the changes lead to: the newest at the call, always set */
    int64_t time_ms;  /* commit time of the newest version that touched anything visible */
    uint64_t changes; /* how many were given to the sink; 0: nothing visible happened */
};

/* Gets each change in the order of enum change_kind; borrowed during the call. A code other than 0
 * stops the walk and is returned; E_TOO_LARGE from the sink becomes REPO_DELTA_TOO_LARGE. */
typedef int (*repo_change_fn)(void *context, const struct change *change);

struct repo_transaction_query {
    const struct uuid *control_plane_id;
    uint64_t from;
    const struct feed_wish *wish; /* NULL: none */
};
struct repo_transaction_sink {
    repo_change_fn change;
    /* After the changes, by scope: the digests of the visible scopes that were touched, and of
     * those that were wished for, in the state that the changes lead to. As for changes, a code
     * other than 0 stops the walk. */
    int (*digest)(void *context, const struct feed_digest *digest);
    void *context;
};

struct repo_snapshot_sink {
    int (*header)(void *context, const struct snapshot_header *header);
    int (*record)(void *context, const struct snapshot_record *record);
    void *context;
};

/* Called after each durable commit, with the newest version, from the committing thread; must be
 * quick and must not call the repository. */
typedef void (*repo_commit_fn)(void *context, uint64_t version);

struct repo_ops {
    void (*close)(struct repo *repo);

    int (*realm_list)(struct repo *, const struct repo_page *, struct arena *,
                      struct repo_realm **ret, size_t *ret_count, struct repo_page_info *ret_info,
                      struct error *);
    int (*realm_get)(struct repo *, const struct uuid *id, struct arena *, struct repo_realm *ret,
                     struct error *);
    /* Uses name, ttls, groups and the allowed control planes of `input`. */
    int (*realm_create)(struct repo *, const struct repo_realm *input, struct arena *,
                        struct repo_realm *ret, struct repo_commit *, struct error *);
    int (*realm_update)(struct repo *, const struct uuid *id, const struct repo_realm *input,
                        unsigned set, struct arena *, struct repo_realm *ret, struct repo_commit *,
                        struct error *);
    /* Without force, a realm that has consumers is E_NOT_EMPTY. With it, all in it goes too. */
    int (*realm_delete)(struct repo *, const struct uuid *id, bool force, struct repo_commit *,
                        struct error *);

    int (*consumer_list)(struct repo *, const struct repo_scope *, const struct repo_page *,
                         const struct repo_consumer_filter *, struct arena *,
                         struct repo_consumer **ret, size_t *ret_count,
                         struct repo_page_info *ret_info, struct error *);
    int (*consumer_get)(struct repo *, const struct repo_scope *, const struct uuid *id,
                        struct arena *, struct repo_consumer *ret, struct error *);
    int (*consumer_create)(struct repo *, const struct repo_scope *,
                           const struct repo_consumer *input, struct arena *,
                           struct repo_consumer *ret, struct repo_commit *, struct error *);
    int (*consumer_update)(struct repo *, const struct repo_scope *, const struct uuid *id,
                           const struct repo_consumer *input, unsigned set, struct arena *,
                           struct repo_consumer *ret, struct repo_commit *, struct error *);
    int (*consumer_delete)(struct repo *, const struct repo_scope *, const struct uuid *id,
                           struct repo_commit *, struct error *);
    /* With its keys. E_MISSING_REFERENCE (field "target_realm_id") without such a realm; E_CONFLICT
     * when a name or secret is taken there. To the realm where it is: 0, nothing happens. */
    int (*consumer_move)(struct repo *, const struct uuid *realm_id, const struct uuid *id,
                         const struct uuid *target_realm_id, struct repo_commit *, struct error *);

    int (*key_list)(struct repo *, const struct repo_scope *, const struct uuid *consumer_id,
                    const struct repo_page *, struct arena *, struct repo_key **ret,
                    size_t *ret_count, struct repo_page_info *ret_info, struct error *);
    int (*key_get)(struct repo *, const struct repo_scope *, const struct uuid *consumer_id,
                   const struct uuid *id, struct arena *, struct repo_key *ret, struct error *);
    /* The secret's digest is computed here, under the organisation's digest key. */
    int (*key_create)(struct repo *, const struct repo_scope *, const struct uuid *consumer_id,
                      const struct repo_key *input, const void *secret, size_t secret_size,
                      struct arena *, struct repo_key *ret, struct repo_commit *, struct error *);
    int (*key_delete)(struct repo *, const struct repo_scope *, const struct uuid *consumer_id,
                      const struct uuid *id, struct repo_commit *, struct error *);
    /* Whose secret is it? E_NOT_FOUND when nobody's, or expired at `now_ms`. */
    int (*authenticate)(struct repo *, const struct repo_scope *, const void *secret,
                        size_t secret_size, int64_t now_ms, struct arena *,
                        struct repo_consumer *ret_consumer, struct repo_key *ret_key,
                        struct error *);

    int (*group_list)(struct repo *, const struct uuid *control_plane_id, const struct repo_page *,
                      struct arena *, struct repo_group **ret, size_t *ret_count,
                      struct repo_page_info *ret_info, struct error *);
    int (*group_get)(struct repo *, const struct uuid *control_plane_id, const struct uuid *id,
                     struct arena *, struct repo_group *ret, struct error *);
    int (*group_create)(struct repo *, const struct uuid *control_plane_id,
                        const struct repo_group *input, struct arena *, struct repo_group *ret,
                        struct error *);
    int (*group_update)(struct repo *, const struct uuid *control_plane_id, const struct uuid *id,
                        const struct repo_group *input, unsigned set, struct arena *,
                        struct repo_group *ret, struct error *);
    int (*group_delete)(struct repo *, const struct uuid *control_plane_id, const struct uuid *id,
                        struct error *);

    int (*token_list)(struct repo *, const struct repo_page *, struct arena *,
                      struct repo_token **ret, size_t *ret_count, struct repo_page_info *ret_info,
                      struct error *);
    /* `hash`: SHA-256 of the token's text. */
    int (*token_create)(struct repo *, const struct repo_token *input,
                        const uint8_t hash[DIGEST_BYTES], struct arena *, struct repo_token *ret,
                        struct error *);
    int (*token_delete)(struct repo *, const struct uuid *id, struct error *);
    int (*token_find)(struct repo *, const uint8_t hash[DIGEST_BYTES], struct arena *,
                      struct repo_token *ret, struct error *);

    int (*head)(struct repo *, struct repo_head *ret, struct error *);
    /* Hosts may take this epoch whatever it drops. E_CONFLICT when it is not head's. Once accepted
     * it stays so. */
    int (*epoch_accept)(struct repo *, const struct uuid *epoch, struct error *);
    /* Everything that `control_plane_id` may see and that was touched after `from`, in its newest
     * state (docs/protocol.md, "Changes are states"). `from` below head's `oldest` is TOO_OLD,
     * above the newest version FUTURE; a consumer that left a realm and came back is deleted and
     * given again in the one transaction. */
    int (*delta)(struct repo *, const struct uuid *control_plane_id, uint64_t from,
                 repo_change_fn sink, void *context, struct repo_delta *ret, struct error *);
    /* The same with digests, and with what a host wishes for besides (sync/change.h). A scope that
     * is not visible is empty. */
    int (*transaction)(struct repo *, const struct repo_transaction_query *,
                       const struct repo_transaction_sink *, struct repo_delta *ret,
                       struct error *);
    /* The whole visible state at the newest version, in snapshot order. */
    int (*snapshot)(struct repo *, const struct uuid *control_plane_id,
                    const struct repo_snapshot_sink *, struct error *);
    /* Whether the transaction `version` touched anything that the control plane may see, before or
     * after it. False for versions that are no longer kept. */
    int (*concerns)(struct repo *, uint64_t version, const struct uuid *control_plane_id, bool *ret,
                    struct error *);
    /* One listener; NULL takes it away and returns after any running call to it has ended. */
    void (*on_commit)(struct repo *, repo_commit_fn listener, void *context);
};

/* Implementations embed this first. */
struct repo {
    const struct repo_ops *ops;
};

struct repo_options {
    const char *region; /* of this control plane's realms, e.g. "us" */
    uint64_t
        keep_versions; /* change log: at least this many of the newest are kept; 0: 1,000,000 */
    struct clock clock;
};

/* Opens or creates the embedded store in `dir` (created 0700). A second process is E_LOCKED. A file
 * `dir`/new-epoch (made after restoring a backup) gives the store a new epoch and is removed. */
int repo_lmdb_open(const char *dir, const struct repo_options *options, struct repo **ret,
                   struct error *err);

#endif

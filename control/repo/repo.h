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
 * A caller can be bound to a control plane (`actor`). It sees the realms that its control plane may
 * use, and what is in them; the others are E_NOT_FOUND to it and in no list. It changes what no
 * other control plane may use, else E_PERMISSION (visibility.h). It makes realms for its own
 * control plane alone and leaves them so, moves between realms that it may change, and has no
 * business with other control planes' own consumers and groups, nor with access tokens
 * (E_PERMISSION). All this is looked at inside the read's or the write's own transaction.
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

/* Where a consumer is, or one of its keys: a function uses what leads to its entity. */
struct repo_path {
    struct repo_scope scope;
    struct uuid consumer_id;
    struct uuid key_id;
};

/* A key to be made, and its secret: any bytes. */
struct repo_key_input {
    struct repo_key key; /* its type, tags and expiry */
    const void *secret;
    size_t secret_size;
};

/* Who shows this secret, at which time? */
struct repo_login {
    const void *secret;
    size_t secret_size;
    int64_t now_ms;
};
struct repo_owner {
    struct repo_consumer consumer;
    struct repo_key key;
};

/* ---- pages: rows by ascending id, which is order of creation ---- */

struct repo_page {
    size_t size; /* rows at most, 1 or more; large ones make the page end earlier */
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

/* One page of each entity, in the call's arena. */
struct repo_realm_rows {
    struct repo_realm *items;
    size_t count;
    struct repo_page_info info;
};
struct repo_consumer_rows {
    struct repo_consumer *items;
    size_t count;
    struct repo_page_info info;
};
struct repo_key_rows {
    struct repo_key *items;
    size_t count;
    struct repo_page_info info;
};
struct repo_group_rows {
    struct repo_group *items;
    size_t count;
    struct repo_page_info info;
};
struct repo_token_rows {
    struct repo_token *items;
    size_t count;
    struct repo_page_info info;
};

/* Which consumers of a scope. The names compare whole values; NULL: any. */
struct repo_consumer_query {
    struct repo_page page;
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

struct repo_realm_change {
    unsigned set;
    struct repo_realm to;
};
struct repo_consumer_change {
    unsigned set;
    struct repo_consumer to;
};
struct repo_group_change {
    unsigned set;
    struct repo_group to;
};

/* What a committed write was, for those who wait for it. */
struct repo_commit {
    uint64_t version; /* 0: it changed nothing that a feed carries (an update to equal values) */
};

/* One call: what all functions on entities need. */
struct repo_call {
    struct repo *repo;
    struct arena *arena;        /* gets the results */
    const struct uuid *actor;   /* the control plane that the caller is bound to; NULL: it is not */
    struct repo_commit *commit; /* of a write; may be NULL */
    struct error *err;
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
     * other than 0 stops the walk. NULL: no digests. */
    int (*digest)(void *context, const struct feed_scope_hash *digest);
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

void repo_close(struct repo *repo);

/* ---- realms ---- */

int repo_realm_list(const struct repo_call *call, const struct repo_page *page,
                    struct repo_realm_rows *ret);
int repo_realm_get(const struct repo_call *call, const struct uuid *id, struct repo_realm *ret);
/* Uses name, ttls, groups and the allowed control planes of `input`. */
int repo_realm_create(const struct repo_call *call, const struct repo_realm *input,
                      struct repo_realm *ret);
int repo_realm_update(const struct repo_call *call, const struct uuid *id,
                      const struct repo_realm_change *change, struct repo_realm *ret);
/* Without force, a realm that has consumers is E_NOT_EMPTY. With it, all in it goes too. */
int repo_realm_delete(const struct repo_call *call, const struct uuid *id, bool force);

/* ---- consumers ---- */

int repo_consumer_list(const struct repo_call *call, const struct repo_scope *scope,
                       const struct repo_consumer_query *query, struct repo_consumer_rows *ret);
int repo_consumer_get(const struct repo_call *call, const struct repo_path *path,
                      struct repo_consumer *ret);
int repo_consumer_create(const struct repo_call *call, const struct repo_scope *scope,
                         const struct repo_consumer *input, struct repo_consumer *ret);
int repo_consumer_update(const struct repo_call *call, const struct repo_path *path,
                         const struct repo_consumer_change *change, struct repo_consumer *ret);
int repo_consumer_delete(const struct repo_call *call, const struct repo_path *path);
/* From realm to realm, with its keys. E_MISSING_REFERENCE (field "target_realm_id") without such a
 * realm; E_CONFLICT when a name or secret is taken there. To the realm where it is: 0, nothing
 * happens. */
int repo_consumer_move(const struct repo_call *call, const struct repo_path *path,
                       const struct uuid *target_realm_id);

/* ---- keys ---- */

/* Of the consumer that `path` leads to. */
int repo_key_list(const struct repo_call *call, const struct repo_path *path,
                  const struct repo_page *page, struct repo_key_rows *ret);
int repo_key_get(const struct repo_call *call, const struct repo_path *path, struct repo_key *ret);
/* For the consumer that `path` leads to. The secret's digest is computed here, under the
 * organisation's digest key. */
int repo_key_create(const struct repo_call *call, const struct repo_path *path,
                    const struct repo_key_input *input, struct repo_key *ret);
int repo_key_delete(const struct repo_call *call, const struct repo_path *path);
/* E_NOT_FOUND (field "secret") when the secret is nobody's, or expired. */
int repo_authenticate(const struct repo_call *call, const struct repo_scope *scope,
                      const struct repo_login *login, struct repo_owner *ret);

/* ---- a control plane's groups ---- */

int repo_group_list(const struct repo_call *call, const struct uuid *control_plane_id,
                    const struct repo_page *page, struct repo_group_rows *ret);
int repo_group_get(const struct repo_call *call, const struct uuid *control_plane_id,
                   const struct uuid *id, struct repo_group *ret);
int repo_group_create(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct repo_group *input, struct repo_group *ret);
int repo_group_update(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct uuid *id, const struct repo_group_change *change,
                      struct repo_group *ret);
int repo_group_delete(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct uuid *id);

/* ---- access tokens; `hash` is the SHA-256 of the token's text ---- */

int repo_token_list(const struct repo_call *call, const struct repo_page *page,
                    struct repo_token_rows *ret);
int repo_token_create(const struct repo_call *call, const struct repo_token *input,
                      const uint8_t hash[DIGEST_BYTES], struct repo_token *ret);
int repo_token_delete(const struct repo_call *call, const struct uuid *id);
int repo_token_find(const struct repo_call *call, const uint8_t hash[DIGEST_BYTES],
                    struct repo_token *ret);

/* ---- the history, and the feed's view of it ---- */

int repo_head(struct repo *repo, struct repo_head *ret, struct error *err);
/* Hosts may take this epoch whatever it drops. E_CONFLICT when it is not head's. Once accepted it
 * stays so. */
int repo_epoch_accept(struct repo *repo, const struct uuid *epoch, struct error *err);
/* Everything that the control plane may see and that was touched after `from`, in its newest state
 * (docs/protocol.md, "Changes are states"), and what a host wishes for besides (sync/change.h).
 * `from` below head's `oldest` is TOO_OLD, above the newest version FUTURE. A consumer that left a
 * realm and came back is deleted and given again in the one transaction; a scope that is not
 * visible is empty. */
int repo_transaction(struct repo *repo, const struct repo_transaction_query *query,
                     const struct repo_transaction_sink *sink, struct repo_delta *ret,
                     struct error *err);
/* The whole visible state at the newest version, in snapshot order. */
int repo_snapshot(struct repo *repo, const struct uuid *control_plane_id,
                  const struct repo_snapshot_sink *sink, struct error *err);
/* Whether the transaction `version` touched anything that the control plane may see, before or
 * after it. False for versions that are no longer kept. */
int repo_concerns(struct repo *repo, uint64_t version, const struct uuid *control_plane_id,
                  bool *ret, struct error *err);
/* One listener; NULL takes it away and returns after any running call to it has ended. */
void repo_on_commit(struct repo *repo, repo_commit_fn listener, void *context);

/* ---- the embedded implementation ---- */

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

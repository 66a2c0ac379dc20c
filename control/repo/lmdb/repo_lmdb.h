/* repo_lmdb.h - inside of the embedded repository; only this folder includes it.
 *
 *   repo.c       open, close, the table of operations
 *   env.c        lock file, LMDB environment, tables
 *   txn.c        read transactions, get/put/delete, the one translation of LMDB codes
 *   writer.c     the writer thread and its group commit
 *   rows.c       keys and values as bytes, and back
 *   names.c      unique names, counters per scope, identifiers
 *   page.c       pages of rows
 *   digests.c    set hashes of each scope's records
 *   realms.c, consumers.c, keys.c, groups.c, tokens.c    the entities
 *   log.c        the change log and who could see what
 *   scopes.c, touched.c, delta.c, concerns.c, snapshot.c    the feed's view
 *
 * docs/control-store.md gives the layout of the tables.
 */
#ifndef RS_CONTROL_REPO_LMDB_H
#define RS_CONTROL_REPO_LMDB_H

#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/set_hash.h"
#include "control/repo/entity.h"
#include "control/repo/errors.h"
#include "control/repo/ops.h"
#include "control/repo/repo.h"
#include "control/repo/scopes.h"
#include "control/repo/view.h"
#include "control/repo/visibility.h"
#include "store/record.h"

enum repo_table {
    TABLE_META,
    TABLE_REALMS,
    TABLE_CONSUMERS,
    TABLE_NAMES,
    TABLE_KEYS,
    TABLE_SECRETS,
    TABLE_COUNTS,
    TABLE_GROUPS,
    TABLE_TOKENS,
    TABLE_LOG,
    TABLE_DIGESTS,
    TABLES
};

enum {
    REPO_LMDB_FORMAT = 3,
    REPO_LMDB_FORMAT_NO_DIGESTS = 2, /* is brought up to date when it is opened */
    REPO_POOL_MAX = 64,      /* idle read transactions that are kept; each holds a reader slot */
    REPO_ALLOWED_MAX = 1024, /* control planes that one realm may name */
    REPO_ROW_MAX_BYTES = RECORD_MAX_BYTES + 64 * 1024
};

/* ---- the repository ---- */

/* What meta holds about the history; one row, rewritten with every commit. */
struct repo_state {
    uint64_t version; /* newest */
    uint64_t oldest;  /* smallest cursor that can be served: the log holds (oldest, version] */
    int64_t time_ms;  /* commit time of `version` */
    uint32_t next_number;
    struct uuid last_id; /* the greatest identifier ever given */
};

struct repo_job;

struct repo_writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wanted;  /* a job was queued, or stop */
    struct repo_job *first; /* borrowed: jobs live on their callers' stacks */
    struct repo_job *last;
    bool stopping;
    struct repo_state state; /* the writer thread's; what the newest commit left */
};

struct repo_listener {
    pthread_mutex_t lock; /* held during the call, so that taking it away waits for the end */
    repo_commit_fn call;  /* NULL: nobody listens */
    void *context;
};

struct repo_pool {
    pthread_mutex_t lock;
    MDB_txn *idle[REPO_POOL_MAX]; /* reset read transactions */
    size_t count;
};

struct repo_lmdb {
    struct repo base; /* first: struct repo * and struct repo_lmdb * are the same address */
    int lock_fd;
    MDB_env *env;
    MDB_dbi tables[TABLES];
    char region[MODEL_REGION_MAX + 1];
    uint64_t keep_versions;
    struct clock clock;
    struct uuid epoch;
    uint8_t digest_secret[DIGEST_KEY_BYTES];
    struct digest_key digest_key;
    struct repo_pool pool;
    struct repo_listener listener;
    struct repo_writer writer;
};

static inline struct repo_lmdb *repo_lmdb(struct repo *repo)
{
    return (struct repo_lmdb *)repo;
}

/* ---- environment (env.c) ---- */

/* Takes `dir`/lock. E_LOCKED names the holder. */
int repo_env_lock(const char *dir, int *ret_fd, struct error *err);
/* Opens the environment and the tables; makes epoch and digest key when it is new. */
int repo_env_open(struct repo_lmdb *repo, const char *dir, struct error *err);
void repo_env_close(struct repo_lmdb *repo);

/* ---- transactions (txn.c) ---- */

struct repo_txn {
    struct repo_lmdb *repo;
    MDB_txn *handle;
    const struct uuid *actor; /* whom the caller is bound to; NULL: nobody, or it is the feed */
};

/* The one place where LMDB's codes become ours. `doing` completes "the control store failed ...".
 * 0 stays 0. */
int repo_lmdb_error(int code, const char *doing, struct error *err);

/* A consistent view; values read from it are borrowed until repo_read_end(). */
int repo_read_begin(const struct repo_call *call, struct repo_txn *ret);
/* The same without a caller. */
int repo_snapshot_begin(struct repo_lmdb *repo, struct repo_txn *ret, struct error *err);
void repo_read_end(struct repo_txn *txn);

/* A key under construction; the longest is namespace, letter and hash. */
enum { REPO_SCOPE_BYTES = 1 + UUID_BYTES, REPO_KEY_MAX_BYTES = 64 };
struct repo_bytes {
    uint8_t bytes[REPO_KEY_MAX_BYTES];
    size_t size;
};

/* E_NOT_FOUND without a message of its own: the caller knows what was looked for. */
int repo_get(const struct repo_txn *txn, enum repo_table table, const struct repo_bytes *key,
             MDB_val *ret, struct error *err);
int repo_put(const struct repo_txn *txn, enum repo_table table, const struct repo_bytes *key,
             const void *value, size_t size, struct error *err);
/* E_CONFLICT, without a message, when the key is there; *ret_existing is its value then. */
int repo_put_new(const struct repo_txn *txn, enum repo_table table, const struct repo_bytes *key,
                 const void *value, size_t size, MDB_val *ret_existing, struct error *err);
int repo_del(const struct repo_txn *txn, enum repo_table table, const struct repo_bytes *key,
             struct error *err);

int repo_cursor_open(const struct repo_txn *txn, enum repo_table table, MDB_cursor **ret,
                     struct error *err);
/* mdb_cursor_get(), where the end of the table is E_NOT_FOUND. */
int repo_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op,
                    struct error *err);
bool repo_has_prefix(const MDB_val *key, const struct repo_bytes *prefix);

/* Calls visit() for each row whose key begins with `prefix`, in order; a code other than 0 ends
 * the walk and is returned. visit() may delete the row it stands on through `cursor`. */
typedef int (*repo_visit_fn)(void *context, MDB_cursor *cursor, const MDB_val *key,
                             const MDB_val *value, struct error *err);
int repo_walk(const struct repo_txn *txn, enum repo_table table, const struct repo_bytes *prefix,
              repo_visit_fn visit, void *context, struct error *err);
int repo_del_prefix(const struct repo_txn *txn, enum repo_table table,
                    const struct repo_bytes *prefix, struct error *err);

/* ---- writing (writer.c) ---- */

/* One caller's write, run by the writer thread inside its own (nested) transaction. */
struct repo_write {
    struct repo_txn txn;
    struct repo_state state;
    struct buffer touched; /* log entries; empty at the end: no version is spent */
    int64_t now_ms;
};

typedef int (*repo_write_fn)(struct repo_write *write, void *args, struct error *err);

enum repo_write_mode {
    REPO_WRITE_SHARED, /* may share a commit with other writes */
    REPO_WRITE_ALONE   /* large: gets a transaction of its own */
};

int repo_writer_start(struct repo_lmdb *repo, const struct repo_state *state, struct error *err);
/* Runs what is queued, then ends the thread. */
void repo_writer_stop(struct repo_lmdb *repo);
/* Blocks until the write is durable or has failed. */
int repo_write(const struct repo_call *call, repo_write_fn run, void *args,
               enum repo_write_mode mode);

/* ---- keys and values as bytes (rows.c) ---- */

struct repo_bytes repo_key_scope(const struct repo_scope *scope);
struct repo_bytes repo_key_uuid(const struct uuid *id);
struct repo_bytes repo_meta_key(const char *name);    /* of a row of TABLE_META */
struct repo_bytes repo_key_version(uint64_t version); /* big-endian: ascending */
struct repo_bytes repo_key_with(struct repo_bytes key, const void *bytes, size_t size);
static inline struct repo_bytes repo_key_with_id(struct repo_bytes key, const struct uuid *id)
{
    return repo_key_with(key, id->bytes, UUID_BYTES);
}

/* Bounds-checked reading of a stored value; after a read past the end `ok` is false and all reads
 * give zero. */
struct repo_reader {
    const uint8_t *at;
    size_t left;
    bool ok;
};
struct repo_reader repo_reader_on(const MDB_val *value);
const uint8_t *repo_read_bytes(struct repo_reader *reader, size_t size); /* NULL when not ok */
uint8_t repo_read_u8(struct repo_reader *reader);
uint32_t repo_read_u32(struct repo_reader *reader);
uint64_t repo_read_u64(struct repo_reader *reader);
struct uuid repo_read_uuid(struct repo_reader *reader);
struct repo_scope repo_read_scope(struct repo_reader *reader);

int repo_append_u8(struct buffer *out, uint8_t value);
int repo_append_u32(struct buffer *out, uint32_t value);
int repo_append_u64(struct buffer *out, uint64_t value);
int repo_append_uuid(struct buffer *out, const struct uuid *id);
int repo_append_scope(struct buffer *out, const struct repo_scope *scope);

int repo_append_visibility(struct buffer *out, const struct repo_visibility *visibility);
struct repo_visibility repo_read_visibility(struct repo_reader *reader);

/* Rows, borrowed from the transaction: the next write in it ends the loan. A key's record is empty
 * in rows from before it was kept here too. */
int repo_realm_row_read(const MDB_val *value, struct repo_realm_row *ret, struct error *err);
int repo_consumer_row_read(const MDB_val *value, struct repo_consumer_row *ret, struct error *err);
int repo_key_row_read(const MDB_val *value, struct repo_key_row *ret, struct error *err);
int repo_realm_row_append(const struct repo_realm_row *row, struct buffer *out);
int repo_consumer_row_append(const struct repo_consumer_row *row, struct buffer *out);
int repo_key_row_append(const struct repo_key_row *row, struct buffer *out);

/* ---- names, counters, identifiers (names.c) ---- */

enum repo_name_kind {
    REPO_NAME_USERNAME = 'u',
    REPO_NAME_CUSTOM_ID = 'i',
    REPO_NAME_REALM = 'r',
    REPO_NAME_GROUP = 'g',
    REPO_NAME_TOKEN = 't'
};
/* A namespace is a scope's key, or this one for what is unique in the whole organisation. */
struct repo_bytes repo_namespace_organisation(void);

struct repo_name {
    struct repo_bytes namespace;
    enum repo_name_kind kind;
    const char *text; /* NULL: no name, nothing to do */
};
/* E_CONFLICT with the kind's field when another entity has the name. */
int repo_name_take(const struct repo_txn *txn, const struct repo_name *name, const struct uuid *id,
                   struct error *err);
int repo_name_release(const struct repo_txn *txn, const struct repo_name *name, struct error *err);
/* From `before` to `after`; equal texts are left alone. */
int repo_name_change(const struct repo_txn *txn, const struct repo_name *before, const char *after,
                     const struct uuid *id, struct error *err);
/* E_NOT_FOUND without a message. */
int repo_name_find(const struct repo_txn *txn, const struct repo_name *name, struct uuid *ret,
                   struct error *err);
/* The index key of a name whose hash is known (access tokens). */
struct repo_bytes repo_name_key(const struct repo_bytes *namespace, enum repo_name_kind kind,
                                const uint8_t hash[DIGEST_BYTES]);

int repo_counts_get(const struct repo_txn *txn, const struct repo_scope *scope,
                    struct repo_counts *ret, struct error *err);
int repo_counts_add(const struct repo_txn *txn, const struct repo_scope *scope, int64_t consumers,
                    int64_t keys, struct error *err);

/* A UUIDv7 above every one given before, so that order of ids is order of creation even within a
 * millisecond and after the clock was set back. */
int repo_new_id(struct repo_write *write, struct uuid *ret, struct error *err);

/* ---- the epoch (epoch.c) ---- */

int lmdb_epoch_accept(struct repo *repo, const struct uuid *epoch, struct error *err);
/* When the store's epoch was accepted; 0: it was not. */
int repo_epoch_accepted(const struct repo_txn *txn, int64_t *ret_ms, struct error *err);

/* ---- digests (digests.c) ---- */

/* A record comes (`former` NULL), changes, or goes (`next` NULL). Before the rows are written,
 * which ends the loan of `former`. */
int repo_digest_change(const struct repo_txn *txn, const struct repo_scope *scope, unsigned bucket,
                       const struct repo_record *former, const struct repo_record *next,
                       struct error *err);
/* Of the whole scope, and of each bucket. */
int repo_digest_get(const struct repo_txn *txn, const struct repo_scope *scope,
                    struct set_hash *ret, struct error *err);
int repo_digest_buckets(const struct repo_txn *txn, const struct repo_scope *scope,
                        struct set_hash ret[SET_HASH_BUCKETS], struct error *err);
/* All of them anew, from the records. */
int repo_digests_rebuild(struct repo_txn *txn, struct error *err);

/* ---- pages (page.c) ---- */

/* Turns one row into the caller's entity, `row_size` bytes at `ret`. */
typedef int (*repo_decode_fn)(const struct repo_txn *txn, void *context, const struct uuid *id,
                              const MDB_val *value, struct arena *arena, void *ret,
                              struct error *err);
struct repo_page_query {
    enum repo_table table;
    struct repo_bytes prefix; /* followed by the row's id */
    size_t row_size;
    /* Whether the actor may know of the row; NULL: every one. */
    int (*sees)(const struct repo_txn *txn, const MDB_val *value, bool *ret, struct error *err);
    repo_decode_fn decode;
    void *context;
};
struct repo_page_result {
    void *rows;
    size_t count;
    struct repo_page_info info;
};
int repo_page_read(const struct repo_txn *txn, const struct repo_page_query *query,
                   const struct repo_page *page, struct arena *arena, struct repo_page_result *ret,
                   struct error *err);

/* ---- entities ---- */

/* E_NOT_FOUND with `field`; also when it is not for the transaction's actor to see. */
int repo_realm_load(const struct repo_txn *txn, const struct uuid *id, const char *field,
                    struct repo_realm_row *ret, struct error *err);
enum repo_access { REPO_READ, REPO_CHANGE };
/* Whether consumers can live there (the realm exists, or it is a control plane), and the actor may
 * read or change them. E_NOT_FOUND, E_PERMISSION. */
int repo_scope_check(const struct repo_txn *txn, const struct repo_scope *scope,
                     enum repo_access access, struct error *err);
struct repo_bytes repo_consumer_key(const struct repo_scope *scope, const struct uuid *id);
int repo_consumer_load(const struct repo_txn *txn, const struct repo_scope *scope,
                       const struct uuid *id, struct repo_consumer_row *ret, struct error *err);
struct repo_bytes repo_secret_key(const struct repo_scope *scope,
                                  const uint8_t digest[DIGEST_BYTES]);
/* The prefix of a consumer's keys; with an id behind it, one key. */
struct repo_bytes repo_keys_of(const struct repo_scope *scope, const struct uuid *consumer_id);
/* The record of the key that the row describes. */
int repo_key_record(const struct repo_txn *txn, const struct repo_scope *scope,
                    const struct repo_key_row *row, struct repo_record *ret, struct error *err);
/* Deletes all keys of a consumer; *ret_count says how many. */
int repo_keys_delete(const struct repo_txn *txn, const struct repo_scope *scope,
                     const struct uuid *consumer_id, size_t *ret_count, struct error *err);
/* Moves all keys of a consumer. E_CONFLICT (field "secret") when a secret is taken there. */
int repo_keys_move(const struct repo_txn *txn, const struct repo_scope *from,
                   const struct repo_scope *to, const struct uuid *consumer_id, size_t *ret_count,
                   struct error *err);

extern const struct repo_ops repo_lmdb_ops; /* repo.c */

/* repo.h's functions */
int lmdb_realm_list(const struct repo_call *call, const struct repo_page *page,
                    struct repo_realm_rows *ret);
int lmdb_realm_get(const struct repo_call *call, const struct uuid *id, struct repo_realm *ret);
int lmdb_realm_create(const struct repo_call *call, const struct repo_realm *input,
                      struct repo_realm *ret);
int lmdb_realm_update(const struct repo_call *call, const struct uuid *id,
                      const struct repo_realm_change *change, struct repo_realm *ret);
int lmdb_realm_delete(const struct repo_call *call, const struct uuid *id, bool force);
int lmdb_consumer_list(const struct repo_call *call, const struct repo_scope *scope,
                       const struct repo_consumer_query *query, struct repo_consumer_rows *ret);
int lmdb_consumer_get(const struct repo_call *call, const struct repo_path *path,
                      struct repo_consumer *ret);
int lmdb_consumer_create(const struct repo_call *call, const struct repo_scope *scope,
                         const struct repo_consumer *input, struct repo_consumer *ret);
int lmdb_consumer_update(const struct repo_call *call, const struct repo_path *path,
                         const struct repo_consumer_change *change, struct repo_consumer *ret);
int lmdb_consumer_delete(const struct repo_call *call, const struct repo_path *path);
int lmdb_consumer_move(const struct repo_call *call, const struct repo_path *path,
                       const struct uuid *target_realm_id);
int lmdb_key_list(const struct repo_call *call, const struct repo_path *path,
                  const struct repo_page *page, struct repo_key_rows *ret);
int lmdb_key_get(const struct repo_call *call, const struct repo_path *path, struct repo_key *ret);
int lmdb_key_create(const struct repo_call *call, const struct repo_path *path,
                    const struct repo_key_input *input, struct repo_key *ret);
int lmdb_key_delete(const struct repo_call *call, const struct repo_path *path);
int lmdb_authenticate(const struct repo_call *call, const struct repo_scope *scope,
                      const struct repo_login *login, struct repo_owner *ret);
int lmdb_group_list(const struct repo_call *call, const struct uuid *control_plane_id,
                    const struct repo_page *page, struct repo_group_rows *ret);
int lmdb_group_get(const struct repo_call *call, const struct uuid *control_plane_id,
                   const struct uuid *id, struct repo_group *ret);
int lmdb_group_create(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct repo_group *input, struct repo_group *ret);
int lmdb_group_update(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct uuid *id, const struct repo_group_change *change,
                      struct repo_group *ret);
int lmdb_group_delete(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct uuid *id);
int lmdb_token_list(const struct repo_call *call, const struct repo_page *page,
                    struct repo_token_rows *ret);
int lmdb_token_create(const struct repo_call *call, const struct repo_token *input,
                      const uint8_t hash[DIGEST_BYTES], struct repo_token *ret);
int lmdb_token_delete(const struct repo_call *call, const struct uuid *id);
int lmdb_token_find(const struct repo_call *call, const uint8_t hash[DIGEST_BYTES],
                    struct repo_token *ret);

/* ---- change log (log.c) ---- */

int repo_log_touch(struct repo_write *write, const struct repo_touch *touch, struct error *err);
/* Gives the write its version and stores its entry, if it touched anything. */
int repo_log_append(struct repo_write *write, struct error *err);
/* Drops what is older than the retention asks for, at most `max` entries. */
int repo_log_trim(const struct repo_txn *txn, struct repo_state *state, size_t max,
                  struct error *err);

/* Calls visit() for each touched entity of the versions in (from, to], ascending. */
int repo_log_walk(const struct repo_txn *txn, uint64_t from, uint64_t to, repo_touch_fn visit,
                  void *context, struct error *err);

int repo_state_read(const struct repo_txn *txn, struct repo_state *ret, struct error *err);
int repo_state_write(const struct repo_txn *txn, const struct repo_state *state, struct error *err);

/* ---- the feed's view ---- */

struct repo_lmdb_view {
    struct repo_view base;
    struct repo_txn txn;
};
int repo_lmdb_view_init(struct repo_lmdb_view *view, struct repo_lmdb *repo, struct error *err);
void repo_lmdb_view_finish(struct repo_lmdb_view *view);

int lmdb_head(struct repo *repo, struct repo_head *ret, struct error *err);
int lmdb_view(struct repo *repo, struct repo_view **ret, struct error *err);
int lmdb_snapshot(struct repo *repo, const struct uuid *control_plane_id,
                  const struct repo_snapshot_sink *sink, struct error *err);

#endif

/* env.h - one generation's LMDB environment, opened for writing or for reading, with its tables.
 *
 * The only place that opens LMDB. LMDB's own traps are closed here, before mdb_env_open() can fall
 * into them:
 *
 *   - a data file shorter than its newest meta page says is refused (LMDB would die by SIGBUS);
 *   - a read-only mount is refused (LMDB would read without a slot, unprotected) unless the caller
 *     asks for just that;
 *   - a reader never creates the lock file (the agent could not open it any more).
 */
#ifndef RS_STORE_ENV_H
#define RS_STORE_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <lmdb.h>

#include "base/error.h"
#include "store/layout.h"
#include "store/lmdb_code.h"
#include "store/lmdb_format.h"

/* Slots in lock.mdb; and of the writer, which holds some transactions for others (retention.h). */
enum { ENV_MAX_READERS = 4096, ENV_OWN_READERS = 64 };

struct env {
    MDB_env *mdb;             /* NULL: closed */
    MDB_dbi tables[TABLES];   /* not of readers */
    const unsigned char *map; /* our own mapping of the file, from page 0 on: of readers always, of
                                 the writer after env_view(); LMDB keeps its own to itself */
    size_t page_bytes;
    size_t view_bytes; /* of the mapping; 0: there is none */

    /* Of the writer: the newest meta page as its commit left it, before it was synced
     * (env_sync.c). */
    bool head_known;
    bool head_lost; /* that sync failed */

    /* Of the writer (env_slots.c); descriptors: 0, none. */
    int slots_fd;  /* lock.mdb */
    int mirror_fd; /* data.mdb-lock, where LMDB looks for readers */
    off_t mirror_at;
    MDB_txn *mirror; /* holds the slot there */
    off_t head_at;
    unsigned char head[META_BYTES];
};

/* The table's name in the file; NULL for the unnamed one. */
const char *env_table_name(enum table table);
unsigned env_table_flags(enum table table); /* LMDB's, as they stand in the file */

/* Makes a new environment in the empty directory `dir`. Commits are not synced: the caller ends the
 * load with env_make_durable(). `map_bytes` is address space; less is taken where the process may
 * not have it. */
int env_create(const char *dir, size_t map_bytes, gid_t gid, struct env *ret, struct error *err);
/* Opens an existing one for writing. A commit syncs its pages before its meta page is written, and
 * env_sync() the meta page: after a power loss the file holds that commit or the one before, whole
 * (lmdb.h, MDB_NOMETASYNC), and readers need not wait for the second sync. What it finds is durable
 * when it returns: a former agent may have left a commit whose last sync failed. */
int env_open_writer(const char *dir, size_t map_bytes, gid_t gid, struct env *ret,
                    struct error *err);
/* Opens an existing one for reading through slots. E_NOT_FOUND: it is gone (the agent removed it).
 * From then on LMDB begins and ends transactions, and reads no page but the meta pages: its own
 * descent would follow a damaged number out of the file. The pages are read by tree.h. */
int env_open_reader(const char *dir, struct env *ret, struct error *err);
/* The same without a slot: nothing is written and no lock file is used (retained.h). *ret_txn_id is
 * the oldest transaction that opening may have read, also upon failure; 0: none. */
int env_open_retained(const char *dir, struct env *ret, uint64_t *ret_txn_id, struct error *err);
/* Opens one that nobody writes to any more, without locks or a lock file: it may be on a read-only
 * mount. */
int env_open_frozen(const char *dir, struct env *ret, struct error *err);
void env_close(struct env *env); /* a closed one: no effect */

/* Syncs what was written and makes later commits like those of env_open_writer(). */
int env_make_durable(struct env *env, struct error *err);
/* Makes the last commit durable. After a failure the next call writes the meta page again first:
 * the kernel has marked it clean, and would sync nothing. */
int env_sync(struct env *env, struct error *err);
/* The same, whoever made the commit, and whatever became of its sync. */
int env_settle(struct env *env, struct error *err);
/* Extends data.mdb to the last page its meta page names. LMDB leaves it shorter when the last pages
 * of a commit were taken and dropped again, which env_check_file() could not tell from a
 * truncation. */
int env_cover_file(struct env *env, struct error *err);

/* For the writer: a map of its own, of all pages that the newest version has. LMDB's is nobody's
 * business, and moves. */
int env_view(struct env *env, struct error *err);
void env_close_view(struct env *env);

/* ---- readers' slots: of the writer (env_slots.c) ---- */

#define ENV_NO_SNAPSHOT UINT64_MAX
typedef void (*env_slot_fn)(void *context, pid_t pid, uint64_t txn_id);
/* Every slot in use, believed as it stands. */
void env_slots_each(const struct env *env, env_slot_fn each, void *context);
/* The same for anybody who may read lock.mdb of the generation's directory: LMDB is not asked, so
 * that nothing that others hold or wrote there keeps it waiting. */
int env_slots_list(const char *dir, env_slot_fn each, void *context, struct error *err);
/* Frees the slots of processes that are gone; how many. */
unsigned env_slots_clear(const struct env *env);
/* Before a write transaction: what readers have in their slots keeps its pages. */
int env_slots_keep(const struct env *env, struct error *err);
/* After a commit: readers with slots begin with the newest version. */
void env_slots_announce(const struct env *env);
/* Before LMDB opens the directory for writing, and after. */
int env_slots_prepare(const char *dir, struct error *err);
int env_slots_open(struct env *env, const char *dir, gid_t gid, struct error *err);
void env_slots_close(struct env *env);

/* How the map is used. */
struct env_room {
    uint64_t map_bytes;  /* address space: no page beyond it can be written */
    uint64_t file_bytes; /* up to the last page ever written */
    uint64_t used_bytes; /* pages that the newest version reaches; the rest is free or pinned */
};
int env_measure(const struct env *env, struct env_room *ret, struct error *err);
/* Doubles the map, up to the file size plus `free_bytes`, what is free on the disk. E_NO_SPACE: it
 * is that large already. This process may have no transaction open but the ones that are held and
 * not read (retention.h): the map moves, and they look at it when they are used again. */
int env_grow(struct env *env, uint64_t free_bytes, struct error *err);
/* Keeps at least half of the map free, as far as the disk of `dir` allows it. */
void env_widen(struct env *env, const char *dir);

/* Told of the file while LMDB copies into it. */
struct env_copy_watch {
    void (*begin)(void *context, int fd);
    void (*end)(void *context);
    void *context;
};
/* Writes a compacted copy of the newest version to dir/data.mdb, which must not exist; durable when
 * it returns. LMDB copies what it is led to: the agent checks all of it before (trees.h). Readers
 * and the writer go on meanwhile. `watch` may be NULL. */
int env_copy(const struct env *env, const char *dir, gid_t gid, const struct env_copy_watch *watch,
             struct error *err);

/* Fails when data.mdb is not LMDB's (E_CORRUPT), of another LMDB format (E_FORMAT), or shorter than
 * its newest meta page says (E_CORRUPT). */
int env_check_file(const char *dir, struct error *err);
/* The same for one that is open: LMDB's map must not follow a damaged head. */
int env_check_open_file(const struct env *env);
/* E_READ_ONLY_MOUNT, E_PERMISSION or E_NOT_FOUND when reader slots in dir/lock.mdb cannot be
 * written. */
int env_check_slots(const char *dir, struct error *err);

/* ---- readers (env_read.c) ---- */

struct tree;
/* Maps as much of the file as LMDB does, after opening or when LMDB's map has grown. */
int env_map_pages(struct env *env);
/* Begins a transaction and finds its unnamed table. Both are right as long as the transaction is
 * open. E_OVERTAKEN, E_CORRUPT, ... */
int env_begin_pages(const struct env *env, MDB_txn **ret, struct tree *ret_tree);
/* Reads the value of `meta`. E_FORMAT, E_CORRUPT. */
int env_read_meta_row(const struct tree *unnamed, struct layout_meta *ret);
/* The same, and looks whether all tables are there with as many rows as it says.
 * E_FORMAT, E_CORRUPT. */
int env_read_head(const struct tree *unnamed, struct layout_meta *ret);

/* Reads the value of `meta` through a handle. E_FORMAT, E_CORRUPT. */
int env_read_meta(const struct env *env, MDB_txn *txn, struct layout_meta *ret);

/* Bytes as LMDB takes them. It never writes through a key or value that it is given, but says so
 * nowhere. */
static inline MDB_val env_val(const void *bytes, size_t size)
{
    return (MDB_val){size, (void *)(uintptr_t)bytes};
}

/* lmdb_code() with a message: "cannot `doing`: reason (what to do)". */
int env_error(struct error *err, int mdb_rc, const char *doing);
/* The same for a failed write or commit. LMDB calls a write that a full file system cut short EIO;
 * here it is E_NO_SPACE. */
int env_write_error(const struct env *env, struct error *err, int mdb_rc, const char *doing);

#endif

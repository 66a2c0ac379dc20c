/* env_room.c - how much room an environment has, takes, and could do with; see env.h.
 *
 * LMDB's file never shrinks. Pages that no version needs any more are used again, unless a reader
 * pins them; then the file grows, up to its map.
 */
#include "store/env.h"

#include <sys/mman.h>

#include "store/files.h"

/* LMDB's own two tables: of free pages, and of the names of ours. */
enum { DBI_FREE = 0, DBI_MAIN = 1 };

/* The figures that need no transaction; gives the page size. */
static uint64_t measure_file(const struct env *env, struct env_room *ret)
{
    MDB_envinfo info;
    MDB_stat stat;

    (void)mdb_env_info(env->mdb, &info); /* these two fail for a NULL environment only */
    (void)mdb_env_stat(env->mdb, &stat);
    ret->map_bytes = info.me_mapsize;
    ret->file_bytes = (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
    return stat.ms_psize;
}

static int add_pages(MDB_txn *txn, MDB_dbi dbi, uint64_t *pages)
{
    MDB_stat stat;
    int rc = mdb_stat(txn, dbi, &stat);

    if (rc == 0)
        *pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    return rc;
}

static int count_pages(const struct env *env, MDB_txn *txn, uint64_t *ret)
{
    uint64_t pages = META_PAGES;
    int rc = add_pages(txn, DBI_FREE, &pages);

    if (rc == 0)
        rc = add_pages(txn, DBI_MAIN, &pages);
    for (int i = 0; i < TABLES && rc == 0; i++) {
        if (env->tables[i] != DBI_MAIN)
            rc = add_pages(txn, env->tables[i], &pages);
    }
    *ret = pages;
    return rc;
}

int env_measure(const struct env *env, struct env_room *ret, struct error *err)
{
    uint64_t pages;
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);

    if (rc != 0)
        return env_error(err, rc, "measure the store");
    rc = count_pages(env, txn, &pages);
    mdb_txn_abort(txn);
    if (rc != 0)
        return env_error(err, rc, "measure the store");
    ret->used_bytes = pages * measure_file(env, ret);
    return 0;
}

/* LMDB unmaps before it maps anew and is of no use when the second fails: try the address space
 * first. */
static bool fits_address_space(uint64_t bytes)
{
    void *probe = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (probe == MAP_FAILED)
        return false;
    (void)munmap(probe, bytes); /* our own mapping */
    return true;
}

int env_grow(struct env *env, uint64_t free_bytes, struct error *err)
{
    static const uint64_t unit = (uint64_t)1 << 20; /* a multiple of every page size */
    struct env_room room;
    uint64_t size;
    int rc;

    (void)measure_file(env, &room); /* the page size is of no matter */
    size = room.map_bytes * 2;
    if (free_bytes < size && room.file_bytes + free_bytes < size)
        size = room.file_bytes + free_bytes;
    size -= size % unit;
    if (size <= room.map_bytes)
        return error_set(err, E_NO_SPACE, "the disk has no room for a larger store");
    if (!fits_address_space(size))
        return error_set(err, E_NO_SPACE, "the process has no address space for a larger store");
    rc = mdb_env_set_mapsize(env->mdb, size);
    return rc == 0 ? 0 : env_error(err, rc, "enlarge the map");
}

void env_widen(struct env *env, const char *dir)
{
    struct env_room room;

    (void)measure_file(env, &room); /* as above */
    if (room.file_bytes > room.map_bytes / 2)
        (void)env_grow(env, files_free_bytes(dir), NULL); /* or the write will tell */
}

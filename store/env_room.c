/* env_room.c - how much room an environment has, takes, and could do with; see env.h.
 *
 * LMDB's file never shrinks. Pages that no version needs any more are used again, unless a reader
 * pins them; then the file grows, up to its map. The way to a smaller file is a copy.
 */
#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/files.h"

/* LMDB's own two tables: of free pages, and of the names of ours. */
enum { DBI_FREE = 0, DBI_MAIN = 1, META_PAGES = 2 };

static int add_pages(MDB_txn *txn, MDB_dbi dbi, uint64_t *pages)
{
    MDB_stat stat;
    int rc = mdb_stat(txn, dbi, &stat);

    if (rc == 0)
        *pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    return rc;
}

int env_measure(const struct env *env, struct env_room *ret, struct error *err)
{
    uint64_t pages = META_PAGES;
    MDB_envinfo info;
    MDB_stat stat;
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);

    if (rc != 0)
        return env_error(err, rc, "measure the store");
    rc = add_pages(txn, DBI_FREE, &pages);
    if (rc == 0)
        rc = add_pages(txn, DBI_MAIN, &pages);
    for (int i = 0; i < TABLES && rc == 0; i++)
        rc = add_pages(txn, env->tables[i], &pages);
    mdb_txn_abort(txn);
    if (rc != 0)
        return env_error(err, rc, "measure the store");
    (void)mdb_env_info(env->mdb, &info); /* these two fail for a NULL environment only */
    (void)mdb_env_stat(env->mdb, &stat);
    ret->map_bytes = info.me_mapsize;
    ret->file_bytes = (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
    ret->used_bytes = pages * stat.ms_psize;
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
    struct env_room room = {.map_bytes = 0};
    uint64_t size;
    int rc = env_measure(env, &room, err);

    if (rc != 0)
        return rc;
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

int env_write_code(const struct env *env, int mdb_rc)
{
    enum { ROOM_BYTES = 1024 * 1024 }; /* with less, it was the disk */
    mdb_filehandle_t fd;
    struct statvfs fs;

    if (mdb_rc != EIO || mdb_env_get_fd(env->mdb, &fd) != 0 || fstatvfs(fd, &fs) != 0)
        return mdb_rc;
    return (uint64_t)fs.f_bavail * fs.f_frsize < ROOM_BYTES ? ENOSPC : mdb_rc;
}

static int copy_to(const struct env *env, int fd, const char *path, struct error *err)
{
    int rc = mdb_env_copyfd2(env->mdb, fd, MDB_CP_COMPACT);

    if (rc != 0) {
        (void)env_error(err, rc, "copy the store");
        return error_context(err, "%s", path);
    }
    return fsync(fd) == 0 ? 0 : error_set_errno(err, errno, "cannot sync %s", path);
}

int env_copy(const struct env *env, const char *dir, gid_t gid, struct error *err)
{
    char path[PATH_MAX];
    int fd;
    int rc = files_join(path, dir, "data.mdb", err);

    if (rc != 0)
        return rc;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILES_MODE_DATA);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot create %s", path);
    rc = copy_to(env, fd, path, err);
    if (close(fd) != 0 && rc == 0)
        rc = error_set_errno(err, errno, "cannot close %s", path);
    if (rc == 0)
        rc = files_own(path, FILES_MODE_DATA, gid, err);
    return rc == 0 ? files_sync_dir(dir, err) : rc;
}

int env_reserve_slots(const char *dir, struct error *err)
{
    /* LMDB's reader table: one cache line a slot, and a head in the first ones. */
    enum { SLOT_BYTES = 64, HEAD_SLOTS = 4 };
    char path[PATH_MAX];
    int fd;
    int rc = files_join(path, dir, "lock.mdb", err);

    if (rc != 0)
        return rc;
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILES_MODE_LOCK);
    if (fd < 0)
        return errno == EEXIST ? 0 : error_set_errno(err, errno, "cannot create %s", path);
    rc = posix_fallocate(fd, 0, (off_t)(ENV_MAX_READERS + HEAD_SLOTS) * SLOT_BYTES);
    (void)close(fd); /* nothing was written; LMDB opens it again */
    if (rc == ENOSPC) {
        (void)unlink(path); /* so that the next attempt reserves again */
        return error_set_errno(err, rc, "cannot make room for %s", path);
    }
    return 0; /* a file system that cannot reserve gives the blocks when they are written */
}

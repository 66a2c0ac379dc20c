/* env.c - see env.h. */
#include "store/env.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/own.h"
#include "store/files.h"
#include "store/trees.h"

/* Smaller maps are not worth opening. */
static const size_t map_min_bytes = (size_t)1 << 20;
/* Where a reader starts when the writer's map is too large for its address space. */
static const size_t map_reader_bytes = (size_t)8 << 30;

static const struct {
    const char *name; /* NULL: LMDB's unnamed database, which holds the others' names too */
    unsigned flags;
} tables[TABLES] = {
    [TABLE_META] = {"meta", 0},           [TABLE_REALMS] = {"realms", MDB_INTEGERKEY},
    [TABLE_REALM_IDS] = {"realm_ids", 0}, [TABLE_CONSUMERS] = {"consumers", 0},
    [TABLE_DIGESTS] = {"digests", 0},     [TABLE_LOOKUP] = {NULL, 0},
};

const char *env_table_name(enum table table)
{
    return tables[table].name;
}

unsigned env_table_flags(enum table table)
{
    return tables[table].flags;
}

int env_error(struct error *err, int mdb_rc, const char *doing)
{
    const char *advice = "";

    if (mdb_rc == MDB_MAP_FULL)
        advice = " (a reader that holds an old snapshot, or more data than the map has room for: "
                 "see `realmctl readers`)";
    return error_set(err, lmdb_code(mdb_rc), "cannot %s: %s%s", doing, mdb_strerror(mdb_rc),
                     advice);
}

static bool is_disk_full(const struct env *env)
{
    enum { NEXT_TO_NOTHING_BYTES = 1 << 20 }; /* file systems keep the last blocks to themselves */
    struct statvfs fs;
    mdb_filehandle_t fd;

    (void)mdb_env_get_fd(env->mdb, &fd); /* fails for NULL only */
    return fstatvfs(fd, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < NEXT_TO_NOTHING_BYTES;
}

int env_write_error(const struct env *env, struct error *err, int mdb_rc, const char *doing)
{
    return env_error(err, mdb_rc == EIO && is_disk_full(env) ? ENOSPC : mdb_rc, doing);
}

/* One attempt with one map size; 0 leaves it to the file. */
static int open_once(const char *path, unsigned flags, size_t map_bytes, MDB_env **ret)
{
    MDB_env *mdb;
    int rc = mdb_env_create(&mdb);

    if (rc != 0)
        return rc;
    rc = mdb_env_set_maxdbs(mdb, TABLES);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(mdb, (flags & MDB_NOSUBDIR) != 0 ? ENV_OWN_READERS
                                                                     : ENV_MAX_READERS);
    if (rc == 0 && map_bytes > 0)
        rc = mdb_env_set_mapsize(mdb, map_bytes);
    if (rc == 0)
        rc = mdb_env_open(mdb, path, flags | MDB_NOTLS, FILES_MODE_DATA);
    if (rc != 0) {
        mdb_env_close(mdb);
        return rc;
    }
    *ret = mdb;
    return 0;
}

/* Halves the map until it fits into the address space (RLIMIT_AS, cgroups of 32-bit hosts). */
static int open_fitting(const char *path, unsigned flags, size_t map_bytes, MDB_env **ret)
{
    int rc = open_once(path, flags, map_bytes, ret);

    if (map_bytes == 0)
        map_bytes = map_reader_bytes;
    while (rc == ENOMEM && map_bytes / 2 >= map_min_bytes) {
        map_bytes /= 2;
        rc = open_once(path, flags, map_bytes, ret);
    }
    return rc;
}

/* Handles of all tables; made with MDB_CREATE in `flags`. */
static int open_tables(struct env *env, unsigned flags)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);

    if (rc != 0)
        return rc;
    for (int i = 0; i < TABLES && rc == 0; i++)
        rc = mdb_dbi_open(txn, tables[i].name, tables[i].flags | flags, &env->tables[i]);
    if (rc == MDB_NOTFOUND && env->tables[TABLE_CONSUMERS] != 0)
        rc = MDB_VERSION_MISMATCH; /* what comes behind it is younger than format 2 */
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc == MDB_NOTFOUND ? MDB_INVALID : rc; /* LMDB's, but not a store */
    }
    return mdb_txn_commit(txn); /* keeps the handles */
}

static int own_file(const char *dir, const char *name, mode_t mode, gid_t gid, struct error *err)
{
    char path[PATH_MAX];
    int rc = files_join(path, dir, name, err);

    return rc != 0 ? rc : files_own(path, mode, gid, err);
}

/* LMDB opens and grows whatever has these names. */
static int check_files(const char *dir, struct error *err)
{
    static const char *const names[] = {"data.mdb", "lock.mdb"};
    char path[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && rc == 0; i++) {
        rc = files_join(path, dir, names[i], err);
        if (rc == 0)
            rc = own_check_file(path, err);
    }
    return rc;
}

static int open_for_writing(const char *dir, size_t map_bytes, gid_t gid, unsigned env_flags,
                            unsigned table_flags, struct env *ret, struct error *err)
{
    struct env env = {.mdb = NULL};
    char path[PATH_MAX];
    int rc = check_files(dir, err);

    if (rc == 0)
        rc = env_slots_prepare(dir, err);
    if (rc != 0)
        return rc;
    rc = files_join(path, dir, "data.mdb", err);
    if (rc != 0)
        return rc;
    rc = open_fitting(path, env_flags | MDB_NOSUBDIR, map_bytes, &env.mdb); /* its own lock file */
    if (rc != 0) {
        (void)env_error(err, rc, "open it for writing");
        return error_context(err, "%s", dir);
    }
    rc = open_tables(&env, table_flags);
    if (rc != 0) {
        (void)env_error(err, rc, "open its tables");
        rc = error_context(err, "%s", dir);
        goto fail;
    }
    rc = own_file(dir, "data.mdb", FILES_MODE_DATA, gid, err);
    if (rc == 0)
        rc = env_slots_open(&env, dir, gid, err);
    if (rc != 0)
        goto fail;
    *ret = env;
    return 0;
fail:
    env_close(&env);
    return rc;
}

int env_create(const char *dir, size_t map_bytes, gid_t gid, struct env *ret, struct error *err)
{
    return open_for_writing(dir, map_bytes, gid, MDB_NOSYNC, MDB_CREATE, ret, err);
}

int env_open_writer(const char *dir, size_t map_bytes, gid_t gid, struct env *ret,
                    struct error *err)
{
    struct env env;
    int rc = env_check_file(dir, err);

    if (rc == 0)
        rc = trees_check_names(dir, err);
    if (rc == 0)
        rc = open_for_writing(dir, map_bytes, gid, MDB_NOMETASYNC, 0, &env, err);
    if (rc != 0)
        return rc;
    rc = env_settle(&env, err);
    if (rc != 0) {
        env_close(&env);
        return error_context(err, "%s", dir);
    }
    *ret = env;
    return 0;
}

/* A map for LMDB and one of our own, of one size, as large as there is address space for. */
static int open_and_map(const char *dir, unsigned flags, struct env *env, struct error *err)
{
    size_t map_bytes = 0;

    for (;;) {
        MDB_envinfo info;
        int rc = open_fitting(dir, flags, map_bytes, &env->mdb);

        if (rc != 0)
            return env_error(err, rc, "open it for reading");
        rc = env_map_pages(env);
        if (rc == 0)
            return 0;
        (void)mdb_env_info(env->mdb, &info); /* fails for NULL only */
        env_close(env);
        if (map_bytes > 0 && info.me_mapsize > map_bytes)
            return error_set(err, rc, "cannot map data.mdb"); /* no less will do */
        map_bytes = info.me_mapsize / 2;
        if (rc != E_NO_MEMORY || map_bytes < map_min_bytes)
            return error_set(err, rc, "cannot map data.mdb");
    }
}

static int open_for_reading(const char *dir, unsigned flags, struct env *ret, uint64_t *ret_txn_id,
                            struct error *err)
{
    struct env env = {.mdb = NULL};
    MDB_envinfo info;
    int rc = env_check_file(dir, err);

    if (rc != 0)
        return rc;
    rc = open_and_map(dir, flags, &env, err);
    if (rc != 0) {
        (void)error_context(err, "%s", dir);
        return rc;
    }
    (void)mdb_env_info(env.mdb, &info); /* fails for NULL only */
    *ret_txn_id = info.me_last_txnid;
    *ret = env;
    return 0;
}

int env_open_reader(const char *dir, struct env *ret, struct error *err)
{
    uint64_t txn_id; /* the slot protects it */
    int rc = env_check_slots(dir, err);

    return rc != 0 ? rc : open_for_reading(dir, MDB_RDONLY, ret, &txn_id, err);
}

int env_open_retained(const char *dir, struct env *ret, uint64_t *ret_txn_id, struct error *err)
{
    *ret_txn_id = 0;
    return open_for_reading(dir, MDB_RDONLY | MDB_NOLOCK, ret, ret_txn_id, err);
}

int env_open_frozen(const char *dir, struct env *ret, struct error *err)
{
    uint64_t txn_id; /* nobody writes */

    return open_for_reading(dir, MDB_RDONLY | MDB_NOLOCK, ret, &txn_id, err);
}

void env_close(struct env *env)
{
    env_close_view(env);
    env_slots_close(env);
    if (env->mdb != NULL)
        mdb_env_close(env->mdb);
    env->mdb = NULL;
}

int env_cover_file(struct env *env, struct error *err)
{
    MDB_envinfo info;
    MDB_stat stat;
    struct stat file;
    mdb_filehandle_t fd;
    off_t needed;

    /* These three fail for a NULL environment only. */
    (void)mdb_env_info(env->mdb, &info);
    (void)mdb_env_stat(env->mdb, &stat);
    (void)mdb_env_get_fd(env->mdb, &fd);
    needed = (off_t)(info.me_last_pgno + 1) * (off_t)stat.ms_psize;
    if (fstat(fd, &file) != 0)
        return error_set_errno(err, errno, "cannot stat data.mdb");
    if (file.st_size < needed && ftruncate(fd, needed) != 0)
        return error_set_errno(err, errno, "cannot extend data.mdb");
    return 0;
}

int env_read_meta(const struct env *env, MDB_txn *txn, struct layout_meta *ret)
{
    MDB_val key = env_val(layout_meta_key, sizeof(layout_meta_key));
    MDB_val value;
    int rc = mdb_get(txn, env->tables[TABLE_META], &key, &value);

    if (rc == MDB_NOTFOUND)
        return E_CORRUPT;
    return rc != 0 ? lmdb_code(rc) : layout_unpack_meta(value.mv_data, value.mv_size, ret);
}

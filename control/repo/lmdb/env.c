/* env.c - the data directory: its lock, the LMDB environment, what meta says.
 *
 *     <dir>/lock                    flock by the one process that uses the directory; holds its pid
 *     <dir>/control.mdb/data.mdb    the environment
 *     <dir>/new-epoch               put there after restoring a backup: this start begins another
 *                                   history, so that hosts that saw later versions notice
 *
 * Failure modes: a second process is refused (E_LOCKED), a file of another format is refused
 * (E_FORMAT) and left as it is.
 *
 * A commit whose sync fails is no commit, and LMDB's next one writes every page that it refers to
 * anew or finds it synced by one that succeeded. That holds from the first one on, because the file
 * itself and its name are made durable before.
 */
#include "control/repo/lmdb/env.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/crypto.h>

#include "base/own.h"
#include "control/repo/errors.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/state.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/lmdb/upgrade.h"

enum { LMDB_PATH_MAX = 4096, MAX_READERS = 1024 };

/* Address space, not memory: a growing file never needs another map, which could not be changed
 * under running readers. */
static const size_t map_max_bytes = (size_t)64 << 30;

static const char *const table_names[TABLES] = {
    [TABLE_META] = "meta",     [TABLE_REALMS] = "realms",   [TABLE_CONSUMERS] = "consumers",
    [TABLE_NAMES] = "names",   [TABLE_KEYS] = "keys",       [TABLE_SECRETS] = "secrets",
    [TABLE_COUNTS] = "counts", [TABLE_GROUPS] = "groups",   [TABLE_TOKENS] = "tokens",
    [TABLE_LOG] = "log",       [TABLE_DIGESTS] = "digests",
};

/* What was made or removed in it. */
static int sync_dir(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0)
        return error_set_errno(err, errno, "cannot open the directory %s", path);
    if (fsync(fd) != 0)
        rc = error_set_errno(err, errno, "cannot sync the directory %s", path);
    (void)close(fd); /* the sync has told what there is to tell */
    return rc;
}

static int sync_parent(const char *path, struct error *err)
{
    char copy[LMDB_PATH_MAX];

    if (strlen(path) >= sizeof(copy))
        return error_set(err, E_INVALID, "the data directory's path is too long");
    memcpy(copy, path, strlen(path) + 1);
    return sync_dir(dirname(copy), err);
}

/* One that was there may have been made by a process that failed to sync its name; where we may not
 * read the parent, whoever made it answers for that. */
static int make_dir(const char *path, struct error *err)
{
    bool is_new = mkdir(path, 0700) == 0;
    int rc;

    if (!is_new && errno != EEXIST)
        return error_set_errno(err, errno, "cannot create the directory %s", path);
    rc = sync_parent(path, err);
    return rc == E_PERMISSION && !is_new ? 0 : rc;
}

static int join_path(char path[LMDB_PATH_MAX], const char *dir, const char *name, struct error *err)
{
    int length = snprintf(path, LMDB_PATH_MAX, "%s/%s", dir, name);

    if (length < 0 || length >= LMDB_PATH_MAX)
        return error_set(err, E_INVALID, "the data directory's path is too long");
    return 0;
}

/* ---- the lock ---- */

int lmdb_env_lock(const char *dir, int *ret_fd, struct error *err)
{
    char path[LMDB_PATH_MAX];
    pid_t holder = 0;
    int rc = make_dir(dir, err);

    if (rc == 0)
        rc = join_path(path, dir, "lock", err);
    if (rc == 0)
        rc = own_lock(path, 0600, ret_fd, &holder, err);
    if (rc != E_LOCKED || holder == 0)
        return rc;
    return error_set(err, E_LOCKED,
                     "the data directory %s is in use by process %ld; stop it or choose another "
                     "directory",
                     dir, (long)holder);
}

/* ---- identity ---- */

/* The identity: format, epoch, digest key. */
static int identity_put(const struct lmdb_repo *repo, const struct lmdb_txn *txn, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_meta("identity");
    struct buffer out;
    int rc;

    buffer_init(&out, 256);
    rc = lmdb_append_u32(&out, LMDB_FORMAT);
    if (rc == 0)
        rc = lmdb_append_uuid(&out, &repo->epoch);
    if (rc == 0)
        rc = buffer_append(&out, repo->digest_secret, DIGEST_KEY_BYTES);
    rc = rc == 0 ? lmdb_put(txn, TABLE_META, &key, out.data, out.size, err)
                 : repo_encode_error(rc, "the identity", err);
    if (out.data != NULL)
        OPENSSL_cleanse(out.data, out.size);
    buffer_finish(&out);
    return rc;
}

static int no_randomness(struct error *err)
{
    return error_set(err, E_IO, "the system gives no random bytes");
}

static int identity_create(struct lmdb_repo *repo, const struct lmdb_txn *txn, struct error *err)
{
    const struct lmdb_state state = {.time_ms = repo->clock.wall_ms(repo->clock.context),
                                     .next_number = 1};
    int rc;

    if (uuid_generate(&repo->epoch) != 0 ||
        getrandom(repo->digest_secret, DIGEST_KEY_BYTES, 0) != DIGEST_KEY_BYTES)
        return no_randomness(err);
    rc = identity_put(repo, txn, err);
    return rc == 0 ? lmdb_state_write(txn, &state, err) : rc;
}

/* *ret_old: it was written before there were digests. */
static int identity_read(struct lmdb_repo *repo, const MDB_val *value, bool *ret_old,
                         struct error *err)
{
    struct lmdb_reader reader = lmdb_reader_on(value);
    const uint32_t format = lmdb_read_u32(&reader);
    const uint8_t *secret;

    *ret_old = format == LMDB_FORMAT_NO_DIGESTS;
    if (reader.ok && format != LMDB_FORMAT && !*ret_old)
        return error_set(err, E_FORMAT,
                         "the control store has format %u, this program knows %d; use the program "
                         "version that wrote it",
                         format, LMDB_FORMAT);
    repo->epoch = lmdb_read_uuid(&reader);
    secret = lmdb_read_bytes(&reader, DIGEST_KEY_BYTES);
    if (secret == NULL)
        return repo_corrupt("its identity row is cut short", err);
    memcpy(repo->digest_secret, secret, DIGEST_KEY_BYTES);
    return 0;
}

/* Another history begins: cursors of the former one are of no use. The digest key stays, because
 * every stored digest was made with it. */
static int identity_renew(struct lmdb_repo *repo, const struct lmdb_txn *txn, struct error *err)
{
    if (uuid_generate(&repo->epoch) != 0)
        return no_randomness(err);
    return identity_put(repo, txn, err);
}

static int identity_load(struct lmdb_repo *repo, struct lmdb_txn *txn, bool renew,
                         struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_meta("identity");
    bool old = false;
    MDB_val value;
    int rc = lmdb_get(txn, TABLE_META, &key, &value, err);

    if (rc == E_NOT_FOUND)
        return identity_create(repo, txn, err);
    if (rc == 0)
        rc = identity_read(repo, &value, &old, err);
    if (rc == 0 && old)
        rc = lmdb_scope_hash_rebuild(txn, err);
    if (rc == 0 && old && !renew)
        rc = identity_put(repo, txn, err);
    return rc == 0 && renew ? identity_renew(repo, txn, err) : rc;
}

/* ---- the environment ---- */

/* Half of the allowed address space at most: threads and buffers need the rest. */
static size_t map_bytes(void)
{
    const size_t granularity = (size_t)1 << 20;
    struct rlimit limit;
    size_t half;

    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return map_max_bytes;
    half = (size_t)limit.rlim_cur / 2 / granularity * granularity;
    return half < map_max_bytes ? half : map_max_bytes;
}

/* LMDB opens and grows whatever has these names. */
static int check_files(const char *dir, struct error *err)
{
    static const char *const names[] = {"data.mdb", "lock.mdb"};
    char path[LMDB_PATH_MAX];
    int rc = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && rc == 0; i++) {
        rc = join_path(path, dir, names[i], err);
        if (rc == 0)
            rc = own_check_file(path, err);
    }
    return rc;
}

static int env_open(struct lmdb_repo *repo, const char *path, struct error *err)
{
    int rc = check_files(path, err);

    if (rc != 0)
        return rc;
    rc = mdb_env_create(&repo->env);
    if (rc != 0) {
        repo->env = NULL;
        return lmdb_error(rc, "to start", err);
    }
    rc = mdb_env_set_mapsize(repo->env, map_bytes());
    if (rc == 0)
        rc = mdb_env_set_maxreaders(repo->env, MAX_READERS);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(repo->env, TABLES);
    if (rc == 0)
        rc = mdb_env_open(repo->env, path, MDB_NOTLS | MDB_NORDAHEAD, 0600);
    if (rc != 0) {
        (void)lmdb_error(rc, "to open", err);
        return error_context(err, "%s", path);
    }
    return 0;
}

static int tables_open(struct lmdb_repo *repo, const struct lmdb_txn *txn, struct error *err)
{
    for (int i = 0; i < TABLES; i++) {
        int rc = mdb_dbi_open(txn->handle, table_names[i], MDB_CREATE, &repo->tables[i]);

        if (rc != 0)
            return lmdb_error(rc, "to open a table", err);
    }
    return 0;
}

static int env_prepare(struct lmdb_repo *repo, bool new_epoch, struct error *err)
{
    struct lmdb_txn txn = {.repo = repo};
    int rc = mdb_txn_begin(repo->env, NULL, 0, &txn.handle);

    if (rc != 0)
        return lmdb_error(rc, "to begin writing", err);
    rc = tables_open(repo, &txn, err);
    if (rc == 0)
        rc = identity_load(repo, &txn, new_epoch, err);
    if (rc != 0) {
        mdb_txn_abort(txn.handle);
        return rc;
    }
    return lmdb_error(mdb_txn_commit(txn.handle), "to commit", err);
}

/* A new file's first two pages are written by no commit before the second. When they cannot be
 * synced, the kernel takes them for written all the same; the file goes, it holds nothing yet. */
static int settle_file(const struct lmdb_repo *repo, const char *path, bool is_new,
                       struct error *err)
{
    char file[LMDB_PATH_MAX];
    int rc = lmdb_error(mdb_env_sync(repo->env, 1), "to sync", err);

    if (rc == 0)
        rc = sync_dir(path, err);
    if (rc != 0 && is_new && join_path(file, path, "data.mdb", NULL) == 0)
        (void)unlink(file); /* else the next start finds it as it is */
    return rc;
}

static int remove_marker(const char *dir, const char *marker, struct error *err)
{
    if (unlink(marker) != 0)
        return error_set_errno(err, errno, "cannot remove %s", marker);
    return sync_dir(dir, err);
}

int lmdb_env_open(struct lmdb_repo *repo, const char *dir, struct error *err)
{
    char marker[LMDB_PATH_MAX];
    char path[LMDB_PATH_MAX];
    char file[LMDB_PATH_MAX];
    bool new_epoch = false;
    bool is_new = false;
    int rc = join_path(path, dir, "control.mdb", err);

    if (rc == 0)
        rc = join_path(marker, dir, "new-epoch", err);
    if (rc == 0)
        rc = make_dir(path, err);
    if (rc == 0)
        rc = join_path(file, path, "data.mdb", err);
    if (rc == 0) {
        is_new = access(file, F_OK) != 0;
        rc = env_open(repo, path, err);
    }
    if (rc == 0)
        rc = settle_file(repo, path, is_new, err);
    if (rc == 0) {
        new_epoch = access(marker, F_OK) == 0;
        rc = env_prepare(repo, new_epoch, err);
    }
    if (rc == 0 && new_epoch)
        rc = remove_marker(dir, marker, err);
    if (rc == 0)
        digest_key_init(&repo->digest_key, repo->digest_secret);
    return rc;
}

void lmdb_env_close(struct lmdb_repo *repo)
{
    for (size_t i = 0; i < repo->pool.count; i++)
        mdb_txn_abort(repo->pool.idle[i]);
    repo->pool.count = 0;
    if (repo->env != NULL)
        mdb_env_close(repo->env);
    repo->env = NULL;
    digest_key_wipe(&repo->digest_key);
    OPENSSL_cleanse(repo->digest_secret, sizeof(repo->digest_secret));
}

/* env_slots.c - the readers' slots in lock.mdb, as the agent sees them; see env.h.
 *
 * Members of the reader group write to lock.mdb: LMDB's design wants that. A writer that opened it
 * as LMDB does would wait for a mutex in it that anybody there can lock for ever, be aborted by
 * eight bytes in it, and take the number of the last commit from it. So the writer's LMDB has a
 * lock file of its own, data.mdb-lock, that nobody else can open, and lock.mdb is nothing to it but
 * a list: of numbers that are read with pread(), checked, and believed as far as they keep pages.
 *
 *     before a commit   the oldest version of any slot goes into a slot of data.mdb-lock, where
 *                       LMDB looks when it takes pages
 *     after it          the number of the newest version goes to lock.mdb, where readers begin
 *
 * A reader begins as with LMDB on the other side: it notes the newest version in its slot and looks
 * whether it is the newest still. What it noted before the agent looks is kept; what it notes after
 * is the newest, whose pages the next commit does not take.
 *
 * Failure: a lock.mdb that is damaged, cut or not LMDB's is replaced by a new one; readers that
 * have the old one open keep it, without protection, and find the new one when they open the store
 * again. What somebody writes into a slot costs space at most: pages that are kept for nobody.
 */
#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/bytes.h"
#include "store/files.h"

/* LMDB's lock file (mdb.c: MDB_txninfo, MDB_reader), as every 0.9 release has it on Linux. */
enum {
    LOCK_MAGIC = (int)0xBEEFC0DE,
    LOCK_FORMAT = 0x10001, /* version 1, and slots are tied to processes by fcntl locks */
    LINE_BYTES = 64,
    LOCK_AT_MAGIC = 0,
    LOCK_AT_FORMAT = 4,
    LOCK_AT_MUTEX = 8, /* of the table */
    LOCK_AT_TXN = LOCK_AT_MUTEX + sizeof(pthread_mutex_t),
    LOCK_AT_COUNT = LOCK_AT_TXN + 8, /* u32: slots that were ever used */
    LOCK_AT_WRITE_MUTEX =
        (LOCK_AT_COUNT + 4 + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES, /* of writers */
    LOCK_HEAD_BYTES = LOCK_AT_WRITE_MUTEX +
                      ((int)sizeof(pthread_mutex_t) + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES,
    SLOT_AT_TXN = 0,
    SLOT_AT_PID = 8,
    SLOT_BYTES = LINE_BYTES,
    LOCK_FILE_BYTES = LOCK_HEAD_BYTES + ENV_MAX_READERS * SLOT_BYTES,
    OWN_FILE_BYTES = LOCK_HEAD_BYTES + ENV_OWN_READERS * SLOT_BYTES
};

static off_t slot_at(uint32_t i)
{
    return LOCK_HEAD_BYTES + (off_t)i * SLOT_BYTES;
}

/* ---- the file ---- */

static bool is_lock_file(int fd)
{
    unsigned char head[LOCK_AT_MUTEX];
    struct stat file;

    return fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && file.st_nlink == 1 &&
           file.st_size >= LOCK_FILE_BYTES &&
           pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
           bytes_get_u32(head + LOCK_AT_MAGIC) == (uint32_t)LOCK_MAGIC &&
           bytes_get_u32(head + LOCK_AT_FORMAT) == LOCK_FORMAT;
}

/* What LMDB writes when it is the first to open the file. */
static int write_head(int fd)
{
    union {
        unsigned char bytes[LOCK_HEAD_BYTES];
        pthread_mutex_t aligned;
    } head = {{0}};
    const uint32_t magic = (uint32_t)LOCK_MAGIC;
    const uint32_t format = LOCK_FORMAT;
    pthread_mutex_t mutex;
    pthread_mutexattr_t attributes;

    memset(&mutex, 0, sizeof(mutex));
    (void)pthread_mutexattr_init(&attributes); /* these four cannot fail on Linux */
    (void)pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutex_init(&mutex, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
    memcpy(head.bytes + LOCK_AT_MAGIC, &magic, sizeof(magic));
    memcpy(head.bytes + LOCK_AT_FORMAT, &format, sizeof(format));
    memcpy(head.bytes + LOCK_AT_MUTEX, &mutex, sizeof(mutex));
    memcpy(head.bytes + LOCK_AT_WRITE_MUTEX, &mutex, sizeof(mutex));
    return pwrite(fd, head.bytes, sizeof(head.bytes), 0) == (ssize_t)sizeof(head.bytes) ? 0 : errno;
}

/* A new file with its blocks: they are written through maps, where a full disk would be SIGBUS. */
static int create_file(const char *path, off_t size, int *ret_fd, struct error *err)
{
    int fd;
    int rc;

    (void)unlink(path); /* there may be none */
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot create %s", path);
    rc = posix_fallocate(fd, 0, size);
    if (rc != 0 && rc != ENOSPC) /* a file system that cannot reserve gives blocks when written */
        rc = ftruncate(fd, size) == 0 ? 0 : errno;
    if (rc != 0) {
        (void)close(fd);
        (void)unlink(path);
        return error_set_errno(err, rc, "cannot make room for %s", path);
    }
    *ret_fd = fd;
    return 0;
}

/* Whole before it has its name. */
static int replace_file(const char *dir, gid_t gid, int *ret_fd, struct error *err)
{
    char path[PATH_MAX];
    char temporary[PATH_MAX];
    int fd = -1;
    int rc = files_join(path, dir, "lock.mdb", err);

    if (rc == 0)
        rc = files_join(temporary, dir, "lock.mdb.tmp", err);
    if (rc == 0)
        rc = create_file(temporary, LOCK_FILE_BYTES, &fd, err);
    if (rc != 0)
        return rc;
    rc = write_head(fd);
    if (rc != 0)
        rc = error_set_errno(err, rc, "cannot write %s", temporary);
    if (rc == 0)
        rc = files_own(temporary, FILES_MODE_LOCK, gid, err);
    if (rc == 0 && rename(temporary, path) != 0)
        rc = error_set_errno(err, errno, "cannot rename %s", temporary);
    if (rc == 0) {
        *ret_fd = fd;
        return 0;
    }
    (void)close(fd);
    (void)unlink(temporary);
    return rc;
}

/* While we hold it, no reader takes itself for the first one and empties the table. Never waited
 * for: anybody can keep us from it. */
static void share_lock(int fd)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};

    (void)fcntl(fd, F_SETLK, &lock); /* tried again with the readers' check */
}

/* LMDB's readers hold a lock whose place is their pid. Asked as an open file, not as a process, the
 * kernel names every holder: one of our own pid too, which is most likely process 1 of another
 * container. */
static bool is_there(const struct env *env, pid_t pid)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = pid, .l_len = 1};

    return fcntl(env->slots_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* ---- looking ---- */

static uint32_t count_slots(const struct env *env)
{
    unsigned char bytes[4];
    uint32_t count;

    if (pread(env->slots_fd, bytes, sizeof(bytes), LOCK_AT_COUNT) != (ssize_t)sizeof(bytes))
        return 0; /* cut: nobody can have a slot in it */
    count = bytes_get_u32(bytes);
    return count < ENV_MAX_READERS ? count : ENV_MAX_READERS;
}

struct slot {
    pid_t pid;
    uint64_t txn_id; /* ENV_NO_SNAPSHOT: none */
};

static struct slot view_slot(const unsigned char *bytes)
{
    return (struct slot){(pid_t)bytes_get_u32(bytes + SLOT_AT_PID),
                         bytes_get_u64(bytes + SLOT_AT_TXN)};
}

/* A free slot has pid 0. */
static struct slot read_slot(const struct env *env, uint32_t i)
{
    unsigned char bytes[SLOT_BYTES];

    if (pread(env->slots_fd, bytes, sizeof(bytes), slot_at(i)) == (ssize_t)sizeof(bytes))
        return view_slot(bytes);
    return (struct slot){0, ENV_NO_SNAPSHOT};
}

void env_slots_each(const struct env *env, env_slot_fn each, void *context)
{
    enum { AT_ONCE = 64 };
    unsigned char bytes[AT_ONCE * SLOT_BYTES];
    uint32_t count = count_slots(env);

    for (uint32_t i = 0; i < count; i += AT_ONCE) {
        uint32_t n = count - i < AT_ONCE ? count - i : AT_ONCE;

        if (pread(env->slots_fd, bytes, (size_t)n * SLOT_BYTES, slot_at(i)) !=
            (ssize_t)n * SLOT_BYTES)
            return; /* cut: nobody can have a slot there */
        for (uint32_t j = 0; j < n; j++) {
            struct slot slot = view_slot(bytes + (size_t)j * SLOT_BYTES);

            if (slot.pid != 0)
                each(context, slot.pid, slot.txn_id);
        }
    }
}

int env_slots_list(const char *dir, env_slot_fn each, void *context, struct error *err)
{
    struct env env = {.mdb = NULL};
    char path[PATH_MAX];
    int rc = files_join(path, dir, "lock.mdb", err);

    if (rc != 0)
        return rc;
    env.slots_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (env.slots_fd < 0)
        return error_set_errno(err, errno, "cannot open %s", path);
    env_slots_each(&env, each, context);
    (void)close(env.slots_fd); /* nothing was written */
    return 0;
}

unsigned env_slots_clear(const struct env *env)
{
    static const uint32_t nobody = 0;
    uint32_t count = count_slots(env);
    unsigned cleared = 0;

    share_lock(env->slots_fd);
    for (uint32_t i = 0; i < count; i++) {
        pid_t pid = read_slot(env, i).pid;

        if (pid == 0 || is_there(env, pid) || read_slot(env, i).pid != pid)
            continue;
        if (pwrite(env->slots_fd, &nobody, sizeof(nobody), slot_at(i) + SLOT_AT_PID) ==
            (ssize_t)sizeof(nobody))
            cleared++;
    }
    return cleared;
}

/* ---- before and after a commit ---- */

static void find_oldest(void *context, pid_t pid, uint64_t txn_id)
{
    uint64_t *oldest = context;

    (void)pid;
    if (txn_id < *oldest)
        *oldest = txn_id;
}

int env_slots_keep(const struct env *env, struct error *err)
{
    MDB_envinfo info;
    uint64_t oldest;

    (void)mdb_env_info(env->mdb, &info); /* fails for NULL only */
    oldest = info.me_last_txnid;
    env_slots_each(env, find_oldest, &oldest);
    if (pwrite(env->mirror_fd, &oldest, sizeof(oldest), env->mirror_at + SLOT_AT_TXN) ==
        (ssize_t)sizeof(oldest))
        return 0;
    return error_set_errno(err, errno, "cannot write data.mdb-lock");
}

void env_slots_announce(const struct env *env)
{
    MDB_envinfo info;
    uint64_t newest;

    (void)mdb_env_info(env->mdb, &info); /* fails for NULL only */
    newest = info.me_last_txnid;
    /* It is in the page cache of a file that has its blocks: it fails when somebody cut the file,
     * and then readers of it are beyond help. */
    (void)!pwrite(env->slots_fd, &newest, sizeof(newest), LOCK_AT_TXN);
}

/* ---- opening ---- */

/* Nobody else has ever been able to open it. */
static bool is_own_file(int fd)
{
    struct stat file;

    return fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && file.st_nlink == 1 &&
           file.st_uid == geteuid() && (file.st_mode & 0777) == 0600 &&
           file.st_size == OWN_FILE_BYTES;
}

int env_slots_prepare(const char *dir, struct error *err)
{
    char path[PATH_MAX];
    int fd;
    int rc = files_join(path, dir, "data.mdb-lock", err);

    if (rc != 0)
        return rc;
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0 && !is_own_file(fd)) {
        (void)close(fd);
        fd = -1;
    }
    if (fd < 0) /* else its blocks are there, on a full disk too */
        rc = create_file(path, OWN_FILE_BYTES, &fd, err);
    if (rc == 0)
        (void)close(fd); /* LMDB opens it again, takes itself for the first, and empties it */
    return rc;
}

static int open_shared(struct env *env, const char *dir, gid_t gid, struct error *err)
{
    char path[PATH_MAX];
    int rc = files_join(path, dir, "lock.mdb", err);

    if (rc != 0)
        return rc;
    env->slots_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (env->slots_fd >= 0 && is_lock_file(env->slots_fd)) {
        rc = files_own(path, FILES_MODE_LOCK, gid, err);
    } else {
        if (env->slots_fd >= 0)
            (void)close(env->slots_fd);
        env->slots_fd = -1;
        rc = replace_file(dir, gid, &env->slots_fd, err);
    }
    if (rc == 0)
        (void)env_slots_clear(env);
    return rc;
}

/* The slot that a read transaction of ours has got: the first one, in a file that is new. */
static int open_mirror(struct env *env, const char *dir, struct error *err)
{
    unsigned char pid[4] = {0};
    char path[PATH_MAX];
    int rc = files_join(path, dir, "data.mdb-lock", err);

    if (rc != 0)
        return rc;
    env->mirror_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (env->mirror_fd < 0)
        return error_set_errno(err, errno, "cannot open %s", path);
    rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &env->mirror);
    if (rc != 0) {
        env->mirror = NULL;
        return env_error(err, rc, "begin a snapshot");
    }
    for (uint32_t i = 0; i < ENV_OWN_READERS; i++) {
        env->mirror_at = slot_at(i);
        if (pread(env->mirror_fd, pid, sizeof(pid), env->mirror_at + SLOT_AT_PID) !=
            (ssize_t)sizeof(pid))
            break;
        if (bytes_get_u32(pid) == (uint32_t)getpid())
            return 0;
    }
    return error_set(err, E_UNSUPPORTED, "%s is not as this program knows LMDB's lock files", path);
}

int env_slots_open(struct env *env, const char *dir, gid_t gid, struct error *err)
{
    int rc = open_shared(env, dir, gid, err);

    if (rc == 0)
        rc = open_mirror(env, dir, err);
    if (rc == 0)
        rc = env_slots_keep(env, err);
    if (rc == 0)
        env_slots_announce(env);
    return rc;
}

void env_slots_close(struct env *env)
{
    if (env->mirror != NULL)
        mdb_txn_abort(env->mirror);
    if (env->mirror_fd > 0)
        (void)close(env->mirror_fd);
    if (env->slots_fd > 0)
        (void)close(env->slots_fd);
    env->mirror = NULL;
    env->mirror_fd = env->slots_fd = 0;
}

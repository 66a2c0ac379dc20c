/* write_log.c - see write_log.h.
 *
 * The real work goes straight to the kernel: asking the dynamic linker for the next definition
 * would meet the sanitizers' own replacements. LMDB's compacting copy writes from a second thread,
 * hence the mutex. State is static because the replaced functions have no place for a context.
 */
#include "tests/interpose/write_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REPLACE __attribute__((visibility("default")))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char watched[PATH_MAX]; /* "": nothing is logged */
static int log_file = -1;
static uint64_t count;
static uint64_t kill_at;
static uint64_t fail_at;
static int fail_errno;
static uint64_t syncs;
static uint64_t fail_syncs_from;
static uint64_t fail_syncs_n;
static int fail_syncs_errno;

/* ---- the log ---- */

static void put(const void *bytes, size_t size)
{
    if (log_file >= 0 && syscall(SYS_write, log_file, bytes, size) != (long)size)
        abort(); /* a log with a hole would prove nothing */
}

static void append(enum write_log_op op, uint32_t flags, const char *path, uint64_t offset,
                   const void *data, size_t size)
{
    const struct write_log_entry entry = {op, flags, offset, (uint32_t)strlen(path),
                                          (uint32_t)size};

    (void)pthread_mutex_lock(&mutex);
    put(&entry, sizeof(entry));
    put(path, entry.path_size);
    put(data, size);
    (void)pthread_mutex_unlock(&mutex);
}

static bool is_watched(const char *path)
{
    size_t length = strlen(watched);

    return length > 0 && strncmp(path, watched, length) == 0 &&
           (path[length] == '/' || path[length] == 0);
}

/* The path behind a descriptor, as it is called now; false when it is none of ours. */
static bool find_path(int fd, char path[PATH_MAX])
{
    char link[64];
    ssize_t size;

    if (watched[0] == 0)
        return false;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    size = readlink(link, path, PATH_MAX - 1);
    if (size <= 0)
        return false;
    path[size] = 0;
    return is_watched(path) && strstr(path, " (deleted)") == NULL;
}

/* Before a change that will be logged. False: it is to fail, errno is set. */
static bool step(void)
{
    bool fails;

    (void)pthread_mutex_lock(&mutex);
    if (++count == kill_at)
        (void)kill(getpid(), SIGKILL);
    fails = count == fail_at;
    (void)pthread_mutex_unlock(&mutex);
    if (fails)
        errno = fail_errno;
    return !fails;
}

/* The same for the sync that follows. */
static bool sync_fails(void)
{
    bool fails;

    (void)pthread_mutex_lock(&mutex);
    syncs++;
    fails = syncs >= fail_syncs_from && syncs < fail_syncs_from + fail_syncs_n;
    (void)pthread_mutex_unlock(&mutex);
    if (fails)
        errno = fail_syncs_errno;
    return fails;
}

void write_log_start(const char *dir, int log_fd)
{
    (void)snprintf(watched, sizeof(watched), "%s", dir);
    log_file = log_fd;
}

void write_log_kill_at(uint64_t k)
{
    kill_at = k;
}

void write_log_fail_at(uint64_t k, int errnum)
{
    fail_at = k;
    fail_errno = errnum;
}

void write_log_fail_syncs(uint64_t from, uint64_t n, int errnum)
{
    fail_syncs_from = from;
    fail_syncs_n = n;
    fail_syncs_errno = errnum;
}

uint64_t write_log_syncs(void)
{
    return syncs;
}

void write_log_note(uint64_t value)
{
    append(WRITE_LOG_NOTE, 0, "", value, NULL, 0);
}

uint64_t write_log_count(void)
{
    return count;
}

/* ---- files ---- */

REPLACE int open(const char *path, int flags, ...)
{
    bool ours = is_watched(path) && (flags & O_CREAT) != 0;
    bool is_new = ours && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    mode_t mode = 0;
    int fd;

    if ((flags & O_CREAT) != 0) {
        va_list args;

        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    if (is_new && !step())
        return -1;
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && is_new)
        append(WRITE_LOG_CREATE, 0, path, 0, NULL, 0);
    else if (fd >= 0 && ours && (flags & O_TRUNC) != 0)
        append(WRITE_LOG_TRUNCATE, 0, path, 0, NULL, 0);
    return fd;
}

static void log_part(const char *path, uint32_t flags, off_t offset, const void *bytes,
                     ssize_t written)
{
    if (written > 0)
        append(WRITE_LOG_WRITE, flags, path, (uint64_t)offset, bytes, (size_t)written);
}

/* Gives what the caller is told of the write. */
static ssize_t log_write(int fd, const char *path, off_t offset, const void *bytes, ssize_t written)
{
    bool durable = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    bool fails = durable && sync_fails();

    log_part(path,
             fails     ? WRITE_LOG_FAILED
             : durable ? WRITE_LOG_DURABLE
                       : 0,
             offset, bytes, written);
    if (fails)
        errno = fail_syncs_errno;
    return fails ? -1 : written;
}

REPLACE ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    char path[PATH_MAX];
    bool ours = find_path(fd, path);
    ssize_t written;

    if (ours && !step())
        return -1;
    written = syscall(SYS_pwrite64, fd, bytes, size, offset);
    return ours ? log_write(fd, path, offset, bytes, written) : written;
}

REPLACE ssize_t write(int fd, const void *bytes, size_t size)
{
    char path[PATH_MAX];
    bool ours = find_path(fd, path);
    off_t offset = ours ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t written;

    if (ours && !step())
        return -1;
    written = syscall(SYS_write, fd, bytes, size);
    return ours ? log_write(fd, path, offset, bytes, written) : written;
}

/* One entry for each part: a disk may keep one and lose the next. LMDB's synchronous writes have
 * one part, by pwrite(). */
REPLACE ssize_t writev(int fd, const struct iovec *parts, int n)
{
    char path[PATH_MAX];
    bool ours = find_path(fd, path);
    off_t offset = ours ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t written;
    ssize_t left;

    if (ours && !step())
        return -1;
    written = syscall(SYS_writev, fd, parts, n);
    left = ours ? written : 0;
    for (int i = 0; i < n && left > 0; i++) {
        ssize_t part = (size_t)left < parts[i].iov_len ? left : (ssize_t)parts[i].iov_len;

        log_part(path, 0, offset, parts[i].iov_base, part);
        offset += part;
        left -= part;
    }
    return written;
}

REPLACE int ftruncate(int fd, off_t size)
{
    char path[PATH_MAX];
    bool ours = find_path(fd, path);
    int rc;

    if (ours && !step())
        return -1;
    rc = (int)syscall(SYS_ftruncate, fd, size);
    if (ours && rc == 0)
        append(WRITE_LOG_TRUNCATE, 0, path, (uint64_t)size, NULL, 0);
    return rc;
}

/* ---- syncing ---- */

static int sync_fd(int fd, long call)
{
    char path[PATH_MAX];
    bool ours = find_path(fd, path);
    int rc;

    if (ours && !step())
        return -1;
    if (ours && sync_fails()) {
        append(WRITE_LOG_SYNC, WRITE_LOG_FAILED, path, 0, NULL, 0);
        errno = fail_syncs_errno;
        return -1;
    }
    rc = (int)syscall(call, fd);
    if (ours && rc == 0)
        append(WRITE_LOG_SYNC, 0, path, 0, NULL, 0);
    return rc;
}

REPLACE int fsync(int fd)
{
    return sync_fd(fd, SYS_fsync);
}

REPLACE int fdatasync(int fd)
{
    return sync_fd(fd, SYS_fdatasync);
}

REPLACE int msync(void *address, size_t size, int flags)
{
    char path[PATH_MAX + 8];
    int rc;

    if (watched[0] == 0)
        return (int)syscall(SYS_msync, address, size, flags);
    if (!step())
        return -1;
    rc = (int)syscall(SYS_msync, address, size, flags);
    (void)snprintf(path, sizeof(path), "%s/status", watched);
    append(WRITE_LOG_WRITE, WRITE_LOG_DURABLE, path, 0, address, size);
    return rc;
}

/* ---- names ---- */

REPLACE int mkdir(const char *path, mode_t mode)
{
    int rc;

    if (is_watched(path) && !step())
        return -1;
    rc = (int)syscall(SYS_mkdir, path, mode);
    if (rc == 0 && is_watched(path))
        append(WRITE_LOG_MKDIR, 0, path, 0, NULL, 0);
    return rc;
}

REPLACE int rename(const char *from, const char *to)
{
    int rc;

    if (is_watched(from) && !step())
        return -1;
    rc = (int)syscall(SYS_rename, from, to);
    if (rc == 0 && is_watched(from))
        append(WRITE_LOG_RENAME, 0, from, 0, to, strlen(to));
    return rc;
}

static int remove_with(long call, const char *path)
{
    int rc;

    if (is_watched(path) && !step())
        return -1;
    rc = (int)syscall(call, path);
    if (rc == 0 && is_watched(path))
        append(WRITE_LOG_UNLINK, 0, path, 0, NULL, 0);
    return rc;
}

REPLACE int unlink(const char *path)
{
    return remove_with(SYS_unlink, path);
}

REPLACE int rmdir(const char *path)
{
    return remove_with(SYS_rmdir, path);
}

REPLACE int remove(const char *path)
{
    struct stat status;

    if (lstat(path, &status) != 0)
        return -1;
    return S_ISDIR(status.st_mode) ? rmdir(path) : unlink(path);
}

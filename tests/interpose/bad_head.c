/* bad_head.c - for LD_PRELOAD: a disk that does not take the first two pages of data.mdb, where
 * LMDB keeps its meta pages, while the file named by $BAD_HEAD exists.
 *
 * As on Linux, a sync that fails has forgotten what it was to write: the next one, with nothing
 * written in between, succeeds. The pages themselves are in the file all along, so that whoever
 * maps it sees them. Each sync that failed is told in the file, a byte each.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REPLACE __attribute__((visibility("default")))

enum { HEAD_BYTES = 2 * 4096, FDS_MAX = 1024 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool dirty[FDS_MAX]; /* the head of the file behind the descriptor */

REPLACE ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset);
REPLACE int fdatasync(int fd);

static bool is_data_file(int fd)
{
    static const char name[] = "/data.mdb";
    char link[64];
    char path[PATH_MAX];
    ssize_t length;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path));
    return length >= (ssize_t)sizeof(name) - 1 && fd < FDS_MAX &&
           memcmp(path + length - (sizeof(name) - 1), name, sizeof(name) - 1) == 0;
}

static void set_dirty(int fd, bool value)
{
    (void)pthread_mutex_lock(&mutex);
    dirty[fd] = value;
    (void)pthread_mutex_unlock(&mutex);
}

REPLACE ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (offset < HEAD_BYTES && is_data_file(fd))
        set_dirty(fd, true);
    return syscall(SYS_pwrite64, fd, bytes, size, offset);
}

/* True: it fails, and has told so. */
static bool refuses(void)
{
    const char *path = getenv("BAD_HEAD");
    int fd = path != NULL ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;

    if (fd < 0)
        return false;
    if (write(fd, "x", 1) != 1)
        abort(); /* the test would wait for ever */
    (void)close(fd);
    return true;
}

/* A disk that does not answer while the file named by $STUCK is there. */
static void wait_while_stuck(void)
{
    const struct timespec moment = {.tv_nsec = 20000000};
    const char *path = getenv("STUCK");

    while (path != NULL && access(path, F_OK) == 0)
        (void)nanosleep(&moment, NULL);
}

REPLACE int fdatasync(int fd)
{
    bool head;

    if (!is_data_file(fd))
        return (int)syscall(SYS_fdatasync, fd);
    wait_while_stuck();
    (void)pthread_mutex_lock(&mutex);
    head = dirty[fd];
    dirty[fd] = false;
    (void)pthread_mutex_unlock(&mutex);
    if (head && refuses()) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

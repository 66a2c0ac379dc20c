/* own.c - see own.h. */
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse_kind(const char *path, struct error *err)
{
    return error_set(err, E_INVALID,
                     "%s is not a regular file (a link, a pipe?), and not one of ours: look where "
                     "it comes from, and remove it",
                     path);
}

int own_open(const char *path, int flags, mode_t mode, int *ret_fd, struct error *err)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, mode);
    struct stat facts;

    if (fd < 0) /* a link; a pipe without another end; a socket */
        return errno == ELOOP || errno == ENXIO
                   ? refuse_kind(path, err)
                   : error_set_errno(err, errno, "cannot open %s", path);
    if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        (void)close(fd); /* nothing was written */
        return refuse_kind(path, err);
    }
    *ret_fd = fd;
    return 0;
}

int own_create(const char *path, mode_t mode, int *ret_fd, struct error *err)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return error_set_errno(err, errno, "cannot replace %s", path);
    return own_open(path, O_WRONLY | O_CREAT | O_EXCL, mode, ret_fd, err);
}

int own_check_file(const char *path, struct error *err)
{
    struct stat facts;

    if (lstat(path, &facts) != 0)
        return errno == ENOENT ? 0 : error_set_errno(err, errno, "cannot look at %s", path);
    return S_ISREG(facts.st_mode) ? 0 : refuse_kind(path, err);
}

/* ---- the lock ---- */

static pid_t read_holder(int fd)
{
    char text[32] = "";
    ssize_t size = pread(fd, text, sizeof(text) - 1, 0);
    long pid = size > 0 ? strtol(text, NULL, 10) : 0;

    return pid > 0 ? (pid_t)pid : 0;
}

/* Whether the name still leads to the file that we have locked, and to no other name of it. */
static bool is_still_there(int fd, const char *path, nlink_t *ret_names)
{
    struct stat ours;
    struct stat named;

    if (fstat(fd, &ours) != 0 || lstat(path, &named) != 0)
        return false;
    *ret_names = ours.st_nlink;
    return ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

/* Of a file that is locked. */
static int write_holder(int fd, const char *path, struct error *err)
{
    nlink_t names = 0;

    if (!is_still_there(fd, path, &names))
        return error_set(err, E_LOCKED, "%s was replaced just now; try again", path);
    if (names != 1)
        return error_set(err, E_INVALID,
                         "%s has other names (hard links): look where it comes from, and remove it",
                         path);
    if (ftruncate(fd, 0) != 0 || dprintf(fd, "%ld\n", (long)getpid()) < 0)
        return error_set_errno(err, errno, "cannot write %s", path);
    return 0;
}

int own_lock(const char *path, mode_t mode, int *ret_fd, pid_t *ret_holder, struct error *err)
{
    int fd;
    int rc = own_open(path, O_RDWR | O_CREAT, mode, &fd, err);

    if (rc != 0)
        return rc;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        rc = errno == EWOULDBLOCK ? error_set(err, E_LOCKED, "%s is locked", path)
                                  : error_set_errno(err, errno, "cannot lock %s", path);
        if (ret_holder != NULL)
            *ret_holder = read_holder(fd);
    } else {
        if (ret_holder != NULL)
            *ret_holder = 0;
        rc = write_holder(fd, path, err);
    }
    if (rc != 0)
        (void)close(fd); /* which lets the lock go */
    else
        *ret_fd = fd;
    return rc;
}

/* ---- directories ---- */

int own_check_dir(const char *path, char warning[OWN_WARNING_SIZE], struct error *err)
{
    struct stat facts;

    warning[0] = 0;
    if (stat(path, &facts) != 0) /* whoever makes or uses it will say why */
        return 0;
    if (geteuid() == 0 && facts.st_uid != 0)
        return error_set(err, E_PERMISSION,
                         "%s belongs to user %u, who could put anything under the hands of root: "
                         "`chown root %s`, or run as that user",
                         path, (unsigned)facts.st_uid, path);
    if ((facts.st_mode & S_IWOTH) != 0)
        (void)snprintf(warning, OWN_WARNING_SIZE,
                       "%s can be written by every user of this host: `chmod o-w %s`", path, path);
    else if (facts.st_uid != geteuid())
        (void)snprintf(
            warning, OWN_WARNING_SIZE,
            "%s belongs to user %u, not to us (user %u): its owner can replace what is in "
            "it, and its mode stays as it is",
            path, (unsigned)facts.st_uid, (unsigned)geteuid());
    return 0;
}

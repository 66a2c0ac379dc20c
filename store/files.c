/* files.c - see files.h. */
#include "store/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/own.h"

int files_join(char path[PATH_MAX], const char *dir, const char *name, struct error *err)
{
    int length = snprintf(path, PATH_MAX, "%s/%s", dir, name);

    if (length < 0 || length >= PATH_MAX)
        return error_set(err, E_INVALID, "path %.64s.../%s is too long", dir, name);
    return 0;
}

/* Whether what could not be changed is right as it is: a volume that was prepared for us belongs to
 * somebody else (root, with our group), and may still be all that is needed. */
static bool is_good_enough(const char *path)
{
    return faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS) == 0;
}

int files_own(const char *path, mode_t mode, gid_t gid, struct error *err)
{
    /* chown first: it clears the set-group-id bit. */
    if (gid != FILES_NO_GROUP && chown(path, (uid_t)-1, gid) != 0)
        return error_set_errno(err, errno,
                               "cannot give %s to group %u (is the agent's user in it?)", path,
                               (unsigned)gid);
    if (chmod(path, mode) != 0)
        return error_set_errno(err, errno, "cannot set the mode of %s to %o", path, (unsigned)mode);
    return 0;
}

static bool is_empty(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    bool empty = dir != NULL;

    if (dir == NULL)
        return false;
    while (empty && (entry = readdir(dir)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    (void)closedir(dir); /* nothing was written */
    return empty;
}

int files_make_dir(const char *path, gid_t gid, struct error *err)
{
    struct stat facts;

    if (lstat(path, &facts) == 0 && !S_ISDIR(facts.st_mode))
        return error_set(err, E_INVALID, "%s is no directory: remove it", path);
    return files_take_dir(path, gid, err);
}

int files_take_dir(const char *path, gid_t gid, struct error *err)
{
    int rc;

    if (mkdir(path, FILES_MODE_DIR & 0777) == 0)
        return files_own(path, FILES_MODE_DIR, gid, err);
    if (errno == EEXIST && is_empty(path)) {
        rc = files_own(path, FILES_MODE_DIR, gid, err);
        return rc == E_PERMISSION && is_good_enough(path) ? 0 : rc;
    }
    if (errno == EEXIST)
        return 0;
    return error_set_errno(err, errno, "cannot make directory %s", path);
}

static int write_all(int fd, const char *path, const void *bytes, size_t size, struct error *err)
{
    const unsigned char *at = bytes;

    while (size > 0) {
        ssize_t written = write(fd, at, size);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return error_set_errno(err, errno, "cannot write %s", path);
        at += written;
        size -= (size_t)written;
    }
    if (fsync(fd) != 0)
        return error_set_errno(err, errno, "cannot sync %s", path);
    return 0;
}

static int write_temporary(const char *path, const void *bytes, size_t size, gid_t gid,
                           struct error *err)
{
    int fd;
    int rc = own_create(path, FILES_MODE_DATA, &fd, err);

    if (rc != 0)
        return rc;
    rc = write_all(fd, path, bytes, size, err);
    if (close(fd) != 0 && rc == 0)
        rc = error_set_errno(err, errno, "cannot close %s", path);
    return rc != 0 ? rc : files_own(path, FILES_MODE_DATA, gid, err);
}

/* What root writes for the agent's user (`realmctl rollback`) is the agent's. */
static int give_to_owner(const char *dir, const char *path, struct error *err)
{
    struct stat facts;

    if (geteuid() != 0 || stat(dir, &facts) != 0 || facts.st_uid == 0)
        return 0;
    if (lchown(path, facts.st_uid, (gid_t)-1) != 0)
        return error_set_errno(err, errno, "cannot give %s to user %u", path,
                               (unsigned)facts.st_uid);
    return 0;
}

int files_write(const char *dir, const char *name, const void *bytes, size_t size, gid_t gid,
                struct error *err)
{
    char path[PATH_MAX];
    char temporary[PATH_MAX];
    char temporary_name[NAME_MAX + 1];
    int rc;

    (void)snprintf(temporary_name, sizeof(temporary_name), "%s.tmp", name);
    rc = files_join(path, dir, name, err);
    if (rc != 0)
        return rc;
    rc = files_join(temporary, dir, temporary_name, err);
    if (rc != 0)
        return rc;
    rc = write_temporary(temporary, bytes, size, gid, err);
    if (rc == 0)
        rc = give_to_owner(dir, temporary, err);
    if (rc != 0)
        return rc;
    if (rename(temporary, path) != 0)
        return error_set_errno(err, errno, "cannot rename %s to %s", temporary, name);
    return files_sync_dir(dir, err);
}

int files_read(const char *dir, const char *name, void *bytes, size_t max, size_t *ret_size,
               struct error *err)
{
    char path[PATH_MAX];
    unsigned char extra;
    ssize_t size;
    int fd;
    int rc = files_join(path, dir, name, err);

    if (rc != 0)
        return rc;
    rc = own_open(path, O_RDONLY, 0, &fd, err);
    if (rc != 0)
        return rc;
    size = read(fd, bytes, max); /* the files are far smaller than what one read gives */
    if (size < 0)
        rc = error_set_errno(err, errno, "cannot read %s", path);
    else if ((size_t)size == max && read(fd, &extra, 1) == 1)
        rc = error_set(err, E_TOO_LARGE, "%s is longer than %zu bytes", path, max);
    else
        *ret_size = (size_t)size;
    (void)close(fd); /* nothing was written */
    return rc;
}

int files_sync_dir(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0)
        return error_set_errno(err, errno, "cannot open directory %s", path);
    if (fsync(fd) != 0)
        rc = error_set_errno(err, errno, "cannot sync directory %s", path);
    (void)close(fd); /* the sync has told what there is to tell */
    return rc;
}

int files_sync_parent(const char *path, struct error *err)
{
    char copy[PATH_MAX];

    if (strlen(path) >= sizeof(copy))
        return error_set(err, E_INVALID, "path %.64s... is too long", path);
    memcpy(copy, path, strlen(path) + 1);
    return files_sync_dir(dirname(copy), err);
}

uint64_t files_free_bytes(const char *path)
{
    struct statvfs fs;

    return statvfs(path, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
}

uint64_t files_disk_bytes(const char *dir, const char *name)
{
    enum { STAT_BLOCK_BYTES = 512 }; /* the unit of st_blocks, whatever the file system's is */
    char path[PATH_MAX];
    struct stat file;

    if (files_join(path, dir, name, NULL) != 0 || stat(path, &file) != 0)
        return 0;
    return (uint64_t)file.st_blocks * STAT_BLOCK_BYTES;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status; /* remove() finds out for itself */
    (void)type;
    (void)walk;
    return remove(path) != 0 && errno != ENOENT ? -1 : 0;
}

int files_remove_tree(const char *path, struct error *err)
{
    enum { MAX_OPEN_DIRS = 8 };

    if (nftw(path, remove_entry, MAX_OPEN_DIRS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 &&
        errno != ENOENT)
        return error_set_errno(err, errno, "cannot remove %s", path);
    return 0;
}

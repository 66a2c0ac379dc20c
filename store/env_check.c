/* env_check.c - what must hold before LMDB may open a directory; see env.h for why.
 *
 * The meta pages are read with pread(), not through a map.
 */
#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "store/bytes.h"
#include "store/files.h"
#include "store/lmdb_format.h"

enum { PAGE_MIN = 256, PAGE_MAX = 65536 };
static const uint32_t meta_magic = 0xBEEFC0DE;

struct meta_page {
    uint64_t page_size;
    uint64_t last_page;
    uint64_t txn;
};

static int read_meta_page(int fd, off_t at, struct meta_page *ret)
{
    unsigned char bytes[META_BYTES];

    if (pread(fd, bytes, sizeof(bytes), at) != (ssize_t)sizeof(bytes) ||
        bytes_get_u32(bytes + META_AT_MAGIC) != meta_magic)
        return E_CORRUPT;
    if (bytes_get_u32(bytes + META_AT_VERSION) != META_VERSION)
        return E_FORMAT;
    ret->page_size = bytes_get_u32(bytes + META_AT_PAGE_SIZE);
    ret->last_page = bytes_get_u64(bytes + META_AT_LAST_PAGE);
    ret->txn = bytes_get_u64(bytes + META_AT_TXN);
    if (ret->page_size < PAGE_MIN || ret->page_size > PAGE_MAX)
        return E_CORRUPT;
    return 0;
}

static int newest_meta_page(int fd, struct meta_page *ret)
{
    struct meta_page second = {0};
    int rc = read_meta_page(fd, 0, ret);

    if (rc == 0)
        rc = read_meta_page(fd, (off_t)ret->page_size, &second);
    if (rc == 0 && second.page_size != ret->page_size)
        rc = E_CORRUPT;
    if (rc == 0 && second.txn > ret->txn)
        *ret = second;
    return rc;
}

static int check_fd(int fd, const char *dir, struct error *err)
{
    struct meta_page meta;
    struct stat file;
    uint64_t pages;
    int rc = newest_meta_page(fd, &meta);

    if (rc == E_FORMAT)
        return error_set(err, rc, "%s/data.mdb was written by another LMDB format", dir);
    if (rc != 0)
        return error_set(err, rc, "%s/data.mdb is not an LMDB file, or its head is damaged", dir);
    if (fstat(fd, &file) != 0)
        return error_set_errno(err, errno, "cannot stat %s/data.mdb", dir);
    pages = (uint64_t)file.st_size / meta.page_size;
    if (meta.last_page < pages)
        return 0;
    return error_set(err, E_CORRUPT,
                     "%s/data.mdb is truncated: it has %llu pages of %llu that it needs", dir,
                     (unsigned long long)pages, (unsigned long long)meta.last_page + 1);
}

int env_check_file(const char *dir, struct error *err)
{
    /* A commit may leave the file short until env_cover_file() extends it a moment later. */
    enum { ATTEMPTS = 5 };
    const struct timespec moment = {.tv_nsec = 2000000};
    char path[PATH_MAX];
    int fd;
    int rc = files_join(path, dir, "data.mdb", err);

    if (rc != 0)
        return rc;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot open %s", path);
    rc = check_fd(fd, dir, err);
    for (int i = 1; i < ATTEMPTS && rc == E_CORRUPT; i++) {
        (void)nanosleep(&moment, NULL); /* a signal only shortens the wait */
        rc = check_fd(fd, dir, err);
    }
    (void)close(fd); /* nothing was written */
    return rc;
}

int env_check_slots(const char *dir, struct error *err)
{
    char path[PATH_MAX];
    struct statvfs fs;
    int rc = files_join(path, dir, "lock.mdb", err);

    if (rc != 0)
        return rc;
    if (statvfs(path, &fs) != 0)
        return error_set_errno(err, errno, "cannot open %s", path);
    if ((fs.f_flag & ST_RDONLY) != 0)
        return error_set(err, E_READ_ONLY_MOUNT,
                         "%s is on a read-only mount, where reader slots cannot be taken: mount "
                         "it read-write for this process",
                         dir);
    if (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) != 0)
        return error_set_errno(err, errno,
                               "cannot write a reader slot in %s (is this user in the store's "
                               "reader group?)",
                               path);
    return 0;
}

int env_check_open_file(const struct env *env)
{
    mdb_filehandle_t fd;

    (void)mdb_env_get_fd(env->mdb, &fd); /* fails for NULL only */
    return check_fd(fd, "", NULL);
}

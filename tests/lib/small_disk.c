#include "tests/lib/small_disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"

bool small_disk_allowed(void)
{
    static bool asked;
    static bool allowed;

    if (asked)
        return allowed;
    asked = true;
    allowed = unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    if (!allowed)
        print_message("no mount namespace of our own: %s\n", strerror(errno));
    return allowed;
}

void small_disk_mount(const char *dir, unsigned mebibytes)
{
    char options[64];

    (void)snprintf(options, sizeof(options), "size=%um,mode=755", mebibytes);
    assert_int_equal(mount("none", dir, "tmpfs", 0, options), 0);
}

void small_disk_unmount(const char *dir)
{
    assert_int_equal(umount2(dir, MNT_DETACH), 0);
}

static const char *ballast_path(const char *dir)
{
    static char path[PATH_MAX];

    assert_int_equal(files_join(path, dir, "ballast", NULL), 0);
    return path;
}

void small_disk_fill(const char *dir, uint64_t left_bytes)
{
    int fd = open(ballast_path(dir), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    uint64_t room = files_free_bytes(dir);
    struct stat file;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &file), 0);
    assert_true(room > left_bytes);
    assert_int_equal(posix_fallocate(fd, file.st_size, (off_t)(room - left_bytes)), 0);
    assert_int_equal(close(fd), 0);
}

void small_disk_clear(const char *dir)
{
    assert_int_equal(unlink(ballast_path(dir)), 0);
}

/* text_file.c - see text_file.h. */
#include "base/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"

static int refuse_kind(const char *path, struct error *err)
{
    return error_set(err, E_CONFIG,
                     "%s is a pipe, a socket or a device: name a regular file, which can be read "
                     "again",
                     path);
}

int text_file_open(const char *path, int *ret_fd, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat facts;

    if (fd < 0)
        return errno == ENXIO ? refuse_kind(path, err)
                              : error_set_errno(err, errno, "cannot open %s", path);
    if (fstat(fd, &facts) == 0 && !S_ISREG(facts.st_mode) && !S_ISDIR(facts.st_mode)) {
        (void)close(fd); /* nothing was read */
        return refuse_kind(path, err);
    }
    *ret_fd = fd; /* reading says what is wrong with a directory */
    return 0;
}

static int text_file_read_all(int fd, const char *path, struct buffer *text, struct error *err)
{
    char piece[4096];
    ssize_t got;
    int rc = 0;

    while (rc == 0 && (got = read(fd, piece, sizeof(piece))) != 0) {
        if (got > 0)
            rc = buffer_append(text, piece, (size_t)got);
        else if (errno != EINTR)
            rc = error_set_errno(err, errno, "cannot read %s", path);
    }
    explicit_bzero(piece, sizeof(piece));
    if (rc == E_TOO_LARGE)
        return error_set(err, E_CONFIG, "%s is larger than %zu bytes", path, text->max - 1);
    return rc == E_NO_MEMORY ? error_set(err, rc, "no memory to read %s", path) : rc;
}

int text_file_read(const char *path, size_t max_bytes, char **ret, size_t *ret_size,
                   struct error *err)
{
    struct buffer text;
    int fd = -1;
    int rc = text_file_open(path, &fd, err);

    if (rc != 0)
        return rc;
    buffer_init_secret(&text, max_bytes + 1); /* the NUL's */
    rc = text_file_read_all(fd, path, &text, err);
    (void)close(fd); /* it was only read */
    if (rc == 0 && buffer_terminate(&text) != 0)
        rc = error_set(err, E_CONFIG, "%s is larger than %zu bytes", path, max_bytes);
    if (rc == 0)
        *ret = (char *)buffer_take(&text, ret_size);
    buffer_finish(&text);
    return rc;
}

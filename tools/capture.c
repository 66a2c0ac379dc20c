/* capture.c - see capture.h. */
#include "tools/capture.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int capture_begin(struct capture *capture, struct error *err)
{
    struct capture begun = CAPTURE_INIT;

    begun.memory = memfd_create("realmctl", MFD_CLOEXEC);
    if (begun.memory < 0)
        return error_set_errno(err, errno, "cannot hold the output back");
    begun.output = dup(STDOUT_FILENO);
    if (begun.output < 0 || fflush(stdout) != 0 || dup2(begun.memory, STDOUT_FILENO) < 0) {
        (void)error_set_errno(err, errno, "cannot hold the output back");
        if (begun.output >= 0)
            (void)close(begun.output);
        (void)close(begun.memory);
        return err->code;
    }
    *capture = begun;
    return 0;
}

static int print_all(int memory)
{
    char bytes[65536];
    off_t at = 0;
    ssize_t got;

    while ((got = pread(memory, bytes, sizeof(bytes), at)) > 0) {
        if (fwrite(bytes, 1, (size_t)got, stdout) != (size_t)got)
            return -1;
        at += got;
    }
    return got == 0 ? 0 : -1;
}

int capture_end(struct capture *capture, bool keep, struct error *err)
{
    int rc = 0;

    if (capture->memory < 0)
        return 0;
    if (fflush(stdout) != 0 || dup2(capture->output, STDOUT_FILENO) < 0 ||
        (keep && print_all(capture->memory) != 0))
        rc = error_set_errno(err, errno, "cannot write to standard output");
    (void)close(capture->output); /* a copy of standard output's descriptor */
    (void)close(capture->memory);
    *capture = (struct capture)CAPTURE_INIT;
    return rc;
}

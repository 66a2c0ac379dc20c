#include "tests/lib/tool_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"

int tool_redirect(const char *base, int stream, const char *name, int flags)
{
    char path[PATH_MAX];
    int former = dup(stream);
    int fd;

    assert_int_equal(files_join(path, base, name, NULL), 0);
    fd = open(path, flags, 0600);
    assert_true(former >= 0 && fd >= 0);
    assert_int_equal(dup2(fd, stream), stream);
    assert_int_equal(close(fd), 0);
    return former;
}

void tool_restore(int stream, int former)
{
    assert_int_equal(dup2(former, stream), stream);
    assert_int_equal(close(former), 0);
}

static void read_output(const char *base, char *output, size_t output_size)
{
    size_t size = 0;

    assert_int_equal(files_read(base, "out", output, output_size - 1, &size, NULL), 0);
    output[size] = 0;
}

int tool_run(const char *base, const struct tool *tool, const struct command *command,
             const char *input, const char *const *arguments, char *output, size_t output_size)
{
    enum { MAX_ARGUMENTS = 7 };
    char texts[MAX_ARGUMENTS + 1][128] = {""};
    char *argv[MAX_ARGUMENTS + 2] = {texts[0], NULL};
    int argc = 1;
    int streams[3];
    int rc;

    for (; arguments[argc - 1] != NULL; argc++) {
        assert_true(argc <= MAX_ARGUMENTS);
        (void)snprintf(texts[argc], sizeof(texts[argc]), "%s", arguments[argc - 1]);
        argv[argc] = texts[argc];
    }
    assert_int_equal(files_write(base, "in", input, strlen(input), FILES_NO_GROUP, NULL), 0);
    (void)fflush(stdout);
    streams[0] = tool_redirect(base, STDIN_FILENO, "in", O_RDONLY);
    streams[1] = tool_redirect(base, STDOUT_FILENO, "out", O_WRONLY | O_CREAT | O_TRUNC);
    streams[2] = tool_redirect(base, STDERR_FILENO, "err", O_WRONLY | O_CREAT | O_TRUNC);
    optind = 0;
    rc = command->run(tool, argc, argv);
    (void)fflush(stdout);
    for (int i = 0; i < 3; i++)
        tool_restore(i, streams[i]);
    read_output(base, output, output_size);
    return rc;
}

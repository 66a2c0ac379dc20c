/* tool_run.h - a command of realmctl run in the test's own process, with its streams in files. */
#ifndef RS_TESTS_TOOL_RUN_H
#define RS_TESTS_TOOL_RUN_H

#include <stddef.h>

#include "tools/tool.h"

/* Runs the command with the arguments up to the first NULL. `base` is a directory for the streams'
 * files. What it wrote to standard output goes to `output`; gives its exit code. */
int tool_run(const char *base, const struct tool *tool, const struct command *command,
             const char *input, const char *const *arguments, char *output, size_t output_size);

/* Points a standard stream at a file in `base`; gives a copy of the former one, for
 * tool_restore(). */
int tool_redirect(const char *base, int stream, const char *name, int flags);
void tool_restore(int stream, int former);

#endif

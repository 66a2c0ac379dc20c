/* tool.h - what the commands of realmctl share: options, exit codes, output.
 *
 * Data goes to stdout, everything else to stderr. No command but rollback changes the store,
 * and none prints a secret or a digest.
 */
#ifndef RS_TOOLS_TOOL_H
#define RS_TOOLS_TOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <jansson.h>

#include "base/error.h"

/* Exit codes. */
enum { TOOL_YES = 0, TOOL_NO = 1, TOOL_UNKNOWN = 2 };

struct tool {
    const char *store_dir;
    bool json;
    bool slots; /* read through reader slots */
};

struct command {
    const char *name;
    const char *arguments; /* for the usage line */
    const char *summary;   /* one line */
    const char *help;      /* the rest, whole lines */
    /* argv[0] is the command's name. Gives an exit code. */
    int (*run)(const struct tool *tool, int argc, char **argv);
};

extern const struct command command_stat;
extern const struct command command_dump;
extern const struct command command_get;
extern const struct command command_lookup;
extern const struct command command_readers;
extern const struct command command_verify;
extern const struct command command_diff;
extern const struct command command_backup;
extern const struct command command_rollback;

/* "realmctl: message" to stderr; gives TOOL_UNKNOWN. */
int tool_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Wrong usage: the same, and where help is. */
int tool_misused(const struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void tool_print_usage(const struct command *command, FILE *to);

/* One JSON value and a newline to stdout; takes `value` over. Gives 0 or TOOL_UNKNOWN (NULL: out of
 * memory). */
int tool_print_json(json_t *value);
/* A string, or null for NULL. */
json_t *tool_json_string(const char *text);
/* Text for a terminal, as utf8_print() shows it. */
void tool_print_text(const char *text);

/* Tells a person at a terminal how far a long command is; silent otherwise, and for the first two
 * seconds. */
struct progress {
    const char *what;
    bool shown;
    int64_t next_ms; /* boot clock; 0: never */
};
void progress_begin(struct progress *progress, const char *what);
/* Somebody is there to be told. */
bool progress_is_wanted(const struct progress *progress);
/* Cheap enough to call for every record. */
void progress_at(struct progress *progress, uint64_t records);
/* For work whose size is known in bytes; called now and then. */
void progress_bytes(struct progress *progress, uint64_t done, uint64_t total);
void progress_end(struct progress *progress);

#endif

/* tool.c - see tool.h. */
#include "tools/tool.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

enum { PROGRESS_FIRST_MS = 2000, PROGRESS_EVERY_MS = 500, PROGRESS_EVERY_RECORDS = 4096 };

static void say(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

static void say(const char *format, va_list args)
{
    char text[2048];

    (void)vsnprintf(text, sizeof(text), format, args);
    utf8_complain("realmctl", text);
}

int tool_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
    return TOOL_UNKNOWN;
}

int tool_misused(const struct command *command, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
    (void)fprintf(stderr, "Try 'realmctl %s --help'.\n", command->name);
    return TOOL_UNKNOWN;
}

void tool_print_usage(const struct command *command, FILE *to)
{
    (void)fprintf(to, "Usage: realmctl [--store DIR] [--json] %s%s%s\n%s.\n\n%s", command->name,
                  command->arguments[0] != 0 ? " " : "", command->arguments, command->summary,
                  command->help);
}

int tool_print_json(json_t *value)
{
    char *text = value != NULL ? utf8_json_take(json_dumps(value, JSON_COMPACT)) : NULL;
    int rc;

    json_decref(value);
    if (text == NULL)
        return tool_fail("%s", error_text(E_NO_MEMORY));
    rc = fputs(text, stdout);
    free(text);
    if (rc == EOF || putchar('\n') == EOF)
        return tool_fail("cannot write the answer to standard output");
    return 0;
}

json_t *tool_json_string(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

void tool_print_text(const char *text)
{
    utf8_print(stdout, text); /* main() checks stdout once, at the end */
}

void progress_begin(struct progress *progress, const char *what)
{
    *progress = (struct progress){.what = what};
    if (isatty(STDERR_FILENO))
        progress->next_ms = clock_boot_ms() + PROGRESS_FIRST_MS;
}

bool progress_is_wanted(const struct progress *progress)
{
    return progress->next_ms != 0;
}

/* Whether to show something now. */
static bool is_due(struct progress *progress)
{
    int64_t now_ms;

    if (progress->next_ms == 0)
        return false;
    now_ms = clock_boot_ms();
    if (now_ms < progress->next_ms)
        return false;
    progress->shown = true;
    progress->next_ms = now_ms + PROGRESS_EVERY_MS;
    return true;
}

void progress_at(struct progress *progress, uint64_t records)
{
    if (records % PROGRESS_EVERY_RECORDS == 0 && is_due(progress))
        (void)fprintf(stderr, "\r%s: %llu records", progress->what, (unsigned long long)records);
}

void progress_bytes(struct progress *progress, uint64_t done, uint64_t total)
{
    enum { MIB_SHIFT = 20 };

    if (is_due(progress))
        (void)fprintf(stderr, "\r%s: %llu of at most %llu MiB", progress->what,
                      (unsigned long long)(done >> MIB_SHIFT),
                      (unsigned long long)(total >> MIB_SHIFT));
}

void progress_end(struct progress *progress)
{
    if (progress->shown)
        (void)fputs("\r\033[K", stderr); /* clears the line */
    progress->shown = false;
}

/* tool.c - see tool.h. */
#include "tools/tool.h"

#include <stdarg.h>
#include <unistd.h>

#include "base/clock.h"

enum { PROGRESS_FIRST_MS = 2000, PROGRESS_EVERY_MS = 500, PROGRESS_EVERY_RECORDS = 4096 };

static void say(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

static void say(const char *format, va_list args)
{
    (void)fputs("realmctl: ", stderr); /* stderr has nowhere to report its own failures */
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
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
    int rc;

    if (value == NULL)
        return tool_fail("%s", error_text(E_NO_MEMORY));
    rc = json_dumpf(value, stdout, JSON_COMPACT);
    json_decref(value);
    if (rc != 0 || putchar('\n') == EOF)
        return tool_fail("cannot write the answer to standard output");
    return 0;
}

json_t *tool_json_string(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

void tool_print_text(const char *text)
{
    for (; *text != 0; text++) {
        unsigned char c = (unsigned char)*text;

        (void)putchar(c < 0x20 || c == 0x7f ? '?' : c); /* main() checks stdout once, at the end */
    }
}

void progress_begin(struct progress *progress, const char *what)
{
    *progress = (struct progress){.what = what};
    if (isatty(STDERR_FILENO))
        progress->next_ms = clock_boot_ms() + PROGRESS_FIRST_MS;
}

static bool progress_due(struct progress *progress)
{
    int64_t now_ms = clock_boot_ms();

    if (progress->next_ms == 0 || now_ms < progress->next_ms)
        return false;
    progress->shown = true;
    progress->next_ms = now_ms + PROGRESS_EVERY_MS;
    return true;
}

void progress_at(struct progress *progress, uint64_t records)
{
    if (progress->next_ms != 0 && records % PROGRESS_EVERY_RECORDS == 0 && progress_due(progress))
        (void)fprintf(stderr, "\r%s: %llu records", progress->what, (unsigned long long)records);
}

void progress_bytes(struct progress *progress, uint64_t bytes)
{
    enum { MEBIBYTE = 1024 * 1024 };

    if (progress_due(progress))
        (void)fprintf(stderr, "\r%s: %llu MiB", progress->what,
                      (unsigned long long)bytes / MEBIBYTE);
}

void progress_end(struct progress *progress)
{
    if (progress->shown)
        (void)fputs("\r\033[K", stderr); /* clears the line */
    progress->shown = false;
}

/* log.c - see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

/* Below PIPE_BUF, so that lines of several threads and processes on one pipe never mix. */
enum { LOG_LINE_MAX = 4096, LOG_TAIL_BYTES = 4 /* quote, brace, newline, and one to spare */ };

static const char *const level_names[] = {"error", "warning", "info", "debug"};

struct line {
    char text[LOG_LINE_MAX];
    size_t used;  /* LOG_TAIL_BYTES stay free for the end */
    bool is_full; /* something was left out; nothing more is added */
};

bool log_level_parse(const char *text, enum log_level *ret)
{
    for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_format_parse(const char *text, enum log_format *ret)
{
    if (strcmp(text, "text") == 0)
        *ret = LOG_FORMAT_TEXT;
    else if (strcmp(text, "json") == 0)
        *ret = LOG_FORMAT_JSON;
    else
        return false;
    return true;
}

/* All of it or nothing. */
static void log_put(struct line *line, const char *text)
{
    size_t size = strlen(text);

    line->is_full = line->is_full || size + LOG_TAIL_BYTES > sizeof(line->text) - line->used;
    if (line->is_full)
        return;
    memcpy(line->text + line->used, text, size);
    line->used += size;
}

/* What closes something that was begun: there is always room for it. */
static void put_end(struct line *line, char c)
{
    line->text[line->used++] = c;
}

/* As it may be shown; text lines use JSON's escapes too, so that hostile input cannot forge a line.
 * A line that is too long ends between two pieces: it stays UTF-8, and JSON. */
static void put_escaped(struct line *line, const char *string)
{
    size_t left = strlen(string);

    while (left > 0 && !line->is_full) {
        char shown[UTF8_SHOWN_MAX + 1];
        size_t taken = utf8_show(string, left, UTF8_QUOTED, shown);

        log_put(line, shown);
        string += taken;
        left -= taken;
    }
}

/* `before`, a quoted value; nothing when there is no room for `before`. */
static void put_value(struct line *line, const char *before, const char *value)
{
    log_put(line, before);
    if (line->is_full)
        return;
    put_escaped(line, value);
    put_end(line, '"');
}

/* How a field begins: a member of JSON, or name="value". Names are ours, and short. */
static void put_field(struct line *line, enum log_format format, const char *name,
                      const char *value)
{
    char before[64];

    (void)snprintf(before, sizeof(before), format == LOG_FORMAT_JSON ? ",\"%s\":\"" : " %s=\"",
                   name);
    put_value(line, before, value);
}

static void compose(struct line *line, const struct log *log, enum log_level level,
                    const char *message, const struct log_field *fields, size_t n_fields)
{
    bool is_json = log->format == LOG_FORMAT_JSON;
    char stamp[CLOCK_ISO_SIZE];

    log_put(line, is_json ? "{\"time\":\"" : "");
    log_put(line, clock_format_iso(clock_wall_ms(), stamp));
    log_put(line, is_json ? "\",\"level\":\"" : " ");
    log_put(line, level_names[level]);
    if (is_json) {
        put_value(line, "\",\"message\":\"", message);
    } else {
        log_put(line, " ");
        put_escaped(line, message);
    }
    for (size_t i = 0; i < n_fields; i++) {
        if (fields[i].value != NULL)
            put_field(line, log->format, fields[i].name, fields[i].value);
    }
    if (is_json)
        put_end(line, '}');
    put_end(line, '\n');
}

static void log_va(const struct log *log, enum log_level level, const struct log_field *fields,
                   size_t n_fields, const char *format, va_list args)
{
    char message[LOG_LINE_MAX / 2];
    struct line line = {.used = 0};

    if (level > log->level)
        return;
    (void)vsnprintf(message, sizeof(message), format, args);
    compose(&line, log, level, message, fields, n_fields);
    if (write(log->fd, line.text, line.used) < 0)
        return; /* a log that cannot be written has nowhere to say so */
}

void log_write(const struct log *log, enum log_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_va(log, level, NULL, 0, format, args);
    va_end(args);
}

void log_fields(const struct log *log, enum log_level level, const struct log_field *fields,
                size_t n_fields, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_va(log, level, fields, n_fields, format, args);
    va_end(args);
}

bool log_pace_due(struct log_pace *pace, int64_t interval_ms, unsigned *ret_left_out)
{
    int64_t now_ms = clock_boot_ms();
    int64_t written_ms = atomic_load(&pace->written_ms);

    /* Of several threads at once, one writes. */
    if ((interval_ms > 0 && written_ms != 0 && now_ms - written_ms < interval_ms) ||
        !atomic_compare_exchange_strong(&pace->written_ms, &written_ms, now_ms)) {
        atomic_fetch_add(&pace->left_out, 1);
        return false;
    }
    *ret_left_out = atomic_exchange(&pace->left_out, 0);
    return true;
}

const char *log_left_out(unsigned left_out, char text[LOG_LEFT_OUT_SIZE])
{
    text[0] = 0;
    if (left_out > 0)
        (void)snprintf(text, LOG_LEFT_OUT_SIZE, " (%u more since the last such line)", left_out);
    return text;
}

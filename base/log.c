#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* Below PIPE_BUF, so that lines of several threads and processes on one pipe never mix. */
enum { LOG_LINE_MAX = 4096 };

static const char *const level_names[] = {"error", "warning", "info", "debug"};

struct line {
    char text[LOG_LINE_MAX];
    size_t used; /* one byte stays free for the newline */
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

static void put(struct line *line, const char *bytes, size_t size)
{
    size_t room = sizeof(line->text) - 1 - line->used;

    if (size > room)
        size = room;
    memcpy(line->text + line->used, bytes, size);
    line->used += size;
}

static void put_string(struct line *line, const char *string)
{
    put(line, string, strlen(string));
}

/* JSON escapes; text lines use the same ones so that hostile input cannot forge a line. */
static void put_escaped(struct line *line, const char *string)
{
    char escape[8];

    for (; *string != 0; string++) {
        unsigned char c = (unsigned char)*string;

        if (c == '"' || c == '\\') {
            (void)snprintf(escape, sizeof(escape), "\\%c", c);
            put_string(line, escape);
        } else if (c < 0x20 || c == 0x7f) {
            (void)snprintf(escape, sizeof(escape), "\\u%04x", c);
            put_string(line, escape);
        } else {
            put(line, string, 1);
        }
    }
}

static void put_json_member(struct line *line, const char *name, const char *value)
{
    put_string(line, ",\"");
    put_string(line, name);
    put_string(line, "\":\"");
    put_escaped(line, value);
    put_string(line, "\"");
}

static void compose_json(struct line *line, enum log_level level, const char *message,
                         const struct log_field *fields, size_t n_fields)
{
    char stamp[CLOCK_ISO_SIZE];
    const char *tail = "}";

    put_string(line, "{\"time\":\"");
    put_string(line, clock_format_iso(clock_wall_ms(), stamp));
    put_string(line, "\"");
    put_json_member(line, "level", level_names[level]);
    put_json_member(line, "message", message);
    for (size_t i = 0; i < n_fields; i++) {
        if (fields[i].value != NULL)
            put_json_member(line, fields[i].name, fields[i].value);
    }
    if (line->used + 2 > sizeof(line->text) - 1) {
        line->used = sizeof(line->text) - 3; /* a cut line still ends like a string */
        tail = "\"}";
    }
    put_string(line, tail);
}

static void compose_text(struct line *line, enum log_level level, const char *message,
                         const struct log_field *fields, size_t n_fields)
{
    char stamp[CLOCK_ISO_SIZE];

    put_string(line, clock_format_iso(clock_wall_ms(), stamp));
    put_string(line, " ");
    put_string(line, level_names[level]);
    put_string(line, " ");
    put_escaped(line, message);
    for (size_t i = 0; i < n_fields; i++) {
        if (fields[i].value == NULL)
            continue;
        put_string(line, " ");
        put_string(line, fields[i].name);
        put_string(line, "=\"");
        put_escaped(line, fields[i].value);
        put_string(line, "\"");
    }
}

static void log_va(const struct log *log, enum log_level level, const struct log_field *fields,
                   size_t n_fields, const char *format, va_list args)
{
    char message[LOG_LINE_MAX / 2];
    struct line line = {.used = 0};

    if (level > log->level)
        return;
    (void)vsnprintf(message, sizeof(message), format, args);
    if (log->format == LOG_FORMAT_JSON)
        compose_json(&line, level, message, fields, n_fields);
    else
        compose_text(&line, level, message, fields, n_fields);
    line.text[line.used++] = '\n';
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

/* log.h - the daemons' log: one line an event, JSON or text, to stderr (journald adds the rest).
 *
 * Error: the operator must act. Warning: odd, continuing. Info: state transitions. Debug: anything.
 * A line says what failed, on which object, why, and what follows. Never log a secret or a digest.
 * Thread-safe: each line is one write(). Libraries do not log.
 */
#ifndef RS_BASE_LOG_H
#define RS_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log {
    int fd;                       /* borrowed */
    _Atomic enum log_level level; /* these two may change under other threads: a reload */
    _Atomic enum log_format format;
};

/* One extra name and value of a line. */
struct log_field {
    const char *name;
    const char *value; /* NULL: the field is left out */
};

/* "error" ... "debug", "text", "json"; false for anything else. */
bool log_level_parse(const char *text, enum log_level *ret);
bool log_format_parse(const char *text, enum log_format *ret);

/* Writes one line when the level is enabled. A line is cut at 4 KiB. */
void log_write(const struct log *log, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with fields, which stand as members in JSON and as name=value in text. */
void log_fields(const struct log *log, enum log_level level, const struct log_field *fields,
                size_t n_fields, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Keeps one kind of line from filling the log: when it was written last, and how many were left out
 * since. Zeroed at first. May be used by several threads. */
struct log_pace {
    _Atomic int64_t written_ms; /* boot time; 0: never */
    _Atomic unsigned left_out;
};

/* Whether `interval_ms` have passed since the last line of this kind (0: write it in any case). If
 * not, it is counted; if so, *ret_left_out is how many were left out before this one. */
bool log_pace_due(struct log_pace *pace, int64_t interval_ms, unsigned *ret_left_out);
/* " (N more since the last such line)", or nothing for 0; returns `text`. */
enum { LOG_LEFT_OUT_SIZE = 64 };
const char *log_left_out(unsigned left_out, char text[LOG_LEFT_OUT_SIZE]);

#define log_error(log, ...)   log_write((log), LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(log, ...) log_write((log), LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(log, ...)    log_write((log), LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...)   log_write((log), LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif

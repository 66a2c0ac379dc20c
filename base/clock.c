/* clock.c - see clock.h. */
#include "base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"

static int64_t read_clock(clockid_t id)
{
    struct timespec now;

    (void)clock_gettime(id, &now); /* fails for unknown ids only */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_wall_ms(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_boot_ms(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

static int64_t system_wall_ms(void *context)
{
    (void)context; /* the host has one clock */
    return clock_wall_ms();
}

static int64_t system_boot_ms(void *context)
{
    (void)context; /* the host has one clock */
    return clock_boot_ms();
}

const struct clock clock_system = {.wall_ms = system_wall_ms, .boot_ms = system_boot_ms};

const char *clock_format_iso(int64_t wall_ms, char text[CLOCK_ISO_SIZE])
{
    int64_t millis = ((wall_ms % 1000) + 1000) % 1000;
    time_t seconds = (time_t)((wall_ms - millis) / 1000);
    struct tm parts;
    size_t used;

    if (gmtime_r(&seconds, &parts) == NULL)
        memset(&parts, 0, sizeof(parts));
    used = strftime(text, CLOCK_ISO_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(text + used, CLOCK_ISO_SIZE - used, ".%03dZ", (int)millis);
    return text;
}

/* Exactly `width` digits; advances *text. */
static bool take_digits(const char **text, int width, int *ret)
{
    int value = 0;

    for (int i = 0; i < width; i++) {
        char c = (*text)[i];

        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *text += width;
    *ret = value;
    return true;
}

static bool take_char(const char **text, char upper, char lower)
{
    if (**text != upper && **text != lower)
        return false;
    (*text)++;
    return true;
}

/* ".123456" to whole milliseconds; further digits are dropped. */
static bool take_fraction(const char **text, int *ret_ms)
{
    int millis = 0;
    int digits = 0;

    if (!take_char(text, '.', ','))
        return true;
    for (; **text >= '0' && **text <= '9'; (*text)++, digits++) {
        if (digits < 3)
            millis = millis * 10 + (**text - '0');
    }
    for (int i = digits; i < 3; i++)
        millis *= 10;
    *ret_ms = millis;
    return digits > 0;
}

static bool take_offset(const char **text, int *ret_minutes)
{
    int hours;
    int minutes;
    int sign = **text == '-' ? -1 : 1;

    if (take_char(text, 'Z', 'z'))
        return true;
    if (!take_char(text, '+', '-') || !take_digits(text, 2, &hours) || !take_char(text, ':', ':') ||
        !take_digits(text, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

int clock_parse_iso(const char *text, int64_t *ret_wall_ms)
{
    struct tm parts = {0};
    struct tm checked;
    int millis = 0;
    int offset_min = 0;
    int year;
    int month;
    time_t seconds;

    if (!take_digits(&text, 4, &year) || !take_char(&text, '-', '-') ||
        !take_digits(&text, 2, &month) || !take_char(&text, '-', '-') ||
        !take_digits(&text, 2, &parts.tm_mday) || !take_char(&text, 'T', 't') ||
        !take_digits(&text, 2, &parts.tm_hour) || !take_char(&text, ':', ':') ||
        !take_digits(&text, 2, &parts.tm_min) || !take_char(&text, ':', ':') ||
        !take_digits(&text, 2, &parts.tm_sec) || !take_fraction(&text, &millis) ||
        !take_offset(&text, &offset_min) || *text != 0)
        return E_INVALID;
    parts.tm_year = year - 1900;
    parts.tm_mon = month - 1;
    if (month < 1 || month > 12 || parts.tm_mday < 1 || parts.tm_hour > 23 || parts.tm_min > 59 ||
        parts.tm_sec > 60)
        return E_INVALID;
    checked = parts;
    seconds = timegm(&checked);
    /* timegm() carries 31 February over into March; a date that does not exist is refused. */
    if (checked.tm_mon != parts.tm_mon && parts.tm_sec < 60)
        return E_INVALID;
    *ret_wall_ms = ((int64_t)seconds - (int64_t)offset_min * 60) * 1000 + millis;
    return 0;
}

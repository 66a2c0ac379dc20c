/* error.c - see error.h. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *error_text(int code)
{
    switch (code) {
    case 0:
        return "success";
#define X(name, number, text)                                                                      \
    case name:                                                                                     \
        return text;
        ERROR_TABLE(X)
#undef X
    default:
        return "unknown error";
    }
}

static void fill(struct error *err, int code, const char *field, const char *format, va_list args)
{
    if (err == NULL)
        return;
    err->code = code;
    err->field = field;
    if (format == NULL)
        (void)snprintf(err->message, sizeof(err->message), "%s", error_text(code));
    else
        (void)vsnprintf(err->message, sizeof(err->message), format, args);
}

void error_write(struct error *err, int code, const char *field, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fill(err, code, field, format, args);
    va_end(args);
}

int error_context(struct error *err, const char *format, ...)
{
    char joined[sizeof(err->message)];
    va_list args;
    int used;

    if (err == NULL)
        return E_INVALID;
    va_start(args, format);
    used = vsnprintf(joined, sizeof(joined), format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof(joined) - 3) {
        size_t room = sizeof(joined) - (size_t)used - 3; /* ": " and the NUL */

        (void)snprintf(joined + used, sizeof(joined) - (size_t)used, ": %.*s", (int)room,
                       err->message);
    }
    memcpy(err->message, joined, sizeof(joined));
    return err->code;
}

int error_from_errno(int errnum)
{
    switch (errnum) {
    case EACCES:
    case EPERM:
        return E_PERMISSION;
    case ENOENT:
        return E_NOT_FOUND;
    case ENOMEM:
        return E_NO_MEMORY;
    case ENOSPC:
    case EDQUOT:
        return E_NO_SPACE;
    case EROFS:
        return E_READ_ONLY_MOUNT;
    default:
        return E_IO;
    }
}

void error_write_errno(struct error *err, int errnum, const char *format, ...)
{
    char reason[128];
    va_list args;
    size_t used;

    va_start(args, format);
    fill(err, error_from_errno(errnum), NULL, format, args);
    va_end(args);
    if (err == NULL)
        return;
    used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof(err->message) - used, ": %s",
                   strerror_r(errnum, reason, sizeof(reason)));
}

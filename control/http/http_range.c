/* http_range.c - see http_range.h. */
#include "control/http/http_range.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char unit[] = "bytes=";

/* Passes over the digits at *at; false, and passes over nothing, when they are no number that can
 * be held. */
static bool take_number(const char **at, uint64_t *ret)
{
    char *end;

    if (!isdigit((unsigned char)**at))
        return false;
    errno = 0;
    *ret = strtoull(*at, &end, 10);
    if (errno != 0)
        return false;
    *at = end;
    return true;
}

static enum http_range last_bytes(uint64_t count, uint64_t size, uint64_t *ret_first,
                                  uint64_t *ret_last)
{
    if (count == 0 || size == 0)
        return HTTP_RANGE_UNSATISFIABLE;
    *ret_first = count < size ? size - count : 0;
    *ret_last = size - 1;
    return HTTP_RANGE_PART;
}

enum http_range http_range_read(const char *range, uint64_t size, uint64_t *ret_first,
                                uint64_t *ret_last)
{
    const char *at = range;
    uint64_t first = 0;
    uint64_t last = UINT64_MAX;
    bool has_first;
    bool has_last;

    if (range == NULL || strncasecmp(range, unit, strlen(unit)) != 0)
        return HTTP_RANGE_WHOLE;
    at += strlen(unit);
    has_first = take_number(&at, &first);
    if (*at++ != '-')
        return HTTP_RANGE_WHOLE;
    has_last = take_number(&at, &last);
    if (*at != 0 || (!has_first && !has_last) || last < first)
        return HTTP_RANGE_WHOLE;
    if (!has_first)
        return last_bytes(last, size, ret_first, ret_last);
    if (first >= size)
        return HTTP_RANGE_UNSATISFIABLE;
    *ret_first = first;
    *ret_last = last < size ? last : size - 1;
    return HTTP_RANGE_PART;
}

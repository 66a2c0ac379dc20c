/* utf8_json.c - JSON text that may be shown. By itself, because it frees what may have held a
 * secret, which needs OpenSSL, and the rest of utf8.h nothing.
 */
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wipe.h"

/* How many bytes the text has more when its controls are escaped. A line's end between members is
 * the serialiser's. */
static size_t count_growth(const char *json, size_t size)
{
    size_t growth = 0;

    for (size_t at = 0; at < size;) {
        uint32_t c = 0;
        size_t length = utf8_next(json + at, size - at, &c);

        if (length > 0 && c >= 0x7f && utf8_is_control(c))
            growth += sizeof("\\u0085") - 1 - length;
        at += length > 0 ? length : 1;
    }
    return growth;
}

char *utf8_json_take(char *json)
{
    size_t size = json != NULL ? strlen(json) : 0;
    size_t growth = json != NULL ? count_growth(json, size) : 0;
    char *shown;
    char *to;

    if (growth == 0)
        return json;
    to = shown = malloc(size + growth + 1);
    for (size_t at = 0; shown != NULL && at < size;) {
        uint32_t c = 0;
        size_t length = utf8_next(json + at, size - at, &c);

        if (length > 0 && c >= 0x7f && utf8_is_control(c)) {
            to += snprintf(to, sizeof("\\u0085"), "\\u%04x", (unsigned)c & 0xffffU);
        } else {
            length = length > 0 ? length : 1;
            memcpy(to, json + at, length);
            to += length;
        }
        at += length;
    }
    if (shown != NULL)
        *to = 0;
    wipe_free(json);
    return shown;
}

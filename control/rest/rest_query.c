/* rest_query.c - query parameters and percent-encoding. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/utf8.h"
#include "control/rest/rest_call.h"

char *rest_decode(struct rest_call *call, const char *text, size_t size, bool plus_is_space)
{
    char *decoded = arena_alloc(call->arena, size + 1);
    size_t used = 0;

    if (decoded == NULL) {
        call->no_memory = true;
        return NULL;
    }
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)text[i];

        if (byte == '+' && plus_is_space) {
            byte = ' ';
        } else if (byte == '%') {
            if (size - i < 3 || !hex_decode(text + i + 1, 2, &byte))
                return NULL;
            i += 2;
        }
        if (byte == 0)
            return NULL;
        decoded[used++] = (char)byte;
    }
    decoded[used] = 0;
    return utf8_valid(decoded, used, NULL) ? decoded : NULL;
}

static void parse_pair(struct rest_call *call, const char *text, size_t size)
{
    const char *equals = memchr(text, '=', size);
    size_t name_size = equals != NULL ? (size_t)(equals - text) : size;
    const char *name = rest_decode(call, text, name_size, true);
    struct rest_pair *pair = &call->query[call->n_query];

    if (name == NULL || name[0] == 0)
        return; /* no parameter of ours */
    pair->name = name;
    pair->value = equals != NULL ? rest_decode(call, equals + 1, size - name_size - 1, true) : "";
    call->n_query++;
}

int rest_query_parse(struct rest_call *call)
{
    const char *at = call->request->query;
    size_t count = 1;

    for (const char *p = at; *p != 0; p++)
        count += *p == '&';
    call->query = arena_array(call->arena, count, sizeof(*call->query));
    if (call->query == NULL)
        return E_NO_MEMORY;
    while (*at != 0) {
        size_t size = strcspn(at, "&");

        parse_pair(call, at, size);
        at += size;
        at += *at == '&';
    }
    return call->no_memory ? E_NO_MEMORY : 0;
}

const char *rest_query_get(struct rest_call *call, const char *name)
{
    for (size_t i = 0; i < call->n_query; i++) {
        if (strcmp(call->query[i].name, name) != 0)
            continue;
        if (call->query[i].value == NULL)
            (void)rest_invalid(call, "query", name, "is_utf8",
                               "must be percent-encoded UTF-8 without NUL");
        return call->query[i].value;
    }
    return NULL;
}

static bool parse_integer(const char *text, int64_t *ret)
{
    char *end;
    long long value;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno != 0 || *end != 0)
        return false;
    *ret = value;
    return true;
}

int64_t rest_query_integer(struct rest_call *call, const char *name, int64_t fallback, int64_t min,
                           int64_t max)
{
    const char *text = rest_query_get(call, name);
    int64_t value;
    json_t *violation;

    if (text == NULL)
        return fallback;
    if (!parse_integer(text, &value)) {
        (void)rest_invalid(call, "query", name, "is_integer", "must be a whole number");
        return fallback;
    }
    if (value >= min && value <= max)
        return value;
    violation = rest_invalid(call, "query", name, value < min ? "min" : "max",
                             "must be between %" PRId64 " and %" PRId64, min, max);
    (void)json_object_set_new(violation, value < min ? "minimum" : "maximum",
                              json_integer(value < min ? min : max));
    return fallback;
}

bool rest_query_flag(struct rest_call *call, const char *name)
{
    const char *text = rest_query_get(call, name);

    if (text == NULL || strcmp(text, "false") == 0)
        return false;
    if (strcmp(text, "true") == 0)
        return true;
    (void)rest_invalid(call, "query", name, "is_boolean", "must be true or false");
    return false;
}

bool rest_query_uuid(struct rest_call *call, const char *name, bool required, struct uuid *ret)
{
    const char *text = rest_query_get(call, name);

    if (text == NULL) {
        if (required)
            (void)rest_invalid(call, "query", name, "required", "is required");
        return false;
    }
    if (uuid_parse(text, ret))
        return true;
    (void)rest_invalid(call, "query", name, "is_uuid", "must be a UUID");
    return false;
}

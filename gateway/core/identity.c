/* identity.c - the request headers that tell an upstream who is asking. Names are compared as a
 * CGI-like upstream would fold them, so that X_Consumer_ID does not pass for X-Consumer-ID.
 */
#include "gateway/core/identity.h"

static const struct gate_text names[GATE_HEADERS] = {
    [GATE_HEADER_ID] = {"X-Consumer-ID", 13},
    [GATE_HEADER_USERNAME] = {"X-Consumer-Username", 19},
    [GATE_HEADER_CUSTOM_ID] = {"X-Consumer-Custom-ID", 20},
    [GATE_HEADER_CREDENTIAL] = {"X-Credential-Identifier", 23},
    [GATE_HEADER_ANONYMOUS] = {"X-Anonymous-Consumer", 20},
    [GATE_HEADER_GROUPS] = {"X-Consumer-Groups", 17},
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

struct gate_text gate_header_name(enum gate_header header)
{
    return names[header];
}

/* As CGI does, but with everything that may become an underscore. */
static bool folds_to(struct gate_text name, struct gate_text wanted)
{
    if (name.size != wanted.size)
        return false;
    for (size_t i = 0; i < name.size; i++) {
        char c = lower(name.data[i]);

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9'))
            c = '-';
        if (c != lower(wanted.data[i]))
            return false;
    }
    return true;
}

bool gate_header_says_who(struct gate_text name)
{
    for (size_t i = 0; i < GATE_HEADERS; i++) {
        if (folds_to(name, names[i]))
            return true;
    }
    return false;
}

bool gate_header_is_key(struct gate_text header, struct gate_text key_name)
{
    if (header.size != key_name.size)
        return false;
    for (size_t i = 0; i < key_name.size; i++) {
        char c = lower(header.data[i]);
        char wanted = lower(key_name.data[i]);

        if (c != wanted && !(wanted == '_' && c == '-'))
            return false;
    }
    return true;
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

size_t gate_value_escapes(struct gate_text value)
{
    size_t n = 0;

    for (size_t i = 0; i < value.size; i++)
        n += is_control(value.data[i]);
    return n;
}

size_t gate_value_escape(struct gate_text value, char *out)
{
    static const char hex[] = "0123456789ABCDEF";
    char *to = out;

    for (size_t i = 0; i < value.size; i++) {
        unsigned char c = (unsigned char)value.data[i];

        if (is_control(value.data[i])) {
            *to++ = '%';
            *to++ = hex[c >> 4];
            *to++ = hex[c & 0xf];
        } else {
            *to++ = value.data[i];
        }
    }
    return (size_t)(to - out);
}

size_t gate_groups_size(const struct gate_text *groups, size_t n)
{
    size_t size = 0;

    for (size_t i = 0; i < n; i++)
        size += groups[i].size + 2;
    return size;
}

size_t gate_groups_join(const struct gate_text *groups, size_t n, char *out)
{
    char *to = out;

    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            to = gate_text_put(to, GATE_TEXT(", "));
        to = gate_text_put(to, groups[i]);
    }
    return (size_t)(to - out);
}

/* identity.c - the request headers that tell an upstream who is asking. Names are compared as a
 * CGI-like upstream would fold them, so that X_Consumer_ID does not pass for X-Consumer-ID.
 */
#include "gateway/core/identity.h"

#include "base/utf8.h"

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
static char fold(char c)
{
    char folded = lower(c);

    return (folded >= 'a' && folded <= 'z') || (folded >= '0' && folded <= '9') ? folded : '-';
}

static bool fold_alike(struct gate_text a, struct gate_text b)
{
    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++) {
        if (fold(a.data[i]) != fold(b.data[i]))
            return false;
    }
    return true;
}

bool gate_header_says_who(struct gate_text name)
{
    for (size_t i = 0; i < GATE_HEADERS; i++) {
        if (fold_alike(name, names[i]))
            return true;
    }
    return false;
}

bool gate_header_may_be_key(struct gate_text header, struct gate_text key_name)
{
    return fold_alike(header, key_name);
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

/* How many bytes at `at` stand as they are; 0: the one there must be escaped. */
static size_t plain_bytes(struct gate_text value, size_t at, bool in_list)
{
    uint32_t c = 0;
    size_t n = utf8_next(value.data + at, value.size - at, &c);

    if (n == 0 || utf8_is_control(c) || (in_list && c == ','))
        return 0;
    return utf8_is_blank(c) && (at == 0 || at + n == value.size) ? 0 : n;
}

bool gate_value_is_plain(struct gate_text value, bool in_list)
{
    size_t at = 0;
    size_t n = 1;

    for (; at < value.size && n > 0; at += n)
        n = plain_bytes(value, at, in_list);
    return n > 0;
}

static char *put_escaped(char *to, struct gate_text bytes)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < bytes.size; i++) {
        unsigned char byte = (unsigned char)bytes.data[i];

        *to++ = '%';
        *to++ = hex[byte >> 4];
        *to++ = hex[byte & 0xf];
    }
    return to;
}

size_t gate_value_escape(struct gate_text value, bool in_list, char *out)
{
    char *to = out;
    size_t n;

    for (size_t at = 0; at < value.size; at += n) {
        uint32_t ignored;

        n = plain_bytes(value, at, in_list);
        if (n > 0) {
            to = gate_text_put(to, (struct gate_text){value.data + at, n});
            continue;
        }
        n = utf8_next(value.data + at, value.size - at, &ignored);
        n = n > 0 ? n : 1;
        to = put_escaped(to, (struct gate_text){value.data + at, n});
    }
    return (size_t)(to - out);
}

size_t gate_groups_size(const struct gate_text *groups, size_t n)
{
    size_t size = 0;

    for (size_t i = 0; i < n; i++)
        size += GATE_ESCAPED_SIZE * groups[i].size + 2;
    return size;
}

size_t gate_groups_join(const struct gate_text *groups, size_t n, char *out)
{
    char *to = out;

    for (size_t i = 0; i < n; i++) {
        if (groups[i].size == 0)
            continue;
        if (to > out)
            to = gate_text_put(to, GATE_TEXT(", "));
        to += gate_value_escape(groups[i], true, to);
    }
    return (size_t)(to - out);
}

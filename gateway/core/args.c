/* args.c - parameters in a query or a form body. */
#include "gateway/core/args.h"

struct pair {
    struct gate_text whole; /* name=value, without the & */
    struct gate_text name;  /* encoded */
    struct gate_text value; /* encoded; .data NULL: there is no = */
};

/* Takes the next pair off the front of *rest; false at the end. Pairs may be empty. */
static bool next_pair(struct gate_text *rest, struct pair *ret)
{
    const char *end;
    const char *equals;

    if (rest->size == 0)
        return false;
    end = memchr(rest->data, '&', rest->size);
    ret->whole.data = rest->data;
    ret->whole.size = end != NULL ? (size_t)(end - rest->data) : rest->size;
    rest->data += ret->whole.size + (end != NULL);
    rest->size -= ret->whole.size + (end != NULL);

    ret->name = ret->whole;
    ret->value = (struct gate_text){NULL, 0};
    equals = memchr(ret->whole.data, '=', ret->whole.size);
    if (equals != NULL) {
        ret->name.size = (size_t)(equals - ret->whole.data);
        ret->value.data = equals + 1;
        ret->value.size = ret->whole.size - ret->name.size - 1;
    }
    return true;
}

/* Its value, or -1. */
static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes one character at *p and moves on. */
static char decode_one(const char **p, const char *end)
{
    char c = *(*p)++;

    if (c == '+')
        return ' ';
    if (c == '%' && end - *p >= 2) {
        int high = hex_digit((*p)[0]);
        int low = hex_digit((*p)[1]);

        if (high >= 0 && low >= 0) {
            *p += 2;
            return (char)(high << 4 | low);
        }
    }
    return c;
}

bool gate_args_means(struct gate_text encoded, struct gate_text name, bool any_case)
{
    const char *p = encoded.data;
    const char *end = encoded.data + encoded.size;
    size_t i;

    for (i = 0; i < name.size && p < end; i++) {
        char c = decode_one(&p, end);

        if (c != name.data[i] && !(any_case && strncasecmp(&c, &name.data[i], 1) == 0))
            return false;
    }
    return i == name.size && p == end;
}

size_t gate_args_decode(struct gate_text encoded, char *out)
{
    const char *p = encoded.data;
    const char *end = encoded.data + encoded.size;
    char *to = out;

    while (p < end)
        *to++ = decode_one(&p, end);
    return (size_t)(to - out);
}

enum gate_value gate_args_find(struct gate_text args, struct gate_text name, struct gate_text *ret)
{
    enum gate_value kind = GATE_VALUE_NONE;
    struct gate_text value = {NULL, 0};
    struct pair pair;

    while (next_pair(&args, &pair)) {
        if (!gate_args_means(pair.name, name, false))
            continue;
        if (kind != GATE_VALUE_NONE)
            return GATE_VALUE_REPEATED;
        kind = pair.value.data != NULL ? GATE_VALUE_STRING : GATE_VALUE_OTHER;
        value = pair.value;
    }
    if (kind == GATE_VALUE_STRING)
        *ret = value;
    return kind;
}

static bool means_one_of(struct gate_text name, struct gate_names names, bool any_case)
{
    for (size_t i = 0; i < names.n; i++) {
        if (gate_args_means(name, names.list[i], any_case))
            return true;
    }
    return false;
}

/* Up to `end`, if that is in it. */
static struct gate_text up_to(struct gate_text text, char end)
{
    const char *at = text.size > 0 ? memchr(text.data, end, text.size) : NULL;

    if (at != NULL)
        text.size = (size_t)(at - text.data);
    return text;
}

/* How much of a pair stands before what may be taken for a key: usually all. A key may have a ; in
 * it, so that nothing behind its name is kept. */
static size_t harmless_size(struct gate_text whole, struct gate_names names)
{
    struct gate_text rest = whole;

    while (rest.size > 0) {
        struct gate_text piece = up_to(rest, ';');
        size_t before = whole.size - rest.size;

        if (means_one_of(up_to(piece, '='), names, true))
            return before > 0 ? before - 1 : 0;
        piece.size += piece.size < rest.size;
        rest.data += piece.size;
        rest.size -= piece.size;
    }
    return whole.size;
}

bool gate_args_may_have(struct gate_text args, struct gate_names names)
{
    struct pair pair;

    while (next_pair(&args, &pair)) {
        if (harmless_size(pair.whole, names) < pair.whole.size)
            return true;
    }
    return false;
}

static char *put_pair(char *to, const char *out, struct gate_text whole)
{
    if (to > out)
        *to++ = '&';
    return gate_text_put(to, whole);
}

size_t gate_args_named(struct gate_text args, struct gate_names names, char *out)
{
    struct pair pair;
    char *to = out;

    while (next_pair(&args, &pair)) {
        if (means_one_of(pair.name, names, false))
            to = put_pair(to, out, pair.whole);
    }
    return (size_t)(to - out);
}

size_t gate_args_others(struct gate_text args, struct gate_names names, char *out)
{
    struct pair pair;
    char *to = out;

    while (next_pair(&args, &pair)) {
        size_t size = harmless_size(pair.whole, names);

        if (size > 0 || pair.whole.size == 0)
            to = put_pair(to, out, (struct gate_text){pair.whole.data, size});
    }
    return (size_t)(to - out);
}

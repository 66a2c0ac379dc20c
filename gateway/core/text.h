/* text.h - a piece of text by address and size, as requests have them. */
#ifndef GATE_TEXT_H
#define GATE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

/* Borrowed; no NUL behind it. */
struct gate_text {
    const char *data;
    size_t size;
};

/* Names of keys, in the order of the configuration; or of groups. */
struct gate_names {
    const struct gate_text *list;
    size_t n;
};

#define GATE_TEXT(literal) ((struct gate_text){(literal), sizeof(literal) - 1})

static inline bool gate_text_is(struct gate_text a, struct gate_text b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool gate_text_is_nocase(struct gate_text a, struct gate_text b)
{
    return a.size == b.size && (a.size == 0 || strncasecmp(a.data, b.data, a.size) == 0);
}

static inline bool gate_names_have(struct gate_names names, struct gate_text name)
{
    for (size_t i = 0; i < names.n; i++) {
        if (gate_text_is(names.list[i], name))
            return true;
    }
    return false;
}

/* Copies it to `out`; the place behind. */
static inline char *gate_text_put(char *out, struct gate_text text)
{
    if (text.size > 0)
        memcpy(out, text.data, text.size);
    return out + text.size;
}

#endif

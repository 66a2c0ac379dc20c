/* redact.c - keys in text that is about to be logged. */
#include "gateway/core/redact.h"

#include "gateway/core/args.h"
#include "gateway/core/identity.h"

static bool redact_is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* A character of an encoded name. */
static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           redact_is_one_of(c, "-_.%");
}

/* The name that ends before `end`. */
static struct gate_text name_before(struct gate_text text, size_t end)
{
    size_t start = end;

    while (start > 0 && is_name_char(text.data[start - 1]))
        start--;
    return (struct gate_text){text.data + start, end - start};
}

/* As headers are called, and as CGI calls them. */
static bool is_header(struct gate_text name, struct gate_text key_name)
{
    static const struct gate_text prefix = {"HTTP_", 5};
    struct gate_text rest = name;

    if (name.size > prefix.size &&
        gate_text_is_nocase((struct gate_text){name.data, prefix.size}, prefix)) {
        rest.data += prefix.size;
        rest.size -= prefix.size;
    }
    return gate_header_may_be_key(name, key_name) || gate_header_may_be_key(rest, key_name);
}

/* Whether the separator at `at` stands between the name of a key and its value. */
static bool begins_value(struct gate_text text, size_t at, struct gate_names names)
{
    struct gate_text name = name_before(text, at);

    for (size_t i = 0; name.size > 0 && i < names.n; i++) {
        if (text.data[at] == '=' ? gate_args_means(name, names.list[i], true)
                                 : is_header(name, names.list[i]))
            return true;
    }
    return false;
}

static bool ends_value(struct gate_text text, size_t at, char separator)
{
    static const struct gate_text version = {" HTTP/", 6};
    struct gate_text rest = {text.data + at, text.size - at};

    if (redact_is_one_of(rest.data[0], "\r\n"))
        return true;
    if (rest.data[0] == '"')
        return rest.size == 1 || redact_is_one_of(rest.data[1], " ,:;)\r\n");
    if (separator != '=')
        return false;
    rest.size = rest.size < version.size ? rest.size : version.size;
    return rest.data[0] == '&' || gate_text_is(rest, version);
}

/* Finds the next value from *ret_begin on. */
static bool next_value(struct gate_text text, struct gate_names names, size_t *ret_begin,
                       size_t *ret_end)
{
    for (size_t at = *ret_begin; at < text.size; at++) {
        size_t begin = at + 1;
        size_t end;

        if ((text.data[at] != '=' && text.data[at] != ':') || !begins_value(text, at, names))
            continue;
        while (text.data[at] == ':' && begin < text.size && text.data[begin] == ' ')
            begin++;
        for (end = begin; end < text.size && !ends_value(text, end, text.data[at]); end++) {
        }
        if (end > begin) {
            *ret_begin = begin;
            *ret_end = end;
            return true;
        }
    }
    return false;
}

bool gate_redact_is_needed(struct gate_text text, struct gate_names names)
{
    size_t begin = 0;
    size_t end;

    return next_value(text, names, &begin, &end);
}

size_t gate_redact(struct gate_text text, struct gate_names names, char *out)
{
    static const struct gate_text stars = {"***", 3};
    size_t done = 0;
    size_t begin = 0;
    size_t end;
    char *to = out;

    while (next_value(text, names, &begin, &end)) {
        size_t n = end - begin < stars.size ? end - begin : stars.size;

        to = gate_text_put(to, (struct gate_text){text.data + done, begin - done});
        to = gate_text_put(to, (struct gate_text){stars.data, n});
        done = begin = end;
    }
    to = gate_text_put(to, (struct gate_text){text.data + done, text.size - done});
    return (size_t)(to - out);
}

/* yaml_complaint.c - see yaml_complaint.h. */
#include "base/yaml_complaint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

void yaml_complaint_add(struct yaml_complaint *complaint, const char *format, va_list args)
{
    static const char prefix[] = "Load: ";
    static const char position[] = " (line: ";
    char text[512];
    const char *start = text;
    const char *found;

    (void)vsnprintf(text, sizeof(text), format, args);
    text[strcspn(text, "\n")] = 0;
    if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
        start += sizeof(prefix) - 1;
    start += strspn(start, " ");
    if (complaint->text[0] == 0)
        (void)snprintf(complaint->text, sizeof(complaint->text), "%s", start);
    found = strstr(start, "line: ");
    if (found == NULL || complaint->line != 0)
        return;
    complaint->line = (unsigned)strtoul(found + strlen("line: "), NULL, 10);
    found = strstr(start, position);
    if (found != NULL)
        (void)snprintf(complaint->place, sizeof(complaint->place), "%.*s", (int)(found - start),
                       start);
}

/* Does this line have the key where a key can stand? */
static bool line_has_key(const char *line, size_t length, const char *key)
{
    size_t key_length = strlen(key);

    for (size_t at = 0; at + key_length < length; at++) {
        size_t after = at + key_length;

        if (memcmp(line + at, key, key_length) != 0 ||
            (at > 0 && strchr(" \t-{,\"'", line[at - 1]) == NULL))
            continue;
        after += line[after] == '"' || line[after] == '\'';
        while (after < length && line[after] == ' ')
            after++;
        if (after < length && line[after] == ':')
            return true;
    }
    return false;
}

/* The first line from `line` on that has the key; `line` itself when none has. */
static unsigned yaml_complaint_find_key(const char *text, unsigned line, const char *key)
{
    unsigned number = 1;

    for (const char *at = text; *at != 0; number++) {
        size_t length = strcspn(at, "\n");

        if (number >= line && line_has_key(at, length, key))
            return number;
        at += length;
        at += *at == '\n';
    }
    return line;
}

static unsigned line_of(const char *text, size_t at)
{
    unsigned line = 1;

    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n';
    return line;
}

int yaml_complaint_explain(const struct yaml_complaint *complaint, const char *path,
                           const char *text, const char *otherwise, struct error *err)
{
    static const char unknown[] = "Unexpected key: ";
    static const char repeated[] = "Mapping field already seen: ";
    const char *said = complaint->text[0] != 0 ? complaint->text : otherwise;
    size_t at;

    if (complaint->line == 0 && !utf8_valid(text, strlen(text), &at))
        return error_set(err, E_CONFIG, "%s: line %u: byte %zu of the file is no UTF-8", path,
                         line_of(text, at), at + 1);
    if (strncmp(said, unknown, sizeof(unknown) - 1) == 0) {
        said += sizeof(unknown) - 1;
        return error_set(err, E_CONFIG, "%s: line %u: unknown key \"%s\"", path,
                         yaml_complaint_find_key(text, complaint->line, said), said);
    }
    if (strncmp(said, repeated, sizeof(repeated) - 1) == 0) {
        said += sizeof(repeated) - 1;
        return error_set(err, E_CONFIG, "%s: line %u: key \"%s\" for the second time", path,
                         yaml_complaint_find_key(text, complaint->line + 1, said), said);
    }
    return error_set(err, E_CONFIG, "%s: line %u: %s%s%s", path, complaint->line, said,
                     complaint->place[0] != 0 ? ", " : "", complaint->place);
}

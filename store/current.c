/* current.c - see current.h. */
#include "store/current.h"

#include <stdio.h>
#include <string.h>

#include "store/files.h"
#include "store/generation.h"

enum { CURRENT_MAX_BYTES = 2 * (GENERATION_NAME_SIZE + 1) };

/* Takes the next line off *text. */
static uint32_t take_line(char **text)
{
    char *line = *text;
    size_t length = strcspn(line, "\n");

    *text = line + length + (line[length] != 0);
    line[length] = 0;
    return generation_parse(line);
}

int current_read(const char *source_dir, struct current *ret, struct error *err)
{
    char text[CURRENT_MAX_BYTES + 1] = "";
    char *at = text;
    size_t size = 0;
    int rc = files_read(source_dir, "current", text, CURRENT_MAX_BYTES, &size, err);

    *ret = (struct current){.serving = 0};
    if (rc == E_NOT_FOUND || rc == E_TOO_LARGE)
        return 0;
    if (rc != 0)
        return rc;
    text[size] = 0;
    ret->serving = take_line(&at);
    ret->previous = take_line(&at);
    if (ret->previous == ret->serving)
        ret->previous = 0;
    return 0;
}

int current_write(const char *source_dir, const struct current *current, gid_t gid,
                  struct error *err)
{
    char serving[GENERATION_NAME_SIZE];
    char previous[GENERATION_NAME_SIZE];
    char text[CURRENT_MAX_BYTES + 1];
    int length = snprintf(text, sizeof(text), "%s\n", generation_name(current->serving, serving));

    if (current->previous != 0)
        length += snprintf(text + length, sizeof(text) - (size_t)length, "%s\n",
                           generation_name(current->previous, previous));
    return files_write(source_dir, "current", text, (size_t)length, gid, err);
}

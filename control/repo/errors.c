/* errors.c - see errors.h. */
#include "control/repo/errors.h"

int repo_no_memory(struct error *err)
{
    return error_set(err, E_NO_MEMORY, NULL);
}

int repo_corrupt(const char *what, struct error *err)
{
    return error_set(err, E_CORRUPT,
                     "the control store is damaged: %s; restore the data directory from a backup",
                     what);
}

int repo_encode_error(int code, const char *what, struct error *err)
{
    if (code == 0)
        return 0;
    if (code == E_INVALID)
        return error_set(err, code, "a value of %s is over its limit or not valid text", what);
    return error_set(err, code, "cannot store %s: %s", what, error_text(code));
}

int repo_not_found(const char *field, const char *what, const struct uuid *id, struct error *err)
{
    char text[UUID_TEXT_SIZE];

    return error_set_field(err, E_NOT_FOUND, field, "there is no %s %s", what,
                           uuid_format(id, text));
}

/* token_file.h - a file that holds one token: the administrator's, or a host's. */
#ifndef RS_BASE_TOKEN_FILE_H
#define RS_BASE_TOKEN_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* The token alone, NUL-terminated, from malloc: the caller's, to be wiped and freed
 * (token_file_forget). Blanks and ends of lines behind it are not part of it. *ret_mode (may be
 * NULL) is the file's permission bits.
 *
 * E_CONFIG with path, place and what to do when it holds anything but one line of printable ASCII
 * without blanks; nothing is cut off silently. E_NOT_FOUND, E_PERMISSION, E_IO, E_NO_MEMORY. */
int token_file_read(const char *path, char **ret, mode_t *ret_mode, struct error *err);

/* Wipes and frees; NULL passes. */
void token_file_forget(char *token);

#endif

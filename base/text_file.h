/* text_file.h - a small file as one text: a configuration, a certificate, a key. */
#ifndef RS_BASE_TEXT_FILE_H
#define RS_BASE_TEXT_FILE_H

#include <stddef.h>

#include "base/error.h"

/* Opens it to be read. E_CONFIG: a pipe, a socket or a device, which may keep its reader waiting
 * for ever, also at a reload, and gives what it holds only once; E_NOT_FOUND, E_PERMISSION, E_IO.
 */
int text_file_open(const char *path, int *ret_fd, struct error *err);

/* At most max_bytes of text and a NUL, the caller's, to be freed (wipe_free() where it may be a
 * secret: no other copy is left). E_CONFIG: longer; E_NOT_FOUND, E_PERMISSION, E_IO, E_NO_MEMORY.
 */
int text_file_read(const char *path, size_t max_bytes, char **ret, size_t *ret_size,
                   struct error *err);

#endif

/* own.h - files that are a daemon's own, in directories that somebody else may be able to write.
 *
 * A name there may be a symbolic link, a pipe, a device or a second name of a file that is not
 * ours. So a file of ours is opened without following a link, without waiting for the other end of
 * a pipe, and used only when it is a regular file; nothing is truncated before that is known.
 */
#ifndef RS_BASE_OWN_H
#define RS_BASE_OWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* open() with O_CLOEXEC as above; `flags` without O_TRUNC. E_INVALID: no regular file (the message
 * says what to do); else as errno says (E_NOT_FOUND, E_PERMISSION, ...). */
int own_open(const char *path, int flags, mode_t mode, int *ret_fd, struct error *err);
/* A new, empty file: what stood there loses its name, but not its bytes. */
int own_create(const char *path, mode_t mode, int *ret_fd, struct error *err);
/* For files that somebody else opens for us (LMDB): 0 when there is none, or a regular file. */
int own_check_file(const char *path, struct error *err);

/* Takes the lock of a directory: the file `path`, locked with flock() and holding our pid.
 * E_LOCKED: another process has it; *ret_holder (may be NULL) is its pid, 0 when the file does not
 * say. */
int own_lock(const char *path, mode_t mode, int *ret_fd, pid_t *ret_holder, struct error *err);

/* Whether this process may trust the directory `path` with what it writes. A process of root's
 * refuses one that belongs to another user, who could put anything under its hands: E_PERMISSION
 * with the command that mends it. Else `warning` says what is odd (another owner, open to all), ""
 * for nothing. A directory that is not there yet is fine. */
enum { OWN_WARNING_SIZE = 512 };
int own_check_dir(const char *path, char warning[OWN_WARNING_SIZE], struct error *err);

#endif

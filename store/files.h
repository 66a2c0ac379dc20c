/* files.h - small files and directories of a store: made whole, made durable, given to the group.
 *
 * Each function fills *err with path, reason and what to do. `gid` is the reader group, or
 * FILES_NO_GROUP to leave the group as the system gives it.
 */
#ifndef RS_STORE_FILES_H
#define RS_STORE_FILES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define FILES_NO_GROUP ((gid_t)-1)

enum { FILES_MODE_DIR = 02750, FILES_MODE_DATA = 0640, FILES_MODE_LOCK = 0660 };

/* "dir/name" into `path`; E_INVALID when it is too long. */
int files_join(char path[PATH_MAX], const char *dir, const char *name, struct error *err);
/* Sets group and mode whatever the umask is. */
int files_own(const char *path, mode_t mode, gid_t gid, struct error *err);
/* Makes the directory when it is missing (its parent must exist). One that exists and is empty (as
 * a package or systemd makes it) is taken over; one with entries is left as it is, and so is an
 * empty one that belongs to somebody else and can be used all the same (a prepared volume). */
int files_take_dir(const char *path, gid_t gid, struct error *err);
/* The same within a directory of ours, where it is no link. */
int files_make_dir(const char *path, gid_t gid, struct error *err);
/* Writes a temporary file, syncs it, renames it to dir/name, syncs the directory. */
int files_write(const char *dir, const char *name, const void *bytes, size_t size, gid_t gid,
                struct error *err);
/* Reads up to `max` bytes of dir/name. E_NOT_FOUND; E_TOO_LARGE when there are more. */
int files_read(const char *dir, const char *name, void *bytes, size_t max, size_t *ret_size,
               struct error *err);
int files_sync_dir(const char *path, struct error *err);
/* The directory that holds `path`: makes durable that it is there. */
int files_sync_parent(const char *path, struct error *err);
/* Bytes that this user may still write on the file system of `path`; UINT64_MAX when it cannot be
 * told, so that nothing is given up for a shortage that nobody saw. */
uint64_t files_free_bytes(const char *path);
/* Bytes that dir/name occupies on disk; 0 when it is not there. */
uint64_t files_disk_bytes(const char *dir, const char *name);
/* Removes a directory with all in it, staying on its file system; what is gone already is no error.
 * Unlinking is safe for readers that have a file mapped. */
int files_remove_tree(const char *path, struct error *err);

#endif

/* crash_disk.h - a disk that loses its power: what a log of writes may leave behind.
 *
 * Fed with the entries of a write log (tests/interpose/write_log.h), it knows what is durable and
 * what is only on its way. crash_disk_leave() writes one of the states that a power loss at this
 * moment allows into a real directory: durable contents; and of what was not synced, by seed,
 * nothing, all, or a random part, torn at 512-byte sectors. Names (files made, renamed, removed)
 * that their directory's sync does not cover are kept up to a random point, in order, each
 * directory by itself; a file's own sync does not make its name durable.
 *
 * A sync that failed has forgotten the file's pages: no later sync writes one of them, until it is
 * written to again. The disk may have any of them all the same.
 *
 * Every function asserts success (cmocka).
 */
#ifndef RS_TESTS_CRASH_DISK_H
#define RS_TESTS_CRASH_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "tests/interpose/write_log.h"

struct crash_disk;

/* `root`: the directory that was watched; it exists and is durable. */
struct crash_disk *crash_disk_create(const char *root);
void crash_disk_destroy(struct crash_disk *disk);

/* The entry is on its way: not durable, even if it is a sync or a synchronous write. */
void crash_disk_begin(struct crash_disk *disk, const struct write_log_entry *entry,
                      const char *path, const void *data);
/* It has returned: a sync has synced. */
void crash_disk_end(struct crash_disk *disk, const struct write_log_entry *entry, const char *path);

/* Writes one possible state to `dir`, which is made; the same seed gives the same state. */
void crash_disk_leave(const struct crash_disk *disk, const char *dir, uint64_t seed);

#endif

/* small_disk.h - a real file system of a few megabytes, to be filled: a tmpfs in a mount namespace
 * of the test program's own, which goes with the process.
 *
 * Every function asserts success (cmocka).
 */
#ifndef RS_TESTS_SMALL_DISK_H
#define RS_TESTS_SMALL_DISK_H

#include <stdbool.h>
#include <stdint.h>

/* Makes the namespace the first time; before threads are made. False, with a message, where that is
 * not permitted: skip the test. */
bool small_disk_allowed(void);
void small_disk_mount(const char *dir, unsigned mebibytes);
void small_disk_unmount(const char *dir);

/* Takes all room but `left_bytes`, and all that a later call finds free. */
void small_disk_fill(const char *dir, uint64_t left_bytes);
/* Gives it back. */
void small_disk_clear(const char *dir);

#endif

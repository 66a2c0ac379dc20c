/* write_log.h - every change that this process makes to files under one directory, in order.
 *
 * A program that links write_log.o replaces the C library's open, write, pwrite, writev, ftruncate,
 * fsync, fdatasync, msync, rename, unlink, rmdir, remove and mkdir, for itself and for liblmdb.
 * They do what they are for; between write_log_start() and the end of the process they also append
 * an entry to the log, when the file is under the watched directory.
 *
 * The log serves two purposes: replaying it as a disk would that lost its power (tests/lib/
 * crash_disk.h), and counting: before the k-th call the process can be ended by SIGKILL, or the
 * call can be made to fail.
 *
 * Changes through a shared map are seen when they are synced; the only such file is the status
 * page.
 */
#ifndef RS_TESTS_WRITE_LOG_H
#define RS_TESTS_WRITE_LOG_H

#include <stdint.h>

enum write_log_op {
    WRITE_LOG_CREATE = 1,
    WRITE_LOG_MKDIR,
    WRITE_LOG_WRITE,    /* data at offset; WRITE_LOG_DURABLE in flags: as if synced (O_DSYNC) */
    WRITE_LOG_TRUNCATE, /* to offset */
    WRITE_LOG_SYNC,     /* file or directory */
    WRITE_LOG_RENAME,   /* data: the new path */
    WRITE_LOG_UNLINK,   /* file or directory */
    WRITE_LOG_NOTE      /* offset: what write_log_note() was given */
};

enum {
    WRITE_LOG_DURABLE = 1,
    WRITE_LOG_FAILED = 2 /* a sync, or the sync of a synchronous write: what was not durable yet is
                            marked clean all the same, as Linux does */
};

/* In the log file; the path (without a NUL) and the data follow. */
struct write_log_entry {
    uint32_t op;
    uint32_t flags;
    uint64_t offset;
    uint32_t path_size;
    uint32_t data_size;
};

/* Watches `dir`. `log_fd` (may be -1: count alone) is written to and stays open. */
void write_log_start(const char *dir, int log_fd);
/* Dies before call number `k`, counted from 1. */
void write_log_kill_at(uint64_t k);
/* Call number `k` does nothing but fail with this errno value. */
void write_log_fail_at(uint64_t k, int errnum);
/* Of all syncs (of files and directories, and synchronous writes), counted from 1, number `from`
 * and the `n` - 1 behind it fail; what they were to sync stays in the file, as far as this process
 * can see, and is never written by a later sync. */
void write_log_fail_syncs(uint64_t from, uint64_t n, int errnum);
uint64_t write_log_syncs(void); /* how many there were */
/* Puts a note of the program into the log, which is not counted. */
void write_log_note(uint64_t value);
uint64_t write_log_count(void);

#endif

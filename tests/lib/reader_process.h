/* reader_process.h - a process that reads a store while the test writes it, and what it saw.
 *
 * A process of its own, as in production, and because LMDB must not be opened twice in one. It
 * looks "alice-key" up in realm 7 (store_fixture.h). What it sees stands in memory shared with the
 * test. Every function asserts success (cmocka).
 */
#ifndef RS_TESTS_READER_PROCESS_H
#define RS_TESTS_READER_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum reader_kind {
    READER_LOOKS_UP, /* a snapshot for each lookup, as fast as it can */
    READER_RETAINED, /* the same without a slot */
    READER_STAYS     /* one snapshot for ever, a lookup in it each millisecond */
};

struct reader_seen {
    _Atomic uint64_t lookups;
    _Atomic uint64_t failures; /* lookups that did not find alice */
    _Atomic uint64_t switches; /* generations that came, the first one included */
    _Atomic int last_failure;  /* an RS_* code */
    _Atomic bool stop;
};

struct reader_process {
    pid_t pid; /* 0: none runs */
    struct reader_seen *seen;
};

/* Returns when the first lookup is done. */
void reader_process_start(struct reader_process *reader, const char *store_dir,
                          enum reader_kind kind);
/* It must end well. What it saw stays until reader_process_finish(). */
void reader_process_stop(struct reader_process *reader);
/* Stops it if it runs, forgets what it saw. */
void reader_process_finish(struct reader_process *reader);

void reader_process_wait(const _Atomic uint64_t *count, uint64_t more_than);
/* Two lookups that began after the call are done. */
void reader_process_wait_lookups(const struct reader_process *reader);

#endif

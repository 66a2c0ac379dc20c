#include "tests/lib/child.h"
#include "tests/lib/reader_process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/store_fixture.h"

static int look_up(rs_snapshot *snapshot)
{
    const rs_source source = fixture_realm_source(7);
    rs_consumer consumer;
    int rc = rs_lookup(snapshot, &source, 1, "alice-key", 9, &consumer);
    bool right;
    int after;

    if (rc != RS_FOUND)
        return rc;
    right = strcmp(rs_consumer_username(&consumer), "alice") == 0;
    after = rs_check(snapshot); /* without a slot the name may have been overtaken meanwhile */
    if (after != 0)
        return after;
    return right ? RS_FOUND : RS_E_CORRUPT;
}

static void note(struct reader_seen *seen, int rc)
{
    if (rc != RS_FOUND) {
        atomic_store(&seen->last_failure, rc);
        atomic_fetch_add(&seen->failures, 1);
    }
    atomic_fetch_add(&seen->lookups, 1);
}

static void note_generation(struct reader_seen *seen, rs_store *store, uint32_t *generation)
{
    rs_status_info status;

    if (rs_status(store, &status) != 0 || status.sources[0].generation == *generation)
        return;
    *generation = status.sources[0].generation;
    atomic_fetch_add(&seen->switches, 1);
}

static void look_up_until_stopped(rs_store *store, struct reader_seen *seen)
{
    uint32_t generation = 0;

    while (!atomic_load(&seen->stop)) {
        rs_snapshot *snapshot;
        int rc = rs_begin(store, &snapshot);

        if (rc == 0) {
            rc = look_up(snapshot);
            rs_end(snapshot);
        }
        note_generation(seen, store, &generation);
        note(seen, rc);
    }
}

static void stay_until_stopped(rs_store *store, struct reader_seen *seen)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    rs_snapshot *snapshot;

    if (rs_begin(store, &snapshot) != 0)
        _exit(1);
    while (!atomic_load(&seen->stop)) {
        note(seen, look_up(snapshot));
        (void)nanosleep(&moment, NULL);
    }
    rs_end(snapshot);
}

static void run(const char *store_dir, enum reader_kind kind, struct reader_seen *seen)
{
    rs_options options = RS_OPTIONS_INIT;
    rs_store *store;

    (void)close_range(3, ~0U, 0); /* the store's lock would stay with us */
    options.mode = kind == READER_RETAINED ? RS_MODE_RETAINED : RS_MODE_SLOTS;
    if (rs_open(&store, store_dir, &options) != 0)
        _exit(1);
    if (kind == READER_STAYS)
        stay_until_stopped(store, seen);
    else
        look_up_until_stopped(store, seen);
    rs_close(store);
    _exit(0);
}

void reader_process_start(struct reader_process *reader, const char *store_dir,
                          enum reader_kind kind)
{
    reader->seen = mmap(NULL, sizeof(*reader->seen), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(reader->seen, MAP_FAILED);
    reader->pid = child_fork();
    assert_true(reader->pid >= 0);
    if (reader->pid == 0)
        run(store_dir, kind, reader->seen);
    reader_process_wait(&reader->seen->lookups, 0);
}

void reader_process_stop(struct reader_process *reader)
{
    int status;

    atomic_store(&reader->seen->stop, true);
    assert_int_equal(waitpid(reader->pid, &status, 0), reader->pid);
    reader->pid = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

void reader_process_finish(struct reader_process *reader)
{
    if (reader->pid != 0)
        reader_process_stop(reader);
    if (reader->seen != NULL)
        assert_int_equal(munmap(reader->seen, sizeof(*reader->seen)), 0);
    reader->seen = NULL;
}

void reader_process_wait(const _Atomic uint64_t *count, uint64_t more_than)
{
    const struct timespec moment = {.tv_nsec = 100000};

    for (int tries = 0; atomic_load(count) <= more_than; tries++) {
        if (tries > 300000)
            fail_msg("a reader made no progress for 30 s");
        (void)nanosleep(&moment, NULL);
    }
}

void reader_process_wait_lookups(const struct reader_process *reader)
{
    reader_process_wait(&reader->seen->lookups, atomic_load(&reader->seen->lookups) + 2);
}

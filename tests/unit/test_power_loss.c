/* test_power_loss.c - a writer that loses its power, is killed, or fails, at any of its writes.
 *
 * A child runs loads, live commits, generation switches, a compaction, a restart and a
 * rollback, and logs every write (tests/interpose). The parent then cuts the log at each point and
 * opens what a disk may hold there; or kills a child at each point and opens what it left. Each
 * time:
 *
 *   - a reader that comes before the agent gets a right answer or an error, and does not crash;
 *   - the agent opens the store, at the last version that was acknowledged or the one that was
 *     being made;
 *   - every record, reference and count is right, and the contents are those of that version.
 *
 * A child whose k-th write fails with EIO or ENOSPC must report it, and get through by trying
 * again.
 *
 * REALMSTORE_SOAK=1 (`make soak`) tries every point with many seeds; otherwise some of them.
 * SEED=n repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "store/source_internal.h"
#include "tests/interpose/write_log.h"
#include "tests/lib/crash_disk.h"
#include "tests/lib/store_check.h"
#include "tests/lib/store_fixture.h"

enum { SAMPLED_CUTS = 400, SAMPLED_KILLS = 200, SOAK_VARIANTS = 400, SAMPLED_VARIANTS = 4 };

/* What a child tells, in memory that outlives it. */
struct told {
    _Atomic uint64_t versions; /* unpack() */
    _Atomic uint64_t writes;
};

/* Where a writer is: the version that was last made, and the one that is being made. */
struct versions {
    uint32_t made;
    uint32_t next;
};

static struct fixture f;
static struct told *told;
static uint64_t seed;
static bool soak;
static bool gives_up;   /* at the first failure */
static char where[128]; /* for messages: which cut is being looked at */

/* In memory where there is some: the syncs of thousands of openings cost nothing there. */
static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.clock = clock_system;
    f.retention_ms = 4;
    if (access("/dev/shm", W_OK) == 0) {
        assert_int_equal(files_remove_tree(f.base, NULL), 0);
        (void)snprintf(f.base, sizeof(f.base), "/dev/shm/realmstore-test-XXXXXX");
        assert_non_null(mkdtemp(f.base));
        (void)snprintf(f.dir, sizeof(f.dir), "%s/store", f.base);
    }
    told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(told, MAP_FAILED);
    (void)fprintf(stderr, "SEED=%" PRIu64 "\n", seed);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(munmap(told, sizeof(*told)), 0);
    fixture_finish(&f);
    return 0;
}

/* ---- the writer ---- */

static struct versions unpack(uint64_t packed)
{
    return (struct versions){(uint32_t)packed, (uint32_t)(packed >> 32)};
}

/* f.version is acknowledged, `next` begins. */
static void note(uint64_t next)
{
    uint64_t packed = f.version | next << 32;

    atomic_store(&told->versions, packed);
    write_log_note(packed);
}

/* Its contents tell its version: one consumer for each, beside alice. */
static void load_next(void)
{
    struct error err = ERROR_INIT;

    note(f.version + 1);
    if (fixture_try_load(&f, (unsigned)f.version + 1, &err) != 0)
        _exit(1);
    note(f.version);
}

/* Consumer 2 is named after the version. */
static void commit_next(void)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "version-%" PRIu64, f.version + 1);
    note(f.version + 1);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 2, name);
    fixture_put_key(f.source, 7, 2, 22, name);
    fixture_commit(&f);
    note(f.version);
}

static void commit_some(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        commit_next();
}

/* Back to the version before the last load. */
static void roll_back(uint64_t version)
{
    struct error err = ERROR_INIT;

    note(version);
    if (source_rollback(f.source, &err) != 0)
        _exit(1);
    f.version = version;
    note(version);
}

static void write_a_life(void)
{
    struct error err = ERROR_INIT;
    uint64_t former;

    fixture_open(&f);
    load_next();
    commit_some(3);
    load_next();
    commit_some(3);
    if (source_compact(f.source, &err) != 0)
        _exit(1);
    commit_some(2);
    fixture_close(&f);
    fixture_open(&f);
    commit_some(2);
    former = f.version;
    load_next();
    roll_back(former);
    commit_some(1);
    fixture_close(&f);
    atomic_store(&told->writes, write_log_count());
}

/* Gives the child's wait status. `log_fd` -1: no log. `kill_at` 0: it lives. */
static int run_writer(int log_fd, uint64_t kill_at)
{
    int status;
    pid_t pid;

    assert_int_equal(mkdir(f.dir, 0750), 0);
    atomic_store(&told->versions, 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        f.version = 0;
        write_log_start(f.dir, log_fd);
        write_log_kill_at(kill_at);
        write_a_life();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* ---- what must hold ---- */

static void read_before_the_agent(void)
{
    const rs_source source = fixture_realm_source(7);
    rs_snapshot *snapshot;
    rs_consumer consumer;
    rs_store *store;
    int rc;

    if (rs_open(&store, f.dir, NULL) != 0)
        return; /* refused: the agent has not been there since */
    assert_int_equal(rs_begin(store, &snapshot), 0);
    rc = rs_lookup(snapshot, &source, 1, "alice-key", 9, &consumer);
    if (rc >= 0 && rs_consumer_id(&consumer) == NULL)
        fail_msg("%s: a reader misses alice (%s)", where, rs_strerror(rc));
    rs_end(snapshot);
    rs_close(store);
}

/* Gives the version. */
static uint64_t open_as_agent(struct versions versions)
{
    struct store_options options = fixture_options(&f);
    struct error discarded = ERROR_INIT;
    struct error err = ERROR_INIT;
    uint64_t version;

    if (store_open(&options, &f.store, &err) != 0 ||
        source_open(f.store, "us", &f.source, &discarded, &err) != 0)
        fail_msg("%s: %s", where, err.message);
    if (versions.made > 0 && discarded.code != 0)
        fail_msg("%s: discarded: %s", where, discarded.message);
    version = source_cursor(f.source).version;
    fixture_close(&f);
    if (version != versions.made && version != versions.next)
        fail_msg("%s: version %" PRIu64 " instead of %u or %u", where, version, versions.made,
                 versions.next);
    return version;
}

static void check_contents(const struct tool_source *source, uint64_t version)
{
    unsigned char key[LAYOUT_CONSUMER_KEY_BYTES];
    struct record_consumer consumer;
    struct uuid id = fixture_uuid(2);
    char expected[32];
    MDB_val value;

    layout_consumer_key(7, &id, key);
    if (source_view_get(source, TABLE_CONSUMERS, env_val(key, sizeof(key)), &value) != 0) {
        if (source->meta.consumers != 1 + version) /* straight from a load */
            fail_msg("%s: contents are not those of version %" PRIu64, where, version);
        return;
    }
    (void)snprintf(expected, sizeof(expected), "version-%" PRIu64, version);
    assert_true(record_view_consumer(value.mv_data, value.mv_size, &consumer));
    if (strcmp(consumer.username, expected) != 0)
        fail_msg("%s: %s instead of %s", where, consumer.username, expected);
}

static void check_what_is_left(struct versions versions)
{
    uint64_t version;

    read_before_the_agent();
    version = open_as_agent(versions);
    if (version > 0) {
        store_check(f.dir, version, where, check_contents);
        read_before_the_agent();
    }
    assert_int_equal(files_remove_tree(f.dir, NULL), 0);
}

/* ---- losing power ---- */

struct replay {
    struct crash_disk *disk;
    uint64_t entries;         /* so far */
    uint64_t every;           /* how far cuts stand apart */
    struct versions versions; /* at this entry */
    unsigned variants;
    uint64_t states; /* that were looked at */
};

static void cut(struct replay *replay)
{
    for (unsigned variant = 0; variant < replay->variants; variant++) {
        uint64_t its_seed = seed + replay->entries * 1000 + variant;

        (void)snprintf(where, sizeof(where), "SEED=%" PRIu64 ", cut %" PRIu64 ", variant %u", seed,
                       replay->entries, variant);
        crash_disk_leave(replay->disk, f.dir, its_seed);
        check_what_is_left(replay->versions);
        replay->states++;
    }
}

/* Feeds one entry, cutting while it is on its way. Gives its end. */
static const unsigned char *replay_entry(struct replay *replay, const unsigned char *at)
{
    struct write_log_entry entry;
    char path[PATH_MAX];
    const unsigned char *data;

    memcpy(&entry, at, sizeof(entry));
    at += sizeof(entry);
    assert_true(entry.path_size < sizeof(path));
    memcpy(path, at, entry.path_size);
    path[entry.path_size] = 0;
    data = at + entry.path_size;
    crash_disk_begin(replay->disk, &entry, path, data);
    replay->entries++;
    if (entry.op != WRITE_LOG_NOTE && (replay->entries + seed) % replay->every == 0)
        cut(replay);
    crash_disk_end(replay->disk, &entry, path);
    if (entry.op == WRITE_LOG_NOTE)
        replay->versions = unpack(entry.offset);
    return data + entry.data_size;
}

static void power_may_be_lost_at_any_write(void **state)
{
    struct replay replay = {.variants = soak ? SOAK_VARIANTS : SAMPLED_VARIANTS};
    int log_fd = memfd_create("write-log", MFD_CLOEXEC);
    struct stat log;
    const unsigned char *bytes;
    const unsigned char *at;

    (void)state;
    assert_true(log_fd >= 0);
    assert_int_equal(run_writer(log_fd, 0), 0);
    assert_int_equal(files_remove_tree(f.dir, NULL), 0);
    assert_int_equal(fstat(log_fd, &log), 0);
    bytes = mmap(NULL, (size_t)log.st_size, PROT_READ, MAP_PRIVATE, log_fd, 0);
    assert_ptr_not_equal(bytes, MAP_FAILED);
    replay.disk = crash_disk_create(f.dir);
    replay.every = soak ? 1 : told->writes / SAMPLED_CUTS + 1;
    for (at = bytes; at < bytes + log.st_size;)
        at = replay_entry(&replay, at);
    cut(&replay); /* after the last one */
    (void)fprintf(stderr, "%" PRIu64 " states of %" PRIu64 " log entries\n", replay.states,
                  replay.entries);
    assert_true(replay.states > 100);
    crash_disk_destroy(replay.disk);
    assert_int_equal(munmap((void *)(uintptr_t)bytes, (size_t)log.st_size), 0);
    assert_int_equal(close(log_fd), 0);
}

/* ---- being killed ---- */

static void writer_may_be_killed_at_any_write(void **state)
{
    uint64_t writes;
    uint64_t every;

    (void)state;
    assert_int_equal(run_writer(-1, 0), 0);
    writes = told->writes;
    assert_true(writes > 100);
    every = soak ? 1 : writes / SAMPLED_KILLS + 1;
    (void)snprintf(where, sizeof(where), "not killed");
    check_what_is_left(unpack(told->versions));
    for (uint64_t k = 1 + seed % every; k <= writes; k += every) {
        int status = run_writer(-1, k);

        (void)snprintf(where, sizeof(where), "killed at write %" PRIu64 " of %" PRIu64, k, writes);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        check_what_is_left(unpack(told->versions));
    }
}

/* ---- failing ---- */

/* Whatever fails is tried once more, since one call in all is made to fail; or the writer gives up
 * and dies there. `next`: the version that the attempt makes. */
static void stubbornly(int (*attempt)(void), uint64_t next)
{
    note(next);
    if (attempt() != 0) {
        if (gives_up)
            _exit(0);
        if (attempt() != 0)
            _exit(1);
    }
    note(f.version);
}

static int try_open(void)
{
    struct store_options options = fixture_options(&f);
    struct error discarded = ERROR_INIT;
    struct error err = ERROR_INIT;
    int rc = store_open(&options, &f.store, &err);

    if (rc == 0)
        rc = source_open(f.store, "us", &f.source, &discarded, &err);
    if (rc == 0)
        return discarded.code;
    store_close(f.store);
    f.store = NULL;
    return rc;
}

static int try_load(void)
{
    struct error err = ERROR_INIT;

    return fixture_try_load(&f, (unsigned)f.version + 1, &err);
}

static int try_commit(void)
{
    struct model_cursor cursor = {fixture_epoch(), f.version + 1};
    struct model_consumer consumer = {.id = fixture_uuid(2)};
    struct error err = ERROR_INIT;
    char name[32];
    int rc = source_begin(f.source, &err);

    (void)snprintf(name, sizeof(name), "version-%" PRIu64, cursor.version);
    consumer.username = name;
    if (rc == 0)
        rc = source_put_consumer(f.source, 7, &consumer, &err);
    if (rc == 0)
        rc = source_commit(f.source, &cursor, 1, &err);
    else
        source_abort(f.source);
    f.version += rc == 0;
    return rc;
}

static int try_compact(void)
{
    struct error err = ERROR_INIT;

    return source_compact(f.source, &err);
}

static int try_rollback(void)
{
    struct error err = ERROR_INIT;
    int rc = source_rollback(f.source, &err);

    if (rc == 0)
        f.version = source_cursor(f.source).version;
    return rc;
}

static void live_stubbornly(void)
{
    uint64_t former;

    stubbornly(try_open, 0);
    stubbornly(try_load, 1);
    stubbornly(try_commit, 2);
    stubbornly(try_commit, 3);
    stubbornly(try_compact, 3);
    stubbornly(try_commit, 4);
    fixture_close(&f);
    stubbornly(try_open, 4);
    stubbornly(try_commit, 5);
    former = f.version;
    stubbornly(try_load, 6);
    stubbornly(try_rollback, former);
    stubbornly(try_commit, 6);
    fixture_close(&f);
    atomic_store(&told->writes, write_log_count());
}

static void run_stubborn_writer(uint64_t fail_at, int errnum)
{
    int status;
    pid_t pid;

    assert_int_equal(mkdir(f.dir, 0750), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        f.version = 0;
        write_log_start(f.dir, -1);
        write_log_fail_at(fail_at, errnum);
        live_stubbornly();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    (void)snprintf(where, sizeof(where), "write %" PRIu64 " failed: %s", fail_at, strerror(errnum));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s: the writer ended with status %d", where, status);
    check_what_is_left(unpack(told->versions));
}

static void any_write_may_fail_and_the_writer_goes_on(void **state)
{
    uint64_t writes;

    (void)state;
    run_stubborn_writer(0, 0);
    writes = told->writes;
    assert_true(writes > 50);
    for (uint64_t k = 1; k <= writes; k++) {
        gives_up = false;
        run_stubborn_writer(k, EIO);
        run_stubborn_writer(k, ENOSPC);
        gives_up = true;
        run_stubborn_writer(k, EIO);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(power_may_be_lost_at_any_write),
        TEST(writer_may_be_killed_at_any_write),
        TEST(any_write_may_fail_and_the_writer_goes_on),
    };
    const char *given = getenv("SEED");

    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    soak = getenv("REALMSTORE_SOAK") != NULL;
    return cmocka_run_group_tests_name("power_loss", tests, NULL, NULL);
}

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
 * again. So must one whose syncs fail; the power is lost under it too, on a disk that has forgotten
 * what those were to sync.
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
#include "tests/interpose/write_log.h"
#include "tests/lib/child.h"
#include "tests/lib/crash_disk.h"
#include "tests/lib/store_life.h"

enum { SAMPLED_CUTS = 400, SAMPLED_KILLS = 200, SOAK_VARIANTS = 400, SAMPLED_VARIANTS = 4 };
enum { SAMPLED_SYNCS = 20, FAILED_SYNCS_MAX = 3 /* in a row */ };

static struct life life;
static uint64_t seed;
static bool soak;
static char where[128]; /* for messages: which cut is being looked at */

static int set_up(void **state)
{
    (void)state;
    life_init(&life);
    (void)fprintf(stderr, "SEED=%" PRIu64 "\n", seed);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    life_finish(&life);
    return 0;
}

static void write_a_life(void)
{
    life_open(&life);
    life_load(&life);
    life_commit(&life, 3);
    life_load(&life);
    life_commit(&life, 3);
    life_compact(&life);
    life_commit(&life, 2);
    fixture_close(&life.f);
    life_open(&life);
    life_commit(&life, 2);
    life_load(&life);
    life_roll_back(&life);
    life_commit(&life, 1);
    life_end(&life);
}

/* What happens to a writer; zeros: nothing. */
struct fate {
    int log_fd; /* -1: no log */
    uint64_t kill_at;
    uint64_t fail_at;
    int fail_errno;
    bool gives_up;
    uint64_t fail_syncs_from;
    uint64_t fail_syncs_n;
    unsigned attempts;
    bool reopens;
};

/* Gives the child's wait status. */
static int run_writer(const struct fate *fate)
{
    int status;
    pid_t pid;

    assert_int_equal(mkdir(life.f.dir, 0750), 0);
    atomic_store(&life.told->versions, 0);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        life.gives_up = fate->gives_up;
        write_log_start(life.f.dir, fate->log_fd);
        write_log_kill_at(fate->kill_at);
        write_log_fail_at(fate->fail_at, fate->fail_errno);
        write_log_fail_syncs(fate->fail_syncs_from, fate->fail_syncs_n, EIO);
        life.attempts = fate->attempts;
        life.reopens = fate->reopens;
        write_a_life();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void check_what_is_left(struct life_versions versions)
{
    (void)life_check(&life, versions, where); /* either version will do */
    assert_int_equal(files_remove_tree(life.f.dir, NULL), 0);
}

/* The number of writes in a life that nothing happens to. */
static uint64_t count_writes(void)
{
    const struct fate undisturbed = {.log_fd = -1};

    assert_int_equal(run_writer(&undisturbed), 0);
    (void)snprintf(where, sizeof(where), "undisturbed");
    check_what_is_left(life_unpack(life.told->versions));
    assert_true(life.told->writes > 100);
    return life.told->writes;
}

/* ---- losing power ---- */

struct replay {
    struct crash_disk *disk;
    uint64_t entries;              /* so far */
    uint64_t every;                /* how far cuts stand apart */
    struct life_versions versions; /* at this entry */
    bool failed;                   /* a sync, and nothing was acknowledged since */
    unsigned variants;
    uint64_t states; /* that were looked at */
};

static void cut(struct replay *replay)
{
    for (unsigned variant = 0; variant < replay->variants; variant++) {
        uint64_t its_seed = seed + replay->entries * 1000 + variant;

        (void)snprintf(where, sizeof(where), "SEED=%" PRIu64 ", cut %" PRIu64 ", variant %u", seed,
                       replay->entries, variant);
        crash_disk_leave(replay->disk, life.f.dir, its_seed);
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
    if (entry.op == WRITE_LOG_SYNC && (entry.flags & WRITE_LOG_FAILED) != 0)
        replay->failed = true;
    if (entry.op == WRITE_LOG_NOTE) {
        replay->versions = life_unpack(entry.offset);
        if (replay->failed && replay->versions.made == replay->versions.next)
            cut(replay); /* the first thing that was acknowledged since */
        replay->failed &= replay->versions.made != replay->versions.next;
    }
    return data + entry.data_size;
}

/* A logged life under `fate`, cut at about `cuts` places. Gives the number of states. */
static uint64_t lose_power(struct fate fate, uint64_t cuts, unsigned variants)
{
    struct replay replay = {.variants = variants};
    struct stat log;
    const unsigned char *bytes;
    const unsigned char *at;
    int status;

    fate.log_fd = memfd_create("write-log", MFD_CLOEXEC);
    assert_true(fate.log_fd >= 0);
    status = run_writer(&fate);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("syncs %" PRIu64 " (%" PRIu64 "): the writer ended with status %d",
                 fate.fail_syncs_from, fate.fail_syncs_n, status);
    assert_int_equal(files_remove_tree(life.f.dir, NULL), 0);
    assert_int_equal(fstat(fate.log_fd, &log), 0);
    bytes = mmap(NULL, (size_t)log.st_size, PROT_READ, MAP_PRIVATE, fate.log_fd, 0);
    assert_ptr_not_equal(bytes, MAP_FAILED);
    replay.disk = crash_disk_create(life.f.dir);
    replay.every = life.told->writes / cuts + 1;
    for (at = bytes; at < bytes + log.st_size;)
        at = replay_entry(&replay, at);
    cut(&replay); /* after the last one */
    crash_disk_destroy(replay.disk);
    assert_int_equal(munmap((void *)(uintptr_t)bytes, (size_t)log.st_size), 0);
    assert_int_equal(close(fate.log_fd), 0);
    return replay.states;
}

static void power_may_be_lost_at_any_write(void **state)
{
    uint64_t states = lose_power((struct fate){0}, soak ? UINT64_MAX : SAMPLED_CUTS,
                                 soak ? SOAK_VARIANTS : SAMPLED_VARIANTS);

    (void)state;
    (void)fprintf(stderr, "%" PRIu64 " states\n", states);
    assert_true(states > 100);
}

/* What was acknowledged must be there even though a sync of it failed first, and what the disk was
 * asked to sync then is forgotten. */
static void power_may_be_lost_after_syncs_failed(void **state)
{
    const struct fate undisturbed = {.log_fd = -1};
    uint64_t syncs;
    uint64_t every;
    uint64_t states = 0;

    (void)state;
    assert_int_equal(run_writer(&undisturbed), 0);
    assert_int_equal(files_remove_tree(life.f.dir, NULL), 0);
    syncs = life.told->syncs;
    every = soak ? 1 : syncs / SAMPLED_SYNCS + 1;
    assert_true(syncs > 30);
    for (uint64_t k = 1 + seed % every; k <= syncs; k += every) {
        for (uint64_t n = 1; n <= FAILED_SYNCS_MAX; n++)
            states +=
                lose_power((struct fate){.fail_syncs_from = k,
                                         .fail_syncs_n = n,
                                         .attempts = FAILED_SYNCS_MAX + 1,
                                         .reopens = (k + n) % 2 == 0},
                           soak ? SAMPLED_CUTS : SAMPLED_CUTS / SAMPLED_SYNCS, SAMPLED_VARIANTS);
    }
    (void)fprintf(stderr, "%" PRIu64 " states of %" PRIu64 " syncs\n", states, syncs);
}

/* ---- being killed ---- */

static void writer_may_be_killed_at_any_write(void **state)
{
    uint64_t writes = count_writes();
    uint64_t every = soak ? 1 : writes / SAMPLED_KILLS + 1;

    (void)state;
    for (uint64_t k = 1 + seed % every; k <= writes; k += every) {
        const struct fate fate = {.log_fd = -1, .kill_at = k};
        int status = run_writer(&fate);

        (void)snprintf(where, sizeof(where), "killed at write %" PRIu64 " of %" PRIu64, k, writes);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        check_what_is_left(life_unpack(life.told->versions));
    }
}

/* ---- failing ---- */

static void run_with_failure(uint64_t fail_at, int errnum, bool gives_up)
{
    const struct fate fate = {
        .log_fd = -1, .fail_at = fail_at, .fail_errno = errnum, .gives_up = gives_up};
    int status = run_writer(&fate);

    (void)snprintf(where, sizeof(where), "write %" PRIu64 " failed: %s", fail_at, strerror(errnum));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s: the writer ended with status %d", where, status);
    check_what_is_left(life_unpack(life.told->versions));
}

static void any_write_may_fail_and_the_writer_goes_on(void **state)
{
    uint64_t writes = count_writes();

    (void)state;
    for (uint64_t k = 1; k <= writes; k++) {
        run_with_failure(k, EIO, false);
        run_with_failure(k, ENOSPC, false);
        run_with_failure(k, EIO, true);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(power_may_be_lost_at_any_write),
        TEST(power_may_be_lost_after_syncs_failed),
        TEST(writer_may_be_killed_at_any_write),
        TEST(any_write_may_fail_and_the_writer_goes_on),
    };
    const char *given = getenv("SEED");

    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    soak = getenv("REALMSTORE_SOAK") != NULL;
    return cmocka_run_group_tests_name("power_loss", tests, NULL, NULL);
}

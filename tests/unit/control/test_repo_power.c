/* test_repo_power.c - the control store loses its power, or its syncs fail, at any moment.
 *
 * A child opens a repository and creates consumers, one after the other; each that it was told is
 * on disk is noted in the write log (tests/interpose). It tries again what failed; where the store
 * refuses to go on, it closes and opens it, as a restart would. The parent then leaves what a disk
 * may hold (tests/lib/crash_disk.h) and opens it: every noted consumer must be there.
 *
 * REALMSTORE_SOAK=1 tries every sync and more cuts. SEED=n repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/interpose/write_log.h"
#include "tests/lib/child.h"
#include "tests/lib/crash_disk.h"
#include "tests/lib/repo_fixture.h"

enum { CONSUMERS = 6, ATTEMPTS = 8, FAILED_SYNCS_MAX = 3, SAMPLED_CUTS = 8 };

static char base[64];
static char dir[96]; /* the data directory */
static uint64_t seed;
static bool soak;

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(base, sizeof(base), "%s/realmstore-repo-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(base));
    (void)snprintf(dir, sizeof(dir), "%s/data", base);
    (void)fprintf(stderr, "SEED=%" PRIu64 "\n", seed);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    repo_fixture_remove_tree(base);
    return 0;
}

static int open_repo(struct repo **ret, struct error *err)
{
    const struct repo_options options = {.region = "us", .clock = clock_system};

    return repo_lmdb_open(dir, &options, ret, err);
}

/* ---- the child ---- */

static int create(struct repo *repo, unsigned n)
{
    const struct repo_scope scope = repo_fixture_cp(1);
    struct repo_consumer input = {.model = {.username = NULL}};
    struct repo_commit commit = {0};
    struct error err = ERROR_INIT;
    struct repo_consumer created;
    struct arena arena;
    const struct repo_call call = {.repo = repo, .arena = &arena, .commit = &commit, .err = &err};
    char name[16];
    int rc;

    (void)snprintf(name, sizeof(name), "user-%u", n);
    input.model.username = name;
    arena_init(&arena, 1024 * 1024);
    rc = repo_consumer_create(&call, &scope, &input, &created);
    arena_finish(&arena);
    return rc;
}

/* A failed write may turn out to be there after a restart. */
static struct repo *create_for_sure(struct repo *repo, unsigned n)
{
    struct error err = ERROR_INIT;

    for (int i = 0; i < ATTEMPTS; i++) {
        int rc = repo != NULL ? create(repo, n) : E_IO;

        if (rc == 0 || (rc == E_CONFLICT && i > 0))
            return repo;
        if (repo != NULL)
            repo_close(repo);
        repo = NULL;
        (void)open_repo(&repo, &err);
    }
    _exit(1);
}

static void live(void)
{
    struct error err = ERROR_INIT;
    struct repo *repo = NULL;

    for (int i = 0; i < ATTEMPTS && repo == NULL; i++)
        (void)open_repo(&repo, &err);
    for (unsigned n = 1; n <= CONSUMERS; n++) {
        repo = create_for_sure(repo, n);
        write_log_note(n);
    }
    repo_close(repo);
}

/* Gives the number of syncs. */
static uint64_t run_child(int log_fd, uint64_t fail_from, uint64_t fail_n)
{
    uint64_t *syncs =
        mmap(NULL, sizeof(*syncs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t counted;
    int status;
    pid_t pid;

    assert_ptr_not_equal(syncs, MAP_FAILED);
    assert_int_equal(mkdir(dir, 0700), 0);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        write_log_start(dir, log_fd);
        write_log_fail_syncs(fail_from, fail_n, EIO);
        live();
        *syncs = write_log_syncs();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("syncs %" PRIu64 " (%" PRIu64 "): the child ended with status %d", fail_from,
                 fail_n, status);
    repo_fixture_remove_tree(dir);
    counted = *syncs;
    assert_int_equal(munmap(syncs, sizeof(*syncs)), 0);
    return counted;
}

/* ---- what is left ---- */

/* A name that is there cannot be given again. */
static void check(uint64_t noted, uint64_t cut)
{
    struct error err = ERROR_INIT;
    struct repo *repo;

    if (open_repo(&repo, &err) != 0) {
        fail_msg("SEED=%" PRIu64 ", cut %" PRIu64 ": %s", seed, cut, err.message);
        return;
    }
    for (unsigned n = 1; n <= noted; n++) {
        if (create(repo, n) != E_CONFLICT)
            fail_msg("SEED=%" PRIu64 ", cut %" PRIu64 ": consumer %u of %" PRIu64 " is gone", seed,
                     cut, n, noted);
    }
    repo_close(repo);
    repo_fixture_remove_tree(dir);
}

static void lose_power(uint64_t fail_from, uint64_t fail_n)
{
    int log_fd = memfd_create("write-log", MFD_CLOEXEC);
    struct crash_disk *disk;
    const unsigned char *bytes;
    const unsigned char *at;
    struct stat log;
    uint64_t noted = 0;
    uint64_t entries = 0;

    assert_true(log_fd >= 0);
    (void)run_child(log_fd, fail_from, fail_n);
    assert_int_equal(fstat(log_fd, &log), 0);
    bytes = mmap(NULL, (size_t)log.st_size, PROT_READ, MAP_PRIVATE, log_fd, 0);
    assert_ptr_not_equal(bytes, MAP_FAILED);
    disk = crash_disk_create(dir);
    for (at = bytes; at < bytes + log.st_size;) {
        struct write_log_entry entry;
        char path[256];

        memcpy(&entry, at, sizeof(entry));
        at += sizeof(entry);
        assert_true(entry.path_size < sizeof(path));
        memcpy(path, at, entry.path_size);
        path[entry.path_size] = 0;
        crash_disk_begin(disk, &entry, path, at + entry.path_size);
        crash_disk_end(disk, &entry, path);
        at += entry.path_size + entry.data_size;
        entries++;
        if (entry.op == WRITE_LOG_NOTE)
            noted = entry.offset;
        if (noted == 0 || (entry.op != WRITE_LOG_NOTE && !soak && (entries + seed) % SAMPLED_CUTS))
            continue;
        crash_disk_leave(disk, dir, seed + entries);
        check(noted, entries);
    }
    crash_disk_destroy(disk);
    assert_int_equal(munmap((void *)(uintptr_t)bytes, (size_t)log.st_size), 0);
    assert_int_equal(close(log_fd), 0);
}

/* ---- tests ---- */

static void what_was_acknowledged_survives_a_power_loss(void **state)
{
    (void)state;
    lose_power(0, 0);
}

static void what_was_acknowledged_survives_failed_syncs_and_a_power_loss(void **state)
{
    uint64_t syncs = run_child(-1, 0, 0);

    (void)state;
    assert_true(syncs > 10);
    for (uint64_t k = 1; k <= syncs; k++) {
        for (uint64_t n = 1; n <= FAILED_SYNCS_MAX; n++) {
            if (soak || (k + n + seed) % 2 == 0 || k <= 6)
                lose_power(k, n);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_acknowledged_survives_a_power_loss),
        TEST(what_was_acknowledged_survives_failed_syncs_and_a_power_loss),
    };
    const char *given = getenv("SEED");

    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    soak = getenv("REALMSTORE_SOAK") != NULL;
    return cmocka_run_group_tests_name("repo_power", tests, NULL, NULL);
}

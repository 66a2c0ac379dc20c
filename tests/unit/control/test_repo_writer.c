/* test_repo_writer.c - many writers at once: group commit, versions, the listener, durability. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/child.h"
#include "tests/lib/repo_fixture.h"

enum { THREADS = 16, WRITES = 150, TOTAL = THREADS * WRITES };

static struct repo_fixture *f;
static struct repo_scope scope;

static int set_up(void **state)
{
    (void)state;
    f = repo_fixture_create(0);
    scope = repo_fixture_cp(1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    repo_fixture_destroy(f);
    return 0;
}

/* ---- threads: no assertions in them, results are checked after the join ---- */

struct worker {
    pthread_t thread;
    int number;
    bool same_names;
    int codes[WRITES];
    uint64_t versions[WRITES];
};

static struct worker workers[THREADS];

static int create_one(const char *name, uint64_t *ret_version)
{
    struct repo_consumer input = {.model = {.username = name}};
    struct repo_commit commit = {0};
    struct error err = ERROR_INIT;
    struct repo_consumer created;
    struct arena arena;
    int rc;

    arena_init(&arena, 1024 * 1024);
    rc = repo_consumer_create(
        &(struct repo_call){.repo = f->repo, .arena = &arena, .commit = &commit, .err = &err},
        &scope, &input, &created);
    arena_finish(&arena);
    *ret_version = commit.version;
    return rc;
}

static void *write_many(void *context)
{
    struct worker *worker = context;

    for (int i = 0; i < WRITES; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "user-%d-%d", worker->same_names ? 0 : worker->number,
                       i);
        worker->codes[i] = create_one(name, &worker->versions[i]);
    }
    return NULL;
}

static void run_workers(bool same_names)
{
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.number = i, .same_names = same_names};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, write_many, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
}

static size_t count_consumers(void)
{
    const struct repo_page page = {.size = 2 * TOTAL};
    struct error err = ERROR_INIT;
    struct repo_consumer_rows rows;

    assert_int_equal(repo_consumer_list(REPO_CALL(f, .err = &err), &scope,
                                        &(struct repo_consumer_query){.page = page}, &rows),
                     0);
    return rows.count;
}

/* ---- the listener ---- */

struct listener {
    pthread_mutex_t lock;
    uint64_t last;
    uint64_t calls;
    bool ascending;
};

static void note(void *context, uint64_t version)
{
    struct listener *listener = context;

    pthread_mutex_lock(&listener->lock);
    listener->ascending = listener->ascending && version > listener->last;
    listener->last = version;
    listener->calls++;
    pthread_mutex_unlock(&listener->lock);
}

/* ---- tests ---- */

static void concurrent_writes_get_every_version_once_and_last(void **state)
{
    static bool seen[TOTAL + 1];
    struct listener listener = {.lock = PTHREAD_MUTEX_INITIALIZER, .ascending = true};

    (void)state;
    repo_on_commit(f->repo, note, &listener);
    run_workers(false);
    repo_on_commit(f->repo, NULL, NULL);
    for (int i = 0; i < TOTAL; i++) {
        const struct worker *worker = &workers[i / WRITES];
        uint64_t version = worker->versions[i % WRITES];

        assert_int_equal(worker->codes[i % WRITES], 0);
        assert_in_range(version, 1, TOTAL);
        assert_false(seen[version]);
        seen[version] = true;
    }
    assert_true(listener.ascending);
    assert_int_equal(listener.last, TOTAL);
    assert_in_range(listener.calls, 1, TOTAL);
    repo_fixture_reopen(f);
    assert_int_equal(repo_fixture_version(f), TOTAL);
    assert_int_equal(count_consumers(), TOTAL);
}

static void failing_writes_do_not_hurt_those_they_share_a_commit_with(void **state)
{
    (void)state;
    run_workers(true);
    for (int i = 0; i < WRITES; i++) {
        int winners = 0;

        for (int t = 0; t < THREADS; t++) {
            assert_true(workers[t].codes[i] == 0 || workers[t].codes[i] == E_CONFLICT);
            winners += workers[t].codes[i] == 0;
        }
        assert_int_equal(winners, 1);
    }
    assert_int_equal(count_consumers(), WRITES);
    assert_int_equal(repo_fixture_version(f), WRITES);
}

static void listener_that_was_taken_away_is_not_called(void **state)
{
    struct listener listener = {.lock = PTHREAD_MUTEX_INITIALIZER, .ascending = true};

    (void)state;
    repo_on_commit(f->repo, note, &listener);
    repo_fixture_consumer(f, &scope, "alice");
    repo_on_commit(f->repo, NULL, NULL);
    repo_fixture_consumer(f, &scope, "bob");
    assert_int_equal(listener.calls, 1);
    assert_int_equal(listener.last, 1);
}

/* ---- readers beside writers ---- */

struct reader {
    pthread_t thread;
    pthread_mutex_t lock;
    bool stop;
    uint64_t snapshots;
    bool wrong;
};

struct tally {
    struct snapshot_header header;
    uint64_t records;
};

static int tally_header(void *context, const struct snapshot_header *header)
{
    struct tally *tally = context;

    tally->header = *header;
    return 0;
}

static int tally_record(void *context, const struct snapshot_record *record)
{
    struct tally *tally = context;

    (void)record;
    tally->records++;
    return 0;
}

static bool stopped(struct reader *reader)
{
    bool stop;

    pthread_mutex_lock(&reader->lock);
    stop = reader->stop;
    pthread_mutex_unlock(&reader->lock);
    return stop;
}

static void *read_many(void *context)
{
    struct reader *reader = context;
    const struct uuid id = repo_fixture_uuid(1);

    do {
        struct tally tally = {.records = 0};
        const struct repo_snapshot_sink sink = {
            .header = tally_header, .record = tally_record, .context = &tally};
        struct error err = ERROR_INIT;

        if (repo_snapshot(f->repo, &id, &sink, &err) != 0 ||
            tally.header.cursor.version != tally.records || tally.header.consumers != tally.records)
            reader->wrong = true;
        reader->snapshots++;
    } while (!stopped(reader));
    return NULL;
}

/* Each version adds one consumer, so version, counter and rows must agree in every snapshot. */
static void snapshots_during_writes_are_of_one_version(void **state)
{
    struct reader reader = {.lock = PTHREAD_MUTEX_INITIALIZER};

    (void)state;
    assert_int_equal(pthread_create(&reader.thread, NULL, read_many, &reader), 0);
    run_workers(false);
    pthread_mutex_lock(&reader.lock);
    reader.stop = true;
    pthread_mutex_unlock(&reader.lock);
    assert_int_equal(pthread_join(reader.thread, NULL), 0);
    assert_false(reader.wrong);
    assert_true(reader.snapshots > 0);
}

/* ---- durability ---- */

/* Writes until it is killed; tells through the pipe each version that it was promised. */
static void write_until_killed(const char *dir, int fd)
{
    const struct repo_options options = {.region = "us", .clock = clock_system};
    struct error err = ERROR_INIT;
    struct repo *repo;

    if (repo_lmdb_open(dir, &options, &repo, &err) != 0)
        _exit(1);
    f->repo = repo;
    for (int i = 0;; i++) {
        uint64_t version;
        char name[32];

        (void)snprintf(name, sizeof(name), "user-%d", i);
        if (create_one(name, &version) != 0 ||
            write(fd, &version, sizeof(version)) != sizeof(version))
            _exit(1);
    }
}

static void killed_process_loses_nothing_that_was_promised(void **state)
{
    uint64_t promised = 0;
    int status;
    int fds[2];
    pid_t child;

    (void)state;
    repo_close(f->repo);
    assert_int_equal(pipe(fds), 0);
    child = child_fork();
    assert_true(child >= 0);
    if (child == 0)
        write_until_killed(f->dir, fds[1]);
    close(fds[1]);
    while (promised < 50)
        assert_int_equal(read(fds[0], &promised, sizeof(promised)), sizeof(promised));
    assert_int_equal(kill(child, SIGKILL), 0);
    while (read(fds[0], &promised, sizeof(promised)) == sizeof(promised))
        continue;
    close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(repo_lmdb_open(f->dir, &f->options, &f->repo, &f->err), 0);
    assert_true(repo_fixture_version(f) >= promised);
    assert_int_equal(count_consumers(), repo_fixture_version(f));
}

/* ---- a disk that is full ---- */

static void limit_file_size(rlim_t size)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size < limit.rlim_max ? size : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void refused_disk_write_fails_its_caller_and_nothing_else(void **state)
{
    size_t created = 0;
    char path[128];
    struct stat info;
    uint64_t version;
    int rc = 0;

    (void)state;
    repo_fixture_consumer(f, &scope, "first");
    (void)snprintf(path, sizeof(path), "%s/control.mdb/data.mdb", f->dir);
    assert_int_equal(stat(path, &info), 0);
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    limit_file_size((rlim_t)info.st_size);
    while (rc == 0 && created < 10000) {
        char name[32];

        (void)snprintf(name, sizeof(name), "user-%zu", created);
        rc = create_one(name, &version);
        created += rc == 0;
    }
    limit_file_size(RLIM_INFINITY);
    assert_int_equal(rc, E_IO);
    assert_int_equal(create_one("last", &version), 0);
    assert_int_equal(version, created + 2);
    repo_fixture_reopen(f);
    assert_int_equal(count_consumers(), created + 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(concurrent_writes_get_every_version_once_and_last),
        TEST(failing_writes_do_not_hurt_those_they_share_a_commit_with),
        TEST(listener_that_was_taken_away_is_not_called),
        TEST(snapshots_during_writes_are_of_one_version),
        TEST(killed_process_loses_nothing_that_was_promised),
        TEST(refused_disk_write_fails_its_caller_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

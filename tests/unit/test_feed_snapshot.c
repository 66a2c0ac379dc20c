/* test_feed_snapshot.c - snapshot files: built once, reused while they serve, replaced safely. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/feed/feed.h"
#include "sync/snapshot.h"
#include "tests/lib/repo_fixture.h"

enum { CONSUMERS = 50 };

static const struct log quiet_log = {.fd = 2, .level = LOG_LEVEL_ERROR};

static struct repo_fixture *f;
static struct feed *feed;
static struct repo_scope scope;
static struct uuid cp;
static char dir[128];
static struct error err;

static void start_feed(void)
{
    const struct feed_options options = {.snapshot_dir = dir, .region = "us", .log = &quiet_log};

    assert_int_equal(feed_create(f->repo, &options, &feed, &err), 0);
}

static void add_consumers(const char *prefix, int count)
{
    for (int i = 0; i < count; i++) {
        char name[64];

        (void)snprintf(name, sizeof(name), "%s-%d", prefix, i);
        repo_fixture_consumer(f, &scope, name);
    }
}

static void start_repo(uint64_t keep_versions)
{
    f = repo_fixture_create(keep_versions);
    (void)snprintf(dir, sizeof(dir), "%s/snapshots", f->dir);
    cp = repo_fixture_uuid(1);
    scope = repo_fixture_cp(1);
    add_consumers("user", CONSUMERS);
    start_feed();
}

static int set_up(void **state)
{
    (void)state;
    start_repo(0);
    return 0;
}

static int set_up_short_history(void **state)
{
    (void)state;
    start_repo(20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    feed_destroy(feed);
    repo_fixture_destroy(f);
    return 0;
}

static struct feed_snapshot get(void)
{
    struct feed_snapshot snapshot;

    assert_int_equal(feed_snapshot_get(feed, &cp, &snapshot, &err), 0);
    return snapshot;
}

static uint64_t built(void)
{
    struct feed_stats stats;

    feed_stats(feed, &stats);
    return stats.snapshots_built;
}

/* ---- reading one ---- */

struct content {
    struct snapshot_header header;
    uint64_t records;
};

static int take_header(void *context, const struct snapshot_header *header, struct error *error)
{
    struct content *content = context;

    (void)error;
    content->header = *header;
    return 0;
}

static int take_record(void *context, const struct snapshot_record *record, struct error *error)
{
    struct content *content = context;

    (void)record;
    (void)error;
    content->records++;
    return 0;
}

/* Decodes all of it and closes it. */
static struct content decode(struct feed_snapshot snapshot)
{
    struct content content = {.records = 0};
    const struct snapshot_sink sink = {
        .header = take_header, .record = take_record, .context = &content};
    struct snapshot_decoder *decoder;
    uint64_t size = 0;
    char bytes[777];
    ssize_t count;

    assert_int_equal(snapshot_decoder_create(&sink, &decoder), 0);
    while ((count = read(snapshot.fd, bytes, sizeof(bytes))) > 0) {
        assert_int_equal(snapshot_decoder_feed(decoder, bytes, (size_t)count, &err), 0);
        size += (uint64_t)count;
    }
    assert_int_equal(snapshot_decoder_end(decoder, &err), 0);
    snapshot_decoder_destroy(decoder);
    assert_int_equal(size, snapshot.size);
    close(snapshot.fd);
    return content;
}

/* ---- tests ---- */

static void file_holds_the_whole_state_of_its_version(void **state)
{
    struct feed_snapshot snapshot = get();
    struct content content;

    (void)state;
    assert_int_equal(snapshot.cursor.version, CONSUMERS);
    content = decode(snapshot);
    assert_int_equal(content.header.cursor.version, CONSUMERS);
    assert_int_equal(content.header.consumers, CONSUMERS);
    assert_int_equal(content.records, CONSUMERS);
}

static void file_is_reused_until_a_tenth_has_changed(void **state)
{
    struct feed_snapshot snapshot;

    (void)state;
    decode(get());
    add_consumers("next", 4); /* of 50 */
    snapshot = get();
    assert_int_equal(snapshot.cursor.version, CONSUMERS);
    decode(snapshot);
    assert_int_equal(built(), 1);
    add_consumers("more", 1);
    snapshot = get();
    assert_int_equal(snapshot.cursor.version, CONSUMERS + 5);
    assert_int_equal(decode(snapshot).records, CONSUMERS + 5);
    assert_int_equal(built(), 2);
}

static void changes_of_others_do_not_count(void **state)
{
    (void)state;
    decode(get());
    scope = repo_fixture_cp(2);
    add_consumers("foreign", 30);
    assert_int_equal(decode(get()).header.cursor.version, CONSUMERS);
    assert_int_equal(built(), 1);
}

static void file_without_its_later_changes_is_built_again(void **state)
{
    (void)state;
    decode(get());
    scope = repo_fixture_cp(2);
    add_consumers("foreign", 30); /* the history is 20 versions long */
    assert_int_equal(decode(get()).header.cursor.version, CONSUMERS + 30);
    assert_int_equal(built(), 2);
}

static void replaced_file_stays_readable(void **state)
{
    struct feed_snapshot before = get();

    (void)state;
    add_consumers("next", 20);
    assert_int_equal(decode(get()).records, CONSUMERS + 20);
    assert_int_equal(decode(before).records, CONSUMERS);
}

static void every_caller_has_a_file_position_of_its_own(void **state)
{
    struct feed_snapshot first = get();
    struct feed_snapshot second = get();

    (void)state;
    assert_int_equal(decode(first).records, CONSUMERS);
    assert_int_equal(decode(second).records, CONSUMERS);
}

struct caller {
    pthread_t thread;
    struct feed_snapshot snapshot;
    int rc;
};

static void *call(void *context)
{
    struct caller *caller = context;
    struct error error = ERROR_INIT;

    caller->rc = feed_snapshot_get(feed, &cp, &caller->snapshot, &error);
    return NULL;
}

static void concurrent_callers_share_one_build(void **state)
{
    enum { CALLERS = 8 };
    struct caller callers[CALLERS];

    (void)state;
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
        assert_int_equal(callers[i].rc, 0);
        assert_int_equal(decode(callers[i].snapshot).records, CONSUMERS);
    }
    assert_int_equal(built(), 1);
}

static void files_are_private_and_none_is_left_half_written(void **state)
{
    char text[UUID_TEXT_SIZE];
    char path[256];
    struct stat info;

    (void)state;
    decode(get());
    (void)snprintf(path, sizeof(path), "%s/%s.rssnap", dir, uuid_format(&cp, text));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    (void)snprintf(path, sizeof(path), "%s/%s.rssnap.new", dir, text);
    assert_int_equal(access(path, F_OK), -1);
}

static void start_removes_what_an_earlier_run_left(void **state)
{
    char path[256];
    char other[256];

    (void)state;
    feed_destroy(feed);
    (void)snprintf(path, sizeof(path), "%s/old.rssnap.new", dir);
    (void)snprintf(other, sizeof(other), "%s/precious.txt", dir);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    close(open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    start_feed();
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(other, F_OK), 0); /* not ours */
    decode(get());
    feed_destroy(feed);
    start_feed();
    decode(get());
    assert_int_equal(built(), 1);
}

static void failing_build_is_an_error_and_the_next_caller_tries_again(void **state)
{
    struct feed_snapshot snapshot;

    (void)state;
    repo_fixture_remove_tree(dir);
    assert_int_not_equal(feed_snapshot_get(feed, &cp, &snapshot, &err), 0);
    assert_non_null(strstr(err.message, dir));
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(decode(get()).records, CONSUMERS);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_SHORT(name) cmocka_unit_test_setup_teardown(name, set_up_short_history, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(file_holds_the_whole_state_of_its_version),
        TEST(file_is_reused_until_a_tenth_has_changed),
        TEST(changes_of_others_do_not_count),
        TEST_SHORT(file_without_its_later_changes_is_built_again),
        TEST(replaced_file_stays_readable),
        TEST(every_caller_has_a_file_position_of_its_own),
        TEST(concurrent_callers_share_one_build),
        TEST(files_are_private_and_none_is_left_half_written),
        TEST(start_removes_what_an_earlier_run_left),
        TEST(failing_build_is_an_error_and_the_next_caller_tries_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

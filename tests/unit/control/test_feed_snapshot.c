/* test_feed_snapshot.c - snapshot files: built once for all who wait, named by their content,
 * reused while they serve, removed when nobody needs them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/feed/feed.h"
#include "sync/snapshot.h"
#include "base/hex.h"
#include "tests/lib/feed_client.h"
#include "tests/lib/repo_fixture.h"

enum { CONSUMERS = 50 };

static const struct log quiet_log = {.fd = 2, .level = LOG_LEVEL_ERROR};

static struct repo_fixture *f;
static struct feed *feed;
static struct repo_scope scope;
static struct uuid cp;
static char dir[128];
static struct error err;
static uint64_t max_bytes;
static size_t transaction_max_bytes;

static void start_feed(void)
{
    const struct feed_options options = {.snapshot_dir = dir,
                                         .snapshots_max_bytes = max_bytes,
                                         .transaction_max_bytes = transaction_max_bytes,
                                         .snapshot_verify_ms = -1,
                                         .region = "us",
                                         .log = &quiet_log};

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
    max_bytes = 0;
    transaction_max_bytes = 0;
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

static struct snapshot_name named_to(struct feed_client *client)
{
    struct feed_line line = feed_client_skip_to(client, FEED_LINE_RESYNC);

    feed_client_disconnect(client);
    return line.resync.snapshot;
}

/* What a host without a cursor is told. */
static struct snapshot_name ask(void)
{
    struct feed_client client = {.read_max = 0};

    feed_client_connect(&client, feed, &cp, "edge", NULL, 0);
    return named_to(&client);
}

static struct feed_snapshot get_named(const struct snapshot_name *name)
{
    struct feed_snapshot snapshot;

    assert_int_equal(feed_snapshot_open(feed, &cp, name->sha256, &snapshot, &err), 0);
    assert_memory_equal(&snapshot.name, name, sizeof(*name));
    return snapshot;
}

static struct feed_snapshot get(void)
{
    const struct snapshot_name name = ask();

    return get_named(&name);
}

static int open_code(const struct snapshot_name *name, const struct uuid *who)
{
    struct feed_snapshot snapshot;
    int rc = feed_snapshot_open(feed, who, name->sha256, &snapshot, &err);

    if (rc == 0)
        close(snapshot.fd);
    return rc;
}

static char *path_of(const struct snapshot_name *name)
{
    static char path[256];
    char hash[2 * DIGEST_BYTES + 1];

    hex_encode(name->sha256, DIGEST_BYTES, hash);
    (void)snprintf(path, sizeof(path), "%s/%s.rssnap", dir, hash);
    return path;
}

static unsigned files_in_dir(void)
{
    DIR *listing = opendir(dir);
    unsigned count = 0;

    for (struct dirent *entry; (entry = readdir(listing)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(listing);
    return count;
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
    struct digest_stream digest;
    uint8_t sha256[DIGEST_BYTES];
    const struct snapshot_sink sink = {
        .header = take_header, .record = take_record, .context = &content};
    struct snapshot_decoder *decoder;
    uint64_t size = 0;
    char bytes[777];
    ssize_t count;

    digest_stream_init(&digest);
    assert_int_equal(snapshot_decoder_create(&sink, &decoder), 0);
    while ((count = read(snapshot.fd, bytes, sizeof(bytes))) > 0) {
        assert_int_equal(snapshot_decoder_feed(decoder, bytes, (size_t)count, &err), 0);
        digest_stream_add(&digest, bytes, (size_t)count);
        size += (uint64_t)count;
    }
    assert_int_equal(snapshot_decoder_end(decoder, &err), 0);
    snapshot_decoder_destroy(decoder);
    digest_stream_end(&digest, sha256);
    assert_memory_equal(sha256, snapshot.name.sha256, sizeof(sha256));
    assert_int_equal(size, snapshot.name.size);
    close(snapshot.fd);
    return content;
}

/* ---- tests ---- */

static void file_holds_the_whole_state_of_its_version(void **state)
{
    struct feed_snapshot snapshot = get();
    struct content content;

    (void)state;
    assert_int_equal(snapshot.name.cursor.version, CONSUMERS);
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
    assert_int_equal(snapshot.name.cursor.version, CONSUMERS);
    decode(snapshot);
    assert_int_equal(built(), 1);
    add_consumers("more", 1);
    snapshot = get();
    assert_int_equal(snapshot.name.cursor.version, CONSUMERS + 5);
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

static void all_who_wait_share_one_build(void **state)
{
    enum { HOSTS = 100 };
    struct feed_client clients[HOSTS];
    struct snapshot_name first;

    (void)state;
    memset(clients, 0, sizeof(clients));
    for (int i = 0; i < HOSTS; i++) {
        char host[32];

        (void)snprintf(host, sizeof(host), "edge-%d", i);
        feed_client_connect(&clients[i], feed, &cp, host, NULL, 0);
    }
    first = named_to(&clients[0]);
    for (int i = 1; i < HOSTS; i++) {
        const struct snapshot_name name = named_to(&clients[i]);

        assert_memory_equal(&name, &first, sizeof(name));
    }
    assert_int_equal(built(), 1);
}

static void files_are_private_and_none_is_left_half_written(void **state)
{
    const struct snapshot_name name = ask();
    struct stat info;

    (void)state;
    assert_int_equal(stat(path_of(&name), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(files_in_dir(), 1);
}

static void file_is_given_to_its_own_control_plane_alone(void **state)
{
    const struct snapshot_name name = ask();
    const struct uuid other = repo_fixture_uuid(2);

    (void)state;
    assert_int_equal(open_code(&name, &cp), 0);
    assert_int_equal(open_code(&name, &other), E_NOT_FOUND);
}

static void former_file_stays_for_who_is_in_the_middle_of_it_and_no_more(void **state)
{
    struct snapshot_name names[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        names[i] = ask();
        add_consumers(i == 0 ? "a" : i == 1 ? "b" : "c", 30);
    }
    assert_int_equal(built(), 3);
    assert_int_equal(open_code(&names[0], &cp), E_NOT_FOUND);
    assert_int_equal(open_code(&names[1], &cp), 0);
    assert_int_equal(open_code(&names[2], &cp), 0);
    assert_int_equal(files_in_dir(), 2);
}

static void files_together_stay_within_their_limit(void **state)
{
    struct snapshot_name mine;
    struct snapshot_name others;

    (void)state;
    feed_destroy(feed);
    max_bytes = 1; /* one file at most: the newest may be over it */
    start_feed();
    mine = ask();
    cp = repo_fixture_uuid(2);
    others = ask();
    assert_int_equal(open_code(&others, &cp), 0);
    cp = repo_fixture_uuid(1);
    assert_int_equal(open_code(&mine, &cp), E_NOT_FOUND);
    assert_int_equal(files_in_dir(), 1);
    decode(get()); /* made again when it is needed */
    assert_int_equal(built(), 3);
}

static void file_that_somebody_removed_is_made_again(void **state)
{
    const struct snapshot_name name = ask();

    (void)state;
    assert_int_equal(unlink(path_of(&name)), 0);
    assert_int_equal(open_code(&name, &cp), E_NOT_FOUND);
    decode(get());
    assert_int_equal(built(), 2);
}

static void file_that_was_cut_short_on_the_disk_is_made_again(void **state)
{
    const struct snapshot_name name = ask();

    (void)state;
    assert_int_equal(truncate(path_of(&name), (off_t)name.size - 1), 0);
    assert_int_equal(open_code(&name, &cp), E_NOT_FOUND);
    decode(get());
    assert_int_equal(built(), 2);
}

static void file_whose_bytes_changed_on_the_disk_is_made_again(void **state)
{
    const struct snapshot_name name = ask();
    struct snapshot_name again = ask();
    unsigned char byte;
    int fd;

    (void)state;
    assert_int_equal(built(), 1);
    fd = open(path_of(&name), O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, (off_t)name.size / 2), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)name.size / 2), 1);
    close(fd);
    again = ask();
    assert_int_equal(built(), 2);
    assert_memory_equal(&again, &name, sizeof(name));
    decode(get_named(&again));
}

static void same_state_has_the_same_name(void **state)
{
    const struct snapshot_name before = ask();
    struct snapshot_name after;

    (void)state;
    feed_destroy(feed);
    start_feed();
    after = ask();
    assert_memory_equal(&before, &after, sizeof(before));
}

static void changes_since_must_fit_into_a_transaction_with_room_to_spare(void **state)
{
    (void)state;
    feed_destroy(feed);
    transaction_max_bytes = 1024;
    start_feed();
    (void)ask();
    add_consumers("next", 4); /* fewer than a tenth, but over 512 bytes of lines */
    assert_int_equal(ask().cursor.version, CONSUMERS + 4);
    assert_int_equal(built(), 2);
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

static void failing_build_ends_the_streams_and_the_next_host_tries_again(void **state)
{
    struct feed_client client = {.read_max = 0};
    struct feed_line line;

    (void)state;
    repo_fixture_remove_tree(dir);
    feed_client_connect(&client, feed, &cp, "edge", NULL, 0);
    while (feed_client_line(&client, &line))
        assert_int_not_equal(line.kind, FEED_LINE_RESYNC);
    feed_client_disconnect(&client);
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
        TEST(all_who_wait_share_one_build),
        TEST(files_are_private_and_none_is_left_half_written),
        TEST(file_is_given_to_its_own_control_plane_alone),
        TEST(former_file_stays_for_who_is_in_the_middle_of_it_and_no_more),
        TEST(files_together_stay_within_their_limit),
        TEST(file_that_somebody_removed_is_made_again),
        TEST(file_that_was_cut_short_on_the_disk_is_made_again),
        TEST(file_whose_bytes_changed_on_the_disk_is_made_again),
        TEST(same_state_has_the_same_name),
        TEST(changes_since_must_fit_into_a_transaction_with_room_to_spare),
        TEST(start_removes_what_an_earlier_run_left),
        TEST(failing_build_ends_the_streams_and_the_next_host_tries_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

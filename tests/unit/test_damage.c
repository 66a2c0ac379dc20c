/* test_damage.c - files that rotted or were cut: a reader answers or refuses, and never dies.
 *
 * Each batch is a child process, so that its death by a signal is seen and told. What is flipped
 * are values: records, lookup entries, the head. LMDB's own page structure is outside our checks
 * (docs/store-format.md, "What damage can do").
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "tests/lib/store_fixture.h"
#include "tools/sources.h"

enum { BITS = 8, VALUES_MAX = 64, STEP_BYTES = 512 };

static struct fixture f;
static bool soak;

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.clock = clock_system;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_finish(&f);
    return 0;
}

/* ---- reading with suspicion ---- */

/* Touches every byte that a caller may: strings must end where the sanitizers can follow. */
static size_t use(rs_consumer *consumer)
{
    const char *texts[] = {
        rs_consumer_id(consumer),        rs_consumer_username(consumer),
        rs_consumer_custom_id(consumer), rs_consumer_credential_id(consumer),
        rs_consumer_realm_id(consumer),  rs_consumer_realm_name(consumer),
    };
    size_t length = 0;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        length += texts[i] != NULL ? strlen(texts[i]) : 0;
    for (size_t i = 0; i < rs_consumer_tag_count(consumer) && i < 100; i++)
        length += rs_consumer_tag(consumer, i) != NULL ? strlen(rs_consumer_tag(consumer, i)) : 0;
    for (size_t i = 0; i < rs_consumer_group_count(consumer) && i < 100; i++)
        length +=
            rs_consumer_group(consumer, i) != NULL ? strlen(rs_consumer_group(consumer, i)) : 0;
    return length;
}

static void look_everything_up(rs_store *store)
{
    const rs_source sources[] = {fixture_realm_source(7), fixture_cp_source()};
    static const char *const keys[] = {"alice-key", "bob-key", "no-key"};
    rs_snapshot *snapshot;

    if (rs_begin(store, &snapshot) != 0)
        return;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        rs_consumer consumer;

        if (rs_lookup(snapshot, sources, 2, keys[i], strlen(keys[i]), &consumer) >= 0)
            (void)use(&consumer);
    }
    rs_end(snapshot);
}

static void open_and_look_up(void)
{
    rs_store *store;

    if (rs_open(&store, f.dir, NULL) != 0)
        return;
    look_everything_up(store);
    rs_close(store);
}

static void assert_child_lives(pid_t pid, const char *what)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s: the reader ended with status %d", what, status);
}

/* ---- flips ---- */

struct place {
    off_t offset; /* in data.mdb */
    size_t size;
};

struct places {
    size_t n;
    struct place items[VALUES_MAX];
};

static unsigned char *read_data(size_t *ret_size)
{
    int fd = open(fixture_path(&f, "us/g-000001/data.mdb"), O_RDONLY | O_CLOEXEC);
    unsigned char *bytes;
    struct stat file;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &file), 0);
    bytes = malloc((size_t)file.st_size);
    assert_non_null(bytes);
    assert_int_equal(read(fd, bytes, (size_t)file.st_size), file.st_size);
    assert_int_equal(close(fd), 0);
    *ret_size = (size_t)file.st_size;
    return bytes;
}

/* Wherever the value stands in the file; former versions of a page may hold it too. */
static void add_places(struct places *places, const unsigned char *file, size_t file_size,
                       const MDB_val *value)
{
    const unsigned char *at = file;

    while ((at = memmem(at, file_size - (size_t)(at - file), value->mv_data, value->mv_size)) !=
           NULL) {
        assert_true(places->n < VALUES_MAX);
        places->items[places->n++] = (struct place){at - file, value->mv_size};
        at++;
    }
}

static void find_values(enum table table, struct places *ret)
{
    struct tool_sources sources;
    struct table_walk walk;
    struct error err = ERROR_INIT;
    size_t size;
    unsigned char *file = read_data(&size);

    ret->n = 0;
    assert_int_equal(sources_open(f.dir, &sources, &err), 0);
    assert_int_equal(walk_begin(&walk, &sources.items[0], table, NULL, &err), 0);
    while (!walk.at_end) {
        if (walk.value.mv_size > sizeof(uint32_t)) /* a realm's number stands everywhere */
            add_places(ret, file, size, &walk.value);
        assert_int_equal(walk_next(&walk, &err), 0);
    }
    walk_end(&walk);
    sources_close(&sources);
    free(file);
}

static void flip(int fd, off_t at, unsigned bit)
{
    unsigned char byte;

    if (pread(fd, &byte, 1, at) != 1)
        _exit(2);
    byte ^= (unsigned char)(1u << bit);
    if (pwrite(fd, &byte, 1, at) != 1)
        _exit(2);
}

/* Every bit of every value, under a reader that has the file open: it is one mapping. */
static void flip_under_a_reader(const struct places *places)
{
    int fd = open(fixture_path(&f, "us/g-000001/data.mdb"), O_RDWR | O_CLOEXEC);
    rs_store *store;

    if (fd < 0 || rs_open(&store, f.dir, NULL) != 0)
        _exit(2);
    for (size_t i = 0; i < places->n; i++) {
        for (size_t bit = 0; bit < places->items[i].size * BITS; bit++) {
            off_t at = places->items[i].offset + (off_t)(bit / BITS);

            flip(fd, at, bit % BITS);
            look_everything_up(store);
            flip(fd, at, bit % BITS);
        }
    }
    rs_close(store);
    _exit(0);
}

/* Some of them before the file is opened. */
static void flip_and_open(const struct places *places)
{
    int fd = open(fixture_path(&f, "us/g-000001/data.mdb"), O_RDWR | O_CLOEXEC);
    const size_t step = soak ? 1 : 7;

    if (fd < 0)
        _exit(2);
    for (size_t i = 0; i < places->n; i++) {
        for (size_t bit = i % step; bit < places->items[i].size * BITS; bit += step) {
            off_t at = places->items[i].offset + (off_t)(bit / BITS);

            flip(fd, at, bit % BITS);
            open_and_look_up();
            flip(fd, at, bit % BITS);
        }
    }
    _exit(0);
}

static void run_batch(enum table table, const char *name, void (*run)(const struct places *places))
{
    struct places places;
    pid_t pid;

    find_values(table, &places);
    assert_true(places.n > 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        run(&places);
    assert_child_lives(pid, name);
}

static void no_flip_in_a_value_ends_a_reader(void **state)
{
    (void)state;
    run_batch(TABLE_REALMS, "realms", flip_under_a_reader);
    run_batch(TABLE_CONSUMERS, "consumers", flip_under_a_reader);
    run_batch(TABLE_CONSUMER_KEYS, "consumer_keys", flip_under_a_reader);
    run_batch(TABLE_LOOKUP, "lookup", flip_under_a_reader);
    run_batch(TABLE_META, "meta", flip_under_a_reader);
}

static void no_flip_in_a_value_ends_who_opens(void **state)
{
    (void)state;
    run_batch(TABLE_META, "meta", flip_and_open);
    run_batch(TABLE_REALMS, "realms", flip_and_open);
    run_batch(TABLE_LOOKUP, "lookup", flip_and_open);
}

/* ---- truncation ---- */

static void cut_file(const char *name, off_t step)
{
    struct stat file;
    pid_t pid;

    assert_int_equal(stat(fixture_path(&f, name), &file), 0);
    for (off_t size = file.st_size; size >= 0; size -= step) {
        char what[64];

        assert_int_equal(truncate(fixture_path(&f, name), size), 0);
        (void)snprintf(what, sizeof(what), "%s cut to %lld bytes", name, (long long)size);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            rs_store *store;

            if (rs_open(&store, f.dir, NULL) != 0)
                _exit(0);
            look_everything_up(store);
            _exit(size < file.st_size ? 3 : 0); /* a part is never good enough */
        }
        assert_child_lives(pid, what);
    }
}

static void cut_data_file_is_refused_at_every_size(void **state)
{
    (void)state;
    cut_file("us/g-000001/data.mdb", STEP_BYTES);
}

static void cut_digest_key_is_refused_at_every_size(void **state)
{
    (void)state;
    cut_file("us/g-000001/digest.key", 1);
}

static void cut_status_page_is_refused_at_every_size(void **state)
{
    (void)state;
    cut_file("status", STEP_BYTES / 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_flip_in_a_value_ends_a_reader),
        TEST(no_flip_in_a_value_ends_who_opens),
        TEST(cut_data_file_is_refused_at_every_size),
        TEST(cut_digest_key_is_refused_at_every_size),
        TEST(cut_status_page_is_refused_at_every_size),
    };

    soak = getenv("REALMSTORE_SOAK") != NULL;
    return cmocka_run_group_tests_name("damage", tests, NULL, NULL);
}

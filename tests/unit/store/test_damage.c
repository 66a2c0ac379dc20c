/* test_damage.c - files that rotted or were cut: a reader answers or refuses and never dies, and
 * verify finds what rotted.
 *
 * Each batch is a child process, so that its death by a signal is seen and told. Under a reader
 * that has the file open any bit of any page may flip; before it is opened, of any value: LMDB
 * opens it, and trusts its pages.
 *
 * REALMSTORE_SOAK=1 (`make soak`) tries every bit; otherwise some of them, from SEED on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/bucket.h"
#include "tests/lib/child.h"
#include "tests/lib/lmdb_map.h"
#include "tests/lib/store_fixture.h"
#include "tools/verify.h"

/* Sampled steps are primes, so that they meet every bit of a byte. */
enum { BITS = 8, VALUES_MAX = 64, STEP_BYTES = 512, PAGE_STEP = 29, OPEN_STEP = 61 };

static struct fixture f;
static uint64_t seed;
static bool soak;

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.clock = clock_system;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 3, "carol"); /* more keys than stand beside a record */
    fixture_put_key(f.source, 7, 3, 31, "carol-1");
    fixture_put_key(f.source, 7, 3, 32, "carol-2");
    fixture_put_key(f.source, 7, 3, 33, "carol-3");
    fixture_put_consumer(f.source, 7, 4, "dave");
    fixture_commit(&f);
    fixture_close(&f);
    (void)fprintf(stderr, "SEED=%" PRIu64 "\n", seed);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_finish(&f);
    return 0;
}

static int open_data(int flags)
{
    return open(fixture_path(&f, "us/g-000001/data.mdb"), flags | O_CLOEXEC);
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
    for (size_t i = 0; i < rs_consumer_tag_count(consumer); i++)
        length += rs_consumer_tag(consumer, i) != NULL ? strlen(rs_consumer_tag(consumer, i)) : 0;
    for (size_t i = 0; i < rs_consumer_group_count(consumer); i++)
        length +=
            rs_consumer_group(consumer, i) != NULL ? strlen(rs_consumer_group(consumer, i)) : 0;
    return length;
}

/* Ends the process when an answer is longer than any record. */
static void look_everything_up(rs_store *store)
{
    const rs_source sources[] = {fixture_realm_source(7), fixture_cp_source()};
    static const char *const keys[] = {"alice-key", "bob-key", "carol-2", "no-key"};
    rs_snapshot *snapshot;

    if (rs_begin(store, &snapshot) != 0)
        return;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        rs_consumer consumer;

        if (rs_lookup(snapshot, sources, 2, keys[i], strlen(keys[i]), &consumer) >= 0 &&
            use(&consumer) > 2 * (size_t)RECORD_MAX_BYTES)
            _exit(4);
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
        fail_msg("%s: the child ended with status %d", what, status);
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

static void flip(int fd, off_t at, unsigned bit)
{
    unsigned char byte;

    if (pread(fd, &byte, 1, at) != 1)
        _exit(2);
    byte ^= (unsigned char)(1u << bit);
    if (pwrite(fd, &byte, 1, at) != 1)
        _exit(2);
}

/* Calls `look` while each bit, or each `step`-th, of the places is flipped. */
static void flip_each(const struct places *places, uint64_t step, void (*look)(void *context),
                      void *context)
{
    int fd = open_data(O_RDWR);

    if (fd < 0)
        _exit(2);
    for (size_t i = 0; i < places->n; i++) {
        for (uint64_t bit = (seed + i) % step; bit < places->items[i].size * BITS; bit += step) {
            off_t at = places->items[i].offset + (off_t)(bit / BITS);

            flip(fd, at, bit % BITS);
            look(context);
            flip(fd, at, bit % BITS);
        }
    }
    (void)close(fd);
}

static void add_values(const struct tool_source *source, enum table table, struct places *places)
{
    static const unsigned char buckets[] = {BUCKET_KEY_FIRST_BYTE};
    const MDB_val from = env_val(buckets, sizeof(buckets));
    struct table_walk walk;
    struct error err = ERROR_INIT;

    assert_int_equal(walk_begin(&walk, source, table, table == TABLE_LOOKUP ? &from : NULL, &err),
                     0);
    while (!walk.at_end) {
        const unsigned char *at = walk.value.mv_data;

        assert_true(places->n < VALUES_MAX);
        if (walk.value.mv_size > 0)
            places->items[places->n++] = (struct place){
                at - lmdb_map_of(at, source->generation.env.page_bytes), walk.value.mv_size};
        assert_int_equal(walk_next(&walk, &err), 0);
    }
}

static void find_values(const enum table *tables, size_t n, struct places *ret)
{
    struct tool_sources sources;
    struct error err = ERROR_INIT;

    ret->n = 0;
    assert_int_equal(sources_open(f.dir, &sources, &err), 0);
    for (size_t i = 0; i < n; i++)
        add_values(&sources.items[0], tables[i], ret);
    sources_close(&sources);
    assert_true(ret->n >= n);
}

static void whole_file(struct places *ret)
{
    struct stat file;

    assert_int_equal(stat(fixture_path(&f, "us/g-000001/data.mdb"), &file), 0);
    *ret = (struct places){.n = 1, .items = {{0, (size_t)file.st_size}}};
}

static void look_up_in(void *store)
{
    look_everything_up(store);
}

static void look_up_anew(void *context)
{
    (void)context;
    open_and_look_up();
}

static void no_flip_under_a_reader_ends_it(void **state)
{
    struct places places;
    pid_t pid;

    (void)state;
    whole_file(&places);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        rs_store *store;

        if (rs_open(&store, f.dir, NULL) != 0)
            _exit(3);
        flip_each(&places, soak ? 1 : PAGE_STEP, look_up_in, store);
        rs_close(store);
        _exit(0);
    }
    assert_child_lives(pid, "any bit under a reader");
}

static void no_flip_in_a_value_ends_who_opens(void **state)
{
    static const enum table tables[] = {TABLE_META, TABLE_REALMS, TABLE_REALM_IDS, TABLE_CONSUMERS,
                                        TABLE_LOOKUP};
    struct places places;
    pid_t pid;

    (void)state;
    find_values(tables, sizeof(tables) / sizeof(tables[0]), &places);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        flip_each(&places, soak ? 1 : OPEN_STEP, look_up_anew, NULL);
        _exit(0);
    }
    assert_child_lives(pid, "a bit of a value before opening");
}

/* ---- verify ---- */

static void count_fault(void *context, const struct tool_source *source, const char *table,
                        const char *text)
{
    (void)source;
    (void)table;
    (void)text;
    ++*(unsigned *)context;
}

/* Ends the process when nothing is found. */
static void must_be_found(void *context)
{
    unsigned *bits = context;
    unsigned faults = 0;
    const struct verify_sink sink = {.fault = count_fault, .context = &faults};
    struct tool_sources sources;
    struct error err = ERROR_INIT;

    ++*bits;
    if (sources_open(f.dir, &sources, &err) != 0)
        return; /* found on the way */
    if (verify_source(&sources.items[0], &sink, &err) == 0 && faults == 0) {
        (void)fprintf(stderr, "bit %u of those that were tried is not found\n", *bits);
        _exit(5);
    }
    sources_close(&sources);
}

static void verify_finds_each_flip_in_the_file(void **state)
{
    static const enum table tables[] = {TABLE_REALMS, TABLE_REALM_IDS, TABLE_CONSUMERS,
                                        TABLE_LOOKUP};
    struct places places;
    unsigned bits = 0;
    pid_t pid;

    (void)state;
    find_values(tables, sizeof(tables) / sizeof(tables[0]), &places);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        flip_each(&places, soak ? 1 : OPEN_STEP, must_be_found, &bits);
        _exit(bits > 0 ? 0 : 6);
    }
    assert_child_lives(pid, "verify");
}

/* ---- truncation ---- */

static void cut_file(const char *name, off_t step)
{
    struct stat file;

    assert_int_equal(stat(fixture_path(&f, name), &file), 0);
    for (off_t size = file.st_size; size >= 0; size -= step) {
        char what[64];
        pid_t pid;

        assert_int_equal(truncate(fixture_path(&f, name), size), 0);
        (void)snprintf(what, sizeof(what), "%s cut to %lld bytes", name, (long long)size);
        pid = child_fork();
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
        TEST(no_flip_under_a_reader_ends_it),
        TEST(no_flip_in_a_value_ends_who_opens),
        TEST(verify_finds_each_flip_in_the_file),
        TEST(cut_data_file_is_refused_at_every_size),
        TEST(cut_digest_key_is_refused_at_every_size),
        TEST(cut_status_page_is_refused_at_every_size),
    };
    const char *given = getenv("SEED");

    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    soak = getenv("REALMSTORE_SOAK") != NULL;
    return cmocka_run_group_tests_name("damage", tests, NULL, NULL);
}

/* test_damage_answers.c - what is answered is what was written: with any one bit of any file of the
 * store flipped, every public call gives the true answer or a negative code, never another answer,
 * does not die, and ends.
 *
 * The store has tables of several levels. A child process asks every question while a bit is
 * flipped and compares what it heard with what it heard before; an alarm ends one that does not
 * come back. Bits flip under a reader that has the store open, and before one opens it.
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/bytes.h"
#include "store/lmdb_format.h"
#include "store/reader_internal.h"
#include "tests/lib/child.h"
#include "tests/lib/store_fixture.h"

/* Sampled steps are primes, so that they meet every bit of a byte. */
enum {
    BITS = 8,
    PEOPLE = 2500, /* two levels of buckets, three of rows */
    FIRST = 20000,
    FIRST_KEY = 50000,
    TREE_STEP = 199,
    VALUE_STEP = 7919,
    OPEN_STEP = 4003,
    SMALL_STEP = 43,
    LIMIT_S = 20, /* of one question; a machine ten times slower meets it */
    TEXT_BYTES = 16384
};

static struct fixture f;
static uint64_t seed;
static bool soak;
static rs_mode mode;

/* ---- the store ---- */

static void put_person(unsigned i)
{
    uint32_t scope = i % 2 == 0 ? 7 : MODEL_SCOPE_CP;
    char text[32];

    (void)snprintf(text, sizeof(text), "person-%u", i);
    fixture_put_consumer(f.source, scope, FIRST + i, text);
    if (i % 5 == 4)
        return; /* no key: its record is a row */
    (void)snprintf(text, sizeof(text), "key-%u", i);
    fixture_put_key(f.source, scope, FIRST + i, FIRST_KEY + i, text);
}

static int set_up(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    fixture_init(&f);
    f.retention_ms = 10000;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 3, "carol"); /* more keys than stand beside a record */
    fixture_put_key(f.source, 7, 3, 31, "carol-1");
    fixture_put_key(f.source, 7, 3, 32, "carol-2");
    fixture_put_key(f.source, 7, 3, 33, "carol-3");
    assert_int_equal(fixture_try_key(f.source, 7, 1, 34, "old-key", f.wall_ms - 1, &err), 0);
    for (unsigned i = 0; i < PEOPLE; i++)
        put_person(i);
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

/* ---- questions, and answers as text ---- */

static rs_store *store;
static rs_snapshot *snapshot;

static int add(char *text, const char *label, const char *value)
{
    size_t used = strlen(text);

    return snprintf(text + used, TEXT_BYTES - used, "%s=%s;", label, value != NULL ? value : "-");
}

static int tell(int rc, rs_consumer *consumer, char *text)
{
    char number[32];

    (void)snprintf(number, sizeof(number), "%d", rc);
    (void)add(text, "rc", number);
    if (rc < 0)
        return rc;
    (void)add(text, "id", rs_consumer_id(consumer));
    (void)add(text, "username", rs_consumer_username(consumer));
    (void)add(text, "custom_id", rs_consumer_custom_id(consumer));
    (void)add(text, "credential", rs_consumer_credential_id(consumer));
    (void)add(text, "realm", rs_consumer_realm_id(consumer));
    (void)add(text, "name", rs_consumer_realm_name(consumer));
    for (size_t i = 0; i < rs_consumer_group_count(consumer); i++)
        (void)add(text, "group", rs_consumer_group(consumer, i));
    for (size_t i = 0; i < rs_consumer_tag_count(consumer); i++)
        (void)add(text, "tag", rs_consumer_tag(consumer, i));
    return rc;
}

struct question {
    const char *name;
    const char *key; /* NULL: rs_find() */
    unsigned realm;  /* 0: the control plane's own; 9: one that is not there */
};

static const struct question questions[] = {
    {"alice", "alice-key", 7},
    {"bob", "bob-key", 0},
    {"carol", "carol-2", 7},
    {"expired", "old-key", 7},
    {"nobody", "no-key", 7},
    {"nobody of the control plane", "no-key", 0},
    {"another nobody", "who", 7},
    {"no realm", "alice-key", 9},
    {"first", "key-0", 7},
    {"one of many", "key-1236", 7},
    {"another of many", "key-6", 7},
    {"one of the control plane", "key-1001", 0},
    {"bob", NULL, 0},
    {"person-4", NULL, 0},
    {"person-9", NULL, 0},
    {"01900000-0000-7000-8000-000000000002", NULL, 0},
    {"nobody", NULL, 0},
    {"01900000-0000-7000-8000-999900000002", NULL, 0},
};
enum { QUESTIONS = sizeof(questions) / sizeof(questions[0]) };

/* Walks through all of the control plane's consumers: too slow to be asked for each bit. */
static bool is_slow(size_t i)
{
    return questions[i].key == NULL && i >= QUESTIONS - 2;
}

static int ask(size_t i, char text[TEXT_BYTES])
{
    const struct question *question = &questions[i];
    rs_consumer consumer;
    rs_source source;
    int rc;

    text[0] = 0;
    (void)alarm(LIMIT_S);
    if (question->key == NULL) {
        rc = rs_find(snapshot, NULL, question->name, &consumer);
    } else {
        source = question->realm == 0 ? fixture_cp_source() : fixture_realm_source(question->realm);
        rc = rs_lookup(snapshot, &source, 1, question->key, strlen(question->key), &consumer);
    }
    return tell(rc, &consumer, text);
}

/* rs_status() as it was at first; ages stand, since the clock does. */
static rs_status_info true_status;

static char truth[QUESTIONS][TEXT_BYTES];
static uint64_t asked;
static uint64_t refused;

static void learn(void)
{
    for (size_t i = 0; i < QUESTIONS; i++) {
        int rc = ask(i, truth[i]);

        assert_true(rc == RS_FOUND || rc == RS_NOT_FOUND);
    }
    assert_int_equal(rs_status(store, &true_status), 0);
}

static void expect_truth_or_refusal(uint64_t bit)
{
    static char text[TEXT_BYTES];

    for (size_t i = 0; i < QUESTIONS; i++) {
        int rc;

        if (is_slow(i) && asked % 32 != 0)
            continue;
        rc = ask(i, text);
        if (rc < 0) {
            refused++;
        } else if (strcmp(text, truth[i]) != 0) {
            (void)fprintf(stderr, "bit %" PRIu64 " (byte %" PRIu64 "), \"%s\":\n is  %s\n not %s\n",
                          bit, bit / BITS, questions[i].name, text, truth[i]);
            _exit(7);
        }
    }
    asked++;
}

static bool same_source(const rs_source_status *a, const rs_source_status *b)
{
    return strcmp(a->region, b->region) == 0 && a->state == b->state &&
           a->generation == b->generation && memcmp(a->epoch, b->epoch, sizeof(a->epoch)) == 0 &&
           a->version == b->version && a->age_ms == b->age_ms &&
           a->commit_time_ms == b->commit_time_ms && a->realms == b->realms &&
           a->consumers == b->consumers && a->keys == b->keys &&
           a->verified_version == b->verified_version && a->verified_ms == b->verified_ms;
}

static bool same_status(const rs_status_info *a, const rs_status_info *b)
{
    bool same =
        memcmp(a->control_plane_id, b->control_plane_id, sizeof(a->control_plane_id)) == 0 &&
        a->agent_pid == b->agent_pid && a->retention_ms == b->retention_ms && a->mode == b->mode &&
        a->n_sources == b->n_sources;

    for (size_t i = 0; same && i < a->n_sources; i++)
        same = same_source(&a->sources[i], &b->sources[i]);
    return same;
}

static void expect_true_status(uint64_t bit)
{
    rs_status_info status;

    if (rs_status(store, &status) == 0 && !same_status(&status, &true_status)) {
        (void)fprintf(stderr, "bit %" PRIu64 " (byte %" PRIu64 "): another status\n", bit,
                      bit / BITS);
        _exit(8);
    }
}

static int open_store(void)
{
    rs_options options = RS_OPTIONS_INIT;

    options.mode = mode;
    return reader_open(&store, f.dir, &options, &f.clock);
}

/* Asks in a snapshot of its own. */
static void ask_all(uint64_t bit)
{
    expect_true_status(bit);
    if (rs_begin(store, &snapshot) != 0)
        return;
    expect_truth_or_refusal(bit);
    rs_end(snapshot);
}

static void open_and_ask_all(uint64_t bit)
{
    (void)alarm(LIMIT_S);
    if (open_store() != 0) {
        refused++;
        return;
    }
    ask_all(bit);
    rs_close(store);
}

/* ---- flips ---- */

struct file {
    int fd;
    size_t size;
};

static struct file open_file(const char *name)
{
    struct file file = {.fd = open(fixture_path(&f, name), O_RDWR | O_CLOEXEC)};
    struct stat st;

    if (file.fd < 0 || fstat(file.fd, &st) != 0)
        _exit(2);
    file.size = (size_t)st.st_size;
    return file;
}

static void flip(const struct file *file, uint64_t bit)
{
    unsigned char byte;

    if (pread(file->fd, &byte, 1, (off_t)(bit / BITS)) != 1)
        _exit(2);
    byte ^= (unsigned char)(1u << bit % BITS);
    if (pwrite(file->fd, &byte, 1, (off_t)(bit / BITS)) != 1)
        _exit(2);
}

static void flip_range(const struct file *file, uint64_t from, uint64_t to, uint64_t step,
                       void (*look)(uint64_t bit))
{
    for (uint64_t bit = from + seed % step; bit < to; bit += step) {
        flip(file, bit);
        look(bit);
        flip(file, bit);
    }
}

/* Every page of data.mdb: those of the trees more densely than the values. */
static void flip_pages(void (*look)(uint64_t bit), uint64_t tree_step, uint64_t value_step)
{
    enum { PAGE_BITS = 4096 * BITS };
    const struct file file = open_file("us/g-000001/data.mdb");
    bool values = false;
    unsigned branches = 0;

    for (uint64_t page = 0; page < file.size * BITS / PAGE_BITS; page++) {
        unsigned char head[PAGE_HEAD_BYTES];
        unsigned kind;

        if (pread(file.fd, head, sizeof(head), (off_t)(page * PAGE_BITS / BITS)) !=
            (ssize_t)sizeof(head))
            _exit(2);
        kind = bytes_get_u16(head + PAGE_AT_FLAGS) & PAGE_KINDS;
        values = page >= META_PAGES && kind != PAGE_BRANCH && kind != PAGE_LEAF;
        branches += kind == PAGE_BRANCH;
        flip_range(&file, page * PAGE_BITS, (page + 1) * PAGE_BITS,
                   soak ? 1 : (values ? value_step : tree_step), look);
    }
    if (branches < 2)
        _exit(3); /* not the store that was meant */
    (void)close(file.fd);
}

static int in_child(void (*body)(void))
{
    int status;
    pid_t pid = child_fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        body();
        (void)fprintf(stderr, "%" PRIu64 " bits, %" PRIu64 " refusals\n", asked, refused);
        _exit(asked > 0 ? 0 : 6);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status))
        fail_msg("the child was ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

/* ---- the campaign ---- */

static void flip_under_a_reader(void)
{
    if (open_store() != 0 || rs_begin(store, &snapshot) != 0)
        _exit(4);
    learn();
    rs_end(snapshot);
    flip_pages(ask_all, TREE_STEP, VALUE_STEP);
    rs_close(store);
}

static void flip_before_a_reader(void)
{
    if (open_store() != 0 || rs_begin(store, &snapshot) != 0)
        _exit(4);
    learn();
    rs_end(snapshot);
    rs_close(store);
    flip_pages(open_and_ask_all, OPEN_STEP, (uint64_t)4 * VALUE_STEP);
}

static void flip_small_files(void)
{
    static const char *const names[] = {"us/g-000001/digest.key", "status"};

    if (open_store() != 0 || rs_begin(store, &snapshot) != 0)
        _exit(4);
    learn();
    rs_end(snapshot);
    rs_close(store);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct file file = open_file(names[i]);

        flip_range(&file, 0, file.size * BITS, soak ? 1 : SMALL_STEP, open_and_ask_all);
        (void)close(file.fd);
    }
}

static void any_bit_under_a_reader_gives_the_truth_or_a_refusal(void **state)
{
    (void)state;
    mode = RS_MODE_SLOTS;
    assert_int_equal(in_child(flip_under_a_reader), 0);
}

static void any_bit_before_opening_gives_the_truth_or_a_refusal(void **state)
{
    (void)state;
    mode = RS_MODE_SLOTS;
    assert_int_equal(in_child(flip_before_a_reader), 0);
}

static void any_bit_of_key_and_status_gives_the_truth_or_a_refusal(void **state)
{
    (void)state;
    mode = RS_MODE_SLOTS;
    assert_int_equal(in_child(flip_small_files), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(any_bit_under_a_reader_gives_the_truth_or_a_refusal),
        TEST(any_bit_before_opening_gives_the_truth_or_a_refusal),
        TEST(any_bit_of_key_and_status_gives_the_truth_or_a_refusal),
    };
    const char *given = getenv("SEED");

    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    soak = getenv("REALMSTORE_SOAK") != NULL;
    return cmocka_run_group_tests_name("damage_answers", tests, NULL, NULL);
}

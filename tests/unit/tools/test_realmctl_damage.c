/* test_realmctl_damage.c - one flipped bit anywhere in a store of several levels, and what each
 * command of realmctl then does with it.
 *
 * Whatever the bit is in, each command ends by itself, in time, with one of its exit codes. What it
 * answers is true: a consumer that is shown is the one that was asked for, as it was written, and a
 * dump is whole. What another command refuses, verify finds.
 *
 * Each command runs in a child process, so that its death by a signal (one of them the alarm's) is
 * seen. REALMSTORE_SOAK=1 (`make soak`) tries some thousands of bits of each kind of page with
 * every command, else some with some, from SEED on; BITS=n says how many.
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

#include "store/bytes.h"
#include "store/files.h"
#include "store/lmdb_format.h"
#include "tests/lib/child.h"
#include "tests/lib/random.h"
#include "tests/lib/store_fixture.h"
#include "tests/lib/tool_run.h"

enum {
    OTHERS = 3000, /* consumers with a key each: branches in `lookup` and `consumers` */
    ASKED = 2501,  /* one of them */
    PAGE_BYTES = 4096,
    BYTE_BITS = 8,
    LIMIT_S = 60, /* far more than any command takes */
    SAMPLED_BITS = 25,
    SOAK_BITS = 5000,
    OUTPUT_BYTES = 4 << 20,
    UNTRUE = 7 /* the child's exit code, beside those of a command */
};

static struct fixture f;
static uint64_t seed;
static bool soak;
static size_t n_bits;
static unsigned char *image; /* of data.mdb */
static size_t image_bytes;
static char good[PATH_MAX];  /* a backup, made before any bit flipped */
static char other[PATH_MAX]; /* one that a command makes */
static char asked_name[32];
static char output[OUTPUT_BYTES];
static char true_dump[OUTPUT_BYTES];
static char true_get[4096];

/* ---- commands ---- */

static int run_on(const char *dir, const struct command *command, const char *input,
                  const char *first, const char *second)
{
    const char *const arguments[] = {first, second, NULL};
    const struct tool tool = {.store_dir = dir};

    return tool_run(f.base, &tool, command, input, arguments, output, sizeof(output));
}

/* Each gives the command's code, or UNTRUE. */

static int do_dump(void)
{
    int rc = run_on(f.dir, &command_dump, "", NULL, NULL);

    return rc == TOOL_YES && strcmp(output, true_dump) != 0 ? UNTRUE : rc;
}

static int do_get(void)
{
    int rc = run_on(f.dir, &command_get, "", asked_name, NULL);

    return rc == TOOL_NO || (rc == TOOL_YES && strcmp(output, true_get) != 0) ? UNTRUE : rc;
}

static int do_lookup(void)
{
    char id[UUID_TEXT_SIZE];
    struct uuid asked = fixture_uuid(FIXTURE_LOADED + ASKED);
    int rc = run_on(f.dir, &command_lookup, asked_name, NULL, NULL);

    return rc == TOOL_NO || (rc == TOOL_YES && strstr(output, uuid_format(&asked, id)) == NULL)
               ? UNTRUE
               : rc;
}

static int do_diff(void)
{
    int rc = run_on("/nowhere", &command_diff, "", good, f.dir);

    return rc == TOOL_NO ? UNTRUE : rc;
}

/* What was copied reads as it was, or is refused. */
static int do_backup(void)
{
    int rc = run_on(f.dir, &command_backup, "", other, NULL);

    if (rc == TOOL_YES)
        rc = run_on("/nowhere", &command_diff, "", good, other) == TOOL_NO ? UNTRUE : rc;
    else if (access(other, F_OK) == 0)
        rc = UNTRUE; /* left behind */
    (void)files_remove_tree(other, NULL);
    return rc;
}

static int do_verify(void)
{
    int rc = run_on(f.dir, &command_verify, "", NULL, NULL);

    if (rc == TOOL_YES && run_on(f.dir, &command_dump, "", NULL, NULL) != TOOL_YES)
        return UNTRUE;
    return rc;
}

static int do_stat(void)
{
    return run_on(f.dir, &command_stat, "", NULL, NULL);
}

static int do_readers(void)
{
    return run_on(f.dir, &command_readers, "", NULL, NULL);
}

static int do_rollback(void)
{
    return run_on(f.dir, &command_rollback, "", NULL, NULL);
}

struct action {
    const char *name;
    int (*run)(void);
};
static const struct action reading[] = {
    {"verify", do_verify}, {"dump", do_dump},     {"get", do_get},   {"lookup", do_lookup},
    {"diff", do_diff},     {"backup", do_backup}, {"stat", do_stat}, {"readers", do_readers},
};
enum { READING = sizeof(reading) / sizeof(reading[0]) };

/* ---- the store ---- */

static void write_at(const char *name, const void *bytes, size_t size, off_t at)
{
    int fd = open(fixture_path(&f, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0640);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, at), size);
    assert_int_equal(close(fd), 0);
}

static void fill(void)
{
    char name[32];

    fixture_load_empty(&f);
    fixture_begin(&f);
    fixture_put_realm(f.source, 1);
    fixture_put_realm(f.source, 2);
    for (unsigned i = 0; i < OTHERS; i++) {
        (void)snprintf(name, sizeof(name), "user-%u", i);
        fixture_put_consumer(f.source, 1 + i % 2, FIXTURE_LOADED + i, name);
        fixture_put_key(f.source, 1 + i % 2, FIXTURE_LOADED + i, 100000 + i, name);
    }
    fixture_commit(&f);
    fixture_begin(&f); /* leaves free pages */
    for (unsigned i = 0; i < OTHERS; i += 7) {
        struct uuid id = fixture_uuid(FIXTURE_LOADED + i);
        struct error err = ERROR_INIT;

        assert_int_equal(source_delete_consumer(f.source, 1 + i % 2, &id, &err), 0);
    }
    fixture_commit(&f);
}

static void keep_image(void)
{
    struct stat file;
    int fd = open(fixture_path(&f, "us/g-000001/data.mdb"), O_RDONLY | O_CLOEXEC);

    assert_int_equal(fstat(fd, &file), 0);
    image_bytes = (size_t)file.st_size;
    image = malloc(image_bytes);
    assert_non_null(image);
    assert_int_equal(read(fd, image, image_bytes), image_bytes);
    assert_int_equal(close(fd), 0);
}

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.clock = clock_system;
    fixture_open(&f);
    fill();
    source_heard(f.source);
    fixture_close(&f);
    keep_image();
    assert_int_equal(files_join(good, f.base, "good", NULL), 0);
    assert_int_equal(files_join(other, f.base, "other", NULL), 0);
    (void)snprintf(asked_name, sizeof(asked_name), "user-%d", ASKED);
    assert_int_equal(run_on(f.dir, &command_backup, "", good, NULL), TOOL_YES);
    assert_int_equal(run_on(f.dir, &command_get, "", asked_name, NULL), TOOL_YES);
    assert_true(strlen(output) < sizeof(true_get));
    memcpy(true_get, output, strlen(output) + 1);
    assert_int_equal(run_on(f.dir, &command_dump, "", NULL, NULL), TOOL_YES);
    memcpy(true_dump, output, strlen(output) + 1);
    for (size_t i = 0; i < READING; i++)
        assert_int_equal(reading[i].run(), TOOL_YES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(image);
    fixture_finish(&f);
    return 0;
}

/* ---- one bit ---- */

static unsigned bad; /* what ended as it must not */

static int in_child(int (*run)(void))
{
    int status;
    pid_t pid = child_fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(LIMIT_S);
        _exit(run());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int try_action(const struct action *action, uint64_t bit, bool may_be_older)
{
    int rc = in_child(action->run);

    if ((rc >= TOOL_YES && rc <= TOOL_UNKNOWN) || (rc == UNTRUE && may_be_older))
        return rc;
    (void)fprintf(stderr,
                  "SEED=%" PRIu64 ": %s, page %" PRIu64 ", byte %" PRIu64 ", bit %" PRIu64
                  ": ended with %d\n",
                  seed, action->name, bit / BYTE_BITS / PAGE_BYTES, bit / BYTE_BITS % PAGE_BYTES,
                  bit % BYTE_BITS, rc);
    bad++;
    return rc;
}

static void flip(const char *name, const unsigned char *bytes, uint64_t bit, bool back)
{
    unsigned char byte = bytes[bit / BYTE_BITS] ^ (unsigned char)(1U << bit % BYTE_BITS);

    write_at(name, back ? &bytes[bit / BYTE_BITS] : &byte, 1, (off_t)(bit / BYTE_BITS));
}

/* ---- all kinds of pages ---- */

/* 0: the heads. */
static bool is_of(uint64_t page, unsigned kind)
{
    const unsigned char *at = image + page * PAGE_BYTES;

    if (page < META_PAGES || kind == 0)
        return page < META_PAGES && kind == 0;
    return bytes_get_u16(at + PAGE_AT_FLAGS) == kind && bytes_get_u64(at + PAGE_AT_NUMBER) == page;
}

/* Of a value's own page the head as often as all that it holds. */
static uint64_t some_bit(unsigned kind, uint64_t *random)
{
    uint64_t page;
    size_t byte;

    do
        page = random_below(random, image_bytes / PAGE_BYTES);
    while (!is_of(page, kind));
    byte = random_below(random, kind == 0 ? (size_t)META_BYTES : PAGE_BYTES);
    if (kind != 0 && random_below(random, 3) == 0)
        byte %= PAGE_HEAD_BYTES;
    return (page * PAGE_BYTES + byte) * BYTE_BITS + random_below(random, BYTE_BITS);
}

static void try_kind(unsigned kind)
{
    uint64_t random = seed + kind;
    unsigned refused = 0;

    bad = 0;
    for (size_t i = 0; i < n_bits; i++) {
        uint64_t bit = some_bit(kind, &random);

        flip("us/g-000001/data.mdb", image, bit, false);
        for (size_t j = 0; j < READING; j++) {
            if (soak || (i + j) % 3 == 0)
                refused += try_action(&reading[j], bit, kind == 0) != TOOL_YES;
        }
        flip("us/g-000001/data.mdb", image, bit, true);
    }
    (void)fprintf(stderr, "%zu bits: %u refused\n", n_bits, refused);
    assert_int_equal(bad, 0);
}

static void bit_of_the_head_ends_no_command(void **state)
{
    (void)state;
    try_kind(0);
}

static void bit_of_a_branch_ends_no_command_and_makes_none_lie(void **state)
{
    (void)state;
    try_kind(PAGE_BRANCH);
}

static void bit_of_a_leaf_ends_no_command_and_makes_none_lie(void **state)
{
    (void)state;
    try_kind(PAGE_LEAF);
}

static void bit_of_a_values_own_page_ends_no_command_and_makes_none_lie(void **state)
{
    (void)state;
    try_kind(PAGE_OVERFLOW);
}

/* ---- messages ---- */

static uint64_t first_page_of(unsigned kind)
{
    uint64_t page = META_PAGES;

    while (!is_of(page, kind))
        page++;
    return page;
}

static void damaged_pages_are_named_and_lead_to_verify(void **state)
{
    static const unsigned char zeros[PAGE_BYTES];
    char said[1024];
    size_t size;

    (void)state;
    for (uint64_t page = first_page_of(PAGE_LEAF); page < image_bytes / PAGE_BYTES; page++) {
        if (is_of(page, PAGE_LEAF))
            write_at("us/g-000001/data.mdb", zeros, PAGE_HEAD_BYTES, (off_t)(page * PAGE_BYTES));
    }
    assert_int_equal(in_child(do_dump), TOOL_UNKNOWN);
    assert_int_equal(files_read(f.base, "err", said, sizeof(said) - 1, &size, NULL), 0);
    said[size] = 0;
    assert_non_null(strstr(said, "source us"));
    assert_non_null(strstr(said, "realmctl verify"));
    assert_int_equal(in_child(do_backup), TOOL_UNKNOWN);
    assert_int_equal(in_child(do_verify), TOOL_NO);
    write_at("us/g-000001/data.mdb", image, image_bytes, 0);
    assert_int_equal(in_child(do_verify), TOOL_YES);
}

/* ---- what the agent's own opening reads ---- */

static void copy_tree(const char *from, const char *to)
{
    int status;
    pid_t pid;

    (void)files_remove_tree(to, NULL);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)execlp("cp", "cp", "-a", from, to, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* The serving generation goes on. */
static int do_open(void)
{
    struct store_options options = fixture_options(&f);
    struct error discarded = ERROR_INIT;
    struct error err = ERROR_INIT;
    int rc = store_open(&options, &f.store, &err);

    if (rc == 0)
        rc = source_open(f.store, "us", &f.source, &discarded, &err);
    if (rc != 0)
        return TOOL_UNKNOWN;
    return discarded.code == 0 && source_visible(f.source).version == f.version ? TOOL_YES : UNTRUE;
}

/* The store with a generation that served before, and a copy of it to go back to. */
static void add_generation(char saved[PATH_MAX])
{
    fixture_open(&f);
    fixture_load_empty(&f);
    fixture_close(&f);
    assert_int_equal(files_join(saved, f.base, "saved", NULL), 0);
    copy_tree(f.dir, saved);
}

static void bit_of_the_generation_before_ends_no_rollback(void **state)
{
    static const unsigned kinds[] = {0, PAGE_BRANCH, PAGE_LEAF, PAGE_OVERFLOW};
    static const struct action rollback = {"rollback", do_rollback};
    uint64_t random = seed;
    char saved[PATH_MAX];

    (void)state;
    add_generation(saved);
    bad = 0;
    assert_int_equal(in_child(do_rollback), TOOL_YES);
    for (size_t i = 0; i < n_bits; i++) {
        uint64_t bit = some_bit(kinds[i % 4], &random);

        copy_tree(saved, f.dir);
        flip("us/g-000001/data.mdb", image, bit, false);
        (void)try_action(&rollback, bit, false);
    }
    assert_int_equal(bad, 0);
}

static void bit_of_the_serving_generations_name_ends_nobody(void **state)
{
    static const unsigned char current[] = "g-000002\ng-000001\n";
    static const struct action actions[] = {
        {"stat", do_stat}, {"readers", do_readers}, {"open", do_open}, {"rollback", do_rollback}};
    char saved[PATH_MAX];
    char text[32];
    size_t size;

    (void)state;
    add_generation(saved);
    assert_int_equal(files_read(fixture_path(&f, "us"), "current", text, sizeof(text), &size, NULL),
                     0);
    assert_int_equal(size, sizeof(current) - 1);
    assert_memory_equal(text, current, size);
    bad = 0;
    for (uint64_t bit = 0; bit < (sizeof(current) - 1) * BYTE_BITS; bit++) {
        copy_tree(saved, f.dir);
        flip("us/current", current, bit, false);
        for (size_t j = 0; j < sizeof(actions) / sizeof(actions[0]); j++) {
            if (actions[j].run != ((seed + bit) % 2 == 0 ? do_open : do_rollback))
                (void)try_action(&actions[j], bit, false);
        }
    }
    assert_int_equal(bad, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bit_of_the_head_ends_no_command),
        TEST(bit_of_a_branch_ends_no_command_and_makes_none_lie),
        TEST(bit_of_a_leaf_ends_no_command_and_makes_none_lie),
        TEST(bit_of_a_values_own_page_ends_no_command_and_makes_none_lie),
        TEST(damaged_pages_are_named_and_lead_to_verify),
        TEST(bit_of_the_generation_before_ends_no_rollback),
        TEST(bit_of_the_serving_generations_name_ends_nobody),
    };
    const char *bits = getenv("BITS");
    const char *given = getenv("SEED");

    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    soak = getenv("REALMSTORE_SOAK") != NULL;
    n_bits = soak ? SOAK_BITS : SAMPLED_BITS;
    if (bits != NULL)
        n_bits = strtoull(bits, NULL, 10);
    return cmocka_run_group_tests_name("realmctl and damage", tests, NULL, NULL);
}

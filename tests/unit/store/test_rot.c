/* test_rot.c - one flipped bit anywhere in a file of several levels, and what the agent then does
 * with it: walk, repair, apply, compact.
 *
 * Whatever the bit is in, each of these ends, in time, with an answer or an error, and the process
 * lives. A walk that has nothing to report has seen as many records as there are.
 *
 * The bits of a page kind are tried in batches, each in a child process, so that its death by a
 * signal (one of them the alarm's) is seen and told. For each bit the file is put back as it was
 * and opened anew; the bit flips before that, or under the open file.
 *
 * REALMSTORE_SOAK=1 (`make soak`) tries some thousands of bits of each kind with every action, else
 * some with some, from SEED on; BITS=n says how many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <inttypes.h>
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

#include "store/bytes.h"
#include "store/files.h"
#include "store/lmdb_format.h"
#include "store/source_internal.h"
#include "tests/lib/child.h"
#include "tests/lib/random.h"
#include "tests/lib/store_fixture.h"

enum {
    OTHERS = 3000, /* consumers with a key each: branches in `lookup` and `consumers` */
    PAGE_BYTES = 4096,
    BYTE_BITS = 8,
    SLICES_MAX = 2000,
    BIT_SECONDS = 20, /* far more than anything takes */
    SAMPLED_BITS = 60,
    SOAK_BITS = 20000, /* of each kind: an hour or two in all */
    BATCH = 200
};

static struct fixture f;
static uint64_t seed;
static bool soak;
static size_t n_bits;
static unsigned char *image; /* of data.mdb, shared with the children */
static size_t image_bytes;
static uint64_t image_records; /* that a round of the walk sees */

/* Where a child is; it may die there. */
static struct told {
    _Atomic uint64_t bit;
    _Atomic uint64_t refused;
    _Atomic uint64_t silent;
} * told;

static const char *data_path(void)
{
    return fixture_path(&f, "us/g-000001/data.mdb");
}

/* ---- the store ---- */

static void fill(void)
{
    char name[32];

    fixture_load_empty(&f);
    fixture_begin(&f);
    for (unsigned realm = 1; realm <= 3; realm++)
        fixture_put_realm(f.source, realm);
    for (unsigned i = 0; i < OTHERS; i++) {
        (void)snprintf(name, sizeof(name), "user-%u", i);
        fixture_put_consumer(f.source, 1 + i % 3, 1000 + i, name);
        fixture_put_key(f.source, 1 + i % 3, 1000 + i, 100000 + i, name);
    }
    fixture_commit(&f);
    fixture_begin(&f); /* leaves free pages */
    for (unsigned i = 0; i < OTHERS; i += 7) {
        struct uuid id = fixture_uuid(1000 + i);
        struct error err = ERROR_INIT;

        assert_int_equal(source_delete_consumer(f.source, 1 + i % 3, &id, &err), 0);
    }
    fixture_commit(&f);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 2, 1, "last");
    fixture_commit(&f);
}

static int walk_round(uint64_t *ret_records, bool *ret_found)
{
    struct source_walked walked = {.records = 0};
    struct error err = ERROR_INIT;

    *ret_records = 0;
    *ret_found = false;
    for (int i = 0; i < SLICES_MAX && !walked.round_done; i++) {
        int rc = source_walk(f.source, &walked, &err);

        if (rc != 0)
            return rc;
        *ret_records += walked.records;
        *ret_found |= walked.mended || walked.differs;
    }
    return walked.round_done ? 0 : E_TIMEOUT;
}

static int set_up(void **state)
{
    struct stat file;
    bool found;
    int fd;

    (void)state;
    fixture_init(&f);
    f.clock = clock_system;
    if (access("/dev/shm", W_OK) == 0) {
        assert_int_equal(files_remove_tree(f.base, NULL), 0);
        (void)snprintf(f.base, sizeof(f.base), "/dev/shm/realmstore-test-XXXXXX");
        assert_non_null(mkdtemp(f.base));
        (void)snprintf(f.dir, sizeof(f.dir), "%s/store", f.base);
    }
    fixture_open(&f);
    fill();
    assert_int_equal(walk_round(&image_records, &found), 0);
    assert_int_equal(walk_round(&image_records, &found), 0);
    assert_false(found);
    fixture_close(&f);
    fd = open(data_path(), O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &file), 0);
    image_bytes = (size_t)file.st_size;
    image = mmap(NULL, image_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(image, MAP_FAILED);
    assert_int_equal(read(fd, image, image_bytes), image_bytes);
    assert_int_equal(close(fd), 0);
    told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(told, MAP_FAILED);
    (void)fprintf(stderr, "SEED=%" PRIu64 ", %zu pages\n", seed, image_bytes / PAGE_BYTES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(munmap(told, sizeof(*told)), 0);
    assert_int_equal(munmap(image, image_bytes), 0);
    fixture_finish(&f);
    return 0;
}

/* ---- what the agent does; each gives a code ---- */

/* Only a whole round tells something: what it does not report, it has to have seen. */
static int do_walk(void)
{
    uint64_t records;
    bool found;
    int rc = walk_round(&records, &found);

    if (rc == 0 && !found && records != image_records)
        _exit(3);
    atomic_fetch_add(&told->silent, rc == 0 && !found);
    return rc == E_TIMEOUT ? _exit(4), 0 : rc;
}

static void ignore_difference(void *context, const struct source_difference *difference)
{
    (void)context;
    (void)difference;
}

/* Scope 1 has nothing but one consumer in the buckets of the repair, which are all. */
static int do_repair(void)
{
    const struct model_realm realm = {
        .id = fixture_uuid(100), .number = 1, .ttl_min = 10, .name = "r", .region = "us"};
    const struct model_consumer consumer = {.id = fixture_uuid(1003), .username = "user-3"};
    const struct model_consumer *consumers[] = {&consumer};
    struct source_content content = {
        .scope = 1, .realm = &realm, .consumers = consumers, .n_consumers = 1};
    struct model_cursor cursor = {fixture_epoch(), f.version + 1};
    struct error err = ERROR_INIT;
    int rc = source_begin(f.source, &err);

    for (unsigned bucket = 0; bucket < SET_HASH_BUCKETS; bucket++)
        set_hash_mark(&content.buckets, bucket);
    if (rc == 0)
        rc = source_repair(f.source, &content, ignore_difference, NULL, &err);
    if (rc != 0) {
        source_abort(f.source);
        return rc;
    }
    return source_commit(f.source, &cursor, 1, &err);
}

static int apply_changes(struct error *err)
{
    const struct uuid consumer = fixture_uuid(1010);
    const struct model_consumer moved = {.id = fixture_uuid(1500), .username = "renamed"};
    const struct model_consumer added = {.id = fixture_uuid(2), .username = "added"};
    int rc = source_delete_consumer(f.source, 1 + 10 % 3, &consumer, err);

    if (rc == 0)
        rc = source_put_consumer(f.source, 1 + 500 % 3, &moved, err);
    if (rc == 0)
        rc = source_put_consumer(f.source, 2, &added, err);
    for (unsigned i = 0; rc == 0 && i < 20; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "added-%u", i);
        rc = fixture_try_key(f.source, 2, 2, 50 + i, name, 0, err);
    }
    return rc == 0 ? source_delete_realm(f.source, 3, err) : rc;
}

static int do_apply(void)
{
    struct model_cursor cursor = {fixture_epoch(), f.version + 1};
    struct error err = ERROR_INIT;
    int rc = source_begin(f.source, &err);

    if (rc == 0)
        rc = apply_changes(&err);
    if (rc != 0) {
        source_abort(f.source);
        return rc;
    }
    rc = source_commit(f.source, &cursor, 1, &err);
    f.version++;
    return rc;
}

/* Pages that the first commit took are used by the second. */
static int do_apply_twice(void)
{
    int rc = do_apply();

    return rc == 0 ? do_repair() : rc;
}

static int do_compact(void)
{
    struct error err = ERROR_INIT;

    return source_compact(f.source, &err);
}

static int (*const actions[])(void) = {do_walk, do_repair, do_apply, do_apply_twice, do_compact};
enum { ACTIONS = sizeof(actions) / sizeof(actions[0]) };

/* ---- one bit ---- */

static void write_file(const unsigned char *bytes, size_t size, off_t at)
{
    int fd = open(data_path(), O_WRONLY | O_CREAT | O_CLOEXEC, 0640);

    if (fd < 0 || pwrite(fd, bytes, size, at) != (ssize_t)size)
        _exit(5);
    (void)close(fd);
}

static void flip(uint64_t bit)
{
    unsigned char byte = image[bit / 8] ^ (unsigned char)(1U << bit % 8);

    write_file(&byte, 1, (off_t)(bit / 8));
}

/* The generation as it was; it may be gone, and others may have come. */
static void restore(void)
{
    static const char current[] = "g-000001\n";
    const char *dir = fixture_path(&f, "us/g-000001");

    if (files_make_dir(dir, FILES_NO_GROUP, NULL) != 0 ||
        files_write(dir, "digest.key", fixture_digest_key, DIGEST_KEY_BYTES, FILES_NO_GROUP,
                    NULL) != 0)
        _exit(5);
    write_file(image, image_bytes, 0);
    (void)unlink(fixture_path(&f, "status")); /* it names the generation that came meanwhile */
    if (files_write(fixture_path(&f, "us"), "current", current, sizeof(current) - 1, FILES_NO_GROUP,
                    NULL) != 0 ||
        truncate(data_path(), (off_t)image_bytes) != 0)
        _exit(5);
}

static void try_bit(uint64_t bit, int (*action)(void), bool under_open)
{
    struct store_options options = fixture_options(&f);
    struct error discarded = ERROR_INIT;
    struct error err = ERROR_INIT;
    int rc;

    (void)alarm(BIT_SECONDS);
    restore();
    if (!under_open)
        flip(bit);
    if (store_open(&options, &f.store, &err) != 0 ||
        source_open(f.store, "us", &f.source, &discarded, &err) != 0) {
        if (err.code != E_CORRUPT && err.code != E_FORMAT && err.code != E_EXISTS_ELSEWHERE)
            (void)fprintf(stderr, "open: %s\n", err.message);
        atomic_fetch_add(&told->refused, 1);
        store_close(f.store);
        f.store = NULL;
        return;
    }
    if (under_open)
        flip(bit);
    rc = discarded.code != 0 ? discarded.code : action();
    atomic_fetch_add(&told->refused, rc != 0);
    fixture_close(&f);
}

/* ---- all bits of a kind ---- */

/* Which page kinds: the head, branches, leaves, values with pages of their own, free ones. */
static bool is_of(uint64_t page, unsigned kind)
{
    const unsigned char *at = image + page * PAGE_BYTES;
    uint16_t flags;

    memcpy(&flags, at + PAGE_AT_FLAGS, sizeof(flags));
    if (page < META_PAGES || kind == 0)
        return page < META_PAGES && kind == 0;
    return flags == kind && bytes_get_u64(at + PAGE_AT_NUMBER) == page;
}

/* Heads, pointers and nodes; of a value the head of its first page alone: what it holds has
 * checksums (test_damage.c). */
static bool is_used(uint64_t page, unsigned kind, size_t byte)
{
    uint16_t lower;
    uint16_t upper;

    if (kind == 0)
        return byte < META_BYTES;
    memcpy(&lower, image + page * PAGE_BYTES + PAGE_AT_LOWER, sizeof(lower));
    memcpy(&upper, image + page * PAGE_BYTES + PAGE_AT_UPPER, sizeof(upper));
    return byte < PAGE_HEAD_BYTES || (kind != PAGE_OVERFLOW && (byte < lower || byte >= upper));
}

struct bits {
    uint64_t *items; /* owned */
    size_t n;
};

static struct bits bits_of(unsigned kind)
{
    struct bits bits = {malloc(image_bytes * BYTE_BITS * sizeof(*bits.items)), 0};
    uint64_t random = seed + kind;

    assert_non_null(bits.items);
    for (uint64_t page = 0; page < image_bytes / PAGE_BYTES; page++) {
        for (size_t byte = 0; is_of(page, kind) && byte < PAGE_BYTES; byte++) {
            for (size_t bit = 0; is_used(page, kind, byte) && bit < BYTE_BITS; bit++)
                bits.items[bits.n++] = (page * PAGE_BYTES + byte) * BYTE_BITS + bit;
        }
    }
    for (size_t i = 0; i < n_bits && i < bits.n; i++) {
        size_t other = i + random_below(&random, bits.n - i);
        uint64_t kept = bits.items[i];

        bits.items[i] = bits.items[other];
        bits.items[other] = kept;
    }
    if (bits.n > n_bits)
        bits.n = n_bits;
    return bits;
}

static void run_batch(const struct bits *bits, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        for (size_t j = 0; j < ACTIONS; j++) {
            if (!soak && (i + j) % 2 != 0)
                continue;
            atomic_store(&told->bit, bits->items[i] * ACTIONS + j);
            try_bit(bits->items[i], actions[j], (i + j / 2) % 2 == 0);
        }
    }
}

static void try_kind(unsigned kind)
{
    static const char *const names[] = {"walk", "repair", "apply", "apply and repair", "compact"};
    struct bits bits = bits_of(kind);
    unsigned deaths = 0;

    assert_true(bits.n > 0);
    for (size_t from = 0; from < bits.n; from += BATCH) {
        size_t to = from + BATCH < bits.n ? from + BATCH : bits.n;
        int status;
        pid_t pid = child_fork();

        assert_true(pid >= 0);
        if (pid == 0) {
            run_batch(&bits, from, to);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            uint64_t at = atomic_load(&told->bit);
            uint64_t bit = at / ACTIONS;

            (void)fprintf(stderr,
                          "SEED=%" PRIu64 ": %s, page %" PRIu64 ", byte %" PRIu64 ", bit %" PRIu64
                          ": ended with status %x\n",
                          seed, names[at % ACTIONS], bit / 8 / PAGE_BYTES, bit / 8 % PAGE_BYTES,
                          bit % 8, (unsigned)status);
            deaths++;
        }
    }
    (void)fprintf(stderr, "%zu bits: %" PRIu64 " refused, %" PRIu64 " walks silent\n", bits.n,
                  atomic_exchange(&told->refused, 0), atomic_exchange(&told->silent, 0));
    free(bits.items);
    assert_int_equal(deaths, 0);
}

static void bit_of_the_head_may_flip(void **state)
{
    (void)state;
    try_kind(0);
}

static void bit_of_a_branch_may_flip(void **state)
{
    (void)state;
    try_kind(PAGE_BRANCH);
}

static void bit_of_a_leaf_may_flip(void **state)
{
    (void)state;
    try_kind(PAGE_LEAF);
}

static void bit_of_a_values_own_page_may_flip(void **state)
{
    (void)state;
    try_kind(PAGE_OVERFLOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bit_of_the_head_may_flip),
        cmocka_unit_test(bit_of_a_branch_may_flip),
        cmocka_unit_test(bit_of_a_leaf_may_flip),
        cmocka_unit_test(bit_of_a_values_own_page_may_flip),
    };
    const char *given = getenv("SEED");
    const char *bits = getenv("BITS");

    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    soak = getenv("REALMSTORE_SOAK") != NULL;
    n_bits = soak ? SOAK_BITS : SAMPLED_BITS;
    if (bits != NULL)
        n_bits = strtoull(bits, NULL, 10);
    return cmocka_run_group_tests_name("rot", tests, set_up, tear_down);
}

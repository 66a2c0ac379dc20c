/* test_lookup.c - the table `lookup`: buckets that lie, records that move, reading without cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <cmocka.h>

#include "store/bucket.h"
#include "store/files.h"
#include "tests/lib/child.h"
#include "tests/lib/store_fixture.h"
#include "tools/verify.h"

static struct fixture f;

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_finish(&f);
    return 0;
}

/* ---- buckets ---- */

static void add(struct bucket_draft *draft, const struct entry *entry)
{
    struct buffer bytes;

    buffer_init(&bytes, ENTRY_MAX_BYTES);
    assert_int_equal(entry_pack(entry, &bytes), 0);
    assert_true(entry_check(bytes.data, bytes.size));
    assert_int_equal(bucket_draft_add(draft, bytes.data, bytes.size), 0);
    buffer_finish(&bytes);
}

/* A key with its record, one that refers, and the consumer it refers to. */
static void make_bucket(struct buffer *value)
{
    static const uint8_t names[2][ENTRY_NAME_BYTES] = {{1, 2, 3}, {1, 2, 4}};
    static const char *const groups[] = {"gold", "beta"};
    const struct model_consumer consumer = {
        .id = fixture_uuid(1), .username = "alice", .groups = {groups, 2}};
    uint8_t name[ENTRY_NAME_BYTES];
    struct bucket_draft draft;
    struct buffer record;

    buffer_init(&record, RECORD_MAX_BYTES);
    buffer_init(value, BUCKET_MAX_BYTES);
    bucket_draft_init(&draft);
    assert_int_equal(record_encode_consumer(&consumer, &record), 0);
    entry_name_of_consumer(7, &consumer.id, name);
    assert_true(name[0] > 1);
    add(&draft, &(struct entry){.kind = ENTRY_KEY_RECORD,
                                .scope = 7,
                                .name = names[0],
                                .key_id = fixture_uuid(11),
                                .record = record.data,
                                .record_size = record.size});
    add(&draft, &(struct entry){.kind = ENTRY_KEY_REFERENCE,
                                .scope = 7,
                                .name = names[1],
                                .key_id = fixture_uuid(12),
                                .consumer_id = consumer.id});
    add(&draft, &(struct entry){.kind = ENTRY_CONSUMER,
                                .scope = 7,
                                .name = name,
                                .record = record.data,
                                .record_size = record.size});
    assert_int_equal(bucket_build(&draft, 0, 3, 0, UINT64_MAX, value), 0);
    assert_int_equal(value->size, BUCKET_ONE_PAGE_BYTES);
    bucket_draft_finish(&draft);
    buffer_finish(&record);
}

static size_t length_of(const char *text)
{
    return text != NULL ? strlen(text) : 0;
}

/* Reads all that a lookup would; AddressSanitizer watches. */
static size_t read_all(const unsigned char *value, size_t size)
{
    size_t sum = 0;

    for (size_t i = 0; i < bucket_count(value, size); i++) {
        size_t room = 0;
        const unsigned char *bytes = bucket_at(value, size, i, &room);
        struct record_consumer consumer;
        struct entry entry;
        bool damaged;

        if (bytes == NULL || !entry_view(bytes, room, &entry))
            continue;
        (void)bucket_find(value, size, entry.name, entry.scope, false, &room, &damaged);
        if (entry.record == NULL ||
            !record_view_consumer(entry.record, entry.record_size, &consumer))
            continue;
        sum += length_of(consumer.username) + length_of(consumer.custom_id);
        for (size_t j = 0; j < consumer.groups.count; j++)
            sum += length_of(record_strings_get(&consumer.groups, j));
    }
    return sum;
}

static void no_flipped_bit_of_a_bucket_is_missed_or_reads_outside(void **state)
{
    struct buffer value;
    unsigned char *copy;

    (void)state;
    make_bucket(&value);
    assert_true(bucket_check(value.data, value.size, 0, UINT64_MAX));
    copy = malloc(value.size);
    assert_non_null(copy);
    for (size_t bit = 0; bit < value.size * 8; bit++) {
        memcpy(copy, value.data, value.size);
        copy[bit / 8] ^= (unsigned char)(1u << bit % 8);
        if (bucket_check(copy, value.size, 0, UINT64_MAX))
            fail_msg("bit %zu is missed", bit);
        (void)read_all(copy, value.size);
    }
    free(copy);
    buffer_finish(&value);
}

/* Earlier versions of the agent left zeros where the range is. */
static void bucket_without_a_range_proves_a_miss_by_all_its_entries(void **state)
{
    struct buffer value;
    uint64_t first;
    uint64_t last;

    (void)state;
    make_bucket(&value);
    assert_true(bucket_range(value.data, value.size, &first, &last));
    assert_true(first == 0 && last == UINT64_MAX);
    memset(value.data + value.size - BUCKET_RANGE_BYTES, 0, BUCKET_RANGE_BYTES);
    assert_false(bucket_range(value.data, value.size, &first, &last));
    assert_true(bucket_check(value.data, value.size, 5, 6));
    for (size_t bit = 0; bit < value.size * 8; bit++) {
        assert_true(bucket_covers(value.data, value.size, bit));
        value.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_false(bucket_covers(value.data, value.size, bit));
        value.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    buffer_finish(&value);
}

static void bucket_proves_nothing_outside_its_range(void **state)
{
    struct bucket_draft draft;
    struct buffer value;

    (void)state;
    make_bucket(&value);
    bucket_draft_init(&draft);
    assert_int_equal(bucket_draft_edit(&draft, value.data, value.size, NULL, NULL), 0);
    assert_int_equal(bucket_build(&draft, 0, 3, 100, UINT64_MAX - 1, &value), 0);
    assert_false(bucket_covers(value.data, value.size, 99));
    assert_true(bucket_covers(value.data, value.size, 100));
    assert_true(bucket_covers(value.data, value.size, UINT64_MAX - 1));
    assert_false(bucket_covers(value.data, value.size, UINT64_MAX));
    assert_true(bucket_check(value.data, value.size, 100, UINT64_MAX - 1));
    assert_true(bucket_check(value.data, value.size, 101, UINT64_MAX - 1));
    assert_false(bucket_check(value.data, value.size, 99, UINT64_MAX - 1));
    assert_false(bucket_check(value.data, value.size, 100, UINT64_MAX));
    bucket_draft_finish(&draft);
    buffer_finish(&value);
}

static void every_truncation_of_a_bucket_is_refused(void **state)
{
    struct buffer value;

    (void)state;
    make_bucket(&value);
    for (size_t size = 0; size < value.size; size++) {
        unsigned char *cut = malloc(size > 0 ? size : 1);

        assert_non_null(cut);
        memcpy(cut, value.data, size);
        assert_false(bucket_check(cut, size, 0, UINT64_MAX));
        (void)read_all(cut, size);
        free(cut);
    }
    buffer_finish(&value);
}

/* ---- records that move ---- */

static void count_fault(void *context, const struct tool_source *source, const char *table,
                        const char *text)
{
    (void)context;
    (void)source;
    fail_msg("%s: %s", table, text);
}

/* The store holds together; the source must be closed. */
static void verify(void)
{
    const struct verify_sink sink = {.fault = count_fault};
    struct error err = ERROR_INIT;
    struct tool_sources sources;

    if (sources_open(f.dir, &sources, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(sources.n, 1);
    assert_int_equal(verify_source(&sources.items[0], &sink, &err), 0);
    sources_close(&sources);
}

/* What the key leads to: a username, or NULL. */
static const char *look_up(const char *secret)
{
    static char name[64];
    const rs_source source = fixture_realm_source(7);
    rs_snapshot *snapshot;
    rs_consumer consumer;
    rs_store *store;
    int rc;

    assert_int_equal(rs_open(&store, f.dir, NULL), 0);
    assert_int_equal(rs_begin(store, &snapshot), 0);
    rc = rs_lookup(snapshot, &source, 1, secret, strlen(secret), &consumer);
    assert_true(rc == RS_FOUND || rc == RS_NOT_FOUND || rc == RS_STALE);
    if (rs_consumer_id(&consumer) != NULL)
        (void)snprintf(name, sizeof(name), "%s", rs_consumer_username(&consumer));
    else
        name[0] = 0;
    rs_end(snapshot);
    rs_close(store);
    return name[0] != 0 ? name : NULL;
}

static void secret_of(unsigned n, char secret[32])
{
    (void)snprintf(secret, 32, "secret-%u", n);
}

static void expect_keys(unsigned n_keys, const char *username)
{
    char secret[32];

    fixture_close(&f);
    verify();
    for (unsigned i = 1; i <= 5; i++) {
        const char *found;

        secret_of(i, secret);
        found = look_up(secret);
        if (i > n_keys)
            assert_null(found);
        else
            assert_string_equal(found, username);
    }
    fixture_open(&f);
}

static void record_follows_the_number_of_keys(void **state)
{
    struct error err = ERROR_INIT;
    const struct uuid carol = fixture_uuid(3);
    char secret[32];

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 3, "carol");
    fixture_commit(&f);
    for (unsigned n = 1; n <= 5; n++) {
        fixture_begin(&f);
        secret_of(n, secret);
        fixture_put_key(f.source, 7, 3, 30 + n, secret);
        fixture_commit(&f);
        expect_keys(n, "carol");
        fixture_begin(&f);
        fixture_put_consumer(f.source, 7, 3, n % 2 == 0 ? "carol" : "caroline");
        fixture_commit(&f);
        expect_keys(n, n % 2 == 0 ? "carol" : "caroline");
        fixture_begin(&f);
        fixture_put_consumer(f.source, 7, 3, "carol");
        fixture_commit(&f);
    }
    for (unsigned n = 5; n >= 1; n--) {
        const struct uuid key = fixture_uuid(30 + n);

        fixture_begin(&f);
        assert_int_equal(source_delete_key(f.source, 7, &carol, &key, &err), 0);
        fixture_commit(&f);
        expect_keys(n - 1, "carol");
    }
    assert_int_equal(source_counts(f.source).keys, 2);
}

static void long_record_stands_apart_from_its_keys(void **state)
{
    char name[MODEL_NAME_MAX + 1];
    char secret[32];

    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 3, name);
    secret_of(1, secret);
    fixture_put_key(f.source, 7, 3, 31, secret);
    fixture_commit(&f);
    fixture_close(&f);
    verify();
    assert_non_null(look_up(secret));
    fixture_open(&f);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 3, "short");
    fixture_commit(&f);
    expect_keys(1, "short");
}

/* Consumers [from, to) with a key each, and each third with four. */
static void put_many(unsigned from, unsigned to)
{
    fixture_begin(&f);
    for (unsigned n = from; n < to; n++) {
        char secret[32];

        fixture_put_consumer(f.source, 7, n, "many");
        for (unsigned k = 0; k < (n % 3 == 0 ? 4 : 1); k++) {
            secret_of(n * 10 + k, secret);
            fixture_put_key(f.source, 7, n, 1000000 + n * 10 + k, secret);
        }
    }
    fixture_commit(&f);
}

static void buckets_split_and_merge_without_losing_a_key(void **state)
{
    enum { FROM = 100, TO = 1100 };
    struct error err = ERROR_INIT;
    char secret[32];

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    put_many(FROM, TO);
    fixture_close(&f);
    verify();
    for (unsigned n = FROM; n < TO; n += 50) {
        secret_of(n * 10, secret);
        assert_string_equal(look_up(secret), "many");
    }
    fixture_open(&f);
    for (unsigned n = FROM; n < TO; n++) {
        const struct uuid id = fixture_uuid(n);

        if (n % 250 == 0) {
            fixture_close(&f);
            verify();
            fixture_open(&f);
        }
        fixture_begin(&f);
        assert_int_equal(source_delete_consumer(f.source, 7, &id, &err), 0);
        fixture_commit(&f);
    }
    assert_int_equal(source_counts(f.source).keys, 2);
    fixture_close(&f);
    verify();
    assert_string_equal(look_up("alice-key"), "alice");
}

/* ---- a reader's cost ---- */

/* Sanitizers bring an allocator of their own, which cannot be stood in front of, and make system
 * calls of their own. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/* From here on every system call but the end ends the process. Not the strict mode, which forbids
 * reading the processor's clock too. */
static int forbid_system_calls(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog program = {sizeof(rules) / sizeof(rules[0]), rules};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int read_without_system_calls(void)
{
    const rs_source source = fixture_realm_source(7);
    rs_snapshot *snapshot;
    rs_consumer consumer;
    rs_store *store;
    int found = RS_NOT_FOUND;

    if (rs_open(&store, f.dir, NULL) != 0)
        return 1;
    for (int i = 0; i < 100; i++) {
        if (rs_begin(store, &snapshot) != 0)
            return 2;
        found = rs_lookup(snapshot, &source, 1, i % 2 == 0 ? "alice-key" : "nobody",
                          i % 2 == 0 ? 9 : 6, &consumer);
        (void)rs_consumer_credential_id(&consumer);
        rs_end(snapshot);
        if (i == 0 && forbid_system_calls() != 0)
            return 3;
    }
    return found >= 0 ? 0 : 4;
}

static void lookups_make_no_system_call(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(read_without_system_calls());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static unsigned long allocations;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void __libc_free(void *memory);

/* In front of the C library's, for liblmdb and libcrypto too. */
void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    allocations++;
    return __libc_realloc(memory, size);
}

void free(void *memory)
{
    allocations++;
    __libc_free(memory);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    allocations++;
    return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

static void lookups_allocate_nothing(void **state)
{
    const rs_source source = fixture_realm_source(7);
    unsigned long before = 0;
    rs_snapshot *snapshot;
    rs_consumer consumer;
    rs_store *store;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    assert_int_equal(rs_open(&store, f.dir, NULL), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(rs_begin(store, &snapshot), 0);
        (void)rs_lookup(snapshot, &source, 1, "alice-key", 9, &consumer);
        assert_non_null(rs_consumer_id(&consumer));
        (void)rs_consumer_credential_id(&consumer);
        (void)rs_consumer_group(&consumer, 0);
        rs_end(snapshot);
        if (i == 0)
            before = allocations; /* the first snapshot is made, then used again and again */
    }
    assert_true(before > 0);
    assert_int_equal(allocations, before);
    rs_close(store);
}

#else

static void lookups_make_no_system_call(void **state)
{
    (void)state;
    skip();
}

static void lookups_allocate_nothing(void **state)
{
    (void)state;
    skip();
}

#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_flipped_bit_of_a_bucket_is_missed_or_reads_outside),
        cmocka_unit_test(bucket_without_a_range_proves_a_miss_by_all_its_entries),
        cmocka_unit_test(bucket_proves_nothing_outside_its_range),
        cmocka_unit_test(every_truncation_of_a_bucket_is_refused),
        TEST(record_follows_the_number_of_keys),
        TEST(long_record_stands_apart_from_its_keys),
        TEST(buckets_split_and_merge_without_losing_a_key),
        TEST(lookups_make_no_system_call),
        TEST(lookups_allocate_nothing),
    };

    return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}

/* test_store_golden.c - every byte of every table, as docs/store-format.md describes it.
 *
 * One small store with each kind of record and entry, made by live changes and by a full load, is
 * written out as text and compared with tests/data/store.txt. REALMSTORE_GOLDEN=print shows the
 * text, to make a new file from after a format change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "store/bucket.h"
#include "store/generation.h"
#include "store/trees.h"
#include "tests/lib/store_fixture.h"

enum { TEXT_MAX = 1 << 20, LINE_BYTES = 16, COMMIT_MS = 1700000000 };

static struct fixture f;

static int setup(void **state)
{
    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_finish(&f);
    return 0;
}

/* ---- the store ---- */

static const char *const tags[] = {"blue"};
static const char *const groups[] = {"gold", "eu"};
static const struct model_cursor cursor = {{{0x01, 0x90, 0, 0, 0, 0, 0x70, 0, 0x80}}, 2};

/* One key with tags and expiry, three keys, no key, and a key in the control plane's own scope. */
static const struct person {
    uint32_t scope;
    unsigned consumer;
    const char *username;
    unsigned first_key;
    unsigned n_keys;
    bool rich;
} people[] = {
    {MODEL_SCOPE_CP, 2, "bob", 22, 1, false},
    {7, 1, "alice", 11, 1, true},
    {7, 3, "carol", 31, 3, false},
    {7, 4, "dave", 0, 0, false},
};
enum { PEOPLE = sizeof(people) / sizeof(people[0]) };

static const struct model_realm realm = {
    .id = {{0x2b, 0x9c, 0, 0, 0, 0, 0x70, 0, 0x80}},
    .number = 7,
    .ttl_min = 10,
    .negative_ttl_min = 5,
    .name = "people",
    .region = "us",
    .groups = {groups, 2},
};

static struct model_consumer consumer_of(const struct person *person)
{
    struct model_consumer consumer = {.id = fixture_uuid(person->consumer),
                                      .username = person->username};

    if (person->rich) {
        consumer.custom_id = "crm-17";
        consumer.tags = (struct model_strings){tags, 1};
        consumer.groups = (struct model_strings){groups, 2};
    }
    return consumer;
}

static struct model_key key_of(const struct person *person, unsigned i)
{
    struct model_key key = {.id = fixture_uuid(person->first_key + i),
                            .consumer_id = fixture_uuid(person->consumer)};
    char secret[32];

    (void)snprintf(secret, sizeof(secret), "%s-%u", person->username, i);
    fixture_digest(secret, key.digest);
    if (person->rich) {
        key.expires_at_ms = 1900000000000;
        key.tags = (struct model_strings){tags, 1};
    }
    return key;
}

static void make_by_changes(void)
{
    struct error err = ERROR_INIT;

    fixture_load_empty(&f);
    fixture_begin(&f);
    assert_int_equal(source_put_realm(f.source, &realm, &err), 0);
    for (int i = 0; i < PEOPLE; i++) {
        const struct model_consumer consumer = consumer_of(&people[i]);

        assert_int_equal(source_put_consumer(f.source, people[i].scope, &consumer, &err), 0);
    }
    for (int i = 0; i < PEOPLE; i++) {
        for (unsigned k = 0; k < people[i].n_keys; k++) {
            const struct model_key key = key_of(&people[i], k);

            assert_int_equal(source_put_key(f.source, people[i].scope, &key, &err), 0);
        }
    }
    assert_int_equal(source_commit(f.source, &cursor, COMMIT_MS, &err), 0);
}

static void load(enum record_kind kind, uint32_t scope, struct buffer *record, int rc)
{
    struct error err = ERROR_INIT;

    assert_int_equal(rc, 0);
    if (source_load_record(f.source, kind, scope, record->data, record->size, &err) != 0)
        fail_msg("%s", err.message);
    buffer_clear(record);
}

static void make_by_load(void)
{
    struct source_counts counts = {.realms = 1, .consumers = PEOPLE};
    struct error err = ERROR_INIT;
    struct buffer record;

    buffer_init(&record, RECORD_MAX_BYTES);
    assert_int_equal(source_load_begin(f.source, fixture_digest_key, &err), 0);
    load(RECORD_REALM, realm.number, &record, record_encode_realm(&realm, &record));
    for (int i = 0; i < PEOPLE; i++) {
        const struct model_consumer consumer = consumer_of(&people[i]);

        load(RECORD_CONSUMER, people[i].scope, &record, record_encode_consumer(&consumer, &record));
        for (unsigned k = 0; k < people[i].n_keys; k++) {
            const struct model_key key = key_of(&people[i], k);

            load(RECORD_KEY, people[i].scope, &record, record_encode_key(&key, &record));
            counts.keys++;
        }
    }
    if (source_load_publish(f.source, &cursor, COMMIT_MS, &counts, &err) != 0)
        fail_msg("%s", err.message);
    buffer_finish(&record);
}

/* ---- its text ---- */

static void say(struct buffer *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct buffer *text, const char *format, ...)
{
    char line[128];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    assert_in_range(length, 0, sizeof(line) - 1);
    assert_int_equal(buffer_append(text, line, (size_t)length), 0);
}

/* How many whole lines from `at` on are zero. */
static size_t zero_lines(const MDB_val *value, size_t at)
{
    static const unsigned char zeros[LINE_BYTES];
    const unsigned char *bytes = value->mv_data;
    size_t lines = 0;

    while (value->mv_size - at >= LINE_BYTES && memcmp(bytes + at, zeros, LINE_BYTES) == 0) {
        lines++;
        at += LINE_BYTES;
    }
    return lines;
}

static void say_bytes(struct buffer *text, const MDB_val *value)
{
    const unsigned char *bytes = value->mv_data;

    for (size_t at = 0; at < value->mv_size; at += LINE_BYTES) {
        size_t size = value->mv_size - at < LINE_BYTES ? value->mv_size - at : LINE_BYTES;
        size_t zeros = zero_lines(value, at);

        if (zeros > 1) {
            say(text, "  %04zx  zeros to %04zx\n", at, at + zeros * LINE_BYTES);
            at += (zeros - 1) * LINE_BYTES;
            continue;
        }
        say(text, "  %04zx ", at);
        for (size_t i = 0; i < size; i++)
            say(text, " %02x", bytes[at + i]);
        say(text, "\n");
    }
}

static struct trees trees;

static void say_table(struct buffer *text, enum table table)
{
    struct tree_walk walk;
    int rc;

    say(text, "table %s\n",
        env_table_name(table) != NULL ? env_table_name(table) : "without a name");
    for (rc = tree_walk_begin(&walk, &trees.tables[table], env_val("", 0)); rc == 0;
         rc = tree_walk_next(&walk)) {
        if (table == TABLE_LOOKUP &&
            ((unsigned char *)walk.key.mv_data)[0] != BUCKET_KEY_FIRST_BYTE)
            continue; /* the other tables' names; what they say is LMDB's */
        say(text, " key\n");
        say_bytes(text, &walk.key);
        say(text, " value\n");
        say_bytes(text, &walk.value);
    }
    assert_int_equal(rc, E_NOT_FOUND);
}

/* Of generation `number`; the store is closed. */
static void say_store(struct buffer *text, uint32_t number)
{
    struct generation generation;
    struct error err = ERROR_INIT;
    struct tree unnamed;
    MDB_txn *txn;

    if (generation_open_reader(fixture_path(&f, "us"), number, &generation, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(env_begin_pages(&generation.env, &txn, &unnamed), 0);
    assert_int_equal(trees_open_snapshot(&trees, &unnamed, mdb_txn_id(txn), &err), 0);
    for (int table = 0; table < TABLES; table++)
        say_table(text, (enum table)table);
    mdb_txn_abort(txn);
    generation_close(&generation);
    assert_int_equal(buffer_append(text, "", 1), 0);
}

static void read_golden(struct buffer *text)
{
    FILE *file = fopen("tests/data/store.txt", "r");
    char line[128];

    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        assert_int_equal(buffer_append(text, line, strlen(line)), 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(buffer_append(text, "", 1), 0);
}

static void expect_golden(uint32_t number)
{
    struct buffer wanted;
    struct buffer seen;

    buffer_init(&wanted, TEXT_MAX);
    buffer_init(&seen, TEXT_MAX);
    fixture_close(&f);
    say_store(&seen, number);
    if (getenv("REALMSTORE_GOLDEN") != NULL)
        (void)fputs((const char *)seen.data, stdout);
    read_golden(&wanted);
    assert_string_equal((const char *)seen.data, (const char *)wanted.data);
    buffer_finish(&seen);
    buffer_finish(&wanted);
}

static void changes_write_the_golden_bytes(void **state)
{
    (void)state;
    make_by_changes();
    expect_golden(1);
}

static void load_writes_the_golden_bytes(void **state)
{
    (void)state;
    make_by_load();
    expect_golden(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changes_write_the_golden_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(load_writes_the_golden_bytes, setup, teardown),
    };

    return cmocka_run_group_tests_name("the store's bytes", tests, NULL, NULL);
}

/* test_source.c - the writing side: what is durable, what is refused, what a crash leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "store/status.h"
#include "tests/lib/child.h"
#include "tests/lib/store_check.h"
#include "tests/lib/store_fixture.h"

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

static void assert_counts(uint64_t realms, uint64_t consumers, uint64_t keys)
{
    struct source_counts counts = source_counts(f.source);

    assert_int_equal(counts.realms, realms);
    assert_int_equal(counts.consumers, consumers);
    assert_int_equal(counts.keys, keys);
}

/* Opens the source, which must come up empty, and gives the reason. */
static void open_discarding(struct error *discarded)
{
    struct store_options options = fixture_options(&f);
    struct error err = ERROR_INIT;

    assert_int_equal(store_open(&options, &f.store, &err), 0);
    if (source_open(f.store, "us", &f.source, discarded, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(source_visible(f.source).version, 0);
    assert_int_equal(source_begin(f.source, &err), E_NOT_READY);
}

/* ---- opening ---- */

static void new_source_has_no_cursor_and_takes_no_changes(void **state)
{
    struct error err = ERROR_INIT;
    struct model_cursor cursor;

    (void)state;
    fixture_open(&f);
    cursor = source_visible(f.source);
    assert_true(uuid_is_nil(&cursor.epoch));
    assert_int_equal(source_begin(f.source, &err), E_NOT_READY);
    assert_string_equal(source_region(f.source), "us");
}

static void cursor_and_counts_survive_a_restart(void **state)
{
    struct uuid epoch = fixture_epoch();
    struct model_cursor cursor;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f);
    fixture_open(&f);
    cursor = source_visible(f.source);
    assert_int_equal(cursor.version, f.version);
    assert_true(uuid_equal(&cursor.epoch, &epoch));
    assert_counts(1, 2, 2);
}

static void second_agent_is_refused_by_pid(void **state)
{
    struct store_options options;
    struct error err = ERROR_INIT;
    struct store *second;
    char pid[32];

    (void)state;
    fixture_open(&f);
    options = fixture_options(&f);
    (void)snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
    assert_int_equal(store_open(&options, &second, &err), E_LOCKED);
    assert_non_null(strstr(err.message, pid));
}

static void store_of_another_control_plane_is_refused(void **state)
{
    struct store_options options = fixture_options(&f);
    struct error err = ERROR_INIT;
    struct store *store;

    (void)state;
    fixture_open(&f);
    fixture_close(&f);
    options.control_plane_id = fixture_uuid(1);
    assert_int_equal(store_open(&options, &store, &err), E_EXISTS_ELSEWHERE);
}

static void data_of_another_control_plane_is_kept_even_without_status(void **state)
{
    struct store_options options = fixture_options(&f);
    struct error err = ERROR_INIT;
    struct source *source;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f);
    assert_int_equal(unlink(fixture_path(&f, "status")), 0);
    options.control_plane_id = fixture_uuid(1);
    assert_int_equal(store_open(&options, &f.store, &err), 0);
    assert_int_equal(source_open(f.store, "us", &source, NULL, &err), E_EXISTS_ELSEWHERE);
    assert_int_equal(access(fixture_path(&f, "us/g-000001/data.mdb"), F_OK), 0);
}

static void unknown_group_is_named(void **state)
{
    struct store_options options = fixture_options(&f);
    struct error err = ERROR_INIT;
    struct store *store;

    (void)state;
    options.reader_group = "no-such-group";
    assert_int_equal(store_open(&options, &store, &err), E_NOT_FOUND);
    assert_non_null(strstr(err.message, "no-such-group"));
}

static void bad_region_names_are_refused(void **state)
{
    static const char *const bad[] = {"", "..", "a/b", "US", "us.1"};
    struct error err = ERROR_INIT;
    struct source *source;

    (void)state;
    fixture_open(&f);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(source_open(f.store, bad[i], &source, NULL, &err), E_INVALID);
    assert_int_equal(source_open(f.store, "us", &source, NULL, &err), E_BUSY);
}

static mode_t mode_of(const char *name)
{
    struct stat status;

    assert_int_equal(stat(fixture_path(&f, name), &status), 0);
    return status.st_mode & 07777;
}

static void modes_do_not_depend_on_the_umask(void **state)
{
    mode_t former = umask(0077);

    (void)state;
    fixture_open(&f);
    fixture_load_empty(&f);
    (void)umask(former);
    assert_int_equal(mode_of("."), 02750);
    assert_int_equal(mode_of("us"), 02750);
    assert_int_equal(mode_of("us/g-000001"), 02750);
    assert_int_equal(mode_of("us/g-000001/data.mdb"), 0640);
    assert_int_equal(mode_of("us/g-000001/lock.mdb"), 0660);
    assert_int_equal(mode_of("us/g-000001/digest.key"), 0640);
    assert_int_equal(mode_of("status"), 0640);
}

static void pruning_removes_regions_that_are_not_open(void **state)
{
    struct error err = ERROR_INIT;
    struct source *other;

    (void)state;
    fixture_open(&f);
    assert_int_equal(source_open(f.store, "eu", &other, NULL, &err), 0);
    fixture_load_empty_source(other, 1);
    source_close(other);
    assert_int_equal(store_prune(f.store, &err), 0);
    assert_int_not_equal(access(fixture_path(&f, "eu"), F_OK), 0);
    assert_int_equal(access(fixture_path(&f, "us"), F_OK), 0);
}

/* ---- live changes ---- */

static void counts_stay_exact_through_upserts_and_cascades(void **state)
{
    struct uuid alice = fixture_uuid(1);
    struct uuid bob = fixture_uuid(2);
    struct uuid bobs_key = fixture_uuid(22);
    struct error err = ERROR_INIT;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    fixture_put_realm(f.source, 7);
    fixture_put_consumer(f.source, 7, 1, "alice the second");
    fixture_put_key(f.source, 7, 1, 11, "alice-key");
    fixture_put_key(f.source, 7, 1, 12, "alice-second-key");
    fixture_commit(&f);
    assert_counts(1, 2, 3);

    fixture_begin(&f);
    assert_int_equal(source_delete_key(f.source, 0, &bob, &bobs_key, &err), 0);
    assert_int_equal(source_delete_key(f.source, 0, &bob, &bobs_key, &err), 0);
    fixture_commit(&f);
    assert_counts(1, 2, 2);

    fixture_begin(&f);
    assert_int_equal(source_delete_consumer(f.source, 7, &alice, &err), 0);
    assert_int_equal(source_delete_consumer(f.source, 7, &alice, &err), 0);
    fixture_commit(&f);
    assert_counts(1, 1, 0);

    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 1, "alice");
    fixture_put_key(f.source, 7, 1, 11, "alice-key");
    fixture_put_consumer(f.source, 7, 3, "carol");
    assert_int_equal(source_delete_realm(f.source, 7, &err), 0);
    assert_int_equal(source_delete_realm(f.source, 7, &err), 0);
    fixture_commit(&f);
    assert_counts(0, 1, 0);
    fixture_close(&f);
    fixture_open(&f); /* compares the counts with the tables */
}

static void impossible_references_are_refused(void **state)
{
    struct model_consumer consumer = {.id = fixture_uuid(5), .username = "eve"};
    struct error err = ERROR_INIT;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    assert_int_equal(source_put_consumer(f.source, 8, &consumer, &err), E_MISSING_REFERENCE);
    assert_int_equal(fixture_try_key(f.source, 7, 5, 55, "x", 0, &err), E_MISSING_REFERENCE);
    /* A consumer of another scope is none of this one's. */
    assert_int_equal(fixture_try_key(f.source, 7, 2, 55, "x", 0, &err), E_MISSING_REFERENCE);
    source_abort(f.source);
}

static void one_secret_for_two_keys_of_a_scope_is_refused(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 3, "carol");
    assert_int_equal(fixture_try_key(f.source, 7, 3, 33, "alice-key", 0, &err), E_PROTOCOL);
    assert_null(strstr(err.message, "alice-key"));
    source_abort(f.source);
    fixture_begin(&f);
    fixture_put_key(f.source, 0, 2, 23, "alice-key"); /* another scope may have it */
    fixture_commit(&f);
    assert_counts(1, 2, 3);
}

static void secret_that_a_key_gave_up_is_free(void **state)
{
    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    fixture_put_key(f.source, 7, 1, 11, "alice-new-key");
    fixture_put_consumer(f.source, 7, 3, "carol");
    fixture_put_key(f.source, 7, 3, 33, "alice-key");
    fixture_commit(&f);
    assert_counts(1, 3, 3);
}

static void number_of_a_realm_cannot_become_another_realm(void **state)
{
    struct model_realm other = {.id = fixture_uuid(5), .number = 7, .name = "x", .region = "us"};
    struct model_realm again = {.id = fixture_uuid(700), .number = 8, .name = "x", .region = "us"};
    struct error err = ERROR_INIT;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    assert_int_equal(source_put_realm(f.source, &other, &err), E_PROTOCOL);
    source_abort(f.source);
    fixture_begin(&f);
    assert_int_equal(source_put_realm(f.source, &again, &err), E_PROTOCOL);
    source_abort(f.source);
}

static void aborted_changes_leave_no_trace(void **state)
{
    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 9, "nobody");
    source_abort(f.source);
    source_abort(f.source);
    assert_counts(1, 2, 2);
    fixture_begin(&f);
    fixture_commit(&f);
    assert_counts(1, 2, 2);
}

static void full_map_is_told_and_the_old_data_stays(void **state)
{
    struct error err = ERROR_INIT;
    char name[64];
    int rc = 0;

    (void)state;
    f.map_bytes = (size_t)1 << 20;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_begin(&f);
    for (unsigned n = 100; n < 100000 && rc == 0; n++) {
        struct model_consumer consumer = {.id = fixture_uuid(n), .username = name};

        (void)snprintf(name, sizeof(name), "consumer-%u", n);
        rc = source_put_consumer(f.source, 7, &consumer, &err);
    }
    assert_int_equal(rc, E_NO_SPACE);
    source_abort(f.source);
    assert_counts(1, 2, 2);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 3, "carol");
    fixture_commit(&f);
    assert_counts(1, 3, 2);
}

/* ---- full loads ---- */

static void encode_key(unsigned n, const char *secret, struct buffer *out)
{
    struct model_key key = {.id = fixture_uuid(n), .consumer_id = fixture_uuid(1)};

    fixture_digest(secret, key.digest);
    buffer_clear(out);
    assert_int_equal(record_encode_key(&key, out), 0);
}

static int load_bytes(enum record_kind kind, uint32_t scope, const struct buffer *record,
                      struct error *err)
{
    return source_load_record(f.source, kind, scope, record->data, record->size, err);
}

/* Begins a load with realm 7 and consumer 1 in it. */
static void begin_load(struct buffer *record)
{
    struct model_realm realm = {.id = fixture_uuid(700), .number = 7, .name = "x", .region = "us"};
    struct model_consumer consumer = {.id = fixture_uuid(1), .username = "alice"};
    struct error err = ERROR_INIT;

    assert_int_equal(source_load_begin(f.source, fixture_digest_key, &err), 0);
    buffer_clear(record);
    assert_int_equal(record_encode_realm(&realm, record), 0);
    assert_int_equal(load_bytes(RECORD_REALM, 7, record, &err), 0);
    buffer_clear(record);
    assert_int_equal(record_encode_consumer(&consumer, record), 0);
    assert_int_equal(load_bytes(RECORD_CONSUMER, 7, record, &err), 0);
}

static void load_replaces_what_was_there(void **state)
{
    struct model_cursor cursor = {fixture_epoch(), 50};
    struct source_counts expected = {1, 1, 2};
    struct error err = ERROR_INIT;
    struct buffer record;

    (void)state;
    buffer_init(&record, RECORD_MAX_BYTES);
    fixture_open(&f);
    fixture_load_people(&f);
    begin_load(&record);
    encode_key(11, "a", &record);
    assert_int_equal(load_bytes(RECORD_KEY, 7, &record, &err), 0);
    encode_key(12, "b", &record);
    assert_int_equal(load_bytes(RECORD_KEY, 7, &record, &err), 0);
    if (source_load_publish(f.source, &cursor, 1, &expected, &err) != 0)
        fail_msg("%s", err.message);
    assert_counts(1, 1, 2);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(source_visible(f.source).version, 50);
    buffer_finish(&record);
}

static void load_of_more_than_one_transaction_is_whole(void **state)
{
    enum { CONSUMERS = 100001 }; /* one more than a transaction of the load takes */
    struct model_realm realm = {.id = fixture_uuid(700), .number = 7, .name = "x", .region = "us"};
    struct model_cursor cursor = {fixture_epoch(), 50};
    struct source_counts expected = {1, CONSUMERS, 0};
    struct error err = ERROR_INIT;
    struct buffer record;

    (void)state;
    buffer_init(&record, RECORD_MAX_BYTES);
    fixture_open(&f);
    assert_int_equal(source_load_begin(f.source, fixture_digest_key, &err), 0);
    assert_int_equal(record_encode_realm(&realm, &record), 0);
    assert_int_equal(load_bytes(RECORD_REALM, 7, &record, &err), 0);
    for (unsigned n = 1; n <= CONSUMERS; n++) {
        struct model_consumer consumer = {.id = fixture_uuid(n), .username = "x"};

        buffer_clear(&record);
        assert_int_equal(record_encode_consumer(&consumer, &record), 0);
        assert_int_equal(load_bytes(RECORD_CONSUMER, 7, &record, &err), 0);
    }
    if (source_load_publish(f.source, &cursor, 1, &expected, &err) != 0)
        fail_msg("%s", err.message);
    fixture_close(&f);
    fixture_open(&f);
    assert_counts(1, CONSUMERS, 0);
    buffer_finish(&record);
}

static void load_refuses_what_is_wrong(void **state)
{
    const struct model_cursor cursor = {fixture_epoch(), 50};
    const struct source_counts two_keys = {1, 1, 2};
    struct error err = ERROR_INIT;
    struct buffer record;

    (void)state;
    buffer_init(&record, RECORD_MAX_BYTES);
    fixture_open(&f);
    begin_load(&record); /* a consumer twice: seen when the second one is complete */
    assert_int_equal(load_bytes(RECORD_CONSUMER, 7, &record, &err), 0);
    assert_int_equal(load_bytes(RECORD_CONSUMER, 7, &record, &err), E_CORRUPT);
    begin_load(&record); /* a consumer of no realm */
    assert_int_equal(load_bytes(RECORD_CONSUMER, 9, &record, &err), E_MISSING_REFERENCE);
    begin_load(&record); /* a key of no consumer */
    encode_key(11, "a", &record);
    assert_int_equal(load_bytes(RECORD_KEY, 0, &record, &err), E_MISSING_REFERENCE);
    begin_load(&record); /* one secret for two keys: seen when all are sorted */
    encode_key(11, "a", &record);
    assert_int_equal(load_bytes(RECORD_KEY, 7, &record, &err), 0);
    encode_key(12, "a", &record);
    assert_int_equal(load_bytes(RECORD_KEY, 7, &record, &err), 0);
    assert_int_equal(source_load_publish(f.source, &cursor, 1, &two_keys, &err), E_PROTOCOL);
    begin_load(&record); /* keys out of order */
    encode_key(12, "a", &record);
    assert_int_equal(load_bytes(RECORD_KEY, 7, &record, &err), 0);
    encode_key(11, "b", &record);
    assert_int_equal(load_bytes(RECORD_KEY, 7, &record, &err), E_CORRUPT);
    begin_load(&record); /* damaged bytes */
    record.data[record.size - 1] = 'x';
    assert_int_equal(load_bytes(RECORD_CONSUMER, 7, &record, &err), E_CORRUPT);
    begin_load(&record); /* a realm behind a consumer */
    assert_int_equal(source_load_record(f.source, RECORD_REALM, 7, record.data, record.size, &err),
                     E_CORRUPT);
    source_load_abort(f.source);
    assert_int_equal(load_bytes(RECORD_KEY, 7, &record, &err), E_INVALID);
    buffer_finish(&record);
}

static void load_with_wrong_counts_keeps_the_former_generation(void **state)
{
    struct model_cursor cursor = {fixture_epoch(), 50};
    struct source_counts expected = {1, 1, 1};
    struct error err = ERROR_INIT;
    struct buffer record;

    (void)state;
    buffer_init(&record, RECORD_MAX_BYTES);
    fixture_open(&f);
    fixture_load_people(&f);
    begin_load(&record);
    assert_int_equal(source_load_publish(f.source, &cursor, 1, &expected, &err), E_CORRUPT);
    assert_counts(1, 2, 2);
    assert_int_equal(source_visible(f.source).version, f.version);
    assert_int_not_equal(access(fixture_path(&f, "us/g-000002"), F_OK), 0);
    buffer_finish(&record);
}

static void interrupted_load_leaves_the_former_generation_and_no_litter(void **state)
{
    struct buffer record;

    (void)state;
    buffer_init(&record, RECORD_MAX_BYTES);
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f);
    /* What a crash in the middle of a load leaves. */
    assert_int_equal(mkdir(fixture_path(&f, "us/g-000002"), 0750), 0);
    assert_int_equal(
        files_write(fixture_path(&f, "us/g-000002"), "data.mdb", "half", 4, FILES_NO_GROUP, NULL),
        0);
    fixture_open(&f);
    assert_counts(1, 2, 2);
    assert_int_not_equal(access(fixture_path(&f, "us/g-000002"), F_OK), 0);
    buffer_finish(&record);
}

/* ---- damage ---- */

static void make_people_and_close(void)
{
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f);
}

static void truncated_data_is_discarded_with_the_reason(void **state)
{
    struct error discarded = ERROR_INIT;

    (void)state;
    make_people_and_close();
    assert_int_equal(truncate(fixture_path(&f, "us/g-000001/data.mdb"), 3 * 4096), 0);
    open_discarding(&discarded);
    assert_int_equal(discarded.code, E_CORRUPT);
    assert_non_null(strstr(discarded.message, "truncated"));
    assert_int_not_equal(access(fixture_path(&f, "us/g-000001"), F_OK), 0);
}

static void foreign_file_is_discarded_with_the_reason(void **state)
{
    struct error discarded = ERROR_INIT;
    char text[8192];

    (void)state;
    make_people_and_close();
    memset(text, 'x', sizeof(text));
    assert_int_equal(files_write(fixture_path(&f, "us/g-000001"), "data.mdb", text, sizeof(text),
                                 FILES_NO_GROUP, NULL),
                     0);
    open_discarding(&discarded);
    assert_int_equal(discarded.code, E_CORRUPT);
    assert_non_null(strstr(discarded.message, "not an LMDB file"));
}

static void wrong_digest_key_is_discarded_with_the_reason(void **state)
{
    struct error discarded = ERROR_INIT;
    uint8_t other[DIGEST_KEY_BYTES] = {1};

    (void)state;
    make_people_and_close();
    assert_int_equal(files_write(fixture_path(&f, "us/g-000001"), "digest.key", other,
                                 sizeof(other), FILES_NO_GROUP, NULL),
                     0);
    open_discarding(&discarded);
    assert_int_equal(discarded.code, E_CORRUPT);
    assert_non_null(strstr(discarded.message, "digest.key"));
}

static void store_of_format_1_is_discarded_and_copied_again(void **state)
{
    struct error discarded = ERROR_INIT;

    (void)state;
    make_people_and_close();
    fixture_make_format_1(&f);
    open_discarding(&discarded);
    assert_int_equal(discarded.code, E_FORMAT);
    assert_int_equal(source_visible(f.source).version, 0);
    assert_int_not_equal(access(fixture_path(&f, "us/g-000001"), F_OK), 0);
    fixture_load_people(&f);
    assert_counts(1, 2, 2);
}

static void missing_generation_is_discarded(void **state)
{
    struct error discarded = ERROR_INIT;

    (void)state;
    make_people_and_close();
    assert_int_equal(files_remove_tree(fixture_path(&f, "us/g-000001"), NULL), 0);
    open_discarding(&discarded);
    assert_int_equal(discarded.code, E_NOT_FOUND);
    fixture_load_empty(&f); /* and the source can be filled again */
    assert_int_equal(source_visible(f.source).version, f.version);
}

static void damaged_status_page_is_made_anew(void **state)
{
    (void)state;
    make_people_and_close();
    assert_int_equal(truncate(fixture_path(&f, "status"), 100), 0);
    fixture_open(&f);
    assert_counts(1, 2, 2);
}

/* ---- readers ---- */

static void without_readers_none_is_reported(void **state)
{
    struct source_readers readers;
    struct error err = ERROR_INIT;

    (void)state;
    fixture_open(&f);
    assert_int_equal(source_check_readers(f.source, &readers, &err), 0);
    fixture_load_people(&f);
    assert_int_equal(source_check_readers(f.source, &readers, &err), 0);
    assert_int_equal(readers.cleared, 0);
    assert_int_equal(readers.oldest_pid, 0);
}

/* Tags that make a record of some 256 bytes each. */
static void put_with_tags(unsigned n_tags)
{
    static char text[64][257];
    const char *tags[64];
    struct model_consumer consumer = {.id = fixture_uuid(1), .username = "alice"};
    struct error err = ERROR_INIT;

    for (unsigned i = 0; i < n_tags; i++) {
        memset(text[i], 'x', 256);
        (void)snprintf(text[i], sizeof(text[i]), "%u", i);
        text[i][strlen(text[i])] = '-';
        tags[i] = text[i];
    }
    consumer.tags = (struct model_strings){tags, n_tags};
    assert_int_equal(source_put_consumer(f.source, 7, &consumer, &err), 0);
}

/* LMDB writes the shorter value over the longer one and keeps its count of pages, which the next
 * transaction would take for damage. */
static void record_that_grows_and_shrinks_within_one_transaction_is_sound(void **state)
{
    static const unsigned sizes[] = {64, 40, 1, 64, 20};

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    for (size_t first = 0; first < sizeof(sizes) / sizeof(sizes[0]); first++) {
        fixture_begin(&f);
        for (size_t i = first; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            put_with_tags(sizes[i]);
        fixture_commit(&f);
    }
    fixture_begin(&f);
    put_with_tags(2);
    fixture_commit(&f);
    fixture_close(&f);
    store_check(f.dir, f.version, "after a record shrank", NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* ---- what members of the reader group can do to lock.mdb ---- */

/* In a child: does it, says so, and stays. */
static pid_t attack_lock(void (*attack)(unsigned char *map, int fd), int *ret_stay)
{
    int ready[2];
    int stay[2];
    char byte = 0;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(stay), 0);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd;
        void *map;

        for (int other = 3; other < 256; other++) { /* the store's lock among them */
            if (other != ready[1] && other != stay[0])
                (void)close(other);
        }
        fd = open(fixture_path(&f, "us/g-000001/lock.mdb"), O_RDWR | O_CLOEXEC);
        map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (fd < 0 || map == MAP_FAILED)
            _exit(1);
        attack(map, fd);
        _exit(write(ready[1], &byte, 1) == 1 && read(stay[0], &byte, 1) == 0 ? 0 : 1);
    }
    (void)close(ready[1]);
    (void)close(stay[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    *ret_stay = stay[1];
    return pid;
}

static void lock_mutexes(unsigned char *map, int fd)
{
    (void)fd;
    if (pthread_mutex_lock((pthread_mutex_t *)(void *)(map + 8)) != 0 ||
        pthread_mutex_lock((pthread_mutex_t *)(void *)(map + 64)) != 0)
        _exit(1);
}

static void scribble(unsigned char *map, int fd)
{
    (void)fd;
    memset(map, 0xa5, 4096);
}

static void cut(unsigned char *map, int fd)
{
    (void)map;
    if (ftruncate(fd, 0) != 0)
        _exit(1);
}

static void hold_file_lock(unsigned char *map, int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    (void)map;
    (void)fcntl(fd, F_SETLK, &lock); /* refused while the agent has its own */
}

static void commits_do_not_depend_on_what_readers_do_to_their_lock_file(void **state)
{
    void (*const attacks[])(unsigned char *, int) = {lock_mutexes, scribble, cut, hold_file_lock};
    struct source_readers readers;
    struct error err = ERROR_INIT;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
        int status;
        int stay;
        pid_t pid = attack_lock(attacks[i], &stay);

        for (int j = 0; j < 3; j++) { /* also by an agent that comes after */
            (void)alarm(60);
            fixture_begin(&f);
            fixture_put_consumer(f.source, 7, 100, i % 2 == 0 ? "a" : "b");
            fixture_commit(&f);
            assert_int_equal(source_check_readers(f.source, &readers, &err), 0);
            fixture_close(&f);
            fixture_open(&f);
            (void)alarm(0);
        }
        (void)close(stay);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
}

/* A slot and the lock that goes with it, of a process with the agent's pid: of another
 * namespace. */
static void take_slot_of_our_pid(unsigned char *map, int fd)
{
    enum { COUNT_AT = 56, SLOT_AT = 128, PID_AT = SLOT_AT + 8 };
    const uint32_t pid = (uint32_t)getppid();
    const uint64_t txn_id = 1;
    const uint32_t count = 1;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = pid, .l_len = 1};

    if (fcntl(fd, F_SETLK, &lock) != 0)
        _exit(1);
    memcpy(map + SLOT_AT, &txn_id, sizeof(txn_id));
    memcpy(map + PID_AT, &pid, sizeof(pid));
    memcpy(map + COUNT_AT, &count, sizeof(count));
}

static void slot_of_the_agents_own_pid_is_a_readers(void **state)
{
    struct source_readers readers;
    struct error err = ERROR_INIT;
    int stay;
    pid_t pid;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    pid = attack_lock(take_slot_of_our_pid, &stay);
    assert_int_equal(source_check_readers(f.source, &readers, &err), 0);
    assert_int_equal(readers.in_use, 1);
    assert_int_equal(readers.cleared, 0);
    assert_int_equal(readers.oldest_pid, getpid());
    (void)close(stay);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(source_check_readers(f.source, &readers, &err), 0);
    assert_int_equal(readers.cleared, 1);
    assert_int_equal(readers.in_use, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(record_that_grows_and_shrinks_within_one_transaction_is_sound),
        TEST(slot_of_the_agents_own_pid_is_a_readers),
        TEST(commits_do_not_depend_on_what_readers_do_to_their_lock_file),
        TEST(new_source_has_no_cursor_and_takes_no_changes),
        TEST(cursor_and_counts_survive_a_restart),
        TEST(second_agent_is_refused_by_pid),
        TEST(store_of_another_control_plane_is_refused),
        TEST(data_of_another_control_plane_is_kept_even_without_status),
        TEST(unknown_group_is_named),
        TEST(bad_region_names_are_refused),
        TEST(modes_do_not_depend_on_the_umask),
        TEST(pruning_removes_regions_that_are_not_open),
        TEST(counts_stay_exact_through_upserts_and_cascades),
        TEST(impossible_references_are_refused),
        TEST(one_secret_for_two_keys_of_a_scope_is_refused),
        TEST(secret_that_a_key_gave_up_is_free),
        TEST(number_of_a_realm_cannot_become_another_realm),
        TEST(aborted_changes_leave_no_trace),
        TEST(full_map_is_told_and_the_old_data_stays),
        TEST(load_replaces_what_was_there),
        TEST(load_of_more_than_one_transaction_is_whole),
        TEST(load_refuses_what_is_wrong),
        TEST(load_with_wrong_counts_keeps_the_former_generation),
        TEST(interrupted_load_leaves_the_former_generation_and_no_litter),
        TEST(truncated_data_is_discarded_with_the_reason),
        TEST(foreign_file_is_discarded_with_the_reason),
        TEST(wrong_digest_key_is_discarded_with_the_reason),
        TEST(store_of_format_1_is_discarded_and_copied_again),
        TEST(missing_generation_is_discarded),
        TEST(damaged_status_page_is_made_anew),
        TEST(without_readers_none_is_reported),
    };

    return cmocka_run_group_tests_name("source", tests, NULL, NULL);
}

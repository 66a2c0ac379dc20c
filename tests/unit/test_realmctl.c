/* test_realmctl.c - the commands of realmctl on a store of known contents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "tests/lib/reader_process.h"
#include "tests/lib/store_fixture.h"
#include "tools/tool.h"
#include "tools/verify.h"

static struct fixture f;
static char output[16384];

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f); /* the commands open the same files in this process */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_finish(&f);
    return 0;
}

/* Points a standard stream at a file of the fixture; gives a copy of the former one. */
static int redirect(int stream, const char *name, int flags)
{
    char path[PATH_MAX];
    int former = dup(stream);
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", f.base, name);
    fd = open(path, flags, 0600);
    assert_true(former >= 0 && fd >= 0);
    assert_int_equal(dup2(fd, stream), stream);
    assert_int_equal(close(fd), 0);
    return former;
}

static void restore(int stream, int former)
{
    assert_int_equal(dup2(former, stream), stream);
    assert_int_equal(close(former), 0);
}

static void read_output(void)
{
    size_t size = 0;

    assert_int_equal(files_read(f.base, "out", output, sizeof(output) - 1, &size, NULL), 0);
    output[size] = 0;
}

/* Runs a command with up to three arguments; its standard output goes to `output`. */
static int run(const struct command *command, bool json, const char *input, const char *first,
               const char *second, const char *third)
{
    struct tool tool = {.store_dir = f.dir, .json = json};
    char arguments[4][128] = {""};
    char *argv[5] = {arguments[0], NULL};
    const char *given[] = {first, second, third};
    int argc = 1;
    int streams[3];
    int rc;

    for (int i = 0; i < 3 && given[i] != NULL; i++, argc++) {
        (void)snprintf(arguments[argc], sizeof(arguments[argc]), "%s", given[i]);
        argv[argc] = arguments[argc];
    }
    assert_int_equal(files_write(f.base, "in", input, strlen(input), FILES_NO_GROUP, NULL), 0);
    (void)fflush(stdout);
    streams[0] = redirect(STDIN_FILENO, "in", O_RDONLY);
    streams[1] = redirect(STDOUT_FILENO, "out", O_WRONLY | O_CREAT | O_TRUNC);
    streams[2] = redirect(STDERR_FILENO, "err", O_WRONLY | O_CREAT | O_TRUNC);
    optind = 0;
    rc = command->run(&tool, argc, argv);
    (void)fflush(stdout);
    for (int i = 0; i < 3; i++)
        restore(i, streams[i]);
    read_output();
    return rc;
}

#define REALM_7 "01900000-0000-7000-8000-0000000002bc"
#define ALICE   "01900000-0000-7000-8000-000000000001"

static void dump_is_complete_sorted_and_free_of_digests(void **state)
{
    (void)state;
    assert_int_equal(run(&command_dump, false, "", NULL, NULL, NULL), TOOL_YES);
    assert_string_equal(
        output,
        "{\"kind\":\"realm\",\"region\":\"us\",\"number\":7,\"id\":\"" REALM_7
        "\",\"name\":\"people\",\"realm_region\":\"us\",\"ttl\":10,\"negative_ttl\":5,"
        "\"consumer_groups\":[\"gold\",\"eu\"]}\n"
        "{\"kind\":\"consumer\",\"region\":\"us\",\"scope\":\"cp\","
        "\"id\":\"01900000-0000-7000-8000-000000000002\",\"type\":\"proxy\",\"username\":\"bob\","
        "\"custom_id\":null,\"tags\":[\"tag-1\",\"tag-2\"],\"consumer_groups\":[\"eu\",\"beta\"],"
        "\"keys\":[{\"id\":\"01900000-0000-7000-8000-000000000016\",\"expires_at\":null,"
        "\"tags\":[]}]}\n"
        "{\"kind\":\"consumer\",\"region\":\"us\",\"scope\":\"realm:" REALM_7 "\",\"id\":\"" ALICE
        "\",\"type\":\"proxy\",\"username\":\"alice\",\"custom_id\":null,"
        "\"tags\":[\"tag-1\",\"tag-2\"],\"consumer_groups\":[\"eu\",\"beta\"],"
        "\"keys\":[{\"id\":\"01900000-0000-7000-8000-00000000000b\",\"expires_at\":null,"
        "\"tags\":[]}]}\n");
}

static void dump_of_one_realm_leaves_the_others_out(void **state)
{
    (void)state;
    assert_int_equal(run(&command_dump, false, "", "--realm", REALM_7, NULL), TOOL_YES);
    assert_non_null(strstr(output, "alice"));
    assert_null(strstr(output, "bob"));
    assert_int_equal(run(&command_dump, false, "", "--realm", ALICE, NULL), TOOL_NO);
    assert_int_equal(run(&command_dump, false, "", "--realm", "x", NULL), TOOL_UNKNOWN);
    assert_int_equal(run(&command_dump, false, "", "--format", "table", NULL), TOOL_YES);
    assert_non_null(strstr(output, "1 key "));
}

static void get_finds_by_id_and_name(void **state)
{
    (void)state;
    assert_int_equal(run(&command_get, true, "", ALICE, NULL, NULL), TOOL_YES);
    assert_non_null(strstr(output, "\"username\":\"alice\""));
    assert_int_equal(run(&command_get, false, "", "bob", NULL, NULL), TOOL_YES);
    assert_non_null(strstr(output, "scope       cp\n"));
    assert_int_equal(run(&command_get, false, "", "carol", NULL, NULL), TOOL_NO);
    assert_string_equal(output, "");
    assert_int_equal(run(&command_get, false, "", NULL, NULL, NULL), TOOL_UNKNOWN);
}

/* The fixture's clock stands in the past and its control plane was heard then: by the host's clock
 * all realms are stale, the control plane's own consumers never are. */
static void lookup_answers_as_documented(void **state)
{
    (void)state;
    assert_int_equal(run(&command_lookup, true, "bob-key\n", "--source", "cp", NULL), TOOL_YES);
    assert_non_null(strstr(output, "{\"result\":\"found\","
                                   "\"id\":\"01900000-0000-7000-8000-000000000002\","
                                   "\"username\":\"bob\",\"custom_id\":null,"
                                   "\"groups\":[\"eu\",\"beta\"],"
                                   "\"credential_id\":\"01900000-0000-7000-8000-000000000016\","
                                   "\"scope\":\"cp\",\"age_ms\":"));
    assert_int_equal(run(&command_lookup, true, "bob-key\n\n", "--source", "cp", NULL), TOOL_NO);
    assert_non_null(strstr(output, "{\"result\":\"not_found\",\"id\":null"));
    assert_int_equal(run(&command_lookup, false, "bob-key", "--source", "cp", NULL), TOOL_YES);
    assert_non_null(strstr(output, "username    bob\n"));
    assert_null(strstr(output, "bob-key"));
    assert_int_equal(run(&command_lookup, true, "", "--source", "cp", NULL), TOOL_UNKNOWN);
    assert_int_equal(run(&command_lookup, true, "x", "--source", "nowhere", NULL), TOOL_UNKNOWN);
    assert_int_equal(run(&command_lookup, true, "x", "bob-key", NULL, NULL), TOOL_UNKNOWN);
}

static void lookup_without_sources_asks_all(void **state)
{
    (void)state;
    (void)run(&command_lookup, true, "alice-key\n", NULL, NULL, NULL);
    assert_non_null(strstr(output, "\"username\":\"alice\""));
    assert_non_null(strstr(output, "\"scope\":\"realm:" REALM_7 "\""));
}

static void stat_shows_each_source(void **state)
{
    (void)state;
    assert_int_equal(run(&command_stat, true, "", NULL, NULL, NULL), TOOL_YES);
    assert_non_null(strstr(output, "\"agent_pid\":null,\"agent_running\":false"));
    assert_non_null(strstr(output, "\"region\":\"us\",\"state\":\"stopped\",\"generation\":1"));
    assert_non_null(strstr(output, "\"realms\":1,\"consumers\":2,\"keys\":2"));
    assert_int_equal(run(&command_stat, false, "", NULL, NULL, NULL), TOOL_YES);
    assert_non_null(strstr(output, "  consumers   2\n"));
}

static void missing_store_cannot_tell(void **state)
{
    (void)state;
    (void)snprintf(f.dir, sizeof(f.dir), "%s/nowhere", f.base);
    assert_int_equal(run(&command_stat, false, "", NULL, NULL, NULL), TOOL_UNKNOWN);
    assert_int_equal(run(&command_verify, false, "", NULL, NULL, NULL), TOOL_UNKNOWN);
    assert_int_equal(run(&command_dump, false, "", NULL, NULL, NULL), TOOL_UNKNOWN);
}

/* ---- verify ---- */

/* Changes one pair behind the store's back; a NULL value deletes. */
static void tamper(enum table table, MDB_val key, const MDB_val *value)
{
    struct error err = ERROR_INIT;
    struct generation generation;
    MDB_val copy = value != NULL ? *value : (MDB_val){0, NULL};
    MDB_txn *txn;

    assert_int_equal(generation_open_writer(fixture_path(&f, "us"), 1, 1 << 20, FILES_NO_GROUP,
                                            &generation, &err),
                     0);
    assert_int_equal(mdb_txn_begin(generation.env.mdb, NULL, 0, &txn), 0);
    if (value != NULL)
        assert_int_equal(mdb_put(txn, generation.env.tables[table], &key, &copy, 0), 0);
    else
        assert_int_equal(mdb_del(txn, generation.env.tables[table], &key, NULL), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    generation_close(&generation);
}

static void good_store_has_no_faults(void **state)
{
    (void)state;
    assert_int_equal(run(&command_verify, false, "", NULL, NULL, NULL), TOOL_YES);
    assert_string_equal(output, "no faults\n");
    assert_int_equal(run(&command_verify, true, "", NULL, NULL, NULL), TOOL_YES);
    assert_string_equal(output, "{\"ok\":true,\"faults\":0,\"list\":[]}\n");
}

static void dangling_lookup_entry_is_found(void **state)
{
    struct layout_lookup entry = {
        .scope = 7, .consumer_id = fixture_uuid(1), .key_id = fixture_uuid(99)};
    unsigned char bytes[LAYOUT_LOOKUP_BYTES];
    MDB_val value = env_val(bytes, sizeof(bytes));
    uint64_t prefix;

    (void)state;
    fixture_digest("nobody's key", entry.digest);
    layout_pack_lookup(&entry, bytes);
    prefix = layout_lookup_key(entry.digest);
    tamper(TABLE_LOOKUP, env_val(&prefix, sizeof(prefix)), &value);
    assert_int_equal(run(&command_verify, false, "", NULL, NULL, NULL), TOOL_NO);
    assert_string_equal(output, "us: lookup: the entry of key 01900000-0000-7000-8000-000000000063 "
                                "leads to a key that is not there\n");
}

static void key_without_lookup_entry_is_found(void **state)
{
    uint8_t digest[DIGEST_BYTES];
    uint64_t prefix;

    (void)state;
    fixture_digest("alice-key", digest);
    prefix = layout_lookup_key(digest);
    tamper(TABLE_LOOKUP, env_val(&prefix, sizeof(prefix)), NULL);
    assert_int_equal(run(&command_verify, true, "", NULL, NULL, NULL), TOOL_NO);
    assert_non_null(strstr(output, "\"ok\":false,\"faults\":1"));
    assert_non_null(strstr(output, "no lookup entry leads to key"));
}

static void damaged_consumer_record_is_found(void **state)
{
    struct uuid alice = fixture_uuid(1);
    unsigned char key[LAYOUT_CONSUMER_KEY_BYTES];
    MDB_val value = env_val("rubbish", 7);

    (void)state;
    layout_consumer_key(7, &alice, key);
    tamper(TABLE_CONSUMERS, env_val(key, sizeof(key)), &value);
    assert_int_equal(run(&command_verify, false, "", NULL, NULL, NULL), TOOL_NO);
    assert_string_equal(output,
                        "us: consumers: the record of consumer " ALICE " in scope 7 is damaged\n");
    assert_int_equal(run(&command_dump, false, "", NULL, NULL, NULL), TOOL_UNKNOWN);
}

static void counts_that_do_not_fit_are_found(void **state)
{
    struct uuid alice = fixture_uuid(1);
    unsigned char key[LAYOUT_CONSUMER_KEY_BYTES];

    (void)state;
    layout_consumer_key(7, &alice, key);
    tamper(TABLE_CONSUMERS, env_val(key, sizeof(key)), NULL);
    assert_int_equal(run(&command_verify, false, "", NULL, NULL, NULL), TOOL_NO);
    assert_non_null(strstr(output, "does not fit its contents"));
}

static void truncated_data_file_is_a_fault(void **state)
{
    (void)state;
    assert_int_equal(truncate(fixture_path(&f, "us/g-000001/data.mdb"), 3 * 4096), 0);
    assert_int_equal(run(&command_verify, false, "", NULL, NULL, NULL), TOOL_NO);
    assert_non_null(strstr(output, "truncated"));
}

static void reader_is_listed_with_its_process_and_lag(void **state)
{
    struct reader_process reader = {.pid = 0};
    char pid[32];

    (void)state;
    reader_process_start(&reader, f.dir, READER_STAYS);
    assert_int_equal(run(&command_readers, true, "", NULL, NULL, NULL), TOOL_YES);
    (void)snprintf(pid, sizeof(pid), "\"pid\":%d", (int)reader.pid);
    assert_non_null(strstr(output, pid));
    assert_non_null(strstr(output, "\"command\":\"test_realmctl\""));
    assert_non_null(strstr(output, "\"behind\":0"));
    assert_int_equal(run(&command_readers, false, "", NULL, NULL, NULL), TOOL_YES);
    assert_non_null(strstr(output, "test_realmctl  in a snapshot, 0 commits behind"));
    reader_process_finish(&reader);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(dump_is_complete_sorted_and_free_of_digests),
        TEST(dump_of_one_realm_leaves_the_others_out),
        TEST(get_finds_by_id_and_name),
        TEST(lookup_answers_as_documented),
        TEST(lookup_without_sources_asks_all),
        TEST(stat_shows_each_source),
        TEST(missing_store_cannot_tell),
        TEST(good_store_has_no_faults),
        TEST(dangling_lookup_entry_is_found),
        TEST(key_without_lookup_entry_is_found),
        TEST(damaged_consumer_record_is_found),
        TEST(counts_that_do_not_fit_are_found),
        TEST(truncated_data_file_is_a_fault),
        TEST(reader_is_listed_with_its_process_and_lag),
    };

    return cmocka_run_group_tests_name("realmctl", tests, NULL, NULL);
}

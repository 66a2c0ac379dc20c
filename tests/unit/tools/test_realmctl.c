/* test_realmctl.c - the commands of realmctl on a store of known contents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "tests/lib/child.h"
#include "tests/lib/store_fixture.h"
#include "tests/lib/tool_run.h"
#include "tools/sources.h"
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

/* Runs a command with up to three arguments; its standard output goes to `output`. */
static int run(const struct command *command, bool json, const char *input, const char *first,
               const char *second, const char *third)
{
    const char *const arguments[] = {first, second, third, NULL};
    const struct tool tool = {.store_dir = f.dir, .json = json};

    return tool_run(f.base, &tool, command, input, arguments, output, sizeof(output));
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

/* The generation opened for writing, with a transaction and the means to change `lookup`. */
struct surgery {
    struct generation generation;
    struct tables tables;
    struct index index;
};

static void surgery_begin(struct surgery *surgery)
{
    struct error err = ERROR_INIT;

    assert_int_equal(generation_open_writer(fixture_path(&f, "us"), 1, 1 << 20, FILES_NO_GROUP,
                                            &surgery->generation, &err),
                     0);
    surgery->tables.env = &surgery->generation.env;
    surgery->tables.trees = NULL;
    assert_int_equal(mdb_txn_begin(surgery->generation.env.mdb, NULL, 0, &surgery->tables.txn), 0);
    index_init(&surgery->index, &surgery->tables);
}

static void surgery_end(struct surgery *surgery)
{
    assert_int_equal(mdb_txn_commit(surgery->tables.txn), 0);
    index_finish(&surgery->index);
    generation_close(&surgery->generation);
}

static void dangling_lookup_entry_is_found(void **state)
{
    uint8_t digest[DIGEST_BYTES];
    const struct entry entry = {.kind = ENTRY_KEY_REFERENCE,
                                .scope = 7,
                                .name = digest,
                                .consumer_id = fixture_uuid(1),
                                .key_id = fixture_uuid(99)};
    struct surgery surgery;

    (void)state;
    fixture_digest("nobody's key", digest);
    surgery_begin(&surgery);
    assert_int_equal(index_put(&surgery.index, &entry, NULL), 0);
    surgery_end(&surgery);
    assert_int_equal(run(&command_verify, false, "", NULL, NULL, NULL), TOOL_NO);
    assert_string_equal(output, "us: lookup: the entry of key 01900000-0000-7000-8000-000000000063 "
                                "leads to a key that is not there\n");
}

static void key_without_lookup_entry_is_found(void **state)
{
    uint8_t digest[DIGEST_BYTES];
    struct surgery surgery;

    (void)state;
    fixture_digest("alice-key", digest);
    surgery_begin(&surgery);
    assert_int_equal(index_drop(&surgery.index, digest, 7, false, NULL), 0);
    surgery_end(&surgery);
    assert_int_equal(run(&command_verify, true, "", NULL, NULL, NULL), TOOL_NO);
    assert_non_null(strstr(output, "no lookup entry leads to key"));
}

static void ignore_fault(void *context, const struct tool_source *source, const char *table,
                         const char *text)
{
    (void)source;
    (void)table;
    (void)text;
    ++*(unsigned *)context;
}

static unsigned count_faults(const struct tool_source *source)
{
    unsigned faults = 0;
    const struct verify_sink sink = {.fault = ignore_fault, .context = &faults};
    struct error err = ERROR_INIT;

    return verify_source(source, &sink, &err) == 0 ? faults : faults + 1;
}

/* Flips each bit of one value in the file, and puts it back. */
static void flip_bits_of(const struct tool_source *source, int fd, const struct table_walk *walk)
{
    const unsigned char *bytes = walk->value.mv_data;
    off_t at = bytes - source->generation.env.map;

    for (size_t bit = 0; bit < walk->value.mv_size * 8; bit++) {
        unsigned char byte = bytes[bit / 8];
        unsigned char changed = byte ^ (unsigned char)(1u << bit % 8);

        assert_int_equal(pwrite(fd, &changed, 1, at + (off_t)(bit / 8)), 1);
        if (count_faults(source) == 0)
            fail_msg("nobody misses bit %zu of a value of table %d", bit, (int)walk->table);
        assert_int_equal(pwrite(fd, &byte, 1, at + (off_t)(bit / 8)), 1);
    }
    assert_int_equal(count_faults(source), 0);
}

/* alice has one key and so her record with it; carol has three, which refer to hers; dave none; a
 * key of erin has tags. */
static void add_every_kind_of_record(void)
{
    static const char *const tags[] = {"blue"};
    struct model_key tagged = {
        .id = fixture_uuid(51), .consumer_id = fixture_uuid(5), .tags = {tags, 1}};
    struct error err = ERROR_INIT;

    fixture_open(&f);
    fixture_begin(&f);
    fixture_put_consumer(f.source, 7, 3, "carol");
    fixture_put_key(f.source, 7, 3, 31, "carol-1");
    fixture_put_key(f.source, 7, 3, 32, "carol-2");
    fixture_put_key(f.source, 7, 3, 33, "carol-3");
    fixture_put_consumer(f.source, 7, 4, "dave");
    fixture_put_consumer(f.source, 7, 5, "erin");
    fixture_digest("erin-key", tagged.digest);
    assert_int_equal(source_put_key(f.source, 7, &tagged, &err), 0);
    fixture_commit(&f);
    fixture_close(&f);
}

static void every_flipped_bit_is_found(void **state)
{
    static const enum table flipped[] = {TABLE_REALMS, TABLE_REALM_IDS, TABLE_CONSUMERS,
                                         TABLE_LOOKUP};
    static const unsigned char behind_names[] = {0xff};
    const MDB_val buckets = env_val(behind_names, sizeof(behind_names));
    struct error err = ERROR_INIT;
    struct tool_sources sources;
    struct table_walk walk;
    int fd;

    (void)state;
    add_every_kind_of_record();
    assert_int_equal(sources_open(f.dir, &sources, &err), 0);
    fd = open(fixture_path(&f, "us/g-000001/data.mdb"), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(count_faults(&sources.items[0]), 0);
    for (size_t i = 0; i < sizeof(flipped) / sizeof(flipped[0]); i++) {
        int rc = walk_begin(&walk, &sources.items[0], flipped[i],
                            flipped[i] == TABLE_LOOKUP ? &buckets : NULL, &err);

        for (; rc == 0 && !walk.at_end; rc = walk_next(&walk, &err))
            flip_bits_of(&sources.items[0], fd, &walk);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(close(fd), 0);
    sources_close(&sources);
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
    assert_non_null(
        strstr(output, "us: consumers: the record of consumer " ALICE " in scope 7 is damaged\n"));
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

/* ---- without reader slots ---- */

enum { RETENTION_MS = 100, NOT_PERMITTED = 100 };

static bool mount_read_only(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount(f.dir, f.dir, NULL, MS_BIND, NULL) == 0 &&
           mount(NULL, f.dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0;
}

static int wait_for(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NOT_PERMITTED) {
        print_message("skipped: mount namespaces are not permitted here\n");
        skip();
    }
    return WEXITSTATUS(status);
}

/* Runs every command; gives how many it went wrong at. */
static int run_all(void)
{
    int wrong = run(&command_dump, false, "", NULL, NULL, NULL) != TOOL_YES ||
                strstr(output, "\"username\":\"alice\"") == NULL;

    wrong += run(&command_get, false, "", "bob", NULL, NULL) != TOOL_YES ||
             strstr(output, "username    bob") == NULL;
    wrong += run(&command_lookup, false, "alice-key\n", NULL, NULL, NULL) != TOOL_YES ||
             strstr(output, "username    alice") == NULL;
    wrong += run(&command_verify, false, "", NULL, NULL, NULL) != TOOL_YES ||
             strcmp(output, "no faults\n") != 0;
    wrong += run(&command_stat, true, "", NULL, NULL, NULL) != TOOL_YES ||
             strstr(output, "\"mode\":\"retained\",\"retention_ms\":100") == NULL;
    wrong += run(&command_readers, false, "", NULL, NULL, NULL) != TOOL_YES;
    wrong += run(&command_backup, false, "", "/tmp/never-made", NULL, NULL) != TOOL_UNKNOWN ||
             access("/tmp/never-made", F_OK) == 0;
    return wrong;
}

/* As any member of the reader group can, until it is killed. */
static void hold_the_mutexes_of_readers(int ready)
{
    int fd = open(fixture_path(&f, "us/g-000001/lock.mdb"), O_RDWR | O_CLOEXEC);
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (map == MAP_FAILED || pthread_mutex_lock((pthread_mutex_t *)(void *)(map + 8)) != 0 ||
        pthread_mutex_lock((pthread_mutex_t *)(void *)(map + 64)) != 0 || write(ready, "", 1) != 1)
        _exit(1);
    while (true)
        (void)pause();
}

static void no_command_waits_for_ever_for_a_reader_slot(void **state)
{
    pid_t holder;
    pid_t pid;
    int ready[2];
    char byte;

    (void)state;
    assert_int_equal(pipe(ready), 0);
    holder = child_fork();
    assert_true(holder >= 0);
    if (holder == 0)
        hold_the_mutexes_of_readers(ready[1]);
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    f.retention_ms = RETENTION_MS; /* whose readers need no slot */
    fixture_open(&f);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(run(&command_readers, false, "", NULL, NULL, NULL) == TOOL_YES &&
                      run(&command_verify, false, "", NULL, NULL, NULL) == TOOL_YES
                  ? run(&command_backup, false, "", "/tmp/never-made", NULL, NULL)
                  : TOOL_NO); /* the backup takes a slot */
    assert_int_equal(wait_for(pid), TOOL_UNKNOWN);
    assert_int_not_equal(access("/tmp/never-made", F_OK), 0);
    (void)kill(holder, SIGKILL);
    assert_int_equal(waitpid(holder, NULL, 0), holder);
}

static void commands_work_on_a_read_only_mount(void **state)
{
    pid_t pid;

    (void)state;
    f.retention_ms = RETENTION_MS;
    f.clock = clock_system; /* by which lookup tells how stale the answer is */
    fixture_open(&f);
    source_heard(f.source);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(mount_read_only() ? run_all() : NOT_PERMITTED);
    assert_int_equal(wait_for(pid), 0);
}

/* A visitor that has everything rewritten under it the first time. */
struct visitor {
    int ask;    /* a byte to the writer ... */
    int answer; /* ... and one from it */
    int restarts;
    int visits;
};

static void count_restart(void *context)
{
    ((struct visitor *)context)->restarts++;
}

static int visit_slowly(void *context, const struct tool_source *source, struct error *err)
{
    struct visitor *visitor = context;
    struct table_walk walk;
    char byte = 0;
    int rc = walk_begin(&walk, source, TABLE_CONSUMERS, NULL, err);

    printf("visit %d\n", ++visitor->visits);
    if (rc == 0 && visitor->visits == 1 &&
        (write(visitor->ask, &byte, 1) != 1 || read(visitor->answer, &byte, 1) != 1))
        rc = error_set(err, E_IO, "the writer is gone");
    while (rc == 0 && !walk.at_end)
        rc = walk_next(&walk, err);
    return rc;
}

static int walk_while_rewritten(int ask, int answer)
{
    struct visitor visitor = {.ask = ask, .answer = answer};
    const struct source_pass pass = {count_restart, visit_slowly, &visitor};
    struct error err = ERROR_INIT;
    int stream;

    if (!mount_read_only())
        return NOT_PERMITTED;
    (void)fflush(stdout);
    stream = tool_redirect(f.base, STDOUT_FILENO, "walked", O_WRONLY | O_CREAT | O_TRUNC);
    if (sources_walk(f.dir, &pass, &err) != 0 || visitor.restarts != 2 || visitor.visits != 2 ||
        fflush(stdout) != 0)
        return 1;
    tool_restore(STDOUT_FILENO, stream);
    return 0;
}

static void walk_that_was_overtaken_starts_over_and_prints_once(void **state)
{
    char text[64] = "";
    int ask[2];
    int answer[2];
    size_t size;
    char byte;
    pid_t pid;

    (void)state;
    f.retention_ms = RETENTION_MS;
    fixture_open(&f);
    assert_int_equal(pipe(ask), 0);
    assert_int_equal(pipe(answer), 0);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(walk_while_rewritten(ask[1], answer[0]));
    assert_int_equal(close(ask[1]), 0);
    if (read(ask[0], &byte, 1) == 1) { /* else it may not mount */
        for (int i = 0; i < 5; i++) {
            fixture_begin(&f);
            fixture_put_consumer(f.source, 7, 1, "alice");
            fixture_commit(&f);
            f.boot_ms += RETENTION_MS;
        }
        assert_int_equal(write(answer[1], &byte, 1), 1);
    }
    (void)close(ask[0]);
    (void)close(answer[0]);
    (void)close(answer[1]);
    assert_int_equal(wait_for(pid), 0);
    assert_int_equal(files_read(f.base, "walked", text, sizeof(text) - 1, &size, NULL), 0);
    assert_string_equal(text, "visit 2\n");
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
        TEST(every_flipped_bit_is_found),
        TEST(damaged_consumer_record_is_found),
        TEST(counts_that_do_not_fit_are_found),
        TEST(truncated_data_file_is_a_fault),
        TEST(commands_work_on_a_read_only_mount),
        TEST(no_command_waits_for_ever_for_a_reader_slot),
        TEST(walk_that_was_overtaken_starts_over_and_prints_once),
    };

    return cmocka_run_group_tests_name("realmctl", tests, NULL, NULL);
}

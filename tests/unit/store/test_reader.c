/* test_reader.c - librealmstore against a store that the writer makes: answers, their age, and
 * refusals.
 *
 * Writer and reader share this process where they take turns. LMDB, opened twice in one process,
 * takes itself for alone and sets its reader table up anew; so where the agent restarts under
 * several snapshots, or writes while threads read, it is a process of its own, as it is in
 * production.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "store/index.h"
#include "store/reader_internal.h"
#include "tests/lib/child.h"
#include "tests/lib/store_fixture.h"

enum { MINUTE = 60 * 1000 };

static struct fixture f;
static rs_store *store;
static rs_snapshot *snapshot;
static rs_consumer consumer;
static char message[256];

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    store = NULL;
    snapshot = NULL;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rs_end(snapshot);
    rs_close(store);
    fixture_finish(&f);
    return 0;
}

static int try_open(void)
{
    rs_options options = RS_OPTIONS_INIT;

    message[0] = 0;
    options.message = message;
    options.message_size = sizeof(message);
    return reader_open(&store, f.dir, &options, &f.clock);
}

/* A store with the people in it, and a snapshot of it. */
static void open_people(void)
{
    fixture_open(&f);
    fixture_load_people(&f);
    if (try_open() != 0)
        fail_msg("%s", message);
    assert_int_equal(rs_begin(store, &snapshot), 0);
}

static void begin_again(void)
{
    rs_end(snapshot);
    snapshot = NULL;
    assert_int_equal(rs_begin(store, &snapshot), 0);
}

static int look_up(const rs_source *sources, size_t n, const char *key)
{
    return rs_lookup(snapshot, sources, n, key, strlen(key), &consumer);
}

static int in_realm(uint32_t number, const char *key)
{
    rs_source source = fixture_realm_source(number);

    return look_up(&source, 1, key);
}

static int in_cp(const char *key)
{
    rs_source source = fixture_cp_source();

    return look_up(&source, 1, key);
}

/* ---- answers ---- */

static void found_consumer_has_all_its_members(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_string_equal(rs_consumer_id(&consumer), "01900000-0000-7000-8000-000000000001");
    assert_string_equal(rs_consumer_username(&consumer), "alice");
    assert_null(rs_consumer_custom_id(&consumer));
    assert_string_equal(rs_consumer_credential_id(&consumer),
                        "01900000-0000-7000-8000-00000000000b");
    assert_int_equal(rs_consumer_tag_count(&consumer), 2);
    assert_string_equal(rs_consumer_tag(&consumer, 1), "tag-2");
    assert_null(rs_consumer_tag(&consumer, 2));
    assert_int_equal(rs_consumer_scope(&consumer), RS_SCOPE_REALM);
    assert_string_equal(rs_consumer_realm_id(&consumer), "01900000-0000-7000-8000-0000000002bc");
    assert_string_equal(rs_consumer_realm_name(&consumer), "people");
    assert_int_equal(rs_consumer_age_ms(&consumer), 0);
}

static void groups_are_the_realms_then_the_consumers_each_once(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_int_equal(rs_consumer_group_count(&consumer), 3);
    assert_string_equal(rs_consumer_group(&consumer, 0), "gold");
    assert_string_equal(rs_consumer_group(&consumer, 1), "eu");
    assert_string_equal(rs_consumer_group(&consumer, 2), "beta");
    assert_null(rs_consumer_group(&consumer, 3));
    assert_int_equal(in_cp("bob-key"), RS_FOUND);
    assert_int_equal(rs_consumer_group_count(&consumer), 2);
    assert_string_equal(rs_consumer_group(&consumer, 0), "eu");
    assert_string_equal(rs_consumer_group(&consumer, 1), "beta");
    assert_int_equal(rs_consumer_scope(&consumer), RS_SCOPE_CP);
    assert_null(rs_consumer_realm_id(&consumer));
    assert_null(rs_consumer_realm_name(&consumer));
}

static void missing_consumer_has_no_members(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(in_realm(7, "no-such-key"), RS_NOT_FOUND);
    assert_null(rs_consumer_id(&consumer));
    assert_null(rs_consumer_username(&consumer));
    assert_null(rs_consumer_credential_id(&consumer));
    assert_null(rs_consumer_tag(&consumer, 0));
    assert_null(rs_consumer_group(&consumer, 0));
    assert_int_equal(rs_consumer_group_count(&consumer), 0);
}

static void scopes_do_not_see_each_others_keys(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(in_realm(7, "bob-key"), RS_NOT_FOUND);
    assert_int_equal(in_cp("alice-key"), RS_NOT_FOUND);
    assert_int_equal(in_realm(8, "alice-key"), RS_NOT_FOUND); /* a realm that is not there */
}

static void one_secret_in_two_realms_is_two_consumers(void **state)
{
    rs_source sources[2] = {fixture_realm_source(7), fixture_realm_source(8)};

    (void)state;
    open_people();
    fixture_begin(&f);
    fixture_put_realm(f.source, 8);
    fixture_put_consumer(f.source, 8, 3, "other alice");
    fixture_put_key(f.source, 8, 3, 33, "alice-key");
    fixture_commit(&f);
    begin_again();
    assert_int_equal(in_realm(8, "alice-key"), RS_FOUND);
    assert_string_equal(rs_consumer_username(&consumer), "other alice");
    /* The first source that knows the key answers. */
    assert_int_equal(look_up(sources, 2, "alice-key"), RS_FOUND);
    assert_string_equal(rs_consumer_username(&consumer), "alice");
    sources[0] = fixture_realm_source(8);
    sources[1] = fixture_realm_source(7);
    assert_int_equal(look_up(sources, 2, "alice-key"), RS_FOUND);
    assert_string_equal(rs_consumer_username(&consumer), "other alice");
}

static void change_is_seen_by_the_next_snapshot_alone(void **state)
{
    struct uuid alice = fixture_uuid(1);
    struct error err = ERROR_INIT;

    (void)state;
    open_people();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    fixture_begin(&f);
    assert_int_equal(source_delete_consumer(f.source, 7, &alice, &err), 0);
    fixture_commit(&f);
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    begin_again();
    assert_int_equal(in_realm(7, "alice-key"), RS_NOT_FOUND);
    assert_int_equal(in_cp("bob-key"), RS_FOUND);
}

static void changed_realm_is_seen_at_once(void **state)
{
    struct model_realm realm = {.id = fixture_uuid(700),
                                .number = 7,
                                .ttl_min = 10,
                                .negative_ttl_min = 5,
                                .name = "renamed",
                                .region = "us"};
    struct error err = ERROR_INIT;

    (void)state;
    open_people();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    fixture_begin(&f);
    assert_int_equal(source_put_realm(f.source, &realm, &err), 0);
    fixture_commit(&f);
    begin_again();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_string_equal(rs_consumer_realm_name(&consumer), "renamed");
    assert_int_equal(rs_consumer_group_count(&consumer), 2);
}

static void expired_key_is_not_found(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    open_people();
    fixture_begin(&f);
    assert_int_equal(fixture_try_key(f.source, 7, 1, 12, "short-lived", f.wall_ms + MINUTE, &err),
                     0);
    fixture_commit(&f);
    begin_again();
    assert_int_equal(in_realm(7, "short-lived"), RS_FOUND);
    f.wall_ms += MINUTE;
    assert_int_equal(in_realm(7, "short-lived"), RS_NOT_FOUND);
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
}

/* Nobody can make such a pair, but the format allows for it. */
static void digests_with_a_common_start_are_told_apart(void **state)
{
    struct model_key twin = {.id = fixture_uuid(99), .consumer_id = fixture_uuid(1)};
    struct error err = ERROR_INIT;

    (void)state;
    open_people();
    fixture_digest("alice-key", twin.digest);
    twin.digest[DIGEST_BYTES - 1] ^= 1;
    fixture_begin(&f);
    assert_int_equal(source_put_key(f.source, 7, &twin, &err), 0);
    fixture_commit(&f);
    begin_again();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_string_equal(rs_consumer_credential_id(&consumer),
                        "01900000-0000-7000-8000-00000000000b");
    fixture_begin(&f);
    assert_int_equal(source_delete_key(f.source, 7, &twin.consumer_id, &twin.id, &err), 0);
    fixture_commit(&f);
    begin_again();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
}

static void keys_of_impossible_length_are_unknown(void **state)
{
    static char key[MODEL_SECRET_MAX + 1];
    rs_source source = fixture_realm_source(7);

    (void)state;
    open_people();
    assert_int_equal(rs_lookup(snapshot, &source, 1, key, sizeof(key), &consumer), RS_NOT_FOUND);
    assert_int_equal(rs_lookup(snapshot, &source, 1, NULL, 0, &consumer), RS_NOT_FOUND);
    assert_int_equal(rs_lookup(snapshot, &source, 1, NULL, 5, &consumer), RS_E_INVALID);
    assert_int_equal(rs_lookup(snapshot, NULL, 1, key, 5, &consumer), RS_E_INVALID);
    source.scope = (rs_scope)9;
    assert_int_equal(rs_lookup(snapshot, &source, 1, key, 5, &consumer), RS_E_INVALID);
}

/* ---- age ---- */

static void found_answer_is_stale_after_the_realms_ttl(void **state)
{
    (void)state;
    open_people();
    f.boot_ms += 10 * MINUTE;
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_int_equal(rs_consumer_age_ms(&consumer), 10 * MINUTE);
    f.boot_ms += 1;
    assert_int_equal(in_realm(7, "alice-key"), RS_STALE);
    assert_string_equal(rs_consumer_username(&consumer), "alice");
    source_heard(f.source);
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
}

static void miss_is_stale_after_the_realms_negative_ttl(void **state)
{
    (void)state;
    open_people();
    f.boot_ms += 5 * MINUTE;
    assert_int_equal(in_realm(7, "no-such-key"), RS_NOT_FOUND);
    f.boot_ms += 1;
    assert_int_equal(in_realm(7, "no-such-key"), RS_STALE);
    assert_null(rs_consumer_id(&consumer));
    assert_int_equal(rs_consumer_age_ms(&consumer), 5 * MINUTE + 1);
}

static void unknown_realm_has_a_negative_ttl_of_ten_minutes(void **state)
{
    (void)state;
    open_people();
    f.boot_ms += 10 * MINUTE;
    assert_int_equal(in_realm(8, "x"), RS_NOT_FOUND);
    f.boot_ms += 1;
    assert_int_equal(in_realm(8, "x"), RS_STALE);
}

static void control_planes_own_consumers_are_never_stale(void **state)
{
    (void)state;
    open_people();
    f.boot_ms += 1000000LL * MINUTE;
    assert_int_equal(in_cp("bob-key"), RS_FOUND);
    assert_int_equal(in_cp("no-such-key"), RS_NOT_FOUND);
}

static void ages_outlive_the_agent(void **state)
{
    (void)state;
    open_people();
    fixture_close(&f);
    f.boot_ms += 3 * MINUTE;
    fixture_open(&f); /* hears nothing */
    begin_again();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_int_equal(rs_consumer_age_ms(&consumer), 3 * MINUTE);
}

static void patch_status(int word, const char *bytes, size_t size)
{
    int fd = open(fixture_path(&f, "status"), O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, word * 8), size);
    assert_int_equal(close(fd), 0);
}

/* Makes the page look as if an earlier boot of the host had written it. */
static void change_boot_id(void)
{
    patch_status(STATUS_AT_BOOT_ID, "another boot id.", 16);
}

static void after_a_reboot_ages_follow_the_wall_clock(void **state)
{
    (void)state;
    open_people();
    change_boot_id();
    f.boot_ms = 1000;
    f.wall_ms += 4 * MINUTE;
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_int_equal(rs_consumer_age_ms(&consumer), 4 * MINUTE);
    f.wall_ms -= 8 * MINUTE; /* a clock that went back gives no negative age */
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_int_equal(rs_consumer_age_ms(&consumer), 0);
}

static void agent_that_starts_after_a_reboot_goes_on_counting(void **state)
{
    (void)state;
    open_people();
    fixture_close(&f);
    change_boot_id();
    f.boot_ms = 1000;
    f.wall_ms += 4 * MINUTE;
    fixture_open(&f);
    f.boot_ms += MINUTE; /* the wall clock may now be set without effect */
    begin_again();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_int_equal(rs_consumer_age_ms(&consumer), 5 * MINUTE);
}

static void source_that_was_never_heard_is_stale(void **state)
{
    (void)state;
    fixture_open(&f);
    fixture_load_empty(&f);
    fixture_begin(&f);
    fixture_put_realm(f.source, 7);
    fixture_commit(&f);
    assert_int_equal(try_open(), 0);
    assert_int_equal(rs_begin(store, &snapshot), 0);
    assert_int_equal(in_realm(7, "x"), RS_STALE);
    assert_int_equal(rs_consumer_age_ms(&consumer), -1);
}

/* ---- sources ---- */

static void source_without_a_copy_is_not_a_no(void **state)
{
    rs_source sources[2] = {fixture_realm_source(7), fixture_cp_source()};

    (void)state;
    fixture_open(&f);
    assert_int_equal(try_open(), 0);
    assert_int_equal(rs_begin(store, &snapshot), 0);
    assert_int_equal(look_up(sources, 2, "alice-key"), RS_E_NOT_READY);
    assert_int_equal(in_cp("bob-key"), RS_E_NOT_READY);
    fixture_load_people(&f);
    begin_again();
    assert_int_equal(look_up(sources, 2, "alice-key"), RS_FOUND);
}

static void region_without_a_copy_stops_only_who_needs_it(void **state)
{
    rs_source named = fixture_realm_source(7);
    struct error err = ERROR_INIT;
    struct source *other;

    (void)state;
    open_people();
    assert_int_equal(source_open(f.store, "eu", &other, NULL, &err), 0);
    begin_again();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_int_equal(in_realm(7, "no-such-key"), RS_NOT_FOUND); /* realm 7 is known to be in "us" */
    assert_int_equal(in_realm(8, "x"), RS_E_NOT_READY);         /* may be in "eu" */
    assert_int_equal(in_cp("bob-key"), RS_FOUND);
    assert_int_equal(in_cp("no-such-key"), RS_E_NOT_READY);
    (void)snprintf(named.region, sizeof(named.region), "us");
    assert_int_equal(look_up(&named, 1, "no-such-key"), RS_NOT_FOUND);
    (void)snprintf(named.region, sizeof(named.region), "eu");
    assert_int_equal(look_up(&named, 1, "alice-key"), RS_E_NOT_READY);
    (void)snprintf(named.region, sizeof(named.region), "mars");
    assert_int_equal(look_up(&named, 1, "alice-key"), RS_E_NOT_READY);
    fixture_load_empty_source(other, 1);
    source_heard(other);
    begin_again();
    assert_int_equal(in_realm(8, "x"), RS_NOT_FOUND);
    assert_int_equal(in_cp("no-such-key"), RS_NOT_FOUND);
    source_close(other);
}

static void sources_are_read_from_text(void **state)
{
    rs_source source;

    (void)state;
    assert_int_equal(rs_source_parse("cp", &source), 0);
    assert_int_equal(source.scope, RS_SCOPE_CP);
    assert_string_equal(source.region, "");
    assert_int_equal(rs_source_parse("cp:us", &source), 0);
    assert_string_equal(source.region, "us");
    assert_int_equal(rs_source_parse("realm:01900000-0000-7000-8000-0000000002bc", &source), 0);
    assert_int_equal(source.realm_id[15], 0xbc);
    assert_int_equal(rs_source_parse("realm:eu:01900000-0000-7000-8000-0000000002BC", &source), 0);
    assert_string_equal(source.region, "eu");
    assert_int_equal(rs_source_parse("", &source), RS_E_INVALID);
    assert_int_equal(rs_source_parse("cpx", &source), RS_E_INVALID);
    assert_int_equal(rs_source_parse("cp:", &source), RS_E_INVALID);
    assert_int_equal(rs_source_parse("realm", &source), RS_E_INVALID);
    assert_int_equal(rs_source_parse("realm:us", &source), RS_E_INVALID);
    assert_int_equal(rs_source_parse("realm:US:01900000-0000-7000-8000-0000000002bc", &source),
                     RS_E_INVALID);
    assert_string_equal(source.region, "eu"); /* untouched by failures */
}

/* ---- generations ---- */

static void new_generation_is_seen_by_the_next_snapshot_alone(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    fixture_load_empty(&f); /* and the former generation's files are removed */
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_int_equal(in_cp("bob-key"), RS_FOUND);
    begin_again();
    assert_int_equal(in_cp("bob-key"), RS_NOT_FOUND);
}

static void generation_that_a_snapshot_did_not_use_yet_is_still_its_own(void **state)
{
    (void)state;
    open_people();
    fixture_load_empty(&f);
    fixture_load_empty(&f);
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
}

static void removed_region_is_gone_at_the_next_snapshot(void **state)
{
    rs_status_info status;
    struct error err = ERROR_INIT;
    struct source *other;

    (void)state;
    open_people();
    assert_int_equal(source_open(f.store, "eu", &other, NULL, &err), 0);
    assert_int_equal(rs_status(store, &status), 0);
    assert_int_equal(status.n_sources, 2);
    source_close(other);
    assert_int_equal(store_prune(f.store, &err), 0);
    assert_int_equal(rs_status(store, &status), 0);
    assert_int_equal(status.n_sources, 1);
    begin_again();
    assert_int_equal(in_realm(8, "x"), RS_NOT_FOUND);
}

static void replaced_status_page_is_noticed(void **state)
{
    struct error err = ERROR_INIT;
    struct status page;

    (void)state;
    open_people();
    fixture_close(&f);
    patch_status(STATUS_AT_FORMAT, "other", 5); /* as an older agent would have left it */
    assert_int_equal(status_open(f.dir, &page, &err), E_FORMAT);
    fixture_open(&f); /* makes it anew, by rename */
    fixture_begin(&f);
    fixture_put_key(f.source, 7, 1, 12, "alice-second-key");
    fixture_commit(&f);
    source_heard(f.source);
    begin_again();
    assert_int_equal(in_realm(7, "alice-second-key"), RS_FOUND);
    assert_int_equal(rs_consumer_age_ms(&consumer), 0);
}

static void unreadable_new_status_page_leaves_the_old_copy_serving(void **state)
{
    (void)state;
    open_people();
    fixture_close(&f);
    patch_status(STATUS_AT_REPLACED, "\1", 1);
    patch_status(STATUS_AT_SWITCHES, "\77", 1);
    assert_int_equal(unlink(fixture_path(&f, "status")), 0); /* the new one is not there yet */
    begin_again();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    fixture_open(&f);
    f.boot_ms += 1000; /* when the reader tries again */
    begin_again();
    assert_int_equal(in_realm(7, "alice-key"), RS_STALE); /* nothing was heard since */
    source_heard(f.source);
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
}

static void agent_that_died_while_writing_the_page_stops_no_lookup(void **state)
{
    rs_status_info status;

    (void)state;
    open_people();
    patch_status(STATUS_AT_SEQUENCE, "\1", 1);
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_int_equal(rs_status(store, &status), RS_E_CORRUPT);
    rs_end(snapshot);
    rs_close(store);
    snapshot = NULL;
    store = NULL;
    assert_int_equal(try_open(), 0);
    assert_int_equal(rs_begin(store, &snapshot), 0);
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    source_heard(f.source); /* a new agent's first word */
    assert_int_equal(rs_status(store, &status), 0);
}

/* ---- status ---- */

static void status_tells_what_serves(void **state)
{
    struct uuid id = fixture_control_plane();
    rs_status_info status;

    (void)state;
    open_people();
    f.boot_ms += 1234;
    assert_int_equal(rs_status(store, &status), 0);
    assert_memory_equal(status.control_plane_id, id.bytes, UUID_BYTES);
    assert_int_equal(status.agent_pid, getpid());
    assert_int_equal(status.n_sources, 1);
    assert_string_equal(status.sources[0].region, "us");
    assert_int_equal(status.sources[0].state, RS_STATE_LIVE);
    assert_int_equal(status.sources[0].generation, 1);
    assert_int_equal(status.sources[0].version, f.version);
    assert_int_equal(status.sources[0].age_ms, 1234);
    assert_int_equal(status.sources[0].realms, 1);
    assert_int_equal(status.sources[0].consumers, 2);
    assert_int_equal(status.sources[0].keys, 2);
    fixture_close(&f);
    assert_int_equal(rs_status(store, &status), 0);
    assert_int_equal(status.agent_pid, 0);
    assert_int_equal(status.sources[0].state, RS_STATE_STOPPED);
}

static void every_code_has_a_text(void **state)
{
    (void)state;
    for (int code = RS_E_OVERTAKEN; code <= RS_STALE; code++)
        assert_string_not_equal(rs_strerror(code), "unknown error");
    assert_string_equal(rs_strerror(-77), "unknown error");
}

/* ---- refusals ---- */

static void missing_store_is_told_apart(void **state)
{
    (void)state;
    assert_int_equal(try_open(), RS_E_NO_STORE);
    assert_non_null(strstr(message, f.dir));
    assert_null(store);
    assert_int_equal(rs_open(NULL, f.dir, NULL), RS_E_INVALID);
}

static void truncated_data_is_refused_before_it_is_mapped(void **state)
{
    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f);
    assert_int_equal(truncate(fixture_path(&f, "us/g-000001/data.mdb"), 3 * 4096), 0);
    assert_int_equal(try_open(), RS_E_CORRUPT);
    assert_non_null(strstr(message, "truncated"));
}

static void foreign_status_page_is_refused(void **state)
{
    (void)state;
    fixture_open(&f);
    fixture_close(&f);
    assert_int_equal(truncate(fixture_path(&f, "status"), 0), 0);
    assert_int_equal(try_open(), RS_E_CORRUPT);
}

static void other_format_version_is_refused(void **state)
{
    struct error err = ERROR_INIT;
    struct generation generation;
    unsigned char bytes[LAYOUT_META_BYTES];
    MDB_val key = env_val(layout_meta_key, sizeof(layout_meta_key));
    MDB_val value = env_val(bytes, sizeof(bytes));
    MDB_txn *txn;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f);
    assert_int_equal(generation_open_writer(fixture_path(&f, "us"), 1, 1 << 20, FILES_NO_GROUP,
                                            &generation, &err),
                     0);
    layout_pack_meta(&generation.meta, bytes);
    bytes[0]++; /* the format's number */
    assert_int_equal(mdb_txn_begin(generation.env.mdb, NULL, 0, &txn), 0);
    assert_int_equal(mdb_put(txn, generation.env.tables[TABLE_META], &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    generation_close(&generation);
    assert_int_equal(try_open(), RS_E_FORMAT);
}

static void store_of_format_1_is_refused(void **state)
{
    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f);
    fixture_make_format_1(&f);
    assert_int_equal(try_open(), RS_E_FORMAT);
}

static void damaged_record_is_an_error_not_a_miss(void **state)
{
    uint8_t digest[DIGEST_BYTES];
    const struct entry rubbish = {.kind = ENTRY_KEY_RECORD,
                                  .scope = 7,
                                  .name = digest,
                                  .record = (const unsigned char *)"rubbish",
                                  .record_size = 8};
    struct error err = ERROR_INIT;
    struct generation generation;
    struct tables tables = {.env = &generation.env};
    struct index index;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f);
    fixture_digest("alice-key", digest);
    assert_int_equal(generation_open_writer(fixture_path(&f, "us"), 1, 1 << 20, FILES_NO_GROUP,
                                            &generation, &err),
                     0);
    assert_int_equal(mdb_txn_begin(generation.env.mdb, NULL, 0, &tables.txn), 0);
    index_init(&index, &tables);
    assert_int_equal(index_put(&index, &rubbish, &err), 0);
    index_finish(&index);
    assert_int_equal(mdb_txn_commit(tables.txn), 0);
    generation_close(&generation);
    assert_int_equal(try_open(), 0);
    assert_int_equal(rs_begin(store, &snapshot), 0);
    assert_int_equal(in_realm(7, "alice-key"), RS_E_CORRUPT);
    assert_int_equal(in_cp("bob-key"), RS_FOUND);
}

/* Applies `mask` to one byte of each copy of `bytes` in data.mdb; gives how many copies there
 * are. */
static int flip(const unsigned char *bytes, size_t size, size_t at, unsigned char mask)
{
    static unsigned char file[1 << 20];
    int fd = open(fixture_path(&f, "us/g-000001/data.mdb"), O_RDWR);
    ssize_t length = pread(fd, file, sizeof(file), 0);
    const unsigned char *copy = file;
    int copies = 0;

    assert_in_range(length, size, sizeof(file) - 1);
    while ((copy = memmem(copy, (size_t)(file + length - copy), bytes, size)) != NULL) {
        unsigned char byte = copy[at] ^ mask;

        assert_int_equal(pwrite(fd, &byte, 1, (off_t)(copy - file + (ptrdiff_t)at)), 1);
        copy += size;
        copies++;
    }
    assert_int_equal(close(fd), 0);
    return copies;
}

/* The record rots under a reader that has it mapped: any answer is allowed but a crash. */
static void flipped_bytes_of_a_record_never_crash_a_lookup(void **state)
{
    unsigned char record[256];
    size_t size;

    (void)state;
    open_people();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    size = ((struct consumer_view *)&consumer)->consumer.groups.offsets_at + 8 + 24;
    memcpy(record, ((struct consumer_view *)&consumer)->consumer.record, size);
    for (size_t at = 0; at < size; at++) {
        unsigned char damaged[256];
        int rc;

        assert_true(flip(record, size, at, 0xff) > 0);
        rc = in_realm(7, "alice-key");
        assert_true(rc == RS_FOUND || rc == RS_E_CORRUPT);
        for (size_t i = 0; rc == RS_FOUND && i < rs_consumer_group_count(&consumer); i++)
            (void)rs_consumer_group(&consumer, i);
        memcpy(damaged, record, size);
        damaged[at] ^= 0xff;
        assert_true(flip(damaged, size, at, 0xff) > 0);
    }
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
}

/* ---- processes ---- */

/* Runs `body` in a child; gives what it returned, a code between -100 and 100. */
static int in_child(int (*body)(void))
{
    int status;
    pid_t pid = child_fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body() & 0xff);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return (int8_t)WEXITSTATUS(status);
}

/* Every call of a child with what its parent opened and began: refused, or harmless. */
static int use_in_child(void)
{
    const rs_source source = fixture_realm_source(7);
    rs_status_info status;
    char buffer[4096];
    rs_answer answer;
    rs_consumer other;
    rs_snapshot *mine;
    const int codes[] = {
        rs_begin(store, &mine),
        rs_status(store, &status),
        rs_check(snapshot),
        rs_lookup(snapshot, &source, 1, "alice-key", 9, &other),
        rs_lookup(snapshot, &source, 1, "", 0, &other),
        rs_find(snapshot, NULL, "bob", &other),
        rs_lookup_copy(store, &source, 1, "alice-key", 9, buffer, sizeof(buffer), &answer),
        rs_find_copy(store, NULL, "bob", buffer, sizeof(buffer), &answer),
    };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i] != RS_E_FORKED)
            return 1;
    }
    if (rs_consumer_id(&consumer) == NULL || rs_consumer_group_count(&consumer) == 0 ||
        rs_consumer_group(&consumer, 0) == NULL ||
        strcmp(rs_consumer_username(&consumer), "alice") != 0)
        return 2;
    rs_end(snapshot); /* must not touch the parent's slot */
    rs_close(store);
    return RS_E_FORKED;
}

static int exit_in_child(void)
{
    exit(use_in_child() & 0xff); /* with whatever runs at exit */
}

static int grandchild(void)
{
    return in_child(use_in_child);
}

static void expect_parent_unharmed(void)
{
    for (int i = 0; i < 3; i++) {
        fixture_begin(&f);
        fixture_put_consumer(f.source, MODEL_SCOPE_CP, 900, i % 2 == 0 ? "eve" : "Eve");
        fixture_commit(&f);
        assert_int_equal(rs_check(snapshot), 0);
        assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
        begin_again();
    }
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
}

static void forked_child_is_refused_and_harms_nothing(void **state)
{
    static int (*const bodies[])(void) = {use_in_child, exit_in_child, grandchild};

    (void)state;
    open_people();
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
        assert_int_equal(in_child(bodies[i]), RS_E_FORKED);
        expect_parent_unharmed();
    }
}

static int read_alice(void)
{
    int rc = try_open();

    if (rc != 0)
        return rc;
    rc = rs_begin(store, &snapshot);
    return rc != 0 ? rc : in_realm(7, "alice-key");
}

enum { READER_GROUP = 60, NOBODY = 65534 }; /* "games", which every Debian has */

static int read_as_member(void)
{
    const gid_t groups[] = {READER_GROUP};

    if (setgroups(1, groups) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
        return 100;
    return read_alice();
}

static int read_as_stranger(void)
{
    if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
        return 100;
    return read_alice();
}

static void group_members_read_and_strangers_do_not(void **state)
{
    (void)state;
    if (getuid() != 0) {
        print_message("skipped: changing users needs root\n");
        skip();
    }
    f.group = "games";
    fixture_open(&f);
    fixture_load_people(&f);
    assert_int_equal(in_child(read_as_member), RS_FOUND);
    assert_int_equal(in_child(read_as_stranger), RS_E_PERMISSION);
}

static int read_on_read_only_mount(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(f.dir, f.dir, NULL, MS_BIND, NULL) != 0 ||
        mount(NULL, f.dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0)
        return 100;
    return read_alice();
}

static void read_only_mount_is_refused(void **state)
{
    int rc;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    rc = in_child(read_on_read_only_mount);
    if (rc == 100) {
        print_message("skipped: mount namespaces are not permitted here\n");
        skip();
    }
    assert_int_equal(rc, RS_E_READ_ONLY_MOUNT);
}

static int read_with_little_address_space(void)
{
    const struct rlimit limit = {(rlim_t)2 << 30, (rlim_t)2 << 30};

    return setrlimit(RLIMIT_AS, &limit) != 0 ? 100 : read_alice();
}

static void reader_with_little_address_space_takes_a_smaller_map(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: sanitizers need the address space\n");
    skip();
#endif
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f); /* the writer's map would be the child's too */
    assert_int_equal(in_child(read_with_little_address_space), RS_FOUND);
}

static int make_people(void)
{
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f);
    return 0;
}

/* The writer's map grows, and the data beyond the reader's. */
static int grow_store(void)
{
    char name[64];

    f.map_bytes = (size_t)64 << 20;
    fixture_open(&f);
    fixture_begin(&f);
    for (unsigned n = 1000; n < 11000; n++) {
        (void)snprintf(name, sizeof(name), "consumer-%u", n);
        fixture_put_consumer(f.source, 7, n, name);
    }
    fixture_commit(&f);
    fixture_close(&f);
    return 0;
}

static void map_grows_when_no_other_snapshot_is_open(void **state)
{
    rs_snapshot *other;

    (void)state;
    f.map_bytes = (size_t)1 << 20;
    assert_int_equal(in_child(make_people), 0);
    assert_int_equal(read_alice(), RS_FOUND);
    assert_int_equal(in_child(grow_store), 0);
    assert_int_equal(rs_begin(store, &other), 0);
    begin_again();
    assert_int_equal(in_realm(7, "alice-key"), RS_E_MAP_RESIZED);
    rs_end(other);
    begin_again();
    assert_int_equal(in_realm(7, "alice-key"), RS_FOUND);
    assert_string_equal(rs_consumer_username(&consumer), "alice");
}

/* ---- other processes' slots ---- */

/* Begins a snapshot in a child, which says so through a pipe and stays in it until it is killed. */
static pid_t start_reader(void)
{
    char ready = 0;
    int ends[2];
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        ready = (char)(read_alice() == RS_FOUND);
        if (write(ends[1], &ready, 1) == 1)
            (void)pause();
        _exit(1);
    }
    assert_int_equal(read(ends[0], &ready, 1), 1);
    assert_int_equal(ready, 1);
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(close(ends[1]), 0);
    return pid;
}

static void oldest_reader_is_named_and_a_dead_ones_slot_is_cleared(void **state)
{
    struct source_readers readers;
    struct error err = ERROR_INIT;
    int status;
    pid_t pid;

    (void)state;
    fixture_open(&f);
    fixture_load_people(&f);
    pid = start_reader();
    for (int i = 0; i < 3; i++) {
        fixture_begin(&f);
        fixture_put_consumer(f.source, 7, 1, i % 2 == 0 ? "alice" : "Alice");
        fixture_commit(&f);
    }
    assert_int_equal(source_check_readers(f.source, &readers, &err), 0);
    assert_int_equal(readers.cleared, 0);
    assert_int_equal(readers.in_use, 1);
    assert_int_equal(readers.oldest_pid, pid);
    assert_int_equal(readers.oldest_lag_txns, 3);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(source_check_readers(f.source, &readers, &err), 0);
    assert_int_equal(readers.cleared, 1);
    assert_int_equal(readers.in_use, 0);
}

/* ---- threads ---- */

static atomic_bool stop_threads;

/* Alice and her key come and go in one transaction each: she must be whole or absent. */
static void *look_up_until_stopped(void *context)
{
    rs_source source = fixture_realm_source(7);
    long *wrong = context;

    while (!atomic_load(&stop_threads)) {
        rs_snapshot *mine;
        rs_consumer who;
        int rc;

        if (rs_begin(store, &mine) != 0) {
            (*wrong)++;
            continue;
        }
        rc = rs_lookup(mine, &source, 1, "alice-key", 9, &who);
        if (rc != RS_NOT_FOUND &&
            (rc != RS_FOUND || strcmp(rs_consumer_username(&who), "alice") != 0))
            (*wrong)++;
        rs_end(mine);
    }
    return NULL;
}

static int write_for_a_while(void)
{
    enum { ROUNDS = 200, LOAD_EVERY = 50 };
    struct uuid alice = fixture_uuid(1);
    struct error err = ERROR_INIT;

    fixture_open(&f);
    for (int i = 0; i < ROUNDS; i++) {
        fixture_begin(&f);
        if (i % 2 == 0 && source_delete_consumer(f.source, 7, &alice, &err) != 0)
            return 1;
        fixture_put_consumer(f.source, 7, 1, "alice");
        fixture_put_key(f.source, 7, 1, 11, "alice-key");
        fixture_commit(&f);
        source_heard(f.source);
        if (i % LOAD_EVERY == LOAD_EVERY - 1)
            fixture_load_people(&f); /* another generation */
    }
    fixture_close(&f);
    return 0;
}

static void threads_look_up_while_the_writer_commits(void **state)
{
    pthread_t threads[2];
    long wrong[2] = {0, 0};
    int written;

    (void)state;
    assert_int_equal(in_child(make_people), 0);
    assert_int_equal(try_open(), 0);
    atomic_store(&stop_threads, false);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look_up_until_stopped, &wrong[i]), 0);
    written = in_child(write_for_a_while);
    atomic_store(&stop_threads, true);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(written, 0);
    assert_int_equal(wrong[0], 0);
    assert_int_equal(wrong[1], 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(found_consumer_has_all_its_members),
        TEST(groups_are_the_realms_then_the_consumers_each_once),
        TEST(missing_consumer_has_no_members),
        TEST(scopes_do_not_see_each_others_keys),
        TEST(one_secret_in_two_realms_is_two_consumers),
        TEST(change_is_seen_by_the_next_snapshot_alone),
        TEST(changed_realm_is_seen_at_once),
        TEST(expired_key_is_not_found),
        TEST(digests_with_a_common_start_are_told_apart),
        TEST(keys_of_impossible_length_are_unknown),
        TEST(found_answer_is_stale_after_the_realms_ttl),
        TEST(miss_is_stale_after_the_realms_negative_ttl),
        TEST(unknown_realm_has_a_negative_ttl_of_ten_minutes),
        TEST(control_planes_own_consumers_are_never_stale),
        TEST(ages_outlive_the_agent),
        TEST(after_a_reboot_ages_follow_the_wall_clock),
        TEST(agent_that_starts_after_a_reboot_goes_on_counting),
        TEST(source_that_was_never_heard_is_stale),
        TEST(source_without_a_copy_is_not_a_no),
        TEST(region_without_a_copy_stops_only_who_needs_it),
        TEST(sources_are_read_from_text),
        TEST(new_generation_is_seen_by_the_next_snapshot_alone),
        TEST(generation_that_a_snapshot_did_not_use_yet_is_still_its_own),
        TEST(removed_region_is_gone_at_the_next_snapshot),
        TEST(replaced_status_page_is_noticed),
        TEST(unreadable_new_status_page_leaves_the_old_copy_serving),
        TEST(agent_that_died_while_writing_the_page_stops_no_lookup),
        TEST(status_tells_what_serves),
        TEST(every_code_has_a_text),
        TEST(missing_store_is_told_apart),
        TEST(truncated_data_is_refused_before_it_is_mapped),
        TEST(foreign_status_page_is_refused),
        TEST(other_format_version_is_refused),
        TEST(store_of_format_1_is_refused),
        TEST(damaged_record_is_an_error_not_a_miss),
        TEST(flipped_bytes_of_a_record_never_crash_a_lookup),
        TEST(forked_child_is_refused_and_harms_nothing),
        TEST(group_members_read_and_strangers_do_not),
        TEST(read_only_mount_is_refused),
        TEST(reader_with_little_address_space_takes_a_smaller_map),
        TEST(map_grows_when_no_other_snapshot_is_open),
        TEST(oldest_reader_is_named_and_a_dead_ones_slot_is_cleared),
        TEST(threads_look_up_while_the_writer_commits),
    };

    return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}

/* agent/replica.h with a real store, seen through the public library, against a fake control
 * plane. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "realmstore.h"

#include "base/clock.h"
#include "agent/integrity.h"
#include "agent/status_text.h"
#include "tests/lib/child.h"
#include "tests/lib/replica_world.h"
#include "tests/lib/small_disk.h"

/* ---- what a reader sees ---- */

/* In a process of its own, as readers are: LMDB drops its locks when one process opens a file
 * twice. */
static int look_up_here(const char *dir, unsigned number, char *name, size_t size)
{
    rs_source source = {.scope = RS_SCOPE_REALM, .region = "us"};
    struct uuid realm;
    rs_store *store;
    rs_snapshot *snapshot;
    rs_consumer consumer;
    char key[32];
    int rc;

    if (!uuid_parse(FAKE_PLANE_REALM, &realm) || rs_open(&store, dir, NULL) != 0 ||
        rs_begin(store, &snapshot) != 0)
        return RS_E_IO;
    memcpy(source.realm_id, realm.bytes, UUID_BYTES);
    (void)snprintf(key, sizeof(key), "key-%u", number);
    rc = rs_lookup(snapshot, &source, 1, key, strlen(key), &consumer);
    if (rc == RS_FOUND)
        (void)snprintf(name, size, "%s", rs_consumer_username(&consumer));
    rs_end(snapshot);
    rs_close(store);
    return rc;
}

struct answer {
    int rc;
    char name[64];
};

static struct answer look_up(const struct world *world, unsigned number)
{
    struct answer answer = {.rc = RS_E_IO};
    int ends[2];
    pid_t child;

    assert_int_equal(pipe(ends), 0);
    child = child_fork();
    if (child == 0) {
        answer.rc = look_up_here(world->dir, number, answer.name, sizeof(answer.name));
        _exit(write(ends[1], &answer, sizeof(answer)) == sizeof(answer) ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(read(ends[0], &answer, sizeof(answer)), sizeof(answer));
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(close(ends[0]) | close(ends[1]), 0);
    return answer;
}

static void assert_serves(const struct world *world, unsigned version)
{
    struct answer answer = look_up(world, version);
    char expected[64];

    (void)snprintf(expected, sizeof(expected), "consumer-%u", version);
    assert_int_equal(answer.rc, RS_FOUND);
    assert_string_equal(answer.name, expected);
    assert_int_equal(look_up(world, version + 1).rc, RS_NOT_FOUND);
}

static bool is_disconnected(struct world *world)
{
    return world_seen(world)->state == SOURCE_DISCONNECTED;
}

static bool has_failed_twice(struct world *world)
{
    return world_seen(world)->apply_failures >= 2;
}

static bool is_acked(struct world *world)
{
    return world->plane->acked == world->plane->version;
}

/* A turn of the loop at least, so that the answer to a check can have come. */
static bool has_been_checked(struct world *world)
{
    return world->wanted++ % 2 == 1;
}

static bool has_readers(struct world *world)
{
    return world_seen(world)->readers > 0;
}

static bool has_loaded(struct world *world)
{
    return world_seen(world)->snapshots > 0;
}

static bool page_has(const struct world *world, const char *text)
{
    struct buffer page;
    bool found;

    buffer_init(&page, 1024 * 1024);
    assert_int_equal(status_json(&world->seen, clock_boot_ms(), &page), 0);
    assert_int_equal(status_metrics(&world->seen, clock_boot_ms(), &page), 0);
    found = memmem(page.data, page.size, text, strlen(text)) != NULL;
    buffer_finish(&page);
    return found;
}

/* ---- tests ---- */

static void empty_store_copies_a_snapshot_and_goes_live(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 10);
    world_start(&world);
    world_run_until(&world, world_is_live);
    assert_int_equal(world.plane->snapshots, 1);
    assert_int_equal(world_seen(&world)->resyncs[SESSION_RESYNC_NO_CURSOR], 1);
    assert_int_equal(world_seen(&world)->counts.consumers, 10);
    assert_true(world_seen(&world)->complete);
    assert_serves(&world, 10);
    world_stop(&world);
    world_close(&world);
}

static void changes_after_an_older_snapshot_are_applied_and_acknowledged(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 10);
    world.plane->snapshot_version = 4;
    world_start(&world);
    world_run_until(&world, world_is_live);
    world_run_until(&world, is_acked);
    assert_int_equal(world_seen(&world)->transactions, 6);
    assert_int_equal(histogram_count(&world_seen(&world)->propagation),
                     world_seen(&world)->commits - 1);
    assert_serves(&world, 10);
    world_stop(&world);
    world_close(&world);
}

static void restart_resumes_from_the_durable_cursor_without_a_snapshot(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 3);
    world_start(&world);
    world_run_until(&world, world_is_live);
    world_stop(&world);
    world.plane->version = 8;
    world_start(&world);
    world_run_until(&world, world_is_live);
    assert_int_equal(world.plane->snapshots, 1);
    assert_int_equal(world_seen(&world)->transactions, 5);
    assert_serves(&world, 8);
    world_stop(&world);
    world_close(&world);
}

static void store_serves_while_the_control_plane_is_away_at_start(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 3);
    world_start(&world);
    world_run_until(&world, world_is_live);
    world_stop(&world);
    world.plane->down = true;
    world_start(&world);
    world_run_until(&world, is_disconnected);
    assert_true(world_seen(&world)->complete);
    assert_serves(&world, 3);
    world.plane->down = false;
    world_run_until(&world, world_is_live);
    world_stop(&world);
    world_close(&world);
}

static void transactions_that_arrive_during_a_commit_become_one(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 1);
    world_start(&world);
    world_run_until(&world, world_is_live);
    world_stop(&world);
    world.plane->version = 2001;
    world_start(&world);
    world_run_until(&world, world_is_live);
    assert_int_equal(world_seen(&world)->transactions, 2000);
    assert_int_equal(world_seen(&world)->changes, 4000);
    assert_in_range(world_seen(&world)->commits, 1, 1000);
    assert_serves(&world, 2001);
    world_stop(&world);
    world_close(&world);
}

/* The source's clock is an hour ahead or behind: only the figure of how long a change took suffers,
 * and it never goes below zero. */
static void commits_from_a_clock_that_is_an_hour_off_are_applied_like_others(void **state)
{
    static const int64_t off_ms[] = {-3600 * 1000, 3600 * 1000};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world world;

        world_open(&world, 3);
        world_start(&world);
        world_run_until(&world, world_is_live);
        world_stop(&world);
        world.plane->time_ms = clock_wall_ms() + off_ms[i];
        world.plane->version = 5;
        world_start(&world);
        world_run_until(&world, world_is_live);
        assert_serves(&world, 5);
        assert_true(off_ms[i] > 0 ? world_seen(&world)->propagation.sum_s == 0
                                  : world_seen(&world)->propagation.sum_s >= 3600);
        world_stop(&world);
        world_close(&world);
    }
}

/* A transaction that no copy takes; a snapshot of the same version has nothing of the kind. */
static void assert_one_snapshot_mends(bool impossible, bool shared_secret)
{
    struct world world;

    world_open(&world, 5);
    world_start(&world);
    world_run_until(&world, world_is_live);
    world_stop(&world);
    world.plane->impossible = impossible;
    world.plane->shared_secret = shared_secret;
    world.plane->version = 6;
    world_start(&world);
    world_run_until(&world, world_is_live);
    assert_int_equal(world_seen(&world)->apply_failures, 1);
    assert_int_equal(world_seen(&world)->resyncs[SESSION_RESYNC_STORE], 1);
    assert_int_equal(world.plane->snapshots, 2);
    assert_serves(&world, 6);
    world_stop(&world);
    world_close(&world);
}

static void impossible_transaction_is_dropped_and_answered_by_a_snapshot(void **state)
{
    (void)state;
    assert_one_snapshot_mends(true, false);
}

/* E_PROTOCOL: the source's own fault, which the same transaction would bring again, for ever. */
static void transaction_that_breaks_the_protocol_is_answered_by_one_snapshot(void **state)
{
    (void)state;
    assert_one_snapshot_mends(false, true);
}

static void repair_that_fails_is_counted_and_answered_by_one_snapshot(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 5);
    world_start(&world);
    world_run_until(&world, world_is_live);
    world_stop(&world);
    world.plane->spoilt_repairs = 1;
    world_start(&world);
    world_run_until(&world, has_loaded);
    world_run_until(&world, world_is_live);
    assert_int_equal(world_seen(&world)->repairs_failed, 1);
    assert_int_equal(world_seen(&world)->repairs, 0);
    assert_int_equal(world_seen(&world)->resyncs[SESSION_RESYNC_STORE], 1);
    assert_int_equal(world.plane->snapshots, 2);
    assert_true(page_has(&world, "realm_agent_repairs_failed_total{region=\"us\"} 1"));
    assert_serves(&world, 5);
    world_stop(&world);
    world_close(&world);
}

static void damaged_snapshot_is_refused_and_the_old_copy_serves(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 5);
    world_start(&world);
    world_run_until(&world, world_is_live);
    world_stop(&world);
    world.plane->impossible = true; /* asks for a snapshot */
    world.plane->damaged = true;
    world.plane->version = 6;
    world_start(&world);
    world_run_until(&world, has_failed_twice);
    assert_serves(&world, 5);
    world.plane->damaged = false;
    world_run_until(&world, world_is_live);
    assert_serves(&world, 6);
    world_stop(&world);
    world_close(&world);
}

static bool is_loading(struct world *world)
{
    return world->plane->snapshots > 0;
}

static void stop_in_the_middle_of_a_load_leaves_an_empty_store_that_can_start_again(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 20000);
    world_start(&world);
    world_run_until(&world, is_loading);
    world_stop(&world);
    world_start(&world);
    world_run_until(&world, world_is_live);
    assert_serves(&world, 20000);
    world_stop(&world);
    world_close(&world);
}

/* A reader's process: a snapshot is open until a byte comes. */
static int hold_snapshot(const char *dir, int fd)
{
    rs_source source = {.scope = RS_SCOPE_CP};
    rs_store *store;
    rs_snapshot *snapshot;
    rs_consumer consumer;
    char byte;

    if (rs_open(&store, dir, NULL) != 0 || rs_begin(store, &snapshot) != 0)
        return 1;
    (void)rs_lookup(snapshot, &source, 1, "x", 1, &consumer);
    if (read(fd, &byte, 1) != 1)
        return 1;
    rs_end(snapshot);
    rs_close(store);
    return 0;
}

static void open_reader_shows_in_the_figures(void **state)
{
    struct world world;
    int ends[2];
    pid_t child;

    (void)state;
    world_open(&world, 2);
    world_start(&world);
    world_run_until(&world, world_is_live);
    assert_int_equal(pipe(ends), 0);
    child = child_fork();
    if (child == 0)
        _exit(hold_snapshot(world.dir, ends[0]));
    assert_true(child > 0);
    do {
        replica_check_readers(world.replica);
        world_run_until(&world, has_been_checked);
    } while (!has_readers(&world));
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(close(ends[0]) | close(ends[1]), 0);
    world_stop(&world);
    world_close(&world);
}

static bool has_no_room(struct world *world)
{
    return world_seen(world)->no_room == 1;
}

static bool knows_free_room(struct world *world)
{
    return world_seen(world)->disk_free_bytes > 0;
}

static bool log_has(int fd, const char *text)
{
    char log[16 * 1024] = "";

    assert_true(pread(fd, log, sizeof(log) - 1, 0) >= 0);
    return strstr(log, text) != NULL;
}

static void full_disk_is_told_and_what_came_meanwhile_arrives_when_there_is_room(void **state)
{
    enum { VERSION = 12000 }; /* several megabytes of consumers and keys */
    int log_fd = memfd_create("log", MFD_CLOEXEC);
    struct world world;

    (void)state;
    if (!small_disk_allowed())
        skip();
    assert_true(log_fd >= 0);
    world_open(&world, 2);
    small_disk_mount(world.dir, 16);
    world.log = (struct log){log_fd, LOG_LEVEL_INFO, LOG_FORMAT_TEXT};
    world_start(&world);
    world_run_until(&world, world_is_live);
    world_run_until(&world, knows_free_room);
    assert_true(page_has(&world, "\"no_room\":false"));
    world_stop(&world);
    small_disk_fill(world.dir, 256 * 1024);
    world.plane->version = VERSION;
    world_start(&world);
    world_run_until(&world, has_no_room);
    assert_int_equal(look_up(&world, 2).rc, RS_FOUND);
    assert_true(page_has(&world, "\"no_room\":true"));
    assert_true(page_has(&world, "realm_agent_no_room{region=\"us\"} 1"));
    world_run_until(&world, has_failed_twice); /* the line is written by now */
    assert_true(log_has(log_fd, "make room on the store's file system; the last good copy serves, "
                                "retrying in"));
    small_disk_clear(world.dir);
    world_run_until(&world, world_is_live);
    assert_serves(&world, VERSION);
    assert_true(log_has(log_fd, "the store's file system has room again"));
    assert_int_equal(world_seen(&world)->no_room, 0);
    world_stop(&world);
    small_disk_unmount(world.dir);
    world_close(&world);
    assert_int_equal(close(log_fd), 0);
}

static bool has_given_up(struct world *world)
{
    replica_walk(world->replica); /* the agent's timer does that */
    return world_seen(world)->unanswered >= INTEGRITY_UNANSWERED_MAX && world_is_live(world);
}

/* A control plane that knows no wishes sends changes all the same. */
static void assert_wish_is_given_up(bool changes)
{
    struct world world;

    world_open(&world, 10);
    world.plane->snapshot_version = changes ? 4 : 0;
    world.plane->wishless = true;
    world.plane->beating = !changes;
    world_start(&world);
    world_run_until(&world, has_given_up);
    assert_int_equal(world.plane->wishes, INTEGRITY_UNANSWERED_MAX);
    assert_true(page_has(&world, "realm_agent_unanswered_total{region=\"us\"} 3"));
    assert_int_equal(world_seen(&world)->verified, 0);
    assert_int_equal(world_seen(&world)->snapshots, 1);
    assert_serves(&world, 10);
    /* A commit after that asks for nothing: the source's next silence ends no wish. */
    world.plane->version = 11;
    world_run_until(&world, world_is_live);
    assert_int_equal(world.plane->wishes, INTEGRITY_UNANSWERED_MAX);
    world_stop(&world);
    world_close(&world);
}

static void
wish_that_the_first_transaction_does_not_answer_is_asked_again_and_given_up(void **state)
{
    (void)state;
    assert_wish_is_given_up(true);
}

static void wish_that_only_heartbeats_follow_is_asked_again_and_given_up(void **state)
{
    (void)state;
    assert_wish_is_given_up(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_store_copies_a_snapshot_and_goes_live),
        cmocka_unit_test(changes_after_an_older_snapshot_are_applied_and_acknowledged),
        cmocka_unit_test(restart_resumes_from_the_durable_cursor_without_a_snapshot),
        cmocka_unit_test(store_serves_while_the_control_plane_is_away_at_start),
        cmocka_unit_test(transactions_that_arrive_during_a_commit_become_one),
        cmocka_unit_test(commits_from_a_clock_that_is_an_hour_off_are_applied_like_others),
        cmocka_unit_test(impossible_transaction_is_dropped_and_answered_by_a_snapshot),
        cmocka_unit_test(transaction_that_breaks_the_protocol_is_answered_by_one_snapshot),
        cmocka_unit_test(repair_that_fails_is_counted_and_answered_by_one_snapshot),
        cmocka_unit_test(damaged_snapshot_is_refused_and_the_old_copy_serves),
        cmocka_unit_test(stop_in_the_middle_of_a_load_leaves_an_empty_store_that_can_start_again),
        cmocka_unit_test(
            wish_that_the_first_transaction_does_not_answer_is_asked_again_and_given_up),
        cmocka_unit_test(wish_that_only_heartbeats_follow_is_asked_again_and_given_up),
        cmocka_unit_test(open_reader_shows_in_the_figures),
        cmocka_unit_test(full_disk_is_told_and_what_came_meanwhile_arrives_when_there_is_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

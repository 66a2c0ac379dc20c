/* test_retained.c - readers without slots: where they can read, and that they never believe pages
 * that the agent has used again.
 *
 * The clock is the test's, so that what depends on time is decided by the test, except where a
 * reader is a process of its own that is stopped and goes on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "store/reader_internal.h"
#include "tests/lib/child.h"
#include "tests/lib/store_fixture.h"

enum { RETENTION_MS = 100, NOT_PERMITTED = 100, READER_GROUP = 60, NOBODY = 65534 };

static struct fixture f;
static rs_store *store;
static rs_snapshot *snapshot;
static rs_consumer consumer;
static rs_mode mode;
static char message[256];

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    f.retention_ms = RETENTION_MS;
    store = NULL;
    snapshot = NULL;
    mode = RS_MODE_RETAINED;
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
    options.mode = mode;
    return reader_open(&store, f.dir, &options, &f.clock);
}

static void make_people(void)
{
    fixture_open(&f);
    fixture_load_people(&f);
}

static void open_people(void)
{
    make_people();
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

static int find_alice(void)
{
    rs_source source = fixture_realm_source(7);

    return rs_lookup(snapshot, &source, 1, "alice-key", strlen("alice-key"), &consumer);
}

/* Opens, and looks alice up in a snapshot that stays. */
static int read_alice(void)
{
    int rc = try_open();

    if (rc == 0)
        rc = rs_begin(store, &snapshot);
    return rc != 0 ? rc : find_alice();
}

static rs_mode mode_in_use(void)
{
    rs_status_info status;

    assert_int_equal(rs_status(store, &status), 0);
    return status.mode;
}

/* `n` commits, each of which renames alice (to "Alice", back, ...) and so frees the pages of the
 * version before. */
static void rename_alice(int n)
{
    for (int i = 0; i < n; i++) {
        fixture_begin(&f);
        fixture_put_consumer(f.source, 7, 1, f.version % 2 == 0 ? "Alice" : "alice");
        fixture_commit(&f);
    }
}

static struct source_readers readers_now(void)
{
    struct source_readers readers;
    struct error err = ERROR_INIT;

    assert_int_equal(source_check_readers(f.source, &readers, &err), 0);
    return readers;
}

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

static void skip_if_not_permitted(int rc, const char *what)
{
    if (rc != NOT_PERMITTED)
        return;
    print_message("skipped: %s not permitted here\n", what);
    skip();
}

/* ---- within the retention time ---- */

static void young_snapshot_keeps_its_version_through_many_commits(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(find_alice(), RS_FOUND);
    rename_alice(201);
    assert_int_equal(rs_check(snapshot), 0);
    assert_string_equal(rs_consumer_username(&consumer), "alice");
    assert_int_equal(find_alice(), RS_FOUND);
    assert_string_equal(rs_consumer_username(&consumer), "alice");
    begin_again();
    assert_int_equal(find_alice(), RS_FOUND);
    assert_string_equal(rs_consumer_username(&consumer), "Alice");
}

static void every_version_of_the_retention_time_stays(void **state)
{
    rs_snapshot *older[5];
    rs_consumer seen[5];
    rs_source source = fixture_realm_source(7);

    (void)state;
    open_people();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(rs_begin(store, &older[i]), 0);
        assert_int_equal(rs_lookup(older[i], &source, 1, "alice-key", 9, &seen[i]), RS_FOUND);
        rename_alice(3);
        f.boot_ms += RETENTION_MS / 5;
    }
    f.boot_ms--; /* the oldest is now one millisecond younger than the retention time */
    rename_alice(20);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(rs_check(older[i]), 0);
        assert_string_equal(rs_consumer_username(&seen[i]), i % 2 == 0 ? "alice" : "Alice");
        rs_end(older[i]);
    }
}

static void reader_takes_no_slot_and_the_agents_own_are_not_counted(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(find_alice(), RS_FOUND);
    assert_int_equal(readers_now().in_use, 0);
    assert_int_equal(readers_now().retained, 1);
    assert_int_equal(mode_in_use(), RS_MODE_RETAINED);
}

static void transactions_are_given_up_when_they_are_old(void **state)
{
    (void)state;
    make_people();
    for (int i = 0; i < 100; i++) {
        rename_alice(1);
        f.boot_ms += RETENTION_MS / 10;
        assert_in_range(readers_now().retained, 1, 6);
        assert_in_range(readers_now().retained_age_ms, 0, RETENTION_MS * 3 / 2);
    }
    f.boot_ms += 10 * RETENTION_MS;
    (void)readers_now(); /* holds the newest */
    f.boot_ms += RETENTION_MS;
    assert_int_equal(readers_now().retained, 2);
}

/* ---- beyond it ---- */

static void overtaken_snapshot_that_has_answered_is_over(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(find_alice(), RS_FOUND);
    f.boot_ms += RETENTION_MS;
    rename_alice(1);
    f.boot_ms += RETENTION_MS;
    rename_alice(2);
    assert_int_equal(rs_check(snapshot), RS_E_OVERTAKEN);
    assert_int_equal(find_alice(), RS_E_OVERTAKEN);
    begin_again();
    assert_int_equal(rs_check(snapshot), 0);
    assert_int_equal(find_alice(), RS_FOUND);
    assert_string_equal(rs_consumer_username(&consumer), "Alice");
}

/* The page alone tells, whatever the reader's clock says. */
static void page_tells_without_the_clock(void **state)
{
    int64_t begun_ms;

    (void)state;
    open_people();
    assert_int_equal(find_alice(), RS_FOUND);
    begun_ms = f.boot_ms;
    for (int i = 0; i < 4; i++) {
        f.boot_ms += RETENTION_MS;
        rename_alice(1);
    }
    f.boot_ms = begun_ms;
    assert_int_equal(rs_check(snapshot), RS_E_OVERTAKEN);
    assert_int_equal(find_alice(), RS_E_OVERTAKEN);
}

/* The clock alone tells, even when somebody deleted the page and the agent writes another one. */
static void clock_tells_without_the_page(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(find_alice(), RS_FOUND);
    f.boot_ms += RETENTION_MS;
    assert_int_equal(rs_check(snapshot), RS_E_OVERTAKEN);
}

static void snapshot_older_than_half_the_time_answers_only_if_it_has_not_yet(void **state)
{
    rs_source cp = fixture_cp_source();

    (void)state;
    open_people();
    f.boot_ms += RETENTION_MS * 10;
    assert_int_equal(find_alice(), RS_FOUND); /* its transaction began just now */
    f.boot_ms += RETENTION_MS / 2;
    assert_int_equal(rs_lookup(snapshot, &cp, 1, "bob-key", 7, &consumer), RS_FOUND);
    f.boot_ms++;
    assert_int_equal(find_alice(), RS_E_OVERTAKEN);
    assert_int_equal(rs_check(snapshot), 0); /* what was answered is still good */
}

/* ---- the agent comes and goes ---- */

static void answers_outlive_a_switch_of_generations(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(find_alice(), RS_FOUND);
    for (int i = 0; i < 3; i++) {
        fixture_load_people(&f);
        rename_alice(20);
    }
    assert_int_equal(rs_check(snapshot), 0);
    assert_string_equal(rs_consumer_username(&consumer), "alice");
    begin_again();
    assert_int_equal(find_alice(), RS_FOUND);
}

static void stopped_agent_leaves_its_readers_reading(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(find_alice(), RS_FOUND);
    fixture_close(&f);
    assert_int_equal(rs_check(snapshot), 0);
    f.boot_ms += RETENTION_MS * 100;
    begin_again();
    assert_int_equal(find_alice(), RS_FOUND);
    assert_int_equal(rs_check(snapshot), 0);
}

static void restarted_agent_waits_before_it_may_use_pages_again(void **state)
{
    int64_t before_ms;

    (void)state;
    open_people();
    rename_alice(1);
    begin_again();
    assert_int_equal(find_alice(), RS_FOUND);
    fixture_close(&f);
    f.retention_ms = 0; /* what was promised before counts too */
    fixture_open(&f);
    before_ms = clock_boot_ms();
    rename_alice(1);
    assert_true(clock_boot_ms() - before_ms >= RETENTION_MS - 1);
    before_ms = clock_boot_ms();
    rename_alice(1);
    assert_true(clock_boot_ms() - before_ms < RETENTION_MS); /* the first one only */
    assert_int_equal(rs_check(snapshot), RS_E_OVERTAKEN);
    assert_int_equal(find_alice(), RS_E_UNSUPPORTED);
}

static void killed_agents_successor_publishes_before_it_writes(void **state)
{
    (void)state;
    open_people();
    assert_int_equal(find_alice(), RS_FOUND);
    rename_alice(1);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(rs_check(snapshot), RS_E_OVERTAKEN);
    begin_again();
    assert_int_equal(find_alice(), RS_FOUND);
    assert_string_equal(rs_consumer_username(&consumer), "Alice");
}

static void agent_that_retains_nothing_has_no_retained_readers(void **state)
{
    (void)state;
    f.retention_ms = 0;
    make_people();
    assert_int_equal(try_open(), RS_E_UNSUPPORTED);
    assert_non_null(strstr(message, "retention_ms"));
    mode = RS_MODE_AUTO;
    assert_int_equal(read_alice(), RS_FOUND);
    assert_int_equal(mode_in_use(), RS_MODE_SLOTS);
}

/* Nothing that readers can write is used: with a lock file of rubbish a slot would hang or
 * crash. */
static void auto_trusts_no_lock_file_where_the_agent_retains(void **state)
{
    static const char rubbish[8192] = "no reader table";
    const char *path;
    int fd;

    (void)state;
    mode = RS_MODE_AUTO;
    make_people();
    fixture_close(&f);
    path = fixture_path(&f, "us/g-000001/lock.mdb");
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, rubbish, sizeof(rubbish)), sizeof(rubbish));
    assert_int_equal(close(fd), 0);
    assert_int_equal(read_alice(), RS_FOUND);
    assert_int_equal(mode_in_use(), RS_MODE_RETAINED);
}

static void auto_takes_slots_once_the_agent_ceases_to_retain(void **state)
{
    (void)state;
    mode = RS_MODE_AUTO;
    open_people();
    assert_int_equal(find_alice(), RS_FOUND);
    assert_int_equal(mode_in_use(), RS_MODE_RETAINED);
    fixture_close(&f);
    f.retention_ms = 0;
    fixture_open(&f);
    rename_alice(2);
    begin_again();
    assert_int_equal(find_alice(), RS_FOUND);
    assert_int_equal(mode_in_use(), RS_MODE_SLOTS);
}

/* A caller that was built before there was a mode does not know of rs_check(). */
static void options_without_a_mode_mean_slots(void **state)
{
    rs_options options = RS_OPTIONS_INIT;

    (void)state;
    make_people();
    options.size = offsetof(rs_options, mode);
    options.mode = RS_MODE_RETAINED; /* not looked at */
    assert_int_equal(reader_open(&store, f.dir, &options, &f.clock), 0);
    assert_int_equal(mode_in_use(), RS_MODE_SLOTS);
}

static void replaced_status_page_ends_a_snapshot(void **state)
{
    struct status page;
    struct error err = ERROR_INIT;
    struct status_info *info = malloc(sizeof(*info));
    struct uuid id = fixture_control_plane();

    (void)state;
    assert_non_null(info);
    open_people();
    assert_int_equal(find_alice(), RS_FOUND);
    assert_int_equal(status_open_writer(f.dir, &id, (gid_t)-1, &f.clock, &page, info, &err), 0);
    atomic_store(&page.words[STATUS_AT_REPLACED], 1);
    status_close(&page);
    free(info);
    assert_int_equal(rs_check(snapshot), RS_E_OVERTAKEN);
    assert_int_equal(find_alice(), RS_E_OVERTAKEN);
}

/* ---- places where slots do not go ---- */

static bool mount_read_only(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount(f.dir, f.dir, NULL, MS_BIND, NULL) == 0 &&
           mount(NULL, f.dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0;
}

static int read_on_read_only_mount(void)
{
    int rc = mount_read_only() ? read_alice() : NOT_PERMITTED;

    return rc == RS_FOUND && mode_in_use() != RS_MODE_RETAINED ? 99 : rc;
}

static void read_only_mount_is_read_without_slots(void **state)
{
    int rc;

    (void)state;
    make_people();
    for (mode = RS_MODE_AUTO; mode <= RS_MODE_RETAINED; mode++) {
        rc = in_child(read_on_read_only_mount);
        skip_if_not_permitted(rc, "mount namespaces are");
        assert_int_equal(rc, mode == RS_MODE_SLOTS ? RS_E_READ_ONLY_MOUNT : RS_FOUND);
    }
}

static int read_as_member(void)
{
    const gid_t groups[] = {READER_GROUP};
    int rc;

    if (setgroups(1, groups) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
        return NOT_PERMITTED;
    rc = read_alice();
    return rc == RS_FOUND && mode_in_use() != RS_MODE_RETAINED ? 99 : rc;
}

static void read_permission_alone_is_enough(void **state)
{
    int rc;

    (void)state;
    f.group = "games";
    make_people();
    assert_int_equal(chmod(fixture_path(&f, "us/g-000001/lock.mdb"), 0640), 0);
    for (mode = RS_MODE_AUTO; mode <= RS_MODE_RETAINED; mode++) {
        rc = in_child(read_as_member);
        skip_if_not_permitted(rc, "becoming another user is");
        assert_int_equal(rc, mode == RS_MODE_SLOTS ? RS_E_PERMISSION : RS_FOUND);
    }
}

/* ---- PID namespaces ---- */

/* As process 1 of a PID namespace of its own. */
static int read_as_process_one(void)
{
    if (unshare(CLONE_NEWPID) != 0)
        return NOT_PERMITTED;
    return in_child(read_alice);
}

/* Says through `out` what read_alice() gave, and stays in the snapshot until `in` is closed. */
static void hold_as_process_one(int out, int in)
{
    int8_t rc = NOT_PERMITTED;
    pid_t pid;

    if (unshare(CLONE_NEWPID) != 0 || (pid = child_fork()) < 0) {
        _exit(write(out, &rc, 1) == 1);
    }
    if (pid == 0) {
        rc = (int8_t)read_alice();
        _exit(write(out, &rc, 1) == 1 && read(in, &rc, 1) == 0);
    }
    (void)waitpid(pid, NULL, 0);
    _exit(0);
}

static void equal_pids_of_two_namespaces_collide_in_slots_alone(void **state)
{
    int ready[2];
    int stay[2];
    int8_t first = 1;
    int rc[3] = {0};
    pid_t holder;

    (void)state;
    make_people();
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(stay), 0);
    mode = RS_MODE_SLOTS;
    holder = child_fork();
    assert_true(holder >= 0);
    if (holder == 0) {
        (void)close(stay[1]);
        hold_as_process_one(ready[1], stay[0]);
    }
    assert_int_equal(read(ready[0], &first, 1), 1);
    for (mode = RS_MODE_AUTO; first == RS_FOUND && mode <= RS_MODE_RETAINED; mode++)
        rc[mode] = in_child(read_as_process_one);
    (void)close(stay[1]);
    (void)waitpid(holder, NULL, 0);
    (void)close(stay[0]);
    (void)close(ready[0]);
    (void)close(ready[1]);
    skip_if_not_permitted(first, "PID namespaces are");
    assert_int_equal(first, RS_FOUND);
    assert_int_equal(rc[RS_MODE_AUTO], RS_FOUND);
    assert_int_equal(rc[RS_MODE_SLOTS], RS_E_PID_COLLISION);
    assert_int_equal(rc[RS_MODE_RETAINED], RS_FOUND);
}

/* ---- many slots ---- */

enum { MORE_THAN_FIT = ENV_MAX_READERS + 1 };

/* Begins snapshots until there is no slot left; gives the last one's code. */
static int fill_slots(rs_snapshot **all, int *ret_n)
{
    rs_source source = fixture_realm_source(7);
    int rc = try_open();

    *ret_n = 0;
    while (rc == RS_FOUND && *ret_n < MORE_THAN_FIT) {
        rc = rs_begin(store, &all[*ret_n]);
        if (rc == 0)
            rc = rs_lookup(all[(*ret_n)++], &source, 1, "alice-key", 9, &consumer);
    }
    return rc;
}

/* Tells that the slots are full, waits for the parent's answer, gives them back, looks up again. */
static int fill_and_empty_slots(int out, int in)
{
    static rs_snapshot *all[MORE_THAN_FIT];
    char byte = 0;
    int n;

    if (fill_slots(all, &n) != RS_E_READERS_FULL || n < ENV_MAX_READERS - 10)
        return 99;
    if (write(out, &byte, 1) != 1 || read(in, &byte, 1) != 1)
        return 98;
    while (n > 0)
        rs_end(all[--n]);
    if (rs_begin(store, &snapshot) != 0)
        return 97;
    return find_alice();
}

static void full_slots_stop_neither_the_agent_nor_retained_readers(void **state)
{
    int to_parent[2];
    int to_child[2];
    char byte = 0;
    int status;
    pid_t pid;

    (void)state;
    make_people();
    assert_int_equal(pipe(to_parent), 0);
    assert_int_equal(pipe(to_child), 0);
    mode = RS_MODE_SLOTS;
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fill_and_empty_slots(to_parent[1], to_child[0]));
    (void)close(to_parent[1]);
    assert_int_equal(read(to_parent[0], &byte, 1), 1); /* 0: the child failed */
    rename_alice(3);
    assert_int_equal(in_child(read_alice), RS_E_READERS_FULL);
    mode = RS_MODE_AUTO;
    assert_int_equal(in_child(read_alice), RS_FOUND);
    assert_int_equal(write(to_child[1], &byte, 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), RS_FOUND);
    assert_non_null(strstr(rs_strerror(RS_E_READERS_FULL), "realmctl readers"));
    (void)close(to_parent[0]);
    (void)close(to_child[0]);
    (void)close(to_child[1]);
}

/* Takes all slots but a few, tells so, and stays until `in` is closed. */
static int leave_few_slots(int out, int in)
{
    enum { TAKEN = ENV_MAX_READERS - 3 };
    static rs_snapshot *all[TAKEN];
    rs_source source = fixture_realm_source(7);
    char byte = 0;

    if (try_open() != 0)
        return 1;
    for (int i = 0; i < TAKEN; i++) {
        if (rs_begin(store, &all[i]) != 0 ||
            rs_lookup(all[i], &source, 1, "alice-key", 9, &consumer) != RS_FOUND)
            return 1;
    }
    return write(out, &byte, 1) == 1 && read(in, &byte, 1) == 0 ? 0 : 1;
}

/* The agent's own slots are in a file of its own. */
static void slots_that_are_taken_keep_no_agent_from_retaining(void **state)
{
    int to_parent[2];
    int to_child[2];
    char byte;
    int status;
    pid_t pid;

    (void)state;
    make_people();
    fixture_close(&f);
    assert_int_equal(pipe(to_parent), 0);
    assert_int_equal(pipe(to_child), 0);
    mode = RS_MODE_SLOTS;
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(to_child[1]);
        _exit(leave_few_slots(to_parent[1], to_child[0]));
    }
    (void)close(to_parent[1]);
    assert_int_equal(read(to_parent[0], &byte, 1), 1);
    fixture_open(&f);
    assert_int_equal(readers_now().retained, 1);
    rename_alice(1);
    mode = RS_MODE_RETAINED;
    assert_int_equal(in_child(read_alice), RS_FOUND);
    (void)close(to_child[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    (void)close(to_parent[0]);
    (void)close(to_child[0]);
}

/* ---- readers that are stopped ---- */

enum { KEYS = 300, ROUNDS = 6, REWRITES = 3 };

/* What the reader tells, in memory that both processes share. */
struct tally {
    atomic_long right;
    atomic_long overtaken;
    atomic_long wrong;
    atomic_bool stop;
};

static struct tally *tally;

/* Username "kKEY-gROUND"; the custom id and the group repeat it, so that a record that is made of
 * two shows. */
static void put_marked(unsigned key, unsigned round)
{
    char text[64];
    const char *const groups[] = {text};
    struct model_consumer marked = {.id = fixture_uuid(1000 + key),
                                    .type = MODEL_CONSUMER_PROXY,
                                    .username = text,
                                    .custom_id = text,
                                    .groups = {groups, 1}};
    struct error err = ERROR_INIT;

    (void)snprintf(text, sizeof(text), "k%u-g%u", key, round);
    if (source_put_consumer(f.source, 7, &marked, &err) != 0)
        fail_msg("%s", err.message);
}

static void put_all_marked(unsigned round)
{
    char secret[32];

    fixture_begin(&f);
    for (unsigned key = 0; key < KEYS; key++) {
        put_marked(key, round);
        (void)snprintf(secret, sizeof(secret), "secret-%u", key);
        if (round == 0)
            fixture_put_key(f.source, 7, 1000 + key, 5000 + key, secret);
    }
    fixture_commit(&f);
}

static void copy_text(char to[64], const char *text)
{
    (void)snprintf(to, 64, "%.63s", text != NULL ? text : "");
}

/* Looks one key up, stopping where it is told to, and judges the answer. */
static void look_up_marked(unsigned key, bool stop_before, bool stop_after)
{
    rs_source source = fixture_realm_source(7);
    char secret[32];
    char wanted[32];
    char seen[3][64] = {"", "", ""};
    rs_snapshot *mine;
    rs_consumer who;
    int rc = rs_begin(store, &mine);

    (void)snprintf(secret, sizeof(secret), "secret-%u", key);
    (void)snprintf(wanted, sizeof(wanted), "k%u-g", key);
    if (stop_before)
        (void)raise(SIGSTOP);
    if (rc == 0)
        rc = rs_lookup(mine, &source, 1, secret, strlen(secret), &who);
    if (stop_after)
        (void)raise(SIGSTOP);
    if (rc == RS_FOUND) {
        copy_text(seen[0], rs_consumer_username(&who));
        copy_text(seen[1], rs_consumer_custom_id(&who));
        copy_text(seen[2], rs_consumer_group(&who, 2)); /* behind the realm's two */
        rc = rs_check(mine);
    }
    rs_end(mine);
    if (rc == RS_E_OVERTAKEN)
        atomic_fetch_add(&tally->overtaken, 1);
    else if (rc == RS_FOUND && strncmp(seen[0], wanted, strlen(wanted)) == 0 &&
             strcmp(seen[0], seen[1]) == 0 && strcmp(seen[0], seen[2]) == 0)
        atomic_fetch_add(&tally->right, 1);
    else
        atomic_fetch_add(&tally->wrong, 1);
}

static void open_marked(void)
{
    f.clock = clock_system;
    make_people();
    put_all_marked(0);
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(tally != MAP_FAILED);
}

static void close_marked(void)
{
    assert_int_equal(munmap(tally, sizeof(*tally)), 0);
}

/* Rewrites everything until whatever a reader saw before is past retention, and its pages used
 * again. */
static void rewrite_past_retention(unsigned *round)
{
    int64_t until_ms = clock_boot_ms() + 5 * RETENTION_MS / 2;

    for (int i = 0; i < REWRITES || clock_boot_ms() < until_ms; i++)
        put_all_marked(++*round);
    for (int i = 0; i < REWRITES; i++)
        put_all_marked(++*round);
}

static void wait_for_stop(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
}

static void assert_ended_well(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void reader_stopped_inside_a_snapshot_is_never_wrong(void **state)
{
    unsigned round = 0;
    pid_t pid;

    (void)state;
    open_marked();
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (try_open() != 0)
            _exit(1);
        for (unsigned i = 0; i < ROUNDS; i++) {
            look_up_marked(i, true, false);
            look_up_marked(i, false, true);
        }
        _exit(0);
    }
    for (unsigned i = 0; i < 2 * ROUNDS; i++) {
        wait_for_stop(pid);
        rewrite_past_retention(&round);
        assert_int_equal(kill(pid, SIGCONT), 0);
    }
    assert_ended_well(pid);
    assert_int_equal(atomic_load(&tally->wrong), 0);
    assert_int_equal(atomic_load(&tally->right), ROUNDS);     /* stopped before the lookup */
    assert_int_equal(atomic_load(&tally->overtaken), ROUNDS); /* stopped before the copying */
    close_marked();
}

static void look_up_until_told(void)
{
    if (try_open() != 0)
        _exit(1);
    for (unsigned i = 0; !atomic_load(&tally->stop); i++)
        look_up_marked(i % KEYS, false, false);
    _exit(0);
}

/* Waits until the reader has done some work; a reader that died ends the test. */
static void wait_for_lookups(pid_t pid, long more)
{
    long wanted = atomic_load(&tally->right) + more;

    while (atomic_load(&tally->right) < wanted) {
        int status = 0;

        if (waitpid(pid, &status, WNOHANG) != 0)
            fail_msg("the reader died: wait status 0x%x", (unsigned)status);
        (void)sched_yield();
    }
}

/* SIGSTOP meets it wherever it is, mostly inside mdb_get(). */
static void reader_stopped_anywhere_is_never_wrong(void **state)
{
    unsigned round = 0;
    pid_t pid;

    (void)state;
    open_marked();
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0)
        look_up_until_told();
    for (unsigned i = 0; i < 2 * ROUNDS; i++) {
        wait_for_lookups(pid, 100);
        assert_int_equal(kill(pid, SIGSTOP), 0);
        wait_for_stop(pid);
        rewrite_past_retention(&round);
        assert_int_equal(kill(pid, SIGCONT), 0);
    }
    wait_for_lookups(pid, 100);
    atomic_store(&tally->stop, true);
    assert_ended_well(pid);
    assert_int_equal(atomic_load(&tally->wrong), 0);
    close_marked();
}

static void *look_up_in_thread(void *context)
{
    (void)context;
    for (unsigned i = 0; !atomic_load(&tally->stop); i++)
        look_up_marked(i % KEYS, false, false);
    return NULL;
}

static void threads_share_a_store_without_slots(void **state)
{
    pthread_t threads[2];
    unsigned round = 0;

    (void)state;
    open_marked();
    assert_int_equal(try_open(), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look_up_in_thread, NULL), 0);
    rewrite_past_retention(&round);
    atomic_store(&tally->stop, true);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&tally->wrong), 0);
    assert_true(atomic_load(&tally->right) > 0);
    close_marked();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(young_snapshot_keeps_its_version_through_many_commits),
        TEST(every_version_of_the_retention_time_stays),
        TEST(reader_takes_no_slot_and_the_agents_own_are_not_counted),
        TEST(transactions_are_given_up_when_they_are_old),
        TEST(overtaken_snapshot_that_has_answered_is_over),
        TEST(page_tells_without_the_clock),
        TEST(clock_tells_without_the_page),
        TEST(snapshot_older_than_half_the_time_answers_only_if_it_has_not_yet),
        TEST(answers_outlive_a_switch_of_generations),
        TEST(stopped_agent_leaves_its_readers_reading),
        TEST(restarted_agent_waits_before_it_may_use_pages_again),
        TEST(killed_agents_successor_publishes_before_it_writes),
        TEST(agent_that_retains_nothing_has_no_retained_readers),
        TEST(auto_trusts_no_lock_file_where_the_agent_retains),
        TEST(auto_takes_slots_once_the_agent_ceases_to_retain),
        TEST(options_without_a_mode_mean_slots),
        TEST(replaced_status_page_ends_a_snapshot),
        TEST(read_only_mount_is_read_without_slots),
        TEST(read_permission_alone_is_enough),
        TEST(equal_pids_of_two_namespaces_collide_in_slots_alone),
        TEST(full_slots_stop_neither_the_agent_nor_retained_readers),
        TEST(slots_that_are_taken_keep_no_agent_from_retaining),
        TEST(reader_stopped_inside_a_snapshot_is_never_wrong),
        TEST(reader_stopped_anywhere_is_never_wrong),
        TEST(threads_share_a_store_without_slots),
    };

    return cmocka_run_group_tests_name("retained", tests, NULL, NULL);
}

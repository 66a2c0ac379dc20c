/* test_realmctl_backup.c - realmctl backup, and the commands that read what it wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pty.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "tests/lib/child.h"
#include "tests/lib/store_fixture.h"
#include "tests/lib/tool_run.h"

/* Time passes for this program with each look at the boot clock. */
int clock_gettime(clockid_t id, struct timespec *ret)
{
    static atomic_long ahead_s;
    int rc = (int)syscall(SYS_clock_gettime, id, ret);

    if (rc == 0 && id == CLOCK_BOOTTIME)
        ret->tv_sec += 3 + atomic_fetch_add(&ahead_s, 3); /* more than a command is silent for */
    return rc;
}

static struct fixture f;
static char backup[PATH_MAX];
static char output[16384];
static char original[16384];

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    fixture_load_people(&f);
    fixture_close(&f); /* the commands open the same files in this process */
    assert_int_equal(files_join(backup, f.base, "backup", NULL), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_finish(&f);
    return 0;
}

static int run_on(const char *store_dir, const struct command *command, const char *first,
                  const char *second)
{
    const char *const arguments[] = {first, second, NULL};
    const struct tool tool = {.store_dir = store_dir};

    return tool_run(f.base, &tool, command, "", arguments, output, sizeof(output));
}

static void assert_mode(const char *name, mode_t mode)
{
    char path[PATH_MAX];
    struct stat file;

    assert_int_equal(files_join(path, backup, name, NULL), 0);
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 07777, mode);
}

static void backup_reads_like_its_store(void **state)
{
    (void)state;
    assert_int_equal(run_on(f.dir, &command_dump, NULL, NULL), TOOL_YES);
    memcpy(original, output, sizeof(original));
    assert_int_equal(run_on(f.dir, &command_backup, backup, NULL), TOOL_YES);
    assert_int_equal(run_on(backup, &command_dump, NULL, NULL), TOOL_YES);
    assert_string_equal(output, original);
    assert_int_equal(run_on(backup, &command_verify, NULL, NULL), TOOL_YES);
    assert_int_equal(run_on(backup, &command_get, "alice", NULL), TOOL_YES);
    assert_int_equal(run_on("/nowhere", &command_diff, backup, f.dir), TOOL_YES);
}

static void backup_has_no_digest_key_and_is_for_the_group_only(void **state)
{
    mode_t mask = umask(0077);
    char path[PATH_MAX];

    (void)state;
    assert_int_equal(run_on(f.dir, &command_backup, backup, NULL), TOOL_YES);
    (void)umask(mask);
    assert_int_equal(files_join(path, backup, "us/digest.key", NULL), 0);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_mode("us/data.mdb", 0640);
    assert_mode("us", 0750);
    assert_mode(".", 0750);
}

static void change_after_a_backup_shows_in_diff(void **state)
{
    (void)state;
    assert_int_equal(run_on(f.dir, &command_backup, backup, NULL), TOOL_YES);
    fixture_open(&f);
    fixture_begin(&f);
    fixture_put_key(f.source, 7, 1, 11, "another secret");
    fixture_commit(&f);
    fixture_close(&f);
    assert_int_equal(run_on("/nowhere", &command_diff, backup, f.dir), TOOL_NO);
    assert_non_null(strstr(output, ": different digest\n"));
}

static void nothing_is_overwritten(void **state)
{
    (void)state;
    assert_int_equal(mkdir(backup, 0700), 0);
    assert_int_equal(run_on(f.dir, &command_backup, backup, NULL), TOOL_UNKNOWN);
    assert_mode(".", 0700);
    assert_int_equal(run_on(backup, &command_dump, NULL, NULL), TOOL_UNKNOWN);
}

static void backup_that_was_cut_off_is_none(void **state)
{
    char path[PATH_MAX];

    (void)state;
    assert_int_equal(run_on(f.dir, &command_backup, backup, NULL), TOOL_YES);
    assert_int_equal(files_join(path, backup, "backup.format", NULL), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(run_on(backup, &command_dump, NULL, NULL), TOOL_UNKNOWN);
    assert_int_equal(
        files_write(backup, "backup.format", "realmstore-backup 2\n", 20, FILES_NO_GROUP, NULL), 0);
    assert_int_equal(run_on(backup, &command_dump, NULL, NULL), TOOL_UNKNOWN);
}

static void damaged_backup_is_a_fault(void **state)
{
    char path[PATH_MAX];

    (void)state;
    assert_int_equal(run_on(f.dir, &command_backup, backup, NULL), TOOL_YES);
    assert_int_equal(files_join(path, backup, "us/data.mdb", NULL), 0);
    assert_int_equal(truncate(path, 3L * 4096), 0);
    assert_int_equal(run_on(backup, &command_verify, NULL, NULL), TOOL_NO);
    assert_non_null(strstr(output, "truncated"));
}

static void store_without_a_copy_leaves_nothing_behind(void **state)
{
    (void)state;
    assert_int_equal(files_remove_tree(f.dir, NULL), 0);
    fixture_open(&f);
    fixture_close(&f);
    assert_int_equal(run_on(f.dir, &command_backup, backup, NULL), TOOL_UNKNOWN);
    assert_int_not_equal(access(backup, F_OK), 0);
    assert_int_equal(run_on(f.dir, &command_backup, NULL, NULL), TOOL_UNKNOWN);
}

static _Noreturn void back_up_at_a_terminal(int terminal)
{
    static char name[] = "backup";
    char *argv[] = {name, backup, NULL};
    const struct tool tool = {.store_dir = f.dir};

    if (dup2(terminal, STDERR_FILENO) != STDERR_FILENO)
        _exit(99);
    _exit(command_backup.run(&tool, 2, argv));
}

static void progress_is_told_at_a_terminal(void **state)
{
    size_t size = 0;
    ssize_t got;
    int master;
    int slave;
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0)
        back_up_at_a_terminal(slave);
    assert_int_equal(close(slave), 0);
    while (size < sizeof(output) - 1 &&
           (got = read(master, output + size, sizeof(output) - 1 - size)) > 0)
        size += (size_t)got; /* until the child ends: EIO */
    output[size] = 0;
    assert_int_equal(close(master), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), TOOL_YES);
    assert_non_null(strstr(output, "\rbackup: 0 of at most 0 MiB"));
    assert_string_equal(output + size - 4, "\r\033[K"); /* the line is cleared */
    assert_int_equal(run_on(backup, &command_verify, NULL, NULL), TOOL_YES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(backup_reads_like_its_store),
        TEST(backup_has_no_digest_key_and_is_for_the_group_only),
        TEST(change_after_a_backup_shows_in_diff),
        TEST(nothing_is_overwritten),
        TEST(backup_that_was_cut_off_is_none),
        TEST(damaged_backup_is_a_fault),
        TEST(store_without_a_copy_leaves_nothing_behind),
        TEST(progress_is_told_at_a_terminal),
    };

    return cmocka_run_group_tests_name("realmctl backup", tests, NULL, NULL);
}

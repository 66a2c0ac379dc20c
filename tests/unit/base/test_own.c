/* base/own.h: files of ours where others may have put something first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/own.h"
#include "tests/lib/child.h"

static int enter(void **state)
{
    char *dir = strdup("/tmp/test_own.XXXXXX");

    *state = dir;
    return mkdtemp(dir) != NULL && chdir(dir) == 0 ? 0 : -1;
}

static int leave(void **state)
{
    static const char *const names[] = {"victim", "lock", "new", "other"};

    for (size_t i = 0; i < 4; i++)
        (void)remove(names[i]); /* not every test makes each */
    if (chdir("/") != 0 || rmdir(*state) != 0)
        return -1;
    free(*state);
    return 0;
}

static void write_victim(void)
{
    FILE *file = fopen("victim", "w");

    assert_non_null(file);
    assert_true(fputs("precious", file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void assert_victim_is_whole(void)
{
    char text[32] = "";
    FILE *file = fopen("victim", "r");

    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    assert_string_equal(text, "precious");
    assert_int_equal(fclose(file), 0);
}

static void lock_that_is_a_link_is_refused_and_its_target_is_whole(void **state)
{
    struct error err = ERROR_INIT;
    int fd;

    (void)state;
    write_victim();
    assert_int_equal(symlink("victim", "lock"), 0);
    assert_int_equal(own_lock("lock", 0600, &fd, NULL, &err), E_INVALID);
    assert_int_equal(unlink("lock"), 0);
    assert_int_equal(link("victim", "lock"), 0);
    assert_int_equal(own_lock("lock", 0600, &fd, NULL, &err), E_INVALID);
    assert_non_null(strstr(err.message, "hard links"));
    assert_victim_is_whole();
    assert_int_equal(unlink("lock"), 0);
    assert_int_equal(symlink("nowhere", "lock"), 0);
    assert_int_equal(own_lock("lock", 0600, &fd, NULL, &err), E_INVALID);
    assert_int_equal(access("nowhere", F_OK), -1);
}

static void pipes_and_folders_are_refused_without_waiting(void **state)
{
    struct error err = ERROR_INIT;
    int fd;

    (void)state;
    assert_int_equal(mkfifo("lock", 0600), 0);
    assert_int_equal(own_lock("lock", 0600, &fd, NULL, &err), E_INVALID);
    assert_int_equal(own_open("lock", O_RDONLY, 0, &fd, &err), E_INVALID);
    assert_int_equal(own_open("lock", O_WRONLY, 0, &fd, &err), E_INVALID);
    assert_int_equal(own_check_file("lock", &err), E_INVALID);
    assert_int_equal(mkdir("other", 0700), 0);
    assert_int_equal(own_open("other", O_RDONLY, 0, &fd, &err), E_INVALID);
    assert_int_equal(own_check_file("other", &err), E_INVALID);
    assert_int_equal(own_check_file("absent", &err), 0);
}

static void lock_is_held_by_one_and_names_its_holder(void **state)
{
    struct error err = ERROR_INIT;
    pid_t holder = 1;
    int fd;
    int second;

    (void)state;
    assert_int_equal(own_lock("lock", 0600, &fd, &holder, &err), 0);
    assert_int_equal(holder, 0);
    assert_int_equal(own_lock("lock", 0600, &second, &holder, &err), E_LOCKED);
    assert_int_equal(holder, getpid());
    assert_int_equal(close(fd), 0);
    assert_int_equal(own_lock("lock", 0600, &fd, &holder, &err), 0);
    assert_int_equal(close(fd), 0);
}

static void new_file_takes_the_name_and_not_the_bytes_of_what_stood_there(void **state)
{
    struct error err = ERROR_INIT;
    struct stat facts;
    int fd;

    (void)state;
    write_victim();
    assert_int_equal(symlink("victim", "new"), 0);
    assert_int_equal(own_create("new", 0640, &fd, &err), 0);
    assert_int_equal(write(fd, "ours", 4), 4);
    assert_int_equal(close(fd), 0);
    assert_int_equal(lstat("new", &facts), 0);
    assert_true(S_ISREG(facts.st_mode));
    assert_victim_is_whole();
}

static void root_refuses_a_folder_of_somebody_else(void **state)
{
    char warning[OWN_WARNING_SIZE];
    struct error err = ERROR_INIT;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(mkdir("other", 0750), 0);
    assert_int_equal(own_check_dir("other", warning, &err), 0);
    assert_string_equal(warning, "");
    assert_int_equal(chmod("other", 0777), 0);
    assert_int_equal(own_check_dir("other", warning, &err), 0);
    assert_non_null(strstr(warning, "chmod o-w other"));
    assert_int_equal(chown("other", 65534, 0), 0);
    assert_int_equal(own_check_dir("other", warning, &err), E_PERMISSION);
    assert_non_null(strstr(err.message, "chown root other"));
    assert_int_equal(own_check_dir("absent", warning, &err), 0);
}

/* A child that is no root looks at root's folder. */
static void folder_of_root_that_we_may_use_is_a_warning(void **state)
{
    int status;
    pid_t child;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(mkdir("other", 0770), 0);
    assert_int_equal(chown("other", 0, 65534), 0);
    assert_int_equal(chmod(*state, 0755), 0);
    child = child_fork();
    if (child == 0) {
        char warning[OWN_WARNING_SIZE] = "";
        struct error err = ERROR_INIT;
        bool good = setgid(65534) == 0 && setuid(65534) == 0 &&
                    own_check_dir("other", warning, &err) == 0 &&
                    strstr(warning, "belongs to user 0") != NULL;

        _exit(good ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lock_that_is_a_link_is_refused_and_its_target_is_whole),
        TEST(pipes_and_folders_are_refused_without_waiting),
        TEST(lock_is_held_by_one_and_names_its_holder),
        TEST(new_file_takes_the_name_and_not_the_bytes_of_what_stood_there),
        TEST(root_refuses_a_folder_of_somebody_else),
        TEST(folder_of_root_that_we_may_use_is_a_warning),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

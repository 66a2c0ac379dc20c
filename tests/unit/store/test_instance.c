/* test_instance.c - the id that makes a store directory's agent a host: it stays, and no copy has
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "tests/lib/store_fixture.h"

static struct fixture f;
static char machine[PATH_MAX]; /* what stands for /etc/machine-id */
static struct error err;

static void set_machine(const char *text)
{
    assert_int_equal(files_write(f.base, "machine-id", text, strlen(text), FILES_NO_GROUP, &err),
                     0);
}

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    (void)snprintf(machine, sizeof(machine), "%s/machine-id", f.base);
    set_machine("0123456789abcdef0123456789abcdef\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_finish(&f);
    return 0;
}

static struct uuid instance(enum store_instance_news expected)
{
    struct store_instance instance;

    assert_int_equal(store_instance(f.store, machine, &instance, &err), 0);
    assert_int_equal(instance.news, expected);
    assert_int_equal(instance.unkept.code, 0);
    assert_false(uuid_is_nil(&instance.id));
    return instance.id;
}

/* A start: the handle is another one, the directory the same. */
static void start_again(void)
{
    fixture_close(&f);
    fixture_open(&f);
}

static void instance_stays_with_the_directory(void **state)
{
    struct uuid first;
    struct uuid again;
    struct stat status;

    (void)state;
    first = instance(STORE_INSTANCE_NEW);
    start_again();
    again = instance(STORE_INSTANCE_KEPT);
    assert_true(uuid_equal(&first, &again));
    assert_int_equal(stat(fixture_path(&f, "instance.id"), &status), 0);
    assert_int_equal(status.st_mode & 07777, FILES_MODE_DATA);
}

static void directory_that_was_moved_is_the_same(void **state)
{
    char moved[PATH_MAX];
    struct uuid first;
    struct uuid again;

    (void)state;
    first = instance(STORE_INSTANCE_NEW);
    fixture_close(&f);
    (void)snprintf(moved, sizeof(moved), "%s/moved", f.base);
    assert_int_equal(rename(f.dir, moved), 0);
    (void)snprintf(f.dir, sizeof(f.dir), "%s", moved);
    fixture_open(&f);
    again = instance(STORE_INSTANCE_KEPT);
    assert_true(uuid_equal(&first, &again));
}

static void directory_on_another_machine_has_another(void **state)
{
    struct uuid first;
    struct uuid second;
    struct uuid again;

    (void)state;
    first = instance(STORE_INSTANCE_NEW);
    set_machine("fedcba9876543210fedcba9876543210\n");
    second = instance(STORE_INSTANCE_COPIED);
    assert_false(uuid_equal(&first, &second));
    again = instance(STORE_INSTANCE_KEPT);
    assert_true(uuid_equal(&second, &again));
}

/* cp -a */
static void copy_on_the_same_machine_has_another(void **state)
{
    struct uuid first;
    struct uuid second;
    char command[3 * PATH_MAX];

    (void)state;
    first = instance(STORE_INSTANCE_NEW);
    fixture_close(&f);
    (void)snprintf(command, sizeof(command), "cp -a '%s' '%s.copy'", f.dir, f.dir);
    assert_int_equal(system(command), 0);
    (void)snprintf(f.dir + strlen(f.dir), sizeof(f.dir) - strlen(f.dir), ".copy");
    fixture_open(&f);
    second = instance(STORE_INSTANCE_COPIED);
    assert_false(uuid_equal(&first, &second));
}

static void machine_without_an_id_keeps_its_instance(void **state)
{
    static const char *const none[] = {"", "uninitialized\n", "0123\n",
                                       "zz23456789abcdef0123456789abcdef\n"};
    struct uuid first;

    (void)state;
    assert_int_equal(unlink(machine), 0);
    first = instance(STORE_INSTANCE_NEW);
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        struct uuid again;

        set_machine(none[i]);
        again = instance(STORE_INSTANCE_KEPT);
        assert_true(uuid_equal(&first, &again));
    }
}

/* Every bit, every length: another host, never no host and never the id of a damaged file. */
static void damaged_file_is_made_anew(void **state)
{
    char good[256];
    size_t size;
    struct uuid first;

    (void)state;
    first = instance(STORE_INSTANCE_NEW);
    assert_int_equal(files_read(f.dir, "instance.id", good, sizeof(good), &size, &err), 0);
    for (size_t i = 0; i < size; i++) {
        struct store_instance got;
        char bad[sizeof(good)];

        memcpy(bad, good, size);
        bad[i] = (char)(bad[i] ^ 0x80);
        assert_int_equal(files_write(f.dir, "instance.id", bad, size, FILES_NO_GROUP, &err), 0);
        assert_int_equal(store_instance(f.store, machine, &got, &err), 0);
        assert_int_equal(got.news, STORE_INSTANCE_ODD);
        assert_true(got.odd.message[0] != 0);
        assert_false(uuid_equal(&got.id, &first));
        assert_int_equal(files_write(f.dir, "instance.id", good, i, FILES_NO_GROUP, &err), 0);
        (void)instance(STORE_INSTANCE_ODD);
        (void)instance(STORE_INSTANCE_KEPT);
    }
    memset(good, '\n', sizeof(good));
    assert_int_equal(files_write(f.dir, "instance.id", good, sizeof(good), FILES_NO_GROUP, &err),
                     0);
    (void)instance(STORE_INSTANCE_ODD);
}

static void instance_that_cannot_be_kept_is_told_and_used(void **state)
{
    struct store_instance got;
    struct uuid former;

    (void)state;
    assert_int_equal(mkdir(fixture_path(&f, "instance.id"), 0755), 0);
    assert_int_equal(store_instance(f.store, machine, &got, &err), 0);
    assert_int_equal(got.news, STORE_INSTANCE_ODD);
    assert_true(got.unkept.code != 0);
    assert_false(uuid_is_nil(&got.id));
    former = got.id;
    assert_int_equal(store_instance(f.store, machine, &got, &err), 0);
    assert_false(uuid_equal(&got.id, &former));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(instance_stays_with_the_directory),
        TEST(directory_that_was_moved_is_the_same),
        TEST(directory_on_another_machine_has_another),
        TEST(copy_on_the_same_machine_has_another),
        TEST(machine_without_an_id_keeps_its_instance),
        TEST(damaged_file_is_made_anew),
        TEST(instance_that_cannot_be_kept_is_told_and_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_store_status.c - the status page alone: taking over, consistency, ages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "store/files.h"
#include "store/status.h"
#include "tests/lib/store_fixture.h"

static struct fixture f;
static struct status writer;
static struct status reader;
static struct status_info info;

static void open_writer(void)
{
    struct uuid id = fixture_control_plane();
    struct error err = ERROR_INIT;

    if (status_open_writer(f.dir, &id, FILES_NO_GROUP, &f.clock, &writer, &info, &err) != 0)
        fail_msg("%s", err.message);
}

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f);
    assert_int_equal(mkdir(f.dir, 0700), 0);
    open_writer();
    assert_int_equal(status_open(f.dir, &reader, NULL), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    status_close(&writer);
    status_close(&reader);
    fixture_finish(&f);
    return 0;
}

static struct status_source make_source(uint64_t number)
{
    struct status_source source = {
        .region = "us",
        .state = 2,
        .generation = 3,
        .cursor = {fixture_epoch(), number},
        .commit_time_ms = (int64_t)number,
        .heard_boot_ms = f.boot_ms,
        .heard_wall_ms = f.wall_ms,
        .realms = number,
        .consumers = number,
        .keys = number,
        .verified_version = number,
        .verified_ms = f.wall_ms,
    };

    return source;
}

static void what_is_put_is_read(void **state)
{
    struct status_source source = make_source(42);
    struct status_info read;

    (void)state;
    status_put_source(&writer, 5, &source);
    status_put_agent(&writer, 1234);
    assert_true(status_read(&reader, &read));
    assert_int_equal(read.agent_pid, 1234);
    assert_memory_equal(&read.slots[5], &source, offsetof(struct status_source, damaged));
    assert_false(read.slots[5].damaged);
    assert_string_equal(read.slots[4].region, "");
}

static void switches_move_with_region_and_generation_alone(void **state)
{
    struct status_source source = make_source(1);
    uint64_t before;

    (void)state;
    status_put_source(&writer, 0, &source);
    before = status_switches(&reader);
    source.cursor.version++;
    source.state = 1;
    source.heard_boot_ms++;
    status_put_source(&writer, 0, &source);
    assert_int_equal(status_switches(&reader), before);
    source.generation++;
    status_put_source(&writer, 0, &source);
    assert_int_equal(status_switches(&reader), before + 1);
    memset(&source, 0, sizeof(source));
    status_put_source(&writer, 0, &source);
    assert_int_equal(status_switches(&reader), before + 2);
}

static void contents_outlive_the_writer(void **state)
{
    struct status_source source = make_source(42);

    (void)state;
    status_put_source(&writer, 0, &source);
    status_close(&writer);
    open_writer();
    assert_memory_equal(&info.slots[0], &source, offsetof(struct status_source, damaged));
    assert_false(status_replaced(&reader));
}

static void writer_that_died_half_way_is_taken_over(void **state)
{
    struct status_info read;

    (void)state;
    atomic_store(&writer.words[STATUS_AT_SEQUENCE], 7);
    assert_false(status_read(&reader, &read));
    status_close(&writer);
    open_writer();
    assert_true(status_read(&reader, &read));
}

static void unusable_file_is_replaced_and_its_readers_are_told(void **state)
{
    (void)state;
    atomic_store(&writer.words[STATUS_AT_FORMAT], 99);
    status_close(&writer);
    open_writer();
    assert_true(status_replaced(&reader));
    status_close(&reader);
    assert_int_equal(status_open(f.dir, &reader, NULL), 0);
    assert_false(status_replaced(&reader));
}

static void age_is_never_negative_and_minus_one_for_never(void **state)
{
    struct status_source source = make_source(1);

    (void)state;
    assert_int_equal(status_age_ms(&reader, 0, &f.clock), -1);
    status_put_source(&writer, 0, &source);
    f.boot_ms += 10;
    assert_int_equal(status_age_ms(&reader, 0, &f.clock), 10);
    f.boot_ms -= 20;
    assert_int_equal(status_age_ms(&reader, 0, &f.clock), 0);
}

/* As an agent of a former version does it, which knows of no checksums. */
static void write_without_checksums(unsigned at, uint64_t value)
{
    atomic_fetch_add(&writer.words[STATUS_AT_SEQUENCE], 1);
    atomic_store(&writer.words[at], value);
    atomic_fetch_add(&writer.words[STATUS_AT_SEQUENCE], 1);
}

static void agent_of_a_former_version_may_take_the_page_back(void **state)
{
    const unsigned slot_at = status_slot_at(0);
    struct status_source source = make_source(42);
    struct status_info read;
    int64_t age_ms;

    (void)state;
    status_put_source(&writer, 0, &source);
    write_without_checksums(STATUS_AT_AGENT_PID, 77);
    write_without_checksums(slot_at + STATUS_AT_VERSION, 43);
    write_without_checksums(slot_at + STATUS_AT_HEARD_BOOT, (uint64_t)f.boot_ms + 1000);
    f.boot_ms += 1500;
    assert_int_equal(status_age(&reader, 0, &f.clock, &age_ms), 0);
    assert_int_equal(age_ms, 500);
    assert_true(status_read(&reader, &read));
    assert_false(read.damaged);
    assert_false(read.slots[0].damaged);
    status_close(&writer);
    open_writer(); /* and the newer one again */
    atomic_fetch_xor(&writer.words[slot_at + STATUS_AT_HEARD_BOOT], 1 << 20);
    assert_int_equal(status_age(&reader, 0, &f.clock, &age_ms), E_CORRUPT);
}

/* ---- threads ---- */

static atomic_bool stop_writing;

static void *write_until_stopped(void *context)
{
    (void)context;
    for (uint64_t number = 1; !atomic_load(&stop_writing); number++) {
        struct status_source source = make_source(number);

        status_put_source(&writer, 0, &source);
    }
    return NULL;
}

static void copies_are_consistent_while_the_writer_writes(void **state)
{
    enum { READS = 4000 };
    pthread_t thread;
    int consistent = 0;
    int torn = 0;

    (void)state;
    atomic_store(&stop_writing, false);
    assert_int_equal(pthread_create(&thread, NULL, write_until_stopped, NULL), 0);
    for (int i = 0; i < READS; i++) {
        struct status_info read;
        const struct status_source *slot = &read.slots[0];

        if (!status_read(&reader, &read))
            continue;
        consistent++;
        if (slot->cursor.version != slot->keys || slot->keys != slot->realms ||
            slot->consumers != slot->realms || slot->commit_time_ms != (int64_t)slot->keys)
            torn++;
    }
    atomic_store(&stop_writing, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(torn, 0);
    assert_true(consistent > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_put_is_read),
        TEST(switches_move_with_region_and_generation_alone),
        TEST(contents_outlive_the_writer),
        TEST(writer_that_died_half_way_is_taken_over),
        TEST(unusable_file_is_replaced_and_its_readers_are_told),
        TEST(age_is_never_negative_and_minus_one_for_never),
        TEST(agent_of_a_former_version_may_take_the_page_back),
        TEST(copies_are_consistent_while_the_writer_writes),
    };

    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}

/* test_soak.c - one store through many lives of its writer, each with faults of its own, under
 * readers that never stop.
 *
 * A life is a random row of commits, loads, compactions, rollbacks, upkeep and restarts. It is
 * killed at some write, or one of its writes fails, or nothing happens to it; then what is left is
 * looked at, and the next life goes on from there. Two readers, with a slot and without, look alice
 * up all the time.
 *
 * REALMSTORE_SOAK=1 (`make soak`) goes on for SOAK_SECONDS (default 300); otherwise a few lives.
 * SEED=n repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "tests/interpose/write_log.h"
#include "tests/lib/child.h"
#include "tests/lib/random.h"
#include "tests/lib/reader_process.h"
#include "tests/lib/store_life.h"

enum { SAMPLED_LIVES = 25, STEPS_MAX = 30, FAULT_WITHIN_WRITES = 200, SOAK_S = 300 };

static struct life life;
static struct reader_process with_slot;
static struct reader_process retained;
static uint64_t seed;
static char label[64];

static int set_up(void **state)
{
    (void)state;
    life_init(&life);
    life.f.retention_ms = 100;
    life.f.compact_bytes = 256 * 1024; /* so that upkeep compacts too */
    life.f.compact_lag_txns = 1;
    life_open(&life);
    life_load(&life);
    life_end(&life);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    reader_process_finish(&with_slot);
    reader_process_finish(&retained);
    life_finish(&life);
    return 0;
}

/* ---- a life ---- */

static void take_step(uint64_t *random)
{
    switch (random_below(random, 10)) {
    case 0:
        life_load(&life);
        break;
    case 1:
        life_compact(&life);
        break;
    case 2:
        if (life.previous != 0)
            life_roll_back(&life);
        break;
    case 3:
        life_upkeep(&life);
        break;
    case 4:
        fixture_close(&life.f);
        life_open(&life);
        break;
    default:
        life_commit(&life, 1 + (unsigned)random_below(random, 5));
        break;
    }
}

static _Noreturn void live(uint64_t random)
{
    uint64_t fault_at = 1 + random_below(&random, FAULT_WITHIN_WRITES);
    uint64_t steps = 1 + random_below(&random, STEPS_MAX);

    life.gives_up = random_below(&random, 2) == 0;
    life.previous = 0; /* whether a generation is kept, and which, the last life did not tell */
    write_log_start(life.f.dir, -1);
    switch (random_below(&random, 4)) {
    case 0:
    case 1:
        write_log_kill_at(fault_at);
        break;
    case 2:
        write_log_fail_at(fault_at, random_below(&random, 2) == 0 ? EIO : ENOSPC);
        break;
    default:
        break; /* nothing happens to it */
    }
    life_open(&life);
    for (uint64_t i = 0; i < steps; i++)
        take_step(&random);
    life_end(&life);
    _exit(0);
}

static void assert_readers_served(void)
{
    reader_process_wait_lookups(&with_slot);
    reader_process_wait_lookups(&retained);
    assert_int_equal(with_slot.seen->last_failure, 0);
    assert_int_equal(with_slot.seen->failures, 0);
    /* A machine that stands still makes a lookup outlive what is kept: it says so. */
    if (retained.seen->last_failure != 0)
        assert_int_equal(retained.seen->last_failure, RS_E_OVERTAKEN);
}

static void run_life(uint64_t number)
{
    int status;
    pid_t pid;

    (void)snprintf(label, sizeof(label), "SEED=%" PRIu64 ", life %" PRIu64, seed, number);
    atomic_store(&life.told->versions, life.f.version | life.f.version << 32);
    pid = child_fork();
    assert_true(pid >= 0);
    if (pid == 0)
        live(seed * 1000003 + number);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
        fail_msg("%s: the writer ended with status %d", label, status);
    assert_readers_served();
    life.f.version = life_check(&life, life_unpack(life.told->versions), label);
}

static void readers_and_records_outlive_every_fault(void **state)
{
    const char *seconds = getenv("SOAK_SECONDS");
    int64_t soak_ms = (seconds != NULL ? strtoll(seconds, NULL, 10) : SOAK_S) * 1000;
    int64_t until_ms = getenv("REALMSTORE_SOAK") != NULL ? clock_boot_ms() + soak_ms : 0;
    uint64_t lives = 0;

    (void)state;
    reader_process_start(&with_slot, life.f.dir, READER_LOOKS_UP);
    reader_process_start(&retained, life.f.dir, READER_RETAINED);
    while (until_ms != 0 ? clock_boot_ms() < until_ms : lives < SAMPLED_LIVES)
        run_life(lives++);
    (void)fprintf(stderr,
                  "SEED=%" PRIu64 ": %" PRIu64 " lives, %" PRIu64 " lookups with and %" PRIu64
                  " without a slot\n",
                  seed, lives, with_slot.seen->lookups, retained.seen->lookups);
    reader_process_stop(&with_slot);
    reader_process_stop(&retained);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(readers_and_records_outlive_every_fault, set_up, tear_down),
    };
    const char *given = getenv("SEED");

    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    return cmocka_run_group_tests_name("soak", tests, NULL, NULL);
}

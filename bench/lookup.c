/* lookup.c - what one lookup costs, against LMDB's own in the same run on the same machine.
 *
 *     bench/lookup N DIR
 *
 * Makes stores of N keys under DIR: ours with one and with ten keys a consumer, loaded as a full
 * resynchronisation does, and a bare LMDB table of N 32-byte keys with 200-byte records. Then the
 * full path (rs_begin, rs_lookup of the raw key, username, custom id, credential id and groups
 * read, rs_end) against mdb_get (one long transaction, first and last byte read), each operation
 * timed by itself.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/lib/bench.h"
#include "store/files.h"

enum { HOT_KEYS = 1000, KEYS_EACH = 10 };

/* ---- one process ---- */

static void compare_hits(const char *dir, uint64_t n, struct bare_get *bare)
{
    struct full_path path;
    struct full_path miss;

    full_path_open(&path, dir, n);
    bench_compare("lookup_1_key", &path.subject, &bare->subject, "mdb_get");
    miss = path;
    miss.offset = n;
    miss.expected = RS_NOT_FOUND;
    bench_compare("lookup_miss", &miss.subject, &bare->subject, "mdb_get");
    path.subject.n = bare->subject.n = n < HOT_KEYS ? n : HOT_KEYS;
    bench_compare("lookup_1000_hot_keys", &path.subject, &bare->subject, "mdb_get");
    bare->subject.n = n;
    full_path_close(&path);
}

static void compare_ten(const char *dir, uint64_t n, struct bare_get *bare)
{
    struct full_path path;

    full_path_open(&path, dir, n);
    bench_compare("lookup_10_keys", &path.subject, &bare->subject, "mdb_get");
    full_path_close(&path);
}

/* ---- several processes ---- */

/* Anonymous memory of this process in KiB, which is what a reader does not share. */
static long private_kib(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    char line[128];
    long kib = -1;

    if (file == NULL)
        return -1;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "Anonymous: %ld", &kib) == 1)
            break;
    }
    (void)fclose(file); /* nothing was written */
    return kib;
}

struct told {
    double seconds;
    long kib;
};

static int read_alone(const char *dir, uint64_t n, uint64_t seed, int answer)
{
    long before = private_kib();
    struct full_path path;
    struct told told;
    uint64_t began_ns;

    full_path_open(&path, dir, n);
    began_ns = bench_now_ns();
    for (uint64_t i = 0; i < BENCH_SAMPLES; i++) {
        path.subject.prepare(&path.subject, bench_mix(seed + i) % n);
        path.subject.run(&path.subject);
    }
    told.seconds = (double)(bench_now_ns() - began_ns) / 1e9;
    told.kib = private_kib() - before;
    full_path_close(&path);
    if (write(answer, &told, sizeof(told)) != sizeof(told))
        bench_die("pipe", strerror(errno));
    return 0;
}

/* This program anew: a forked child would find memory of its parent's to use again. */
static void start_reader(const char *dir, uint64_t n, int seed, int answer)
{
    char numbers[3][32];

    (void)snprintf(numbers[0], sizeof(numbers[0]), "%" PRIu64, n);
    (void)snprintf(numbers[1], sizeof(numbers[1]), "%d", seed);
    (void)snprintf(numbers[2], sizeof(numbers[2]), "%d", answer);
    (void)execl("/proc/self/exe", "lookup", "reader", dir, numbers[0], numbers[1], numbers[2],
                (char *)NULL);
    _exit(127);
}

/* Lookups a second of `count` processes together. */
static double rate_of(const char *dir, uint64_t n, int count, long *ret_kib)
{
    double rate = 0;
    int pipe_fds[2];

    if (pipe(pipe_fds) != 0)
        bench_die("pipe", strerror(errno));
    (void)fflush(stdout);
    for (int i = 0; i < count; i++) {
        pid_t pid = fork();

        if (pid < 0)
            bench_die("fork", strerror(errno));
        if (pid == 0)
            start_reader(dir, n, i + 1, pipe_fds[1]);
    }
    for (int i = 0; i < count; i++) {
        struct told told;

        if (read(pipe_fds[0], &told, sizeof(told)) != sizeof(told))
            bench_die("reader", "it failed");
        rate += BENCH_SAMPLES / told.seconds;
        *ret_kib = told.kib;
    }
    while (wait(NULL) > 0)
        continue;
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    return rate;
}

static void compare_processes(const char *dir, uint64_t n)
{
    double one = 0;
    double two = 0;
    long kib = 0;

    for (int i = 0; i < BENCH_ROUNDS; i++) {
        double x = rate_of(dir, n, 1, &kib);
        double y = rate_of(dir, n, 2, &kib);

        one = x > one ? x : one;
        two = y > two ? y : two;
    }
    printf("lookup_2_processes_per_1 %.2f (%.0f / %.0f lookups a second, the making of keys "
           "included)\n",
           two / one, two, one);
    printf("reader_private_kib %ld\n", kib);
}

/* ---- all ---- */

static void run_all(const char *dir, uint64_t n)
{
    char one[PATH_MAX];
    char ten[PATH_MAX];
    char bare_dir[PATH_MAX];
    struct bare_get bare;
    double seconds;

    (void)snprintf(one, sizeof(one), "%s/one", dir);
    (void)snprintf(ten, sizeof(ten), "%s/ten", dir);
    (void)snprintf(bare_dir, sizeof(bare_dir), "%s/bare", dir);
    seconds = bench_store_make(one, n, 1);
    printf("load_consumers_per_second %.0f (a key each; %.1f s)\n", (double)n / seconds, seconds);
    bare_get_make(&bare, bare_dir, n);
    printf("disk_bytes_per_bare %.2f (%.0f / %.0f bytes a consumer with a key)\n",
           (double)bench_disk_bytes(one) / (double)bench_disk_bytes(bare_dir),
           (double)bench_disk_bytes(one) / (double)n,
           (double)bench_disk_bytes(bare_dir) / (double)n);
    compare_hits(one, n, &bare);
    compare_processes(one, n);
    (void)bench_store_make(ten, n / KEYS_EACH, KEYS_EACH);
    compare_ten(ten, n / KEYS_EACH * KEYS_EACH, &bare);
    bare_get_close(&bare);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    unsigned long long n;

    if (argc == 6 && strcmp(argv[1], "reader") == 0)
        return read_alone(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10) << 40,
                          (int)strtol(argv[5], NULL, 10));
    if (argc != 3 || sscanf(argv[1], "%llu", &n) != 1 || n < KEYS_EACH) {
        (void)fputs("Usage: bench/lookup N DIR\n"
                    "Measures lookups among N keys; makes DIR and removes it.\n",
                    stderr);
        return 2;
    }
    if (mkdir(argv[2], 0700) != 0)
        bench_die(argv[2], strerror(errno));
    run_all(argv[2], n);
    bench_check("clean up", files_remove_tree(argv[2], &err), &err);
    return 0;
}

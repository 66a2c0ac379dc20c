/* bench.c - see bench.h. */
#include "bench/lib/bench.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "store/bytes.h"

void bench_die(const char *what, const char *reason)
{
    (void)fprintf(stderr, "bench: %s: %s\n", what, reason);
    exit(1);
}

void bench_check(const char *what, int rc, const struct error *err)
{
    if (rc != 0)
        bench_die(what, err->message);
}

void bench_check_mdb(int rc)
{
    if (rc != 0)
        bench_die("bare table", mdb_strerror(rc));
}

uint64_t bench_now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* fails for unknown ids only */
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t bench_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

void bench_key(uint64_t n, char key[BENCH_KEY_SIZE + 1])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    uint64_t bits = 0;

    for (uint64_t i = 0; i < BENCH_KEY_SIZE; i++) {
        bits = i % 10 == 0 ? bench_mix(n * 8 + i / 10) : bits >> 6;
        key[i] = digits[bits & 63];
    }
    key[BENCH_KEY_SIZE] = 0;
}

void bench_digest(uint64_t n, unsigned char digest[DIGEST_BYTES])
{
    for (uint64_t i = 0; i < DIGEST_BYTES / 8; i++)
        bytes_put_u64(digest + i * 8, bench_mix(n * 4 + i));
}

static int by_digest(const void *a, const void *b)
{
    return memcmp(a, b, DIGEST_BYTES);
}

struct bench_numbered *bench_sorted_digests(uint64_t n)
{
    struct bench_numbered *all = calloc(n, sizeof(*all));

    if (all == NULL)
        bench_die("digests", error_text(E_NO_MEMORY));
    for (uint64_t i = 0; i < n; i++) {
        bench_digest(i, all[i].digest);
        all[i].n = i;
    }
    qsort(all, n, sizeof(*all), by_digest);
    return all;
}

uint64_t bench_disk_bytes(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    struct stat file;
    uint64_t total = 0;

    if (dir == NULL)
        return stat(path, &file) == 0 ? (uint64_t)file.st_blocks * 512 : 0;
    while ((entry = readdir(dir)) != NULL) {
        char inside[PATH_MAX];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(inside, sizeof(inside), "%s/%s", path, entry->d_name);
        total += bench_disk_bytes(inside);
    }
    (void)closedir(dir); /* nothing was written */
    return total;
}

/* ---- timing ---- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

struct figures bench_measure(struct subject *subject, uint64_t seed)
{
    static uint64_t samples[BENCH_SAMPLES];
    struct figures figures;
    uint64_t count = subject->samples != 0 ? subject->samples : BENCH_SAMPLES;
    uint64_t total_ns = 0;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t began_ns;

        subject->prepare(subject, bench_mix(seed + i) % subject->n);
        began_ns = bench_now_ns();
        subject->run(subject);
        samples[i] = bench_now_ns() - began_ns;
        total_ns += samples[i];
    }
    qsort(samples, count, sizeof(*samples), by_number);
    figures.mean_ns = (double)total_ns / (double)count;
    figures.p50_ns = samples[count / 2];
    figures.p99_ns = samples[count / 100 * 99];
    return figures;
}

void bench_compare(const char *name, struct subject *ours, struct subject *theirs, const char *peer)
{
    struct figures a = {.p50_ns = UINT64_MAX};
    struct figures b = {.p50_ns = UINT64_MAX};

    for (uint64_t i = 0; i < BENCH_ROUNDS; i++) {
        struct figures x = bench_measure(ours, i << 32);
        struct figures y = bench_measure(theirs, i << 32);

        if (x.p50_ns < a.p50_ns)
            a = x;
        if (y.p50_ns < b.p50_ns)
            b = y;
    }
    printf("%s_p50_ratio %.2f (rs %" PRIu64 " ns, %s %" PRIu64 " ns)\n", name,
           (double)a.p50_ns / (double)b.p50_ns, a.p50_ns, peer, b.p50_ns);
    printf("%s_p99_ratio %.2f (rs %" PRIu64 " ns, %s %" PRIu64 " ns)\n", name,
           (double)a.p99_ns / (double)b.p99_ns, a.p99_ns, peer, b.p99_ns);
}

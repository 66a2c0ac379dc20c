/* path.c - what the whole path costs, measured from outside on running programs.
 *
 *     path propagation URL TOKEN_FILE REALM CONSUMER STORE_DIR COUNT
 *
 * From the REST answer of a key's creation (and deletion) to the first lookup that sees it, against
 * a raw 4 KiB write and fdatasync in STORE_DIR's file system, interleaved with it.
 *
 *     path start STORE_DIR REALM KEY_FILE PROGRAM ARGUMENT...
 *
 * From starting the agent on an empty store to the first lookup that finds the key, against bare
 * LMDB appending as many 200-byte records in key order.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <curl/curl.h>
#include <jansson.h>
#include <lmdb.h>
#include <realmstore.h>

#include "bench/lib/probe.h"
#include "tests/lib/rest.h"

enum { SYNC_BYTES = 4096, RECORD_BYTES = 200, PATH_SIZE = 512 };

static double sync_once(int fd)
{
    char page[SYNC_BYTES];
    double start = probe_now_us();

    memset(page, (int)start & 0xff, sizeof(page));
    if (pwrite(fd, page, sizeof(page), 0) != (ssize_t)sizeof(page) || fdatasync(fd) != 0)
        probe_die("cannot write the comparison file");
    return probe_now_us() - start;
}

static void print_propagation(const char *name, double *values, double *syncs, size_t count)
{
    double sync_p50 = probe_percentile(syncs, count, 0.5);
    double p50 = probe_percentile(values, count, 0.5);
    double p99 = probe_percentile(values, count, 0.99);

    (void)printf("%s_p50_per_fdatasync_p50 %.2f (%.0f us / %.0f us)\n", name, p50 / sync_p50, p50,
                 sync_p50);
    (void)printf("%s_p99_per_fdatasync_p50 %.2f (%.0f us / %.0f us)\n", name, p99 / sync_p50, p99,
                 sync_p50);
}

static int propagation(char **args)
{
    size_t count = strtoul(args[5], NULL, 10);
    double *created = calloc(count, sizeof(double));
    double *deleted = calloc(count, sizeof(double));
    double *syncs = calloc(count, sizeof(double));
    char token[512];
    char text[128];
    char path[PATH_SIZE];
    struct rest_client *client;
    struct probe probe;
    rs_source source;
    rs_store *store;
    int fd;

    if (created == NULL || deleted == NULL || syncs == NULL || count == 0)
        probe_die("no memory for the samples");
    probe_read_line(args[1], token, sizeof(token));
    client = rest_create(args[0], token);
    (void)snprintf(text, sizeof(text), "realm:%s", args[2]);
    if (rs_open(&store, args[4], NULL) != 0 || rs_source_parse(text, &source) != 0)
        probe_die("cannot open the store");
    (void)snprintf(path, sizeof(path), "%s.sync", args[4]);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        probe_die("cannot make the comparison file");
    (void)unlink(path);
    (void)sync_once(fd); /* allocates the block */
    probe = (struct probe){
        .client = client, .store = store, .source = source, .realm = args[2], .consumer = args[3]};
    for (size_t i = 0; i < count; i++) {
        struct probe_times times;

        syncs[i] = sync_once(fd);
        times = probe_change(&probe);
        created[i] = times.created_us;
        deleted[i] = times.deleted_us;
    }
    print_propagation("created_key_visible", created, syncs, count);
    print_propagation("deleted_key_refused", deleted, syncs, count);
    (void)close(fd);
    rs_close(store);
    rest_destroy(client);
    free(created);
    free(deleted);
    free(syncs);
    return 0;
}

/* ---- start ---- */

/* Bare LMDB: one environment, one tree, 32-byte keys in order, appended, synced at the end. */
static double append_bare(const char *dir, uint64_t records)
{
    unsigned char key[32] = {0};
    unsigned char value[RECORD_BYTES] = {0};
    double start = probe_now_us();
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;

    if (mkdir(dir, 0700) != 0 || mdb_env_create(&env) != 0 ||
        mdb_env_set_mapsize(env, (size_t)4 << 30) != 0 || mdb_env_open(env, dir, 0, 0600) != 0 ||
        mdb_txn_begin(env, NULL, 0, &txn) != 0 || mdb_dbi_open(txn, NULL, 0, &dbi) != 0)
        probe_die("cannot make the comparison store");
    for (uint64_t i = 0; i < records; i++) {
        MDB_val k = {sizeof(key), key};
        MDB_val v = {sizeof(value), value};

        for (int b = 0; b < 8; b++)
            key[b] = (unsigned char)(i >> (56 - 8 * b));
        if (mdb_put(txn, dbi, &k, &v, MDB_APPEND) != 0)
            probe_die("cannot append to the comparison store");
    }
    if (mdb_txn_commit(txn) != 0)
        probe_die("cannot commit the comparison store");
    mdb_env_close(env);
    return probe_now_us() - start;
}

/* ---- the agent's own memory ---- */

struct memory_watch {
    pid_t pid;
    atomic_bool stop;
    pthread_t thread;
    unsigned long max_kib;
};

static void *watch_memory(void *context)
{
    const struct timespec pause = {0, 20000000};
    struct memory_watch *watch = context;

    while (!atomic_load(&watch->stop)) {
        const unsigned long kib = probe_anonymous_kib(watch->pid);

        if (kib > watch->max_kib)
            watch->max_kib = kib;
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

/* Opens the store as soon as the agent has made it. */
static rs_store *open_when_made(const char *dir, double start)
{
    const struct timespec pause = {0, 1000000};
    rs_store *store;

    while (rs_open(&store, dir, NULL) != 0) {
        if (probe_now_us() - start > PROBE_PATIENCE_S * 1e6)
            probe_die("the agent made no store");
        (void)nanosleep(&pause, NULL);
    }
    return store;
}

static uint64_t consumers_of(rs_store *store)
{
    rs_status_info info;
    uint64_t consumers = 0;

    if (rs_status(store, &info) != 0)
        probe_die("cannot read the status");
    for (size_t i = 0; i < info.n_sources; i++)
        consumers += info.sources[i].consumers;
    return consumers;
}

static double milliseconds(const struct timeval *time)
{
    return (double)time->tv_sec * 1e3 + (double)time->tv_usec / 1e3;
}

static int start_agent(char **args)
{
    char text[128];
    char key[512];
    char path[PATH_SIZE];
    rs_source source;
    rs_store *store;
    uint64_t consumers;
    double start;
    double ready;
    double bare;
    struct memory_watch watch = {.max_kib = 0};
    struct rusage usage = {.ru_maxrss = 0};
    pid_t pid;

    probe_read_line(args[2], key, sizeof(key));
    (void)snprintf(text, sizeof(text), "realm:%s", args[1]);
    if (rs_source_parse(text, &source) != 0)
        probe_die("not a realm id");
    start = probe_now_us();
    pid = fork();
    if (pid < 0)
        probe_die("cannot fork");
    if (pid == 0) {
        (void)execv(args[3], args + 3);
        _exit(127);
    }
    watch.pid = pid;
    if (pthread_create(&watch.thread, NULL, watch_memory, &watch) != 0)
        probe_die("cannot start a thread");
    store = open_when_made(args[0], start);
    ready = probe_until_lookup(store, &source, key, RS_FOUND, start);
    atomic_store(&watch.stop, true);
    (void)pthread_join(watch.thread, NULL);
    consumers = consumers_of(store);
    rs_close(store);
    (void)kill(pid, SIGTERM);
    (void)wait4(pid, NULL, 0, &usage);
    (void)snprintf(path, sizeof(path), "%s.bare", args[0]);
    bare = append_bare(path, consumers);
    (void)printf("agent_start_%llu_per_bare_append %.2f (%.0f ms / %.0f ms)\n",
                 (unsigned long long)consumers, ready / bare, ready / 1e3, bare / 1e3);
    (void)printf("agent_start_%llu_anonymous_mib %.1f (at most; %.0f consumers a second, %.0f "
                 "ms of processor time)\n",
                 (unsigned long long)consumers, (double)watch.max_kib / 1024,
                 (double)consumers * 1e6 / ready,
                 milliseconds(&usage.ru_utime) + milliseconds(&usage.ru_stime));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 8 && strcmp(argv[1], "propagation") == 0) {
        (void)curl_global_init(CURL_GLOBAL_DEFAULT);
        return propagation(argv + 2);
    }
    if (argc >= 6 && strcmp(argv[1], "start") == 0)
        return start_agent(argv + 2);
    (void)fprintf(stderr, "bench: bad usage; see the head of bench/path.c\n");
    return 2;
}

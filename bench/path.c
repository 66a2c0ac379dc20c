/* path.c - what the whole path costs, measured from outside on running programs.
 *
 *   path propagation URL TOKEN_FILE REALM CONSUMER STORE_DIR COUNT
 *       From the REST answer of a key's creation (and deletion) to the first lookup that sees it,
 * against a raw 4 KiB write and fdatasync in STORE_DIR's file system, interleaved with it. path
 * start STORE_DIR REALM KEY_FILE PROGRAM ARGUMENT... From starting the agent on an empty store to
 * the first lookup that finds the key, against bare LMDB appending as many 200-byte records in key
 * order.
 *
 * Lookups go through the public library, in a loop that gives its core away after each: the two
 * cores of the machine are also the server's and the agent's, and a reader that kept one would
 * measure the scheduler.
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

#include "tests/lib/rest.h"

enum { SYNC_BYTES = 4096, RECORD_BYTES = 200, PATH_SIZE = 512, PATIENCE_S = 600 };

static double now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what)
{
    (void)fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double percentile(double *values, size_t count, double share)
{
    qsort(values, count, sizeof(*values), by_value);
    return values[(size_t)((double)(count - 1) * share)];
}

/* ---- propagation ---- */

/* Looks until the answer is `wanted`; the microseconds since `start`. */
static double until_lookup(rs_store *store, const rs_source *source, const char *key, int wanted,
                           double start)
{
    for (;;) {
        rs_snapshot *snapshot;
        rs_consumer consumer;
        int rc = rs_begin(store, &snapshot);

        if (rc == 0) {
            rc = rs_lookup(snapshot, source, 1, key, strlen(key), &consumer);
            rs_end(snapshot);
        }
        if (rc == wanted)
            return now_us() - start;
        if (rc < 0 && rc != RS_E_NOT_READY)
            die(rs_strerror(rc));
        if (now_us() - start > PATIENCE_S * 1e6)
            die("the change never became visible");
        (void)sched_yield(); /* cannot fail */
    }
}

static double sync_once(int fd)
{
    char page[SYNC_BYTES];
    double start = now_us();

    memset(page, (int)start & 0xff, sizeof(page));
    if (pwrite(fd, page, sizeof(page), 0) != (ssize_t)sizeof(page) || fdatasync(fd) != 0)
        die("cannot write the comparison file");
    return now_us() - start;
}

static void read_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");

    if (file == NULL || fgets(line, (int)size, file) == NULL)
        die("cannot read a token or key file");
    line[strcspn(line, "\n")] = 0;
    (void)fclose(file);
}

static void print_propagation(const char *name, double *values, double *syncs, size_t count)
{
    double sync_p50 = percentile(syncs, count, 0.5);
    double p50 = percentile(values, count, 0.5);
    double p99 = percentile(values, count, 0.99);

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
    rs_source source;
    rs_store *store;
    int fd;

    if (created == NULL || deleted == NULL || syncs == NULL || count == 0)
        die("no memory for the samples");
    read_line(args[1], token, sizeof(token));
    client = rest_create(args[0], token);
    (void)snprintf(text, sizeof(text), "realm:%s", args[2]);
    if (rs_open(&store, args[4], NULL) != 0 || rs_source_parse(text, &source) != 0)
        die("cannot open the store");
    (void)snprintf(path, sizeof(path), "%s.sync", args[4]);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        die("cannot make the comparison file");
    (void)unlink(path);
    (void)sync_once(fd); /* allocates the block */
    for (size_t i = 0; i < count; i++) {
        json_t *key = NULL;
        const char *secret;

        syncs[i] = sync_once(fd);
        (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers/%s/keys", args[2], args[3]);
        if (rest_call(client, "POST", path, json_pack("{s:s}", "type", "new"), &key) != 201)
            die("cannot create a key");
        secret = json_string_value(json_object_get(key, "secret"));
        created[i] = until_lookup(store, &source, secret, RS_FOUND, now_us());
        (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers/%s/keys/%s", args[2], args[3],
                       json_string_value(json_object_get(key, "id")));
        if (rest_call(client, "DELETE", path, NULL, NULL) != 204)
            die("cannot delete a key");
        deleted[i] = until_lookup(store, &source, secret, RS_NOT_FOUND, now_us());
        json_decref(key);
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
    double start = now_us();
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;

    if (mkdir(dir, 0700) != 0 || mdb_env_create(&env) != 0 ||
        mdb_env_set_mapsize(env, (size_t)4 << 30) != 0 || mdb_env_open(env, dir, 0, 0600) != 0 ||
        mdb_txn_begin(env, NULL, 0, &txn) != 0 || mdb_dbi_open(txn, NULL, 0, &dbi) != 0)
        die("cannot make the comparison store");
    for (uint64_t i = 0; i < records; i++) {
        MDB_val k = {sizeof(key), key};
        MDB_val v = {sizeof(value), value};

        for (int b = 0; b < 8; b++)
            key[b] = (unsigned char)(i >> (56 - 8 * b));
        if (mdb_put(txn, dbi, &k, &v, MDB_APPEND) != 0)
            die("cannot append to the comparison store");
    }
    if (mdb_txn_commit(txn) != 0)
        die("cannot commit the comparison store");
    mdb_env_close(env);
    return now_us() - start;
}

/* ---- the agent's own memory ---- */

struct memory_watch {
    pid_t pid;
    atomic_bool stop;
    pthread_t thread;
    unsigned long max_kib;
};

static unsigned long anonymous_kib(pid_t pid)
{
    unsigned long kib = 0;
    char path[64];
    char line[128];
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "RssAnon: %lu kB", &kib) == 1)
            break;
    }
    if (file != NULL)
        (void)fclose(file);
    return kib;
}

static void *watch_memory(void *context)
{
    const struct timespec pause = {0, 20000000};
    struct memory_watch *watch = context;

    while (!atomic_load(&watch->stop)) {
        const unsigned long kib = anonymous_kib(watch->pid);

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
        if (now_us() - start > PATIENCE_S * 1e6)
            die("the agent made no store");
        (void)nanosleep(&pause, NULL);
    }
    return store;
}

static uint64_t consumers_of(rs_store *store)
{
    rs_status_info info;
    uint64_t consumers = 0;

    if (rs_status(store, &info) != 0)
        die("cannot read the status");
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

    read_line(args[2], key, sizeof(key));
    (void)snprintf(text, sizeof(text), "realm:%s", args[1]);
    if (rs_source_parse(text, &source) != 0)
        die("not a realm id");
    start = now_us();
    pid = fork();
    if (pid < 0)
        die("cannot fork");
    if (pid == 0) {
        (void)execv(args[3], args + 3);
        _exit(127);
    }
    watch.pid = pid;
    if (pthread_create(&watch.thread, NULL, watch_memory, &watch) != 0)
        die("cannot start a thread");
    store = open_when_made(args[0], start);
    ready = until_lookup(store, &source, key, RS_FOUND, start);
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

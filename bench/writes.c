/* writes.c - live changes of a full store: against SQLite, and against the readers beside them.
 *
 *     bench/writes N DIR
 *
 * Both stores hold N consumers with a key each. A backlog is then applied in synced transactions of
 * 1,000 changes, in turns, so that what else the disk does hits both alike, and all that each side
 * does counts, SQLite's checkpoints included. In each transaction there are 200 new consumers with
 * a key each, 400 changes of consumers that are there, and 200 revoked keys. SQLite: WAL,
 * synchronous=FULL, a table of consumers by id and one of keys by digest.
 *
 * Then lookups are timed while another process applies such transactions as fast as it can.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <sqlite3.h>

#include "base/clock.h"
#include "bench/lib/bench.h"
#include "store/files.h"
#include "store/source.h"

enum { TRANSACTIONS = 60, PAIRS = 200, UPDATES = 400, REVOKED = 200, CHANGES = 1000 };

/* What a transaction does; both sides do the same. */
struct batch {
    uint64_t first_new;     /* of PAIRS consumers and keys */
    uint64_t first_revoked; /* of REVOKED keys, among those of the beginning */
    uint64_t seed;          /* which of the consumers change */
    uint64_t n;             /* consumers of the beginning */
};

static struct batch batch_of(uint64_t round, uint64_t n)
{
    return (struct batch){n + round * PAIRS, round * REVOKED, round << 32, n};
}

static uint64_t changed(const struct batch *batch, uint64_t i)
{
    return bench_mix(batch->seed + i) % batch->n;
}

/* ---- ours ---- */

static const struct digest_key *digest_key(void)
{
    static struct digest_key key;
    static bool is_made;

    if (!is_made)
        digest_key_init(&key, bench_digest_key);
    is_made = true;
    return &key;
}

static void put_consumer(struct source *source, uint64_t n, const char *what)
{
    char username[64];
    char custom_id[64];
    const struct model_consumer consumer = {
        .id = bench_id(2, n), .username = username, .custom_id = custom_id};
    struct error err = ERROR_INIT;

    (void)snprintf(username, sizeof(username), "%s-%08llu@customer.example", what,
                   (unsigned long long)n);
    (void)snprintf(custom_id, sizeof(custom_id), "%016llx-%016llx",
                   (unsigned long long)bench_mix(n), (unsigned long long)bench_mix(~n));
    bench_check("consumer", source_put_consumer(source, 1, &consumer, &err), &err);
}

static void put_key(struct source *source, uint64_t n)
{
    struct model_key key = {.id = bench_id(3, n), .consumer_id = bench_id(2, n)};
    struct error err = ERROR_INIT;
    char text[BENCH_KEY_SIZE + 1];

    bench_key(n, text);
    digest_compute(digest_key(), text, BENCH_KEY_SIZE, key.digest);
    bench_check("key", source_put_key(source, 1, &key, &err), &err);
}

static void revoke_key(struct source *source, uint64_t n)
{
    const struct uuid ids[2] = {bench_id(2, n), bench_id(3, n)};
    struct error err = ERROR_INIT;

    bench_check("revocation", source_delete_key(source, 1, &ids[0], &ids[1], &err), &err);
}

struct ours {
    struct store *store;
    struct source *source;
};

static void open_ours(struct ours *ours, const char *dir)
{
    const struct store_options options = {.dir = dir,
                                          .control_plane_id = bench_id(9, 1),
                                          .retention_ms = 1000,
                                          .clock = clock_system};
    struct error err = ERROR_INIT;

    bench_check("store", store_open(&options, &ours->store, &err), &err);
    bench_check("source", source_open(ours->store, "us", &ours->source, NULL, &err), &err);
}

static void close_ours(struct ours *ours)
{
    source_close(ours->source);
    store_close(ours->store);
}

static void commit_ours(const struct ours *ours, const struct batch *batch, uint64_t version)
{
    const struct model_cursor cursor = {bench_id(9, 2), version};
    struct error err = ERROR_INIT;

    bench_check("begin", source_begin(ours->source, &err), &err);
    for (uint64_t i = 0; i < PAIRS; i++) {
        put_consumer(ours->source, batch->first_new + i, "user");
        put_key(ours->source, batch->first_new + i);
    }
    for (uint64_t i = 0; i < UPDATES; i++)
        put_consumer(ours->source, changed(batch, i), "new");
    for (uint64_t i = 0; i < REVOKED; i++)
        revoke_key(ours->source, batch->first_revoked + i);
    bench_check("commit", source_commit(ours->source, &cursor, clock_wall_ms(), &err), &err);
}

/* ---- SQLite ---- */

struct sqlite {
    sqlite3 *db;
    sqlite3_stmt *put_consumer;
    sqlite3_stmt *put_key;
    sqlite3_stmt *revoke;
};

static void check(const struct sqlite *sqlite, int rc)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        bench_die("sqlite", sqlite3_errmsg(sqlite->db));
}

static void run(const struct sqlite *sqlite, const char *sql)
{
    check(sqlite, sqlite3_exec(sqlite->db, sql, NULL, NULL, NULL));
}

static void execute(const struct sqlite *sqlite, sqlite3_stmt *statement, const void *name,
                    int name_size, const void *value, int value_size)
{
    check(sqlite, sqlite3_bind_blob(statement, 1, name, name_size, NULL));
    if (value != NULL)
        check(sqlite, sqlite3_bind_blob(statement, 2, value, value_size, NULL));
    check(sqlite, sqlite3_step(statement));
    check(sqlite, sqlite3_reset(statement));
}

/* A record of the size of ours. */
static void put_sqlite_consumer(const struct sqlite *sqlite, uint64_t n)
{
    const struct uuid id = bench_id(2, n);
    unsigned char record[120] = {1};

    execute(sqlite, sqlite->put_consumer, &id, sizeof(id), record, sizeof(record));
}

/* The ids that a key's row needs. */
static void put_sqlite_key(const struct sqlite *sqlite, uint64_t n)
{
    const struct uuid ids[2] = {bench_id(2, n), bench_id(3, n)};
    unsigned char digest[DIGEST_BYTES];

    bench_digest(n, digest);
    execute(sqlite, sqlite->put_key, digest, sizeof(digest), ids, sizeof(ids));
}

static void prepare(const struct sqlite *sqlite, const char *sql, sqlite3_stmt **ret)
{
    check(sqlite, sqlite3_prepare_v2(sqlite->db, sql, -1, ret, NULL));
}

static void open_sqlite(struct sqlite *sqlite, const char *path)
{
    check(sqlite, sqlite3_open(path, &sqlite->db));
    run(sqlite, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=64000000000;"
                "PRAGMA cache_size=-1000000;"
                "CREATE TABLE consumers(id BLOB PRIMARY KEY, record BLOB) WITHOUT ROWID;"
                "CREATE TABLE keys(digest BLOB PRIMARY KEY, ids BLOB) WITHOUT ROWID");
    prepare(sqlite, "INSERT OR REPLACE INTO consumers VALUES(?,?)", &sqlite->put_consumer);
    prepare(sqlite, "INSERT INTO keys VALUES(?,?)", &sqlite->put_key);
    prepare(sqlite, "DELETE FROM keys WHERE digest=?", &sqlite->revoke);
}

static void close_sqlite(struct sqlite *sqlite)
{
    (void)sqlite3_finalize(sqlite->put_consumer); /* repeat the last error, which there was none */
    (void)sqlite3_finalize(sqlite->put_key);
    (void)sqlite3_finalize(sqlite->revoke);
    (void)sqlite3_close(sqlite->db);
}

static void fill_sqlite(const struct sqlite *sqlite, uint64_t n)
{
    struct bench_numbered *sorted = bench_sorted_digests(n);

    run(sqlite, "BEGIN");
    for (uint64_t i = 0; i < n; i++)
        put_sqlite_consumer(sqlite, i);
    for (uint64_t i = 0; i < n; i++)
        put_sqlite_key(sqlite, sorted[i].n);
    run(sqlite, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
    free(sorted);
}

static void commit_sqlite(const struct sqlite *sqlite, const struct batch *batch)
{
    unsigned char digest[DIGEST_BYTES];

    run(sqlite, "BEGIN");
    for (uint64_t i = 0; i < PAIRS; i++) {
        put_sqlite_consumer(sqlite, batch->first_new + i);
        put_sqlite_key(sqlite, batch->first_new + i);
    }
    for (uint64_t i = 0; i < UPDATES; i++)
        put_sqlite_consumer(sqlite, changed(batch, i));
    for (uint64_t i = 0; i < REVOKED; i++) {
        bench_digest(batch->first_revoked + i, digest);
        execute(sqlite, sqlite->revoke, digest, sizeof(digest), NULL, 0);
    }
    run(sqlite, "COMMIT");
}

/* ---- in turns ---- */

static void compare(const struct ours *ours, const struct sqlite *sqlite, uint64_t n)
{
    double our_seconds = 0;
    double their_seconds = 0;
    double our_rate;
    double their_rate;

    for (uint64_t round = 0; round < TRANSACTIONS; round++) {
        const struct batch batch = batch_of(round, n);
        uint64_t began_ns = bench_now_ns();

        commit_ours(ours, &batch, 2 + round);
        our_seconds += (double)(bench_now_ns() - began_ns) / 1e9;
        began_ns = bench_now_ns();
        commit_sqlite(sqlite, &batch);
        their_seconds += (double)(bench_now_ns() - began_ns) / 1e9;
    }
    our_rate = CHANGES * TRANSACTIONS / our_seconds;
    their_rate = CHANGES * TRANSACTIONS / their_seconds;
    printf("synced_changes_per_sqlite %.2f (%.0f / %.0f changes a second, %d a transaction)\n",
           our_rate / their_rate, our_rate, their_rate, CHANGES);
}

/* ---- beside readers ---- */

/* Applies transactions until it is killed. */
static int write_on(const char *dir, uint64_t n)
{
    struct ours ours;

    open_ours(&ours, dir);
    for (uint64_t round = TRANSACTIONS;; round++) {
        const struct batch batch = batch_of(round % (n / REVOKED / 2), n);

        commit_ours(&ours, &batch, 2 + round);
    }
    return 0;
}

/* This program anew: LMDB's environments do not survive a fork. */
static pid_t start_writer(const char *dir, const char *n)
{
    pid_t pid = fork();

    if (pid < 0)
        bench_die("fork", strerror(errno));
    if (pid == 0) {
        (void)execl("/proc/self/exe", "writes", "writer", dir, n, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Only keys that no transaction touches. */
static void compare_lookups(const char *dir, const char *n_text, uint64_t n)
{
    struct figures idle;
    struct figures busy;
    struct full_path path;
    pid_t writer;

    full_path_open(&path, dir, n / 4);
    path.offset = n / 4 * 3;
    idle = bench_measure(&path.subject, 1);
    writer = start_writer(dir, n_text);
    (void)bench_measure(&path.subject, 2); /* while it starts */
    busy = bench_measure(&path.subject, 3);
    (void)kill(writer, SIGKILL);
    (void)waitpid(writer, NULL, 0);
    full_path_close(&path);
    printf("lookup_p99_under_changes_per_idle %.2f (%llu / %llu ns)\n",
           (double)busy.p99_ns / (double)idle.p99_ns, (unsigned long long)busy.p99_ns,
           (unsigned long long)idle.p99_ns);
}

static void run_all(const char *dir, const char *n_text, uint64_t n)
{
    char path[PATH_MAX];
    char store[PATH_MAX];
    struct sqlite sqlite;
    struct ours ours;

    (void)snprintf(store, sizeof(store), "%s/store", dir);
    (void)bench_store_make(store, n, 1);
    open_ours(&ours, store);
    (void)snprintf(path, sizeof(path), "%s/sqlite", dir);
    open_sqlite(&sqlite, path);
    fill_sqlite(&sqlite, n);
    compare(&ours, &sqlite, n);
    close_sqlite(&sqlite);
    close_ours(&ours);
    compare_lookups(store, n_text, n);
}

int main(int argc, char **argv)
{
    enum { LEAST = 4 * TRANSACTIONS * REVOKED };
    struct error err = ERROR_INIT;
    unsigned long long n;

    if (argc == 4 && strcmp(argv[1], "writer") == 0)
        return write_on(argv[2], strtoull(argv[3], NULL, 10));
    if (argc != 3 || sscanf(argv[1], "%llu", &n) != 1 || n < LEAST) {
        (void)fprintf(stderr, "Usage: bench/writes N DIR (N: %d or more)\n", LEAST);
        return 2;
    }
    if (mkdir(argv[2], 0700) != 0)
        bench_die(argv[2], strerror(errno));
    run_all(argv[2], argv[1], n);
    bench_check("clean up", files_remove_tree(argv[2], &err), &err);
    return 0;
}

/* writes.c - live changes of a full store against SQLite, each transaction synced.
 *
 *     bench/writes N DIR
 *
 * Both hold N consumers with a key each; then a backlog of new ones is applied in transactions of
 * one size, in turns, so that what else the disk does hits both alike; the medians are compared.
 * SQLite: WAL, synchronous=FULL, a table of consumers by id and one of keys by digest.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sqlite3.h>

#include "base/clock.h"
#include "bench/lib/bench.h"
#include "store/files.h"
#include "store/source.h"

enum { TRANSACTIONS = 50, PAIRS_EACH = 500, CHANGES_EACH = 2 * PAIRS_EACH };

/* ---- ours ---- */

static void put_pair(struct source *source, uint64_t n)
{
    char username[64];
    const struct model_consumer consumer = {.id = bench_id(2, n), .username = username};
    struct model_key key = {.id = bench_id(3, n), .consumer_id = bench_id(2, n)};
    struct error err = ERROR_INIT;

    (void)snprintf(username, sizeof(username), "a consumer that came later, number %020llu",
                   (unsigned long long)n);
    bench_digest(n, key.digest);
    bench_check("consumer", source_put_consumer(source, 1, &consumer, &err), &err);
    bench_check("key", source_put_key(source, 1, &key, &err), &err);
}

struct ours {
    struct store *store;
    struct source *source;
};

static void open_ours(struct ours *ours, const char *dir, uint64_t n)
{
    const struct store_options options = {
        .dir = dir, .control_plane_id = bench_id(9, 1), .clock = clock_system};
    struct error err = ERROR_INIT;

    (void)bench_store_make(dir, n, 1);
    bench_check("store", store_open(&options, &ours->store, &err), &err);
    bench_check("source", source_open(ours->store, "us", &ours->source, NULL, &err), &err);
}

/* The pairs from `n` on. */
static void commit_ours(const struct ours *ours, uint64_t n)
{
    const struct model_cursor cursor = {bench_id(9, 2), n};
    struct error err = ERROR_INIT;

    bench_check("begin", source_begin(ours->source, &err), &err);
    for (uint64_t i = 0; i < PAIRS_EACH; i++)
        put_pair(ours->source, n + i);
    bench_check("commit", source_commit(ours->source, &cursor, clock_wall_ms(), &err), &err);
}

/* ---- SQLite ---- */

struct sqlite {
    sqlite3 *db;
    sqlite3_stmt *consumer;
    sqlite3_stmt *key;
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

static void insert(const struct sqlite *sqlite, sqlite3_stmt *statement, const void *name,
                   int name_size, const void *value, int value_size)
{
    check(sqlite, sqlite3_bind_blob(statement, 1, name, name_size, NULL));
    check(sqlite, sqlite3_bind_blob(statement, 2, value, value_size, NULL));
    check(sqlite, sqlite3_step(statement));
    check(sqlite, sqlite3_reset(statement));
}

/* A record of what ours has with these names, and the ids that a key's row needs. */
static void insert_pair(const struct sqlite *sqlite, uint64_t n)
{
    const struct uuid ids[2] = {bench_id(2, n), bench_id(3, n)};
    unsigned char record[120] = {1};
    unsigned char digest[DIGEST_BYTES];

    bench_digest(n, digest);
    insert(sqlite, sqlite->consumer, &ids[0], sizeof(ids[0]), record, sizeof(record));
    insert(sqlite, sqlite->key, digest, sizeof(digest), ids, sizeof(ids));
}

static void open_sqlite(struct sqlite *sqlite, const char *path)
{
    check(sqlite, sqlite3_open(path, &sqlite->db));
    run(sqlite, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=64000000000;"
                "PRAGMA cache_size=-1000000;"
                "CREATE TABLE consumers(id BLOB PRIMARY KEY, record BLOB) WITHOUT ROWID;"
                "CREATE TABLE keys(digest BLOB PRIMARY KEY, ids BLOB) WITHOUT ROWID");
    check(sqlite, sqlite3_prepare_v2(sqlite->db, "INSERT INTO consumers VALUES(?,?)", -1,
                                     &sqlite->consumer, NULL));
    check(sqlite,
          sqlite3_prepare_v2(sqlite->db, "INSERT INTO keys VALUES(?,?)", -1, &sqlite->key, NULL));
}

static void fill_sqlite(const struct sqlite *sqlite, uint64_t n)
{
    struct bench_numbered *sorted = bench_sorted_digests(n);

    run(sqlite, "BEGIN");
    for (uint64_t i = 0; i < n; i++)
        insert_pair(sqlite, sorted[i].n);
    run(sqlite, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
    free(sorted);
}

static void commit_sqlite(const struct sqlite *sqlite, uint64_t n)
{
    run(sqlite, "BEGIN");
    for (uint64_t i = 0; i < PAIRS_EACH; i++)
        insert_pair(sqlite, n + i);
    run(sqlite, "COMMIT");
}

/* ---- in turns ---- */

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Changes a second of the median transaction. */
static double rate_of(uint64_t times_ns[TRANSACTIONS])
{
    uint64_t median_ns;

    qsort(times_ns, TRANSACTIONS, sizeof(*times_ns), by_time);
    median_ns = times_ns[TRANSACTIONS / 2];
    return CHANGES_EACH * 1e9 / (double)median_ns;
}

static void compare(const struct ours *ours, const struct sqlite *sqlite, uint64_t n)
{
    uint64_t our_ns[TRANSACTIONS];
    uint64_t their_ns[TRANSACTIONS];
    double our_rate;
    double their_rate;

    for (int i = 0; i < TRANSACTIONS; i++, n += PAIRS_EACH) {
        uint64_t began_ns = bench_now_ns();

        commit_ours(ours, n);
        our_ns[i] = bench_now_ns() - began_ns;
        began_ns = bench_now_ns();
        commit_sqlite(sqlite, n);
        their_ns[i] = bench_now_ns() - began_ns;
    }
    our_rate = rate_of(our_ns);
    their_rate = rate_of(their_ns);
    printf("synced_changes_per_sqlite %.2f (%.0f / %.0f changes a second, %d a transaction)\n",
           our_rate / their_rate, our_rate, their_rate, CHANGES_EACH);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    unsigned long long n;
    char path[PATH_MAX];
    struct sqlite sqlite;
    struct ours ours;

    if (argc != 3 || sscanf(argv[1], "%llu", &n) != 1 || n == 0) {
        (void)fputs("Usage: bench/writes N DIR\n", stderr);
        return 2;
    }
    if (mkdir(argv[2], 0700) != 0)
        bench_die(argv[2], strerror(errno));
    (void)snprintf(path, sizeof(path), "%s/store", argv[2]);
    open_ours(&ours, path, n);
    (void)snprintf(path, sizeof(path), "%s/sqlite", argv[2]);
    open_sqlite(&sqlite, path);
    fill_sqlite(&sqlite, n);
    compare(&ours, &sqlite, n);
    source_close(ours.source);
    store_close(ours.store);
    (void)sqlite3_finalize(sqlite.consumer); /* repeat the last error, which there was none */
    (void)sqlite3_finalize(sqlite.key);
    (void)sqlite3_close(sqlite.db);
    bench_check("clean up", files_remove_tree(argv[2], &err), &err);
    return 0;
}

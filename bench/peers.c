/* peers.c - one lookup against what people use instead, in the same run on the same machine.
 *
 *     bench/peers N DIR
 *
 * N keys of 32 bytes with records of 200 in each: Redis (GET over a unix socket), SQLite (mapped,
 * one prepared statement), RocksDB (get_pinned, bloom filter, all in its cache). cdb and a hash
 * table in own memory are printed beside as the bound: neither can be changed while it is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cdb.h>
#include <hiredis/hiredis.h>
#include <rocksdb/c.h>
#include <sqlite3.h>

#include "bench/lib/bench.h"
#include "store/bytes.h"
#include "store/files.h"

enum { REDIS_SAMPLES = 20000, PIPELINE = 1000, PATIENCE_MS = 10000 };

struct peer {
    struct subject subject;
    unsigned char key[DIGEST_BYTES];

    pid_t redis_pid;
    redisContext *redis;
    sqlite3 *sqlite;
    sqlite3_stmt *select;
    rocksdb_t *rocks;
    rocksdb_options_t *rocks_options;
    rocksdb_readoptions_t *rocks_read;
    struct cdb cdb;
    unsigned char *table; /* of slots: digest and record; free: all zeros */
    uint64_t slots;
};

static void prepare(struct subject *subject, uint64_t n)
{
    bench_digest(n, ((struct peer *)subject)->key);
}

static void take(struct subject *subject, const void *value, size_t size)
{
    const unsigned char *bytes = value;

    if (size != BENCH_RECORD_BYTES)
        bench_die("peer", "a record is missing");
    subject->touched += (uint64_t)bytes[0] + bytes[size - 1];
}

/* ---- Redis ---- */

static redisContext *connect_redis(const char *socket)
{
    const struct timespec pause = {0, 1000000};

    for (int i = 0; i < PATIENCE_MS; i++) {
        redisContext *redis = redisConnectUnix(socket);

        if (redis != NULL && redis->err == 0)
            return redis;
        if (redis != NULL)
            redisFree(redis);
        (void)nanosleep(&pause, NULL);
    }
    bench_die("redis-server", "it does not answer");
}

static void start_redis(struct peer *peer, const char *dir)
{
    char socket[PATH_MAX];

    (void)snprintf(socket, sizeof(socket), "%s/redis.sock", dir);
    (void)fflush(stdout);
    peer->redis_pid = fork();
    if (peer->redis_pid < 0)
        bench_die("fork", strerror(errno));
    if (peer->redis_pid == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

        (void)dup2(null, STDOUT_FILENO); /* at worst it chatters */
        (void)execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket,
                     "--save", "", "--appendonly", "no", (char *)NULL);
        _exit(127);
    }
    peer->redis = connect_redis(socket);
}

static void take_replies(struct peer *peer, uint64_t count)
{
    for (; count > 0; count--) {
        void *reply;

        if (redisGetReply(peer->redis, &reply) != REDIS_OK)
            bench_die("redis", peer->redis->errstr);
        freeReplyObject(reply);
    }
}

static void make_redis(struct peer *peer, const char *dir, uint64_t n)
{
    unsigned char record[BENCH_RECORD_BYTES] = {1};
    uint64_t sent = 0;

    start_redis(peer, dir);
    peer->subject.samples = REDIS_SAMPLES;
    for (uint64_t i = 0; i < n; i++) {
        unsigned char key[DIGEST_BYTES];

        bench_digest(i, key);
        if (redisAppendCommand(peer->redis, "SET %b %b", key, sizeof(key), record,
                               sizeof(record)) != REDIS_OK)
            bench_die("redis", peer->redis->errstr);
        if (++sent == PIPELINE) {
            take_replies(peer, sent);
            sent = 0;
        }
    }
    take_replies(peer, sent);
}

static void run_redis(struct subject *subject)
{
    struct peer *peer = (struct peer *)subject;
    redisReply *reply = redisCommand(peer->redis, "GET %b", peer->key, sizeof(peer->key));

    if (reply == NULL)
        bench_die("redis", peer->redis->errstr);
    else if (reply->type != REDIS_REPLY_STRING)
        bench_die("redis", "a key is missing");
    else
        take(subject, reply->str, reply->len);
    freeReplyObject(reply);
}

static void close_redis(struct peer *peer)
{
    redisFree(peer->redis);
    (void)kill(peer->redis_pid, SIGTERM);
    (void)waitpid(peer->redis_pid, NULL, 0);
}

/* ---- SQLite ---- */

static void check_sqlite(struct peer *peer, int rc)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE && rc != SQLITE_ROW)
        bench_die("sqlite", sqlite3_errmsg(peer->sqlite));
}

static void make_sqlite(struct peer *peer, const char *dir, uint64_t n)
{
    struct bench_numbered *keys = bench_sorted_digests(n);
    unsigned char record[BENCH_RECORD_BYTES] = {1};
    char path[PATH_MAX];
    sqlite3_stmt *insert;

    (void)snprintf(path, sizeof(path), "%s/sqlite", dir);
    check_sqlite(peer, sqlite3_open(path, &peer->sqlite));
    check_sqlite(peer, sqlite3_exec(peer->sqlite,
                                    "PRAGMA mmap_size=64000000000; PRAGMA journal_mode=WAL;"
                                    "PRAGMA synchronous=OFF;"
                                    "CREATE TABLE t(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID;"
                                    "BEGIN",
                                    NULL, NULL, NULL));
    check_sqlite(peer,
                 sqlite3_prepare_v2(peer->sqlite, "INSERT INTO t VALUES(?,?)", -1, &insert, NULL));
    for (uint64_t i = 0; i < n; i++) {
        check_sqlite(peer, sqlite3_bind_blob(insert, 1, keys[i].digest, DIGEST_BYTES, NULL));
        check_sqlite(peer, sqlite3_bind_blob(insert, 2, record, sizeof(record), NULL));
        check_sqlite(peer, sqlite3_step(insert));
        check_sqlite(peer, sqlite3_reset(insert));
    }
    check_sqlite(peer, sqlite3_finalize(insert));
    check_sqlite(peer, sqlite3_exec(peer->sqlite, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)", NULL,
                                    NULL, NULL));
    check_sqlite(peer, sqlite3_prepare_v2(peer->sqlite, "SELECT v FROM t WHERE k=?", -1,
                                          &peer->select, NULL));
    free(keys);
}

static void run_sqlite(struct subject *subject)
{
    struct peer *peer = (struct peer *)subject;

    check_sqlite(peer, sqlite3_bind_blob(peer->select, 1, peer->key, sizeof(peer->key), NULL));
    check_sqlite(peer, sqlite3_step(peer->select));
    take(subject, sqlite3_column_blob(peer->select, 0),
         (size_t)sqlite3_column_bytes(peer->select, 0));
    check_sqlite(peer, sqlite3_reset(peer->select));
}

static void close_sqlite(struct peer *peer)
{
    (void)sqlite3_finalize(peer->select); /* repeats the last error, which there was none */
    (void)sqlite3_close(peer->sqlite);
}

/* ---- RocksDB ---- */

static void check_rocks(const char *message)
{
    if (message != NULL)
        bench_die("rocksdb", message);
}

static void make_rocks(struct peer *peer, const char *dir, uint64_t n)
{
    const size_t cache_bytes = (size_t)1 << 30;
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_writeoptions_t *write = rocksdb_writeoptions_create();
    rocksdb_cache_t *cache = rocksdb_cache_create_lru(cache_bytes);
    unsigned char record[BENCH_RECORD_BYTES] = {1};
    char path[PATH_MAX];
    char *message = NULL;

    peer->rocks_options = rocksdb_options_create();
    peer->rocks_read = rocksdb_readoptions_create();
    rocksdb_options_set_create_if_missing(peer->rocks_options, 1);
    rocksdb_options_set_compression(peer->rocks_options, rocksdb_no_compression);
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom(10));
    rocksdb_options_set_block_based_table_factory(peer->rocks_options, table);
    rocksdb_writeoptions_disable_WAL(write, 1);
    (void)snprintf(path, sizeof(path), "%s/rocks", dir);
    peer->rocks = rocksdb_open(peer->rocks_options, path, &message);
    check_rocks(message);
    for (uint64_t i = 0; i < n; i++) {
        unsigned char key[DIGEST_BYTES];

        bench_digest(i, key);
        rocksdb_put(peer->rocks, write, (const char *)key, sizeof(key), (const char *)record,
                    sizeof(record), &message);
        check_rocks(message);
    }
    rocksdb_compact_range(peer->rocks, NULL, 0, NULL, 0);
    rocksdb_writeoptions_destroy(write);
    rocksdb_block_based_options_destroy(table);
    rocksdb_cache_destroy(cache);
}

static void run_rocks(struct subject *subject)
{
    struct peer *peer = (struct peer *)subject;
    char *message = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(
        peer->rocks, peer->rocks_read, (const char *)peer->key, sizeof(peer->key), &message);
    const char *value;
    size_t size = 0;

    check_rocks(message);
    value = rocksdb_pinnableslice_value(slice, &size);
    take(subject, value, size);
    rocksdb_pinnableslice_destroy(slice);
}

static void close_rocks(struct peer *peer)
{
    rocksdb_close(peer->rocks);
    rocksdb_readoptions_destroy(peer->rocks_read);
    rocksdb_options_destroy(peer->rocks_options);
}

/* ---- cdb ---- */

static void make_cdb(struct peer *peer, const char *dir, uint64_t n)
{
    unsigned char record[BENCH_RECORD_BYTES] = {1};
    struct cdb_make make;
    char path[PATH_MAX];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/cdb", dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || cdb_make_start(&make, fd) != 0)
        bench_die("cdb", strerror(errno));
    for (uint64_t i = 0; i < n; i++) {
        unsigned char key[DIGEST_BYTES];

        bench_digest(i, key);
        if (cdb_make_add(&make, key, sizeof(key), record, sizeof(record)) != 0)
            bench_die("cdb", strerror(errno));
    }
    if (cdb_make_finish(&make) != 0 || cdb_init(&peer->cdb, fd) != 0)
        bench_die("cdb", strerror(errno));
}

static void run_cdb(struct subject *subject)
{
    struct peer *peer = (struct peer *)subject;

    if (cdb_find(&peer->cdb, peer->key, sizeof(peer->key)) <= 0)
        bench_die("cdb", "a key is missing");
    take(subject, cdb_getdata(&peer->cdb), cdb_datalen(&peer->cdb));
}

static void close_cdb(struct peer *peer)
{
    (void)close(cdb_fileno(&peer->cdb)); /* nothing is written any more */
    cdb_free(&peer->cdb);
}

/* ---- a hash table in own memory ---- */

enum { SLOT_BYTES = DIGEST_BYTES + BENCH_RECORD_BYTES };

static unsigned char *slot_of(const struct peer *peer, const unsigned char *key)
{
    uint64_t i = bytes_get_u64(key) % peer->slots;
    static const unsigned char empty[DIGEST_BYTES];

    for (;; i = (i + 1) % peer->slots) {
        unsigned char *slot = peer->table + i * SLOT_BYTES;

        if (memcmp(slot, key, DIGEST_BYTES) == 0 || memcmp(slot, empty, DIGEST_BYTES) == 0)
            return slot;
    }
}

static void make_hash(struct peer *peer, const char *dir, uint64_t n)
{
    (void)dir;
    peer->slots = n + n / 2;
    peer->table = calloc(peer->slots, SLOT_BYTES);
    if (peer->table == NULL)
        bench_die("hash table", error_text(E_NO_MEMORY));
    for (uint64_t i = 0; i < n; i++) {
        unsigned char key[DIGEST_BYTES];

        bench_digest(i, key);
        memcpy(slot_of(peer, key), key, DIGEST_BYTES);
    }
}

static void run_hash(struct subject *subject)
{
    const struct peer *peer = (struct peer *)subject;

    take(subject, slot_of(peer, peer->key) + DIGEST_BYTES, BENCH_RECORD_BYTES);
}

static void close_hash(struct peer *peer)
{
    free(peer->table);
}

/* ---- all ---- */

static const struct {
    const char *name;
    void (*make)(struct peer *peer, const char *dir, uint64_t n);
    void (*run)(struct subject *subject);
    void (*close)(struct peer *peer);
} peers[] = {
    {"redis", make_redis, run_redis, close_redis},
    {"sqlite", make_sqlite, run_sqlite, close_sqlite},
    {"rocksdb", make_rocks, run_rocks, close_rocks},
    {"cdb", make_cdb, run_cdb, close_cdb},
    {"hash_table", make_hash, run_hash, close_hash},
};

static void compare_with(size_t i, struct full_path *path, const char *dir)
{
    struct peer peer = {.subject = {.prepare = prepare, .run = peers[i].run, .n = path->subject.n}};
    uint64_t ours = UINT64_MAX;
    uint64_t theirs = UINT64_MAX;

    peers[i].make(&peer, dir, path->subject.n);
    for (uint64_t round = 0; round < BENCH_ROUNDS; round++) {
        struct figures a = bench_measure(&path->subject, round << 32);
        struct figures b = bench_measure(&peer.subject, round << 32);

        ours = a.p50_ns < ours ? a.p50_ns : ours;
        theirs = b.p50_ns < theirs ? b.p50_ns : theirs;
    }
    printf("%s_p50_per_lookup_p50 %.2f (%s %" PRIu64 " ns, rs %" PRIu64 " ns)\n", peers[i].name,
           (double)theirs / (double)ours, peers[i].name, theirs, ours);
    peers[i].close(&peer);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct full_path path;
    unsigned long long n;
    char store[PATH_MAX];

    if (argc != 3 || sscanf(argv[1], "%llu", &n) != 1 || n == 0) {
        (void)fputs("Usage: bench/peers N DIR\n", stderr);
        return 2;
    }
    if (mkdir(argv[2], 0700) != 0)
        bench_die(argv[2], strerror(errno));
    (void)snprintf(store, sizeof(store), "%s/store", argv[2]);
    (void)bench_store_make(store, n, 1);
    full_path_open(&path, store, n);
    for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++)
        compare_with(i, &path, argv[2]);
    full_path_close(&path);
    bench_check("clean up", files_remove_tree(argv[2], &err), &err);
    return 0;
}

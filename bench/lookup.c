/* lookup.c - what one lookup costs, against LMDB's own in the same run on the same machine.
 *
 *     bench/lookup N DIR
 *
 * Makes two stores under DIR: ours with N consumers of one key each, loaded as a full
 * resynchronisation does, and a bare LMDB table of N 32-byte keys with 200-byte records. Then, at
 * uniform random keys:
 *
 *     rs        rs_begin, rs_lookup, id, username and groups read, rs_end
 *     mdb_get   one long transaction, mdb_get, first and last byte read
 *
 * Each operation is timed by itself (p50, p99); the mean is over a loop without clocks in it. Keys
 * are made from their number when needed, so that no table of them competes for the cache; that
 * cost is outside the timed part.
 */
#include <errno.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "realmstore.h"
#include "store/bytes.h"
#include "store/env.h"
#include "store/files.h"
#include "store/source.h"

enum {
    SAMPLES = 200000,
    KEY_SIZE = 32, /* characters of an API key */
    BARE_RECORD_BYTES = 200,
    BARE_TXN_RECORDS = 100000,
    REALM = 1
};

static const uint8_t digest_secret[DIGEST_KEY_BYTES] = "the benchmark's digest key, 32 B";

static void die(const char *what, const struct error *err)
{
    (void)fprintf(stderr, "bench/lookup: %s: %s\n", what, err->message);
    exit(1);
}

static void die_code(const char *what, const char *reason)
{
    (void)fprintf(stderr, "bench/lookup: %s: %s\n", what, reason);
    exit(1);
}

/* splitmix64 (Steele, Lea, Flood 2014): each number gives a well-mixed other one. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

static void make_key(uint64_t n, char key[KEY_SIZE + 1])
{
    (void)snprintf(key, KEY_SIZE + 1, "%016" PRIx64 "%016" PRIx64, mix(n), mix(~n));
}

static struct uuid make_id(uint8_t tag, uint64_t n)
{
    struct uuid id = {{tag, 0, 0, 0, 0, 0, 0x70, 0, 0x80}};

    for (int i = 0; i < 6; i++)
        id.bytes[15 - i] = (uint8_t)(n >> (8 * i));
    return id;
}

/* ---- our store ---- */

struct digest_of {
    uint8_t digest[DIGEST_BYTES];
    uint64_t n;
};

static int by_digest(const void *a, const void *b)
{
    return memcmp(a, b, DIGEST_BYTES);
}

static struct digest_of *make_digests(uint64_t n)
{
    struct digest_of *all = calloc(n, sizeof(*all));
    struct digest_key key;
    char text[KEY_SIZE + 1];

    if (all == NULL)
        die_code("digests", error_text(E_NO_MEMORY));
    digest_key_init(&key, digest_secret);
    for (uint64_t i = 0; i < n; i++) {
        make_key(i, text);
        digest_compute(&key, text, KEY_SIZE, all[i].digest);
        all[i].n = i;
    }
    qsort(all, n, sizeof(*all), by_digest);
    return all;
}

static void put(struct source *source, enum record_kind kind, struct buffer *record)
{
    struct error err = ERROR_INIT;

    if (source_load_record(source, kind, REALM, record->data, record->size, &err) != 0)
        die("load", &err);
    buffer_clear(record);
}

static void put_realm(struct source *source, struct buffer *record)
{
    static const char *const groups[] = {"gold"};
    struct model_realm realm = {.id = make_id(1, REALM),
                                .number = REALM,
                                .ttl_min = 10,
                                .negative_ttl_min = 10,
                                .name = "bench",
                                .region = "us",
                                .groups = {groups, 1}};

    if (record_encode_realm(&realm, record) != 0)
        die_code("realm", "does not encode");
    put(source, RECORD_REALM, record);
}

static void put_consumers(struct source *source, uint64_t n, struct buffer *record)
{
    static const char *const tags[] = {"team-blue", "production"};
    static const char *const groups[] = {"beta"};
    char username[32];
    char custom_id[32];

    for (uint64_t i = 0; i < n; i++) {
        struct model_consumer consumer = {.id = make_id(2, i),
                                          .username = username,
                                          .custom_id = custom_id,
                                          .tags = {tags, 2},
                                          .groups = {groups, 1}};

        (void)snprintf(username, sizeof(username), "user-%" PRIu64, i);
        (void)snprintf(custom_id, sizeof(custom_id), "crm-%" PRIu64, i);
        if (record_encode_consumer(&consumer, record) != 0)
            die_code("consumer", "does not encode");
        put(source, RECORD_CONSUMER, record);
    }
}

static void put_keys(struct source *source, const struct digest_of *digests, uint64_t n,
                     struct buffer *record)
{
    for (uint64_t i = 0; i < n; i++) {
        struct model_key key = {.id = make_id(3, digests[i].n),
                                .consumer_id = make_id(2, digests[i].n)};

        memcpy(key.digest, digests[i].digest, DIGEST_BYTES);
        if (record_encode_key(&key, record) != 0)
            die_code("key", "does not encode");
        put(source, RECORD_KEY, record);
    }
}

static void make_store(const char *dir, uint64_t n)
{
    const struct store_options options = {
        .dir = dir, .control_plane_id = make_id(9, 1), .clock = clock_system};
    const struct model_cursor cursor = {make_id(9, 2), 1};
    const struct source_counts expected = {1, n, n};
    struct digest_of *digests = make_digests(n);
    struct error err = ERROR_INIT;
    struct buffer record;
    struct store *store;
    struct source *source;
    int64_t began_ms = clock_boot_ms();

    buffer_init(&record, RECORD_MAX_BYTES);
    if (store_open(&options, &store, &err) != 0 ||
        source_open(store, "us", &source, NULL, &err) != 0 ||
        source_load_begin(source, digest_secret, &err) != 0)
        die("store", &err);
    put_realm(source, &record);
    put_consumers(source, n, &record);
    put_keys(source, digests, n, &record);
    if (source_load_publish(source, &cursor, clock_wall_ms(), &expected, &err) != 0)
        die("publish", &err);
    source_heard(source);
    printf("load_records_per_second %.0f\n",
           (double)(2 * n + 1) * 1000 / (double)(clock_boot_ms() - began_ms + 1));
    source_close(source);
    store_close(store);
    buffer_finish(&record);
    free(digests);
}

/* ---- the peer: a bare table ---- */

static void make_bare_key(uint64_t n, unsigned char key[DIGEST_BYTES])
{
    for (uint64_t i = 0; i < DIGEST_BYTES / 8; i++)
        bytes_put_u64(key + i * 8, mix(n * 4 + i));
}

static void check_mdb(int rc)
{
    if (rc != 0)
        die_code("bare table", mdb_strerror(rc));
}

/* Sorted, so that the peer has the same full pages as ours. */
static void fill_bare(MDB_env *env, MDB_dbi dbi, uint64_t n)
{
    struct digest_of *keys = calloc(n, sizeof(*keys));
    unsigned char record[BARE_RECORD_BYTES] = {1};
    MDB_txn *txn;

    if (keys == NULL)
        die_code("bare table", error_text(E_NO_MEMORY));
    for (uint64_t i = 0; i < n; i++)
        make_bare_key(i, keys[i].digest);
    qsort(keys, n, sizeof(*keys), by_digest);
    check_mdb(mdb_txn_begin(env, NULL, 0, &txn));
    for (uint64_t i = 0; i < n; i++) {
        MDB_val key = {DIGEST_BYTES, keys[i].digest};
        MDB_val value = {sizeof(record), record};

        check_mdb(mdb_put(txn, dbi, &key, &value, MDB_APPEND));
        if (i % BARE_TXN_RECORDS == BARE_TXN_RECORDS - 1) {
            check_mdb(mdb_txn_commit(txn));
            check_mdb(mdb_txn_begin(env, NULL, 0, &txn));
        }
    }
    check_mdb(mdb_txn_commit(txn));
    free(keys);
}

static MDB_env *make_bare(const char *dir, uint64_t n, MDB_dbi *ret_dbi)
{
    MDB_env *env;
    MDB_txn *txn;

    if (mkdir(dir, 0700) != 0)
        die_code(dir, strerror(errno));
    check_mdb(mdb_env_create(&env));
    check_mdb(mdb_env_set_mapsize(env, (size_t)64 << 30));
    check_mdb(mdb_env_open(env, dir, MDB_NOSYNC, 0600));
    check_mdb(mdb_txn_begin(env, NULL, 0, &txn));
    check_mdb(mdb_dbi_open(txn, NULL, 0, ret_dbi));
    check_mdb(mdb_txn_commit(txn));
    fill_bare(env, *ret_dbi, n);
    return env;
}

/* ---- measuring ---- */

struct figures {
    double mean_ns;
    uint64_t p50_ns;
    uint64_t p99_ns;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* fails for unknown ids only */
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The two subjects have one shape: prepare(i) outside the clock, run() inside it. */
struct subject {
    void (*prepare)(struct subject *subject, uint64_t i);
    void (*run)(struct subject *subject);
    uint64_t n;
    uint64_t touched; /* keeps what is read from being optimised away */

    rs_store *store;
    rs_source source;
    char key[KEY_SIZE + 1];

    MDB_txn *txn;
    MDB_dbi dbi;
    unsigned char bare_key[DIGEST_BYTES];
};

static void prepare_rs(struct subject *subject, uint64_t i)
{
    make_key(i, subject->key);
}

static void run_rs(struct subject *subject)
{
    rs_snapshot *snapshot;
    rs_consumer consumer;
    int rc = rs_begin(subject->store, &snapshot);

    if (rc == 0)
        rc = rs_lookup(snapshot, &subject->source, 1, subject->key, KEY_SIZE, &consumer);
    if (rc != RS_FOUND)
        die_code("lookup", rs_strerror(rc));
    subject->touched += (unsigned char)rs_consumer_id(&consumer)[0];
    subject->touched += (unsigned char)rs_consumer_username(&consumer)[0];
    for (size_t i = 0; i < rs_consumer_group_count(&consumer); i++)
        subject->touched += (unsigned char)rs_consumer_group(&consumer, i)[0];
    rs_end(snapshot);
}

static void prepare_bare(struct subject *subject, uint64_t i)
{
    make_bare_key(i, subject->bare_key);
}

static void run_bare(struct subject *subject)
{
    MDB_val key = {DIGEST_BYTES, subject->bare_key};
    MDB_val value;

    check_mdb(mdb_get(subject->txn, subject->dbi, &key, &value));
    subject->touched += ((unsigned char *)value.mv_data)[0];
    subject->touched += ((unsigned char *)value.mv_data)[value.mv_size - 1];
}

static struct figures measure(struct subject *subject, uint64_t *samples, uint64_t seed)
{
    struct figures figures;
    uint64_t total_ns = 0;

    for (uint64_t i = 0; i < SAMPLES; i++) {
        uint64_t began_ns;

        subject->prepare(subject, mix(seed + i) % subject->n);
        began_ns = now_ns();
        subject->run(subject);
        samples[i] = now_ns() - began_ns;
        total_ns += samples[i];
    }
    qsort(samples, SAMPLES, sizeof(*samples), by_number);
    figures.mean_ns = (double)total_ns / SAMPLES;
    figures.p50_ns = samples[SAMPLES / 2];
    figures.p99_ns = samples[SAMPLES / 100 * 99];
    return figures;
}

/* Lookups a second without a clock around each; the making of keys is measured alone and taken off.
 */
static double rate(struct subject *subject, uint64_t seed)
{
    uint64_t began_ns = now_ns();
    uint64_t keys_ns;

    for (uint64_t i = 0; i < SAMPLES; i++)
        subject->prepare(subject, mix(seed + i) % subject->n);
    keys_ns = now_ns() - began_ns;
    began_ns = now_ns();
    for (uint64_t i = 0; i < SAMPLES; i++) {
        subject->prepare(subject, mix(seed + i) % subject->n);
        subject->run(subject);
    }
    return SAMPLES * 1e9 / (double)(now_ns() - began_ns - keys_ns);
}

static void report(struct subject *rs, struct subject *bare)
{
    enum { ROUNDS = 3 };
    static uint64_t samples[SAMPLES];
    struct figures ours = {.p50_ns = UINT64_MAX};
    struct figures theirs = {.p50_ns = UINT64_MAX};

    /* Alternating, and the best of three each: other load on the machine hits both alike. */
    for (uint64_t i = 0; i < ROUNDS; i++) {
        struct figures a = measure(rs, samples, i << 32);
        struct figures b = measure(bare, samples, i << 32);

        if (a.p50_ns < ours.p50_ns)
            ours = a;
        if (b.p50_ns < theirs.p50_ns)
            theirs = b;
    }
    printf("lookup_hit_p50_ratio %.2f (rs %" PRIu64 " ns, mdb_get %" PRIu64 " ns)\n",
           (double)ours.p50_ns / (double)theirs.p50_ns, ours.p50_ns, theirs.p50_ns);
    printf("lookup_hit_p99_ratio %.2f (rs %" PRIu64 " ns, mdb_get %" PRIu64 " ns)\n",
           (double)ours.p99_ns / (double)theirs.p99_ns, ours.p99_ns, theirs.p99_ns);
    printf("lookup_hit_mean_ratio %.2f (rs %.0f ns, mdb_get %.0f ns)\n",
           ours.mean_ns / theirs.mean_ns, ours.mean_ns, theirs.mean_ns);
    printf("lookups_per_second %.0f (mdb_get %.0f)\n", rate(rs, 99), rate(bare, 99));
}

static void run_all(const char *dir, uint64_t n)
{
    struct subject rs = {.prepare = prepare_rs, .run = run_rs, .n = n};
    struct subject bare = {.prepare = prepare_bare, .run = run_bare, .n = n};
    struct uuid realm = make_id(1, REALM);
    char path[PATH_MAX];
    MDB_env *env;
    int rc;

    (void)snprintf(path, sizeof(path), "%s/bare", dir);
    env = make_bare(path, n, &bare.dbi);
    (void)snprintf(path, sizeof(path), "%s/store", dir);
    make_store(path, n);
    rc = rs_open(&rs.store, path, NULL);
    if (rc != 0)
        die_code(path, rs_strerror(rc));
    rs.source.scope = RS_SCOPE_REALM;
    memcpy(rs.source.realm_id, realm.bytes, UUID_BYTES);
    check_mdb(mdb_txn_begin(env, NULL, MDB_RDONLY, &bare.txn));
    report(&rs, &bare);
    mdb_txn_abort(bare.txn);
    mdb_env_close(env);
    rs_close(rs.store);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    unsigned long long n;

    if (argc != 3 || sscanf(argv[1], "%llu", &n) != 1 || n == 0) {
        (void)fputs("Usage: bench/lookup N DIR\n"
                    "Measures lookups among N consumers; makes DIR and removes it.\n",
                    stderr);
        return 2;
    }
    if (mkdir(argv[2], 0700) != 0)
        die_code(argv[2], strerror(errno));
    run_all(argv[2], n);
    if (files_remove_tree(argv[2], &err) != 0)
        die("clean up", &err);
    return 0;
}

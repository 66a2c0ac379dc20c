/* layouts.c - which layout of keys and consumers is fastest to look up in? The ground for
 * docs/store-format.md.
 *
 *   layouts CONSUMERS KEYS_EACH DIR
 *
 * Builds one LMDB environment per layout from the same digests and 200-byte consumer records, then
 * times the full path in each (HMAC of the raw key, renew, one or two tree lookups, reading four
 * strings, reset) at uniformly random keys, in turns with a bare mdb_get (long transaction, 32-byte
 * digest, 200-byte record). Prints p50 ratios, bytes a key, and the time to build.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <lmdb.h>

#include "base/digest.h"

enum {
    RECORD_BYTES = 200,  /* a consumer: header, names, three groups */
    HOT_BYTES = 120,     /* of these, what a gateway reads */
    KEY_PART_BYTES = 72, /* digest, key id, scope, expiry, length */
    SECRET_BYTES = 47,   /* as long as what the control plane makes */
    ROUNDS = 5,          /* of each layout, in turns */
    LOOKUPS = 200000,    /* a round */
    CACHE_SLOTS = 4096,
    STRINGS_READ = 4
};

enum reference { BY_UUID, BY_NUMBER };

struct layout {
    const char *name;
    bool integer_key; /* first 8 bytes of the digest, the whole compared afterwards */
    unsigned
        inline_max_keys; /* the record stands with the key for consumers of up to this many keys */
    enum reference reference; /* how other records are found */
    unsigned record_bytes;    /* of the record, what the lookup's trees hold */
    bool cache;
};

static const struct layout layouts[] = {
    {"digest32 -> record", false, 1000, BY_NUMBER, RECORD_BYTES, false},
    {"digest8 -> record", true, 1000, BY_NUMBER, RECORD_BYTES, false},
    {"digest8 -> uuid -> record", true, 0, BY_UUID, RECORD_BYTES, false},
    {"digest8 -> number -> record", true, 0, BY_NUMBER, RECORD_BYTES, false},
    {"digest8 -> record up to 2 keys", true, 2, BY_NUMBER, RECORD_BYTES, false},
    {"digest8 -> hot part up to 2 keys", true, 2, BY_NUMBER, HOT_BYTES, false},
    {"digest8 -> record up to 2, cache", true, 2, BY_NUMBER, RECORD_BYTES, true},
};
enum { LAYOUTS = sizeof(layouts) / sizeof(layouts[0]) };

struct entry {
    uint8_t digest[DIGEST_BYTES];
    uint32_t key; /* its number; the consumer's is key / keys_each */
};

struct built {
    MDB_env *env;
    MDB_dbi keys;
    MDB_dbi consumers;
    MDB_txn *txn;
    double build_s;
    double bytes_per_key;
    double p50[ROUNDS];
    struct {
        uint64_t prefix;
        MDB_val value;
    } cache[CACHE_SLOTS];
    size_t cache_txn;
};

struct bench {
    uint32_t consumers;
    uint32_t keys_each;
    uint64_t random;
    struct digest_key digest_key;
    struct entry *entries; /* by digest */
    float *samples;
    unsigned sum; /* keeps the reads alive */
};

static void must(int rc, const char *what)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "layouts: %s: %s\n", what, mdb_strerror(rc));
    exit(1);
}

static void *must_have(void *pointer)
{
    must(pointer == NULL, "out of memory");
    return pointer;
}

static double now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* splitmix64 (Steele, Lea, Flood 2014): every number has a secret that is as good as random. */
static uint64_t scramble(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void make_secret(uint32_t key, char secret[SECRET_BYTES])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    uint64_t bits = 0;

    for (uint32_t i = 0; i < SECRET_BYTES; i++) {
        bits = i % 10 == 0 ? scramble((uint64_t)key << 8 | i) : bits >> 6;
        secret[i] = digits[bits & 63];
    }
}

static uint64_t prefix_of(const uint8_t *digest)
{
    uint64_t prefix;

    memcpy(&prefix, digest, sizeof(prefix));
    return __builtin_bswap64(prefix); /* integer order is byte order */
}

static int by_digest(const void *a, const void *b)
{
    return memcmp(((const struct entry *)a)->digest, ((const struct entry *)b)->digest,
                  DIGEST_BYTES);
}

static void make_entries(struct bench *bench)
{
    uint32_t n = bench->consumers * bench->keys_each;

    bench->entries = must_have(calloc(n, sizeof(*bench->entries)));
    for (uint32_t i = 0; i < n; i++) {
        char secret[SECRET_BYTES];

        make_secret(i, secret);
        digest_compute(&bench->digest_key, secret, SECRET_BYTES, bench->entries[i].digest);
        bench->entries[i].key = i;
    }
    qsort(bench->entries, n, sizeof(*bench->entries), by_digest);
}

/* Key of the consumers' tree: a number in native order, or 20 bytes of scope and UUID. */
static MDB_val reference_key(enum reference reference, uint32_t consumer, unsigned char bytes[20])
{
    uint64_t number = consumer;

    if (reference == BY_NUMBER) {
        memcpy(bytes, &number, sizeof(number));
        return (MDB_val){sizeof(number), bytes};
    }
    memset(bytes, 0, 20);
    for (int i = 0; i < 4; i++)
        bytes[16 + i] = (unsigned char)(consumer >> (24 - 8 * i));
    return (MDB_val){20, bytes};
}

static bool is_inline(const struct bench *bench, const struct layout *layout)
{
    return bench->keys_each <= layout->inline_max_keys;
}

static void open_layout(struct built *built, const struct layout *layout, const char *dir)
{
    MDB_txn *txn;

    (void)mkdir(dir, 0700);
    must(mdb_env_create(&built->env), "create");
    must(mdb_env_set_mapsize(built->env, (size_t)64 << 30), "map");
    must(mdb_env_set_maxdbs(built->env, 2), "tables");
    must(mdb_env_open(built->env, dir, MDB_NOTLS | MDB_NOSYNC, 0600), "open");
    must(mdb_txn_begin(built->env, NULL, 0, &txn), "begin");
    must(mdb_dbi_open(txn, "keys", MDB_CREATE | (layout->integer_key ? MDB_INTEGERKEY : 0),
                      &built->keys),
         "keys");
    must(mdb_dbi_open(txn, "consumers",
                      MDB_CREATE | (layout->reference == BY_NUMBER ? MDB_INTEGERKEY : 0),
                      &built->consumers),
         "consumers");
    must(mdb_txn_commit(txn), "commit");
}

static void fill_layout(const struct bench *bench, const struct layout *layout, struct built *built)
{
    unsigned char value[KEY_PART_BYTES + RECORD_BYTES] = {0};
    unsigned char reference[20];
    MDB_txn *txn;

    must(mdb_txn_begin(built->env, NULL, 0, &txn), "begin");
    for (uint32_t i = 0; i < bench->consumers * bench->keys_each; i++) {
        const struct entry *entry = &bench->entries[i];
        uint32_t consumer = entry->key / bench->keys_each;
        uint64_t prefix = prefix_of(entry->digest);
        MDB_val k = {DIGEST_BYTES, (void *)(uintptr_t)entry->digest};
        MDB_val v = {KEY_PART_BYTES, value};

        if (layout->integer_key)
            k = (MDB_val){sizeof(prefix), &prefix};
        if (is_inline(bench, layout))
            v.mv_size += layout->record_bytes;
        memcpy(value, entry->digest, DIGEST_BYTES);
        memcpy(value + DIGEST_BYTES, &consumer, sizeof(consumer));
        must(mdb_put(txn, built->keys, &k, &v, MDB_APPEND), "append a key");
    }
    for (uint32_t i = 0; i < bench->consumers && !is_inline(bench, layout); i++) {
        MDB_val k = reference_key(layout->reference, i, reference);
        MDB_val v = {layout->record_bytes, value};

        must(mdb_put(txn, built->consumers, &k, &v, MDB_APPEND), "append a consumer");
    }
    must(mdb_txn_commit(txn), "commit");
}

static void build_layout(const struct bench *bench, const struct layout *layout,
                         struct built *built, const char *dir)
{
    MDB_envinfo info;
    MDB_stat stat;
    double start;

    open_layout(built, layout, dir);
    start = now_ns();
    fill_layout(bench, layout, built);
    built->build_s = (now_ns() - start) / 1e9;
    must(mdb_env_info(built->env, &info), "info");
    must(mdb_env_stat(built->env, &stat), "stat");
    built->bytes_per_key = (double)(info.me_last_pgno + 1) * stat.ms_psize /
                           ((double)bench->consumers * bench->keys_each);
    must(mdb_txn_begin(built->env, NULL, MDB_RDONLY, &built->txn), "begin");
    mdb_txn_reset(built->txn);
}

static unsigned touch(const unsigned char *record, size_t size)
{
    unsigned sum = 0;

    for (size_t i = 0; i < STRINGS_READ; i++)
        sum += record[size * i / STRINGS_READ] + record[size * (i + 1) / STRINGS_READ - 1];
    return sum;
}

static MDB_val find(struct built *built, const struct layout *layout, const uint8_t *digest)
{
    uint64_t prefix = prefix_of(digest);
    size_t slot = prefix % CACHE_SLOTS;
    MDB_val k = {DIGEST_BYTES, (void *)(uintptr_t)digest};
    MDB_val v;

    if (layout->integer_key)
        k = (MDB_val){sizeof(prefix), &prefix};
    if (layout->cache && built->cache[slot].prefix == prefix &&
        built->cache_txn == mdb_txn_id(built->txn))
        return built->cache[slot].value;
    must(mdb_get(built->txn, built->keys, &k, &v), "find a key");
    if (layout->cache) {
        built->cache_txn = mdb_txn_id(built->txn);
        built->cache[slot].prefix = prefix;
        built->cache[slot].value = v;
    }
    return v;
}

static void look_up(struct bench *bench, struct built *built, const struct layout *layout,
                    const char *secret)
{
    uint8_t digest[DIGEST_BYTES];
    unsigned char reference[20];
    uint32_t consumer;
    MDB_val v;

    digest_compute(&bench->digest_key, secret, SECRET_BYTES, digest);
    must(mdb_txn_renew(built->txn), "renew");
    v = find(built, layout, digest);
    must(memcmp(v.mv_data, digest, DIGEST_BYTES) != 0, "compare the digest");
    if (is_inline(bench, layout)) {
        bench->sum += touch((unsigned char *)v.mv_data + KEY_PART_BYTES, layout->record_bytes);
    } else {
        MDB_val k;

        memcpy(&consumer, (unsigned char *)v.mv_data + DIGEST_BYTES, sizeof(consumer));
        k = reference_key(layout->reference, consumer, reference);
        must(mdb_get(built->txn, built->consumers, &k, &v), "find a consumer");
        bench->sum += touch(v.mv_data, layout->record_bytes);
    }
    mdb_txn_reset(built->txn);
}

static int by_time(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;

    return (x > y) - (x < y);
}

static double median_of(float *samples, size_t count)
{
    qsort(samples, count, sizeof(*samples), by_time);
    return samples[count / 2];
}

/* hot: 0 draws from all keys, else from that many. */
static uint32_t draw(struct bench *bench, uint32_t hot)
{
    uint32_t n = bench->consumers * bench->keys_each;

    bench->random++;
    return (uint32_t)(scramble(bench->random) % (hot > 0 && hot < n ? hot : n));
}

static double time_layout(struct bench *bench, struct built *built, const struct layout *layout,
                          uint32_t hot)
{
    for (size_t i = 0; i < LOOKUPS; i++) {
        char secret[SECRET_BYTES];
        double start;

        make_secret(draw(bench, hot), secret);
        start = now_ns();
        look_up(bench, built, layout, secret);
        bench->samples[i] = (float)(now_ns() - start);
    }
    return median_of(bench->samples, LOOKUPS);
}

/* The peer: digests at hand, one long transaction, one mdb_get, one byte read. */
static double time_bare(struct bench *bench, struct built *built, uint32_t hot)
{
    must(mdb_txn_renew(built->txn), "renew");
    for (size_t i = 0; i < LOOKUPS; i++) {
        uint8_t digest[DIGEST_BYTES];
        char secret[SECRET_BYTES];
        MDB_val k = {DIGEST_BYTES, digest};
        MDB_val v;
        double start;

        make_secret(draw(bench, hot), secret);
        digest_compute(&bench->digest_key, secret, SECRET_BYTES, digest);
        start = now_ns();
        must(mdb_get(built->txn, built->keys, &k, &v), "find");
        bench->sum += *(unsigned char *)v.mv_data;
        bench->samples[i] = (float)(now_ns() - start);
    }
    mdb_txn_reset(built->txn);
    return median_of(bench->samples, LOOKUPS);
}

static int by_ratio(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median_round(double *rounds)
{
    qsort(rounds, ROUNDS, sizeof(*rounds), by_ratio);
    return rounds[ROUNDS / 2];
}

static void compare(struct bench *bench, struct built *bare, struct built *built, uint32_t hot)
{
    double bare_p50[ROUNDS];
    double ratios[ROUNDS];

    for (int round = 0; round < ROUNDS; round++) {
        bare_p50[round] = time_bare(bench, bare, hot);
        for (int i = 0; i < LAYOUTS; i++)
            built[i].p50[round] = time_layout(bench, &built[i], &layouts[i], hot);
    }
    (void)printf("%u consumers, %u keys each, %s; bare mdb_get p50 %.0f ns\n", bench->consumers,
                 bench->keys_each, hot > 0 ? "1000 hot keys" : "uniform", bare_p50[ROUNDS / 2]);
    for (int i = 0; i < LAYOUTS; i++) {
        for (int round = 0; round < ROUNDS; round++)
            ratios[round] = built[i].p50[round] / bare_p50[round];
        (void)printf("  %-34s %.2f  %4.0f bytes a key  built in %.1f s\n", layouts[i].name,
                     median_round(ratios), built[i].bytes_per_key, built[i].build_s);
    }
}

int main(int argc, char **argv)
{
    static const uint8_t secret[DIGEST_KEY_BYTES] = "a digest key for benchmarks";
    static const struct layout bare_layout = {
        "bare", false, 1000, BY_NUMBER, RECORD_BYTES - KEY_PART_BYTES, false};
    struct built *built = calloc(LAYOUTS + 1, sizeof(*built));
    struct bench bench = {.random = 42};
    char dir[4096];

    if (built == NULL || argc != 4) {
        free(built);
        (void)fprintf(stderr, "usage: layouts CONSUMERS KEYS_EACH DIR\n");
        return 2;
    }
    bench.consumers = (uint32_t)strtoul(argv[1], NULL, 10);
    bench.keys_each = (uint32_t)strtoul(argv[2], NULL, 10);
    bench.samples = must_have(calloc(LOOKUPS, sizeof(*bench.samples)));
    (void)mkdir(argv[3], 0700);
    digest_key_init(&bench.digest_key, secret);
    make_entries(&bench);
    for (int i = 0; i <= LAYOUTS; i++) {
        (void)snprintf(dir, sizeof(dir), "%s/%d", argv[3], i);
        build_layout(&bench, i < LAYOUTS ? &layouts[i] : &bare_layout, &built[i], dir);
    }
    compare(&bench, &built[LAYOUTS], built, 0);
    compare(&bench, &built[LAYOUTS], built, 1000);
    for (int i = 0; i <= LAYOUTS; i++) {
        mdb_txn_abort(built[i].txn);
        mdb_env_close(built[i].env);
    }
    free(bench.entries);
    free(bench.samples);
    free(built);
    return bench.sum == 0; /* the records are not all zero */
}

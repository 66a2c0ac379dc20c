/* bench.h - what the benchmarks share: numbers that become keys, stores of known contents, clocks.
 *
 * Keys are made from their number when needed, outside the timed part, so that no table of them
 * competes for the cache. Any failure ends the program: there is nothing to measure then.
 */
#ifndef RS_BENCH_BENCH_H
#define RS_BENCH_BENCH_H

#include <lmdb.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "realmstore.h"

enum {
    BENCH_SAMPLES = 200000, /* a round */
    BENCH_ROUNDS = 3,
    BENCH_KEY_SIZE = 47,     /* characters of an API key, as the control plane makes them */
    BENCH_RECORD_BYTES = 200 /* of a peer's record */
};

_Noreturn void bench_die(const char *what, const char *reason);
void bench_check(const char *what, int rc, const struct error *err); /* 0: goes on */
void bench_check_mdb(int rc);

uint64_t bench_now_ns(void);
/* Each number gives a well-mixed other one. */
uint64_t bench_mix(uint64_t x);
void bench_key(uint64_t n, char key[BENCH_KEY_SIZE + 1]);
/* 32 bytes as good as a digest, for peers. */
void bench_digest(uint64_t n, unsigned char digest[DIGEST_BYTES]);

struct bench_numbered {
    unsigned char digest[DIGEST_BYTES];
    uint64_t n;
};
/* bench_digest() of 0 to n - 1, sorted; free() it. */
struct bench_numbered *bench_sorted_digests(uint64_t n);
/* Bytes on disk of a file or of everything in a directory. */
uint64_t bench_disk_bytes(const char *path);

/* ---- timing ---- */

/* prepare(n) outside the clock, run() inside it; n is below `n`. */
struct subject {
    void (*prepare)(struct subject *subject, uint64_t n);
    void (*run)(struct subject *subject);
    uint64_t n;
    uint64_t samples; /* 0: BENCH_SAMPLES; fewer for what is slow */
    uint64_t touched; /* keeps what is read from being optimised away */
};

struct figures {
    double mean_ns;
    uint64_t p50_ns;
    uint64_t p99_ns;
};

struct figures bench_measure(struct subject *subject, uint64_t seed);
/* Measures both in turns, BENCH_ROUNDS times, and keeps the best p50 of each: other load on the
 * machine hits both alike. Prints NAME_p50_ratio and NAME_p99_ratio. */
void bench_compare(const char *name, struct subject *ours, struct subject *theirs,
                   const char *peer);

/* ---- our store ---- */

extern const uint8_t bench_digest_key[DIGEST_KEY_BYTES];

/* Realm 1 with `consumers`, each with `keys_each` keys (0 to n - 1: consumer n / keys_each), loaded
 * as a full resynchronisation does. Gives the seconds spent in the store, the
 * final sync included. */
double bench_store_make(const char *dir, uint64_t consumers, uint64_t keys_each);
struct uuid bench_id(uint8_t tag, uint64_t n);

/* The full path: rs_begin, rs_lookup of the raw key, all that a gateway reads, rs_end. */
struct full_path {
    struct subject subject;
    rs_store *store;
    rs_source source;
    uint64_t offset; /* added to each number: beyond the keys there are, misses */
    int expected;
    char key[BENCH_KEY_SIZE + 1];
};
void full_path_open(struct full_path *path, const char *dir, uint64_t n);
void full_path_close(struct full_path *path);

/* ---- the first peer: a bare LMDB table ---- */

/* One long transaction, mdb_get of a 32-byte digest, first and last byte of 200 read. */
struct bare_get {
    struct subject subject;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    unsigned char key[DIGEST_BYTES];
};
void bare_get_make(struct bare_get *bare, const char *dir, uint64_t n);
void bare_get_close(struct bare_get *bare);

#endif

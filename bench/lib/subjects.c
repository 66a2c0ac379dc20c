/* subjects.c - our store and the bare table: made, opened, looked up in. See bench.h. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "bench/lib/bench.h"
#include "store/source.h"

enum { REALM = 1, TXN_RECORDS = 100000 };

const uint8_t bench_digest_key[DIGEST_KEY_BYTES] = "the benchmark's digest key, 32 B";

struct uuid bench_id(uint8_t tag, uint64_t n)
{
    struct uuid id = {{tag, 0, 0, 0, 0, 0, 0x70, 0, 0x80}};

    for (int i = 0; i < 6; i++)
        id.bytes[15 - i] = (uint8_t)(n >> (8 * i));
    return id;
}

/* ---- making our store ---- */

struct loading {
    struct source *source;
    struct digest_key digest_key;
    struct buffer record;
    uint64_t spent_ns; /* in the store, not in making records */
};

static void put(struct loading *loading, enum record_kind kind, int rc)
{
    struct error err = ERROR_INIT;
    uint64_t began_ns = bench_now_ns();

    if (rc != 0)
        bench_die("encode", error_text(rc));
    bench_check("load",
                source_load_record(loading->source, kind, REALM, loading->record.data,
                                   loading->record.size, &err),
                &err);
    loading->spent_ns += bench_now_ns() - began_ns;
    buffer_clear(&loading->record);
}

static void put_realm(struct loading *loading)
{
    static const char *const groups[] = {"gold"};
    const struct model_realm realm = {.id = bench_id(1, REALM),
                                      .number = REALM,
                                      .ttl_min = 10,
                                      .negative_ttl_min = 10,
                                      .name = "bench",
                                      .region = "us",
                                      .groups = {groups, 1}};

    put(loading, RECORD_REALM, record_encode_realm(&realm, &loading->record));
}

/* A record of 200 bytes, as the peer's. */
static void put_consumer(struct loading *loading, uint64_t n)
{
    static const char *const tags[] = {"team-blue", "production"};
    static const char *const groups[] = {"beta", "partners-europe", "reports"};
    char username[64];
    char custom_id[64];
    const struct model_consumer consumer = {.id = bench_id(2, n),
                                            .username = username,
                                            .custom_id = custom_id,
                                            .tags = {tags, 2},
                                            .groups = {groups, 3}};

    (void)snprintf(username, sizeof(username), "user-%08" PRIu64 "@customer.example", n);
    (void)snprintf(custom_id, sizeof(custom_id), "%016" PRIx64 "-%016" PRIx64, bench_mix(n),
                   bench_mix(~n));
    put(loading, RECORD_CONSUMER, record_encode_consumer(&consumer, &loading->record));
}

static void put_key(struct loading *loading, uint64_t consumer, uint64_t n)
{
    struct model_key key = {.id = bench_id(3, n), .consumer_id = bench_id(2, consumer)};
    char text[BENCH_KEY_SIZE + 1];

    bench_key(n, text);
    digest_compute(&loading->digest_key, text, BENCH_KEY_SIZE, key.digest);
    put(loading, RECORD_KEY, record_encode_key(&key, &loading->record));
}

double bench_store_make(const char *dir, uint64_t consumers, uint64_t keys_each)
{
    const struct store_options options = {
        .dir = dir, .control_plane_id = bench_id(9, 1), .clock = clock_system};
    const struct model_cursor cursor = {bench_id(9, 2), 1};
    const struct source_counts expected = {1, consumers, consumers * keys_each};
    struct error err = ERROR_INIT;
    struct loading loading = {.spent_ns = 0};
    struct store *store;
    uint64_t began_ns;

    buffer_init(&loading.record, RECORD_MAX_BYTES);
    digest_key_init(&loading.digest_key, bench_digest_key);
    bench_check("store", store_open(&options, &store, &err), &err);
    bench_check("source", source_open(store, "us", &loading.source, NULL, &err), &err);
    bench_check("load", source_load_begin(loading.source, bench_digest_key, &err), &err);
    put_realm(&loading);
    for (uint64_t i = 0; i < consumers; i++) {
        put_consumer(&loading, i);
        for (uint64_t k = 0; k < keys_each; k++)
            put_key(&loading, i, i * keys_each + k);
    }
    began_ns = bench_now_ns();
    bench_check("publish",
                source_load_publish(loading.source, &cursor, clock_wall_ms(), &expected, &err),
                &err);
    loading.spent_ns += bench_now_ns() - began_ns;
    source_heard(loading.source);
    source_close(loading.source);
    store_close(store);
    buffer_finish(&loading.record);
    return (double)loading.spent_ns / 1e9;
}

/* ---- the full path ---- */

static void prepare_path(struct subject *subject, uint64_t n)
{
    struct full_path *path = (struct full_path *)subject;

    bench_key(n + path->offset, path->key);
}

static uint64_t first_byte(const char *text)
{
    return text != NULL ? (unsigned char)text[0] : 0;
}

static void run_path(struct subject *subject)
{
    struct full_path *path = (struct full_path *)subject;
    rs_snapshot *snapshot;
    rs_consumer consumer;
    int rc = rs_begin(path->store, &snapshot);

    if (rc == 0)
        rc = rs_lookup(snapshot, &path->source, 1, path->key, BENCH_KEY_SIZE, &consumer);
    if (rc != path->expected)
        bench_die("lookup", rs_strerror(rc));
    subject->touched +=
        first_byte(rs_consumer_username(&consumer)) + first_byte(rs_consumer_custom_id(&consumer));
    if (rc == RS_FOUND)
        subject->touched += first_byte(rs_consumer_credential_id(&consumer));
    for (size_t i = 0; i < rs_consumer_group_count(&consumer); i++)
        subject->touched += first_byte(rs_consumer_group(&consumer, i));
    rs_end(snapshot);
}

void full_path_open(struct full_path *path, const char *dir, uint64_t n)
{
    struct uuid realm = bench_id(1, REALM);
    int rc;

    *path = (struct full_path){.subject = {.prepare = prepare_path, .run = run_path, .n = n},
                               .source = {.scope = RS_SCOPE_REALM},
                               .expected = RS_FOUND};
    memcpy(path->source.realm_id, realm.bytes, UUID_BYTES);
    rc = rs_open(&path->store, dir, NULL);
    if (rc != 0)
        bench_die(dir, rs_strerror(rc));
}

void full_path_close(struct full_path *path)
{
    rs_close(path->store);
}

/* ---- the bare table ---- */

static void prepare_bare(struct subject *subject, uint64_t n)
{
    bench_digest(n, ((struct bare_get *)subject)->key);
}

static void run_bare(struct subject *subject)
{
    struct bare_get *bare = (struct bare_get *)subject;
    MDB_val key = {DIGEST_BYTES, bare->key};
    MDB_val value;

    bench_check_mdb(mdb_get(bare->txn, bare->dbi, &key, &value));
    subject->touched += ((unsigned char *)value.mv_data)[0];
    subject->touched += ((unsigned char *)value.mv_data)[value.mv_size - 1];
}

/* Sorted, so that the peer has the same full pages as ours. */
static void fill_bare(struct bare_get *bare, uint64_t n)
{
    struct bench_numbered *keys = bench_sorted_digests(n);
    unsigned char record[BENCH_RECORD_BYTES] = {1};
    MDB_txn *txn;

    bench_check_mdb(mdb_txn_begin(bare->env, NULL, 0, &txn));
    for (uint64_t i = 0; i < n; i++) {
        MDB_val key = {DIGEST_BYTES, keys[i].digest};
        MDB_val value = {sizeof(record), record};

        bench_check_mdb(mdb_put(txn, bare->dbi, &key, &value, MDB_APPEND));
        if (i % TXN_RECORDS != TXN_RECORDS - 1)
            continue;
        bench_check_mdb(mdb_txn_commit(txn));
        bench_check_mdb(mdb_txn_begin(bare->env, NULL, 0, &txn));
    }
    bench_check_mdb(mdb_txn_commit(txn));
    free(keys);
}

void bare_get_make(struct bare_get *bare, const char *dir, uint64_t n)
{
    MDB_txn *txn;

    *bare = (struct bare_get){.subject = {.prepare = prepare_bare, .run = run_bare, .n = n}};
    if (mkdir(dir, 0700) != 0)
        bench_die(dir, "cannot make it");
    bench_check_mdb(mdb_env_create(&bare->env));
    bench_check_mdb(mdb_env_set_mapsize(bare->env, (size_t)64 << 30));
    bench_check_mdb(mdb_env_open(bare->env, dir, MDB_NOSYNC | MDB_NOTLS, 0600));
    bench_check_mdb(mdb_txn_begin(bare->env, NULL, 0, &txn));
    bench_check_mdb(mdb_dbi_open(txn, NULL, 0, &bare->dbi));
    bench_check_mdb(mdb_txn_commit(txn));
    fill_bare(bare, n);
    bench_check_mdb(mdb_txn_begin(bare->env, NULL, MDB_RDONLY, &bare->txn));
}

void bare_get_close(struct bare_get *bare)
{
    mdb_txn_abort(bare->txn);
    mdb_env_close(bare->env);
}

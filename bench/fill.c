/* fill.c - a control plane's embedded store with many consumers, filled below the REST surface.
 *
 *     fill DATA_DIR CONSUMERS [KEYS]     prints the realm's id and, a line each, KEYS (1) of its
 *                                        consumers' keys at random
 *
 * Rows are the repository's own, written in the order of their tables through its writer: entities
 * by id as they come, names and secrets sorted and appended. The change log is left out: hosts take
 * a snapshot of all this, and nobody has a cursor from before it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/lib/bench.h"
#include "control/repo/lmdb/scope_hashes.h"
#include "control/repo/lmdb/names.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/upgrade.h"
#include "control/repo/lmdb/writer.h"

enum { BATCH = 50000, NAME_SIZE = 32 };

/* Where a consumer's name and its key's digest lead to. */
struct indexed {
    uint8_t hash[DIGEST_BYTES];
    struct uuid consumer_id;
    struct uuid key_id;
};

struct fill {
    struct lmdb_repo *repo;
    struct repo_scope scope;
    struct indexed *names;   /* owned */
    struct indexed *secrets; /* owned */
    uint64_t count;
    uint64_t from;
};

static void append(const struct lmdb_txn *txn, enum lmdb_table table, const struct lmdb_rowkey *key,
                   const struct buffer *value)
{
    /* The realm's own name stands behind all of theirs. */
    const unsigned flags = table == TABLE_NAMES ? 0 : MDB_APPEND;
    MDB_val k = {key->size, (void *)(uintptr_t)key->bytes};
    MDB_val v = {value->size, value->data};

    bench_check_mdb(mdb_put(txn->handle, txn->repo->tables[table], &k, &v, flags));
}

static uint64_t end_of_batch(const struct fill *fill)
{
    return fill->from + BATCH < fill->count ? fill->from + BATCH : fill->count;
}

/* ---- entities ---- */

static void put_consumer(struct lmdb_write *write, struct fill *fill, uint64_t n,
                         struct buffer *record, struct buffer *value)
{
    static const char *const groups[] = {"gold"};
    struct indexed *name = &fill->names[n];
    struct repo_consumer_row row = {.created_ms = write->now_ms, .updated_ms = write->now_ms};
    struct model_consumer consumer = {.groups = {groups, 1}};
    struct lmdb_rowkey key;
    struct error err = ERROR_INIT;
    char text[NAME_SIZE];

    (void)snprintf(text, sizeof(text), "consumer-%012llu", (unsigned long long)n);
    digest_sha256(text, strlen(text), name->hash);
    consumer.username = text;
    bench_check("a new id", lmdb_new_id(write, &consumer.id, &err), &err);
    name->consumer_id = consumer.id;
    buffer_clear(record);
    buffer_clear(value);
    bench_check("a record", record_encode_consumer(&consumer, record), &err);
    row.record = (struct repo_record){record->data, record->size};
    bench_check("a row", lmdb_consumer_row_append(&row, value), &err);
    key = lmdb_rowkey_consumer(&fill->scope, &consumer.id);
    append(&write->txn, TABLE_CONSUMERS, &key, value);
}

static void make_key(struct lmdb_write *write, struct fill *fill, uint64_t n, struct model_key *ret)
{
    struct indexed *secret = &fill->secrets[n];
    char text[BENCH_KEY_SIZE + 1];
    struct error err = ERROR_INIT;

    *ret = (struct model_key){.consumer_id = fill->names[n].consumer_id};
    bench_check("a new id", lmdb_new_id(write, &ret->id, &err), &err);
    bench_key(n, text);
    digest_compute(&fill->repo->digest_key, text, BENCH_KEY_SIZE, ret->digest);
    memcpy(secret->hash, ret->digest, DIGEST_BYTES);
    secret->consumer_id = ret->consumer_id;
    secret->key_id = ret->id;
}

static void put_key(struct lmdb_write *write, struct fill *fill, uint64_t n, struct buffer *record,
                    struct buffer *value)
{
    struct repo_key_row row = {.created_ms = write->now_ms, .updated_ms = write->now_ms};
    struct error err = ERROR_INIT;
    struct model_key model;
    struct lmdb_rowkey key;

    make_key(write, fill, n, &model);
    memcpy(row.digest, model.digest, DIGEST_BYTES);
    buffer_clear(record);
    buffer_clear(value);
    bench_check("a record", record_encode_key(&model, record), &err);
    row.record = (struct repo_record){record->data, record->size};
    bench_check("a row", lmdb_key_row_append(&row, value), &err);
    key = lmdb_rowkey_with_id(lmdb_rowkey_keys(&fill->scope, &model.consumer_id), &model.id);
    append(&write->txn, TABLE_KEYS, &key, value);
}

static int put_entities(struct lmdb_write *write, void *context, struct error *err)
{
    struct fill *fill = context;
    const uint64_t end = end_of_batch(fill);
    struct buffer record;
    struct buffer value;

    buffer_init(&record, RECORD_MAX_BYTES);
    buffer_init(&value, LMDB_ROW_MAX_BYTES);
    for (uint64_t n = fill->from; n < end; n++) {
        put_consumer(write, fill, n, &record, &value);
        put_key(write, fill, n, &record, &value);
    }
    buffer_finish(&record);
    buffer_finish(&value);
    return lmdb_counts_add(&write->txn, &fill->scope, (int64_t)(end - fill->from),
                           (int64_t)(end - fill->from), err);
}

/* ---- indexes ---- */

static int put_names(struct lmdb_write *write, void *context, struct error *err)
{
    const struct fill *fill = context;
    const struct lmdb_rowkey namespace = lmdb_rowkey_scope(&fill->scope);
    struct buffer value;

    (void)err;
    buffer_init(&value, UUID_BYTES);
    for (uint64_t n = fill->from; n < end_of_batch(fill); n++) {
        const struct lmdb_rowkey key =
            lmdb_name_key(&namespace, LMDB_NAME_USERNAME, fill->names[n].hash);

        buffer_clear(&value);
        (void)buffer_append(&value, fill->names[n].consumer_id.bytes, UUID_BYTES);
        append(&write->txn, TABLE_NAMES, &key, &value);
    }
    buffer_finish(&value);
    return 0;
}

static int put_secrets(struct lmdb_write *write, void *context, struct error *err)
{
    const struct fill *fill = context;
    struct buffer value;

    buffer_init(&value, RECORD_MAX_BYTES);
    for (uint64_t n = fill->from; n < end_of_batch(fill); n++) {
        const struct indexed *secret = &fill->secrets[n];
        struct model_key model = {.id = secret->key_id, .consumer_id = secret->consumer_id};
        const struct lmdb_rowkey key = lmdb_rowkey_secret(&fill->scope, secret->hash);

        memcpy(model.digest, secret->hash, DIGEST_BYTES);
        buffer_clear(&value);
        bench_check("a record", record_encode_key(&model, &value), err);
        append(&write->txn, TABLE_SECRETS, &key, &value);
    }
    buffer_finish(&value);
    return 0;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, DIGEST_BYTES); /* the hash comes first */
}

/* Else every host that copies this would find its copy wrong. */
static int put_digests(struct lmdb_write *write, void *context, struct error *err)
{
    (void)context;
    return lmdb_scope_hash_rebuild(&write->txn, err);
}

/* ---- the program ---- */

static void write_all(struct fill *fill, lmdb_write_fn run)
{
    struct error err = ERROR_INIT;
    const struct repo_call call = {.repo = &fill->repo->base, .err = &err};

    for (fill->from = 0; fill->from < fill->count; fill->from += BATCH)
        bench_check("a write", lmdb_write(&call, run, fill, LMDB_WRITE_ALONE), &err);
}

static void make_realm(struct repo *repo, struct repo_scope *ret)
{
    static const char *const all[] = {"*"};
    const struct repo_realm input = {
        .model = {.name = "bench", .ttl_min = 10, .negative_ttl_min = 10},
        .allowed_control_planes = {all, 1}};
    struct error err = ERROR_INIT;
    struct repo_realm realm;
    struct arena arena;
    char id[UUID_TEXT_SIZE];

    arena_init(&arena, (size_t)1 << 20);
    bench_check("a realm",
                repo_realm_create(&(struct repo_call){.repo = repo, .arena = &arena, .err = &err},
                                  &input, &realm),
                &err);
    *ret = (struct repo_scope){.kind = REPO_SCOPE_REALM, .id = realm.model.id};
    (void)puts(uuid_format(&realm.model.id, id));
    arena_finish(&arena);
}

static void print_keys(uint64_t count, uint64_t consumers)
{
    char key[BENCH_KEY_SIZE + 1];

    for (uint64_t i = 0; i < count; i++) {
        bench_key(bench_mix(i) % consumers, key);
        (void)puts(key);
    }
}

int main(int argc, char **argv)
{
    const struct repo_options options = {.region = "us", .clock = clock_system};
    struct error err = ERROR_INIT;
    struct fill fill;
    struct repo *repo;

    if (argc != 3 && argc != 4) {
        (void)fprintf(stderr, "bench: usage: fill DATA_DIR CONSUMERS [KEYS]\n");
        return 2;
    }
    bench_check("the data directory", repo_lmdb_open(argv[1], &options, &repo, &err), &err);
    fill = (struct fill){.repo = lmdb_repo(repo), .count = strtoull(argv[2], NULL, 10)};
    make_realm(repo, &fill.scope);
    fill.names = calloc(fill.count, sizeof(*fill.names));
    fill.secrets = calloc(fill.count, sizeof(*fill.secrets));
    if (fill.names == NULL || fill.secrets == NULL)
        bench_die("memory", "there is not enough");
    write_all(&fill, put_entities);
    qsort(fill.names, fill.count, sizeof(*fill.names), compare);
    qsort(fill.secrets, fill.count, sizeof(*fill.secrets), compare);
    write_all(&fill, put_names);
    write_all(&fill, put_secrets);
    bench_check("digests",
                lmdb_write(&(struct repo_call){.repo = repo, .err = &err}, put_digests, NULL,
                           LMDB_WRITE_ALONE),
                &err);
    free(fill.names);
    free(fill.secrets);
    print_keys(argc == 4 ? strtoull(argv[3], NULL, 10) : 1, fill.count);
    repo_close(repo);
    return 0;
}

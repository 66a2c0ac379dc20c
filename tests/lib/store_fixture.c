#include "tests/lib/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "store/files.h"
#include "store/generation.h"

const uint8_t fixture_digest_key[DIGEST_KEY_BYTES] = "a digest key of 32 bytes, as set";

static const char *const realm_groups[] = {"gold", "eu"};
static const char *const consumer_groups[] = {"eu", "beta"};
static const char *const consumer_tags[] = {"tag-1", "tag-2"};

static int64_t wall_now(void *context)
{
    return ((struct fixture *)context)->wall_ms;
}

static int64_t boot_now(void *context)
{
    return ((struct fixture *)context)->boot_ms;
}

void fixture_init(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    (void)snprintf(fixture->base, sizeof(fixture->base), "/tmp/realmstore-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->base));
    assert_int_equal(chmod(fixture->base, 0755), 0);
    (void)snprintf(fixture->dir, sizeof(fixture->dir), "%s/store", fixture->base);
    fixture->wall_ms = 1800000000000;
    fixture->boot_ms = 5000000;
    fixture->clock = (struct clock){.wall_ms = wall_now, .boot_ms = boot_now, .context = fixture};
}

void fixture_finish(struct fixture *fixture)
{
    fixture_close(fixture);
    assert_int_equal(files_remove_tree(fixture->base, NULL), 0);
}

struct uuid fixture_uuid(unsigned n)
{
    struct uuid id = {{0x01, 0x90, 0, 0, 0, 0, 0x70, 0, 0x80}};

    id.bytes[13] = (uint8_t)(n >> 16);
    id.bytes[14] = (uint8_t)(n >> 8);
    id.bytes[15] = (uint8_t)n;
    return id;
}

struct uuid fixture_control_plane(void)
{
    return fixture_uuid(900);
}

struct uuid fixture_epoch(void)
{
    return fixture_uuid(901);
}

void fixture_digest(const char *secret, uint8_t digest[DIGEST_BYTES])
{
    struct digest_key key;

    digest_key_init(&key, fixture_digest_key);
    digest_compute(&key, secret, strlen(secret), digest);
}

struct store_options fixture_options(const struct fixture *fixture)
{
    return (struct store_options){
        .dir = fixture->dir,
        .reader_group = fixture->group,
        .control_plane_id = fixture_control_plane(),
        .map_bytes = fixture->map_bytes,
        .compact_bytes = fixture->compact_bytes,
        .compact_lag_txns = fixture->compact_lag_txns,
        .retention_ms = fixture->retention_ms,
        .clock = fixture->clock,
    };
}

const char *fixture_path(const struct fixture *fixture, const char *name)
{
    static char path[PATH_MAX];

    assert_int_equal(files_join(path, fixture->dir, name, NULL), 0);
    return path;
}

void fixture_open(struct fixture *fixture)
{
    struct store_options options = fixture_options(fixture);
    struct error discarded = ERROR_INIT;
    struct error err = ERROR_INIT;

    if (store_open(&options, &fixture->store, &err) != 0 ||
        source_open(fixture->store, "us", &fixture->source, &discarded, &err) != 0)
        fail_msg("%s", err.message);
    if (discarded.code != 0)
        fail_msg("discarded: %s", discarded.message);
}

void fixture_close(struct fixture *fixture)
{
    source_close(fixture->source);
    store_close(fixture->store);
    fixture->source = NULL;
    fixture->store = NULL;
}

void fixture_load_empty_source(struct source *source, uint64_t version)
{
    struct model_cursor cursor = {fixture_epoch(), version};
    struct source_counts none = {0};
    struct error err = ERROR_INIT;

    if (source_load_begin(source, fixture_digest_key, &err) != 0 ||
        source_load_publish(source, &cursor, 1700000000000, &none, &err) != 0)
        fail_msg("%s", err.message);
}

void fixture_load_empty(struct fixture *fixture)
{
    fixture_load_empty_source(fixture->source, ++fixture->version);
}

void fixture_make_format_1(const struct fixture *fixture)
{
    struct error err = ERROR_INIT;
    struct generation generation;
    unsigned char bytes[LAYOUT_META_BYTES];
    MDB_val key = env_val(layout_meta_key, sizeof(layout_meta_key));
    MDB_val value = env_val(bytes, sizeof(bytes));
    MDB_dbi lookup;
    MDB_txn *txn;

    if (generation_open_writer(fixture_path(fixture, "us"), 1, 1 << 20, FILES_NO_GROUP, &generation,
                               &err) != 0)
        fail_msg("%s", err.message);
    layout_pack_meta(&generation.meta, bytes);
    bytes[0] = 1; /* the format's number, little-endian */
    assert_int_equal(mdb_txn_begin(generation.env.mdb, NULL, 0, &txn), 0);
    assert_int_equal(mdb_put(txn, generation.env.tables[TABLE_META], &key, &value, 0), 0);
    assert_int_equal(mdb_dbi_open(txn, "lookup", MDB_CREATE | MDB_INTEGERKEY, &lookup), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    generation_close(&generation);
}

/* ---- loads ---- */

/* Empties the record. */
static int load_record(struct source *source, enum record_kind kind, uint32_t scope,
                       struct buffer *record, struct error *err)
{
    int rc = source_load_record(source, kind, scope, record->data, record->size, err);

    buffer_clear(record);
    return rc;
}

static int load_others(struct source *source, unsigned n, struct buffer *record, struct error *err)
{
    char name[32];
    int rc = 0;

    for (unsigned i = 0; i < n && rc == 0; i++) {
        struct model_consumer consumer = {.id = fixture_uuid(FIXTURE_LOADED + i), .username = name};

        (void)snprintf(name, sizeof(name), "loaded-%u", i);
        assert_int_equal(record_encode_consumer(&consumer, record), 0);
        rc = load_record(source, RECORD_CONSUMER, MODEL_SCOPE_CP, record, err);
    }
    return rc;
}

static int load_alice(struct source *source, struct buffer *record, struct error *err)
{
    struct model_consumer consumer = {.id = fixture_uuid(1), .username = "alice"};
    struct model_key key = {.id = fixture_uuid(11), .consumer_id = fixture_uuid(1)};
    int rc;

    assert_int_equal(record_encode_consumer(&consumer, record), 0);
    rc = load_record(source, RECORD_CONSUMER, 7, record, err);
    if (rc != 0)
        return rc;
    fixture_digest("alice-key", key.digest);
    assert_int_equal(record_encode_key(&key, record), 0);
    return load_record(source, RECORD_KEY, 7, record, err);
}

static int load_records(struct source *source, unsigned others, struct buffer *record,
                        struct error *err)
{
    struct model_realm realm = {
        .id = fixture_uuid(700), .number = 7, .ttl_min = 10, .name = "people", .region = "us"};
    int rc;

    assert_int_equal(record_encode_realm(&realm, record), 0);
    rc = load_record(source, RECORD_REALM, 7, record, err);
    if (rc == 0)
        rc = load_others(source, others, record, err);
    return rc == 0 ? load_alice(source, record, err) : rc;
}

int fixture_try_load(struct fixture *fixture, unsigned others, struct error *err)
{
    struct model_cursor cursor = {fixture_epoch(), fixture->version + 1};
    struct source_counts expected = {1, 1 + others, 1};
    struct buffer record;
    int rc = source_load_begin(fixture->source, fixture_digest_key, err);

    buffer_init(&record, RECORD_MAX_BYTES);
    if (rc == 0)
        rc = load_records(fixture->source, others, &record, err);
    buffer_finish(&record);
    if (rc == 0)
        rc = source_load_publish(fixture->source, &cursor, 1700000000000, &expected, err);
    if (rc != 0) {
        source_load_abort(fixture->source);
        return rc;
    }
    fixture->version++;
    source_heard(fixture->source);
    return 0;
}

void fixture_load_alice(struct fixture *fixture)
{
    struct error err = ERROR_INIT;

    if (fixture_try_load(fixture, 0, &err) != 0)
        fail_msg("%s", err.message);
}

/* ---- transactions ---- */

void fixture_begin(struct fixture *fixture)
{
    struct error err = ERROR_INIT;

    if (source_begin(fixture->source, &err) != 0)
        fail_msg("%s", err.message);
}

void fixture_commit(struct fixture *fixture)
{
    struct model_cursor cursor = {fixture_epoch(), ++fixture->version};
    struct error err = ERROR_INIT;

    if (source_commit(fixture->source, &cursor, 1700000000000 + (int64_t)cursor.version, &err) != 0)
        fail_msg("%s", err.message);
}

void fixture_put_realm(struct source *source, uint32_t number)
{
    struct model_realm realm = {
        .id = fixture_uuid(number * 100),
        .number = number,
        .ttl_min = 10,
        .negative_ttl_min = 5,
        .name = "people",
        .region = "us",
        .groups = {realm_groups, 2},
    };
    struct error err = ERROR_INIT;

    if (source_put_realm(source, &realm, &err) != 0)
        fail_msg("%s", err.message);
}

void fixture_put_consumer(struct source *source, uint32_t scope, unsigned n, const char *username)
{
    struct model_consumer consumer = {
        .id = fixture_uuid(n),
        .type = MODEL_CONSUMER_PROXY,
        .username = username,
        .tags = {consumer_tags, 2},
        .groups = {consumer_groups, 2},
    };
    struct error err = ERROR_INIT;

    if (source_put_consumer(source, scope, &consumer, &err) != 0)
        fail_msg("%s", err.message);
}

int fixture_try_key(struct source *source, uint32_t scope, unsigned consumer, unsigned n,
                    const char *secret, int64_t expires_at_ms, struct error *err)
{
    struct model_key key = {
        .id = fixture_uuid(n),
        .consumer_id = fixture_uuid(consumer),
        .expires_at_ms = expires_at_ms,
    };

    fixture_digest(secret, key.digest);
    return source_put_key(source, scope, &key, err);
}

void fixture_put_key(struct source *source, uint32_t scope, unsigned consumer, unsigned n,
                     const char *secret)
{
    struct error err = ERROR_INIT;

    if (fixture_try_key(source, scope, consumer, n, secret, 0, &err) != 0)
        fail_msg("%s", err.message);
}

struct source_upkeep fixture_upkeep(struct fixture *fixture)
{
    struct source_readers readers;
    struct source_upkeep ret;
    struct error err = ERROR_INIT;

    if (source_check_readers(fixture->source, &readers, &err) != 0 ||
        source_upkeep(fixture->source, &readers, &ret, &err) != 0)
        fail_msg("%s", err.message);
    return ret;
}

void fixture_load_people(struct fixture *fixture)
{
    fixture_load_empty(fixture);
    fixture_begin(fixture);
    fixture_put_realm(fixture->source, 7);
    fixture_put_consumer(fixture->source, 7, 1, "alice");
    fixture_put_key(fixture->source, 7, 1, 11, "alice-key");
    fixture_put_consumer(fixture->source, MODEL_SCOPE_CP, 2, "bob");
    fixture_put_key(fixture->source, MODEL_SCOPE_CP, 2, 22, "bob-key");
    fixture_commit(fixture);
    source_heard(fixture->source);
    source_set_state(fixture->source, SOURCE_LIVE);
}

rs_source fixture_realm_source(uint32_t number)
{
    rs_source source = RS_SOURCE_REALM_INIT;
    struct uuid id = fixture_uuid(number * 100);

    memcpy(source.realm_id, id.bytes, UUID_BYTES);
    return source;
}

rs_source fixture_cp_source(void)
{
    return (rs_source){.scope = RS_SCOPE_CP};
}

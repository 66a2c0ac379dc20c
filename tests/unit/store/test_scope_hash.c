/* test_scope_hash.c - the store's digests, the walk that proves them, and repair.
 *
 * A twin in memory holds what the store must hold. Changes go to both; damage goes to the store
 * alone, through LMDB behind its back. The walk and comparing with the twin's digests must find it,
 * and repair with the twin's content of the differing buckets must mend it, until `realmctl verify`
 * and the twin agree with the store. SEED=n repeats a run; the seed is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/scope_hashes.h"
#include "store/source_internal.h"
#include "tests/lib/store_fixture.h"
#include "tests/lib/tool_run.h"

enum {
    REALMS = 2, /* scopes 0 to 2 */
    CONSUMERS = 40,
    KEYS_MAX = 4, /* of one consumer */
    NAME_SIZE = 32,
    STEPS = 500,
    FLIPS = 200,
    BLOWS = 60,
    ROUND_SLICES_MAX = 1000
};

/* What consumer i of a scope is; its keys are numbered behind it. */
struct twin_consumer {
    bool exists;
    char name[NAME_SIZE];
    bool has_key[KEYS_MAX];
    int64_t expires_at_ms[KEYS_MAX];
    bool has_tags[KEYS_MAX];
};
struct twin {
    bool exists[REALMS + 1];
    unsigned ttl[REALMS + 1];
    struct twin_consumer consumers[REALMS + 1][CONSUMERS];
};

static struct fixture f;
static struct twin twin;
static unsigned short dice[3];
static size_t differences;
static size_t repaired_bytes; /* records that repair was given */

static unsigned roll(unsigned sides)
{
    return (unsigned)((unsigned long)nrand48(dice) % sides);
}

static void must(int rc, const struct error *err)
{
    if (rc != 0)
        fail_msg("%s", err->message);
}

/* ---- the twin's entities ---- */

static unsigned consumer_number(uint32_t scope, unsigned i)
{
    return 10000 * (scope + 1) + 100 * i;
}

static struct model_realm realm_of(uint32_t scope)
{
    static const char *const groups[] = {"gold"};

    return (struct model_realm){.id = fixture_uuid(5000 + scope),
                                .number = scope,
                                .ttl_min = twin.ttl[scope],
                                .negative_ttl_min = 5,
                                .name = "people",
                                .region = "us",
                                .groups = {groups, 1}};
}

static struct model_consumer consumer_of(uint32_t scope, unsigned i)
{
    return (struct model_consumer){.id = fixture_uuid(consumer_number(scope, i)),
                                   .username = twin.consumers[scope][i].name};
}

static struct model_key key_of(uint32_t scope, unsigned i, unsigned k)
{
    static const char *const tags[] = {"red", "blue"};
    const struct twin_consumer *consumer = &twin.consumers[scope][i];
    unsigned number = consumer_number(scope, i) + 1 + k;
    struct model_key key = {.id = fixture_uuid(number),
                            .consumer_id = fixture_uuid(consumer_number(scope, i)),
                            .expires_at_ms = consumer->expires_at_ms[k],
                            .tags = {tags, consumer->has_tags[k] ? 2 : 0}};
    char secret[NAME_SIZE];

    (void)snprintf(secret, sizeof(secret), "secret-%u", number);
    fixture_digest(secret, key.digest);
    return key;
}

/* ---- its digests, from scratch ---- */

static void add(struct set_hash *sum, const struct buffer *record)
{
    struct set_hash hash = set_hash_of(record->data, record->size);

    set_hash_add(sum, &hash);
}

static void twin_digests(uint32_t scope, struct set_hash buckets[SET_HASH_BUCKETS])
{
    struct buffer record;

    memset(buckets, 0, SET_HASH_BUCKETS * sizeof(*buckets));
    buffer_init(&record, RECORD_MAX_BYTES);
    if (scope != MODEL_SCOPE_CP && twin.exists[scope]) {
        struct model_realm realm = realm_of(scope);

        assert_int_equal(record_encode_realm(&realm, &record), 0);
        add(&buckets[SET_HASH_BUCKET_OF_REALM], &record);
    }
    for (unsigned i = 0; i < CONSUMERS; i++) {
        struct model_consumer consumer = consumer_of(scope, i);
        struct set_hash *bucket = &buckets[set_hash_bucket(&consumer.id)];

        if (!twin.consumers[scope][i].exists)
            continue;
        buffer_clear(&record);
        assert_int_equal(record_encode_consumer(&consumer, &record), 0);
        add(bucket, &record);
        for (unsigned k = 0; k < KEYS_MAX; k++) {
            struct model_key key = key_of(scope, i, k);

            if (!twin.consumers[scope][i].has_key[k])
                continue;
            buffer_clear(&record);
            assert_int_equal(record_encode_key(&key, &record), 0);
            add(bucket, &record);
        }
    }
    buffer_finish(&record);
}

/* Which buckets the store's digests and the twin's differ in. */
static struct set_hash_marks compare(uint32_t scope)
{
    struct set_hash ours[SET_HASH_BUCKETS];
    struct set_hash theirs[SET_HASH_BUCKETS];
    struct set_hash_marks marks = {{0}};
    struct set_hash whole;
    struct set_hash sum = {0};
    struct error err = ERROR_INIT;

    twin_digests(scope, theirs);
    fixture_begin(&f);
    must(source_scope_hash_buckets(f.source, scope, ours, &err), &err);
    must(source_scope_hash(f.source, scope, &whole, &err), &err);
    source_abort(f.source);
    for (unsigned b = 0; b < SET_HASH_BUCKETS; b++) {
        set_hash_add(&sum, &ours[b]);
        if (!set_hash_equal(&ours[b], &theirs[b]))
            set_hash_mark(&marks, b);
    }
    assert_true(set_hash_equal(&sum, &whole));
    return marks;
}

static void assert_equal_to_twin(void)
{
    for (uint32_t scope = 0; scope <= REALMS; scope++) {
        struct set_hash_marks marks = compare(scope);

        assert_int_equal(set_hash_marks_count(&marks), 0);
    }
}

/* ---- repair ---- */

static void on_difference(void *context, const struct source_difference *difference)
{
    (void)context;
    (void)difference;
    differences++;
}

struct content {
    struct source_content content;
    struct model_realm realm;
    struct model_consumer consumers[CONSUMERS];
    struct model_key keys[CONSUMERS * KEYS_MAX];
    const struct model_consumer *consumer_list[CONSUMERS];
    const struct model_key *key_list[CONSUMERS * KEYS_MAX];
};

static void count_bytes(int encoded, const struct buffer *record)
{
    assert_int_equal(encoded, 0);
    repaired_bytes += record->size;
}

static void fill_content(struct content *content, uint32_t scope,
                         const struct set_hash_marks *marks)
{
    struct source_content *out = &content->content;
    struct buffer record;

    *out = (struct source_content){.scope = scope,
                                   .buckets = *marks,
                                   .consumers = content->consumer_list,
                                   .keys = content->key_list};
    buffer_init(&record, RECORD_MAX_BYTES);
    if (scope != MODEL_SCOPE_CP && twin.exists[scope] &&
        set_hash_marked(marks, SET_HASH_BUCKET_OF_REALM)) {
        content->realm = realm_of(scope);
        out->realm = &content->realm;
    }
    for (unsigned i = 0; i < CONSUMERS; i++) {
        struct model_consumer *consumer = &content->consumers[out->n_consumers];

        *consumer = consumer_of(scope, i);
        if (!twin.consumers[scope][i].exists ||
            !set_hash_marked(marks, set_hash_bucket(&consumer->id)))
            continue;
        content->consumer_list[out->n_consumers++] = consumer;
        buffer_clear(&record);
        count_bytes(record_encode_consumer(consumer, &record), &record);
        for (unsigned k = 0; k < KEYS_MAX; k++) {
            if (!twin.consumers[scope][i].has_key[k])
                continue;
            content->keys[out->n_keys] = key_of(scope, i, k);
            content->key_list[out->n_keys] = &content->keys[out->n_keys];
            buffer_clear(&record);
            count_bytes(record_encode_key(content->key_list[out->n_keys++], &record), &record);
        }
    }
    buffer_finish(&record);
}

/* A scope that nobody knows, behind those of the twin; E_NOT_FOUND: none. */
static int find_stranger(uint32_t *ret)
{
    struct error err = ERROR_INIT;
    int rc;

    fixture_begin(&f);
    rc = source_next_scope(f.source, REALMS + 1, ret, &err);
    source_abort(f.source);
    return rc;
}

/* What an agent does when it is told all scopes: none but those may be there. */
static unsigned remove_strangers(void)
{
    struct source_content nothing = {.consumers = NULL};
    struct error err = ERROR_INIT;
    unsigned n = 0;

    for (unsigned b = 0; b < SET_HASH_BUCKETS; b++)
        set_hash_mark(&nothing.buckets, b);
    for (; find_stranger(&nothing.scope) == 0; n++) {
        fixture_begin(&f);
        must(source_repair(f.source, &nothing, on_difference, NULL, &err), &err);
        fixture_commit(&f);
    }
    return n;
}

/* What an agent does: ask for the buckets that differ and make them what they should be. */
static unsigned repair_from_twin(void)
{
    struct content *content = calloc(1, sizeof(*content));
    struct error err = ERROR_INIT;
    unsigned buckets = remove_strangers();

    assert_non_null(content);
    for (uint32_t scope = 0; scope <= REALMS; scope++) {
        struct set_hash_marks marks = compare(scope);

        if (set_hash_marks_count(&marks) == 0)
            continue;
        buckets += set_hash_marks_count(&marks);
        fill_content(content, scope, &marks);
        fixture_begin(&f);
        must(source_repair(f.source, &content->content, on_difference, NULL, &err), &err);
        fixture_commit(&f);
    }
    free(content);
    return buckets;
}

/* ---- the walk ---- */

struct round {
    unsigned differs;
    unsigned mended;
    uint64_t records;
};

static struct source_walked slice(struct round *round)
{
    struct source_walked walked;
    struct error err = ERROR_INIT;

    must(source_walk(f.source, &walked, &err), &err);
    round->differs += walked.differs;
    round->mended += walked.mended;
    round->records += walked.records;
    return walked;
}

static struct round walk_round(void)
{
    struct round round = {0};

    for (unsigned i = 0; i < ROUND_SLICES_MAX; i++) {
        if (slice(&round).round_done)
            return round;
    }
    fail_msg("the walk comes to no end");
    return round;
}

static int verify(char *output, size_t size)
{
    const struct tool tool = {.store_dir = f.dir};

    return tool_run(f.base, &tool, &command_verify, "", (const char *const[]){NULL}, output, size);
}

static void assert_verified(void)
{
    char output[4096];

    if (verify(output, sizeof(output)) != TOOL_YES)
        fail_msg("%s", output);
}

static void assert_clean(void)
{
    struct round round = walk_round();

    assert_int_equal(round.differs, 0);
    assert_int_equal(round.mended, 0);
    assert_equal_to_twin();
    assert_verified();
}

/* Walks until nothing is found, and repairs what the digests then differ in. */
static void heal(void)
{
    for (unsigned i = 0; i < 10; i++) {
        struct round round = walk_round();

        if (repair_from_twin() == 0 && round.differs == 0 && round.mended == 0)
            return;
    }
    fail_msg("the damage never goes");
}

/* ---- changes to both ---- */

static void put_realm(uint32_t scope)
{
    struct error err = ERROR_INIT;
    struct model_realm realm;

    twin.exists[scope] = true;
    twin.ttl[scope] = 1 + roll(3);
    realm = realm_of(scope);
    must(source_put_realm(f.source, &realm, &err), &err);
}

static void delete_realm(uint32_t scope)
{
    struct error err = ERROR_INIT;

    if (scope == MODEL_SCOPE_CP)
        return;
    twin.exists[scope] = false;
    memset(twin.consumers[scope], 0, sizeof(twin.consumers[scope]));
    must(source_delete_realm(f.source, scope, &err), &err);
}

static void put_consumer(uint32_t scope, unsigned i)
{
    struct error err = ERROR_INIT;
    struct model_consumer consumer;

    twin.consumers[scope][i].exists = true;
    (void)snprintf(twin.consumers[scope][i].name, NAME_SIZE, "name-%u", roll(1000000));
    consumer = consumer_of(scope, i);
    must(source_put_consumer(f.source, scope, &consumer, &err), &err);
}

static void delete_consumer(uint32_t scope, unsigned i)
{
    struct uuid id = fixture_uuid(consumer_number(scope, i));
    struct error err = ERROR_INIT;

    memset(&twin.consumers[scope][i], 0, sizeof(twin.consumers[scope][i]));
    must(source_delete_consumer(f.source, scope, &id, &err), &err);
}

static void put_key(uint32_t scope, unsigned i, unsigned k)
{
    struct twin_consumer *consumer = &twin.consumers[scope][i];
    struct error err = ERROR_INIT;
    struct model_key key;

    if (!consumer->exists)
        return;
    consumer->has_key[k] = true;
    consumer->expires_at_ms[k] = roll(2) == 0 ? 0 : 1 + roll(1000);
    consumer->has_tags[k] = roll(2) == 0;
    key = key_of(scope, i, k);
    must(source_put_key(f.source, scope, &key, &err), &err);
}

static void delete_key(uint32_t scope, unsigned i, unsigned k)
{
    struct model_key key = key_of(scope, i, k);
    struct error err = ERROR_INIT;

    twin.consumers[scope][i].has_key[k] = false;
    must(source_delete_key(f.source, scope, &key.consumer_id, &key.id, &err), &err);
}

static void change_at_random(void)
{
    uint32_t scope = roll(REALMS + 1);
    unsigned i = roll(CONSUMERS);
    unsigned what = roll(100);

    if (scope != MODEL_SCOPE_CP && (!twin.exists[scope] || what < 3)) {
        put_realm(scope);
        return;
    }
    if (what < 4)
        delete_realm(scope);
    else if (what < 40)
        put_consumer(scope, i);
    else if (what < 50)
        delete_consumer(scope, i);
    else if (what < 80)
        put_key(scope, i, roll(KEYS_MAX));
    else
        delete_key(scope, i, roll(KEYS_MAX));
}

/* One transaction of some changes; now and then one that is taken back. */
static void transaction(void)
{
    fixture_begin(&f);
    if (roll(10) == 0) {
        struct twin kept = twin;

        for (unsigned n = 1 + roll(8); n > 0; n--)
            change_at_random();
        twin = kept;
        source_abort(f.source);
        return;
    }
    for (unsigned n = 1 + roll(8); n > 0; n--)
        change_at_random();
    fixture_commit(&f);
}

static int set_up(void **state)
{
    const char *given = getenv("SEED");
    unsigned long seed = given != NULL ? strtoul(given, NULL, 10) : (unsigned long)time(NULL);

    (void)state;
    print_message("SEED=%lu\n", seed);
    dice[0] = (unsigned short)seed;
    dice[1] = (unsigned short)(seed >> 16);
    dice[2] = (unsigned short)(seed >> 32);
    twin = (struct twin){.exists = {true}};
    differences = repaired_bytes = 0;
    fixture_init(&f);
    fixture_open(&f);
    fixture_load_empty(&f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_finish(&f);
    return 0;
}

static void fill(void)
{
    for (int i = 0; i < 100; i++)
        transaction();
    fixture_begin(&f);
    for (uint32_t scope = 1; scope <= REALMS; scope++)
        put_realm(scope);
    for (unsigned i = 0; i < CONSUMERS; i++)
        put_consumer(i % (REALMS + 1), i);
    for (unsigned i = 0; i < CONSUMERS; i++) {
        for (unsigned k = 0; k < i % (KEYS_MAX + 1); k++)
            put_key(i % (REALMS + 1), i, k);
    }
    fixture_commit(&f);
}

/* ---- tests ---- */

static void digests_follow_every_change_and_the_walk_agrees(void **state)
{
    struct round round = {0};

    (void)state;
    for (int i = 0; i < STEPS; i++) {
        transaction();
        for (unsigned n = roll(4); n > 0; n--)
            (void)slice(&round);
        if (i % 50 == 0)
            assert_equal_to_twin();
    }
    assert_true(round.records > 0);
    assert_int_equal(round.differs, 0); /* also while the file changed under it */
    assert_int_equal(round.mended, 0);
    assert_clean();
}

static MDB_txn *begin_behind_its_back(void)
{
    MDB_txn *txn;

    assert_int_equal(mdb_txn_begin(f.source->live.env.mdb, NULL, 0, &txn), 0);
    return txn;
}

/* Any table but meta, whose every bit is not ours to prove. */
static enum table any_table(void)
{
    static const enum table tables[] = {TABLE_LOOKUP, TABLE_LOOKUP,    TABLE_CONSUMERS,
                                        TABLE_REALMS, TABLE_REALM_IDS, TABLE_DIGESTS};

    return tables[roll(sizeof(tables) / sizeof(tables[0]))];
}

/* Any row of the table; names of tables, which stand in front of `lookup`, are none. */
static bool pick_row(MDB_txn *txn, enum table table, MDB_val *ret_key, MDB_val *ret_value)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;
    unsigned skip = roll(60);
    bool found = false;

    assert_int_equal(mdb_cursor_open(txn, f.source->live.env.tables[table], &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &value, found ? MDB_PREV : MDB_LAST) == 0 &&
           !(table == TABLE_LOOKUP && *(unsigned char *)key.mv_data != BUCKET_KEY_FIRST_BYTE)) {
        *ret_key = key;
        *ret_value = value;
        found = true;
        if (skip-- == 0)
            break;
    }
    mdb_cursor_close(cursor);
    return found;
}

static void flip_a_bit(void)
{
    enum table table = any_table();
    MDB_txn *txn = begin_behind_its_back();
    unsigned char *copy;
    MDB_val key;
    MDB_val value;

    if (!pick_row(txn, table, &key, &value)) {
        mdb_txn_abort(txn);
        return;
    }
    copy = malloc(value.mv_size + 1);
    assert_non_null(copy);
    memcpy(copy, value.mv_data, value.mv_size);
    if (value.mv_size > 0) {
        size_t used = table == TABLE_LOOKUP ? bucket_used(copy, value.mv_size) : value.mv_size;

        if (used == 0 || used > value.mv_size)
            used = value.mv_size;
        copy[roll((unsigned)used)] ^= (unsigned char)(1U << roll(8));
    }
    value.mv_data = copy;
    assert_int_equal(mdb_put(txn, f.source->live.env.tables[table], &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    free(copy);
}

static void delete_a_row(void)
{
    enum table table = any_table();
    MDB_txn *txn = begin_behind_its_back();
    MDB_val key;
    MDB_val value;

    if (pick_row(txn, table, &key, &value))
        assert_int_equal(mdb_del(txn, f.source->live.env.tables[table], &key, NULL), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
}

/* A row under another id, or in a scope that is not there. */
static void add_a_row(void)
{
    MDB_txn *txn = begin_behind_its_back();
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    unsigned char copy[RECORD_MAX_BYTES / 16];
    MDB_val key;
    MDB_val value;

    if (pick_row(txn, TABLE_CONSUMERS, &key, &value)) {
        memcpy(bytes, key.mv_data, key.mv_size);
        memcpy(copy, value.mv_data, value.mv_size);
        bytes[roll(4) == 0 ? 3 : 10 + roll(10)] ^= (unsigned char)(1 + roll(255));
        key.mv_data = bytes;
        value.mv_data = copy;
        assert_int_equal(mdb_put(txn, f.source->live.env.tables[TABLE_CONSUMERS], &key, &value, 0),
                         0);
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
}

/* A key that lets somebody in: an entry of `lookup` alone, which is all that a lookup asks for. */
static void forge_an_entry(void)
{
    struct tables tables = {.env = &f.source->live.env, .txn = begin_behind_its_back()};
    struct entry entry = {.kind = ENTRY_KEY_REFERENCE,
                          .scope = roll(REALMS + 1),
                          .key_id = fixture_uuid(77),
                          .consumer_id = fixture_uuid(consumer_number(0, 0))};
    struct error err = ERROR_INIT;
    uint8_t digest[DIGEST_BYTES];
    struct index index;
    char secret[NAME_SIZE];

    (void)snprintf(secret, sizeof(secret), "forged-%u", roll(1000000));
    fixture_digest(secret, digest);
    entry.name = digest;
    index_init(&index, &tables);
    must(index_put(&index, &entry, &err), &err);
    index_finish(&index);
    assert_int_equal(mdb_txn_commit(tables.txn), 0);
}

static void every_flipped_bit_is_found_and_repaired(void **state)
{
    size_t most = 0;

    (void)state;
    fill();
    for (int i = 0; i < FLIPS; i++) {
        size_t before = repaired_bytes;

        flip_a_bit();
        heal();
        if (repaired_bytes - before > most)
            most = repaired_bytes - before;
        if (i % 20 == 0)
            assert_clean();
    }
    assert_clean();
    assert_true(differences > 0);
    print_message("%d flips: %zu consumers and realms put right, %zu bytes of records fetched, "
                  "%zu at most for one\n",
                  FLIPS, differences, repaired_bytes, most);
}

/* Whoever changes a digest alone is caught by verify, and by the walk, which knows better. */
static void digest_that_lies_is_found(void **state)
{
    struct set_hash lie = set_hash_of("x", 1);
    static const struct set_hash nothing;
    struct tables tables = {.env = NULL};
    struct error err = ERROR_INIT;
    char output[4096];

    (void)state;
    fill();
    tables = (struct tables){.env = &f.source->live.env, .txn = begin_behind_its_back()};
    must(scope_hashes_change(&tables, 1, 200, &nothing, &lie, &err), &err);
    assert_int_equal(mdb_txn_commit(tables.txn), 0);
    env_slots_announce(&f.source->live.env); /* as the agent's own commits do */
    assert_int_equal(verify(output, sizeof(output)), TOOL_NO);
    assert_non_null(strstr(output, "scope 1 are not what its digests say, in 1 of 256"));
    assert_int_equal(walk_round().differs, 1);
    assert_int_equal(differences, 0);
    assert_clean();
}

static void rows_deleted_added_and_forged_are_found_and_repaired(void **state)
{
    static void (*const blows[])(void) = {delete_a_row, add_a_row, forge_an_entry};

    (void)state;
    fill();
    for (int i = 0; i < BLOWS; i++) {
        for (unsigned n = 1 + roll(3); n > 0; n--)
            blows[roll(3)]();
        heal();
        if (i % 10 == 0)
            assert_clean();
    }
    assert_clean();
    assert_true(differences > 0);
    print_message("%d times: %zu consumers and realms put right, %zu bytes of records fetched\n",
                  BLOWS, differences, repaired_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(digests_follow_every_change_and_the_walk_agrees, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(digest_that_lies_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_bit_is_found_and_repaired, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_deleted_added_and_forged_are_found_and_repaired,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

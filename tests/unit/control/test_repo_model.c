/* test_repo_model.c - hosts that apply deltas hold exactly what the snapshot holds.
 *
 * Random operations on a few realms, consumers, keys and control planes, with few names and
 * secrets, so that they are handed over, moved and reused all the time. Followers of each control
 * plane take deltas at random moments into a model of a host: one after every operation, the others
 * after several. After each delta the model is compared with the repository's snapshot, byte by
 * byte, and the digests that came with the delta with those of the model's records, made from
 * scratch. Now and then a follower wishes for all digests, or for the content of buckets, which
 * replaces what the model has.
 *
 * The model refuses what a host would refuse: an entity in a scope that is not there, a secret that
 * another key has. SEED=n in the environment repeats a run; the seed is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include <lmdb.h>

#include "store/record.h"
#include "tests/lib/repo_fixture.h"

enum {
    STEPS = 2500,
    CONTROL_PLANES = 3,
    FOLLOWERS = 3, /* of each control plane: one keeps up, the others lag */
    REALMS_MAX = 5,
    NAMES = 8,
    SECRETS = 10,
    ENTITIES_MAX = 4096
};

static struct repo_fixture *f;
static struct repo *repo;
static struct error err;
static unsigned short dice[3];

static unsigned roll(unsigned sides)
{
    return (unsigned)((unsigned long)nrand48(dice) % sides);
}

/* ---- the model of a host ---- */

struct entity {
    enum snapshot_kind kind;
    uint32_t scope;
    struct uuid id;
    struct uuid consumer_id;
    uint8_t digest[DIGEST_BYTES];
    struct buffer record;
};

struct model {
    struct entity entities[ENTITIES_MAX];
    size_t count;
    size_t n_digests; /* of the last delta */
};

static struct entity *find(struct model *model, enum snapshot_kind kind, uint32_t scope,
                           const struct uuid *id)
{
    for (size_t i = 0; i < model->count; i++) {
        struct entity *entity = &model->entities[i];

        if (entity->kind == kind && entity->scope == scope && uuid_equal(&entity->id, id))
            return entity;
    }
    return NULL;
}

static void drop(struct model *model, size_t i)
{
    buffer_finish(&model->entities[i].record);
    model->entities[i] = model->entities[--model->count];
}

static unsigned bucket_of(const struct entity *entity)
{
    if (entity->kind == SNAPSHOT_REALM)
        return SET_HASH_BUCKET_OF_REALM;
    return set_hash_bucket(entity->kind == SNAPSHOT_KEY ? &entity->consumer_id : &entity->id);
}

static bool goes_with(const struct entity *entity, const struct change *change)
{
    if (entity->scope != change->scope)
        return false;
    switch (change->kind) {
    case CHANGE_BUCKET:
        return bucket_of(entity) == change->bucket;
    case CHANGE_REALM_DELETE:
        return true;
    case CHANGE_CONSUMER_DELETE:
        return uuid_equal(&entity->id, &change->id) ||
               (entity->kind == SNAPSHOT_KEY && uuid_equal(&entity->consumer_id, &change->id));
    case CHANGE_KEY_DELETE:
        return entity->kind == SNAPSHOT_KEY && uuid_equal(&entity->id, &change->key.id) &&
               uuid_equal(&entity->consumer_id, &change->key.consumer_id);
    default:
        return false;
    }
}

static void apply_delete(struct model *model, const struct change *change)
{
    for (size_t i = model->count; i-- > 0;) {
        if (goes_with(&model->entities[i], change))
            drop(model, i);
    }
}

static struct entity *put(struct model *model, enum snapshot_kind kind, uint32_t scope,
                          const struct uuid *id)
{
    struct entity *entity = find(model, kind, scope, id);

    if (entity == NULL) {
        assert_true(model->count < ENTITIES_MAX);
        entity = &model->entities[model->count++];
        *entity = (struct entity){.kind = kind, .scope = scope, .id = *id};
        buffer_init(&entity->record, RECORD_MAX_BYTES);
    }
    buffer_clear(&entity->record);
    return entity;
}

static bool scope_exists(struct model *model, uint32_t scope)
{
    if (scope == MODEL_SCOPE_CP)
        return true;
    for (size_t i = 0; i < model->count; i++) {
        if (model->entities[i].kind == SNAPSHOT_REALM && model->entities[i].scope == scope)
            return true;
    }
    return false;
}

static void assert_secret_is_free(struct model *model, const struct change *change)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct entity *entity = &model->entities[i];

        if (entity->kind == SNAPSHOT_KEY && entity->scope == change->scope &&
            memcmp(entity->digest, change->key.digest, DIGEST_BYTES) == 0)
            assert_true(uuid_equal(&entity->id, &change->key.id));
    }
}

static void apply_key(struct model *model, const struct change *change)
{
    struct entity *entity;

    assert_non_null(find(model, SNAPSHOT_CONSUMER, change->scope, &change->key.consumer_id));
    assert_secret_is_free(model, change);
    entity = put(model, SNAPSHOT_KEY, change->scope, &change->key.id);
    entity->consumer_id = change->key.consumer_id;
    memcpy(entity->digest, change->key.digest, DIGEST_BYTES);
    assert_int_equal(record_encode_key(&change->key, &entity->record), 0);
}

static int apply(void *context, const struct change *change)
{
    struct model *model = context;
    struct entity *entity;

    switch (change->kind) {
    case CHANGE_REALM:
        entity = put(model, SNAPSHOT_REALM, change->scope, &change->realm.id);
        assert_int_equal(record_encode_realm(&change->realm, &entity->record), 0);
        break;
    case CHANGE_CONSUMER:
        assert_true(scope_exists(model, change->scope));
        entity = put(model, SNAPSHOT_CONSUMER, change->scope, &change->consumer.id);
        assert_int_equal(record_encode_consumer(&change->consumer, &entity->record), 0);
        break;
    case CHANGE_KEY:
        apply_key(model, change);
        break;
    default:
        apply_delete(model, change);
        break;
    }
    return 0;
}

/* ---- digests ---- */

/* Sums the model's records, those of one bucket or (-1) of the whole scope. */
static struct set_hash hash_of(const struct model *model, uint32_t scope, int bucket)
{
    struct set_hash sum = {0};

    for (size_t i = 0; i < model->count; i++) {
        const struct entity *entity = &model->entities[i];

        if (entity->scope == scope && (bucket < 0 || (int)bucket_of(entity) == bucket)) {
            struct set_hash part = set_hash_of(entity->record.data, entity->record.size);

            set_hash_add(&sum, &part);
        }
    }
    return sum;
}

/* Digests come when all changes were given. */
static int compare_digest(void *context, const struct feed_scope_hash *digest)
{
    struct model *model = context;
    struct set_hash whole = hash_of(model, digest->scope, -1);

    model->n_digests++;
    assert_true(set_hash_equal(&whole, &digest->hash));
    for (int bucket = 0; digest->buckets != NULL && bucket < SET_HASH_BUCKETS; bucket++) {
        struct set_hash part = hash_of(model, digest->scope, bucket);

        assert_true(set_hash_equal(&part, &digest->buckets[bucket]));
    }
    return 0;
}

static size_t count_scopes(const struct model *model)
{
    size_t count = 1;

    for (size_t i = 0; i < model->count; i++)
        count += model->entities[i].kind == SNAPSHOT_REALM;
    return count;
}

static struct feed_wish random_wish(void)
{
    struct feed_wish wish = {.kind = (enum feed_wish_kind)roll(4), .scope = roll(10)};

    for (unsigned i = roll(100); i > 0; i--)
        set_hash_mark(&wish.buckets, roll(SET_HASH_BUCKETS));
    return wish;
}

/* ---- against the snapshot ---- */

static const struct uuid *owner_of(const struct entity *entity)
{
    return entity->kind == SNAPSHOT_KEY ? &entity->consumer_id : &entity->id;
}

/* Realms, then consumers by (scope, id), each with its keys behind it. */
static int compare_entities(const void *a, const void *b)
{
    const struct entity *x = a;
    const struct entity *y = b;
    int order = (int)(y->kind == SNAPSHOT_REALM) - (int)(x->kind == SNAPSHOT_REALM);

    if (order == 0)
        order = (x->scope > y->scope) - (x->scope < y->scope);
    if (order == 0)
        order = uuid_compare(owner_of(x), owner_of(y));
    if (order == 0)
        order = (int)x->kind - (int)y->kind;
    return order == 0 ? uuid_compare(&x->id, &y->id) : order;
}

struct comparison {
    struct model *model;
    struct snapshot_header header;
    size_t at;
};

static int take_header(void *context, const struct snapshot_header *header)
{
    struct comparison *comparison = context;

    comparison->header = *header;
    return 0;
}

static int compare_record(void *context, const struct snapshot_record *record)
{
    struct comparison *comparison = context;
    const struct entity *entity = &comparison->model->entities[comparison->at];

    assert_true(comparison->at < comparison->model->count);
    assert_int_equal(record->kind, entity->kind);
    assert_int_equal(record->scope, entity->scope);
    assert_int_equal(record->size, entity->record.size);
    assert_memory_equal(record->bytes, entity->record.data, record->size);
    comparison->at++;
    return 0;
}

static void assert_matches_snapshot(struct model *model, const struct uuid *control_plane_id)
{
    struct comparison comparison = {.model = model};
    const struct repo_snapshot_sink sink = {
        .header = take_header, .record = compare_record, .context = &comparison};

    qsort(model->entities, model->count, sizeof(model->entities[0]), compare_entities);
    assert_int_equal(repo_snapshot(repo, control_plane_id, &sink, &err), 0);
    assert_int_equal(comparison.at, model->count);
    assert_int_equal(comparison.header.realms + comparison.header.consumers +
                         comparison.header.keys,
                     model->count);
}

/* ---- followers ---- */

struct follower_model {
    struct uuid control_plane_id;
    uint64_t version;
    struct model model;
};

static struct follower_model *followers; /* CONTROL_PLANES * FOLLOWERS */

static void catch_up_with(struct follower_model *follower, const struct feed_wish *wish)
{
    const struct repo_transaction_query query = {
        .control_plane_id = &follower->control_plane_id, .from = follower->version, .wish = wish};
    const struct repo_transaction_sink sink = {apply, compare_digest, &follower->model};
    struct repo_delta delta;

    follower->model.n_digests = 0;
    assert_int_equal(repo_transaction(repo, &query, &sink, &delta, &err), 0);
    assert_int_equal(delta.outcome, REPO_DELTA_OK);
    if (wish != NULL && wish->kind == FEED_WISH_DIGESTS)
        assert_int_equal(follower->model.n_digests, count_scopes(&follower->model));
    else if (wish != NULL && wish->kind != FEED_WISH_NONE)
        assert_true(follower->model.n_digests > 0);
    if (wish == NULL && delta.version == follower->version + 1) {
        bool concerned = false;

        assert_int_equal(
            repo_concerns(repo, delta.version, &follower->control_plane_id, &concerned, &err), 0);
        assert_int_equal(concerned, delta.changes > 0);
    }
    follower->version = delta.version;
    assert_matches_snapshot(&follower->model, &follower->control_plane_id);
}

static void catch_up(struct follower_model *follower)
{
    const struct feed_wish random = random_wish();

    catch_up_with(follower, roll(4) == 0 ? &random : NULL);
}

/* ---- random operations ---- */

static const char *random_name(void)
{
    static char name[16];

    (void)snprintf(name, sizeof(name), "name-%u", roll(NAMES));
    return name;
}

static const struct repo_page everything = {.size = 1000};

static bool pick_realm(struct uuid *ret)
{
    struct repo_realm_rows realms;

    assert_int_equal(repo_realm_list(REPO_CALL(f, .err = &err), &everything, &realms), 0);
    if (realms.count == 0)
        return false;
    *ret = realms.items[roll((unsigned)realms.count)].model.id;
    return true;
}

static bool pick_scope(struct repo_scope *ret)
{
    if (roll(4) == 0) {
        *ret = repo_fixture_cp(1 + roll(CONTROL_PLANES));
        return true;
    }
    ret->kind = REPO_SCOPE_REALM;
    return pick_realm(&ret->id);
}

static bool pick_consumer(struct repo_scope *ret_scope, struct uuid *ret)
{
    struct repo_consumer_rows consumers;

    if (!pick_scope(ret_scope))
        return false;
    assert_int_equal(repo_consumer_list(REPO_CALL(f, .err = &err), ret_scope,
                                        &(struct repo_consumer_query){.page = everything},
                                        &consumers),
                     0);
    if (consumers.count == 0)
        return false;
    *ret = consumers.items[roll((unsigned)consumers.count)].model.id;
    return true;
}

/* Conflicts are part of the game; nothing else may fail. */
static void assert_done_or_refused(int rc)
{
    assert_true(rc == 0 || rc == E_CONFLICT);
}

static struct model_strings random_allowed(void)
{
    static char texts[CONTROL_PLANES][UUID_TEXT_SIZE];
    static const char *items[CONTROL_PLANES];
    struct model_strings strings = {.items = items};

    for (unsigned cp = 1; cp <= CONTROL_PLANES; cp++) {
        struct uuid id = repo_fixture_uuid(cp);

        if (roll(2) == 0)
            items[strings.count] = uuid_format(&id, texts[strings.count]), strings.count++;
    }
    return strings;
}

static void create_realm(void)
{
    const struct repo_realm input = {
        .model = {.name = random_name(), .ttl_min = 10, .negative_ttl_min = 10},
        .allowed_control_planes = random_allowed()};
    struct repo_realm_rows realms;
    struct repo_realm ret;

    assert_int_equal(repo_realm_list(REPO_CALL(f, .err = &err), &everything, &realms), 0);
    if (realms.count < REALMS_MAX)
        assert_done_or_refused(repo_realm_create(REPO_CALL(f, .err = &err), &input, &ret));
}

static void update_realm(void)
{
    const struct repo_realm input = {.model = {.name = random_name(), .ttl_min = 5 + roll(3)},
                                     .allowed_control_planes = random_allowed(),
                                     .allow_all_control_planes = roll(4) == 0};
    const unsigned bits[] = {REPO_SET_NAME, REPO_SET_TTL, REPO_SET_ALLOWED, REPO_SET_ALLOW_ALL,
                             REPO_SET_ALLOWED | REPO_SET_TTL};
    struct repo_realm ret;
    struct uuid id;

    if (pick_realm(&id))
        assert_done_or_refused(repo_realm_update(REPO_CALL(f, .err = &err), &id,
                                                 &(struct repo_realm_change){bits[roll(5)], input},
                                                 &ret));
}

static void delete_realm(void)
{
    struct uuid id;

    if (roll(3) == 0 && pick_realm(&id))
        assert_int_equal(repo_realm_delete(REPO_CALL(f, .err = &err), &id, true), 0);
}

static void create_consumer(void)
{
    const struct repo_consumer input = {.model = {.username = random_name()}};
    struct repo_consumer ret;
    struct repo_scope scope;

    if (pick_scope(&scope))
        assert_done_or_refused(
            repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &ret));
}

static void update_consumer(void)
{
    const struct repo_consumer input = {
        .model = {.username = random_name(), .custom_id = roll(2) ? "custom" : NULL}};
    struct repo_consumer ret;
    struct repo_scope scope;
    struct uuid id;

    if (pick_consumer(&scope, &id))
        assert_done_or_refused(repo_consumer_update(
            REPO_CALL(f, .err = &err), &(struct repo_path){.scope = scope, .consumer_id = id},
            &(struct repo_consumer_change){roll(2) ? REPO_SET_USERNAME : REPO_SET_CUSTOM_ID, input},
            &ret));
}

static void delete_consumer(void)
{
    struct repo_scope scope;
    struct uuid id;

    if (pick_consumer(&scope, &id))
        assert_int_equal(
            repo_consumer_delete(REPO_CALL(f, .err = &err),
                                 &(struct repo_path){.scope = scope, .consumer_id = id}),
            0);
}

static void move_consumer(void)
{
    struct repo_scope scope;
    struct uuid target;
    struct uuid id;

    if (pick_consumer(&scope, &id) && scope.kind == REPO_SCOPE_REALM && pick_realm(&target))
        assert_done_or_refused(repo_consumer_move(
            REPO_CALL(f, .err = &err),
            &(struct repo_path){.scope = {REPO_SCOPE_REALM, scope.id}, .consumer_id = id},
            &target));
}

static void create_key(void)
{
    const struct repo_key input = {.type = REPO_KEY_LEGACY};
    struct repo_scope scope;
    struct repo_key ret;
    struct uuid id;
    char secret[16];

    (void)snprintf(secret, sizeof(secret), "secret-%u", roll(SECRETS));
    if (pick_consumer(&scope, &id))
        assert_done_or_refused(repo_key_create(
            REPO_CALL(f, .err = &err), &(struct repo_path){.scope = scope, .consumer_id = id},
            &(struct repo_key_input){input, secret, strlen(secret)}, &ret));
}

static void delete_key(void)
{
    struct repo_scope scope;
    struct repo_key_rows keys;
    struct uuid id;

    if (!pick_consumer(&scope, &id))
        return;
    assert_int_equal(repo_key_list(REPO_CALL(f, .err = &err),
                                   &(struct repo_path){.scope = scope, .consumer_id = id},
                                   &everything, &keys),
                     0);
    if (keys.count > 0)
        assert_int_equal(
            repo_key_delete(
                REPO_CALL(f, .err = &err),
                &(struct repo_path){.scope = scope,
                                    .consumer_id = id,
                                    .key_id = keys.items[roll((unsigned)keys.count)].model.id}),
            0);
}

static void random_operation(void)
{
    static void (*const operations[])(void) = {
        create_realm,    update_realm,    update_realm,    delete_realm,    create_consumer,
        create_consumer, create_consumer, update_consumer, delete_consumer, move_consumer,
        move_consumer,   move_consumer,   create_key,      create_key,      create_key,
        delete_key,      delete_key};

    operations[roll(sizeof(operations) / sizeof(operations[0]))]();
    arena_reset(&f->arena);
}

/* ---- the test ---- */

static void seed_dice(void)
{
    const char *given = getenv("SEED");
    unsigned long seed = given != NULL ? strtoul(given, NULL, 10) : (unsigned long)time(NULL);

    print_message("SEED=%lu\n", seed);
    dice[0] = (unsigned short)seed;
    dice[1] = (unsigned short)(seed >> 16);
    dice[2] = (unsigned short)(seed >> 32);
}

static int set_up(void **state)
{
    (void)state;
    seed_dice();
    f = repo_fixture_create(0);
    repo = f->repo;
    followers = calloc(CONTROL_PLANES * FOLLOWERS, sizeof(*followers));
    assert_non_null(followers);
    for (unsigned i = 0; i < CONTROL_PLANES * FOLLOWERS; i++)
        followers[i].control_plane_id = repo_fixture_uuid(1 + i / FOLLOWERS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CONTROL_PLANES * FOLLOWERS; i++) {
        while (followers[i].model.count > 0)
            drop(&followers[i].model, 0);
    }
    free(followers);
    repo_fixture_destroy(f);
    return 0;
}

/* Makes the store what a program that knew no digests left behind. */
static void write_as_format_2(void)
{
    MDB_val identity = {.mv_size = 8, .mv_data = (char[]){"identity"}};
    char path[PATH_MAX];
    MDB_val value;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi meta;
    MDB_dbi digests;

    (void)snprintf(path, sizeof(path), "%s/control.mdb", f->dir);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 16), 0);
    assert_int_equal(mdb_env_open(env, path, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "meta", 0, &meta), 0);
    assert_int_equal(mdb_dbi_open(txn, "digests", 0, &digests), 0);
    assert_int_equal(mdb_drop(txn, digests, 1), 0);
    assert_int_equal(mdb_get(txn, meta, &identity, &value), 0);
    {
        unsigned char *copy = malloc(value.mv_size);

        assert_non_null(copy);
        memcpy(copy, value.mv_data, value.mv_size);
        copy[0] = 2;
        value.mv_data = copy;
        assert_int_equal(mdb_put(txn, meta, &identity, &value, 0), 0);
        free(copy);
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void store_without_digests_gets_them_when_it_is_opened(void)
{
    const struct feed_wish all = {.kind = FEED_WISH_DIGESTS};
    const struct repo_scope own = repo_fixture_cp(1);

    (void)repo_fixture_consumer(f, &own, "one-more");
    repo_close(repo);
    write_as_format_2();
    assert_int_equal(repo_lmdb_open(f->dir, &f->options, &f->repo, &err), 0);
    repo = f->repo;
    for (unsigned i = 0; i < CONTROL_PLANES * FOLLOWERS; i++)
        catch_up_with(&followers[i], &all);
    repo_fixture_reopen(f);
    repo = f->repo;
}

static void hosts_that_apply_deltas_equal_the_snapshot(void **state)
{
    (void)state;
    for (int step = 0; step < STEPS; step++) {
        random_operation();
        for (unsigned i = 0; i < CONTROL_PLANES * FOLLOWERS; i++) {
            unsigned lag = i % FOLLOWERS;

            if (lag == 0 || roll(10 * lag) == 0)
                catch_up(&followers[i]);
        }
    }
    for (unsigned i = 0; i < CONTROL_PLANES * FOLLOWERS; i++)
        catch_up(&followers[i]);
    store_without_digests_gets_them_when_it_is_opened();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hosts_that_apply_deltas_equal_the_snapshot, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

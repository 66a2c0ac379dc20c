/* agent/apply.h over a real store: order, merging, back-pressure, failure, closing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/apply.h"
#include "store/record.h"

#define PLANE "497f6eca-6276-4993-bfeb-53cbbbba6f08"
#define EPOCH "01932f00-0000-7000-8000-000000000001"

enum { MEBIBYTE = 1024 * 1024, GUARD_MS = 20 * 1000 };

struct world {
    char dir[64];
    uv_loop_t loop;
    uv_timer_t guard;
    bool late;
    struct store *store;
    struct source *source;
    struct apply *apply;
    bool closed;
    unsigned applied;
    unsigned loaded;
    unsigned failed;
    unsigned moved;
    unsigned readers;
    struct source_upkeep upkeep;
    uint64_t transactions;
    uint64_t version; /* of the last result */
    int code;
    bool failed_loading;
    bool asks_when_applied;
};

/* ---- events ---- */

static void on_applied(void *context, const struct apply_result *result)
{
    struct world *world = context;

    if (world->asks_when_applied)
        apply_upkeep(world->apply);
    world->applied++;
    world->transactions += result->transactions;
    assert_true(result->visible.version > world->version);
    world->version = result->visible.version;
}

static void on_loaded(void *context, const struct apply_result *result)
{
    struct world *world = context;

    world->loaded++;
    world->version = result->visible.version;
}

static void on_failed(void *context, const struct error *err, bool loading)
{
    struct world *world = context;

    world->failed++;
    world->code = err->code;
    world->failed_loading = loading;
}

static void on_readers(void *context, const struct source_readers *readers)
{
    struct world *world = context;

    (void)readers;
    world->readers++;
}

static void on_upkeep(void *context, const struct source_upkeep *upkeep, const struct error *err)
{
    struct world *world = context;

    assert_int_equal(err->code, 0);
    world->upkeep = *upkeep;
}

static void on_moved(void *context)
{
    struct world *world = context;

    world->moved++;
}

static void on_closed(void *context)
{
    struct world *world = context;

    world->closed = true;
}

static void on_guard(uv_timer_t *timer)
{
    struct world *world = timer->data;

    world->late = true;
}

static void run_until_idle(struct world *world)
{
    assert_int_equal(uv_timer_start(&world->guard, on_guard, GUARD_MS, 0), 0);
    while (!apply_idle(world->apply) && !world->late)
        (void)uv_run(&world->loop, UV_RUN_ONCE);
    assert_false(world->late);
    assert_int_equal(uv_timer_stop(&world->guard), 0);
}

/* ---- life ---- */

static struct snapshot_header header_of(uint64_t version, uint64_t realms)
{
    struct snapshot_header header = {.time_ms = 1, .realms = realms};

    header.cursor.version = version;
    assert_true(uuid_parse(EPOCH, &header.cursor.epoch));
    assert_true(uuid_parse(PLANE, &header.control_plane_id));
    return header;
}

static void load_empty(struct world *world, uint64_t version)
{
    static const uint8_t key[DIGEST_KEY_BYTES] = {1};
    struct snapshot_header header = header_of(version, 0);
    struct error err = ERROR_INIT;

    assert_int_equal(apply_load_begin(world->apply, &header, key, &err), 0);
    assert_int_equal(apply_load_end(world->apply, &err), 0);
    run_until_idle(world);
    assert_int_equal(world->loaded, 1);
}

static int open_world_with(void **state, size_t map_bytes)
{
    struct world *world = calloc(1, sizeof(*world));
    struct store_options options = {.map_bytes = map_bytes, .clock = clock_system};
    struct apply_events events = {on_applied, on_loaded, on_failed, on_readers,
                                  on_upkeep,  NULL,      on_moved,  world};
    struct error err = ERROR_INIT;

    assert_non_null(world);
    *state = world;
    (void)snprintf(world->dir, sizeof(world->dir), "/tmp/test_agent_apply.XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    options.dir = world->dir;
    assert_true(uuid_parse(PLANE, &options.control_plane_id));
    assert_int_equal(uv_loop_init(&world->loop), 0);
    assert_int_equal(uv_timer_init(&world->loop, &world->guard), 0);
    world->guard.data = world;
    if (store_open(&options, &world->store, &err) != 0 ||
        source_open(world->store, "us", &world->source, NULL, &err) != 0 ||
        apply_create(&world->loop, world->source, &events, &world->apply, &err) != 0)
        fail_msg("%s", err.message);
    return 0;
}

static int open_world(void **state)
{
    return open_world_with(state, 64 * (size_t)MEBIBYTE);
}

static int open_narrow_world(void **state)
{
    return open_world_with(state, MEBIBYTE);
}

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)facts;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int close_world(void **state)
{
    struct world *world = *state;

    apply_close(world->apply, on_closed, world);
    uv_close((uv_handle_t *)&world->guard, NULL);
    assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
    assert_true(world->closed);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    source_close(world->source);
    store_close(world->store);
    assert_int_equal(nftw(world->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(world);
    return 0;
}

/* A transaction without changes that occupies `size` bytes. */
static void push(struct world *world, uint64_t version, size_t size)
{
    struct feed_transaction *transaction = feed_transaction_create(64 * (size_t)MEBIBYTE);
    struct error err = ERROR_INIT;

    assert_non_null(transaction);
    transaction->cursor = header_of(version, 0).cursor;
    transaction->time_ms = 1;
    assert_non_null(arena_alloc(&transaction->arena, size));
    assert_int_equal(apply_transaction(world->apply, transaction, &err), 0);
}

/* A transaction of `n` realms. */
static void push_realms(struct world *world, uint64_t version, uint32_t n)
{
    struct feed_transaction *transaction = feed_transaction_create(64 * (size_t)MEBIBYTE);
    struct error err = ERROR_INIT;

    assert_non_null(transaction);
    transaction->cursor = header_of(version, 0).cursor;
    transaction->time_ms = 1;
    transaction->changes = calloc(n, sizeof(*transaction->changes));
    assert_non_null(transaction->changes);
    transaction->count = transaction->capacity = n;
    for (uint32_t i = 0; i < n; i++) {
        struct change *change = &transaction->changes[i];

        change->kind = CHANGE_REALM;
        change->scope = change->realm.number = i + 1;
        memcpy(change->realm.id.bytes, &change->scope, sizeof(change->scope));
        change->realm.name = "prod";
        change->realm.region = "us";
    }
    assert_int_equal(apply_transaction(world->apply, transaction, &err), 0);
}

/* ---- tests ---- */

static void batch_that_does_not_fit_the_map_makes_it_larger(void **state)
{
    enum { REALMS = 40000 }; /* several times the map */
    struct world *world = *state;

    load_empty(world, 1);
    push_realms(world, 2, REALMS);
    run_until_idle(world);
    assert_int_equal(world->failed, 0);
    assert_int_equal(world->applied, 1);
    assert_int_equal(world->transactions, 1); /* counted once, not once a try */
    assert_int_equal(apply_counts(world->apply).realms, REALMS);
    apply_upkeep(world->apply);
    run_until_idle(world);
    assert_true(world->upkeep.map_bytes >= 4 * (size_t)MEBIBYTE);
}

static void what_waits_behind_a_commit_becomes_one(void **state)
{
    struct world *world = *state;

    load_empty(world, 1);
    for (uint64_t version = 2; version <= 11; version++)
        push(world, version, 16);
    run_until_idle(world);
    assert_int_equal(world->applied, 2); /* the first alone, the nine behind it together */
    assert_int_equal(world->transactions, 10);
    assert_int_equal(apply_visible(world->apply).version, 11);
}

static void result_stays_while_it_is_told_and_what_is_asked_meanwhile_comes_after(void **state)
{
    struct world *world = *state;

    load_empty(world, 1);
    world->asks_when_applied = true;
    push(world, 2, 16);
    run_until_idle(world);
    assert_int_equal(world->transactions, 1);
    assert_int_equal(world->version, 2);
    assert_int_equal(world->readers, 1);
}

static void queue_is_full_by_bytes_and_empties(void **state)
{
    struct world *world = *state;

    load_empty(world, 1);
    push(world, 2, 8 * (size_t)MEBIBYTE); /* runs: it does not wait any more */
    assert_int_equal(apply_queued_bytes(world->apply), 0);
    for (uint64_t version = 3; version <= 5; version++)
        push(world, version, 8 * (size_t)MEBIBYTE);
    assert_false(apply_full(world->apply));
    push(world, 6, 8 * (size_t)MEBIBYTE);
    assert_true(apply_full(world->apply));
    run_until_idle(world);
    assert_false(apply_full(world->apply));
    assert_int_equal(apply_queued_bytes(world->apply), 0);
    assert_int_equal(world->version, 6);
}

static void transaction_without_a_copy_fails_once_and_drops_the_rest(void **state)
{
    struct world *world = *state;

    for (uint64_t version = 2; version <= 5; version++)
        push(world, version, 16);
    run_until_idle(world);
    assert_int_equal(world->failed, 1);
    assert_int_equal(world->code, E_NOT_READY);
    assert_false(world->failed_loading);
    assert_int_equal(world->applied, 0);
}

/* Realms until the queue is full; how many it took. */
static unsigned fill_with_chunks(struct world *world)
{
    struct model_realm realm = {
        .name = "prod", .region = "us", .ttl_min = 5, .negative_ttl_min = 5};
    struct error err = ERROR_INIT;
    struct buffer bytes;
    unsigned n = 0;

    buffer_init(&bytes, RECORD_MAX_BYTES);
    while (!apply_full(world->apply)) {
        struct snapshot_record record = {.kind = SNAPSHOT_REALM};

        buffer_clear(&bytes);
        realm.number = ++n;
        realm.id.bytes[0] = 1;
        memcpy(realm.id.bytes + 12, &n, sizeof(n));
        assert_int_equal(record_encode_realm(&realm, &bytes), 0);
        record.scope = n;
        record.bytes = bytes.data;
        record.size = bytes.size;
        assert_int_equal(apply_load_record(world->apply, &record, &err), 0);
    }
    buffer_finish(&bytes);
    return n;
}

static void load_is_full_by_chunks_and_goes_on_in_order(void **state)
{
    static const uint8_t key[DIGEST_KEY_BYTES] = {1};
    struct world *world = *state;
    struct snapshot_header header = header_of(7, 0);
    struct error err = ERROR_INIT;

    assert_int_equal(apply_load_begin(world->apply, &header, key, &err), 0);
    assert_in_range(fill_with_chunks(world), 1000, 1000000);
    apply_load_abort(world->apply);
    assert_false(apply_full(world->apply));
    run_until_idle(world);
    assert_int_equal(world->failed, 0);
    assert_int_equal(world->loaded, 0);
    load_empty(world, 8); /* nothing of the aborted one is in the way */
    assert_int_equal(apply_counts(world->apply).realms, 0);
}

static void load_with_wrong_counts_fails_and_the_former_copy_stays(void **state)
{
    static const uint8_t key[DIGEST_KEY_BYTES] = {1};
    struct world *world = *state;
    struct snapshot_header header = header_of(9, 5);
    struct error err = ERROR_INIT;

    load_empty(world, 3);
    assert_int_equal(apply_load_begin(world->apply, &header, key, &err), 0);
    assert_int_equal(apply_load_end(world->apply, &err), 0);
    run_until_idle(world);
    assert_int_equal(world->failed, 1);
    assert_true(world->failed_loading);
    assert_int_equal(apply_visible(world->apply).version, 3);
    push(world, 4, 16);
    run_until_idle(world);
    assert_int_equal(world->version, 4);
}

/* ---- the guard ---- */

static struct uuid id_of(uint8_t kind, uint8_t number)
{
    return (struct uuid){{kind, [15] = number}};
}

static void add_record(struct world *world, enum snapshot_kind kind, uint32_t scope,
                       struct buffer *bytes)
{
    const struct snapshot_record record = {kind, scope, bytes->data, bytes->size};
    struct error err = ERROR_INIT;

    assert_int_equal(apply_load_record(world->apply, &record, &err), 0);
    buffer_clear(bytes);
}

/* One realm, of this number, with so many consumers, and `own` of the control plane's. */
static void load(struct world *world, const struct model_cursor *cursor, uint32_t number,
                 uint8_t consumers, uint8_t own)
{
    static const uint8_t key[DIGEST_KEY_BYTES] = {1};
    const struct model_realm realm = {.id = id_of(1, 1),
                                      .number = number,
                                      .name = "prod",
                                      .region = "us",
                                      .ttl_min = 5,
                                      .negative_ttl_min = 5};
    struct snapshot_header header = header_of(cursor->version, 1);
    struct error err = ERROR_INIT;
    struct buffer bytes;

    header.cursor = *cursor;
    header.consumers = (uint64_t)consumers + own;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    assert_int_equal(apply_load_begin(world->apply, &header, key, &err), 0);
    assert_int_equal(record_encode_realm(&realm, &bytes), 0);
    add_record(world, SNAPSHOT_REALM, number, &bytes);
    for (uint8_t i = 0; i < own + consumers; i++) {
        const struct model_consumer consumer = {.id = id_of(i < own ? 2 : 3, i), .username = "x"};

        assert_int_equal(record_encode_consumer(&consumer, &bytes), 0);
        add_record(world, SNAPSHOT_CONSUMER, i < own ? MODEL_SCOPE_CP : number, &bytes);
    }
    buffer_finish(&bytes);
    assert_int_equal(apply_load_end(world->apply, &err), 0);
    run_until_idle(world);
}

static struct model_cursor in_epoch(uint8_t epoch, uint64_t version)
{
    return (struct model_cursor){id_of(9, epoch), version};
}

static void unexplained_loss_over_the_limit_is_refused(void **state)
{
    static const struct {
        uint8_t epoch;
        uint64_t version;
        uint32_t number; /* of the same realm */
        uint8_t consumers;
        uint8_t own;
        bool refused;
    } rows[] = {
        {1, 101, 1, 0, 0, false}, /* the same history, forward */
        {1, 100, 1, 69, 10, false},
        {1, 99, 1, 69, 10, true}, /* backward */
        {1, 99, 1, 70, 10, false},
        {2, 5, 1, 69, 10, true}, /* another history */
        {2, 5, 1, 70, 7, false},
        {2, 5, 1, 100, 6, true}, /* the control plane's own are a scope too */
        {2, 5, 1, 0, 10, true},
        {2, 500, 7, 100, 10, false}, /* numbers may differ */
        {2, 500, 7, 69, 10, true},
        {2, 500, 7, 200, 20, false},
    };
    struct world *world = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct model_cursor before = in_epoch(1, 100);
        const struct model_cursor after = in_epoch(rows[i].epoch, rows[i].version);

        apply_set_guard(world->apply, 100);
        load(world, &before, 1, 100, 10);
        apply_set_guard(world->apply, 30);
        world->failed = 0;
        load(world, &after, rows[i].number, rows[i].consumers, rows[i].own);
        if (world->failed != rows[i].refused)
            fail_msg("row %zu", i);
        if (rows[i].refused)
            assert_int_equal(world->code, E_REFUSED);
        assert_int_equal(apply_visible(world->apply).version,
                         rows[i].refused ? 100 : after.version);
        assert_int_equal(apply_counts(world->apply).consumers,
                         rows[i].refused ? 110 : rows[i].consumers + rows[i].own);
    }
}

static void accepted_history_passes_and_no_other(void **state)
{
    const struct model_cursor before = in_epoch(1, 100);
    const struct model_cursor second = in_epoch(2, 5);
    const struct model_cursor third = in_epoch(3, 5);
    struct world *world = *state;

    apply_set_guard(world->apply, 0);
    load(world, &before, 1, 100, 0);
    apply_accept_epoch(world->apply, &second.epoch);
    load(world, &third, 1, 99, 0);
    assert_int_equal(world->failed, 1);
    load(world, &second, 1, 1, 0);
    assert_int_equal(world->failed, 1);
    assert_int_equal(apply_counts(world->apply).consumers, 1);
}

static void readers_are_asked_for_once_at_a_time(void **state)
{
    struct world *world = *state;

    load_empty(world, 1);
    push(world, 2, 16);
    apply_upkeep(world->apply);
    apply_upkeep(world->apply);
    run_until_idle(world);
    assert_int_equal(world->readers, 1);
    apply_upkeep(world->apply);
    run_until_idle(world);
    assert_int_equal(world->readers, 2);
    assert_in_range(world->upkeep.used_bytes, 1, world->upkeep.file_bytes);
    assert_int_equal(world->upkeep.map_bytes, 64 * (size_t)MEBIBYTE);
}

static void closing_with_a_queue_drops_it_and_finishes_what_runs(void **state)
{
    struct world *world = *state;

    load_empty(world, 1);
    for (uint64_t version = 2; version <= 50; version++)
        push(world, version, 1024);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(batch_that_does_not_fit_the_map_makes_it_larger,
                                        open_narrow_world, close_world),
        TEST(what_waits_behind_a_commit_becomes_one),
        TEST(result_stays_while_it_is_told_and_what_is_asked_meanwhile_comes_after),
        TEST(queue_is_full_by_bytes_and_empties),
        TEST(transaction_without_a_copy_fails_once_and_drops_the_rest),
        TEST(load_is_full_by_chunks_and_goes_on_in_order),
        TEST(load_with_wrong_counts_fails_and_the_former_copy_stays),
        TEST(unexplained_loss_over_the_limit_is_refused),
        TEST(accepted_history_passes_and_no_other),
        TEST(readers_are_asked_for_once_at_a_time),
        TEST(closing_with_a_queue_drops_it_and_finishes_what_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

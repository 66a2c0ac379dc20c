/* sync/session.h against a source that misbehaves: the last good state stays, the reason is told
 * once, and the session recovers. Real sockets; the sink below stands for the agent and makes
 * everything durable at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/hex.h"
#include "sync/session.h"
#include "tests/lib/fake_source.h"

#define CONTROL_PLANE "497f6eca-6276-4993-bfeb-53cbbbba6f08"
#define OTHER_PLANE   "6c1f1d3e-0000-4000-8000-00000000000b"
#define EPOCH_1       "01932f00-0000-7000-8000-000000000001"
#define EPOCH_2       "01932f00-0000-7000-8000-000000000002"
#define KEY_HEX       "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define TOKEN         "secret-token-of-this-test"

enum {
    NEWEST = 3,
    GUARD_MS = 20 * 1000,
    SNAPSHOT_KEYS = 2000,
    SNAPSHOT_MAX_BYTES = 8 * 1024 * 1024
};

/* What the source does, by number of the feed request (from 1). */
struct world;
typedef void (*feed_script)(struct world *world, unsigned nth, struct fake_reply *reply);

struct world {
    uv_loop_t loop;
    uv_async_t changed;
    uv_timer_t guard;
    bool late;
    struct fake_source *fake;
    struct fake_source *second; /* NULL: the source has one URL */
    struct http_client *http;
    struct session *session;
    bool session_closed;
    bool http_closed;

    /* The source; written by its threads under the fake's lock, read by the loop. */
    feed_script script;
    const char *epoch;
    _Atomic unsigned feeds;
    _Atomic unsigned snapshots;
    _Atomic unsigned acks;
    _Atomic uint64_t acked;
    _Atomic uint64_t verified;
    uint64_t asked;                /* version= of the last feed request; UINT64_MAX: none */
    bool authorized;               /* every request carried the token */
    _Atomic unsigned second_feeds; /* of the feeds, those that were asked of the second URL */
    bool two_urls;
    feed_script second_script;
    size_t cut; /* for scripts */
    const char *text;
    void (*snapshot_script)(struct world *world, struct fake_reply *reply);
    bool keep;                 /* what was handed over last is never durable */
    _Atomic bool told_refused; /* in the last request for the feed */
    bool deaf;                 /* knows no ranges */
    unsigned misplaced;        /* answers a range that begins so much later */
    uint64_t range_from;       /* asked for by the last request; UINT64_MAX: all */
    uint64_t size;             /* of the snapshot */
    uint64_t sent;             /* bytes of it, in all answers, before they are cut */

    /* The sink. */
    struct model_cursor durable;
    unsigned hellos;
    unsigned heartbeats;
    unsigned transactions;
    unsigned changes;
    unsigned failures;
    struct error last_error;
    enum session_state failed_during;
    uint32_t last_delay_ms;
    unsigned resyncs[SESSION_RESYNCS];
    unsigned snapshots_begun;
    unsigned snapshots_ended;
    unsigned snapshots_aborted;
    unsigned records;
    struct model_cursor loading;
    bool busy; /* something is not durable yet */
    bool full;
    unsigned full_from; /* full when so many records of a snapshot have come; 0: never by itself */
    unsigned pauses;
    bool refuse_key;
};

/* ---- the source ---- */

static void put(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct buffer *out, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    assert_int_equal(buffer_append_string(out, text), 0);
}

static void put_hello(struct buffer *out, const char *control_plane, const char *epoch,
                      unsigned protocol)
{
    put(out,
        "{\"type\":\"hello\",\"protocol\":%u,\"region\":\"us\",\"control_plane_id\":\"%s\","
        "\"epoch\":\"%s\",\"version\":%d,\"heartbeat_ms\":200,\"digest_key\":\"%s\"}\n",
        protocol, control_plane, epoch, NEWEST, KEY_HEX);
}

static void put_transaction(struct buffer *out, uint64_t prev, uint64_t version)
{
    put(out, "{\"type\":\"begin\",\"prev\":%" PRIu64 ",\"version\":%" PRIu64 ",\"time_ms\":1}\n",
        prev, version);
    put(out, "{\"type\":\"realm_delete\",\"number\":%" PRIu64 "}\n", version);
    put(out, "{\"type\":\"consumer_delete\",\"scope\":1,\"id\":\"%s\"}\n", OTHER_PLANE);
    put(out, "{\"type\":\"commit\",\"version\":%" PRIu64 ",\"changes\":2}\n", version);
}

static void put_heartbeat(struct buffer *out)
{
    put(out, "{\"type\":\"heartbeat\",\"version\":%d,\"time_ms\":1}\n", NEWEST);
}

static void put_ok(struct buffer *out)
{
    fake_head(out, "200 OK", "Content-Type: application/x-ndjson\r\n");
}

static int append(void *context, const void *bytes, size_t size)
{
    return buffer_append(context, bytes, size);
}

/* A snapshot of version 1 with keys that do not compress. */
static void make_snapshot(const char *control_plane, const char *epoch, uint32_t noise,
                          struct buffer *out)
{
    struct snapshot_header header = {.cursor.version = 1, .time_ms = 1, .keys = SNAPSHOT_KEYS};
    struct snapshot_encoder *encoder;
    uint32_t bytes[64];

    assert_true(uuid_parse(epoch, &header.cursor.epoch));
    assert_true(uuid_parse(control_plane, &header.control_plane_id));
    assert_int_equal(snapshot_encoder_create(&header, append, out, &encoder), 0);
    for (unsigned i = 0; i < SNAPSHOT_KEYS; i++) {
        struct snapshot_record record = {SNAPSHOT_KEY, 1, bytes, sizeof(bytes)};

        for (size_t j = 0; j < 64; j++)
            bytes[j] = noise = noise * 1664525 + 1013904223;
        assert_int_equal(snapshot_encoder_add(encoder, &record), 0);
    }
    assert_int_equal(snapshot_encoder_end(encoder), 0);
    snapshot_encoder_destroy(encoder);
}

/* The line that names it. */
static void put_resync(struct buffer *out, const char *epoch, const char *reason)
{
    char hash[2 * DIGEST_BYTES + 1];
    uint8_t sha256[DIGEST_BYTES];
    struct buffer body;

    buffer_init(&body, SNAPSHOT_MAX_BYTES);
    make_snapshot(CONTROL_PLANE, epoch, 1, &body);
    digest_sha256(body.data, body.size, sha256);
    hex_encode(sha256, DIGEST_BYTES, hash);
    put(out,
        "{\"type\":\"resync\",\"reason\":\"%s\",\"path\":\"/v1/sync/snapshots/%s\",\"size\":%zu,"
        "\"epoch\":\"%s\",\"version\":1}\n",
        reason, hash, body.size, epoch);
    buffer_finish(&body);
}

/* What a good source answers to the cursor that was asked with. */
static void answer_well(struct world *world, struct fake_reply *reply)
{
    put_ok(&reply->bytes);
    put_hello(&reply->bytes, CONTROL_PLANE, world->epoch, 1);
    reply->then = FAKE_HOLD;
    if (world->asked == UINT64_MAX) {
        put_resync(&reply->bytes, world->epoch, "no_cursor");
        reply->then = FAKE_CLOSE;
        return;
    }
    for (uint64_t version = world->asked + 1; version <= NEWEST; version++)
        put_transaction(&reply->bytes, version - 1, version);
    put_heartbeat(&reply->bytes);
}

static uint64_t number_after(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : UINT64_MAX;
}

/* By its Host header: "http://" stands in front of the URL. */
static bool is_for_second(const struct world *world, const struct fake_request *request)
{
    return strstr(request->head, fake_source_url(world->second) + 7) != NULL;
}

/* The whole of it, or the part that was asked for. */
static void answer_snapshot(struct world *world, struct fake_reply *reply)
{
    uint64_t from = world->deaf ? UINT64_MAX : world->range_from;
    struct buffer body;
    char head[256];

    buffer_init(&body, SNAPSHOT_MAX_BYTES);
    make_snapshot(CONTROL_PLANE, world->epoch, 1, &body);
    world->size = body.size;
    if (from == UINT64_MAX) {
        from = 0;
        fake_head(&reply->bytes, "200 OK", "Content-Type: application/vnd.realmstore.snapshot\r\n");
    } else {
        assert_true(from < body.size);
        (void)snprintf(head, sizeof(head), "Content-Range: bytes %" PRIu64 "-%zu/%zu\r\n",
                       from + world->misplaced, body.size - 1, body.size);
        fake_head(&reply->bytes, "206 Partial Content", head);
    }
    world->sent += body.size - from;
    assert_int_equal(buffer_append(&reply->bytes, body.data + from, body.size - from), 0);
    buffer_finish(&body);
}

static void respond(void *context, const struct fake_request *request, struct fake_reply *reply)
{
    struct world *world = context;

    const bool snapshot = strstr(request->target, "/v1/sync/snapshots/") == request->target;

    if (strstr(request->head, "Authorization: Bearer " TOKEN "\r\n") == NULL ||
        (!snapshot && strstr(request->target, "control_plane_id=" CONTROL_PLANE) == NULL))
        world->authorized = false;
    if (strstr(request->target, "/v1/sync/feed?") == request->target) {
        world->asked = number_after(request->target, "&version=");
        world->told_refused = strstr(request->target, "&refused=") != NULL;
        if (world->second != NULL && is_for_second(world, request))
            world->second_script(world, ++world->second_feeds, reply);
        else
            world->script(world, ++world->feeds, reply);
    } else if (snapshot) {
        world->snapshots++;
        world->range_from = number_after(request->head, "Range: bytes=");
        if (world->range_from != UINT64_MAX)
            assert_non_null(strstr(request->head, "If-Range: \""));
        if (world->snapshot_script != NULL)
            world->snapshot_script(world, reply);
        else
            answer_snapshot(world, reply);
    } else {
        world->acks++;
        world->acked = number_after(request->body, "\"version\":");
        world->verified = number_after(request->body, "\"verified\":");
        fake_head(&reply->bytes, "204 No Content", "");
    }
}

/* ---- the sink ---- */

static bool sink_cursor(void *context, struct model_cursor *ret)
{
    struct world *world = context;

    if (world->busy)
        return false;
    *ret = world->durable;
    return true;
}

static bool sink_full(void *context)
{
    struct world *world = context;

    return world->full;
}

static bool sink_hello(void *context, const struct session_hello *hello)
{
    struct world *world = context;

    world->hellos++;
    assert_int_equal(hello->heartbeat_ms, 200);
    assert_int_equal(hello->digest_key[1], 0x11);
    return !world->refuse_key;
}

static int sink_transaction(void *context, struct feed_transaction *transaction, struct error *err)
{
    struct world *world = context;

    (void)err;
    world->transactions++;
    world->changes += (unsigned)transaction->count;
    assert_true(transaction->cursor.version > world->durable.version);
    world->durable = transaction->cursor;
    feed_transaction_destroy(transaction);
    return 0;
}

static void sink_heartbeat(void *context, uint64_t version)
{
    struct world *world = context;

    assert_int_equal(version, NEWEST);
    world->heartbeats++;
}

static int sink_snapshot_begin(void *context, const struct snapshot_header *header,
                               const uint8_t digest_key[DIGEST_KEY_BYTES], struct error *err)
{
    struct world *world = context;

    (void)err;
    assert_int_equal(digest_key[1], 0x11);
    world->snapshots_begun++;
    world->records = 0;
    world->loading = header->cursor;
    return 0;
}

static int sink_snapshot_record(void *context, const struct snapshot_record *record,
                                struct error *err)
{
    struct world *world = context;

    (void)err;
    assert_int_equal(record->size, 256);
    world->records++;
    if (world->full_from > 0 && world->records >= world->full_from)
        world->full = true;
    return 0;
}

static int sink_snapshot_end(void *context, struct error *err)
{
    struct world *world = context;

    (void)err;
    world->snapshots_ended++;
    world->refuse_key = false;
    if (!world->keep)
        world->durable = world->loading;
    return 0;
}

static void sink_snapshot_abort(void *context)
{
    struct world *world = context;

    world->snapshots_aborted++;
}

static void sink_state(void *context, enum session_state state)
{
    (void)context;
    (void)state;
}

static void sink_resync(void *context, enum session_resync reason)
{
    struct world *world = context;

    world->resyncs[reason]++;
}

static void sink_failed(void *context, const struct session_failure *failure)
{
    struct world *world = context;

    world->failures++;
    world->last_error = *failure->err;
    world->failed_during = failure->during;
    world->last_delay_ms = failure->delay_ms;
    assert_true(failure->err->message[0] != 0);
    assert_null(strstr(failure->err->message, TOKEN));
}

static void sink_received(void *context, size_t bytes)
{
    (void)context;
    (void)bytes;
}

static void sink_paused(void *context)
{
    struct world *world = context;

    world->pauses++;
}

/* ---- running ---- */

static const struct session_limits quick = {
    .connect_ms = 5000,
    .hello_ms = 300,
    .failover_ms = 100,
    .silence_min_ms = 300,
    .silence_max_ms = 1000,
    .progress_ms = 400,
    .progress_bytes = 16 * 1024,
    .snapshot_wait_ms = 300,
    .ack_ms = 5000,
    .backoff_min_ms = 2,
    .backoff_max_ms = 20,
    .retry_after_max_ms = 1500,
    .stable_ms = 5000,
    .max_transaction_bytes = 1024 * 1024,
};

static void on_changed(uv_async_t *async)
{
    (void)async; /* it only makes the loop turn */
}

static void on_guard(uv_timer_t *timer)
{
    struct world *world = timer->data;

    world->late = true;
}

static void on_session_closed(void *context)
{
    struct world *world = context;

    world->session_closed = true;
}

static void on_http_closed(void *context)
{
    struct world *world = context;

    world->http_closed = true;
}

static void start(struct world *world, feed_script script, uint64_t version)
{
    struct error err = ERROR_INIT;
    struct session_sink sink = {.cursor = sink_cursor,
                                .full = sink_full,
                                .hello = sink_hello,
                                .transaction = sink_transaction,
                                .heartbeat = sink_heartbeat,
                                .snapshot_begin = sink_snapshot_begin,
                                .snapshot_record = sink_snapshot_record,
                                .snapshot_end = sink_snapshot_end,
                                .snapshot_abort = sink_snapshot_abort,
                                .state = sink_state,
                                .resync = sink_resync,
                                .failed = sink_failed,
                                .received = sink_received,
                                .paused = sink_paused,
                                .context = world};
    static const char *urls[2]; /* outlive the session: one test at a time */
    struct session_options options = {.region = "us",
                                      .host_name = "host of this test",
                                      .urls = urls,
                                      .n_urls = world->two_urls ? 2 : 1,
                                      .credentials = {.token = TOKEN},
                                      .limits = quick};

    world->script = script;
    world->authorized = true;
    if (world->epoch == NULL)
        world->epoch = EPOCH_1;
    if (version > 0) {
        assert_true(uuid_parse(EPOCH_1, &world->durable.epoch));
        world->durable.version = version;
    }
    assert_int_equal(uv_loop_init(&world->loop), 0);
    assert_int_equal(uv_async_init(&world->loop, &world->changed, on_changed), 0);
    assert_int_equal(uv_timer_init(&world->loop, &world->guard), 0);
    world->guard.data = world;
    world->fake = fake_source_start(respond, world, &world->changed);
    urls[0] = fake_source_url(world->fake);
    if (world->two_urls) {
        world->second = fake_source_start(respond, world, &world->changed);
        urls[1] = fake_source_url(world->second);
    }
    options.loop = &world->loop;
    assert_true(uuid_parse(CONTROL_PLANE, &options.control_plane_id));
    assert_int_equal(http_client_create(&world->loop, &world->http, &err), 0);
    options.http = world->http;
    assert_int_equal(session_create(&options, &sink, &world->session, &err), 0);
    session_start(world->session);
}

static void run_until(struct world *world, bool (*condition)(const struct world *world))
{
    world->late = false;
    assert_int_equal(uv_timer_start(&world->guard, on_guard, GUARD_MS, 0), 0);
    while (!condition(world)) {
        (void)uv_run(&world->loop, UV_RUN_ONCE);
        if (world->late)
            fail_msg("not within %d ms; %u failures, last: %s", GUARD_MS, world->failures,
                     world->last_error.message);
    }
    assert_int_equal(uv_timer_stop(&world->guard), 0);
}

static bool is_session_closed(const struct world *world)
{
    return world->session_closed;
}

static void finish(struct world *world)
{
    session_close(world->session, on_session_closed, world);
    run_until(world, is_session_closed);
    http_client_close(world->http, on_http_closed, world);
    fake_source_stop(world->fake);
    if (world->second != NULL)
        fake_source_stop(world->second);
    uv_close((uv_handle_t *)&world->changed, NULL);
    uv_close((uv_handle_t *)&world->guard, NULL);
    assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
    assert_true(world->http_closed);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    assert_true(world->authorized);
    assert_int_equal(world->snapshots_begun, world->snapshots_ended + world->snapshots_aborted);
}

static bool is_current(const struct world *world)
{
    return world->durable.version == NEWEST && world->heartbeats > 0;
}

static bool is_streaming(const struct world *world)
{
    return world->heartbeats > 0;
}

static bool has_failed(const struct world *world)
{
    return world->failures > 0;
}

/* ---- scripts ---- */

static void always_well(struct world *world, unsigned nth, struct fake_reply *reply)
{
    (void)nth;
    answer_well(world, reply);
}

/* The first answer is cut at a byte, the others are good. */
static void cut_first(struct world *world, unsigned nth, struct fake_reply *reply)
{
    answer_well(world, reply);
    if (nth > 1)
        return;
    if (world->cut < reply->bytes.size)
        reply->bytes.size = world->cut;
    reply->then = world->cut % 2 == 0 ? FAKE_CLOSE : FAKE_RESET;
}

/* The first answer is world->text after the head, the others are good. */
static void text_first(struct world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth > 1) {
        answer_well(world, reply);
        return;
    }
    put_ok(&reply->bytes);
    put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_1, 1);
    assert_int_equal(buffer_append_string(&reply->bytes, world->text), 0);
    reply->then = FAKE_HOLD;
}

/* The first answer is world->text from the status line on. */
static void raw_first(struct world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth > 1) {
        answer_well(world, reply);
        return;
    }
    assert_int_equal(buffer_append_string(&reply->bytes, world->text), 0);
    reply->then = FAKE_CLOSE;
}

/* ---- tests ---- */

static void session_catches_up_from_its_cursor(void **state)
{
    struct world world = {.late = false};

    (void)state;
    start(&world, always_well, 1);
    run_until(&world, is_current);
    assert_int_equal(world.transactions, 2);
    assert_int_equal(world.changes, 4);
    assert_int_equal(world.failures, 0);
    assert_int_equal(world.snapshots, 0);
    finish(&world);
}

static void session_without_a_cursor_takes_a_snapshot_first(void **state)
{
    struct world world = {.late = false};

    (void)state;
    start(&world, always_well, 0);
    run_until(&world, is_current);
    assert_int_equal(world.resyncs[SESSION_RESYNC_NO_CURSOR], 1);
    assert_int_equal(world.snapshots_ended, 1);
    assert_int_equal(world.records, SNAPSHOT_KEYS);
    assert_int_equal(world.transactions, 2);
    assert_int_equal(world.failures, 0);
    finish(&world);
}

static void feed_broken_off_at_any_byte_is_resumed(void **state)
{
    size_t whole = 1200; /* more than a good answer has */

    (void)state;
    for (size_t cut = 0; cut < whole; cut++) {
        struct world world = {.cut = cut};

        start(&world, cut_first, 1);
        run_until(&world, is_current);
        run_until(&world, has_failed);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.transactions, 2);
        assert_int_equal(world.snapshots, 0);
        finish(&world);
    }
}

static void assert_text_fails(const char *text, int code, enum session_resync resync)
{
    struct world world = {.text = text};

    start(&world, text_first, 1);
    run_until(&world, is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, code);
    assert_int_equal(world.failed_during, SESSION_STREAMING);
    assert_int_equal(world.transactions, 2);
    for (int i = 0; i < SESSION_RESYNCS; i++)
        assert_int_equal(world.resyncs[i], i == (int)resync);
    finish(&world);
}

#define BEGIN(prev, version)                                                                       \
    "{\"type\":\"begin\",\"prev\":" #prev ",\"version\":" #version ",\"time_ms\":1}\n"
#define CHANGE       "{\"type\":\"realm_delete\",\"number\":1}\n"
#define LATER_CHANGE "{\"type\":\"consumer_delete\",\"scope\":1,\"id\":\"" OTHER_PLANE "\"}\n"
#define COMMIT(version, changes)                                                                   \
    "{\"type\":\"commit\",\"version\":" #version ",\"changes\":" #changes "}\n"
#define HEARTBEAT(version) "{\"type\":\"heartbeat\",\"version\":" #version ",\"time_ms\":1}\n"

static void lines_out_of_place_drop_the_open_transaction(void **state)
{
    static const char *const texts[] = {
        BEGIN(1, 2) BEGIN(1, 2),
        COMMIT(2, 0),
        CHANGE,
        BEGIN(1, 2) HEARTBEAT(3),
        BEGIN(1, 2) CHANGE "{\"type\":\"resync\",\"reason\":\"too_old\"}\n",
        BEGIN(1, 2) CHANGE COMMIT(2, 2),
        BEGIN(1, 2) CHANGE COMMIT(2, 0),
        BEGIN(1, 2) CHANGE COMMIT(3, 1),
        BEGIN(1, 2) LATER_CHANGE CHANGE COMMIT(2, 2),
        BEGIN(1, 1) COMMIT(1, 0),
        BEGIN(1, 0) COMMIT(0, 0),
        HEARTBEAT(0),
        "{\"type\":\"later\"}\n",
        "\n",
        "rubbish\n",
        "{\"type\":\"heartbeat\",\"version\":3,\n",
        "{\"type\":\"hello\"}\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_text_fails(texts[i], E_PROTOCOL, SESSION_RESYNC_NONE);
}

static void skipped_or_repeated_version_is_a_gap_and_the_feed_resumed(void **state)
{
    (void)state;
    assert_text_fails(BEGIN(2, 3) CHANGE COMMIT(3, 1), E_RESYNC, SESSION_RESYNC_NONE);
    assert_text_fails(BEGIN(0, 1) CHANGE COMMIT(1, 1), E_RESYNC, SESSION_RESYNC_NONE);
}

static void gap_always(struct world *world, unsigned nth, struct fake_reply *reply)
{
    (void)nth;
    if (world->snapshots > 0 || world->asked == UINT64_MAX) {
        answer_well(world, reply);
        return;
    }
    put_ok(&reply->bytes);
    put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_1, 1);
    put_transaction(&reply->bytes, 0, 2);
    reply->then = FAKE_HOLD;
}

static void gap_that_repeats_asks_for_a_snapshot(void **state)
{
    struct world world = {.late = false};

    (void)state;
    start(&world, gap_always, 1);
    world.durable.version = 1;
    run_until(&world, is_current);
    assert_int_equal(world.failures, 2);
    assert_int_equal(world.resyncs[SESSION_RESYNC_GAP], 1);
    assert_int_equal(world.snapshots_ended, 1);
    finish(&world);
}

static void transaction_over_the_limit_asks_for_a_snapshot(void **state)
{
    struct world world = {.late = false};
    struct buffer text;

    (void)state;
    buffer_init(&text, 64 * 1024 * 1024);
    assert_int_equal(buffer_append_string(&text, BEGIN(1, 2)), 0);
    for (unsigned i = 0; i < 30000; i++)
        assert_int_equal(buffer_append_string(&text, CHANGE), 0);
    assert_int_equal(buffer_append_string(&text, COMMIT(2, 30000)), 0);
    assert_int_equal(buffer_terminate(&text), 0);
    world.text = (const char *)text.data;
    start(&world, text_first, 1);
    run_until(&world, is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, E_TOO_LARGE);
    assert_int_equal(world.resyncs[SESSION_RESYNC_TOO_LARGE], 1);
    finish(&world);
    buffer_finish(&text);
}

static void huge_line_first(struct world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth > 1) {
        answer_well(world, reply);
        return;
    }
    put_ok(&reply->bytes);
    put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_1, 1);
    assert_int_equal(buffer_append_zero(&reply->bytes, 32 * 1024 * 1024, NULL), 0);
    reply->then = FAKE_HOLD;
}

static void line_without_end_is_refused_at_its_limit(void **state)
{
    struct world world = {.late = false};

    (void)state;
    start(&world, huge_line_first, 1);
    run_until(&world, is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, E_PROTOCOL);
    assert_non_null(strstr(world.last_error.message, "longer than"));
    finish(&world);
}

static void hello_first(struct world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth > 1) {
        answer_well(world, reply);
        return;
    }
    put_ok(&reply->bytes);
    if (world->cut == 0)
        put_hello(&reply->bytes, OTHER_PLANE, EPOCH_1, 1);
    else if (world->cut == 1)
        put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_1, 2);
    else if (world->cut == 2)
        put_heartbeat(&reply->bytes);
    else
        put(&reply->bytes, "{\"type\":\"hello\",\"protocol\":1,\"region\":\"eu\","
                           "\"control_plane_id\":\"" CONTROL_PLANE "\",\"epoch\":\"" EPOCH_1 "\","
                           "\"version\":3,\"heartbeat_ms\":200,\"digest_key\":\"" KEY_HEX "\"}\n");
    reply->then = FAKE_HOLD;
}

static void hello_of_another_plane_protocol_or_region_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct world world = {.cut = i};

        start(&world, hello_first, 1);
        run_until(&world, is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.last_error.code, E_PROTOCOL);
        assert_int_equal(world.failed_during, SESSION_CONNECTING);
        assert_int_equal(world.hellos, 1);
        finish(&world);
    }
}

static void assert_status_fails(const char *text, int code, const char *says)
{
    struct world world = {.text = text};

    start(&world, raw_first, 1);
    run_until(&world, is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, code);
    if (strstr(world.last_error.message, says) == NULL)
        fail_msg("\"%s\" is not in: %s", says, world.last_error.message);
    finish(&world);
}

static void refusals_are_told_with_the_reason_of_the_source(void **state)
{
    (void)state;
    assert_status_fails("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"
                        "Content-Length: 0\r\n\r\n",
                        E_PROTOCOL, "redirect (302)");
    assert_status_fails("HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\n"
                        "Connection: close\r\n\r\n"
                        "{\"status\":401,\"title\":\"Unauthorized\",\"detail\":\"no such token\"}",
                        E_UNAUTHORIZED, "answered 401: no such token");
    assert_status_fails("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nnot JSON",
                        E_UNAUTHORIZED, "answered 403");
    assert_status_fails("HTTP/1.1 410 Gone\r\nConnection: close\r\n\r\n", E_PROTOCOL,
                        "answered 410");
    assert_status_fails("HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n",
                        E_NETWORK, "answered 500");
    assert_status_fails("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n", E_NETWORK,
                        "answered 503");
    assert_status_fails("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", E_NETWORK,
                        "ended the feed");
    assert_status_fails("SSH-2.0-OpenSSH_9.2p1\r\n", E_PROTOCOL, "HTTP/0.9");
    assert_status_fails("", E_NETWORK, "");
}

struct stranger {
    _Atomic unsigned asked;
};

static void note_strayed(void *context, const struct fake_request *request,
                         struct fake_reply *reply)
{
    struct stranger *stranger = context;

    (void)request;
    stranger->asked++;
    fake_head(&reply->bytes, "200 OK", "");
}

/* Every kind of redirect, to another host's open port: no request, and so no token, gets there. */
static void token_follows_no_redirect(void **state)
{
    static const char *const kinds[] = {"301 Moved Permanently", "302 Found", "303 See Other",
                                        "307 Temporary Redirect", "308 Permanent Redirect"};
    struct stranger stranger = {0};
    struct fake_source *fake = fake_source_start(note_strayed, &stranger, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char text[256];

        (void)snprintf(text, sizeof(text),
                       "HTTP/1.1 %s\r\nLocation: %s/v1/sync/feed\r\nContent-Length: 0\r\n\r\n",
                       kinds[i], fake_source_url(fake));
        assert_status_fails(text, E_PROTOCOL, "redirect");
    }
    assert_int_equal(stranger.asked, 0);
    fake_source_stop(fake);
}

static void retry_after_is_heeded_up_to_its_limit(void **state)
{
    struct world world = {.text = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\n"
                                  "Connection: close\r\n\r\n"};

    (void)state;
    start(&world, raw_first, 1);
    run_until(&world, has_failed);
    assert_in_range(world.last_delay_ms, quick.retry_after_max_ms,
                    quick.retry_after_max_ms + quick.backoff_max_ms);
    run_until(&world, is_current);
    finish(&world);
}

/* ---- several URLs ---- */

static void raw_always(struct world *world, unsigned nth, struct fake_reply *reply)
{
    (void)nth;
    assert_int_equal(buffer_append_string(&reply->bytes, world->text), 0);
    reply->then = world->text[0] != 0 ? FAKE_CLOSE : FAKE_HOLD;
}

/* A first URL that refuses, asks for an hour's patience, is silent: the second one takes over
 * without waiting for what was meant for the first. */
static void next_url_takes_over_whatever_the_first_one_says(void **state)
{
    static const char *const texts[] = {
        "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 410 Gone\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nConnection: close\r\n\r\n",
        "",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct world world = {.two_urls = true, .text = texts[i], .second_script = always_well};

        start(&world, raw_always, 1);
        run_until(&world, is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.feeds, 1);
        assert_int_equal(world.second_feeds, 1);
        assert_in_range(world.last_delay_ms, 0, quick.backoff_min_ms);
        finish(&world);
    }
}

static void hold_well(struct world *world, unsigned nth, struct fake_reply *reply)
{
    answer_well(world, reply);
    reply->then = nth == 1 ? FAKE_HOLD : FAKE_CLOSE;
}

/* The first one streams, then falls silent; the second one goes on from the cursor. */
static void silent_stream_is_gone_on_with_at_the_next_url(void **state)
{
    struct world world = {.two_urls = true, .second_script = always_well};

    (void)state;
    start(&world, hold_well, 1);
    run_until(&world, is_current);
    run_until(&world, has_failed);
    assert_int_equal(world.last_error.code, E_TIMEOUT);
    world.heartbeats = 0;
    run_until(&world, is_streaming);
    assert_int_equal(world.asked, NEWEST);
    assert_int_equal(world.second_feeds, 1);
    assert_int_equal(world.snapshots, 0);
    finish(&world);
}

static void stall_first(struct world *world, unsigned nth, struct fake_reply *reply)
{
    answer_well(world, reply);
    if (nth > 1)
        return;
    reply->then = FAKE_HOLD;
    reply->bytes.size = world->cut < reply->bytes.size ? world->cut : reply->bytes.size;
}

static void silence_is_a_dead_source_before_and_after_the_hello(void **state)
{
    static const size_t cuts[] = {0, 40, 90, 500};

    (void)state;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct world world = {.cut = cuts[i]};

        start(&world, stall_first, 1);
        run_until(&world, is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.last_error.code, E_TIMEOUT);
        finish(&world);
    }
}

static void drip_first(struct world *world, unsigned nth, struct fake_reply *reply)
{
    if (nth > 1) {
        answer_well(world, reply);
        return;
    }
    put_ok(&reply->bytes);
    put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_1, 1);
    put_transaction(&reply->bytes, 1, 2);
    reply->drip_ms = world->cut == 0 ? 10 : 0;
    if (world->cut != 0) { /* a quick hello, then spaces for ever */
        assert_int_equal(buffer_append_zero(&reply->bytes, 1, NULL), 0);
        reply->then = FAKE_HOLD;
    }
}

static void source_that_drips_its_hello_times_out(void **state)
{
    struct world world = {.cut = 0};

    (void)state;
    start(&world, drip_first, 1);
    run_until(&world, is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, E_TIMEOUT);
    finish(&world);
}

static void unknown_epoch_resync(struct world *world, unsigned nth, struct fake_reply *reply)
{
    world->epoch = EPOCH_2;
    if (nth > 1) {
        answer_well(world, reply);
        return;
    }
    put_ok(&reply->bytes);
    put_hello(&reply->bytes, CONTROL_PLANE, EPOCH_2, 1);
    if (world->cut == 0)
        put_resync(&reply->bytes, EPOCH_2, "unknown_epoch");
    else
        put_transaction(&reply->bytes, 1, 2);
}

static void restored_source_with_a_new_epoch_is_copied_anew(void **state)
{
    struct world world = {.cut = 0};
    struct uuid epoch;

    (void)state;
    start(&world, unknown_epoch_resync, 2);
    run_until(&world, is_current);
    assert_int_equal(world.resyncs[SESSION_RESYNC_UNKNOWN_EPOCH], 1);
    assert_int_equal(world.failures, 0);
    assert_true(uuid_parse(EPOCH_2, &epoch));
    assert_true(uuid_equal(&world.durable.epoch, &epoch));
    finish(&world);
}

static void changes_of_another_epoch_are_never_applied(void **state)
{
    struct world world = {.cut = 1};

    (void)state;
    start(&world, unknown_epoch_resync, 1);
    run_until(&world, has_failed);
    assert_int_equal(world.last_error.code, E_RESYNC);
    assert_int_equal(world.transactions, 0);
    assert_int_equal(world.durable.version, 1);
    finish(&world);
}

static void other_digest_key_in_the_same_epoch_is_copied_anew(void **state)
{
    struct world world = {.refuse_key = true};

    (void)state;
    start(&world, always_well, 2);
    run_until(&world, is_current);
    assert_int_equal(world.resyncs[SESSION_RESYNC_DIGEST_KEY], 1);
    assert_int_equal(world.snapshots_ended, 1);
    finish(&world);
}

static void resync_for_ever(struct world *world, unsigned nth, struct fake_reply *reply)
{
    (void)nth;
    put_ok(&reply->bytes);
    put_hello(&reply->bytes, CONTROL_PLANE, world->epoch, 1);
    put_resync(&reply->bytes, world->epoch, "too_old");
}

static bool has_failed_3_times(const struct world *world)
{
    return world->failures >= 3;
}

static void snapshots_that_do_not_help_are_not_taken_in_a_tight_loop(void **state)
{
    struct world world = {.late = false};

    (void)state;
    start(&world, resync_for_ever, 0);
    run_until(&world, has_failed_3_times);
    assert_int_equal(world.last_error.code, E_RESYNC);
    assert_in_range(world.snapshots, 3, 4);
    finish(&world);
}

/* ---- snapshots ---- */

static void snapshot_cut(struct world *world, struct fake_reply *reply)
{
    answer_snapshot(world, reply);
    if (world->snapshots > 1 || world->cut >= reply->bytes.size)
        return;
    reply->bytes.size -= world->cut;
    world->sent -= world->cut;
}

static void snapshot_cut_anywhere_goes_on_from_there(void **state)
{
    static const size_t cuts[] = {1, 2, 4, 5, 100, 20000, 300000, 500000};

    (void)state;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct world world = {.cut = cuts[i], .snapshot_script = snapshot_cut};

        start(&world, always_well, 0);
        run_until(&world, is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.failed_during, SESSION_SNAPSHOT);
        assert_int_equal(world.snapshots, 2);
        assert_int_equal(world.snapshots_begun, 1);
        assert_int_equal(world.snapshots_ended, 1);
        assert_int_equal(world.records, SNAPSHOT_KEYS);
        assert_int_equal(world.sent, world.size); /* each byte once */
        finish(&world);
    }
}

static void server_without_ranges_sends_it_again_and_nothing_is_taken_twice(void **state)
{
    struct world world = {.cut = 300000, .snapshot_script = snapshot_cut, .deaf = true};

    (void)state;
    start(&world, always_well, 0);
    run_until(&world, is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.snapshots_begun, 1);
    assert_int_equal(world.records, SNAPSHOT_KEYS);
    finish(&world);
}

static void snapshot_misplaced(struct world *world, struct fake_reply *reply)
{
    world->misplaced = world->snapshots == 2;
    snapshot_cut(world, reply);
}

static void range_that_leaves_a_hole_is_refused(void **state)
{
    struct world world = {.cut = 300000, .snapshot_script = snapshot_misplaced};

    (void)state;
    start(&world, always_well, 0);
    run_until(&world, is_current);
    assert_int_equal(world.failures, 2);
    assert_int_equal(world.last_error.code, E_PROTOCOL);
    assert_int_equal(world.snapshots_begun, 2);
    finish(&world);
}

static void snapshot_gone(struct world *world, struct fake_reply *reply)
{
    if (world->snapshots == 2)
        fake_head(&reply->bytes, "404 Not Found", "");
    else
        snapshot_cut(world, reply);
}

static void snapshot_removed_while_it_was_fetched_is_asked_for_anew(void **state)
{
    struct world world = {.cut = 300000, .snapshot_script = snapshot_gone};

    (void)state;
    start(&world, always_well, 0);
    run_until(&world, is_current);
    assert_int_equal(world.failures, 2);
    assert_int_equal(world.last_error.code, E_NOT_FOUND);
    assert_int_equal(world.snapshots, 3);
    assert_int_equal(world.snapshots_begun, 2);
    assert_int_equal(world.records, SNAPSHOT_KEYS);
    finish(&world);
}

static void snapshot_damaged(struct world *world, struct fake_reply *reply)
{
    answer_snapshot(world, reply);
    if (world->snapshots == 1)
        reply->bytes.data[reply->bytes.size - world->cut] ^= 1;
}

static void snapshot_with_a_flipped_bit_is_refused(void **state)
{
    static const size_t places[] = {1, 3, 100, 300000, 500000};

    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct world world = {.cut = places[i], .snapshot_script = snapshot_damaged};

        start(&world, always_well, 0);
        run_until(&world, is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.last_error.code, E_PROTOCOL);
        assert_int_equal(world.snapshots_ended, 1);
        finish(&world);
    }
}

static void snapshot_in_gzip(struct world *world, struct fake_reply *reply)
{
    static const unsigned char gzip[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0};

    if (world->snapshots > 1) {
        answer_snapshot(world, reply);
        return;
    }
    fake_head(&reply->bytes, "200 OK", "");
    assert_int_equal(buffer_append(&reply->bytes, gzip, sizeof(gzip)), 0);
}

static void snapshot_with_the_wrong_compression_is_refused(void **state)
{
    struct world world = {.snapshot_script = snapshot_in_gzip};

    (void)state;
    start(&world, always_well, 0);
    run_until(&world, is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, E_PROTOCOL);
    assert_int_equal(world.snapshots_begun, 1);
    finish(&world);
}

static void snapshot_too_long(struct world *world, struct fake_reply *reply)
{
    answer_snapshot(world, reply);
    if (world->snapshots == 1)
        put(&reply->bytes, "more");
}

static void snapshot_longer_than_announced_is_refused(void **state)
{
    struct world world = {.snapshot_script = snapshot_too_long};

    (void)state;
    start(&world, always_well, 0);
    run_until(&world, is_current);
    assert_int_equal(world.failures, 1);
    assert_int_equal(world.last_error.code, E_PROTOCOL);
    finish(&world);
}

static void snapshot_stall(struct world *world, struct fake_reply *reply)
{
    snapshot_cut(world, reply);
    if (world->snapshots == 1)
        reply->then = FAKE_HOLD;
}

static void snapshot_that_stalls_times_out(void **state)
{
    static const size_t cuts[] = {1, 300000};

    (void)state;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct world world = {.cut = cuts[i], .snapshot_script = snapshot_stall};

        start(&world, always_well, 0);
        run_until(&world, is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.last_error.code, E_TIMEOUT);
        finish(&world);
    }
}

static void snapshot_wrong(struct world *world, struct fake_reply *reply)
{
    struct buffer body;

    if (world->snapshots > 1) {
        answer_snapshot(world, reply);
        return;
    }
    buffer_init(&body, SNAPSHOT_MAX_BYTES);
    make_snapshot(world->cut == 0 ? OTHER_PLANE : CONTROL_PLANE,
                  world->cut == 1 ? EPOCH_2 : EPOCH_1, world->cut == 2 ? 2 : 1, &body);
    fake_head(&reply->bytes, "200 OK", "");
    assert_int_equal(buffer_append(&reply->bytes, body.data, body.size), 0);
    buffer_finish(&body);
}

static void snapshot_of_another_plane_history_or_content_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct world world = {.cut = i, .snapshot_script = snapshot_wrong};

        start(&world, always_well, 0);
        run_until(&world, is_current);
        assert_int_equal(world.failures, 1);
        assert_int_equal(world.last_error.code, E_PROTOCOL);
        assert_int_equal(world.snapshots_begun, i == 2 ? 2 : 1);
        assert_int_equal(world.snapshots_ended, 1);
        finish(&world);
    }
}

/* ---- back-pressure, acknowledgements, rejection, closing ---- */

static bool has_paused(const struct world *world)
{
    return world->pauses > 0;
}

static void full_sink_pauses_the_feed_without_loss(void **state)
{
    struct world world = {.full = true};

    (void)state;
    start(&world, always_well, 1);
    run_until(&world, has_paused);
    assert_int_equal(world.hellos, 0);
    world.full = false;
    session_resume(world.session);
    run_until(&world, is_current);
    assert_int_equal(world.transactions, 2);
    assert_int_equal(world.failures, 0);
    finish(&world);
}

static bool snapshot_is_under_way(const struct world *world)
{
    return world->snapshots_begun > 0;
}

static void full_sink_pauses_a_snapshot_without_loss(void **state)
{
    struct world world = {.full_from = 1};

    (void)state;
    start(&world, always_well, 0);
    for (unsigned i = 0; i < 3; i++) {
        unsigned before = world.records;

        world.pauses = 0;
        run_until(&world, has_paused);
        assert_true(world.records > before); /* it went on when it was told to */
        assert_true(world.records < SNAPSHOT_KEYS);
        assert_int_equal(world.snapshots_ended, 0);
        world.full_from = world.records + 1;
        world.full = false;
        session_resume(world.session);
    }
    world.full_from = 0;
    world.full = false;
    session_resume(world.session);
    run_until(&world, is_current);
    assert_int_equal(world.records, SNAPSHOT_KEYS);
    assert_int_equal(world.failures, 0);
    finish(&world);
}

static bool has_acked_newest(const struct world *world)
{
    return world->acked == NEWEST;
}

static void applied_version_is_acknowledged(void **state)
{
    struct world world = {.acked = 0};

    (void)state;
    start(&world, always_well, 1);
    run_until(&world, is_current);
    session_ack(world.session, &world.durable, 0);
    run_until(&world, has_acked_newest);
    session_ack(world.session, &world.durable, 0);
    assert_int_equal(world.acks, 1);
    finish(&world);
}

static bool has_said_verified(const struct world *world)
{
    return world->acked == NEWEST && world->verified == NEWEST;
}

static bool has_taken_it_back(const struct world *world)
{
    return world->acked == NEWEST && world->verified == 0;
}

static void what_was_verified_is_told_and_taken_back_at_the_same_version(void **state)
{
    struct world world = {.acked = 0};

    (void)state;
    start(&world, always_well, 1);
    run_until(&world, is_current);
    session_ack(world.session, &world.durable, NEWEST);
    run_until(&world, has_said_verified);
    session_ack(world.session, &world.durable, 0);
    run_until(&world, has_taken_it_back);
    finish(&world);
}

static void session_waits_for_a_busy_sink_before_it_connects(void **state)
{
    struct world world = {.busy = true};

    (void)state;
    start(&world, always_well, 1);
    assert_int_equal(session_state(world.session), SESSION_DRAINING);
    session_resume(world.session);
    assert_int_equal(session_state(world.session), SESSION_DRAINING);
    assert_int_equal(world.feeds, 0);
    world.busy = false;
    session_resume(world.session);
    run_until(&world, is_current);
    finish(&world);
}

static bool has_snapshot(const struct world *world)
{
    return world->snapshots_ended > 0 && world->durable.version == NEWEST;
}

static void rejected_by_the_store_starts_over_with_a_snapshot(void **state)
{
    struct world world = {.late = false};
    struct error err = {E_MISSING_REFERENCE, NULL, "a key of an unknown consumer"};

    (void)state;
    start(&world, always_well, 2);
    run_until(&world, is_current);
    world.durable.version = 2; /* as if the last transaction had not gone through */
    session_reject(world.session, &err, SESSION_RESYNC_STORE);
    assert_int_equal(session_state(world.session), SESSION_BACKOFF);
    run_until(&world, has_snapshot);
    assert_int_equal(world.resyncs[SESSION_RESYNC_STORE], 1);
    assert_int_equal(world.failures, 1);
    finish(&world);
}

static bool has_begun_a_snapshot_and_ended_it(const struct world *world)
{
    return world->snapshots_ended > 0;
}

static bool has_refused_three_times(const struct world *world)
{
    return world->failures >= 4;
}

static void refused_snapshot_is_not_fetched_again_until_it_is_accepted(void **state)
{
    struct world world = {.keep = true};
    struct error err = {E_REFUSED, NULL, "it would drop too much"};

    (void)state;
    start(&world, always_well, 0);
    run_until(&world, has_begun_a_snapshot_and_ended_it);
    session_refuse(world.session, &err);
    assert_false(world.told_refused);
    run_until(&world, has_refused_three_times);
    assert_int_equal(world.snapshots, 1);
    assert_int_equal(world.last_error.code, E_REFUSED);
    assert_true(world.told_refused);
    world.keep = false;
    session_accept(world.session);
    run_until(&world, is_current);
    assert_int_equal(world.snapshots, 2);
    assert_false(world.told_refused);
    finish(&world);
}

static bool is_connecting(const struct world *world)
{
    return session_state(world->session) == SESSION_CONNECTING;
}

static void session_closes_in_every_state(void **state)
{
    static bool (*const conditions[])(const struct world *) = {is_connecting, is_streaming,
                                                               has_failed, snapshot_is_under_way};
    static const feed_script scripts[] = {always_well, always_well, cut_first, always_well};
    static const uint64_t versions[] = {1, 1, 1, 0};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct world world = {.cut = 1};

        start(&world, scripts[i], versions[i]);
        run_until(&world, conditions[i]);
        finish(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session_catches_up_from_its_cursor),
        cmocka_unit_test(session_without_a_cursor_takes_a_snapshot_first),
        cmocka_unit_test(feed_broken_off_at_any_byte_is_resumed),
        cmocka_unit_test(lines_out_of_place_drop_the_open_transaction),
        cmocka_unit_test(skipped_or_repeated_version_is_a_gap_and_the_feed_resumed),
        cmocka_unit_test(gap_that_repeats_asks_for_a_snapshot),
        cmocka_unit_test(transaction_over_the_limit_asks_for_a_snapshot),
        cmocka_unit_test(line_without_end_is_refused_at_its_limit),
        cmocka_unit_test(hello_of_another_plane_protocol_or_region_is_refused),
        cmocka_unit_test(refusals_are_told_with_the_reason_of_the_source),
        cmocka_unit_test(token_follows_no_redirect),
        cmocka_unit_test(retry_after_is_heeded_up_to_its_limit),
        cmocka_unit_test(next_url_takes_over_whatever_the_first_one_says),
        cmocka_unit_test(silent_stream_is_gone_on_with_at_the_next_url),
        cmocka_unit_test(silence_is_a_dead_source_before_and_after_the_hello),
        cmocka_unit_test(source_that_drips_its_hello_times_out),
        cmocka_unit_test(restored_source_with_a_new_epoch_is_copied_anew),
        cmocka_unit_test(changes_of_another_epoch_are_never_applied),
        cmocka_unit_test(other_digest_key_in_the_same_epoch_is_copied_anew),
        cmocka_unit_test(snapshots_that_do_not_help_are_not_taken_in_a_tight_loop),
        cmocka_unit_test(snapshot_cut_anywhere_goes_on_from_there),
        cmocka_unit_test(server_without_ranges_sends_it_again_and_nothing_is_taken_twice),
        cmocka_unit_test(range_that_leaves_a_hole_is_refused),
        cmocka_unit_test(snapshot_removed_while_it_was_fetched_is_asked_for_anew),
        cmocka_unit_test(snapshot_with_a_flipped_bit_is_refused),
        cmocka_unit_test(snapshot_with_the_wrong_compression_is_refused),
        cmocka_unit_test(snapshot_longer_than_announced_is_refused),
        cmocka_unit_test(snapshot_that_stalls_times_out),
        cmocka_unit_test(snapshot_of_another_plane_history_or_content_is_refused),
        cmocka_unit_test(full_sink_pauses_the_feed_without_loss),
        cmocka_unit_test(full_sink_pauses_a_snapshot_without_loss),
        cmocka_unit_test(applied_version_is_acknowledged),
        cmocka_unit_test(what_was_verified_is_told_and_taken_back_at_the_same_version),
        cmocka_unit_test(session_waits_for_a_busy_sink_before_it_connects),
        cmocka_unit_test(rejected_by_the_store_starts_over_with_a_snapshot),
        cmocka_unit_test(refused_snapshot_is_not_fetched_again_until_it_is_accepted),
        cmocka_unit_test(session_closes_in_every_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

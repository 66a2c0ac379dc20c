#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/hex.h"
#include "tests/lib/session_world.h"

/* ---- the source ---- */

void source_put(struct buffer *out, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    assert_int_equal(buffer_append_string(out, text), 0);
}

static void put_hello(struct buffer *out, const char *control_plane, const char *epoch,
                      unsigned protocol, uint32_t heartbeat_ms, const char *more)
{
    source_put(out,
               "{\"type\":\"hello\",\"protocol\":%u,\"region\":\"us\",\"control_plane_id\":\"%s\","
               "\"epoch\":\"%s\",\"version\":%d,\"heartbeat_ms\":%u,\"digest_key\":\"%s\"%s}\n",
               protocol, control_plane, epoch, NEWEST, heartbeat_ms, KEY_HEX,
               more != NULL ? more : "");
}

void source_put_hello(struct buffer *out, const char *control_plane, const char *epoch,
                      unsigned protocol)
{
    put_hello(out, control_plane, epoch, protocol, HEARTBEAT_MS, NULL);
}

void source_put_transaction(struct buffer *out, uint64_t prev, uint64_t version)
{
    source_put(out,
               "{\"type\":\"begin\",\"prev\":%" PRIu64 ",\"version\":%" PRIu64 ",\"time_ms\":1}\n",
               prev, version);
    source_put(out, "{\"type\":\"realm_delete\",\"number\":%" PRIu64 "}\n", version);
    source_put(out, "{\"type\":\"consumer_delete\",\"scope\":1,\"id\":\"%s\"}\n", OTHER_PLANE);
    source_put(out, "{\"type\":\"commit\",\"version\":%" PRIu64 ",\"changes\":2}\n", version);
}

static void put_heartbeat(struct buffer *out, bool acknowledge, const char *more)
{
    source_put(out, "{\"type\":\"heartbeat\",\"version\":%d,\"time_ms\":1%s%s}\n", NEWEST,
               acknowledge ? ",\"acknowledge\":true" : "", more != NULL ? more : "");
}

void source_put_heartbeat(struct buffer *out)
{
    put_heartbeat(out, false, NULL);
}

static uint32_t heartbeat_ms(const struct session_world *world)
{
    return world->heartbeat_ms != 0 ? world->heartbeat_ms : HEARTBEAT_MS;
}

void source_put_ok(struct buffer *out)
{
    fake_head(out, "200 OK", "Content-Type: application/x-ndjson\r\n");
}

static int append(void *context, const void *bytes, size_t size)
{
    return buffer_append(context, bytes, size);
}

void source_make_snapshot(const char *control_plane, const char *epoch, uint32_t noise,
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

void source_put_resync(struct buffer *out, const char *epoch, const char *reason)
{
    char hash[2 * DIGEST_BYTES + 1];
    uint8_t sha256[DIGEST_BYTES];
    struct buffer body;

    buffer_init(&body, SNAPSHOT_MAX_BYTES);
    source_make_snapshot(CONTROL_PLANE, epoch, 1, &body);
    digest_sha256(body.data, body.size, sha256);
    hex_encode(sha256, DIGEST_BYTES, hash);
    source_put(
        out,
        "{\"type\":\"resync\",\"reason\":\"%s\",\"path\":\"/v1/sync/snapshots/%s\",\"size\":%zu,"
        "\"epoch\":\"%s\",\"version\":1}\n",
        reason, hash, body.size, epoch);
    buffer_finish(&body);
}

void source_answer_well(struct session_world *world, struct fake_reply *reply)
{
    source_put_ok(&reply->bytes);
    put_hello(&reply->bytes, CONTROL_PLANE, world->epoch, 1, heartbeat_ms(world),
              world->hello_more);
    reply->then = FAKE_HOLD;
    if (world->asked == UINT64_MAX) {
        source_put_resync(&reply->bytes, world->epoch, "no_cursor");
        reply->then = FAKE_CLOSE;
        return;
    }
    for (uint64_t version = world->asked + 1; version <= NEWEST; version++)
        source_put_transaction(&reply->bytes, version - 1, version);
    put_heartbeat(&reply->bytes, world->awaited, world->heartbeat_more);
}

static uint64_t number_after(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : UINT64_MAX;
}

/* By its Host header: "http://" stands in front of the URL. */
static bool is_for_second(const struct session_world *world, const struct fake_request *request)
{
    return strstr(request->head, fake_source_url(world->second) + 7) != NULL;
}

void source_answer_snapshot(struct session_world *world, struct fake_reply *reply)
{
    uint64_t from = world->deaf ? UINT64_MAX : world->range_from;
    struct buffer body;
    char head[256];

    buffer_init(&body, SNAPSHOT_MAX_BYTES);
    source_make_snapshot(CONTROL_PLANE, world->epoch, 1, &body);
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
    struct session_world *world = context;

    const bool snapshot = strstr(request->target, "/v1/sync/snapshots/") == request->target;

    if (strstr(request->head, "Authorization: Bearer " TOKEN "\r\n") == NULL ||
        (!snapshot && strstr(request->target, "control_plane_id=" CONTROL_PLANE) == NULL))
        world->authorized = false;
    if (strstr(request->target, "/v1/sync/feed?") == request->target) {
        (void)snprintf(world->target, sizeof(world->target), "%s", request->target);
        world->asked = number_after(request->target, "&version=");
        world->asked_scope = number_after(request->target, "&compare=");
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
            source_answer_snapshot(world, reply);
    } else {
        (void)snprintf(world->ack_body, sizeof(world->ack_body), "%s", request->body);
        world->acks++;
        world->acked = number_after(request->body, "\"version\":");
        world->verified = number_after(request->body, "\"verified\":");
        fake_head(&reply->bytes, world->ack_status != NULL ? world->ack_status : "204 No Content",
                  "");
    }
}

/* ---- the sink ---- */

static bool sink_durable(void *context, struct model_cursor *ret)
{
    struct session_world *world = context;

    if (world->busy)
        return false;
    *ret = world->durable;
    return true;
}

static void sink_wish(void *context, struct feed_wish *ret)
{
    const struct session_world *world = context;

    *ret = world->wish;
}

static bool sink_full(void *context)
{
    struct session_world *world = context;

    return world->full;
}

static bool sink_hello(void *context, const struct session_hello *hello)
{
    struct session_world *world = context;

    world->hellos++;
    assert_int_equal(hello->heartbeat_ms, heartbeat_ms(world));
    assert_int_equal(hello->digest_key[1], 0x11);
    return !world->refuse_key;
}

static int sink_transaction(void *context, struct feed_transaction *transaction, struct error *err)
{
    struct session_world *world = context;

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
    struct session_world *world = context;

    assert_int_equal(version, NEWEST);
    world->heartbeats++;
}

static int sink_snapshot_begin(void *context, const struct snapshot_header *header,
                               const uint8_t digest_key[DIGEST_KEY_BYTES], struct error *err)
{
    struct session_world *world = context;

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
    struct session_world *world = context;

    (void)err;
    assert_int_equal(record->size, 256);
    world->records++;
    if (world->full_from > 0 && world->records >= world->full_from)
        world->full = true;
    return 0;
}

static int sink_snapshot_end(void *context, struct error *err)
{
    struct session_world *world = context;

    (void)err;
    world->snapshots_ended++;
    world->refuse_key = false;
    if (!world->keep)
        world->durable = world->loading;
    return 0;
}

static void sink_snapshot_abort(void *context)
{
    struct session_world *world = context;

    world->snapshots_aborted++;
}

static void sink_state(void *context, enum session_state state)
{
    (void)context;
    (void)state;
}

static void sink_resync(void *context, enum session_resync reason)
{
    struct session_world *world = context;

    world->resyncs[reason]++;
}

static void sink_failed(void *context, const struct session_failure *failure)
{
    struct session_world *world = context;

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
    struct session_world *world = context;

    world->pauses++;
}

static void sink_name_shared(void *context, bool shared)
{
    struct session_world *world = context;

    world->name_shared = shared;
    world->name_changes++;
}

/* ---- running ---- */

const struct session_limits session_world_limits = {
    .connect_ms = 5000,
    .hello_ms = 300,
    .failover_ms = 100,
    .silence_min_ms = 300,
    .silence_max_ms = 1000,
    .progress_ms = 400,
    .progress_bytes = 16 * 1024,
    .snapshot_wait_ms = 300,
    .ack_ms = 5000,
    .ack_interval_max_ms = 4 * GUARD_MS,
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
    struct session_world *world = timer->data;

    world->late = true;
}

static void on_session_closed(void *context)
{
    struct session_world *world = context;

    world->session_closed = true;
}

static void on_http_closed(void *context)
{
    struct session_world *world = context;

    world->http_closed = true;
}

void session_world_start(struct session_world *world, feed_script script, uint64_t version)
{
    struct error err = ERROR_INIT;
    struct session_sink sink = {.durable = sink_durable,
                                .wish = sink_wish,
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
                                .name_shared = sink_name_shared,
                                .context = world};
    static const char *urls[2]; /* outlive the session: one test at a time */
    struct session_options options = {.region = "us",
                                      .host_name = "host of this test",
                                      .instance = world->instance,
                                      .urls = urls,
                                      .n_urls = world->two_urls ? 2 : 1,
                                      .credentials = {.token = TOKEN},
                                      .limits = session_world_limits};

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

void session_world_run_until(struct session_world *world,
                             bool (*condition)(const struct session_world *world))
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

static bool is_session_closed(const struct session_world *world)
{
    return world->session_closed;
}

void session_world_finish(struct session_world *world)
{
    session_close(world->session, on_session_closed, world);
    session_world_run_until(world, is_session_closed);
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

bool session_world_is_current(const struct session_world *world)
{
    return world->durable.version == NEWEST && world->heartbeats > 0;
}

bool session_world_is_streaming(const struct session_world *world)
{
    return world->heartbeats > 0;
}

bool session_world_has_failed(const struct session_world *world)
{
    return world->failures > 0;
}

bool session_world_copies(const struct session_world *world)
{
    return world->snapshots_begun > 0;
}

bool session_world_has_paused(const struct session_world *world)
{
    return world->pauses > 0;
}

/* ---- scripts ---- */

void source_always_well(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    (void)nth;
    source_answer_well(world, reply);
}

void source_cut_first(struct session_world *world, unsigned nth, struct fake_reply *reply)
{
    source_answer_well(world, reply);
    if (nth > 1)
        return;
    if (world->cut < reply->bytes.size)
        reply->bytes.size = world->cut;
    reply->then = world->cut % 2 == 0 ? FAKE_CLOSE : FAKE_RESET;
}

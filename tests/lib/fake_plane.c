#include "tests/lib/fake_plane.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/record.h"
#include "sync/change.h"
#include "sync/snapshot.h"
#include "tests/lib/fake_source.h"

#define EPOCH      "01932f00-0000-7000-8000-000000000001"
#define IMPOSSIBLE "ffffffff-0000-4000-8000-000000000000"

enum {
    HEARTBEAT_MS = 500,
    BRISK_MS = 1,
    BEATS = 8,
    SCOPE = 1,
    TEXT_SIZE = 32,
    SNAPSHOT_MAX_BYTES = 64 * 1024 * 1024
};

/* A failing helper must not let a test pass. */
static void check(bool good)
{
    if (!good)
        abort();
}

static struct uuid uuid_of(const char *text)
{
    struct uuid uuid;

    check(uuid_parse(text, &uuid));
    return uuid;
}

static void secret_key(uint8_t key[DIGEST_KEY_BYTES])
{
    for (int i = 0; i < DIGEST_KEY_BYTES; i++)
        key[i] = (uint8_t)i;
}

static struct uuid entity_id(uint8_t kind, uint64_t number)
{
    struct uuid id = {{kind}};

    for (int i = 0; i < 8; i++)
        id.bytes[15 - i] = (uint8_t)(number >> 8 * i);
    return id;
}

static struct model_realm make_realm(void)
{
    static const char *const groups[] = {"gold"};

    return (struct model_realm){.id = uuid_of(FAKE_PLANE_REALM),
                                .number = SCOPE,
                                .ttl_min = 10,
                                .negative_ttl_min = 10,
                                .name = "prod",
                                .region = "us",
                                .groups = {groups, 1}};
}

static struct model_consumer make_consumer(uint64_t number, char name[TEXT_SIZE])
{
    (void)snprintf(name, TEXT_SIZE, "consumer-%" PRIu64, number);
    return (struct model_consumer){.id = entity_id(0xc0, number), .username = name};
}

static struct model_key make_key(uint64_t number)
{
    struct model_key key = {.id = entity_id(0xa0, number), .consumer_id = entity_id(0xc0, number)};
    uint8_t secret[DIGEST_KEY_BYTES];
    struct digest_key digest_key;
    char text[TEXT_SIZE];

    secret_key(secret);
    digest_key_init(&digest_key, secret);
    (void)snprintf(text, sizeof(text), "key-%" PRIu64, number);
    digest_compute(&digest_key, text, strlen(text), key.digest);
    return key;
}

/* ---- the snapshot ---- */

static int append(void *context, const void *bytes, size_t size)
{
    return buffer_append(context, bytes, size);
}

static void add(struct snapshot_encoder *encoder, enum snapshot_kind kind, struct buffer *bytes)
{
    struct snapshot_record record = {kind, SCOPE, bytes->data, bytes->size};

    check(snapshot_encoder_add(encoder, &record) == 0);
    buffer_clear(bytes);
}

static void add_records(const struct fake_plane *plane, struct snapshot_encoder *encoder,
                        uint64_t version)
{
    struct model_realm realm = make_realm();
    struct buffer bytes;
    char name[TEXT_SIZE];

    buffer_init(&bytes, RECORD_MAX_BYTES);
    check(record_encode_realm(&realm, &bytes) == 0);
    add(encoder, SNAPSHOT_REALM, &bytes);
    for (uint64_t i = 1; i <= version; i++) {
        struct model_consumer consumer = make_consumer(i, name);
        struct model_key key = make_key(i);

        check(record_encode_consumer(&consumer, &bytes) == 0);
        if (plane->damaged && i == version)
            bytes.data[0] ^= 0xff;
        add(encoder, SNAPSHOT_CONSUMER, &bytes);
        check(record_encode_key(&key, &bytes) == 0);
        add(encoder, SNAPSHOT_KEY, &bytes);
    }
    buffer_finish(&bytes);
}

static uint64_t snapshot_version(const struct fake_plane *plane)
{
    return plane->snapshot_version != 0 ? plane->snapshot_version : plane->version;
}

static void make_snapshot(const struct fake_plane *plane, struct buffer *out)
{
    uint64_t version = snapshot_version(plane);
    struct snapshot_header header = {.control_plane_id = uuid_of(FAKE_PLANE_ID),
                                     .time_ms = 1,
                                     .realms = 1,
                                     .consumers = version,
                                     .keys = version};
    struct snapshot_encoder *encoder;

    header.cursor = (struct model_cursor){uuid_of(EPOCH), version};
    check(snapshot_encoder_create(&header, append, out, &encoder) == 0);
    add_records(plane, encoder, version);
    check(snapshot_encoder_end(encoder) == 0);
    snapshot_encoder_destroy(encoder);
}

static void name_snapshot(const struct fake_plane *plane, struct snapshot_name *ret)
{
    struct buffer bytes;

    buffer_init(&bytes, SNAPSHOT_MAX_BYTES);
    make_snapshot(plane, &bytes);
    digest_sha256(bytes.data, bytes.size, ret->sha256);
    ret->size = bytes.size;
    ret->cursor = (struct model_cursor){uuid_of(EPOCH), snapshot_version(plane)};
    buffer_finish(&bytes);
}

/* ---- the feed ---- */

static void put_line(struct buffer *out, const struct feed_line *line)
{
    check(feed_line_encode(line, out) == 0);
}

static void put_begin(const struct fake_plane *plane, struct buffer *out, uint64_t prev,
                      uint64_t version)
{
    struct feed_line begin = {.kind = FEED_LINE_BEGIN, .begin = {prev, version, plane->time_ms}};

    put_line(out, &begin);
}

/* Of the versions in (from, to]: each made a consumer with a key. Consumers come first. */
static void put_changes(const struct fake_plane *plane, struct buffer *out, uint64_t from,
                        uint64_t to)
{
    struct feed_line line = {.kind = FEED_LINE_CHANGE, .change = {.scope = SCOPE}};
    char name[TEXT_SIZE];

    line.change.kind = CHANGE_CONSUMER;
    for (uint64_t version = from + 1; version <= to; version++) {
        line.change.consumer = make_consumer(version, name);
        put_line(out, &line);
    }
    line.change.kind = CHANGE_KEY;
    for (uint64_t version = from + 1; version <= to; version++) {
        line.change.key = make_key(version);
        if (plane->shared_secret)
            memcpy(line.change.key.digest, make_key(1).digest, sizeof(line.change.key.digest));
        if (plane->impossible)
            line.change.key.consumer_id = uuid_of(IMPOSSIBLE);
        put_line(out, &line);
    }
}

static void put_transaction(const struct fake_plane *plane, struct buffer *out, uint64_t version)
{
    struct feed_line commit = {.kind = FEED_LINE_COMMIT, .commit = {version, 2}};

    put_begin(plane, out, version - 1, version);
    put_changes(plane, out, version - 1, version);
    put_line(out, &commit);
}

static void add_hash(struct set_hash *sum, struct buffer *bytes)
{
    struct set_hash hash = set_hash_of(bytes->data, bytes->size);

    set_hash_add(sum, &hash);
    buffer_clear(bytes);
}

static struct set_hash hash_of_all(uint64_t version)
{
    struct model_realm realm = make_realm();
    struct set_hash sum = {0};
    struct buffer bytes;
    char name[TEXT_SIZE];

    buffer_init(&bytes, RECORD_MAX_BYTES);
    check(record_encode_realm(&realm, &bytes) == 0);
    add_hash(&sum, &bytes);
    for (uint64_t i = 1; i <= version; i++) {
        struct model_consumer consumer = make_consumer(i, name);
        struct model_key key = make_key(i);

        check(record_encode_consumer(&consumer, &bytes) == 0);
        add_hash(&sum, &bytes);
        check(record_encode_key(&key, &bytes) == 0);
        add_hash(&sum, &bytes);
    }
    buffer_finish(&bytes);
    return sum;
}

/* The answer to compare=all: the next version, if there is one, with what all adds up to then. */
static uint64_t put_compared(const struct fake_plane *plane, struct buffer *out, uint64_t asked)
{
    const uint64_t to = asked < plane->version ? asked + 1 : asked;
    struct feed_line digest = {.kind = FEED_LINE_DIGEST,
                               .digest = {.scope = SCOPE, .hash = hash_of_all(to)}};
    struct feed_line commit = {.kind = FEED_LINE_COMMIT,
                               .commit = {to, 2 * (to - asked), .all_scopes = true}};

    put_begin(plane, out, asked, to);
    put_changes(plane, out, asked, to);
    put_line(out, &digest);
    put_line(out, &commit);
    return to;
}

/* Buckets of two scopes in one transaction: no repair can be made of it. */
static void put_spoilt_repair(const struct fake_plane *plane, struct buffer *out, uint64_t version)
{
    struct feed_line line = {.kind = FEED_LINE_CHANGE, .change = {.kind = CHANGE_BUCKET}};
    struct feed_line commit = {.kind = FEED_LINE_COMMIT,
                               .commit = {version, 2, .all_scopes = true}};

    put_begin(plane, out, version, version);
    for (uint32_t scope = SCOPE; scope <= SCOPE + 1; scope++) {
        line.change.scope = scope;
        put_line(out, &line);
    }
    put_line(out, &commit);
}

static void answer_feed(struct fake_plane *plane, uint64_t asked, bool wishes,
                        struct fake_reply *reply)
{
    const bool one = wishes && plane->wishless && asked < plane->version;
    const uint64_t newest = one ? asked + 1 : plane->version;
    const bool beating = wishes && plane->beating;
    struct feed_line hello = {.kind = FEED_LINE_HELLO,
                              .hello = {.protocol = 1,
                                        .control_plane_id = uuid_of(FAKE_PLANE_ID),
                                        .epoch = uuid_of(EPOCH),
                                        .version = plane->version,
                                        .heartbeat_ms = beating ? BRISK_MS : HEARTBEAT_MS,
                                        .region = "us"}};
    struct feed_line heartbeat = {.kind = FEED_LINE_HEARTBEAT, .heartbeat = {newest, 1, false}};
    struct feed_line resync = {.kind = FEED_LINE_RESYNC};

    secret_key(hello.hello.digest_key);
    fake_head(&reply->bytes, "200 OK", "Content-Type: application/x-ndjson\r\n");
    put_line(&reply->bytes, &hello);
    if (asked == UINT64_MAX) {
        name_snapshot(plane, &resync.resync.snapshot);
        put_line(&reply->bytes, &resync);
        return;
    }
    if (wishes && plane->spoilt_repairs > 0) {
        plane->spoilt_repairs--;
        put_spoilt_repair(plane, &reply->bytes, asked);
    } else if (wishes && !plane->wishless)
        asked = put_compared(plane, &reply->bytes, asked);
    for (uint64_t version = asked + 1; version <= newest; version++)
        put_transaction(plane, &reply->bytes, version);
    for (int i = 0; i < (beating ? BEATS : 1); i++)
        put_line(&reply->bytes, &heartbeat);
    reply->drip_ms = beating ? BRISK_MS : 0;
    reply->then = FAKE_HOLD;
}

/* ---- requests ---- */

static uint64_t number_after(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : UINT64_MAX;
}

static void respond(void *context, const struct fake_request *request, struct fake_reply *reply)
{
    struct fake_plane *plane = context;

    if (plane->down) {
        fake_head(&reply->bytes, "503 Service Unavailable", "");
    } else if (strncmp(request->target, "/v1/sync/feed", 13) == 0) {
        const bool wishes = strstr(request->target, "&compare=") != NULL ||
                            strstr(request->target, "&repair=") != NULL;

        plane->feeds++;
        plane->wishes += wishes;
        answer_feed(plane, number_after(request->target, "&version="), wishes, reply);
    } else if (strncmp(request->target, SNAPSHOT_PATH, strlen(SNAPSHOT_PATH)) == 0) {
        plane->snapshots++;
        fake_head(&reply->bytes, "200 OK", "Content-Type: application/vnd.realmstore.snapshot\r\n");
        make_snapshot(plane, &reply->bytes);
    } else {
        plane->acked = number_after(request->body, "\"version\":");
        fake_head(&reply->bytes, "204 No Content", "");
    }
}

struct fake_plane *fake_plane_start(uint64_t version, uv_async_t *changed)
{
    struct fake_plane *plane = calloc(1, sizeof(*plane));

    check(plane != NULL);
    plane->version = version;
    plane->time_ms = 1;
    plane->source = fake_source_start(respond, plane, changed);
    return plane;
}

void fake_plane_stop(struct fake_plane *plane)
{
    fake_source_stop(plane->source);
    free(plane);
}

const char *fake_plane_url(const struct fake_plane *plane)
{
    return fake_source_url(plane->source);
}

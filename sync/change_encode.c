/* The source's side of the feed's lines: C values to NDJSON, appended to a buffer.
 *
 * Happy path: one pass over the value, each byte appended once; the line ends with its newline.
 * Failure: the first append that fails sticks (struct writer), and the buffer is cut back to where
 * the line began, so that a caller never sends half a line.
 */
#include "sync/change.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/hex.h"
#include "sync/change_names.h"

/* Appends until something fails, then does nothing more: the callers below stay straight lines. */
struct writer {
    struct buffer *out;
    int rc;
};

static void put_bytes(struct writer *writer, const void *bytes, size_t size)
{
    if (writer->rc == 0)
        writer->rc = buffer_append(writer->out, bytes, size);
}

/* Text that needs no escaping: punctuation, names of members, numbers. */
static void change_encode_put(struct writer *writer, const char *text)
{
    if (writer->rc == 0)
        writer->rc = buffer_append_string(writer->out, text);
}

static void put_number(struct writer *writer, const char *before, uint64_t value)
{
    change_encode_put(writer, before);
    if (writer->rc == 0)
        writer->rc = buffer_printf(writer->out, "%" PRIu64, value);
}

static void put_signed(struct writer *writer, const char *before, int64_t value)
{
    change_encode_put(writer, before);
    if (writer->rc == 0)
        writer->rc = buffer_printf(writer->out, "%" PRId64, value);
}

/* RFC 8259 demands escapes for these three classes alone; UTF-8 stands as it is. */
static void put_escape(struct writer *writer, unsigned char c)
{
    char escape[] = {'\\', (char)c, 0};

    if (c == '"' || c == '\\')
        change_encode_put(writer, escape);
    else if (writer->rc == 0)
        writer->rc = buffer_printf(writer->out, "\\u%04x", c);
}

static void change_encode_put_string(struct writer *writer, const char *before, const char *string)
{
    const char *run = string; /* start of the bytes that can be copied together */

    change_encode_put(writer, before);
    if (string == NULL) {
        change_encode_put(writer, "null");
        return;
    }
    change_encode_put(writer, "\"");
    for (; *string != 0; string++) {
        unsigned char c = (unsigned char)*string;

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        put_bytes(writer, run, (size_t)(string - run));
        put_escape(writer, c);
        run = string + 1;
    }
    put_bytes(writer, run, (size_t)(string - run));
    change_encode_put(writer, "\"");
}

static void put_uuid(struct writer *writer, const char *before, const struct uuid *uuid)
{
    char text[UUID_TEXT_SIZE];

    change_encode_put_string(writer, before, uuid_format(uuid, text));
}

static void put_digest(struct writer *writer, const char *before, const uint8_t bytes[DIGEST_BYTES])
{
    char text[2 * DIGEST_BYTES + 1];

    hex_encode(bytes, DIGEST_BYTES, text);
    change_encode_put_string(writer, before, text);
}

static void put_hash(struct writer *writer, const struct set_hash *hash)
{
    char text[2 * SET_HASH_BYTES + 1];
    uint8_t bytes[SET_HASH_BYTES];

    set_hash_pack(hash, bytes);
    hex_encode(bytes, sizeof(bytes), text);
    change_encode_put(writer, text);
}

static void put_strings(struct writer *writer, const char *before, const struct model_strings *list)
{
    change_encode_put(writer, before);
    change_encode_put(writer, "[");
    for (size_t i = 0; i < list->count; i++)
        change_encode_put_string(writer, i > 0 ? "," : "", list->items[i]);
    change_encode_put(writer, "]");
}

static void put_realm(struct writer *writer, const struct model_realm *realm)
{
    put_number(writer, "{\"type\":\"realm\",\"number\":", realm->number);
    put_uuid(writer, ",\"id\":", &realm->id);
    change_encode_put_string(writer, ",\"name\":", realm->name);
    change_encode_put_string(writer, ",\"region\":", realm->region);
    put_number(writer, ",\"ttl\":", realm->ttl_min);
    put_number(writer, ",\"negative_ttl\":", realm->negative_ttl_min);
    put_strings(writer, ",\"groups\":", &realm->groups);
}

static void put_consumer(struct writer *writer, uint32_t scope,
                         const struct model_consumer *consumer)
{
    put_number(writer, "{\"type\":\"consumer\",\"scope\":", scope);
    put_uuid(writer, ",\"id\":", &consumer->id);
    change_encode_put_string(writer, ",\"username\":", consumer->username);
    change_encode_put_string(writer, ",\"custom_id\":", consumer->custom_id);
    change_encode_put_string(writer,
                             ",\"consumer_type\":", change_consumer_type_text(consumer->type));
    put_strings(writer, ",\"tags\":", &consumer->tags);
    put_strings(writer, ",\"groups\":", &consumer->groups);
}

static void put_key(struct writer *writer, uint32_t scope, const struct model_key *key)
{
    put_number(writer, "{\"type\":\"key\",\"scope\":", scope);
    put_uuid(writer, ",\"consumer\":", &key->consumer_id);
    put_uuid(writer, ",\"id\":", &key->id);
    put_digest(writer, ",\"digest\":", key->digest);
    if (key->expires_at_ms != 0)
        put_signed(writer, ",\"expires_at_ms\":", key->expires_at_ms);
    else
        change_encode_put(writer, ",\"expires_at_ms\":null");
    put_strings(writer, ",\"tags\":", &key->tags);
}

static void put_change(struct writer *writer, const struct change *change)
{
    switch (change->kind) {
    case CHANGE_REALM_DELETE:
        put_number(writer, "{\"type\":\"realm_delete\",\"number\":", change->scope);
        break;
    case CHANGE_KEY_DELETE:
        put_number(writer, "{\"type\":\"key_delete\",\"scope\":", change->scope);
        put_uuid(writer, ",\"consumer\":", &change->key.consumer_id);
        put_uuid(writer, ",\"id\":", &change->key.id);
        break;
    case CHANGE_CONSUMER_DELETE:
        put_number(writer, "{\"type\":\"consumer_delete\",\"scope\":", change->scope);
        put_uuid(writer, ",\"id\":", &change->id);
        break;
    case CHANGE_BUCKET:
        put_number(writer, "{\"type\":\"bucket\",\"scope\":", change->scope);
        put_number(writer, ",\"bucket\":", change->bucket);
        break;
    case CHANGE_REALM:
        put_realm(writer, &change->realm);
        break;
    case CHANGE_CONSUMER:
        put_consumer(writer, change->scope, &change->consumer);
        break;
    case CHANGE_KEY:
        put_key(writer, change->scope, &change->key);
        break;
    case CHANGE_KINDS:
        assert(!"CHANGE_KINDS is a count");
    }
    change_encode_put(writer, "}\n");
}

static void put_scope_digest(struct writer *writer, const struct feed_scope_hash *digest)
{
    put_number(writer, "{\"type\":\"digest\",\"scope\":", digest->scope);
    change_encode_put(writer, ",\"hash\":\"");
    put_hash(writer, &digest->hash);
    if (digest->buckets != NULL)
        change_encode_put(writer, "\",\"buckets\":\"");
    for (int i = 0; digest->buckets != NULL && i < SET_HASH_BUCKETS; i++)
        put_hash(writer, &digest->buckets[i]);
    change_encode_put(writer, "\"}\n");
}

static void put_name_shared(struct writer *writer, bool shared)
{
    if (shared)
        change_encode_put(writer, ",\"name_shared\":true");
}

static void put_hello(struct writer *writer, const struct feed_line *line)
{
    put_number(writer, "{\"type\":\"hello\",\"protocol\":", line->hello.protocol);
    change_encode_put_string(writer, ",\"region\":", line->hello.region);
    put_uuid(writer, ",\"control_plane_id\":", &line->hello.control_plane_id);
    put_uuid(writer, ",\"epoch\":", &line->hello.epoch);
    put_number(writer, ",\"version\":", line->hello.version);
    put_number(writer, ",\"heartbeat_ms\":", line->hello.heartbeat_ms);
    put_digest(writer, ",\"digest_key\":", line->hello.digest_key);
    if (line->hello.accepted)
        change_encode_put(writer, ",\"accepted\":true");
    if (!uuid_is_nil(&line->hello.feed))
        put_uuid(writer, ",\"feed\":", &line->hello.feed);
    put_name_shared(writer, line->hello.name_shared);
    change_encode_put(writer, "}\n");
}

static void put_resync(struct writer *writer, const struct feed_line *line)
{
    const struct snapshot_name *snapshot = &line->resync.snapshot;
    char path[sizeof(SNAPSHOT_PATH) + 2 * (size_t)DIGEST_BYTES] = SNAPSHOT_PATH;

    hex_encode(snapshot->sha256, DIGEST_BYTES, path + strlen(SNAPSHOT_PATH));
    change_encode_put_string(
        writer, "{\"type\":\"resync\",\"reason\":", feed_resync_reason_text(line->resync.reason));
    change_encode_put_string(writer, ",\"path\":", path);
    put_number(writer, ",\"size\":", snapshot->size);
    put_uuid(writer, ",\"epoch\":", &snapshot->cursor.epoch);
    put_number(writer, ",\"version\":", snapshot->cursor.version);
    change_encode_put(writer, "}\n");
}

static void put_line(struct writer *writer, const struct feed_line *line)
{
    switch (line->kind) {
    case FEED_LINE_HELLO:
        put_hello(writer, line);
        break;
    case FEED_LINE_BEGIN:
        put_number(writer, "{\"type\":\"begin\",\"prev\":", line->begin.prev);
        put_number(writer, ",\"version\":", line->begin.version);
        put_signed(writer, ",\"time_ms\":", line->begin.time_ms);
        change_encode_put(writer, "}\n");
        break;
    case FEED_LINE_CHANGE:
        put_change(writer, &line->change);
        break;
    case FEED_LINE_DIGEST:
        put_scope_digest(writer, &line->digest);
        break;
    case FEED_LINE_COMMIT:
        put_number(writer, "{\"type\":\"commit\",\"version\":", line->commit.version);
        put_number(writer, ",\"changes\":", line->commit.changes);
        if (line->commit.all_scopes)
            change_encode_put(writer, ",\"all_scopes\":true");
        change_encode_put(writer, "}\n");
        break;
    case FEED_LINE_HEARTBEAT:
        put_number(writer, "{\"type\":\"heartbeat\",\"version\":", line->heartbeat.version);
        put_signed(writer, ",\"time_ms\":", line->heartbeat.time_ms);
        if (line->heartbeat.acknowledge)
            change_encode_put(writer, ",\"acknowledge\":true");
        put_name_shared(writer, line->heartbeat.name_shared);
        change_encode_put(writer, "}\n");
        break;
    case FEED_LINE_PREPARING:
        change_encode_put(writer, "{\"type\":\"preparing\"}\n");
        break;
    case FEED_LINE_RESYNC:
        put_resync(writer, line);
        break;
    }
}

/* A line is whole and within the receiver's limit, or it was never written. */
static int finish_line(struct writer *writer, size_t start)
{
    if (writer->rc == 0 && writer->out->size - start > FEED_LINE_MAX_BYTES)
        writer->rc = E_TOO_LARGE;
    if (writer->rc != 0)
        writer->out->size = start;
    return writer->rc;
}

int change_encode(const struct change *change, struct buffer *out)
{
    struct writer writer = {out, 0};
    size_t start = out->size;

    put_change(&writer, change);
    return finish_line(&writer, start);
}

int feed_line_encode(const struct feed_line *line, struct buffer *out)
{
    struct writer writer = {out, 0};
    size_t start = out->size;

    put_line(&writer, line);
    return finish_line(&writer, start);
}

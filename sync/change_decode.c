/* The host's side of the feed's lines: hostile NDJSON to checked C values in an arena.
 *
 * Happy path: jansson parses the line into a tree (UTF-8, duplicate members, trailing bytes and
 * nesting over 2048 levels are its refusals; NUL inside a string too), the decoder of the line's
 * type takes each member out with its check, strings are copied to the arena, the tree is freed.
 *
 * Text is taken as wide as any control plane has ever made it (GRAMMAR_TAKEN): a rule that is added
 * for what is made must not end the feeds of those who have older rows.
 *
 * Failure: the first member that is wrong ends the line with E_PROTOCOL and a message that names
 * the line's type and the member. Values are not quoted: they may hold what a log must not.
 */
#include "sync/change.h"

#include <string.h>
#include <jansson.h>

#include "base/grammar.h"
#include "base/hex.h"
#include "sync/change_names.h"

/* What the member functions below need; the first failure sticks, like the encoder's. */
struct reader {
    json_t *object;      /* borrowed */
    struct arena *arena; /* borrowed */
    struct error *err;
    const char *type; /* of this line, for messages */
    int rc;
};

enum presence { REQUIRED, NULLABLE };

static void change_decode_refuse(struct reader *reader, const char *member, const char *why)
{
    if (reader->rc == 0)
        reader->rc = error_set(reader->err, E_PROTOCOL, "feed line \"%s\": member \"%s\" %s",
                               reader->type, member, why);
}

static void out_of_memory(struct reader *reader)
{
    if (reader->rc == 0)
        reader->rc = error_set(reader->err, E_NO_MEMORY,
                               "no memory for a feed line \"%s\" (transaction over its limit?)",
                               reader->type);
}

static json_t *change_decode_find(struct reader *reader, const char *member)
{
    json_t *value = json_object_get(reader->object, member);

    if (value == NULL)
        change_decode_refuse(reader, member, "is missing");
    return value;
}

static int64_t take_integer(struct reader *reader, const char *member, int64_t min, int64_t max)
{
    json_t *value = change_decode_find(reader, member);
    json_int_t number;

    if (value == NULL)
        return min;
    if (!json_is_integer(value)) {
        change_decode_refuse(reader, member, "is not an integer");
        return min;
    }
    number = json_integer_value(value);
    if (number < min || number > max) {
        change_decode_refuse(reader, member, "is out of range");
        return min;
    }
    return number;
}

static uint64_t take_version(struct reader *reader, const char *member)
{
    return (uint64_t)take_integer(reader, member, 0, INT64_MAX);
}

static uint32_t take_u32(struct reader *reader, const char *member, uint32_t min)
{
    return (uint32_t)take_integer(reader, member, min, UINT32_MAX);
}

/* Empty text is taken where a former control plane may have made it. */
enum emptiness { NOT_EMPTY, MAY_BE_EMPTY };

static const char *copy_text(struct reader *reader, const char *member, json_t *value,
                             enum grammar_kind kind, enum emptiness emptiness)
{
    const char *text = json_string_value(value);
    struct grammar_fault fault;
    char why[GRAMMAR_TEXT_SIZE];
    const char *copy;

    if (text == NULL) {
        change_decode_refuse(reader, member, "is not a string");
        return NULL;
    }
    if ((text[0] != 0 || emptiness == NOT_EMPTY) &&
        grammar_check(kind, GRAMMAR_TAKEN, text, json_string_length(value), &fault) !=
            GRAMMAR_GOOD) {
        change_decode_refuse(reader, member, grammar_explain(kind, &fault, why));
        return NULL;
    }
    copy = arena_string(reader->arena, text);
    if (copy == NULL)
        out_of_memory(reader);
    return copy;
}

static const char *take_text(struct reader *reader, const char *member, enum presence presence,
                             enum grammar_kind kind, enum emptiness emptiness)
{
    json_t *value = change_decode_find(reader, member);

    if (value == NULL || (json_is_null(value) && presence == NULLABLE))
        return NULL;
    return copy_text(reader, member, value, kind, emptiness);
}

static struct uuid take_uuid(struct reader *reader, const char *member)
{
    struct uuid uuid = {{0}};
    json_t *value = change_decode_find(reader, member);

    if (value == NULL)
        return uuid;
    if (!json_is_string(value) ||
        !uuid_parse_n(json_string_value(value), json_string_length(value), &uuid))
        change_decode_refuse(reader, member, "is not a UUID");
    else if (uuid_is_nil(&uuid))
        change_decode_refuse(reader, member, "is the nil UUID");
    return uuid;
}

/* Nil when it is not there, as from a control plane of before. */
static struct uuid take_uuid_if_any(struct reader *reader, const char *member)
{
    static const struct uuid nil;

    return json_object_get(reader->object, member) != NULL ? take_uuid(reader, member) : nil;
}

static void take_digest(struct reader *reader, const char *member, uint8_t ret[DIGEST_BYTES])
{
    json_t *value = change_decode_find(reader, member);

    if (value == NULL)
        return;
    if (!json_is_string(value) || json_string_length(value) != 2 * (size_t)DIGEST_BYTES ||
        !hex_decode(json_string_value(value), 2 * (size_t)DIGEST_BYTES, ret))
        change_decode_refuse(reader, member, "is not 64 hexadecimal digits");
}

/* `count` hashes in hexadecimal. */
static void take_hashes(struct reader *reader, const char *member, size_t count,
                        struct set_hash *ret)
{
    const size_t digits = 2 * (size_t)SET_HASH_BYTES;
    json_t *value = change_decode_find(reader, member);
    uint8_t bytes[SET_HASH_BYTES];

    if (value == NULL)
        return;
    if (!json_is_string(value) || json_string_length(value) != count * digits) {
        change_decode_refuse(reader, member, "has not the length of its digests");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (!hex_decode(json_string_value(value) + i * digits, digits, bytes)) {
            change_decode_refuse(reader, member, "is not hexadecimal");
            return;
        }
        ret[i] = set_hash_unpack(bytes);
    }
}

static struct model_strings take_strings(struct reader *reader, const char *member)
{
    struct model_strings none = {NULL, 0};
    json_t *list = change_decode_find(reader, member);
    const char **items;
    size_t count;

    if (list == NULL)
        return none;
    if (!json_is_array(list)) {
        change_decode_refuse(reader, member, "is not an array");
        return none;
    }
    count = json_array_size(list);
    if (count > MODEL_LABELS_MAX) {
        change_decode_refuse(reader, member, "has too many items");
        return none;
    }
    if (count == 0)
        return none;
    items = arena_array(reader->arena, count, sizeof(*items));
    if (items == NULL) {
        out_of_memory(reader);
        return none;
    }
    for (size_t i = 0; i < count && reader->rc == 0; i++)
        items[i] = copy_text(reader, member, json_array_get(list, i), GRAMMAR_LABEL, MAY_BE_EMPTY);
    return (struct model_strings){items, count};
}

static enum model_consumer_type take_consumer_type(struct reader *reader)
{
    json_t *value = change_decode_find(reader, "consumer_type");

    if (value == NULL)
        return MODEL_CONSUMER_PROXY;
    for (int i = 0; json_is_string(value) && i < MODEL_CONSUMER_TYPES; i++) {
        if (strcmp(json_string_value(value), change_consumer_type_text(i)) == 0)
            return (enum model_consumer_type)i;
    }
    change_decode_refuse(reader, "consumer_type",
                         "is not one of proxy, developer, admin, application");
    return MODEL_CONSUMER_PROXY;
}

/* null is "never"; 0 would mean the same and is refused, so that each value has one spelling. */
static int64_t take_expiry(struct reader *reader)
{
    json_t *value = change_decode_find(reader, "expires_at_ms");

    if (value == NULL || json_is_null(value))
        return 0;
    return take_integer(reader, "expires_at_ms", 1, INT64_MAX);
}

/* ---- one function for each type of line ---- */

static void read_realm_delete(struct reader *reader, struct feed_line *line)
{
    line->change.kind = CHANGE_REALM_DELETE;
    line->change.scope = take_u32(reader, "number", 1);
}

static void read_key_delete(struct reader *reader, struct feed_line *line)
{
    line->change.kind = CHANGE_KEY_DELETE;
    line->change.scope = take_u32(reader, "scope", MODEL_SCOPE_CP);
    line->change.key.consumer_id = take_uuid(reader, "consumer");
    line->change.key.id = take_uuid(reader, "id");
}

static void read_consumer_delete(struct reader *reader, struct feed_line *line)
{
    line->change.kind = CHANGE_CONSUMER_DELETE;
    line->change.scope = take_u32(reader, "scope", MODEL_SCOPE_CP);
    line->change.id = take_uuid(reader, "id");
}

static void read_bucket(struct reader *reader, struct feed_line *line)
{
    line->change.kind = CHANGE_BUCKET;
    line->change.scope = take_u32(reader, "scope", MODEL_SCOPE_CP);
    line->change.bucket = (unsigned)take_integer(reader, "bucket", 0, SET_HASH_BUCKETS - 1);
}

static void change_decode_read_realm(struct reader *reader, struct feed_line *line)
{
    struct model_realm *realm = &line->change.realm;

    line->change.kind = CHANGE_REALM;
    realm->number = take_u32(reader, "number", 1);
    realm->id = take_uuid(reader, "id");
    realm->name = take_text(reader, "name", REQUIRED, GRAMMAR_NAME, NOT_EMPTY);
    realm->region = take_text(reader, "region", REQUIRED, GRAMMAR_REGION, NOT_EMPTY);
    realm->ttl_min = take_u32(reader, "ttl", 1);
    realm->negative_ttl_min = take_u32(reader, "negative_ttl", 1);
    realm->groups = take_strings(reader, "groups");
    line->change.scope = realm->number;
}

static void change_decode_read_consumer(struct reader *reader, struct feed_line *line)
{
    struct model_consumer *consumer = &line->change.consumer;
    uint32_t scope = take_u32(reader, "scope", MODEL_SCOPE_CP);
    /* Kong's own consumers may have a custom id alone; a realm's always have a username. */
    enum presence username = scope == MODEL_SCOPE_CP ? NULLABLE : REQUIRED;

    line->change.kind = CHANGE_CONSUMER;
    line->change.scope = scope;
    consumer->id = take_uuid(reader, "id");
    consumer->username = take_text(reader, "username", username, GRAMMAR_NAME, NOT_EMPTY);
    consumer->custom_id = take_text(reader, "custom_id", NULLABLE, GRAMMAR_NAME, MAY_BE_EMPTY);
    consumer->type = take_consumer_type(reader);
    consumer->tags = take_strings(reader, "tags");
    consumer->groups = take_strings(reader, "groups");
}

static void change_decode_read_key(struct reader *reader, struct feed_line *line)
{
    struct model_key *key = &line->change.key;

    line->change.kind = CHANGE_KEY;
    line->change.scope = take_u32(reader, "scope", MODEL_SCOPE_CP);
    key->consumer_id = take_uuid(reader, "consumer");
    key->id = take_uuid(reader, "id");
    take_digest(reader, "digest", key->digest);
    key->expires_at_ms = take_expiry(reader);
    key->tags = take_strings(reader, "tags");
}

/* False when it is not there. */
static bool take_flag(struct reader *reader, const char *member)
{
    json_t *flag = json_object_get(reader->object, member);

    if (flag != NULL && !json_is_boolean(flag))
        change_decode_refuse(reader, member, "is neither true nor false");
    return json_is_true(flag);
}

static void read_hello(struct reader *reader, struct feed_line *line)
{
    line->hello.protocol = take_u32(reader, "protocol", 1);
    line->hello.region = take_text(reader, "region", REQUIRED, GRAMMAR_REGION, NOT_EMPTY);
    line->hello.control_plane_id = take_uuid(reader, "control_plane_id");
    line->hello.epoch = take_uuid(reader, "epoch");
    line->hello.version = take_version(reader, "version");
    line->hello.heartbeat_ms = take_u32(reader, "heartbeat_ms", 1);
    take_digest(reader, "digest_key", line->hello.digest_key);
    line->hello.accepted = take_flag(reader, "accepted");
    line->hello.feed = take_uuid_if_any(reader, "feed");
    line->hello.name_shared = take_flag(reader, "name_shared");
}

static void read_begin(struct reader *reader, struct feed_line *line)
{
    line->begin.prev = take_version(reader, "prev");
    line->begin.version = take_version(reader, "version");
    line->begin.time_ms = take_integer(reader, "time_ms", 0, INT64_MAX);
}

static void read_digest(struct reader *reader, struct feed_line *line)
{
    struct set_hash *buckets;

    line->digest.scope = take_u32(reader, "scope", MODEL_SCOPE_CP);
    take_hashes(reader, "hash", 1, &line->digest.hash);
    if (json_object_get(reader->object, "buckets") == NULL)
        return;
    buckets = arena_array(reader->arena, SET_HASH_BUCKETS, sizeof(*buckets));
    if (buckets == NULL) {
        out_of_memory(reader);
        return;
    }
    take_hashes(reader, "buckets", SET_HASH_BUCKETS, buckets);
    line->digest.buckets = buckets;
}

static void read_commit(struct reader *reader, struct feed_line *line)
{
    line->commit.all_scopes = take_flag(reader, "all_scopes");
    line->commit.version = take_version(reader, "version");
    line->commit.changes = take_version(reader, "changes");
}

static void read_heartbeat(struct reader *reader, struct feed_line *line)
{
    line->heartbeat.acknowledge = take_flag(reader, "acknowledge");
    line->heartbeat.name_shared = take_flag(reader, "name_shared");
    line->heartbeat.version = take_version(reader, "version");
    line->heartbeat.time_ms = take_integer(reader, "time_ms", 0, INT64_MAX);
}

static enum feed_resync_reason take_reason(struct reader *reader)
{
    json_t *value = change_decode_find(reader, "reason");

    for (int i = 0; json_is_string(value) && i < FEED_RESYNC_REASONS; i++) {
        if (strcmp(json_string_value(value), feed_resync_reason_text(i)) == 0)
            return (enum feed_resync_reason)i;
    }
    change_decode_refuse(reader, "reason", "is not a known reason");
    return FEED_RESYNC_REASONS;
}

/* Only the digest is taken from it: a path that leads elsewhere is none. */
static void take_path(struct reader *reader, uint8_t sha256[DIGEST_BYTES])
{
    const char *text = json_string_value(change_decode_find(reader, "path"));
    const size_t start = strlen(SNAPSHOT_PATH);

    if (text == NULL || strncmp(text, SNAPSHOT_PATH, start) != 0 ||
        strlen(text) != start + 2 * (size_t)DIGEST_BYTES ||
        !hex_decode(text + start, 2 * (size_t)DIGEST_BYTES, sha256))
        change_decode_refuse(reader, "path", "is not that of a snapshot");
}

static void read_preparing(struct reader *reader, struct feed_line *line)
{
    (void)reader; /* its type says all */
    (void)line;
}

static void read_resync(struct reader *reader, struct feed_line *line)
{
    struct snapshot_name *snapshot = &line->resync.snapshot;

    line->resync.reason = take_reason(reader);
    take_path(reader, snapshot->sha256);
    snapshot->size = take_version(reader, "size");
    snapshot->cursor.epoch = take_uuid(reader, "epoch");
    snapshot->cursor.version = take_version(reader, "version");
}

static const struct line_type {
    const char *name;
    enum feed_line_kind kind;
    void (*read)(struct reader *reader, struct feed_line *line);
} line_types[] = {
    {"key", FEED_LINE_CHANGE, change_decode_read_key},
    {"consumer", FEED_LINE_CHANGE, change_decode_read_consumer},
    {"realm", FEED_LINE_CHANGE, change_decode_read_realm},
    {"key_delete", FEED_LINE_CHANGE, read_key_delete},
    {"consumer_delete", FEED_LINE_CHANGE, read_consumer_delete},
    {"realm_delete", FEED_LINE_CHANGE, read_realm_delete},
    {"bucket", FEED_LINE_CHANGE, read_bucket},
    {"digest", FEED_LINE_DIGEST, read_digest},
    {"begin", FEED_LINE_BEGIN, read_begin},
    {"commit", FEED_LINE_COMMIT, read_commit},
    {"heartbeat", FEED_LINE_HEARTBEAT, read_heartbeat},
    {"hello", FEED_LINE_HELLO, read_hello},
    {"preparing", FEED_LINE_PREPARING, read_preparing},
    {"resync", FEED_LINE_RESYNC, read_resync},
};

static const struct line_type *find_type(json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "type"));

    for (size_t i = 0; name != NULL && i < sizeof(line_types) / sizeof(line_types[0]); i++) {
        if (strcmp(name, line_types[i].name) == 0)
            return &line_types[i];
    }
    return NULL;
}

static int read_line(json_t *object, struct arena *arena, struct feed_line *ret, struct error *err)
{
    const struct line_type *type = find_type(object);
    struct reader reader = {.object = object, .arena = arena, .err = err};
    struct feed_line line;

    if (!json_is_object(object))
        return error_set(err, E_PROTOCOL, "a feed line is not a JSON object");
    if (type == NULL)
        return error_set(err, E_PROTOCOL,
                         "a feed line has no type or one this agent does not know");
    memset(&line, 0, sizeof(line));
    line.kind = type->kind;
    reader.type = type->name;
    type->read(&reader, &line);
    if (reader.rc == 0)
        *ret = line;
    return reader.rc;
}

int feed_line_decode(const char *text, size_t length, struct arena *arena, struct feed_line *ret,
                     struct error *err)
{
    json_error_t where;
    json_t *object;
    int rc;

    if (length > FEED_LINE_MAX_BYTES)
        return error_set(err, E_PROTOCOL, "a feed line is longer than %d bytes",
                         FEED_LINE_MAX_BYTES);
    object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
    if (object == NULL && json_error_code(&where) == json_error_out_of_memory)
        return error_set(err, E_NO_MEMORY, "no memory for a feed line of %zu bytes", length);
    if (object == NULL) /* where.text may quote the line, a hello's digest key with it */
        return error_set(err, E_PROTOCOL, "a feed line of %zu bytes is not JSON at byte %d", length,
                         where.position);
    rc = read_line(object, arena, ret, err);
    json_decref(object);
    return rc;
}

/* sync/change.h: what is encoded comes back equal; what is not the protocol is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/change.h"

#define UUID_A "497f6eca-6276-4993-bfeb-53cbbbba6f08"
#define UUID_C "5f0c1d3e-7a3b-4c55-9d21-00000000000c"
#define UUID_B "01932f00-0000-7000-8000-0123456789ab"
#define HEX64  "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

enum { ARENA_MAX = 4 * 1024 * 1024 };

/* Strings at which an encoder or a decoder could stumble. */
static const char *const extreme[] = {
    "a",
    "\"",
    "\\",
    "\\u0000",
    "\x01\x02\x1f\x7f",
    "\b\f\n\r\t",
    "/slash/",
    "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
    "\xef\xbb\xbf",
    "\xed\x9f\xbf\xee\x80\x80",
    "\xf4\x8f\xbf\xbf",
    "</script>\xe2\x80\xa8",
};
enum { N_EXTREME = sizeof(extreme) / sizeof(extreme[0]) };

static struct uuid uuid_of(const char *text)
{
    struct uuid uuid;

    assert_true(uuid_parse(text, &uuid));
    return uuid;
}

static int decode_text(const char *text, size_t length, struct feed_line *ret, struct arena *arena,
                       struct error *err)
{
    return feed_line_decode(text, length, arena, ret, err);
}

/* Encodes, decodes, and hands the arena over so that the caller can compare and free. */
static struct feed_line round_trip(const struct change *change, struct arena *arena)
{
    struct buffer out;
    struct feed_line line;
    struct error err = ERROR_INIT;

    buffer_init(&out, FEED_LINE_MAX_BYTES);
    assert_int_equal(change_encode(change, &out), 0);
    assert_int_equal(out.data[out.size - 1], '\n');
    assert_ptr_equal(memchr(out.data, '\n', out.size), out.data + out.size - 1);
    arena_init(arena, ARENA_MAX);
    if (feed_line_decode((char *)out.data, out.size - 1, arena, &line, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(line.kind, FEED_LINE_CHANGE);
    assert_int_equal(line.change.kind, change->kind);
    assert_int_equal(line.change.scope, change->scope);
    buffer_finish(&out);
    return line;
}

static void assert_strings_equal(const struct model_strings *a, const struct model_strings *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        assert_string_equal(a->items[i], b->items[i]);
}

static void assert_text_equal(const char *a, const char *b)
{
    if (b == NULL)
        assert_null(a);
    else
        assert_string_equal(a, b);
}

static void assert_uuids_equal(const struct uuid *a, const struct uuid *b)
{
    assert_memory_equal(a, b, sizeof(*a));
}

/* ---- round trips ---- */

static void check_realm(const struct model_realm *realm)
{
    struct change change = {.kind = CHANGE_REALM, .scope = realm->number, .realm = *realm};
    struct arena arena;
    struct feed_line line = round_trip(&change, &arena);

    assert_uuids_equal(&line.change.realm.id, &realm->id);
    assert_int_equal(line.change.realm.number, realm->number);
    assert_int_equal(line.change.realm.ttl_min, realm->ttl_min);
    assert_int_equal(line.change.realm.negative_ttl_min, realm->negative_ttl_min);
    assert_string_equal(line.change.realm.name, realm->name);
    assert_string_equal(line.change.realm.region, realm->region);
    assert_strings_equal(&line.change.realm.groups, &realm->groups);
    arena_finish(&arena);
}

static void realm_comes_back_equal(void **state)
{
    struct model_realm realm = {.id = uuid_of(UUID_A),
                                .number = UINT32_MAX,
                                .ttl_min = UINT32_MAX,
                                .negative_ttl_min = 1,
                                .region = "us"};

    (void)state;
    for (size_t i = 0; i < N_EXTREME; i++) {
        realm.name = extreme[i];
        realm.groups = (struct model_strings){extreme, i};
        check_realm(&realm);
    }
}

static void check_consumer(const struct model_consumer *consumer, uint32_t scope)
{
    struct change change = {.kind = CHANGE_CONSUMER, .scope = scope, .consumer = *consumer};
    struct arena arena;
    struct feed_line line = round_trip(&change, &arena);

    assert_uuids_equal(&line.change.consumer.id, &consumer->id);
    assert_int_equal(line.change.consumer.type, consumer->type);
    assert_text_equal(line.change.consumer.username, consumer->username);
    assert_text_equal(line.change.consumer.custom_id, consumer->custom_id);
    assert_strings_equal(&line.change.consumer.tags, &consumer->tags);
    assert_strings_equal(&line.change.consumer.groups, &consumer->groups);
    arena_finish(&arena);
}

static void consumer_comes_back_equal(void **state)
{
    struct model_consumer consumer = {.id = uuid_of(UUID_B)};

    (void)state;
    for (size_t i = 0; i < N_EXTREME; i++) {
        consumer.type = (enum model_consumer_type)(i % MODEL_CONSUMER_TYPES);
        consumer.username = extreme[i];
        consumer.custom_id = i % 2 == 0 ? NULL : extreme[N_EXTREME - 1 - i];
        consumer.tags = (struct model_strings){extreme, i};
        consumer.groups = (struct model_strings){extreme + i, N_EXTREME - i};
        check_consumer(&consumer, 7);
    }
    consumer.username = NULL;
    consumer.custom_id = "";
    check_consumer(&consumer, MODEL_SCOPE_CP);
}

/* Every string at its limit and made of bytes whose escapes are the longest. */
static void entity_at_all_its_limits_fits_one_line(void **state)
{
    char *name = malloc(MODEL_NAME_MAX + 1);
    char *label = malloc(MODEL_LABEL_MAX + 1);
    const char *labels[MODEL_LABELS_MAX];
    struct model_consumer consumer = {.id = uuid_of(UUID_B),
                                      .username = name,
                                      .custom_id = name,
                                      .tags = {labels, MODEL_LABELS_MAX},
                                      .groups = {labels, MODEL_LABELS_MAX}};

    (void)state;
    assert_non_null(name);
    assert_non_null(label);
    memset(name, 1, MODEL_NAME_MAX);
    memset(label, 1, MODEL_LABEL_MAX);
    name[MODEL_NAME_MAX] = 0;
    label[MODEL_LABEL_MAX] = 0;
    for (size_t i = 0; i < MODEL_LABELS_MAX; i++)
        labels[i] = label;
    check_consumer(&consumer, 1);
    free(name);
    free(label);
}

static void key_comes_back_equal(void **state)
{
    static const int64_t expiries[] = {0, 1, 1795507377123, INT64_MAX};
    struct change change = {.kind = CHANGE_KEY, .scope = 3};
    struct feed_line line;
    struct arena arena;

    (void)state;
    change.key.id = uuid_of(UUID_A);
    change.key.consumer_id = uuid_of(UUID_B);
    memset(change.key.digest, 0xf0, DIGEST_BYTES);
    for (size_t i = 0; i < 4; i++) {
        change.key.expires_at_ms = expiries[i];
        change.key.tags = (struct model_strings){extreme, i};
        line = round_trip(&change, &arena);
        assert_uuids_equal(&line.change.key.id, &change.key.id);
        assert_uuids_equal(&line.change.key.consumer_id, &change.key.consumer_id);
        assert_memory_equal(line.change.key.digest, change.key.digest, DIGEST_BYTES);
        assert_true(line.change.key.expires_at_ms == expiries[i]);
        assert_strings_equal(&line.change.key.tags, &change.key.tags);
        arena_finish(&arena);
    }
}

static void deletes_come_back_equal(void **state)
{
    struct change realm = {.kind = CHANGE_REALM_DELETE, .scope = 4};
    struct change consumer = {.kind = CHANGE_CONSUMER_DELETE, .scope = 5};
    struct change key = {.kind = CHANGE_KEY_DELETE, .scope = MODEL_SCOPE_CP};
    struct change bucket = {.kind = CHANGE_BUCKET, .scope = 7, .bucket = 255};
    struct arena arena;
    struct feed_line line;

    (void)state;
    (void)round_trip(&realm, &arena);
    arena_finish(&arena);

    consumer.id = uuid_of(UUID_A);
    line = round_trip(&consumer, &arena);
    assert_uuids_equal(&line.change.id, &consumer.id);
    arena_finish(&arena);

    line = round_trip(&bucket, &arena);
    assert_int_equal(line.change.bucket, 255);
    arena_finish(&arena);

    key.key.id = uuid_of(UUID_A);
    key.key.consumer_id = uuid_of(UUID_B);
    line = round_trip(&key, &arena);
    assert_uuids_equal(&line.change.key.id, &key.key.id);
    assert_uuids_equal(&line.change.key.consumer_id, &key.key.consumer_id);
    arena_finish(&arena);
}

static struct feed_line line_round_trip(const struct feed_line *line, struct arena *arena)
{
    struct buffer out;
    struct feed_line ret;
    struct error err = ERROR_INIT;

    buffer_init(&out, FEED_LINE_MAX_BYTES);
    arena_init(arena, ARENA_MAX);
    assert_int_equal(feed_line_encode(line, &out), 0);
    if (feed_line_decode((char *)out.data, out.size - 1, arena, &ret, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(ret.kind, line->kind);
    buffer_finish(&out);
    return ret;
}

static void hello_comes_back_equal(void **state)
{
    struct feed_line line = {.kind = FEED_LINE_HELLO,
                             .hello = {.protocol = 1,
                                       .control_plane_id = uuid_of(UUID_A),
                                       .epoch = uuid_of(UUID_B),
                                       .version = INT64_MAX,
                                       .heartbeat_ms = 2000,
                                       .region = "eu-west-1"}};
    struct arena arena;
    struct feed_line back;

    (void)state;
    memset(line.hello.digest_key, 0xa5, DIGEST_KEY_BYTES);
    back = line_round_trip(&line, &arena);
    assert_false(back.hello.accepted);
    assert_true(uuid_is_nil(&back.hello.feed)); /* as from a control plane of before */
    assert_false(back.hello.name_shared);
    arena_finish(&arena);
    line.hello.accepted = line.hello.name_shared = true;
    line.hello.feed = uuid_of(UUID_C);
    back = line_round_trip(&line, &arena);
    assert_int_equal(back.hello.protocol, 1);
    assert_uuids_equal(&back.hello.control_plane_id, &line.hello.control_plane_id);
    assert_uuids_equal(&back.hello.epoch, &line.hello.epoch);
    assert_true(back.hello.version == line.hello.version);
    assert_int_equal(back.hello.heartbeat_ms, 2000);
    assert_string_equal(back.hello.region, "eu-west-1");
    assert_true(back.hello.accepted);
    assert_uuids_equal(&back.hello.feed, &line.hello.feed);
    assert_true(back.hello.name_shared);
    assert_memory_equal(back.hello.digest_key, line.hello.digest_key, DIGEST_KEY_BYTES);
    arena_finish(&arena);
}

static void framing_lines_come_back_equal(void **state)
{
    struct feed_line begin = {.kind = FEED_LINE_BEGIN, .begin = {0, 812, 1795507377123}};
    struct feed_line commit = {.kind = FEED_LINE_COMMIT, .commit = {812, 6}};
    struct feed_line heartbeat = {.kind = FEED_LINE_HEARTBEAT, .heartbeat = {815, 0, true, true}};
    struct feed_line preparing = {.kind = FEED_LINE_PREPARING};
    struct feed_line resync = {.kind = FEED_LINE_RESYNC,
                               .resync.snapshot = {{0xab, 0xcd}, 1234567, {{{1, 2}}, 812}}};
    struct arena arena;
    struct feed_line back;

    (void)state;
    back = line_round_trip(&begin, &arena);
    assert_memory_equal(&back.begin, &begin.begin, sizeof(back.begin));
    arena_finish(&arena);
    back = line_round_trip(&commit, &arena);
    assert_memory_equal(&back.commit, &commit.commit, sizeof(back.commit));
    arena_finish(&arena);
    back = line_round_trip(&heartbeat, &arena);
    assert_memory_equal(&back.heartbeat, &heartbeat.heartbeat, sizeof(back.heartbeat));
    arena_finish(&arena);
    for (int i = 0; i < FEED_RESYNC_REASONS; i++) {
        resync.resync.reason = (enum feed_resync_reason)i;
        back = line_round_trip(&resync, &arena);
        assert_int_equal(back.resync.reason, i);
        assert_memory_equal(&back.resync.snapshot, &resync.resync.snapshot,
                            sizeof(resync.resync.snapshot));
        arena_finish(&arena);
    }
    (void)line_round_trip(&preparing, &arena);
    arena_finish(&arena);
}

static void digests_come_back_equal(void **state)
{
    struct set_hash buckets[SET_HASH_BUCKETS];
    struct feed_line line = {.kind = FEED_LINE_DIGEST, .digest = {.scope = UINT32_MAX}};
    struct feed_line commit = {.kind = FEED_LINE_COMMIT, .commit = {.all_scopes = true}};
    struct feed_line back;
    struct arena arena;

    (void)state;
    line.digest.hash = set_hash_of("a", 1);
    back = line_round_trip(&line, &arena);
    assert_true(set_hash_equal(&back.digest.hash, &line.digest.hash));
    assert_int_equal(back.digest.scope, UINT32_MAX);
    assert_null(back.digest.buckets);
    arena_finish(&arena);

    for (unsigned i = 0; i < SET_HASH_BUCKETS; i++)
        buckets[i] = set_hash_of(&i, sizeof(i));
    line.digest.buckets = buckets;
    back = line_round_trip(&line, &arena);
    assert_memory_equal(back.digest.buckets, buckets, sizeof(buckets));
    arena_finish(&arena);

    assert_true(line_round_trip(&commit, &arena).commit.all_scopes);
    arena_finish(&arena);
}

static void encoder_leaves_nothing_behind_when_the_buffer_is_full(void **state)
{
    struct change change = {.kind = CHANGE_KEY, .scope = 3};
    struct buffer out;
    size_t length;

    (void)state;
    buffer_init(&out, FEED_LINE_MAX_BYTES);
    assert_int_equal(change_encode(&change, &out), 0);
    length = out.size;
    buffer_finish(&out);
    for (size_t max = 1; max <= length; max++) {
        buffer_init(&out, max);
        assert_int_equal(buffer_append(&out, "x", 1), 0);
        assert_int_equal(change_encode(&change, &out), E_TOO_LARGE);
        assert_int_equal(out.size, 1);
        buffer_finish(&out);
    }
}

/* ---- refusals ---- */

static void assert_refused(const char *text, size_t length)
{
    struct feed_line line;
    struct error err = ERROR_INIT;
    struct arena arena;

    arena_init(&arena, ARENA_MAX);
    if (decode_text(text, length, &line, &arena, &err) != E_PROTOCOL)
        fail_msg("accepted: %.200s", text);
    assert_true(err.message[0] != 0);
    assert_null(strstr(err.message, HEX64));
    arena_finish(&arena);
}

static void assert_accepted(const char *text)
{
    struct feed_line line;
    struct error err = ERROR_INIT;
    struct arena arena;

    arena_init(&arena, ARENA_MAX);
    if (decode_text(text, strlen(text), &line, &arena, &err) != 0)
        fail_msg("refused: %s: %s", text, err.message);
    arena_finish(&arena);
}

/* A good line of each type, as members, so that each can be left out or replaced. */
struct member {
    const char *name;
    const char *good;
    const char *bad[12];
};

#define NOT_INTEGER "\"1\"", "1.5", "null", "true", "[1]", "9223372036854775808"
#define NOT_UUID                                                                                   \
    "\"\"", "null", "7", "\"497f6eca-6276-4993-bfeb-53cbbbba6f0\"",                                \
        "\"497f6eca62764993bfeb53cbbbba6f08\"", "\"00000000-0000-0000-0000-000000000000\""
#define NOT_DIGEST                                                                                 \
    "\"\"", "null", "7", "\"00\"",                                                                 \
        "\"zz112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\""
#define NOT_STRING                                                                                 \
    "7", "{}", "[\"a\"]", "\"a\\u0000b\"", "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc0\x80\"",         \
        "\"\\ud800\""
#define NOT_STRINGS "7", "{}", "null", "\"a\"", "[7]", "[null]", "[\"a\\u0000\"]", "[\"\xff\"]"

static const struct schema {
    const char *type;
    struct member members[8];
} schemas[] = {
    {"hello",
     {{"protocol", "1", {NOT_INTEGER, "0", "-1", "4294967296"}},
      {"region", "\"us\"", {NOT_STRING, "null", "\"\""}},
      {"control_plane_id", "\"" UUID_A "\"", {NOT_UUID}},
      {"epoch", "\"" UUID_B "\"", {NOT_UUID}},
      {"version", "812", {NOT_INTEGER, "-1"}},
      {"heartbeat_ms", "2000", {NOT_INTEGER, "0", "-1", "4294967296"}},
      {"digest_key", "\"" HEX64 "\"", {NOT_DIGEST}}}},
    {"begin",
     {{"prev", "800", {NOT_INTEGER, "-1"}},
      {"version", "812", {NOT_INTEGER, "-1"}},
      {"time_ms", "1795507377123", {NOT_INTEGER, "-1"}}}},
    {"commit", {{"version", "812", {NOT_INTEGER, "-1"}}, {"changes", "6", {NOT_INTEGER, "-1"}}}},
    {"heartbeat",
     {{"version", "812", {NOT_INTEGER, "-1"}}, {"time_ms", "1795507377123", {NOT_INTEGER, "-1"}}}},
    {"resync",
     {{"reason", "\"too_old\"", {"7", "null", "\"\"", "\"bored\""}},
      {"path",
       "\"" SNAPSHOT_PATH HEX64 "\"",
       {"7", "null", "\"\"", "\"" HEX64 "\"", "\"" SNAPSHOT_PATH "\"", "\"/other/path/" HEX64 "\"",
        "\"" SNAPSHOT_PATH HEX64 "0\"", "\"" SNAPSHOT_PATH "../../../v1/tokens\""}},
      {"size", "7", {NOT_INTEGER, "-1"}},
      {"epoch", "\"" UUID_A "\"", {NOT_UUID}},
      {"version", "812", {NOT_INTEGER, "-1"}}}},
    {"realm_delete", {{"number", "4", {NOT_INTEGER, "0", "-1", "4294967296"}}}},
    {"key_delete",
     {{"scope", "7", {NOT_INTEGER, "-1", "4294967296"}},
      {"consumer", "\"" UUID_A "\"", {NOT_UUID}},
      {"id", "\"" UUID_B "\"", {NOT_UUID}}}},
    {"consumer_delete",
     {{"scope", "7", {NOT_INTEGER, "-1", "4294967296"}}, {"id", "\"" UUID_B "\"", {NOT_UUID}}}},
    {"realm",
     {{"number", "7", {NOT_INTEGER, "0", "-1", "4294967296"}},
      {"id", "\"" UUID_A "\"", {NOT_UUID}},
      {"name", "\"prod\"", {NOT_STRING, "null", "\"\""}},
      {"region", "\"us\"", {NOT_STRING, "null", "\"\""}},
      {"ttl", "10", {NOT_INTEGER, "0", "-1", "4294967296"}},
      {"negative_ttl", "10", {NOT_INTEGER, "0", "-1", "4294967296"}},
      {"groups", "[\"gold\"]", {NOT_STRINGS}}}},
    {"consumer",
     {{"scope", "7", {NOT_INTEGER, "-1", "4294967296"}},
      {"id", "\"" UUID_A "\"", {NOT_UUID}},
      {"username", "\"Alice\"", {NOT_STRING, "null", "\"\""}},
      {"custom_id", "null", {NOT_STRING}},
      {"consumer_type", "\"proxy\"", {"7", "null", "\"\"", "\"robot\""}},
      {"tags", "[]", {NOT_STRINGS}},
      {"groups", "[\"gold\"]", {NOT_STRINGS}}}},
    {"bucket",
     {{"scope", "7", {NOT_INTEGER, "-1"}}, {"bucket", "255", {NOT_INTEGER, "-1", "256"}}}},
    {"digest",
     {{"scope", "7", {NOT_INTEGER, "-1"}},
      {"hash",
       "\"000102030405060708090a0b0c0d0e0f\"",
       {"7", "null", "\"\"", "\"000102030405060708090a0b0c0d0e\"",
        "\"000102030405060708090a0b0c0d0e0g\""}}}},
    {"key",
     {{"scope", "7", {NOT_INTEGER, "-1", "4294967296"}},
      {"consumer", "\"" UUID_A "\"", {NOT_UUID}},
      {"id", "\"" UUID_B "\"", {NOT_UUID}},
      {"digest", "\"" HEX64 "\"", {NOT_DIGEST}},
      {"expires_at_ms", "null", {"0", "-1", "\"1\"", "1.5", "[]"}},
      {"tags", "[\"t\"]", {NOT_STRINGS}}}},
};
enum { N_SCHEMAS = sizeof(schemas) / sizeof(schemas[0]) };

static size_t count_members(const struct schema *schema)
{
    size_t n = 0;

    while (n < 8 && schema->members[n].name != NULL)
        n++;
    return n;
}

/* The line with member `which` replaced by `value`; NULL leaves it out. */
static void compose(struct buffer *out, const struct schema *schema, size_t which,
                    const char *value)
{
    buffer_clear(out);
    assert_int_equal(buffer_printf(out, "{\"type\":\"%s\"", schema->type), 0);
    for (size_t i = 0; i < count_members(schema); i++) {
        const char *text = i == which ? value : schema->members[i].good;

        if (text != NULL)
            assert_int_equal(buffer_printf(out, ",\"%s\":%s", schema->members[i].name, text), 0);
    }
    assert_int_equal(buffer_append_string(out, "}"), 0);
    assert_int_equal(buffer_terminate(out), 0);
}

static void each_member_must_be_there_and_right(void **state)
{
    struct buffer out;

    (void)state;
    buffer_init(&out, ARENA_MAX);
    for (size_t s = 0; s < N_SCHEMAS; s++) {
        compose(&out, &schemas[s], SIZE_MAX, NULL);
        assert_accepted((char *)out.data);
        for (size_t i = 0; i < count_members(&schemas[s]); i++) {
            const struct member *member = &schemas[s].members[i];

            compose(&out, &schemas[s], i, NULL);
            assert_refused((char *)out.data, out.size);
            for (size_t b = 0; b < 12 && member->bad[b] != NULL; b++) {
                compose(&out, &schemas[s], i, member->bad[b]);
                assert_refused((char *)out.data, out.size);
            }
        }
    }
    buffer_finish(&out);
}

static void every_prefix_of_a_line_is_refused(void **state)
{
    struct buffer out;

    (void)state;
    buffer_init(&out, ARENA_MAX);
    for (size_t s = 0; s < N_SCHEMAS; s++) {
        compose(&out, &schemas[s], SIZE_MAX, NULL);
        for (size_t length = 0; length < out.size; length++)
            assert_refused((char *)out.data, length);
    }
    buffer_finish(&out);
}

static void strings_and_lists_over_their_limits_are_refused(void **state)
{
    static const struct {
        const char *type;
        const char *member;
        size_t limit;
    } cases[] = {
        {"realm", "name", MODEL_NAME_MAX},         {"realm", "region", MODEL_REGION_MAX},
        {"hello", "region", MODEL_REGION_MAX},     {"consumer", "username", MODEL_NAME_MAX},
        {"consumer", "custom_id", MODEL_NAME_MAX},
    };
    char value[MODEL_NAME_MAX + 16];
    struct buffer out;

    (void)state;
    buffer_init(&out, ARENA_MAX);
    for (size_t c = 0; c < 5; c++) {
        for (size_t s = 0; s < N_SCHEMAS; s++) {
            for (size_t i = 0; i < count_members(&schemas[s]); i++) {
                if (strcmp(schemas[s].type, cases[c].type) != 0 ||
                    strcmp(schemas[s].members[i].name, cases[c].member) != 0)
                    continue;
                memset(value, 'x', sizeof(value));
                value[0] = '"';
                value[cases[c].limit + 1] = '"';
                value[cases[c].limit + 2] = 0;
                compose(&out, &schemas[s], i, value);
                assert_accepted((char *)out.data);
                value[cases[c].limit + 1] = 'x';
                value[cases[c].limit + 2] = '"';
                value[cases[c].limit + 3] = 0;
                compose(&out, &schemas[s], i, value);
                assert_refused((char *)out.data, out.size);
            }
        }
    }
    buffer_finish(&out);
}

static void a_list_of_65_labels_is_refused(void **state)
{
    struct buffer list;
    struct buffer out;

    (void)state;
    buffer_init(&list, ARENA_MAX);
    buffer_init(&out, ARENA_MAX);
    for (size_t n = MODEL_LABELS_MAX; n <= MODEL_LABELS_MAX + 1; n++) {
        buffer_clear(&list);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(buffer_append_string(&list, i == 0 ? "[\"a\"" : ",\"a\""), 0);
        assert_int_equal(buffer_append_string(&list, "]"), 0);
        assert_int_equal(buffer_terminate(&list), 0);
        compose(&out, &schemas[N_SCHEMAS - 1], 5, (char *)list.data);
        if (n == MODEL_LABELS_MAX)
            assert_accepted((char *)out.data);
        else
            assert_refused((char *)out.data, out.size);
    }
    buffer_finish(&list);
    buffer_finish(&out);
}

static void lines_that_are_no_feed_lines_are_refused(void **state)
{
    static const char *const lines[] = {
        "",
        "null",
        "7",
        "[]",
        "\"hello\"",
        "{}",
        "{\"type\":7}",
        "{\"type\":\"\"}",
        "{\"type\":\"HEARTBEAT\",\"version\":1,\"time_ms\":1}",
        "{\"type\":\"later\"}",
        "{\"type\":\"realm_delete\",\"number\":4}x",
        "{\"type\":\"realm_delete\",\"number\":4}{}",
        "{\"type\":\"realm_delete\",\"number\":4,}",
        "{\"type\":\"realm_delete\",\"number\":4,\"number\":5}",
        "{\"type\":\"realm_delete\",\"type\":\"realm_delete\",\"number\":4}",
        "{'type':'realm_delete','number':4}",
        "{\"type\":\"realm_delete\",\"number\":04}",
        "{\"type\":\"realm_delete\",\"number\":4,\"x\":\"\xff\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_refused(lines[i], strlen(lines[i]));
    assert_refused("{\"type\":\"realm_delete\",\"number\":4}\0", 35 + 1);
}

static void unknown_members_are_passed_over(void **state)
{
    (void)state;
    assert_accepted("{\"later\":{\"a\":[1,2.5,null]},\"type\":\"realm_delete\",\"number\":4}");
}

/* In a member that is passed over, and where something else should be. */
static void a_hundred_levels_are_no_trouble(void **state)
{
    enum { LEVELS = 100 };
    char deep[2 * LEVELS + 1];
    char text[3 * LEVELS + 100];

    (void)state;
    memset(deep, '[', LEVELS);
    memset(deep + LEVELS, ']', LEVELS);
    deep[sizeof(deep) - 1] = 0;
    (void)snprintf(text, sizeof(text), "{\"later\":%s,\"type\":\"realm_delete\",\"number\":4}",
                   deep);
    assert_accepted(text);
    (void)snprintf(text, sizeof(text), "{\"type\":\"realm_delete\",\"number\":%s}", deep);
    assert_refused(text, strlen(text));
    assert_refused(deep, strlen(deep));
}

static void deep_nesting_and_long_lines_are_refused(void **state)
{
    static const char line[] = "{\"type\":\"realm_delete\",\"number\":4}";
    size_t size = FEED_LINE_MAX_BYTES + 1;
    char *text = malloc(size);

    (void)state;
    assert_non_null(text);
    memset(text, '[', size);
    assert_refused(text, size - 1);
    memset(text, ' ', size);
    for (size_t i = 0; line[i] != 0; i++)
        text[i] = line[i];
    assert_refused(text, size);
    free(text);
}

static void arena_ceiling_is_out_of_memory_not_a_protocol_error(void **state)
{
    struct buffer out;
    struct feed_line line;
    struct error err = ERROR_INIT;
    struct arena arena;

    (void)state;
    buffer_init(&out, ARENA_MAX);
    compose(&out, &schemas[8], SIZE_MAX, NULL);
    arena_init(&arena, 16);
    assert_int_equal(feed_line_decode((char *)out.data, out.size, &arena, &line, &err),
                     E_NO_MEMORY);
    arena_finish(&arena);
    buffer_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(realm_comes_back_equal),
        cmocka_unit_test(consumer_comes_back_equal),
        cmocka_unit_test(entity_at_all_its_limits_fits_one_line),
        cmocka_unit_test(key_comes_back_equal),
        cmocka_unit_test(deletes_come_back_equal),
        cmocka_unit_test(hello_comes_back_equal),
        cmocka_unit_test(framing_lines_come_back_equal),
        cmocka_unit_test(digests_come_back_equal),
        cmocka_unit_test(encoder_leaves_nothing_behind_when_the_buffer_is_full),
        cmocka_unit_test(each_member_must_be_there_and_right),
        cmocka_unit_test(every_prefix_of_a_line_is_refused),
        cmocka_unit_test(strings_and_lists_over_their_limits_are_refused),
        cmocka_unit_test(a_list_of_65_labels_is_refused),
        cmocka_unit_test(lines_that_are_no_feed_lines_are_refused),
        cmocka_unit_test(unknown_members_are_passed_over),
        cmocka_unit_test(a_hundred_levels_are_no_trouble),
        cmocka_unit_test(deep_nesting_and_long_lines_are_refused),
        cmocka_unit_test(arena_ceiling_is_out_of_memory_not_a_protocol_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

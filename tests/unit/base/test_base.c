/* The helpers of base/: buffers, arenas, identifiers, times, digests, error messages, log lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/set_hash.h"
#include "base/uuid.h"

static void buffer_grows_to_its_ceiling_and_not_beyond(void **state)
{
    struct buffer buf;

    (void)state;
    buffer_init(&buf, 1000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(buffer_append(&buf, "0123456789", 10), 0);
    assert_int_equal(buffer_append(&buf, "x", 1), E_TOO_LARGE);
    assert_int_equal(buf.size, 1000);
    assert_memory_equal(buf.data + 990, "0123456789", 10);
    buffer_finish(&buf);
}

static void buffer_consume_keeps_the_rest_in_order(void **state)
{
    struct buffer buf;

    (void)state;
    buffer_init(&buf, 64);
    assert_int_equal(buffer_append_string(&buf, "abcdef"), 0);
    buffer_consume(&buf, 4);
    assert_int_equal(buffer_printf(&buf, "-%d", 42), 0);
    assert_int_equal(buffer_terminate(&buf), 0);
    assert_string_equal((char *)buf.data, "ef-42");
    buffer_finish(&buf);
}

static void arena_refuses_what_is_over_its_ceiling(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, 10000);
    assert_non_null(arena_alloc(&arena, 8000));
    assert_null(arena_alloc(&arena, 4000));
    assert_null(arena_array(&arena, SIZE_MAX / 2, 4));
    arena_reset(&arena);
    assert_string_equal(arena_printf(&arena, "%s-%d", "a", 7), "a-7");
    arena_finish(&arena);
}

static void uuid_text_is_strict_and_round_trips(void **state)
{
    static const char *const bad[] = {"",
                                      "497f6eca-6276-4993-bfeb-53cbbbba6f0",
                                      "497f6eca-6276-4993-bfeb-53cbbbba6f088",
                                      "497f6eca_6276-4993-bfeb-53cbbbba6f08",
                                      "497f6eca-6276-4993-bfeb-53cbbbba6f0g",
                                      "{97f6eca-6276-4993-bfeb-53cbbbba6f08"};
    char text[UUID_TEXT_SIZE];
    struct uuid uuid;

    (void)state;
    assert_true(uuid_parse("497F6ECA-6276-4993-bfeb-53cbbbba6f08", &uuid));
    assert_string_equal(uuid_format(&uuid, text), "497f6eca-6276-4993-bfeb-53cbbbba6f08");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(uuid_parse(bad[i], &uuid));
}

static void generated_uuids_are_version_7_of_the_present(void **state)
{
    struct uuid uuid;
    int64_t stamp = 0;

    (void)state;
    assert_int_equal(uuid_generate(&uuid), 0);
    assert_int_equal(uuid.bytes[6] >> 4, 7);
    assert_int_equal(uuid.bytes[8] >> 6, 2);
    for (int i = 0; i < 6; i++)
        stamp = stamp << 8 | uuid.bytes[i];
    assert_in_range(clock_wall_ms() - stamp, 0, 60000);
}

static void iso_times_round_trip_and_impossible_dates_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "2026-02-31T00:00:00Z",
                                      "2026-13-01T00:00:00Z",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01 00:00:00Z",
                                      "2026-01-01T00:00:00",
                                      "2026-01-01T00:00:00Zx",
                                      "2026-01-01T00:00:00.Z",
                                      "2026-01-01T00:00:00+25:00"};
    char text[CLOCK_ISO_SIZE];
    int64_t ms;

    (void)state;
    assert_int_equal(clock_parse_iso("2026-11-24T08:02:57.123Z", &ms), 0);
    assert_string_equal(clock_format_iso(ms, text), "2026-11-24T08:02:57.123Z");
    assert_int_equal(clock_parse_iso("2026-11-24T10:02:57.1239+02:00", &ms), 0);
    assert_string_equal(clock_format_iso(ms, text), "2026-11-24T08:02:57.123Z");
    assert_int_equal(clock_parse_iso("2028-02-29T23:59:59-00:30", &ms), 0);
    assert_string_equal(clock_format_iso(ms, text), "2028-03-01T00:29:59.000Z");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(clock_parse_iso(bad[i], &ms), E_INVALID);
}

static void digest_is_hmac_sha256(void **state)
{
    /* The key is 32 bytes 0x0b; expected value from `openssl dgst -sha256 -mac HMAC`. */
    uint8_t secret[DIGEST_KEY_BYTES];
    uint8_t digest[DIGEST_BYTES];
    char text[2 * DIGEST_BYTES + 1];
    struct digest_key key;

    (void)state;
    memset(secret, 0x0b, sizeof(secret));
    digest_key_init(&key, secret);
    digest_compute(&key, "Hi There", 8, digest);
    hex_encode(digest, sizeof(digest), text);
    assert_string_equal(text, "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7");
    digest_key_wipe(&key);
}

static void set_hash_knows_no_order_and_forgets_what_leaves(void **state)
{
    struct set_hash parts[64];
    struct set_hash forth = {0};
    struct set_hash back = {0};
    uint8_t bytes[SET_HASH_BYTES];

    (void)state;
    for (unsigned i = 0; i < 64; i++) {
        parts[i] = set_hash_of(&i, sizeof(i));
        set_hash_add(&forth, &parts[i]);
    }
    for (unsigned i = 64; i-- > 0;)
        set_hash_add(&back, &parts[i]);
    assert_true(set_hash_equal(&forth, &back));
    set_hash_pack(&forth, bytes);
    back = set_hash_unpack(bytes);
    assert_true(set_hash_equal(&forth, &back));
    for (unsigned i = 0; i < 64; i++) {
        assert_false(set_hash_is_zero(&back));
        set_hash_remove(&back, &parts[i * 7 % 64]);
    }
    assert_true(set_hash_is_zero(&back)); /* carries and borrows of both words met */
}

/* Pinned, because both ends must agree: "abc" is FIPS 180-4's first example. */
static void set_hash_is_half_of_sha256(void **state)
{
    const struct set_hash hash = set_hash_of("abc", 3);
    uint8_t bytes[SET_HASH_BYTES];
    char text[2 * SET_HASH_BYTES + 1];
    struct set_hash_marks marks = {{0}};
    struct uuid id;

    (void)state;
    set_hash_pack(&hash, bytes);
    hex_encode(bytes, sizeof(bytes), text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223");
    assert_true(uuid_parse("01932f00-0000-7000-8000-0000000000a5", &id));
    assert_int_equal(set_hash_bucket(&id), 0x01 ^ 0x93 ^ 0x2f ^ 0x70 ^ 0x80 ^ 0xa5);
    set_hash_mark(&marks, 9);
    set_hash_mark(&marks, 255);
    set_hash_mark(&marks, 255);
    assert_int_equal(marks.bits[1], 2);
    assert_true(set_hash_marked(&marks, 255));
    assert_false(set_hash_marked(&marks, 254));
    assert_int_equal(set_hash_marks_count(&marks), 2);
}

static void error_context_stands_in_front_and_is_cut_when_too_long(void **state)
{
    struct error err = ERROR_INIT;
    char context[600];

    (void)state;
    assert_int_equal(error_set(&err, E_NO_SPACE, "no room for %d bytes", 7), E_NO_SPACE);
    assert_int_equal(error_context(&err, "store %s", "/x"), E_NO_SPACE);
    assert_string_equal(err.message, "store /x: no room for 7 bytes");
    memset(context, 'c', sizeof(context) - 1);
    context[sizeof(context) - 1] = 0;
    assert_int_equal(error_context(&err, "%s", context), E_NO_SPACE);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    assert_int_equal(error_set(NULL, E_IO, NULL), E_IO);
}

static void log_lines_cannot_be_forged_and_obey_the_level(void **state)
{
    char text[8192];
    int ends[2];
    struct log log;
    ssize_t size;
    const struct log_field fields[] = {{"source", "us\"\n"}, {"absent", NULL}};

    (void)state;
    assert_int_equal(pipe(ends), 0);
    log = (struct log){ends[1], LOG_LEVEL_INFO, LOG_FORMAT_JSON};
    log_debug(&log, "%s", "not shown");
    log_fields(&log, LOG_LEVEL_WARNING, fields, 2, "bad%sline", "\n");
    size = read(ends[0], text, sizeof(text) - 1);
    assert_true(size > 0);
    text[size] = 0;
    assert_null(strstr(text, "not shown"));
    assert_null(strstr(text, "absent"));
    assert_non_null(strstr(text, "\"message\":\"bad\\u000aline\",\"source\":\"us\\\"\\u000a\"}\n"));
    assert_ptr_equal(strchr(text, '\n'), text + size - 1);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void log_pace_counts_what_it_leaves_out(void **state)
{
    struct log_pace pace = {0};
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out = 99;

    (void)state;
    assert_true(log_pace_due(&pace, 1000000000, &left_out));
    assert_int_equal(left_out, 0);
    assert_string_equal(log_left_out(left_out, text), "");
    for (int i = 0; i < 3; i++)
        assert_false(log_pace_due(&pace, 1000000000, &left_out));
    assert_true(log_pace_due(&pace, 0, &left_out));
    assert_string_equal(log_left_out(left_out, text), " (3 more since the last such line)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_grows_to_its_ceiling_and_not_beyond),
        cmocka_unit_test(buffer_consume_keeps_the_rest_in_order),
        cmocka_unit_test(arena_refuses_what_is_over_its_ceiling),
        cmocka_unit_test(uuid_text_is_strict_and_round_trips),
        cmocka_unit_test(generated_uuids_are_version_7_of_the_present),
        cmocka_unit_test(iso_times_round_trip_and_impossible_dates_are_refused),
        cmocka_unit_test(digest_is_hmac_sha256),
        cmocka_unit_test(set_hash_knows_no_order_and_forgets_what_leaves),
        cmocka_unit_test(set_hash_is_half_of_sha256),
        cmocka_unit_test(error_context_stands_in_front_and_is_cut_when_too_long),
        cmocka_unit_test(log_pace_counts_what_it_leaves_out),
        cmocka_unit_test(log_lines_cannot_be_forged_and_obey_the_level),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_record.c - records: round trips, golden bytes, and bytes that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/hex.h"
#include "store/record.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const two_groups[] = {"gold", "beta-testers"};
static const char *const three_tags[] = {"eu", "caf\xc3\xa9", ""};

static const struct model_realm realm = {
    .id = {{0x2b, 0x9c, 0x7c, 0x22, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}},
    .number = 7,
    .ttl_min = 10,
    .negative_ttl_min = 5,
    .name = "appointments",
    .region = "us",
    .groups = {two_groups, COUNT(two_groups)},
};

static const struct model_consumer consumer = {
    .id = {{0x11, 0x22, 0x33, 0x44, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 2}},
    .type = MODEL_CONSUMER_APPLICATION,
    .username = "alice",
    .custom_id = "crm-17",
    .tags = {three_tags, COUNT(three_tags)},
    .groups = {two_groups, COUNT(two_groups)},
};

static const struct model_key api_key = {
    .id = {{0x99, 0x88, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 3}},
    .consumer_id = {{0x11, 0x22, 0x33, 0x44, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 2}},
    .digest = {0xde, 0xad, 0xbe, 0xef, 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,
               13,   14,   15,   16,   17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28},
    .expires_at_ms = 1893456000000,
    .tags = {three_tags, 1},
};

/* One record of each kind, encoded. */
struct sample {
    const char *name;
    enum record_kind kind;
    struct buffer bytes;
};

static void make_samples(struct sample samples[3])
{
    samples[0] = (struct sample){.name = "realm", .kind = RECORD_REALM};
    samples[1] = (struct sample){.name = "consumer", .kind = RECORD_CONSUMER};
    samples[2] = (struct sample){.name = "key", .kind = RECORD_KEY};
    for (int i = 0; i < 3; i++)
        buffer_init(&samples[i].bytes, RECORD_MAX_BYTES);
    assert_int_equal(record_encode_realm(&realm, &samples[0].bytes), 0);
    assert_int_equal(record_encode_consumer(&consumer, &samples[1].bytes), 0);
    assert_int_equal(record_encode_key(&api_key, &samples[2].bytes), 0);
}

static void free_samples(struct sample samples[3])
{
    for (int i = 0; i < 3; i++)
        buffer_finish(&samples[i].bytes);
}

static void assert_list(const struct record_strings *list, const struct model_strings *expected)
{
    assert_int_equal(list->count, expected->count);
    for (size_t i = 0; i < expected->count; i++)
        assert_string_equal(record_strings_get(list, i), expected->items[i]);
    assert_null(record_strings_get(list, expected->count));
}

static void realm_comes_back_equal(void **state)
{
    struct sample samples[3];
    struct record_realm view;

    (void)state;
    make_samples(samples);
    assert_true(record_check(RECORD_REALM, samples[0].bytes.data, samples[0].bytes.size));
    assert_true(record_view_realm(samples[0].bytes.data, samples[0].bytes.size, &view));
    assert_true(uuid_equal(&view.id, &realm.id));
    assert_int_equal(view.number, 7);
    assert_int_equal(view.ttl_min, 10);
    assert_int_equal(view.negative_ttl_min, 5);
    assert_string_equal(view.name, "appointments");
    assert_string_equal(view.region, "us");
    assert_list(&view.groups, &realm.groups);
    free_samples(samples);
}

static void consumer_comes_back_equal(void **state)
{
    struct sample samples[3];
    struct record_consumer view;

    (void)state;
    make_samples(samples);
    assert_true(record_view_consumer(samples[1].bytes.data, samples[1].bytes.size, &view));
    assert_true(uuid_equal(&view.id, &consumer.id));
    assert_int_equal(view.type, MODEL_CONSUMER_APPLICATION);
    assert_string_equal(view.username, "alice");
    assert_string_equal(view.custom_id, "crm-17");
    assert_list(&view.tags, &consumer.tags);
    assert_list(&view.groups, &consumer.groups);
    free_samples(samples);
}

static void key_comes_back_equal(void **state)
{
    struct sample samples[3];
    struct record_key view;

    (void)state;
    make_samples(samples);
    assert_true(record_view_key(samples[2].bytes.data, samples[2].bytes.size, &view));
    assert_true(uuid_equal(&view.id, &api_key.id));
    assert_true(uuid_equal(&view.consumer_id, &api_key.consumer_id));
    assert_memory_equal(view.digest, api_key.digest, DIGEST_BYTES);
    assert_int_equal(view.expires_at_ms, api_key.expires_at_ms);
    assert_list(&view.tags, &api_key.tags);
    free_samples(samples);
}

static void bare_records_are_legal(void **state)
{
    struct model_consumer bare = {.id = consumer.id};
    struct model_key plain = {.id = api_key.id, .consumer_id = consumer.id};
    struct record_consumer view;
    struct buffer out;

    (void)state;
    buffer_init(&out, RECORD_MAX_BYTES);
    assert_int_equal(record_encode_consumer(&bare, &out), 0);
    assert_true(record_view_consumer(out.data, out.size, &view));
    assert_null(view.username);
    assert_null(view.custom_id);
    assert_null(record_strings_get(&view.groups, 0));
    buffer_clear(&out);
    assert_int_equal(record_encode_key(&plain, &out), 0);
    assert_true(record_check(RECORD_KEY, out.data, out.size));
    buffer_finish(&out);
}

static void entities_at_every_limit_are_legal(void **state)
{
    char name[MODEL_NAME_MAX + 1];
    char label[MODEL_LABEL_MAX + 1];
    const char *labels[MODEL_LABELS_MAX];
    struct model_consumer full = {.id = consumer.id,
                                  .username = name,
                                  .custom_id = name,
                                  .tags = {labels, MODEL_LABELS_MAX},
                                  .groups = {labels, MODEL_LABELS_MAX}};
    struct buffer out;

    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    memset(label, 'l', sizeof(label) - 1);
    name[MODEL_NAME_MAX] = 0;
    label[MODEL_LABEL_MAX] = 0;
    for (size_t i = 0; i < MODEL_LABELS_MAX; i++)
        labels[i] = label;
    buffer_init(&out, RECORD_MAX_BYTES);
    assert_int_equal(record_encode_consumer(&full, &out), 0);
    assert_true(record_check(RECORD_CONSUMER, out.data, out.size));
    buffer_finish(&out);
}

static void entities_over_a_limit_are_refused_and_leave_no_bytes(void **state)
{
    char long_name[MODEL_NAME_MAX + 2];
    const char *labels[MODEL_LABELS_MAX + 1];
    struct model_consumer bad = consumer;
    struct model_realm nowhere = realm;
    struct model_key before_time = api_key;
    struct buffer out;

    (void)state;
    buffer_init(&out, RECORD_MAX_BYTES);
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = 0;
    bad.username = long_name;
    assert_int_equal(record_encode_consumer(&bad, &out), E_INVALID);
    bad.username = "\xed\xa0\x80"; /* a surrogate */
    assert_int_equal(record_encode_consumer(&bad, &out), E_INVALID);
    bad.username = "\xc0\xaf"; /* an overlong slash */
    assert_int_equal(record_encode_consumer(&bad, &out), E_INVALID);
    bad.username = "\xf4\x90\x80\x80"; /* over U+10FFFF */
    assert_int_equal(record_encode_consumer(&bad, &out), E_INVALID);
    bad = consumer;
    for (size_t i = 0; i < COUNT(labels); i++)
        labels[i] = "l";
    bad.groups = (struct model_strings){labels, COUNT(labels)};
    assert_int_equal(record_encode_consumer(&bad, &out), E_INVALID);
    bad = consumer;
    bad.type = MODEL_CONSUMER_TYPES;
    assert_int_equal(record_encode_consumer(&bad, &out), E_INVALID);
    nowhere.number = MODEL_SCOPE_CP;
    assert_int_equal(record_encode_realm(&nowhere, &out), E_INVALID);
    before_time.expires_at_ms = -1;
    assert_int_equal(record_encode_key(&before_time, &out), E_INVALID);
    assert_int_equal(out.size, 0);
    buffer_finish(&out);
}

static void full_buffer_is_told_apart(void **state)
{
    struct buffer out;

    (void)state;
    buffer_init(&out, 16);
    assert_int_equal(record_encode_realm(&realm, &out), E_TOO_LARGE);
    assert_int_equal(out.size, 0);
    buffer_finish(&out);
}

/* Reads tests/data/record-NAME.hex: hexadecimal with spaces and newlines between the bytes. */
static size_t read_golden(const char *name, uint8_t *bytes, size_t max)
{
    char path[128];
    char digits[3] = {0};
    size_t size = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "tests/data/record-%s.hex", name);
    file = fopen(path, "r");
    assert_non_null(file);
    while (size < max && fscanf(file, " %2[0-9a-f]", digits) == 1)
        assert_true(hex_decode(digits, 2, &bytes[size++]));
    (void)fclose(file);
    return size;
}

/* With REALMSTORE_GOLDEN=print the bytes are shown, to make new files from after a format
 * change. */
static void bytes_are_the_golden_ones(void **state)
{
    struct sample samples[3];

    (void)state;
    make_samples(samples);
    for (int i = 0; i < 3; i++) {
        uint8_t golden[1024];
        size_t size;

        if (getenv("REALMSTORE_GOLDEN") != NULL) {
            for (size_t at = 0; at < samples[i].bytes.size; at++)
                printf("%02x%c", samples[i].bytes.data[at], at % 16 == 15 ? '\n' : ' ');
            printf("\n");
        }
        size = read_golden(samples[i].name, golden, sizeof(golden));
        assert_int_equal(size, samples[i].bytes.size);
        assert_memory_equal(golden, samples[i].bytes.data, size);
    }
    free_samples(samples);
}

/* Calls everything that may be called after the checks; AddressSanitizer watches. */
static size_t touch(const char *string)
{
    return string != NULL ? strlen(string) : 0;
}

static size_t touch_list(const struct record_strings *list)
{
    size_t sum = 0;

    for (size_t i = 0; i <= list->count; i++)
        sum += touch(record_strings_get(list, i));
    return sum;
}

static void touch_all(enum record_kind kind, const unsigned char *bytes, size_t size)
{
    struct record_realm as_realm;
    struct record_consumer as_consumer;
    struct record_key as_key;
    volatile size_t sum = 0;

    if (kind == RECORD_REALM && record_view_realm(bytes, size, &as_realm))
        sum += touch(as_realm.name) + touch(as_realm.region) + touch_list(&as_realm.groups);
    if (kind == RECORD_CONSUMER && record_view_consumer(bytes, size, &as_consumer))
        sum += touch(as_consumer.username) + touch(as_consumer.custom_id) +
               touch_list(&as_consumer.tags) + touch_list(&as_consumer.groups);
    if (kind == RECORD_KEY && record_view_key(bytes, size, &as_key))
        sum += as_key.digest[DIGEST_BYTES - 1] + touch_list(&as_key.tags);
}

static void every_truncation_is_refused(void **state)
{
    struct sample samples[3];

    (void)state;
    make_samples(samples);
    for (int i = 0; i < 3; i++) {
        for (size_t size = 0; size < samples[i].bytes.size; size++) {
            /* A block of exactly this size, so that a byte too far is seen. */
            unsigned char *cut = malloc(size > 0 ? size : 1);

            assert_non_null(cut);
            memcpy(cut, samples[i].bytes.data, size);
            assert_false(record_check(samples[i].kind, cut, size));
            assert_false(record_check_header(samples[i].kind, cut, size));
            free(cut);
        }
    }
    free_samples(samples);
}

static void no_flipped_bit_reads_outside_the_record(void **state)
{
    struct sample samples[3];

    (void)state;
    make_samples(samples);
    for (int i = 0; i < 3; i++) {
        size_t size = samples[i].bytes.size;
        unsigned char *copy = malloc(size);

        assert_non_null(copy);
        for (size_t bit = 0; bit < size * 8; bit++) {
            memcpy(copy, samples[i].bytes.data, size);
            copy[bit / 8] ^= (unsigned char)(1u << bit % 8);
            (void)record_check(samples[i].kind, copy, size);
            touch_all(samples[i].kind, copy, size);
        }
        free(copy);
    }
    free_samples(samples);
}

static void one_kind_is_not_taken_for_another(void **state)
{
    struct sample samples[3];

    (void)state;
    make_samples(samples);
    for (int i = 0; i < 3; i++) {
        for (int kind = 0; kind <= 4; kind++)
            assert_int_equal(
                record_check((enum record_kind)kind, samples[i].bytes.data, samples[i].bytes.size),
                (enum record_kind)kind == samples[i].kind);
    }
    free_samples(samples);
}

static void padding_that_is_not_zero_is_refused(void **state)
{
    struct sample samples[3];
    struct buffer *key;

    (void)state;
    make_samples(samples);
    key = &samples[2].bytes;
    assert_int_equal(key->size % 8, 0);
    key->data[key->size - 2] = 1; /* inside the padding: the string is "eu" */
    assert_false(record_check(RECORD_KEY, key->data, key->size));
    free_samples(samples);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(realm_comes_back_equal),
        cmocka_unit_test(consumer_comes_back_equal),
        cmocka_unit_test(key_comes_back_equal),
        cmocka_unit_test(bare_records_are_legal),
        cmocka_unit_test(entities_at_every_limit_are_legal),
        cmocka_unit_test(entities_over_a_limit_are_refused_and_leave_no_bytes),
        cmocka_unit_test(full_buffer_is_told_apart),
        cmocka_unit_test(bytes_are_the_golden_ones),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(no_flipped_bit_reads_outside_the_record),
        cmocka_unit_test(one_kind_is_not_taken_for_another),
        cmocka_unit_test(padding_that_is_not_zero_is_refused),
    };

    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}

/* sync/snapshot.h: a stream comes back record by record; a damaged one is never taken as whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "sync/snapshot.h"
#include "sync/snapshot_frame.h"

enum { STREAM_MAX = 8 * 1024 * 1024 };

/* What a decoder's sink saw, folded into bytes so that two runs can be compared. */
struct seen {
    struct snapshot_header header;
    unsigned headers;
    struct buffer records; /* kind, scope, size, bytes of each */
    int refuse_record;     /* 0, or the code that the sink answers */
};

static int see_header(void *context, const struct snapshot_header *header, struct error *err)
{
    struct seen *seen = context;

    (void)err;
    seen->header = *header;
    seen->headers++;
    return 0;
}

static int see_record(void *context, const struct snapshot_record *record, struct error *err)
{
    struct seen *seen = context;
    uint32_t frame[3] = {record->kind, record->scope, (uint32_t)record->size};

    (void)err;
    assert_int_equal(buffer_append(&seen->records, frame, sizeof(frame)), 0);
    assert_int_equal(buffer_append(&seen->records, record->bytes, record->size), 0);
    return seen->refuse_record;
}

static int collect(void *context, const void *bytes, size_t size)
{
    return buffer_append(context, bytes, size);
}

static struct snapshot_header header_of(uint64_t realms, uint64_t consumers, uint64_t keys)
{
    struct snapshot_header header = {
        .time_ms = 1795507377123, .realms = realms, .consumers = consumers, .keys = keys};

    header.cursor.version = 812;
    memset(header.cursor.epoch.bytes, 0x11, UUID_BYTES);
    memset(header.control_plane_id.bytes, 0x22, UUID_BYTES);
    return header;
}

/* n records of each kind, of growing sizes. */
static void encode(struct buffer *stream, uint64_t n)
{
    struct snapshot_header header = header_of(n, n, n);
    struct snapshot_encoder *encoder;
    unsigned char bytes[4096];

    buffer_init(stream, STREAM_MAX);
    assert_int_equal(snapshot_encoder_create(&header, collect, stream, &encoder), 0);
    for (int kind = SNAPSHOT_REALM; kind <= SNAPSHOT_KEY; kind++) {
        for (uint64_t i = 0; i < n; i++) {
            struct snapshot_record record = {(enum snapshot_kind)kind, (uint32_t)i, bytes,
                                             1 + i * 37 % sizeof(bytes)};

            memset(bytes, (int)(i + (uint64_t)kind), sizeof(bytes));
            assert_int_equal(snapshot_encoder_add(encoder, &record), 0);
        }
    }
    assert_int_equal(snapshot_encoder_end(encoder), 0);
    snapshot_encoder_destroy(encoder);
}

/* Feeds in slices of `step`; 0 when the stream was taken as whole. */
static int decode(const void *bytes, size_t size, size_t step, struct seen *seen)
{
    struct snapshot_sink sink = {see_header, see_record, seen};
    struct snapshot_decoder *decoder;
    struct error err = ERROR_INIT;
    int rc = 0;

    buffer_init(&seen->records, STREAM_MAX);
    assert_int_equal(snapshot_decoder_create(&sink, &decoder), 0);
    for (size_t at = 0; at < size && rc == 0; at += step)
        rc = snapshot_decoder_feed(decoder, (const char *)bytes + at,
                                   size - at < step ? size - at : step, &err);
    if (rc == 0)
        rc = snapshot_decoder_end(decoder, &err);
    if (rc != 0 && seen->refuse_record == 0)
        assert_true(err.message[0] != 0);
    snapshot_decoder_destroy(decoder);
    return rc;
}

static void stream_comes_back_however_it_is_cut(void **state)
{
    static const size_t steps[] = {1, 2, 3, 7, 64, 1000, STREAM_MAX};
    struct seen whole = {.headers = 0};
    struct buffer stream;

    (void)state;
    encode(&stream, 200);
    assert_int_equal(decode(stream.data, stream.size, STREAM_MAX, &whole), 0);
    assert_int_equal(whole.headers, 1);
    assert_int_equal(whole.header.cursor.version, 812);
    assert_int_equal(whole.header.cursor.epoch.bytes[15], 0x11);
    assert_int_equal(whole.header.control_plane_id.bytes[0], 0x22);
    assert_true(whole.header.time_ms == 1795507377123);
    assert_int_equal(whole.header.keys, 200);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct seen seen = {.headers = 0};

        assert_int_equal(decode(stream.data, stream.size, steps[i], &seen), 0);
        assert_int_equal(seen.records.size, whole.records.size);
        assert_memory_equal(seen.records.data, whole.records.data, whole.records.size);
        buffer_finish(&seen.records);
    }
    buffer_finish(&whole.records);
    buffer_finish(&stream);
}

static void empty_state_is_a_snapshot_too(void **state)
{
    struct seen seen = {.headers = 0};
    struct buffer stream;

    (void)state;
    encode(&stream, 0);
    assert_int_equal(decode(stream.data, stream.size, 5, &seen), 0);
    assert_int_equal(seen.headers, 1);
    assert_int_equal(seen.records.size, 0);
    buffer_finish(&seen.records);
    buffer_finish(&stream);
}

static void largest_record_passes_and_a_larger_one_is_refused(void **state)
{
    struct snapshot_header header = header_of(1, 0, 0);
    struct snapshot_record record = {SNAPSHOT_REALM, 1, NULL, SNAPSHOT_RECORD_MAX_BYTES};
    unsigned char *bytes = calloc(1, SNAPSHOT_RECORD_MAX_BYTES + 1);
    struct snapshot_encoder *encoder;
    struct seen seen = {.headers = 0};
    struct buffer stream;

    (void)state;
    assert_non_null(bytes);
    record.bytes = bytes;
    buffer_init(&stream, STREAM_MAX);
    assert_int_equal(snapshot_encoder_create(&header, collect, &stream, &encoder), 0);
    assert_int_equal(snapshot_encoder_add(encoder, &record), 0);
    assert_int_equal(snapshot_encoder_end(encoder), 0);
    snapshot_encoder_destroy(encoder);
    assert_int_equal(decode(stream.data, stream.size, 11, &seen), 0);
    buffer_finish(&seen.records);
    buffer_finish(&stream);

    record.size++;
    assert_int_equal(snapshot_encoder_create(&header, collect, &stream, &encoder), 0);
    assert_int_equal(snapshot_encoder_add(encoder, &record), E_TOO_LARGE);
    assert_int_equal(snapshot_encoder_end(encoder), E_TOO_LARGE);
    snapshot_encoder_destroy(encoder);
    buffer_finish(&stream);
    free(bytes);
}

static void encoder_refuses_counts_and_order_that_differ_from_the_header(void **state)
{
    struct snapshot_header header = header_of(1, 1, 0);
    struct snapshot_record realm = {SNAPSHOT_REALM, 1, "r", 1};
    struct snapshot_record consumer = {SNAPSHOT_CONSUMER, 1, "c", 1};
    struct snapshot_encoder *encoder;
    struct buffer stream;

    (void)state;
    buffer_init(&stream, STREAM_MAX);
    assert_int_equal(snapshot_encoder_create(&header, collect, &stream, &encoder), 0);
    assert_int_equal(snapshot_encoder_add(encoder, &realm), 0);
    assert_int_equal(snapshot_encoder_end(encoder), E_CORRUPT);
    snapshot_encoder_destroy(encoder);

    assert_int_equal(snapshot_encoder_create(&header, collect, &stream, &encoder), 0);
    assert_int_equal(snapshot_encoder_add(encoder, &consumer), 0);
    assert_int_equal(snapshot_encoder_add(encoder, &realm), E_CORRUPT);
    snapshot_encoder_destroy(encoder);

    assert_int_equal(snapshot_encoder_create(&header, collect, &stream, &encoder), 0);
    assert_int_equal(snapshot_encoder_add(encoder, &realm), 0);
    assert_int_equal(snapshot_encoder_add(encoder, &realm), E_CORRUPT);
    snapshot_encoder_destroy(encoder);
    buffer_finish(&stream);
}

static int refuse_bytes(void *context, const void *bytes, size_t size)
{
    (void)context;
    (void)bytes;
    (void)size;
    return E_NO_SPACE;
}

static void encoder_passes_the_code_of_its_writer_on(void **state)
{
    struct snapshot_header header = header_of(0, 0, 0);
    struct snapshot_encoder *encoder;

    (void)state;
    assert_int_equal(snapshot_encoder_create(&header, refuse_bytes, NULL, &encoder), 0);
    assert_int_equal(snapshot_encoder_end(encoder), E_NO_SPACE);
    snapshot_encoder_destroy(encoder);
}

static void stream_cut_at_any_byte_is_refused(void **state)
{
    struct buffer stream;

    (void)state;
    encode(&stream, 20);
    for (size_t size = 0; size < stream.size; size++) {
        struct seen seen = {.headers = 0};

        assert_int_equal(decode(stream.data, size, STREAM_MAX, &seen), E_PROTOCOL);
        buffer_finish(&seen.records);
    }
    buffer_finish(&stream);
}

/* Some bits of a zstd frame carry no information about the content (the window's size, unused table
 * entries): a stream that is taken must say exactly what the original says. */
static void stream_with_any_bit_flipped_never_says_something_else(void **state)
{
    struct seen whole = {.headers = 0};
    struct buffer stream;

    (void)state;
    encode(&stream, 20);
    assert_int_equal(decode(stream.data, stream.size, STREAM_MAX, &whole), 0);
    for (size_t bit = 0; bit < stream.size * 8; bit++) {
        struct seen seen = {.headers = 0};

        stream.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        if (decode(stream.data, stream.size, STREAM_MAX, &seen) == 0) {
            assert_memory_equal(&seen.header, &whole.header, sizeof(whole.header));
            assert_int_equal(seen.records.size, whole.records.size);
            assert_memory_equal(seen.records.data, whole.records.data, whole.records.size);
        }
        buffer_finish(&seen.records);
        stream.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    buffer_finish(&whole.records);
    buffer_finish(&stream);
}

static void bytes_after_the_end_are_refused(void **state)
{
    struct seen seen = {.headers = 0};
    struct buffer stream;
    struct buffer twice;

    (void)state;
    encode(&stream, 2);
    buffer_init(&twice, STREAM_MAX);
    assert_int_equal(buffer_append(&twice, stream.data, stream.size), 0);
    assert_int_equal(buffer_append(&twice, stream.data, stream.size), 0);
    assert_int_equal(decode(twice.data, twice.size, STREAM_MAX, &seen), E_PROTOCOL);
    buffer_finish(&seen.records);
    assert_int_equal(decode(twice.data, stream.size + 1, 1, &seen), E_PROTOCOL);
    buffer_finish(&seen.records);
    buffer_finish(&twice);
    buffer_finish(&stream);
}

/* ---- the plain bytes inside, made by hand ---- */

static void put(struct buffer *plain, size_t at, size_t size, uint64_t value)
{
    for (size_t i = 0; i < size; i++)
        plain->data[at + i] = (unsigned char)(value >> 8 * i);
}

/* Header and one realm, one consumer, one key of three bytes each, and the end. */
static void make_plain(struct buffer *plain)
{
    static const unsigned kinds[] = {SNAPSHOT_REALM, SNAPSHOT_CONSUMER, SNAPSHOT_KEY, SNAPSHOT_END};

    buffer_init(plain, STREAM_MAX);
    assert_int_equal(buffer_append_zero(plain, SNAPSHOT_HEADER_BYTES, NULL), 0);
    memcpy(plain->data, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_BYTES);
    put(plain, SNAPSHOT_AT_FORMAT, 4, SNAPSHOT_FORMAT);
    put(plain, SNAPSHOT_AT_HEADER_SIZE, 4, SNAPSHOT_HEADER_BYTES);
    put(plain, SNAPSHOT_AT_EPOCH, 8, 1);
    put(plain, SNAPSHOT_AT_REALMS, 8, 1);
    put(plain, SNAPSHOT_AT_CONSUMERS, 8, 1);
    put(plain, SNAPSHOT_AT_KEYS, 8, 1);
    for (size_t i = 0; i < 4; i++) {
        size_t at = plain->size;
        size_t size = kinds[i] == SNAPSHOT_END ? 0 : 3;

        assert_int_equal(buffer_append_zero(plain, SNAPSHOT_FRAME_BYTES + size, NULL), 0);
        put(plain, at, 1, kinds[i]);
        put(plain, at + SNAPSHOT_FRAME_AT_SIZE, 4, size);
    }
}

static int decode_plain(const struct buffer *plain)
{
    size_t room = ZSTD_compressBound(plain->size);
    struct seen seen = {.headers = 0};
    void *bytes = malloc(room);
    size_t size;
    int rc;

    assert_non_null(bytes);
    size = ZSTD_compress(bytes, room, plain->data, plain->size, 1);
    assert_false(ZSTD_isError(size));
    rc = decode(bytes, size, STREAM_MAX, &seen);
    buffer_finish(&seen.records);
    free(bytes);
    return rc;
}

static void header_and_frames_are_checked(void **state)
{
    enum { FRAME = SNAPSHOT_HEADER_BYTES, NEXT = SNAPSHOT_FRAME_BYTES + 3 };
    static const struct {
        size_t at;
        size_t size;
        uint64_t value;
    } faults[] = {
        {0, 1, 'X'},                                         /* magic */
        {SNAPSHOT_AT_FORMAT, 4, 3},                          /* a later format */
        {SNAPSHOT_AT_HEADER_SIZE, 4, 95},                    /* */
        {SNAPSHOT_AT_EPOCH, 8, 0},                           /* nil epoch */
        {SNAPSHOT_AT_VERSION, 8, UINT64_MAX},                /* */
        {SNAPSHOT_AT_TIME, 8, UINT64_MAX},                   /* */
        {SNAPSHOT_AT_ZERO, 8, 1},                            /* */
        {SNAPSHOT_AT_REALMS, 8, 0},                          /* more records than promised */
        {SNAPSHOT_AT_REALMS, 8, 2},                          /* fewer */
        {SNAPSHOT_AT_CONSUMERS, 8, 2},                       /* */
        {SNAPSHOT_AT_KEYS, 8, 2},                            /* */
        {FRAME, 1, 0},                                       /* no such kind */
        {FRAME, 1, 4},                                       /* */
        {FRAME, 1, SNAPSHOT_KEY},                            /* out of order */
        {FRAME + 1, 1, 1},                                   /* padding */
        {FRAME + SNAPSHOT_FRAME_AT_SIZE, 4, 0},              /* empty record */
        {FRAME + SNAPSHOT_FRAME_AT_SIZE, 4, 256 * 1024 + 1}, /* too large */
        {FRAME + SNAPSHOT_FRAME_AT_SIZE, 4, UINT32_MAX},     /* */
        {FRAME + 3 * NEXT + SNAPSHOT_FRAME_AT_SCOPE, 4, 1},  /* end frame is not empty */
        {FRAME + 3 * NEXT + SNAPSHOT_FRAME_AT_SIZE, 4, 1},   /* */
        {FRAME, 1, SNAPSHOT_END},                            /* too early */
    };
    struct buffer plain;

    (void)state;
    make_plain(&plain);
    assert_int_equal(decode_plain(&plain), 0);
    buffer_finish(&plain);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        make_plain(&plain);
        put(&plain, faults[i].at, faults[i].size, faults[i].value);
        if (decode_plain(&plain) != E_PROTOCOL)
            fail_msg("fault %zu was accepted", i);
        buffer_finish(&plain);
    }
    make_plain(&plain);
    assert_int_equal(buffer_append_zero(&plain, 1, NULL), 0);
    assert_int_equal(decode_plain(&plain), E_PROTOCOL);
    buffer_finish(&plain);
}

static void other_compression_is_refused(void **state)
{
    static const char plain[] = "RSSNAP01 but not compressed at all";
    struct seen seen = {.headers = 0};

    (void)state;
    assert_int_equal(decode(plain, sizeof(plain), STREAM_MAX, &seen), E_PROTOCOL);
    assert_int_equal(seen.headers, 0);
    buffer_finish(&seen.records);
}

static void code_of_the_sink_stops_the_decoder(void **state)
{
    struct seen seen = {.refuse_record = E_CANCELED};
    struct buffer stream;

    (void)state;
    encode(&stream, 5);
    assert_int_equal(decode(stream.data, stream.size, STREAM_MAX, &seen), E_CANCELED);
    buffer_finish(&seen.records);
    buffer_finish(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_comes_back_however_it_is_cut),
        cmocka_unit_test(empty_state_is_a_snapshot_too),
        cmocka_unit_test(largest_record_passes_and_a_larger_one_is_refused),
        cmocka_unit_test(encoder_refuses_counts_and_order_that_differ_from_the_header),
        cmocka_unit_test(encoder_passes_the_code_of_its_writer_on),
        cmocka_unit_test(stream_cut_at_any_byte_is_refused),
        cmocka_unit_test(stream_with_any_bit_flipped_never_says_something_else),
        cmocka_unit_test(bytes_after_the_end_are_refused),
        cmocka_unit_test(header_and_frames_are_checked),
        cmocka_unit_test(other_compression_is_refused),
        cmocka_unit_test(code_of_the_sink_stops_the_decoder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

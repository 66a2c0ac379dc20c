/* A snapshot stream. An even first byte: the rest is compressed here first, so that the fuzzer
 * reaches the frames behind zstd's checksum; an odd one: the rest is the stream. */
#include "tests/fuzz/fuzz.h"

#include <zstd.h>

#include "sync/snapshot.h"

struct world {
    bool begun;
    uint64_t records;
    enum snapshot_kind last;
};

static int on_header(void *context, const struct snapshot_header *header, struct error *err)
{
    struct world *world = context;

    (void)header;
    (void)err;
    FUZZ_REQUIRE(!world->begun);
    world->begun = true;
    return 0;
}

static int on_record(void *context, const struct snapshot_record *record, struct error *err)
{
    struct world *world = context;
    unsigned sum = 0;

    (void)err;
    FUZZ_REQUIRE(world->begun && record->kind >= world->last && record->kind < SNAPSHOT_END);
    for (size_t i = 0; i < record->size; i++) /* every byte is ours to read */
        sum += ((const unsigned char *)record->bytes)[i];
    world->last = record->kind;
    world->records += 1 + (sum & 0);
    return 0;
}

static void decode(const void *bytes, size_t size, size_t step)
{
    struct world world = {.begun = false};
    struct snapshot_sink sink = {on_header, on_record, &world};
    struct snapshot_decoder *decoder;
    struct error err = ERROR_INIT;
    int rc = 0;

    FUZZ_REQUIRE(snapshot_decoder_create(&sink, &decoder) == 0);
    for (size_t at = 0; at < size && rc == 0; at += step) {
        size_t piece = size - at < step ? size - at : step;

        rc = snapshot_decoder_feed(decoder, (const unsigned char *)bytes + at, piece, &err);
    }
    FUZZ_REQUIRE(rc == 0 || err.message[0] != 0);
    if (rc == 0)
        (void)snapshot_decoder_end(decoder, &err);
    snapshot_decoder_destroy(decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t bound;
    void *compressed;
    size_t length;

    if (size < 2)
        return 0;
    if (data[0] % 2 == 1) {
        decode(data + 2, size - 2, (size_t)data[1] + 1);
        return 0;
    }
    bound = ZSTD_compressBound(size);
    compressed = malloc(bound);
    FUZZ_REQUIRE(compressed != NULL);
    length = ZSTD_compress(compressed, bound, data + 2, size - 2, 1);
    if (!ZSTD_isError(length))
        decode(compressed, length, (size_t)data[1] + 1);
    free(compressed);
    return 0;
}

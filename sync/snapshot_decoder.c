/* The host's side of the snapshot stream: hostile compressed bytes to a checked header and records.
 *
 *     HEADER --96 bytes--> FRAME --12 bytes--> RECORD --size bytes--> FRAME ... --end frame--> END
 *
 * Happy path: zstd fills a fixed output buffer; what comes out is gathered into `part` until the
 * header, frame or record that is under way is whole, then handled. END still waits for zstd to
 * close its frame, whose checksum covers everything.
 *
 * Failure: the first error sticks. Memory is bounded whatever the peer sends: zstd's window by
 * SNAPSHOT_WINDOW_LOG, a record by SNAPSHOT_RECORD_MAX_BYTES. Records reach the sink before the
 * checksum at the end is known: the sink must not publish before snapshot_decoder_end() said 0.
 */
#include "sync/snapshot.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "sync/snapshot_frame.h"

/* 128 MiB: what zstd's own tool accepts. The encoder's level 1 uses 512 KiB. */
enum { SNAPSHOT_WINDOW_LOG = 27 };

enum stage { STAGE_HEADER, STAGE_FRAME, STAGE_RECORD, STAGE_END };

struct snapshot_decoder {
    struct snapshot_sink sink;
    struct snapshot_header header;
    struct snapshot_tally tally;
    enum stage stage;
    struct snapshot_record record; /* of the frame under way; bytes is set when it is whole */
    struct buffer part;            /* what has come of this stage */
    size_t part_size;              /* what it needs */
    ZSTD_DCtx *zstd;
    unsigned char *out; /* owned */
    size_t out_capacity;
    bool closed; /* zstd ended its frame and its checksum was right */
    int rc;
};

/* The border to zstd: its error as one of ours. */
static int from_zstd(size_t result, struct error *err)
{
    if (!ZSTD_isError(result))
        return 0;
    if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation)
        return error_set(err, E_NO_MEMORY, "no memory to decompress the snapshot");
    return error_set(err, E_PROTOCOL, "the snapshot is not intact: %s", ZSTD_getErrorName(result));
}

static uint32_t get_u32(const unsigned char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static uint64_t get_u64(const unsigned char *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

static void start_stage(struct snapshot_decoder *decoder, enum stage stage, size_t size)
{
    decoder->stage = stage;
    decoder->part_size = size;
    buffer_clear(&decoder->part);
}

static int snapshot_decoder_take_header(struct snapshot_decoder *decoder, struct error *err)
{
    const unsigned char *bytes = decoder->part.data;
    struct snapshot_header *header = &decoder->header;

    if (memcmp(bytes, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_BYTES) != 0)
        return error_set(err, E_PROTOCOL, "this is not a snapshot (wrong magic)");
    if (get_u32(bytes + SNAPSHOT_AT_FORMAT) != SNAPSHOT_FORMAT)
        return error_set(err, E_PROTOCOL, "the snapshot has format %u, this agent reads %d",
                         get_u32(bytes + SNAPSHOT_AT_FORMAT), SNAPSHOT_FORMAT);
    if (get_u32(bytes + SNAPSHOT_AT_HEADER_SIZE) != SNAPSHOT_HEADER_BYTES ||
        get_u64(bytes + SNAPSHOT_AT_ZERO) != 0)
        return error_set(err, E_PROTOCOL, "the snapshot's header is not that of format %d",
                         SNAPSHOT_FORMAT);
    memcpy(header->cursor.epoch.bytes, bytes + SNAPSHOT_AT_EPOCH, UUID_BYTES);
    memcpy(header->control_plane_id.bytes, bytes + SNAPSHOT_AT_CONTROL_PLANE, UUID_BYTES);
    header->cursor.version = get_u64(bytes + SNAPSHOT_AT_VERSION);
    header->time_ms = (int64_t)get_u64(bytes + SNAPSHOT_AT_TIME);
    header->realms = get_u64(bytes + SNAPSHOT_AT_REALMS);
    header->consumers = get_u64(bytes + SNAPSHOT_AT_CONSUMERS);
    header->keys = get_u64(bytes + SNAPSHOT_AT_KEYS);
    if (uuid_is_nil(&header->cursor.epoch) || header->cursor.version > INT64_MAX ||
        header->time_ms < 0)
        return error_set(err, E_PROTOCOL, "the snapshot's header has no possible cursor");
    start_stage(decoder, STAGE_FRAME, SNAPSHOT_FRAME_BYTES);
    return decoder->sink.header(decoder->sink.context, header, err);
}

static int take_end(struct snapshot_decoder *decoder, struct error *err)
{
    if (decoder->record.scope != 0 || decoder->record.size != 0)
        return error_set(err, E_PROTOCOL, "the snapshot's end frame is not empty");
    if (!snapshot_tally_complete(&decoder->tally, &decoder->header))
        return error_set(err, E_PROTOCOL, "the snapshot has fewer records than its header says");
    start_stage(decoder, STAGE_END, 0);
    return 0;
}

static int take_record(struct snapshot_decoder *decoder, struct error *err)
{
    struct snapshot_record record = decoder->record;

    record.bytes = decoder->part.data;
    /* The part's memory stays as it is until the next byte is appended: the sink may look at it. */
    start_stage(decoder, STAGE_FRAME, SNAPSHOT_FRAME_BYTES);
    return decoder->sink.record(decoder->sink.context, &record, err);
}

static int take_frame(struct snapshot_decoder *decoder, struct error *err)
{
    const unsigned char *bytes = decoder->part.data;
    unsigned kind = bytes[SNAPSHOT_FRAME_AT_KIND];

    decoder->record = (struct snapshot_record){
        .kind = (enum snapshot_kind)kind,
        .scope = get_u32(bytes + SNAPSHOT_FRAME_AT_SCOPE),
        .size = get_u32(bytes + SNAPSHOT_FRAME_AT_SIZE),
    };
    if (get_u32(bytes + SNAPSHOT_FRAME_AT_KIND) != kind)
        return error_set(err, E_PROTOCOL, "a snapshot frame has padding that is not zero");
    if (kind == SNAPSHOT_END)
        return take_end(decoder, err);
    if (kind < SNAPSHOT_REALM || kind > SNAPSHOT_KEY)
        return error_set(err, E_PROTOCOL, "a snapshot frame has the unknown kind %u", kind);
    if (decoder->record.size == 0 || decoder->record.size > SNAPSHOT_RECORD_MAX_BYTES)
        return error_set(err, E_PROTOCOL, "a snapshot record of %zu bytes is outside 1 to %d",
                         decoder->record.size, SNAPSHOT_RECORD_MAX_BYTES);
    if (!snapshot_tally_add(&decoder->tally, &decoder->header, decoder->record.kind))
        return error_set(err, E_PROTOCOL,
                         "a snapshot record of kind %u is out of order or over the header's count",
                         kind);
    start_stage(decoder, STAGE_RECORD, decoder->record.size);
    return 0;
}

static int finish_stage(struct snapshot_decoder *decoder, struct error *err)
{
    switch (decoder->stage) {
    case STAGE_HEADER:
        return snapshot_decoder_take_header(decoder, err);
    case STAGE_FRAME:
        return take_frame(decoder, err);
    case STAGE_RECORD:
        return take_record(decoder, err);
    case STAGE_END:
        break;
    }
    return error_set(err, E_PROTOCOL, "the snapshot goes on after its end frame");
}

/* Decompressed bytes, cut anywhere. */
static int take_plain(struct snapshot_decoder *decoder, const unsigned char *bytes, size_t size,
                      struct error *err)
{
    int rc = 0;

    while (size > 0 && rc == 0) {
        size_t missing = decoder->part_size - decoder->part.size;
        size_t take = size < missing ? size : missing;

        rc = buffer_append(&decoder->part, bytes, take);
        if (rc != 0)
            return error_set(err, rc, "no memory for a snapshot record of %zu bytes",
                             decoder->part_size);
        bytes += take;
        size -= take;
        if (decoder->part.size == decoder->part_size)
            rc = finish_stage(decoder, err);
    }
    return rc;
}

int snapshot_decoder_create(const struct snapshot_sink *sink, struct snapshot_decoder **ret)
{
    struct snapshot_decoder *decoder = calloc(1, sizeof(*decoder));

    if (decoder == NULL)
        return E_NO_MEMORY;
    decoder->sink = *sink;
    buffer_init(&decoder->part, SNAPSHOT_RECORD_MAX_BYTES);
    start_stage(decoder, STAGE_HEADER, SNAPSHOT_HEADER_BYTES);
    decoder->zstd = ZSTD_createDCtx();
    decoder->out_capacity = ZSTD_DStreamOutSize();
    decoder->out = malloc(decoder->out_capacity);
    if (decoder->zstd == NULL || decoder->out == NULL ||
        ZSTD_isError(
            ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax, SNAPSHOT_WINDOW_LOG))) {
        snapshot_decoder_destroy(decoder);
        return E_NO_MEMORY;
    }
    *ret = decoder;
    return 0;
}

int snapshot_decoder_feed(struct snapshot_decoder *decoder, const void *bytes, size_t size,
                          struct error *err)
{
    ZSTD_inBuffer in = {bytes, size, 0};
    ZSTD_outBuffer out = {decoder->out, decoder->out_capacity, 0};

    /* A full output buffer may hide more output behind input that is all taken. */
    while (decoder->rc == 0 && (in.pos < in.size || out.pos == out.size)) {
        size_t left;

        if (decoder->closed && in.pos == in.size)
            break;
        if (decoder->closed)
            return decoder->rc = error_set(err, E_PROTOCOL, "bytes follow the end of the snapshot");
        out.pos = 0;
        left = ZSTD_decompressStream(decoder->zstd, &out, &in);
        decoder->rc = from_zstd(left, err);
        if (decoder->rc == 0)
            decoder->rc = take_plain(decoder, decoder->out, out.pos, err);
        decoder->closed = left == 0;
    }
    return decoder->rc;
}

int snapshot_decoder_end(struct snapshot_decoder *decoder, struct error *err)
{
    if (decoder->rc != 0)
        return decoder->rc;
    if (decoder->stage != STAGE_END || !decoder->closed)
        decoder->rc = error_set(err, E_PROTOCOL, "the snapshot broke off before its end");
    return decoder->rc;
}

void snapshot_decoder_destroy(struct snapshot_decoder *decoder)
{
    if (decoder == NULL)
        return;
    ZSTD_freeDCtx(decoder->zstd);
    buffer_finish(&decoder->part);
    free(decoder->out);
    free(decoder);
}

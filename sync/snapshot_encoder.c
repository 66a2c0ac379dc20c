/* The source's side of the snapshot stream.
 *
 * Happy path: header, records in order, end frame are gathered into blocks, and go through one zstd
 * context with a fixed output buffer; the caller's write function takes the compressed bytes as
 * they come. zstd works in a thread of its own, beside the caller who reads the next records; what
 * it makes depends on neither's speed.
 *
 * Failure: the first code (zstd's as E_IO or E_NO_MEMORY, the write function's as it is, E_INVALID
 * for a record out of order or over the limits) sticks; what follows returns it again, so that a
 * stream with a hole can never be ended properly.
 */
#include "sync/snapshot.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "sync/snapshot_frame.h"

/* 915 MB/s in, 5.25 : 1 on this kind of data; higher levels cost the source more than they save. A
 * call of zstd for each record of 150 bytes would cost as much as the compression. */
enum { SNAPSHOT_LEVEL = 1, SNAPSHOT_THREADS = 1, SNAPSHOT_BLOCK_BYTES = 128 * 1024 };

struct snapshot_encoder {
    struct snapshot_header header;
    struct snapshot_tally tally;
    snapshot_write_fn write;
    void *context; /* borrowed */
    ZSTD_CCtx *zstd;
    struct buffer block; /* not given to zstd yet */
    unsigned char *out;  /* owned */
    size_t out_capacity;
    int rc;
};

/* The border to zstd: its error as one of ours. */
static int from_zstd(size_t result)
{
    if (!ZSTD_isError(result))
        return 0;
    return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation ? E_NO_MEMORY : E_IO;
}

static void put_u32(unsigned char *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static void put_u64(unsigned char *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
}

/* Runs zstd until it has taken the block (continue) or flushed its end (end). */
static int compress(struct snapshot_encoder *encoder, ZSTD_EndDirective mode)
{
    ZSTD_inBuffer in = {encoder->block.data, encoder->block.size, 0};
    size_t left;

    do {
        ZSTD_outBuffer out = {encoder->out, encoder->out_capacity, 0};

        left = ZSTD_compressStream2(encoder->zstd, &out, &in, mode);
        encoder->rc = from_zstd(left);
        if (encoder->rc == 0 && out.pos > 0)
            encoder->rc = encoder->write(encoder->context, encoder->out, out.pos);
        if (encoder->rc != 0)
            return encoder->rc;
    } while (mode == ZSTD_e_end ? left > 0 : in.pos < in.size);
    buffer_clear(&encoder->block);
    return 0;
}

static int snapshot_encoder_put(struct snapshot_encoder *encoder, const void *bytes, size_t size)
{
    encoder->rc = buffer_append(&encoder->block, bytes, size);
    if (encoder->rc != 0 || encoder->block.size < SNAPSHOT_BLOCK_BYTES)
        return encoder->rc;
    return compress(encoder, ZSTD_e_continue);
}

static int write_header(struct snapshot_encoder *encoder)
{
    const struct snapshot_header *header = &encoder->header;
    unsigned char bytes[SNAPSHOT_HEADER_BYTES] = {0};

    memcpy(bytes, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_BYTES);
    put_u32(bytes + SNAPSHOT_AT_FORMAT, SNAPSHOT_FORMAT);
    put_u32(bytes + SNAPSHOT_AT_HEADER_SIZE, SNAPSHOT_HEADER_BYTES);
    memcpy(bytes + SNAPSHOT_AT_EPOCH, header->cursor.epoch.bytes, UUID_BYTES);
    put_u64(bytes + SNAPSHOT_AT_VERSION, header->cursor.version);
    memcpy(bytes + SNAPSHOT_AT_CONTROL_PLANE, header->control_plane_id.bytes, UUID_BYTES);
    put_u64(bytes + SNAPSHOT_AT_TIME, (uint64_t)header->time_ms);
    put_u64(bytes + SNAPSHOT_AT_REALMS, header->realms);
    put_u64(bytes + SNAPSHOT_AT_CONSUMERS, header->consumers);
    put_u64(bytes + SNAPSHOT_AT_KEYS, header->keys);
    return snapshot_encoder_put(encoder, bytes, sizeof(bytes));
}

static int write_frame(struct snapshot_encoder *encoder, enum snapshot_kind kind, uint32_t scope,
                       size_t size)
{
    unsigned char bytes[SNAPSHOT_FRAME_BYTES] = {0};

    bytes[SNAPSHOT_FRAME_AT_KIND] = (unsigned char)kind;
    put_u32(bytes + SNAPSHOT_FRAME_AT_SCOPE, scope);
    put_u32(bytes + SNAPSHOT_FRAME_AT_SIZE, (uint32_t)size);
    return snapshot_encoder_put(encoder, bytes, sizeof(bytes));
}

static int create_zstd(struct snapshot_encoder *encoder)
{
    size_t result;

    encoder->zstd = ZSTD_createCCtx();
    encoder->out_capacity = ZSTD_CStreamOutSize();
    encoder->out = malloc(encoder->out_capacity);
    if (encoder->zstd == NULL || encoder->out == NULL)
        return E_NO_MEMORY;
    result = ZSTD_CCtx_setParameter(encoder->zstd, ZSTD_c_compressionLevel, SNAPSHOT_LEVEL);
    if (!ZSTD_isError(result))
        result = ZSTD_CCtx_setParameter(encoder->zstd, ZSTD_c_checksumFlag, 1);
    /* A library that was built without threads says no, and does it in ours. */
    (void)ZSTD_CCtx_setParameter(encoder->zstd, ZSTD_c_nbWorkers, SNAPSHOT_THREADS);
    return from_zstd(result);
}

int snapshot_encoder_create(const struct snapshot_header *header, snapshot_write_fn write,
                            void *context, struct snapshot_encoder **ret)
{
    struct snapshot_encoder *encoder = calloc(1, sizeof(*encoder));
    int rc;

    if (encoder == NULL)
        return E_NO_MEMORY;
    encoder->header = *header;
    encoder->write = write;
    encoder->context = context;
    buffer_init(&encoder->block,
                SNAPSHOT_BLOCK_BYTES + SNAPSHOT_FRAME_BYTES + SNAPSHOT_RECORD_MAX_BYTES);
    rc = create_zstd(encoder);
    if (rc == 0)
        rc = write_header(encoder);
    if (rc != 0) {
        snapshot_encoder_destroy(encoder);
        return rc;
    }
    *ret = encoder;
    return 0;
}

int snapshot_encoder_add(struct snapshot_encoder *encoder, const struct snapshot_record *record)
{
    if (encoder->rc != 0)
        return encoder->rc;
    if (record->size > SNAPSHOT_RECORD_MAX_BYTES)
        return encoder->rc = E_TOO_LARGE;
    if (record->kind < SNAPSHOT_REALM || record->kind > SNAPSHOT_KEY)
        return encoder->rc = E_INVALID;
    if (!snapshot_tally_add(&encoder->tally, &encoder->header, record->kind))
        return encoder->rc = E_CORRUPT;
    if (write_frame(encoder, record->kind, record->scope, record->size) != 0)
        return encoder->rc;
    return snapshot_encoder_put(encoder, record->bytes, record->size);
}

int snapshot_encoder_end(struct snapshot_encoder *encoder)
{
    if (encoder->rc != 0)
        return encoder->rc;
    if (!snapshot_tally_complete(&encoder->tally, &encoder->header))
        return encoder->rc = E_CORRUPT;
    if (write_frame(encoder, SNAPSHOT_END, 0, 0) != 0)
        return encoder->rc;
    return compress(encoder, ZSTD_e_end);
}

void snapshot_encoder_destroy(struct snapshot_encoder *encoder)
{
    if (encoder == NULL)
        return;
    ZSTD_freeCCtx(encoder->zstd);
    buffer_finish(&encoder->block);
    free(encoder->out);
    free(encoder);
}

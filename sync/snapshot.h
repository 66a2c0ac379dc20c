/* snapshot.h - the snapshot's stream: one zstd frame around a header, record frames and a trailer.
 *
 * Shared by both ends: realm-control writes with snapshot_encoder, the agent reads with
 * snapshot_decoder. The records inside are opaque here; store/record.h gives their bytes. Layout,
 * byte by byte: docs/protocol.md, "Snapshot". JSON is not on this path.
 *
 * Order of the frames: realms by number; consumers by (scope, id), each followed by its keys by id.
 * That is the order of the host's tables, which the agent appends to; and a consumer's keys say
 * where its record is kept (store/consumers.h), so that they must be known with it.
 */
#ifndef RS_SYNC_SNAPSHOT_H
#define RS_SYNC_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/model.h"

enum { SNAPSHOT_FORMAT = 2, SNAPSHOT_RECORD_MAX_BYTES = 256 * 1024 };

enum snapshot_kind {
    SNAPSHOT_REALM = 1,
    SNAPSHOT_CONSUMER = 2,
    SNAPSHOT_KEY = 3,
    SNAPSHOT_END = 255
};

struct snapshot_header {
    struct model_cursor cursor; /* the one version this snapshot is */
    struct uuid control_plane_id;
    int64_t time_ms; /* commit time of that version, wall clock of the source */
    uint64_t realms;
    uint64_t consumers;
    uint64_t keys;
};

struct snapshot_record {
    enum snapshot_kind kind; /* never SNAPSHOT_END */
    uint32_t scope;
    const void *bytes; /* borrowed until the next call on the decoder */
    size_t size;
};

/* ---- writing ---- */

struct snapshot_encoder;

/* Compressed bytes go to write(context, ...), which returns 0 or a code that stops the encoder. */
typedef int (*snapshot_write_fn)(void *context, const void *bytes, size_t size);

int snapshot_encoder_create(const struct snapshot_header *header, snapshot_write_fn write,
                            void *context, struct snapshot_encoder **ret);
int snapshot_encoder_add(struct snapshot_encoder *encoder, const struct snapshot_record *record);
/* Writes the trailer and flushes. E_CORRUPT when the counts differ from the header's. */
int snapshot_encoder_end(struct snapshot_encoder *encoder);
void snapshot_encoder_destroy(struct snapshot_encoder *encoder); /* NULL allowed */

/* ---- reading ---- */

struct snapshot_decoder;

/* Called for the header (once, first) and for each record; a code other than 0 stops the decoder
 * and is returned from snapshot_decoder_feed(). */
struct snapshot_sink {
    int (*header)(void *context, const struct snapshot_header *header, struct error *err);
    int (*record)(void *context, const struct snapshot_record *record, struct error *err);
    void *context;
};

int snapshot_decoder_create(const struct snapshot_sink *sink, struct snapshot_decoder **ret);
/* Takes any number of compressed bytes, cut anywhere. E_PROTOCOL for anything that is not the
 * format: wrong magic, other compression, a record over the limit, counts that differ, bytes after
 * the end. */
int snapshot_decoder_feed(struct snapshot_decoder *decoder, const void *bytes, size_t size,
                          struct error *err);
/* 0 when the trailer was read and nothing is missing, else E_PROTOCOL: the stream broke off. */
int snapshot_decoder_end(struct snapshot_decoder *decoder, struct error *err);
void snapshot_decoder_destroy(struct snapshot_decoder *decoder); /* NULL allowed */

#endif

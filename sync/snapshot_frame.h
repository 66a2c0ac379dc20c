/* snapshot_frame.h - byte positions of the snapshot's header and frames; shared by the encoder and
 * the decoder, so that each number stands once. docs/protocol.md, "GET /v1/sync/snapshot". */
#ifndef RS_SYNC_SNAPSHOT_FRAME_H
#define RS_SYNC_SNAPSHOT_FRAME_H

#include <stdint.h>

#include "sync/snapshot.h"

#define SNAPSHOT_MAGIC "RSSNAP01"

enum {
    SNAPSHOT_MAGIC_BYTES = 8,

    SNAPSHOT_AT_FORMAT = 8,
    SNAPSHOT_AT_HEADER_SIZE = 12,
    SNAPSHOT_AT_EPOCH = 16,
    SNAPSHOT_AT_VERSION = 32,
    SNAPSHOT_AT_CONTROL_PLANE = 40,
    SNAPSHOT_AT_TIME = 56,
    SNAPSHOT_AT_REALMS = 64,
    SNAPSHOT_AT_CONSUMERS = 72,
    SNAPSHOT_AT_KEYS = 80,
    SNAPSHOT_AT_ZERO = 88,
    SNAPSHOT_HEADER_BYTES = 96,

    SNAPSHOT_FRAME_AT_KIND = 0, /* then three zero bytes */
    SNAPSHOT_FRAME_AT_SCOPE = 4,
    SNAPSHOT_FRAME_AT_SIZE = 8,
    SNAPSHOT_FRAME_BYTES = 12
};

/* Frames seen so far, in the header's terms. */
struct snapshot_tally {
    uint64_t counts[SNAPSHOT_KEY + 1]; /* by kind */
};

static inline uint64_t snapshot_expected(const struct snapshot_header *header,
                                         enum snapshot_kind kind)
{
    return kind == SNAPSHOT_REALM      ? header->realms
           : kind == SNAPSHOT_CONSUMER ? header->consumers
                                       : header->keys;
}

/* One more record of this kind: within the counts, and no realm behind a consumer or key? What else
 * the order asks is in the records, which are opaque here. */
static inline bool snapshot_tally_add(struct snapshot_tally *tally,
                                      const struct snapshot_header *header, enum snapshot_kind kind)
{
    if (tally->counts[kind] >= snapshot_expected(header, kind))
        return false;
    if (kind == SNAPSHOT_REALM &&
        (tally->counts[SNAPSHOT_CONSUMER] > 0 || tally->counts[SNAPSHOT_KEY] > 0))
        return false;
    tally->counts[kind]++;
    return true;
}

static inline bool snapshot_tally_complete(const struct snapshot_tally *tally,
                                           const struct snapshot_header *header)
{
    return tally->counts[SNAPSHOT_REALM] == header->realms &&
           tally->counts[SNAPSHOT_CONSUMER] == header->consumers &&
           tally->counts[SNAPSHOT_KEY] == header->keys;
}

#endif

/* The snapshot of a session: from the request to the sink's "end".
 *
 * Happy path: compressed bytes go through the decoder in small slices, records go to the sink, the
 * last byte is followed by a look at the digest of them all, snapshot_end and the state DRAINING,
 * in which the sink makes it durable.
 *
 * Back-pressure: a slice bounds what one step can decompress to (zstd's densest block is 128 KiB
 * from 4 bytes, so 8 MiB). When the sink is full, the rest of the buffer is held here and the
 * transfer paused.
 *
 * Failure: when the transfer is cut, or stalls, the decoder and what the sink has stay, and after
 * the back-off the rest is asked for: the name is the content's, so whoever answers gives the same
 * bytes. When the decoder or the sink refuses, the file is gone, or the digest is another, the sink
 * hears snapshot_abort and the session begins anew with the feed.
 */
#include "sync/session_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"

enum { SNAPSHOT_SLICE_BYTES = 256 };

static int on_header(void *context, const struct snapshot_header *header, struct error *err)
{
    struct session *session = context;
    int rc;

    if (!uuid_equal(&header->control_plane_id, &session->options.control_plane_id))
        return error_set(err, E_PROTOCOL, "the snapshot is of another control plane");
    if (!uuid_equal(&header->cursor.epoch, &session->epoch))
        return error_set(err, E_PROTOCOL, "the snapshot is of another history than the feed");
    if (!uuid_equal(&session->snapshot.cursor.epoch, &session->epoch) ||
        header->cursor.version != session->snapshot.cursor.version)
        return error_set(err, E_PROTOCOL, "the snapshot is of another version than the feed said");
    rc = session->sink.snapshot_begin(session->sink.context, header, session->digest_key, err);
    session->snapshot_begun = rc == 0;
    return rc;
}

static int on_record(void *context, const struct snapshot_record *record, struct error *err)
{
    struct session *session = context;

    return session->sink.snapshot_record(session->sink.context, record, err);
}

static void fail_snapshot(struct session *session, struct error *err, int64_t retry_after_ms)
{
    (void)error_context(err, "snapshot");
    session_fail(session, err, retry_after_ms);
}

/* What another try may mend without giving up what has come. */
static bool is_cut(int code)
{
    return code == E_NETWORK || code == E_TIMEOUT;
}

static void end_transfer(struct session *session, struct error *err, int64_t retry_after_ms)
{
    if (!is_cut(err->code)) {
        fail_snapshot(session, err, retry_after_ms);
        return;
    }
    (void)error_context(err, "snapshot, cut at byte %" PRIu64 " of %" PRIu64,
                        session->snapshot_bytes, session->snapshot.size);
    session_interrupt(session, err, retry_after_ms);
}

static int check_digest(struct session *session, struct error *err)
{
    uint8_t digest[DIGEST_BYTES];

    digest_stream_end(&session->digest, digest);
    if (memcmp(digest, session->snapshot.sha256, DIGEST_BYTES) == 0)
        return 0;
    return error_set(err, E_PROTOCOL, "its bytes are not those that it is named after");
}

static void session_snapshot_finish(struct session *session)
{
    struct error err = ERROR_INIT;
    int rc = snapshot_decoder_end(session->decoder, &err);

    if (rc == 0)
        rc = check_digest(session, &err);
    if (rc == 0)
        rc = session->sink.snapshot_end(session->sink.context, &err);
    if (rc != 0) {
        fail_snapshot(session, &err, 0);
        return;
    }
    session->snapshot_begun = false; /* the sink's from here on */
    session->snapshot_taken = true;
    session->resync_wanted = SESSION_RESYNC_NONE;
    session_snapshot_drop(session);
    session_advance(session, SESSION_EVENT_RECEIVED);
    session_connect(session);
}

/* Feeds the decoder until the bytes are used up or the sink is full; *ret_used says how far. */
static int decode(struct session *session, const unsigned char *bytes, size_t size,
                  size_t *ret_used, struct error *err)
{
    size_t used = 0;
    int rc = 0;

    while (used < size && rc == 0 && !session->sink.full(session->sink.context)) {
        size_t slice = size - used < SNAPSHOT_SLICE_BYTES ? size - used : SNAPSHOT_SLICE_BYTES;

        rc = snapshot_decoder_feed(session->decoder, bytes + used, slice, err);
        used += slice;
    }
    *ret_used = used;
    return rc;
}

/* The first bytes of a transfer: which of them have come already? A cache that knows no ranges
 * begins at the start. */
static int place_transfer(struct session *session, struct error *err)
{
    uint64_t offset;

    if (session->snapshot_placed)
        return 0;
    offset = http_request_offset(session->transfer);
    if (offset > session->snapshot_bytes)
        return error_set(err, E_PROTOCOL, "the answer does not begin at byte %" PRIu64,
                         session->snapshot_bytes);
    session->snapshot_placed = true;
    session->snapshot_known = session->snapshot_bytes - offset;
    return 0;
}

/* Bytes that have not come before. */
static int take_new(struct session *session, const unsigned char *bytes, size_t size,
                    struct error *err)
{
    size_t used;
    int rc;

    if (size > session->snapshot.size - session->snapshot_bytes)
        return error_set(err, E_PROTOCOL, "it is longer than its %" PRIu64 " bytes",
                         session->snapshot.size);
    session->snapshot_bytes += size;
    digest_stream_add(&session->digest, bytes, size);
    rc = decode(session, bytes, size, &used, err);
    if (rc != 0 || used == size)
        return rc;
    session_pause(session);
    if (buffer_append(&session->held, bytes + used, size - used) != 0)
        return error_set(err, E_NO_MEMORY, "no memory to hold %zu bytes back", size - used);
    return 0;
}

static int take_bytes(struct session *session, const unsigned char *bytes, size_t size,
                      struct error *err)
{
    size_t known;
    int rc = place_transfer(session, err);

    if (rc != 0)
        return rc;
    known = session->snapshot_known < size ? (size_t)session->snapshot_known : size;
    session->snapshot_known -= known;
    return take_new(session, bytes + known, size - known, err);
}

static enum http_take session_snapshot_on_data(void *context, const void *bytes, size_t size)
{
    struct session *session = context;
    const struct session_limits *limits = &session->options.limits;
    struct error err = ERROR_INIT;

    if (session->held.size > 0 || session->sink.full(session->sink.context)) {
        session_pause(session);
        return HTTP_PAUSE;
    }
    session->sink.received(session->sink.context, size);
    session_arm(session, session->silence_ms);
    (void)take_bytes(session, bytes, size, &err);
    if (err.code == 0 &&
        !session_progress_add(&session->progress, (int64_t)uv_now(session->options.loop), size,
                              limits->progress_bytes, limits->progress_ms))
        (void)error_set(&err, E_TIMEOUT, "it drips: under %u bytes in %u ms",
                        limits->progress_bytes, limits->progress_ms);
    if (err.code != 0)
        end_transfer(session, &err, 0);
    return HTTP_TAKEN;
}

static void session_snapshot_on_done(void *context, const struct http_result *result)
{
    struct session *session = context;
    struct error err = result->err;

    session->transfer = NULL;
    if (err.code == 0 && session->snapshot_bytes < session->snapshot.size)
        (void)error_set(&err, E_NETWORK, "the answer ended early");
    session->snapshot_received = err.code == 0;
    if (err.code != 0)
        end_transfer(session, &err, result->retry_after_ms);
    else if (session->held.size == 0)
        session_snapshot_finish(session);
}

/* Asks for what has not come. */
static void request(struct session *session)
{
    struct http_handler handler = {session_snapshot_on_data, session_snapshot_on_done, session};
    char hash[2 * DIGEST_BYTES + 1];
    char etag[sizeof(hash) + 2];
    struct http_request_options what = {.range_from = session->snapshot_bytes};
    struct error err = ERROR_INIT;

    hex_encode(session->snapshot.sha256, DIGEST_BYTES, hash);
    (void)snprintf(etag, sizeof(etag), "\"%s\"", hash); /* fits */
    if (session->snapshot_bytes > 0)
        what.if_range = etag;
    session->snapshot_placed = false;
    session_progress_start(&session->progress, (int64_t)uv_now(session->options.loop));
    session_arm(session, session->options.limits.snapshot_wait_ms);
    if (session_request(session, session_snapshot_url, &what, &handler, &session->transfer, &err) !=
        0)
        fail_snapshot(session, &err, 0);
}

void session_snapshot_start(struct session *session)
{
    struct snapshot_sink sink = {on_header, on_record, session};
    struct error err = ERROR_INIT;
    int rc = snapshot_decoder_create(&sink, &session->decoder);

    session->snapshot_received = false;
    session->snapshot_bytes = session->snapshot_cut = 0;
    digest_stream_init(&session->digest);
    if (rc == 0) {
        request(session);
        return;
    }
    (void)error_set(&err, rc, "no memory to decode it");
    fail_snapshot(session, &err, 0);
}

void session_snapshot_retry(struct session *session)
{
    session->snapshot_received = session->snapshot_bytes == session->snapshot.size;
    session_snapshot_resume(session);
}

void session_snapshot_resume(struct session *session)
{
    struct error err = ERROR_INIT;
    size_t used;

    if (decode(session, session->held.data, session->held.size, &used, &err) != 0) {
        fail_snapshot(session, &err, 0);
        return;
    }
    buffer_consume(&session->held, used);
    if (session->held.size > 0)
        session_pause(session);
    else if (session->snapshot_received)
        session_snapshot_finish(session);
    else if (session->transfer != NULL)
        http_request_resume(session->transfer);
    else
        request(session);
}

void session_snapshot_drop(struct session *session)
{
    snapshot_decoder_destroy(session->decoder);
    session->decoder = NULL;
    buffer_clear(&session->held);
    if (session->snapshot_begun)
        session->sink.snapshot_abort(session->sink.context);
    session->snapshot_begun = false;
}

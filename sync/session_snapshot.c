/* The snapshot of a session: from the request to the sink's "end".
 *
 * Happy path: compressed bytes go through the decoder in small slices, records go to the sink, the
 * last slice is followed by snapshot_end and the state DRAINING, in which the sink makes it
 * durable.
 *
 * Back-pressure: a slice bounds what one step can decompress to (zstd's densest block is 128 KiB
 * from 4 bytes, so 8 MiB). When the sink is full, the rest of the buffer is held here and the
 * transfer paused.
 *
 * Failure: the decoder or the sink refuses, the transfer breaks off, or it drips: the sink hears
 * snapshot_abort and the session backs off.
 */
#include "sync/session_internal.h"

#include <string.h>

enum { SNAPSHOT_SLICE_BYTES = 256 };

static int on_header(void *context, const struct snapshot_header *header, struct error *err)
{
    struct session *session = context;
    int rc;

    if (!uuid_equal(&header->control_plane_id, &session->options.control_plane_id))
        return error_set(err, E_PROTOCOL, "the snapshot is of another control plane");
    if (!uuid_equal(&header->cursor.epoch, &session->epoch))
        return error_set(err, E_PROTOCOL, "the snapshot is of another history than the feed");
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

static void finish(struct session *session)
{
    struct error err = ERROR_INIT;
    int rc = snapshot_decoder_end(session->decoder, &err);

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

static enum http_take on_data(void *context, const void *bytes, size_t size)
{
    struct session *session = context;
    const struct session_limits *limits = &session->options.limits;
    struct error err = ERROR_INIT;
    size_t used;

    if (session->held.size > 0 || session->sink.full(session->sink.context)) {
        session_pause(session);
        return HTTP_PAUSE;
    }
    session->sink.received(session->sink.context, size);
    session_arm(session, session->silence_ms);
    if (decode(session, bytes, size, &used, &err) == 0 && used < size) {
        session_pause(session);
        if (buffer_append(&session->held, (const char *)bytes + used, size - used) != 0)
            (void)error_set(&err, E_NO_MEMORY, "no memory to hold %zu bytes back", size - used);
    }
    if (err.code == 0 &&
        !session_progress_add(&session->progress, (int64_t)uv_now(session->options.loop), size,
                              limits->progress_bytes, limits->progress_ms))
        (void)error_set(&err, E_TIMEOUT, "it drips: under %u bytes in %u ms",
                        limits->progress_bytes, limits->progress_ms);
    if (err.code != 0)
        fail_snapshot(session, &err, 0);
    return HTTP_TAKEN;
}

static void on_done(void *context, const struct http_result *result)
{
    struct session *session = context;
    struct error err = result->err;

    session->transfer = NULL;
    session->snapshot_received = true;
    if (err.code != 0)
        fail_snapshot(session, &err, result->retry_after_ms);
    else if (session->held.size == 0)
        finish(session);
}

void session_snapshot_start(struct session *session)
{
    struct snapshot_sink sink = {on_header, on_record, session};
    struct http_handler handler = {on_data, on_done, session};
    struct error err = ERROR_INIT;
    int rc = snapshot_decoder_create(&sink, &session->decoder);

    session->snapshot_received = false;
    session_progress_start(&session->progress, (int64_t)uv_now(session->options.loop));
    session_arm(session, session->options.limits.snapshot_wait_ms);
    if (rc != 0)
        (void)error_set(&err, rc, "no memory to decode it");
    else
        rc = session_request(session, session_snapshot_url, NULL, &handler, &session->transfer,
                             &err);
    if (rc != 0)
        fail_snapshot(session, &err, 0);
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
        finish(session);
    else
        http_request_resume(session->transfer);
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

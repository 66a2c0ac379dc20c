/* The feed of a session: from the request to the last byte, and the acknowledgements beside it.
 *
 * Happy path: the request starts, bytes go through the feed reader to the sink, heartbeats and
 * transactions keep the timer away. Ends only by trouble or by the source's wish for a snapshot.
 *
 * The reader's events come from inside feed_reader_take(), where the reader must not be destroyed:
 * hello and resync are noted there and acted on when it has returned.
 */
#include "sync/session_internal.h"

#include <string.h>

/* Some names and numbers; a host name of 255 bytes may be escaped. */
enum { ACK_BODY_MAX_BYTES = 4 * 1024 };

enum { HTTP_CONFLICT = 409, ACK_REFUSALS_MAX = 2, ACK_RECONNECT_MS = 60 * 1000 };

/* ---- events of the reader ---- */

static void on_ack_timer(uv_timer_t *timer)
{
    session_send_ack(timer->data);
}

static void note_name_shared(struct session *session, bool shared)
{
    if (shared == session->name_shared)
        return;
    session->name_shared = shared;
    if (session->sink.name_shared != NULL)
        session->sink.name_shared(session->sink.context, shared);
}

/* All that the control plane knows of us so far is what we asked with. It keeps hosts in mind that
 * have acknowledged something; so we do, once, when we are up to date and have said nothing yet. */
static void plan_first_ack(struct session *session)
{
    const uint32_t delay_ms =
        session_ack_interval_ms(&session->options.limits, session->heartbeat_ms, session_random());

    if (!session->ack_first || session->ack_first_ms != 0)
        return;
    session->ack_first_ms = (int64_t)uv_now(session->options.loop) + delay_ms;
    if (!uv_is_active((const uv_handle_t *)&session->ack_timer))
        (void)uv_timer_start(&session->ack_timer, on_ack_timer, delay_ms,
                             0); /* fails on a closing one only */
}

static bool on_hello(void *context, const struct feed_line *line)
{
    struct session *session = context;
    struct session_hello hello = {
        .epoch = line->hello.epoch,
        .version = line->hello.version,
        .heartbeat_ms = line->hello.heartbeat_ms,
        .accepted = line->hello.accepted,
        .digest_key = line->hello.digest_key,
    };

    session->hello_seen = true;
    session->epoch = hello.epoch;
    session->feed_id = line->hello.feed;
    note_name_shared(session, line->hello.name_shared);
    memcpy(session->digest_key, hello.digest_key, DIGEST_KEY_BYTES);
    session->heartbeat_ms = hello.heartbeat_ms;
    session->silence_ms = session_silence_ms(&session->options.limits, hello.heartbeat_ms);
    /* On false this stream is of no use: the next one asks for a snapshot, and is told where. */
    if (session->sink.hello(session->sink.context, &hello) ||
        session->resync_wanted != SESSION_RESYNC_NONE)
        return true;
    session->resync_wanted = SESSION_RESYNC_DIGEST_KEY;
    session->hello_refused = true;
    return false;
}

static int on_transaction(void *context, struct feed_transaction *transaction, struct error *err)
{
    struct session *session = context;

    session->snapshot_taken = false;
    return session->sink.transaction(session->sink.context, transaction, err);
}

static void on_heartbeat(void *context, const struct feed_line *line)
{
    struct session *session = context;

    session->snapshot_taken = false;
    if (line->heartbeat.acknowledge) /* versions that this feed cannot see are never visible here */
        session->ack_awaited = feed_reader_cursor(session->feed).version;
    note_name_shared(session, line->heartbeat.name_shared);
    plan_first_ack(session);
    session->sink.heartbeat(session->sink.context, line->heartbeat.version);
}

static void on_resync(void *context, enum feed_resync_reason reason,
                      const struct snapshot_name *snapshot)
{
    struct session *session = context;

    session->snapshot = *snapshot;
    /* Asked for by ourselves, the source can only answer "no cursor": our reason tells more. */
    session->resync_seen = session->resync_wanted != SESSION_RESYNC_NONE
                               ? session->resync_wanted
                               : (enum session_resync)reason;
}

/* ---- bytes ---- */

/* A first gap may be an accident of the way (a proxy's stale answer); a second one at the same
 * place is the source's own word. */
static void note_gap(struct session *session)
{
    struct model_cursor here = feed_reader_cursor(session->feed);

    if (session->gap_seen && model_cursor_equal(&session->gap_cursor, &here))
        session->resync_wanted = SESSION_RESYNC_GAP;
    session->gap_seen = true;
    session->gap_cursor = here;
}

static void fail_stream(struct session *session, const struct error *err)
{
    if (err->code == E_RESYNC)
        note_gap(session);
    else if (err->code == E_TOO_LARGE)
        session->resync_wanted = SESSION_RESYNC_TOO_LARGE;
    session_fail(session, err, 0);
}

static bool makes_progress(struct session *session, uint64_t lines_before)
{
    const struct session_limits *limits = &session->options.limits;

    return session_progress_add(&session->progress, (int64_t)uv_now(session->options.loop),
                                feed_reader_lines(session->feed) - lines_before, 1,
                                limits->progress_ms);
}

static enum http_take session_stream_on_data(void *context, const void *bytes, size_t size)
{
    struct session *session = context;
    struct error err = ERROR_INIT;
    uint64_t lines = feed_reader_lines(session->feed);

    if (session->sink.full(session->sink.context)) {
        session_pause(session);
        return HTTP_PAUSE;
    }
    session->sink.received(session->sink.context, size);
    if (feed_reader_take(session->feed, bytes, size, &err) == 0 && !makes_progress(session, lines))
        (void)error_set(&err, E_TIMEOUT, "the feed drips: no complete line in %u ms",
                        session->options.limits.progress_ms);
    if (session->hello_seen && session->state == SESSION_CONNECTING) {
        session->streaming_ms = (int64_t)uv_now(session->options.loop);
        session_advance(session, SESSION_EVENT_HELLO);
    }
    if (err.code == 0 && session->hello_refused)
        (void)error_set(&err, E_PROTOCOL, "the feed has another digest key, but the same epoch");
    if (err.code != 0)
        fail_stream(session, &err);
    else if (session->resync_seen != SESSION_RESYNC_NONE)
        session_resynchronise(session, session->resync_seen);
    else if (session->hello_seen) {
        session_arm(session, session->silence_ms);
        session_send_ack(session);
    }
    return HTTP_TAKEN;
}

static void session_stream_on_done(void *context, const struct http_result *result)
{
    struct session *session = context;
    struct error err = result->err;

    session->transfer = NULL;
    if (err.code == 0)
        (void)error_set(&err, E_NETWORK, "the control plane ended the feed");
    session_fail(session, &err, result->retry_after_ms);
}

static int open_feed(struct session *session, struct error *err)
{
    struct feed_expectation expect = {
        .control_plane_id = session->options.control_plane_id,
        .region = session->options.region,
        .cursor = session->cursor,
        .max_transaction_bytes = session->options.limits.max_transaction_bytes,
        .wished = session->wish.kind != FEED_WISH_NONE,
    };
    struct feed_events events = {on_hello, on_transaction, on_heartbeat, on_resync, session};
    struct http_handler handler = {session_stream_on_data, session_stream_on_done, session};
    int rc = feed_reader_create(&expect, &events, &session->feed);

    if (rc != 0)
        return error_set(err, rc, "no memory to read the feed");
    return session_request(session, session_feed_url, &(struct http_request_options){NULL},
                           &handler, &session->transfer, err);
}

/* Its id is the proof that we are the host that had it. One whose hello never came has none. */
static void leave_former_feed(struct session *session)
{
    if (!uuid_is_nil(&session->feed_id))
        session->former = session->feed_id;
    session->feed_id = (struct uuid){{0}};
}

void session_connect(struct session *session)
{
    struct error err = ERROR_INIT;

    if (!session->sink.durable(session->sink.context, &session->cursor))
        return;
    if (session->resync_wanted != SESSION_RESYNC_NONE)
        session->cursor = (struct model_cursor){.version = 0};
    session->wish.kind = FEED_WISH_NONE;
    if (session->sink.wish != NULL && !uuid_is_nil(&session->cursor.epoch))
        session->sink.wish(session->sink.context, &session->wish);
    session->hello_seen = session->hello_refused = false;
    session->resync_seen = SESSION_RESYNC_NONE;
    session->ack_wanted.cursor = session->cursor;
    session->ack_sent = (struct session_standing){session->cursor, 0}; /* the request says it */
    session->ack_awaited = 0;
    session->ack_next_ms = session->ack_first_ms = 0;
    session->ack_first = true;
    session->ack_refusals = 0;
    leave_former_feed(session);
    session_advance(session, SESSION_EVENT_DRAINED);
    session_progress_start(&session->progress, (int64_t)uv_now(session->options.loop));
    session_arm(session, session_hello_ms(&session->options.limits, session->failures,
                                          session->options.n_urls));
    if (open_feed(session, &err) != 0)
        session_fail(session, &err, 0);
}

/* ---- acknowledgements ---- */

static enum http_take on_ack_data(void *context, const void *bytes, size_t size)
{
    (void)context;
    (void)bytes;
    (void)size;
    return HTTP_TAKEN; /* a 204 has no body, and another's says nothing that matters */
}

/* The feed goes on, but what we say on it is not believed (credentials that were changed
 * meanwhile): another feed is the way out. One refusal may have crossed the end of the feed. */
static bool is_disbelieved(struct session *session, const struct http_result *result)
{
    const int64_t now_ms = (int64_t)uv_now(session->options.loop);

    if (result->status != HTTP_CONFLICT || ++session->ack_refusals < ACK_REFUSALS_MAX ||
        (session->ack_reconnected_ms != 0 &&
         now_ms - session->ack_reconnected_ms < ACK_RECONNECT_MS))
        return false;
    session->ack_reconnected_ms = now_ms;
    return true;
}

static void on_ack_done(void *context, const struct http_result *result)
{
    struct session *session = context;
    struct error err = ERROR_INIT;

    session->ack = NULL;
    if (result->err.code == 0) {
        session->ack_refusals = 0;
        session_send_ack(session);
        return;
    }
    if (is_disbelieved(session, result)) {
        (void)error_set(&err, E_NETWORK,
                        "the control plane does not take what this host acknowledges (409; its log "
                        "has the reason)");
        session_fail(session, &err, 0);
        return;
    }
    /* The next bytes of the feed, a heartbeat at the latest, try again, and do not wait longer. A
     * refusal is looked into at once. */
    session->ack_sent = (struct session_standing){.verified = 0};
    session->ack_next_ms = 0;
    if (session->ack_refusals == 1)
        session_send_ack(session);
}

/* Whether it may be sent now; else the timer sends it, or one that is newer by then. */
static bool is_ack_due(struct session *session)
{
    const int64_t now_ms = (int64_t)uv_now(session->options.loop);
    const int64_t rest_ms = session->ack_next_ms - now_ms;
    const bool awaited =
        session->ack_awaited != 0 && session->ack_wanted.cursor.version >= session->ack_awaited;

    if (rest_ms > 0 && !awaited) {
        (void)uv_timer_start(&session->ack_timer, on_ack_timer, (uint64_t)rest_ms,
                             0); /* fails on a closing one only */
        return false;
    }
    if (awaited)
        session->ack_awaited = 0;
    session->ack_next_ms =
        now_ms +
        session_ack_interval_ms(&session->options.limits, session->heartbeat_ms, session_random());
    return true;
}

static bool has_ack_to_say(const struct session *session)
{
    const struct session_standing *wanted = &session->ack_wanted;
    const struct session_standing *sent = &session->ack_sent;

    if (!uuid_equal(&wanted->cursor.epoch, &session->epoch))
        return false; /* of another history the feed knows nothing */
    return !model_cursor_equal(&wanted->cursor, &sent->cursor) ||
           wanted->verified != sent->verified ||
           (session->ack_first && session->ack_first_ms != 0 &&
            (int64_t)uv_now(session->options.loop) >= session->ack_first_ms);
}

static void note_ack_sent(struct session *session)
{
    session->ack_sent = session->ack_wanted;
    session->ack_first = false;
}

void session_send_ack(struct session *session)
{
    struct http_handler handler = {on_ack_data, on_ack_done, session};
    struct http_request_options what = {NULL};
    struct error ignored = ERROR_INIT; /* the next bytes of the feed try again */
    struct buffer body;

    if (session->state != SESSION_STREAMING || session->ack != NULL || !has_ack_to_say(session) ||
        !is_ack_due(session))
        return;
    buffer_init(&body, ACK_BODY_MAX_BYTES);
    if (session_ack_body(session, &session->ack_wanted, &body) == 0) {
        what.json_body = (const char *)body.data;
        if (session_request(session, session_ack_url, &what, &handler, &session->ack, &ignored) ==
            0)
            note_ack_sent(session);
    }
    buffer_finish(&body);
}

void session_ack(struct session *session, const struct model_cursor *durable, uint64_t verified)
{
    /* What was compared may be ahead of what is durable: of that no more is said than there is. */
    session->ack_wanted = (struct session_standing){
        *durable, verified < durable->version ? verified : durable->version};
    session_send_ack(session);
}

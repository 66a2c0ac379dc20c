/* The life of a session: its state, its one timer, its trouble. session.h has the contract.
 *
 * Happy path: DRAINING asks the sink for the durable cursor, session_stream.c connects and streams.
 *
 * Failure: everything that goes wrong ends in session_fail(), which drops what is open, tells the
 * sink once and arms the back-off. Nothing is retried anywhere else.
 */
#include "sync/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "sync/session_internal.h"

/* curl hands out at most CURL_MAX_WRITE_SIZE (16 KiB) at once. */
enum { HELD_MAX_BYTES = 64 * 1024 };

const char *session_resync_text(enum session_resync reason)
{
    switch (reason) {
    case SESSION_RESYNC_GAP:
        return "gap";
    case SESSION_RESYNC_DIGEST_KEY:
        return "digest_key";
    case SESSION_RESYNC_STORE:
        return "store";
    case SESSION_RESYNC_DIGEST:
        return "digest";
    default:
        return feed_resync_reason_text((enum feed_resync_reason)reason);
    }
}

enum session_state session_state(const struct session *session)
{
    return session->state;
}

void session_advance(struct session *session, enum session_event event)
{
    enum session_state next = session_next_state(session->state, event);

    assert(next != SESSION_STATES);
    (void)uv_timer_stop(&session->timer); /* it meant something to the former state; never fails */
    session->state = next;
    session->sink.state(session->sink.context, next);
}

/* ---- time ---- */

static void end_backoff(struct session *session)
{
    if (session->decoder != NULL) {
        session_advance(session, SESSION_EVENT_RETRY);
        session_snapshot_retry(session);
        return;
    }
    session_advance(session, SESSION_EVENT_TIMER);
    session_connect(session);
}

static void on_timer(uv_timer_t *timer)
{
    struct session *session = timer->data;
    struct error err = ERROR_INIT;

    switch (session->state) {
    case SESSION_CONNECTING:
        (void)error_set(
            &err, E_TIMEOUT, "no hello within %u ms",
            session_hello_ms(&session->options.limits, session->failures, session->options.n_urls));
        session_fail(session, &err, 0);
        break;
    case SESSION_STREAMING:
        (void)error_set(&err, E_TIMEOUT, "not a byte for %u ms (three heartbeats)",
                        session->silence_ms);
        session_fail(session, &err, 0);
        break;
    case SESSION_SNAPSHOT:
        (void)error_set(&err, E_TIMEOUT, "snapshot: the transfer stalls");
        session_interrupt(session, &err, 0);
        break;
    case SESSION_BACKOFF:
        end_backoff(session);
        break;
    case SESSION_IDLE:
    case SESSION_DRAINING:
    case SESSION_STATES:
        assert(!"no timer runs in this state");
    }
}

void session_arm(struct session *session, uint32_t delay_ms)
{
    (void)uv_timer_start(&session->timer, on_timer, delay_ms, 0); /* fails on a closing one only */
}

/* ---- trouble ---- */

/* Ends what is under way, whatever the state, but for what has come of a snapshot. */
static void end_transfer(struct session *session)
{
    http_request_cancel(session->transfer);
    session->transfer = NULL;
    http_request_cancel(session->ack);
    session->ack = NULL;
    (void)uv_timer_stop(&session->ack_timer); /* never fails */
    feed_reader_destroy(session->feed);
    session->feed = NULL;
    session->paused = false;
}

static void drop_transfer(struct session *session)
{
    end_transfer(session);
    session_snapshot_drop(session);
}

uint32_t session_random(void)
{
    uint32_t bits;

    return getrandom(&bits, sizeof(bits), GRND_NONBLOCK) == sizeof(bits) ? bits : UINT32_MAX / 2;
}

/* `floor_ms`: until the URL that comes next may be asked. */
static void back_off(struct session *session, const struct error *err, uint32_t floor_ms)
{
    int64_t now_ms = (int64_t)uv_now(session->options.loop);
    struct session_trouble trouble = {.urls = session->options.n_urls, .floor_ms = floor_ms};
    struct session_failure failure = {
        .err = err,
        .url = session->options.urls[session->url],
        .during = session->state,
    };

    if (session->state == SESSION_STREAMING &&
        now_ms - session->streaming_ms >= session->options.limits.stable_ms)
        session->failures = 0;
    trouble.failures = failure.failures = ++session->failures;
    failure.delay_ms = session_delay_ms(&session->options.limits, &trouble, session_random());
    session->snapshot_taken = false;
    end_transfer(session);
    session->sink.failed(session->sink.context, &failure);
    session_advance(session, SESSION_EVENT_FAILED);
    session_arm(session, failure.delay_ms);
}

/* To ask soon again helps nobody: an operator must act. The first refusal of a snapshot is told to
 * the source without delay all the same. */
static bool is_final(const struct session *session, const struct error *err)
{
    return err->code == E_UNAUTHORIZED ||
           (err->code == E_REFUSED && session->state == SESSION_STREAMING);
}

/* Backs off, and goes to the URL that may be asked first. */
static void move_on(struct session *session, const struct error *err, int64_t retry_after_ms)
{
    int64_t now_ms = (int64_t)uv_now(session->options.loop);
    uint32_t alone_ms = session_url_hold_ms(&session->options.limits, is_final(session, err),
                                            retry_after_ms, session_random());
    int64_t floor_ms;
    size_t next;

    session->hold_until_ms[session->url] = now_ms + alone_ms;
    next = session_pick_url(session->hold_until_ms, session->options.n_urls, session->url, now_ms);
    floor_ms = session->hold_until_ms[next] - now_ms;
    back_off(session, err, floor_ms > 0 ? (uint32_t)floor_ms : 0);
    session->url = next;
}

void session_fail(struct session *session, const struct error *err, int64_t retry_after_ms)
{
    session_snapshot_drop(session);
    move_on(session, err, retry_after_ms);
}

void session_interrupt(struct session *session, const struct error *err, int64_t retry_after_ms)
{
    if (session->snapshot_bytes > session->snapshot_cut)
        session->failures = 0; /* it gets there, piece by piece */
    session->snapshot_cut = session->snapshot_bytes;
    move_on(session, err, retry_after_ms);
}

static bool is_refused(const struct session *session)
{
    return session->refusing &&
           memcmp(session->refused, session->snapshot.sha256, DIGEST_BYTES) == 0;
}

void session_resynchronise(struct session *session, enum session_resync reason)
{
    struct error err = ERROR_INIT;

    if (is_refused(session)) {
        (void)error_set(&err, E_REFUSED, "the source still names the snapshot that was refused");
        session_fail(session, &err, 0);
        return;
    }
    if (session->snapshot_taken) {
        session->resync_wanted = SESSION_RESYNC_NONE;
        (void)error_set(&err, E_RESYNC, "another snapshot is needed right after one (%s)",
                        session_resync_text(reason));
        session_fail(session, &err, 0);
        return;
    }
    drop_transfer(session);
    session->sink.resync(session->sink.context, reason);
    session_advance(session, SESSION_EVENT_RESYNC);
    session_snapshot_start(session);
}

/* ---- the sink's side ---- */

void session_pause(struct session *session)
{
    (void)uv_timer_stop(&session->timer); /* the source is not to blame; never fails */
    session->paused = true;
    session->sink.paused(session->sink.context);
}

static void unpause(struct session *session)
{
    session->paused = false;
    session_progress_start(&session->progress, (int64_t)uv_now(session->options.loop));
    session_arm(session, session->silence_ms);
    if (session->state == SESSION_SNAPSHOT)
        session_snapshot_resume(session);
    else
        http_request_resume(session->transfer);
}

void session_resume(struct session *session)
{
    if (session->state == SESSION_DRAINING)
        session_connect(session);
    else if (session->paused && !session->sink.full(session->sink.context))
        unpause(session);
}

void session_reject(struct session *session, const struct error *err, enum session_resync resync)
{
    if (resync != SESSION_RESYNC_NONE)
        session->resync_wanted = resync;
    if (session->state == SESSION_IDLE)
        return;
    session_snapshot_drop(session);
    back_off(session, err, 0); /* not the URL's fault */
}

void session_refuse(struct session *session, const struct error *err)
{
    session->refusing = true;
    memcpy(session->refused, session->snapshot.sha256, DIGEST_BYTES);
    session_reject(session, err, SESSION_RESYNC_NONE);
}

void session_accept_epoch(struct session *session)
{
    session->refusing = false;
    session->failures = 0;
    if (session->state == SESSION_BACKOFF)
        end_backoff(session);
}

void session_reconnect(struct session *session)
{
    if (session->state != SESSION_STREAMING && session->state != SESSION_CONNECTING)
        return; /* the next connection asks, or a whole new copy comes */
    drop_transfer(session);
    session_advance(session, SESSION_EVENT_RECONNECT);
    session_connect(session);
}

/* ---- life ---- */

int session_create(const struct session_options *options, const struct session_sink *sink,
                   struct session **ret, struct error *err)
{
    struct session *session = calloc(1, sizeof(*session));

    if (session == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    assert(options->n_urls > 0);
    session->hold_until_ms = calloc(options->n_urls, sizeof(*session->hold_until_ms));
    if (session->hold_until_ms == NULL) {
        free(session);
        return error_set(err, E_NO_MEMORY, NULL);
    }
    session->options = *options;
    session->sink = *sink;
    session->resync_wanted = SESSION_RESYNC_NONE;
    buffer_init(&session->held, HELD_MAX_BYTES);
    (void)uv_timer_init(options->loop, &session->timer);     /* never fails */
    (void)uv_timer_init(options->loop, &session->ack_timer); /* never fails */
    session->timer.data = session->ack_timer.data = session;
    *ret = session;
    return 0;
}

void session_start(struct session *session)
{
    session_advance(session, SESSION_EVENT_START);
    session_connect(session);
}

static void session_on_closed(uv_handle_t *handle)
{
    struct session *session = handle->data;
    void (*closed)(void *) = session->closed;
    void *context = session->closed_context;

    buffer_finish(&session->held);
    explicit_bzero(session->digest_key, sizeof(session->digest_key));
    free(session->hold_until_ms);
    free(session);
    closed(context);
}

static void session_on_timer_closed(uv_handle_t *handle)
{
    struct session *session = handle->data;

    uv_close((uv_handle_t *)&session->ack_timer, session_on_closed);
}

void session_close(struct session *session, void (*closed)(void *context), void *context)
{
    session->closed = closed;
    session->closed_context = context;
    drop_transfer(session);
    session->state = session_next_state(session->state, SESSION_EVENT_STOP);
    uv_close((uv_handle_t *)&session->timer, session_on_timer_closed);
}

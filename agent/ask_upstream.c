/* See ask_upstream.h.
 *
 * Failure: whatever is not a complete and well-formed answer leads to the next URL; after the last
 * one, or when the time is over, the last reason is told. It is an outage only when no URL answered
 * anything about the question: whoever asks must not be able to make one.
 */
#include "agent/ask_upstream.h"

#include <stdlib.h>
#include <string.h>

#include "agent/ask_answer.h"
#include "base/wipe.h"
#include "sync/url.h"

/* 64 groups each of a realm and a consumer, and three names, all at their limits and escaped. */
enum { ANSWER_MAX_BYTES = 1024 * 1024, URL_MAX_BYTES = 8 * 1024 };

struct ask_upstream {
    struct ask_upstream_options options; /* the borrowed parts are replaced by those below */
    struct ask_upstream_events events;
    struct config_source source; /* owned */
    struct ask_place place;
    char *body; /* owned; holds the secret */
    uint64_t started_ms;
    unsigned tries;
    struct http_request *request;
    struct buffer answer;
    bool overlong;
    bool heard; /* a URL has said something about the question */
};

static int try_next(struct ask_upstream *upstream, struct error *err);

static unsigned current_url(const struct ask_upstream *upstream)
{
    return (upstream->options.first_url + upstream->tries) % upstream->source.urls_count;
}

/* ---- the question ---- */

static char *question_text(const struct ask_upstream_options *options)
{
    char control_plane[UUID_TEXT_SIZE];
    char realm[UUID_TEXT_SIZE];
    json_t *json =
        json_pack("{s:s, s:s%, s:s*}", "control_plane_id",
                  uuid_format(&options->control_plane_id, control_plane), "secret", options->secret,
                  options->secret_size, "realm_id",
                  options->place->is_realm ? uuid_format(&options->place->realm_id, realm) : NULL);
    char *text = json_dumps(json, JSON_COMPACT);

    json_decref(json);
    return text;
}

static void destroy(struct ask_upstream *upstream)
{
    config_source_finish(&upstream->source);
    wipe_free(upstream->body);
    buffer_finish(&upstream->answer);
    free(upstream);
}

/* ---- the request ---- */

static enum http_take ask_upstream_on_data(void *context, const void *bytes, size_t size)
{
    struct ask_upstream *upstream = context;

    if (buffer_append(&upstream->answer, bytes, size) != 0)
        upstream->overlong = true;
    return HTTP_TAKEN;
}

/* A refusal of the question itself, not of whoever asks it (401, 403) or of the moment (408,
 * 429). */
static bool is_about_question(long status)
{
    return status >= 400 && status < 500 && status != 401 && status != 403 && status != 408 &&
           status != 429;
}

static void fail(struct ask_upstream *upstream, struct error *err)
{
    struct ask_upstream_events events = upstream->events;
    bool heard = upstream->heard;

    (void)error_context(err, "%s", upstream->source.urls[current_url(upstream)]);
    if (++upstream->tries < upstream->source.urls_count && try_next(upstream, err) == 0)
        return;
    destroy(upstream);
    events.failed(events.context, err, !heard);
}

static void ask_upstream_on_done(void *context, const struct http_result *result)
{
    struct ask_upstream *upstream = context;
    struct ask_upstream_events events = upstream->events;
    struct ask_answer answer = {.found = false};
    struct error err = result->err;
    unsigned url = current_url(upstream);
    char *text = NULL;

    upstream->request = NULL;
    upstream->heard = upstream->heard || err.code == 0 || is_about_question(result->status);
    if (err.code == 0 && upstream->overlong)
        (void)error_set(&err, E_PROTOCOL, "the control plane's answer is too long");
    if (err.code == 0)
        (void)ask_answer_read(&upstream->place, upstream->answer.data, upstream->answer.size,
                              &answer, &text, &err);
    if (err.code != 0) {
        fail(upstream, &err);
        return;
    }
    destroy(upstream);
    events.answered(events.context, &answer, url);
    free(text);
}

/* Asks the current URL with the time that is left. On failure *err is as it was when there is none
 * left. */
static int try_next(struct ask_upstream *upstream, struct error *err)
{
    const struct config_source *source = &upstream->source;
    struct http_credentials credentials = {source->token, source->client_cert_file,
                                           source->client_key_file, source->ca_file};
    struct http_request_options options = {.credentials = &credentials,
                                           .json_body = upstream->body,
                                           .connect_timeout_ms = upstream->options.connect_ms};
    struct http_handler handler = {ask_upstream_on_data, ask_upstream_on_done, upstream};
    uint64_t spent_ms = uv_now(upstream->options.loop) - upstream->started_ms;
    uint32_t left_ms;
    struct buffer url;
    int rc;

    if (spent_ms >= upstream->options.total_ms)
        return E_TIMEOUT;
    left_ms = upstream->options.total_ms - (uint32_t)spent_ms;
    options.total_timeout_ms =
        left_ms < upstream->options.try_ms ? left_ms : upstream->options.try_ms;
    buffer_clear(&upstream->answer);
    upstream->overlong = false;
    buffer_init(&url, URL_MAX_BYTES);
    rc = url_append_base(&url, source->urls[current_url(upstream)], "/v1/sync/auth");
    if (rc == 0)
        rc = buffer_terminate(&url);
    if (rc == 0) {
        options.url = (const char *)url.data;
        rc =
            http_request_start(upstream->options.http, &options, &handler, &upstream->request, err);
    } else {
        (void)error_set(err, rc, "cannot compose the request's URL: %s", error_text(rc));
    }
    buffer_finish(&url);
    return rc;
}

int ask_upstream_start(const struct ask_upstream_options *options,
                       const struct ask_upstream_events *events, struct ask_upstream **ret,
                       struct error *err)
{
    struct ask_upstream *upstream = calloc(1, sizeof(*upstream));
    int rc = E_NO_MEMORY;

    if (upstream == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    upstream->options = *options;
    upstream->options.source = &upstream->source;
    upstream->options.place = &upstream->place;
    upstream->options.secret = NULL;
    upstream->events = *events;
    upstream->place = *options->place;
    upstream->started_ms = uv_now(options->loop);
    buffer_init(&upstream->answer, ANSWER_MAX_BYTES);
    upstream->body = question_text(options);
    if (upstream->body != NULL && config_source_copy(options->source, &upstream->source) == 0)
        rc = try_next(upstream, err);
    else
        (void)error_set(err, rc, NULL);
    if (rc != 0) {
        destroy(upstream);
        return rc;
    }
    *ret = upstream;
    return 0;
}

void ask_upstream_cancel(struct ask_upstream *upstream)
{
    if (upstream == NULL)
        return;
    http_request_cancel(upstream->request);
    destroy(upstream);
}

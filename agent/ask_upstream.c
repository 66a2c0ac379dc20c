/* See ask_upstream.h.
 *
 * Failure: whatever is not a complete and well-formed answer leads to the next URL; after the last
 * one, or when the time is over, the last reason is told.
 */
#include "agent/ask_upstream.h"

#include <stdlib.h>
#include <string.h>

#include "sync/url.h"

/* 64 groups each of a realm and a consumer, and three names, all at their limits and escaped. */
enum { ANSWER_MAX_BYTES = 1024 * 1024, URL_MAX_BYTES = 8 * 1024, MINUTE_MS = 60 * 1000 };

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
    if (upstream->body != NULL)
        explicit_bzero(upstream->body, strlen(upstream->body));
    free(upstream->body);
    buffer_finish(&upstream->answer);
    free(upstream);
}

/* ---- the answer ---- */

static int malformed(struct error *err, const char *what)
{
    return error_set(err, E_PROTOCOL, "the control plane's answer %s", what);
}

/* The array of a found answer, checked; a new reference or NULL. */
static json_t *read_groups(const json_t *groups)
{
    json_t *copy = json_array();

    if (!json_is_array(groups) || json_array_size(groups) > 2 * (size_t)MODEL_LABELS_MAX) {
        json_decref(copy);
        return NULL;
    }
    for (size_t i = 0; i < json_array_size(groups); i++) {
        json_t *name = json_array_get(groups, i);

        if (!json_is_string(name) || json_array_append(copy, name) != 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

static bool is_uuid(const char *text)
{
    struct uuid ignored;

    return text != NULL && uuid_parse(text, &ignored);
}

/* A name that may be null; false: it is something else. */
static bool read_name(const json_t *object, const char *member, const char **ret)
{
    const json_t *value = json_object_get(object, member);

    *ret = json_string_value(value);
    return json_is_string(value) || json_is_null(value);
}

/* The text that gateways get; NULL with the reason in *err. */
static char *found_text(const struct ask_place *place, const json_t *json, struct error *err)
{
    const json_t *consumer = json_object_get(json, "consumer");
    const json_t *credential = json_object_get(json, "credential");
    struct ask_found found = {.id = json_string_value(json_object_get(consumer, "id")),
                              .credential_id =
                                  json_string_value(json_object_get(credential, "id"))};
    json_t *groups;
    char *text;

    if (!is_uuid(found.id) || !is_uuid(found.credential_id) ||
        !read_name(json, "realm_name", &found.realm_name) ||
        !read_name(consumer, "username", &found.username) ||
        !read_name(consumer, "custom_id", &found.custom_id)) {
        (void)malformed(err, "has no good consumer or credential");
        return NULL;
    }
    groups = read_groups(json_object_get(consumer, "consumer_groups"));
    if (groups == NULL) {
        (void)malformed(err, "has no good consumer_groups");
        return NULL;
    }
    text = ask_found_text(place, &found, groups);
    if (text == NULL)
        (void)error_set(err, E_NO_MEMORY, NULL);
    return text;
}

/* What both kinds of answers say. */
static int read_times(json_t *json, struct ask_answer *ret, struct error *err)
{
    const char *result = NULL;
    const char *epoch = NULL;
    json_int_t version = 0;
    json_int_t ttl = 0;
    json_int_t negative_ttl = 0;
    json_int_t minutes;

    if (json_unpack(json, "{s:s, s:s, s:I, s:I, s:I}", "result", &result, "epoch", &epoch,
                    "version", &version, "ttl", &ttl, "negative_ttl", &negative_ttl) != 0 ||
        version < 0 || !uuid_parse(epoch, &ret->cursor.epoch))
        return malformed(err, "lacks its result, version or times");
    ret->found = strcmp(result, "found") == 0;
    if (!ret->found && strcmp(result, "not_found") != 0)
        return malformed(err, "has an unknown result");
    minutes = ret->found ? ttl : negative_ttl;
    if (minutes < 0 || minutes > INT32_MAX)
        return malformed(err, "has a ttl out of range");
    ret->ttl_ms = minutes * MINUTE_MS;
    ret->cursor.version = (uint64_t)version;
    return 0;
}

/* *ret_text is the caller's to free. */
static int read_answer(const struct ask_upstream *upstream, struct ask_answer *ret, char **ret_text,
                       struct error *err)
{
    const struct buffer *bytes = &upstream->answer;
    json_t *json = json_loadb(bytes->size > 0 ? (const char *)bytes->data : "", bytes->size,
                              JSON_REJECT_DUPLICATES, NULL);
    int rc;

    *ret_text = NULL;
    if (upstream->overlong || !json_is_object(json))
        rc = malformed(err, upstream->overlong ? "is too long" : "is not a JSON object");
    else
        rc = read_times(json, ret, err);
    if (rc == 0 && ret->found) {
        ret->expires_wall_ms = json_integer_value(
            json_object_get(json_object_get(json, "credential"), "expires_at_ms"));
        *ret_text = found_text(&upstream->place, json, err);
        rc = *ret_text != NULL ? 0 : err->code;
    }
    ret->text = *ret_text;
    json_decref(json);
    return rc;
}

/* ---- the request ---- */

static enum http_take on_data(void *context, const void *bytes, size_t size)
{
    struct ask_upstream *upstream = context;

    if (buffer_append(&upstream->answer, bytes, size) != 0)
        upstream->overlong = true;
    return HTTP_TAKEN;
}

static void fail(struct ask_upstream *upstream, struct error *err)
{
    struct ask_upstream_events events = upstream->events;

    (void)error_context(err, "%s", upstream->source.urls[current_url(upstream)]);
    if (++upstream->tries < upstream->source.urls_count && try_next(upstream, err) == 0)
        return;
    destroy(upstream);
    events.failed(events.context, err);
}

static void on_done(void *context, const struct http_result *result)
{
    struct ask_upstream *upstream = context;
    struct ask_upstream_events events = upstream->events;
    struct ask_answer answer = {.found = false};
    struct error err = result->err;
    unsigned url = current_url(upstream);
    char *text = NULL;

    upstream->request = NULL;
    if (err.code == 0)
        (void)read_answer(upstream, &answer, &text, &err);
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
    struct http_handler handler = {on_data, on_done, upstream};
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

/* sync_http.c - see sync_http.h. */
#include "control/rest/sync_http.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hex.h"
#include "control/rest/rest_form.h"
#include "control/rest/rest_routes.h"

enum { ETAG_SIZE = 2 * DIGEST_BYTES + 3 };

int sync_http_check_control_plane(struct rest_call *call, const struct uuid *id)
{
    if (uuid_equal(id, &call->identity.control_plane_id))
        return 0;
    return error_set(&call->error, E_PERMISSION,
                     "These credentials are bound to another control plane.");
}

/* ---- feed ---- */

static void check_text(struct rest_call *call, const char *name, const char *text,
                       enum grammar_kind kind)
{
    struct grammar_fault fault;

    /* An older agent made it. */
    if (grammar_check(kind, GRAMMAR_TAKEN, text, strlen(text), &fault) != GRAMMAR_GOOD)
        rest_invalid_text(call, "query", name, kind, &fault);
}

static void read_cursor(struct rest_call *call, struct model_cursor *ret)
{
    bool has_version = rest_query_get(call, "version") != NULL;
    bool has_epoch = rest_query_uuid(call, "epoch", false, &ret->epoch);

    ret->version = (uint64_t)rest_query_integer(call, "version", 0, 0, INT64_MAX);
    if (has_epoch != has_version)
        (void)rest_invalid(call, "query", has_epoch ? "version" : "epoch", "dependent_fields",
                           "epoch and version go together");
}

static void read_buckets(struct rest_call *call, struct set_hash_marks *ret)
{
    const size_t digits = 2 * (size_t)SET_HASH_MARK_BYTES;
    const char *text = rest_query_get(call, "buckets");

    if (text == NULL)
        (void)rest_invalid(call, "query", "buckets", "required", "is required with repair");
    else if (strlen(text) != digits || !hex_decode(text, digits, ret->bits))
        (void)rest_invalid(call, "query", "buckets", "invalid", "must be %zu hexadecimal digits",
                           digits);
}

/* compare=all | compare=SCOPE | repair=SCOPE&buckets=BITS */
static void read_wish(struct rest_call *call, struct feed_wish *ret)
{
    const char *compare = rest_query_get(call, "compare");
    const char *repair = rest_query_get(call, "repair");

    if (compare != NULL && repair != NULL)
        (void)rest_invalid(call, "query", "repair", "invalid", "must not stand beside compare");
    if (compare != NULL && strcmp(compare, "all") == 0) {
        ret->kind = FEED_WISH_DIGESTS;
    } else if (compare != NULL) {
        ret->kind = FEED_WISH_BUCKETS;
        ret->scope = (uint32_t)rest_query_integer(call, "compare", 0, 0, UINT32_MAX);
    } else if (repair != NULL) {
        ret->kind = FEED_WISH_CONTENT;
        ret->scope = (uint32_t)rest_query_integer(call, "repair", 0, 0, UINT32_MAX);
        read_buckets(call, &ret->buckets);
    }
}

/* Which one it was is for the access log; that there is one is what the list of hosts shows. */
static void read_refused(struct rest_call *call, bool *ret)
{
    const char *text = rest_query_get(call, "refused");
    uint8_t sha256[DIGEST_BYTES];

    if (text == NULL)
        return;
    if (strlen(text) != 2 * (size_t)DIGEST_BYTES || !hex_decode(text, strlen(text), sha256))
        (void)rest_invalid(call, "query", "refused", "is_digest", "must be a snapshot's digest");
    *ret = true;
}

static int read_follower(struct rest_call *call, struct follower_options *ret)
{
    int rc;

    (void)rest_query_uuid(call, "control_plane_id", true, &ret->control_plane_id);
    ret->host = rest_query_get(call, "host");
    if (ret->host == NULL)
        (void)rest_invalid(call, "query", "host", "required", "is required");
    else
        check_text(call, "host", ret->host, GRAMMAR_HOST);
    (void)rest_query_uuid(call, "instance", false, &ret->instance);
    (void)rest_query_uuid(call, "former", false, &ret->former);
    ret->agent = rest_query_get(call, "agent");
    if (ret->agent != NULL)
        check_text(call, "agent", ret->agent, GRAMMAR_AGENT);
    read_cursor(call, &ret->cursor);
    read_refused(call, &ret->refusing);
    read_wish(call, &ret->wish);
    rc = rest_verdict(call);
    return rc != 0 ? rc : sync_http_check_control_plane(call, &ret->control_plane_id);
}

static void wake_stream(void *context)
{
    http_stream_wake(context);
}

static void cut_stream(void *context)
{
    http_stream_cut(context);
}

static ssize_t read_stream(void *context, char *bytes, size_t max)
{
    return feed_follower_read(context, bytes, max);
}

static void close_stream(void *context)
{
    feed_follower_destroy(context);
}

/* Closes the gap between being let in and being known to feed_revoke(). */
static int check_credentials_again(struct rest_call *call)
{
    struct auth_identity identity;

    return auth_identify(call->rest->auth, call->request, &identity, &call->error);
}

int sync_http_feed(struct rest_call *call)
{
    struct follower_options options = {
        .wake = wake_stream, .cut = cut_stream, .credential = call->identity.credential};
    struct http_source source = {.read = read_stream, .close = close_stream};
    struct http_stream *stream;
    struct follower *follower;
    int rc = read_follower(call, &options);

    if (rc != 0)
        return rc;
    stream = http_stream_create(call->request);
    if (stream == NULL)
        return error_set(&call->error, E_NO_MEMORY, NULL);
    options.context = stream;
    rc = feed_follower_create(call->rest->feed, &options, &follower, &call->error);
    if (rc == 0) {
        rc = check_credentials_again(call);
        if (rc != 0)
            feed_follower_destroy(follower);
    }
    if (rc != 0) {
        http_stream_cancel(stream);
        return rc;
    }
    source.context = follower;
    http_stream_start(stream, "application/x-ndjson", &source);
    return REST_ANSWERED;
}

/* ---- snapshot ---- */

/* What a cache may do: keep it as long as it likes, but only one that was told to look at the
 * credentials of whoever asks (docs/operations.md, "A cache in front"): "public" would let any. */
static const char snapshot_caching[] = "private, max-age=31536000, immutable";

static int add_snapshot_headers(struct rest_call *call, const struct model_cursor *cursor)
{
    char epoch[UUID_TEXT_SIZE];
    char version[24];
    int rc =
        http_answer_header(call->request, "Realmstore-Epoch", uuid_format(&cursor->epoch, epoch));

    (void)snprintf(version, sizeof(version), "%" PRIu64, cursor->version); /* always fits */
    if (rc == 0)
        rc = http_answer_header(call->request, "Realmstore-Version", version);
    if (rc == 0)
        rc = http_answer_header(call->request, "Cache-Control", snapshot_caching);
    return rc;
}

/* The strong validator is the content's digest itself, quoted. */
static void make_etag(const uint8_t sha256[DIGEST_BYTES], char etag[ETAG_SIZE])
{
    char hash[2 * DIGEST_BYTES + 1];

    hex_encode(sha256, DIGEST_BYTES, hash);
    (void)snprintf(etag, ETAG_SIZE, "\"%s\"", hash); /* fits */
}

int sync_http_snapshot(struct rest_call *call)
{
    const char *hash = call->params[0].text;
    char etag[ETAG_SIZE];
    uint8_t sha256[DIGEST_BYTES];
    struct feed_snapshot snapshot;
    struct feed *feed = call->rest->feed;
    uint64_t sent;
    int rc;

    if (strlen(hash) != 2 * (size_t)DIGEST_BYTES || !hex_decode(hash, strlen(hash), sha256))
        return error_set(&call->error, E_NOT_FOUND, "There is no such snapshot.");
    rc =
        feed_snapshot_open(feed, &call->identity.control_plane_id, sha256, &snapshot, &call->error);
    if (rc != 0)
        return rc;
    rc = add_snapshot_headers(call, &snapshot.name.cursor);
    if (rc != 0) {
        (void)close(snapshot.fd); /* only read from */
        return error_set(&call->error, rc, NULL);
    }
    make_etag(sha256, etag);
    sent = http_answer_file(call->request, "application/vnd.realmstore.snapshot", etag, snapshot.fd,
                            snapshot.name.size);
    if (sent > 0)
        feed_snapshot_sent(feed, sent);
    return REST_ANSWERED;
}

/* ---- acknowledgement ---- */

#define ACK(member) offsetof(struct feed_ack, member)
static const struct form_field ack_fields[] = {
    {"control_plane_id", FORM_UUID, FORM_REQUIRED, 0, ACK(control_plane_id), 0, 0, NULL},
    {"host", FORM_HOST, FORM_REQUIRED, 0, ACK(host), 0, 0, NULL},
    {"instance", FORM_UUID, 0, 0, ACK(instance), 0, 0, NULL},
    {"feed", FORM_UUID, 0, 0, ACK(feed), 0, 0, NULL},
    {"epoch", FORM_UUID, FORM_REQUIRED, 0, ACK(applied.epoch), 0, 0, NULL},
    {"version", FORM_UINT64, FORM_REQUIRED, 0, ACK(applied.version), 0, 0, NULL},
    {"verified", FORM_UINT64, 0, 0, ACK(verified), 0, 0, NULL},
};
#undef ACK
static const struct form ack_form = {ack_fields, sizeof(ack_fields) / sizeof(ack_fields[0])};

int sync_http_ack(struct rest_call *call)
{
    struct feed_ack ack = {.credential = call->identity.credential};
    int rc;

    (void)form_read(call, &ack_form, false, &ack);
    if (!uuid_is_nil(&ack.instance) && uuid_is_nil(&ack.feed)) /* left out, or zeros */
        (void)rest_invalid(call, "body", "feed", "dependent_fields",
                           "is required of a host with an instance");
    rc = rest_verdict(call);
    if (rc == 0)
        rc = sync_http_check_control_plane(call, &ack.control_plane_id);
    if (rc == 0)
        rc = feed_ack(call->rest->feed, &ack, &call->error);
    return rc != 0 ? rc : rest_reply(call, REST_NO_CONTENT, NULL);
}

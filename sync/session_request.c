/* The three calls of a session: what they ask, and whom. */
#include "sync/session_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "base/hex.h"
#include "sync/url.h"

/* A base URL, a host name of 255 bytes percent-encoded, and the fixed parts. */
enum { URL_MAX_BYTES = 8 * 1024 };

static int put_uuid_query(struct buffer *out, char separator, const char *name,
                          const struct uuid *uuid)
{
    char text[UUID_TEXT_SIZE];

    return url_append_query(out, separator, name, uuid_format(uuid, text));
}

static int put_if_any(const char *name, const struct uuid *uuid, struct buffer *out)
{
    return uuid_is_nil(uuid) ? 0 : put_uuid_query(out, '&', name, uuid);
}

static int put_start(const struct session *session, const char *path, struct buffer *out)
{
    int rc = url_append_base(out, session->options.urls[session->url], path);

    if (rc == 0)
        rc = put_uuid_query(out, '?', "control_plane_id", &session->options.control_plane_id);
    return rc;
}

static int put_cursor(const struct model_cursor *cursor, struct buffer *out)
{
    int rc;

    if (uuid_is_nil(&cursor->epoch))
        return 0;
    rc = put_uuid_query(out, '&', "epoch", &cursor->epoch);
    return rc != 0 ? rc : buffer_printf(out, "&version=%" PRIu64, cursor->version);
}

static int put_wish(const struct feed_wish *wish, struct buffer *out)
{
    char bits[2 * SET_HASH_MARK_BYTES + 1];

    switch (wish->kind) {
    case FEED_WISH_NONE:
        break;
    case FEED_WISH_DIGESTS:
        return buffer_append_string(out, "&compare=all");
    case FEED_WISH_BUCKETS:
        return buffer_printf(out, "&compare=%" PRIu32, wish->scope);
    case FEED_WISH_CONTENT:
        hex_encode(wish->buckets.bits, SET_HASH_MARK_BYTES, bits);
        return buffer_printf(out, "&repair=%" PRIu32 "&buckets=%s", wish->scope, bits);
    }
    return 0;
}

int session_feed_url(const struct session *session, struct buffer *out)
{
    char hash[2 * DIGEST_BYTES + 1];
    int rc = put_start(session, "/v1/sync/feed", out);

    if (rc == 0)
        rc = url_append_query(out, '&', "host", session->options.host_name);
    if (rc == 0)
        rc = url_append_query(out, '&', "agent", REALMSTORE_VERSION);
    if (rc == 0)
        rc = put_if_any("instance", &session->options.instance, out);
    if (rc == 0)
        rc = put_if_any("former", &session->former, out);
    if (rc == 0)
        rc = put_cursor(&session->cursor, out);
    if (rc == 0)
        rc = put_wish(&session->wish, out);
    if (rc == 0 && session->refusing) {
        hex_encode(session->refused, DIGEST_BYTES, hash);
        rc = url_append_query(out, '&', "refused", hash);
    }
    return rc != 0 ? rc : buffer_terminate(out);
}

int session_snapshot_url(const struct session *session, struct buffer *out)
{
    char path[sizeof(SNAPSHOT_PATH) + 2 * (size_t)DIGEST_BYTES] = SNAPSHOT_PATH;
    int rc;

    hex_encode(session->snapshot.sha256, DIGEST_BYTES, path + strlen(SNAPSHOT_PATH));
    rc = url_append_base(out, session->options.urls[session->url], path);
    return rc != 0 ? rc : buffer_terminate(out);
}

int session_ack_url(const struct session *session, struct buffer *out)
{
    int rc = put_start(session, "/v1/sync/ack", out);

    return rc != 0 ? rc : buffer_terminate(out);
}

static void set_uuid(json_t *object, const char *name, const struct uuid *uuid)
{
    char text[UUID_TEXT_SIZE];

    /* Out of memory the member is missing, and the acknowledgement is refused and sent again. */
    if (!uuid_is_nil(uuid))
        (void)json_object_set_new(object, name, json_string(uuid_format(uuid, text)));
}

int session_ack_body(const struct session *session, const struct session_standing *standing,
                     struct buffer *out)
{
    char control_plane[UUID_TEXT_SIZE];
    char epoch[UUID_TEXT_SIZE];
    char *text;
    json_t *body = json_pack(
        "{s:s, s:s, s:s, s:I, s:I}", "control_plane_id",
        uuid_format(&session->options.control_plane_id, control_plane), "host",
        session->options.host_name, "epoch", uuid_format(&standing->cursor.epoch, epoch), "version",
        (json_int_t)standing->cursor.version, "verified", (json_int_t)standing->verified);
    int rc = E_NO_MEMORY;

    if (!uuid_is_nil(
            &session->feed_id)) { /* a control plane of before refuses what it does not know */
        set_uuid(body, "instance", &session->options.instance);
        set_uuid(body, "feed", &session->feed_id);
    }
    text = json_dumps(body, JSON_COMPACT);
    if (text != NULL)
        rc = buffer_append(out, text, strlen(text) + 1);
    free(text);
    json_decref(body);
    return rc;
}

int session_request(struct session *session,
                    int (*write_url)(const struct session *, struct buffer *),
                    const struct http_request_options *what, const struct http_handler *handler,
                    struct http_request **ret, struct error *err)
{
    struct http_request_options options = *what;
    struct buffer url;
    int rc;

    options.credentials = &session->options.credentials;
    options.connect_timeout_ms = session->options.limits.connect_ms;
    if (options.json_body != NULL)
        options.total_timeout_ms = session->options.limits.ack_ms;
    buffer_init(&url, URL_MAX_BYTES);
    rc = write_url(session, &url);
    if (rc != 0) {
        (void)error_set(err, rc, "cannot compose the request's URL: %s", error_text(rc));
    } else {
        options.url = (const char *)url.data;
        rc = http_request_start(session->options.http, &options, handler, ret, err);
    }
    buffer_finish(&url);
    return rc;
}

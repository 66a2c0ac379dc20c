/* http_stream.c - answers that never end: suspended while there is nothing to say.
 *
 * The hazard is the lost wake-up: the source says "nothing", then something arrives and wakes the
 * stream, then the connection is suspended, for ever. `woken` closes it: it is set by a wake that
 * finds the stream running, cleared before each read, and looked at under the mutex before
 * suspending.
 *
 * A suspended connection is in no poll set, so a peer that went away is found out at the next
 * write, which the feed's heartbeats make soon.
 */
#include <stdlib.h>
#include <sys/socket.h>

#include "control/http/http_internal.h"

/* Only an HTTP/1.0 client reads through it; chunked answers are read into the connection's own
 * memory. One of these is allocated for each stream. */
enum { STREAM_BLOCK_BYTES = 512 };

struct http_stream {
    struct exchange *exchange;         /* borrowed; until the start */
    struct MHD_Connection *connection; /* borrowed; lives as long as the response */
    struct http_source source;
    pthread_mutex_t mutex;
    bool suspended;
    bool woken;
};

static void stream_free(struct http_stream *stream)
{
    pthread_mutex_destroy(&stream->mutex);
    free(stream);
}

/* Whether the connection was suspended; if not, there was a wake: read again. */
static bool stream_suspend(struct http_stream *stream)
{
    bool suspend;

    pthread_mutex_lock(&stream->mutex);
    suspend = !stream->woken;
    if (suspend) {
        MHD_suspend_connection(stream->connection);
        stream->suspended = true;
    }
    pthread_mutex_unlock(&stream->mutex);
    return suspend;
}

static void stream_clear_woken(struct http_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    stream->woken = false;
    pthread_mutex_unlock(&stream->mutex);
}

static ssize_t stream_read(void *context, uint64_t position, char *bytes, size_t max)
{
    struct http_stream *stream = context;
    ssize_t count;

    (void)position; /* a stream is read once, in order */
    do {
        stream_clear_woken(stream);
        count = stream->source.read(stream->source.context, bytes, max);
        if (count != 0)
            return count > 0 ? count : MHD_CONTENT_READER_END_OF_STREAM;
    } while (!stream_suspend(stream));
    return 0;
}

static void stream_close(void *context)
{
    struct http_stream *stream = context;

    stream->source.close(stream->source.context);
    stream_free(stream);
}

struct http_stream *http_stream_create(struct http_request *request)
{
    struct exchange *exchange = exchange_of(request);
    struct http_stream *stream = calloc(1, sizeof(*stream));

    if (stream == NULL)
        return NULL;
    stream->exchange = exchange;
    stream->connection = exchange->connection;
    pthread_mutex_init(&stream->mutex, NULL);
    return stream;
}

void http_stream_start(struct http_stream *stream, const char *content_type,
                       const struct http_source *source)
{
    struct exchange *exchange = stream->exchange;
    struct MHD_Response *response;

    stream->source = *source;
    response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, stream_read,
                                                 stream, stream_close);
    if (response == NULL)
        stream_close(stream);
    http_complete(exchange, MHD_HTTP_OK, http_decorate(exchange, response, content_type));
}

void http_stream_cancel(struct http_stream *stream)
{
    stream_free(stream);
}

/* The socket is closed by the listener's thread, after stream_close() has returned: while the
 * source calls this it is open, and shutting it down ends a write that nobody takes. Without
 * lingering the kernel drops what it holds for the peer, too, and the peer hears of it at once. */
void http_stream_cut(struct http_stream *stream)
{
    const struct linger none = {.l_onoff = 1};
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(stream->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (info != NULL) { /* either fails only when it is gone already */
        (void)setsockopt(info->connect_fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
        (void)shutdown(info->connect_fd, SHUT_RDWR);
    }
    http_stream_wake(stream);
}

void http_stream_wake(struct http_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    if (stream->suspended) {
        stream->suspended = false;
        MHD_resume_connection(stream->connection);
    } else {
        stream->woken = true;
    }
    pthread_mutex_unlock(&stream->mutex);
}

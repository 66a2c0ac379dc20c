/* echo_server.c - an upstream that answers with the request as it arrived.
 *
 * Prints "listening on PORT" and serves 127.0.0.1 until it is ended. The answer's body holds the
 * method and the URI, each header as "Name: value" in the order of arrival, an empty line, and the
 * body. A path that begins with /redirect/ is answered with X-Accel-Redirect to what follows.
 */
#include <microhttpd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"

enum { TEXT_MAX = 64 * 1024 * 1024 };

struct request {
    char *uri; /* as it came, query included */
    struct buffer text;
    bool started;
};

static void check(bool good)
{
    if (!good)
        abort();
}

static void put(struct buffer *text, const char *string)
{
    check(buffer_append(text, string, strlen(string)) == 0);
}

static void *on_uri(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct request *request = calloc(1, sizeof(*request));

    (void)context;
    (void)connection;
    check(request != NULL);
    request->uri = strdup(uri);
    check(request->uri != NULL);
    buffer_init(&request->text, TEXT_MAX);
    return request;
}

static enum MHD_Result put_header(void *context, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    struct buffer *text = context;

    (void)kind;
    put(text, name);
    put(text, ": ");
    put(text, value != NULL ? value : "");
    put(text, "\n");
    return MHD_YES;
}

static enum MHD_Result answer(struct MHD_Connection *connection, struct request *request)
{
    static const char prefix[] = "/redirect";
    struct MHD_Response *response = MHD_create_response_from_buffer(
        request->text.size, request->text.data, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result;

    check(response != NULL);
    if (strncmp(request->uri, prefix, strlen(prefix)) == 0)
        (void)MHD_add_response_header(response, "X-Accel-Redirect", request->uri + strlen(prefix));
    result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    struct request *request = *state;

    (void)context;
    (void)url;
    (void)version;
    if (!request->started) {
        request->started = true;
        put(&request->text, method);
        put(&request->text, " ");
        put(&request->text, request->uri);
        put(&request->text, "\n");
        (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, put_header, &request->text);
        put(&request->text, "\n");
        return MHD_YES;
    }
    if (*upload_size > 0) {
        check(buffer_append(&request->text, upload, *upload_size) == 0);
        *upload_size = 0;
        return MHD_YES;
    }
    return answer(connection, request);
}

static void on_end(void *context, struct MHD_Connection *connection, void **state,
                   enum MHD_RequestTerminationCode code)
{
    struct request *request = *state;

    (void)context;
    (void)connection;
    (void)code;
    if (request == NULL)
        return;
    free(request->uri);
    buffer_finish(&request->text);
    free(request);
}

int main(void)
{
    struct MHD_Daemon *daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, NULL,
                         MHD_OPTION_URI_LOG_CALLBACK, on_uri, NULL, MHD_OPTION_NOTIFY_COMPLETED,
                         on_end, NULL, MHD_OPTION_CONNECTION_TIMEOUT, 30u, MHD_OPTION_END);
    const union MHD_DaemonInfo *info;

    check(daemon != NULL);
    info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
    check(info != NULL);
    printf("listening on %u\n", info->port);
    (void)fflush(stdout);
    for (;;)
        (void)pause();
}

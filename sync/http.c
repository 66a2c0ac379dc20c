/* The loop's side of HTTP: curl's multi interface driven by one uv_poll a socket and one uv_timer.
 *
 * Happy path: curl says through on_socket() which socket it waits for and through
 * on_timeout_wanted() when it wants to be called; libuv calls back, curl_multi_socket_action() runs
 * the transfers, http_settle() hands out the results.
 *
 * Hazards, each met once in practice:
 *  - curl closes a socket right after CURL_POLL_REMOVE; the uv_poll is stopped at once and its
 * memory freed in its close callback, never before.
 *  - a timeout of 0 must not call into curl from inside its callback: a uv_timer of 0 ms fires in
 * the loop's next turn.
 *  - curl's callbacks must not add or remove transfers: `in_curl` says so, http_settle() makes up
 * for it.
 */
#include "sync/http.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/wipe.h"
#include "sync/http_internal.h"

struct http_client {
    uv_loop_t *loop; /* borrowed */
    CURLM *multi;    /* owned */
    uv_timer_t timer;
    struct http_request *requests; /* owned, newest first */
    bool in_curl;
    size_t open_handles; /* uv handles that are not closed yet */
    void (*closed)(void *context);
    void *closed_context;
};

struct socket_watch {
    uv_poll_t poll;
    struct http_client *client; /* borrowed */
    curl_socket_t fd;           /* curl's */
};

static void http_settle(struct http_client *client);

/* ---- closing ---- */

static void handle_closed(struct http_client *client)
{
    void (*closed)(void *) = client->closed;
    void *context = client->closed_context;

    assert(client->open_handles > 0);
    if (--client->open_handles > 0)
        return;
    free(client);
    curl_global_cleanup();
    if (closed != NULL)
        closed(context);
}

static void http_on_timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct socket_watch *watch = handle->data;
    struct http_client *client = watch->client;

    free(watch);
    handle_closed(client);
}

/* ---- libuv calls ---- */

static void socket_action(struct http_client *client, curl_socket_t fd, int events)
{
    int running;

    client->in_curl = true;
    /* The only failures are a bad handle and recursion, both our own mistakes. */
    (void)curl_multi_socket_action(client->multi, fd, events, &running);
    client->in_curl = false;
    http_settle(client);
}

static void on_timer(uv_timer_t *timer)
{
    socket_action(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct socket_watch *watch = poll->data;
    int action = 0;

    if (status < 0)
        action = CURL_CSELECT_ERR;
    if (events & UV_READABLE)
        action |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        action |= CURL_CSELECT_OUT;
    socket_action(watch->client, watch->fd, action);
}

/* ---- curl calls ---- */

static struct socket_watch *watch_create(struct http_client *client, curl_socket_t fd)
{
    struct socket_watch *watch = calloc(1, sizeof(*watch));

    if (watch == NULL)
        return NULL;
    watch->client = client;
    watch->fd = fd;
    watch->poll.data = watch;
    if (uv_poll_init_socket(client->loop, &watch->poll, fd) != 0) {
        free(watch); /* a failed init leaves nothing in the loop */
        return NULL;
    }
    client->open_handles++;
    (void)curl_multi_assign(client->multi, fd, watch); /* fails for unknown sockets only */
    return watch;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
    struct http_client *client = context;
    struct socket_watch *watch = socket_context;
    int events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL) {
            (void)curl_multi_assign(client->multi, fd, NULL);
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
        }
        return 0;
    }
    if (watch == NULL)
        watch = watch_create(client, fd);
    if (watch == NULL)
        return -1; /* curl fails the transfers of this socket */
    if (what & CURL_POLL_IN)
        events |= UV_READABLE;
    if (what & CURL_POLL_OUT)
        events |= UV_WRITABLE;
    return uv_poll_start(&watch->poll, events, on_poll) == 0 ? 0 : -1;
}

static int on_timeout_wanted(CURLM *multi, long timeout_ms, void *context)
{
    struct http_client *client = context;

    (void)multi;
    if (timeout_ms < 0)
        (void)uv_timer_stop(&client->timer); /* cannot fail on an open handle, nor can start */
    else
        (void)uv_timer_start(&client->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

/* ---- what waits until curl has returned ---- */

static void unlink_request(struct http_client *client, struct http_request *request)
{
    struct http_request **at = &client->requests;

    while (*at != request)
        at = &(*at)->next;
    *at = request->next;
}

static void http_drop(struct http_request *request)
{
    struct http_client *client = request->client;

    unlink_request(client, request);
    if (request->stage != REQUEST_NEW)
        (void)curl_multi_remove_handle(client->multi, request->easy); /* it is in there */
    http_request_destroy(request);
}

/* The last word on a request. The handler may start, resume and cancel others. */
static void http_finish(struct http_request *request, CURLcode code)
{
    struct http_handler handler = request->handler;
    bool canceled = request->stage == REQUEST_DEAD;
    struct http_result result;

    http_request_result(request, code, &result);
    http_drop(request);
    if (!canceled)
        handler.done(handler.context, &result);
}

static void resume(struct http_request *request)
{
    struct http_client *client = request->client;

    request->resume_wanted = false;
    client->in_curl = true;                               /* hands out what it held back at once */
    (void)curl_easy_pause(request->easy, CURLPAUSE_CONT); /* a failure ends the transfer */
    client->in_curl = false;
}

/* Does one deferred thing; false when none is left. Each may change the list, so the caller starts
 * over. */
static bool settle_one(struct http_client *client)
{
    for (struct http_request *request = client->requests; request != NULL;
         request = request->next) {
        if (request->stage == REQUEST_DEAD) {
            http_drop(request);
            return true;
        }
        if (request->stage == REQUEST_NEW) {
            if (curl_multi_add_handle(client->multi, request->easy) != CURLM_OK) {
                http_finish(request, CURLE_OUT_OF_MEMORY); /* its one cause */
                return true;
            }
            request->stage = REQUEST_ACTIVE;
            return true;
        }
        if (request->resume_wanted) {
            resume(request);
            return true;
        }
    }
    return false;
}

static bool finish_one(struct http_client *client)
{
    char *request = NULL;
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        CURLcode code = message->data.result;

        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
        http_finish((struct http_request *)(void *)request, code);
        return true;
    }
    return false;
}

static void http_settle(struct http_client *client)
{
    while (finish_one(client) || settle_one(client))
        continue;
}

/* ---- public ---- */

int http_client_create(uv_loop_t *loop, struct http_client **ret, struct error *err)
{
    struct http_client *client = calloc(1, sizeof(*client));

    if (client == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    /* Headers and bodies hold tokens and keys, and libcurl keeps copies of its own. */
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wipe_free, wipe_realloc, strdup,
                             calloc) != CURLE_OK) {
        free(client);
        return error_set(err, E_NO_MEMORY, "libcurl could not be initialised");
    }
    client->loop = loop;
    client->multi = curl_multi_init();
    if (client->multi == NULL) {
        curl_global_cleanup();
        free(client);
        return error_set(err, E_NO_MEMORY, NULL);
    }
    /* Setting these with valid types cannot fail. */
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timeout_wanted);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    (void)uv_timer_init(loop, &client->timer); /* never fails */
    client->timer.data = client;
    client->open_handles = 1;
    *ret = client;
    return 0;
}

void http_client_close(struct http_client *client, void (*closed)(void *context), void *context)
{
    assert(!client->in_curl);
    client->closed = closed;
    client->closed_context = context;
    while (client->requests != NULL)
        http_drop(client->requests);
    (void)curl_multi_cleanup(client->multi); /* closes kept connections, through on_socket() */
    uv_close((uv_handle_t *)&client->timer, http_on_timer_closed);
}

int http_request_start(struct http_client *client, const struct http_request_options *options,
                       const struct http_handler *handler, struct http_request **ret,
                       struct error *err)
{
    struct http_request *request;
    int rc = http_request_create(options, handler, &request, err);

    if (rc != 0)
        return rc;
    request->client = client;
    request->next = client->requests;
    client->requests = request;
    *ret = request;
    /* Given to curl in the loop's next turn: done() never comes before this function has
     * returned. */
    (void)uv_timer_start(&client->timer, on_timer, 0, 0);
    return 0;
}

void http_request_resume(struct http_request *request)
{
    request->resume_wanted = true;
    if (!request->client->in_curl)
        http_settle(request->client);
}

void http_request_cancel(struct http_request *request)
{
    if (request == NULL)
        return;
    if (request->client->in_curl)
        request->stage = REQUEST_DEAD;
    else
        http_drop(request);
}

/* realm_auth_ask.c - asking the control plane, through the agent on this host.
 *
 *     connect to ask.sock --> send the question --> read the answer --> run the phases again
 *              |                     |                    |
 *              +---------------------+--------------------+--> nobody can be asked
 *
 * One connection a question, by NGINX's own events; the request waits in the preaccess phase and
 * nothing blocks. A failure of any kind (no agent, time, an answer that is none) is one and the
 * same to the caller. The agent keeps answers, so that it is asked and not the network.
 * docs/protocol.md has the question and its answers.
 */
#include "realm_auth.h"

#include <sys/un.h>

enum { ANSWER_FIRST = 4 * 1024 /* room to begin with */ };

typedef struct {
    ngx_http_request_t *request;
    ngx_peer_connection_t peer; /* .connection NULL: none is open */
    struct sockaddr_un address;
    ngx_str_t name;
    ngx_log_t log; /* with troubles silenced: the caller logs them, but not each */
    ngx_buf_t *question;
    ngx_buf_t *answer;
    realm_auth_asked_pt asked;
} ask_t;

static void close_ask(void *data)
{
    ask_t *ask = data;

    if (ask->peer.connection != NULL)
        ngx_close_connection(ask->peer.connection);
    ask->peer.connection = NULL;
}

/* Gives the answer to the waiting request and runs its phases on. */
static void realm_auth_ask_finish(ask_t *ask, int answer, const realm_auth_consumer_t *consumer,
                                  const char *why)
{
    ngx_http_request_t *r = ask->request;
    ngx_connection_t *c = r->connection;

    close_ask(ask);
    if (answer < 0)
        realm_auth_cannot_ask(why);
    ask->asked(r, answer, consumer);
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
    ngx_http_run_posted_requests(c);
}

static void fail(ask_t *ask, const char *why)
{
    realm_auth_ask_finish(ask, RS_E_IO, NULL, why);
}

static void on_nothing(ngx_event_t *event)
{
    (void)event;
}

static void on_writable(ngx_event_t *event)
{
    ngx_connection_t *c = event->data;
    ask_t *ask = c->data;

    while (ask->question->pos < ask->question->last) {
        ssize_t n =
            ngx_send(c, ask->question->pos, (size_t)(ask->question->last - ask->question->pos));

        if (n == NGX_AGAIN && ngx_handle_write_event(event, 0) == NGX_OK)
            return;
        if (n < 0) {
            fail(ask, "the agent does not take the question");
            return;
        }
        ask->question->pos += n;
    }
    event->handler = on_nothing;
    if (ngx_handle_write_event(event, 0) != NGX_OK)
        fail(ask, "no event can be waited for");
}

/* Room for more of the answer. */
static ngx_int_t realm_auth_ask_make_room(ask_t *ask)
{
    ngx_buf_t *old = ask->answer;
    size_t used = (size_t)(old->last - old->pos);
    ngx_buf_t *larger;

    if (old->last < old->end)
        return NGX_OK;
    if (used >= REALM_AUTH_ANSWER_MAX)
        return NGX_ERROR;
    larger = ngx_create_temp_buf(ask->request->pool, 2 * used);
    if (larger == NULL)
        return NGX_ERROR;
    larger->last = ngx_cpymem(larger->last, old->pos, used);
    (void)ngx_pfree(ask->request->pool, old->start); /* small ones stay: no matter */
    ask->answer = larger;
    return NGX_OK;
}

/* NGX_AGAIN, or 0 bytes at the end, a number of bytes, NGX_ERROR. */
static ssize_t realm_auth_ask_receive(ask_t *ask)
{
    ssize_t n;

    if (realm_auth_ask_make_room(ask) != NGX_OK)
        return NGX_ERROR;
    n = ngx_recv(ask->peer.connection, ask->answer->last,
                 (size_t)(ask->answer->end - ask->answer->last));
    if (n > 0)
        ask->answer->last += n;
    return n;
}

static void on_readable(ngx_event_t *event)
{
    ngx_connection_t *c = event->data;
    ask_t *ask = c->data;
    realm_auth_consumer_t consumer;
    ngx_str_t body = ngx_null_string;
    ngx_int_t rc = NGX_AGAIN;
    int result;

    if (event->timedout) {
        fail(ask, "the agent did not answer in time");
        return;
    }
    while (rc == NGX_AGAIN) {
        ssize_t n = realm_auth_ask_receive(ask);

        if (n == NGX_AGAIN) {
            if (ngx_handle_read_event(event, 0) != NGX_OK)
                fail(ask, "no event can be waited for");
            return;
        }
        rc = n < 0 ? NGX_DECLINED : realm_auth_answer_find(ask->answer, n == 0, &body);
    }
    if (rc == NGX_ABORT)
        realm_auth_cannot_ask("the agent takes this for no question");
    if (rc == NGX_OK)
        result = realm_auth_answer_read(ask->request->pool, &body, &consumer);
    else
        result = rc == NGX_ABORT ? RS_NOT_FOUND : RS_E_IO;
    realm_auth_ask_finish(ask, result, &consumer, "the agent's answer is none");
}

static ngx_int_t connect_agent(ask_t *ask, const realm_auth_main_conf_t *conf)
{
    ngx_connection_t *c;
    ngx_int_t rc;

    ask->log = *ask->request->connection->log;
    ask->log.log_level = NGX_LOG_EMERG;
    ask->log.next = NULL;
    ask->address.sun_family = AF_UNIX;
    ngx_memcpy(ask->address.sun_path, conf->ask_socket.data, conf->ask_socket.len + 1);
    ask->name = conf->ask_socket;
    ask->peer.sockaddr = (struct sockaddr *)&ask->address;
    ask->peer.socklen = sizeof(ask->address);
    ask->peer.name = &ask->name;
    ask->peer.get = ngx_event_get_peer;
    ask->peer.log = &ask->log;
    ask->peer.log_error = NGX_ERROR_INFO;
    rc = ngx_event_connect_peer(&ask->peer);
    if (rc != NGX_OK && rc != NGX_AGAIN) {
        close_ask(ask);
        return NGX_ERROR;
    }
    c = ask->peer.connection;
    c->data = ask;
    c->read->handler = on_readable;
    c->write->handler = on_writable;
    ngx_add_timer(c->read, realm_auth_conf(ask->request)->ask_timeout);
    /* Writing begins by event, so that nothing of the answer happens inside the phase's handler. */
    if (rc == NGX_OK) {
        ngx_post_event(c->write, &ngx_posted_events);
    }
    return NGX_OK;
}

ngx_int_t realm_auth_ask(ngx_http_request_t *r, const ngx_str_t *key, realm_auth_asked_pt asked)
{
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(r->pool, sizeof(ask_t));
    ask_t *ask;

    if (cleanup == NULL)
        return NGX_ERROR;
    ask = cleanup->data;
    ngx_memzero(ask, sizeof(*ask));
    cleanup->handler = close_ask;
    ask->request = r;
    ask->asked = asked;
    ask->answer = ngx_create_temp_buf(r->pool, ANSWER_FIRST);
    if (ask->answer == NULL || realm_auth_question_make(r->pool, &realm_auth_conf(r)->ask_sources,
                                                        key, &ask->question) != NGX_OK)
        return NGX_ERROR;
    if (connect_agent(ask, ngx_http_get_module_main_conf(r, ngx_http_realm_auth_module)) !=
        NGX_OK) {
        realm_auth_cannot_ask("no agent takes connections at ask.sock");
        return NGX_ERROR;
    }
    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        close_ask(ask);
        return NGX_ERROR;
    }
    /* As a delayed request waits: a client that goes away is noticed. */
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    return NGX_OK;
}

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

#include <jansson.h>
#include <sys/un.h>

enum {
    ANSWER_FIRST = 4 * 1024, /* room to begin with */
    ANSWER_MAX = 1024 * 1024 /* more than the largest consumer takes, escapes included */
};

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

/* ---- the question ---- */

static ngx_int_t append_source(json_t *array, const rs_source *source)
{
    const uint8_t *id = source->realm_id;
    char text[sizeof("00000000-0000-0000-0000-000000000000")];
    json_t *object = json_pack("{ss}", "type", source->scope == RS_SCOPE_CP ? "cp" : "realm");

    (void)snprintf(text, sizeof(text),
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", id[0],
                   id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11],
                   id[12], id[13], id[14], id[15]);
    if ((source->region[0] != '\0' &&
         json_object_set_new(object, "region", json_string(source->region)) != 0) ||
        (source->scope == RS_SCOPE_REALM &&
         json_object_set_new(object, "id", json_string(text)) != 0)) {
        json_decref(object);
        return NGX_ERROR;
    }
    return json_array_append_new(array, object) == 0 ? NGX_OK : NGX_ERROR;
}

/* `json` as text in the pool's memory. */
static ngx_int_t dump(ngx_pool_t *pool, const json_t *json, ngx_str_t *ret)
{
    enum { FLAGS = JSON_COMPACT | JSON_ENCODE_ANY };
    size_t size = json_dumpb(json, NULL, 0, FLAGS);

    if (size == 0)
        return NGX_ERROR;
    ret->data = ngx_pnalloc(pool, size);
    if (ret->data == NULL)
        return NGX_ERROR;
    ret->len = json_dumpb(json, (char *)ret->data, size, FLAGS);
    return ret->len == size ? NGX_OK : NGX_ERROR;
}

ngx_int_t realm_auth_ask_prepare(ngx_pool_t *pool, const ngx_array_t *sources, ngx_str_t *ret)
{
    const rs_source *source = sources->elts;
    json_t *array = json_array();
    ngx_int_t rc = NGX_OK;

    for (ngx_uint_t i = 0; rc == NGX_OK && i < sources->nelts; i++)
        rc = append_source(array, &source[i]);
    if (rc == NGX_OK)
        rc = dump(pool, array, ret);
    json_decref(array);
    return rc;
}

static ngx_int_t make_question(ngx_pool_t *pool, const ngx_str_t *sources, const ngx_str_t *key,
                               ngx_buf_t **ret)
{
    static const char head[] = "POST /v1/auth HTTP/1.1\r\nHost: agent\r\n"
                               "Content-Type: application/json\r\nConnection: close\r\n"
                               "Content-Length: %uz\r\n\r\n{\"secret\":%V,\"sources\":%V}";
    static const size_t fixed_body = sizeof("{\"secret\":,\"sources\":}") - 1;
    json_t *string = json_stringn((const char *)key->data, key->len);
    ngx_str_t secret;
    ngx_int_t rc = dump(pool, string, &secret);

    json_decref(string);
    if (rc != NGX_OK)
        return NGX_ERROR;
    *ret = ngx_create_temp_buf(pool, sizeof(head) + NGX_SIZE_T_LEN + secret.len + sources->len);
    if (*ret == NULL)
        return NGX_ERROR;
    (*ret)->last = ngx_slprintf((*ret)->last, (*ret)->end, head,
                                fixed_body + secret.len + sources->len, &secret, sources);
    return NGX_OK;
}

/* ---- the answer ---- */

static ngx_int_t copy_string(ngx_pool_t *pool, const json_t *string, ngx_str_t *ret)
{
    ngx_str_set(ret, "");
    if (string == NULL || json_is_null(string))
        return NGX_OK;
    if (!json_is_string(string))
        return NGX_ERROR;
    ret->len = json_string_length(string);
    ret->data = ngx_pnalloc(pool, ret->len + 1);
    if (ret->data == NULL)
        return NGX_ERROR;
    ngx_memcpy(ret->data, json_string_value(string), ret->len + 1);
    return NGX_OK;
}

static ngx_int_t copy_groups(ngx_pool_t *pool, const json_t *groups, realm_auth_consumer_t *ret)
{
    size_t n = json_array_size(groups);

    if (groups != NULL && !json_is_array(groups))
        return NGX_ERROR;
    ret->groups = ngx_palloc(pool, (n > 0 ? n : 1) * sizeof(ngx_str_t));
    if (ret->groups == NULL)
        return NGX_ERROR;
    for (ret->n_groups = 0; ret->n_groups < n; ret->n_groups++) {
        const json_t *group = json_array_get(groups, ret->n_groups);

        if (!json_is_string(group) ||
            copy_string(pool, group, &ret->groups[ret->n_groups]) != NGX_OK)
            return NGX_ERROR;
    }
    return realm_auth_join_groups(pool, ret);
}

static ngx_int_t read_consumer(ngx_pool_t *pool, const json_t *root, realm_auth_consumer_t *ret)
{
    const json_t *consumer = json_object_get(root, "consumer");
    const json_t *credential = json_object_get(root, "credential");

    if (copy_string(pool, json_object_get(consumer, "id"), &ret->id) != NGX_OK ||
        copy_string(pool, json_object_get(consumer, "username"), &ret->username) != NGX_OK ||
        copy_string(pool, json_object_get(consumer, "custom_id"), &ret->custom_id) != NGX_OK ||
        copy_string(pool, json_object_get(credential, "id"), &ret->credential_id) != NGX_OK ||
        copy_string(pool, json_object_get(root, "realm_name"), &ret->realm_name) != NGX_OK ||
        copy_groups(pool, json_object_get(consumer, "consumer_groups"), ret) != NGX_OK)
        return NGX_ERROR;
    return ret->id.len > 0 && ret->credential_id.len > 0 ? NGX_OK : NGX_ERROR;
}

static int read_result(ngx_pool_t *pool, const ngx_str_t *body, realm_auth_consumer_t *ret)
{
    json_t *root = json_loadb((const char *)body->data, body->len, 0, NULL);
    const char *result = json_string_value(json_object_get(root, "result"));
    int rc = RS_E_IO;

    ngx_memzero(ret, sizeof(*ret));
    if (result != NULL && ngx_strcmp(result, "not_found") == 0)
        rc = RS_NOT_FOUND;
    else if (result != NULL && ngx_strcmp(result, "found") == 0 &&
             read_consumer(pool, root, ret) == NGX_OK)
        rc = RS_FOUND;
    json_decref(root);
    return rc;
}

/* The value of a header line "name: value" in `lines`, or NULL; *ret_len is up to the line's end.
 */
static u_char *header_value(const ngx_str_t *lines, const char *name, size_t *ret_len)
{
    u_char *end = lines->data + lines->len;
    size_t name_len = ngx_strlen(name);
    u_char *line = lines->data;

    while (line < end) {
        u_char *eol = ngx_strlchr(line, end, '\r');

        if (eol == NULL)
            eol = end;
        if ((size_t)(eol - line) > name_len && line[name_len] == ':' &&
            ngx_strncasecmp(line, (u_char *)(uintptr_t)name, name_len) == 0) {
            for (line += name_len + 1; line < eol && *line == ' '; line++) {
            }
            *ret_len = (size_t)(eol - line);
            return line;
        }
        line = eol + 2;
    }
    return NULL;
}

/* Finds the body of a complete answer. NGX_AGAIN: more has to come. NGX_DECLINED: it is no answer
 * with a 200, or not one that the protocol knows. */
static ngx_int_t find_body(const ngx_buf_t *answer, ngx_uint_t at_end, ngx_str_t *ret)
{
    static const ngx_str_t status = ngx_string("HTTP/1.1 200 ");
    static char end_of_head[] = "\r\n\r\n";
    ngx_str_t text = {(size_t)(answer->last - answer->pos), answer->pos};
    ngx_str_t head;
    u_char *end;
    u_char *length;
    size_t length_len;
    ngx_int_t size;

    if (text.len < status.len)
        return at_end ? NGX_DECLINED : NGX_AGAIN;
    if (ngx_memcmp(text.data, status.data, status.len) != 0)
        return NGX_DECLINED;
    end = ngx_strnstr(text.data, end_of_head, text.len);
    if (end == NULL)
        return at_end ? NGX_DECLINED : NGX_AGAIN;
    head.data = text.data;
    head.len = (size_t)(end - text.data);
    length = header_value(&head, "Content-Length", &length_len);
    size = length != NULL ? ngx_atoi(length, length_len) : NGX_ERROR;
    if (size == NGX_ERROR || size > ANSWER_MAX)
        return NGX_DECLINED;
    ret->data = end + sizeof(end_of_head) - 1;
    ret->len = (size_t)size;
    if ((size_t)(answer->last - ret->data) >= ret->len)
        return NGX_OK;
    return at_end ? NGX_DECLINED : NGX_AGAIN;
}

/* ---- the connection ---- */

static void close_ask(void *data)
{
    ask_t *ask = data;

    if (ask->peer.connection != NULL)
        ngx_close_connection(ask->peer.connection);
    ask->peer.connection = NULL;
}

/* Gives the answer to the waiting request and runs its phases on. */
static void finish(ask_t *ask, int answer, const realm_auth_consumer_t *consumer, const char *why)
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
    finish(ask, RS_E_IO, NULL, why);
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
static ngx_int_t make_room(ask_t *ask)
{
    ngx_buf_t *old = ask->answer;
    size_t used = (size_t)(old->last - old->pos);
    ngx_buf_t *larger;

    if (old->last < old->end)
        return NGX_OK;
    if (used >= ANSWER_MAX)
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
static ssize_t receive(ask_t *ask)
{
    ssize_t n;

    if (make_room(ask) != NGX_OK)
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
        ssize_t n = receive(ask);

        if (n == NGX_AGAIN) {
            if (ngx_handle_read_event(event, 0) != NGX_OK)
                fail(ask, "no event can be waited for");
            return;
        }
        rc = n < 0 ? NGX_DECLINED : find_body(ask->answer, n == 0, &body);
    }
    result = rc == NGX_OK ? read_result(ask->request->pool, &body, &consumer) : RS_E_IO;
    finish(ask, result, &consumer, "the agent's answer is none");
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
    if (ask->answer == NULL ||
        make_question(r->pool, &realm_auth_conf(r)->ask_sources, key, &ask->question) != NGX_OK)
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

/* realm_auth.h - what the files of ngx_http_realm_auth_module share.
 *
 *     post-read, server rewrite, rewrite
 *                       hide: keys are taken out of sight
 *     preaccess phase   identify: find the key, look it up, set variables and upstream headers
 *     access phase      decide: 401, 403, 500, or on
 *     precontent phase  a refusal that `satisfy any` overruled is forgotten
 *     filters           the body of a refusal
 *     log phase         keys in requests that came to no phase
 *
 * Identifying comes before deciding because limit_req and limit_conn work in the preaccess phase
 * and shall count by consumer, while `satisfy any` needs the decision in the access phase.
 * docs/gateways.md has more about the phases.
 *
 * Everything about one request is in a struct realm_auth_ctx, in the request's pool. What a lookup
 * gave is copied there: nothing borrowed from the store outlives realm_auth_store_look_up().
 */
#ifndef REALM_AUTH_H
#define REALM_AUTH_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <realmstore.h>

#include "gateway/core/args.h"
#include "gateway/core/identity.h"
#include "gateway/core/redact.h"
#include "gateway/core/refusal.h"
#include "gateway/core/verdict.h"

extern ngx_module_t ngx_http_realm_auth_module;

ngx_inline static struct gate_text realm_auth_text(const ngx_str_t *text)
{
    return (struct gate_text){(const char *)text->data, text->len};
}

/* What NGINX takes without const, and does not write. */
ngx_inline static ngx_str_t realm_auth_str(struct gate_text text)
{
    return (ngx_str_t){text.size, (u_char *)(uintptr_t)text.data};
}

/* An array of struct gate_text as core takes it. */
ngx_inline static struct gate_names realm_auth_names(const ngx_array_t *names)
{
    return (struct gate_names){names->elts, names->nelts};
}

/* ---- configuration ---- */

typedef struct {
    ngx_str_t store_dir;      /* len 0: no realm_store */
    ngx_str_t ask_socket;     /* the agent's, in it */
    ngx_array_t key_names;    /* of struct gate_text: all that any location has */
    ngx_array_t hidden_names; /* the same: those that any location hides */
    ngx_array_t logs;         /* of ngx_log_t *: where there are error logs */
} realm_auth_main_conf_t;

typedef struct {
    ngx_array_t hidden_names; /* of struct gate_text: those that a location of this server hides */
} realm_auth_srv_conf_t;

/* The consumer that stands in for callers without a valid key, and what this worker has found out
 * about it. */
typedef struct {
    ngx_str_t name; /* id or username; empty: none */
    ngx_str_t id;   /* found under a username */
    u_char id_text[sizeof("00000000-0000-0000-0000-000000000000")];
    ngx_uint_t missed; /* not found at `missed_at`, in the versions that made `missed_in` */
    ngx_msec_t missed_at;
    uint64_t missed_in;
} realm_auth_anonymous_t;

typedef struct {
    ngx_flag_t enable;
    ngx_array_t *key_names; /* of struct gate_text */
    ngx_flag_t in_header;
    ngx_flag_t in_query;
    ngx_flag_t in_body;
    size_t body_max_size; /* bytes of a body that is searched */
    ngx_array_t *sources; /* of rs_source */
    ngx_flag_t hide_credentials;
    ngx_flag_t run_on_preflight;
    ngx_str_t realm;            /* as configured */
    ngx_str_t www_authenticate; /* the header's value made of it */
    ngx_uint_t on_stale;        /* enum gate_on_stale */
    ngx_msec_t ask_timeout;
    ngx_str_t ask_sources;       /* `sources` as a question names them; GATE_STALE_ASK alone */
    ngx_array_t *require_groups; /* of struct gate_text; NULL: none */
    realm_auth_anonymous_t *anonymous; /* shared by all that inherit it; NULL: none */
} realm_auth_loc_conf_t;

extern ngx_command_t realm_auth_commands[];
void *realm_auth_create_main_conf(ngx_conf_t *cf);
void *realm_auth_create_srv_conf(ngx_conf_t *cf);
void *realm_auth_create_loc_conf(ngx_conf_t *cf);
char *realm_auth_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child);

/* ---- one request ---- */

/* A consumer, copied out of the store. Strings end with a NUL behind their length; an empty one is
 * a member that there is none of. */
typedef struct {
    ngx_str_t id; /* empty: nobody */
    ngx_str_t username;
    ngx_str_t custom_id;
    ngx_str_t credential_id;
    ngx_str_t realm_name;
    struct gate_text *groups;
    ngx_uint_t n_groups;
    ngx_str_t groups_text; /* separated by a comma and a space */
    int64_t age_ms;        /* of the answer; -1: not known */
} realm_auth_consumer_t;

/* What was taken out of a request, see realm_auth_hide.c. */
typedef struct {
    ngx_str_t args;        /* parameters, as a query */
    ngx_str_t args_before; /* the query as it was, and as it became */
    ngx_str_t args_after;
    ngx_str_t unparsed_uri; /* as it was; data NULL: it is */
    ngx_str_t referer;      /* the same */
    ngx_array_t headers;    /* of ngx_table_elt_t */
} realm_auth_taken_t;

typedef struct {
    ngx_http_request_t *request;
    enum gate_verdict status;
    realm_auth_consumer_t consumer;
    ngx_str_t key;
    const struct gate_text *key_name; /* NULL: no key was found; borrowed from the configuration */
    ngx_str_t body_text;              /* the request's body as it came, when it was looked at */
    realm_auth_taken_t taken;
    ngx_buf_t *answer_body; /* of a refusal, once its headers are sent */
    unsigned waiting : 1;   /* for the request's body, or an answer to a question */
    unsigned known : 1;     /* `status` is what there is to know; headers may be set */
    unsigned was_stale : 1; /* what the store answered, when the control plane is asked */
    unsigned body_is_read : 1;
    unsigned body_is_due : 1; /* it is being read, and what came of it may hold a key */
    unsigned body_edited : 1; /* the key was taken out of it */
    unsigned kept : 1;        /* the key was found by an earlier pass, see begin_pass() */
    unsigned hidden : 1;      /* a location said so: what was taken is not put back */
    unsigned answered : 1;    /* the store answered; consumer.age_ms is known */
    unsigned refused : 1;     /* the access phase said no: the filters write the body */
} realm_auth_ctx_t;

/* The request's context, also after an internal redirect made NGINX forget it, or NULL. */
realm_auth_ctx_t *realm_auth_ctx(ngx_http_request_t *r);

ngx_inline static realm_auth_loc_conf_t *realm_auth_conf(ngx_http_request_t *r)
{
    return ngx_http_get_module_loc_conf(r, ngx_http_realm_auth_module);
}

/* ---- realm_auth_args.c: gateway/core/args.h in a pool's memory ---- */

/* Looks for the parameter `name`; the decoded value of GATE_VALUE_STRING goes to *ret. NGX_ERROR:
 * no memory. */
ngx_int_t realm_auth_args_find(ngx_pool_t *pool, const ngx_str_t *args, struct gate_text name,
                               enum gate_value *ret_kind, ngx_str_t *ret);
/* Writes `args` without the parameters called one of `names` to *ret, which has the input's memory
 * when there are none. */
ngx_int_t realm_auth_args_cut(ngx_pool_t *pool, const ngx_str_t *args, struct gate_names names,
                              ngx_str_t *ret);
/* The same for the query of a URI, in place. */
ngx_uint_t realm_auth_uri_has(const ngx_str_t *uri, struct gate_names names);
ngx_int_t realm_auth_uri_cut(ngx_pool_t *pool, ngx_str_t *uri, struct gate_names names);

/* ---- realm_auth_json.c: the same for the members of a JSON object ---- */

/* A text that is no JSON object has no members. Arrays and objects count as repeated. */
ngx_int_t realm_auth_json_find(ngx_pool_t *pool, const ngx_str_t *text, struct gate_text name,
                               enum gate_value *ret_kind, ngx_str_t *ret);
/* NGX_DECLINED: the text is no JSON. */
ngx_int_t realm_auth_json_cut(ngx_pool_t *pool, const ngx_str_t *text, struct gate_names names,
                              ngx_str_t *ret);

/* ---- realm_auth_body.c ---- */

/* Whether the configuration wants to look into the body, and it is there and was not read yet. */
ngx_uint_t realm_auth_body_is_wanted(ngx_http_request_t *r, const realm_auth_ctx_t *ctx);
/* Reads it and runs the phases again from the current one. What the phase's handler has to return:
 * NGX_DONE, or an error's code. */
ngx_int_t realm_auth_body_read(ngx_http_request_t *r, realm_auth_ctx_t *ctx);
/* Drops what was read of a body that did not come whole, and may hold a key that is to be
 * hidden. */
void realm_auth_body_forget_part(ngx_http_request_t *r);
ngx_int_t realm_auth_body_find(ngx_http_request_t *r, realm_auth_ctx_t *ctx, struct gate_text name,
                               enum gate_value *ret_kind, ngx_str_t *ret);
/* Takes keys out of the body, if the configuration has them there. NGX_OK, NGX_AGAIN: it must be
 * read first, NGX_ERROR, or the code to refuse a body with that cannot be searched. */
ngx_int_t realm_auth_body_hide(ngx_http_request_t *r, realm_auth_ctx_t *ctx,
                               struct gate_names names);

/* ---- realm_auth_key.c: the key in the request ---- */

/* Finds the key as the configuration says: ctx->key and ctx->key_name, or a status that says why
 * not. NGX_OK, NGX_AGAIN: the body must be read first, NGX_ERROR. */
ngx_int_t realm_auth_key_find(ngx_http_request_t *r, realm_auth_ctx_t *ctx);
/* ---- realm_auth_hide.c: keys out of query, URIs and headers ---- */

/* Whether there is anything to take. */
ngx_uint_t realm_auth_hide_is_needed(ngx_http_request_t *r, struct gate_names names);
/* Takes all of these names, and keeps them in ctx->taken. */
ngx_int_t realm_auth_hide_take(ngx_http_request_t *r, realm_auth_ctx_t *ctx,
                               struct gate_names names);
/* Undoes it, unless a location has asked for it. */
ngx_int_t realm_auth_hide_put_back(ngx_http_request_t *r, realm_auth_ctx_t *ctx);

/* ---- realm_auth_log.c: no key in logs ---- */

/* Notes an error log of the configuration. */
ngx_int_t realm_auth_log_know(realm_auth_main_conf_t *conf, ngx_log_t *log);
/* Once the configuration stands: what is written to its error logs has no keys. */
ngx_int_t realm_auth_log_init(ngx_cycle_t *cycle, realm_auth_main_conf_t *conf);
/* Takes keys out of the request line, for $request. */
ngx_int_t realm_auth_log_edit_request_line(ngx_http_request_t *r);

/* ---- realm_auth_headers.c ---- */

/* Once, before requests. */
void realm_auth_init_headers(void);

/* Gives the request headers that say who it is, to the upstream: whatever the client sent under
 * their names goes. */
ngx_int_t realm_auth_headers_set(ngx_http_request_t *r, const realm_auth_ctx_t *ctx);
/* Whether there are headers with keys: by their name, or in the URL of Referer. */
ngx_uint_t realm_auth_headers_have(ngx_http_request_t *r, struct gate_names names);
/* Takes them out, and undoes it. */
ngx_int_t realm_auth_headers_take(ngx_http_request_t *r, realm_auth_taken_t *taken,
                                  struct gate_names names);
ngx_int_t realm_auth_headers_put_back(ngx_http_request_t *r, realm_auth_taken_t *taken);

/* ---- realm_auth_store.c: the worker's open store ---- */

/* Opens the store in a worker that starts, so that the first request need not. */
void realm_auth_store_init(const ngx_str_t *dir);
void realm_auth_store_close(void);
/* Looks `key` up: RS_FOUND, RS_NOT_FOUND, RS_STALE (a miss when ret->id is empty) with *ret, whose
 * memory is of `pool`, or RS_E_* after logging why. */
int realm_auth_store_look_up(ngx_pool_t *pool, const realm_auth_main_conf_t *conf,
                             const ngx_array_t *sources, const ngx_str_t *key,
                             realm_auth_consumer_t *ret);
/* Finds the anonymous consumer: RS_FOUND, RS_NOT_FOUND or RS_E_*. Searching by username is done
 * again only when the store has changed, at most once a second. */
int realm_auth_store_find(ngx_pool_t *pool, const realm_auth_main_conf_t *conf,
                          realm_auth_anonymous_t *anonymous, realm_auth_consumer_t *ret);
/* Age of the source that was not heard for longest in milliseconds, -1 when it cannot be told. */
int64_t realm_auth_store_age_ms(const realm_auth_main_conf_t *conf);

/* ---- realm_auth_consumer.c ---- */

/* Writes groups_text. */
ngx_int_t realm_auth_join_groups(ngx_pool_t *pool, realm_auth_consumer_t *consumer);

/* ---- realm_auth_question.c ---- */

/* Writes the sources as a question names them. */
ngx_int_t realm_auth_question_prepare(ngx_pool_t *pool, const ngx_array_t *sources, ngx_str_t *ret);
/* The whole request. NGX_ERROR: no memory, or the key is no UTF-8. */
ngx_int_t realm_auth_question_make(ngx_pool_t *pool, const ngx_str_t *sources, const ngx_str_t *key,
                                   ngx_buf_t **ret);

/* ---- realm_auth_answer.c ---- */

/* More than the largest consumer takes, escapes included. */
enum { REALM_AUTH_ANSWER_MAX = 1024 * 1024 };

/* Finds the body of a complete answer. NGX_AGAIN: more has to come. NGX_DECLINED: it is no answer
 * with a 200, or not one that the protocol knows. NGX_ABORT: the question was none, which is an
 * answer: it is nobody's key. `at_end`: no more will come. */
ngx_int_t realm_auth_answer_find(const ngx_buf_t *answer, ngx_uint_t at_end, ngx_str_t *ret);
/* RS_FOUND with *ret in the pool's memory, RS_NOT_FOUND, or RS_E_IO: it says neither. */
int realm_auth_answer_read(ngx_pool_t *pool, const ngx_str_t *body, realm_auth_consumer_t *ret);

/* ---- realm_auth_ask.c: the control plane, through the agent ---- */

/* `answer` is RS_FOUND with a consumer in the request's memory, RS_NOT_FOUND, or negative: nobody
 * could be asked. The phases are run again afterwards. */
typedef void (*realm_auth_asked_pt)(ngx_http_request_t *r, int answer,
                                    const realm_auth_consumer_t *consumer);
/* Asks. NGX_OK: `asked` will be called, from the event loop. NGX_ERROR: nobody can be asked, which
 * was logged. */
ngx_int_t realm_auth_ask(ngx_http_request_t *r, const ngx_str_t *key, realm_auth_asked_pt asked);
/* Logs it, but not each time. In realm_auth_store.c, where troubles are counted. */
void realm_auth_cannot_ask(const char *why);

/* ---- realm_auth_refusal.c ---- */

/* Refuses the request: the answer's code, after its headers were set. */
ngx_int_t realm_auth_refuse(ngx_http_request_t *r, realm_auth_ctx_t *ctx);
ngx_int_t realm_auth_init_filters(ngx_conf_t *cf);

/* ---- realm_auth_variables.c ---- */

ngx_int_t realm_auth_add_variables(ngx_conf_t *cf);

#endif

/* ngx_http_realm_auth_module.c - API keys turned into consumers inside NGINX: the module and its
 * phases. realm_auth.h names the parts. */
#include "realm_auth.h"

#include "base/grammar.h"

/* ---- the context ---- */

static void forget_key(void *data)
{
    realm_auth_ctx_t *ctx = data;

    ngx_str_null(&ctx->key);
}

/* An internal redirect empties r->ctx; the pool's cleanup still knows the context. */
static realm_auth_ctx_t *former_ctx(ngx_http_request_t *r)
{
    for (ngx_pool_cleanup_t *cleanup = r->pool->cleanup; cleanup != NULL; cleanup = cleanup->next) {
        if (cleanup->handler == forget_key) {
            realm_auth_ctx_t *ctx = cleanup->data;

            if (ctx->request == r)
                return ctx;
        }
    }
    return NULL;
}

realm_auth_ctx_t *realm_auth_ctx(ngx_http_request_t *r)
{
    realm_auth_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_realm_auth_module);

    return ctx != NULL ? ctx : former_ctx(r);
}

static realm_auth_ctx_t *create_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(r->pool, sizeof(realm_auth_ctx_t));
    realm_auth_ctx_t *ctx;

    if (cleanup == NULL)
        return NULL;
    cleanup->handler = forget_key;
    ctx = cleanup->data;
    ngx_memzero(ctx, sizeof(*ctx));
    ctx->request = r;
    return ctx;
}

/* Begins a pass: the context for this location. An internal redirect runs the phases again, and a
 * subrequest runs them for itself, while the key may not be where it was: hide_credentials took it
 * out, the body was sent. So a pass knows the key that the former one, or the parent's, found. */
static realm_auth_ctx_t *begin_pass(ngx_http_request_t *r)
{
    realm_auth_ctx_t *ctx = former_ctx(r);
    realm_auth_ctx_t former;

    ngx_memzero(&former, sizeof(former));
    if (ctx != NULL)
        former = *ctx;
    for (ngx_http_request_t *above = r->parent; former.request == NULL && above != NULL;
         above = above->parent) {
        if (realm_auth_ctx(above) != NULL)
            former = *realm_auth_ctx(above);
    }
    if (ctx == NULL)
        ctx = create_ctx(r);
    if (ctx == NULL)
        return NULL;
    ngx_memzero(ctx, sizeof(*ctx));
    ctx->request = r;
    ctx->body_is_read = former.body_is_read;
    ctx->body_is_due = former.body_is_due;
    ctx->taken = former.taken;
    ctx->hidden = former.hidden;
    if (former.key_name != NULL) {
        ctx->key = former.key;
        ctx->key_name = former.key_name;
        ctx->kept = 1;
    }
    ngx_http_set_ctx(r, ctx, ngx_http_realm_auth_module);
    return ctx;
}

/* ---- deciding ---- */

static ngx_uint_t has_required_group(const realm_auth_loc_conf_t *conf,
                                     const realm_auth_consumer_t *consumer)
{
    const ngx_array_t *required = conf->require_groups;

    return required == NULL ||
           gate_has_group(required->elts, required->nelts, consumer->groups, consumer->n_groups);
}

static void realm_auth_settle(realm_auth_ctx_t *ctx, enum gate_verdict status)
{
    ctx->status = status;
    ctx->known = 1;
}

static void accept_consumer(ngx_http_request_t *r, realm_auth_ctx_t *ctx, enum gate_verdict status,
                            const realm_auth_consumer_t *consumer)
{
    ctx->consumer = *consumer;
    realm_auth_settle(ctx,
                      has_required_group(realm_auth_conf(r), consumer) ? status : GATE_FORBIDDEN);
}

/* The anonymous consumer stands in where there is no valid key; not where the store cannot tell. */
static void stand_in(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    realm_auth_anonymous_t *anonymous = realm_auth_conf(r)->anonymous;
    realm_auth_consumer_t consumer;
    int rc;

    if (anonymous == NULL || gate_verdict_code(ctx->status) != NGX_HTTP_UNAUTHORIZED)
        return;
    rc =
        realm_auth_store_find(r->pool, ngx_http_get_module_main_conf(r, ngx_http_realm_auth_module),
                              anonymous, &consumer);
    if (rc == RS_FOUND)
        accept_consumer(r, ctx, GATE_ANONYMOUS, &consumer);
    else
        realm_auth_settle(ctx, rc == RS_NOT_FOUND ? GATE_NO_ANONYMOUS : GATE_ERROR);
}

static void on_asked(ngx_http_request_t *r, int answer, const realm_auth_consumer_t *consumer)
{
    realm_auth_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_realm_auth_module);

    ctx->waiting = 0;
    if (answer == RS_FOUND)
        accept_consumer(r, ctx, GATE_ASKED, consumer);
    else
        realm_auth_settle(ctx, gate_verdict_of_answer(answer, ctx->was_stale));
}

/* NGX_OK: settled. NGX_DONE: the control plane is being asked. */
static ngx_int_t look_up(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    const realm_auth_loc_conf_t *conf = realm_auth_conf(r);
    enum gate_verdict status;
    realm_auth_consumer_t consumer;
    int answer;

    if (!grammar_may_be_secret(ctx->key.data, ctx->key.len)) {
        realm_auth_settle(ctx, GATE_UNKNOWN); /* what nobody can have is not asked for */
        return NGX_OK;
    }
    answer = realm_auth_store_look_up(r->pool,
                                      ngx_http_get_module_main_conf(r, ngx_http_realm_auth_module),
                                      conf->sources, &ctx->key, &consumer);
    if (gate_verdict_asks(answer, conf->on_stale)) {
        ctx->was_stale = answer == RS_STALE;
        if (realm_auth_ask(r, &ctx->key, on_asked) == NGX_OK) {
            ctx->waiting = 1;
            return NGX_DONE;
        }
    }
    if (answer >= 0) {
        ctx->consumer.age_ms = consumer.age_ms;
        ctx->answered = 1;
    }
    status = gate_verdict_of_lookup(answer, answer >= 0 && consumer.id.len > 0, conf->on_stale);
    if (gate_verdict_has_consumer(status))
        accept_consumer(r, ctx, status, &consumer);
    else
        realm_auth_settle(ctx, status);
    return NGX_OK;
}

/* ---- phases ---- */

static ngx_uint_t is_free_preflight(ngx_http_request_t *r)
{
    return r->method == NGX_HTTP_OPTIONS && !realm_auth_conf(r)->run_on_preflight;
}

/* NGX_AGAIN: the body must be read first. */
static ngx_int_t hide_keys(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    struct gate_names names = realm_auth_names(realm_auth_conf(r)->key_names);

    if (!realm_auth_conf(r)->hide_credentials)
        return NGX_OK;
    ctx->hidden = 1;
    if (realm_auth_hide_is_needed(r, names) && realm_auth_hide_take(r, ctx, names) != NGX_OK)
        return NGX_ERROR;
    return realm_auth_body_hide(r, ctx, names);
}

/* NGX_OK: the request is settled. NGX_DONE: it waits, and the phases are run again. */
static ngx_int_t identify(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    ngx_int_t rc = hide_keys(r, ctx);

    if (rc == NGX_OK && is_free_preflight(r)) {
        realm_auth_settle(ctx, GATE_PREFLIGHT);
        return NGX_OK;
    }
    if (rc == NGX_OK)
        rc = realm_auth_key_find(r, ctx);
    if (rc == NGX_AGAIN)
        return realm_auth_body_read(r, ctx);
    if (rc != NGX_OK)
        return rc;
    if (ctx->status == GATE_UNDECIDED)
        return look_up(r, ctx);
    realm_auth_settle(ctx, ctx->status);
    return NGX_OK;
}

static ngx_int_t decide(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    return gate_verdict_lets_in(ctx->status) ? NGX_OK : realm_auth_refuse(r, ctx);
}

/* NGINX has no access phase for subrequests. One that would be let in by `satisfy any` is let be,
 * since nobody can tell here. */
static ngx_int_t decide_subrequest(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    const ngx_http_core_loc_conf_t *core = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    ngx_int_t rc;

    if (core->satisfy == NGX_HTTP_SATISFY_ANY)
        return NGX_DECLINED;
    rc = decide(r, ctx);
    return rc == NGX_OK ? NGX_DECLINED : rc;
}

/* The context in which is kept what is taken; NULL: no memory. It is no pass yet. */
static realm_auth_ctx_t *need_ctx(ngx_http_request_t *r)
{
    realm_auth_ctx_t *ctx = realm_auth_ctx(r);

    return ctx != NULL ? ctx : create_ctx(r);
}

/* In the phases before the location is known. A subrequest has what its parent has left. Where a
 * context is, this was done, and a location has had its say; so there is one from the first phase
 * on, if only as a mark. A request that NGINX refused by itself comes to an error page without it:
 * no location can give it back what another one was to hide. */
static ngx_int_t hide_early(ngx_http_request_t *r)
{
    const realm_auth_main_conf_t *main_conf =
        ngx_http_get_module_main_conf(r, ngx_http_realm_auth_module);
    const realm_auth_srv_conf_t *conf = ngx_http_get_module_srv_conf(r, ngx_http_realm_auth_module);
    struct gate_names names =
        realm_auth_names(r->internal ? &main_conf->hidden_names : &conf->hidden_names);
    realm_auth_ctx_t *ctx;

    if (r != r->main)
        return NGX_OK;
    realm_auth_body_forget_part(r);
    if (realm_auth_log_edit_request_line(r) != NGX_OK)
        return NGX_ERROR;
    if (main_conf->hidden_names.nelts == 0 || realm_auth_ctx(r) != NULL)
        return NGX_OK;
    ctx = create_ctx(r);
    if (ctx == NULL)
        return NGX_ERROR;
    ctx->hidden = r->internal;
    return realm_auth_hide_is_needed(r, names) ? realm_auth_hide_take(r, ctx, names) : NGX_OK;
}

static ngx_int_t early_handler(ngx_http_request_t *r)
{
    return hide_early(r) == NGX_OK ? NGX_DECLINED : NGX_HTTP_INTERNAL_SERVER_ERROR;
}

/* Whether this location hides all that any location of the server does, which is usual. */
static ngx_uint_t hides_as_server(ngx_http_request_t *r, struct gate_names names)
{
    const realm_auth_srv_conf_t *conf = ngx_http_get_module_srv_conf(r, ngx_http_realm_auth_module);

    const struct gate_text *hidden = conf->hidden_names.elts;

    for (ngx_uint_t i = 0; i < conf->hidden_names.nelts; i++) {
        if (!gate_names_have(names, hidden[i]))
            return 0;
    }
    return 1;
}

/* The location is known: what it does not hide is put back. */
static ngx_int_t rewrite_handler(ngx_http_request_t *r)
{
    const realm_auth_loc_conf_t *conf = realm_auth_conf(r);
    struct gate_names names = realm_auth_names(conf->key_names);
    ngx_uint_t hides = conf->enable && conf->hide_credentials;
    realm_auth_ctx_t *ctx;

    if (hide_early(r) != NGX_OK) /* an error page in a named location */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx = realm_auth_ctx(r);
    if (ctx != NULL && hides && hides_as_server(r, names))
        ctx->hidden = 1;
    if (ctx != NULL && realm_auth_hide_put_back(r, ctx) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (!hides || !realm_auth_hide_is_needed(r, names))
        return NGX_DECLINED;
    ctx = need_ctx(r);
    if (ctx == NULL || realm_auth_hide_take(r, ctx, names) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx->hidden = 1;
    return NGX_DECLINED;
}

/* Before NGINX's own: a request that NGINX refused by itself came to no phase. */
static ngx_int_t log_handler(ngx_http_request_t *r)
{
    const realm_auth_main_conf_t *conf =
        ngx_http_get_module_main_conf(r, ngx_http_realm_auth_module);
    struct gate_names names = realm_auth_names(&conf->hidden_names);
    realm_auth_ctx_t *ctx;

    realm_auth_body_forget_part(r);
    if (r->phase_handler > 0)
        return NGX_OK;
    if (realm_auth_log_edit_request_line(r) != NGX_OK)
        return NGX_ERROR;
    if (!realm_auth_hide_is_needed(r, names))
        return NGX_OK;
    ctx = need_ctx(r);
    return ctx != NULL ? realm_auth_hide_take(r, ctx, names) : NGX_ERROR;
}

static ngx_int_t preaccess_handler(ngx_http_request_t *r)
{
    realm_auth_ctx_t *ctx;
    ngx_int_t rc;

    if (!realm_auth_conf(r)->enable)
        return NGX_DECLINED;
    ctx = ngx_http_get_module_ctx(r, ngx_http_realm_auth_module);
    if (ctx == NULL)
        ctx = begin_pass(r);
    if (ctx == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (ctx->waiting)
        return NGX_DONE;
    rc = ctx->known ? NGX_OK : identify(r, ctx);
    if (rc == NGX_DONE || rc >= NGX_HTTP_SPECIAL_RESPONSE)
        return rc;
    if (rc != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    stand_in(r, ctx);
    if (realm_auth_headers_set(r, ctx) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return r == r->main ? NGX_DECLINED : decide_subrequest(r, ctx);
}

static ngx_int_t access_handler(ngx_http_request_t *r)
{
    realm_auth_ctx_t *ctx;

    if (!realm_auth_conf(r)->enable)
        return NGX_DECLINED;
    ctx = ngx_http_get_module_ctx(r, ngx_http_realm_auth_module);
    return ctx != NULL ? decide(r, ctx) : NGX_HTTP_INTERNAL_SERVER_ERROR;
}

/* What comes this far was let in: `satisfy any` overruled us. */
static ngx_int_t precontent_handler(ngx_http_request_t *r)
{
    realm_auth_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_realm_auth_module);

    if (ctx != NULL)
        ctx->refused = 0;
    return NGX_DECLINED;
}

/* ---- the module ---- */

static ngx_int_t add_handler(ngx_conf_t *cf, ngx_http_phases phase, ngx_http_handler_pt handler)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *h = ngx_array_push(&core->phases[phase].handlers);

    if (h == NULL)
        return NGX_ERROR;
    *h = handler;
    return NGX_OK;
}

/* NGINX calls handlers of the log phase in the order in which they stand. */
static ngx_int_t add_first_log_handler(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_array_t *handlers = &core->phases[NGX_HTTP_LOG_PHASE].handlers;
    ngx_http_handler_pt *first;

    if (add_handler(cf, NGX_HTTP_LOG_PHASE, log_handler) != NGX_OK)
        return NGX_ERROR;
    first = handlers->elts;
    ngx_memmove(first + 1, first, (handlers->nelts - 1) * sizeof(*first));
    first[0] = log_handler;
    return NGX_OK;
}

static ngx_int_t postconfiguration(ngx_conf_t *cf)
{
    if (add_handler(cf, NGX_HTTP_POST_READ_PHASE, early_handler) != NGX_OK ||
        add_handler(cf, NGX_HTTP_SERVER_REWRITE_PHASE, early_handler) != NGX_OK ||
        add_handler(cf, NGX_HTTP_REWRITE_PHASE, rewrite_handler) != NGX_OK ||
        add_first_log_handler(cf) != NGX_OK ||
        add_handler(cf, NGX_HTTP_PREACCESS_PHASE, preaccess_handler) != NGX_OK ||
        add_handler(cf, NGX_HTTP_ACCESS_PHASE, access_handler) != NGX_OK ||
        add_handler(cf, NGX_HTTP_PRECONTENT_PHASE, precontent_handler) != NGX_OK)
        return NGX_ERROR;
    realm_auth_init_headers();
    return realm_auth_init_filters(cf);
}

static ngx_int_t init_module(ngx_cycle_t *cycle)
{
    realm_auth_main_conf_t *conf =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_realm_auth_module);

    return conf != NULL ? realm_auth_log_init(cycle, conf) : NGX_OK;
}

static ngx_int_t init_process(ngx_cycle_t *cycle)
{
    const realm_auth_main_conf_t *conf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
        return NGX_OK;
    conf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_realm_auth_module);
    if (conf != NULL && conf->store_dir.len > 0)
        realm_auth_store_init(&conf->store_dir);
    return NGX_OK;
}

static void exit_process(ngx_cycle_t *cycle)
{
    (void)cycle;
    realm_auth_store_close();
}

static ngx_http_module_t module_context = {
    .preconfiguration = realm_auth_add_variables,
    .postconfiguration = postconfiguration,
    .create_main_conf = realm_auth_create_main_conf,
    .create_srv_conf = realm_auth_create_srv_conf,
    .create_loc_conf = realm_auth_create_loc_conf,
    .merge_loc_conf = realm_auth_merge_loc_conf,
};

ngx_module_t ngx_http_realm_auth_module = {
    NGX_MODULE_V1,
    .ctx = &module_context,
    .commands = realm_auth_commands,
    .type = NGX_HTTP_MODULE,
    .init_module = init_module,
    .init_process = init_process,
    .exit_process = exit_process,
};

/* realm_auth_hide.c - taking keys out of a request, so that no variable and no upstream has them.
 *
 *     post-read, server rewrite   which location it will be is not known: what any location of this
 *                                 server hides is taken out
 *     rewrite                     the location is known: what it does not hide is put back
 *     preaccess                   the body, and what rewriting brought in
 *
 * All parameters and headers of all key names go, not only the one that is the key. What was taken
 * is kept in the request's memory, since keys are looked for later. The same happens to the URL in
 * Referer, which may be that of a page here.
 */
#include "realm_auth.h"

/* ---- query ---- */

/* Adds the parameters of these names to what was taken, with an & between. */
static ngx_int_t keep_args(ngx_pool_t *pool, ngx_str_t *kept, const ngx_str_t *args,
                           struct gate_names names)
{
    u_char *p = ngx_pnalloc(pool, kept->len + 1 + args->len);
    size_t size = kept->len;

    if (p == NULL)
        return NGX_ERROR;
    (void)gate_text_put((char *)p, realm_auth_text(kept));
    if (size > 0)
        p[size++] = '&';
    kept->data = p;
    kept->len = size + gate_args_named(realm_auth_text(args), names, (char *)p + size);
    return NGX_OK;
}

static ngx_int_t take_args(ngx_http_request_t *r, realm_auth_taken_t *taken,
                           struct gate_names names)
{
    ngx_str_t uri = r->unparsed_uri;
    ngx_str_t args = r->args;

    if (realm_auth_uri_cut(r->pool, &uri, names) != NGX_OK)
        return NGX_ERROR;
    if (taken->unparsed_uri.data == NULL && uri.data != r->unparsed_uri.data)
        taken->unparsed_uri = r->unparsed_uri;
    r->unparsed_uri = uri;
    if (!gate_args_may_have(realm_auth_text(&args), names))
        return NGX_OK;
    if (keep_args(r->pool, &taken->args, &args, names) != NGX_OK ||
        realm_auth_args_cut(r->pool, &args, names, &r->args) != NGX_OK)
        return NGX_ERROR;
    taken->args_before = args;
    taken->args_after = r->args;
    return NGX_OK;
}

/* A query that was rewritten since stays as it is. */
static void put_args_back(ngx_http_request_t *r, realm_auth_taken_t *taken)
{
    if (taken->unparsed_uri.data != NULL)
        r->unparsed_uri = taken->unparsed_uri;
    ngx_str_null(&taken->unparsed_uri);
    if (taken->args_before.data == NULL || r->args.data != taken->args_after.data ||
        r->args.len != taken->args_after.len)
        return;
    r->args = taken->args_before;
    ngx_str_null(&taken->args_before);
    ngx_str_null(&taken->args);
}

/* ---- variables ---- */

static ngx_uint_t shows_request(const ngx_str_t *name)
{
    static const struct gate_text whole[] = {{"request", 7},
                                             {"request_uri", 11},
                                             {"args", 4},
                                             {"query_string", 12},
                                             {"request_body", 12}};
    static const struct gate_text begins[] = {{"arg_", 4}, {"http_", 5}};

    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        if (gate_text_is(realm_auth_text(name), whole[i]))
            return 1;
    }
    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        if (name->len > begins[i].size &&
            ngx_strncmp(name->data, begins[i].data, begins[i].size) == 0)
            return 1;
    }
    return 0;
}

/* NGINX remembers the value of a variable that was looked at once. */
static void forget_variables(ngx_http_request_t *r)
{
    const ngx_http_core_main_conf_t *conf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    const ngx_http_variable_t *variables = conf->variables.elts;

    for (ngx_uint_t i = 0; i < conf->variables.nelts; i++) {
        if (shows_request(&variables[i].name)) {
            r->variables[i].valid = 0;
            r->variables[i].not_found = 0;
        }
    }
}

/* ---- taking and putting back ---- */

ngx_int_t realm_auth_hide_take(ngx_http_request_t *r, realm_auth_ctx_t *ctx,
                               struct gate_names names)
{
    if (take_args(r, &ctx->taken, names) != NGX_OK ||
        realm_auth_headers_take(r, &ctx->taken, names) != NGX_OK)
        return NGX_ERROR;
    forget_variables(r);
    return NGX_OK;
}

ngx_int_t realm_auth_hide_put_back(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    if (ctx->hidden)
        return NGX_OK;
    put_args_back(r, &ctx->taken);
    forget_variables(r);
    return realm_auth_headers_put_back(r, &ctx->taken);
}

ngx_uint_t realm_auth_hide_is_needed(ngx_http_request_t *r, struct gate_names names)
{
    return gate_args_may_have(realm_auth_text(&r->args), names) ||
           realm_auth_uri_has(&r->unparsed_uri, names) || realm_auth_headers_have(r, names);
}

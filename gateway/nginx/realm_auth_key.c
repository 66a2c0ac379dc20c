/* realm_auth_key.c - which API key a request carries.
 *
 * For each configured name in order: header, query, body. The first string that is found counts,
 * even an empty one; more than one of a name ends the search.
 */
#include "realm_auth.h"

/* NGX_DONE: it is there more than once, and the search is over. */
static ngx_int_t look_at_headers(const ngx_table_elt_t *headers, ngx_uint_t n,
                                 struct gate_text name, enum gate_value *ret_kind, ngx_str_t *ret)
{
    for (ngx_uint_t i = 0; i < n; i++) {
        if (!gate_header_is_key(realm_auth_text(&headers[i].key), name))
            continue;
        if (*ret_kind != GATE_VALUE_NONE) {
            *ret_kind = GATE_VALUE_REPEATED;
            return NGX_DONE;
        }
        *ret_kind = GATE_VALUE_STRING;
        *ret = headers[i].value;
    }
    return NGX_OK;
}

/* In the request as it is now, else in what was hidden of it. */
static void find_in_header(ngx_http_request_t *r, const realm_auth_ctx_t *ctx,
                           struct gate_text name, enum gate_value *ret_kind, ngx_str_t *ret)
{
    const ngx_array_t *taken = &ctx->taken.headers;

    for (ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        if (look_at_headers(part->elts, part->nelts, name, ret_kind, ret) == NGX_DONE)
            return;
    }
    if (*ret_kind == GATE_VALUE_NONE)
        (void)look_at_headers(taken->elts, taken->nelts, name, ret_kind, ret);
}

static ngx_int_t find_in_query(ngx_http_request_t *r, const realm_auth_ctx_t *ctx,
                               struct gate_text name, enum gate_value *ret_kind, ngx_str_t *ret)
{
    ngx_int_t rc = realm_auth_args_find(r->pool, &r->args, name, ret_kind, ret);

    if (rc == NGX_OK && *ret_kind == GATE_VALUE_NONE)
        rc = realm_auth_args_find(r->pool, &ctx->taken.args, name, ret_kind, ret);
    return rc;
}

/* One name in all places. NGX_AGAIN: the body must be read. */
static ngx_int_t find_name(ngx_http_request_t *r, realm_auth_ctx_t *ctx, struct gate_text name,
                           enum gate_value *ret_kind, ngx_str_t *ret)
{
    const realm_auth_loc_conf_t *conf = realm_auth_conf(r);

    *ret_kind = GATE_VALUE_NONE;
    if (conf->in_header)
        find_in_header(r, ctx, name, ret_kind, ret);
    if (*ret_kind == GATE_VALUE_NONE && conf->in_query &&
        find_in_query(r, ctx, name, ret_kind, ret) != NGX_OK)
        return NGX_ERROR;
    if (*ret_kind != GATE_VALUE_NONE || !conf->in_body)
        return NGX_OK;
    if (realm_auth_body_is_wanted(r, ctx))
        return NGX_AGAIN;
    return realm_auth_body_find(r, ctx, name, ret_kind, ret);
}

static ngx_uint_t is_kept_name(const realm_auth_ctx_t *ctx, struct gate_text name)
{
    return ctx->kept && gate_text_is_nocase(*ctx->key_name, name);
}

static void judge_key(realm_auth_ctx_t *ctx)
{
    ctx->status = ctx->key.len > 0 ? GATE_UNDECIDED : GATE_MISSING;
}

ngx_int_t realm_auth_key_find(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    const realm_auth_loc_conf_t *conf = realm_auth_conf(r);
    const struct gate_text *names = conf->key_names->elts;

    ctx->status = GATE_MISSING;
    for (ngx_uint_t i = 0; i < conf->key_names->nelts; i++) {
        enum gate_value kind;
        ngx_str_t key;
        ngx_int_t rc;

        if (is_kept_name(ctx, names[i])) {
            judge_key(ctx);
            return NGX_OK;
        }
        rc = find_name(r, ctx, names[i], &kind, &key);
        if (rc != NGX_OK)
            return rc;
        if (kind == GATE_VALUE_REPEATED) {
            ctx->status = GATE_DUPLICATE;
            return NGX_OK;
        }
        if (kind == GATE_VALUE_STRING) {
            ctx->key = key;
            ctx->key_name = &names[i];
            judge_key(ctx);
            return NGX_OK;
        }
    }
    return NGX_OK;
}

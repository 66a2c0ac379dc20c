/* realm_auth_key.c - which API key a request carries, and taking it out.
 *
 * For each configured name in order: header, query, body. The first string that is found counts,
 * even an empty one; more than one of a name ends the search.
 */
#include "realm_auth.h"

static void find_in_header(ngx_http_request_t *r, struct gate_text name, enum gate_value *ret_kind,
                           ngx_str_t *ret)
{
    *ret_kind = GATE_VALUE_NONE;
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (!gate_header_is_key(realm_auth_text(&headers[i].key), name))
                continue;
            if (*ret_kind != GATE_VALUE_NONE) {
                *ret_kind = GATE_VALUE_REPEATED;
                return;
            }
            *ret_kind = GATE_VALUE_STRING;
            *ret = headers[i].value;
        }
    }
}

/* One name in all places. NGX_AGAIN: the body must be read. */
static ngx_int_t find_name(ngx_http_request_t *r, realm_auth_ctx_t *ctx, struct gate_text name,
                           enum gate_value *ret_kind, ngx_str_t *ret)
{
    const realm_auth_loc_conf_t *conf = realm_auth_conf(r);

    *ret_kind = GATE_VALUE_NONE;
    if (conf->in_header)
        find_in_header(r, name, ret_kind, ret);
    if (*ret_kind == GATE_VALUE_NONE && conf->in_query &&
        realm_auth_args_find(r->pool, &r->args, name, ret_kind, ret) != NGX_OK)
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

typedef ngx_int_t (*edit_args_pt)(ngx_pool_t *pool, const ngx_str_t *args, struct gate_text name,
                                  ngx_str_t *ret);

/* Edits the query in a text that has one between '?' and `end`. */
static ngx_int_t edit_query(ngx_pool_t *pool, ngx_str_t *text, u_char *end, edit_args_pt edit,
                            struct gate_text name)
{
    u_char *question = ngx_strlchr(text->data, end, '?');
    ngx_str_t before, query, after, edited;
    u_char *p;

    if (question == NULL)
        return NGX_OK;
    before.data = text->data;
    before.len = (size_t)(question + 1 - text->data);
    query.data = question + 1;
    query.len = (size_t)(end - query.data);
    after.data = end;
    after.len = (size_t)(text->data + text->len - end);
    if (edit(pool, &query, name, &edited) != NGX_OK)
        return NGX_ERROR;
    if (edited.data == query.data)
        return NGX_OK;
    if (edited.len == 0)
        before.len--; /* no lonely question mark */
    p = ngx_pnalloc(pool, before.len + edited.len + after.len);
    if (p == NULL)
        return NGX_ERROR;
    text->data = p;
    text->len = before.len + edited.len + after.len;
    p = ngx_cpymem(p, before.data, before.len);
    p = ngx_cpymem(p, edited.data, edited.len);
    ngx_memcpy(p, after.data, after.len);
    return NGX_OK;
}

ngx_int_t realm_auth_key_hide(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    ngx_str_t args;

    if (realm_auth_body_is_wanted(r, ctx))
        return NGX_AGAIN;
    if (realm_auth_args_cut(r->pool, &r->args, *ctx->key_name, &args) != NGX_OK)
        return NGX_ERROR;
    r->args = args;
    /* proxy_pass without a URI sends the URI as it came. */
    if (edit_query(r->pool, &r->unparsed_uri, r->unparsed_uri.data + r->unparsed_uri.len,
                   realm_auth_args_cut, *ctx->key_name) != NGX_OK)
        return NGX_ERROR;
    ctx->hidden = 1;
    return realm_auth_body_hide(r, ctx);
}

ngx_int_t realm_auth_key_mask(ngx_http_request_t *r)
{
    const realm_auth_loc_conf_t *conf = realm_auth_conf(r);
    const struct gate_text *names = conf->key_names->elts;
    u_char *end;

    if (!conf->in_query || r->args.len == 0)
        return NGX_OK;
    for (ngx_uint_t i = 0; i < conf->key_names->nelts; i++) {
        end = r->request_line.data + r->request_line.len;
        while (end > r->request_line.data && end[-1] != ' ')
            end--; /* the protocol version stands behind the last space */
        if (end > r->request_line.data)
            end--;
        if (edit_query(r->pool, &r->request_line, end, realm_auth_args_mask, names[i]) != NGX_OK)
            return NGX_ERROR;
    }
    return NGX_OK;
}

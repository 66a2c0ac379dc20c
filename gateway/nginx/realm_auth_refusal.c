/* realm_auth_refusal.c - saying no in the client's language, word for word as Kong does.
 *
 * gateway/core/refusal.h has the words. The access phase returns a code, as NGINX's own access
 * modules do, so that satisfy, auth_delay and error_page work. When NGINX then sends its page for
 * the code, the filters put our body in its place. An error_page of the user leads to an internal
 * redirect, which makes NGINX forget the context, and so the filters leave it alone.
 */
#include "realm_auth.h"

static ngx_http_output_header_filter_pt next_header_filter;
static ngx_http_output_body_filter_pt next_body_filter;

/* ---- the client's language ---- */

static ngx_uint_t is_grpc(ngx_http_request_t *r)
{
    static const ngx_str_t grpc = ngx_string("application/grpc");
    const ngx_table_elt_t *type = r->headers_in.content_type;

    return r->http_version == NGX_HTTP_VERSION_20 && type != NULL && type->value.len >= grpc.len &&
           ngx_strncasecmp(type->value.data, grpc.data, grpc.len) == 0;
}

static enum gate_format choose_format(ngx_http_request_t *r)
{
    struct gate_accept accept = {0, GATE_FORMAT_JSON};

    if (is_grpc(r))
        return GATE_FORMAT_GRPC;
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (gate_text_is_nocase(realm_auth_text(&headers[i].key), GATE_TEXT("accept")))
                gate_accept_weigh(&accept, realm_auth_text(&headers[i].value));
        }
    }
    return accept.format;
}

/* ---- refusing ---- */

static ngx_table_elt_t *realm_auth_refusal_add_header(ngx_http_request_t *r, const ngx_str_t *name,
                                                      const ngx_str_t *value)
{
    ngx_table_elt_t *h = ngx_list_push(&r->headers_out.headers);

    if (h == NULL)
        return NULL;
    ngx_memzero(h, sizeof(*h));
    h->hash = 1;
    h->key = *name;
    h->value = *value;
    return h;
}

ngx_int_t realm_auth_refuse(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    static const ngx_str_t www_authenticate = ngx_string("WWW-Authenticate");
    ngx_int_t code = gate_verdict_code(ctx->status);

    ctx->refused = 1;
    if (code != NGX_HTTP_UNAUTHORIZED)
        return code;
    /* NGINX takes it back when `satisfy any` lets the request in. */
    r->headers_out.www_authenticate =
        realm_auth_refusal_add_header(r, &www_authenticate, &realm_auth_conf(r)->www_authenticate);
    return r->headers_out.www_authenticate != NULL ? code : NGX_HTTP_INTERNAL_SERVER_ERROR;
}

/* ---- filters ---- */

/* The context whose refusal NGINX is about to send a page for, or NULL. */
static realm_auth_ctx_t *refusal(ngx_http_request_t *r)
{
    realm_auth_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_realm_auth_module);

    return ctx != NULL && ctx->refused &&
                   r->err_status == (ngx_uint_t)gate_verdict_code(ctx->status)
               ? ctx
               : NULL;
}

/* gRPC clients look at a status of their own. */
static ngx_int_t add_grpc_status(ngx_http_request_t *r, enum gate_verdict status)
{
    static const ngx_str_t names[] = {ngx_string("grpc-status"), ngx_string("grpc-message")};
    struct gate_grpc grpc = gate_grpc_of(status);
    ngx_str_t number = realm_auth_str(grpc.status);
    ngx_str_t text = realm_auth_str(grpc.message);

    if (realm_auth_refusal_add_header(r, &names[0], &number) == NULL ||
        realm_auth_refusal_add_header(r, &names[1], &text) == NULL)
        return NGX_ERROR;
    return NGX_OK;
}

static ngx_int_t make_body(ngx_http_request_t *r, realm_auth_ctx_t *ctx, enum gate_format format)
{
    static ngx_str_t name = ngx_string("request_id");
    const realm_auth_anonymous_t *anonymous = realm_auth_conf(r)->anonymous;
    const ngx_http_variable_value_t *id =
        ngx_http_get_variable(r, &name, ngx_hash_key(name.data, name.len));
    struct gate_refusal refusal = {.verdict = ctx->status, .format = format};
    ngx_buf_t *buf;

    if (id == NULL || id->not_found)
        return NGX_ERROR;
    refusal.request_id = (struct gate_text){(const char *)id->data, id->len};
    if (anonymous != NULL)
        refusal.anonymous = realm_auth_text(&anonymous->name);
    buf = ngx_create_temp_buf(r->pool, gate_refusal_body(&refusal, NULL));
    if (buf == NULL)
        return NGX_ERROR;
    buf->last += gate_refusal_body(&refusal, (char *)buf->last);
    buf->last_buf = r == r->main;
    buf->last_in_chain = 1;
    r->headers_out.content_length_n = buf->last - buf->pos;
    ctx->answer_body = buf;
    return NGX_OK;
}

static void set_content_type(ngx_http_request_t *r, struct gate_text type)
{
    const char *end = memchr(type.data, ';', type.size);

    r->headers_out.content_type = realm_auth_str(type);
    /* Up to the parameters, so that NGINX adds no second charset. */
    r->headers_out.content_type_len = end != NULL ? (size_t)(end - type.data) : type.size;
    r->headers_out.content_type_lowcase = NULL;
}

static ngx_int_t header_filter(ngx_http_request_t *r)
{
    realm_auth_ctx_t *ctx = refusal(r);
    enum gate_format format;
    ngx_int_t rc;

    if (ctx == NULL || ctx->answer_body != NULL)
        return next_header_filter(r);
    format = choose_format(r);
    if (format == GATE_FORMAT_GRPC) {
        rc = add_grpc_status(r, ctx->status);
        r->header_only = 1;
        r->headers_out.content_length_n = -1;
    } else {
        rc = make_body(r, ctx, format);
    }
    set_content_type(r, gate_content_type(format));
    return rc == NGX_OK ? next_header_filter(r) : NGX_ERROR;
}

static ngx_int_t body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    realm_auth_ctx_t *ctx = in != NULL ? refusal(r) : NULL;
    ngx_chain_t out;

    if (ctx == NULL || ctx->answer_body == NULL)
        return next_body_filter(r, in);
    for (ngx_chain_t *link = in; link != NULL; link = link->next)
        link->buf->pos = link->buf->last; /* NGINX's page is not sent */
    out.buf = ctx->answer_body;
    out.next = NULL;
    ctx->refused = 0;
    return next_body_filter(r, &out);
}

ngx_int_t realm_auth_init_filters(ngx_conf_t *cf)
{
    (void)cf;
    next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = header_filter;
    next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = body_filter;
    return NGX_OK;
}

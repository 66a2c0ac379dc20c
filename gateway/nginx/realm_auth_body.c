/* realm_auth_body.c - keys in request bodies: forms and JSON objects.
 *
 * NGINX reads the body, into memory up to client_body_buffer_size and into a temporary file beyond,
 * while other requests go on. A body that is no form and no JSON, does not parse, or is larger than
 * realm_auth_body_max_size holds no key. Where keys are to be hidden, one that cannot be searched
 * goes nowhere.
 */
#include "realm_auth.h"

typedef enum { BODY_OTHER, BODY_FORM, BODY_JSON } body_kind_t;

static body_kind_t kind_of(ngx_http_request_t *r)
{
    static const struct {
        ngx_str_t type;
        body_kind_t kind;
    } known[] = {
        {ngx_string("application/x-www-form-urlencoded"), BODY_FORM},
        {ngx_string("application/json"), BODY_JSON},
    };
    const ngx_table_elt_t *type = r->headers_in.content_type;

    for (ngx_uint_t i = 0; type != NULL && i < sizeof(known) / sizeof(known[0]); i++) {
        if (type->value.len >= known[i].type.len &&
            ngx_strncasecmp(type->value.data, known[i].type.data, known[i].type.len) == 0)
            return known[i].kind;
    }
    return BODY_OTHER;
}

static ngx_uint_t is_said_too_large(ngx_http_request_t *r)
{
    return r->headers_in.content_length_n > (off_t)realm_auth_conf(r)->body_max_size;
}

ngx_uint_t realm_auth_body_is_wanted(ngx_http_request_t *r, const realm_auth_ctx_t *ctx)
{
    return realm_auth_conf(r)->in_body && !ctx->body_is_read && kind_of(r) != BODY_OTHER &&
           !is_said_too_large(r) && (r->headers_in.content_length_n > 0 || r->headers_in.chunked);
}

/* ---- reading ---- */

static void on_body(ngx_http_request_t *r)
{
    realm_auth_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_realm_auth_module);

    ctx->waiting = 0;
    ctx->body_is_due = 0;
    ctx->body_is_read = 1;
    r->preserve_body = 1;
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}

ngx_int_t realm_auth_body_read(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    ngx_int_t rc;

    ctx->waiting = 1;
    ctx->body_is_due = (unsigned)realm_auth_conf(r)->hide_credentials & 1;
    rc = ngx_http_read_client_request_body(r, on_body);
    if (rc >= NGX_HTTP_SPECIAL_RESPONSE)
        return rc;
    ngx_http_finalize_request(r, NGX_DONE); /* gives back the reference that reading took */
    return NGX_DONE;
}

void realm_auth_body_forget_part(ngx_http_request_t *r)
{
    const realm_auth_ctx_t *ctx = realm_auth_ctx(r);

    if (ctx != NULL && ctx->body_is_due && r->request_body != NULL)
        r->request_body->bufs = NULL;
}

static off_t body_size(const ngx_http_request_t *r)
{
    off_t size = 0;

    if (r->request_body == NULL)
        return 0;
    for (const ngx_chain_t *link = r->request_body->bufs; link != NULL; link = link->next)
        size += ngx_buf_size(link->buf);
    return size;
}

static u_char *append_buf(u_char *out, const ngx_buf_t *buf)
{
    size_t size = (size_t)ngx_buf_size(buf);

    if (size == 0)
        return out; /* a mark alone: of the end, after chunks */
    if (ngx_buf_in_memory(buf))
        return ngx_cpymem(out, buf->pos, size);
    return ngx_read_file(buf->file, out, size, buf->file_pos) == (ssize_t)size ? out + size : NULL;
}

/* The body in one piece. Empty: there is none, or it is too large. */
static ngx_int_t body_text(ngx_http_request_t *r, ngx_str_t *ret)
{
    off_t size = body_size(r);
    u_char *out;

    ngx_str_null(ret);
    if (size == 0 || size > (off_t)realm_auth_conf(r)->body_max_size)
        return NGX_OK;
    out = ngx_pnalloc(r->pool, (size_t)size);
    if (out == NULL)
        return NGX_ERROR;
    ret->data = out;
    ret->len = (size_t)size;
    for (const ngx_chain_t *link = r->request_body->bufs; link != NULL; link = link->next) {
        out = append_buf(out, link->buf);
        if (out == NULL)
            return NGX_ERROR; /* NGINX has logged why */
    }
    return NGX_OK;
}

/* ---- searching and hiding ---- */

/* Has ctx->body_text. NGX_DECLINED: there is none to look at. */
static ngx_int_t need_text(ngx_http_request_t *r, realm_auth_ctx_t *ctx)
{
    if (!ctx->body_is_read)
        return NGX_DECLINED;
    if (ctx->body_text.data == NULL && body_text(r, &ctx->body_text) != NGX_OK)
        return NGX_ERROR;
    return ctx->body_text.len > 0 ? NGX_OK : NGX_DECLINED;
}

ngx_int_t realm_auth_body_find(ngx_http_request_t *r, realm_auth_ctx_t *ctx, struct gate_text name,
                               enum gate_value *ret_kind, ngx_str_t *ret)
{
    ngx_int_t rc = need_text(r, ctx);

    *ret_kind = GATE_VALUE_NONE;
    if (rc != NGX_OK)
        return rc == NGX_DECLINED ? NGX_OK : rc;
    if (kind_of(r) == BODY_FORM)
        return realm_auth_args_find(r->pool, &ctx->body_text, name, ret_kind, ret);
    return realm_auth_json_find(r->pool, &ctx->body_text, name, ret_kind, ret);
}

/* A subrequest has its parent's body, which stays as it is. */
static ngx_int_t own_body(ngx_http_request_t *r)
{
    ngx_http_request_body_t *own;

    if (r == r->main)
        return NGX_OK;
    own = ngx_palloc(r->pool, sizeof(*own));
    if (own == NULL)
        return NGX_ERROR;
    *own = *r->request_body;
    r->request_body = own;
    return NGX_OK;
}

static ngx_int_t replace_body(ngx_http_request_t *r, const ngx_str_t *text)
{
    ngx_chain_t *link = ngx_alloc_chain_link(r->pool);
    ngx_buf_t *buf = ngx_calloc_buf(r->pool);

    if (link == NULL || buf == NULL || own_body(r) != NGX_OK)
        return NGX_ERROR;
    buf->start = buf->pos = text->data;
    buf->end = buf->last = text->data + text->len;
    buf->temporary = 1;
    buf->last_buf = 1;
    link->buf = buf;
    link->next = NULL;
    r->request_body->bufs = text->len > 0 ? link : NULL;
    r->request_body->buf = buf;
    r->request_body->temp_file = NULL; /* closed and deleted with the request */
    r->headers_in.content_length_n = (off_t)text->len;
    return NGX_OK;
}

/* Whether a text that is no JSON may be taken for some that holds a key: it has a key's name, or
 * an escape in which one may be. */
static ngx_uint_t may_hold_key(const ngx_str_t *text, struct gate_names names)
{
    static u_char escape[] = "\\u";

    if (ngx_strlcasestrn(text->data, text->data + text->len, escape, sizeof(escape) - 2) != NULL)
        return 1;
    for (size_t i = 0; i < names.n; i++) {
        ngx_str_t name = realm_auth_str(names.list[i]);

        if (ngx_strlcasestrn(text->data, text->data + text->len, name.data, name.len - 1) != NULL)
            return 1;
    }
    return 0;
}

/* $request_body has it no more, either. */
static ngx_int_t refuse_body(ngx_http_request_t *r, ngx_int_t code, const char *why)
{
    ngx_str_t nothing = ngx_null_string;

    if (r->request_body != NULL && replace_body(r, &nothing) != NGX_OK)
        return NGX_ERROR;
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "realm_auth: keys cannot be hidden in a body that %s", why);
    return code;
}

ngx_int_t realm_auth_body_hide(ngx_http_request_t *r, realm_auth_ctx_t *ctx,
                               struct gate_names names)
{
    static const char too_large[] = "is larger than realm_auth_body_max_size";
    ngx_str_t edited;
    ngx_int_t rc;

    if (!realm_auth_conf(r)->in_body || kind_of(r) == BODY_OTHER)
        return NGX_OK;
    if (realm_auth_body_is_wanted(r, ctx))
        return NGX_AGAIN;
    if ((r == r->main && is_said_too_large(r)) ||
        body_size(r) > (off_t)realm_auth_conf(r)->body_max_size)
        return refuse_body(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, too_large);
    rc = need_text(r, ctx);
    if (rc != NGX_OK)
        return rc == NGX_DECLINED ? NGX_OK : rc;
    rc = kind_of(r) == BODY_FORM ? realm_auth_args_cut(r->pool, &ctx->body_text, names, &edited)
                                 : realm_auth_json_cut(r->pool, &ctx->body_text, names, &edited);
    if (rc == NGX_DECLINED)
        return may_hold_key(&ctx->body_text, names)
                   ? refuse_body(r, NGX_HTTP_BAD_REQUEST, "is no JSON, as its type says")
                   : NGX_OK;
    if (rc != NGX_OK || edited.data == ctx->body_text.data || ctx->body_edited)
        return rc;
    ctx->body_edited = 1;
    return replace_body(r, &edited);
}

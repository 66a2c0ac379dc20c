/* realm_auth_refusal.c - saying no in the client's language, word for word as Kong does.
 *
 * The access phase returns a code, as NGINX's own access modules do, so that satisfy, auth_delay
 * and error_page work. When NGINX then sends its page for the code, the filters put our body in its
 * place. An error_page of the user leads to an internal redirect, which makes NGINX forget the
 * context, and so the filters leave it alone.
 */
#include "realm_auth.h"

static ngx_http_output_header_filter_pt next_header_filter;
static ngx_http_output_body_filter_pt next_body_filter;

/* ---- what to say ---- */

typedef enum {
    FORMAT_JSON,
    FORMAT_HTML,
    FORMAT_XML,
    FORMAT_PLAIN,
    FORMAT_GRPC, /* no body, but headers */
    FORMATS
} format_t;

static const struct {
    ngx_str_t content_type;
    /* Around the message and the request's id. */
    const char *before;
    const char *between;
    const char *after;
} formats[FORMATS] = {
    [FORMAT_JSON] = {ngx_string("application/json; charset=utf-8"), "{\n  \"message\":\"",
                     "\",\n  \"request_id\":\"", "\"\n}"},
    [FORMAT_HTML] = {ngx_string("text/html; charset=utf-8"),
                     "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n"
                     "    <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n    <p>",
                     ".</p>\n    <p>request_id: ", "</p>\n  </body>\n</html>\n"},
    [FORMAT_XML] = {ngx_string("application/xml; charset=utf-8"),
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>",
                    "</message>\n  <requestid>", "</requestid>\n</error>\n"},
    [FORMAT_PLAIN] = {ngx_string("text/plain; charset=utf-8"), "", "\nrequest_id: ", "\n"},
    [FORMAT_GRPC] = {ngx_string("application/grpc"), NULL, NULL, NULL},
};

ngx_int_t realm_auth_code(realm_auth_status_t status)
{
    switch (status) {
    case REALM_AUTH_MISSING:
    case REALM_AUTH_DUPLICATE:
    case REALM_AUTH_UNKNOWN:
    case REALM_AUTH_STALE_DENIED:
        return NGX_HTTP_UNAUTHORIZED;
    case REALM_AUTH_FORBIDDEN:
        return NGX_HTTP_FORBIDDEN;
    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}

static const char *message_of(realm_auth_status_t status)
{
    switch (status) {
    case REALM_AUTH_MISSING:
        return "No API key found in request";
    case REALM_AUTH_DUPLICATE:
        return "Duplicate API key found";
    case REALM_AUTH_UNKNOWN:
    case REALM_AUTH_STALE_DENIED:
        return "Unauthorized";
    case REALM_AUTH_FORBIDDEN:
        return "You cannot consume this service";
    default:
        return "An unexpected error occurred";
    }
}

/* ---- the client's language ---- */

/* One media range of Accept, without parameters, and its quality in thousandths. */
typedef struct {
    ngx_str_t type;
    ngx_uint_t quality;
} media_range_t;

static void trim(ngx_str_t *text)
{
    while (text->len > 0 && (text->data[0] == ' ' || text->data[0] == '\t')) {
        text->data++;
        text->len--;
    }
    while (text->len > 0 && (text->data[text->len - 1] == ' ' || text->data[text->len - 1] == '\t'))
        text->len--;
}

/* Takes the text before the first `separator` off the front of *rest; 0 at the end. */
static ngx_uint_t next_part(ngx_str_t *rest, u_char separator, ngx_str_t *ret)
{
    u_char *end;

    if (rest->len == 0)
        return 0;
    end = ngx_strlchr(rest->data, rest->data + rest->len, separator);
    ret->data = rest->data;
    ret->len = end != NULL ? (size_t)(end - rest->data) : rest->len;
    rest->data += ret->len + (end != NULL);
    rest->len -= ret->len + (end != NULL);
    trim(ret);
    return 1;
}

/* "1", "0.5", ... in thousandths; what is no quality counts as 1. */
static ngx_uint_t read_quality(const ngx_str_t *text)
{
    ngx_int_t thousandths = ngx_atofp(text->data, text->len, 3);

    return thousandths >= 0 && thousandths <= 1000 ? (ngx_uint_t)thousandths : 1000;
}

static void read_media_range(ngx_str_t range, media_range_t *ret)
{
    ngx_str_t parameter;

    ret->quality = 1000;
    ngx_str_null(&ret->type);
    (void)next_part(&range, ';', &ret->type);
    while (next_part(&range, ';', &parameter)) {
        ngx_str_t name;

        if (next_part(&parameter, '=', &name) && name.len == 1 &&
            ngx_tolower(name.data[0]) == 'q') {
            trim(&parameter);
            ret->quality = read_quality(&parameter);
        }
    }
}

static format_t format_of(const ngx_str_t *type)
{
    static const struct {
        ngx_str_t type;
        format_t format;
    } known[] = {
        {ngx_string("text/html"), FORMAT_HTML},
        {ngx_string("application/xml"), FORMAT_XML},
        {ngx_string("text/plain"), FORMAT_PLAIN},
        {ngx_string("text/*"), FORMAT_PLAIN},
    };

    for (ngx_uint_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (type->len == known[i].type.len &&
            ngx_strncasecmp(type->data, known[i].type.data, type->len) == 0)
            return known[i].format;
    }
    return FORMAT_JSON;
}

static void weigh_accept(ngx_str_t accept, ngx_uint_t *best, format_t *ret)
{
    ngx_str_t part;

    while (next_part(&accept, ',', &part)) {
        media_range_t range;

        read_media_range(part, &range);
        if (ngx_strlchr(range.type.data, range.type.data + range.type.len, '/') != NULL &&
            range.quality > *best) {
            *best = range.quality;
            *ret = format_of(&range.type);
        }
    }
}

static ngx_uint_t is_grpc(ngx_http_request_t *r)
{
    static const ngx_str_t grpc = ngx_string("application/grpc");
    const ngx_table_elt_t *type = r->headers_in.content_type;

    return r->http_version == NGX_HTTP_VERSION_20 && type != NULL && type->value.len >= grpc.len &&
           ngx_strncasecmp(type->value.data, grpc.data, grpc.len) == 0;
}

/* The media range of the highest quality decides, the first of equals. */
static format_t choose_format(ngx_http_request_t *r)
{
    static const ngx_str_t accept = ngx_string("accept");
    format_t format = FORMAT_JSON;
    ngx_uint_t best = 0;

    if (is_grpc(r))
        return FORMAT_GRPC;
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (realm_auth_key_is_header(&headers[i].key, &accept))
                weigh_accept(headers[i].value, &best, &format);
        }
    }
    return format;
}

/* ---- refusing ---- */

static ngx_table_elt_t *add_header(ngx_http_request_t *r, const ngx_str_t *name,
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
    ngx_int_t code = realm_auth_code(ctx->status);

    ctx->refused = 1;
    if (code != NGX_HTTP_UNAUTHORIZED)
        return code;
    /* NGINX takes it back when `satisfy any` lets the request in. */
    r->headers_out.www_authenticate =
        add_header(r, &www_authenticate, &realm_auth_conf(r)->www_authenticate);
    return r->headers_out.www_authenticate != NULL ? code : NGX_HTTP_INTERNAL_SERVER_ERROR;
}

/* ---- filters ---- */

/* The context whose refusal NGINX is about to send a page for, or NULL. */
static realm_auth_ctx_t *refusal(ngx_http_request_t *r)
{
    realm_auth_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_realm_auth_module);

    return ctx != NULL && ctx->refused && r->err_status == (ngx_uint_t)realm_auth_code(ctx->status)
               ? ctx
               : NULL;
}

/* gRPC clients look at a status of their own; the texts are those of the codes. */
static ngx_int_t add_grpc_status(ngx_http_request_t *r, ngx_int_t code)
{
    static const ngx_str_t names[] = {ngx_string("grpc-status"), ngx_string("grpc-message")};
    static const ngx_str_t unauthenticated[] = {ngx_string("16"), ngx_string("Unauthenticated")};
    static const ngx_str_t permission[] = {ngx_string("7"), ngx_string("PermissionDenied")};
    static const ngx_str_t internal[] = {ngx_string("13"), ngx_string("Internal")};
    const ngx_str_t *values = code == NGX_HTTP_UNAUTHORIZED ? unauthenticated
                              : code == NGX_HTTP_FORBIDDEN  ? permission
                                                            : internal;

    for (ngx_uint_t i = 0; i < 2; i++) {
        if (add_header(r, &names[i], &values[i]) == NULL)
            return NGX_ERROR;
    }
    return NGX_OK;
}

/* A name out of the configuration, as it may stand in the format. */
static ngx_int_t escape(ngx_pool_t *pool, format_t format, const ngx_str_t *text, ngx_str_t *ret)
{
    uintptr_t more = 0;

    *ret = *text;
    if (format == FORMAT_PLAIN)
        return NGX_OK;
    more = format == FORMAT_JSON ? ngx_escape_json(NULL, text->data, text->len)
                                 : ngx_escape_html(NULL, text->data, text->len);
    ret->data = ngx_pnalloc(pool, text->len + more);
    if (ret->data == NULL)
        return NGX_ERROR;
    ret->len = text->len + more;
    (void)(format == FORMAT_JSON ? ngx_escape_json(ret->data, text->data, text->len)
                                 : ngx_escape_html(ret->data, text->data, text->len));
    return NGX_OK;
}

static ngx_int_t make_message(ngx_http_request_t *r, const realm_auth_ctx_t *ctx, format_t format,
                              ngx_str_t *ret)
{
    static const char missing[] = "anonymous consumer %V is configured but doesn't exist";
    ngx_str_t name;

    if (ctx->status != REALM_AUTH_NO_ANONYMOUS) {
        ret->data = (u_char *)(uintptr_t)message_of(ctx->status);
        ret->len = ngx_strlen(ret->data);
        return NGX_OK;
    }
    if (escape(r->pool, format, &realm_auth_conf(r)->anonymous->name, &name) != NGX_OK)
        return NGX_ERROR;
    ret->data = ngx_pnalloc(r->pool, sizeof(missing) + name.len);
    if (ret->data == NULL)
        return NGX_ERROR;
    ret->len = (size_t)(ngx_sprintf(ret->data, missing, &name) - ret->data);
    return NGX_OK;
}

static ngx_int_t make_body(ngx_http_request_t *r, realm_auth_ctx_t *ctx, format_t format)
{
    static ngx_str_t name = ngx_string("request_id");
    ngx_str_t message;
    ngx_http_variable_value_t *id =
        ngx_http_get_variable(r, &name, ngx_hash_key(name.data, name.len));
    size_t size;

    if (id == NULL || id->not_found || make_message(r, ctx, format, &message) != NGX_OK)
        return NGX_ERROR;
    size = ngx_strlen(formats[format].before) + message.len + ngx_strlen(formats[format].between) +
           id->len + ngx_strlen(formats[format].after);
    ctx->answer_body = ngx_create_temp_buf(r->pool, size);
    if (ctx->answer_body == NULL)
        return NGX_ERROR;
    ctx->answer_body->last = ngx_slprintf(ctx->answer_body->last, ctx->answer_body->end,
                                          "%s%V%s%v%s", formats[format].before, &message,
                                          formats[format].between, id, formats[format].after);
    ctx->answer_body->last_buf = r == r->main;
    ctx->answer_body->last_in_chain = 1;
    r->headers_out.content_length_n = ctx->answer_body->last - ctx->answer_body->pos;
    return NGX_OK;
}

static void set_content_type(ngx_http_request_t *r, const ngx_str_t *type)
{
    const u_char *end = ngx_strlchr(type->data, type->data + type->len, ';');

    r->headers_out.content_type = *type;
    /* Up to the parameters, so that NGINX adds no second charset. */
    r->headers_out.content_type_len = end != NULL ? (size_t)(end - type->data) : type->len;
    r->headers_out.content_type_lowcase = NULL;
}

static ngx_int_t header_filter(ngx_http_request_t *r)
{
    realm_auth_ctx_t *ctx = refusal(r);
    format_t format;
    ngx_int_t rc;

    if (ctx == NULL || ctx->answer_body != NULL)
        return next_header_filter(r);
    format = choose_format(r);
    if (format == FORMAT_GRPC) {
        rc = add_grpc_status(r, realm_auth_code(ctx->status));
        r->header_only = 1;
        r->headers_out.content_length_n = -1;
    } else {
        rc = make_body(r, ctx, format);
    }
    set_content_type(r, &formats[format].content_type);
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

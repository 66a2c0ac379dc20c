/* realm_auth_headers.c - the request headers that tell the upstream who is asking.
 *
 * The list of request headers is written anew: NGINX cannot take one out, a subrequest shares its
 * parent's list, and pointers into the old one stay good. Names are compared as a CGI-like upstream
 * would fold them, so that X_Consumer_ID does not pass for X-Consumer-ID.
 */
#include "realm_auth.h"

#include <assert.h>
#include <nginx.h>

enum { NAME_SIZE = 32 }; /* of the longest */

static struct {
    u_char lowcase[NAME_SIZE];
    ngx_uint_t hash;              /* of it */
} identity_headers[GATE_HEADERS]; /* realm_auth_init_headers() */

void realm_auth_init_headers(void)
{
    for (int i = 0; i < GATE_HEADERS; i++) {
        ngx_str_t name = realm_auth_str(gate_header_name((enum gate_header)i));

        assert(name.len < NAME_SIZE);
        identity_headers[i].hash =
            ngx_hash_strlow(identity_headers[i].lowcase, name.data, name.len);
    }
}

static ngx_uint_t is_dropped(const realm_auth_ctx_t *ctx, const ngx_str_t *name)
{
    struct gate_text text = realm_auth_text(name);

    return gate_header_says_who(text) || (ctx->hidden && gate_header_is_key(text, *ctx->key_name));
}

/* A value from the store may hold what must not stand in a header: percent-encode it. */
static ngx_int_t escape(ngx_pool_t *pool, const ngx_str_t *value, ngx_str_t *ret)
{
    size_t n = gate_value_escapes(realm_auth_text(value));

    *ret = *value;
    if (n == 0)
        return NGX_OK;
    ret->data = ngx_pnalloc(pool, value->len + 2 * n + 1);
    if (ret->data == NULL)
        return NGX_ERROR;
    ret->len = gate_value_escape(realm_auth_text(value), (char *)ret->data);
    ret->data[ret->len] = '\0';
    return NGX_OK;
}

static ngx_int_t add_header(ngx_pool_t *pool, ngx_list_t *list, enum gate_header header,
                            const ngx_str_t *value)
{
    ngx_table_elt_t *h;

    if (value->len == 0)
        return NGX_OK;
    h = ngx_list_push(list);
    if (h == NULL)
        return NGX_ERROR;
    ngx_memzero(h, sizeof(*h));
    h->key = realm_auth_str(gate_header_name(header));
    h->lowcase_key = identity_headers[header].lowcase;
    h->hash = identity_headers[header].hash;
    return escape(pool, value, &h->value);
}

static ngx_uint_t is_anonymous(const realm_auth_ctx_t *ctx)
{
    return ctx->status == GATE_ANONYMOUS;
}

static ngx_int_t add_identity(ngx_pool_t *pool, ngx_list_t *list, const realm_auth_ctx_t *ctx)
{
    static const ngx_str_t yes = ngx_string("true");
    static const ngx_str_t no = ngx_null_string;
    const realm_auth_consumer_t *consumer = &ctx->consumer;

    if (add_header(pool, list, GATE_HEADER_ID, &consumer->id) != NGX_OK ||
        add_header(pool, list, GATE_HEADER_USERNAME, &consumer->username) != NGX_OK ||
        add_header(pool, list, GATE_HEADER_CUSTOM_ID, &consumer->custom_id) != NGX_OK ||
        add_header(pool, list, GATE_HEADER_CREDENTIAL, &consumer->credential_id) != NGX_OK ||
        add_header(pool, list, GATE_HEADER_ANONYMOUS, is_anonymous(ctx) ? &yes : &no) != NGX_OK ||
        add_header(pool, list, GATE_HEADER_GROUPS, &consumer->groups_text) != NGX_OK)
        return NGX_ERROR;
    return NGX_OK;
}

static ngx_uint_t count(const ngx_list_t *list)
{
    ngx_uint_t n = 0;

    for (const ngx_list_part_t *part = &list->part; part != NULL; part = part->next)
        n += part->nelts;
    return n;
}

/* The body was edited: Content-Length says so. */
static ngx_int_t correct_length(ngx_http_request_t *r, ngx_table_elt_t *h)
{
    if (!gate_text_is_nocase(realm_auth_text(&h->key), GATE_TEXT("content-length")))
        return NGX_OK;
    h->value.data = ngx_pnalloc(r->pool, NGX_OFF_T_LEN + 1);
    if (h->value.data == NULL)
        return NGX_ERROR;
    h->value.len =
        (size_t)(ngx_sprintf(h->value.data, "%O", r->headers_in.content_length_n) - h->value.data);
    h->value.data[h->value.len] = '\0';
    r->headers_in.content_length = h;
    return NGX_OK;
}

/* A key may have come in a header to which NGINX keeps a pointer, for $http_authorization. */
static void forget_header(ngx_http_request_t *r, const ngx_table_elt_t *h)
{
    if (r->headers_in.authorization == h)
        r->headers_in.authorization = NULL;
}

static ngx_int_t copy_others(ngx_http_request_t *r, ngx_list_t *list, const realm_auth_ctx_t *ctx)
{
    for (const ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL;
         part = part->next) {
        const ngx_table_elt_t *headers = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            ngx_table_elt_t *h;

            if (is_dropped(ctx, &headers[i].key)) {
                forget_header(r, &headers[i]);
                continue;
            }
            h = ngx_list_push(list);
            if (h == NULL)
                return NGX_ERROR;
            *h = headers[i];
            if (ctx->body_edited && correct_length(r, h) != NGX_OK)
                return NGX_ERROR;
        }
    }
    return NGX_OK;
}

#if nginx_version >= 1023000
/* Since then headers of one name are chained; the copies' chains must lead to copies. */
static void chain_repeated(ngx_list_t *list)
{
    ngx_table_elt_t *headers = list->part.elts; /* all of them: the list was made large enough */

    for (ngx_uint_t i = 0; i < list->part.nelts; i++) {
        ngx_uint_t wanted = headers[i].next != NULL;

        headers[i].next = NULL;
        for (ngx_uint_t j = i + 1; wanted && j < list->part.nelts; j++) {
            if (headers[j].hash == headers[i].hash && headers[j].key.len == headers[i].key.len &&
                ngx_strncasecmp(headers[j].key.data, headers[i].key.data, headers[i].key.len) ==
                    0) {
                headers[i].next = &headers[j];
                break;
            }
        }
    }
}
#endif

ngx_int_t realm_auth_headers_set(ngx_http_request_t *r, const realm_auth_ctx_t *ctx)
{
    ngx_list_t list;

    if (ngx_list_init(&list, r->pool, count(&r->headers_in.headers) + GATE_HEADERS,
                      sizeof(ngx_table_elt_t)) != NGX_OK ||
        copy_others(r, &list, ctx) != NGX_OK || add_identity(r->pool, &list, ctx) != NGX_OK)
        return NGX_ERROR;
#if nginx_version >= 1023000
    chain_repeated(&list);
#endif
    r->headers_in.headers = list;
    if (r->headers_in.headers.last == &list.part)
        r->headers_in.headers.last = &r->headers_in.headers.part;
    return NGX_OK;
}

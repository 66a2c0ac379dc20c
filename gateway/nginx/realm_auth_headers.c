/* realm_auth_headers.c - the request's headers: those that tell the upstream who is asking, and
 * those with keys.
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

/* A value from the store may hold what must not stand in a header: percent-encode it. */
static ngx_int_t escape(ngx_pool_t *pool, const ngx_str_t *value, ngx_str_t *ret)
{
    *ret = *value;
    if (gate_value_is_plain(realm_auth_text(value), false))
        return NGX_OK;
    ret->data = ngx_pnalloc(pool, GATE_ESCAPED_SIZE * value->len + 1);
    if (ret->data == NULL)
        return NGX_ERROR;
    ret->len = gate_value_escape(realm_auth_text(value), false, (char *)ret->data);
    ret->data[ret->len] = '\0';
    return NGX_OK;
}

static ngx_int_t realm_auth_headers_add_header(ngx_pool_t *pool, ngx_list_t *list,
                                               enum gate_header header, const ngx_str_t *value)
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

    if (realm_auth_headers_add_header(pool, list, GATE_HEADER_ID, &consumer->id) != NGX_OK ||
        realm_auth_headers_add_header(pool, list, GATE_HEADER_USERNAME, &consumer->username) !=
            NGX_OK ||
        realm_auth_headers_add_header(pool, list, GATE_HEADER_CUSTOM_ID, &consumer->custom_id) !=
            NGX_OK ||
        realm_auth_headers_add_header(pool, list, GATE_HEADER_CREDENTIAL,
                                      &consumer->credential_id) != NGX_OK ||
        realm_auth_headers_add_header(pool, list, GATE_HEADER_ANONYMOUS,
                                      is_anonymous(ctx) ? &yes : &no) != NGX_OK ||
        realm_auth_headers_add_header(pool, list, GATE_HEADER_GROUPS, &consumer->groups_text) !=
            NGX_OK)
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

/* ---- the list, written anew ---- */

static ngx_int_t begin_list(ngx_http_request_t *r, ngx_list_t *list, ngx_uint_t more)
{
    return ngx_list_init(list, r->pool, count(&r->headers_in.headers) + more,
                         sizeof(ngx_table_elt_t));
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

static void end_list(ngx_http_request_t *r, const ngx_list_t *list)
{
    r->headers_in.headers = *list;
    if (list->last == &list->part)
        r->headers_in.headers.last = &r->headers_in.headers.part;
#if nginx_version >= 1023000
    chain_repeated(&r->headers_in.headers);
#endif
}

/* Appends a copy. NGINX keeps pointers to some headers, for its variables and its error log. */
static ngx_table_elt_t *append(ngx_http_request_t *r, ngx_list_t *list, ngx_table_elt_t *h)
{
    ngx_table_elt_t *copy = ngx_list_push(list);

    if (copy == NULL)
        return NULL;
    *copy = *h;
    if (r->headers_in.referer == h)
        r->headers_in.referer = copy;
    if (r->headers_in.authorization == h)
        r->headers_in.authorization = copy;
    return copy;
}

ngx_int_t realm_auth_headers_set(ngx_http_request_t *r, const realm_auth_ctx_t *ctx)
{
    ngx_list_t list;

    if (begin_list(r, &list, GATE_HEADERS) != NGX_OK)
        return NGX_ERROR;
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            ngx_table_elt_t *h;

            if (gate_header_says_who(realm_auth_text(&headers[i].key)))
                continue;
            h = append(r, &list, &headers[i]);
            if (h == NULL || (ctx->body_edited && correct_length(r, h) != NGX_OK))
                return NGX_ERROR;
        }
    }
    if (add_identity(r->pool, &list, ctx) != NGX_OK)
        return NGX_ERROR;
    end_list(r, &list);
    return NGX_OK;
}

/* ---- headers with keys ---- */

static ngx_uint_t is_key(const ngx_table_elt_t *h, struct gate_names names)
{
    for (size_t i = 0; i < names.n; i++) {
        if (gate_header_may_be_key(realm_auth_text(&h->key), names.list[i]))
            return 1;
    }
    return 0;
}

static ngx_uint_t is_telling_referer(const ngx_table_elt_t *h, struct gate_names names)
{
    return gate_text_is_nocase(realm_auth_text(&h->key), GATE_TEXT("referer")) &&
           realm_auth_uri_has(&h->value, names);
}

ngx_uint_t realm_auth_headers_have(ngx_http_request_t *r, struct gate_names names)
{
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        const ngx_table_elt_t *headers = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (is_key(&headers[i], names) || is_telling_referer(&headers[i], names))
                return 1;
        }
    }
    return 0;
}

static ngx_int_t realm_auth_headers_take_header(ngx_http_request_t *r, realm_auth_taken_t *taken,
                                                const ngx_table_elt_t *h)
{
    ngx_table_elt_t *place;

    if (taken->headers.elts == NULL &&
        ngx_array_init(&taken->headers, r->pool, 1, sizeof(ngx_table_elt_t)) != NGX_OK)
        return NGX_ERROR;
    place = ngx_array_push(&taken->headers);
    if (place == NULL)
        return NGX_ERROR;
    *place = *h;
    if (r->headers_in.authorization == h)
        r->headers_in.authorization = NULL;
    return NGX_OK;
}

static ngx_int_t edit_referer(ngx_http_request_t *r, realm_auth_taken_t *taken, ngx_table_elt_t *h,
                              struct gate_names names)
{
    if (taken->referer.data == NULL && r->headers_in.referer == h)
        taken->referer = h->value;
    return realm_auth_uri_cut(r->pool, &h->value, names);
}

ngx_int_t realm_auth_headers_take(ngx_http_request_t *r, realm_auth_taken_t *taken,
                                  struct gate_names names)
{
    ngx_list_t list;

    if (!realm_auth_headers_have(r, names))
        return NGX_OK;
    if (begin_list(r, &list, 0) != NGX_OK)
        return NGX_ERROR;
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            ngx_table_elt_t *h;

            if (is_key(&headers[i], names)) {
                if (realm_auth_headers_take_header(r, taken, &headers[i]) != NGX_OK)
                    return NGX_ERROR;
                continue;
            }
            h = append(r, &list, &headers[i]);
            if (h == NULL ||
                (is_telling_referer(h, names) && edit_referer(r, taken, h, names) != NGX_OK))
                return NGX_ERROR;
        }
    }
    end_list(r, &list);
    return NGX_OK;
}

static ngx_int_t append_taken(ngx_http_request_t *r, ngx_list_t *list, realm_auth_taken_t *taken)
{
    ngx_table_elt_t *headers = taken->headers.elts;

    for (ngx_uint_t i = 0; i < taken->headers.nelts; i++) {
        ngx_table_elt_t *h = append(r, list, &headers[i]);

        if (h == NULL)
            return NGX_ERROR;
        if (r->headers_in.authorization == NULL &&
            gate_text_is_nocase(realm_auth_text(&h->key), GATE_TEXT("authorization")))
            r->headers_in.authorization = h;
    }
    taken->headers.nelts = 0;
    return NGX_OK;
}

ngx_int_t realm_auth_headers_put_back(ngx_http_request_t *r, realm_auth_taken_t *taken)
{
    ngx_list_t list;

    if (taken->referer.data != NULL && r->headers_in.referer != NULL)
        r->headers_in.referer->value = taken->referer;
    ngx_str_null(&taken->referer);
    if (taken->headers.nelts == 0)
        return NGX_OK;
    if (begin_list(r, &list, taken->headers.nelts) != NGX_OK)
        return NGX_ERROR;
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (append(r, &list, &headers[i]) == NULL)
                return NGX_ERROR;
        }
    }
    if (append_taken(r, &list, taken) != NGX_OK)
        return NGX_ERROR;
    end_list(r, &list);
    return NGX_OK;
}

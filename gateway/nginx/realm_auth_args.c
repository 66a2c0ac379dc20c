/* realm_auth_args.c - parameters in a query, a URI or a form body, in a pool's memory. */
#include "realm_auth.h"

ngx_int_t realm_auth_args_find(ngx_pool_t *pool, const ngx_str_t *args, struct gate_text name,
                               enum gate_value *ret_kind, ngx_str_t *ret)
{
    struct gate_text value;

    *ret_kind = gate_args_find(realm_auth_text(args), name, &value);
    if (*ret_kind != GATE_VALUE_STRING)
        return NGX_OK;
    ret->data = ngx_pnalloc(pool, value.size + 1);
    if (ret->data == NULL)
        return NGX_ERROR;
    ret->len = gate_args_decode(value, (char *)ret->data);
    return NGX_OK;
}

ngx_int_t realm_auth_args_cut(ngx_pool_t *pool, const ngx_str_t *args, struct gate_names names,
                              ngx_str_t *ret)
{
    *ret = *args;
    if (!gate_args_may_have(realm_auth_text(args), names))
        return NGX_OK;
    ret->data = ngx_pnalloc(pool, args->len);
    if (ret->data == NULL)
        return NGX_ERROR;
    ret->len = gate_args_others(realm_auth_text(args), names, (char *)ret->data);
    return NGX_OK;
}

/* A URI without its fragment, which no client should send, where that may hold a key. */
static struct gate_text without_fragment(const ngx_str_t *uri, struct gate_names names)
{
    struct gate_text text = realm_auth_text(uri);
    const char *hash = text.size > 0 ? memchr(text.data, '#', text.size) : NULL;
    struct gate_text fragment;

    if (hash == NULL)
        return text;
    fragment = (struct gate_text){hash, text.size - (size_t)(hash - text.data)};
    if (gate_redact_is_needed(fragment, names))
        text.size -= fragment.size;
    return text;
}

/* What follows the question mark. */
static struct gate_text query_of(struct gate_text uri)
{
    const char *question = uri.size > 0 ? memchr(uri.data, '?', uri.size) : NULL;

    if (question == NULL)
        return (struct gate_text){NULL, 0};
    return (struct gate_text){question + 1, uri.size - (size_t)(question + 1 - uri.data)};
}

ngx_uint_t realm_auth_uri_has(const ngx_str_t *uri, struct gate_names names)
{
    struct gate_text rest = without_fragment(uri, names);

    return rest.size < uri->len || gate_args_may_have(query_of(rest), names);
}

ngx_int_t realm_auth_uri_cut(ngx_pool_t *pool, ngx_str_t *uri, struct gate_names names)
{
    struct gate_text rest = without_fragment(uri, names);
    struct gate_text query = query_of(rest);
    size_t before = rest.size - query.size;
    u_char *p;
    size_t left;

    if (!realm_auth_uri_has(uri, names))
        return NGX_OK;
    p = ngx_pnalloc(pool, uri->len + 1);
    if (p == NULL)
        return NGX_ERROR;
    (void)ngx_cpymem(p, rest.data, before);
    left = gate_args_others(query, names, (char *)p + before);
    uri->data = p;
    /* no lonely question mark */
    uri->len = left > 0 || query.size == 0 ? before + left : before - 1;
    uri->data[uri->len] = '\0';
    return NGX_OK;
}

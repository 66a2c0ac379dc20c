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
    if (gate_args_count(realm_auth_text(args), names) == 0)
        return NGX_OK;
    ret->data = ngx_pnalloc(pool, args->len);
    if (ret->data == NULL)
        return NGX_ERROR;
    ret->len = gate_args_others(realm_auth_text(args), names, (char *)ret->data);
    return NGX_OK;
}

/* What follows the question mark. */
static struct gate_text query_of(const ngx_str_t *uri)
{
    struct gate_text text = realm_auth_text(uri);
    const char *question = text.size > 0 ? memchr(text.data, '?', text.size) : NULL;

    if (question == NULL)
        return (struct gate_text){NULL, 0};
    return (struct gate_text){question + 1, text.size - (size_t)(question + 1 - text.data)};
}

ngx_uint_t realm_auth_uri_has(const ngx_str_t *uri, struct gate_names names)
{
    return gate_args_count(query_of(uri), names) > 0;
}

ngx_int_t realm_auth_uri_cut(ngx_pool_t *pool, ngx_str_t *uri, struct gate_names names)
{
    struct gate_text query = query_of(uri);
    size_t before = uri->len - query.size;
    u_char *p;
    size_t left;

    if (!realm_auth_uri_has(uri, names))
        return NGX_OK;
    p = ngx_pnalloc(pool, uri->len + 1);
    if (p == NULL)
        return NGX_ERROR;
    (void)ngx_cpymem(p, uri->data, before);
    left = gate_args_others(query, names, (char *)p + before);
    uri->data = p;
    uri->len = left > 0 ? before + left : before - 1; /* no lonely question mark */
    uri->data[uri->len] = '\0';
    return NGX_OK;
}

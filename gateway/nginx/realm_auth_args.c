/* realm_auth_args.c - parameters in a query or a form body, in a pool's memory. */
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

typedef size_t (*edit_pt)(struct gate_text args, struct gate_text name, char *out);

static ngx_int_t edit_args(ngx_pool_t *pool, edit_pt edit, const ngx_str_t *args,
                           struct gate_text name, ngx_str_t *ret)
{
    size_t n = gate_args_count(realm_auth_text(args), name);

    *ret = *args;
    if (n == 0)
        return NGX_OK;
    ret->data = ngx_pnalloc(pool, args->len + n * GATE_MASK_SIZE);
    if (ret->data == NULL)
        return NGX_ERROR;
    ret->len = edit(realm_auth_text(args), name, (char *)ret->data);
    return NGX_OK;
}

ngx_int_t realm_auth_args_cut(ngx_pool_t *pool, const ngx_str_t *args, struct gate_text name,
                              ngx_str_t *ret)
{
    return edit_args(pool, gate_args_cut, args, name, ret);
}

ngx_int_t realm_auth_args_mask(ngx_pool_t *pool, const ngx_str_t *args, struct gate_text name,
                               ngx_str_t *ret)
{
    return edit_args(pool, gate_args_mask, args, name, ret);
}

/* realm_auth_consumer.c - a consumer's groups as one text. */
#include "realm_auth.h"

ngx_int_t realm_auth_join_groups(ngx_pool_t *pool, realm_auth_consumer_t *consumer)
{
    ngx_str_t *ret = &consumer->groups_text;

    ret->data = ngx_pnalloc(pool, gate_groups_size(consumer->groups, consumer->n_groups) + 1);
    if (ret->data == NULL)
        return NGX_ERROR;
    ret->len = gate_groups_join(consumer->groups, consumer->n_groups, (char *)ret->data);
    return NGX_OK;
}

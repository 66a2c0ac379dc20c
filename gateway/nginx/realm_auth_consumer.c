/* realm_auth_consumer.c - a consumer's groups as one text. */
#include "realm_auth.h"

ngx_int_t realm_auth_join_groups(ngx_pool_t *pool, realm_auth_consumer_t *consumer)
{
    size_t size = 0;
    u_char *p;

    for (ngx_uint_t i = 0; i < consumer->n_groups; i++)
        size += consumer->groups[i].len + 2;
    p = ngx_pnalloc(pool, size + 1);
    if (p == NULL)
        return NGX_ERROR;
    consumer->groups_text.data = p;
    for (ngx_uint_t i = 0; i < consumer->n_groups; i++) {
        if (i > 0)
            p = ngx_cpymem(p, ", ", 2);
        p = ngx_cpymem(p, consumer->groups[i].data, consumer->groups[i].len);
    }
    consumer->groups_text.len = (size_t)(p - consumer->groups_text.data);
    return NGX_OK;
}

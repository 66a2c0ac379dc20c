/* realm_auth_question.c - what the agent is asked. docs/protocol.md has the format. */
#include "realm_auth.h"

#include <jansson.h>

static ngx_int_t append_source(json_t *array, const rs_source *source)
{
    const uint8_t *id = source->realm_id;
    char text[sizeof("00000000-0000-0000-0000-000000000000")];
    json_t *object = json_pack("{ss}", "type", source->scope == RS_SCOPE_CP ? "cp" : "realm");

    (void)snprintf(text, sizeof(text),
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", id[0],
                   id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11],
                   id[12], id[13], id[14], id[15]);
    if ((source->region[0] != '\0' &&
         json_object_set_new(object, "region", json_string(source->region)) != 0) ||
        (source->scope == RS_SCOPE_REALM &&
         json_object_set_new(object, "id", json_string(text)) != 0)) {
        json_decref(object);
        return NGX_ERROR;
    }
    return json_array_append_new(array, object) == 0 ? NGX_OK : NGX_ERROR;
}

/* `json` as text in the pool's memory. */
static ngx_int_t dump(ngx_pool_t *pool, const json_t *json, ngx_str_t *ret)
{
    enum { FLAGS = JSON_COMPACT | JSON_ENCODE_ANY };
    size_t size = json_dumpb(json, NULL, 0, FLAGS);

    if (size == 0)
        return NGX_ERROR;
    ret->data = ngx_pnalloc(pool, size);
    if (ret->data == NULL)
        return NGX_ERROR;
    ret->len = json_dumpb(json, (char *)ret->data, size, FLAGS);
    return ret->len == size ? NGX_OK : NGX_ERROR;
}

ngx_int_t realm_auth_question_prepare(ngx_pool_t *pool, const ngx_array_t *sources, ngx_str_t *ret)
{
    const rs_source *source = sources->elts;
    json_t *array = json_array();
    ngx_int_t rc = NGX_OK;

    for (ngx_uint_t i = 0; rc == NGX_OK && i < sources->nelts; i++)
        rc = append_source(array, &source[i]);
    if (rc == NGX_OK)
        rc = dump(pool, array, ret);
    json_decref(array);
    return rc;
}

ngx_int_t realm_auth_question_make(ngx_pool_t *pool, const ngx_str_t *sources, const ngx_str_t *key,
                                   ngx_buf_t **ret)
{
    static const char head[] = "POST /v1/auth HTTP/1.1\r\nHost: agent\r\n"
                               "Content-Type: application/json\r\nConnection: close\r\n"
                               "Content-Length: %uz\r\n\r\n{\"secret\":%V,\"sources\":%V}";
    static const size_t fixed_body = sizeof("{\"secret\":,\"sources\":}") - 1;
    json_t *string = json_stringn((const char *)key->data, key->len);
    ngx_str_t secret;
    ngx_int_t rc = dump(pool, string, &secret);

    json_decref(string);
    if (rc != NGX_OK)
        return NGX_ERROR;
    *ret = ngx_create_temp_buf(pool, sizeof(head) + NGX_SIZE_T_LEN + secret.len + sources->len);
    if (*ret == NULL)
        return NGX_ERROR;
    (*ret)->last = ngx_slprintf((*ret)->last, (*ret)->end, head,
                                fixed_body + secret.len + sources->len, &secret, sources);
    return NGX_OK;
}

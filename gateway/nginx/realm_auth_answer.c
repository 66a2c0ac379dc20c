/* realm_auth_answer.c - what the agent answers: one HTTP response with a length, JSON in it. All
 * else is no answer. docs/protocol.md has the format. */
#include "realm_auth.h"

#include <jansson.h>

static ngx_int_t copy_string(ngx_pool_t *pool, const json_t *string, ngx_str_t *ret)
{
    ngx_str_set(ret, "");
    if (string == NULL || json_is_null(string))
        return NGX_OK;
    if (!json_is_string(string))
        return NGX_ERROR;
    ret->len = json_string_length(string);
    ret->data = ngx_pnalloc(pool, ret->len + 1);
    if (ret->data == NULL)
        return NGX_ERROR;
    ngx_memcpy(ret->data, json_string_value(string), ret->len + 1);
    return NGX_OK;
}

static ngx_int_t copy_groups(ngx_pool_t *pool, const json_t *groups, realm_auth_consumer_t *ret)
{
    size_t n = json_array_size(groups);

    if (groups != NULL && !json_is_array(groups))
        return NGX_ERROR;
    ret->groups = ngx_palloc(pool, (n > 0 ? n : 1) * sizeof(*ret->groups));
    if (ret->groups == NULL)
        return NGX_ERROR;
    for (ret->n_groups = 0; ret->n_groups < n; ret->n_groups++) {
        const json_t *group = json_array_get(groups, ret->n_groups);

        ngx_str_t text;

        if (!json_is_string(group) || copy_string(pool, group, &text) != NGX_OK)
            return NGX_ERROR;
        ret->groups[ret->n_groups] = realm_auth_text(&text);
    }
    return realm_auth_join_groups(pool, ret);
}

static ngx_int_t realm_auth_answer_read_consumer(ngx_pool_t *pool, const json_t *root,
                                                 realm_auth_consumer_t *ret)
{
    const json_t *consumer = json_object_get(root, "consumer");
    const json_t *credential = json_object_get(root, "credential");

    if (copy_string(pool, json_object_get(consumer, "id"), &ret->id) != NGX_OK ||
        copy_string(pool, json_object_get(consumer, "username"), &ret->username) != NGX_OK ||
        copy_string(pool, json_object_get(consumer, "custom_id"), &ret->custom_id) != NGX_OK ||
        copy_string(pool, json_object_get(credential, "id"), &ret->credential_id) != NGX_OK ||
        copy_string(pool, json_object_get(root, "realm_name"), &ret->realm_name) != NGX_OK ||
        copy_groups(pool, json_object_get(consumer, "consumer_groups"), ret) != NGX_OK)
        return NGX_ERROR;
    return ret->id.len > 0 && ret->credential_id.len > 0 ? NGX_OK : NGX_ERROR;
}

int realm_auth_answer_read(ngx_pool_t *pool, const ngx_str_t *body, realm_auth_consumer_t *ret)
{
    json_t *root = json_loadb((const char *)body->data, body->len, 0, NULL);
    const char *result = json_string_value(json_object_get(root, "result"));
    int rc = RS_E_IO;

    ngx_memzero(ret, sizeof(*ret));
    if (result != NULL && ngx_strcmp(result, "not_found") == 0)
        rc = RS_NOT_FOUND;
    else if (result != NULL && ngx_strcmp(result, "found") == 0 &&
             realm_auth_answer_read_consumer(pool, root, ret) == NGX_OK)
        rc = RS_FOUND;
    json_decref(root);
    return rc;
}

/* The value of a header line "name: value" in `lines`, or NULL; *ret_len is up to the line's
 * end. */
static u_char *header_value(const ngx_str_t *lines, const char *name, size_t *ret_len)
{
    u_char *end = lines->data + lines->len;
    size_t name_len = ngx_strlen(name);
    u_char *line = lines->data;

    while (line < end) {
        u_char *eol = ngx_strlchr(line, end, '\r');

        if (eol == NULL)
            eol = end;
        if ((size_t)(eol - line) > name_len && line[name_len] == ':' &&
            ngx_strncasecmp(line, (u_char *)(uintptr_t)name, name_len) == 0) {
            for (line += name_len + 1; line < eol && *line == ' '; line++) {
            }
            *ret_len = (size_t)(eol - line);
            return line;
        }
        line = eol + 2;
    }
    return NULL;
}

/* Whether the code after the protocol's version says that the question was none. */
static ngx_uint_t refuses_question(const u_char *code)
{
    static const char codes[][5] = {"400 ", "413 ", "414 ", "422 "};

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (ngx_memcmp(code, codes[i], 4) == 0)
            return 1;
    }
    return 0;
}

ngx_int_t realm_auth_answer_find(const ngx_buf_t *answer, ngx_uint_t at_end, ngx_str_t *ret)
{
    static const ngx_str_t status = ngx_string("HTTP/1.1 200 ");
    static char end_of_head[] = "\r\n\r\n";
    enum { VERSION = sizeof("HTTP/1.1 ") - 1 };
    ngx_str_t text = {(size_t)(answer->last - answer->pos), answer->pos};
    ngx_str_t head;
    u_char *end;
    u_char *length;
    size_t length_len;
    ngx_int_t size;

    if (text.len < status.len)
        return at_end ? NGX_DECLINED : NGX_AGAIN;
    if (ngx_memcmp(text.data, status.data, status.len) != 0)
        return ngx_memcmp(text.data, status.data, VERSION) == 0 &&
                       refuses_question(text.data + VERSION)
                   ? NGX_ABORT
                   : NGX_DECLINED;
    end = ngx_strnstr(text.data, end_of_head, text.len);
    if (end == NULL)
        return at_end ? NGX_DECLINED : NGX_AGAIN;
    head.data = text.data;
    head.len = (size_t)(end - text.data);
    length = header_value(&head, "Content-Length", &length_len);
    size = length != NULL ? ngx_atoi(length, length_len) : NGX_ERROR;
    if (size == NGX_ERROR || size > REALM_AUTH_ANSWER_MAX)
        return NGX_DECLINED;
    ret->data = end + sizeof(end_of_head) - 1;
    ret->len = (size_t)size;
    if ((size_t)(answer->last - ret->data) >= ret->len)
        return NGX_OK;
    return at_end ? NGX_DECLINED : NGX_AGAIN;
}

/* realm_auth_args.c - parameters in a query or a form body: name=value&name=value, percent-encoded,
 * + for a space. What does not decode stays as it is. */
#include "realm_auth.h"

typedef struct {
    ngx_str_t whole; /* name=value, without the & */
    ngx_str_t name;  /* encoded */
    ngx_str_t value; /* encoded; .data NULL: there is no = */
} pair_t;

/* Takes the next pair off the front of *rest; 0 at the end. Pairs may be empty. */
static ngx_uint_t next_pair(ngx_str_t *rest, pair_t *ret)
{
    u_char *end;
    u_char *equals;

    if (rest->len == 0)
        return 0;
    end = ngx_strlchr(rest->data, rest->data + rest->len, '&');
    ret->whole.data = rest->data;
    ret->whole.len = end != NULL ? (size_t)(end - rest->data) : rest->len;
    rest->data += ret->whole.len + (end != NULL);
    rest->len -= ret->whole.len + (end != NULL);

    ret->name = ret->whole;
    ngx_str_null(&ret->value);
    equals = ngx_strlchr(ret->whole.data, ret->whole.data + ret->whole.len, '=');
    if (equals != NULL) {
        ret->name.len = (size_t)(equals - ret->whole.data);
        ret->value.data = equals + 1;
        ret->value.len = ret->whole.len - ret->name.len - 1;
    }
    return 1;
}

static ngx_int_t hex_digit(u_char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : NGX_ERROR;
}

/* Decodes one character at *p and moves on. */
static u_char decode_one(const u_char **p, const u_char *end)
{
    u_char c = *(*p)++;

    if (c == '+')
        return ' ';
    if (c == '%' && end - *p >= 2) {
        ngx_int_t high = hex_digit((*p)[0]);
        ngx_int_t low = hex_digit((*p)[1]);

        if (high >= 0 && low >= 0) {
            *p += 2;
            return (u_char)(high << 4 | low);
        }
    }
    return c;
}

static ngx_uint_t means(const ngx_str_t *encoded, const ngx_str_t *text)
{
    const u_char *p = encoded->data;
    const u_char *end = encoded->data + encoded->len;
    size_t i;

    for (i = 0; i < text->len && p < end; i++) {
        if (decode_one(&p, end) != text->data[i])
            return 0;
    }
    return i == text->len && p == end;
}

static ngx_int_t decode(ngx_pool_t *pool, const ngx_str_t *encoded, ngx_str_t *ret)
{
    const u_char *p = encoded->data;
    const u_char *end = encoded->data + encoded->len;
    u_char *out = ngx_pnalloc(pool, encoded->len + 1);

    if (out == NULL)
        return NGX_ERROR;
    ret->data = out;
    while (p < end)
        *out++ = decode_one(&p, end);
    ret->len = (size_t)(out - ret->data);
    return NGX_OK;
}

ngx_int_t realm_auth_args_find(ngx_pool_t *pool, const ngx_str_t *args, const ngx_str_t *name,
                               realm_auth_value_t *ret_kind, ngx_str_t *ret)
{
    ngx_str_t rest = *args;
    ngx_str_t value = ngx_null_string;
    pair_t pair;

    *ret_kind = REALM_AUTH_VALUE_NONE;
    while (next_pair(&rest, &pair)) {
        if (!means(&pair.name, name))
            continue;
        if (*ret_kind != REALM_AUTH_VALUE_NONE) {
            *ret_kind = REALM_AUTH_VALUE_REPEATED;
            return NGX_OK;
        }
        *ret_kind = pair.value.data != NULL ? REALM_AUTH_VALUE_STRING : REALM_AUTH_VALUE_OTHER;
        value = pair.value;
    }
    return *ret_kind == REALM_AUTH_VALUE_STRING ? decode(pool, &value, ret) : NGX_OK;
}

/* Writes the pairs to *ret; those that `name` names are left out, or written with `replacement` as
 * their value. */
static ngx_int_t rewrite(ngx_pool_t *pool, const ngx_str_t *args, const ngx_str_t *name,
                         const ngx_str_t *replacement, ngx_str_t *ret)
{
    ngx_str_t rest = *args;
    ngx_uint_t found = 0;
    size_t size = 0;
    pair_t pair;
    u_char *out;

    while (next_pair(&rest, &pair)) {
        found += means(&pair.name, name);
        size += pair.whole.len + 1 + (replacement != NULL ? replacement->len : 0);
    }
    *ret = *args;
    if (found == 0)
        return NGX_OK;
    ret->data = ngx_pnalloc(pool, size);
    if (ret->data == NULL)
        return NGX_ERROR;
    out = ret->data;
    rest = *args;
    while (next_pair(&rest, &pair)) {
        ngx_uint_t named = means(&pair.name, name);

        if (named && replacement == NULL)
            continue;
        if (out > ret->data)
            *out++ = '&';
        if (named && pair.value.data != NULL) {
            out = ngx_cpymem(out, pair.name.data, pair.name.len + 1);
            out = ngx_cpymem(out, replacement->data, replacement->len);
        } else {
            out = ngx_cpymem(out, pair.whole.data, pair.whole.len);
        }
    }
    ret->len = (size_t)(out - ret->data);
    return NGX_OK;
}

ngx_int_t realm_auth_args_cut(ngx_pool_t *pool, const ngx_str_t *args, const ngx_str_t *name,
                              ngx_str_t *ret)
{
    return rewrite(pool, args, name, NULL, ret);
}

ngx_int_t realm_auth_args_mask(ngx_pool_t *pool, const ngx_str_t *args, const ngx_str_t *name,
                               ngx_str_t *ret)
{
    static const ngx_str_t mask = ngx_string("***");

    return rewrite(pool, args, name, &mask, ret);
}

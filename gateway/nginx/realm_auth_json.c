/* realm_auth_json.c - one member of a JSON object: its value, and the object without it.
 *
 * jansson says whether the text is JSON and what the value is. Taking a member out is done in the
 * text, because writing the parsed document again would change other members: numbers, their order,
 * names that come twice.
 */
#include "realm_auth.h"

#include <jansson.h>

/* Numbers are not looked at; as doubles they may be larger than jansson's integers. */
enum { FLAGS = JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL };

static json_t *parse(const u_char *data, size_t size, size_t flags)
{
    return json_loadb((const char *)data, size, FLAGS | flags, NULL);
}

ngx_int_t realm_auth_json_find(ngx_pool_t *pool, const ngx_str_t *text, struct gate_text name,
                               enum gate_value *ret_kind, ngx_str_t *ret)
{
    json_t *root = parse(text->data, text->len, 0);
    const json_t *value = json_object_getn(root, name.data, name.size);
    ngx_int_t rc = NGX_OK;

    *ret_kind = GATE_VALUE_NONE;
    if (json_is_string(value)) {
        *ret_kind = GATE_VALUE_STRING;
        ret->len = json_string_length(value);
        ret->data = ngx_pnalloc(pool, ret->len + 1);
        if (ret->data != NULL)
            ngx_memcpy(ret->data, json_string_value(value), ret->len + 1);
        else
            rc = NGX_ERROR;
    } else if (json_is_array(value) || json_is_object(value)) {
        *ret_kind = GATE_VALUE_REPEATED;
    } else if (value != NULL) {
        *ret_kind = GATE_VALUE_OTHER;
    }
    json_decref(root);
    return rc;
}

/* ---- finding one's way in a text that is known to be JSON ---- */

static const u_char *skip_space(const u_char *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
        p++;
    return p;
}

/* From the opening quote to behind the closing one. */
static const u_char *skip_string(const u_char *p)
{
    for (p++; *p != '"'; p++) {
        if (*p == '\\')
            p++;
    }
    return p + 1;
}

static ngx_uint_t ends_literal(u_char c)
{
    return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const u_char *skip_value(const u_char *p)
{
    ngx_uint_t depth = 0;

    do {
        if (*p == '"') {
            p = skip_string(p);
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
        } else if (depth > 0) {
            depth -= *p == '}' || *p == ']';
            p++;
        } else {
            while (!ends_literal(*p))
                p++;
        }
    } while (depth > 0);
    return p;
}

/* In any case, since an upstream may take it so. */
static ngx_uint_t may_be_key(struct gate_text name, struct gate_names names)
{
    for (size_t i = 0; i < names.n; i++) {
        if (gate_text_is_nocase(name, names.list[i]))
            return 1;
    }
    return 0;
}

/* Whether the string token means one of `names`, whatever its escapes. */
static ngx_uint_t means(const u_char *token, const u_char *end, struct gate_names names)
{
    json_t *string = parse(token, (size_t)(end - token), JSON_DECODE_ANY);
    struct gate_text text = {json_string_value(string), json_string_length(string)};
    ngx_uint_t same = may_be_key(text, names);

    json_decref(string);
    return same;
}

/* Writes the object at `p` without the members called one of `names` to `out`, as large as it. */
static u_char *cut(const u_char *p, struct gate_names names, u_char *out)
{
    u_char last = '{';

    *out++ = *p;
    for (p = skip_space(p + 1); *p == '"'; p = skip_space(p)) {
        const u_char *member = p;
        const u_char *colon = skip_space(skip_string(p));

        p = skip_value(skip_space(colon + 1));
        if (!means(member, skip_string(member), names)) {
            if (last != '{')
                *out++ = ',';
            out = ngx_cpymem(out, member, (size_t)(p - member));
            last = ',';
        }
        p = skip_space(p);
        if (*p == ',')
            p++;
    }
    *out++ = '}';
    return out;
}

static ngx_uint_t has_member(json_t *root, struct gate_names names)
{
    for (void *at = json_object_iter(root); at != NULL; at = json_object_iter_next(root, at)) {
        struct gate_text name = {json_object_iter_key(at), json_object_iter_key_len(at)};

        if (may_be_key(name, names))
            return 1;
    }
    return 0;
}

ngx_int_t realm_auth_json_cut(ngx_pool_t *pool, const ngx_str_t *text, struct gate_names names,
                              ngx_str_t *ret)
{
    json_t *root = parse(text->data, text->len, 0);
    ngx_uint_t is_json = root != NULL;
    ngx_uint_t has = has_member(root, names);
    u_char *out;

    json_decref(root);
    *ret = *text;
    if (!is_json)
        return NGX_DECLINED;
    if (!has)
        return NGX_OK;
    out = ngx_pnalloc(pool, text->len);
    if (out == NULL)
        return NGX_ERROR;
    ret->data = out;
    ret->len = (size_t)(cut(skip_space(text->data), names, out) - out);
    return NGX_OK;
}

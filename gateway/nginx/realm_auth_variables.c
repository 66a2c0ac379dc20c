/* realm_auth_variables.c - $realm_*: who asks, for logs, limits, maps and routing.
 *
 * They are known from the preaccess phase on, and not cached, so that one that was looked at
 * earlier (in a rewrite) is right later.
 */
#include "realm_auth.h"

static void set_value(ngx_http_variable_value_t *v, const ngx_str_t *text)
{
    v->valid = text->len > 0;
    v->not_found = text->len == 0;
    v->no_cacheable = 0;
    v->len = (unsigned)(text->len & 0xfffffff);
    v->data = text->data;
}

/* A subrequest that did not authenticate by itself has its main request's consumer. */
static const realm_auth_ctx_t *find_ctx(ngx_http_request_t *r)
{
    const realm_auth_ctx_t *ctx = realm_auth_ctx(r);

    return ctx != NULL || r == r->main ? ctx : realm_auth_ctx(r->main);
}

/* `data` is the member's offset in realm_auth_consumer_t. */
static ngx_int_t get_member(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    const realm_auth_ctx_t *ctx = find_ctx(r);
    static const ngx_str_t none = ngx_null_string;

    set_value(v, ctx != NULL ? (const ngx_str_t *)((const u_char *)&ctx->consumer + data) : &none);
    return NGX_OK;
}

static ngx_int_t get_status(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    const realm_auth_ctx_t *ctx = find_ctx(r);

    const char *word = gate_verdict_word(ctx != NULL ? ctx->status : GATE_UNDECIDED);
    const ngx_str_t text = realm_auth_str((struct gate_text){word, strlen(word)});

    (void)data;
    set_value(v, &text);
    return NGX_OK;
}

static ngx_int_t get_age(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    const realm_auth_main_conf_t *conf =
        ngx_http_get_module_main_conf(r, ngx_http_realm_auth_module);
    const realm_auth_ctx_t *ctx = find_ctx(r);
    ngx_str_t text = ngx_null_string;
    int64_t age_ms = -1;

    (void)data;
    if (ctx != NULL && ctx->answered)
        age_ms = ctx->consumer.age_ms;
    else if (conf->store_dir.len > 0)
        age_ms = realm_auth_store_age_ms(conf);
    if (age_ms >= 0) {
        text.data = ngx_pnalloc(r->pool, NGX_INT64_LEN);
        if (text.data == NULL)
            return NGX_ERROR;
        text.len = (size_t)(ngx_sprintf(text.data, "%L", age_ms) - text.data);
    }
    set_value(v, &text);
    return NGX_OK;
}

#define MEMBER(name, member)                                                                       \
    {                                                                                              \
        ngx_string(name), NULL, get_member, offsetof(realm_auth_consumer_t, member),               \
            NGX_HTTP_VAR_NOCACHEABLE, 0                                                            \
    }

static const ngx_http_variable_t variables[] = {
    MEMBER("realm_consumer_id", id),
    MEMBER("realm_consumer_username", username),
    MEMBER("realm_consumer_custom_id", custom_id),
    MEMBER("realm_consumer_groups", groups_text),
    MEMBER("realm_credential_id", credential_id),
    MEMBER("realm_name", realm_name),
    {ngx_string("realm_auth_status"), NULL, get_status, 0, NGX_HTTP_VAR_NOCACHEABLE, 0},
    {ngx_string("realm_store_age_ms"), NULL, get_age, 0, NGX_HTTP_VAR_NOCACHEABLE, 0},
};

ngx_int_t realm_auth_add_variables(ngx_conf_t *cf)
{
    for (ngx_uint_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        ngx_str_t name = variables[i].name;
        ngx_http_variable_t *v = ngx_http_add_variable(cf, &name, variables[i].flags);

        if (v == NULL)
            return NGX_ERROR;
        v->get_handler = variables[i].get_handler;
        v->data = variables[i].data;
    }
    return NGX_OK;
}

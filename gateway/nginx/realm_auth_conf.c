/* realm_auth_conf.c - the directives. docs/gateways.md is their reference. */
#include "realm_auth.h"

#include <sys/un.h>

static char *set_key_names(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_identity(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_require_group(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_store(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_realm(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *set_anonymous(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

enum {
    BODY_MAX_SIZE = 1024 * 1024, /* NGINX's own default of client_max_body_size */
    SOURCES_MAX = 64,            /* of a question on demand, docs/protocol.md */
    ASK_TIMEOUT_MS = 5000,       /* the agent gives up after 3 s and says so */
    MAIN = NGX_HTTP_MAIN_CONF,
    ANYWHERE = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF
};

static ngx_conf_enum_t on_stale_values[] = {
    {ngx_string("serve"), GATE_STALE_SERVE},
    {ngx_string("deny"), GATE_STALE_DENY},
    {ngx_string("ask"), GATE_STALE_ASK},
    {ngx_null_string, 0},
};

#define SWITCH(directive, member)                                                                  \
    {                                                                                              \
        ngx_string(directive), ANYWHERE | NGX_CONF_FLAG, ngx_conf_set_flag_slot,                   \
            NGX_HTTP_LOC_CONF_OFFSET, offsetof(realm_auth_loc_conf_t, member), NULL                \
    }

#define WORDS(directive, setter)                                                                   \
    {                                                                                              \
        ngx_string(directive), ANYWHERE | NGX_CONF_1MORE, setter, NGX_HTTP_LOC_CONF_OFFSET, 0,     \
            NULL                                                                                   \
    }

ngx_command_t realm_auth_commands[] = {
    {ngx_string("realm_store"), MAIN | NGX_CONF_TAKE1, set_store, NGX_HTTP_MAIN_CONF_OFFSET, 0,
     NULL},
    SWITCH("realm_auth", enable),
    SWITCH("realm_auth_key_in_header", in_header),
    SWITCH("realm_auth_key_in_query", in_query),
    SWITCH("realm_auth_key_in_body", in_body),
    SWITCH("realm_auth_hide_credentials", hide_credentials),
    SWITCH("realm_auth_run_on_preflight", run_on_preflight),
    WORDS("realm_auth_key_names", set_key_names),
    WORDS("realm_auth_identity", set_identity),
    WORDS("realm_auth_require_group", set_require_group),
    {ngx_string("realm_auth_anonymous"), ANYWHERE | NGX_CONF_TAKE1, set_anonymous,
     NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("realm_auth_realm"), ANYWHERE | NGX_CONF_TAKE1, set_realm, NGX_HTTP_LOC_CONF_OFFSET,
     0, NULL},
    {ngx_string("realm_auth_body_max_size"), ANYWHERE | NGX_CONF_TAKE1, ngx_conf_set_size_slot,
     NGX_HTTP_LOC_CONF_OFFSET, offsetof(realm_auth_loc_conf_t, body_max_size), NULL},
    {ngx_string("realm_auth_on_stale"), ANYWHERE | NGX_CONF_TAKE1, ngx_conf_set_enum_slot,
     NGX_HTTP_LOC_CONF_OFFSET, offsetof(realm_auth_loc_conf_t, on_stale), on_stale_values},
    {ngx_string("realm_auth_ask_timeout"), ANYWHERE | NGX_CONF_TAKE1, ngx_conf_set_msec_slot,
     NGX_HTTP_LOC_CONF_OFFSET, offsetof(realm_auth_loc_conf_t, ask_timeout), NULL},
    ngx_null_command,
};

static char is_duplicate[] = "is duplicate";
static char is_empty[] = "is empty";

static char *set_ask_socket(ngx_conf_t *cf, realm_auth_main_conf_t *conf)
{
    static const char name[] = "/ask.sock";
    ngx_str_t *ret = &conf->ask_socket;

    ret->len = conf->store_dir.len + sizeof(name) - 1;
    ret->data = ngx_pnalloc(cf->pool, ret->len + 1);
    if (ret->data == NULL)
        return NGX_CONF_ERROR;
    *ngx_sprintf(ret->data, "%V%s", &conf->store_dir, name) = '\0';
    return NGX_CONF_OK;
}

static char *set_store(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    realm_auth_main_conf_t *main_conf = conf;
    ngx_str_t *words = cf->args->elts;

    (void)cmd;
    if (main_conf->store_dir.data != NULL)
        return is_duplicate;
    if (words[1].len == 0)
        return is_empty;
    main_conf->store_dir = words[1];
    if (ngx_conf_full_name(cf->cycle, &main_conf->store_dir, 0) != NGX_OK)
        return NGX_CONF_ERROR;
    return set_ask_socket(cf, main_conf);
}

/* The directive's words as an array of struct gate_text. */
static char *set_words(ngx_conf_t *cf, ngx_array_t **ret)
{
    ngx_str_t *words = cf->args->elts;
    ngx_uint_t n = cf->args->nelts - 1;
    struct gate_text *copies;

    if (*ret != NGX_CONF_UNSET_PTR)
        return is_duplicate;
    *ret = ngx_array_create(cf->pool, n, sizeof(struct gate_text));
    if (*ret == NULL)
        return NGX_CONF_ERROR;
    copies = ngx_array_push_n(*ret, n);
    if (copies == NULL)
        return NGX_CONF_ERROR;
    for (ngx_uint_t i = 0; i < n; i++)
        copies[i] = realm_auth_text(&words[i + 1]);
    return NGX_CONF_OK;
}

static ngx_uint_t is_header_name(struct gate_text name)
{
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        char lower = (char)ngx_tolower(c);

        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return 0;
    }
    return name.size > 0;
}

/* NGINX keeps places of these headers, and has variables of their own for them, from which nothing
 * can be taken; and it needs them. */
static ngx_uint_t is_nginx_own(struct gate_text name)
{
    if (gate_text_is_nocase(name, GATE_TEXT("authorization")))
        return 0; /* which is hidden, too */
    for (const ngx_http_header_t *h = ngx_http_headers_in; h->name.len > 0; h++) {
        if (gate_header_is_key(realm_auth_text(&h->name), name))
            return 1;
    }
    return 0;
}

static const char *wrong_key_name(struct gate_text name)
{
    if (!is_header_name(name))
        return "is no header name: letters, digits, - and _";
    return is_nginx_own(name) ? "is a header that NGINX itself needs: name another" : NULL;
}

static char *set_key_names(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    realm_auth_loc_conf_t *loc = conf;
    ngx_str_t *words = cf->args->elts;

    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
        const char *wrong = wrong_key_name(realm_auth_text(&words[i]));

        if (wrong != NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\": \"%V\" %s", &cmd->name, &words[i],
                               wrong);
            return NGX_CONF_ERROR;
        }
    }
    return set_words(cf, &loc->key_names);
}

static char *set_identity(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    realm_auth_loc_conf_t *loc = conf;
    ngx_str_t *words = cf->args->elts;

    if (loc->sources != NGX_CONF_UNSET_PTR)
        return is_duplicate;
    if (cf->args->nelts - 1 > SOURCES_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" names %ui sources; %d are the most",
                           &cmd->name, cf->args->nelts - 1, SOURCES_MAX);
        return NGX_CONF_ERROR;
    }
    loc->sources = ngx_array_create(cf->pool, cf->args->nelts, sizeof(rs_source));
    if (loc->sources == NULL)
        return NGX_CONF_ERROR;
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
        rs_source *source = ngx_array_push(loc->sources);

        if (source == NULL)
            return NGX_CONF_ERROR;
        if (rs_source_parse((const char *)words[i].data, source) != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\": \"%V\" is none of realm:REGION:UUID, realm:UUID, cp, "
                               "cp:REGION",
                               &cmd->name, &words[i]);
            return NGX_CONF_ERROR;
        }
    }
    return NGX_CONF_OK;
}

/* "off" undoes what is inherited. */
static char *set_require_group(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    realm_auth_loc_conf_t *loc = conf;
    ngx_str_t *words = cf->args->elts;

    (void)cmd;
    if (cf->args->nelts == 2 && ngx_strcmp(words[1].data, "off") == 0) {
        if (loc->require_groups != NGX_CONF_UNSET_PTR)
            return is_duplicate;
        loc->require_groups = NULL;
        return NGX_CONF_OK;
    }
    return set_words(cf, &loc->require_groups);
}

/* "off" undoes what is inherited. */
static char *set_anonymous(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    realm_auth_loc_conf_t *loc = conf;
    ngx_str_t *words = cf->args->elts;

    (void)cmd;
    if (loc->anonymous != NGX_CONF_UNSET_PTR)
        return is_duplicate;
    loc->anonymous = NULL;
    if (words[1].len == 0)
        return is_empty;
    if (ngx_strcmp(words[1].data, "off") == 0)
        return NGX_CONF_OK;
    loc->anonymous = ngx_pcalloc(cf->pool, sizeof(*loc->anonymous));
    if (loc->anonymous == NULL)
        return NGX_CONF_ERROR;
    loc->anonymous->name = words[1];
    return NGX_CONF_OK;
}

static char *set_realm(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    realm_auth_loc_conf_t *loc = conf;
    ngx_str_t *words = cf->args->elts;

    if (loc->realm.data != NULL)
        return is_duplicate;
    for (size_t i = 0; i < words[1].len; i++) {
        u_char c = words[1].data[i];

        if (c < 0x20 || c == 0x7f || c == '"' || c == '\\') {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" holds a character that cannot stand in a header's quotes",
                               &cmd->name);
            return NGX_CONF_ERROR;
        }
    }
    loc->realm = words[1];
    return NGX_CONF_OK;
}

enum { NAMES_FIRST = 4, LOGS_FIRST = 4 };

void *realm_auth_create_main_conf(ngx_conf_t *cf)
{
    realm_auth_main_conf_t *conf = ngx_pcalloc(cf->pool, sizeof(*conf));

    if (conf == NULL ||
        ngx_array_init(&conf->key_names, cf->pool, NAMES_FIRST, sizeof(struct gate_text)) !=
            NGX_OK ||
        ngx_array_init(&conf->hidden_names, cf->pool, NAMES_FIRST, sizeof(struct gate_text)) !=
            NGX_OK ||
        ngx_array_init(&conf->logs, cf->pool, LOGS_FIRST, sizeof(ngx_log_t *)) != NGX_OK)
        return NULL;
    return conf;
}

void *realm_auth_create_srv_conf(ngx_conf_t *cf)
{
    realm_auth_srv_conf_t *conf = ngx_pcalloc(cf->pool, sizeof(*conf));

    if (conf == NULL || ngx_array_init(&conf->hidden_names, cf->pool, NAMES_FIRST,
                                       sizeof(struct gate_text)) != NGX_OK)
        return NULL;
    return conf;
}

void *realm_auth_create_loc_conf(ngx_conf_t *cf)
{
    realm_auth_loc_conf_t *conf = ngx_pcalloc(cf->pool, sizeof(*conf));

    if (conf == NULL)
        return NULL;
    conf->enable = NGX_CONF_UNSET;
    conf->key_names = NGX_CONF_UNSET_PTR;
    conf->in_header = NGX_CONF_UNSET;
    conf->in_query = NGX_CONF_UNSET;
    conf->in_body = NGX_CONF_UNSET;
    conf->body_max_size = NGX_CONF_UNSET_SIZE;
    conf->sources = NGX_CONF_UNSET_PTR;
    conf->hide_credentials = NGX_CONF_UNSET;
    conf->run_on_preflight = NGX_CONF_UNSET;
    conf->on_stale = NGX_CONF_UNSET_UINT;
    conf->ask_timeout = NGX_CONF_UNSET_MSEC;
    conf->require_groups = NGX_CONF_UNSET_PTR;
    conf->anonymous = NGX_CONF_UNSET_PTR;
    return conf;
}

/* Kong's defaults where nothing is configured: the name apikey, the control plane's consumers. */
static char *default_lists(ngx_conf_t *cf, realm_auth_loc_conf_t *conf)
{
    if (conf->key_names == NULL) {
        struct gate_text *name;

        conf->key_names = ngx_array_create(cf->pool, 1, sizeof(struct gate_text));
        if (conf->key_names == NULL)
            return NGX_CONF_ERROR;
        name = ngx_array_push(conf->key_names);
        *name = GATE_TEXT("apikey");
    }
    if (conf->sources == NULL) {
        rs_source *source;

        conf->sources = ngx_array_create(cf->pool, 1, sizeof(rs_source));
        if (conf->sources == NULL)
            return NGX_CONF_ERROR;
        source = ngx_array_push(conf->sources);
        ngx_memzero(source, sizeof(*source));
        source->scope = RS_SCOPE_CP;
    }
    return NGX_CONF_OK;
}

static char *make_www_authenticate(ngx_conf_t *cf, realm_auth_loc_conf_t *conf)
{
    ngx_str_t *ret = &conf->www_authenticate;

    if (conf->realm.len == 0) {
        ngx_str_set(ret, "Key");
        return NGX_CONF_OK;
    }
    ret->len = sizeof("Key realm=\"\"") - 1 + conf->realm.len;
    ret->data = ngx_pnalloc(cf->pool, ret->len + 1);
    if (ret->data == NULL)
        return NGX_CONF_ERROR;
    *ngx_sprintf(ret->data, "Key realm=\"%V\"", &conf->realm) = '\0';
    return NGX_CONF_OK;
}

static char *prepare_to_ask(ngx_conf_t *cf, const realm_auth_main_conf_t *main_conf,
                            realm_auth_loc_conf_t *conf)
{
    if (!conf->enable || conf->on_stale != GATE_STALE_ASK)
        return NGX_CONF_OK;
    if (main_conf->ask_socket.len >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"realm_auth_on_stale ask\": the path of \"%V\" is too long for a socket",
                      &main_conf->ask_socket);
        return NGX_CONF_ERROR;
    }
    return realm_auth_question_prepare(cf->pool, conf->sources, &conf->ask_sources) == NGX_OK
               ? NGX_CONF_OK
               : NGX_CONF_ERROR;
}

/* Adds the names that are not there yet. */
static ngx_int_t add_names(ngx_array_t *names, const ngx_array_t *more)
{
    const struct gate_text *added = more->elts;

    for (ngx_uint_t i = 0; i < more->nelts; i++) {
        struct gate_text *place;

        if (gate_names_have(realm_auth_names(names), added[i]))
            continue;
        place = ngx_array_push(names);
        if (place == NULL)
            return NGX_ERROR;
        *place = added[i];
    }
    return NGX_OK;
}

/* What has to be known where the location is not: names, and error logs. */
static char *gather(ngx_conf_t *cf, realm_auth_main_conf_t *main_conf,
                    const realm_auth_loc_conf_t *conf)
{
    const ngx_http_core_loc_conf_t *core =
        ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    realm_auth_srv_conf_t *server =
        ngx_http_conf_get_module_srv_conf(cf, ngx_http_realm_auth_module);

    if (core->error_log != NULL && realm_auth_log_know(main_conf, core->error_log) != NGX_OK)
        return NGX_CONF_ERROR;
    if (!conf->enable)
        return NGX_CONF_OK;
    if (add_names(&main_conf->key_names, conf->key_names) != NGX_OK)
        return NGX_CONF_ERROR;
    if (!conf->hide_credentials)
        return NGX_CONF_OK;
    if (add_names(&main_conf->hidden_names, conf->key_names) != NGX_OK ||
        add_names(&server->hidden_names, conf->key_names) != NGX_OK)
        return NGX_CONF_ERROR;
    return NGX_CONF_OK;
}

char *realm_auth_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    realm_auth_main_conf_t *main_conf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_realm_auth_module);
    realm_auth_loc_conf_t *prev = parent;
    realm_auth_loc_conf_t *conf = child;

    ngx_conf_merge_value(conf->enable, prev->enable, 0);
    ngx_conf_merge_ptr_value(conf->key_names, prev->key_names, NULL);
    ngx_conf_merge_value(conf->in_header, prev->in_header, 1);
    ngx_conf_merge_value(conf->in_query, prev->in_query, 1);
    ngx_conf_merge_value(conf->in_body, prev->in_body, 0);
    ngx_conf_merge_size_value(conf->body_max_size, prev->body_max_size, BODY_MAX_SIZE);
    ngx_conf_merge_ptr_value(conf->sources, prev->sources, NULL);
    ngx_conf_merge_value(conf->hide_credentials, prev->hide_credentials, 0);
    ngx_conf_merge_value(conf->run_on_preflight, prev->run_on_preflight, 1);
    ngx_conf_merge_str_value(conf->realm, prev->realm, "");
    ngx_conf_merge_uint_value(conf->on_stale, prev->on_stale, GATE_STALE_SERVE);
    ngx_conf_merge_msec_value(conf->ask_timeout, prev->ask_timeout, ASK_TIMEOUT_MS);
    ngx_conf_merge_ptr_value(conf->require_groups, prev->require_groups, NULL);
    ngx_conf_merge_ptr_value(conf->anonymous, prev->anonymous, NULL);
    if (conf->enable && main_conf->store_dir.len == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"realm_auth on\" needs \"realm_store\" in the http block");
        return NGX_CONF_ERROR;
    }
    if (default_lists(cf, conf) != NGX_CONF_OK ||
        prepare_to_ask(cf, main_conf, conf) != NGX_CONF_OK ||
        gather(cf, main_conf, conf) != NGX_CONF_OK)
        return NGX_CONF_ERROR;
    return make_www_authenticate(cf, conf);
}

/* rest_routes.c - see rest_routes.h. */
#include "control/rest/rest_routes.h"

#include <stdio.h>
#include <string.h>

#include "control/rest/sync_http.h"

#define REALM    "/v1/realms/{realmId}"
#define CONSUMER REALM "/consumers/{consumerId}"
#define CORE     "/v2/control-planes/{cpId}/core-entities"

/* One row a method and path. */
static const struct rest_route routes[] = {
    {HTTP_GET, "/v1/realms", AUTH_REALMS_READ, 0, rest_realm_list},
    {HTTP_POST, "/v1/realms", AUTH_REALMS_WRITE, REST_BODY | REST_CHANGE, rest_realm_create},
    {HTTP_GET, REALM, AUTH_REALMS_READ, 0, rest_realm_get},
    {HTTP_PATCH, REALM, AUTH_REALMS_WRITE, REST_BODY | REST_CHANGE, rest_realm_update},
    {HTTP_DELETE, REALM, AUTH_REALMS_WRITE, REST_CHANGE, rest_realm_delete},
    {HTTP_POST, REALM "/auth", AUTH_AUTHENTICATE, REST_BODY, rest_realm_authenticate},

    {HTTP_GET, REALM "/consumers", AUTH_REALMS_READ, 0, rest_consumer_list},
    {HTTP_POST, REALM "/consumers", AUTH_REALMS_WRITE, REST_BODY | REST_CHANGE,
     rest_consumer_create},
    {HTTP_GET, CONSUMER, AUTH_REALMS_READ, 0, rest_consumer_get},
    {HTTP_PATCH, CONSUMER, AUTH_REALMS_WRITE, REST_BODY | REST_CHANGE, rest_consumer_update},
    {HTTP_DELETE, CONSUMER, AUTH_REALMS_WRITE, REST_CHANGE, rest_consumer_delete},
    {HTTP_POST, CONSUMER "/move", AUTH_REALMS_WRITE, REST_BODY | REST_CHANGE, rest_consumer_move},

    {HTTP_GET, CONSUMER "/keys", AUTH_REALMS_READ, 0, rest_key_list},
    {HTTP_POST, CONSUMER "/keys", AUTH_REALMS_WRITE, REST_BODY | REST_CHANGE, rest_key_create},
    {HTTP_GET, CONSUMER "/keys/{keyId}", AUTH_REALMS_READ, 0, rest_key_get},
    {HTTP_DELETE, CONSUMER "/keys/{keyId}", AUTH_REALMS_WRITE, REST_CHANGE, rest_key_delete},

    {HTTP_GET, CORE "/consumers", AUTH_CORE_READ, 0, rest_core_consumer_list},
    {HTTP_POST, CORE "/consumers", AUTH_CORE_WRITE, REST_BODY | REST_CHANGE,
     rest_core_consumer_create},
    {HTTP_GET, CORE "/consumers/{id*}", AUTH_CORE_READ, 0, rest_core_consumer_get},
    {HTTP_PATCH, CORE "/consumers/{id*}", AUTH_CORE_WRITE, REST_BODY | REST_CHANGE,
     rest_core_consumer_update},
    {HTTP_PUT, CORE "/consumers/{id*}", AUTH_CORE_WRITE, REST_BODY | REST_CHANGE,
     rest_core_consumer_replace},
    {HTTP_DELETE, CORE "/consumers/{id*}", AUTH_CORE_WRITE, REST_CHANGE, rest_core_consumer_delete},
    {HTTP_GET, CORE "/consumers/{id*}/key-auth", AUTH_CORE_READ, 0, rest_core_key_list},
    {HTTP_POST, CORE "/consumers/{id*}/key-auth", AUTH_CORE_WRITE, REST_BODY | REST_CHANGE,
     rest_core_key_create},
    {HTTP_GET, CORE "/consumers/{id*}/key-auth/{keyId}", AUTH_CORE_READ, 0, rest_core_key_get},
    {HTTP_DELETE, CORE "/consumers/{id*}/key-auth/{keyId}", AUTH_CORE_WRITE, REST_CHANGE,
     rest_core_key_delete},

    {HTTP_GET, CORE "/consumer_groups", AUTH_CORE_READ, 0, rest_core_group_list},
    {HTTP_POST, CORE "/consumer_groups", AUTH_CORE_WRITE, REST_BODY | REST_CHANGE,
     rest_core_group_create},
    {HTTP_GET, CORE "/consumer_groups/{id*}", AUTH_CORE_READ, 0, rest_core_group_get},
    {HTTP_PATCH, CORE "/consumer_groups/{id*}", AUTH_CORE_WRITE, REST_BODY | REST_CHANGE,
     rest_core_group_update},
    {HTTP_PUT, CORE "/consumer_groups/{id*}", AUTH_CORE_WRITE, REST_BODY | REST_CHANGE,
     rest_core_group_replace},
    {HTTP_DELETE, CORE "/consumer_groups/{id*}", AUTH_CORE_WRITE, REST_CHANGE,
     rest_core_group_delete},

    {HTTP_GET, "/v1/tokens", AUTH_TOKENS, 0, rest_token_list},
    {HTTP_POST, "/v1/tokens", AUTH_TOKENS, REST_BODY, rest_token_create},
    {HTTP_DELETE, "/v1/tokens/{id}", AUTH_TOKENS, 0, rest_token_delete},

    {HTTP_GET, "/v1/hosts", AUTH_HOSTS, 0, rest_host_list},
    {HTTP_GET, "/v1/epoch", AUTH_HOSTS, 0, rest_epoch_get},
    {HTTP_POST, "/v1/epoch/accept", AUTH_EPOCH, REST_BODY, rest_epoch_accept},

    {HTTP_GET, "/v1/sync/feed", AUTH_SYNC, REST_NO_HEAD, sync_http_feed},
    {HTTP_GET, "/v1/sync/snapshots/{hash*}", AUTH_SYNC, 0, sync_http_snapshot},
    {HTTP_POST, "/v1/sync/ack", AUTH_SYNC, REST_BODY, sync_http_ack},
    {HTTP_POST, "/v1/sync/auth", AUTH_SYNC, REST_BODY, sync_http_auth},

    {HTTP_GET, "/healthz", AUTH_PUBLIC, 0, rest_healthz},
    {HTTP_GET, "/readyz", AUTH_PUBLIC, 0, rest_readyz},
    {HTTP_GET, "/metrics", AUTH_PUBLIC, 0, rest_metrics},
};

static const char *const method_names[HTTP_METHODS] = {
    [HTTP_GET] = "GET",         [HTTP_HEAD] = "HEAD",   [HTTP_POST] = "POST",
    [HTTP_PUT] = "PUT",         [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE",
    [HTTP_OPTIONS] = "OPTIONS", [HTTP_OTHER] = "OTHER",
};

size_t rest_route_count(void)
{
    return sizeof(routes) / sizeof(routes[0]);
}

const struct rest_route *rest_route(size_t index)
{
    return &routes[index];
}

const char *rest_method_name(enum http_method method)
{
    return method_names[method];
}

const char *rest_route_method(size_t route)
{
    return method_names[routes[route].method];
}

const char *rest_route_pattern(size_t route)
{
    return routes[route].pattern;
}

/* Whether the path fits; slashes decide, escapes do not: %2F is part of a segment. With `call`, the
 * parameters are decoded into it. */
static bool matches(const char *pattern, const char *path, struct rest_call *call)
{
    while (*pattern == '/' && *path == '/') {
        size_t wanted = strcspn(++pattern, "/");
        size_t given = strcspn(++path, "/");

        if (pattern[0] == '{') {
            if (given == 0)
                return false;
            if (call != NULL) {
                struct rest_param *param = &call->params[call->n_params++];
                size_t length = strcspn(pattern + 1, "*}");

                memcpy(param->name, pattern + 1, length);
                param->is_uuid = pattern[1 + length] == '}';
                param->text = rest_decode(call, path, given, false);
            }
        } else if (wanted != given || memcmp(pattern, path, given) != 0) {
            return false;
        }
        pattern += wanted;
        path += given;
    }
    return *pattern == 0 && *path == 0;
}

static bool serves(const struct rest_route *route, enum http_method method)
{
    return route->method == method ||
           (method == HTTP_HEAD && route->method == HTTP_GET && (route->flags & REST_NO_HEAD) == 0);
}

static void append_allow(char allow[REST_ALLOW_SIZE], const char *method)
{
    size_t used = strlen(allow);

    (void)snprintf(allow + used, REST_ALLOW_SIZE - used, "%s%s", used > 0 ? ", " : "",
                   method); /* all methods together fit */
}

int rest_route_find(struct rest_call *call, char ret_allow[REST_ALLOW_SIZE])
{
    const char *path = call->request->path;

    ret_allow[0] = 0;
    for (size_t i = 0; i < rest_route_count(); i++) {
        if (!matches(routes[i].pattern, path, NULL))
            continue;
        if (serves(&routes[i], call->request->method)) {
            (void)matches(routes[i].pattern, path, call); /* does: just tried */
            return (int)i;
        }
        append_allow(ret_allow, method_names[routes[i].method]);
        if (serves(&routes[i], HTTP_HEAD))
            append_allow(ret_allow, method_names[HTTP_HEAD]);
    }
    return -1;
}

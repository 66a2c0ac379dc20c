/* rest_routes.h - the table of routes, and finding one. */
#ifndef RS_CONTROL_REST_ROUTES_H
#define RS_CONTROL_REST_ROUTES_H

#include "control/rest/rest_call.h"

/* Finds the route of the call's method and path, and decodes the path's parameters into it. Returns
 * its index, or -1; then *ret_allow says which methods the path has: "" when it has none (404),
 * else the text of an Allow header (405). */
enum { REST_ALLOW_SIZE = 64 };
int rest_route_find(struct rest_call *call, char ret_allow[REST_ALLOW_SIZE]);

const struct rest_route *rest_route(size_t index);
const char *rest_method_name(enum http_method method);

/* The routes' functions. */
int rest_realm_list(struct rest_call *call);
int rest_realm_create(struct rest_call *call);
int rest_realm_get(struct rest_call *call);
int rest_realm_update(struct rest_call *call);
int rest_realm_delete(struct rest_call *call);
int rest_realm_authenticate(struct rest_call *call);

int rest_consumer_list(struct rest_call *call);
int rest_consumer_create(struct rest_call *call);
int rest_consumer_get(struct rest_call *call);
int rest_consumer_update(struct rest_call *call);
int rest_consumer_delete(struct rest_call *call);
int rest_consumer_move(struct rest_call *call);

int rest_key_list(struct rest_call *call);
int rest_key_create(struct rest_call *call);
int rest_key_get(struct rest_call *call);
int rest_key_delete(struct rest_call *call);

int rest_core_consumer_list(struct rest_call *call);
int rest_core_consumer_create(struct rest_call *call);
int rest_core_consumer_get(struct rest_call *call);
int rest_core_consumer_update(struct rest_call *call);
int rest_core_consumer_replace(struct rest_call *call);
int rest_core_consumer_delete(struct rest_call *call);
int rest_core_key_list(struct rest_call *call);
int rest_core_key_create(struct rest_call *call);
int rest_core_key_get(struct rest_call *call);
int rest_core_key_delete(struct rest_call *call);
int rest_core_group_list(struct rest_call *call);
int rest_core_group_create(struct rest_call *call);
int rest_core_group_get(struct rest_call *call);
int rest_core_group_update(struct rest_call *call);
int rest_core_group_replace(struct rest_call *call);
int rest_core_group_delete(struct rest_call *call);

int rest_token_list(struct rest_call *call);
int rest_token_create(struct rest_call *call);
int rest_token_delete(struct rest_call *call);

int rest_epoch_get(struct rest_call *call);
int rest_epoch_accept(struct rest_call *call);

int rest_host_list(struct rest_call *call);
int rest_healthz(struct rest_call *call);
int rest_readyz(struct rest_call *call);
int rest_metrics(struct rest_call *call);

#endif

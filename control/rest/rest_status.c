/* rest_status.c - how the control plane and its hosts are: /v1/hosts, /healthz, /readyz,
 * /metrics. */
#include <stdlib.h>

#include "control/rest/rest_routes.h"

enum { METRICS_MAX_BYTES = 4 * 1024 * 1024 };

/* A host that refuses comes and goes; what it refuses is what an operator must know. */
static const char *state_of(const struct feed_host_info *host)
{
    if (host->refusing)
        return "refusing";
    return host->connected ? "connected" : "disconnected";
}

static json_t *instance_json(const struct uuid *instance)
{
    return uuid_is_nil(instance) ? json_null() : json_of_uuid(instance);
}

static json_t *host_json(const struct feed_host_info *host)
{
    return json_pack(
        "{s:s, s:o, s:b, s:o, s:b, s:s, s:I, s:I, s:I, s:I, s:s?}", "name", host->host, "instance",
        instance_json(&host->instance), "name_shared", (int)host->name_shared, "control_plane_id",
        json_of_uuid(&host->control_plane_id), "connected", (int)host->connected, "state",
        state_of(host), "applied_version", (json_int_t)host->applied_version, "verified_version",
        (json_int_t)host->verified_version, "lag_ms", (json_int_t)host->lag_ms, "age_ms",
        (json_int_t)host->age_ms, "agent", host->agent);
}

int rest_host_list(struct rest_call *call)
{
    const struct auth_identity *caller = &call->identity;
    struct feed_host_info *hosts = NULL;
    size_t count = 0;
    json_t *data;
    int rc = feed_hosts(call->rest->feed, call->arena, &hosts, &count, &call->error);

    if (rc != 0)
        return rc;
    data = json_array();
    for (size_t i = 0; i < count; i++) {
        if (!caller->has_control_plane ||
            uuid_equal(&caller->control_plane_id, &hosts[i].control_plane_id))
            rest_append(&data, host_json(&hosts[i]));
    }
    return rest_reply(call, REST_OK, json_pack("{s:o}", "data", data));
}

int rest_healthz(struct rest_call *call)
{
    return rest_reply(call, REST_OK, json_pack("{s:s}", "status", "ok"));
}

int rest_readyz(struct rest_call *call)
{
    struct repo_head head;
    int rc = repo_head(call->rest->repo, &head, &call->error);

    if (rc != 0)
        return error_set(&call->error, E_BUSY, "The repository does not answer: %s",
                         error_text(rc));
    return rest_reply(call, REST_OK,
                      json_pack("{s:s, s:s, s:I}", "status", "ready", "region", call->rest->region,
                                "version", (json_int_t)head.version));
}

int rest_metrics(struct rest_call *call)
{
    struct metrics_state state = {0};
    struct repo_head head;
    struct buffer text;
    size_t size;
    int rc = repo_head(call->rest->repo, &head, &call->error);

    if (rc != 0)
        return rc;
    state.version = head.version;
    feed_stats(call->rest->feed, &state.feed);
    if (call->rest->http != NULL)
        http_stats(call->rest->http, &state.http);
    buffer_init(&text, METRICS_MAX_BYTES);
    rc = metrics_render(call->rest->metrics, &state, &text);
    if (rc != 0) {
        buffer_finish(&text);
        return error_set(&call->error, rc, NULL);
    }
    size = text.size;
    http_answer(call->request, REST_OK, "text/plain; version=0.0.4",
                (char *)buffer_take(&text, &size), size);
    return REST_ANSWERED;
}

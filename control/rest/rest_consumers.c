/* rest_consumers.c - /v1/realms/{realmId}/consumers. */
#include "control/rest/rest_entities.h"
#include "control/rest/rest_routes.h"

const char *const rest_consumer_types[MODEL_CONSUMER_TYPES + 1] = {
    [MODEL_CONSUMER_PROXY] = "proxy",
    [MODEL_CONSUMER_DEVELOPER] = "developer",
    [MODEL_CONSUMER_ADMIN] = "admin",
    [MODEL_CONSUMER_APPLICATION] = "application",
};

#define AT(member) offsetof(struct repo_consumer, member)

static const struct form_field consumer_fields[] = {
    {"username", FORM_NAME, FORM_REQUIRED, REPO_SET_USERNAME, AT(model.username), 0, 0, NULL},
    {"custom_id", FORM_NAME, FORM_NULLABLE, REPO_SET_CUSTOM_ID, AT(model.custom_id), 0, 0, NULL},
    {"type", FORM_CHOICE, 0, REPO_SET_TYPE, AT(model.type), 0, 0, rest_consumer_types},
    {"tags", FORM_LABELS, FORM_NULLABLE, REPO_SET_TAGS, AT(model.tags), 0, 0, NULL},
    {"consumer_groups", FORM_LABELS, FORM_NULLABLE, REPO_SET_GROUPS, AT(model.groups), 0, 0, NULL},
};
static const struct form consumer_form = {consumer_fields,
                                          sizeof(consumer_fields) / sizeof(consumer_fields[0])};

struct move_form {
    struct uuid target;
};

static const struct form_field move_fields[] = {
    {"target_realm_id", FORM_UUID, FORM_REQUIRED, 0, offsetof(struct move_form, target), 0, 0,
     NULL},
};
static const struct form move_form = {move_fields, 1};

json_t *rest_consumer_json(const struct repo_consumer *consumer)
{
    const struct model_consumer *model = &consumer->model;

    return json_pack("{s:o, s:s?, s:s?, s:s, s:o, s:o, s:o, s:o}", "id", json_of_uuid(&model->id),
                     "username", model->username, "custom_id", model->custom_id, "type",
                     rest_consumer_types[model->type], "tags", json_of_strings(&model->tags),
                     "consumer_groups", json_of_strings(&model->groups), "created_at",
                     json_of_time(consumer->created_ms), "updated_at",
                     json_of_time(consumer->updated_ms));
}

struct repo_path rest_realm_path(const struct rest_call *call)
{
    return (struct repo_path){.scope = {REPO_SCOPE_REALM, call->params[0].id},
                              .consumer_id = call->params[1].id,
                              .key_id = call->params[2].id};
}

/* Konnect spells equality in two ways. */
static const char *filter_value(struct rest_call *call, const char *plain, const char *with_eq)
{
    const char *value = rest_query_get(call, plain);

    return value != NULL ? value : rest_query_get(call, with_eq);
}

int rest_consumer_list(struct rest_call *call)
{
    static const char *const filters[] = {"filter[username]", "filter[username][eq]",
                                          "filter[custom_id]", "filter[custom_id][eq]", NULL};
    const struct repo_path path = rest_realm_path(call);
    struct repo_consumer_query query = {.username = filter_value(call, filters[0], filters[1]),
                                        .custom_id = filter_value(call, filters[2], filters[3])};
    struct repo_consumer_rows consumers;
    json_t *data;
    int rc;

    rest_page_read(call, filters, &query.page);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_consumer_list(&call->repo, &path.scope, &query, &consumers);
    if (rc != 0)
        return rc;
    data = json_array();
    for (size_t i = 0; i < consumers.count; i++)
        rest_append(&data, rest_consumer_json(&consumers.items[i]));
    return rest_page_reply(call, &query.page, &consumers.info, data,
                           consumers.count > 0 ? &consumers.items[0].model.id : NULL,
                           consumers.count > 0 ? &consumers.items[consumers.count - 1].model.id
                                               : NULL);
}

int rest_consumer_create(struct rest_call *call)
{
    const struct repo_path path = rest_realm_path(call);
    struct repo_consumer input = {0};
    struct repo_consumer consumer;
    int rc;

    (void)form_read(call, &consumer_form, false, &input);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_consumer_create(&call->repo, &path.scope, &input, &consumer);
    return rc != 0 ? rc : rest_reply(call, REST_CREATED, rest_consumer_json(&consumer));
}

int rest_consumer_get(struct rest_call *call)
{
    const struct repo_path path = rest_realm_path(call);
    struct repo_consumer consumer;
    int rc = repo_consumer_get(&call->repo, &path, &consumer);

    return rc != 0 ? rc : rest_reply(call, REST_OK, rest_consumer_json(&consumer));
}

int rest_consumer_update(struct rest_call *call)
{
    const struct repo_path path = rest_realm_path(call);
    struct repo_consumer_change change = {0};
    struct repo_consumer consumer;
    int rc;

    change.set = form_read(call, &consumer_form, true, &change.to);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_consumer_update(&call->repo, &path, &change, &consumer);
    return rc != 0 ? rc : rest_reply(call, REST_OK, rest_consumer_json(&consumer));
}

int rest_consumer_delete(struct rest_call *call)
{
    const struct repo_path path = rest_realm_path(call);
    int rc = repo_consumer_delete(&call->repo, &path);

    return rc != 0 ? rc : rest_reply(call, REST_NO_CONTENT, NULL);
}

int rest_consumer_move(struct rest_call *call)
{
    const struct repo_path path = rest_realm_path(call);
    struct move_form input = {0};
    int rc;

    (void)form_read(call, &move_form, false, &input);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_consumer_move(&call->repo, &path, &input.target);
    if (rc != 0)
        return rc;
    return rest_reply(call, REST_CREATED,
                      json_pack("{s:o}", "realm_id", json_of_uuid(&input.target)));
}

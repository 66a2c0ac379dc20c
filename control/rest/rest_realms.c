/* rest_realms.c - /v1/realms, and authentication on demand. */
#include <string.h>

#include "control/rest/rest_entities.h"
#include "control/rest/rest_routes.h"

enum { TTL_MIN = 5, TTL_MAX = 525600 }; /* minutes; a year */

#define AT(member) offsetof(struct repo_realm, member)

static const struct form_field realm_fields[] = {
    {"name", FORM_NAME, FORM_REQUIRED, REPO_SET_NAME, AT(model.name), 0, 0, NULL},
    {"ttl", FORM_UINT32, 0, REPO_SET_TTL, AT(model.ttl_min), TTL_MIN, TTL_MAX, NULL},
    {"negative_ttl", FORM_UINT32, 0, REPO_SET_NEGATIVE_TTL, AT(model.negative_ttl_min), TTL_MIN,
     TTL_MAX, NULL},
    {"consumer_groups", FORM_LABELS, FORM_NULLABLE, REPO_SET_GROUPS, AT(model.groups), 0, 0, NULL},
    {"allowed_control_planes", FORM_CONTROL_PLANES, FORM_NULLABLE, REPO_SET_ALLOWED,
     AT(allowed_control_planes), 1, 0, NULL},
    {"allow_all_control_planes", FORM_BOOLEAN, 0, REPO_SET_ALLOW_ALL, AT(allow_all_control_planes),
     0, 0, NULL},
};
static const struct form realm_form = {realm_fields,
                                       sizeof(realm_fields) / sizeof(realm_fields[0])};

/* To a bound caller other control planes are a number. *ret_others says how many the list names. */
static json_t *allowed_json(const struct rest_call *call, const struct model_strings *allowed,
                            size_t *ret_others)
{
    char own[UUID_TEXT_SIZE];
    json_t *json;

    *ret_others = 0;
    if (call->repo.actor == NULL)
        return json_of_strings(allowed);
    (void)uuid_format(call->repo.actor, own);
    json = json_array();
    for (size_t i = 0; i < allowed->count; i++) {
        const bool known =
            strcmp(allowed->items[i], own) == 0 || strcmp(allowed->items[i], "*") == 0;

        if (known)
            rest_append(&json, json_string(allowed->items[i]));
        else
            (*ret_others)++;
    }
    return json;
}

static json_t *realm_json(const struct rest_call *call, const struct repo_realm *realm)
{
    size_t others;
    json_t *allowed = allowed_json(call, &realm->allowed_control_planes, &others);
    json_t *json = json_pack(
        "{s:o, s:s, s:i, s:i, s:o, s:o, s:b, s:o, s:o}", "id", json_of_uuid(&realm->model.id),
        "name", realm->model.name, "ttl", (int)realm->model.ttl_min, "negative_ttl",
        (int)realm->model.negative_ttl_min, "consumer_groups",
        json_of_strings(&realm->model.groups), "allowed_control_planes", allowed,
        "allow_all_control_planes", (int)realm->allow_all_control_planes, "created_at",
        json_of_time(realm->created_ms), "updated_at", json_of_time(realm->updated_ms));

    if (others > 0)
        rest_set(&json, "other_control_planes", json_integer((json_int_t)others));
    return json;
}

int rest_realm_list(struct rest_call *call)
{
    struct repo_realm_rows realms;
    struct repo_page page;
    json_t *data;
    int rc;

    rest_page_read(call, NULL, &page);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_realm_list(&call->repo, &page, &realms);
    if (rc != 0)
        return rc;
    data = json_array();
    for (size_t i = 0; i < realms.count; i++)
        rest_append(&data, realm_json(call, &realms.items[i]));
    return rest_page_reply(call, &page, &realms.info, data,
                           realms.count > 0 ? &realms.items[0].model.id : NULL,
                           realms.count > 0 ? &realms.items[realms.count - 1].model.id : NULL);
}

int rest_realm_create(struct rest_call *call)
{
    struct repo_realm input = {
        .model = {.ttl_min = REST_TTL_DEFAULT, .negative_ttl_min = REST_TTL_DEFAULT}};
    struct repo_realm realm;
    int rc;

    (void)form_read(call, &realm_form, false, &input);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_realm_create(&call->repo, &input, &realm);
    return rc != 0 ? rc : rest_reply(call, REST_CREATED, realm_json(call, &realm));
}

int rest_realm_get(struct rest_call *call)
{
    struct repo_realm realm;
    int rc = repo_realm_get(&call->repo, &call->params[0].id, &realm);

    return rc != 0 ? rc : rest_reply(call, REST_OK, realm_json(call, &realm));
}

int rest_realm_update(struct rest_call *call)
{
    struct repo_realm_change change = {0};
    struct repo_realm realm;
    int rc;

    change.set = form_read(call, &realm_form, true, &change.to);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_realm_update(&call->repo, &call->params[0].id, &change, &realm);
    return rc != 0 ? rc : rest_reply(call, REST_OK, realm_json(call, &realm));
}

int rest_realm_delete(struct rest_call *call)
{
    bool force = rest_query_flag(call, "force");
    int rc = rest_verdict(call);

    if (rc == 0)
        rc = repo_realm_delete(&call->repo, &call->params[0].id, force);
    if (rc == E_NOT_EMPTY) {
        (void)rest_invalid(call, "query", "force", "required",
                           "must be true to delete a realm that has consumers");
        return error_set(&call->error, rc, "The realm still has consumers.");
    }
    return rc != 0 ? rc : rest_reply(call, REST_NO_CONTENT, NULL);
}

/* ---- authentication on demand ---- */

struct auth_form {
    const char *secret;
};

static const struct form_field auth_fields[] = {
    {"secret", FORM_QUESTION, FORM_REQUIRED, 0, offsetof(struct auth_form, secret), 0, 0, NULL},
    {"meta", FORM_ANY, 0, 0, 0, 0, 0, NULL},
};
static const struct form auth_form = {auth_fields, sizeof(auth_fields) / sizeof(auth_fields[0])};

json_t *rest_group_names(const struct model_strings *realm, const struct model_strings *own)
{
    json_t *names = json_of_strings(realm);

    for (size_t i = 0; i < own->count; i++) {
        bool known = false;

        for (size_t j = 0; j < realm->count && !known; j++)
            known = strcmp(realm->items[j], own->items[i]) == 0;
        if (!known)
            rest_append(&names, json_string(own->items[i]));
    }
    return names;
}

int rest_realm_authenticate(struct rest_call *call)
{
    const struct repo_scope scope = {REPO_SCOPE_REALM, call->params[0].id};
    struct auth_form input = {NULL};
    struct repo_realm realm;
    struct repo_owner owner;
    int rc;

    (void)form_read(call, &auth_form, false, &input);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_realm_get(&call->repo, &scope.id, &realm);
    if (rc == 0)
        rc = repo_authenticate(
            &call->repo, &scope,
            &(struct repo_login){input.secret, strlen(input.secret), clock_wall_ms()}, &owner);
    if (rc != 0)
        return rc;
    return rest_reply(call, REST_OK,
                      json_pack("{s:o, s:i, s:i, s:o, s:{s:o}}", "consumer",
                                rest_consumer_json(&owner.consumer), "ttl",
                                (int)realm.model.ttl_min, "negative_ttl",
                                (int)realm.model.negative_ttl_min, "consumer_group_names",
                                rest_group_names(&realm.model.groups, &owner.consumer.model.groups),
                                "credential", "id", json_of_uuid(&owner.key.model.id)));
}

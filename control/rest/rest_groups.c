/* rest_groups.c - /v2/control-planes/{cpId}/core-entities/consumer_groups: names to which a control
 * plane's gateways attach a meaning. Nothing refers to them by id: realms and consumers name
 * groups. */
#include <string.h>

#include "control/rest/rest_entities.h"
#include "control/rest/rest_routes.h"

enum { SCAN_PAGE = 1000 };

#define AT(member) offsetof(struct repo_group, member)

static const struct form_field group_fields[] = {
    {"name", FORM_LABEL, FORM_REQUIRED, REPO_SET_NAME, AT(name), 0, 0, NULL},
    {"tags", FORM_LABELS, FORM_NULLABLE, REPO_SET_TAGS, AT(tags), 0, 0, NULL},
};
static const struct form group_form = {group_fields,
                                       sizeof(group_fields) / sizeof(group_fields[0])};

static json_t *group_json(const struct repo_group *group)
{
    return json_pack("{s:o, s:s, s:o, s:o, s:o}", "id", json_of_uuid(&group->id), "name",
                     group->name, "tags", json_of_strings(&group->tags), "created_at",
                     json_of_epoch(group->created_ms), "updated_at",
                     json_of_epoch(group->updated_ms));
}

/* By id, or by name: a control plane has few groups, so they are gone through. */
static int find_group(struct rest_call *call, struct uuid *ret)
{
    struct repo_page page = {.size = SCAN_PAGE};
    struct repo_page_info info = {.more_after = true};

    if (uuid_parse(call->params[1].text, ret))
        return 0;
    while (info.more_after) {
        struct repo_group_rows groups;
        int rc = repo_group_list(&call->repo, &call->params[0].id, &page, &groups);

        if (rc != 0)
            return rc;
        for (size_t i = 0; i < groups.count; i++) {
            if (strcmp(groups.items[i].name, call->params[1].text) == 0) {
                *ret = groups.items[i].id;
                return 0;
            }
        }
        if (groups.count == 0)
            break;
        page.has_after = true;
        page.after = groups.items[groups.count - 1].id;
    }
    return error_set_field(&call->error, E_NOT_FOUND, "id", NULL);
}

int rest_core_group_list(struct rest_call *call)
{
    struct repo_group_rows groups;
    struct repo_page page;
    json_t *data;
    int rc;

    rest_offset_read(call, &page);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_group_list(&call->repo, &call->params[0].id, &page, &groups);
    if (rc != 0)
        return rc;
    data = json_array();
    for (size_t i = 0; i < groups.count; i++)
        rest_append(&data, group_json(&groups.items[i]));
    return rest_offset_reply(call, &page, &groups.info, data,
                             groups.count > 0 ? &groups.items[groups.count - 1].id : NULL);
}

int rest_core_group_create(struct rest_call *call)
{
    struct repo_group input = {0};
    struct repo_group group;
    int rc;

    (void)form_read(call, &group_form, false, &input);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_group_create(&call->repo, &call->params[0].id, &input, &group);
    return rc != 0 ? rc : rest_reply(call, REST_CREATED, group_json(&group));
}

int rest_core_group_get(struct rest_call *call)
{
    struct repo_group group;
    struct uuid id;
    int rc = find_group(call, &id);

    if (rc == 0)
        rc = repo_group_get(&call->repo, &call->params[0].id, &id, &group);
    return rc != 0 ? rc : rest_reply(call, REST_OK, group_json(&group));
}

static int change_group(struct rest_call *call, bool partial, unsigned always_set)
{
    struct repo_group_change change = {0};
    struct repo_group group;
    struct uuid id;
    int rc;

    change.set = form_read(call, &group_form, partial, &change.to) | always_set;
    rc = rest_verdict(call);
    if (rc == 0)
        rc = find_group(call, &id);
    if (rc == 0)
        rc = repo_group_update(&call->repo, &call->params[0].id, &id, &change, &group);
    return rc != 0 ? rc : rest_reply(call, REST_OK, group_json(&group));
}

int rest_core_group_update(struct rest_call *call)
{
    return change_group(call, true, 0);
}

int rest_core_group_replace(struct rest_call *call)
{
    return change_group(call, false, REPO_SET_NAME | REPO_SET_TAGS);
}

int rest_core_group_delete(struct rest_call *call)
{
    struct uuid id;
    int rc = find_group(call, &id);

    if (rc == 0)
        rc = repo_group_delete(&call->repo, &call->params[0].id, &id);
    return rc != 0 ? rc : rest_reply(call, REST_NO_CONTENT, NULL);
}

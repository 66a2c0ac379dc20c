/* rest_core.c - /v2/control-planes/{cpId}/core-entities/consumers and their key-auth, in Kong's
 * shapes: times in whole seconds, `next` and `offset`, a consumer addressed by id or username.
 *
 * Where Kong shows a key again and again, this shows it once: only its digest is kept.
 */
#include <string.h>

#include "base/clock.h"
#include "control/rest/rest_entities.h"
#include "control/rest/rest_routes.h"

enum { KEY_TTL_MAX = 100000000 /* seconds, Kong's own limit */ };

#define AT(member) offsetof(struct repo_consumer, member)

static const struct form_field consumer_fields[] = {
    {"username", FORM_NAME, FORM_NULLABLE, REPO_SET_USERNAME, AT(model.username), 0, 0, NULL},
    {"custom_id", FORM_NAME, FORM_NULLABLE, REPO_SET_CUSTOM_ID, AT(model.custom_id), 0, 0, NULL},
    {"tags", FORM_LABELS, FORM_NULLABLE, REPO_SET_TAGS, AT(model.tags), 0, 0, NULL},
    {"consumer_groups", FORM_LABELS, FORM_NULLABLE, REPO_SET_GROUPS, AT(model.groups), 0, 0, NULL},
};
static const struct form consumer_form = {consumer_fields,
                                          sizeof(consumer_fields) / sizeof(consumer_fields[0])};
enum { ALL_MEMBERS = REPO_SET_USERNAME | REPO_SET_CUSTOM_ID | REPO_SET_TAGS | REPO_SET_GROUPS };

static json_t *consumer_json(const struct repo_consumer *consumer)
{
    const struct model_consumer *model = &consumer->model;

    return json_pack(
        "{s:o, s:s?, s:s?, s:o, s:o, s:o, s:o}", "id", json_of_uuid(&model->id), "username",
        model->username, "custom_id", model->custom_id, "tags", json_of_strings(&model->tags),
        "consumer_groups", json_of_strings(&model->groups), "created_at",
        json_of_epoch(consumer->created_ms), "updated_at", json_of_epoch(consumer->updated_ms));
}

/* The control plane's own scope. */
static struct repo_path core_path(const struct rest_call *call)
{
    return (struct repo_path){.scope = {REPO_SCOPE_CP, call->params[0].id},
                              .key_id = call->params[2].id};
}

/* To the consumer that the request's path names by id or username. */
static int find_consumer(struct rest_call *call, struct repo_path *ret)
{
    const struct repo_consumer_query query = {.page = {.size = 1},
                                              .username = call->params[1].text};
    struct repo_consumer_rows found;
    int rc;

    *ret = core_path(call);
    if (uuid_parse(call->params[1].text, &ret->consumer_id))
        return 0;
    rc = repo_consumer_list(&call->repo, &ret->scope, &query, &found);
    if (rc != 0)
        return rc;
    if (found.count == 0)
        return error_set_field(&call->error, E_NOT_FOUND, "id", NULL);
    ret->consumer_id = found.items[0].model.id;
    return 0;
}

static void require_a_name(struct rest_call *call, const struct repo_consumer *consumer)
{
    if (consumer->model.username == NULL && consumer->model.custom_id == NULL)
        (void)rest_invalid(call, "body", "username", "required",
                           "or custom_id is required: at least one of them");
}

int rest_core_consumer_list(struct rest_call *call)
{
    const struct repo_path path = core_path(call);
    struct repo_consumer_rows consumers;
    struct repo_consumer_query query = {.username = NULL};
    json_t *data;
    int rc;

    rest_offset_read(call, &query.page);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_consumer_list(&call->repo, &path.scope, &query, &consumers);
    if (rc != 0)
        return rc;
    data = json_array();
    for (size_t i = 0; i < consumers.count; i++)
        rest_append(&data, consumer_json(&consumers.items[i]));
    return rest_offset_reply(call, &query.page, &consumers.info, data,
                             consumers.count > 0 ? &consumers.items[consumers.count - 1].model.id
                                                 : NULL);
}

int rest_core_consumer_create(struct rest_call *call)
{
    const struct repo_path path = core_path(call);
    struct repo_consumer input = {0};
    struct repo_consumer consumer;
    int rc;

    (void)form_read(call, &consumer_form, false, &input);
    rc = rest_verdict(call);
    if (rc == 0) {
        require_a_name(call, &input);
        rc = rest_verdict(call);
    }
    if (rc == 0)
        rc = repo_consumer_create(&call->repo, &path.scope, &input, &consumer);
    return rc != 0 ? rc : rest_reply(call, REST_CREATED, consumer_json(&consumer));
}

int rest_core_consumer_get(struct rest_call *call)
{
    struct repo_consumer consumer;
    struct repo_path path;
    int rc = find_consumer(call, &path);

    if (rc == 0)
        rc = repo_consumer_get(&call->repo, &path, &consumer);
    return rc != 0 ? rc : rest_reply(call, REST_OK, consumer_json(&consumer));
}

/* A change that takes a name away must leave the other. */
static int check_names_left(struct rest_call *call, const struct repo_path *path,
                            const struct repo_consumer_change *change)
{
    struct repo_consumer result;
    int rc = repo_consumer_get(&call->repo, path, &result);

    if (rc != 0)
        return rc;
    if ((change->set & REPO_SET_USERNAME) != 0)
        result.model.username = change->to.model.username;
    if ((change->set & REPO_SET_CUSTOM_ID) != 0)
        result.model.custom_id = change->to.model.custom_id;
    require_a_name(call, &result);
    return rest_verdict(call);
}

static int change_consumer(struct rest_call *call, unsigned always_set)
{
    struct repo_consumer_change change = {0};
    struct repo_consumer consumer;
    struct repo_path path;
    int rc;

    change.set = form_read(call, &consumer_form, true, &change.to) | always_set;
    rc = rest_verdict(call);
    if (rc == 0)
        rc = find_consumer(call, &path);
    if (rc == 0)
        rc = check_names_left(call, &path, &change);
    if (rc == 0)
        rc = repo_consumer_update(&call->repo, &path, &change, &consumer);
    return rc != 0 ? rc : rest_reply(call, REST_OK, consumer_json(&consumer));
}

int rest_core_consumer_update(struct rest_call *call)
{
    return change_consumer(call, 0);
}

int rest_core_consumer_replace(struct rest_call *call)
{
    return change_consumer(call, ALL_MEMBERS);
}

int rest_core_consumer_delete(struct rest_call *call)
{
    struct repo_path path;
    int rc = find_consumer(call, &path);

    if (rc == 0)
        rc = repo_consumer_delete(&call->repo, &path);
    return rc != 0 ? rc : rest_reply(call, REST_NO_CONTENT, NULL);
}

/* ---- key-auth ---- */

struct key_form {
    const char *key;
    uint32_t ttl_s;
    struct model_strings tags;
};

static const struct form_field key_fields[] = {
    {"key", FORM_SECRET, FORM_NULLABLE, 0, offsetof(struct key_form, key), 0, 0, NULL},
    {"ttl", FORM_UINT32, FORM_NULLABLE, 0, offsetof(struct key_form, ttl_s), 0, KEY_TTL_MAX, NULL},
    {"tags", FORM_LABELS, FORM_NULLABLE, 0, offsetof(struct key_form, tags), 0, 0, NULL},
};
static const struct form key_form = {key_fields, sizeof(key_fields) / sizeof(key_fields[0])};

/* Whole seconds that are left, rounded up, as an expiring key is good until its last moment. */
static json_t *ttl_json(int64_t expires_at_ms)
{
    int64_t left_ms = expires_at_ms - clock_wall_ms();

    if (expires_at_ms == 0)
        return json_null();
    return json_integer(left_ms > 0 ? (left_ms + 999) / 1000 : 0);
}

static json_t *rest_core_key_json(const struct repo_key *key)
{
    return json_pack("{s:o, s:{s:o}, s:o, s:o, s:o}", "id", json_of_uuid(&key->model.id),
                     "consumer", "id", json_of_uuid(&key->model.consumer_id), "tags",
                     json_of_strings(&key->model.tags), "ttl", ttl_json(key->model.expires_at_ms),
                     "created_at", json_of_epoch(key->created_ms));
}

int rest_core_key_list(struct rest_call *call)
{
    struct repo_key_rows keys;
    struct repo_page page;
    struct repo_path path;
    json_t *data;
    int rc;

    rest_offset_read(call, &page);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = find_consumer(call, &path);
    if (rc == 0)
        rc = repo_key_list(&call->repo, &path, &page, &keys);
    if (rc != 0)
        return rc;
    data = json_array();
    for (size_t i = 0; i < keys.count; i++)
        rest_append(&data, rest_core_key_json(&keys.items[i]));
    return rest_offset_reply(call, &page, &keys.info, data,
                             keys.count > 0 ? &keys.items[keys.count - 1].model.id : NULL);
}

int rest_core_key_create(struct rest_call *call)
{
    struct repo_key input = {0};
    struct key_form form = {0};
    struct repo_key key;
    struct repo_path path;
    json_t *answer;
    int rc;

    (void)form_read(call, &key_form, false, &form);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = find_consumer(call, &path);
    if (rc != 0)
        return rc;
    input.type = form.key != NULL ? REPO_KEY_LEGACY : REPO_KEY_NEW;
    input.model.tags = form.tags;
    if (form.ttl_s > 0)
        input.model.expires_at_ms = clock_wall_ms() + (int64_t)form.ttl_s * 1000;
    rc = rest_key_make(call, &path, &input, &form.key, &key);
    if (rc != 0)
        return rc;
    answer = rest_core_key_json(&key);
    rest_set(&answer, "key", json_string(form.key));
    return rest_reply(call, REST_CREATED, answer);
}

int rest_core_key_get(struct rest_call *call)
{
    struct repo_path path;
    struct repo_key key;
    int rc = find_consumer(call, &path);

    if (rc == 0)
        rc = repo_key_get(&call->repo, &path, &key);
    return rc != 0 ? rc : rest_reply(call, REST_OK, rest_core_key_json(&key));
}

int rest_core_key_delete(struct rest_call *call)
{
    struct repo_path path;
    int rc = find_consumer(call, &path);

    if (rc == 0)
        rc = repo_key_delete(&call->repo, &path);
    return rc != 0 ? rc : rest_reply(call, REST_NO_CONTENT, NULL);
}

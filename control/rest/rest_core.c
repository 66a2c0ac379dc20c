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
    {"username", FORM_STRING, FORM_NULLABLE, REPO_SET_USERNAME, AT(model.username), 1,
     REST_NAME_MAX, NULL},
    {"custom_id", FORM_STRING, FORM_NULLABLE, REPO_SET_CUSTOM_ID, AT(model.custom_id), 1,
     REST_NAME_MAX, NULL},
    {"tags", FORM_STRINGS, FORM_NULLABLE, REPO_SET_TAGS, AT(model.tags), 1, REST_LABEL_MAX, NULL},
    {"consumer_groups", FORM_STRINGS, FORM_NULLABLE, REPO_SET_GROUPS, AT(model.groups), 1,
     REST_LABEL_MAX, NULL},
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

static struct repo_scope core_scope(const struct rest_call *call)
{
    return (struct repo_scope){REPO_SCOPE_CP, call->params[0].id};
}

/* The consumer that the path names by id or username. */
static int find_consumer(struct rest_call *call, struct uuid *ret)
{
    struct repo *repo = call->rest->repo;
    const struct repo_scope scope = core_scope(call);
    const struct repo_consumer_filter filter = {call->params[1].text, NULL};
    const struct repo_page page = {.size = 1};
    struct repo_page_info info;
    struct repo_consumer *found;
    size_t count;
    int rc;

    if (uuid_parse(call->params[1].text, ret))
        return 0;
    rc = repo->ops->consumer_list(repo, &scope, &page, &filter, call->arena, &found, &count, &info,
                                  &call->error);
    if (rc != 0)
        return rc;
    if (count == 0)
        return error_set_field(&call->error, E_NOT_FOUND, "id", NULL);
    *ret = found[0].model.id;
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
    static const struct repo_consumer_filter everything;
    struct repo *repo = call->rest->repo;
    const struct repo_scope scope = core_scope(call);
    struct repo_page_info info = {0};
    struct repo_consumer *consumers = NULL;
    struct repo_page page;
    size_t count = 0;
    json_t *data;
    int rc;

    rest_offset_read(call, &page);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo->ops->consumer_list(repo, &scope, &page, &everything, call->arena, &consumers,
                                      &count, &info, &call->error);
    if (rc != 0)
        return rc;
    data = json_array();
    for (size_t i = 0; i < count; i++)
        rest_append(&data, consumer_json(&consumers[i]));
    return rest_offset_reply(call, &page, &info, data,
                             count > 0 ? &consumers[count - 1].model.id : NULL);
}

int rest_core_consumer_create(struct rest_call *call)
{
    struct repo *repo = call->rest->repo;
    const struct repo_scope scope = core_scope(call);
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
        rc = repo->ops->consumer_create(repo, &scope, &input, call->arena, &consumer, &call->commit,
                                        &call->error);
    return rc != 0 ? rc : rest_reply(call, REST_CREATED, consumer_json(&consumer));
}

int rest_core_consumer_get(struct rest_call *call)
{
    struct repo *repo = call->rest->repo;
    const struct repo_scope scope = core_scope(call);
    struct repo_consumer consumer;
    struct uuid id;
    int rc = find_consumer(call, &id);

    if (rc == 0)
        rc = repo->ops->consumer_get(repo, &scope, &id, call->arena, &consumer, &call->error);
    return rc != 0 ? rc : rest_reply(call, REST_OK, consumer_json(&consumer));
}

/* A change that takes a name away must leave the other. */
static int check_names_left(struct rest_call *call, const struct uuid *id,
                            const struct repo_consumer *input, unsigned set)
{
    struct repo *repo = call->rest->repo;
    const struct repo_scope scope = core_scope(call);
    struct repo_consumer result;
    int rc = repo->ops->consumer_get(repo, &scope, id, call->arena, &result, &call->error);

    if (rc != 0)
        return rc;
    if ((set & REPO_SET_USERNAME) != 0)
        result.model.username = input->model.username;
    if ((set & REPO_SET_CUSTOM_ID) != 0)
        result.model.custom_id = input->model.custom_id;
    require_a_name(call, &result);
    return rest_verdict(call);
}

static int change_consumer(struct rest_call *call, unsigned always_set)
{
    struct repo *repo = call->rest->repo;
    const struct repo_scope scope = core_scope(call);
    struct repo_consumer input = {0};
    struct repo_consumer consumer;
    struct uuid id;
    unsigned set = form_read(call, &consumer_form, true, &input) | always_set;
    int rc = rest_verdict(call);

    if (rc == 0)
        rc = find_consumer(call, &id);
    if (rc == 0)
        rc = check_names_left(call, &id, &input, set);
    if (rc == 0)
        rc = repo->ops->consumer_update(repo, &scope, &id, &input, set, call->arena, &consumer,
                                        &call->commit, &call->error);
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
    struct repo *repo = call->rest->repo;
    const struct repo_scope scope = core_scope(call);
    struct uuid id;
    int rc = find_consumer(call, &id);

    if (rc == 0)
        rc = repo->ops->consumer_delete(repo, &scope, &id, &call->commit, &call->error);
    return rc != 0 ? rc : rest_reply(call, REST_NO_CONTENT, NULL);
}

/* ---- key-auth ---- */

struct key_form {
    const char *key;
    uint32_t ttl_s;
    struct model_strings tags;
};

static const struct form_field key_fields[] = {
    {"key", FORM_BYTES, FORM_NULLABLE, 0, offsetof(struct key_form, key), 1, MODEL_SECRET_MAX,
     NULL},
    {"ttl", FORM_UINT32, FORM_NULLABLE, 0, offsetof(struct key_form, ttl_s), 0, KEY_TTL_MAX, NULL},
    {"tags", FORM_STRINGS, FORM_NULLABLE, 0, offsetof(struct key_form, tags), 1, REST_LABEL_MAX,
     NULL},
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

static json_t *key_json(const struct repo_key *key)
{
    return json_pack("{s:o, s:{s:o}, s:o, s:o, s:o}", "id", json_of_uuid(&key->model.id),
                     "consumer", "id", json_of_uuid(&key->model.consumer_id), "tags",
                     json_of_strings(&key->model.tags), "ttl", ttl_json(key->model.expires_at_ms),
                     "created_at", json_of_epoch(key->created_ms));
}

int rest_core_key_list(struct rest_call *call)
{
    struct repo *repo = call->rest->repo;
    const struct repo_scope scope = core_scope(call);
    struct repo_page_info info = {0};
    struct repo_key *keys = NULL;
    struct repo_page page;
    struct uuid consumer;
    size_t count = 0;
    json_t *data;
    int rc;

    rest_offset_read(call, &page);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = find_consumer(call, &consumer);
    if (rc == 0)
        rc = repo->ops->key_list(repo, &scope, &consumer, &page, call->arena, &keys, &count, &info,
                                 &call->error);
    if (rc != 0)
        return rc;
    data = json_array();
    for (size_t i = 0; i < count; i++)
        rest_append(&data, key_json(&keys[i]));
    return rest_offset_reply(call, &page, &info, data,
                             count > 0 ? &keys[count - 1].model.id : NULL);
}

int rest_core_key_create(struct rest_call *call)
{
    const struct repo_scope scope = core_scope(call);
    struct repo_key input = {0};
    struct key_form form = {0};
    struct repo_key key;
    struct uuid consumer;
    const char *secret;
    json_t *answer;
    int rc;

    (void)form_read(call, &key_form, false, &form);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = find_consumer(call, &consumer);
    if (rc != 0)
        return rc;
    input.type = form.key != NULL ? REPO_KEY_LEGACY : REPO_KEY_NEW;
    input.model.tags = form.tags;
    if (form.ttl_s > 0)
        input.model.expires_at_ms = clock_wall_ms() + (int64_t)form.ttl_s * 1000;
    rc = rest_key_make(call, &scope, &consumer, &input, form.key, &key, &secret);
    if (rc != 0)
        return rc;
    answer = key_json(&key);
    rest_set(&answer, "key", json_string(secret));
    return rest_reply(call, REST_CREATED, answer);
}

int rest_core_key_get(struct rest_call *call)
{
    struct repo *repo = call->rest->repo;
    const struct repo_scope scope = core_scope(call);
    struct uuid consumer;
    struct repo_key key;
    int rc = find_consumer(call, &consumer);

    if (rc == 0)
        rc = repo->ops->key_get(repo, &scope, &consumer, &call->params[2].id, call->arena, &key,
                                &call->error);
    return rc != 0 ? rc : rest_reply(call, REST_OK, key_json(&key));
}

int rest_core_key_delete(struct rest_call *call)
{
    struct repo *repo = call->rest->repo;
    const struct repo_scope scope = core_scope(call);
    struct uuid consumer;
    int rc = find_consumer(call, &consumer);

    if (rc == 0)
        rc = repo->ops->key_delete(repo, &scope, &consumer, &call->params[2].id, &call->commit,
                                   &call->error);
    return rc != 0 ? rc : rest_reply(call, REST_NO_CONTENT, NULL);
}

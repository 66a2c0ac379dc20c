/* sync_auth.c - POST /v1/sync/auth: whose key is this? Asked by a host whose store does not know
 * (yet) or is too old to say.
 *
 * The answer names the version of the history at which it was true, so that the host knows when its
 * feed has caught up with it. The version is read *before* the key is looked up: an answer may be
 * newer than it says, never older, and so no host keeps one past the change that ended it.
 */
#include <string.h>

#include "base/clock.h"
#include "control/rest/rest_entities.h"
#include "control/rest/rest_routes.h"
#include "control/rest/sync_http.h"

struct question {
    struct uuid control_plane_id;
    struct uuid realm_id;
    const char *secret;
};

enum { SET_REALM = 1 };

static const struct form_field question_fields[] = {
    {"control_plane_id", FORM_UUID, FORM_REQUIRED, 0, offsetof(struct question, control_plane_id),
     0, 0, NULL},
    {"realm_id", FORM_UUID, 0, SET_REALM, offsetof(struct question, realm_id), 0, 0, NULL},
    {"secret", FORM_QUESTION, FORM_REQUIRED, 0, offsetof(struct question, secret), 0, 0, NULL},
};
static const struct form question_form = {question_fields,
                                          sizeof(question_fields) / sizeof(question_fields[0])};

/* What is true of the answer whatever it is. */
static json_t *answer_json(const char *result, const struct repo_head *head,
                           const struct model_realm *realm)
{
    return json_pack("{s:s, s:o, s:I, s:i, s:i}", "result", result, "epoch",
                     json_of_uuid(&head->epoch), "version", (json_int_t)head->version, "ttl",
                     (int)realm->ttl_min, "negative_ttl", (int)realm->negative_ttl_min);
}

static json_t *consumer_json(const struct model_realm *realm, const struct model_consumer *consumer)
{
    return json_pack("{s:o, s:s?, s:s?, s:o}", "id", json_of_uuid(&consumer->id), "username",
                     consumer->username, "custom_id", consumer->custom_id, "consumer_groups",
                     rest_group_names(&realm->groups, &consumer->groups));
}

static json_t *found_json(const struct repo_head *head, const struct model_realm *realm,
                          const struct model_consumer *consumer, const struct model_key *key)
{
    json_t *json = answer_json("found", head, realm);

    rest_set(&json, "realm_name", json_pack("s?", realm->name));
    rest_set(&json, "consumer", consumer_json(realm, consumer));
    rest_set(&json, "credential",
             json_pack("{s:o, s:I}", "id", json_of_uuid(&key->id), "expires_at_ms",
                       (json_int_t)key->expires_at_ms));
    return json;
}

/* Looks the key up in `scope`; E_NOT_FOUND is an answer. */
static int sync_auth_answer(struct rest_call *call, const struct repo_scope *scope,
                            const char *secret, const struct repo_head *head,
                            const struct model_realm *realm)
{
    const struct repo_login login = {secret, strlen(secret), clock_wall_ms()};
    struct repo_owner owner;
    int rc = repo_authenticate(&call->repo, scope, &login, &owner);

    if (rc == E_NOT_FOUND)
        return rest_reply(call, REST_OK, answer_json("not_found", head, realm));
    if (rc != 0)
        return rc;
    return rest_reply(call, REST_OK,
                      found_json(head, realm, &owner.consumer.model, &owner.key.model));
}

/* The control plane's own consumers have no ttl, nor has a realm that is not there for the host. */
static const struct model_realm no_realm = {.ttl_min = REST_TTL_DEFAULT,
                                            .negative_ttl_min = REST_TTL_DEFAULT};

static int answer_realm(struct rest_call *call, const struct question *question,
                        const struct repo_head *head)
{
    const struct repo_scope scope = {REPO_SCOPE_REALM, question->realm_id};
    struct repo_realm realm;
    int rc = repo_realm_get(&call->repo, &scope.id, &realm);

    if (rc == E_NOT_FOUND)
        return rest_reply(call, REST_OK, answer_json("not_found", head, &no_realm));
    return rc == 0 ? sync_auth_answer(call, &scope, question->secret, head, &realm.model) : rc;
}

int sync_http_auth(struct rest_call *call)
{
    struct question question = {.secret = NULL};
    struct repo_scope own = {.kind = REPO_SCOPE_CP};
    struct repo_head head;
    unsigned set = form_read(call, &question_form, false, &question);
    int rc = rest_verdict(call);

    if (rc == 0)
        rc = sync_http_check_control_plane(call, &question.control_plane_id);
    if (rc == 0)
        rc = repo_head(call->rest->repo, &head, &call->error);
    if (rc != 0)
        return rc;
    if ((set & SET_REALM) != 0)
        return answer_realm(call, &question, &head);
    own.id = question.control_plane_id;
    return sync_auth_answer(call, &own, question.secret, &head, &no_realm);
}

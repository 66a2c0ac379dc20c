/* rest_tokens.c - /v1/tokens: access for people, programs and data-plane hosts. */
#include <string.h>

#include <openssl/crypto.h>

#include "control/rest/rest_entities.h"
#include "control/rest/rest_routes.h"

enum { SET_CONTROL_PLANE = 1 };

static const struct form_field token_fields[] = {
    {"name", FORM_NAME, FORM_REQUIRED, 0, offsetof(struct repo_token, name), 0, 0, NULL},
    {"role", FORM_CHOICE, FORM_REQUIRED, 0, offsetof(struct repo_token, role), 0, 0,
     auth_role_names},
    {"control_plane_id", FORM_UUID, 0, SET_CONTROL_PLANE,
     offsetof(struct repo_token, control_plane_id), 0, 0, NULL},
};
static const struct form token_form = {token_fields,
                                       sizeof(token_fields) / sizeof(token_fields[0])};

static json_t *token_json(const struct repo_token *token)
{
    return json_pack("{s:o, s:s, s:s, s:o, s:o}", "id", json_of_uuid(&token->id), "name",
                     token->name, "role", auth_role_names[token->role], "control_plane_id",
                     token->has_control_plane ? json_of_uuid(&token->control_plane_id)
                                              : json_null(),
                     "created_at", json_of_time(token->created_ms));
}

int rest_token_list(struct rest_call *call)
{
    struct repo_token_rows tokens;
    struct repo_page page;
    json_t *data;
    int rc;

    rest_page_read(call, NULL, &page);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_token_list(&call->repo, &page, &tokens);
    if (rc != 0)
        return rc;
    data = json_array();
    for (size_t i = 0; i < tokens.count; i++)
        rest_append(&data, token_json(&tokens.items[i]));
    return rest_page_reply(call, &page, &tokens.info, data,
                           tokens.count > 0 ? &tokens.items[0].id : NULL,
                           tokens.count > 0 ? &tokens.items[tokens.count - 1].id : NULL);
}

static void check_binding(struct rest_call *call, const struct repo_token *input)
{
    static const bool may_be_bound[REPO_ROLES] = {
        [REPO_ROLE_CONTROL_PLANE_ADMIN] = true,
        [REPO_ROLE_DATA_PLANE] = true,
    };

    if (input->role == REPO_ROLE_DATA_PLANE && !input->has_control_plane)
        (void)rest_invalid(call, "body", "control_plane_id", "dependent_fields",
                           "is required with role data-plane");
    if (input->has_control_plane && !may_be_bound[input->role])
        (void)rest_invalid(call, "body", "control_plane_id", "dependent_fields",
                           "must not be given with role %s", auth_role_names[input->role]);
}

int rest_token_create(struct rest_call *call)
{
    struct repo_token input = {0};
    struct repo_token token;
    char secret[AUTH_SECRET_SIZE];
    uint8_t hash[DIGEST_BYTES];
    json_t *answer;
    int rc;

    input.has_control_plane =
        (form_read(call, &token_form, false, &input) & SET_CONTROL_PLANE) != 0;
    rc = rest_verdict(call);
    if (rc == 0) {
        check_binding(call, &input);
        rc = rest_verdict(call);
    }
    if (rc != 0)
        return rc;
    if (auth_generate_secret("rst_", secret) != 0)
        return error_set(&call->error, E_IO, "no token could be generated");
    digest_sha256(secret, strlen(secret), hash);
    rc = repo_token_create(&call->repo, &input, hash, &token);
    if (rc == 0) {
        answer = token_json(&token);
        rest_set(&answer, "token", json_string(secret));
        rc = rest_reply(call, REST_CREATED, answer);
    }
    OPENSSL_cleanse(secret, sizeof(secret));
    return rc;
}

int rest_token_delete(struct rest_call *call)
{
    int rc = repo_token_delete(&call->repo, &call->params[0].id);

    if (rc != 0)
        return rc;
    feed_revoke(call->rest->feed, &call->params[0].id);
    return rest_reply(call, REST_NO_CONTENT, NULL);
}

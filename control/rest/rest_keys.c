/* rest_keys.c - /v1/realms/{realmId}/consumers/{consumerId}/keys.
 *
 * A secret is in the creation's answer and nowhere else: neither stored nor logged.
 */
#include <string.h>

#include <openssl/crypto.h>

#include "control/rest/rest_entities.h"
#include "control/rest/rest_routes.h"

static const char *const key_types[] = {[REPO_KEY_NEW] = "new", [REPO_KEY_LEGACY] = "legacy", NULL};

struct key_form {
    struct repo_key key;
    const char *secret;
};

enum { SET_SECRET = 1 };

static const struct form_field key_fields[] = {
    {"type", FORM_CHOICE, FORM_REQUIRED, 0, offsetof(struct key_form, key.type), 0, 0, key_types},
    {"secret", FORM_SECRET, 0, SET_SECRET, offsetof(struct key_form, secret), 0, 0, NULL},
    {"tags", FORM_LABELS, FORM_NULLABLE, 0, offsetof(struct key_form, key.model.tags), 0, 0, NULL},
    {"expires_at", FORM_TIME, FORM_NULLABLE, 0, offsetof(struct key_form, key.model.expires_at_ms),
     0, 0, NULL},
};
static const struct form key_form = {key_fields, sizeof(key_fields) / sizeof(key_fields[0])};

static json_t *rest_keys_key_json(const struct repo_key *key)
{
    json_t *json = json_pack("{s:o, s:s, s:o, s:o}", "id", json_of_uuid(&key->model.id), "type",
                             key_types[key->type], "tags", json_of_strings(&key->model.tags),
                             "created_at", json_of_time(key->created_ms));

    if (key->model.expires_at_ms != 0)
        rest_set(&json, "expires_at", json_of_time(key->model.expires_at_ms));
    return json;
}

int rest_key_list(struct rest_call *call)
{
    const struct repo_path path = rest_realm_path(call);
    struct repo_key_rows keys;
    struct repo_page page;
    json_t *data;
    int rc;

    rest_page_read(call, NULL, &page);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_key_list(&call->repo, &path, &page, &keys);
    if (rc != 0)
        return rc;
    data = json_array();
    for (size_t i = 0; i < keys.count; i++)
        rest_append(&data, rest_keys_key_json(&keys.items[i]));
    return rest_page_reply(call, &page, &keys.info, data,
                           keys.count > 0 ? &keys.items[0].model.id : NULL,
                           keys.count > 0 ? &keys.items[keys.count - 1].model.id : NULL);
}

/* "rsk_us_" and 43 characters: the prefix lets secret scanners and people recognise one. */
static const char *generate(struct rest_call *call)
{
    char secret[AUTH_SECRET_SIZE];
    char prefix[AUTH_PREFIX_MAX + 1];
    const char *copy;

    (void)snprintf(prefix, sizeof(prefix), "rsk_%s_", call->rest->region);
    if (auth_generate_secret(prefix, secret) != 0)
        return NULL;
    copy = arena_string(call->arena, secret);
    OPENSSL_cleanse(secret, sizeof(secret));
    return copy;
}

int rest_key_make(struct rest_call *call, const struct repo_path *path,
                  const struct repo_key *input, const char **secret, struct repo_key *ret)
{
    struct repo_key_input made = {.key = *input};

    if (*secret == NULL)
        *secret = generate(call);
    if (*secret == NULL)
        return error_set(&call->error, E_IO, "no secret could be generated");
    made.secret = *secret;
    made.secret_size = strlen(*secret);
    return repo_key_create(&call->repo, path, &made, ret);
}

static void check_secret(struct rest_call *call, const struct key_form *input, unsigned set)
{
    bool given = (set & SET_SECRET) != 0;

    if (input->key.type == REPO_KEY_LEGACY && !given)
        (void)rest_invalid(call, "body", "secret", "dependent_fields",
                           "is required with type legacy");
    if (input->key.type == REPO_KEY_NEW && given)
        (void)rest_invalid(call, "body", "secret", "dependent_fields",
                           "must not be given with type new: the server generates it");
}

int rest_key_create(struct rest_call *call)
{
    const struct repo_path path = rest_realm_path(call);
    struct key_form input = {0};
    struct repo_key key;
    json_t *answer;
    unsigned set = form_read(call, &key_form, false, &input);
    int rc = rest_verdict(call);

    if (rc == 0) {
        check_secret(call, &input, set);
        rc = rest_verdict(call);
    }
    if (rc == 0)
        rc = rest_key_make(call, &path, &input.key, &input.secret, &key);
    if (rc != 0)
        return rc;
    answer = rest_keys_key_json(&key);
    rest_set(&answer, "secret", json_string(input.secret));
    rest_set(&answer, "updated_at", json_of_time(key.updated_ms));
    return rest_reply(call, REST_CREATED, answer);
}

int rest_key_get(struct rest_call *call)
{
    const struct repo_path path = rest_realm_path(call);
    struct repo_key key;
    int rc = repo_key_get(&call->repo, &path, &key);

    return rc != 0 ? rc : rest_reply(call, REST_OK, rest_keys_key_json(&key));
}

int rest_key_delete(struct rest_call *call)
{
    const struct repo_path path = rest_realm_path(call);
    int rc = repo_key_delete(&call->repo, &path);

    return rc != 0 ? rc : rest_reply(call, REST_NO_CONTENT, NULL);
}

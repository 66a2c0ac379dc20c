/* ask_answer.c - see ask_answer.h. */
#include "agent/ask_answer.h"

#include <string.h>
#include <jansson.h>

enum { MINUTE_MS = 60 * 1000 };

static int malformed(struct error *err, const char *what)
{
    return error_set(err, E_PROTOCOL, "the control plane's answer %s", what);
}

/* The array of a found answer, checked; a new reference or NULL. */
static json_t *read_groups(const json_t *groups)
{
    json_t *copy = json_array();

    if (!json_is_array(groups) || json_array_size(groups) > 2 * (size_t)MODEL_LABELS_MAX) {
        json_decref(copy);
        return NULL;
    }
    for (size_t i = 0; i < json_array_size(groups); i++) {
        json_t *name = json_array_get(groups, i);

        if (!json_is_string(name) || json_array_append(copy, name) != 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

static bool is_uuid(const char *text)
{
    struct uuid ignored;

    return text != NULL && uuid_parse(text, &ignored);
}

/* A name that may be null; false: it is something else. */
static bool read_name(const json_t *object, const char *member, const char **ret)
{
    const json_t *value = json_object_get(object, member);

    *ret = json_string_value(value);
    return json_is_string(value) || json_is_null(value);
}

/* The text that gateways get; NULL with the reason in *err. */
static char *found_text(const struct ask_place *place, const json_t *json, struct error *err)
{
    const json_t *consumer = json_object_get(json, "consumer");
    const json_t *credential = json_object_get(json, "credential");
    struct ask_found found = {.id = json_string_value(json_object_get(consumer, "id")),
                              .credential_id =
                                  json_string_value(json_object_get(credential, "id"))};
    json_t *groups;
    char *text;

    if (!is_uuid(found.id) || !is_uuid(found.credential_id) ||
        !read_name(json, "realm_name", &found.realm_name) ||
        !read_name(consumer, "username", &found.username) ||
        !read_name(consumer, "custom_id", &found.custom_id)) {
        (void)malformed(err, "has no good consumer or credential");
        return NULL;
    }
    groups = read_groups(json_object_get(consumer, "consumer_groups"));
    if (groups == NULL) {
        (void)malformed(err, "has no good consumer_groups");
        return NULL;
    }
    text = ask_found_text(place, &found, groups);
    if (text == NULL)
        (void)error_set(err, E_NO_MEMORY, NULL);
    return text;
}

/* What both kinds of answers say. */
static int read_times(json_t *json, struct ask_answer *ret, struct error *err)
{
    const char *result = NULL;
    const char *epoch = NULL;
    json_int_t version = 0;
    json_int_t ttl = 0;
    json_int_t negative_ttl = 0;
    json_int_t minutes;

    if (json_unpack(json, "{s:s, s:s, s:I, s:I, s:I}", "result", &result, "epoch", &epoch,
                    "version", &version, "ttl", &ttl, "negative_ttl", &negative_ttl) != 0 ||
        version < 0 || !uuid_parse(epoch, &ret->cursor.epoch))
        return malformed(err, "lacks its result, version or times");
    ret->found = strcmp(result, "found") == 0;
    if (!ret->found && strcmp(result, "not_found") != 0)
        return malformed(err, "has an unknown result");
    minutes = ret->found ? ttl : negative_ttl;
    if (minutes < 0 || minutes > INT32_MAX)
        return malformed(err, "has a ttl out of range");
    ret->ttl_ms = minutes * MINUTE_MS;
    ret->cursor.version = (uint64_t)version;
    return 0;
}

int ask_answer_read(const struct ask_place *place, const void *bytes, size_t size,
                    struct ask_answer *ret, char **ret_text, struct error *err)
{
    json_t *json = json_loadb(size > 0 ? bytes : "", size, JSON_REJECT_DUPLICATES, NULL);
    struct ask_answer answer = {.found = false};
    char *text = NULL;
    int rc;

    if (json_is_object(json))
        rc = read_times(json, &answer, err);
    else
        rc = malformed(err, "is not a JSON object");
    if (rc == 0 && answer.found) {
        answer.expires_wall_ms = json_integer_value(
            json_object_get(json_object_get(json, "credential"), "expires_at_ms"));
        answer.text = text = found_text(place, json, err);
        rc = text != NULL ? 0 : err->code;
    }
    json_decref(json);
    if (rc != 0)
        return rc;
    *ret = answer;
    *ret_text = text;
    return 0;
}

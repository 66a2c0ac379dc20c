/* ask_question.c - see ask_question.h. */
#include "agent/ask_question.h"

#include <stdlib.h>
#include <string.h>

#include "base/grammar.h"

/* ---- reading ---- */

static int invalid(struct error *err, const char *what)
{
    return error_set(err, E_INVALID, "%s", what);
}

static int read_region(const json_t *source, struct ask_place *ret, struct error *err)
{
    const json_t *region = json_object_get(source, "region");
    size_t size = json_string_length(region);
    const char *text = json_string_value(region);

    if (region == NULL || json_is_null(region))
        return 0;
    if (text == NULL || grammar_check(GRAMMAR_REGION, GRAMMAR_TAKEN, text, size, NULL) != 0)
        return invalid(err, "sources: a region is 1 to 63 of a-z, 0-9 and -");
    memcpy(ret->region, text, size + 1);
    return 0;
}

static int read_place(const json_t *source, struct ask_place *ret, struct error *err)
{
    const char *type = json_string_value(json_object_get(source, "type"));
    const char *id = json_string_value(json_object_get(source, "id"));

    if (type != NULL && strcmp(type, "realm") == 0)
        ret->is_realm = true;
    else if (type == NULL || strcmp(type, "cp") != 0)
        return invalid(err, "sources: a type is \"realm\" or \"cp\"");
    if (ret->is_realm && (id == NULL || !uuid_parse(id, &ret->realm_id)))
        return invalid(err, "sources: a realm's id is a UUID");
    return read_region(source, ret, err);
}

static int read_places(const json_t *sources, struct ask_question *question, struct error *err)
{
    size_t count = json_array_size(sources); /* 0 for what is no array */

    if (count == 0 || count > ASK_PLACES_MAX)
        return error_set(err, E_INVALID, "sources must be an array of 1 to %d objects",
                         ASK_PLACES_MAX);
    question->places = calloc(count, sizeof(*question->places));
    if (question->places == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    question->n_places = count;
    for (size_t i = 0; i < count; i++) {
        int rc = read_place(json_array_get(sources, i), &question->places[i], err);

        if (rc != 0)
            return rc;
    }
    return 0;
}

static int read_secret(const json_t *secret, struct ask_question *question, struct error *err)
{
    if (!json_is_string(secret))
        return invalid(err, "secret must be text");
    question->secret_size = json_string_length(secret);
    question->secret = malloc(question->secret_size + 1);
    if (question->secret == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    memcpy(question->secret, json_string_value(secret), question->secret_size + 1);
    return 0;
}

int ask_question_parse(const void *bytes, size_t size, struct ask_question **ret, struct error *err)
{
    struct ask_question *question = calloc(1, sizeof(*question));
    json_error_t fault;
    json_t *body;
    int rc;

    if (question == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    body = json_loadb(size > 0 ? bytes : "", size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                      &fault); /* a key with a NUL is nobody's, like any other that cannot be */
    if (json_is_object(body))
        rc = read_secret(json_object_get(body, "secret"), question, err);
    else /* the parser's own text would quote the input, which may be the secret */
        rc = error_set(err, E_INVALID, "the body is not one JSON object (line %d, column %d)",
                       body == NULL ? fault.line : 1, body == NULL ? fault.column : 1);
    if (rc == 0)
        rc = read_places(json_object_get(body, "sources"), question, err);
    json_decref(body);
    if (rc == 0)
        *ret = question;
    else
        ask_question_destroy(question);
    return rc;
}

void ask_question_destroy(struct ask_question *question)
{
    if (question == NULL)
        return;
    if (question->secret != NULL)
        explicit_bzero(question->secret, question->secret_size);
    free(question->secret);
    free(question->places);
    free(question);
}

/* ---- writing ---- */

static char *dump(json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return text;
}

static json_t *place_json(const struct ask_place *place)
{
    char id[UUID_TEXT_SIZE];

    if (!place->is_realm)
        return json_pack("{s:s, s:s}", "type", "cp", "region", place->region);
    return json_pack("{s:s, s:s, s:s}", "type", "realm", "region", place->region, "id",
                     uuid_format(&place->realm_id, id));
}

char *ask_found_text(const struct ask_place *place, const struct ask_found *found, json_t *groups)
{
    return dump(json_pack("{s:s, s:o, s:s?, s:{s:s, s:s?, s:s?, s:o}, s:{s:s}}", "result", "found",
                          "source", place_json(place), "realm_name", found->realm_name, "consumer",
                          "id", found->id, "username", found->username, "custom_id",
                          found->custom_id, "consumer_groups", groups, "credential", "id",
                          found->credential_id));
}

char *ask_not_found_text(void)
{
    return strdup("{\"result\":\"not_found\"}");
}

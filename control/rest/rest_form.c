/* rest_form.c - see rest_form.h. */
#include "control/rest/rest_form.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"

struct reading {
    struct rest_call *call;
    const struct form_field *field;
    const char *name; /* as reported: the field's, or "field[3]" */
};

static const char source_body[] = "body";

/* `what`: "at least" etc.; `unit`: what is counted, with a leading space, or "". */
static void limit_violation(const struct reading *reading, const char *rule, const char *member,
                            int64_t limit, const char *what, const char *unit)
{
    json_t *violation = rest_invalid(reading->call, source_body, reading->name, rule,
                                     "must be %s %" PRId64 "%s", what, limit, unit);

    (void)json_object_set_new(violation, member, json_integer(limit));
}

static void type_violation(const struct reading *reading, const char *rule, const char *what)
{
    (void)rest_invalid(reading->call, source_body, reading->name, rule, "must be %s", what);
}

/* Text by the one grammar, or NULL after a violation. A host's name is made by its agent, perhaps
 * an older one: it is taken, not made, here. */
static const char *text_of(const struct reading *reading, const json_t *value,
                           enum grammar_kind kind)
{
    const char *text = json_string_value(value);
    struct grammar_fault fault;

    if (text == NULL) {
        type_violation(reading, "is_string", "a string");
        return NULL;
    }
    if (grammar_check(kind, kind == GRAMMAR_HOST ? GRAMMAR_TAKEN : GRAMMAR_MADE, text, strlen(text),
                      &fault) == GRAMMAR_GOOD)
        return text;
    rest_invalid_text(reading->call, source_body, reading->name, kind, &fault);
    return NULL;
}

static void read_text(const struct reading *reading, const json_t *value, void *out)
{
    static const enum grammar_kind grammars[FORM_KINDS] = {
        [FORM_NAME] = GRAMMAR_NAME,
        [FORM_LABEL] = GRAMMAR_LABEL,
        [FORM_SECRET] = GRAMMAR_SECRET,
        [FORM_HOST] = GRAMMAR_HOST,
    };
    const char *text = text_of(reading, value, grammars[reading->field->kind]);

    if (text != NULL)
        *(const char **)out = text;
}

/* What nobody can have as a key is a key that nobody has: never a fault of the question. */
static void read_question(const struct reading *reading, const json_t *value, void *out)
{
    if (json_is_string(value))
        *(const char **)out = json_string_value(value);
    else
        type_violation(reading, "is_string", "a string");
}

/* One item of FORM_CONTROL_PLANES in its one spelling, or NULL after a violation. */
static const char *control_plane_of(const struct reading *reading, const json_t *value)
{
    const char *text = json_string_value(value);
    char canonical[UUID_TEXT_SIZE];
    struct uuid id;

    if (text == NULL)
        type_violation(reading, "is_string", "a string");
    if (text == NULL || strcmp(text, "*") == 0)
        return text;
    if (!uuid_parse(text, &id)) {
        type_violation(reading, "is_uuid", "a UUID or \"*\"");
        return NULL;
    }
    text = arena_string(reading->call->arena, uuid_format(&id, canonical));
    if (text == NULL)
        reading->call->no_memory = true;
    return text;
}

/* All items, or false after a violation. */
static bool read_items(const struct reading *reading, const json_t *value, const char **items)
{
    bool good = true;
    json_t *item;
    size_t i;

    json_array_foreach(value, i, item)
    {
        char name[64];
        struct reading one = {reading->call, reading->field, name};

        (void)snprintf(name, sizeof(name), "%s[%zu]", reading->name, i);
        items[i] = reading->field->kind == FORM_CONTROL_PLANES ? control_plane_of(&one, item)
                                                               : text_of(&one, item, GRAMMAR_LABEL);
        good = good && items[i] != NULL;
    }
    return good;
}

static bool are_unique(const char *const *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(items[i], items[j]) == 0)
                return false;
        }
    }
    return true;
}

static void read_strings(const struct reading *reading, const json_t *value, void *out)
{
    size_t count = json_array_size(value);
    const char **items;

    if (!json_is_array(value)) {
        type_violation(reading, "is_array", "an array of strings");
        return;
    }
    if (count > MODEL_LABELS_MAX) {
        json_t *violation = rest_invalid(reading->call, source_body, reading->name, "max_items",
                                         "must have at most %d items", MODEL_LABELS_MAX);

        (void)json_object_set_new(violation, "maximum", json_integer(MODEL_LABELS_MAX));
        return;
    }
    items = arena_array(reading->call->arena, count, sizeof(*items));
    if (items == NULL) {
        reading->call->no_memory = true;
        return;
    }
    if (!read_items(reading, value, items))
        return;
    if (!are_unique(items, count))
        (void)rest_invalid(reading->call, source_body, reading->name, "unique_items",
                           "must not repeat an item");
    *(struct model_strings *)out = (struct model_strings){items, count};
}

static bool read_integer(const struct reading *reading, const json_t *value, int64_t *ret)
{
    const struct form_field *field = reading->field;
    int64_t number = json_integer_value(value);

    if (!json_is_integer(value))
        type_violation(reading, "is_integer", "a whole number");
    else if (number < field->min)
        limit_violation(reading, "min", "minimum", field->min, "at least", "");
    else if (field->max > 0 && number > field->max)
        limit_violation(reading, "max", "maximum", field->max, "at most", "");
    else {
        *ret = number;
        return true;
    }
    return false;
}

static void read_uint32(const struct reading *reading, const json_t *value, void *out)
{
    int64_t number;

    if (read_integer(reading, value, &number))
        *(uint32_t *)out = (uint32_t)number;
}

static void read_uint64(const struct reading *reading, const json_t *value, void *out)
{
    int64_t number;

    if (read_integer(reading, value, &number))
        *(uint64_t *)out = (uint64_t)number;
}

static void read_boolean(const struct reading *reading, const json_t *value, void *out)
{
    if (json_is_boolean(value))
        *(bool *)out = json_is_true(value);
    else
        type_violation(reading, "is_boolean", "true or false");
}

static void read_choice(const struct reading *reading, const json_t *value, void *out)
{
    const char *const *choices = reading->field->choices;
    const char *text = json_string_value(value);
    json_t *listed;
    json_t *violation;

    for (int i = 0; text != NULL && choices[i] != NULL; i++) {
        if (strcmp(text, choices[i]) == 0) {
            memcpy(out, &i, sizeof(i)); /* any enum: they are as large as an int */
            return;
        }
    }
    if (text == NULL) {
        type_violation(reading, "is_string", "a string");
        return;
    }
    violation = rest_invalid(reading->call, source_body, reading->name, "enum",
                             "must be one of the choices");
    listed = json_array();
    for (; *choices != NULL; choices++)
        (void)json_array_append_new(listed, json_string(*choices));
    (void)json_object_set_new(violation, "choices", listed);
}

static void read_uuid(const struct reading *reading, const json_t *value, void *out)
{
    const char *text = json_string_value(value);

    if (text == NULL)
        type_violation(reading, "is_string", "a string");
    else if (!uuid_parse(text, out))
        type_violation(reading, "is_uuid", "a UUID");
}

static void read_time(const struct reading *reading, const json_t *value, void *out)
{
    const char *text = json_string_value(value);
    int64_t time_ms;

    if (text == NULL)
        type_violation(reading, "is_string", "a string");
    else if (clock_parse_iso(text, &time_ms) != 0)
        type_violation(reading, "is_date_time", "a date and time like 2030-01-31T23:59:59Z");
    else if (time_ms <= clock_wall_ms())
        type_violation(reading, "is_future", "in the future");
    else
        *(int64_t *)out = time_ms;
}

static void read_any(const struct reading *reading, const json_t *value, void *out)
{
    (void)reading;
    (void)value;
    (void)out;
}

static const struct {
    void (*read)(const struct reading *reading, const json_t *value, void *out);
    size_t size; /* of what stands at the offset, zeroed for null */
} kinds[FORM_KINDS] = {
    [FORM_NAME] = {read_text, sizeof(const char *)},
    [FORM_LABEL] = {read_text, sizeof(const char *)},
    [FORM_SECRET] = {read_text, sizeof(const char *)},
    [FORM_HOST] = {read_text, sizeof(const char *)},
    [FORM_QUESTION] = {read_question, sizeof(const char *)},
    [FORM_LABELS] = {read_strings, sizeof(struct model_strings)},
    [FORM_CONTROL_PLANES] = {read_strings, sizeof(struct model_strings)},
    [FORM_UINT32] = {read_uint32, sizeof(uint32_t)},
    [FORM_UINT64] = {read_uint64, sizeof(uint64_t)},
    [FORM_BOOLEAN] = {read_boolean, sizeof(bool)},
    [FORM_CHOICE] = {read_choice, sizeof(int)},
    [FORM_UUID] = {read_uuid, sizeof(struct uuid)},
    [FORM_TIME] = {read_time, sizeof(int64_t)},
    [FORM_ANY] = {read_any, 0},
};

static bool is_known(const struct form *form, const char *name)
{
    for (size_t i = 0; i < form->count; i++) {
        if (strcmp(form->fields[i].name, name) == 0)
            return true;
    }
    return false;
}

static void refuse_unknown(struct rest_call *call, const struct form *form)
{
    const char *name;
    json_t *value;

    json_object_foreach(call->body, name, value)
    {
        if (!is_known(form, name))
            (void)rest_invalid(call, source_body, name, "unknown_property", "is not known here");
    }
}

unsigned form_read(struct rest_call *call, const struct form *form, bool partial, void *target)
{
    unsigned present = 0;

    refuse_unknown(call, form);
    for (size_t i = 0; i < form->count; i++) {
        const struct form_field *field = &form->fields[i];
        const struct reading reading = {call, field, field->name};
        const json_t *value = json_object_get(call->body, field->name);
        char *out = (char *)target + field->offset;

        if (value == NULL) {
            if ((field->flags & FORM_REQUIRED) != 0 && !partial)
                (void)rest_invalid(call, source_body, field->name, "required", "is required");
            continue;
        }
        present |= field->bit;
        if (json_is_null(value) && (field->flags & FORM_NULLABLE) != 0)
            memset(out, 0, kinds[field->kind].size);
        else
            kinds[field->kind].read(&reading, value, out);
    }
    return present;
}

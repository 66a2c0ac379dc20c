/* json.c - see json.h. */
#include "control/rest/json.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/wipe.h"

struct fault_text {
    enum json_error_code code;
    const char *rule;
    const char *text;
};

/* jansson's own texts quote the input. */
static const struct fault_text fault_texts[] = {
    {json_error_stack_overflow, "max_depth", "is nested too deeply"},
    {json_error_invalid_utf8, "is_utf8", "is not valid UTF-8"},
    {json_error_premature_end_of_input, "is_json", "ends too early"},
    {json_error_end_of_input_expected, "is_json", "goes on behind the object"},
    {json_error_null_character, "no_nul", "has a NUL character in a string"},
    {json_error_null_byte_in_key, "no_nul", "has a NUL character in a member's name"},
    {json_error_duplicate_key, "unique_members", "names a member twice"},
    {json_error_numeric_overflow, "is_json", "has a number that is too large"},
};

static void fill_fault(const json_error_t *error, struct json_fault *ret)
{
    enum json_error_code code = json_error_code(error);

    *ret = (struct json_fault){
        .rule = "is_json", .text = "is not JSON", .line = error->line, .column = error->column};
    if (code == json_error_out_of_memory)
        ret->rule = NULL;
    for (size_t i = 0; i < sizeof(fault_texts) / sizeof(fault_texts[0]); i++) {
        if (fault_texts[i].code == code) {
            ret->rule = fault_texts[i].rule;
            ret->text = fault_texts[i].text;
        }
    }
}

void json_wipe_memory(void)
{
    json_set_alloc_funcs(malloc, wipe_free);
}

json_t *json_read_object(const char *bytes, size_t size, struct json_fault *ret_fault)
{
    json_error_t error;
    json_t *value;

    /* jansson takes no NULL, and an empty text ends too early like any other. */
    value = json_loadb(bytes != NULL ? bytes : "", size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
                       &error);
    if (value == NULL) {
        fill_fault(&error, ret_fault);
        return NULL;
    }
    if (json_is_object(value))
        return value;
    json_decref(value);
    *ret_fault = (struct json_fault){.rule = "is_object", .text = "must be a JSON object"};
    return NULL;
}

json_t *json_of_uuid(const struct uuid *uuid)
{
    char text[UUID_TEXT_SIZE];

    return json_string(uuid_format(uuid, text));
}

json_t *json_of_strings(const struct model_strings *strings)
{
    json_t *array = json_array();

    if (array == NULL)
        return NULL;
    for (size_t i = 0; i < strings->count; i++) {
        if (json_array_append_new(array, json_string(strings->items[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

json_t *json_of_time(int64_t wall_ms)
{
    char text[CLOCK_ISO_SIZE];

    return json_string(clock_format_iso(wall_ms, text));
}

json_t *json_of_epoch(int64_t wall_ms)
{
    return json_integer(wall_ms / 1000);
}

/* rest_call.c - what every route needs of its call: violations are recorded, answers are set. */
#include "control/rest/rest_call.h"

#include <stdarg.h>
#include <stdio.h>

/* Of one request; a body can have 100,000 unknown members. */
enum { VIOLATIONS_MAX = 100 };

/* ---- violations ---- */

json_t *rest_invalid(struct rest_call *call, const char *source, const char *field,
                     const char *rule, const char *format, ...)
{
    char reason[256];
    va_list args;
    json_t *violation;

    if (json_array_size(call->invalid) >= VIOLATIONS_MAX)
        return NULL;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    if (call->invalid == NULL)
        call->invalid = json_array();
    violation = json_pack("{s:s, s:s, s:s, s:s}", "field", field, "reason", reason, "rule", rule,
                          "source", source);
    if (json_array_append_new(call->invalid, violation) == 0)
        return violation;
    call->no_memory = true;
    return NULL;
}

void rest_invalid_text(struct rest_call *call, const char *source, const char *field,
                       enum grammar_kind kind, const struct grammar_fault *fault)
{
    const struct grammar_limits limits = grammar_limits(kind);
    char reason[GRAMMAR_TEXT_SIZE];
    json_t *violation = rest_invalid(call, source, field, grammar_rule_name(fault->rule), "%s",
                                     grammar_explain(kind, fault, reason));

    if (fault->rule == GRAMMAR_MIN_LENGTH)
        (void)json_object_set_new(violation, "minimum", json_integer((json_int_t)limits.min));
    if (fault->rule == GRAMMAR_MAX_LENGTH)
        (void)json_object_set_new(violation, "maximum", json_integer((json_int_t)limits.max));
}

int rest_verdict(struct rest_call *call)
{
    if (call->no_memory)
        return error_set(&call->error, E_NO_MEMORY, NULL);
    if (json_array_size(call->invalid) > 0)
        return error_set(&call->error, E_INVALID, "Invalid Parameters");
    return 0;
}

/* ---- answers ---- */

int rest_reply(struct rest_call *call, unsigned status, json_t *answer)
{
    if (answer == NULL && status != REST_NO_CONTENT)
        return error_set(&call->error, E_NO_MEMORY, NULL);
    call->status = status;
    call->answer = answer;
    return 0;
}

static void keep_if(bool ok, json_t **json)
{
    if (ok)
        return;
    json_decref(*json);
    *json = NULL;
}

void rest_append(json_t **json, json_t *value)
{
    keep_if(json_array_append_new(*json, value) == 0, json);
}

void rest_set(json_t **json, const char *name, json_t *value)
{
    keep_if(json_object_set_new(*json, name, value) == 0, json);
}

/* args.h - parameters in a query or a form body: name=value&name=value, percent-encoded, + for a
 * space. What does not decode stays as it is.
 */
#ifndef GATE_ARGS_H
#define GATE_ARGS_H

#include "gateway/core/text.h"

/* What stands under a name, in a query, a body or the headers. */
enum gate_value {
    GATE_VALUE_NONE,
    GATE_VALUE_STRING,
    GATE_VALUE_OTHER,   /* there, but no string: looked for no further under this name */
    GATE_VALUE_REPEATED /* more than one */
};

/* Looks for the parameter `name`. GATE_VALUE_STRING: its value, still encoded, is in *ret. */
enum gate_value gate_args_find(struct gate_text args, struct gate_text name, struct gate_text *ret);
/* Writes the decoded text, which is no longer than the encoded one, and gives its size. */
size_t gate_args_decode(struct gate_text encoded, char *out);

/* Whether an encoded name means `name`; `any_case`: letters of both cases are equal. */
bool gate_args_means(struct gate_text encoded, struct gate_text name, bool any_case);

/* Writes the parameters that are called one of `names`, at most as much as there was; gives the
 * size. */
size_t gate_args_named(struct gate_text args, struct gate_names names, char *out);
/* Whether there are some that an upstream may take for one of `names`: in any case, and behind a ;
 * as some separate them. */
bool gate_args_may_have(struct gate_text args, struct gate_names names);
/* Writes what is left without those. */
size_t gate_args_others(struct gate_text args, struct gate_names names, char *out);

#endif

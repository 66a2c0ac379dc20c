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

/* How many parameters are called `name`. */
size_t gate_args_count(struct gate_text args, struct gate_text name);
/* Writes `args` without the parameters called `name`, at most as much as there was; the size. */
size_t gate_args_cut(struct gate_text args, struct gate_text name, char *out);

enum { GATE_MASK_SIZE = 3 };
/* The same, but their values become "***": up to GATE_MASK_SIZE more for each of them. */
size_t gate_args_mask(struct gate_text args, struct gate_text name, char *out);

#endif

/* rest_form.h - reading a JSON object into a struct by a table of its members.
 *
 * Every violation is recorded with its rule; the struct is only good to use when rest_verdict()
 * says so. Strings are borrowed from the JSON value, arrays live in the call's arena.
 */
#ifndef RS_CONTROL_REST_FORM_H
#define RS_CONTROL_REST_FORM_H

#include "control/rest/rest_call.h"

/* What stands at `offset`. */
enum form_kind {
    FORM_NAME,           /* const char *; text of base/grammar.h, as the next ones */
    FORM_LABEL,          /* const char * */
    FORM_SECRET,         /* const char * */
    FORM_HOST,           /* const char * */
    FORM_QUESTION,       /* const char *; a secret that is asked for, of whatever bytes */
    FORM_LABELS,         /* struct model_strings */
    FORM_CONTROL_PLANES, /* struct model_strings: UUIDs in lower case, or "*" */
    FORM_UINT32,         /* uint32_t; limits of the value */
    FORM_UINT64,         /* uint64_t */
    FORM_BOOLEAN,        /* bool */
    FORM_CHOICE,         /* an enum; the index in `choices` */
    FORM_UUID,           /* struct uuid */
    FORM_TIME,           /* int64_t, ms since 1970; 0 for null */
    FORM_ANY,            /* nothing: accepted and passed over */
    FORM_KINDS
};

enum form_flags {
    FORM_REQUIRED = 1 << 0, /* unless the form is read as a partial one */
    FORM_NULLABLE = 1 << 1  /* null stands for the zero value */
};

struct form_field {
    const char *name;
    enum form_kind kind;
    unsigned flags;
    unsigned bit; /* of the result, when the member is present */
    size_t offset;
    int64_t min;                /* of a number */
    int64_t max;                /* 0: no limits */
    const char *const *choices; /* NULL-terminated */
};

struct form {
    const struct form_field *fields;
    size_t count;
};

/* Reads call->body into `target`, which holds the defaults. Returns the bits of the members that
 * are present. `partial`: required members may be absent (but not null). */
unsigned form_read(struct rest_call *call, const struct form *form, bool partial, void *target);

#endif

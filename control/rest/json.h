/* json.h - between JSON text, jansson values and the model.
 *
 * Builders return a new reference or NULL when out of memory; json_pack's "o" passes such a NULL
 * on, so that a whole document is checked once.
 */
#ifndef RS_CONTROL_JSON_H
#define RS_CONTROL_JSON_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/model.h"

/* What is wrong with a body that cannot be read. */
struct json_fault {
    const char *rule; /* "is_json", "is_object", "unique_members", ... */
    const char *text; /* a sentence part; never quotes the input, which may hold secrets */
    int line;         /* 0: does not apply */
    int column;
};

/* From now on, memory that JSON values give back is overwritten: bodies hold secrets. Before the
 * first value is made. */
void json_wipe_memory(void);

/* Reads one JSON object. Refused: duplicate members, NUL in strings, invalid UTF-8, anything behind
 * the object, nesting without end. NULL with *ret_fault filled (rule NULL: out of memory). */
json_t *json_read_object(const char *bytes, size_t size, struct json_fault *ret_fault);

json_t *json_of_uuid(const struct uuid *uuid);
json_t *json_of_strings(const struct model_strings *strings);
/* ISO 8601; and whole seconds since 1970, as Kong has them. */
json_t *json_of_time(int64_t wall_ms);
json_t *json_of_epoch(int64_t wall_ms);

#endif

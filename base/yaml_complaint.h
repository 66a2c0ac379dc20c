/* yaml_complaint.h - what libcyaml says of a configuration file, as one message for its operator.
 *
 * libcyaml tells its log function, not its caller, what is wrong and where: the first line is kept
 * as the complaint, the first position as its place. For an unknown or a repeated key it knows only
 * the place before it, so that the key is looked for in the text.
 */
#ifndef RS_BASE_YAML_COMPLAINT_H
#define RS_BASE_YAML_COMPLAINT_H

#include <stdarg.h>
#include <stdbool.h>

#include "base/error.h"

struct yaml_complaint {
    char text[256];  /* empty: none yet */
    char place[128]; /* "in mapping field 'listen'" */
    unsigned line;   /* 0: not said yet */
};

/* One line of libcyaml's, from its log function. */
void yaml_complaint_add(struct yaml_complaint *complaint, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* E_CONFIG with file, line, key. `text`: the file's. `otherwise`: what the code means, where
 * nothing was said. */
int yaml_complaint_explain(const struct yaml_complaint *complaint, const char *path,
                           const char *text, const char *otherwise, struct error *err);

#endif

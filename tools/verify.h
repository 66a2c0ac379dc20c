/* verify.h - does a source's copy hold together? Every record, reference and count. */
#ifndef RS_TOOLS_VERIFY_H
#define RS_TOOLS_VERIFY_H

#include "tools/sources.h"
#include "tools/tool.h"

/* Told each fault: the table it is in and what is wrong, without a final stop. */
typedef void (*verify_fault_fn)(void *context, const struct tool_source *source, const char *table,
                                const char *fault);

struct verify_sink {
    verify_fault_fn fault;
    void *context;
    struct progress *progress; /* NULL: none */
};

/* Checks one open source. 0 whether or not there are faults; a code when it could not be read to
 * the end. */
int verify_source(const struct tool_source *source, const struct verify_sink *sink,
                  struct error *err);

#endif

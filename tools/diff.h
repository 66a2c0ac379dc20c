/* diff.h - what differs between two copies of one source, entity by entity. */
#ifndef RS_TOOLS_DIFF_H
#define RS_TOOLS_DIFF_H

#include "tools/sources.h"
#include "tools/tool.h"

enum diff_how { DIFF_ONLY_IN_A, DIFF_ONLY_IN_B, DIFF_CHANGED };

enum { DIFF_FIELDS_MAX = 8 };

struct difference {
    const struct tool_source *source; /* the side that has it; A's when both have */
    const char *kind;                 /* "realm", "consumer", "key" */
    uint32_t scope;
    struct uuid id;
    struct uuid consumer_id; /* of a key */
    enum diff_how how;
    const char *fields[DIFF_FIELDS_MAX]; /* DIFF_CHANGED: which; NULL ends them */
};

struct diff_sink {
    void (*difference)(void *context, const struct difference *difference);
    void *context;
    struct progress *progress;
};

/* 0 whether or not they differ. E_CORRUPT with a message when a record is damaged. Digests are
 * compared where both copies were made with one digest key. */
int diff_sources(const struct tool_source *a, const struct tool_source *b,
                 const struct diff_sink *sink, struct error *err);

#endif

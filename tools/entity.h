/* entity.h - realms and consumers as dump and get show them: joined with their keys. */
#ifndef RS_TOOLS_ENTITY_H
#define RS_TOOLS_ENTITY_H

#include <jansson.h>

#include "tools/sources.h"

/* {"kind":"realm","region",...}; NULL when out of memory. */
json_t *entity_realm_json(const struct tool_source *source, const struct record_realm *realm);

/* Walks consumers in (scope, id) order, each with its keys behind it. */
struct consumer_walk {
    struct table_walk rows; /* at the consumer's row, or behind those keys that were read */
    bool at_end;
    uint32_t scope; /* of the consumer at hand */
    unsigned char name[LAYOUT_CONSUMER_KEY_BYTES];
    struct record_consumer consumer; /* borrowed from the snapshot */
};

/* From the first consumer of `from_scope` on; .at_end tells that there are none left.
 * E_CORRUPT with a message when a record fails its check. */
int consumer_walk_begin(struct consumer_walk *walk, const struct tool_source *source,
                        uint32_t from_scope, struct error *err);
int consumer_walk_next(struct consumer_walk *walk, struct error *err);

/* {"kind":"consumer","region","scope",...,"keys":[...]} of the consumer at hand, in *ret. Moves the
 * walk over its keys. */
int entity_consumer_json(struct consumer_walk *walk, json_t **ret, struct error *err);
/* Counts the keys of the consumer at hand, moving over them. */
int entity_count_keys(struct consumer_walk *walk, size_t *ret, struct error *err);

const char *entity_type_text(enum model_consumer_type type);

#endif

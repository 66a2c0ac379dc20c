/* rest_entities.h - what realm routes and core-entity routes have in common about consumers and
 * keys. */
#ifndef RS_CONTROL_REST_ENTITIES_H
#define RS_CONTROL_REST_ENTITIES_H

#include "control/rest/rest_form.h"

enum { REST_TTL_DEFAULT = 10 }; /* minutes; also of a negative_ttl */

extern const char *const rest_consumer_types[MODEL_CONSUMER_TYPES + 1];

json_t *rest_consumer_json(const struct repo_consumer *consumer);

/* The realm's groups and the consumer's own, each once. */
json_t *rest_group_names(const struct model_strings *realm, const struct model_strings *own);

/* The path of a realm's route: consumer and key are nil where the route has none. */
struct repo_path rest_realm_path(const struct rest_call *call);

/* Creates a key with *secret; when that is NULL, it becomes a generated one in the call's arena. */
int rest_key_make(struct rest_call *call, const struct repo_path *path,
                  const struct repo_key *input, const char **secret, struct repo_key *ret);

#endif

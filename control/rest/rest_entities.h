/* rest_entities.h - what realm routes and core-entity routes have in common about consumers and
 * keys. */
#ifndef RS_CONTROL_REST_ENTITIES_H
#define RS_CONTROL_REST_ENTITIES_H

#include "control/rest/rest_form.h"

enum { REST_NAME_MAX = 256, REST_LABEL_MAX = 128 }; /* characters; base/model.h has the bytes */

extern const char *const rest_consumer_types[MODEL_CONSUMER_TYPES + 1];

json_t *rest_consumer_json(const struct repo_consumer *consumer);

/* Creates a key with the secret `given`, or a generated one when that is NULL; *ret_secret is
 * either `given` or lives in the call's arena. */
int rest_key_make(struct rest_call *call, const struct repo_scope *scope,
                  const struct uuid *consumer, const struct repo_key *input, const char *given,
                  struct repo_key *ret, const char **ret_secret);

#endif

/* ask_answer.h - a control plane's answer to a question on demand, read and checked
 * (docs/protocol.md, POST /v1/sync/auth). */
#ifndef RS_AGENT_ASK_ANSWER_H
#define RS_AGENT_ASK_ANSWER_H

#include "agent/ask_cache.h"

/* *ret_text: what gateways get, NULL for a miss; the caller's to free, and lent to *ret.
 * E_PROTOCOL, E_NO_MEMORY. */
int ask_answer_read(const struct ask_place *place, const void *bytes, size_t size,
                    struct ask_answer *ret, char **ret_text, struct error *err);

#endif

/* answer.h - an answer of libmicrohttpd, as the agent's two servers give them. */
#ifndef RS_AGENT_ANSWER_H
#define RS_AGENT_ANSWER_H

#include <stdbool.h>

#include <microhttpd.h>

#include "base/buffer.h"

/* Queues the answer; the body's memory is taken over. `allow` (may be NULL) is an Allow header;
 * with `last`, the connection is closed after it. MHD_NO closes the connection at once. */
enum MHD_Result answer_queue(struct MHD_Connection *connection, unsigned status, const char *type,
                             const char *allow, bool last, struct buffer *body);

#endif

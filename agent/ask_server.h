/* ask_server.h - the agent's on-demand socket: HTTP/1.1 on a unix stream socket, POST /v1/auth.
 *
 * Its thread takes questions apart; the loop's thread answers them. The socket is mode 0660 and has
 * the group of the directory it is in, so that whoever may read the store may ask.
 *
 *     thread: request -> ask_question -> queue ==async==> loop: handler() ... ask_server_answer()
 *             <=========================== resumed connection ============+
 */
#ifndef RS_AGENT_ASK_SERVER_H
#define RS_AGENT_ASK_SERVER_H

#include <uv.h>

#include "agent/ask.h"
#include "agent/metrics.h"
#include "base/error.h"

#define ASK_SOCKET_NAME "ask.sock"

struct ask_server;
struct ask_exchange; /* one request that waits for its answer */

/* Called in the loop's thread; takes the question over. ask_server_answer() must follow, also
 * before this returns. */
typedef void (*ask_handler_fn)(void *context, struct ask_question *question,
                               struct ask_exchange *exchange);

/* Listens at dir/ask.sock; whatever socket is left there from before is replaced (the caller holds
 * the store's lock). `board` is borrowed. E_TOO_LARGE: the path is longer than a socket's may be.
 * E_IO, E_PERMISSION, E_NO_MEMORY. */
int ask_server_start(uv_loop_t *loop, const char *dir, struct board *board, ask_handler_fn handler,
                     void *context, struct ask_server **ret, struct error *err);
/* From the loop's thread. Has the form of an ask_answer_fn. */
void ask_server_answer(void *exchange, enum ask_result result, const char *text);
/* Ends connections that take too long; to be called now and then. NULL allowed. */
void ask_server_tick(struct ask_server *server);
/* No question comes any more; what was queued is answered "unavailable". What the handler has
 * taken must be answered before ask_server_stop(). */
void ask_server_quiesce(struct ask_server *server);
/* Ends the connections, removes the socket; then closed(context) from the loop. */
void ask_server_stop(struct ask_server *server, void (*closed)(void *context), void *context);

#endif

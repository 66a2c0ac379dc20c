/* status_server.h - GET /metrics, /healthz, /readyz and /status, from a thread of its own.
 *
 * It sees the board and the loop's pulse, nothing else, so that a stuck writer or a slow scraper
 * never meet. /healthz says 503 when the loop's pulse stood still for STATUS_PULSE_MAX_MS.
 */
#ifndef RS_AGENT_STATUS_SERVER_H
#define RS_AGENT_STATUS_SERVER_H

#include <stdatomic.h>
#include <stdint.h>

#include "agent/metrics.h"
#include "base/error.h"

enum { STATUS_PULSE_MAX_MS = 30 * 1000 };

struct status_server;

/* `listen` as listen_parse() takes it. `board` and `pulse` (boot time of the loop's last turn) are
 * borrowed until status_server_stop(). E_CONFIG; E_IO with the reason (address in use). */
int status_server_start(const char *listen, struct board *board, const _Atomic int64_t *pulse,
                        struct status_server **ret, struct error *err);
/* Ends connections that take too long; to be called now and then. NULL allowed. */
void status_server_tick(struct status_server *server);
/* Waits for answers under way. NULL allowed. */
void status_server_stop(struct status_server *server);
/* Where it listens; differs from the wish when that had port 0. */
uint16_t status_server_port(const struct status_server *server);

#endif

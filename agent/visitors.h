/* visitors.h - the connections of one of the agent's servers: how long each may wait, and who gives
 * way to whom. base/guests.h decides; this is how libmicrohttpd tells it.
 *
 * VISITORS_OPTIONS(v) are the options of MHD_start_daemon() that it needs, beside a log of its own.
 */
#ifndef RS_AGENT_VISITORS_H
#define RS_AGENT_VISITORS_H

#include <microhttpd.h>

#include "base/guests.h"

enum {
    VISITORS_LEAVING = 64, /* sent away, and not yet closed by the library */
    VISITORS_REQUEST_MS = 10 * 1000,
    VISITORS_IDLE_MS = 60 * 1000
};

struct visitors {
    struct guests guests;
};

/* `max` connections, `per_key` of them for one address, or one user of a unix socket; loopback
 * addresses have no bound of their own. */
void visitors_init(struct visitors *visitors, unsigned max, unsigned per_key);
/* The server has stopped. */
void visitors_finish(struct visitors *visitors);

void visitors_on_connection(void *context, struct MHD_Connection *connection, void **state,
                            enum MHD_ConnectionNotificationCode code);
/* A request's first line is there, its answer is being sent: VISITORS_REQUEST_MS from now. */
void visitors_hurry(struct visitors *visitors, struct MHD_Connection *connection);
/* We are the ones to be waited for. */
void visitors_busy(struct visitors *visitors, struct MHD_Connection *connection);
/* The answer is out: VISITORS_IDLE_MS for the next request. */
void visitors_idle(struct visitors *visitors, struct MHD_Connection *connection);

/* Sends away whose time is over; to be called now and then, from any thread. */
void visitors_tick(struct visitors *visitors);

#define VISITORS_OPTIONS(visitors)                                                                 \
    MHD_OPTION_NOTIFY_CONNECTION, visitors_on_connection, (visitors), MHD_OPTION_CONNECTION_LIMIT, \
        (visitors)->guests.limits.max[0] + VISITORS_LEAVING, MHD_OPTION_CONNECTION_TIMEOUT,        \
        (unsigned)(VISITORS_IDLE_MS / 1000)

#endif

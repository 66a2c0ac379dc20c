/* agent.h - the daemon: loop, signals, store, replicas, status server, systemd.
 *
 *     agent_run:  open store -> start everything -> READY ... SIGHUP: reload ... SIGTERM, SIGINT:
 * stop -> 0
 *
 * Stopping, in order: replicas (each finishes its commit), HTTP client, signals and timers, status
 * server, store. A second signal while stopping changes nothing: what is under way is short and
 * must end well.
 */
#ifndef RS_AGENT_AGENT_H
#define RS_AGENT_AGENT_H

#include "agent/config.h"
#include "base/error.h"

enum {
    AGENT_READERS_MS = 10 * 1000, /* dead reader slots are cleared */
    AGENT_STOP_MS = 15 * 1000,    /* for commits under way; then the process ends all the same */
    AGENT_LISTEN_RETRY_MS = 1000, /* doubles up to a minute */
    AGENT_PULSE_MS = 1000         /* the loop shows that it turns */
};

/* Runs until it is told to stop. `config` is transferred; `path` and `environment` are read again
 * on SIGHUP. 0 after an orderly stop, else why it could not start. */
int agent_run(const char *path, char *const *environment, struct config *config, struct error *err);

#endif

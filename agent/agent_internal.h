/* agent_internal.h - shared by agent.c (life) and agent_reload.c (which sources run). */
#ifndef RS_AGENT_AGENT_INTERNAL_H
#define RS_AGENT_AGENT_INTERNAL_H

#include <stdatomic.h>
#include <uv.h>

#include "agent/agent.h"
#include "agent/ask_server.h"
#include "agent/replica.h"
#include "agent/status_server.h"

struct agent;

/* One region's place. It is free when neither a replica nor a wish is there. */
struct agent_slot {
    struct agent *agent;     /* borrowed */
    struct replica *replica; /* owned; NULL: none runs */
    bool closing;            /* it is on its way out */
    bool wanted;             /* start config.sources[...] of this region when it is gone */
    char region[64];
};

enum agent_phase { AGENT_RUNNING, AGENT_STOPPING, AGENT_CLOSED };

struct agent {
    const char *path;         /* borrowed */
    char *const *environment; /* borrowed */
    struct config *config;    /* owned */
    struct log log;
    struct store *store;           /* owned */
    struct uuid instance;          /* tells hosts of one name apart */
    struct http_client *http;      /* owned */
    struct board *board;           /* owned */
    struct status_server *status;  /* owned; NULL: off */
    char served[256];              /* where it listens */
    int64_t listen_delay_ms;       /* 0: it listens where it should */
    int64_t listen_due_ms;         /* boot time of the next try */
    struct ask *ask;               /* owned */
    struct ask_server *ask_server; /* owned; NULL: off */
    _Atomic int64_t pulse;
    enum agent_phase phase;
    struct agent_slot slots[CONFIG_SOURCES_MAX];

    uv_loop_t loop;
    uv_signal_t on_term;
    uv_signal_t on_int;
    uv_signal_t on_hup;
    uv_signal_t on_usr1;
    uv_timer_t readers_timer;
    uv_timer_t walk_timer;
    uv_timer_t pulse_timer;
    uv_timer_t stop_timer;
};

/* Makes the running replicas those of agent->config: starts, restarts, stops. The first replica
 * that cannot be started is the error; the others run. */
int agent_apply_sources(struct agent *agent, struct error *err);
/* SIGHUP: reads the configuration again; a bad one is logged and the old one stays. */
void agent_reload(struct agent *agent);
/* Begins to close every replica. */
void agent_close_sources(struct agent *agent);
/* No replica is left, not even one that is closing. */
bool agent_sources_closed(const struct agent *agent);
/* agent.c: a replica is gone. */
void agent_source_closed(struct agent *agent);
/* agent.c: starts, restarts or stops the status server as the configuration says. */
int agent_apply_listen(struct agent *agent, bool in_its_way, struct error *err);

#endif

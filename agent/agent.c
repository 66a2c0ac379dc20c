/* The daemon's life. agent.h has the order of things.
 *
 * Happy path: agent_start() in order of need, uv_run() until the last handle is closed,
 * agent_finish() in reverse.
 *
 * Failure: what cannot be started ends the start; the same stop() closes what had begun, so that
 * there is one way out. The control plane being away is no failure: the store serves from what it
 * has.
 */
#include "agent/agent.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <systemd/sd-daemon.h>

#include "agent/agent_internal.h"
#include "base/clock.h"
#include "base/own.h"
#include "store/source.h"

/* ---- stopping ---- */

static void on_part_closed(void *context)
{
    (void)context; /* the loop ends by itself when nothing is left in it */
}

static void close_loop_parts(struct agent *agent)
{
    agent->phase = AGENT_CLOSED;
    if (agent->ask != NULL)
        ask_close(agent->ask, on_part_closed, agent); /* answers what the server waits for */
    if (agent->ask_server != NULL)
        ask_server_stop(agent->ask_server, on_part_closed, agent);
    if (agent->http != NULL)
        http_client_close(agent->http, on_part_closed, agent);
    uv_close((uv_handle_t *)&agent->on_term, NULL); /* part of *agent: nothing to free */
    uv_close((uv_handle_t *)&agent->on_int, NULL);
    uv_close((uv_handle_t *)&agent->on_hup, NULL);
    uv_close((uv_handle_t *)&agent->on_usr1, NULL);
    uv_close((uv_handle_t *)&agent->readers_timer, NULL);
    uv_close((uv_handle_t *)&agent->walk_timer, NULL);
    uv_close((uv_handle_t *)&agent->pulse_timer, NULL);
    uv_close((uv_handle_t *)&agent->stop_timer, NULL);
}

void agent_source_closed(struct agent *agent)
{
    if (agent->phase == AGENT_STOPPING && agent_sources_closed(agent))
        close_loop_parts(agent);
}

/* A thread that waits for a disk cannot be ended, and the store survives it: what was acknowledged
 * is there. */
static void on_stop_overdue(uv_timer_t *timer)
{
    struct agent *agent = timer->data;

    log_error(&agent->log,
              "stopping: a commit has not come back for %d s; the process ends without it, and "
              "nothing that was acknowledged is lost. Look at the disk of %s",
              AGENT_STOP_MS / 1000, agent->config->store_dir);
    _exit(EXIT_FAILURE + 1); /* as for every agent that cannot run */
}

static void stop(struct agent *agent)
{
    if (agent->phase != AGENT_RUNNING)
        return;
    agent->phase = AGENT_STOPPING;
    (void)uv_timer_start(&agent->stop_timer, on_stop_overdue, AGENT_STOP_MS,
                         0);          /* fails on a closing one only */
    (void)sd_notify(0, "STOPPING=1"); /* without systemd these do nothing */
    if (agent->ask_server != NULL)
        ask_server_quiesce(agent->ask_server);
    agent_close_sources(agent);
    agent_source_closed(agent); /* there may have been none */
}

static void on_stop_signal(uv_signal_t *handle, int signal_number)
{
    struct agent *agent = handle->data;

    log_info(&agent->log, "%s: stopping", signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
    stop(agent);
}

static void on_reload_signal(uv_signal_t *handle, int signal_number)
{
    struct agent *agent = handle->data;

    (void)signal_number;
    if (agent->phase == AGENT_RUNNING)
        agent_reload(agent);
}

static void on_accept_signal(uv_signal_t *handle, int signal_number)
{
    struct agent *agent = handle->data;

    (void)signal_number;
    for (size_t i = 0; i < CONFIG_SOURCES_MAX; i++) {
        if (agent->slots[i].replica != NULL && !agent->slots[i].closing)
            replica_accept_epoch(agent->slots[i].replica);
    }
}

/* ---- timers ---- */

static void each_replica(struct agent *agent, void (*call)(struct replica *replica))
{
    for (size_t i = 0; i < CONFIG_SOURCES_MAX; i++) {
        if (agent->slots[i].replica != NULL && !agent->slots[i].closing)
            call(agent->slots[i].replica);
    }
}

static void on_readers_timer(uv_timer_t *timer)
{
    each_replica(timer->data, replica_check_readers);
}

static void on_walk_timer(uv_timer_t *timer)
{
    each_replica(timer->data, replica_walk);
}

static int start_status(struct agent *agent, const char *listen, struct error *err)
{
    if (status_server_start(listen, agent->board, &agent->pulse, &agent->status, err) != 0)
        return err->code;
    (void)snprintf(agent->served, sizeof(agent->served), "%s", listen);
    log_info(&agent->log, "status on %s (port %u)", listen, status_server_port(agent->status));
    return 0;
}

/* The former one serves until the new one does, unless it may be what is `in_its_way`. */
int agent_apply_listen(struct agent *agent, bool in_its_way, struct error *err)
{
    struct status_server *former = agent->status;
    struct error ignored = ERROR_INIT;
    int rc;

    agent->status = NULL;
    if (agent->config->listen[0] == 0) {
        status_server_stop(former);
        return 0;
    }
    rc = start_status(agent, agent->config->listen, err);
    if (rc != 0 && !in_its_way) {
        agent->status = former;
        return rc;
    }
    status_server_stop(former);
    if (rc == 0 || former == NULL)
        return rc;
    rc = start_status(agent, agent->config->listen, err);
    if (rc != 0)
        (void)start_status(agent, agent->served, &ignored); /* it was there a moment ago */
    return rc;
}

static void retry_listen(struct agent *agent)
{
    enum { FIRST_MS = 1000, LAST_MS = 60 * 1000 };
    struct error err = ERROR_INIT;

    if (agent->listen_delay_ms == 0 || clock_boot_ms() < agent->listen_due_ms)
        return;
    if (agent_apply_listen(agent, false, &err) == 0) {
        agent->listen_delay_ms = 0;
        return;
    }
    agent->listen_delay_ms =
        agent->listen_delay_ms * 2 < LAST_MS ? agent->listen_delay_ms * 2 : LAST_MS;
    agent->listen_due_ms = clock_boot_ms() + agent->listen_delay_ms;
    log_warning(&agent->log, "%s; tried again in %lld s", err.message,
                (long long)agent->listen_delay_ms / FIRST_MS);
}

static void on_pulse(uv_timer_t *timer)
{
    struct agent *agent = timer->data;

    atomic_store(&agent->pulse, clock_boot_ms());
    status_server_tick(agent->status);
    ask_server_tick(agent->ask_server);
    each_replica(agent, replica_watch);
    if (agent->phase == AGENT_RUNNING)
        retry_listen(agent);
    (void)sd_notify(0, "WATCHDOG=1"); /* ignored unless the unit has WatchdogSec= */
}

/* The watchdog must be fed twice in its time; the status server's limit is far above both. */
static uint64_t pulse_interval_ms(void)
{
    uint64_t watchdog_us = 0;

    if (sd_watchdog_enabled(0, &watchdog_us) <= 0 || watchdog_us / 2000 >= AGENT_PULSE_MS)
        return AGENT_PULSE_MS;
    return watchdog_us / 2000 > 0 ? watchdog_us / 2000 : 1;
}

/* ---- starting ---- */

static int open_ask(struct agent *agent, struct error *err)
{
    struct ask_options options = {
        .loop = &agent->loop,
        .http = agent->http,
        .board = agent->board,
        .log = &agent->log,
        .store_dir = agent->config->store_dir,
        .retention_ms = agent->config->retention_ms,
        .control_plane_id = agent->config->control_plane_id,
        .clock = clock_system,
        .limits = ask_limits_default,
    };
    int rc = ask_create(&options, &agent->ask, err);

    return rc == 0 ? ask_configure(agent->ask, agent->config->sources, agent->config->sources_count,
                                   err)
                   : rc;
}

static void on_question(void *context, struct ask_question *question, struct ask_exchange *exchange)
{
    struct agent *agent = context;

    ask_start(agent->ask, question, ask_server_answer, exchange);
}

/* A store directory of a longer name than a socket can have works, but for questions on demand. */
static int serve_ask(struct agent *agent, struct error *err)
{
    int rc = ask_server_start(&agent->loop, agent->config->store_dir, agent->board, on_question,
                              agent, &agent->ask_server, err);

    if (rc == E_TOO_LARGE) {
        log_warning(&agent->log, "no questions on demand: %s", err->message);
        *err = (struct error)ERROR_INIT;
        return 0;
    }
    return rc;
}

static int from_uv(int code, const char *what, struct error *err)
{
    if (code == 0)
        return 0;
    return error_set(err, code == UV_ENOMEM ? E_NO_MEMORY : E_IO, "%s: %s", what,
                     uv_strerror(code));
}

static void init_handles(struct agent *agent)
{
    /* None of these inits can fail on a good loop (the signal pipe is made at the first start). */
    (void)uv_signal_init(&agent->loop, &agent->on_term);
    (void)uv_signal_init(&agent->loop, &agent->on_int);
    (void)uv_signal_init(&agent->loop, &agent->on_hup);
    (void)uv_signal_init(&agent->loop, &agent->on_usr1);
    (void)uv_timer_init(&agent->loop, &agent->readers_timer);
    (void)uv_timer_init(&agent->loop, &agent->walk_timer);
    (void)uv_timer_init(&agent->loop, &agent->pulse_timer);
    (void)uv_timer_init(&agent->loop, &agent->stop_timer);
    agent->on_term.data = agent->on_int.data = agent->on_hup.data = agent->on_usr1.data = agent;
    agent->readers_timer.data = agent->walk_timer.data = agent->pulse_timer.data = agent;
    agent->stop_timer.data = agent;
}

static int start_handles(struct agent *agent, struct error *err)
{
    uint64_t pulse_ms = pulse_interval_ms();
    int rc = uv_signal_start(&agent->on_term, on_stop_signal, SIGTERM);

    if (rc == 0)
        rc = uv_signal_start(&agent->on_int, on_stop_signal, SIGINT);
    if (rc == 0)
        rc = uv_signal_start(&agent->on_hup, on_reload_signal, SIGHUP);
    if (rc == 0)
        rc = uv_signal_start(&agent->on_usr1, on_accept_signal, SIGUSR1);
    if (rc == 0)
        rc = uv_timer_start(&agent->readers_timer, on_readers_timer, AGENT_READERS_MS,
                            AGENT_READERS_MS);
    if (rc == 0)
        rc = uv_timer_start(&agent->walk_timer, on_walk_timer, REPLICA_WALK_MS, REPLICA_WALK_MS);
    if (rc == 0)
        rc = uv_timer_start(&agent->pulse_timer, on_pulse, pulse_ms, pulse_ms);
    return from_uv(rc, "cannot start the event loop", err);
}

static int open_store(struct agent *agent, struct error *err)
{
    struct store_options options = {
        .dir = agent->config->store_dir,
        .reader_group = agent->config->reader_group,
        .control_plane_id = agent->config->control_plane_id,
        .retention_ms = agent->config->retention_ms,
        .clock = clock_system,
    };
    char warning[OWN_WARNING_SIZE];
    int rc = own_check_dir(options.dir, warning, err);

    if (rc == 0 && warning[0] != 0)
        log_warning(&agent->log, "store directory: %s", warning);
    return rc == 0 ? store_open(&options, &agent->store, err) : rc;
}

/* An id that cannot be kept is one until the agent stops: the next one makes another host of it. */
static int read_instance(struct agent *agent, struct error *err)
{
    struct store_instance instance;
    char id[UUID_TEXT_SIZE];
    int rc = store_instance(agent->store, NULL, &instance, err);

    if (rc != 0)
        return rc;
    agent->instance = instance.id;
    (void)uuid_format(&instance.id, id);
    if (instance.news == STORE_INSTANCE_NEW)
        log_info(&agent->log, "this host is instance %s from now on", id);
    if (instance.news == STORE_INSTANCE_COPIED)
        log_warning(&agent->log,
                    "the store directory is a copy, or came from another place: this host is "
                    "another one than before, instance %s",
                    id);
    if (instance.news == STORE_INSTANCE_ODD)
        log_warning(&agent->log, "%s: this host is another one than before, instance %s",
                    instance.odd.message, id);
    if (instance.unkept.code != 0)
        log_warning(&agent->log, "%s: the instance cannot be kept, the next start makes another",
                    instance.unkept.message);
    return 0;
}

static int agent_start(struct agent *agent, struct error *err)
{
    int rc = open_store(agent, err);

    if (rc == 0)
        rc = read_instance(agent, err);
    if (rc == 0)
        rc = start_handles(agent, err);
    if (rc == 0)
        rc = http_client_create(&agent->loop, &agent->http, err);
    if (rc == 0) {
        agent->board = board_create(&agent->config->control_plane_id, agent->config->host_name,
                                    &agent->instance);
        rc = agent->board != NULL ? 0 : error_set(err, E_NO_MEMORY, NULL);
    }
    if (rc == 0)
        rc = open_ask(agent, err);
    if (rc == 0)
        rc = agent_apply_sources(agent, err);
    if (rc == 0)
        rc = store_prune(agent->store, err);
    if (rc == 0)
        rc = serve_ask(agent, err);
    if (rc == 0)
        rc = agent_apply_listen(agent, false, err);
    return rc;
}

static void agent_finish(struct agent *agent)
{
    status_server_stop(agent->status);
    board_destroy(agent->board);
    store_close(agent->store);
    config_free(agent->config);
    (void)uv_loop_close(&agent->loop); /* every handle was closed: it cannot be busy */
    free(agent);
}

static void announce(struct agent *agent)
{
    atomic_store(&agent->pulse, clock_boot_ms());
    log_info(&agent->log, "realm-agent %s: store %s, control plane %s, %u source%s",
             REALMSTORE_VERSION, agent->config->store_dir, agent->config->control_plane,
             agent->config->sources_count, agent->config->sources_count == 1 ? "" : "s");
    (void)sd_notify(0, "READY=1");
}

int agent_run(const char *path, char *const *environment, struct config *config, struct error *err)
{
    struct agent *agent = calloc(1, sizeof(*agent));
    int rc;

    if (agent == NULL || uv_loop_init(&agent->loop) != 0) {
        free(agent);
        config_free(config);
        return error_set(err, E_NO_MEMORY, "cannot make an event loop");
    }
    agent->path = path;
    agent->environment = environment;
    agent->config = config;
    agent->log = (struct log){STDERR_FILENO, config->log.level, config->log.format};
    if (config->service_variables > 0)
        log_debug(&agent->log,
                  "%u variables of the environment are those of a Kubernetes service, "
                  "and no settings",
                  config->service_variables);
    atomic_store(&agent->pulse, clock_boot_ms());
    init_handles(agent);
    rc = agent_start(agent, err);
    if (rc == 0)
        announce(agent);
    else
        stop(agent);
    (void)uv_run(&agent->loop, UV_RUN_DEFAULT); /* returns when every handle is closed */
    if (rc == 0)
        log_info(&agent->log, "stopped");
    agent_finish(agent);
    return rc;
}

/* Which sources run: at the start, after SIGHUP, at the end.
 *
 * A source whose settings are the same keeps its stream. A changed one is closed and started again
 * when it is gone, because a region's store can be open once only. A source that left the
 * configuration is closed; its copy is removed at the agent's next start (store_prune), so that a
 * mistake can be taken back.
 */
#include "agent/agent_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"

static const struct config_source *find_config(const struct config *config, const char *region)
{
    for (unsigned i = 0; i < config->sources_count; i++) {
        if (strcmp(config->sources[i].region, region) == 0)
            return &config->sources[i];
    }
    return NULL;
}

static struct agent_slot *find_slot(struct agent *agent, const char *region)
{
    struct agent_slot *free_slot = NULL;

    for (size_t i = 0; i < CONFIG_SOURCES_MAX; i++) {
        struct agent_slot *slot = &agent->slots[i];

        if (slot->region[0] == 0)
            free_slot = free_slot != NULL ? free_slot : slot;
        else if (strcmp(slot->region, region) == 0)
            return slot;
    }
    return free_slot;
}

static void on_visible(void *context, const char *region, const struct model_cursor *cursor)
{
    struct agent *agent = context;

    ask_reached(agent->ask, region, cursor);
}

static int start_source(struct agent *agent, struct agent_slot *slot,
                        const struct config_source *source, struct error *err)
{
    struct replica_options options = {
        .loop = &agent->loop,
        .store = agent->store,
        .http = agent->http,
        .board = agent->board,
        .log = &agent->log,
        .control_plane_id = agent->config->control_plane_id,
        .host_name = agent->config->host_name,
        .instance = agent->instance,
        .guard_percent = agent->config->guard_percent,
        .source = source,
        .visible = on_visible,
        .context = agent,
    };
    int rc = replica_create(&options, &slot->replica, err);

    if (rc != 0)
        return rc;
    slot->agent = agent;
    (void)snprintf(slot->region, sizeof(slot->region), "%s", source->region);
    return 0;
}

/* The former replica of the slot is gone; what the configuration wants there now begins. */
static void on_replica_closed(void *context)
{
    struct agent_slot *slot = context;
    struct agent *agent = slot->agent;
    const struct config_source *source = find_config(agent->config, slot->region);
    struct error err = ERROR_INIT;
    bool wanted = slot->wanted && agent->phase == AGENT_RUNNING && source != NULL;

    *slot = (struct agent_slot){.agent = agent};
    if (wanted && start_source(agent, slot, source, &err) != 0)
        log_error(&agent->log, "%s; this source stays off until the next reload", err.message);
    agent_source_closed(agent);
}

static void close_slot(struct agent_slot *slot, bool wanted)
{
    slot->wanted = wanted;
    if (slot->closing)
        return;
    slot->closing = true;
    replica_close(slot->replica, on_replica_closed, slot);
}

static int want_source(struct agent *agent, const struct config_source *source, struct error *err)
{
    struct agent_slot *slot = find_slot(agent, source->region);

    if (slot == NULL)
        return error_set(err, E_TOO_LARGE,
                         "source \"%s\": all places are taken by sources that are being closed; "
                         "reload once more",
                         source->region);
    if (slot->replica == NULL)
        return start_source(agent, slot, source, err);
    if (slot->closing || !config_source_equal(replica_config(slot->replica), source))
        close_slot(slot, true);
    else
        replica_set_guard(slot->replica, agent->config->guard_percent);
    return 0;
}

int agent_apply_sources(struct agent *agent, struct error *err)
{
    int rc = 0;

    for (size_t i = 0; i < CONFIG_SOURCES_MAX; i++) {
        struct agent_slot *slot = &agent->slots[i];

        if (slot->replica != NULL && find_config(agent->config, slot->region) == NULL)
            close_slot(slot, false);
    }
    for (unsigned i = 0; i < agent->config->sources_count && rc == 0; i++)
        rc = want_source(agent, &agent->config->sources[i], err);
    return rc;
}

void agent_close_sources(struct agent *agent)
{
    for (size_t i = 0; i < CONFIG_SOURCES_MAX; i++) {
        if (agent->slots[i].replica != NULL)
            close_slot(&agent->slots[i], false);
    }
}

bool agent_sources_closed(const struct agent *agent)
{
    for (size_t i = 0; i < CONFIG_SOURCES_MAX; i++) {
        if (agent->slots[i].replica != NULL)
            return false;
    }
    return true;
}

/* ---- SIGHUP ---- */

static bool agent_reload_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What a running store and its readers depend on stays until the next start. */
static void keep_fixed_settings(struct agent *agent, struct config *next)
{
    struct config *now = agent->config;
    char *text;

    if (!agent_reload_same_text(now->store_dir, next->store_dir) ||
        !agent_reload_same_text(now->reader_group, next->reader_group) ||
        !agent_reload_same_text(now->host_name, next->host_name) ||
        now->retention_ms != next->retention_ms ||
        !uuid_equal(&now->control_plane_id, &next->control_plane_id))
        log_warning(&agent->log,
                    "store_dir, reader_group, control_plane_id, host_name and retention_ms change "
                    "at the agent's next start only; the rest of the new configuration is used");
#define SWAP(member) (text = now->member, now->member = next->member, next->member = text)
    SWAP(store_dir);
    SWAP(reader_group);
    SWAP(host_name);
    SWAP(retention);
#undef SWAP
    next->retention_ms = now->retention_ms;
    next->control_plane_id = now->control_plane_id;
}

/* systemd's protocol for Type=notify-reload wants the time of the beginning. */
static void notify_reloading(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return; /* it always works on Linux; without it systemd only misses the notice */
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
                     (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

/* An address that is taken may be free later: tried again until it is. */
static void reload_listen(struct agent *agent)
{
    struct error err = ERROR_INIT;

    agent->listen_delay_ms = 0;
    if (agent_apply_listen(agent, true, &err) == 0)
        return;
    agent->listen_delay_ms = AGENT_LISTEN_RETRY_MS;
    agent->listen_due_ms = clock_boot_ms() + agent->listen_delay_ms;
    log_error(&agent->log, "reload: %s; %s, tried again in %d s", err.message,
              agent->status != NULL ? "the status server stays where it is"
                                    : "the status server is off",
              AGENT_LISTEN_RETRY_MS / 1000);
}

void agent_reload(struct agent *agent)
{
    struct config *next;
    struct error err = ERROR_INIT;
    bool same_listen;

    notify_reloading();
    if (config_load(agent->path, agent->environment, &next, &err) != 0) {
        log_error(&agent->log, "reload: %s; the former configuration stays", err.message);
        (void)sd_notify(0, "READY=1");
        return;
    }
    if (ask_configure(agent->ask, next->sources, next->sources_count, &err) != 0) {
        log_error(&agent->log, "reload: %s; the former configuration stays", err.message);
        config_free(next);
        (void)sd_notify(0, "READY=1");
        return;
    }
    keep_fixed_settings(agent, next);
    same_listen = strcmp(agent->config->listen, next->listen) == 0;
    config_free(agent->config);
    agent->config = next;
    agent->log.level = next->log.level;
    agent->log.format = next->log.format;
    if (!same_listen || agent->listen_delay_ms > 0)
        reload_listen(agent);
    if (agent_apply_sources(agent, &err) != 0)
        log_error(&agent->log, "reload: %s", err.message);
    log_info(&agent->log, "configuration reloaded from %s", agent->path);
    (void)sd_notify(0, "READY=1");
}

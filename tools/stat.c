/* stat.c - realmctl stat: how each source stands, through the public library. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "realmstore.h"
#include "tools/patience.h"
#include "tools/tool.h"

static const char *state_text(rs_state state)
{
    switch (state) {
    case RS_STATE_EMPTY:
        return "empty";
    case RS_STATE_SYNCING:
        return "syncing";
    case RS_STATE_LIVE:
        return "live";
    case RS_STATE_DISCONNECTED:
        return "disconnected";
    case RS_STATE_STOPPED:
        return "stopped";
    case RS_STATE_GONE:
        return "gone";
    }
    return "unknown";
}

static const char *uuid_text(const uint8_t bytes[UUID_BYTES], char text[UUID_TEXT_SIZE])
{
    struct uuid id;

    memcpy(id.bytes, bytes, UUID_BYTES);
    return uuid_format(&id, text);
}

/* The pid stays in the page when an agent is killed. */
static bool agent_runs(int64_t pid)
{
    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

static json_t *source_json(const rs_source_status *source)
{
    char epoch[UUID_TEXT_SIZE];
    char time[CLOCK_ISO_SIZE];
    char verified[CLOCK_ISO_SIZE];

    return json_pack(
        "{ss, ss, sI, ss, sI, so, so, sI, sI, sI, sI, so}", "region", source->region, "state",
        state_text(source->state), "generation", (json_int_t)source->generation, "epoch",
        uuid_text(source->epoch, epoch), "version", (json_int_t)source->version, "age_ms",
        source->age_ms < 0 ? json_null() : json_integer(source->age_ms), "commit_time",
        tool_json_string(
            source->commit_time_ms != 0 ? clock_format_iso(source->commit_time_ms, time) : NULL),
        "realms", (json_int_t)source->realms, "consumers", (json_int_t)source->consumers, "keys",
        (json_int_t)source->keys, "verified_version", (json_int_t)source->verified_version,
        "verified_at",
        tool_json_string(source->verified_ms != 0 ? clock_format_iso(source->verified_ms, verified)
                                                  : NULL));
}

static const char *mode_text(rs_mode mode)
{
    return mode == RS_MODE_RETAINED ? "retained" : "slots";
}

static int print_json(const struct tool *tool, const rs_status_info *status)
{
    char id[UUID_TEXT_SIZE];
    json_t *sources = json_array();

    for (size_t i = 0; i < status->n_sources; i++)
        (void)json_array_append_new(sources, source_json(&status->sources[i]));
    return tool_print_json(
        json_pack("{ss, ss, so, sb, ss, sI, so}", "store", tool->store_dir, "control_plane_id",
                  uuid_text(status->control_plane_id, id), "agent_pid",
                  status->agent_pid != 0 ? json_integer(status->agent_pid) : json_null(),
                  "agent_running", agent_runs(status->agent_pid), "mode", mode_text(status->mode),
                  "retention_ms", (json_int_t)status->retention_ms, "sources", sources));
}

static void print_source(const rs_source_status *source)
{
    char text[UUID_TEXT_SIZE];
    char time[CLOCK_ISO_SIZE];

    (void)fputs("\nsource ", stdout);
    tool_print_text(source->region);
    (void)putchar('\n');
    printf("  state       %s\n", state_text(source->state));
    if (source->age_ms < 0)
        printf("  heard       never\n");
    else
        printf("  heard       %lld.%03lld s ago\n", (long long)source->age_ms / 1000,
               (long long)source->age_ms % 1000);
    printf("  generation  %u\n", source->generation);
    printf("  epoch       %s\n", uuid_text(source->epoch, text));
    printf("  version     %llu\n", (unsigned long long)source->version);
    if (source->commit_time_ms != 0)
        printf("  committed   %s\n", clock_format_iso(source->commit_time_ms, time));
    if (source->verified_ms != 0)
        printf("  verified    version %llu, %s\n", (unsigned long long)source->verified_version,
               clock_format_iso(source->verified_ms, time));
    else
        printf("  verified    not yet\n");
    printf("  realms      %llu\n", (unsigned long long)source->realms);
    printf("  consumers   %llu\n", (unsigned long long)source->consumers);
    printf("  keys        %llu\n", (unsigned long long)source->keys);
}

static int stat_print_text(const struct tool *tool, const rs_status_info *status)
{
    char id[UUID_TEXT_SIZE];

    printf("store          %s\n", tool->store_dir);
    printf("control plane  %s\n", uuid_text(status->control_plane_id, id));
    if (status->agent_pid == 0)
        printf("agent          stopped\n");
    else
        printf("agent          %s, pid %lld\n",
               agent_runs(status->agent_pid) ? "running" : "gone without stopping",
               (long long)status->agent_pid);
    printf("read through   %s", mode_text(status->mode));
    if (status->retention_ms > 0)
        printf(", pages are retained for %lld ms\n", (long long)status->retention_ms);
    else
        printf(", nothing is retained\n");
    for (size_t i = 0; i < status->n_sources; i++)
        print_source(&status->sources[i]);
    return TOOL_YES;
}

static int show(const struct tool *tool)
{
    char message[256] = "";
    rs_options options = RS_OPTIONS_INIT;
    rs_status_info status;
    rs_store *store;
    int rc;

    options.message = message;
    options.message_size = sizeof(message);
    options.mode = tool->slots ? RS_MODE_SLOTS : RS_MODE_AUTO;
    patience_begin();
    rc = rs_open(&store, tool->store_dir, &options);
    patience_end();
    if (rc != 0)
        return tool_fail("%s", message[0] != 0 ? message : rs_strerror(rc));
    rc = rs_status(store, &status);
    rs_close(store);
    if (rc != 0)
        return tool_fail("%s: %s", tool->store_dir, rs_strerror(rc));
    return tool->json ? print_json(tool, &status) : stat_print_text(tool, &status);
}

static int stat_run(const struct tool *tool, int argc, char **argv)
{
    (void)argv; /* argv[0] is the command */
    if (argc > 1)
        return tool_misused(&command_stat, "stat takes no arguments");
    return show(tool);
}

const struct command command_stat = {
    .name = "stat",
    .arguments = "",
    .summary = "Show how the store and each of its sources stand",
    .help =
        "For each source (region): its state, when its control plane was last heard, the version\n"
        "that lookups see, the version at which all that it holds was last compared with the\n"
        "control plane and equal, and how many realms, consumers and keys it holds.\n\n"
        "States: empty (no complete copy yet), syncing, live, disconnected (the control plane is\n"
        "not heard, the last copy serves), stopped (the agent was stopped, the last copy "
        "serves).\n\n"
        "Exit status: 0 shown, 2 the store cannot be read.\n",
    .run = stat_run,
};

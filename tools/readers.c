/* readers.c - realmctl readers: who holds reader slots, and how old their snapshots are. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "store/files.h"
#include "tools/sources.h"
#include "tools/tool.h"

struct scan {
    const struct tool *tool;
    const char *region;
    uint64_t newest; /* transaction id */
    pid_t self;
};

static void print_reader(void *context, pid_t pid, uint64_t txn_id)
{
    const struct scan *scan = context;
    bool active = txn_id <= scan->newest; /* else none, or what nobody wrote as LMDB does */
    uint64_t behind = active ? scan->newest - txn_id : 0;

    if (pid == scan->self)
        return;
    if (scan->tool->json) {
        (void)tool_print_json(json_pack("{ss, si, so}", "region", scan->region, "pid", (int)pid,
                                        "behind",
                                        active ? json_integer((json_int_t)behind)
                                               : json_null())); /* stdout is checked at the end */
        return;
    }
    printf("%-8s  pid %-8d  ", scan->region, (int)pid);
    if (active)
        printf("in a snapshot, %" PRIu64 " commits behind\n", behind);
    else
        printf("idle\n");
}

static int list_source(const struct tool *tool, const struct tool_source *source)
{
    char name[GENERATION_NAME_SIZE];
    char source_dir[PATH_MAX];
    char dir[PATH_MAX];
    struct error err = ERROR_INIT;
    MDB_envinfo info;
    struct scan scan = {.tool = tool, .region = source->region, .self = getpid()};
    int rc;

    if (source->generation.number == 0 || source->backup)
        return TOOL_YES;
    (void)mdb_env_info(source->generation.env.mdb, &info); /* fails for NULL only */
    scan.newest = info.me_last_txnid;
    rc = files_join(source_dir, tool->store_dir, source->region, &err);
    if (rc == 0)
        rc = files_join(dir, source_dir, generation_name(source->generation.number, name), &err);
    if (rc == 0)
        rc = env_slots_list(dir, print_reader, &scan, &err);
    return rc == 0 ? TOOL_YES : tool_fail("source %s: %s", source->region, err.message);
}

static int readers_run(const struct tool *tool, int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct tool_sources sources;
    int rc = TOOL_YES;

    (void)argv; /* argv[0] is the command */
    if (argc > 1)
        return tool_misused(&command_readers, "readers takes no arguments");
    if (sources_open(tool->store_dir, &sources, &err) != 0)
        return tool_fail("%s", err.message);
    for (size_t i = 0; i < sources.n && rc == TOOL_YES; i++)
        rc = list_source(tool, &sources.items[i]);
    sources_close(&sources);
    return rc;
}

const struct command command_readers = {
    .name = "readers",
    .arguments = "",
    .summary = "List the processes that hold reader slots",
    .help = "One line a slot: region, pid, and how many commits its snapshot is behind the newest\n"
            "version. A snapshot that stays far behind keeps old pages in use and makes the file "
            "grow.\n"
            "Pids are those of the reader's own PID namespace. With --json one object a line.\n\n"
            "Exit status: 0 listed, 2 the store cannot be read.\n",
    .run = readers_run,
};

/* readers.c - realmctl readers: who holds reader slots, and how old their snapshots are. */
#include <unistd.h>

#include "tools/sources.h"
#include "tools/tool.h"

struct scan {
    const struct tool *tool;
    const char *region;
    uint64_t newest; /* transaction id */
    pid_t self;
    pid_t agent; /* holds slots for readers without */
};

static void print_reader(const struct scan *scan, int pid, const char *txn_text)
{
    unsigned long long txn;
    bool active = sscanf(txn_text, "%llu", &txn) == 1;

    if (scan->tool->json) {
        (void)tool_print_json(json_pack("{ss, si, so}", "region", scan->region, "pid", pid,
                                        "behind",
                                        active ? json_integer((json_int_t)(scan->newest - txn))
                                               : json_null())); /* stdout is checked at the end */
        return;
    }
    printf("%-8s  pid %-8d  ", scan->region, pid);
    if (active)
        printf("in a snapshot, %llu commits behind\n", (unsigned long long)(scan->newest - txn));
    else
        printf("idle\n");
}

/* mdb_reader_list() offers text only: "pid thread txnid" a line, "-" for a slot without a snapshot.
 */
static int scan_line(const char *line, void *context)
{
    const struct scan *scan = context;
    char txn[32];
    int pid;

    if (sscanf(line, "%d %*s %31s", &pid, txn) == 2 && pid != scan->self && pid != scan->agent)
        print_reader(scan, pid, txn);
    return 0;
}

static pid_t agent_pid(const struct status *status)
{
    struct status_info info;

    (void)status_read(status, &info); /* torn: the pid is right by itself */
    return (pid_t)info.agent_pid;
}

static int list_source(const struct tool *tool, struct tool_source *source)
{
    MDB_envinfo info;
    struct scan scan;

    if (source->generation.number == 0)
        return TOOL_YES;
    scan = (struct scan){.tool = tool,
                         .region = source->region,
                         .self = getpid(),
                         .agent = agent_pid(&source->status)};
    (void)mdb_env_info(source->generation.env.mdb, &info); /* fails for NULL only */
    scan.newest = info.me_last_txnid;
    if (mdb_reader_list(source->generation.env.mdb, scan_line, &scan) < 0)
        return tool_fail("source %s: cannot list the reader slots", source->region);
    return TOOL_YES;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct tool_sources sources;
    int rc = TOOL_YES;

    (void)argv; /* argv[0] is the command */
    if (argc > 1)
        return tool_misused(&command_readers, "readers takes no arguments");
    sources_use_slots(); /* they are listed from the file that holds them */
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
    .run = run,
};

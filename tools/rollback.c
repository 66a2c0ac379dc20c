/* rollback.c - realmctl rollback: back to the generation before the last full load.
 *
 * The one command that changes the store. It takes the store's lock as an agent does, and is
 * refused while one runs: an agent that holds a generation open would go on committing to it. The
 * kept generation has its own cursor, so the agent that is started afterwards follows the feed from
 * there.
 */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/source.h"
#include "tools/sources.h"
#include "tools/tool.h"

/* What root makes in the store must be the agent's. */
static int become_owner(const char *dir, struct error *err)
{
    struct stat status;

    if (stat(dir, &status) != 0)
        return error_set_errno(err, errno, "cannot open %s", dir);
    if (geteuid() != 0 || status.st_uid == 0)
        return 0;
    if (setegid(status.st_gid) != 0 || seteuid(status.st_uid) != 0)
        return error_set_errno(err, errno, "cannot become the owner of %s", dir);
    return 0;
}

static int read_control_plane(const char *dir, struct uuid *ret, struct error *err)
{
    struct status_info info;
    struct status status;
    int rc = status_open(dir, &status, err);

    if (rc != 0)
        return rc;
    (void)status_read(&status, &info); /* this member never changes: torn or not, it is right */
    status_close(&status);
    *ret = info.control_plane_id;
    return 0;
}

/* The named source, or the only one. */
static int choose_region(const char *dir, const char *wanted, char region[STATUS_REGION_SIZE],
                         struct error *err)
{
    struct tool_sources sources;
    int rc = sources_list(dir, &sources, err);

    if (rc != 0)
        return rc;
    if (wanted == NULL && sources.n > 1)
        return error_set(err, E_INVALID, "the store has %zu sources: name one with --region",
                         sources.n);
    for (size_t i = 0; i < sources.n; i++) {
        if (wanted == NULL || strcmp(sources.items[i].region, wanted) == 0) {
            memcpy(region, sources.items[i].region, STATUS_REGION_SIZE);
            return 0;
        }
    }
    return error_set(err, E_INVALID, "the store has no source %s", wanted != NULL ? wanted : "");
}

static int report(const struct tool *tool, const struct source *source, uint64_t former)
{
    struct source_counts counts = source_counts(source);
    uint64_t version = source_cursor(source).version;

    if (tool->json)
        return tool_print_json(
            json_pack("{ss, sI, sI, sI, sI, sI}", "region", source_region(source), "version",
                      (json_int_t)version, "former_version", (json_int_t)former, "realms",
                      (json_int_t)counts.realms, "consumers", (json_int_t)counts.consumers, "keys",
                      (json_int_t)counts.keys));
    printf("%s: version %llu serves instead of %llu: %llu realms, %llu consumers, %llu keys\n",
           source_region(source), (unsigned long long)version, (unsigned long long)former,
           (unsigned long long)counts.realms, (unsigned long long)counts.consumers,
           (unsigned long long)counts.keys);
    return TOOL_YES;
}

static int roll_back_source(const struct tool *tool, struct store *store, const char *region)
{
    struct error discarded = ERROR_INIT;
    struct error err = ERROR_INIT;
    struct source *source;
    uint64_t former;
    int rc;

    if (source_open(store, region, &source, &discarded, &err) != 0)
        return tool_fail("%s", err.message);
    if (discarded.code != 0) /* the message is worth telling, the exit code is not this one's */
        (void)tool_fail("the serving generation was of no use: %s", discarded.message);
    former = source_cursor(source).version;
    rc = source_rollback(source, &err);
    if (rc == 0)
        rc = report(tool, source, former);
    else
        rc = tool_fail("%s", err.message) == TOOL_UNKNOWN && rc == E_NOT_FOUND ? TOOL_NO
                                                                               : TOOL_UNKNOWN;
    source_close(source);
    return rc;
}

static int roll_back(const struct tool *tool, const char *wanted)
{
    struct store_options options = {.dir = tool->store_dir, .clock = clock_system};
    char region[STATUS_REGION_SIZE];
    struct error err = ERROR_INIT;
    struct store *store;
    int rc = become_owner(tool->store_dir, &err);

    if (rc == 0)
        rc = read_control_plane(tool->store_dir, &options.control_plane_id, &err);
    if (rc == 0)
        rc = choose_region(tool->store_dir, wanted, region, &err);
    if (rc == 0)
        rc = store_open(&options, &store, &err);
    if (rc == E_LOCKED)
        return tool_fail("%s. Stop it (systemctl stop realm-agent), roll back, and start it when "
                         "the control plane is right again",
                         err.message);
    if (rc != 0)
        return tool_fail("%s", err.message);
    rc = roll_back_source(tool, store, region);
    store_close(store);
    return rc;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    static const struct option options[] = {{"region", required_argument, NULL, 'r'},
                                            {NULL, 0, NULL, 0}};
    const char *region = NULL;
    int option;

    while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        if (option != 'r')
            return tool_misused(&command_rollback, "wrong option");
        region = optarg;
    }
    if (optind < argc)
        return tool_misused(&command_rollback, "rollback takes no arguments");
    return roll_back(tool, region);
}

const struct command command_rollback = {
    .name = "rollback",
    .arguments = "[--region REGION]",
    .summary = "Go back to the copy before the last full load (agent stopped)",
    .help =
        "The agent keeps the generation that a full load (a snapshot) replaced, while the disk "
        "has\n"
        "room. This command makes it serve again; running readers move to it at once. What it\n"
        "replaces is kept instead, so that a second rollback undoes the first. It is refused "
        "while\n"
        "an agent runs. The agent that is started afterwards continues the feed from the older\n"
        "version; a control plane that does not know that version sends a snapshot again.\n"
        "Answers count as old as the older copy's last change on this host.\n\n"
        "Exit status: 0 done, 1 no generation is kept, 2 not done.\n",
    .run = run,
};

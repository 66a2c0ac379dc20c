/* rollback.c - realmctl rollback: the generation that served before serves again.
 *
 * The one command that writes. It takes the agent's lock, so that never two write, and the identity
 * of the store's owner, so that root leaves no file behind that the agent could not read.
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/layout.h"
#include "store/source.h"
#include "store/status.h"
#include "tools/tool.h"

static int become_owner(const char *dir, struct error *err)
{
    struct stat info;

    if (stat(dir, &info) != 0)
        return error_set_errno(err, errno, "cannot look at %s", dir);
    if (geteuid() != 0 || info.st_uid == 0)
        return 0;
    if (setgroups(0, NULL) != 0 || setgid(info.st_gid) != 0 || setuid(info.st_uid) != 0)
        return error_set_errno(err, errno, "cannot become the owner of %s", dir);
    return 0;
}

/* What the store says of itself: store_open() would make a missing one. What its agent promised to
 * readers without slots stays promised. */
static int read_status(const char *dir, struct status_info *ret, struct store_options *options,
                       struct error *err)
{
    struct status status;
    int rc = status_open(dir, &status, err);

    if (rc != 0)
        return rc;
    (void)status_read(&status, ret); /* torn: an agent runs, and its lock stops us */
    options->control_plane_id = ret->control_plane_id;
    options->retention_ms = (unsigned)status_retention_ms(&status);
    status_close(&status);
    return 0;
}

static int rollback_print_answer(const struct tool *tool, const struct source *source)
{
    struct model_cursor cursor = source_visible(source);

    if (tool->json)
        return tool_print_json(json_pack("{ss, sI}", "region", source_region(source), "version",
                                         (json_int_t)cursor.version));
    printf("%s: serves version %llu\n", source_region(source), (unsigned long long)cursor.version);
    return 0;
}

static int rollback_source(const struct tool *tool, struct store *store, const char *region)
{
    struct error discarded = ERROR_INIT;
    struct error err = ERROR_INIT;
    struct source *source;
    int rc;

    if (source_open(store, region, &source, &discarded, &err) != 0)
        return tool_fail("%s", err.message);
    if (discarded.code != 0)
        (void)tool_fail("the serving copy was removed: %s", discarded.message); /* all the more */
    rc = source_rollback(source, &err);
    if (rc == 0 && source_settle(source, &err) != 0)
        rc = error_context(&err, "it is done, but a power loss may take it back");
    if (rc == 0)
        rc = rollback_print_answer(tool, source) == 0 ? TOOL_YES : TOOL_UNKNOWN;
    else {
        (void)tool_fail("%s", err.message);
        rc = rc == E_NOT_FOUND ? TOOL_NO : TOOL_UNKNOWN;
    }
    source_close(source);
    return rc;
}

/* Every source, or the one asked for. The worst exit code stands for all. */
static int rollback_sources(const struct tool *tool, struct store *store,
                            const struct status_info *info, const char *region)
{
    bool found = false;
    int worst = TOOL_YES;

    for (unsigned i = 0; i < STATUS_SLOTS; i++) {
        const char *name = info->slots[i].region;
        int rc;

        if (!layout_region_valid(name) || (region != NULL && strcmp(region, name) != 0))
            continue;
        found = true;
        rc = rollback_source(tool, store, name);
        if (rc > worst)
            worst = rc;
    }
    return found ? worst : tool_fail("the store has no such source");
}

static int rollback_store(const struct tool *tool, const char *region)
{
    struct store_options options = {.dir = tool->store_dir, .clock = clock_system};
    struct error err = ERROR_INIT;
    struct status_info info;
    struct store *store;
    int rc = become_owner(tool->store_dir, &err);

    if (rc == 0)
        rc = read_status(tool->store_dir, &info, &options, &err);
    if (rc == 0)
        rc = store_open(&options, &store, &err);
    if (rc == E_LOCKED)
        return tool_fail("rollback needs the store to itself: %s", err.message);
    if (rc != 0)
        return tool_fail("%s", err.message);
    rc = rollback_sources(tool, store, &info, region);
    store_close(store);
    return rc;
}

static int rollback_run(const struct tool *tool, int argc, char **argv)
{
    static const struct option options[] = {
        {"region", required_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    const char *region = NULL;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'r')
            return tool_misused(&command_rollback, "wrong usage of rollback");
        region = optarg;
    }
    if (optind < argc)
        return tool_misused(&command_rollback, "rollback takes no argument \"%s\"", argv[optind]);
    return rollback_store(tool, region);
}

const struct command command_rollback = {
    .name = "rollback",
    .arguments = "[--region R]",
    .summary = "Let the previous generation serve again",
    .help =
        "  --region R  only this source; without it, every one\n\n"
        "After a full copy (snapshot) the agent keeps the generation that served before it, while\n"
        "the file system has as much free space as what serves takes. Rollback switches back to "
        "it;\n"
        "a second rollback goes forward again. Readers follow at their next snapshot.\n\n"
        "Stop the agent first: its lock is needed. When it starts again, it continues the feed\n"
        "from the version of the generation that serves then.\n\n"
        "Exit status: 0 done, 1 there is no previous generation, 2 not done (an agent runs, "
        "...).\n",
    .run = rollback_run,
};

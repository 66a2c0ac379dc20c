/* backup.c - realmctl backup: a consistent, compacted copy of every source's data.
 *
 * A directory with REGION/data.mdb for each source, made beside its place and renamed when it is
 * whole. The digest key stays out: with it, whoever has the backup could test guesses at API keys.
 * The store stays open meanwhile, and LMDB's copy is a reader like others.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/files.h"
#include "tools/sources.h"
#include "tools/tool.h"

enum { LOOK_INTERVAL_MS = 200 }; /* at the copy's size, for the progress line */

struct backup {
    const struct tool *tool;
    const char *target;
    char dir[PATH_MAX]; /* the copy in the making */
    json_t *sources;    /* with --json */
};

/* One source's copy, in a thread of its own so that somebody can tell how far it is. */
struct copy {
    const struct env *env;
    char dir[PATH_MAX];
    int rc;
    struct error err;
};

static void *copy_main(void *argument)
{
    struct copy *copy = argument;

    copy->rc = env_copy(copy->env, copy->dir, FILES_NO_GROUP, &copy->err);
    return NULL;
}

static struct timespec soon(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_REALTIME, &time); /* cannot fail for this clock */
    time.tv_nsec += LOOK_INTERVAL_MS * 1000000L;
    time.tv_sec += time.tv_nsec / 1000000000L;
    time.tv_nsec %= 1000000000L;
    return time;
}

static int run_copy(struct copy *copy, const char *region, struct error *err)
{
    struct progress progress;
    pthread_t thread;
    struct timespec until;
    int rc = pthread_create(&thread, NULL, copy_main, copy);

    if (rc != 0)
        return error_set_errno(err, rc, "cannot start a thread");
    progress_begin(&progress, region);
    until = soon();
    while (pthread_timedjoin_np(thread, NULL, &until) == ETIMEDOUT) {
        progress_bytes(&progress, files_disk_bytes(copy->dir, "data.mdb"));
        until = soon();
    }
    progress_end(&progress);
    if (copy->rc != 0)
        *err = copy->err;
    return copy->rc;
}

/* Opens the copy as whoever uses it will, and tells what is in it. */
static int report(struct backup *backup, const struct tool_source *source, const char *dir,
                  struct error *err)
{
    struct tool_source copy = {.txn = NULL};
    unsigned long long version;
    unsigned long long bytes = files_disk_bytes(dir, "data.mdb");
    int rc = source_view_open_copy(dir, &copy, err);

    if (rc != 0)
        return rc;
    version = copy.meta.cursor.version;
    source_view_close(&copy);
    if (backup->tool->json)
        (void)json_array_append_new(backup->sources, /* a NULL shows when it is printed */
                                    json_pack("{ss, sI, sI}", "region", source->region, "version",
                                              (json_int_t)version, "bytes", (json_int_t)bytes));
    else
        printf("%s: version %llu, %llu bytes\n", source->region, version, bytes);
    return 0;
}

static int back_up_source(struct backup *backup, const struct tool_source *source,
                          struct error *err)
{
    struct copy copy = {.env = &source->generation.env, .err = ERROR_INIT};
    int rc = files_join(copy.dir, backup->dir, source->region, err);

    if (rc == 0)
        rc = files_make_dir(copy.dir, FILES_NO_GROUP, err);
    if (rc == 0)
        rc = run_copy(&copy, source->region, err);
    if (rc == 0)
        rc = report(backup, source, copy.dir, err);
    return rc;
}

static int back_up_all(struct backup *backup, const struct tool_sources *sources, struct error *err)
{
    size_t copied = 0;
    int rc = 0;

    for (size_t i = 0; i < sources->n && rc == 0; i++) {
        if (sources->items[i].generation.number == 0) {
            (void)tool_fail("source %s has no complete copy yet: left out",
                            sources->items[i].region);
            continue;
        }
        rc = back_up_source(backup, &sources->items[i], err);
        copied++;
    }
    if (rc == 0 && copied == 0)
        rc = error_set(err, E_NOT_READY, NULL);
    return rc == 0 ? files_sync_dir(backup->dir, err) : rc;
}

/* Gives the copy its name, unless somebody took it meanwhile. */
static int put_in_place(const struct backup *backup, struct error *err)
{
    char parent[PATH_MAX];
    char *slash;

    if (chmod(backup->dir, FILES_MODE_DIR & 0777) != 0)
        return error_set_errno(err, errno, "cannot set the mode of %s", backup->dir);
    if (renameat2(AT_FDCWD, backup->dir, AT_FDCWD, backup->target, RENAME_NOREPLACE) != 0)
        return error_set_errno(err, errno, "cannot make %s", backup->target);
    (void)snprintf(parent, sizeof(parent), "%s", backup->target);
    slash = strrchr(parent, '/');
    if (slash == NULL)
        return files_sync_dir(".", err);
    slash[slash == parent] = 0; /* "/x" is in "/" */
    return files_sync_dir(parent, err);
}

static int make_backup(struct backup *backup, struct error *err)
{
    struct tool_sources sources;
    int rc = sources_open(backup->tool->store_dir, &sources, err);

    if (rc != 0)
        return rc;
    if (mkdtemp(backup->dir) == NULL) {
        rc = error_set_errno(err, errno, "cannot make %s", backup->dir);
        backup->dir[0] = 0;
    }
    if (rc == 0)
        rc = back_up_all(backup, &sources, err);
    sources_close(&sources);
    if (rc == 0)
        rc = put_in_place(backup, err);
    if (rc != 0 && backup->dir[0] != 0)
        (void)files_remove_tree(backup->dir, NULL); /* the failure is told already */
    return rc;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct backup backup = {.tool = tool};
    struct error err = ERROR_INIT;
    int length;

    if (argc != 2 || argv[1][0] == 0)
        return tool_misused(&command_backup, "backup takes the name of what is to be made");
    backup.target = argv[1];
    length = snprintf(backup.dir, sizeof(backup.dir), "%s.XXXXXX", backup.target);
    if (length < 0 || (size_t)length >= sizeof(backup.dir))
        return tool_fail("the path is too long");
    if (access(backup.target, F_OK) == 0)
        return tool_fail("%s exists: a backup overwrites nothing", backup.target);
    backup.sources = json_array();
    if (make_backup(&backup, &err) != 0) {
        json_decref(backup.sources);
        return tool_fail("%s", err.message);
    }
    if (tool->json)
        return tool_print_json(
            json_pack("{ss, so}", "backup", backup.target, "sources", backup.sources));
    json_decref(backup.sources);
    return TOOL_YES;
}

const struct command command_backup = {
    .name = "backup",
    .arguments = "FILE",
    .summary = "Copy every source's data, compacted and consistent",
    .help =
        "FILE becomes a directory with REGION/data.mdb for each source, mode 0640, each one\n"
        "version of its source. The agent and readers go on meanwhile. The key of the digests is\n"
        "not in it, so that nobody can test guesses at API keys with it; `realmctl diff` compares\n"
        "it with a store or another backup. FILE must not exist. With --json one object.\n\n"
        "Exit status: 0 made, 2 not made, and nothing is left of it.\n",
    .run = run,
};

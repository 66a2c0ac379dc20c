/* backup.c - realmctl backup: a compacted copy of every source, without the digest key.
 *
 * LMDB copies from a snapshot of its own while the agent goes on; the pages that the snapshot needs
 * stay in use until the copy ends. It would follow a damaged page anywhere, so all pages are
 * checked before; a store with a damaged one is not copied. The directory is made by mkdir(), so
 * that nothing is ever overwritten, and the marker is written last, so that a copy that was cut off
 * is not taken for a backup.
 */
#include "tools/backup.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "store/files.h"
#include "store/trees.h"
#include "tools/tool.h"

enum { MODE_DIR = 0750, WATCH_EVERY_NS = 250 * 1000 * 1000 };

/* ---- telling how far a copy is, while LMDB is at it ---- */

struct watch {
    struct progress *progress;
    int fd; /* being written */
    uint64_t total_bytes;
    bool runs; /* the thread */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t over;
    bool is_over;
};

static void wait_a_little(struct watch *watch)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until); /* cannot fail with a clock that is there */
    until.tv_nsec += WATCH_EVERY_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&watch->over, &watch->mutex, &until); /* either way, look again */
}

static void *watch_copy(void *context)
{
    struct watch *watch = context;
    struct stat file;

    (void)pthread_mutex_lock(&watch->mutex); /* a plain mutex used right cannot fail */
    do {
        if (!watch->is_over)
            wait_a_little(watch);
        if (fstat(watch->fd, &file) == 0)
            progress_bytes(watch->progress, (uint64_t)file.st_size, watch->total_bytes);
    } while (!watch->is_over);
    (void)pthread_mutex_unlock(&watch->mutex);
    return NULL;
}

static void watch_begin(void *context, int fd)
{
    struct watch *watch = context;

    watch->fd = fd;
    (void)pthread_mutex_init(&watch->mutex, NULL); /* cannot fail with default attributes */
    (void)pthread_cond_init(&watch->over, NULL);
    watch->runs = pthread_create(&watch->thread, NULL, watch_copy, watch) == 0; /* else untold */
}

static void watch_end(void *context)
{
    struct watch *watch = context;

    if (watch->runs) {
        (void)pthread_mutex_lock(&watch->mutex);
        watch->is_over = true;
        (void)pthread_cond_signal(&watch->over);
        (void)pthread_mutex_unlock(&watch->mutex);
        (void)pthread_join(watch->thread, NULL); /* ours, joined once */
    }
    (void)pthread_cond_destroy(&watch->over);
    (void)pthread_mutex_destroy(&watch->mutex);
}

static uint64_t file_bytes(MDB_env *mdb)
{
    MDB_envinfo info;
    MDB_stat stat;

    (void)mdb_env_info(mdb, &info); /* these two fail for NULL only */
    (void)mdb_env_stat(mdb, &stat);
    return (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
}

/* ---- copying ---- */

static int make_dir(const char *path, struct error *err)
{
    if (mkdir(path, MODE_DIR) != 0)
        return error_set_errno(err, errno, "cannot make %s", path);
    return files_own(path, MODE_DIR, FILES_NO_GROUP, err); /* whatever the umask is */
}

static int copy_source(struct progress *progress, const char *backup_dir,
                       const struct tool_source *source, struct error *err)
{
    const struct env *env = &source->generation.env;
    struct watch watch = {.progress = progress, .total_bytes = file_bytes(env->mdb)};
    const struct env_copy_watch calls = {watch_begin, watch_end, &watch};
    char dir[PATH_MAX];
    int rc = trees_check_all(source->trees, err);

    if (rc == 0)
        rc = files_join(dir, backup_dir, source->region, err);
    if (rc == 0)
        rc = make_dir(dir, err);
    if (rc == 0)
        rc = env_copy(env, dir, FILES_NO_GROUP, progress_is_wanted(progress) ? &calls : NULL, err);
    if (rc == 0)
        return 0;
    (void)error_context(err, "source %s", source->region);
    source_damage(err);
    return rc;
}

static int copy_sources(const char *dir, const struct tool_sources *sources, struct error *err)
{
    struct progress progress;
    int rc = 0;

    progress_begin(&progress, "backup");
    for (size_t i = 0; i < sources->n && rc == 0; i++) {
        if (sources->items[i].generation.number != 0)
            rc = copy_source(&progress, dir, &sources->items[i], err);
    }
    progress_end(&progress);
    if (rc == 0)
        rc = files_write(dir, BACKUP_MARKER, BACKUP_MARKER_TEXT, strlen(BACKUP_MARKER_TEXT),
                         FILES_NO_GROUP, err);
    return rc;
}

/* ---- the command ---- */

static bool has_copies(const struct tool_sources *sources)
{
    bool has = false;

    for (size_t i = 0; i < sources->n; i++) {
        if (sources->items[i].generation.number != 0)
            has = true;
        else
            (void)tool_fail("source %s has no complete copy yet and is left out",
                            sources->items[i].region); /* the others may do */
    }
    return has;
}

static int write_backup(const char *dir, const struct tool_sources *sources, struct error *err)
{
    int rc;

    if (!has_copies(sources))
        return error_set(err, E_NOT_READY, "there is nothing to back up");
    rc = make_dir(dir, err);
    if (rc != 0)
        return rc;
    rc = copy_sources(dir, sources, err);
    if (rc == 0)
        rc = files_sync_parent(dir, err);
    if (rc != 0)
        (void)files_remove_tree(dir, NULL); /* ours, made just now; the first failure is told */
    return rc;
}

static int backup_print_answer(const struct tool *tool, const char *dir, size_t n_sources)
{
    if (tool->json)
        return tool_print_json(
            json_pack("{ss, sI}", "backup", dir, "sources", (json_int_t)n_sources));
    return 0;
}

static int backup_run(const struct tool *tool, int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct tool_sources sources = {.n = 0};
    size_t n_sources = 0;
    int rc;

    if (argc != 2)
        return tool_misused(&command_backup, "backup takes one directory to make");
    sources_use_slots(); /* LMDB's copy cannot stop to look whether its pages are still kept */
    rc = sources_open(tool->store_dir, &sources, &err);
    if (rc == 0)
        rc = write_backup(argv[1], &sources, &err);
    for (size_t i = 0; i < sources.n; i++)
        n_sources += sources.items[i].generation.number != 0;
    sources_close(&sources);
    if (rc != 0)
        return tool_fail("%s", err.message);
    return backup_print_answer(tool, argv[1], n_sources) == 0 ? TOOL_YES : TOOL_UNKNOWN;
}

const struct command command_backup = {
    .name = "backup",
    .arguments = "DIR",
    .summary = "Copy every source, compacted, to a new directory",
    .help =
        "Makes DIR, which must not exist, with DIR/REGION/data.mdb for each source: one "
        "consistent\n"
        "version of it, without free pages, 0640. The digest key is left out: API keys cannot be\n"
        "looked up, or guessed, in a backup. The marker DIR/backup.format is written last; a\n"
        "directory without it was cut off and is no backup. The agent may run meanwhile, but its\n"
        "file may grow until the copy is done.\n\n"
        "`realmctl --store DIR dump`, `get` and `verify`, and `realmctl diff` read a backup.\n\n"
        "Exit status: 0 written, 2 not written.\n",
    .run = backup_run,
};

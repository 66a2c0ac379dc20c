/* source_keep.c - switching generations, and the one that is kept for a rollback.
 *
 * A switch goes: `current` (the commit point), status page, sync of the page, removal of what is
 * neither served nor kept. A crash in between leaves one complete generation serving.
 *
 * The former generation of a full load is kept: a source that sends a wrong snapshot then is an
 * operator's decision away from being undone. It is the first thing to go when the disk is short.
 */
#include "store/source_internal.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "store/files.h"

static int generation_path(const struct source *source, uint32_t number, char path[PATH_MAX],
                           struct error *err)
{
    char name[GENERATION_NAME_SIZE];

    return files_join(path, source->dir, generation_name(number, name), err);
}

int source_remove_others(struct source *source, const struct current *current, struct error *err)
{
    DIR *dir = opendir(source->dir);
    char path[PATH_MAX];
    struct dirent *entry;
    int rc = 0;

    if (dir == NULL)
        return error_set_errno(err, errno, "cannot list %s", source->dir);
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        uint32_t number = generation_parse(entry->d_name);

        if (number > source->last_number)
            source->last_number = number;
        if (number == 0 || number == current->serving || number == current->previous)
            continue;
        rc = generation_path(source, number, path, err);
        if (rc == 0)
            rc = files_remove_tree(path, err);
    }
    (void)closedir(dir); /* nothing was written */
    return rc;
}

int source_check_owner(const struct source *source, const struct generation *generation,
                       struct error *err)
{
    const struct layout_meta *meta = &generation->meta;
    char text[UUID_TEXT_SIZE];

    if (!uuid_equal(&meta->control_plane_id, &source->store->control_plane_id))
        return error_set(err, E_EXISTS_ELSEWHERE,
                         "%s holds data of control plane %s: use another store directory, or "
                         "remove it to start afresh",
                         source->dir, uuid_format(&meta->control_plane_id, text));
    if (strcmp(meta->region, source->region) != 0)
        return error_set(err, E_CORRUPT, "%s holds data of region %s", source->dir, meta->region);
    return 0;
}

/* ---- switching ---- */

/* Writing `current` can fail behind its rename, when the directory cannot be synced. */
static bool is_named(const struct source *source, uint32_t number)
{
    struct current current;

    return current_read(source->dir, &current, NULL) == 0 && current.serving == number;
}

int source_switch(struct source *source, struct generation *next, uint32_t previous,
                  struct error *err)
{
    const struct current current = {.serving = next->number, .previous = previous};
    int rc = current_write(source->dir, &current, source->store->gid, err);

    if (rc != 0 && !is_named(source, next->number)) {
        generation_close(next);
        return rc;
    }
    /* From here on there is no way back. */
    generation_close(&source->live);
    source->live = *next;
    source->previous = previous;
    store_publish(source->store, source->slot, source->region, &source->live);
    /* `current` and the page go to disk before the files they named go. No failure harms: what is
     * left is removed by the next switch or source_open(). */
    if (rc == 0 && store_sync_status(source->store, NULL) == 0)
        (void)source_remove_others(source, &current, NULL);
    source_spare_disk(source);
    return 0;
}

/* ---- the kept generation ---- */

static uint64_t disk_bytes(const struct source *source, uint32_t number)
{
    char path[PATH_MAX];

    return generation_path(source, number, path, NULL) == 0 ? files_disk_bytes(path, "data.mdb")
                                                            : 0;
}

/* Its files go first, because `current` cannot be written on a full disk; a second line that names
 * nothing is harmless. */
static void drop_previous(struct source *source)
{
    const struct current current = {.serving = source->live.number};
    char path[PATH_MAX];

    if (generation_path(source, source->previous, path, NULL) != 0 ||
        files_remove_tree(path, NULL) != 0)
        return;
    source->previous = 0;
    source->previous_dropped = true;
    (void)current_write(source->dir, &current, source->store->gid, NULL);
}

void source_spare_disk(struct source *source)
{
    if (source->previous != 0 && source->live.number != 0 &&
        files_free_bytes(source->dir) < disk_bytes(source, source->live.number))
        drop_previous(source);
}

void source_make_load_room(struct source *source)
{
    if (source->previous != 0 && source->live.number != 0)
        drop_previous(source);
}

/* When the kept generation was current last: its last commit on this host. */
static int64_t last_commit_ms(const struct source *source, uint32_t number)
{
    char dir[PATH_MAX];
    char path[PATH_MAX];
    struct stat file;

    if (generation_path(source, number, dir, NULL) != 0 ||
        files_join(path, dir, "data.mdb", NULL) != 0 || stat(path, &file) != 0)
        return 0;
    return (int64_t)file.st_mtim.tv_sec * 1000 + file.st_mtim.tv_nsec / 1000000;
}

int source_rollback(struct source *source, struct error *err)
{
    const struct store *store = source->store;
    struct generation kept = {.number = 0};
    uint32_t former = source->live.number;
    int64_t current_ms;
    int rc;

    source_load_abort(source);
    if (source->previous == 0)
        return error_set(err, E_NOT_FOUND, "no previous generation of source %s is kept",
                         source->region);
    current_ms = last_commit_ms(source, source->previous);
    rc = generation_open_writer(source->dir, source->previous, store->map_bytes, store->gid, &kept,
                                err);
    if (rc != 0)
        return rc;
    rc = source_check_owner(source, &kept, err);
    if (rc != 0) {
        generation_close(&kept);
        return rc;
    }
    rc = source_switch(source, &kept, former, err);
    if (rc == 0)
        store_limit_heard(source->store, source->slot, current_ms);
    return rc;
}

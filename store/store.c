/* store.c - the agent's store directory: the lock, the status page, the set of sources.
 *
 * One agent at a time: `lock` is held by flock() for the life of the handle, so that it falls with
 * the process. The status page is written by several threads (heartbeats by the one that hears
 * them, versions by the one that commits), one at a time behind store->mutex.
 */
#include "store/source_internal.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "store/files.h"

static const size_t map_default_bytes = (size_t)64 << 30;
static const uint64_t compact_default_bytes = (uint64_t)64 << 20;
static const uint64_t compact_default_lag_txns = 1000;

/* ---- opening ---- */

static int find_group(const char *name, gid_t *ret, struct error *err)
{
    char memory[4096]; /* one group's members; more only makes this host's lookup fail cleanly */
    struct group group;
    struct group *found = NULL;
    int rc;

    if (name == NULL) {
        *ret = FILES_NO_GROUP;
        return 0;
    }
    rc = getgrnam_r(name, &group, memory, sizeof(memory), &found);
    if (found != NULL) {
        *ret = group.gr_gid;
        return 0;
    }
    if (rc != 0 && rc != ENOENT)
        return error_set_errno(err, rc, "cannot look the reader group %s up", name);
    return error_set(err, E_NOT_FOUND, "there is no group %s: make it with `groupadd --system %s`",
                     name, name);
}

static int take_lock(struct store *store, struct error *err)
{
    char path[PATH_MAX];
    pid_t holder = 0;
    int rc = files_join(path, store->dir, "lock", err);

    if (rc == 0)
        rc = own_lock(path, FILES_MODE_DATA, &store->lock_fd, &holder, err);
    if (rc != E_LOCKED || holder == 0)
        return rc;
    return error_set(err, E_LOCKED,
                     "another agent (pid %ld) runs on %s: stop it or use another directory",
                     (long)holder, store->dir);
}

/* Until its source is opened, nothing is heard of a slot. */
static void mark_slots(struct store *store, enum source_state state)
{
    for (unsigned i = 0; i < STATUS_SLOTS; i++) {
        struct status_source *slot = &store->info.slots[i];

        if (slot->region[0] == 0)
            continue;
        slot->state = slot->generation == 0 ? SOURCE_EMPTY : state;
        status_put_source(&store->status, i, slot);
    }
}

/* The directory's own name. An agent may be kept out of the parent (the package makes the
 * directory, and systemd): then whoever made it answers for it. */
static void sync_own_name(const struct store *store)
{
    (void)files_sync_parent(store->dir, NULL);
}

static int prepare(struct store *store, const struct store_options *options, struct error *err)
{
    int rc = find_group(options->reader_group, &store->gid, err);

    if (rc == 0)
        rc = files_take_dir(store->dir, store->gid, err);
    if (rc == 0)
        sync_own_name(store);
    if (rc == 0)
        rc = take_lock(store, err);
    if (rc == 0)
        rc = status_open_writer(store->dir, &store->control_plane_id, store->gid, &store->clock,
                                &store->status, &store->info, err);
    if (rc != 0)
        return rc;
    store->former_retention_ms = status_retention_ms(&store->status);
    status_put_retention(&store->status, store->retention_ms);
    mark_slots(store, SOURCE_DISCONNECTED);
    status_put_agent(&store->status, getpid());
    return 0;
}

int store_open(const struct store_options *options, struct store **ret, struct error *err)
{
    struct store *store = calloc(1, sizeof(*store));
    int rc;

    if (store == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    store->control_plane_id = options->control_plane_id;
    store->map_bytes = options->map_bytes > 0 ? options->map_bytes : map_default_bytes;
    store->compact_bytes =
        options->compact_bytes > 0 ? options->compact_bytes : compact_default_bytes;
    store->compact_lag_txns =
        options->compact_lag_txns > 0 ? options->compact_lag_txns : compact_default_lag_txns;
    store->retention_ms = options->retention_ms;
    store->clock = options->clock;
    store->lock_fd = -1;
    (void)pthread_mutex_init(&store->mutex, NULL); /* cannot fail with default attributes */
    if (strlen(options->dir) >= sizeof(store->dir))
        rc = error_set(err, E_INVALID, "the store directory's path is too long");
    else {
        memcpy(store->dir, options->dir, strlen(options->dir) + 1);
        rc = prepare(store, options, err);
    }
    if (rc != 0) {
        status_close(&store->status);
        store_close(store);
        return rc;
    }
    *ret = store;
    return 0;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    if (store->status.words != NULL) {
        mark_slots(store, SOURCE_STOPPED);
        status_put_agent(&store->status, 0);
        status_close(&store->status);
    }
    if (store->lock_fd >= 0)
        (void)close(store->lock_fd); /* releases the lock */
    (void)pthread_mutex_destroy(&store->mutex);
    free(store);
}

/* ---- slots ---- */

static int find_slot(const struct store *store, const char *region)
{
    for (int i = 0; i < STATUS_SLOTS; i++) {
        if (strcmp(store->info.slots[i].region, region) == 0)
            return i;
    }
    return -1;
}

int store_take_slot(struct store *store, const char *region, unsigned *ret, struct error *err)
{
    int slot;
    int rc = 0;

    (void)pthread_mutex_lock(&store->mutex); /* a plain mutex used right cannot fail */
    slot = find_slot(store, region);
    for (int i = 0; i < STATUS_SLOTS && slot < 0; i++) {
        if (store->info.slots[i].region[0] == 0 && !store->open[i])
            slot = i;
    }
    if (slot < 0)
        rc = error_set(err, E_TOO_LARGE, "a store holds at most %d sources", STATUS_SLOTS);
    else if (store->open[slot])
        rc = error_set(err, E_BUSY, "source %s is open already", region);
    else
        store->open[slot] = true;
    (void)pthread_mutex_unlock(&store->mutex);
    if (rc == 0)
        *ret = (unsigned)slot;
    return rc;
}

void store_give_slot(struct store *store, unsigned slot)
{
    (void)pthread_mutex_lock(&store->mutex);
    store->open[slot] = false;
    (void)pthread_mutex_unlock(&store->mutex);
}

uint32_t store_published(struct store *store, unsigned slot)
{
    uint32_t number;

    (void)pthread_mutex_lock(&store->mutex);
    number = store->info.slots[slot].generation;
    (void)pthread_mutex_unlock(&store->mutex);
    return number;
}

/* Of another epoch a version says nothing, and after a rollback a newer one does not. */
static void forget_verified(struct status_source *source)
{
    source->verified_version = 0;
    source->verified_ms = 0;
}

void store_publish(struct store *store, unsigned slot, const char *region,
                   const struct generation *live)
{
    struct status_source *source = &store->info.slots[slot];
    static const struct layout_meta nothing;
    const struct layout_meta *meta = live->number != 0 ? &live->meta : &nothing;

    (void)pthread_mutex_lock(&store->mutex);
    memset(source->region, 0, sizeof(source->region));
    memcpy(source->region, region, strlen(region));
    if (live->number == 0)
        source->state = SOURCE_EMPTY;
    else if (source->state == SOURCE_EMPTY)
        source->state = SOURCE_DISCONNECTED;
    source->generation = live->number;
    if (!uuid_equal(&source->cursor.epoch, &meta->cursor.epoch) ||
        meta->cursor.version < source->verified_version)
        forget_verified(source);
    source->cursor = meta->cursor;
    source->commit_time_ms = meta->commit_time_ms;
    source->realms = meta->realms;
    source->consumers = meta->consumers;
    source->keys = meta->keys;
    status_put_source(&store->status, slot, source);
    (void)pthread_mutex_unlock(&store->mutex);
}

void store_publish_state(struct store *store, unsigned slot, enum source_state state)
{
    (void)pthread_mutex_lock(&store->mutex);
    store->info.slots[slot].state = state;
    status_put_source(&store->status, slot, &store->info.slots[slot]);
    (void)pthread_mutex_unlock(&store->mutex);
}

void store_publish_heard(struct store *store, unsigned slot)
{
    struct status_source *source = &store->info.slots[slot];

    (void)pthread_mutex_lock(&store->mutex);
    source->heard_boot_ms = store->clock.boot_ms(store->clock.context);
    source->heard_wall_ms = store->clock.wall_ms(store->clock.context);
    status_put_source(&store->status, slot, source);
    (void)pthread_mutex_unlock(&store->mutex);
}

void store_publish_verified(struct store *store, unsigned slot, uint64_t version)
{
    struct status_source *source = &store->info.slots[slot];

    (void)pthread_mutex_lock(&store->mutex);
    source->verified_version = version;
    source->verified_ms = store->clock.wall_ms(store->clock.context);
    status_put_source(&store->status, slot, source);
    (void)pthread_mutex_unlock(&store->mutex);
}

/* Without the mutex: heartbeats must not wait for a disk. */
int store_sync_status(struct store *store, struct error *err)
{
    return status_sync(&store->status, err);
}

/* ---- pruning ---- */

static void free_slot(struct store *store, unsigned slot)
{
    memset(&store->info.slots[slot], 0, sizeof(store->info.slots[slot]));
    status_put_source(&store->status, slot, &store->info.slots[slot]);
}

/* A directory that a source made: it has a region's name and holds `current`. */
static bool is_source_dir(const struct store *store, const char *name)
{
    char dir[PATH_MAX];
    char path[PATH_MAX];

    return layout_region_valid(name) && files_join(dir, store->dir, name, NULL) == 0 &&
           files_join(path, dir, "current", NULL) == 0 && access(path, F_OK) == 0;
}

static int remove_source_dir(const struct store *store, const char *name, struct error *err)
{
    char path[PATH_MAX];
    int rc = files_join(path, store->dir, name, err);

    return rc != 0 ? rc : files_remove_tree(path, err);
}

/* Directories whose slot is gone, because the status page was made anew. */
static int prune_strays(struct store *store, struct error *err)
{
    DIR *dir = opendir(store->dir);
    struct dirent *entry;
    int rc = 0;

    if (dir == NULL)
        return error_set_errno(err, errno, "cannot list %s", store->dir);
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (is_source_dir(store, entry->d_name) && find_slot(store, entry->d_name) < 0)
            rc = remove_source_dir(store, entry->d_name, err);
    }
    (void)closedir(dir); /* nothing was written */
    return rc;
}

int store_prune(struct store *store, struct error *err)
{
    int rc = 0;

    (void)pthread_mutex_lock(&store->mutex);
    for (unsigned i = 0; i < STATUS_SLOTS && rc == 0; i++) {
        char region[STATUS_REGION_SIZE];

        memcpy(region, store->info.slots[i].region, sizeof(region));
        if (store->open[i] || region[0] == 0)
            continue;
        free_slot(store, i); /* readers leave it before its files go */
        if (layout_region_valid(region))
            rc = remove_source_dir(store, region, err);
    }
    if (rc == 0)
        rc = prune_strays(store, err);
    (void)pthread_mutex_unlock(&store->mutex);
    return rc;
}

/* feed_snapshot.c - snapshot files: built once, given to many.
 *
 * Each control plane has a slot that one caller at a time works on: it looks whether the file still
 * serves, and builds another if not; those who come meanwhile wait and then find it fresh. A file
 * is written under a temporary name and renamed, so that the directory never holds half a snapshot
 * under a good name. It needs no fsync: a file that a crash damages is removed at the next start.
 *
 * Failure modes: when building fails, all who waited for it get its error; the next caller tries
 * again. The former file stays until then.
 */
#include "control/feed/feed_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sync/snapshot.h"

enum {
    PATH_BYTES = 4096,
    REUSE_DIVISOR = 10, /* a file serves while the changes since it are fewer than a tenth of it */
    FILE_BUFFER_BYTES = 256 * 1024
};

static const char suffix[] = ".rssnap";
static const char suffix_new[] = ".rssnap.new";

struct feed_slot {
    LIST_ENTRY(feed_slot) in_shelf;
    struct uuid control_plane_id;
    bool busy;    /* somebody checks or builds */
    bool present; /* a file is there: */
    struct model_cursor cursor;
    uint64_t size;
    uint64_t records;
    uint64_t checked;    /* newest version at which it was found to serve */
    uint64_t attempts;   /* finished checks or builds */
    struct error failed; /* of the last one; code 0: it went well */
};

/* ---- the directory ---- */

static bool has_suffix(const char *name, const char *end)
{
    const size_t length = strlen(name);
    const size_t end_length = strlen(end);

    return length > end_length && strcmp(name + length - end_length, end) == 0;
}

static int empty_dir(const char *dir, struct error *err)
{
    DIR *listing = opendir(dir);
    struct dirent *entry;

    if (listing == NULL)
        return error_set_errno(err, errno, "cannot read the snapshot directory %s", dir);
    while ((entry = readdir(listing)) != NULL) {
        if (has_suffix(entry->d_name, suffix) || has_suffix(entry->d_name, suffix_new))
            (void)unlinkat(dirfd(listing), entry->d_name, 0); /* a leftover costs space only */
    }
    closedir(listing);
    return 0;
}

int feed_shelf_open(struct feed_shelf *shelf, const char *dir, struct error *err)
{
    LIST_INIT(&shelf->slots);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return error_set_errno(err, errno, "cannot create the snapshot directory %s", dir);
    shelf->dir = strdup(dir);
    return shelf->dir != NULL ? empty_dir(dir, err) : error_set(err, E_NO_MEMORY, NULL);
}

void feed_shelf_close(struct feed_shelf *shelf)
{
    while (!LIST_EMPTY(&shelf->slots)) {
        struct feed_slot *slot = LIST_FIRST(&shelf->slots);

        LIST_REMOVE(slot, in_shelf);
        free(slot);
    }
    free(shelf->dir);
    shelf->dir = NULL;
}

static int path_of(const struct feed_shelf *shelf, const struct feed_slot *slot, const char *end,
                   char path[PATH_BYTES], struct error *err)
{
    char id[UUID_TEXT_SIZE];
    int length = snprintf(path, PATH_BYTES, "%s/%s%s", shelf->dir,
                          uuid_format(&slot->control_plane_id, id), end);

    if (length < 0 || length >= PATH_BYTES)
        return error_set(err, E_INVALID, "the path of the snapshot directory is too long");
    return 0;
}

/* ---- building ---- */

struct build {
    FILE *file;                       /* owned */
    struct snapshot_encoder *encoder; /* owned; NULL before the header */
    struct snapshot_header header;
};

static int write_bytes(void *context, const void *bytes, size_t size)
{
    struct build *build = context;

    errno = 0;
    if (fwrite(bytes, 1, size, build->file) == size)
        return 0;
    return error_from_errno(errno);
}

static int take_header(void *context, const struct snapshot_header *header)
{
    struct build *build = context;

    build->header = *header;
    return snapshot_encoder_create(header, write_bytes, build, &build->encoder);
}

static int take_record(void *context, const struct snapshot_record *record)
{
    struct build *build = context;

    return snapshot_encoder_add(build->encoder, record);
}

static int write_all(struct feed *feed, const struct uuid *control_plane_id, struct build *build,
                     struct error *err)
{
    const struct repo_snapshot_sink sink = {
        .header = take_header, .record = take_record, .context = build};
    int rc = feed->repo->ops->snapshot(feed->repo, control_plane_id, &sink, err);

    if (rc != 0)
        return rc;
    rc = snapshot_encoder_end(build->encoder);
    if (rc == 0 && fflush(build->file) != 0)
        rc = error_from_errno(errno);
    return rc == 0 ? 0
                   : error_set(err, rc, "the snapshot could not be written: %s", error_text(rc));
}

static int write_file(struct feed *feed, const struct uuid *control_plane_id, const char *path,
                      struct build *build, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc;

    build->file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (build->file == NULL) {
        rc = error_set_errno(err, errno, "cannot create the snapshot %s", path);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    (void)setvbuf(build->file, NULL, _IOFBF, FILE_BUFFER_BYTES); /* a smaller one works too */
    rc = write_all(feed, control_plane_id, build, err);
    snapshot_encoder_destroy(build->encoder);
    if (fclose(build->file) != 0 && rc == 0)
        rc = error_set_errno(err, errno, "cannot write the snapshot %s", path);
    return rc;
}

static int publish(const char *from, const char *to, struct error *err)
{
    if (rename(from, to) == 0)
        return 0;
    return error_set_errno(err, errno, "cannot rename the snapshot to %s", to);
}

/* Replaces the slot's file; the slot is busy, the shelf's lock is not held. */
static int build_file(struct feed *feed, struct feed_slot *slot, struct error *err)
{
    struct build build = {.file = NULL};
    char path_new[PATH_BYTES];
    char path[PATH_BYTES];
    struct stat info;
    int rc = path_of(&feed->shelf, slot, suffix_new, path_new, err);

    if (rc == 0)
        rc = path_of(&feed->shelf, slot, suffix, path, err);
    if (rc != 0)
        return rc;
    rc = write_file(feed, &slot->control_plane_id, path_new, &build, err);
    if (rc == 0 && stat(path_new, &info) != 0)
        rc = error_set_errno(err, errno, "cannot look at the snapshot %s", path_new);
    if (rc == 0)
        rc = publish(path_new, path, err);
    if (rc != 0) {
        (void)unlink(path_new); /* may not be there */
        return rc;
    }
    slot->present = true;
    slot->cursor = build.header.cursor;
    slot->checked = build.header.cursor.version;
    slot->size = (uint64_t)info.st_size;
    slot->records = build.header.realms + build.header.consumers + build.header.keys;
    return 0;
}

/* ---- reuse ---- */

struct budget {
    uint64_t left;
};

static int spend(void *context, const struct change *change)
{
    struct budget *budget = context;

    (void)change;
    if (budget->left == 0)
        return E_TOO_LARGE;
    budget->left--;
    return 0;
}

/* The feed can continue from the file, with fewer changes than a tenth of its records. */
static int still_serves(struct feed *feed, struct feed_slot *slot, bool *ret, struct error *err)
{
    struct budget budget = {.left = slot->records > 0 ? (slot->records - 1) / REUSE_DIVISOR : 0};
    struct repo_delta delta;
    struct repo_head head;
    int rc = feed->repo->ops->head(feed->repo, &head, err);

    *ret = false;
    if (rc != 0 || !slot->present || !uuid_equal(&slot->cursor.epoch, &head.epoch) ||
        slot->cursor.version < head.oldest)
        return rc;
    *ret = slot->checked == head.version;
    if (*ret)
        return 0;
    rc = feed->repo->ops->delta(feed->repo, &slot->control_plane_id, slot->cursor.version, spend,
                                &budget, &delta, err);
    if (rc == 0 && delta.outcome == REPO_DELTA_OK) {
        *ret = true;
        slot->checked = delta.version;
    }
    return rc;
}

/* ---- one caller at a time ---- */

/* Lock held; found or made, NULL when out of memory. */
static struct feed_slot *slot_open(struct feed_shelf *shelf, const struct uuid *control_plane_id)
{
    struct feed_slot *slot;

    for (slot = LIST_FIRST(&shelf->slots); slot != NULL; slot = LIST_NEXT(slot, in_shelf)) {
        if (uuid_equal(&slot->control_plane_id, control_plane_id))
            return slot;
    }
    slot = calloc(1, sizeof(*slot));
    if (slot == NULL)
        return NULL;
    slot->control_plane_id = *control_plane_id;
    LIST_INSERT_HEAD(&shelf->slots, slot, in_shelf);
    return slot;
}

/* Lock held, and released in between. */
static int refresh(struct feed *feed, struct feed_slot *slot, struct error *err)
{
    struct feed_shelf *shelf = &feed->shelf;
    bool serves = false;
    bool built = false;
    int rc;

    slot->busy = true;
    pthread_mutex_unlock(&shelf->lock);
    rc = still_serves(feed, slot, &serves, err);
    if (rc == 0 && !serves) {
        rc = build_file(feed, slot, err);
        built = rc == 0;
    }
    pthread_mutex_lock(&shelf->lock);
    slot->busy = false;
    slot->attempts++;
    slot->failed = (struct error)ERROR_INIT;
    if (rc != 0)
        slot->failed = *err;
    shelf->built += built;
    pthread_cond_broadcast(&shelf->idle);
    return rc;
}

/* Lock held, so that the file is not replaced between its name and its descriptor. */
static int open_file(const struct feed_shelf *shelf, const struct feed_slot *slot,
                     struct feed_snapshot *ret, struct error *err)
{
    char path[PATH_BYTES];
    int rc = path_of(shelf, slot, suffix, path, err);
    int fd;

    if (rc != 0)
        return rc;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot open the snapshot %s", path);
    *ret = (struct feed_snapshot){.fd = fd, .size = slot->size, .cursor = slot->cursor};
    return 0;
}

static int get(struct feed *feed, const struct uuid *control_plane_id, struct feed_snapshot *ret,
               struct error *err)
{
    struct feed_shelf *shelf = &feed->shelf;
    struct feed_slot *slot = slot_open(shelf, control_plane_id);
    uint64_t attempts;
    int rc;

    if (slot == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    attempts = slot->attempts;
    while (slot->busy)
        pthread_cond_wait(&shelf->idle, &shelf->lock);
    if (slot->attempts != attempts && slot->failed.code != 0) {
        *err = slot->failed;
        return err->code;
    }
    rc = refresh(feed, slot, err);
    return rc == 0 ? open_file(shelf, slot, ret, err) : rc;
}

int feed_snapshot_get(struct feed *feed, const struct uuid *control_plane_id,
                      struct feed_snapshot *ret, struct error *err)
{
    int rc;

    pthread_mutex_lock(&feed->shelf.lock);
    rc = get(feed, control_plane_id, ret, err);
    pthread_mutex_unlock(&feed->shelf.lock);
    return rc;
}

/* feed_snapshot.c - the shelf of snapshot files: which there are, which still serve, which go.
 *
 * A file is named by the SHA-256 of its bytes and never changes. Each control plane has at most one
 * that its hosts are told of; the one before it stays for those that are in the middle of it.
 * Files go when nobody has asked for them for a while, or when all together take too much room;
 * whoever has one open reads on. feed_builder.c makes them.
 *
 * Failure modes: a file that vanished from the disk, was cut short there, or whose bytes changed,
 * is forgotten, and the next host makes a new one necessary. The directory needs no fsync and is
 * emptied at the start.
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

#include "base/clock.h"
#include "base/hex.h"

enum {
    FORMER_MAX = 1,                        /* per control plane, beside the one that serves */
    FORMER_IDLE_MS = 15 * 60 * 1000,       /* a host that was cut is back long before */
    SERVING_IDLE_MS = 24 * 60 * 60 * 1000, /* as long as a host is remembered */
    SUFFIX_ROOM = sizeof(".rssnap.new")
};

static const char suffix[] = ".rssnap";
static const char suffix_new[] = ".rssnap.new";

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

int feed_shelf_open(struct feed_shelf *shelf, const char *dir, uint64_t max_bytes,
                    struct error *err)
{
    shelf->max_bytes = max_bytes;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return error_set_errno(err, errno, "cannot create the snapshot directory %s", dir);
    if (strlen(dir) + 1 + 2 * (size_t)DIGEST_BYTES + SUFFIX_ROOM > FEED_PATH_BYTES)
        return error_set(err, E_INVALID, "the path of the snapshot directory is too long");
    shelf->dir = strdup(dir);
    return shelf->dir != NULL ? empty_dir(dir, err) : error_set(err, E_NO_MEMORY, NULL);
}

void feed_shelf_close(struct feed_shelf *shelf)
{
    while (!TAILQ_EMPTY(&shelf->files)) {
        struct feed_file *file = TAILQ_FIRST(&shelf->files);

        TAILQ_REMOVE(&shelf->files, file, in_shelf);
        free(file);
    }
    free(shelf->dir);
    shelf->dir = NULL;
}

/* These fit: feed_shelf_open() looked. */
void feed_shelf_new_path(const struct feed_shelf *shelf, char path[FEED_PATH_BYTES])
{
    (void)snprintf(path, FEED_PATH_BYTES, "%s/building%s", shelf->dir, suffix_new);
}

void feed_shelf_path(const struct feed_shelf *shelf, const uint8_t sha256[DIGEST_BYTES],
                     char path[FEED_PATH_BYTES])
{
    char hash[2 * DIGEST_BYTES + 1];

    hex_encode(sha256, DIGEST_BYTES, hash);
    (void)snprintf(path, FEED_PATH_BYTES, "%s/%s%s", shelf->dir, hash, suffix);
}

/* ---- files; lock held ---- */

static void use(struct feed_shelf *shelf, struct feed_file *file)
{
    TAILQ_REMOVE(&shelf->files, file, in_shelf);
    TAILQ_INSERT_HEAD(&shelf->files, file, in_shelf);
    file->used_ms = clock_boot_ms();
}

static struct feed_file *feed_snapshot_find(struct feed_shelf *shelf,
                                            const uint8_t sha256[DIGEST_BYTES])
{
    struct feed_file *file = NULL;

    TAILQ_FOREACH(file, &shelf->files, in_shelf)
    {
        if (memcmp(file->name.sha256, sha256, DIGEST_BYTES) == 0)
            return file;
    }
    return NULL;
}

static void forget(struct feed_shelf *shelf, struct feed_file *file)
{
    char path[FEED_PATH_BYTES];

    feed_shelf_path(shelf, file->name.sha256, path);
    (void)unlink(path); /* gone already, or a leftover for the next start */
    shelf->bytes -= file->name.size;
    TAILQ_REMOVE(&shelf->files, file, in_shelf);
    free(file);
}

/* More former files than are kept, or more bytes: what was used last stays, `newest` first of
 * all. */
static void feed_snapshot_trim(struct feed_shelf *shelf, const struct feed_file *newest)
{
    unsigned formers = 0;
    uint64_t kept = 0;
    struct feed_file *file;
    struct feed_file *next;

    for (file = TAILQ_FIRST(&shelf->files); file != NULL; file = next) {
        bool former =
            !file->serves && uuid_equal(&file->control_plane_id, &newest->control_plane_id);

        next = TAILQ_NEXT(file, in_shelf);
        formers += former;
        if (file != newest &&
            ((former && formers > FORMER_MAX) || kept + file->name.size > shelf->max_bytes))
            forget(shelf, file);
        else
            kept += file->name.size;
    }
}

/* ---- for the builder ---- */

bool feed_shelf_serving(struct feed_shelf *shelf, const struct uuid *control_plane_id,
                        struct feed_file *ret)
{
    struct feed_file *file = NULL;
    bool found = false;

    pthread_mutex_lock(&shelf->lock);
    TAILQ_FOREACH(file, &shelf->files, in_shelf)
    {
        if (file->serves && uuid_equal(&file->control_plane_id, control_plane_id)) {
            *ret = *file;
            found = true;
            break;
        }
    }
    pthread_mutex_unlock(&shelf->lock);
    return found;
}

void feed_shelf_checked(struct feed_shelf *shelf, const uint8_t sha256[DIGEST_BYTES],
                        uint64_t version)
{
    struct feed_file *file;

    pthread_mutex_lock(&shelf->lock);
    file = feed_snapshot_find(shelf, sha256);
    if (file != NULL) {
        file->checked = version;
        use(shelf, file);
    }
    pthread_mutex_unlock(&shelf->lock);
}

void feed_shelf_read(struct feed_shelf *shelf, const uint8_t sha256[DIGEST_BYTES], bool intact)
{
    struct feed_file *file;

    pthread_mutex_lock(&shelf->lock);
    file = feed_snapshot_find(shelf, sha256);
    if (file != NULL && intact)
        file->read_ms = clock_boot_ms();
    else if (file != NULL)
        forget(shelf, file);
    pthread_mutex_unlock(&shelf->lock);
}

static void insert(struct feed_shelf *shelf, struct feed_file *file)
{
    struct feed_file *same = feed_snapshot_find(shelf, file->name.sha256);
    struct feed_file *other = NULL;

    if (same != NULL) { /* its bytes are the same, its file was replaced */
        shelf->bytes -= same->name.size;
        TAILQ_REMOVE(&shelf->files, same, in_shelf);
        free(same);
    }
    TAILQ_FOREACH(other, &shelf->files, in_shelf)
    {
        if (uuid_equal(&other->control_plane_id, &file->control_plane_id))
            other->serves = false;
    }
    file->serves = true;
    file->used_ms = file->read_ms = clock_boot_ms();
    TAILQ_INSERT_HEAD(&shelf->files, file, in_shelf);
    shelf->bytes += file->name.size;
    shelf->built++;
    feed_snapshot_trim(shelf, file);
}

int feed_shelf_add(struct feed_shelf *shelf, const struct feed_file *made, struct error *err)
{
    struct feed_file *file = malloc(sizeof(*file));
    char from[FEED_PATH_BYTES];
    char to[FEED_PATH_BYTES];
    int rc = 0;

    if (file == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    *file = *made;
    feed_shelf_new_path(shelf, from);
    feed_shelf_path(shelf, file->name.sha256, to);
    pthread_mutex_lock(&shelf->lock);
    if (rename(from, to) == 0)
        insert(shelf, file);
    else
        rc = error_set_errno(err, errno, "cannot rename the snapshot to %s", to);
    pthread_mutex_unlock(&shelf->lock);
    if (rc != 0)
        free(file);
    return rc;
}

/* ---- for everybody ---- */

void feed_shelf_prune(struct feed_shelf *shelf)
{
    const int64_t now_ms = clock_boot_ms();
    struct feed_file *file;
    struct feed_file *next;

    pthread_mutex_lock(&shelf->lock);
    for (file = TAILQ_FIRST(&shelf->files); file != NULL; file = next) {
        next = TAILQ_NEXT(file, in_shelf);
        if (now_ms - file->used_ms > (file->serves ? SERVING_IDLE_MS : FORMER_IDLE_MS))
            forget(shelf, file);
    }
    pthread_mutex_unlock(&shelf->lock);
}

/* Cut short by whatever happened to the disk, it would break off at every host. */
static bool is_whole(int fd, const struct feed_file *file)
{
    struct stat info;

    return fstat(fd, &info) == 0 && (uint64_t)info.st_size == file->name.size;
}

static int open_file(struct feed_shelf *shelf, const struct uuid *control_plane_id,
                     const uint8_t sha256[DIGEST_BYTES], struct feed_snapshot *ret,
                     struct error *err)
{
    struct feed_file *file = feed_snapshot_find(shelf, sha256);
    char path[FEED_PATH_BYTES];
    int fd;

    if (file == NULL || !uuid_equal(&file->control_plane_id, control_plane_id))
        return error_set(err, E_NOT_FOUND, "This snapshot is not kept (any more).");
    feed_shelf_path(shelf, sha256, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if ((fd < 0 && errno == ENOENT) || (fd >= 0 && !is_whole(fd, file))) {
        if (fd >= 0)
            (void)close(fd); /* only read from */
        forget(shelf, file);
        return error_set(err, E_NOT_FOUND, "This snapshot is not kept any more.");
    }
    if (fd < 0)
        return error_set_errno(err, errno, "cannot open the snapshot %s", path);
    *ret = (struct feed_snapshot){.fd = fd, .name = file->name};
    use(shelf, file);
    return 0;
}

int feed_snapshot_open(struct feed *feed, const struct uuid *control_plane_id,
                       const uint8_t sha256[DIGEST_BYTES], struct feed_snapshot *ret,
                       struct error *err)
{
    int rc;

    pthread_mutex_lock(&feed->shelf.lock);
    rc = open_file(&feed->shelf, control_plane_id, sha256, ret, err);
    pthread_mutex_unlock(&feed->shelf.lock);
    return rc;
}

void feed_snapshot_sent(struct feed *feed, uint64_t bytes)
{
    pthread_mutex_lock(&feed->shelf.lock);
    feed->shelf.transfers++;
    feed->shelf.sent_bytes += bytes;
    pthread_mutex_unlock(&feed->shelf.lock);
}

/* feed_builder.c - the thread that makes snapshots, for the hosts that wait for one.
 *
 * A follower whose cursor cannot be served places an order for its control plane. The builder takes
 * orders one by one: it looks whether the file that is there still serves, makes another if not,
 * and tells all followers that wait, however many: one build, no thread and no request held for any
 * of them. Meanwhile they get a line as often as a heartbeat.
 *
 * An older file serves while the changes since it are kept, are fewer than a tenth of its records,
 * and take less than half of what one transaction of the feed may hold. The tenth: a live change
 * costs a host about ten times what a record of a snapshot costs it. The half: the host continues
 * from the file's version, and must not be told to take another snapshot because more has changed
 * while it was loading this one; it also bounds what looking costs.
 *
 * Failure modes: when making one fails, the streams of those who wait end; they come back after
 * their back-off, and it is tried again.
 */
#include "control/feed/feed_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "sync/snapshot.h"

enum { REUSE_DIVISOR = 10, FILE_BUFFER_BYTES = 256 * 1024 };

struct feed_order {
    TAILQ_ENTRY(feed_order) in_shelf;
    struct uuid control_plane_id;
};

/* ---- building ---- */

struct build {
    struct feed *feed;
    FILE *stream;                     /* owned */
    struct snapshot_encoder *encoder; /* owned; NULL before the header */
    struct digest_stream digest;
    struct feed_file file; /* what is known of it so far */
};

static int write_bytes(void *context, const void *bytes, size_t size)
{
    struct build *build = context;

    errno = 0;
    if (fwrite(bytes, 1, size, build->stream) != size)
        return error_from_errno(errno);
    digest_stream_add(&build->digest, bytes, size);
    build->file.name.size += size;
    return atomic_load(&build->feed->shelf.stopping) ? E_CANCELED : 0;
}

static int feed_builder_take_header(void *context, const struct snapshot_header *header)
{
    struct build *build = context;

    build->file.name.cursor = header->cursor;
    build->file.checked = header->cursor.version;
    build->file.records = header->realms + header->consumers + header->keys;
    return snapshot_encoder_create(header, write_bytes, build, &build->encoder);
}

static int take_record(void *context, const struct snapshot_record *record)
{
    struct build *build = context;

    return snapshot_encoder_add(build->encoder, record);
}

static int write_all(struct build *build, struct error *err)
{
    const struct repo_snapshot_sink sink = {
        .header = feed_builder_take_header, .record = take_record, .context = build};
    struct repo *repo = build->feed->repo;
    int rc = repo_snapshot(repo, &build->file.control_plane_id, &sink, err);

    if (rc != 0)
        return rc;
    rc = snapshot_encoder_end(build->encoder);
    if (rc == 0 && fflush(build->stream) != 0)
        rc = error_from_errno(errno);
    return rc == 0 ? 0
                   : error_set(err, rc, "the snapshot could not be written: %s", error_text(rc));
}

static int write_file(struct build *build, const char *path, struct error *err)
{
    int fd;
    int rc = own_create(path, 0600, &fd, err);

    if (rc != 0)
        return rc;
    build->stream = fdopen(fd, "w");
    if (build->stream == NULL) {
        rc = error_set_errno(err, errno, "cannot create the snapshot %s", path);
        close(fd);
        return rc;
    }
    (void)setvbuf(build->stream, NULL, _IOFBF, FILE_BUFFER_BYTES); /* a smaller one works too */
    rc = write_all(build, err);
    snapshot_encoder_destroy(build->encoder);
    if (fclose(build->stream) != 0 && rc == 0)
        rc = error_set_errno(err, errno, "cannot write the snapshot %s", path);
    return rc;
}

static int build_file(struct feed *feed, const struct uuid *control_plane_id,
                      struct snapshot_name *ret, struct error *err)
{
    struct build build = {.feed = feed, .file = {.control_plane_id = *control_plane_id}};
    char path[FEED_PATH_BYTES];
    int rc;

    digest_stream_init(&build.digest);
    feed_shelf_new_path(&feed->shelf, path);
    rc = write_file(&build, path, err);
    digest_stream_end(&build.digest, build.file.name.sha256);
    if (rc == 0)
        rc = feed_shelf_add(&feed->shelf, &build.file, err);
    if (rc != 0) {
        (void)unlink(path); /* may not be there */
        return rc;
    }
    *ret = build.file.name;
    return 0;
}

/* ---- reuse ---- */

struct budget {
    uint64_t left;
    struct buffer lines;
};

static int spend(void *context, const struct change *change)
{
    struct budget *budget = context;

    if (budget->left == 0)
        return E_TOO_LARGE;
    budget->left--;
    return change_encode(change, &budget->lines);
}

static int still_serves(struct feed *feed, const struct feed_file *file, bool *ret,
                        struct error *err)
{
    struct budget budget = {.left = file->records > 0 ? (file->records - 1) / REUSE_DIVISOR : 0};
    const struct repo_transaction_query query = {.control_plane_id = &file->control_plane_id,
                                                 .from = file->name.cursor.version};
    const struct repo_transaction_sink sink = {.change = spend, .context = &budget};
    struct repo_delta delta;
    struct repo_head head;
    int rc = repo_head(feed->repo, &head, err);

    *ret = false;
    if (rc != 0 || !uuid_equal(&file->name.cursor.epoch, &head.epoch) ||
        file->name.cursor.version < head.oldest)
        return rc;
    *ret = file->checked == head.version;
    if (*ret)
        return 0;
    buffer_init(&budget.lines, feed->transaction_max_bytes / 2);
    rc = repo_transaction(feed->repo, &query, &sink, &delta, err);
    buffer_finish(&budget.lines);
    *ret = rc == 0 && delta.outcome == REPO_DELTA_OK;
    if (*ret)
        feed_shelf_checked(&feed->shelf, file->name.sha256, delta.version);
    return rc;
}

/* ---- rot ---- */

/* The SHA-256 of what the disk gives. False: it cannot be read, or the feed is being stopped. */
static bool hash_file(const struct feed_shelf *shelf, const char *path, uint8_t ret[DIGEST_BYTES])
{
    FILE *stream = fopen(path, "re");
    unsigned char *bytes = malloc(FILE_BUFFER_BYTES);
    struct digest_stream digest;
    bool complete = false;
    size_t size;

    digest_stream_init(&digest);
    if (stream != NULL && bytes != NULL) {
        while (!atomic_load(&shelf->stopping) &&
               (size = fread(bytes, 1, FILE_BUFFER_BYTES, stream)) > 0)
            digest_stream_add(&digest, bytes, size);
        complete = feof(stream) != 0;
    }
    digest_stream_end(&digest, ret);
    free(bytes);
    if (stream != NULL)
        (void)fclose(stream); /* only read from */
    return complete;
}

/* Every host would refuse a file whose bytes have changed on the disk, and come for it again. */
static bool is_intact(struct feed *feed, const struct feed_file *file)
{
    struct feed_shelf *shelf = &feed->shelf;
    uint8_t sha256[DIGEST_BYTES];
    char path[FEED_PATH_BYTES];
    bool intact;

    if (shelf->verify_ms > 0 && clock_boot_ms() - file->read_ms < shelf->verify_ms)
        return true;
    feed_shelf_path(shelf, file->name.sha256, path);
    intact = hash_file(shelf, path, sha256) && memcmp(sha256, file->name.sha256, DIGEST_BYTES) == 0;
    if (!intact && atomic_load(&shelf->stopping))
        return true; /* nothing was found out, and nobody will be told */
    feed_shelf_read(shelf, file->name.sha256, intact);
    if (!intact)
        log_write(feed->log, LOG_LEVEL_WARNING,
                  "the snapshot %s is not what was written: it is made again; look at the disk",
                  path);
    return intact;
}

/* ---- orders ---- */

static int fulfil(struct feed *feed, const struct uuid *control_plane_id, struct snapshot_name *ret,
                  struct error *err)
{
    struct feed_file file;
    bool serves = false;
    int rc = 0;

    if (feed_shelf_serving(&feed->shelf, control_plane_id, &file))
        rc = still_serves(feed, &file, &serves, err);
    if (rc == 0 && serves)
        serves = is_intact(feed, &file);
    if (rc == 0 && !serves)
        return build_file(feed, control_plane_id, ret, err);
    if (rc == 0)
        *ret = file.name;
    return rc;
}

/* All that wait get the name, or the end of their stream. */
static void feed_builder_tell(struct feed *feed, const struct uuid *control_plane_id,
                              const struct snapshot_name *name)
{
    struct feed_channel *channel;
    struct follower *follower;

    pthread_mutex_lock(&feed->lock);
    channel = feed_channel_find(feed, control_plane_id);
    for (follower = channel != NULL ? TAILQ_FIRST(&channel->followers) : NULL; follower != NULL;
         follower = TAILQ_NEXT(follower, in_channel)) {
        if (follower->state == FOLLOWER_PREPARING)
            feed_follower_tell(follower, name);
    }
    pthread_mutex_unlock(&feed->lock);
}

static struct feed_order *take_order(struct feed_shelf *shelf)
{
    struct feed_order *order;

    pthread_mutex_lock(&shelf->lock);
    while ((order = TAILQ_FIRST(&shelf->orders)) == NULL && !atomic_load(&shelf->stopping))
        pthread_cond_wait(&shelf->ordered, &shelf->lock);
    if (order != NULL)
        TAILQ_REMOVE(&shelf->orders, order, in_shelf);
    pthread_mutex_unlock(&shelf->lock);
    return order;
}

static void *builder_main(void *context)
{
    struct feed *feed = context;
    struct feed_order *order;

    while ((order = take_order(&feed->shelf)) != NULL) {
        struct error err = ERROR_INIT;
        struct snapshot_name name;
        int rc = E_CANCELED;

        if (!atomic_load(&feed->shelf.stopping))
            rc = fulfil(feed, &order->control_plane_id, &name, &err);
        if (rc != 0 && rc != E_CANCELED)
            log_error(feed->log, "feed: no snapshot: %s; the hosts that wait for it will ask again",
                      err.message);
        feed_builder_tell(feed, &order->control_plane_id, rc == 0 ? &name : NULL);
        free(order);
    }
    return NULL;
}

int feed_builder_order(struct feed *feed, const struct uuid *control_plane_id)
{
    struct feed_shelf *shelf = &feed->shelf;
    struct feed_order *order = NULL;
    int rc = 0;

    pthread_mutex_lock(&shelf->lock);
    TAILQ_FOREACH(order, &shelf->orders, in_shelf)
    {
        if (uuid_equal(&order->control_plane_id, control_plane_id))
            break;
    }
    if (order == NULL) {
        order = malloc(sizeof(*order));
        if (order != NULL) {
            order->control_plane_id = *control_plane_id;
            TAILQ_INSERT_TAIL(&shelf->orders, order, in_shelf);
            pthread_cond_signal(&shelf->ordered);
        } else {
            rc = E_NO_MEMORY;
        }
    }
    pthread_mutex_unlock(&shelf->lock);
    return rc;
}

int feed_builder_start(struct feed *feed, struct error *err)
{
    struct feed_shelf *shelf = &feed->shelf;

    if (pthread_create(&shelf->builder, NULL, builder_main, feed) != 0)
        return error_set(err, E_NO_MEMORY, "cannot start the thread that makes snapshots");
    return 0;
}

void feed_builder_stop(struct feed *feed)
{
    struct feed_shelf *shelf = &feed->shelf;

    pthread_mutex_lock(&shelf->lock);
    atomic_store(&shelf->stopping, true);
    pthread_cond_signal(&shelf->ordered);
    pthread_mutex_unlock(&shelf->lock);
    (void)pthread_join(shelf->builder, NULL); /* fails only for a thread that is not ours */
}

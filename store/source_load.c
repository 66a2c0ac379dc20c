/* source_load.c - a full load: builds a new generation beside the one that serves.
 *
 * source_load_records.c writes the tables, in order. Nothing is synced until the end and
 * transactions are cut every LOAD_TXN_RECORDS records, which bounds LMDB's list of changed pages.
 * Publishing goes
 *
 *     meta, sync data -> digest.key -> `current` -> status page -> remove what is not kept
 *
 * and a crash after any step leaves either the former or the new generation as the one that serves,
 * complete; source_open() removes what `current` does not name.
 */
#include "store/source_load.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store/files.h"

/* Their changed pages are the agent's own memory until the commit. */
enum { LOAD_TXN_RECORDS = 50000 };

/* ---- begin and end ---- */

/* All but the generation, which may have gone on to serve. */
static void free_load(struct load *load)
{
    sorter_destroy(load->sorter);
    index_finish(&load->index);
    buffer_finish(&load->consumer);
    free(load);
}

void source_load_abort(struct source *source)
{
    struct load *load = source->load;

    if (load == NULL)
        return;
    if (load->tables.txn != NULL)
        mdb_txn_abort(load->tables.txn);
    generation_close(&load->next);
    /* What cannot be removed now is a leftover for the next source_open(). */
    (void)files_remove_tree(load->dir, NULL);
    free_load(load);
    source->load = NULL;
}

static int source_load_begin_txn(struct load *load, struct error *err)
{
    int rc;

    env_widen(&load->next.env, load->dir);
    rc = env_slots_keep(&load->next.env, err); /* nobody reads it: all that is free may be used */
    if (rc != 0)
        return rc;
    rc = mdb_txn_begin(load->next.env.mdb, NULL, 0, &load->tables.txn);
    if (rc == 0)
        return 0;
    load->tables.txn = NULL;
    return env_error(err, rc, "begin a transaction");
}

/* Lets the disk work beside the load, so that the sync at its end finds little left to do. Appended
 * pages are not written twice. */
static void start_writing(const struct load *load)
{
    mdb_filehandle_t fd;

    /* Where it does not work, the sync does it all; that reports what fails. */
    if (mdb_env_get_fd(load->next.env.mdb, &fd) == 0)
        (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static int commit_txn(struct load *load, struct error *err)
{
    int rc = mdb_txn_commit(load->tables.txn);

    load->tables.txn = NULL; /* the handle is gone either way */
    load->in_txn = 0;
    if (rc == 0)
        start_writing(load);
    return rc == 0 ? 0 : env_write_error(&load->next.env, err, rc, "commit a part of the load");
}

static int make_environment(const struct source *source, struct load *load, struct error *err)
{
    const struct store *store = source->store;
    int rc = files_remove_tree(load->dir, err); /* LMDB must find it empty */

    if (rc == 0)
        rc = files_make_dir(load->dir, store->gid, err);
    if (rc == 0)
        rc = env_create(load->dir, store->map_bytes, store->gid, &load->next.env, err);
    if (rc == 0)
        rc = sorter_create(load->dir, &load->sorter, err);
    return rc != 0 ? rc : source_load_begin_txn(load, err);
}

int source_load_begin(struct source *source, const uint8_t digest_key[DIGEST_KEY_BYTES],
                      struct error *err)
{
    char name[GENERATION_NAME_SIZE];
    struct load *load;
    int rc;

    source_load_abort(source);
    generations_spare_disk(
        source); /* the new generation will be about as large as the serving one */
    load = calloc(1, sizeof(*load));
    if (load == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    source->load = load;
    buffer_init(&load->consumer, RECORD_MAX_BYTES);
    index_init(&load->index, &load->tables);
    load->tables.env = &load->next.env;
    load->next.number = ++source->last_number;
    load->next.meta.control_plane_id = source->store->control_plane_id;
    memcpy(load->next.meta.region, source->region, sizeof(load->next.meta.region));
    memcpy(load->next.digest_key, digest_key, DIGEST_KEY_BYTES);
    layout_key_check(digest_key, load->next.meta.digest_key_check);
    rc = files_join(load->dir, source->dir, generation_name(load->next.number, name), err);
    if (rc == 0)
        rc = make_environment(source, load, err);
    if (rc != 0)
        source_load_abort(source);
    return rc;
}

/* ---- records ---- */

int load_count(struct load *load, struct error *err)
{
    int rc = 0;

    if (load->in_txn == LOAD_TXN_RECORDS) {
        rc = commit_txn(load, err);
        if (rc == 0)
            rc = source_load_begin_txn(load, err);
    }
    load->in_txn++;
    return rc;
}

int source_load_record(struct source *source, enum record_kind kind, uint32_t scope,
                       const void *bytes, size_t size, struct error *err)
{
    struct load *load = source->load;
    int rc;

    if (load == NULL)
        return error_set(err, E_INVALID, "no load is under way");
    if (!record_check(kind, bytes, size))
        return error_set(err, E_CORRUPT, "a record of kind %d and %zu bytes is damaged", (int)kind,
                         size);
    rc = load_count(load, err);
    return rc == 0 ? load_record(load, kind, scope, env_val(bytes, size), err) : rc;
}

/* ---- publishing ---- */

static int check_counts(const struct layout_meta *meta, const struct source_counts *expected,
                        struct error *err)
{
    if (meta->realms == expected->realms && meta->consumers == expected->consumers &&
        meta->keys == expected->keys)
        return 0;
    return error_set(err, E_CORRUPT,
                     "%llu realms, %llu consumers and %llu keys came instead of %llu, %llu, %llu",
                     (unsigned long long)meta->realms, (unsigned long long)meta->consumers,
                     (unsigned long long)meta->keys, (unsigned long long)expected->realms,
                     (unsigned long long)expected->consumers, (unsigned long long)expected->keys);
}

/* Everything of the new generation on disk, `current` still naming the former one. */
static int finish_generation(const struct source *source, struct load *load, struct error *err)
{
    const gid_t gid = source->store->gid;
    int rc = load_finish_records(load, err);

    if (rc == 0)
        rc = tables_put_meta(&load->tables, &load->next.meta, err);
    if (rc == 0)
        rc = commit_txn(load, err);
    if (rc == 0)
        rc = env_cover_file(&load->next.env, err);
    if (rc == 0)
        rc = env_make_durable(&load->next.env, err);
    if (rc == 0)
        rc =
            files_write(load->dir, "digest.key", load->next.digest_key, DIGEST_KEY_BYTES, gid, err);
    return rc;
}

/* Hands the finished generation over. The one that serves now is kept if there is room for both. */
static int source_load_hand_over(struct source *source, struct error *err)
{
    struct load *load = source->load;
    uint32_t former = source->live.number;
    bool keep = former != 0 && generations_has_room(source, load->next.number);
    int rc = generations_switch(source, &load->next, keep ? former : 0, err);

    if (rc != 0)
        return rc;
    source->fallback = keep          ? SOURCE_FALLBACK_KEPT
                       : former != 0 ? SOURCE_FALLBACK_DROPPED
                                     : SOURCE_FALLBACK_NONE;
    free_load(load);
    source->load = NULL;
    return 0;
}

int source_load_publish(struct source *source, const struct model_cursor *cursor, int64_t time_ms,
                        const struct source_counts *expected, struct error *err)
{
    struct load *load = source->load;
    int rc;

    if (load == NULL)
        return error_set(err, E_INVALID, "no load is under way");
    load->next.meta.cursor = *cursor;
    load->next.meta.commit_time_ms = time_ms;
    rc = check_counts(&load->next.meta, expected, err);
    if (rc == 0)
        rc = finish_generation(source, load, err);
    if (rc == 0)
        rc = source_load_hand_over(source, err);
    if (rc != 0)
        source_load_abort(source);
    return rc == 0 ? source_settle(source, err) : rc;
}

/* source_compact.c - a reader that stays in a snapshot must not make the file grow without a bound.
 *
 * LMDB uses no page again that the oldest snapshot may still need. A process that stays in one, for
 * minutes or for ever (stopped, in a debugger), makes every commit take new pages. The way out is a
 * new generation: a compacted copy of the newest version. Running readers move to it at their next
 * rs_begin(); the stuck one keeps the old file, which nobody writes any more, until it ends.
 *
 * The copy holds the same version as what it replaces: what a rollback would go back to stays what
 * it was, and the file that was replaced is not kept.
 */
#include "store/source_internal.h"

#include "store/files.h"

/* LMDB copies page by page what it finds, with neither bounds nor an end for what leads in
 * circles. */
static int check_pages(struct source *source, struct error *err)
{
    struct tables tables = {.env = &source->live.env};
    int rc = mdb_txn_begin(tables.env->mdb, NULL, MDB_RDONLY, &tables.txn);

    if (rc != 0)
        return env_error(err, rc, "begin a snapshot");
    rc = tables_watch(&tables, &source->live.env, &source->trees, false, err);
    if (rc == 0)
        rc = trees_check_all(&source->trees, err);
    mdb_txn_abort(tables.txn);
    return rc;
}

/* A copy in `dir`: everything on disk, `current` still naming the bloated one. */
static int make_copy(struct source *source, const char *dir, struct error *err)
{
    const struct generation *live = &source->live;
    const gid_t gid = source->store->gid;
    int rc = files_remove_tree(dir, err);

    if (rc == 0)
        rc = check_pages(source, err);
    if (rc == 0)
        rc = files_make_dir(dir, gid, err);
    if (rc == 0)
        rc = env_copy(&live->env, dir, gid, NULL, err);
    if (rc == 0)
        rc = files_write(dir, "digest.key", live->digest_key, DIGEST_KEY_BYTES, gid, err);
    return rc;
}

/* It must be the very version, whole. */
static int open_copy(const struct source *source, uint32_t number, struct generation *ret,
                     struct error *err)
{
    const struct store *store = source->store;
    const struct model_cursor *cursor = &source->live.meta.cursor;
    int rc = generation_open_writer(source->dir, number, store->map_bytes, store->gid, ret, err);

    if (rc != 0)
        return rc;
    if (uuid_equal(&ret->meta.cursor.epoch, &cursor->epoch) &&
        ret->meta.cursor.version == cursor->version && generation_counts_fit(ret))
        return 0;
    generation_close(ret);
    return error_set(err, E_CORRUPT, "the copy is of another version, or not whole");
}

int source_compact(struct source *source, struct error *err)
{
    uint32_t number = ++source->last_number;
    struct generation next = {.number = 0};
    char name[GENERATION_NAME_SIZE];
    char dir[PATH_MAX];
    int rc = files_join(dir, source->dir, generation_name(number, name), err);

    if (rc != 0)
        return rc;
    rc = make_copy(source, dir, err);
    if (rc == 0)
        rc = open_copy(source, number, &next, err);
    if (rc == 0)
        rc = generations_switch(source, &next, source->previous, err);
    if (rc != 0)
        (void)files_remove_tree(dir, NULL); /* else a leftover for the next source_open() */
    return rc;
}

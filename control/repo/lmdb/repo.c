/* repo.c - the embedded repository: one LMDB environment, one writer thread, many readers.
 *
 * Opening takes the directory's lock, opens or creates the environment, and starts the writer.
 * Reads run in the caller's thread on a consistent view; writes go through writer.c.
 * docs/control-store.md describes the tables.
 *
 * Failure modes: opening either gives a working repository or leaves nothing behind but the
 * directory and its lock file. Closing waits for the writes that were queued.
 */
#include "control/repo/lmdb/repo_lmdb.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint64_t keep_versions_default = 1000000;

int lmdb_head(struct repo *base, struct repo_head *ret, struct error *err)
{
    struct repo_lmdb *repo = repo_lmdb(base);
    struct repo_state state;
    int64_t accepted_ms = 0;
    struct repo_txn txn;
    int rc = repo_snapshot_begin(repo, &txn, err);

    if (rc != 0)
        return rc;
    rc = repo_state_read(&txn, &state, err);
    if (rc == 0)
        rc = repo_epoch_accepted(&txn, &accepted_ms, err);
    repo_read_end(&txn);
    if (rc != 0)
        return rc;
    *ret = (struct repo_head){.epoch = repo->epoch,
                              .version = state.version,
                              .oldest = state.oldest,
                              .accepted_ms = accepted_ms};
    memcpy(ret->digest_key, repo->digest_secret, DIGEST_KEY_BYTES);
    return 0;
}

static void lmdb_on_commit(struct repo *base, repo_commit_fn listener, void *context)
{
    struct repo_listener *slot = &repo_lmdb(base)->listener;

    pthread_mutex_lock(&slot->lock);
    slot->call = listener;
    slot->context = context;
    pthread_mutex_unlock(&slot->lock);
}

/* ---- life ---- */

static struct repo_lmdb *repo_new(const struct repo_options *options)
{
    struct repo_lmdb *repo = calloc(1, sizeof(*repo));

    if (repo == NULL)
        return NULL;
    repo->base.ops = &repo_lmdb_ops;
    repo->lock_fd = -1;
    memcpy(repo->region, options->region, strlen(options->region) + 1);
    repo->keep_versions =
        options->keep_versions != 0 ? options->keep_versions : keep_versions_default;
    repo->clock = options->clock;
    pthread_mutex_init(&repo->pool.lock, NULL); /* the default kinds cannot fail on Linux */
    pthread_mutex_init(&repo->listener.lock, NULL);
    pthread_mutex_init(&repo->writer.lock, NULL);
    pthread_cond_init(&repo->writer.wanted, NULL);
    return repo;
}

static void repo_free(struct repo_lmdb *repo)
{
    repo_env_close(repo);
    if (repo->lock_fd >= 0)
        close(repo->lock_fd);
    pthread_cond_destroy(&repo->writer.wanted);
    pthread_mutex_destroy(&repo->writer.lock);
    pthread_mutex_destroy(&repo->listener.lock);
    pthread_mutex_destroy(&repo->pool.lock);
    free(repo);
}

static void lmdb_close(struct repo *base)
{
    struct repo_lmdb *repo = repo_lmdb(base);

    repo_writer_stop(repo);
    repo_free(repo);
}

static int load_state(struct repo_lmdb *repo, struct repo_state *ret, struct error *err)
{
    struct repo_txn txn;
    int rc = repo_snapshot_begin(repo, &txn, err);

    if (rc != 0)
        return rc;
    rc = repo_state_read(&txn, ret, err);
    repo_read_end(&txn);
    return rc;
}

int repo_lmdb_open(const char *dir, const struct repo_options *options, struct repo **ret,
                   struct error *err)
{
    struct repo_state state;
    struct repo_lmdb *repo;
    int rc;

    if (options->region == NULL || options->region[0] == '\0' ||
        strlen(options->region) > MODEL_REGION_MAX)
        return error_set(err, E_INVALID, "the region must have 1 to %d characters",
                         MODEL_REGION_MAX);
    repo = repo_new(options);
    if (repo == NULL)
        return repo_no_memory(err);
    rc = repo_env_lock(dir, &repo->lock_fd, err);
    if (rc == 0)
        rc = repo_env_open(repo, dir, err);
    if (rc == 0)
        rc = load_state(repo, &state, err);
    if (rc == 0)
        rc = repo_writer_start(repo, &state, err);
    if (rc != 0) {
        repo_free(repo);
        return rc;
    }
    *ret = &repo->base;
    return 0;
}

const struct repo_ops repo_lmdb_ops = {
    .close = lmdb_close,

    .realm_list = lmdb_realm_list,
    .realm_get = lmdb_realm_get,
    .realm_create = lmdb_realm_create,
    .realm_update = lmdb_realm_update,
    .realm_delete = lmdb_realm_delete,

    .consumer_list = lmdb_consumer_list,
    .consumer_get = lmdb_consumer_get,
    .consumer_create = lmdb_consumer_create,
    .consumer_update = lmdb_consumer_update,
    .consumer_delete = lmdb_consumer_delete,
    .consumer_move = lmdb_consumer_move,

    .key_list = lmdb_key_list,
    .key_get = lmdb_key_get,
    .key_create = lmdb_key_create,
    .key_delete = lmdb_key_delete,
    .authenticate = lmdb_authenticate,

    .group_list = lmdb_group_list,
    .group_get = lmdb_group_get,
    .group_create = lmdb_group_create,
    .group_update = lmdb_group_update,
    .group_delete = lmdb_group_delete,

    .token_list = lmdb_token_list,
    .token_create = lmdb_token_create,
    .token_delete = lmdb_token_delete,
    .token_find = lmdb_token_find,

    .head = lmdb_head,
    .epoch_accept = lmdb_epoch_accept,
    .view = lmdb_view,
    .snapshot = lmdb_snapshot,
    .on_commit = lmdb_on_commit,
};

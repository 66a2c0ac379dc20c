/* repo.c - the embedded repository: one LMDB environment, one writer thread, many readers.
 *
 * Opening takes the directory's lock, opens or creates the environment, and starts the writer.
 * Reads run in the caller's thread on a consistent view; writes go through writer.c.
 * docs/control-store.md describes the tables.
 *
 * Failure modes: opening either gives a working repository or leaves nothing behind but the
 * directory and its lock file. Closing waits for the writes that were queued.
 */
#include "control/repo/lmdb/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/repo/errors.h"
#include "control/repo/lmdb/consumers.h"
#include "control/repo/lmdb/env.h"
#include "control/repo/lmdb/epoch.h"
#include "control/repo/lmdb/groups.h"
#include "control/repo/lmdb/keys.h"
#include "control/repo/lmdb/realms.h"
#include "control/repo/lmdb/snapshot.h"
#include "control/repo/lmdb/state.h"
#include "control/repo/lmdb/tokens.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/lmdb/view.h"
#include "control/repo/lmdb/writer.h"

static const uint64_t keep_versions_default = 1000000;

static int lmdb_head(struct repo *base, struct repo_head *ret, struct error *err)
{
    struct lmdb_repo *repo = lmdb_repo(base);
    struct lmdb_state state;
    int64_t accepted_ms = 0;
    struct lmdb_txn txn;
    int rc = lmdb_txn_open(repo, &txn, err);

    if (rc != 0)
        return rc;
    rc = lmdb_state_read(&txn, &state, err);
    if (rc == 0)
        rc = lmdb_epoch_accepted(&txn, &accepted_ms, err);
    lmdb_txn_close(&txn);
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
    struct lmdb_listener *slot = &lmdb_repo(base)->listener;

    pthread_mutex_lock(&slot->lock);
    slot->call = listener;
    slot->context = context;
    pthread_mutex_unlock(&slot->lock);
}

/* ---- life ---- */

static const struct repo_ops lmdb_ops;

static struct lmdb_repo *lmdb_new(const struct repo_options *options)
{
    struct lmdb_repo *repo = calloc(1, sizeof(*repo));

    if (repo == NULL)
        return NULL;
    repo->base.ops = &lmdb_ops;
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

static void lmdb_free(struct lmdb_repo *repo)
{
    lmdb_env_close(repo);
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
    struct lmdb_repo *repo = lmdb_repo(base);

    lmdb_writer_stop(repo);
    lmdb_free(repo);
}

static int load_state(struct lmdb_repo *repo, struct lmdb_state *ret, struct error *err)
{
    struct lmdb_txn txn;
    int rc = lmdb_txn_open(repo, &txn, err);

    if (rc != 0)
        return rc;
    rc = lmdb_state_read(&txn, ret, err);
    lmdb_txn_close(&txn);
    return rc;
}

int repo_lmdb_open(const char *dir, const struct repo_options *options, struct repo **ret,
                   struct error *err)
{
    struct lmdb_state state;
    struct lmdb_repo *repo;
    int rc;

    if (options->region == NULL || options->region[0] == '\0' ||
        strlen(options->region) > MODEL_REGION_MAX)
        return error_set(err, E_INVALID, "the region must have 1 to %d characters",
                         MODEL_REGION_MAX);
    repo = lmdb_new(options);
    if (repo == NULL)
        return repo_no_memory(err);
    rc = lmdb_env_lock(dir, &repo->lock_fd, err);
    if (rc == 0)
        rc = lmdb_env_open(repo, dir, err);
    if (rc == 0)
        rc = load_state(repo, &state, err);
    if (rc == 0)
        rc = lmdb_writer_start(repo, &state, err);
    if (rc != 0) {
        lmdb_free(repo);
        return rc;
    }
    *ret = &repo->base;
    return 0;
}

static const struct repo_ops lmdb_ops = {
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
    .view = lmdb_view_open,
    .snapshot = lmdb_snapshot,
    .on_commit = lmdb_on_commit,
};

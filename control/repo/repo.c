/* repo.c - the repository's functions: each calls the implementation's of the same name, after what
 * holds for all implementations. */
#include "control/repo/repo.h"

#include "control/repo/concerns.h"
#include "control/repo/delta.h"
#include "control/repo/ops.h"

void repo_close(struct repo *repo)
{
    repo->ops->close(repo);
}

int repo_realm_list(const struct repo_call *call, const struct repo_page *page,
                    struct repo_realm_rows *ret)
{
    return call->repo->ops->realm_list(call, page, ret);
}

int repo_realm_get(const struct repo_call *call, const struct uuid *id, struct repo_realm *ret)
{
    return call->repo->ops->realm_get(call, id, ret);
}

int repo_realm_create(const struct repo_call *call, const struct repo_realm *input,
                      struct repo_realm *ret)
{
    return call->repo->ops->realm_create(call, input, ret);
}

int repo_realm_update(const struct repo_call *call, const struct uuid *id,
                      const struct repo_realm_change *change, struct repo_realm *ret)
{
    return call->repo->ops->realm_update(call, id, change, ret);
}

int repo_realm_delete(const struct repo_call *call, const struct uuid *id, bool force)
{
    return call->repo->ops->realm_delete(call, id, force);
}

int repo_consumer_list(const struct repo_call *call, const struct repo_scope *scope,
                       const struct repo_consumer_query *query, struct repo_consumer_rows *ret)
{
    return call->repo->ops->consumer_list(call, scope, query, ret);
}

int repo_consumer_get(const struct repo_call *call, const struct repo_path *path,
                      struct repo_consumer *ret)
{
    return call->repo->ops->consumer_get(call, path, ret);
}

int repo_consumer_create(const struct repo_call *call, const struct repo_scope *scope,
                         const struct repo_consumer *input, struct repo_consumer *ret)
{
    return call->repo->ops->consumer_create(call, scope, input, ret);
}

int repo_consumer_update(const struct repo_call *call, const struct repo_path *path,
                         const struct repo_consumer_change *change, struct repo_consumer *ret)
{
    return call->repo->ops->consumer_update(call, path, change, ret);
}

int repo_consumer_delete(const struct repo_call *call, const struct repo_path *path)
{
    return call->repo->ops->consumer_delete(call, path);
}

int repo_consumer_move(const struct repo_call *call, const struct repo_path *path,
                       const struct uuid *target_realm_id)
{
    return call->repo->ops->consumer_move(call, path, target_realm_id);
}

int repo_key_list(const struct repo_call *call, const struct repo_path *path,
                  const struct repo_page *page, struct repo_key_rows *ret)
{
    return call->repo->ops->key_list(call, path, page, ret);
}

int repo_key_get(const struct repo_call *call, const struct repo_path *path, struct repo_key *ret)
{
    return call->repo->ops->key_get(call, path, ret);
}

int repo_key_create(const struct repo_call *call, const struct repo_path *path,
                    const struct repo_key_input *input, struct repo_key *ret)
{
    return call->repo->ops->key_create(call, path, input, ret);
}

int repo_key_delete(const struct repo_call *call, const struct repo_path *path)
{
    return call->repo->ops->key_delete(call, path);
}

int repo_authenticate(const struct repo_call *call, const struct repo_scope *scope,
                      const struct repo_login *login, struct repo_owner *ret)
{
    return call->repo->ops->authenticate(call, scope, login, ret);
}

int repo_group_list(const struct repo_call *call, const struct uuid *control_plane_id,
                    const struct repo_page *page, struct repo_group_rows *ret)
{
    return call->repo->ops->group_list(call, control_plane_id, page, ret);
}

int repo_group_get(const struct repo_call *call, const struct uuid *control_plane_id,
                   const struct uuid *id, struct repo_group *ret)
{
    return call->repo->ops->group_get(call, control_plane_id, id, ret);
}

int repo_group_create(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct repo_group *input, struct repo_group *ret)
{
    return call->repo->ops->group_create(call, control_plane_id, input, ret);
}

int repo_group_update(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct uuid *id, const struct repo_group_change *change,
                      struct repo_group *ret)
{
    return call->repo->ops->group_update(call, control_plane_id, id, change, ret);
}

int repo_group_delete(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct uuid *id)
{
    return call->repo->ops->group_delete(call, control_plane_id, id);
}

/* Tokens are the organisation's. */
static int refuse_bound(const struct repo_call *call)
{
    if (call->actor == NULL)
        return 0;
    return error_set(call->err, E_PERMISSION,
                     "Credentials that are bound to a control plane may not see access tokens.");
}

int repo_token_list(const struct repo_call *call, const struct repo_page *page,
                    struct repo_token_rows *ret)
{
    int rc = refuse_bound(call);

    return rc == 0 ? call->repo->ops->token_list(call, page, ret) : rc;
}

int repo_token_create(const struct repo_call *call, const struct repo_token *input,
                      const uint8_t hash[DIGEST_BYTES], struct repo_token *ret)
{
    int rc = refuse_bound(call);

    return rc == 0 ? call->repo->ops->token_create(call, input, hash, ret) : rc;
}

int repo_token_delete(const struct repo_call *call, const struct uuid *id)
{
    int rc = refuse_bound(call);

    return rc == 0 ? call->repo->ops->token_delete(call, id) : rc;
}

int repo_token_find(const struct repo_call *call, const uint8_t hash[DIGEST_BYTES],
                    struct repo_token *ret)
{
    return call->repo->ops->token_find(call, hash, ret);
}

int repo_head(struct repo *repo, struct repo_head *ret, struct error *err)
{
    return repo->ops->head(repo, ret, err);
}

int repo_epoch_accept(struct repo *repo, const struct uuid *epoch, struct error *err)
{
    return repo->ops->epoch_accept(repo, epoch, err);
}

int repo_transaction(struct repo *repo, const struct repo_transaction_query *query,
                     const struct repo_transaction_sink *sink, struct repo_delta *ret,
                     struct error *err)
{
    struct repo_view *view;
    int rc = repo->ops->view(repo, &view, err);

    if (rc != 0)
        return rc;
    rc = repo_delta_read(view, query, sink, ret, err);
    view->ops->close(view);
    return rc;
}

int repo_snapshot(struct repo *repo, const struct uuid *control_plane_id,
                  const struct repo_snapshot_sink *sink, struct error *err)
{
    return repo->ops->snapshot(repo, control_plane_id, sink, err);
}

int repo_concerns(struct repo *repo, uint64_t version, const struct uuid *control_plane_id,
                  bool *ret, struct error *err)
{
    struct repo_view *view;
    int rc = repo->ops->view(repo, &view, err);

    if (rc != 0)
        return rc;
    rc = repo_concerns_read(view, version, control_plane_id, ret, err);
    view->ops->close(view);
    return rc;
}

void repo_on_commit(struct repo *repo, repo_commit_fn listener, void *context)
{
    repo->ops->on_commit(repo, listener, context);
}

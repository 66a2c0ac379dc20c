/* ops.h - what an implementation of the repository gives: one function for each of repo.h's, which
 * says what they do; and views, from which what feeds need is made for all implementations alike.
 */
#ifndef RS_CONTROL_REPO_OPS_H
#define RS_CONTROL_REPO_OPS_H

#include "control/repo/repo.h"
#include "control/repo/view.h"

struct repo_ops {
    void (*close)(struct repo *repo);
    int (*realm_list)(const struct repo_call *call, const struct repo_page *page,
                      struct repo_realm_rows *ret);
    int (*realm_get)(const struct repo_call *call, const struct uuid *id, struct repo_realm *ret);
    int (*realm_create)(const struct repo_call *call, const struct repo_realm *input,
                        struct repo_realm *ret);
    int (*realm_update)(const struct repo_call *call, const struct uuid *id,
                        const struct repo_realm_change *change, struct repo_realm *ret);
    int (*realm_delete)(const struct repo_call *call, const struct uuid *id, bool force);
    int (*consumer_list)(const struct repo_call *call, const struct repo_scope *scope,
                         const struct repo_consumer_query *query, struct repo_consumer_rows *ret);
    int (*consumer_get)(const struct repo_call *call, const struct repo_path *path,
                        struct repo_consumer *ret);
    int (*consumer_create)(const struct repo_call *call, const struct repo_scope *scope,
                           const struct repo_consumer *input, struct repo_consumer *ret);
    int (*consumer_update)(const struct repo_call *call, const struct repo_path *path,
                           const struct repo_consumer_change *change, struct repo_consumer *ret);
    int (*consumer_delete)(const struct repo_call *call, const struct repo_path *path);
    int (*consumer_move)(const struct repo_call *call, const struct repo_path *path,
                         const struct uuid *target_realm_id);
    int (*key_list)(const struct repo_call *call, const struct repo_path *path,
                    const struct repo_page *page, struct repo_key_rows *ret);
    int (*key_get)(const struct repo_call *call, const struct repo_path *path,
                   struct repo_key *ret);
    int (*key_create)(const struct repo_call *call, const struct repo_path *path,
                      const struct repo_key_input *input, struct repo_key *ret);
    int (*key_delete)(const struct repo_call *call, const struct repo_path *path);
    int (*authenticate)(const struct repo_call *call, const struct repo_scope *scope,
                        const struct repo_login *login, struct repo_owner *ret);
    int (*group_list)(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct repo_page *page, struct repo_group_rows *ret);
    int (*group_get)(const struct repo_call *call, const struct uuid *control_plane_id,
                     const struct uuid *id, struct repo_group *ret);
    int (*group_create)(const struct repo_call *call, const struct uuid *control_plane_id,
                        const struct repo_group *input, struct repo_group *ret);
    int (*group_update)(const struct repo_call *call, const struct uuid *control_plane_id,
                        const struct uuid *id, const struct repo_group_change *change,
                        struct repo_group *ret);
    int (*group_delete)(const struct repo_call *call, const struct uuid *control_plane_id,
                        const struct uuid *id);
    int (*token_list)(const struct repo_call *call, const struct repo_page *page,
                      struct repo_token_rows *ret);
    int (*token_create)(const struct repo_call *call, const struct repo_token *input,
                        const uint8_t hash[DIGEST_BYTES], struct repo_token *ret);
    int (*token_delete)(const struct repo_call *call, const struct uuid *id);
    int (*token_find)(const struct repo_call *call, const uint8_t hash[DIGEST_BYTES],
                      struct repo_token *ret);
    int (*head)(struct repo *repo, struct repo_head *ret, struct error *err);
    int (*epoch_accept)(struct repo *repo, const struct uuid *epoch, struct error *err);
    /* Of the newest version. */
    int (*view)(struct repo *repo, struct repo_view **ret, struct error *err);
    int (*snapshot)(struct repo *repo, const struct uuid *control_plane_id,
                    const struct repo_snapshot_sink *sink, struct error *err);
    void (*on_commit)(struct repo *repo, repo_commit_fn listener, void *context);
};

/* Implementations embed this first. */
struct repo {
    const struct repo_ops *ops;
};

#endif

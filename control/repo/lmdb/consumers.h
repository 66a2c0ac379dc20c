/* consumers.h - consumers of realms and of control planes. */
#ifndef RS_CONTROL_REPO_LMDB_CONSUMERS_H
#define RS_CONTROL_REPO_LMDB_CONSUMERS_H

#include "control/repo/repo.h"

int lmdb_consumer_list(const struct repo_call *call, const struct repo_scope *scope,
                       const struct repo_consumer_query *query, struct repo_consumer_rows *ret);
int lmdb_consumer_get(const struct repo_call *call, const struct repo_path *path,
                      struct repo_consumer *ret);
int lmdb_consumer_create(const struct repo_call *call, const struct repo_scope *scope,
                         const struct repo_consumer *input, struct repo_consumer *ret);
int lmdb_consumer_update(const struct repo_call *call, const struct repo_path *path,
                         const struct repo_consumer_change *change, struct repo_consumer *ret);
int lmdb_consumer_delete(const struct repo_call *call, const struct repo_path *path);
int lmdb_consumer_move(const struct repo_call *call, const struct repo_path *path,
                       const struct uuid *target_realm_id);

#endif

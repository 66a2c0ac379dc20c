/* groups.h - a control plane's consumer groups. */
#ifndef RS_CONTROL_REPO_LMDB_GROUPS_H
#define RS_CONTROL_REPO_LMDB_GROUPS_H

#include "control/repo/repo.h"

int lmdb_group_list(const struct repo_call *call, const struct uuid *control_plane_id,
                    const struct repo_page *page, struct repo_group_rows *ret);
int lmdb_group_get(const struct repo_call *call, const struct uuid *control_plane_id,
                   const struct uuid *id, struct repo_group *ret);
int lmdb_group_create(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct repo_group *input, struct repo_group *ret);
int lmdb_group_update(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct uuid *id, const struct repo_group_change *change,
                      struct repo_group *ret);
int lmdb_group_delete(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct uuid *id);

#endif

/* snapshot.h - all that one control plane may see. */
#ifndef RS_CONTROL_REPO_LMDB_SNAPSHOT_H
#define RS_CONTROL_REPO_LMDB_SNAPSHOT_H

#include "control/repo/repo.h"

int lmdb_snapshot(struct repo *repo, const struct uuid *control_plane_id,
                  const struct repo_snapshot_sink *sink, struct error *err);

#endif

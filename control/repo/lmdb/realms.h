/* realms.h - realms. */
#ifndef RS_CONTROL_REPO_LMDB_REALMS_H
#define RS_CONTROL_REPO_LMDB_REALMS_H

#include "control/repo/repo.h"

int lmdb_realm_list(const struct repo_call *call, const struct repo_page *page,
                    struct repo_realm_rows *ret);
int lmdb_realm_get(const struct repo_call *call, const struct uuid *id, struct repo_realm *ret);
int lmdb_realm_create(const struct repo_call *call, const struct repo_realm *input,
                      struct repo_realm *ret);
int lmdb_realm_update(const struct repo_call *call, const struct uuid *id,
                      const struct repo_realm_change *change, struct repo_realm *ret);
int lmdb_realm_delete(const struct repo_call *call, const struct uuid *id, bool force);

#endif

/* env.h - the data directory: its lock, the LMDB environment, its identity. */
#ifndef RS_CONTROL_REPO_LMDB_ENV_H
#define RS_CONTROL_REPO_LMDB_ENV_H

#include "control/repo/lmdb/store.h"

/* Takes `dir`/lock. E_LOCKED names the holder. */
int lmdb_env_lock(const char *dir, int *ret_fd, struct error *err);
/* Opens the environment and the tables; makes epoch and digest key when it is new. */
int lmdb_env_open(struct lmdb_repo *repo, const char *dir, struct error *err);
void lmdb_env_close(struct lmdb_repo *repo);

#endif

/* keys.h - API keys. */
#ifndef RS_CONTROL_REPO_LMDB_KEYS_H
#define RS_CONTROL_REPO_LMDB_KEYS_H

#include "control/repo/lmdb/txn.h"

int lmdb_key_list(const struct repo_call *call, const struct repo_path *path,
                  const struct repo_page *page, struct repo_key_rows *ret);
int lmdb_key_get(const struct repo_call *call, const struct repo_path *path, struct repo_key *ret);
int lmdb_key_create(const struct repo_call *call, const struct repo_path *path,
                    const struct repo_key_input *input, struct repo_key *ret);
int lmdb_key_delete(const struct repo_call *call, const struct repo_path *path);
int lmdb_authenticate(const struct repo_call *call, const struct repo_scope *scope,
                      const struct repo_login *login, struct repo_owner *ret);

/* Deletes all keys of a consumer; *ret_count says how many. */
int lmdb_keys_delete(const struct lmdb_txn *txn, const struct repo_scope *scope,
                     const struct uuid *consumer_id, size_t *ret_count, struct error *err);
/* Moves all keys of a consumer. E_CONFLICT (field "secret") when a secret is taken there. */
int lmdb_keys_move(const struct lmdb_txn *txn, const struct repo_scope *from,
                   const struct repo_scope *to, const struct uuid *consumer_id, size_t *ret_count,
                   struct error *err);

#endif

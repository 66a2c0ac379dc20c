/* tokens.h - access tokens. */
#ifndef RS_CONTROL_REPO_LMDB_TOKENS_H
#define RS_CONTROL_REPO_LMDB_TOKENS_H

#include "control/repo/repo.h"

int lmdb_token_list(const struct repo_call *call, const struct repo_page *page,
                    struct repo_token_rows *ret);
int lmdb_token_create(const struct repo_call *call, const struct repo_token *input,
                      const uint8_t hash[DIGEST_BYTES], struct repo_token *ret);
int lmdb_token_delete(const struct repo_call *call, const struct uuid *id);
int lmdb_token_find(const struct repo_call *call, const uint8_t hash[DIGEST_BYTES],
                    struct repo_token *ret);

#endif

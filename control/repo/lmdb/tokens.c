/* tokens.c - access tokens of the control plane's own API.
 *
 * Only the SHA-256 of a token is kept (a token has 256 random bits, so a plain hash cannot be
 * searched); it stands in "names" and leads to the row. These writes spend no version.
 */
#include "control/repo/lmdb/tokens.h"

#include <string.h>

#include "control/repo/errors.h"
#include "control/repo/lmdb/names.h"
#include "control/repo/lmdb/page.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/lmdb/writer.h"

static struct lmdb_rowkey index_key(const uint8_t hash[DIGEST_BYTES])
{
    const struct lmdb_rowkey organisation = lmdb_namespace_organisation();

    return lmdb_name_key(&organisation, LMDB_NAME_TOKEN, hash);
}

/* ---- rows ---- */

static int row_append(const struct repo_token *token, const uint8_t hash[DIGEST_BYTES],
                      struct buffer *out)
{
    int rc = lmdb_append_u64(out, (uint64_t)token->created_ms);

    if (rc == 0)
        rc = lmdb_append_u8(out, (uint8_t)token->role);
    if (rc == 0)
        rc = lmdb_append_u8(out, token->has_control_plane ? 1 : 0);
    if (rc == 0)
        rc = lmdb_append_uuid(out, &token->control_plane_id);
    if (rc == 0)
        rc = buffer_append(out, hash, DIGEST_BYTES);
    return rc == 0 ? buffer_append(out, token->name, strlen(token->name) + 1) : rc;
}

/* The name and the hash are borrowed. */
static int row_read(const struct uuid *id, const MDB_val *value, struct repo_token *ret,
                    const uint8_t **ret_hash, struct error *err)
{
    struct lmdb_reader reader = lmdb_reader_on(value);
    struct repo_token token = {.id = *id};
    unsigned role;

    token.created_ms = (int64_t)lmdb_read_u64(&reader);
    role = lmdb_read_u8(&reader);
    token.role = (enum repo_role)role;
    token.has_control_plane = lmdb_read_u8(&reader) != 0;
    token.control_plane_id = lmdb_read_uuid(&reader);
    *ret_hash = lmdb_read_bytes(&reader, DIGEST_BYTES);
    token.name = (const char *)reader.at;
    if (!reader.ok || role >= REPO_ROLES || reader.left == 0 || token.name[reader.left - 1] != '\0')
        return repo_corrupt("a token's row is wrong", err);
    *ret = token;
    return 0;
}

static int row_export(const struct uuid *id, const MDB_val *value, struct arena *arena,
                      struct repo_token *ret, struct error *err)
{
    struct repo_token token = {.name = NULL};
    const uint8_t *hash;
    int rc = row_read(id, value, &token, &hash, err);

    if (rc != 0)
        return rc;
    token.name = arena_string(arena, token.name);
    if (token.name == NULL)
        return repo_no_memory(err);
    *ret = token;
    return 0;
}

static int token_load(const struct lmdb_txn *txn, const struct uuid *id, MDB_val *ret,
                      struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_uuid(id);
    int rc = lmdb_get(txn, TABLE_TOKENS, &key, ret, err);

    return rc == E_NOT_FOUND ? repo_not_found("id", "token", id, err) : rc;
}

/* ---- reading ---- */

static int token_decode(const struct lmdb_page_row *row, struct arena *arena, void *ret,
                        struct error *err)
{
    return row_export(row->id, row->value, arena, ret, err);
}

int lmdb_token_list(const struct repo_call *call, const struct repo_page *page,
                    struct repo_token_rows *ret)
{
    const struct lmdb_page_query query = {
        .table = TABLE_TOKENS, .row_size = sizeof(struct repo_token), .decode = token_decode};
    struct lmdb_page_result result;
    struct lmdb_txn txn;
    int rc = lmdb_txn_open_for(call, &txn);

    if (rc != 0)
        return rc;
    rc = lmdb_page_read(&txn, &query, page, call->arena, &result, call->err);
    lmdb_txn_close(&txn);
    if (rc == 0)
        *ret = (struct repo_token_rows){result.rows, result.count, result.info};
    return rc;
}

static int token_find(const struct lmdb_txn *txn, const uint8_t hash[DIGEST_BYTES],
                      struct arena *arena, struct repo_token *ret, struct error *err)
{
    struct lmdb_rowkey key = index_key(hash);
    struct lmdb_reader reader;
    struct uuid id;
    MDB_val value;
    int rc = lmdb_get(txn, TABLE_NAMES, &key, &value, err);

    if (rc == E_NOT_FOUND)
        return error_set(err, rc, "the token is not known");
    if (rc != 0)
        return rc;
    reader = lmdb_reader_on(&value);
    id = lmdb_read_uuid(&reader);
    if (!reader.ok)
        return repo_corrupt("a token's index is cut short", err);
    rc = token_load(txn, &id, &value, err);
    return rc == 0 ? row_export(&id, &value, arena, ret, err) : rc;
}

int lmdb_token_find(const struct repo_call *call, const uint8_t hash[DIGEST_BYTES],
                    struct repo_token *ret)
{
    struct lmdb_txn txn;
    int rc = lmdb_txn_open_for(call, &txn);

    if (rc != 0)
        return rc;
    rc = token_find(&txn, hash, call->arena, ret, call->err);
    lmdb_txn_close(&txn);
    return rc;
}

/* ---- writing ---- */

struct token_args {
    const struct repo_call *call;
    const struct repo_token *input;
    const uint8_t *hash; /* DIGEST_BYTES */
    const struct uuid *id;
    struct repo_token *ret;
};

static int take_hash(const struct lmdb_txn *txn, const uint8_t hash[DIGEST_BYTES],
                     const struct uuid *id, struct error *err)
{
    struct lmdb_rowkey key = index_key(hash);
    int rc = lmdb_put_new(txn, TABLE_NAMES, &key, id->bytes, UUID_BYTES, err);

    return rc == E_CONFLICT ? error_set_field(err, rc, "secret", "this token exists already") : rc;
}

static int token_put(const struct lmdb_txn *txn, const struct token_args *args,
                     const struct repo_token *token, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_uuid(&token->id);
    struct buffer out;
    int rc =
        strlen(token->name) <= MODEL_NAME_MAX && (unsigned)token->role < REPO_ROLES ? 0 : E_INVALID;

    buffer_init(&out, LMDB_ROW_MAX_BYTES);
    if (rc == 0)
        rc = row_append(token, args->hash, &out);
    rc = repo_encode_error(rc, "the token", err);
    if (rc == 0)
        rc = lmdb_put(txn, TABLE_TOKENS, &key, out.data, out.size, err);
    if (rc == 0) {
        const MDB_val value = {.mv_size = out.size, .mv_data = out.data};

        rc = row_export(&token->id, &value, args->call->arena, args->ret, err);
    }
    buffer_finish(&out);
    return rc;
}

static int token_create(struct lmdb_write *write, void *context, struct error *err)
{
    const struct token_args *args = context;
    struct repo_token token = *args->input;
    int rc = lmdb_new_id(write, &token.id, err);

    if (rc != 0)
        return rc;
    token.created_ms = write->now_ms;
    rc = take_hash(&write->txn, args->hash, &token.id, err);
    return rc == 0 ? token_put(&write->txn, args, &token, err) : rc;
}

int lmdb_token_create(const struct repo_call *call, const struct repo_token *input,
                      const uint8_t hash[DIGEST_BYTES], struct repo_token *ret)
{
    struct token_args args = {.call = call, .input = input, .hash = hash, .ret = ret};

    return lmdb_write(call, token_create, &args, LMDB_WRITE_SHARED);
}

static int delete_token(struct lmdb_write *write, void *context, struct error *err)
{
    const struct token_args *args = context;
    struct lmdb_rowkey key = lmdb_rowkey_uuid(args->id);
    struct lmdb_rowkey index;
    struct repo_token token;
    const uint8_t *hash;
    MDB_val value;
    int rc = token_load(&write->txn, args->id, &value, err);

    if (rc == 0)
        rc = row_read(args->id, &value, &token, &hash, err);
    if (rc != 0)
        return rc;
    index = index_key(hash);
    rc = lmdb_del(&write->txn, TABLE_NAMES, &index, err);
    if (rc == E_NOT_FOUND)
        return repo_corrupt("a token is missing in its index", err);
    return rc == 0 ? lmdb_del(&write->txn, TABLE_TOKENS, &key, err) : rc;
}

int lmdb_token_delete(const struct repo_call *call, const struct uuid *id)
{
    struct token_args args = {.call = call, .id = id};

    return lmdb_write(call, delete_token, &args, LMDB_WRITE_SHARED);
}

/* realms.c - realms: rows by id, unique names, numbers that are given once.
 *
 * Every change of a realm logs who could see it before, because "may see" decides what a feed
 * sends. Deleting a realm takes the ranges of its scope out of each table in one transaction,
 * alone.
 */
#include "control/repo/lmdb/realms.h"

#include <string.h>

#include "control/repo/entity.h"
#include "control/repo/errors.h"
#include "control/repo/lmdb/scope_hashes.h"
#include "control/repo/lmdb/load.h"
#include "control/repo/lmdb/log.h"
#include "control/repo/lmdb/names.h"
#include "control/repo/lmdb/page.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/store.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/lmdb/writer.h"
#include "control/repo/view.h"
#include "control/repo/visibility.h"
#include "store/record.h"

/* ---- reading ---- */

static int realm_decode(const struct lmdb_page_row *row, struct arena *arena, void *ret,
                        struct error *err)
{
    struct repo_realm_row realm;
    int rc = lmdb_realm_row_read(row->value, &realm, err);

    return rc == 0 ? repo_realm_export(&realm, arena, ret, err) : rc;
}

static int actor_sees(const struct lmdb_txn *txn, const MDB_val *value, bool *ret,
                      struct error *err)
{
    struct repo_realm_row row;
    int rc = lmdb_realm_row_read(value, &row, err);

    if (rc == 0)
        *ret = repo_actor_sees(txn->actor, &row.visibility);
    return rc;
}

int lmdb_realm_list(const struct repo_call *call, const struct repo_page *page,
                    struct repo_realm_rows *ret)
{
    const struct lmdb_page_query query = {.table = TABLE_REALMS,
                                          .row_size = sizeof(struct repo_realm),
                                          .sees = actor_sees,
                                          .decode = realm_decode};
    struct lmdb_page_result result;
    struct lmdb_txn txn;
    int rc = lmdb_txn_open_for(call, &txn);

    if (rc != 0)
        return rc;
    rc = lmdb_page_read(&txn, &query, page, call->arena, &result, call->err);
    lmdb_txn_close(&txn);
    if (rc == 0)
        *ret = (struct repo_realm_rows){result.rows, result.count, result.info};
    return rc;
}

int lmdb_realm_get(const struct repo_call *call, const struct uuid *id, struct repo_realm *ret)
{
    struct repo_realm_row row;
    struct lmdb_txn txn;
    int rc = lmdb_txn_open_for(call, &txn);

    if (rc != 0)
        return rc;
    rc = lmdb_realm_load(&txn, id, "realmId", &row, call->err);
    if (rc == 0)
        rc = repo_realm_export(&row, call->arena, ret, call->err);
    lmdb_txn_close(&txn);
    return rc;
}

/* ---- writing ---- */

/* Appends "*" or the UUID in lower case, NUL-terminated. */
static int append_allowed_item(struct buffer *out, const char *item)
{
    char text[UUID_TEXT_SIZE] = "*";
    struct uuid id;

    if (strcmp(item, "*") != 0) {
        if (!uuid_parse(item, &id))
            return E_INVALID;
        uuid_format(&id, text);
    }
    return buffer_append(out, text, strlen(text) + 1);
}

/* Fills the visibility; its strings go to *out. */
static int encode_allowed(const struct model_strings *allowed, bool allow_all, struct buffer *out,
                          struct repo_visibility *ret, struct error *err)
{
    int rc = allowed->count <= LMDB_ALLOWED_MAX ? 0 : E_INVALID;

    for (size_t i = 0; rc == 0 && i < allowed->count; i++)
        rc = append_allowed_item(out, allowed->items[i]);
    if (rc == E_INVALID)
        return error_set_field(err, rc, "allowed_control_planes",
                               "allowed_control_planes takes at most %d UUIDs, or \"*\"",
                               LMDB_ALLOWED_MAX);
    if (rc != 0)
        return repo_encode_error(rc, "the allowed control planes", err);
    *ret = (struct repo_visibility){.exists = true,
                                    .allow_all = allow_all,
                                    .allowed = (const char *)out->data,
                                    .allowed_size = out->size,
                                    .allowed_count = (uint32_t)allowed->count};
    return 0;
}

/* What a realm's row is made of; the buffers own what the row borrows. */
struct draft {
    struct repo_realm_row row;
    struct buffer record;
    struct buffer allowed;
};

static void draft_init(struct draft *draft)
{
    *draft = (struct draft){.row = {.created_ms = 0}};
    buffer_init(&draft->record, RECORD_MAX_BYTES);
    buffer_init(&draft->allowed, (size_t)LMDB_ALLOWED_MAX * UUID_TEXT_SIZE);
}

static void draft_finish(struct draft *draft)
{
    buffer_finish(&draft->record);
    buffer_finish(&draft->allowed);
}

static int draft_encode(struct draft *draft, const struct repo_realm *realm, struct error *err)
{
    int rc =
        repo_encode_error(record_encode_realm(&realm->model, &draft->record), "the realm", err);

    if (rc == 0)
        rc = encode_allowed(&realm->allowed_control_planes, realm->allow_all_control_planes,
                            &draft->allowed, &draft->row.visibility, err);
    if (rc != 0)
        return rc;
    draft->row.created_ms = realm->created_ms;
    draft->row.updated_ms = realm->updated_ms;
    draft->row.record = (struct repo_record){draft->record.data, draft->record.size};
    return 0;
}

static int realm_put_row(const struct lmdb_txn *txn, const struct uuid *id,
                         const struct repo_realm_row *row, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_uuid(id);
    struct buffer out;
    int rc;

    buffer_init(&out, LMDB_ROW_MAX_BYTES);
    rc = repo_encode_error(lmdb_realm_row_append(row, &out), "the realm", err);
    if (rc == 0)
        rc = lmdb_put(txn, TABLE_REALMS, &key, out.data, out.size, err);
    buffer_finish(&out);
    return rc;
}

/* `former` may be NULL. */
static int realm_change_digest(const struct lmdb_txn *txn, const struct uuid *id,
                               const struct repo_realm_row *former,
                               const struct repo_realm_row *next, struct error *err)
{
    const struct repo_scope scope = {.kind = REPO_SCOPE_REALM, .id = *id};

    return lmdb_scope_hash_change(txn, &scope, SET_HASH_BUCKET_OF_REALM,
                                  former != NULL ? &former->record : NULL, &next->record, err);
}

static struct lmdb_name realm_name_of(const char *text)
{
    return (struct lmdb_name){
        .namespace = lmdb_namespace_organisation(), .kind = LMDB_NAME_REALM, .text = text};
}

static int realm_touch(struct lmdb_write *write, const struct model_realm *realm,
                       const struct repo_visibility *before, struct error *err)
{
    const struct repo_touch entry = {.kind = REPO_TOUCH_REALM,
                                     .scope = {.kind = REPO_SCOPE_REALM, .id = realm->id},
                                     .number = realm->number,
                                     .before = *before};

    return lmdb_log_touch(write, &entry, err);
}

struct create_args {
    const struct repo_call *call;
    const struct repo_realm *input;
    struct repo_realm *ret;
};

static int create_drafted(struct lmdb_write *write, const struct create_args *args,
                          struct repo_realm *realm, struct draft *draft, struct error *err)
{
    static const struct repo_visibility nobody;
    const struct lmdb_name name = realm_name_of(realm->model.name);
    int rc = draft_encode(draft, realm, err);

    if (rc == 0)
        rc = repo_actor_may_allow(write->txn.actor, &draft->row.visibility, err);
    if (rc == 0)
        rc = lmdb_name_take(&write->txn, &name, &realm->model.id, err);
    if (rc == 0)
        rc = realm_change_digest(&write->txn, &realm->model.id, NULL, &draft->row, err);
    if (rc == 0)
        rc = realm_put_row(&write->txn, &realm->model.id, &draft->row, err);
    if (rc == 0)
        rc = realm_touch(write, &realm->model, &nobody, err);
    return rc == 0 ? repo_realm_export(&draft->row, args->call->arena, args->ret, err) : rc;
}

static int realm_create(struct lmdb_write *write, void *context, struct error *err)
{
    const struct create_args *args = context;
    struct repo_realm realm = *args->input;
    struct draft draft;
    int rc = lmdb_new_id(write, &realm.model.id, err);

    if (rc != 0)
        return rc;
    if (write->state.next_number == UINT32_MAX)
        return error_set(err, E_TOO_LARGE, "all realm numbers have been given");
    realm.model.number = write->state.next_number++;
    realm.model.region = write->txn.repo->region;
    realm.created_ms = realm.updated_ms = write->now_ms;
    draft_init(&draft);
    rc = create_drafted(write, args, &realm, &draft, err);
    draft_finish(&draft);
    return rc;
}

int lmdb_realm_create(const struct repo_call *call, const struct repo_realm *input,
                      struct repo_realm *ret)
{
    struct create_args args = {.call = call, .input = input, .ret = ret};

    return lmdb_write(call, realm_create, &args, LMDB_WRITE_SHARED);
}

/* ---- updating ---- */

struct update_args {
    const struct repo_call *call;
    const struct uuid *id;
    const struct repo_realm_change *change;
    struct repo_realm *ret;
};

static void realm_merge(struct repo_realm *realm, const struct repo_realm *input, unsigned set)
{
    if (set & REPO_SET_NAME)
        realm->model.name = input->model.name;
    if (set & REPO_SET_TTL)
        realm->model.ttl_min = input->model.ttl_min;
    if (set & REPO_SET_NEGATIVE_TTL)
        realm->model.negative_ttl_min = input->model.negative_ttl_min;
    if (set & REPO_SET_GROUPS)
        realm->model.groups = input->model.groups;
    if (set & REPO_SET_ALLOWED)
        realm->allowed_control_planes = input->allowed_control_planes;
    if (set & REPO_SET_ALLOW_ALL)
        realm->allow_all_control_planes = input->allow_all_control_planes;
}

static bool same_for_feeds(const struct repo_realm_row *a, const struct repo_realm_row *b)
{
    return repo_same_record(&a->record, &b->record) &&
           repo_same_visibility(&a->visibility, &b->visibility);
}

/* `row` is borrowed from the transaction and ends with its first write, so the log entry, which
 * copies what it needs, comes first, and the digest, which is computed before it is written. */
static int update_drafted(struct lmdb_write *write, const struct update_args *args,
                          struct repo_realm *realm, const struct repo_realm_row *row,
                          struct draft *draft, struct error *err)
{
    const char *old_name = realm->model.name;
    struct lmdb_name name;
    int rc;

    realm_merge(realm, &args->change->to, args->change->set);
    realm->updated_ms = write->now_ms;
    rc = draft_encode(draft, realm, err);
    if (rc == 0)
        rc = repo_actor_may_allow(write->txn.actor, &draft->row.visibility, err);
    if (rc == 0 && !same_for_feeds(row, &draft->row))
        rc = realm_touch(write, &realm->model, &row->visibility, err);
    if (rc == 0)
        rc = realm_change_digest(&write->txn, args->id, row, &draft->row, err);
    if (rc != 0)
        return rc;
    name = realm_name_of(old_name);
    rc = lmdb_name_change(&write->txn, &name, realm->model.name, args->id, err);
    if (rc == 0)
        rc = realm_put_row(&write->txn, args->id, &draft->row, err);
    return rc == 0 ? repo_realm_export(&draft->row, args->call->arena, args->ret, err) : rc;
}

static int realm_update(struct lmdb_write *write, void *context, struct error *err)
{
    const struct update_args *args = context;
    struct repo_realm_row row;
    struct repo_realm realm;
    struct arena scratch;
    struct draft draft;
    int rc = lmdb_realm_load_to_change(&write->txn, args->id, "realmId", &row, err);

    if (rc != 0)
        return rc;
    arena_init(&scratch, LMDB_ROW_MAX_BYTES * (size_t)2);
    draft_init(&draft);
    rc = repo_realm_export(&row, &scratch, &realm, err);
    if (rc == 0)
        rc = update_drafted(write, args, &realm, &row, &draft, err);
    draft_finish(&draft);
    arena_finish(&scratch);
    return rc;
}

int lmdb_realm_update(const struct repo_call *call, const struct uuid *id,
                      const struct repo_realm_change *change, struct repo_realm *ret)
{
    struct update_args args = {.call = call, .id = id, .change = change, .ret = ret};

    return lmdb_write(call, realm_update, &args, LMDB_WRITE_SHARED);
}

/* ---- deleting ---- */

struct delete_args {
    const struct uuid *id;
    bool force;
};

static int check_empty(const struct lmdb_txn *txn, const struct repo_scope *scope,
                       struct error *err)
{
    struct repo_counts counts;
    int rc = lmdb_counts_get(txn, scope, &counts, err);

    if (rc != 0 || counts.consumers == 0)
        return rc;
    return error_set(err, E_NOT_EMPTY,
                     "the realm still has %llu consumers; delete or move them, or pass force=true",
                     (unsigned long long)counts.consumers);
}

static int delete_contents(const struct lmdb_txn *txn, const struct repo_scope *scope,
                           struct error *err)
{
    static const enum lmdb_table tables[] = {TABLE_CONSUMERS, TABLE_NAMES,  TABLE_KEYS,
                                             TABLE_SECRETS,   TABLE_COUNTS, TABLE_DIGESTS};
    const struct lmdb_rowkey prefix = lmdb_rowkey_scope(scope);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(tables) / sizeof(tables[0]); i++)
        rc = lmdb_del_prefix(txn, tables[i], &prefix, err);
    return rc;
}

/* The name and the log entry are taken from the row before anything is deleted: see update. */
static int unlist(struct lmdb_write *write, const struct repo_realm_row *row, struct error *err)
{
    struct repo_labels labels;
    struct model_realm realm;
    struct lmdb_name name;
    int rc = repo_realm_borrow(&row->record, &labels, &realm, err);

    if (rc == 0)
        rc = realm_touch(write, &realm, &row->visibility, err);
    if (rc != 0)
        return rc;
    name = realm_name_of(realm.name);
    return lmdb_name_release(&write->txn, &name, err);
}

static int delete_realm(struct lmdb_write *write, void *context, struct error *err)
{
    const struct delete_args *args = context;
    const struct repo_scope scope = {.kind = REPO_SCOPE_REALM, .id = *args->id};
    struct lmdb_rowkey key = lmdb_rowkey_uuid(args->id);
    struct repo_realm_row row;
    int rc = lmdb_realm_load_to_change(&write->txn, args->id, "realmId", &row, err);

    if (rc == 0 && !args->force)
        rc = check_empty(&write->txn, &scope, err);
    if (rc == 0)
        rc = unlist(write, &row, err);
    if (rc == 0)
        rc = delete_contents(&write->txn, &scope, err);
    return rc == 0 ? lmdb_del(&write->txn, TABLE_REALMS, &key, err) : rc;
}

int lmdb_realm_delete(const struct repo_call *call, const struct uuid *id, bool force)
{
    struct delete_args args = {.id = id, .force = force};

    return lmdb_write(call, delete_realm, &args, force ? LMDB_WRITE_ALONE : LMDB_WRITE_SHARED);
}

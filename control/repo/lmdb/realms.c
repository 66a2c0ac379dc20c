/* realms.c - realms: rows by id, unique names, numbers that are given once.
 *
 * Every change of a realm logs who could see it before, because "may see" decides what a feed
 * sends. Deleting a realm takes the ranges of its scope out of each table in one transaction,
 * alone.
 */
#include "control/repo/lmdb/repo_lmdb.h"

#include <string.h>

static const char *const not_found = "realm";

int repo_realm_load(const struct repo_txn *txn, const struct uuid *id, const char *field,
                    struct repo_realm_row *ret, struct error *err)
{
    struct repo_bytes key = repo_key_uuid(id);
    MDB_val value;
    int rc = repo_get(txn, TABLE_REALMS, &key, &value, err);

    if (rc == 0)
        rc = repo_realm_row_read(&value, ret, err);
    if (rc == 0 && !repo_actor_sees(txn->actor, &ret->visibility))
        rc = E_NOT_FOUND;
    return rc == E_NOT_FOUND ? repo_not_found(field, not_found, id, err) : rc;
}

/* Of a realm to be changed. */
static int load_to_change(const struct repo_txn *txn, const struct uuid *id,
                          struct repo_realm_row *ret, struct error *err)
{
    int rc = repo_realm_load(txn, id, "realmId", ret, err);

    return rc == 0 ? repo_actor_may_change(txn->actor, &ret->visibility, err) : rc;
}

int repo_scope_check(const struct repo_txn *txn, const struct repo_scope *scope,
                     enum repo_access access, struct error *err)
{
    struct repo_realm_row row;

    if (scope->kind == REPO_SCOPE_CP)
        return repo_actor_may_use(txn->actor, &scope->id, err);
    return access == REPO_CHANGE ? load_to_change(txn, &scope->id, &row, err)
                                 : repo_realm_load(txn, &scope->id, "realmId", &row, err);
}

/* ---- reading ---- */

static int decode(const struct repo_txn *txn, void *context, const struct uuid *id,
                  const MDB_val *value, struct arena *arena, void *ret, struct error *err)
{
    struct repo_realm_row row;
    int rc = repo_realm_row_read(value, &row, err);

    (void)txn;
    (void)context;
    (void)id;
    return rc == 0 ? repo_realm_export(&row, arena, ret, err) : rc;
}

static int actor_sees(const struct repo_txn *txn, const MDB_val *value, bool *ret,
                      struct error *err)
{
    struct repo_realm_row row;
    int rc = repo_realm_row_read(value, &row, err);

    if (rc == 0)
        *ret = repo_actor_sees(txn->actor, &row.visibility);
    return rc;
}

int lmdb_realm_list(const struct repo_call *call, const struct repo_page *page,
                    struct repo_realm_rows *ret)
{
    const struct repo_page_query query = {.table = TABLE_REALMS,
                                          .row_size = sizeof(struct repo_realm),
                                          .sees = actor_sees,
                                          .decode = decode};
    struct repo_page_result result;
    struct repo_txn txn;
    int rc = repo_read_begin(call, &txn);

    if (rc != 0)
        return rc;
    rc = repo_page_read(&txn, &query, page, call->arena, &result, call->err);
    repo_read_end(&txn);
    if (rc == 0)
        *ret = (struct repo_realm_rows){result.rows, result.count, result.info};
    return rc;
}

int lmdb_realm_get(const struct repo_call *call, const struct uuid *id, struct repo_realm *ret)
{
    struct repo_realm_row row;
    struct repo_txn txn;
    int rc = repo_read_begin(call, &txn);

    if (rc != 0)
        return rc;
    rc = repo_realm_load(&txn, id, "realmId", &row, call->err);
    if (rc == 0)
        rc = repo_realm_export(&row, call->arena, ret, call->err);
    repo_read_end(&txn);
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
    int rc = allowed->count <= REPO_ALLOWED_MAX ? 0 : E_INVALID;

    for (size_t i = 0; rc == 0 && i < allowed->count; i++)
        rc = append_allowed_item(out, allowed->items[i]);
    if (rc == E_INVALID)
        return error_set_field(err, rc, "allowed_control_planes",
                               "allowed_control_planes takes at most %d UUIDs, or \"*\"",
                               REPO_ALLOWED_MAX);
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
    buffer_init(&draft->allowed, (size_t)REPO_ALLOWED_MAX * UUID_TEXT_SIZE);
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

static int put_row(const struct repo_txn *txn, const struct uuid *id,
                   const struct repo_realm_row *row, struct error *err)
{
    struct repo_bytes key = repo_key_uuid(id);
    struct buffer out;
    int rc;

    buffer_init(&out, REPO_ROW_MAX_BYTES);
    rc = repo_encode_error(repo_realm_row_append(row, &out), "the realm", err);
    if (rc == 0)
        rc = repo_put(txn, TABLE_REALMS, &key, out.data, out.size, err);
    buffer_finish(&out);
    return rc;
}

/* `former` may be NULL. */
static int change_digest(const struct repo_txn *txn, const struct uuid *id,
                         const struct repo_realm_row *former, const struct repo_realm_row *next,
                         struct error *err)
{
    const struct repo_scope scope = {.kind = REPO_SCOPE_REALM, .id = *id};

    return repo_digest_change(txn, &scope, SET_HASH_BUCKET_OF_REALM,
                              former != NULL ? &former->record : NULL, &next->record, err);
}

static struct repo_name name_of(const char *text)
{
    return (struct repo_name){
        .namespace = repo_namespace_organisation(), .kind = REPO_NAME_REALM, .text = text};
}

static int touch(struct repo_write *write, const struct model_realm *realm,
                 const struct repo_visibility *before, struct error *err)
{
    const struct repo_touch entry = {.kind = REPO_TOUCH_REALM,
                                     .scope = {.kind = REPO_SCOPE_REALM, .id = realm->id},
                                     .number = realm->number,
                                     .before = *before};

    return repo_log_touch(write, &entry, err);
}

struct create_args {
    const struct repo_call *call;
    const struct repo_realm *input;
    struct repo_realm *ret;
};

static int create_drafted(struct repo_write *write, const struct create_args *args,
                          struct repo_realm *realm, struct draft *draft, struct error *err)
{
    static const struct repo_visibility nobody;
    const struct repo_name name = name_of(realm->model.name);
    int rc = draft_encode(draft, realm, err);

    if (rc == 0)
        rc = repo_actor_may_allow(write->txn.actor, &draft->row.visibility, err);
    if (rc == 0)
        rc = repo_name_take(&write->txn, &name, &realm->model.id, err);
    if (rc == 0)
        rc = change_digest(&write->txn, &realm->model.id, NULL, &draft->row, err);
    if (rc == 0)
        rc = put_row(&write->txn, &realm->model.id, &draft->row, err);
    if (rc == 0)
        rc = touch(write, &realm->model, &nobody, err);
    return rc == 0 ? repo_realm_export(&draft->row, args->call->arena, args->ret, err) : rc;
}

static int create(struct repo_write *write, void *context, struct error *err)
{
    const struct create_args *args = context;
    struct repo_realm realm = *args->input;
    struct draft draft;
    int rc = repo_new_id(write, &realm.model.id, err);

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

    return repo_write(call, create, &args, REPO_WRITE_SHARED);
}

/* ---- updating ---- */

struct update_args {
    const struct repo_call *call;
    const struct uuid *id;
    const struct repo_realm_change *change;
    struct repo_realm *ret;
};

static void merge(struct repo_realm *realm, const struct repo_realm *input, unsigned set)
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
static int update_drafted(struct repo_write *write, const struct update_args *args,
                          struct repo_realm *realm, const struct repo_realm_row *row,
                          struct draft *draft, struct error *err)
{
    const char *old_name = realm->model.name;
    struct repo_name name;
    int rc;

    merge(realm, &args->change->to, args->change->set);
    realm->updated_ms = write->now_ms;
    rc = draft_encode(draft, realm, err);
    if (rc == 0)
        rc = repo_actor_may_allow(write->txn.actor, &draft->row.visibility, err);
    if (rc == 0 && !same_for_feeds(row, &draft->row))
        rc = touch(write, &realm->model, &row->visibility, err);
    if (rc == 0)
        rc = change_digest(&write->txn, args->id, row, &draft->row, err);
    if (rc != 0)
        return rc;
    name = name_of(old_name);
    rc = repo_name_change(&write->txn, &name, realm->model.name, args->id, err);
    if (rc == 0)
        rc = put_row(&write->txn, args->id, &draft->row, err);
    return rc == 0 ? repo_realm_export(&draft->row, args->call->arena, args->ret, err) : rc;
}

static int update(struct repo_write *write, void *context, struct error *err)
{
    const struct update_args *args = context;
    struct repo_realm_row row;
    struct repo_realm realm;
    struct arena scratch;
    struct draft draft;
    int rc = load_to_change(&write->txn, args->id, &row, err);

    if (rc != 0)
        return rc;
    arena_init(&scratch, REPO_ROW_MAX_BYTES * (size_t)2);
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

    return repo_write(call, update, &args, REPO_WRITE_SHARED);
}

/* ---- deleting ---- */

struct delete_args {
    const struct uuid *id;
    bool force;
};

static int check_empty(const struct repo_txn *txn, const struct repo_scope *scope,
                       struct error *err)
{
    struct repo_counts counts;
    int rc = repo_counts_get(txn, scope, &counts, err);

    if (rc != 0 || counts.consumers == 0)
        return rc;
    return error_set(err, E_NOT_EMPTY,
                     "the realm still has %llu consumers; delete or move them, or pass force=true",
                     (unsigned long long)counts.consumers);
}

static int delete_contents(const struct repo_txn *txn, const struct repo_scope *scope,
                           struct error *err)
{
    static const enum repo_table tables[] = {TABLE_CONSUMERS, TABLE_NAMES,  TABLE_KEYS,
                                             TABLE_SECRETS,   TABLE_COUNTS, TABLE_DIGESTS};
    const struct repo_bytes prefix = repo_key_scope(scope);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(tables) / sizeof(tables[0]); i++)
        rc = repo_del_prefix(txn, tables[i], &prefix, err);
    return rc;
}

/* The name and the log entry are taken from the row before anything is deleted: see update. */
static int unlist(struct repo_write *write, const struct repo_realm_row *row, struct error *err)
{
    struct repo_labels labels;
    struct model_realm realm;
    struct repo_name name;
    int rc = repo_realm_borrow(&row->record, &labels, &realm, err);

    if (rc == 0)
        rc = touch(write, &realm, &row->visibility, err);
    if (rc != 0)
        return rc;
    name = name_of(realm.name);
    return repo_name_release(&write->txn, &name, err);
}

static int delete_realm(struct repo_write *write, void *context, struct error *err)
{
    const struct delete_args *args = context;
    const struct repo_scope scope = {.kind = REPO_SCOPE_REALM, .id = *args->id};
    struct repo_bytes key = repo_key_uuid(args->id);
    struct repo_realm_row row;
    int rc = load_to_change(&write->txn, args->id, &row, err);

    if (rc == 0 && !args->force)
        rc = check_empty(&write->txn, &scope, err);
    if (rc == 0)
        rc = unlist(write, &row, err);
    if (rc == 0)
        rc = delete_contents(&write->txn, &scope, err);
    return rc == 0 ? repo_del(&write->txn, TABLE_REALMS, &key, err) : rc;
}

int lmdb_realm_delete(const struct repo_call *call, const struct uuid *id, bool force)
{
    struct delete_args args = {.id = id, .force = force};

    return repo_write(call, delete_realm, &args, force ? REPO_WRITE_ALONE : REPO_WRITE_SHARED);
}

/* groups.c - a control plane's consumer groups: names with tags.
 *
 * Rows by (control plane, id); names unique within the control plane. Feeds carry group names
 * inside consumers and realms only, so these writes spend no version.
 */
#include "control/repo/lmdb/groups.h"

#include <string.h>

#include "control/repo/entity.h"
#include "control/repo/errors.h"
#include "control/repo/lmdb/names.h"
#include "control/repo/lmdb/page.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/lmdb/writer.h"
#include "control/repo/visibility.h"

static struct repo_scope scope_of(const struct uuid *control_plane_id)
{
    return (struct repo_scope){.kind = REPO_SCOPE_CP, .id = *control_plane_id};
}

static struct lmdb_rowkey group_key_of(const struct uuid *control_plane_id, const struct uuid *id)
{
    const struct repo_scope scope = scope_of(control_plane_id);

    return lmdb_rowkey_with_id(lmdb_rowkey_scope(&scope), id);
}

static struct lmdb_name group_name_of(const struct uuid *control_plane_id, const char *text)
{
    const struct repo_scope scope = scope_of(control_plane_id);

    return (struct lmdb_name){
        .namespace = lmdb_rowkey_scope(&scope), .kind = LMDB_NAME_GROUP, .text = text};
}

/* ---- rows ---- */

static int row_append(const struct repo_group *group, struct buffer *out)
{
    int rc = lmdb_append_u64(out, (uint64_t)group->created_ms);

    if (rc == 0)
        rc = lmdb_append_u64(out, (uint64_t)group->updated_ms);
    if (rc == 0)
        rc = lmdb_append_u32(out, (uint32_t)group->tags.count);
    if (rc == 0)
        rc = buffer_append(out, group->name, strlen(group->name) + 1);
    for (size_t i = 0; rc == 0 && i < group->tags.count; i++)
        rc = buffer_append(out, group->tags.items[i], strlen(group->tags.items[i]) + 1);
    return rc;
}

static bool within_limits(const struct repo_group *group)
{
    if (group->name == NULL || group->name[0] == '\0' || strlen(group->name) > MODEL_LABEL_MAX ||
        group->tags.count > MODEL_LABELS_MAX)
        return false;
    for (size_t i = 0; i < group->tags.count; i++) {
        if (strlen(group->tags.items[i]) > MODEL_LABEL_MAX)
            return false;
    }
    return true;
}

/* The next NUL-terminated string; NULL when it is cut short. */
static const char *read_string(struct lmdb_reader *reader)
{
    const size_t length = strnlen((const char *)reader->at, reader->left);

    if (length == reader->left) {
        reader->ok = false;
        return NULL;
    }
    return (const char *)lmdb_read_bytes(reader, length + 1);
}

/* The strings are copied into the arena. */
static int row_export(const struct uuid *id, const MDB_val *value, struct arena *arena,
                      struct repo_group *ret, struct error *err)
{
    struct lmdb_reader reader = lmdb_reader_on(value);
    const char *tags[MODEL_LABELS_MAX];
    struct repo_group group = {.id = *id};

    group.created_ms = (int64_t)lmdb_read_u64(&reader);
    group.updated_ms = (int64_t)lmdb_read_u64(&reader);
    group.tags = (struct model_strings){.items = tags, .count = lmdb_read_u32(&reader)};
    group.name = read_string(&reader);
    for (size_t i = 0; reader.ok && i < group.tags.count && i < MODEL_LABELS_MAX; i++)
        tags[i] = read_string(&reader);
    if (!reader.ok || group.tags.count > MODEL_LABELS_MAX)
        return repo_corrupt("a group's row is cut short", err);
    group.name = arena_string(arena, group.name);
    if (group.name == NULL)
        return repo_no_memory(err);
    *ret = group;
    return repo_strings_export(&group.tags, arena, &ret->tags, err);
}

static int group_load(const struct lmdb_txn *txn, const struct uuid *control_plane_id,
                      const struct uuid *id, struct arena *arena, struct repo_group *ret,
                      struct error *err)
{
    struct lmdb_rowkey key = group_key_of(control_plane_id, id);
    MDB_val value;
    int rc = repo_actor_may_use(txn->actor, control_plane_id, err);

    if (rc == 0)
        rc = lmdb_get(txn, TABLE_GROUPS, &key, &value, err);
    if (rc == E_NOT_FOUND)
        return repo_not_found("id", "consumer group", id, err);
    return rc == 0 ? row_export(id, &value, arena, ret, err) : rc;
}

/* ---- reading ---- */

static int group_decode(const struct lmdb_page_row *row, struct arena *arena, void *ret,
                        struct error *err)
{
    return row_export(row->id, row->value, arena, ret, err);
}

int lmdb_group_list(const struct repo_call *call, const struct uuid *control_plane_id,
                    const struct repo_page *page, struct repo_group_rows *ret)
{
    const struct repo_scope scope = scope_of(control_plane_id);
    const struct lmdb_page_query query = {.table = TABLE_GROUPS,
                                          .prefix = lmdb_rowkey_scope(&scope),
                                          .row_size = sizeof(struct repo_group),
                                          .decode = group_decode};
    struct lmdb_page_result result;
    struct lmdb_txn txn;
    int rc = lmdb_txn_open_for(call, &txn);

    if (rc != 0)
        return rc;
    rc = repo_actor_may_use(txn.actor, control_plane_id, call->err);
    if (rc == 0)
        rc = lmdb_page_read(&txn, &query, page, call->arena, &result, call->err);
    lmdb_txn_close(&txn);
    if (rc == 0)
        *ret = (struct repo_group_rows){result.rows, result.count, result.info};
    return rc;
}

int lmdb_group_get(const struct repo_call *call, const struct uuid *control_plane_id,
                   const struct uuid *id, struct repo_group *ret)
{
    struct lmdb_txn txn;
    int rc = lmdb_txn_open_for(call, &txn);

    if (rc != 0)
        return rc;
    rc = group_load(&txn, control_plane_id, id, call->arena, ret, call->err);
    lmdb_txn_close(&txn);
    return rc;
}

/* ---- writing ---- */

struct group_args {
    const struct repo_call *call;
    const struct uuid *control_plane_id;
    const struct uuid *id;                  /* group_update, delete */
    const struct repo_group *input;         /* create */
    const struct repo_group_change *change; /* update */
    struct repo_group *ret;
};

static int group_put(const struct lmdb_txn *txn, const struct group_args *args,
                     const struct repo_group *group, struct error *err)
{
    struct lmdb_rowkey key = group_key_of(args->control_plane_id, &group->id);
    struct buffer out;
    int rc = within_limits(group) ? 0 : E_INVALID;

    buffer_init(&out, LMDB_ROW_MAX_BYTES);
    if (rc == 0)
        rc = row_append(group, &out);
    rc = repo_encode_error(rc, "the consumer group", err);
    if (rc == 0)
        rc = lmdb_put(txn, TABLE_GROUPS, &key, out.data, out.size, err);
    if (rc == 0) {
        const MDB_val value = {.mv_size = out.size, .mv_data = out.data};

        rc = row_export(&group->id, &value, args->call->arena, args->ret, err);
    }
    buffer_finish(&out);
    return rc;
}

static int group_create(struct lmdb_write *write, void *context, struct error *err)
{
    const struct group_args *args = context;
    const struct lmdb_name name = group_name_of(args->control_plane_id, args->input->name);
    struct repo_group group = *args->input;
    int rc = repo_actor_may_use(write->txn.actor, args->control_plane_id, err);

    if (rc == 0)
        rc = lmdb_new_id(write, &group.id, err);
    if (rc != 0)
        return rc;
    group.created_ms = group.updated_ms = write->now_ms;
    rc = lmdb_name_take(&write->txn, &name, &group.id, err);
    return rc == 0 ? group_put(&write->txn, args, &group, err) : rc;
}

int lmdb_group_create(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct repo_group *input, struct repo_group *ret)
{
    struct group_args args = {
        .call = call, .control_plane_id = control_plane_id, .input = input, .ret = ret};

    return lmdb_write(call, group_create, &args, LMDB_WRITE_SHARED);
}

static int update_loaded(struct lmdb_write *write, const struct group_args *args,
                         struct repo_group *group, struct error *err)
{
    const struct lmdb_name name = group_name_of(args->control_plane_id, group->name);
    int rc;

    if (args->change->set & REPO_SET_NAME)
        group->name = args->change->to.name;
    if (args->change->set & REPO_SET_TAGS)
        group->tags = args->change->to.tags;
    group->updated_ms = write->now_ms;
    rc = lmdb_name_change(&write->txn, &name, group->name, &group->id, err);
    return rc == 0 ? group_put(&write->txn, args, group, err) : rc;
}

static int group_update(struct lmdb_write *write, void *context, struct error *err)
{
    const struct group_args *args = context;
    struct repo_group group = {.name = NULL};
    struct arena scratch;
    int rc;

    arena_init(&scratch, LMDB_ROW_MAX_BYTES);
    rc = group_load(&write->txn, args->control_plane_id, args->id, &scratch, &group, err);
    if (rc == 0)
        rc = update_loaded(write, args, &group, err);
    arena_finish(&scratch);
    return rc;
}

int lmdb_group_update(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct uuid *id, const struct repo_group_change *change,
                      struct repo_group *ret)
{
    struct group_args args = {
        .call = call, .control_plane_id = control_plane_id, .id = id, .change = change, .ret = ret};

    return lmdb_write(call, group_update, &args, LMDB_WRITE_SHARED);
}

static int delete_loaded(const struct lmdb_txn *txn, const struct group_args *args,
                         const struct repo_group *group, struct error *err)
{
    const struct lmdb_name name = group_name_of(args->control_plane_id, group->name);
    struct lmdb_rowkey key = group_key_of(args->control_plane_id, args->id);
    int rc = lmdb_name_release(txn, &name, err);

    return rc == 0 ? lmdb_del(txn, TABLE_GROUPS, &key, err) : rc;
}

static int delete_group(struct lmdb_write *write, void *context, struct error *err)
{
    const struct group_args *args = context;
    struct repo_group group = {.name = NULL};
    struct arena scratch;
    int rc;

    arena_init(&scratch, LMDB_ROW_MAX_BYTES);
    rc = group_load(&write->txn, args->control_plane_id, args->id, &scratch, &group, err);
    if (rc == 0)
        rc = delete_loaded(&write->txn, args, &group, err);
    arena_finish(&scratch);
    return rc;
}

int lmdb_group_delete(const struct repo_call *call, const struct uuid *control_plane_id,
                      const struct uuid *id)
{
    struct group_args args = {.call = call, .control_plane_id = control_plane_id, .id = id};

    return lmdb_write(call, delete_group, &args, LMDB_WRITE_SHARED);
}

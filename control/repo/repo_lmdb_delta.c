/* repo_lmdb_delta.c - one transaction of the feed: all that changed since a cursor, as it is now.
 *
 * repo_lmdb_touched.c says what was touched and who saw it; here each entity is given in its
 * present state, in one pass for each kind of change, so that the lines come in the order of
 * docs/protocol.md:
 *
 *     realm    was visible, is not       one realm_delete, which takes all in it along
 *              was not, is               the realm and everything in it
 *              was and is                the realm, if it was touched itself
 *     consumer gone                      one consumer_delete, which takes its keys along
 *              there                     the consumer
 *              there, came by a move     the consumer and all its keys
 *     key      gone, its consumer there  one key_delete
 *              there                     the key
 *
 * A consumer that left a realm and came back within the range is deleted first: a key that it lost
 * elsewhere would otherwise live on.
 */
#include "control/repo/repo_lmdb.h"

#include <string.h>

struct delta {
    const struct repo_txn *txn;
    struct repo_touched touched;
    repo_change_fn sink;
    void *context;
    uint64_t changes;
};

/* The touched items of one consumer; its keys are the last ones. */
struct group {
    const struct repo_touched_item *items;
    size_t count;
    bool changed; /* touched itself */
    bool moved;   /* appeared by a move */
    bool exists;
    uint32_t number; /* of its scope */
};

static int emit(struct delta *delta, const struct change *change)
{
    delta->changes++;
    return delta->sink(delta->context, change);
}

/* ---- emitting one entity as it is now ---- */

static int emit_realm(struct delta *delta, const struct uuid *id, struct error *err)
{
    struct change change = {.kind = CHANGE_REALM};
    struct repo_realm_row row;
    struct repo_labels labels;
    int rc = repo_realm_load(delta->txn, id, "realmId", &row, err);

    if (rc == 0)
        rc = repo_realm_borrow(&row.record, &labels, &change.realm, err);
    if (rc != 0)
        return rc;
    change.scope = change.realm.number;
    return emit(delta, &change);
}

static int emit_consumer(struct delta *delta, uint32_t number, const MDB_val *value,
                         struct error *err)
{
    struct change change = {.kind = CHANGE_CONSUMER, .scope = number};
    struct repo_consumer_row row;
    struct repo_labels labels;
    int rc = repo_consumer_row_read(value, &row, err);

    if (rc == 0)
        rc = repo_consumer_borrow(&row.record, &labels, &change.consumer, err);
    return rc == 0 ? emit(delta, &change) : rc;
}

static int emit_key(struct delta *delta, uint32_t number, const MDB_val *record, struct error *err)
{
    struct change change = {.kind = CHANGE_KEY, .scope = number};
    struct repo_labels labels;
    int rc = repo_key_borrow(record, &labels, &change.key, err);

    return rc == 0 ? emit(delta, &change) : rc;
}

/* ---- whole scopes and whole consumers ---- */

struct range {
    struct delta *delta;
    struct repo_scope scope;
    uint32_t number;
};

static int visit_consumer(void *context, MDB_cursor *cursor, const MDB_val *key,
                          const MDB_val *value, struct error *err)
{
    const struct range *range = context;

    (void)cursor;
    (void)key;
    return emit_consumer(range->delta, range->number, value, err);
}

static int visit_secret(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                        struct error *err)
{
    const struct range *range = context;

    (void)cursor;
    (void)key;
    return emit_key(range->delta, range->number, value, err);
}

static int visit_key(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                     struct error *err)
{
    const struct range *range = context;
    struct repo_key_row row;
    MDB_val record;
    int rc = repo_key_row_read(value, &row, err);

    (void)cursor;
    (void)key;
    if (rc == 0)
        rc = repo_key_record(range->delta->txn, &range->scope, &row, &record, err);
    return rc == 0 ? emit_key(range->delta, range->number, &record, err) : rc;
}

static int emit_scope(struct delta *delta, enum repo_table table, repo_visit_fn visit,
                      struct error *err)
{
    for (size_t i = 0; i < delta->touched.n_realms; i++) {
        const struct repo_touched_realm *realm = &delta->touched.realms[i];
        struct range range = {.delta = delta,
                              .scope = {.kind = REPO_SCOPE_REALM, .id = realm->id},
                              .number = realm->number};
        const struct repo_bytes prefix = repo_key_scope(&range.scope);
        int rc = 0;

        if (realm->now && !realm->was)
            rc = repo_walk(delta->txn, table, &prefix, visit, &range, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- groups ---- */

/* The group that begins at *at; false at the end. */
static int next_group(const struct delta *delta, size_t at, struct group *ret, struct error *err)
{
    const struct repo_touched_item *items = delta->touched.items + at;
    const size_t left = delta->touched.n_items - at;
    struct group group = {.items = items, .exists = items->consumer_exists};
    struct repo_scope_view view;
    int rc;

    while (group.count < left && repo_scope_equal(&items->scope, &items[group.count].scope) &&
           uuid_equal(&items->consumer_id, &items[group.count].consumer_id)) {
        group.changed |= items[group.count].kind == REPO_TOUCH_CONSUMER;
        group.moved |= items[group.count].kind == REPO_TOUCH_CONSUMER_WHOLE;
        group.count++;
    }
    rc = repo_scope_view(delta->txn, &items->scope, &delta->touched, &view, err);
    group.number = view.number;
    *ret = group;
    return rc;
}

typedef int (*group_fn)(struct delta *delta, const struct group *group, struct error *err);

static int each_group(struct delta *delta, group_fn visit, struct error *err)
{
    struct group group;

    for (size_t at = 0; at < delta->touched.n_items; at += group.count) {
        int rc = next_group(delta, at, &group, err);

        if (rc == 0)
            rc = visit(delta, &group, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int group_key_deletes(struct delta *delta, const struct group *group, struct error *err)
{
    (void)err;
    for (size_t i = 0; group->exists && !group->moved && i < group->count; i++) {
        const struct repo_touched_item *item = &group->items[i];
        const struct change change = {
            .kind = CHANGE_KEY_DELETE,
            .scope = group->number,
            .key = {.id = item->key_id, .consumer_id = item->consumer_id}};
        int rc = 0;

        if (item->kind == REPO_TOUCH_KEY && !item->key_exists)
            rc = emit(delta, &change);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int group_consumer_delete(struct delta *delta, const struct group *group, struct error *err)
{
    const struct change change = {
        .kind = CHANGE_CONSUMER_DELETE, .scope = group->number, .id = group->items->consumer_id};

    (void)err;
    return group->changed && (!group->exists || group->moved) ? emit(delta, &change) : 0;
}

static int group_consumer(struct delta *delta, const struct group *group, struct error *err)
{
    const struct repo_bytes key =
        repo_consumer_key(&group->items->scope, &group->items->consumer_id);
    MDB_val value;
    int rc;

    if (!group->exists || !(group->changed || group->moved))
        return 0;
    rc = repo_get(delta->txn, TABLE_CONSUMERS, &key, &value, err);
    return rc == 0 ? emit_consumer(delta, group->number, &value, err) : rc;
}

static int group_all_keys(struct delta *delta, const struct group *group, struct error *err)
{
    struct range range = {.delta = delta, .scope = group->items->scope, .number = group->number};
    const struct repo_bytes prefix = repo_keys_of(&range.scope, &group->items->consumer_id);

    return repo_walk(delta->txn, TABLE_KEYS, &prefix, visit_key, &range, err);
}

static int group_keys(struct delta *delta, const struct group *group, struct error *err)
{
    struct range range = {.delta = delta, .scope = group->items->scope, .number = group->number};
    int rc = 0;

    if (!group->exists)
        return 0;
    if (group->moved)
        return group_all_keys(delta, group, err);
    for (size_t i = 0; rc == 0 && i < group->count; i++) {
        const struct repo_touched_item *item = &group->items[i];
        const struct repo_bytes key =
            repo_key_with_id(repo_keys_of(&item->scope, &item->consumer_id), &item->key_id);
        MDB_val value;

        if (item->kind != REPO_TOUCH_KEY || !item->key_exists)
            continue;
        rc = repo_get(delta->txn, TABLE_KEYS, &key, &value, err);
        if (rc == 0)
            rc = visit_key(&range, NULL, NULL, &value, err);
    }
    return rc;
}

/* ---- the passes, one for each kind of change ---- */

static int pass_realm_deletes(struct delta *delta, struct error *err)
{
    int rc = 0;

    (void)err;
    for (size_t i = 0; rc == 0 && i < delta->touched.n_realms; i++) {
        const struct repo_touched_realm *realm = &delta->touched.realms[i];
        const struct change change = {.kind = CHANGE_REALM_DELETE, .scope = realm->number};

        if (realm->was && !realm->now)
            rc = emit(delta, &change);
    }
    return rc;
}

static int pass_key_deletes(struct delta *delta, struct error *err)
{
    return each_group(delta, group_key_deletes, err);
}

static int pass_consumer_deletes(struct delta *delta, struct error *err)
{
    return each_group(delta, group_consumer_delete, err);
}

static int pass_realms(struct delta *delta, struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < delta->touched.n_realms; i++) {
        if (delta->touched.realms[i].now)
            rc = emit_realm(delta, &delta->touched.realms[i].id, err);
    }
    return rc;
}

static int pass_consumers(struct delta *delta, struct error *err)
{
    int rc = emit_scope(delta, TABLE_CONSUMERS, visit_consumer, err);

    return rc == 0 ? each_group(delta, group_consumer, err) : rc;
}

static int pass_keys(struct delta *delta, struct error *err)
{
    int rc = emit_scope(delta, TABLE_SECRETS, visit_secret, err);

    return rc == 0 ? each_group(delta, group_keys, err) : rc;
}

/* Counters tell at once when realms that appear are too large to be sent as lines. */
static int check_size(const struct delta *delta, struct error *err)
{
    uint64_t total = delta->touched.n_items;

    for (size_t i = 0; i < delta->touched.n_realms; i++) {
        const struct repo_touched_realm *realm = &delta->touched.realms[i];
        const struct repo_scope scope = {.kind = REPO_SCOPE_REALM, .id = realm->id};
        struct repo_counts counts = {0};
        int rc = realm->now && !realm->was ? repo_counts_get(delta->txn, &scope, &counts, err) : 0;

        if (rc != 0)
            return rc;
        total += counts.consumers + counts.keys;
    }
    return total <= REPO_TOUCHED_MAX
               ? 0
               : error_set(err, E_TOO_LARGE, "the changes are larger than a transaction may be");
}

static int emit_all(struct delta *delta, struct error *err)
{
    static int (*const passes[CHANGE_KINDS])(struct delta *, struct error *) = {
        [CHANGE_REALM_DELETE] = pass_realm_deletes,
        [CHANGE_KEY_DELETE] = pass_key_deletes,
        [CHANGE_CONSUMER_DELETE] = pass_consumer_deletes,
        [CHANGE_REALM] = pass_realms,
        [CHANGE_CONSUMER] = pass_consumers,
        [CHANGE_KEY] = pass_keys,
    };
    int rc = check_size(delta, err);

    for (int kind = 0; rc == 0 && kind < CHANGE_KINDS; kind++)
        rc = passes[kind](delta, err);
    return rc;
}

/* ---- the operation ---- */

struct delta_request {
    const struct uuid *control_plane_id;
    uint64_t from;
    repo_change_fn sink;
    void *context;
};

static int run(const struct repo_txn *txn, const struct delta_request *request,
               const struct repo_state *state, struct repo_delta *ret, struct error *err)
{
    struct delta delta = {.txn = txn, .sink = request->sink, .context = request->context};
    int rc = repo_touched_collect(txn, request->control_plane_id, request->from, state->version,
                                  &delta.touched, err);

    if (rc == 0) {
        if (delta.touched.time_ms != 0)
            ret->time_ms = delta.touched.time_ms;
        rc = emit_all(&delta, err);
        repo_touched_finish(&delta.touched);
    }
    ret->changes = delta.changes;
    if (rc != E_TOO_LARGE)
        return rc;
    ret->outcome = REPO_DELTA_TOO_LARGE;
    return 0;
}

static int answer(const struct repo_txn *txn, const struct delta_request *request,
                  struct repo_delta *ret, struct error *err)
{
    struct repo_state state;
    int rc = repo_state_read(txn, &state, err);

    if (rc != 0)
        return rc;
    *ret = (struct repo_delta){
        .outcome = REPO_DELTA_OK, .version = state.version, .time_ms = state.time_ms};
    if (request->from > state.version)
        ret->outcome = REPO_DELTA_FUTURE;
    else if (request->from < state.oldest)
        ret->outcome = REPO_DELTA_TOO_OLD;
    else
        rc = run(txn, request, &state, ret, err);
    return rc;
}

int repo_delta(struct repo *repo, const struct uuid *control_plane_id, uint64_t from,
               repo_change_fn sink, void *context, struct repo_delta *ret, struct error *err)
{
    const struct delta_request request = {
        .control_plane_id = control_plane_id, .from = from, .sink = sink, .context = context};
    struct repo_txn txn;
    int rc = repo_read_begin(repo_lmdb(repo), &txn, err);

    if (rc != 0)
        return rc;
    rc = answer(&txn, &request, ret, err);
    repo_read_end(&txn);
    return rc;
}

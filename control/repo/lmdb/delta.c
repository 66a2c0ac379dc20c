/* delta.c - one transaction of the feed: all that changed since a cursor, as it is now.
 *
 * touched.c says what was touched and who saw it; here each entity is given in its
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
#include "control/repo/lmdb/repo_lmdb.h"

#include <string.h>

struct delta {
    const struct repo_txn *txn;
    const struct repo_transaction_query *query;
    const struct repo_transaction_sink *sink;
    struct repo_touched touched;
    uint64_t changes;
    bool has_content; /* the content of buckets is wished for, and their scope is visible: */
    struct repo_numbered_scope content;
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
    return delta->sink->change(delta->sink->context, change);
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

static int emit_key(struct delta *delta, uint32_t number, const struct repo_record *record,
                    struct error *err)
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
    const struct repo_record record = {value->mv_data, value->mv_size};

    (void)cursor;
    (void)key;
    return emit_key(range->delta, range->number, &record, err);
}

static int visit_key(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                     struct error *err)
{
    const struct range *range = context;
    struct repo_key_row row;
    struct repo_record record;
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

/* ---- what the buckets of a scope hold ---- */

/* Whether the consumer whose UUID follows the scope in the row's key is in a bucket that was wished
 * for. */
static bool is_wished(const struct delta *delta, const MDB_val *key)
{
    struct repo_reader reader = repo_reader_on(key);
    struct uuid consumer_id;

    (void)repo_read_scope(&reader);
    consumer_id = repo_read_uuid(&reader);
    return reader.ok &&
           set_hash_marked(&delta->query->wish->buckets, set_hash_bucket(&consumer_id));
}

static int visit_content_consumer(void *context, MDB_cursor *cursor, const MDB_val *key,
                                  const MDB_val *value, struct error *err)
{
    const struct range *range = context;

    return is_wished(range->delta, key) ? visit_consumer(context, cursor, key, value, err) : 0;
}

static int visit_content_key(void *context, MDB_cursor *cursor, const MDB_val *key,
                             const MDB_val *value, struct error *err)
{
    const struct range *range = context;

    return is_wished(range->delta, key) ? visit_key(context, cursor, key, value, err) : 0;
}

static int emit_content(struct delta *delta, enum repo_table table, repo_visit_fn visit,
                        struct error *err)
{
    struct range range = {
        .delta = delta, .scope = delta->content.id, .number = delta->content.number};
    const struct repo_bytes prefix = repo_key_scope(&range.scope);

    return delta->has_content ? repo_walk(delta->txn, table, &prefix, visit, &range, err) : 0;
}

static bool wants_content(const struct delta *delta)
{
    return delta->query->wish != NULL && delta->query->wish->kind == FEED_WISH_CONTENT;
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

static int pass_buckets(struct delta *delta, struct error *err)
{
    int rc = 0;

    (void)err;
    for (unsigned bucket = 0; rc == 0 && wants_content(delta) && bucket < SET_HASH_BUCKETS;
         bucket++) {
        const struct change change = {
            .kind = CHANGE_BUCKET, .scope = delta->query->wish->scope, .bucket = bucket};

        if (set_hash_marked(&delta->query->wish->buckets, bucket))
            rc = emit(delta, &change);
    }
    return rc;
}

static int pass_realms(struct delta *delta, struct error *err)
{
    int rc = 0;

    if (delta->has_content && delta->content.number != MODEL_SCOPE_CP &&
        set_hash_marked(&delta->query->wish->buckets, SET_HASH_BUCKET_OF_REALM))
        rc = emit_realm(delta, &delta->content.id.id, err);

    for (size_t i = 0; rc == 0 && i < delta->touched.n_realms; i++) {
        if (delta->touched.realms[i].now)
            rc = emit_realm(delta, &delta->touched.realms[i].id, err);
    }
    return rc;
}

static int pass_consumers(struct delta *delta, struct error *err)
{
    int rc = emit_scope(delta, TABLE_CONSUMERS, visit_consumer, err);

    if (rc == 0)
        rc = emit_content(delta, TABLE_CONSUMERS, visit_content_consumer, err);
    return rc == 0 ? each_group(delta, group_consumer, err) : rc;
}

static int pass_keys(struct delta *delta, struct error *err)
{
    int rc = emit_scope(delta, TABLE_SECRETS, visit_secret, err);

    if (rc == 0)
        rc = emit_content(delta, TABLE_KEYS, visit_content_key, err);
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
        [CHANGE_BUCKET] = pass_buckets,
        [CHANGE_REALM] = pass_realms,
        [CHANGE_CONSUMER] = pass_consumers,
        [CHANGE_KEY] = pass_keys,
    };
    int rc = check_size(delta, err);

    for (int kind = 0; rc == 0 && kind < CHANGE_KINDS; kind++)
        rc = passes[kind](delta, err);
    return rc;
}

/* ---- digests ---- */

static int emit_digest(const struct delta *delta, const struct repo_numbered_scope *scope,
                       bool with_buckets, struct error *err)
{
    struct feed_digest digest = {.scope = scope->number};
    struct set_hash buckets[SET_HASH_BUCKETS];
    int rc = repo_digest_get(delta->txn, &scope->id, &digest.hash, err);

    if (rc == 0 && with_buckets) {
        rc = repo_digest_buckets(delta->txn, &scope->id, buckets, err);
        digest.buckets = buckets;
    }
    return rc == 0 ? delta->sink->digest(delta->sink->context, &digest) : rc;
}

/* A scope that is asked for and not visible holds nothing. */
static int emit_empty_digest(const struct delta *delta, uint32_t number)
{
    static const struct set_hash buckets[SET_HASH_BUCKETS];
    const struct feed_digest digest = {.scope = number, .buckets = buckets};

    return delta->sink->digest(delta->sink->context, &digest);
}

static int add_touched(struct delta *delta, struct repo_scopes *scopes, struct error *err)
{
    struct group group;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < delta->touched.n_realms; i++) {
        const struct repo_touched_realm *realm = &delta->touched.realms[i];
        const struct repo_scope id = {.kind = REPO_SCOPE_REALM, .id = realm->id};

        if (realm->now)
            rc = repo_scopes_add(scopes, &id, realm->number, err);
    }
    for (size_t at = 0; rc == 0 && at < delta->touched.n_items; at += group.count) {
        rc = next_group(delta, at, &group, err);
        if (rc == 0 && (at == 0 || !repo_scope_equal(&group.items->scope, &group.items[-1].scope)))
            rc = repo_scopes_add(scopes, &group.items->scope, group.number, err);
    }
    repo_scopes_sort(scopes);
    return rc;
}

static bool names_scope(const struct feed_wish *wish)
{
    return wish != NULL && (wish->kind == FEED_WISH_BUCKETS || wish->kind == FEED_WISH_CONTENT);
}

/* The touched ones, all when that is wished for, and the one that is asked for by its number. */
static int find_digests(struct delta *delta, struct repo_scopes *scopes, struct error *err)
{
    const struct feed_wish *wish = delta->query->wish;
    struct repo_scopes visible = {.items = NULL};
    int rc;

    if (wish != NULL && wish->kind == FEED_WISH_DIGESTS)
        return repo_scopes_visible(delta->txn, delta->query->control_plane_id, scopes, err);
    rc = add_touched(delta, scopes, err);
    if (rc != 0 || wish == NULL || !names_scope(wish))
        return rc;
    rc = repo_scopes_visible(delta->txn, delta->query->control_plane_id, &visible, err);
    if (rc == 0) {
        const struct repo_numbered_scope *asked = repo_scopes_find(&visible, wish->scope);

        if (asked != NULL)
            rc = repo_scopes_add(scopes, &asked->id, asked->number, err);
        delta->has_content = asked != NULL && wants_content(delta);
        if (delta->has_content)
            delta->content = *asked;
    }
    repo_scopes_finish(&visible);
    repo_scopes_sort(scopes);
    return rc;
}

static int emit_digests(struct delta *delta, const struct repo_scopes *scopes, struct error *err)
{
    bool asked = names_scope(delta->query->wish);
    uint32_t number = asked ? delta->query->wish->scope : 0;
    bool missing = asked && repo_scopes_find(scopes, number) == NULL;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < scopes->count; i++) {
        const struct repo_numbered_scope *scope = &scopes->items[i];

        if (missing && scope->number > number) {
            rc = emit_empty_digest(delta, number);
            missing = false;
        }
        if (rc == 0)
            rc = emit_digest(delta, scope, asked && scope->number == number, err);
    }
    return rc == 0 && missing ? emit_empty_digest(delta, number) : rc;
}

/* ---- the operation ---- */

static int emit_transaction(struct delta *delta, struct error *err)
{
    struct repo_scopes scopes = {.items = NULL};
    int rc = delta->sink->digest != NULL ? find_digests(delta, &scopes, err) : 0;

    if (rc == 0)
        rc = emit_all(delta, err);
    if (rc == 0 && delta->sink->digest != NULL)
        rc = emit_digests(delta, &scopes, err);
    repo_scopes_finish(&scopes);
    return rc;
}

static int run(const struct repo_txn *txn, const struct repo_transaction_query *query,
               const struct repo_transaction_sink *sink, const struct repo_state *state,
               struct repo_delta *ret, struct error *err)
{
    struct delta delta = {.txn = txn, .query = query, .sink = sink};
    int rc = repo_touched_collect(txn, query->control_plane_id, query->from, state->version,
                                  &delta.touched, err);

    if (rc == 0) {
        if (delta.touched.time_ms != 0)
            ret->time_ms = delta.touched.time_ms;
        rc = emit_transaction(&delta, err);
        repo_touched_finish(&delta.touched);
    }
    ret->changes = delta.changes;
    if (rc != E_TOO_LARGE)
        return rc;
    ret->outcome = REPO_DELTA_TOO_LARGE;
    return 0;
}

static int answer(const struct repo_txn *txn, const struct repo_transaction_query *query,
                  const struct repo_transaction_sink *sink, struct repo_delta *ret,
                  struct error *err)
{
    struct repo_state state;
    int rc = repo_state_read(txn, &state, err);

    if (rc != 0)
        return rc;
    *ret = (struct repo_delta){
        .outcome = REPO_DELTA_OK, .version = state.version, .time_ms = state.time_ms};
    if (query->from > state.version)
        ret->outcome = REPO_DELTA_FUTURE;
    else if (query->from < state.oldest)
        ret->outcome = REPO_DELTA_TOO_OLD;
    else
        rc = run(txn, query, sink, &state, ret, err);
    return rc;
}

int lmdb_transaction(struct repo *repo, const struct repo_transaction_query *query,
                     const struct repo_transaction_sink *sink, struct repo_delta *ret,
                     struct error *err)
{
    struct repo_txn txn;
    int rc = repo_snapshot_begin(repo_lmdb(repo), &txn, err);

    if (rc != 0)
        return rc;
    rc = answer(&txn, query, sink, ret, err);
    repo_read_end(&txn);
    return rc;
}

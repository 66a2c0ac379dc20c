/* touched.c - what one control plane has to hear about a range of versions.
 *
 * Two walks over the log. The first takes realms alone: the earliest entry of a realm in the range
 * says who could see it at the start, its row who can see it now. The second takes consumers and
 * keys of the scopes that were and are visible; in a scope that appeared or vanished single
 * entities do not matter, because the whole scope is sent or dropped.
 *
 * Both collections have a ceiling, after which a snapshot is cheaper (E_TOO_LARGE).
 */
#include "control/repo/lmdb/repo_lmdb.h"

#include <stdlib.h>
#include <string.h>

/* Room for one more element; *items may move. */
static int grow(void **items, size_t count, size_t *capacity, size_t item_size, struct error *err)
{
    size_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *grown;

    if (count < *capacity)
        return 0;
    if (count >= REPO_TOUCHED_MAX)
        return error_set(err, E_TOO_LARGE, "more than %d entities were touched", REPO_TOUCHED_MAX);
    grown = realloc(*items, wanted * item_size);
    if (grown == NULL)
        return repo_no_memory(err);
    *items = grown;
    *capacity = wanted;
    return 0;
}

int repo_scope_view(const struct repo_txn *txn, const struct repo_scope *scope,
                    const struct repo_touched *viewer, struct repo_scope_view *ret,
                    struct error *err)
{
    struct repo_realm_row row;
    struct record_realm view;
    int rc;

    *ret = (struct repo_scope_view){.visible = false};
    if (scope->kind == REPO_SCOPE_CP) {
        ret->visible = uuid_equal(&scope->id, &viewer->control_plane_id);
        ret->number = MODEL_SCOPE_CP;
        return 0;
    }
    rc = repo_realm_load(txn, &scope->id, "realmId", &row, err);
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    if (!record_view_realm(row.record.bytes, row.record.size, &view))
        return repo_corrupt("a realm's record is wrong", err);
    ret->visible = repo_visible_to(&row.visibility, viewer->control_plane);
    ret->number = view.number;
    return 0;
}

/* ---- realms ---- */

static int compare_realms(const void *a, const void *b)
{
    const struct repo_touched_realm *x = a;
    const struct repo_touched_realm *y = b;

    return uuid_compare(&x->id, &y->id);
}

static struct repo_touched_realm *find_realm(const struct repo_touched *touched,
                                             const struct uuid *id)
{
    const struct repo_touched_realm wanted = {.id = *id};

    if (touched->n_realms == 0)
        return NULL;
    return bsearch(&wanted, touched->realms, touched->n_realms, sizeof(wanted), compare_realms);
}

/* Keeps `realms` ordered while it grows: realms change seldom, so the moves are few. */
static int insert_realm(struct repo_touched *touched, const struct repo_touched_realm *realm,
                        struct error *err)
{
    void *items = touched->realms;
    size_t at = touched->n_realms;
    int rc = grow(&items, touched->n_realms, &touched->realms_capacity, sizeof(*realm), err);

    if (rc != 0)
        return rc;
    touched->realms = items;
    while (at > 0 && compare_realms(&touched->realms[at - 1], realm) > 0)
        at--;
    memmove(&touched->realms[at + 1], &touched->realms[at],
            (touched->n_realms - at) * sizeof(*realm));
    touched->realms[at] = *realm;
    touched->n_realms++;
    return 0;
}

static int visit_realm(void *context, const struct repo_log_position *position,
                       const struct repo_touch *touch, struct error *err)
{
    struct repo_touched *touched = context;
    struct repo_touched_realm realm = {.id = touch->scope.id, .number = touch->number};
    struct repo_scope_view view;
    int rc;

    (void)position;
    if (touch->kind != REPO_TOUCH_REALM || find_realm(touched, &realm.id) != NULL)
        return 0;
    rc = repo_scope_view(touched->txn, &touch->scope, touched, &view, err);
    if (rc != 0)
        return rc;
    realm.was = repo_visible_to(&touch->before, touched->control_plane);
    realm.now = view.visible;
    return insert_realm(touched, &realm, err);
}

/* ---- consumers and keys ---- */

static int compare_items(const void *a, const void *b)
{
    const struct repo_touched_item *x = a;
    const struct repo_touched_item *y = b;
    int order = (int)y->scope.kind - (int)x->scope.kind; /* the control plane's own come first */

    if (order == 0)
        order = uuid_compare(&x->scope.id, &y->scope.id);
    if (order == 0)
        order = uuid_compare(&x->consumer_id, &y->consumer_id);
    if (order == 0)
        order = (int)x->kind - (int)y->kind;
    return order == 0 ? uuid_compare(&x->key_id, &y->key_id) : order;
}

/* What the control plane must hear of the scope's entities, one by one. */
static int single_entities_matter(const struct repo_touched *touched,
                                  const struct repo_scope *scope, bool *ret, struct error *err)
{
    const struct repo_touched_realm *realm =
        scope->kind == REPO_SCOPE_REALM ? find_realm(touched, &scope->id) : NULL;
    struct repo_scope_view view;
    int rc;

    if (realm != NULL) {
        *ret = realm->was && realm->now;
        return 0;
    }
    rc = repo_scope_view(touched->txn, scope, touched, &view, err);
    *ret = view.visible;
    return rc;
}

static int append_item(struct repo_touched *touched, const struct repo_touch *touch,
                       struct error *err)
{
    void *items = touched->items;
    int rc = grow(&items, touched->n_items, &touched->items_capacity, sizeof(*touched->items), err);

    if (rc != 0)
        return rc;
    touched->items = items;
    touched->items[touched->n_items++] =
        (struct repo_touched_item){.kind = touch->kind,
                                   .scope = touch->scope,
                                   .consumer_id = touch->consumer_id,
                                   .key_id = touch->key_id};
    return 0;
}

static int visit_entity(void *context, const struct repo_log_position *position,
                        const struct repo_touch *touch, struct error *err)
{
    struct repo_touched *touched = context;
    const struct repo_touched_realm *realm;
    bool matters = false;
    int rc;

    if (touch->kind == REPO_TOUCH_REALM) {
        realm = find_realm(touched, &touch->scope.id);
        if (realm != NULL && (realm->was || realm->now))
            touched->time_ms = position->time_ms;
        return 0;
    }
    rc = single_entities_matter(touched, &touch->scope, &matters, err);
    if (rc != 0 || !matters)
        return rc;
    touched->time_ms = position->time_ms;
    return append_item(touched, touch, err);
}

static void sort_items(struct repo_touched *touched)
{
    size_t kept = 0;

    if (touched->n_items == 0)
        return;
    qsort(touched->items, touched->n_items, sizeof(*touched->items), compare_items);
    for (size_t i = 1; i < touched->n_items; i++) {
        if (compare_items(&touched->items[kept], &touched->items[i]) != 0)
            touched->items[++kept] = touched->items[i];
    }
    touched->n_items = kept + 1;
}

static int exists(const struct repo_txn *txn, enum repo_table table, const struct repo_bytes *key,
                  bool *ret, struct error *err)
{
    MDB_val value;
    int rc = repo_get(txn, table, key, &value, err);

    *ret = rc == 0;
    return rc == E_NOT_FOUND ? 0 : rc;
}

static int resolve(struct repo_touched *touched, struct repo_touched_item *item, struct error *err)
{
    const struct repo_bytes consumer = repo_consumer_key(&item->scope, &item->consumer_id);
    const struct repo_bytes key = repo_key_with_id(consumer, &item->key_id);
    int rc = exists(touched->txn, TABLE_CONSUMERS, &consumer, &item->consumer_exists, err);

    if (rc == 0 && item->kind == REPO_TOUCH_KEY)
        rc = exists(touched->txn, TABLE_KEYS, &key, &item->key_exists, err);
    return rc;
}

int repo_touched_collect(const struct repo_txn *txn, const struct uuid *control_plane_id,
                         uint64_t from, uint64_t to, struct repo_touched *ret, struct error *err)
{
    int rc;

    *ret = (struct repo_touched){.txn = txn, .control_plane_id = *control_plane_id};
    uuid_format(control_plane_id, ret->control_plane);
    rc = repo_log_walk(txn, from, to, visit_realm, ret, err);
    if (rc == 0)
        rc = repo_log_walk(txn, from, to, visit_entity, ret, err);
    if (rc == 0)
        sort_items(ret);
    for (size_t i = 0; rc == 0 && i < ret->n_items; i++)
        rc = resolve(ret, &ret->items[i], err);
    if (rc != 0)
        repo_touched_finish(ret);
    return rc;
}

void repo_touched_finish(struct repo_touched *touched)
{
    free(touched->realms);
    free(touched->items);
    touched->realms = NULL;
    touched->items = NULL;
    touched->n_realms = touched->n_items = 0;
}

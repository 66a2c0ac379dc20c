/* touched.c - see touched.h. */
#include "control/repo/touched.h"

#include <stdlib.h>
#include <string.h>

#include "control/repo/errors.h"

/* So many entities are looked for at once. */
enum { EXIST_BATCH = 256 };

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

/* ---- realms ---- */

static int compare_realms(const void *a, const void *b)
{
    const struct repo_touched_realm *x = a;
    const struct repo_touched_realm *y = b;

    return uuid_compare(&x->id, &y->id);
}

static struct repo_touched_realm *touched_find_realm(const struct repo_touched *touched,
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
    if (touch->kind != REPO_TOUCH_REALM || touched_find_realm(touched, &realm.id) != NULL)
        return 0;
    rc = repo_viewer_look(&touched->viewer, &touch->scope, &view, err);
    if (rc != 0)
        return rc;
    realm.was = repo_visible_to(&touch->before, touched->viewer.control_plane);
    realm.now = view.visible;
    return insert_realm(touched, &realm, err);
}

/* ---- consumers and keys ---- */

static int compare_items(const void *a, const void *b)
{
    const struct repo_touched_item *x = a;
    const struct repo_touched_item *y = b;
    int order =
        (int)y->path.scope.kind - (int)x->path.scope.kind; /* the control plane's own come first */

    if (order == 0)
        order = uuid_compare(&x->path.scope.id, &y->path.scope.id);
    if (order == 0)
        order = uuid_compare(&x->path.consumer_id, &y->path.consumer_id);
    if (order == 0)
        order = (int)x->kind - (int)y->kind;
    return order == 0 ? uuid_compare(&x->path.key_id, &y->path.key_id) : order;
}

/* What the control plane must hear of the scope's entities, one by one. */
static int single_entities_matter(struct repo_touched *touched, const struct repo_scope *scope,
                                  bool *ret, struct error *err)
{
    const struct repo_touched_realm *realm =
        scope->kind == REPO_SCOPE_REALM ? touched_find_realm(touched, &scope->id) : NULL;
    struct repo_scope_view view;
    int rc;

    if (realm != NULL) {
        *ret = realm->was && realm->now;
        return 0;
    }
    rc = repo_viewer_look(&touched->viewer, scope, &view, err);
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
    touched->items[touched->n_items++] = (struct repo_touched_item){
        .kind = touch->kind, .path = {touch->scope, touch->consumer_id, touch->key_id}};
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
        realm = touched_find_realm(touched, &touch->scope.id);
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

/* Which consumers, or which keys, of `count` items are there. */
static int touched_look(struct repo_view *view, struct repo_touched_item *items, size_t count,
                        bool keys, struct error *err)
{
    struct repo_path paths[EXIST_BATCH] = {{.key_id = {{0}}}};
    bool found[EXIST_BATCH] = {false};
    int rc;

    for (size_t i = 0; i < count; i++) {
        paths[i] = items[i].path;
        if (!keys)
            memset(&paths[i].key_id, 0, sizeof(paths[i].key_id));
    }
    rc = view->ops->exist(view, paths, count, found, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (!keys)
            items[i].consumer_exists = found[i];
        else
            items[i].key_exists = items[i].kind == REPO_TOUCH_KEY && found[i];
    }
    return rc;
}

static int resolve(struct repo_touched *touched, struct error *err)
{
    struct repo_view *view = touched->viewer.view;
    int rc = 0;

    for (size_t at = 0; rc == 0 && at < touched->n_items; at += EXIST_BATCH) {
        const size_t left = touched->n_items - at;
        const size_t count = left < EXIST_BATCH ? left : EXIST_BATCH;

        rc = touched_look(view, touched->items + at, count, false, err);
        if (rc == 0)
            rc = touched_look(view, touched->items + at, count, true, err);
    }
    return rc;
}

int repo_touched_collect(struct repo_view *view, const struct uuid *control_plane_id, uint64_t from,
                         uint64_t to, struct repo_touched *ret, struct error *err)
{
    int rc;

    *ret = (struct repo_touched){.realms = NULL};
    repo_viewer_init(&ret->viewer, view, control_plane_id);
    rc = view->ops->log(view, from, to, visit_realm, ret, err);
    if (rc == 0)
        rc = view->ops->log(view, from, to, visit_entity, ret, err);
    if (rc == 0) {
        sort_items(ret);
        rc = resolve(ret, err);
    }
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

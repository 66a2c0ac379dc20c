/* scopes.c - see scopes.h. */
#include "control/repo/scopes.h"

#include <stdlib.h>
#include <string.h>

#include "control/repo/errors.h"

int repo_scopes_add(struct repo_scopes *scopes, const struct repo_scope *id, uint32_t number,
                    struct error *err)
{
    if (scopes->count == scopes->capacity) {
        size_t wanted = scopes->capacity == 0 ? 16 : scopes->capacity * 2;
        struct repo_numbered_scope *grown = realloc(scopes->items, wanted * sizeof(*grown));

        if (grown == NULL)
            return repo_no_memory(err);
        scopes->items = grown;
        scopes->capacity = wanted;
    }
    scopes->items[scopes->count++] = (struct repo_numbered_scope){.id = *id, .number = number};
    return 0;
}

static int scopes_compare(const void *a, const void *b)
{
    const struct repo_numbered_scope *x = a;
    const struct repo_numbered_scope *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

void repo_scopes_sort(struct repo_scopes *scopes)
{
    size_t kept = 0;

    if (scopes->count == 0)
        return;
    qsort(scopes->items, scopes->count, sizeof(*scopes->items), scopes_compare);
    for (size_t i = 1; i < scopes->count; i++) {
        if (scopes_compare(&scopes->items[kept], &scopes->items[i]) != 0)
            scopes->items[++kept] = scopes->items[i];
    }
    scopes->count = kept + 1;
}

const struct repo_numbered_scope *repo_scopes_find(const struct repo_scopes *scopes,
                                                   uint32_t number)
{
    const struct repo_numbered_scope wanted = {.number = number};

    if (scopes->count == 0)
        return NULL;
    return bsearch(&wanted, scopes->items, scopes->count, sizeof(wanted), scopes_compare);
}

static int add_realm(void *context, const struct repo_realm_view *realm, struct error *err)
{
    const struct repo_scope id = {.kind = REPO_SCOPE_REALM, .id = realm->id};

    return repo_scopes_add(context, &id, realm->number, err);
}

int repo_scopes_visible(struct repo_view *view, const struct uuid *control_plane_id,
                        struct repo_scopes *ret, struct error *err)
{
    const struct repo_scope own = {.kind = REPO_SCOPE_CP, .id = *control_plane_id};
    int rc = repo_scopes_add(ret, &own, MODEL_SCOPE_CP, err);

    if (rc == 0)
        rc = view->ops->realms(view, control_plane_id, add_realm, ret, err);
    if (rc == 0)
        repo_scopes_sort(ret);
    return rc;
}

void repo_scopes_finish(struct repo_scopes *scopes)
{
    free(scopes->items);
    *scopes = (struct repo_scopes){.items = NULL};
}

/* ---- one after another ---- */

bool repo_scope_equal(const struct repo_scope *a, const struct repo_scope *b)
{
    return a->kind == b->kind && uuid_equal(&a->id, &b->id);
}

void repo_viewer_init(struct repo_viewer *viewer, struct repo_view *view,
                      const struct uuid *control_plane_id)
{
    *viewer = (struct repo_viewer){.view = view, .control_plane_id = *control_plane_id};
    (void)uuid_format(control_plane_id, viewer->control_plane);
}

static int look_at_realm(const struct repo_viewer *viewer, const struct uuid *id,
                         struct repo_scope_view *ret, struct error *err)
{
    struct repo_realm_view realm;
    int rc = viewer->view->ops->realm(viewer->view, id, &realm, err);

    *ret = (struct repo_scope_view){.visible = false};
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    ret->visible = repo_visible_to(&realm.visibility, viewer->control_plane);
    ret->number = realm.number;
    return 0;
}

int repo_viewer_look(struct repo_viewer *viewer, const struct repo_scope *scope,
                     struct repo_scope_view *ret, struct error *err)
{
    /* The last bytes of an identifier are random. */
    const size_t at = scope->id.bytes[UUID_BYTES - 1] % REPO_VIEWER_MEMOS;
    int rc = 0;

    if (scope->kind == REPO_SCOPE_CP) {
        *ret = (struct repo_scope_view){uuid_equal(&scope->id, &viewer->control_plane_id),
                                        MODEL_SCOPE_CP};
        return 0;
    }
    if (!uuid_equal(&viewer->memos[at].realm_id, &scope->id)) {
        rc = look_at_realm(viewer, &scope->id, ret, err);
        if (rc != 0)
            return rc;
        viewer->memos[at].realm_id = scope->id;
        viewer->memos[at].seen = *ret;
    }
    *ret = viewer->memos[at].seen;
    return rc;
}

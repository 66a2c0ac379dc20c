/* scopes.c - the scopes that one control plane may see: its own and the realms that allow
 * it. */
#include "control/repo/lmdb/repo_lmdb.h"

#include <stdlib.h>

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

static int compare(const void *a, const void *b)
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
    qsort(scopes->items, scopes->count, sizeof(*scopes->items), compare);
    for (size_t i = 1; i < scopes->count; i++) {
        if (compare(&scopes->items[kept], &scopes->items[i]) != 0)
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
    return bsearch(&wanted, scopes->items, scopes->count, sizeof(wanted), compare);
}

struct search {
    struct repo_scopes *found;
    char control_plane[UUID_TEXT_SIZE];
};

static int visit_realm(void *context, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value,
                       struct error *err)
{
    const struct search *search = context;
    struct repo_scope id = {.kind = REPO_SCOPE_REALM};
    struct repo_realm_row row;
    struct record_realm view;
    int rc = repo_realm_row_read(value, &row, err);

    (void)cursor;
    (void)key;
    if (rc != 0 || !repo_visible_to(&row.visibility, search->control_plane))
        return rc;
    if (!record_view_realm(row.record.bytes, row.record.size, &view))
        return repo_corrupt("a realm's record is wrong", err);
    id.id = view.id;
    return repo_scopes_add(search->found, &id, view.number, err);
}

int repo_scopes_visible(const struct repo_txn *txn, const struct uuid *control_plane_id,
                        struct repo_scopes *ret, struct error *err)
{
    const struct repo_scope own = {.kind = REPO_SCOPE_CP, .id = *control_plane_id};
    static const struct repo_bytes everything;
    struct search search = {.found = ret};
    int rc = repo_scopes_add(ret, &own, MODEL_SCOPE_CP, err);

    uuid_format(control_plane_id, search.control_plane);
    if (rc == 0)
        rc = repo_walk(txn, TABLE_REALMS, &everything, visit_realm, &search, err);
    if (rc == 0)
        repo_scopes_sort(ret);
    return rc;
}

void repo_scopes_finish(struct repo_scopes *scopes)
{
    free(scopes->items);
    *scopes = (struct repo_scopes){.items = NULL};
}

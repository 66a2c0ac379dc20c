/* scopes.h - the scopes that one control plane may see: its own and the realms that allow it. */
#ifndef RS_CONTROL_REPO_SCOPES_H
#define RS_CONTROL_REPO_SCOPES_H

#include "control/repo/view.h"

bool repo_scope_equal(const struct repo_scope *a, const struct repo_scope *b);

/* ---- sets of scopes ---- */

struct repo_scopes {
    struct repo_numbered_scope *items; /* owned */
    size_t count;
    size_t capacity;
};

/* Appends; repo_scopes_sort() orders by number, each once. */
int repo_scopes_add(struct repo_scopes *scopes, const struct repo_scope *id, uint32_t number,
                    struct error *err);
void repo_scopes_sort(struct repo_scopes *scopes);
/* Requires sorted scopes. NULL: it is not there. */
const struct repo_numbered_scope *repo_scopes_find(const struct repo_scopes *scopes,
                                                   uint32_t number);
/* All that the control plane sees, sorted: its own come first. `ret` is to be finished also upon
 * failure. */
int repo_scopes_visible(struct repo_view *view, const struct uuid *control_plane_id,
                        struct repo_scopes *ret, struct error *err);
void repo_scopes_finish(struct repo_scopes *scopes);

/* ---- one scope after another, as a control plane sees it ---- */

struct repo_scope_view {
    bool visible;
    uint32_t number; /* 0 where it is not there any more */
};

/* Entities come scope by scope, so what a realm's row said is kept for some realms. */
enum { REPO_VIEWER_MEMOS = 64 };
struct repo_viewer {
    struct repo_view *view; /* borrowed */
    struct uuid control_plane_id;
    char control_plane[UUID_TEXT_SIZE];
    struct {
        struct uuid realm_id; /* nil: none */
        struct repo_scope_view seen;
    } memos[REPO_VIEWER_MEMOS];
};

void repo_viewer_init(struct repo_viewer *viewer, struct repo_view *view,
                      const struct uuid *control_plane_id);
int repo_viewer_look(struct repo_viewer *viewer, const struct repo_scope *scope,
                     struct repo_scope_view *ret, struct error *err);

#endif

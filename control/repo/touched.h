/* touched.h - what one control plane has to hear about a range of versions.
 *
 * Two walks over the log. The first takes realms alone: the earliest entry of a realm in the range
 * says who could see it at the start, its row who can see it now. The second takes consumers and
 * keys of the scopes that were and are visible; in a scope that appeared or vanished single
 * entities do not matter, because the whole scope is sent or dropped.
 *
 * Both collections have a ceiling, after which a snapshot is cheaper (E_TOO_LARGE).
 */
#ifndef RS_CONTROL_REPO_TOUCHED_H
#define RS_CONTROL_REPO_TOUCHED_H

#include "control/repo/scopes.h"
#include "control/repo/view.h"

/* A realm that was touched in the range. */
struct repo_touched_realm {
    struct uuid id;
    uint32_t number;
    bool was; /* visible to the control plane at the start of the range */
    bool now; /* visible at its end */
};
/* A touched consumer or key of a scope that was and is visible. */
struct repo_touched_item {
    enum repo_touch_kind kind; /* never REPO_TOUCH_REALM */
    struct repo_path path;
    bool consumer_exists;
    bool key_exists;
};
struct repo_touched {
    struct repo_viewer viewer;
    struct repo_touched_realm *realms; /* owned; by id, each once */
    size_t n_realms;
    size_t realms_capacity;
    struct repo_touched_item *items; /* owned; by scope, consumer, kind, key; each once */
    size_t n_items;
    size_t items_capacity;
    int64_t time_ms; /* of the newest version that touched anything visible; 0: none did */
};
/* More touched entities than this are a case for a snapshot. */
enum { REPO_TOUCHED_MAX = 256 * 1024 };

/* All that was touched in (from, to]. E_TOO_LARGE over REPO_TOUCHED_MAX. */
int repo_touched_collect(struct repo_view *view, const struct uuid *control_plane_id, uint64_t from,
                         uint64_t to, struct repo_touched *ret, struct error *err);
void repo_touched_finish(struct repo_touched *touched);

#endif

/* visibility.h - who may see a realm, and who may change what is in it.
 *
 * A realm names the control planes that may use it, or allows all. A caller that is bound to a
 * control plane sees the realms that this one may use, and changes those that no other may use:
 * what others share with it is not its to change. A caller without a binding does both with all.
 * The rules stand here once, for every implementation; those call them inside the transaction that
 * reads or changes, so that a realm cannot be shared between the check and the change.
 */
#ifndef RS_CONTROL_REPO_VISIBILITY_H
#define RS_CONTROL_REPO_VISIBILITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/model.h"

/* Who may see a realm: part of its row and, as it was before, of the change log. */
struct repo_visibility {
    bool exists; /* false: there was no such realm */
    bool allow_all;
    const char *allowed; /* borrowed: NUL-terminated strings, UUIDs in lower case or "*" */
    size_t allowed_size;
    uint32_t allowed_count;
};

/* `text`: the control plane's UUID in lower case. */
bool repo_visible_to(const struct repo_visibility *visibility, const char *text);
bool repo_same_visibility(const struct repo_visibility *a, const struct repo_visibility *b);

/* ---- for a caller: `actor` is the control plane that it is bound to, or NULL ---- */

bool repo_actor_sees(const struct uuid *actor, const struct repo_visibility *visibility);
/* Of a realm that the actor sees: 0, or E_PERMISSION because others may use it too. */
int repo_actor_may_change(const struct uuid *actor, const struct repo_visibility *visibility,
                          struct error *err);
/* Whether the actor may give a realm this visibility: to its own control plane alone. 0 or
 * E_PERMISSION. */
int repo_actor_may_allow(const struct uuid *actor, const struct repo_visibility *visibility,
                         struct error *err);
/* The scope of a control plane: its own, or E_PERMISSION. */
int repo_actor_may_use(const struct uuid *actor, const struct uuid *control_plane_id,
                       struct error *err);

#endif

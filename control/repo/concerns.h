/* concerns.h - did one version touch anything that a control plane may see?
 *
 * A touched realm counts when it was visible before the version or after it; a touched consumer or
 * key when its scope was visible at the version. "At the version" is what the realm's next entry in
 * the log calls "before", or, without one, its row. Callers ask right after the commit, so that the
 * walk is short.
 */
#ifndef RS_CONTROL_REPO_CONCERNS_H
#define RS_CONTROL_REPO_CONCERNS_H

#include "control/repo/view.h"

/* As repo_concerns(). */
int repo_concerns_read(struct repo_view *view, uint64_t version,
                       const struct uuid *control_plane_id, bool *ret, struct error *err);

#endif

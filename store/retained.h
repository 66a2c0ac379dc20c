/* retained.h - opening a generation without a reader slot, for the library and for realmctl.
 *
 * Nothing is written, no lock file is used: LMDB does not know of such a reader. It may trust what
 * it read only after status_overtaken() said no (retention.h has the agent's half).
 */
#ifndef RS_STORE_RETAINED_H
#define RS_STORE_RETAINED_H

#include <stdbool.h>

#include "store/generation.h"
#include "store/status.h"

/* E_UNSUPPORTED: the agent retains nothing. E_OVERTAKEN: it was each time. Else as
 * generation_open_reader(). */
int retained_open(const struct status *page, unsigned slot, const char *source_dir, uint32_t number,
                  struct generation *ret, struct error *err);
/* Without a slot where the agent retains, else through one: RS_MODE_AUTO. *ret_retained says which,
 * also upon failure. A slot is no second choice: what readers can write, lock.mdb, is trusted only
 * where the agent's configuration leaves nothing else, or the reader asks for it. */
int retained_open_auto(const struct status *page, unsigned slot, const char *source_dir,
                       uint32_t number, struct generation *ret, bool *ret_retained,
                       struct error *err);

#endif

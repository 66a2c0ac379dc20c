/* delta.h - one transaction of the feed: all that changed since a cursor, as it is now.
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
#ifndef RS_CONTROL_REPO_DELTA_H
#define RS_CONTROL_REPO_DELTA_H

#include "control/repo/view.h"

/* As repo_transaction(), of the view's version. */
int repo_delta_read(struct repo_view *view, const struct repo_transaction_query *query,
                    const struct repo_transaction_sink *sink, struct repo_delta *ret,
                    struct error *err);

#endif

/* integrity.h - what follows from comparisons with the source: which digests or buckets to ask for,
 * and when a whole new copy is the only way. Decides only; pure functions over plain values.
 *
 *     a commit's digest differs, or the walk found something --> buckets of the scope
 *     a round of the walk is over, or a copy is new          --> digests of all scopes
 *     buckets differ                                         --> their content
 *     a repair is done                                       --> digests of all scopes
 *     repairs do not help                                    --> a snapshot
 */
#ifndef RS_AGENT_INTEGRITY_H
#define RS_AGENT_INTEGRITY_H

#include "agent/apply.h"
#include "sync/change.h"

enum {
    INTEGRITY_FRUITLESS_MAX = 3,     /* repairs in a row that left as much as there was */
    INTEGRITY_CONSUMERS_MAX = 20000, /* asked for at once: about 10 MB of lines */
};

/* All zero: nothing to ask. */
struct integrity {
    struct feed_wish wish; /* for the next connection */
    unsigned left;         /* buckets that differed last; 0: not known */
    unsigned fruitless;
    bool given_up; /* a snapshot was asked for; nothing more until the next full comparison */
};

enum integrity_step {
    INTEGRITY_NOTHING,
    INTEGRITY_ASK,     /* connect anew, with the wish */
    INTEGRITY_SNAPSHOT /* repair does not help */
};

/* A copy is new: what was wished for is void, and the connection that follows compares everything,
 * unless the copy was to end a difference: then the next round of the walk does. */
void integrity_loaded(struct integrity *integrity);
/* To compare everything: the process is new, or the walk has come round. */
enum integrity_step integrity_compare_all(struct integrity *integrity);
/* The walk found that the scope's records are not what its digests said. */
enum integrity_step integrity_suspect(struct integrity *integrity, uint32_t scope);
/* A batch was applied. `consumers`: in the store, for the number of buckets to ask for. */
enum integrity_step integrity_applied(struct integrity *integrity,
                                      const struct apply_compared *compared, uint64_t consumers);

#endif

/* integrity.h - what follows from comparisons with the source: which digests or buckets to ask for,
 * and when a whole new copy is the only way. Decides only; pure functions over plain values.
 *
 *     a commit's digest differs, or the walk found something --> buckets of the scope
 *     a round of the walk is over, or a copy is new          --> digests of all scopes
 *     buckets differ                                         --> their content
 *     a repair is done                                       --> digests of all scopes
 *     repairs do not help                                    --> a snapshot
 *
 * A wish has one owner, this. It lives until an answer to it was applied, or it is given up, and is
 * bound to the connection that asked for it: integrity_connect() hands it to each connection anew,
 * and only what that connection brings can answer it.
 *
 *     no answer on a connection                              --> asked again, by a new one
 *     no answer on INTEGRITY_UNANSWERED_MAX in a row         --> nothing until the next round
 */
#ifndef RS_AGENT_INTEGRITY_H
#define RS_AGENT_INTEGRITY_H

#include "agent/apply.h"
#include "sync/change.h"

enum {
    INTEGRITY_FRUITLESS_MAX = 3,     /* repairs in a row that left as much as there was */
    INTEGRITY_UNANSWERED_MAX = 3,    /* connections in a row that did not answer */
    INTEGRITY_CONSUMERS_MAX = 20000, /* asked for at once: about 10 MB of lines */
};

/* All zero: nothing to ask. */
struct integrity {
    struct feed_wish wish;  /* to be answered; NONE: nothing to ask */
    struct feed_wish asked; /* by the present connection, and not answered by it yet */
    unsigned unanswered;    /* connections in a row */
    unsigned left;          /* buckets that differed last; 0: not known */
    unsigned fruitless;
    bool given_up; /* a snapshot was asked for, or nobody answers; nothing more until the next full
                      comparison */
};

enum integrity_step {
    INTEGRITY_NOTHING,
    INTEGRITY_ASK,      /* connect anew, with the wish */
    INTEGRITY_SNAPSHOT, /* repair does not help */
    INTEGRITY_GIVE_UP   /* the source does not answer */
};

/* A connection begins, and all that former ones brought is applied: what it shall ask for, if it
 * can ask (integrity_connected_without() where it cannot). */
struct feed_wish integrity_connect(struct integrity *integrity);
void integrity_connected_without(struct integrity *integrity);
/* The connection's first transaction was applied and was no answer, or none came in a long time. */
enum integrity_step integrity_unanswered(struct integrity *integrity);
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

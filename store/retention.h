/* retention.h - the agent's half of retained readers: keeping the pages that they may be reading.
 *
 * A retained reader leaves no trace in LMDB's reader table, so LMDB would use the pages of its
 * version again at once. The agent reads in its place: every quarter of the retention time it holds
 * a fresh read transaction, and gives one up when the next is older than the retention time. So
 * whatever a reader began within the retention time is at least as new as the oldest transaction
 * that is held, and its pages stay. Which one that is stands in the status page before any page can
 * be used again (status.c has the argument); readers compare with it after use.
 *
 * Nothing needs a timer: pages are used again by write transactions alone, and each begins with
 * retention_advance().
 *
 * RESTART: the transactions go with the process, and what the former agent promised must still be
 * kept. So the first write transaction after source_open() waits until the longer of the former and
 * the present retention time has passed since then; by that time every reader that began before has
 * been overtaken, by the page and by its own clock.
 *
 * Without memory or reader slots for the transactions nothing is retained: the page says so,
 * retained readers are refused, the source goes on, and source_check_readers() tries again.
 *
 * THREADS: the one that commits.
 */
#ifndef RS_STORE_RETENTION_H
#define RS_STORE_RETENTION_H

#include <stdint.h>
#include <lmdb.h>

/* One a quarter within the retention time, one older, one for rounding; all have their reader slots
 * from the beginning, so that foreign readers cannot take them away. */
enum { RETENTION_TXNS = 6 };

struct retention {
    unsigned n_held; /* 0: nothing is retained */
    struct {
        MDB_txn *txn;
        int64_t begun_ms;   /* boot clock; of held ones */
    } txns[RETENTION_TXNS]; /* the held ones, oldest first; then reset ones */
    int64_t wait_until_ms;  /* boot clock; 0: no wait */
};

struct source;

/* Begins to retain in source->live, which readers can see but nobody has written since, and tells
 * in the page what. No effect without a generation or a retention time. */
void retention_start(struct source *source);
void retention_stop(struct source *source); /* before source->live is closed */
/* Holds the newest version if it is time to, publishes, gives up what is old enough. */
void retention_advance(struct source *source);
int64_t retention_age_ms(const struct source *source); /* of the oldest one held */

/* The first retention_wait() after this one blocks until the retention time has passed. */
void retention_wait_from_now(struct source *source);
void retention_wait(struct source *source);

#endif

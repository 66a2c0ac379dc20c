/* source_reopen.c - after LMDB gave up: the generation that serves is closed and opened again.
 *
 * When LMDB cannot write a meta page it refuses every later transaction of that environment
 * (MDB_PANIC), the agent's alone: readers have environments of their own. What was committed is
 * whole on disk, and whether the last commit is in it shows when the head is read again.
 */
#include "store/source_internal.h"

int source_reopen(struct source *source, struct error *err)
{
    const struct store *store = source->store;
    uint32_t number = source->live.number;
    int rc;

    retention_stop(source);
    generation_close(&source->live);
    rc = generation_open_writer(source->dir, number, store->map_bytes, store->gid, &source->live,
                                err);
    if (rc != 0)
        return rc;
    source->durable = source->live.meta.cursor;
    source->unsettled = source->current_unsynced = false;
    walk_again(&source->walk);
    store_publish(source->store, source->slot, source->region, &source->live);
    /* What was kept for readers without slots went with the environment, as in a restart. */
    retention_start(source);
    retention_wait_from_now(source);
    return 0;
}

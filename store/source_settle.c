/* source_settle.c - from visible to durable; see source.h.
 *
 * Two things can be visible and not durable: a commit whose last sync failed, and a switch to
 * another generation whose `current` could not be synced. Nothing builds on either: whatever writes
 * settles first, so that what a power loss would bring back stays whole on disk.
 *
 * Failure: a sync that failed is not just tried again, because the kernel reports it once and then
 * has nothing left to write (env_sync.c). The meta page, or `current`, is written again.
 */
#include "store/source_internal.h"

struct model_cursor source_visible(const struct source *source)
{
    return source->live.number != 0 ? source->live.meta.cursor
                                    : (struct model_cursor){.version = 0};
}

struct model_cursor source_durable(const struct source *source)
{
    return source->durable;
}

int source_sync(struct source *source, struct error *err)
{
    int rc = source->current_unsynced ? generations_write_again(source, err) : 0;

    source->current_unsynced &= rc != 0;
    if (rc == 0)
        rc = env_sync(&source->live.env, err);
    source->unsettled = rc != 0;
    if (rc == 0)
        source->durable = source->live.meta.cursor;
    return rc;
}

int source_settle(struct source *source, struct error *err)
{
    return source->unsettled && source->live.number != 0 ? source_sync(source, err) : 0;
}

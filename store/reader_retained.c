/* reader_retained.c - reading without slots: when a transaction may be begun, used, believed.
 *
 * Three rules, each with a job of its own:
 *
 *   - a transaction older than half the retention time is not used: the other half is the time that
 *     a thread may lose between this check and the end of its lookup without touching a recycled
 *     page at all;
 *   - what was read counts only if the status page says afterwards that the agent still retains it:
 *     this finds every recycled page of the generation that the agent writes (status_pages() argues
 *     it);
 *   - and only if, by our own clock, less than the retention time has passed: of a generation that
 *     was replaced, and once somebody deleted the page's file, nothing else tells. The time is the
 *     one that was promised when the transaction began: a longer one, of an agent that was started
 *     since, would make good again what was used again before.
 *
 * A snapshot is one version of each source. So a transaction is replaced by a fresh one only while
 * nothing that it gave was answered with; after that the snapshot is over (E_OVERTAKEN).
 */
#include "store/reader_internal.h"

#include <string.h>

static int64_t age_ms(const rs_snapshot *snapshot, unsigned source)
{
    const struct clock *clock = &snapshot->store->clock;

    return clock->boot_ms(clock->context) - snapshot->begun_ms[source];
}

/* How old the transaction may become. A shorter time of a new agent holds at once. */
static int64_t limit_ms(const rs_snapshot *snapshot, unsigned source)
{
    int64_t now_ms = status_retention_ms(&snapshot->view->page->status);

    return now_ms < snapshot->promised_ms[source] ? now_ms : snapshot->promised_ms[source];
}

static bool is_retained(const rs_snapshot *snapshot, unsigned source)
{
    return (snapshot->active & 1u << source) != 0 &&
           snapshot->view->sources[source].opened->retained;
}

static bool is_lost(const rs_snapshot *snapshot, unsigned source)
{
    const struct view_source *from = &snapshot->view->sources[source];

    return is_retained(snapshot, source) &&
           status_overtaken(&snapshot->view->page->status, from->slot,
                            from->opened->generation.number, mdb_txn_id(snapshot->txns[source]));
}

static bool is_overtaken(const rs_snapshot *snapshot, unsigned source)
{
    return is_lost(snapshot, source) || age_ms(snapshot, source) >= limit_ms(snapshot, source);
}

static int reader_retained_drop(rs_snapshot *snapshot, unsigned source)
{
    if ((snapshot->answered & 1u << source) != 0)
        return E_OVERTAKEN;
    mdb_txn_reset(snapshot->txns[source]);
    snapshot->active &= ~(1u << source);
    /* What was found may come from recycled pages, under an id that stays. */
    memset(snapshot->realms, 0, sizeof(snapshot->realms));
    snapshot->versions[source] = 0;
    return 0;
}

void retained_note_begin(rs_snapshot *snapshot, unsigned source)
{
    const struct clock *clock = &snapshot->store->clock;

    /* Neither is later than it is true. */
    snapshot->begun_ms[source] = clock->boot_ms(clock->context);
    snapshot->promised_ms[source] = status_retention_ms(&snapshot->view->page->status);
}

int retained_before(rs_snapshot *snapshot)
{
    const struct status *page = &snapshot->view->page->status;
    int rc = 0;

    for (unsigned i = 0; i < snapshot->view->n_sources && rc == 0; i++) {
        const struct view_source *source = &snapshot->view->sources[i];

        if (source->opened == NULL || !source->opened->retained)
            continue;
        if (!status_retains(page, source->slot, source->opened->generation.number))
            rc = E_UNSUPPORTED;
        else if (is_retained(snapshot, i) && age_ms(snapshot, i) > limit_ms(snapshot, i) / 2)
            rc = reader_retained_drop(snapshot, i);
    }
    return rc;
}

int retained_after(rs_snapshot *snapshot, bool *ret_repeat)
{
    int rc = 0;

    for (unsigned i = 0; i < snapshot->view->n_sources && rc == 0; i++) {
        if (!is_retained(snapshot, i) || !is_overtaken(snapshot, i))
            continue;
        *ret_repeat = true;
        rc = reader_retained_drop(snapshot, i);
    }
    return rc;
}

int rs_check(const rs_snapshot *snapshot)
{
    if (snapshot == NULL)
        return RS_E_INVALID;
    if (reader_is_forked(snapshot->store))
        return RS_E_FORKED;
    for (unsigned i = 0; i < snapshot->view->n_sources; i++) {
        if (is_retained(snapshot, i) && is_overtaken(snapshot, i))
            return RS_E_OVERTAKEN;
    }
    return 0;
}

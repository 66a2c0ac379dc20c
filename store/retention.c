/* retention.c - see retention.h. */
#include "store/retention.h"

#include <time.h>

#include "store/source_internal.h"

static int64_t now_ms(const struct source *source)
{
    const struct clock *clock = &source->store->clock;

    return clock->boot_ms(clock->context);
}

static void retention_publish(struct source *source, uint64_t txn_id)
{
    status_put_retained(&source->store->status, source->slot, source->live.number, txn_id);
}

/* ---- beginning and end ---- */

void retention_stop(struct source *source)
{
    struct retention *retention = &source->retention;

    for (unsigned i = 0; i < RETENTION_TXNS; i++) {
        if (retention->txns[i].txn != NULL)
            mdb_txn_abort(retention->txns[i].txn);
        retention->txns[i].txn = NULL;
    }
    retention->n_held = 0;
}

static int begin_all(struct source *source)
{
    struct retention *retention = &source->retention;
    int rc = 0;

    for (unsigned i = 0; i < RETENTION_TXNS && rc == 0; i++) {
        rc = mdb_txn_begin(source->live.env.mdb, NULL, MDB_RDONLY, &retention->txns[i].txn);
        if (rc != 0)
            retention->txns[i].txn = NULL;
        else if (i > 0)
            mdb_txn_reset(retention->txns[i].txn); /* keeps its slot */
    }
    return rc;
}

void retention_start(struct source *source)
{
    struct retention *retention = &source->retention;

    if (source->live.number == 0 || source->store->retention_ms == 0)
        return;
    if (begin_all(source) != 0) {
        retention_stop(source);
        retention_publish(source, 0);
        return;
    }
    retention->txns[0].begun_ms = now_ms(source);
    retention->n_held = 1;
    retention_publish(source, mdb_txn_id(retention->txns[0].txn));
}

/* ---- going on ---- */

static void hold_newest(struct retention *retention, int64_t now, int64_t quarter_ms)
{
    unsigned next = retention->n_held;

    if (now - retention->txns[next - 1].begun_ms < quarter_ms || next == RETENTION_TXNS)
        return;
    if (mdb_txn_renew(retention->txns[next].txn) != 0)
        return; /* what is held already protects more, not less */
    retention->txns[next].begun_ms = now;
    retention->n_held++;
}

static void give_up_oldest(struct retention *retention)
{
    MDB_txn *oldest = retention->txns[0].txn;

    mdb_txn_reset(oldest);
    for (unsigned i = 1; i < RETENTION_TXNS; i++)
        retention->txns[i - 1] = retention->txns[i];
    retention->txns[RETENTION_TXNS - 1].txn = oldest;
    retention->n_held--;
}

void retention_advance(struct source *source)
{
    struct retention *retention = &source->retention;
    int64_t time_ms = source->store->retention_ms;
    int64_t now = now_ms(source);
    unsigned old = 0;

    if (retention->n_held == 0)
        return;
    hold_newest(retention, now, time_ms / 4);
    /* A reader that began a retention time ago saw at least what was newest then: the youngest
     * transaction that was held by then protects it. */
    while (old + 1 < retention->n_held && retention->txns[old + 1].begun_ms <= now - time_ms)
        old++;
    retention_publish(source, mdb_txn_id(retention->txns[old].txn));
    for (; old > 0; old--)
        give_up_oldest(retention);
}

int64_t retention_age_ms(const struct source *source)
{
    const struct retention *retention = &source->retention;

    return retention->n_held == 0 ? 0 : now_ms(source) - retention->txns[0].begun_ms;
}

/* ---- after a restart ---- */

void retention_wait_from_now(struct source *source)
{
    const struct store *store = source->store;
    int64_t time_ms = store->retention_ms;

    if (store->former_retention_ms > time_ms)
        time_ms = store->former_retention_ms;
    if (source->live.number != 0 && time_ms > 0)
        source->retention.wait_until_ms = now_ms(source) + time_ms;
}

void retention_wait(struct source *source)
{
    int64_t left_ms = source->retention.wait_until_ms - now_ms(source);
    struct timespec left;

    if (source->retention.wait_until_ms == 0)
        return;
    source->retention.wait_until_ms = 0;
    if (left_ms <= 0)
        return;
    left = (struct timespec){left_ms / 1000, left_ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0) /* a signal interrupts it, nothing else */
        continue;
}

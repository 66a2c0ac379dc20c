/* retained.c - see retained.h. */
#include "store/retained.h"

#include <stdatomic.h>

enum { ATTEMPTS = 4 };

int retained_open(const struct status *page, unsigned slot, const char *source_dir, uint32_t number,
                  struct generation *ret, struct error *err)
{
    int rc = E_OVERTAKEN;

    if (!status_retains(page, slot, number))
        return error_set(err, E_UNSUPPORTED,
                         "%s: the agent retains nothing for readers without slots (its "
                         "retention_ms is 0, or it found no slots free for itself)",
                         source_dir);
    for (int i = 0; i < ATTEMPTS; i++) {
        uint64_t txn_id = 0;

        rc = generation_open_retained(source_dir, number, ret, &txn_id, err);
        if (txn_id == 0 || !status_overtaken(page, slot, number, txn_id))
            return rc; /* it never got as far as pages, or they were good */
        if (rc == 0)
            generation_close(ret);
        rc = error_set(err, E_OVERTAKEN, "%s: its pages changed while it was opened", source_dir);
    }
    return rc;
}

int retained_open_auto(const struct status *page, unsigned slot, const char *source_dir,
                       uint32_t number, struct generation *ret, bool *ret_retained,
                       struct error *err)
{
    *ret_retained = status_retention_ms(page) > 0;
    return *ret_retained ? retained_open(page, slot, source_dir, number, ret, err)
                         : generation_open_reader(source_dir, number, ret, err);
}

int retained_begin(MDB_env *mdb, MDB_txn **txn)
{
    for (int i = 0; i < ATTEMPTS; i++) {
        MDB_envinfo info;
        bool is_new = *txn == NULL;
        int rc = is_new ? mdb_txn_begin(mdb, NULL, MDB_RDONLY, txn) : mdb_txn_renew(*txn);

        if (rc != 0) {
            *txn = is_new ? NULL : *txn;
            return lmdb_code(rc);
        }
        atomic_thread_fence(memory_order_acquire); /* the roots were copied before what follows */
        (void)mdb_env_info(mdb, &info);            /* fails for NULL only */
        if (info.me_last_txnid == mdb_txn_id(*txn))
            return 0; /* no commit has ended since: the next one writes the other meta page */
        mdb_txn_reset(*txn);
    }
    return E_OVERTAKEN;
}

/* retained.c - see retained.h. */
#include "store/retained.h"

#include <setjmp.h>
#include <stdatomic.h>

enum { ATTEMPTS = 4 };

/* ---- LMDB's assertions ---- */

/* Where this thread's retained_get() goes on when LMDB gives up; NULL outside of it. LMDB's handler
 * is told the environment alone, which threads share, so there is no other place for it. The model
 * spares a call, and a dependency on the dynamic linker; one pointer fits its spare room. */
static _Thread_local jmp_buf *escape __attribute__((tls_model("initial-exec")));

static void on_assert(MDB_env *mdb, const char *message)
{
    (void)mdb;
    (void)message;
    if (escape != NULL)
        longjmp(*escape, 1);
} /* returning lets LMDB abort */

/* A read-only mdb_get() holds no lock and no memory (its cursors are on the stack), so that it can
 * be left half-way; the transaction is reset afterwards, because its pages were overtaken. */
int retained_get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *ret)
{
    jmp_buf here;
    int rc;

    if (setjmp(here) != 0) { // NOLINT(cert-err52-cpp): LMDB leaves no other way out
        escape = NULL;
        return MDB_CORRUPTED;
    }
    escape = &here;
    rc = mdb_get(txn, table, key, ret);
    escape = NULL;
    return rc;
}

/* ---- opening ---- */

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
        if (txn_id == 0 || !status_overtaken(page, slot, number, txn_id)) {
            if (rc == 0)
                (void)mdb_env_set_assert(ret->env.mdb, on_assert); /* fails for NULL only */
            return rc; /* it never got as far as pages, or they were good */
        }
        if (rc == 0)
            generation_close(ret);
        rc = error_set(err, E_OVERTAKEN, "%s: its pages changed while it was opened", source_dir);
    }
    return rc;
}

/* Failures of the slot, not of the store. */
static bool is_slots_matter(int code)
{
    return code == E_READ_ONLY_MOUNT || code == E_PERMISSION || code == E_PID_COLLISION ||
           code == E_READERS_FULL;
}

int retained_open_if_needed(const struct status *page, unsigned slot, const char *source_dir,
                            uint32_t number, struct generation *ret, bool *ret_retained,
                            struct error *err)
{
    struct error ignored = ERROR_INIT;
    int rc = generation_open_reader(source_dir, number, ret, err);

    *ret_retained = false;
    if (!is_slots_matter(rc) || retained_open(page, slot, source_dir, number, ret, &ignored) != 0)
        return rc;
    *ret_retained = true;
    return 0;
}

int retained_begin(MDB_env *mdb, MDB_txn **txn)
{
    for (int i = 0; i < ATTEMPTS; i++) {
        MDB_envinfo info;
        bool is_new = *txn == NULL;
        int rc = is_new ? mdb_txn_begin(mdb, NULL, MDB_RDONLY, txn) : mdb_txn_renew(*txn);

        if (rc != 0) {
            *txn = is_new ? NULL : *txn;
            return env_code(rc);
        }
        atomic_thread_fence(memory_order_acquire); /* the roots were copied before what follows */
        (void)mdb_env_info(mdb, &info);            /* fails for NULL only */
        if (info.me_last_txnid == mdb_txn_id(*txn))
            return 0; /* no commit has ended since: the next one writes the other meta page */
        mdb_txn_reset(*txn);
    }
    return E_OVERTAKEN;
}

/* retained.c - see retained.h. */
#include "store/retained.h"

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

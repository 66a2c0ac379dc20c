/* The memory of a feed's transaction, and what can be said of one as a whole. */
#include "sync/feed.h"

#include <stdlib.h>

struct feed_transaction *feed_transaction_create(size_t max_bytes)
{
    struct feed_transaction *transaction = calloc(1, sizeof(*transaction));

    if (transaction != NULL)
        arena_init(&transaction->arena, max_bytes);
    return transaction;
}

void feed_transaction_destroy(struct feed_transaction *transaction)
{
    if (transaction == NULL)
        return;
    free(transaction->changes);
    free(transaction->digests);
    arena_finish(&transaction->arena);
    free(transaction);
}

bool feed_transaction_answers(const struct feed_transaction *transaction)
{
    bool answers = transaction->all_scopes;

    for (size_t i = 0; !answers && i < transaction->n_digests; i++)
        answers = transaction->digests[i].buckets != NULL;
    return answers;
}

size_t feed_transaction_bytes(const struct feed_transaction *transaction)
{
    return sizeof(*transaction) + transaction->capacity * sizeof(*transaction->changes) +
           transaction->digests_capacity * sizeof(*transaction->digests) +
           transaction->arena.used_bytes;
}

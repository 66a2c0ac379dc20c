/* The writer thread's side of digests: what a transaction's digests say of the store, and the
 * buckets that a repair brings. Both inside the LMDB transaction that the feed's transaction is
 * applied in, so that either end is at the same version.
 *
 * A difference is no failure: what is there goes on serving, and the loop's side decides what to
 * ask for next (agent/integrity.h).
 */
#include "agent/apply_job.h"

#include <stdlib.h>
#include <string.h>

/* ---- comparing ---- */

static void note_mismatch(struct apply_compared *compared, uint32_t scope)
{
    if (compared->mismatches++ > 0)
        return;
    compared->scope = scope;
    compared->with_buckets = false;
}

/* The scope's buckets, one by one. Where all are equal and their sum was not, the sum was wrong. */
static int compare_buckets(struct apply_job *job, const struct feed_scope_hash *digest)
{
    struct apply_compared *compared = &job->result.compared;
    struct set_hash held[SET_HASH_BUCKETS];
    int rc = source_scope_hash_buckets(job->source, digest->scope, held, &job->err);

    if (rc != 0)
        return rc;
    compared->differing = (struct set_hash_marks){{0}};
    for (unsigned bucket = 0; bucket < SET_HASH_BUCKETS; bucket++) {
        if (!set_hash_equal(&held[bucket], &digest->buckets[bucket]))
            set_hash_mark(&compared->differing, bucket);
    }
    compared->with_buckets = true;
    return set_hash_marks_count(&compared->differing) > 0
               ? 0
               : source_scope_hash_sum(job->source, digest->scope, &job->err);
}

static int compare_scope(struct apply_job *job, const struct feed_scope_hash *digest)
{
    struct apply_compared *compared = &job->result.compared;
    struct set_hash held;
    int rc = source_scope_hash(job->source, digest->scope, &held, &job->err);

    compared->scopes++;
    if (digest->buckets != NULL && compared->answered != FEED_WISH_CONTENT)
        compared->answered = FEED_WISH_BUCKETS;
    if (rc != 0 || set_hash_equal(&held, &digest->hash))
        return rc;
    note_mismatch(compared, digest->scope);
    if (compared->scope != digest->scope || digest->buckets == NULL)
        return 0;
    return compare_buckets(job, digest);
}

/* Whether the store's digests say that the scope holds anything. */
static int holds_nothing(struct apply_job *job, uint32_t scope, bool *ret)
{
    struct set_hash held;
    int rc = source_scope_hash(job->source, scope, &held, &job->err);

    *ret = rc == 0 && set_hash_is_zero(&held);
    return rc;
}

/* The source named every scope: another one that is here is a mismatch. Both are in order. */
static int find_stranger(struct apply_job *job, const struct feed_transaction *transaction)
{
    uint32_t next = 0;
    uint32_t held;
    size_t i = 0;
    int rc;

    job->result.compared.answered = FEED_WISH_DIGESTS;
    while ((rc = source_next_scope(job->source, next, &held, &job->err)) == 0) {
        while (i < transaction->n_digests && transaction->digests[i].scope < held)
            i++;
        if (i == transaction->n_digests || transaction->digests[i].scope != held) {
            bool nothing;

            rc = holds_nothing(job, held, &nothing);
            if (rc != 0)
                return rc;
            if (!nothing)
                note_mismatch(&job->result.compared, held);
        }
        if (held == UINT32_MAX)
            return 0;
        next = held + 1;
    }
    return rc == E_NOT_FOUND ? 0 : rc;
}

static bool has_digest(const struct feed_transaction *transaction, uint32_t scope)
{
    size_t low = 0;
    size_t high = transaction->n_digests;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (transaction->digests[middle].scope < scope)
            low = middle + 1;
        else
            high = middle;
    }
    return low < transaction->n_digests && transaction->digests[low].scope == scope;
}

/* No digest comes for a scope that is gone: it is equal when nothing of it is left here. */
static int compare_gone(struct apply_job *job, uint32_t scope)
{
    bool nothing;
    int rc = holds_nothing(job, scope, &nothing);

    if (rc != 0)
        return rc;
    job->result.compared.scopes++;
    if (!nothing)
        note_mismatch(&job->result.compared, scope);
    return 0;
}

/* The scopes that the changes touch and no digest tells of. */
static int compare_untold(struct apply_job *job, const struct feed_transaction *transaction)
{
    const struct change *last = NULL;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < transaction->count; i++) {
        const struct change *change = &transaction->changes[i];
        const bool again = last != NULL && last->scope == change->scope;

        last = change;
        if (again || has_digest(transaction, change->scope))
            continue;
        if (change->kind == CHANGE_REALM_DELETE)
            rc = compare_gone(job, change->scope);
        else
            job->result.compared.unseen++;
    }
    return rc;
}

int apply_compare(struct apply_job *job, const struct feed_transaction *transaction)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < transaction->n_digests; i++)
        rc = compare_scope(job, &transaction->digests[i]);
    if (rc == 0)
        rc = compare_untold(job, transaction);
    return rc == 0 && transaction->all_scopes ? find_stranger(job, transaction) : rc;
}

/* ---- repairing ---- */

/* Lists of what a transaction says about the buckets; all owned. */
struct lists {
    const struct model_consumer **consumers;
    const struct model_key **keys;
};

static int compare_consumers(const void *a, const void *b)
{
    const struct model_consumer *const *x = a;
    const struct model_consumer *const *y = b;

    return uuid_compare(&(*x)->id, &(*y)->id);
}

static int compare_keys(const void *a, const void *b)
{
    const struct model_key *const *x = a;
    const struct model_key *const *y = b;
    int order = uuid_compare(&(*x)->consumer_id, &(*y)->consumer_id);

    return order != 0 ? order : uuid_compare(&(*x)->id, &(*y)->id);
}

/* Sorts; what the changes since the cursor and the buckets' content both have comes twice,
 * equal. */
static size_t sort_unique(void *items, size_t count, int (*order)(const void *, const void *))
{
    const void **list = items;
    size_t kept = 0;

    if (count == 0)
        return 0;
    qsort(list, count, sizeof(*list), order);
    for (size_t i = 1; i < count; i++) {
        if (order(&list[kept], &list[i]) != 0)
            list[++kept] = list[i];
    }
    return kept + 1;
}

static void gather(const struct feed_transaction *transaction, struct source_content *content,
                   struct lists *lists)
{
    for (size_t i = 0; i < transaction->count; i++) {
        const struct change *change = &transaction->changes[i];

        if (change->scope != content->scope)
            continue;
        if (change->kind == CHANGE_REALM)
            content->realm = &change->realm;
        else if (change->kind == CHANGE_CONSUMER &&
                 set_hash_marked(&content->buckets, set_hash_bucket(&change->consumer.id)))
            lists->consumers[content->n_consumers++] = &change->consumer;
        else if (change->kind == CHANGE_KEY &&
                 set_hash_marked(&content->buckets, set_hash_bucket(&change->key.consumer_id)))
            lists->keys[content->n_keys++] = &change->key;
    }
    content->n_consumers = sort_unique(lists->consumers, content->n_consumers, compare_consumers);
    content->n_keys = sort_unique(lists->keys, content->n_keys, compare_keys);
    content->consumers = lists->consumers;
    content->keys = lists->keys;
}

static void on_difference(void *context, const struct source_difference *difference)
{
    struct apply_compared *compared = context;

    if (compared->repaired < APPLY_DIFFERENCES_MAX)
        compared->differences[compared->repaired] = *difference;
    compared->repaired++;
}

int apply_repair(struct apply_job *job, const struct feed_transaction *transaction)
{
    struct source_content content = {.scope = 0};
    struct lists lists = {NULL, NULL};
    size_t first = 0;
    int rc = 0;

    while (first < transaction->count && transaction->changes[first].kind < CHANGE_BUCKET)
        first++;
    if (first == transaction->count || transaction->changes[first].kind != CHANGE_BUCKET)
        return 0;
    job->result.compared.answered = FEED_WISH_CONTENT; /* a failure counts as a repair's */
    content.scope = transaction->changes[first].scope;
    for (size_t i = first; i < transaction->count && transaction->changes[i].kind == CHANGE_BUCKET;
         i++) {
        if (transaction->changes[i].scope != content.scope)
            return error_set(&job->err, E_PROTOCOL, "a transaction repairs more than one scope");
        set_hash_mark(&content.buckets, transaction->changes[i].bucket);
    }
    lists.consumers = calloc(transaction->count, sizeof(void *));
    lists.keys = calloc(transaction->count, sizeof(void *));
    if (lists.consumers == NULL || lists.keys == NULL) {
        rc = error_set(&job->err, E_NO_MEMORY, "no memory for a repair");
    } else {
        gather(transaction, &content, &lists);
        rc = source_repair(job->source, &content, on_difference, &job->result.compared, &job->err);
    }
    free(lists.consumers);
    free(lists.keys);
    return rc;
}

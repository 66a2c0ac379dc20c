/* What a host wishes for, as a value. */
#include <string.h>

#include "sync/change.h"

bool feed_wish_equal(const struct feed_wish *a, const struct feed_wish *b)
{
    return a->kind == b->kind && a->scope == b->scope &&
           memcmp(a->buckets.bits, b->buckets.bits, sizeof(a->buckets.bits)) == 0;
}

/* scope_hashes.h - the table `digests`: the set hash of each scope and of its buckets
 * (base/set_hash.h), as the store's own changes have made it.
 *
 *     scope (u32 big-endian)           -> hash of the scope, the sum of its buckets
 *     scope, bucket (one byte)         -> hash of the bucket
 *
 * Rows of zero are left out. What the records that stand in the file add up to is another question,
 * which source_walk() asks.
 */
#ifndef RS_STORE_SCOPE_HASHES_H
#define RS_STORE_SCOPE_HASHES_H

#include "base/set_hash.h"
#include "store/tables.h"

/* Of the whole scope. */
int scope_hashes_get(const struct tables *tables, uint32_t scope, struct set_hash *ret,
                     struct error *err);
int scope_hashes_get_buckets(const struct tables *tables, uint32_t scope,
                             struct set_hash ret[SET_HASH_BUCKETS], struct error *err);
/* `less` leaves the bucket, `more` comes; both may be zero. */
int scope_hashes_change(const struct tables *tables, uint32_t scope, unsigned bucket,
                        const struct set_hash *less, const struct set_hash *more,
                        struct error *err);
/* Sets the buckets of the scope, and the scope's hash to their sum. */
int scope_hashes_set(const struct tables *tables, uint32_t scope,
                     const struct set_hash buckets[SET_HASH_BUCKETS], struct error *err);

#endif

/* consumers.h - where a consumer's record stands, and moving it when its number of keys changes.
 *
 *     no keys                      in `consumers`, behind the number of keys
 *     1 or 2 keys, short record    in `lookup` with each of them
 *     else                         in `lookup` under the consumer's own name; keys refer to it
 *
 * So one lookup finds the consumer of nearly every key, and a change of a consumer with many keys
 * still touches one record.
 */
#ifndef RS_STORE_CONSUMERS_H
#define RS_STORE_CONSUMERS_H

#include "store/index.h"

enum consumer_home { HOME_TABLE, HOME_KEYS, HOME_ENTRY };

struct consumer_place {
    uint32_t scope;
    struct uuid id;
    uint32_t n_keys;
    enum consumer_home home;
    MDB_val record; /* borrowed until the next change in the transaction */
};

/* E_NOT_FOUND with *err untouched: there is no such consumer. E_CORRUPT: its record is not where it
 * must be. */
int consumers_find(const struct tables *tables, uint32_t scope, const struct uuid *id,
                   struct consumer_place *ret, struct error *err);

/* The home that a record has with this many keys. */
enum consumer_home consumers_home(uint64_t n_keys, size_t record_size);

/* Gives the consumer `record` (outside the map), and `n_keys` keys, which stand in `consumer_keys`
 * already. Brings `lookup` from how `former` describes it to what that means; NULL: the consumer is
 * new and has no keys. A key that is new itself gets its entry here only when the record moves. */
int consumers_put(struct index *index, const struct consumer_place *former, uint32_t scope,
                  const struct uuid *id, uint32_t n_keys, MDB_val record, struct error *err);
/* Puts the lookup entry of one key. */
int consumers_put_key(struct index *index, uint32_t scope, const struct record_key *key,
                      enum consumer_home home, MDB_val record, struct error *err);

#endif

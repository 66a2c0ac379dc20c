/* consumers.h - where a consumer's record stands, and moving it when its number of keys changes.
 *
 *     no keys                      in `consumers`, in the consumer's row
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

/* What decides a home, also after one key more or less. */
enum { CONSUMER_COUNTED_KEYS = ENTRY_INLINE_KEYS + 2 };

struct consumer_place {
    uint32_t scope;
    struct uuid id;
    uint32_t n_keys; /* CONSUMER_COUNTED_KEYS stands for more, too */
    enum consumer_home home;
    MDB_val record; /* borrowed until the next change in the transaction */
};

/* E_NOT_FOUND with *err untouched: there is no such consumer. E_CORRUPT: its record is not where it
 * must be. */
int consumers_find(const struct tables *tables, uint32_t scope, const struct uuid *id,
                   struct consumer_place *ret, struct error *err);

/* The home that a record has with this many keys. */
enum consumer_home consumers_home(uint64_t n_keys, size_t record_size);

/* Gives the consumer `record` (outside the map), and `n_keys` keys, whose rows and entries stand
 * already. Brings `lookup` from how `former` describes it to what that means; NULL: the consumer is
 * new and has no keys. */
int consumers_put(struct index *index, const struct consumer_place *former, uint32_t scope,
                  const struct uuid *id, uint32_t n_keys, MDB_val record, struct error *err);
/* Puts the lookup entry of one key; `digest` outside the map. */
struct consumer_key {
    struct uuid id;
    const uint8_t *digest;
    int64_t expires_at_ms;
};
int consumers_put_key(struct index *index, uint32_t scope, const struct uuid *consumer_id,
                      const struct consumer_key *key, enum consumer_home home, MDB_val record,
                      struct error *err);

/* ---- rows of keys ---- */

/* The consumer's first key whose row is behind `key_id`'s (NULL: the first of all): the row's key,
 * which is well formed, and value. E_NOT_FOUND with *err untouched. */
int consumers_next_key(const struct tables *tables,
                       const unsigned char consumer[LAYOUT_CONSUMER_KEY_BYTES],
                       const struct uuid *key_id, MDB_val *ret_row, MDB_val *ret_value,
                       struct error *err);

/* What a row holds besides its key: all else of a key without tags is in its lookup entry. */
int consumers_pack_row(const struct record_key *key, MDB_val record, struct buffer *out);
/* The key of a row, joined with its entry in *ret_entry; digest and strings are borrowed until the
 * next change. E_NOT_FOUND with *err untouched: no entry leads to it. E_CORRUPT. */
int consumers_read_row(const struct tables *tables, MDB_val key, MDB_val value,
                       struct record_key *ret, struct entry *ret_entry, struct error *err);

#endif

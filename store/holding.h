/* holding.h - what the store really holds of one consumer or realm: read from the file and checked
 * in full, whatever the digests say. For the walk that looks for damage, for repair, and for
 * verify.
 */
#ifndef RS_STORE_HOLDING_H
#define RS_STORE_HOLDING_H

#include "base/set_hash.h"
#include "store/consumers.h"

struct holding {
    bool sound;           /* every record is whole, each copy of it is the same, and all is in its
                             place; else the hash is none that records have */
    struct set_hash hash; /* of the consumer's record and those of its keys */
    uint64_t records;
};

/* `scratch` is for records that have to be encoded. A code only when the table cannot be read. */
int holding_read(const struct tables *tables, uint32_t scope, const struct uuid *id,
                 struct buffer *scratch, struct holding *ret, struct error *err);

/* A realm's record, to which realm_ids must lead. E_NOT_FOUND with *err untouched. */
int holding_realm(const struct tables *tables, uint32_t scope, struct holding *ret,
                  struct error *err);
/* The consumer of the scope behind `after` (NULL: the first) that has a row, or of which a key has
 * one. E_NOT_FOUND with *err untouched. */
int holding_next(const struct tables *tables, uint32_t scope, const struct uuid *after,
                 struct uuid *ret, struct error *err);
/* The smallest scope from `from` on that has a realm, a consumer or a digest. E_NOT_FOUND with *err
 * untouched. */
int holding_next_scope(const struct tables *tables, uint32_t from, uint32_t *ret,
                       struct error *err);

/* The record of a key with tags, in its row, must say what row and entry say. */
bool holding_row_fits(MDB_val value, const struct record_key *key);
/* The entry must lead to the key's consumer, and its copy of the record be like the others. */
bool holding_entry_fits(const struct entry *entry, const struct record_key *key,
                        const struct consumer_place *place);
/* The set hash of the key that row and entry describe. */
int holding_key_hash(MDB_val value, const struct record_key *key, struct buffer *scratch,
                     struct set_hash *ret, struct error *err);

#endif

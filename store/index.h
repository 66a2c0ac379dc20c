/* index.h - entries in the table `lookup`: finding, putting and dropping one at a time.
 *
 * A change rebuilds the bucket it falls into. A bucket that outgrows its page is cut in two; one
 * that has become nearly empty goes into its neighbour. The ranges of the buckets always join: what
 * a bucket that goes was responsible for, its neighbour is afterwards.
 */
#ifndef RS_STORE_INDEX_H
#define RS_STORE_INDEX_H

#include "store/bucket.h"
#include "store/tables.h"

struct index {
    const struct tables *tables; /* borrowed */
    struct bucket_draft draft;   /* scratch, as are the buffers */
    struct buffer value;
    struct buffer entry;
    uint64_t next_hash; /* of loads: the first one of the next bucket */
};

void index_init(struct index *index, const struct tables *tables);
void index_finish(struct index *index);

/* The entry of a key (`name`: its digest) or consumer; what *ret borrows lives until the next
 * change. E_NOT_FOUND with *err untouched; E_CORRUPT. */
int index_find(const struct tables *tables, const uint8_t name[ENTRY_NAME_BYTES], uint32_t scope,
               bool consumer, struct entry *ret, struct error *err);
/* The entry of the key with this id, of whose digest only the start is known. */
int index_find_key(const struct tables *tables, uint64_t hash, uint32_t scope,
                   const struct uuid *key_id, struct entry *ret, struct error *err);
/* Adds the entry or replaces the one of the same name, scope and kind. */
int index_put(struct index *index, const struct entry *entry, struct error *err);
/* Deleting a missing entry succeeds. */
int index_drop(struct index *index, const uint8_t name[ENTRY_NAME_BYTES], uint32_t scope,
               bool consumer, struct error *err);

/* Writes a damaged bucket anew with what is left of it: the entries that pass their check and whose
 * hashes belong to it. */
int index_mend(struct index *index, const unsigned char key[BUCKET_KEY_BYTES], struct error *err);
/* The same for the bucket to which the hash belongs, if it is damaged. */
int index_mend_at(struct index *index, uint64_t hash, struct error *err);

/* Appends the entries [from, to) of the draft as one bucket behind all others; `last`: as the one
 * that takes every later hash. For loads. */
int index_append(struct index *index, size_t from, size_t to, bool last, struct error *err);

#endif

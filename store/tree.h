/* tree.h - finding a value in LMDB's pages with every number checked before it is followed.
 *
 * LMDB trusts its pages. A reader without a slot may meet one that was used again, and a disk may
 * flip a bit; LMDB would then follow a page number out of the file (SIGBUS) or abort. Lookups
 * therefore descend by this code, which answers E_CORRUPT instead. It is faster, too: no cursor is
 * set up, and the hashes of `lookup` are spread so evenly that a few guesses replace the search by
 * halving.
 *
 * The pages are those of LMDB's data format 1 (lmdb 0.9: mdb.c, "Page Headers", "Nodes"), which
 * env_check_file() has made sure of. LMDB's transaction keeps them as they are; what a transaction
 * means stays its matter. All reading, no locks, no memory; any thread.
 */
#ifndef RS_STORE_TREE_H
#define RS_STORE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <lmdb.h>

/* One table at one transaction; what it points to is borrowed from the map. */
struct tree {
    const unsigned char *map;
    size_t page_bytes;
    uint64_t pages; /* of the file, in that transaction */
    uint64_t root;
    uint64_t spread; /* pages of the table's leaves and of values that have pages of their own */
    unsigned depth;
    bool integer_keys; /* u32 in host order */
};

/* Where LMDB's map begins, from a small value in it and the size of its pages. */
const unsigned char *tree_map_of(const void *value, size_t page_bytes);

/* The unnamed table of the transaction. E_OVERTAKEN: two later ones are there, and the second took
 * the place of its root. *ret_certain is false when one later one is there: the second may be
 * taking the place already, unless LMDB, asked afterwards, still begins transactions with `txn_id`.
 */
int tree_open(const unsigned char *map, size_t page_bytes, uint64_t txn_id, struct tree *ret,
              bool *ret_certain);
/* A named table. E_NOT_FOUND, E_CORRUPT. */
int tree_open_named(const struct tree *unnamed, const char *name, struct tree *ret);

/* E_NOT_FOUND, E_CORRUPT. The value lies within the file. */
int tree_get(const struct tree *tree, MDB_val key, MDB_val *ret);
/* The first pair at or behind `key`. */
int tree_seek(const struct tree *tree, MDB_val key, MDB_val *ret_key, MDB_val *ret);
/* The value of the first key at or behind that of `prefix` and `hash`, big-endian. Of keys that
 * begin with `prefix` all have this form. */
int tree_seek_hash(const struct tree *tree, unsigned char prefix, uint64_t hash, MDB_val *ret);

/* The page at which the value of `hash` most likely begins, or the one before; 0: nothing is known.
 * A load writes values that have pages of their own in the order of their hashes, page after page,
 * and a change moves only those that it touches; so the value is most likely as far from that of
 * another hash, `known`, as the two are apart. `at` is in that one, in this version of the file or
 * an earlier one, and is not followed; NULL, or what is not of this map, tells nothing. */
uint64_t tree_guess(const struct tree *tree, uint64_t hash, uint64_t known, const void *at);
/* Asks for the cache lines with which that value begins, before it is searched for: its address
 * translation and its first lines are the longest waits of a search. */
void tree_fetch(const struct tree *tree, uint64_t page);

#endif

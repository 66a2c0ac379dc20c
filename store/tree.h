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
 *
 * Two ways through a table:
 *
 *   - tree_get(), tree_seek(): one descent, as little as a lookup needs. A pair that was found is
 *     where the search led, at or behind the key that was asked for; whether it is the right one
 *     its contents must tell (a checksum, an id). "Not found" proves nothing: a flipped bit may
 *     have led elsewhere.
 *   - struct tree_walk: pair after pair. Each page on the way is checked in whole (its number, its
 *     kind, nodes without gaps, keys in order and between those of the pages above), and each key
 *     is greater than the one before. So no damage makes a walk go in circles, and one flipped bit
 *     makes it leave no pair out: it ends with E_CORRUPT, or shows another key or value in the
 *     pair's place. What a whole walk did not show, while all that it did show was right, is not
 *     there.
 *
 *         struct tree_walk walk;
 *         int rc;
 *
 *         for (rc = tree_walk_begin(&walk, &tree, from); rc == 0; rc = tree_walk_next(&walk))
 *             use(walk.key, walk.value);
 *         return rc == E_NOT_FOUND ? 0 : rc;
 *
 * Whoever does the steps by himself (a walk over many transactions) begins anew behind the last
 * key that he saw: tree_walk_begin() from that key, then tree_walk_next() if it is there still.
 *
 * Only what is committed stands in the map: within a write transaction this is the version that it
 * began with.
 */
#ifndef RS_STORE_TREE_H
#define RS_STORE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <lmdb.h>

/* Which pages were checked in whole, and as whose child, in one version of a file: they need not be
 * again. All zero: none. */
enum { TREE_SEEN = 4096 };
struct tree_seen {
    struct {
        uint64_t page;
        uint64_t place;
    } items[TREE_SEEN];
};

/* One table at one transaction; what it points to is borrowed from the map. */
struct tree {
    const unsigned char *map;
    size_t page_bytes;
    uint64_t pages; /* of the file, in that transaction */
    uint64_t root;
    uint64_t entries; /* as the table says */
    uint64_t spread;  /* pages of the table's leaves and of values that have pages of their own */
    unsigned depth;
    unsigned flags;         /* LMDB's of the table */
    bool integer_keys;      /* of these: u32 in host order */
    struct tree_seen *seen; /* borrowed; NULL: every walk checks anew */
};

enum { TREE_MAX_DEPTH = 32, TREE_KEY_MAX_BYTES = 511 };

/* A place in a table; key and value are borrowed from the map. */
struct tree_walk {
    MDB_val key;
    MDB_val value;
    uint64_t page; /* the last one that was entered; after E_CORRUPT the one that is to blame */

    struct tree tree; /* from here on the walk's own */
    const unsigned char *pages[TREE_MAX_DEPTH];
    size_t at[TREE_MAX_DEPTH];
    size_t counts[TREE_MAX_DEPTH];
    unsigned char former[TREE_KEY_MAX_BYTES]; /* a copy of `key`, which its page may lose */
    size_t former_size;
};

/* The unnamed table of the transaction. E_OVERTAKEN: two later ones are there, and the second took
 * the place of its root. *ret_certain is false when one later one is there: the second may be
 * taking the place already, unless LMDB, asked afterwards, still begins transactions with `txn_id`.
 */
int tree_open(const unsigned char *map, size_t page_bytes, uint64_t txn_id, struct tree *ret,
              bool *ret_certain);
/* What was read of a version's meta page while the commit of the next one ended. */
struct tree_candidate {
    uint64_t version; /* 0: none */
    int rc;
    struct tree tree;
};
/* The unnamed table of a transaction that has just begun with `txn_id`; `former` is zero at first,
 * and the same at each attempt. E_OVERTAKEN: end the transaction, begin another one, call again.
 *
 * While a commit ends its meta page is there, but LMDB still begins with the version before. What
 * was read of that one's meta page is whole when a transaction that begins *afterwards* begins with
 * it too: the commit that will overwrite it waits for the one that ends. What is read after that
 * beginning may be torn again, so what was read before it counts. */
int tree_open_begun(const unsigned char *map, size_t page_bytes, uint64_t txn_id,
                    struct tree_candidate *former, struct tree *ret);
/* LMDB's own table of free pages, in the version of `unnamed`. E_CORRUPT. */
int tree_open_free(const struct tree *unnamed, uint64_t txn_id, struct tree *ret);
/* A named table. E_NOT_FOUND, E_CORRUPT. */
int tree_open_named(const struct tree *unnamed, const char *name, struct tree *ret);

/* E_NOT_FOUND, E_CORRUPT. The value lies within the file. */
int tree_get(const struct tree *tree, MDB_val key, MDB_val *ret);
/* The first pair at or behind `key`. */
int tree_seek(const struct tree *tree, MDB_val key, MDB_val *ret_key, MDB_val *ret);
/* The first pair at or behind `from`; an empty key is before all. E_NOT_FOUND: there is none.
 * E_CORRUPT: the table cannot be read from here on. Pairs that are tables themselves have those
 * bytes as value. */
int tree_walk_begin(struct tree_walk *walk, const struct tree *tree, MDB_val from);
/* The next pair; codes as above, after which the walk has ended. */
int tree_walk_next(struct tree_walk *walk);

/* Before LMDB itself goes to `key`, which need not be there: the pages on the way are whole, and so
 * is the pair's own page if it has one. E_CORRUPT. */
int tree_guard(const struct tree *tree, MDB_val key);
/* The same before it deletes the pair, which may make it look at the pages beside. */
int tree_guard_delete(const struct tree *tree, MDB_val key);

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

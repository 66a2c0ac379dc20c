/* tree.c - see tree.h. */
#include "store/tree.h"

#include <stdatomic.h>
#include <string.h>

#include "store/tree_page.h"

/* ---- where it begins ---- */

static uint64_t txn_of_meta(const unsigned char *meta)
{
    return __atomic_load_n((const uint64_t *)(const void *)(meta + META_AT_TXN), __ATOMIC_ACQUIRE);
}

static int read_table(const struct tree *in, const unsigned char *table, struct tree *ret)
{
    struct tree tree = *in;

    tree.root = tree_get_u64(table + TABLE_AT_ROOT);
    tree.entries = tree_get_u64(table + TABLE_AT_ENTRIES);
    tree.spread = tree_get_u64(table + TABLE_AT_LEAVES) + tree_get_u64(table + TABLE_AT_OVERFLOW);
    tree.depth = tree_get_u16(table + TABLE_AT_DEPTH);
    tree.flags = tree_get_u16(table + TABLE_AT_FLAGS);
    tree.integer_keys = (tree.flags & TABLE_INTEGER_KEYS) != 0;
    if (tree.depth > TREE_MAX_DEPTH || (tree.root == UINT64_MAX) != (tree.depth == 0))
        return E_CORRUPT;
    *ret = tree;
    return 0;
}

int tree_open_free(const struct tree *unnamed, uint64_t txn_id, struct tree *ret)
{
    const unsigned char *meta = unnamed->map + txn_id % META_PAGES * unnamed->page_bytes;

    return read_table(unnamed, meta + META_AT_TABLES, ret);
}

/* A commit writes the meta page that is not the newest. So what was read of a page that is the
 * newest still, afterwards, was whole. */
int tree_open(const unsigned char *map, size_t page_bytes, uint64_t txn_id, struct tree *ret,
              bool *ret_certain)
{
    const unsigned char *meta = map + txn_id % META_PAGES * page_bytes;
    const unsigned char *other = map + (txn_id + 1) % META_PAGES * page_bytes;
    struct tree tree = {.map = map, .page_bytes = page_bytes};
    int rc;

    if (txn_of_meta(meta) != txn_id)
        return E_OVERTAKEN;
    tree.pages = tree_get_u64(meta + META_AT_LAST_PAGE) + 1;
    rc = read_table(&tree, meta + META_AT_UNNAMED, &tree);
    atomic_thread_fence(memory_order_acquire);
    if (txn_of_meta(meta) != txn_id)
        return E_OVERTAKEN;
    *ret = tree;
    *ret_certain = txn_of_meta(other) < txn_id;
    return rc;
}

int tree_open_begun(const unsigned char *map, size_t page_bytes, uint64_t txn_id,
                    struct tree_candidate *former, struct tree *ret)
{
    struct tree_candidate now = {.version = txn_id};
    bool certain = false;

    if (former->version == txn_id) {
        *ret = former->tree;
        return former->rc;
    }
    now.rc = tree_open(map, page_bytes, txn_id, &now.tree, &certain);
    if (certain) {
        *ret = now.tree;
        return now.rc;
    }
    if (now.rc != E_OVERTAKEN)
        *former = now;
    return E_OVERTAKEN;
}

/* ---- searching a page ---- */

/* What is looked for: a key, or a hash behind a prefix. */
struct wanted {
    MDB_val key; /* mv_data NULL: a hash */
    unsigned char prefix;
    uint64_t hash;
    uint64_t low; /* hashes of the page at hand lie between these two */
    uint64_t high;
    uint64_t share; /* of the way from low to high at which the hash is, in 2^-32 */
};

enum { HASH_KEY_BYTES = 1 + 8 };

/* False for keys of another kind: the names of tables, which stand in front. */
static bool tree_hash_of(const struct wanted *wanted, const MDB_val *key, uint64_t *ret)
{
    const unsigned char *bytes = key->mv_data;

    if (key->mv_size != HASH_KEY_BYTES || bytes[0] != wanted->prefix)
        return false;
    *ret = bytes_get_u64_be(bytes + 1);
    return true;
}

/* Whether the i-th key is below what is wanted (`behind`: or equal to it). */
static bool is_before(const struct tree *tree, const unsigned char *page, size_t i,
                      const struct wanted *wanted, bool behind, bool *ret_damaged)
{
    struct tree_node node;
    uint64_t hash;
    int order;

    if (!tree_node_at(tree, page, i, &node)) {
        *ret_damaged = true;
        return false;
    }
    if (wanted->key.mv_data != NULL) {
        order = tree_order(tree, &node.key, &wanted->key);
        return order < 0 || (behind && order == 0);
    }
    return !tree_hash_of(wanted, &node.key, &hash) || hash < wanted->hash ||
           (behind && hash == wanted->hash);
}

enum { SHARE_BITS = 32 };

static void set_share(struct wanted *wanted)
{
    uint64_t span = (wanted->high - wanted->low) >> SHARE_BITS;
    uint64_t at = (wanted->hash - wanted->low) >> SHARE_BITS;

    wanted->share = at >= span ? UINT32_MAX : (at << SHARE_BITS) / span;
}

/* Where a hash would stand among `count` keys that are spread evenly. */
static size_t guess(const struct wanted *wanted, size_t count)
{
    return (size_t)(wanted->share * count >> SHARE_BITS);
}

/* Asks for the two cache lines that the search of a leaf will most likely begin with, while its
 * head is still on the way: of a hash's pointer and of its node. A load appends nodes of one size,
 * from the end of the page to its front, until it is full, and changes leave them in place. */
static void fetch_guess(const struct tree *tree, const unsigned char *page,
                        const struct wanted *wanted)
{
    enum { NODE_BYTES = (NODE_HEAD_BYTES + HASH_KEY_BYTES + 8 + 1) / 2 * 2 };
    size_t full = (tree->page_bytes - PAGE_HEAD_BYTES) / (NODE_BYTES + PAGE_POINTER_BYTES);
    size_t i = guess(wanted, full);

    __builtin_prefetch(page + PAGE_HEAD_BYTES + i * PAGE_POINTER_BYTES);
    __builtin_prefetch(page + tree->page_bytes - (i + 1) * NODE_BYTES);
}

/* What is looked for in one page. */
struct search {
    const struct tree *tree;
    const unsigned char *page;
    const struct wanted *wanted;
    bool behind;
    bool damaged;
    size_t from; /* the first node that is not before stands in [from, to], */
    size_t to;   /* where `to` stands for none of them */
};

static bool try_at(struct search *search, size_t i)
{
    bool before =
        is_before(search->tree, search->page, i, search->wanted, search->behind, &search->damaged);

    if (before)
        search->from = i + 1;
    else
        search->to = i;
    return before;
}

/* Closes in on a hash from where it should be, in growing steps. */
static void gallop(struct search *search)
{
    size_t step = 1;

    if (try_at(search, search->from + guess(search->wanted, search->to - search->from))) {
        while (search->from + step <= search->to && try_at(search, search->from + step - 1))
            step *= 2;
    } else {
        while (search->from + step <= search->to && !try_at(search, search->to - step))
            step *= 2;
    }
}

/* The first of the nodes [from, count) that is not before what is wanted; count: none. */
static size_t search_page(const struct tree *tree, const unsigned char *page, size_t from,
                          size_t count, const struct wanted *wanted, bool behind, bool *ret_damaged)
{
    struct search search = {tree, page, wanted, behind, false, from, count};

    if (wanted->key.mv_data == NULL && from < count)
        gallop(&search);
    while (search.from < search.to)
        (void)try_at(&search, search.from + (search.to - search.from) / 2);
    *ret_damaged = search.damaged;
    return search.from;
}

/* ---- searching the tree ---- */

/* The way down to a leaf. */
struct path {
    const unsigned char *pages[TREE_MAX_DEPTH];
    size_t at[TREE_MAX_DEPTH];
    size_t counts[TREE_MAX_DEPTH];
};

static int tree_enter(const struct tree *tree, struct path *path, unsigned level, uint64_t number)
{
    bool leaf = level + 1 == tree->depth;

    path->pages[level] = tree_page_at(tree, number, leaf ? PAGE_LEAF : PAGE_BRANCH);
    if (path->pages[level] == NULL)
        return E_CORRUPT;
    path->counts[level] = tree_page_count(tree, path->pages[level]);
    return path->counts[level] > 0 ? 0 : E_CORRUPT;
}

/* The child that path->at[level] says. */
static int tree_follow(const struct tree *tree, const struct path *path, unsigned level,
                       uint64_t *ret)
{
    struct tree_node node;

    if (!tree_node_at(tree, path->pages[level], path->at[level], &node))
        return E_CORRUPT;
    *ret = tree_node_child(&node);
    return 0;
}

/* The child of a branch in which the wanted key would be; the first key of a branch stands for
 * everything before the second. */
static int descend(const struct tree *tree, struct path *path, unsigned level,
                   struct wanted *wanted, uint64_t *ret)
{
    const unsigned char *page = path->pages[level];
    size_t count = path->counts[level];
    bool damaged = false;
    size_t at = search_page(tree, page, 1, count, wanted, true, &damaged) - 1;
    struct tree_node node;

    if (damaged)
        return E_CORRUPT;
    path->at[level] = at;
    if (at > 0 && tree_node_at(tree, page, at, &node))
        (void)tree_hash_of(wanted, &node.key, &wanted->low); /* else what is known stays right */
    if (at + 1 < count && tree_node_at(tree, page, at + 1, &node))
        (void)tree_hash_of(wanted, &node.key, &wanted->high);
    set_share(wanted);
    return tree_follow(tree, path, level, ret);
}

/* The leaf behind the one that the path leads to. */
static int next_leaf(const struct tree *tree, struct path *path)
{
    unsigned level = tree->depth - 1;
    int rc = 0;

    do {
        if (level == 0)
            return E_NOT_FOUND;
        level--;
    } while (++path->at[level] >= path->counts[level]);
    for (; rc == 0 && level + 1 < tree->depth; level++) {
        uint64_t child;

        rc = tree_follow(tree, path, level, &child);
        if (rc == 0)
            rc = tree_enter(tree, path, level + 1, child);
        path->at[level + 1] = 0;
    }
    return rc;
}

/* The first node at or behind what is wanted. */
static int tree_find(const struct tree *tree, struct wanted *wanted, struct tree_node *ret)
{
    unsigned leaf = tree->depth - 1;
    uint64_t number = tree->root;
    bool damaged = false;
    struct path path;
    int rc = tree->depth > 0 ? 0 : E_NOT_FOUND;

    for (unsigned level = 0; rc == 0 && level < leaf; level++) {
        rc = tree_enter(tree, &path, level, number);
        if (rc == 0)
            rc = descend(tree, &path, level, wanted, &number);
    }
    if (rc == 0 && wanted->key.mv_data == NULL && number < tree->pages)
        fetch_guess(tree, tree->map + number * tree->page_bytes, wanted);
    if (rc == 0)
        rc = tree_enter(tree, &path, leaf, number);
    if (rc != 0)
        return rc;
    path.at[leaf] =
        search_page(tree, path.pages[leaf], 0, path.counts[leaf], wanted, false, &damaged);
    if (!damaged && path.at[leaf] == path.counts[leaf])
        rc = next_leaf(tree, &path);
    if (rc != 0)
        return rc;
    /* A leaf that is not where it belongs must not lead back. */
    return !is_before(tree, path.pages[leaf], path.at[leaf], wanted, false, &damaged) && !damaged &&
                   tree_node_at(tree, path.pages[leaf], path.at[leaf], ret)
               ? 0
               : E_CORRUPT;
}

int tree_seek_hash(const struct tree *tree, unsigned char prefix, uint64_t hash, MDB_val *ret)
{
    struct wanted wanted = {.prefix = prefix, .hash = hash, .high = UINT64_MAX};
    struct tree_node node;
    int rc;

    set_share(&wanted);
    rc = tree_find(tree, &wanted, &node);
    return rc == 0 ? tree_node_pair(tree, &node, ret) : rc;
}

/* How many of the table's pages lie between two hashes; the lower halves count for nothing. */
static int64_t pages_between(const struct tree *tree, uint64_t from, uint64_t to)
{
    const int64_t distance = (int64_t)(to >> SHARE_BITS) - (int64_t)(from >> SHARE_BITS);

    return distance * (int64_t)(tree->spread & INT32_MAX) >> SHARE_BITS;
}

uint64_t tree_guess(const struct tree *tree, uint64_t hash, uint64_t known, const void *at)
{
    const uint64_t offset = (uintptr_t)at - (uintptr_t)tree->map;
    const uint64_t former = offset / tree->page_bytes;
    const uint64_t page = former + (uint64_t)pages_between(tree, known, hash);

    return former < tree->pages && page < tree->pages ? page : 0;
}

void tree_fetch(const struct tree *tree, uint64_t page)
{
    enum { LINE_BYTES = 64, PAGES = 2, LINES = 2 };

    if (page == 0 || page + PAGES > tree->pages)
        return;
    for (size_t i = 0; i < PAGES; i++) {
        for (size_t j = 0; j < LINES; j++)
            __builtin_prefetch(tree->map + (page + i) * tree->page_bytes + j * LINE_BYTES);
    }
}

int tree_seek(const struct tree *tree, MDB_val key, MDB_val *ret_key, MDB_val *ret)
{
    struct wanted wanted = {.key = key};
    struct tree_node node;
    int rc = tree_find(tree, &wanted, &node);

    if (rc == 0)
        rc = tree_node_pair(tree, &node, ret);
    if (rc == 0)
        *ret_key = node.key;
    return rc;
}

static int find_exactly(const struct tree *tree, const MDB_val *key, struct tree_node *ret)
{
    struct wanted wanted = {.key = *key};
    int rc = tree_find(tree, &wanted, ret);

    return rc == 0 && tree_order(tree, &ret->key, key) != 0 ? E_NOT_FOUND : rc;
}

int tree_get(const struct tree *tree, MDB_val key, MDB_val *ret)
{
    struct tree_node node;
    int rc = find_exactly(tree, &key, &node);

    return rc == 0 ? tree_node_pair(tree, &node, ret) : rc;
}

int tree_open_named(const struct tree *unnamed, const char *name, struct tree *ret)
{
    const MDB_val key = {strlen(name), (void *)(uintptr_t)name};
    struct tree_node node;
    MDB_val table;
    int rc = find_exactly(unnamed, &key, &node);

    if (rc == 0)
        rc = tree_node_value(unnamed, &node, NODE_TABLE, &table);
    if (rc != 0)
        return rc;
    return table.mv_size == TABLE_BYTES ? read_table(unnamed, table.mv_data, ret) : E_CORRUPT;
}

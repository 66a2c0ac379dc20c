/* tree_walk.c - pair after pair through a table, believing nothing; see tree.h.
 *
 * A page is checked in whole when it is entered. LMDB keeps a page's nodes without gaps at its end,
 * so that a count or an offset with a flipped bit does not add up; keys stand in order, and between
 * the two keys of the page above that enclose the child, so that a child or a key with a flipped
 * bit is out of place.
 */
#include "store/tree_page.h"

/* ---- one page ---- */

static size_t even(size_t size)
{
    return size + size % 2;
}

/* Bytes of the page that a node takes; 0: it does not fit. */
static size_t node_bytes(const struct tree_node *node, bool leaf)
{
    size_t size = 0;

    if (leaf) {
        size = tree_get_u32(node->head + NODE_AT_SIZE);
        if ((tree_get_u16(node->head + NODE_AT_FLAGS) & NODE_OVERFLOW) != 0)
            size = sizeof(uint64_t);
    }
    if (size > node->room)
        return 0;
    return even(NODE_HEAD_BYTES + node->key.mv_size + size);
}

/* The walk's page at a level, while it is checked. */
struct page_check {
    const struct tree *tree;
    const unsigned char *page;
    bool leaf;
    MDB_val low;  /* every key is at or behind it; mv_data NULL: any */
    MDB_val high; /* every key is before it; mv_data NULL: any */
};

/* The first key of a branch counts for nothing. */
static bool is_key_in_place(const struct page_check *check, size_t i, const MDB_val *key,
                            const MDB_val *former)
{
    const struct tree *tree = check->tree;

    if (!check->leaf && i == 0)
        return true;
    if (key->mv_size == 0 || (former->mv_data != NULL && tree_order(tree, former, key) >= 0))
        return false;
    return (check->low.mv_data == NULL || tree_order(tree, &check->low, key) <= 0) &&
           (check->high.mv_data == NULL || tree_order(tree, key, &check->high) < 0);
}

static bool is_page_whole(const struct page_check *check)
{
    const struct tree *tree = check->tree;
    size_t lower = tree_get_u16(check->page + PAGE_AT_LOWER);
    size_t upper = tree_get_u16(check->page + PAGE_AT_UPPER);
    size_t count = tree_page_count(tree, check->page);
    size_t total = 0;
    MDB_val former = {0, NULL};

    if (count == 0 || lower % PAGE_POINTER_BYTES != 0 || lower > upper || upper > tree->page_bytes)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct tree_node node;
        size_t size;

        if (!tree_node_at(tree, check->page, i, &node) || (size_t)(node.head - check->page) < upper)
            return false;
        if (check->leaf && tree_get_u16(node.head + NODE_AT_FLAGS) > NODE_TABLE)
            return false; /* only one of the two flags makes sense */
        size = node_bytes(&node, check->leaf);
        if (size == 0 || !is_key_in_place(check, i, &node.key, &former))
            return false;
        total += size;
        if (check->leaf || i > 0)
            former = node.key;
    }
    return total == tree->page_bytes - upper;
}

/* ---- the way down ---- */

/* The keys of the pages above between which those of a page at `level` must be. */
static void find_bounds(const struct tree_walk *walk, unsigned level, struct page_check *check)
{
    struct tree_node node;

    while (level-- > 0) {
        size_t at = walk->at[level];

        if (check->low.mv_data == NULL && at > 0 &&
            tree_node_at(&walk->tree, walk->pages[level], at, &node))
            check->low = node.key;
        if (check->high.mv_data == NULL && at + 1 < walk->counts[level] &&
            tree_node_at(&walk->tree, walk->pages[level], at + 1, &node))
            check->high = node.key;
    }
}

/* As which child a page was met; 0 for a root, which is checked each time. */
static uint64_t place_of(const struct tree_walk *walk, unsigned level)
{
    enum { PLACE_BITS = 16 };
    const unsigned char *parent;

    if (level == 0)
        return 0;
    parent = walk->pages[level - 1];
    return (uint64_t)(parent - walk->tree.map) / walk->tree.page_bytes << PLACE_BITS |
           walk->at[level - 1];
}

static int check_page(const struct tree_walk *walk, unsigned level, struct page_check *check,
                      uint64_t number)
{
    struct tree_seen *seen = walk->tree.seen;
    uint64_t place = place_of(walk, level);
    size_t i = number % TREE_SEEN;

    if (seen != NULL && place != 0 && seen->items[i].page == number &&
        seen->items[i].place == place)
        return 0;
    find_bounds(walk, level, check);
    if (!is_page_whole(check))
        return E_CORRUPT;
    if (seen != NULL) {
        seen->items[i].page = number;
        seen->items[i].place = place;
    }
    return 0;
}

static int walk_enter(struct tree_walk *walk, unsigned level, uint64_t number)
{
    struct page_check check = {.tree = &walk->tree, .leaf = level + 1 == walk->tree.depth};
    unsigned kind = check.leaf ? PAGE_LEAF : PAGE_BRANCH;

    walk->page = number;
    check.page = tree_page_at(&walk->tree, number, kind);
    if (check.page == NULL || tree_get_u16(check.page + PAGE_AT_FLAGS) != kind)
        return E_CORRUPT; /* none of LMDB's marks for pages in memory is ever on disk */
    if (check_page(walk, level, &check, number) != 0)
        return E_CORRUPT;
    walk->pages[level] = check.page;
    walk->counts[level] = tree_page_count(&walk->tree, check.page);
    return walk->counts[level] > 0 ? 0 : E_CORRUPT;
}

/* The first of the nodes [first, count) that is behind `key` or, for leaves, equal to it. */
static int search(const struct tree_walk *walk, unsigned level, const MDB_val *key, size_t *ret)
{
    bool leaf = level + 1 == walk->tree.depth;
    size_t from = leaf ? 0 : 1;
    size_t to = walk->counts[level];

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        struct tree_node node;
        int order;

        if (!tree_node_at(&walk->tree, walk->pages[level], middle, &node))
            return E_CORRUPT;
        order = tree_order(&walk->tree, &node.key, key);
        if (order < 0 || (!leaf && order == 0))
            from = middle + 1;
        else
            to = middle;
    }
    *ret = from;
    return 0;
}

/* From the child at hand of `level` down to a leaf: where `key` leads, or (NULL) the first one. */
static int walk_down(struct tree_walk *walk, unsigned level, const MDB_val *key)
{
    int rc = 0;

    while (rc == 0 && level + 1 < walk->tree.depth) {
        struct tree_node node;

        if (!tree_node_at(&walk->tree, walk->pages[level], walk->at[level], &node))
            return E_CORRUPT;
        rc = walk_enter(walk, ++level, tree_node_child(&node));
        walk->at[level] = 0;
        if (rc == 0 && key != NULL) {
            rc = search(walk, level, key, &walk->at[level]);
            walk->at[level] -= level + 1 < walk->tree.depth ? 1 : 0;
        }
    }
    return rc;
}

/* Goes on behind the end of a leaf. */
static int walk_over(struct tree_walk *walk)
{
    unsigned level = walk->tree.depth - 1;

    do {
        if (level == 0)
            return E_NOT_FOUND;
        level--;
    } while (++walk->at[level] >= walk->counts[level]);
    return walk_down(walk, level, NULL);
}

/* The value has as many pages as it needs: LMDB's copy takes that many along. It may have more:
 * LMDB leaves them to a value that became smaller in the transaction that wrote it. */
static int check_own_pages(const struct tree_walk *walk)
{
    const struct tree *tree = &walk->tree;
    const unsigned char *page = (const unsigned char *)walk->value.mv_data - PAGE_HEAD_BYTES;
    uint64_t pages = tree_get_u32(page + PAGE_AT_PAGES);
    uint64_t number = (uint64_t)(page - tree->map) / tree->page_bytes;

    return pages * tree->page_bytes >= walk->value.mv_size + PAGE_HEAD_BYTES &&
                   pages <= tree->pages - number
               ? 0
               : E_CORRUPT;
}

static int walk_show(struct tree_walk *walk, const MDB_val *not_before, bool equal_too)
{
    unsigned leaf = walk->tree.depth - 1;
    struct tree_node node;
    unsigned kind;
    int order;
    int rc;

    rc = walk->at[leaf] < walk->counts[leaf] ? 0 : walk_over(walk);
    if (rc != 0)
        return rc;
    if (!tree_node_at(&walk->tree, walk->pages[leaf], walk->at[leaf], &node))
        return E_CORRUPT;
    order = tree_order(&walk->tree, &node.key, not_before);
    if (order < 0 || (order == 0 && !equal_too))
        return E_CORRUPT;
    kind = tree_get_u16(node.head + NODE_AT_FLAGS);
    if (kind > NODE_TABLE) /* only one of the two flags makes sense */
        return E_CORRUPT;
    rc = tree_node_value(&walk->tree, &node, kind, &walk->value);
    if (rc == 0 && kind == NODE_OVERFLOW)
        rc = check_own_pages(walk);
    if (rc != 0)
        return rc;
    walk->key = node.key;
    walk->former_size = node.key.mv_size;
    memcpy(walk->former, node.key.mv_data, node.key.mv_size);
    return 0;
}

/* To the leaf that has the key, if any has. */
static int walk_to(struct tree_walk *walk, const struct tree *tree, const MDB_val *key)
{
    int rc;

    walk->tree = *tree;
    memset(walk->at, 0, sizeof(walk->at));
    memset(walk->counts, 0, sizeof(walk->counts));
    if (tree->depth == 0)
        return E_NOT_FOUND;
    rc = walk_enter(walk, 0, tree->root);
    if (rc == 0)
        rc = search(walk, 0, key, &walk->at[0]);
    if (rc != 0 || tree->depth == 1)
        return rc;
    walk->at[0]--;
    return walk_down(walk, 0, key);
}

int tree_walk_begin(struct tree_walk *walk, const struct tree *tree, MDB_val from)
{
    int rc = walk_to(walk, tree, &from);

    return rc == 0 ? walk_show(walk, &from, true) : rc;
}

int tree_walk_next(struct tree_walk *walk)
{
    const MDB_val former = {walk->former_size, walk->former};

    walk->at[walk->tree.depth - 1]++;
    return walk_show(walk, &former, false);
}

/* ---- before LMDB goes there ---- */

/* LMDB frees as many pages as the first one says. The writer leaves no count that is larger than
 * its value needs (tables_put()). */
static int guard_value(const struct tree_walk *walk, const struct tree_node *node)
{
    const struct tree *tree = &walk->tree;
    uint64_t size = tree_get_u32(node->head + NODE_AT_SIZE);
    uint64_t pages = (size + PAGE_HEAD_BYTES + tree->page_bytes - 1) / tree->page_bytes;
    const unsigned char *page;
    MDB_val value;
    int rc;

    if (tree_get_u16(node->head + NODE_AT_FLAGS) != NODE_OVERFLOW)
        return 0;
    rc = tree_node_value(tree, node, NODE_OVERFLOW, &value);
    if (rc != 0)
        return rc;
    page = (const unsigned char *)value.mv_data - PAGE_HEAD_BYTES;
    return tree_get_u32(page + PAGE_AT_PAGES) == pages &&
                   tree_get_u16(page + PAGE_AT_FLAGS) == PAGE_OVERFLOW
               ? 0
               : E_CORRUPT;
}

static int guard_path(struct tree_walk *walk, const struct tree *tree, MDB_val key)
{
    unsigned leaf = tree->depth - 1;
    struct tree_node node;
    int rc = walk_to(walk, tree, &key);

    if (rc != 0 || walk->at[leaf] >= walk->counts[leaf])
        return rc;
    if (!tree_node_at(tree, walk->pages[leaf], walk->at[leaf], &node))
        return E_CORRUPT;
    return tree_order(tree, &node.key, &key) == 0 ? guard_value(walk, &node) : 0;
}

int tree_guard(const struct tree *tree, MDB_val key)
{
    struct tree_walk walk;
    int rc = guard_path(&walk, tree, key);

    return rc == E_NOT_FOUND ? 0 : rc;
}

/* The child of the page at `level`, and the first pages below it. */
static int guard_child(const struct tree_walk *walk, unsigned level, size_t at)
{
    struct tree_walk aside = *walk;

    aside.at[level] = at;
    return at < walk->counts[level] ? walk_down(&aside, level, NULL) : 0;
}

/* A page that has become too empty takes from the page beside it, or is merged with it, at every
 * level; LMDB then looks for the lowest keys below. */
int tree_guard_delete(const struct tree *tree, MDB_val key)
{
    struct tree_walk walk;
    int rc = guard_path(&walk, tree, key);

    for (unsigned level = 0; rc == 0 && level + 1 < tree->depth; level++) {
        size_t at = walk.at[level];

        rc = guard_child(&walk, level, 0);
        if (rc == 0 && at > 0)
            rc = guard_child(&walk, level, at - 1);
        if (rc == 0)
            rc = guard_child(&walk, level, at + 1);
    }
    return rc == E_NOT_FOUND ? 0 : rc;
}

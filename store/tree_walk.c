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

static int walk_enter(struct tree_walk *walk, unsigned level, uint64_t number)
{
    struct page_check check = {.tree = &walk->tree, .leaf = level + 1 == walk->tree.depth};

    check.page = tree_page_at(&walk->tree, number, check.leaf ? PAGE_LEAF : PAGE_BRANCH);
    if (check.page == NULL)
        return E_CORRUPT;
    find_bounds(walk, level, &check);
    if (!is_page_whole(&check))
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
    if (rc != 0)
        return rc;
    walk->key = node.key;
    walk->former_size = node.key.mv_size;
    memcpy(walk->former, node.key.mv_data, node.key.mv_size);
    return 0;
}

int tree_walk_begin(struct tree_walk *walk, const struct tree *tree, MDB_val from)
{
    int rc;

    walk->tree = *tree;
    if (tree->depth == 0)
        return E_NOT_FOUND;
    rc = walk_enter(walk, 0, tree->root);
    if (rc == 0)
        rc = search(walk, 0, &from, &walk->at[0]);
    if (rc != 0)
        return rc;
    if (tree->depth > 1) {
        walk->at[0]--;
        rc = walk_down(walk, 0, &from);
    }
    return rc == 0 ? walk_show(walk, &from, true) : rc;
}

int tree_walk_next(struct tree_walk *walk)
{
    const MDB_val former = {walk->former_size, walk->former};

    walk->at[walk->tree.depth - 1]++;
    return walk_show(walk, &former, false);
}

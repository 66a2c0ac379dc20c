/* tree_page.h - LMDB's pages and nodes, each number checked before it is followed. For tree.c and
 * tree_walk.c alone.
 */
#ifndef RS_STORE_TREE_PAGE_H
#define RS_STORE_TREE_PAGE_H

#include <string.h>

#include "base/error.h"
#include "store/bytes.h"
#include "store/lmdb_format.h"
#include "store/tree.h"

static inline unsigned tree_get_u16(const unsigned char *bytes)
{
    uint16_t value;

    memcpy(&value, bytes, sizeof(value));
    BYTES_READ_ONCE(value);
    return value;
}

static inline uint32_t tree_get_u32(const unsigned char *bytes)
{
    uint32_t value = bytes_get_u32(bytes);

    BYTES_READ_ONCE(value);
    return value;
}

static inline uint64_t tree_get_u64(const unsigned char *bytes)
{
    uint64_t value = bytes_get_u64(bytes);

    BYTES_READ_ONCE(value);
    return value;
}

/* ---- pages and nodes ---- */

/* NULL: there is no such page, it is of another kind, or it says that it is another page. */
static inline const unsigned char *tree_page_at(const struct tree *tree, uint64_t number,
                                                unsigned kind)
{
    const unsigned char *page;

    if (number < META_PAGES || number >= tree->pages)
        return NULL;
    page = tree->map + number * tree->page_bytes;
    return (tree_get_u16(page + PAGE_AT_FLAGS) & PAGE_KINDS) == kind &&
                   tree_get_u64(page + PAGE_AT_NUMBER) == number
               ? page
               : NULL;
}

/* How many nodes the page has; 0: it is damaged, or the root of an empty table. */
static inline size_t tree_page_count(const struct tree *tree, const unsigned char *page)
{
    size_t lower = tree_get_u16(page + PAGE_AT_LOWER);

    if (lower < PAGE_HEAD_BYTES || lower > tree->page_bytes)
        return 0;
    return (lower - PAGE_HEAD_BYTES) / PAGE_POINTER_BYTES;
}

struct tree_node {
    const unsigned char *head;
    MDB_val key;
    size_t room; /* bytes of the page behind the key */
};

/* The i-th node of a page that has that many. */
static inline bool tree_node_at(const struct tree *tree, const unsigned char *page, size_t i,
                                struct tree_node *ret)
{
    size_t at = tree_get_u16(page + PAGE_HEAD_BYTES + i * PAGE_POINTER_BYTES);
    size_t key_size;

    if (at > tree->page_bytes - NODE_HEAD_BYTES)
        return false;
    ret->head = page + at;
    key_size = tree_get_u16(ret->head + NODE_AT_KEY_SIZE);
    if (key_size > tree->page_bytes - NODE_HEAD_BYTES - at || key_size > TREE_KEY_MAX_BYTES)
        return false;
    ret->key = (MDB_val){key_size, (void *)(uintptr_t)(ret->head + NODE_HEAD_BYTES)};
    ret->room = tree->page_bytes - NODE_HEAD_BYTES - at - key_size;
    return true;
}

static inline uint64_t tree_node_child(const struct tree_node *node)
{
    return tree_get_u32(node->head + NODE_AT_SIZE) |
           (uint64_t)tree_get_u16(node->head + NODE_AT_FLAGS) << 32;
}

static inline int tree_node_value(const struct tree *tree, const struct tree_node *node,
                                  unsigned kind, MDB_val *ret)
{
    const unsigned char *bytes = (const unsigned char *)node->key.mv_data + node->key.mv_size;
    size_t size = tree_get_u32(node->head + NODE_AT_SIZE);
    const unsigned char *page;
    uint64_t number;

    if (tree_get_u16(node->head + NODE_AT_FLAGS) != kind)
        return E_CORRUPT;
    if (kind != NODE_OVERFLOW) {
        *ret = (MDB_val){size, (void *)(uintptr_t)bytes};
        return size <= node->room ? 0 : E_CORRUPT;
    }
    if (node->room < sizeof(number))
        return E_CORRUPT;
    number = tree_get_u64(bytes);
    page = tree_page_at(tree, number, PAGE_OVERFLOW);
    if (page == NULL || size > (tree->pages - number) * tree->page_bytes - PAGE_HEAD_BYTES)
        return E_CORRUPT;
    *ret = (MDB_val){size, (void *)(uintptr_t)(page + PAGE_HEAD_BYTES)};
    return 0;
}

static inline int tree_node_pair(const struct tree *tree, const struct tree_node *node,
                                 MDB_val *ret)
{
    unsigned kind = tree_get_u16(node->head + NODE_AT_FLAGS);

    return kind <= NODE_OVERFLOW ? tree_node_value(tree, node, kind, ret) : E_CORRUPT;
}

static inline int tree_order(const struct tree *tree, const MDB_val *a, const MDB_val *b)
{
    size_t size = a->mv_size < b->mv_size ? a->mv_size : b->mv_size;
    int order;

    if (tree->integer_keys && size >= sizeof(uint32_t)) {
        uint32_t x = tree_get_u32(a->mv_data);
        uint32_t y = tree_get_u32(b->mv_data);

        return (x > y) - (x < y);
    }
    order = memcmp(a->mv_data, b->mv_data, size);
    return order != 0 ? order : (a->mv_size > b->mv_size) - (a->mv_size < b->mv_size);
}

#endif

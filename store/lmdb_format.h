/* lmdb_format.h - where things stand in LMDB's pages: data format 1, which every 0.9 release writes
 * (lmdb's mdb.c: MDB_page, MDB_node, MDB_db, MDB_meta). Numbers are in host order, which is
 * little-endian wherever a store is.
 */
#ifndef RS_STORE_LMDB_FORMAT_H
#define RS_STORE_LMDB_FORMAT_H

enum {
    /* A page's head. */
    PAGE_AT_NUMBER = 0, /* u64 */
    PAGE_AT_FLAGS = 10, /* u16 */
    PAGE_AT_PAGES = 12, /* u32, of an overflow page: how many pages the value takes */
    PAGE_AT_LOWER = 12, /* u16: where the pointers to nodes, u16 each, end */
    PAGE_AT_UPPER = 14, /* u16: where the nodes, which fill the rest, begin */
    PAGE_HEAD_BYTES = 16,
    PAGE_BRANCH = 0x01,
    PAGE_LEAF = 0x02,
    PAGE_OVERFLOW = 0x04,
    PAGE_KINDS = 0x6f, /* of the flags */
    PAGE_POINTER_BYTES = 2,

    /* A node: a key with a value, or with a child page. */
    NODE_AT_SIZE = 0,     /* u32: of the value; of a child's number the lower 32 bits */
    NODE_AT_FLAGS = 4,    /* u16; of a child's number the upper bits */
    NODE_AT_KEY_SIZE = 6, /* u16 */
    NODE_HEAD_BYTES = 8,
    NODE_OVERFLOW = 0x01, /* instead of the value, the u64 number of the page that has it */
    NODE_TABLE = 0x02,    /* the value describes another table */

    /* The description of a table. */
    TABLE_AT_FLAGS = 4,     /* u16 */
    TABLE_AT_DEPTH = 6,     /* u16 */
    TABLE_AT_LEAVES = 16,   /* u64: how many pages of leaves, */
    TABLE_AT_OVERFLOW = 24, /* u64: and of values that have pages of their own */
    TABLE_AT_ENTRIES = 32,  /* u64 */
    TABLE_AT_ROOT = 40,     /* u64; all ones: empty */
    TABLE_BYTES = 48,
    TABLE_INTEGER_KEYS = 0x08,
    TABLE_NO_SUBDIR = 0x4000, /* of the table of free pages: how the file was opened when made */

    /* A meta page; the first two of the file are such. */
    META_PAGES = 2,
    META_AT_MAGIC = PAGE_HEAD_BYTES,
    META_AT_VERSION = META_AT_MAGIC + 4,
    META_AT_TABLES = META_AT_MAGIC + 24, /* of free pages; its first u32 is the page size */
    META_AT_PAGE_SIZE = META_AT_TABLES,
    META_AT_UNNAMED = META_AT_TABLES + TABLE_BYTES,
    META_AT_LAST_PAGE = META_AT_UNNAMED + TABLE_BYTES, /* u64 */
    META_AT_TXN = META_AT_LAST_PAGE + 8,               /* u64 */
    META_BYTES = META_AT_TXN + 8,
    META_VERSION = 1
};

#endif

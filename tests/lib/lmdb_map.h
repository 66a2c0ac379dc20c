/* lmdb_map.h - where LMDB has mapped a file, which it keeps to itself. */
#ifndef RS_TESTS_LMDB_MAP_H
#define RS_TESTS_LMDB_MAP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* From a value that LMDB gave and the size of its pages: each begins with its number. */
static inline const unsigned char *lmdb_map_of(const void *value, size_t page_bytes)
{
    const unsigned char *bytes = value;
    const unsigned char *page = bytes - ((uintptr_t)bytes & (page_bytes - 1));
    uint64_t number;

    memcpy(&number, page, sizeof(number));
    return page - number * page_bytes;
}

#endif

/* sorter.h - entries of `lookup` in any order, given back sorted, in bounded memory.
 *
 * A load meets keys consumer by consumer, and hashes are as good as random. They are spread over
 * PARTS temporary files by the hash's first bits, so that each file is one range of hashes; then
 * one file at a time is mapped and sorted, in a thread of its own while the one before it is given
 * out. Memory: one write buffer a part, and 16 bytes an entry of two parts; the files' pages are
 * the kernel's to drop.
 */
#ifndef RS_STORE_SORTER_H
#define RS_STORE_SORTER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct sorter;

/* The files are made in `dir` and unlinked at once. */
int sorter_create(const char *dir, struct sorter **ret, struct error *err);
void sorter_destroy(struct sorter *sorter); /* NULL allowed */

/* A packed entry (store/entry.h). */
int sorter_add(struct sorter *sorter, const unsigned char *entry, size_t size, struct error *err);
/* Calls visit(context, entry, size, err) for every entry in order; its first code other than 0 ends
 * the walk and is returned. To be called once, after the last sorter_add(). */
typedef int (*sorter_visit_fn)(void *context, const unsigned char *entry, size_t size,
                               struct error *err);
int sorter_walk(struct sorter *sorter, sorter_visit_fn visit, void *context, struct error *err);

#endif

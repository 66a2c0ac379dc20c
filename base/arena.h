/* arena.h - memory that is freed all at once: one per request, one per decoded transaction.
 *
 * Pointers stay valid until arena_reset() or arena_finish(). Not thread-safe. A ceiling bounds what
 * hostile input can make us hold.
 */
#ifndef RS_BASE_ARENA_H
#define RS_BASE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* owned, newest first */
    size_t used_bytes;          /* handed out since the last reset */
    size_t max_bytes;
};

void arena_init(struct arena *arena, size_t max_bytes);
void arena_finish(struct arena *arena);
/* Overwrites and frees all that was handed out; the arena stays usable. */
void arena_reset(struct arena *arena);

/* Zeroed memory, aligned for any type; NULL when out of memory or over the ceiling. */
void *arena_alloc(struct arena *arena, size_t size);
/* count * size with an overflow check. */
void *arena_array(struct arena *arena, size_t count, size_t size);
/* Copies. NULL string gives NULL (ambiguous with failure: check the input first). */
char *arena_string(struct arena *arena, const char *string);
void *arena_copy(struct arena *arena, const void *bytes, size_t size);
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

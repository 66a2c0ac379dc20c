/* arena.c - see arena.h. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A page less malloc's own header: most requests fit into one block. */
enum { ARENA_BLOCK_BYTES = 4096 - 64 };

struct arena_block {
    struct arena_block *next;
    size_t size;
    size_t used;
    alignas(max_align_t) unsigned char bytes[];
};

void arena_init(struct arena *arena, size_t max_bytes)
{
    *arena = (struct arena){.max_bytes = max_bytes};
}

void arena_finish(struct arena *arena)
{
    arena_reset(arena);
}

void arena_reset(struct arena *arena)
{
    while (arena->blocks != NULL) {
        struct arena_block *next = arena->blocks->next;

        /* What a request or a line was about, secrets among it. */
        explicit_bzero(arena->blocks->bytes, arena->blocks->used);
        free(arena->blocks);
        arena->blocks = next;
    }
    arena->used_bytes = 0;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);
    struct arena_block *block = arena->blocks;
    size_t rounded;
    void *result;

    if (size > SIZE_MAX - align - sizeof(*block))
        return NULL;
    rounded = (size + align - 1) / align * align;
    if (rounded > arena->max_bytes - arena->used_bytes)
        return NULL;
    if (block == NULL || rounded > block->size - block->used) {
        size_t block_size = rounded > ARENA_BLOCK_BYTES ? rounded : ARENA_BLOCK_BYTES;

        block = calloc(1, sizeof(*block) + block_size);
        if (block == NULL)
            return NULL;
        block->size = block_size;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    result = block->bytes + block->used;
    block->used += rounded;
    arena->used_bytes += rounded;
    return result;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    return arena_alloc(arena, total);
}

void *arena_copy(struct arena *arena, const void *bytes, size_t size)
{
    void *copy = arena_alloc(arena, size);

    if (copy != NULL && size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

char *arena_string(struct arena *arena, const char *string)
{
    return string != NULL ? arena_copy(arena, string, strlen(string) + 1) : NULL;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    char *text;
    int length;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return NULL;
    text = arena_alloc(arena, (size_t)length + 1);
    if (text == NULL)
        return NULL;
    va_start(args, format);
    (void)vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

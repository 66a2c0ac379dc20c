/* wipe.c - see wipe.h. */
#include "base/wipe.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

void wipe_free(void *memory)
{
    if (memory != NULL)
        explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

void *wipe_realloc(void *memory, size_t size)
{
    size_t former = memory != NULL ? malloc_usable_size(memory) : 0;
    void *moved;

    if (memory != NULL && size <= former && size > former / 2)
        return memory; /* as good as before */
    moved = malloc(size > 0 ? size : 1);
    if (moved == NULL)
        return NULL;
    if (former > 0)
        memcpy(moved, memory, former < size ? former : size);
    wipe_free(memory);
    return moved;
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return malloc(size);
}

static void *openssl_realloc(void *memory, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return wipe_realloc(memory, size);
}

static void openssl_free(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    wipe_free(memory);
}

void wipe_openssl(void)
{
    /* Refused when it is too late; everything works then as before. */
    (void)CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
}

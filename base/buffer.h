/* buffer.h - a byte buffer that grows up to a ceiling given at creation.
 *
 * Invariants: size <= capacity <= max; data is NULL only while capacity is 0. The contents are not
 * NUL-terminated unless buffer_terminate() was called last. Not thread-safe.
 */
#ifndef RS_BASE_BUFFER_H
#define RS_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct buffer {
    unsigned char *data; /* owned */
    size_t size;         /* bytes used */
    size_t capacity;
    size_t max;     /* ceiling in bytes; growth beyond it is E_TOO_LARGE */
    bool is_secret; /* memory that is given up is wiped */
};

void buffer_init(struct buffer *buf, size_t max_bytes);
/* For what may hold a secret: growing leaves no copy behind, buffer_clear() and buffer_finish()
 * overwrite. Whoever takes the memory (buffer_take) frees it with wipe_free(). */
void buffer_init_secret(struct buffer *buf, size_t max_bytes);
/* Frees the memory; the buffer is empty and usable again (the ceiling stays). */
void buffer_finish(struct buffer *buf);
/* Forgets the contents, keeps the memory. */
void buffer_clear(struct buffer *buf);

/* Makes room for `extra` more bytes. 0, E_TOO_LARGE or E_NO_MEMORY; unchanged on failure. */
int buffer_reserve(struct buffer *buf, size_t extra);
/* Appends; `bytes` must not point into the buffer. Same errors. */
int buffer_append(struct buffer *buf, const void *bytes, size_t size);
int buffer_append_string(struct buffer *buf, const char *string);
int buffer_printf(struct buffer *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Appends `size` zero bytes and gives their start (valid until the next growth) in *ret. */
int buffer_append_zero(struct buffer *buf, size_t size, unsigned char **ret);
/* Puts a NUL behind the contents without counting it in size. */
int buffer_terminate(struct buffer *buf);
/* Drops the first `count` bytes (at most size). */
void buffer_consume(struct buffer *buf, size_t count);
/* Hands the memory over (caller frees with free()) and empties the buffer. May be NULL when
 * empty. */
unsigned char *buffer_take(struct buffer *buf, size_t *ret_size);

#endif

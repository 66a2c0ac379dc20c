/* buffer.c - see buffer.h. */
#include "base/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/wipe.h"

enum { BUFFER_FIRST_CAPACITY = 256 };

void buffer_init(struct buffer *buf, size_t max_bytes)
{
    *buf = (struct buffer){.max = max_bytes};
}

void buffer_init_secret(struct buffer *buf, size_t max_bytes)
{
    *buf = (struct buffer){.max = max_bytes, .is_secret = true};
}

static void forget(struct buffer *buf)
{
    *buf = (struct buffer){.max = buf->max, .is_secret = buf->is_secret};
}

void buffer_finish(struct buffer *buf)
{
    if (buf->is_secret)
        wipe_free(buf->data);
    else
        free(buf->data);
    forget(buf);
}

void buffer_clear(struct buffer *buf)
{
    if (buf->is_secret && buf->size > 0)
        explicit_bzero(buf->data, buf->size);
    buf->size = 0;
}

int buffer_reserve(struct buffer *buf, size_t extra)
{
    unsigned char *grown;
    size_t needed;
    size_t capacity;

    if (extra > buf->max - buf->size)
        return E_TOO_LARGE;
    needed = buf->size + extra;
    if (needed <= buf->capacity)
        return 0;
    capacity = buf->capacity > 0 ? buf->capacity : BUFFER_FIRST_CAPACITY;
    while (capacity < needed)
        capacity = capacity > buf->max / 2 ? buf->max : capacity * 2;
    if (capacity > buf->max)
        capacity = buf->max;
    grown = buf->is_secret ? wipe_realloc(buf->data, capacity) : realloc(buf->data, capacity);
    if (grown == NULL)
        return E_NO_MEMORY;
    buf->data = grown;
    buf->capacity = capacity;
    return 0;
}

int buffer_append(struct buffer *buf, const void *bytes, size_t size)
{
    int rc = buffer_reserve(buf, size);

    if (rc != 0 || size == 0)
        return rc;
    memcpy(buf->data + buf->size, bytes, size);
    buf->size += size;
    return 0;
}

int buffer_append_string(struct buffer *buf, const char *string)
{
    return buffer_append(buf, string, strlen(string));
}

int buffer_printf(struct buffer *buf, const char *format, ...)
{
    va_list args;
    int length;
    int rc;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return E_INVALID;
    rc = buffer_reserve(buf, (size_t)length + 1); /* vsnprintf writes its NUL too */
    if (rc != 0)
        return rc;
    va_start(args, format);
    (void)vsnprintf((char *)buf->data + buf->size, (size_t)length + 1, format, args);
    va_end(args);
    buf->size += (size_t)length;
    return 0;
}

int buffer_append_zero(struct buffer *buf, size_t size, unsigned char **ret)
{
    int rc = buffer_reserve(buf, size);

    if (rc != 0)
        return rc;
    if (size > 0)
        memset(buf->data + buf->size, 0, size);
    if (ret != NULL)
        *ret = buf->data + buf->size;
    buf->size += size;
    return 0;
}

int buffer_terminate(struct buffer *buf)
{
    int rc = buffer_reserve(buf, 1);

    if (rc == 0)
        buf->data[buf->size] = 0;
    return rc;
}

void buffer_consume(struct buffer *buf, size_t count)
{
    assert(count <= buf->size);
    buf->size -= count;
    if (buf->size > 0 && count > 0)
        memmove(buf->data, buf->data + count, buf->size);
}

unsigned char *buffer_take(struct buffer *buf, size_t *ret_size)
{
    unsigned char *data = buf->data;

    *ret_size = buf->size;
    forget(buf);
    return data;
}

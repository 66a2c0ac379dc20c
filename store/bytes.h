/* bytes.h - fixed-width integers in byte arrays, at any alignment.
 *
 * LMDB promises 2-byte alignment inside a page and the snapshot stream none, so every field goes
 * through memcpy; the compiler makes single moves of it. Little-endian is the format's order; the
 * big-endian forms are for keys, whose byte order must be their numeric order.
 */
#ifndef RS_STORE_BYTES_H
#define RS_STORE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t bytes_get_u16(const unsigned char *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof(value));
    return le16toh(value);
}

static inline uint32_t bytes_get_u32(const unsigned char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static inline uint64_t bytes_get_u64(const unsigned char *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

static inline void bytes_put_u16(unsigned char *at, uint16_t value)
{
    value = htole16(value);
    memcpy(at, &value, sizeof(value));
}

static inline void bytes_put_u32(unsigned char *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static inline void bytes_put_u64(unsigned char *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
}

static inline uint32_t bytes_get_u32_be(const unsigned char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return be32toh(value);
}

static inline uint64_t bytes_get_u64_be(const unsigned char *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return be64toh(value);
}

static inline void bytes_put_u32_be(unsigned char *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof(value));
}

/* Ends the compiler's freedom to read the value from memory again. A reader without a slot may meet
 * a page that is being used again: what was checked must be what is used. */
#define BYTES_READ_ONCE(value) __asm__("" : "+r"(value))

#endif

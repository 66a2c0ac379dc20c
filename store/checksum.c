/* checksum.c - see checksum.h. */
#include "store/checksum.h"

#include <string.h>

/* Remainders of the 16 half bytes for the reflected polynomial 0x82f63b78 (RFC 3720, B.4). */
static uint32_t by_half_bytes(uint32_t crc, const unsigned char *bytes, size_t size)
{
    static const uint32_t remainders[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ remainders[crc & 15];
        crc = crc >> 4 ^ remainders[crc & 15];
    }
    return crc;
}

#ifdef __x86_64__

__attribute__((target("sse4.2"))) static uint32_t
by_instruction(uint32_t crc, const unsigned char *bytes, size_t size)
{
    uint64_t wide = crc;

    for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t), bytes += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, bytes, sizeof(word));
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size > 0; size--, bytes++)
        crc = __builtin_ia32_crc32qi(crc, *bytes);
    return crc;
}

uint32_t checksum(uint32_t former, const void *bytes, size_t size)
{
    if (__builtin_cpu_supports("sse4.2"))
        return ~by_instruction(~former, bytes, size);
    return ~by_half_bytes(~former, bytes, size);
}

#else

uint32_t checksum(uint32_t former, const void *bytes, size_t size)
{
    return ~by_half_bytes(~former, bytes, size);
}

#endif

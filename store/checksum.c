/* checksum.c - see checksum.h. */
#include "store/checksum.h"

#include <string.h>

#include "store/bytes.h"

#ifdef __aarch64__
#    include <arm_acle.h>
#    include <sys/auxv.h>
#    ifndef HWCAP_CRC32
#        define HWCAP_CRC32 (1 << 7)
#    endif
#endif

typedef uint32_t update_fn(uint32_t crc, const unsigned char *bytes, size_t size);

/* ---- by table ---- */

enum { SLICES = 8, BYTE_VALUES = 256 };

/* tables[i][b]: the remainder of byte b with i bytes behind it. */
static uint32_t tables[SLICES][BYTE_VALUES];

/* For the reflected polynomial of RFC 3720, B.4. */
static void make_tables(void)
{
    const uint32_t polynomial = 0x82f63b78;

    for (uint32_t value = 0; value < BYTE_VALUES; value++) {
        uint32_t crc = value;

        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
        tables[0][value] = crc;
    }
    for (int i = 1; i < SLICES; i++) {
        for (uint32_t value = 0; value < BYTE_VALUES; value++) {
            uint32_t former = tables[i - 1][value];

            tables[i][value] = former >> 8 ^ tables[0][former & 0xff];
        }
    }
}

static uint32_t by_table(uint32_t crc, const unsigned char *bytes, size_t size)
{
    for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t), bytes += sizeof(uint64_t)) {
        uint64_t word = bytes_get_u64(bytes) ^ crc;

        crc = 0;
        for (int i = 0; i < SLICES; i++)
            crc ^= tables[SLICES - 1 - i][word >> 8 * i & 0xff];
    }
    for (; size > 0; size--, bytes++)
        crc = crc >> 8 ^ tables[0][(crc ^ *bytes) & 0xff];
    return crc;
}

/* ---- by instruction ---- */

#ifdef __x86_64__
static bool has_sse42(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t by_sse42(uint32_t crc, const unsigned char *bytes,
                                                           size_t size)
{
    uint64_t wide = crc;

    for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t), bytes += sizeof(uint64_t))
        wide = __builtin_ia32_crc32di(wide, bytes_get_u64(bytes));
    crc = (uint32_t)wide;
    for (; size >= sizeof(uint32_t); size -= sizeof(uint32_t), bytes += sizeof(uint32_t))
        crc = __builtin_ia32_crc32si(crc, bytes_get_u32(bytes));
    for (; size > 0; size--, bytes++)
        crc = __builtin_ia32_crc32qi(crc, *bytes);
    return crc;
}
#endif

#ifdef __aarch64__
static bool has_armv8(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

__attribute__((target("+crc"))) static uint32_t by_armv8(uint32_t crc, const unsigned char *bytes,
                                                         size_t size)
{
    for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t), bytes += sizeof(uint64_t))
        crc = __crc32cd(crc, bytes_get_u64(bytes));
    for (; size >= sizeof(uint32_t); size -= sizeof(uint32_t), bytes += sizeof(uint32_t))
        crc = __crc32cw(crc, bytes_get_u32(bytes));
    for (; size > 0; size--, bytes++)
        crc = __crc32cb(crc, *bytes);
    return crc;
}
#endif

/* ---- which ---- */

/* NULL: there is no such instruction here. */
static update_fn *way_of(enum checksum_way way)
{
#ifdef __x86_64__
    if (way == CHECKSUM_BY_SSE42)
        return has_sse42() ? by_sse42 : NULL;
#endif
#ifdef __aarch64__
    if (way == CHECKSUM_BY_ARMV8)
        return has_armv8() ? by_armv8 : NULL;
#endif
    return way == CHECKSUM_BY_TABLE ? by_table : NULL;
}

static update_fn *update = by_table;

/* Runs before main(), and before dlopen() returns. */
__attribute__((constructor)) static void choose(void)
{
    make_tables();
    for (enum checksum_way way = CHECKSUM_BY_TABLE; way < CHECKSUM_WAYS; way++) {
        update_fn *found = way_of(way);

        if (found != NULL)
            update = found;
    }
}

uint32_t checksum(uint32_t former, const void *bytes, size_t size)
{
    return ~update(~former, bytes, size);
}

uint32_t checksum_two(const void *first, size_t first_size, const void *second, size_t second_size)
{
    update_fn *by = update;

    return ~by(by(~0u, first, first_size), second, second_size);
}

bool checksum_by(enum checksum_way way, uint32_t former, const void *bytes, size_t size,
                 uint32_t *ret)
{
    update_fn *found = way_of(way);

    if (found != NULL)
        *ret = ~found(~former, bytes, size);
    return found != NULL;
}

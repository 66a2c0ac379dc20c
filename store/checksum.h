/* checksum.h - CRC-32C (Castagnoli), which finds every single flipped bit and every burst up to 32.
 *
 * It guards records and lookup entries against rot, not against an attacker. Every answer of a
 * lookup is checked by it, so the processor's own instruction is used where there is one, chosen
 * when the program starts.
 */
#ifndef RS_STORE_CHECKSUM_H
#define RS_STORE_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Begin with 0; feed the result of one piece into the next. */
uint32_t checksum(uint32_t former, const void *bytes, size_t size);

/* The same of two pieces, in one call: what stands around a checksum. */
uint32_t checksum_two(const void *first, size_t first_size, const void *second, size_t second_size);

/* The ways to compute it, for the test that compares them. */
enum checksum_way {
    CHECKSUM_BY_TABLE, /* everywhere; eight bytes a step */
    CHECKSUM_BY_SSE42,
    CHECKSUM_BY_ARMV8,
    CHECKSUM_WAYS
};
/* False: this processor has no such instruction. */
bool checksum_by(enum checksum_way way, uint32_t former, const void *bytes, size_t size,
                 uint32_t *ret);

#endif

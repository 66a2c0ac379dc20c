/* checksum.h - CRC-32C (Castagnoli), which finds every single flipped bit and every burst up to 32.
 *
 * It guards records and lookup entries against rot, not against an attacker. The processor's own
 * instruction is used where there is one.
 */
#ifndef RS_STORE_CHECKSUM_H
#define RS_STORE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Begin with 0; feed the result of one piece into the next. */
uint32_t checksum(uint32_t former, const void *bytes, size_t size);

#endif

/* hex.h - lower-case hexadecimal, the text form of digests and identifiers. */
#ifndef RS_BASE_HEX_H
#define RS_BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes 2 * size characters and a NUL. */
void hex_encode(const uint8_t *bytes, size_t size, char *text);
/* Reads exactly `length` characters (even) into length / 2 bytes, either case; false, with `bytes`
 * undefined, on anything else. */
bool hex_decode(const char *text, size_t length, uint8_t *bytes);

#endif

/* uuid.h - 16-byte UUIDs (RFC 9562): text form, comparison, generation.
 *
 * Version 7 identifiers sort by creation time, so that a page cursor stays right while rows come
 * and go, and inserts touch neighbouring pages of a B+tree. Version 4 identifiers tell nothing and
 * cannot be guessed.
 */
#ifndef RS_BASE_UUID_H
#define RS_BASE_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UUID_BYTES = 16, UUID_TEXT_SIZE = 37 }; /* 36 characters and a NUL */

struct uuid {
    uint8_t bytes[UUID_BYTES];
};

/* Parses exactly `length` bytes of 8-4-4-4-12 hexadecimal text, either case; false on anything
 * else. */
bool uuid_parse_n(const char *text, size_t length, struct uuid *ret);
bool uuid_parse(const char *text, struct uuid *ret);
/* Lower-case text into `text`; returns it. */
const char *uuid_format(const struct uuid *uuid, char text[UUID_TEXT_SIZE]);
int uuid_compare(const struct uuid *a, const struct uuid *b);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
bool uuid_is_nil(const struct uuid *uuid);
/* Version 7 from wall time and 74 random bits. 0, or E_IO when the system has no randomness. */
int uuid_generate(struct uuid *ret);
/* Version 4: 122 random bits. 0 or E_IO. */
int uuid_random(struct uuid *ret);

#endif

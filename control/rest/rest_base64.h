/* rest_base64.h - base64url without padding (RFC 4648, section 5): secrets and page cursors. */
#ifndef RS_CONTROL_REST_BASE64_H
#define RS_CONTROL_REST_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Characters of `size` bytes, without the NUL. */
#define BASE64URL_LENGTH(size) (((size)*4 + 2) / 3)

void base64url_encode(const uint8_t *bytes, size_t size, char *text);
/* Exactly `size` bytes; false when the text is anything but their one encoding. */
bool base64url_decode(const char *text, uint8_t *bytes, size_t size);

#endif

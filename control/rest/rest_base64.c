/* rest_base64.c - see rest_base64.h. */
#include "control/rest/rest_base64.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(const uint8_t *bytes, size_t size, char *text)
{
    uint32_t held = 0;
    unsigned bits = 0;

    for (size_t i = 0; i < size; i++) {
        held = held << 8 | bytes[i];
        for (bits += 8; bits >= 6; bits -= 6)
            *text++ = alphabet[held >> (bits - 6) & 63];
    }
    if (bits > 0)
        *text++ = alphabet[held << (6 - bits) & 63];
    *text = 0;
}

bool base64url_decode(const char *text, uint8_t *bytes, size_t size)
{
    uint32_t held = 0;
    unsigned bits = 0;
    size_t done = 0;

    if (strlen(text) != BASE64URL_LENGTH(size))
        return false;
    for (; *text != 0; text++) {
        const char *found = strchr(alphabet, *text);

        if (found == NULL)
            return false;
        held = held << 6 | (uint32_t)(found - alphabet);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes[done++] = (uint8_t)(held >> bits);
        }
    }
    return (held & ((1U << bits) - 1)) == 0; /* left-over bits make a second encoding */
}

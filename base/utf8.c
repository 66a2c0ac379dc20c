/* utf8.c - see utf8.h. */
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

/* Length of the sequence that begins with `lead` and the range of its second byte, which rules out
 * overlong forms, surrogates and code points over U+10FFFF; 0: no sequence begins so. */
static size_t sequence_of(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef)
        return 3;
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

size_t utf8_next(const void *bytes, size_t size, uint32_t *ret)
{
    static const unsigned char lead_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    const unsigned char *at = bytes;
    unsigned char low;
    unsigned char high;
    size_t length;
    uint32_t c;

    if (size == 0)
        return 0;
    length = sequence_of(at[0], &low, &high);
    if (length == 0 || length > size)
        return 0;
    c = at[0] & lead_bits[length];
    for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf) {
        if (at[i] < low || at[i] > high)
            return 0;
        c = c << 6 | (at[i] & 0x3fU);
    }
    *ret = c;
    return length;
}

bool utf8_valid(const void *bytes, size_t size, size_t *ret_at)
{
    const unsigned char *text = bytes;
    size_t at = 0;

    while (at < size) {
        uint32_t ignored;
        size_t length = utf8_next(text + at, size - at, &ignored);

        if (length == 0) {
            if (ret_at != NULL)
                *ret_at = at;
            return false;
        }
        at += length;
    }
    return true;
}

size_t utf8_characters(const void *bytes, size_t size)
{
    const unsigned char *text = bytes;
    size_t count = 0;

    for (size_t i = 0; i < size; i++)
        count += (text[i] & 0xc0) != 0x80;
    return count;
}

bool utf8_is_c0(uint32_t c)
{
    return c < 0x20 || c == 0x7f;
}

bool utf8_is_control(uint32_t c)
{
    if (c < 0xa0)
        return c < 0x20 || c >= 0x7f;
    return c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

bool utf8_is_blank(uint32_t c)
{
    return c == ' ' || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200b) || c == 0x202f ||
           c == 0x205f || c == 0x3000 || c == 0xfeff;
}

size_t utf8_show(const void *bytes, size_t size, enum utf8_style style,
                 char shown[UTF8_SHOWN_MAX + 1])
{
    const unsigned char *text = bytes;
    uint32_t c = 0;
    size_t length = utf8_next(text, size, &c);

    if (length == 0) {
        (void)snprintf(shown, UTF8_SHOWN_MAX + 1, style == UTF8_QUOTED ? "\\\\x%02x" : "\\x%02x",
                       text[0]);
        return 1;
    }
    if (utf8_is_control(c)) {
        (void)snprintf(shown, UTF8_SHOWN_MAX + 1, "\\u%04x", (unsigned)c & 0xffffU);
    } else if (style == UTF8_QUOTED && (c == '"' || c == '\\')) {
        (void)snprintf(shown, UTF8_SHOWN_MAX + 1, "\\%c", (int)c);
    } else {
        memcpy(shown, text, length);
        shown[length] = 0;
    }
    return length;
}

void utf8_print(FILE *to, const char *text)
{
    char shown[UTF8_SHOWN_MAX + 1];

    for (size_t left = strlen(text), taken; left > 0; left -= taken, text += taken) {
        taken = utf8_show(text, left, UTF8_PLAIN, shown);
        (void)fputs(shown, to);
    }
}

void utf8_complain(const char *program, const char *message)
{
    (void)fprintf(stderr, "%s: ", program);
    utf8_print(stderr, message);
    (void)fputc('\n', stderr);
}

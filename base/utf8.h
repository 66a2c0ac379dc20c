/* utf8.h - code points of foreign text, and how they are shown.
 *
 * Whatever came from outside (names, messages of a peer, configuration) is shown through
 * utf8_show(): a control character, a line separator or a character that turns the direction of
 * writing is escaped, and so is a byte that is no UTF-8. The rest stands as it is. So a name cannot
 * forge a line of a log, move a terminal's cursor, or look like another one by its direction.
 */
#ifndef RS_BASE_UTF8_H
#define RS_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Reads the code point at the start of `size` bytes (RFC 3629: no overlong form, no surrogate,
 * nothing above U+10FFFF). Returns how many bytes it takes, 0 when there is none. */
size_t utf8_next(const void *bytes, size_t size, uint32_t *ret);

/* All of it; `ret_at` (may be NULL) is where the first bad byte stands. */
bool utf8_valid(const void *bytes, size_t size, size_t *ret_at);

/* Without bytes that continue a code point. */
size_t utf8_characters(const void *bytes, size_t size);

/* U+0000 to U+001F and U+007F: what no version has ever taken into a name. */
bool utf8_is_c0(uint32_t c);
/* Those, and C1 (U+0080 to U+009F), the separators of lines and paragraphs, and the marks,
 * embeddings, overrides and isolates that turn the direction of writing. */
bool utf8_is_control(uint32_t c);
/* Blanks of all widths: what a reader, and often a program, takes off both ends of a name. */
bool utf8_is_blank(uint32_t c);

enum { UTF8_SHOWN_MAX = 8 }; /* of one piece, without its NUL */

enum utf8_style {
    UTF8_PLAIN, /* for people: \u0085, \xff; a backslash stands as it is */
    UTF8_QUOTED /* within a JSON string: also \" and \\; a bad byte is \\xff there */
};

/* Writes the next piece of a text as it may be shown, and a NUL; returns how many of the `size` > 0
 * bytes it stands for. */
size_t utf8_show(const void *bytes, size_t size, enum utf8_style style,
                 char shown[UTF8_SHOWN_MAX + 1]);

/* Writes all of `text` as utf8_show() does. Failures stay with the stream. */
void utf8_print(FILE *to, const char *text);

/* "program: message" to stderr, which has nowhere to report its own failures. */
void utf8_complain(const char *program, const char *message);

/* JSON text, as a serialiser made it, with every control character that it left raw as \uXXXX: the
 * same value, safe to show. The text itself when there are none, else a new one; NULL: no memory.
 * Takes `json` over (NULL passes). */
char *utf8_json_take(char *json);

#endif

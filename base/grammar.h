/* grammar.h - what a secret, a name, a label, a host's name, a region may be: one grammar for the
 * control plane, the agent, the gateways and the tools.
 *
 * What one program makes, every other one takes. Each kind has two widths:
 *
 *   MADE   what may come into being: a REST body, a configuration, a command line.
 *   TAKEN  what may exist already, made by a former version: lines of a feed, rows, records.
 *          Everything that was ever made is taken; so a rule that is added to MADE stops no feed.
 *
 * A *question* (whose key is this?) is not checked with MADE: bytes that cannot be a key are a key
 * that nobody has. grammar_may_be_secret() says so, without a question to anybody.
 *
 *   kind     length                      also refused in MADE
 *   SECRET   1 to 1024 bytes             controls
 *   NAME     1 to 256 characters         controls; a blank at an end
 *   LABEL    1 to 128 characters         controls; a blank at an end; a comma
 *   HOST     1 to 255 bytes              controls; a blank at an end
 *   REGION   1 to 63 of a-z 0-9 -        (both widths)
 *   AGENT    1 to 64 of printable ASCII  (both widths)
 *   TOKEN    1 to 4096 of ASCII without blanks and controls (both widths)
 *
 * Text is UTF-8 in both widths; a secret and a host's name have never had a character from U+0000
 * to U+001F or U+007F. "Controls" are those of utf8_is_control(): C0, DEL, C1, separators of lines,
 * marks that turn the direction of writing. Labels (groups and tags) stand in lists that a header
 * carries; names stand in headers of their own, whose blanks at the ends the reader takes off, so
 * that "admin " would be read as "admin". Who shows or sends on what was TAKEN escapes it.
 *
 * Pure; nothing but the C library.
 */
#ifndef RS_BASE_GRAMMAR_H
#define RS_BASE_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>

enum grammar_kind {
    GRAMMAR_SECRET, /* an API key */
    GRAMMAR_NAME,   /* of a consumer, a realm, a token; a custom id */
    GRAMMAR_LABEL,  /* a group's name, a tag */
    GRAMMAR_HOST,
    GRAMMAR_REGION,
    GRAMMAR_AGENT, /* a program's version */
    GRAMMAR_TOKEN, /* what stands behind "Bearer " */
    GRAMMAR_KINDS
};

enum grammar_width { GRAMMAR_MADE, GRAMMAR_TAKEN };

enum grammar_rule {
    GRAMMAR_GOOD,
    GRAMMAR_MIN_LENGTH,
    GRAMMAR_MAX_LENGTH,
    GRAMMAR_UTF8,
    GRAMMAR_CONTROL,
    GRAMMAR_BLANK, /* at an end */
    GRAMMAR_COMMA,
    GRAMMAR_ALPHABET, /* a character that this kind has not */
    GRAMMAR_RULES
};

struct grammar_fault {
    enum grammar_rule rule;
    size_t at; /* byte offset of what breaks it; the size for a length */
};

struct grammar_limits {
    size_t min;
    size_t max;
    bool in_bytes; /* else in characters */
};

/* GRAMMAR_GOOD (0), or the first rule that is broken. `ret` (may be NULL) says where. */
enum grammar_rule grammar_check(enum grammar_kind kind, enum grammar_width width, const void *bytes,
                                size_t size, struct grammar_fault *ret);
bool grammar_is(enum grammar_kind kind, enum grammar_width width, const char *text);

struct grammar_limits grammar_limits(enum grammar_kind kind);

/* Whether anybody can have this key: 1 to 1024 bytes of what was ever taken for one. */
bool grammar_may_be_secret(const void *bytes, size_t size);

/* The rule's name in the REST API, static: "no_control_characters". */
const char *grammar_rule_name(enum grammar_rule rule);

/* What is wrong, to stand behind the name of the field: "must be at most 255 bytes long". It never
 * holds any of the text. Returns `text`. */
enum { GRAMMAR_TEXT_SIZE = 160 };
const char *grammar_explain(enum grammar_kind kind, const struct grammar_fault *fault,
                            char text[GRAMMAR_TEXT_SIZE]);

#endif

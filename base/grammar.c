/* grammar.c - see grammar.h. */
#include "base/grammar.h"

#include <stdio.h>
#include <string.h>

#include "base/model.h"
#include "base/utf8.h"

enum flags {
    IN_BYTES = 1 << 0,
    NO_OUTER_BLANKS = 1 << 1, /* in what is made */
    NO_COMMAS = 1 << 2,       /* the same */
    NEVER_C0 = 1 << 3         /* nor in what is taken */
};

static bool is_region_character(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static bool is_printable(uint32_t c)
{
    return c >= ' ' && c <= '~';
}

static bool is_visible(uint32_t c)
{
    return c > ' ' && c <= '~';
}

static const struct kind {
    size_t min;
    size_t max;
    size_t max_bytes; /* of what is taken: with characters of up to 4 bytes */
    unsigned flags;
    bool (*has)(uint32_t c); /* NULL: text; else the only characters, and no further rule */
    const char *alphabet;    /* what `has` is, in words */
} kinds[GRAMMAR_KINDS] = {
    [GRAMMAR_SECRET] = {1, MODEL_SECRET_MAX, MODEL_SECRET_MAX, IN_BYTES | NEVER_C0, NULL, NULL},
    [GRAMMAR_NAME] = {1, MODEL_NAME_MAX / 4, MODEL_NAME_MAX, NO_OUTER_BLANKS, NULL, NULL},
    [GRAMMAR_LABEL] = {1, MODEL_LABEL_MAX / 4, MODEL_LABEL_MAX, NO_OUTER_BLANKS | NO_COMMAS, NULL,
                       NULL},
    [GRAMMAR_HOST] = {1, 255, 255, IN_BYTES | NO_OUTER_BLANKS | NEVER_C0, NULL, NULL},
    [GRAMMAR_REGION] = {1, MODEL_REGION_MAX, MODEL_REGION_MAX, IN_BYTES, is_region_character,
                        "lower-case letters, digits and dashes"},
    [GRAMMAR_AGENT] = {1, 64, 64, IN_BYTES, is_printable, "printable ASCII characters"},
    [GRAMMAR_TOKEN] = {1, 4096, 4096, IN_BYTES, is_visible,
                       "printable ASCII characters without blanks, on one line"},
};

static enum grammar_rule check_length(const struct kind *kind, enum grammar_width width,
                                      const void *bytes, size_t size)
{
    size_t length = (kind->flags & IN_BYTES) != 0 ? size : utf8_characters(bytes, size);

    if (size < kind->min)
        return GRAMMAR_MIN_LENGTH;
    if (size > kind->max_bytes || (width == GRAMMAR_MADE && length > kind->max))
        return GRAMMAR_MAX_LENGTH;
    return GRAMMAR_GOOD;
}

/* Of one character, which ends or begins the text when `is_outer`. */
static enum grammar_rule check_character(const struct kind *kind, enum grammar_width width,
                                         uint32_t c, bool is_outer)
{
    if (kind->has != NULL)
        return kind->has(c) ? GRAMMAR_GOOD : GRAMMAR_ALPHABET;
    if (width == GRAMMAR_TAKEN)
        return (kind->flags & NEVER_C0) != 0 && utf8_is_c0(c) ? GRAMMAR_CONTROL : GRAMMAR_GOOD;
    if (utf8_is_control(c))
        return GRAMMAR_CONTROL;
    if ((kind->flags & NO_OUTER_BLANKS) != 0 && is_outer && utf8_is_blank(c))
        return GRAMMAR_BLANK;
    return (kind->flags & NO_COMMAS) != 0 && c == ',' ? GRAMMAR_COMMA : GRAMMAR_GOOD;
}

static enum grammar_rule check_text(const struct kind *kind, enum grammar_width width,
                                    const char *bytes, size_t size, size_t *ret_at)
{
    for (size_t at = 0; at < size;) {
        uint32_t c = 0;
        size_t length = utf8_next(bytes + at, size - at, &c);
        enum grammar_rule rule =
            length > 0 ? check_character(kind, width, c, at == 0 || at + length == size)
                       : GRAMMAR_UTF8;

        *ret_at = at;
        if (rule != GRAMMAR_GOOD)
            return rule;
        at += length;
    }
    return GRAMMAR_GOOD;
}

enum grammar_rule grammar_check(enum grammar_kind kind, enum grammar_width width, const void *bytes,
                                size_t size, struct grammar_fault *ret)
{
    size_t at = size;
    enum grammar_rule rule = check_length(&kinds[kind], width, bytes, size);

    if (rule == GRAMMAR_GOOD)
        rule = check_text(&kinds[kind], width, bytes, size, &at);
    if (ret != NULL)
        *ret = (struct grammar_fault){rule, rule != GRAMMAR_GOOD ? at : size};
    return rule;
}

bool grammar_is(enum grammar_kind kind, enum grammar_width width, const char *text)
{
    return grammar_check(kind, width, text, strlen(text), NULL) == GRAMMAR_GOOD;
}

struct grammar_limits grammar_limits(enum grammar_kind kind)
{
    return (struct grammar_limits){kinds[kind].min, kinds[kind].max,
                                   (kinds[kind].flags & IN_BYTES) != 0};
}

bool grammar_may_be_secret(const void *bytes, size_t size)
{
    return grammar_check(GRAMMAR_SECRET, GRAMMAR_TAKEN, bytes, size, NULL) == GRAMMAR_GOOD;
}

const char *grammar_rule_name(enum grammar_rule rule)
{
    static const char *const names[GRAMMAR_RULES] = {
        [GRAMMAR_GOOD] = "good",
        [GRAMMAR_MIN_LENGTH] = "min_length",
        [GRAMMAR_MAX_LENGTH] = "max_length",
        [GRAMMAR_UTF8] = "is_utf8",
        [GRAMMAR_CONTROL] = "no_control_characters",
        [GRAMMAR_BLANK] = "no_outer_blanks",
        [GRAMMAR_COMMA] = "no_commas",
        [GRAMMAR_ALPHABET] = "alphabet",
    };

    return names[rule];
}

static const char *length_text(const struct kind *kind, const char *what, size_t limit,
                               char text[GRAMMAR_TEXT_SIZE])
{
    (void)snprintf(text, GRAMMAR_TEXT_SIZE, "must be %s %zu %s long", what, limit,
                   (kind->flags & IN_BYTES) != 0 ? "bytes" : "characters");
    return text;
}

const char *grammar_explain(enum grammar_kind kind, const struct grammar_fault *fault,
                            char text[GRAMMAR_TEXT_SIZE])
{
    static const char *const texts[GRAMMAR_RULES] = {
        [GRAMMAR_GOOD] = "is good",
        [GRAMMAR_UTF8] = "must be valid UTF-8",
        [GRAMMAR_CONTROL] = "must be without control characters",
        [GRAMMAR_BLANK] = "must not begin or end with a blank",
        [GRAMMAR_COMMA] = "must be without commas",
    };

    if (fault->rule == GRAMMAR_MIN_LENGTH)
        return length_text(&kinds[kind], "at least", kinds[kind].min, text);
    if (fault->rule == GRAMMAR_MAX_LENGTH)
        return length_text(&kinds[kind], "at most", kinds[kind].max, text);
    if (fault->rule == GRAMMAR_ALPHABET)
        (void)snprintf(text, GRAMMAR_TEXT_SIZE, "must be of %s (byte %zu is not)",
                       kinds[kind].alphabet, fault->at + 1);
    else if (fault->rule == GRAMMAR_GOOD)
        (void)snprintf(text, GRAMMAR_TEXT_SIZE, "%s", texts[GRAMMAR_GOOD]);
    else
        (void)snprintf(text, GRAMMAR_TEXT_SIZE, "%s (byte %zu)", texts[fault->rule], fault->at + 1);
    return text;
}

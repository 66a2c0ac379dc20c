/* base/utf8.h and base/grammar.h: what text is, how foreign text is shown, what a name may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <jansson.h>

#include "base/grammar.h"
#include "base/log.h"
#include "base/utf8.h"
#include "tests/lib/random.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void overlong_forms_surrogates_and_cut_sequences_are_no_text(void **state)
{
    static const struct {
        const char *text;
        size_t at;
    } bad[] = {
        {"\xff", 0},
        {"a\x80", 1},
        {"a\xc0\xaf", 1},
        {"\xc1\xbf", 0},
        {"\xe0\x9f\xbf", 0},
        {"\xed\xa0\x80", 0},
        {"ab\xed\xbf\xbf", 2},
        {"\xf0\x8f\xbf\xbf", 0},
        {"\xf4\x90\x80\x80", 0},
        {"\xf5\x80\x80\x80", 0},
        {"a\xe2\x82", 1},
        {"\xc3", 0},
    };
    size_t at;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        at = SIZE_MAX;
        assert_false(utf8_valid(bad[i].text, strlen(bad[i].text), &at));
        assert_int_equal(at, bad[i].at);
    }
    assert_true(utf8_valid("a\xc3\xa4\xe2\x82\xac\xf4\x8f\xbf\xbf", 10, NULL));
    assert_int_equal(utf8_characters("a\xc3\xa4\xe2\x82\xac", 6), 3);
}

static const struct shown {
    const char *text;
    const char *plain;
    const char *quoted;
} shown[] = {
    {"a\xc3\xa4\\\"", "a\xc3\xa4\\\"", "a\xc3\xa4\\\\\\\""},
    {"a\nb\x7f", "a\\u000ab\\u007f", "a\\u000ab\\u007f"},
    {"\xc2\x85\xc2\x9b", "\\u0085\\u009b", "\\u0085\\u009b"},
    {"x\xe2\x80\xae", "x\\u202e", "x\\u202e"},
    {"\xe2\x80\xa8\xe2\x80\xa9\xe2\x81\xa6\xd8\x9c", "\\u2028\\u2029\\u2066\\u061c",
     "\\u2028\\u2029\\u2066\\u061c"},
    {"\xff\xed\xa0\x80", "\\xff\\xed\\xa0\\x80", "\\\\xff\\\\xed\\\\xa0\\\\x80"},
};

static void show(const char *text, enum utf8_style style, char *ret)
{
    char piece[UTF8_SHOWN_MAX + 1];

    *ret = 0;
    for (size_t left = strlen(text), taken; left > 0; left -= taken, text += taken) {
        taken = utf8_show(text, left, style, piece);
        ret = stpcpy(ret, piece);
    }
}

static void controls_and_bad_bytes_are_shown_escaped(void **state)
{
    char text[256];

    (void)state;
    for (size_t i = 0; i < COUNT(shown); i++) {
        show(shown[i].text, UTF8_PLAIN, text);
        assert_string_equal(text, shown[i].plain);
        show(shown[i].text, UTF8_QUOTED, text);
        assert_string_equal(text, shown[i].quoted);
    }
}

static void text_for_a_terminal_holds_no_raw_control(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    (void)state;
    assert_non_null(file);
    utf8_print(file, "J\xc3\xbcrgen\x1b[31m\xc2\x9b\xe2\x80\xae\xff");
    assert_int_equal(fclose(file), 0);
    assert_string_equal(text, "J\xc3\xbcrgen\\u001b[31m\\u009b\\u202e\\xff");
    free(text);
}

static void json_is_the_same_value_without_raw_controls(void **state)
{
    json_t *value = json_pack("{s:s}", "a", "x\xc2\x85y\xe2\x80\xae\xc3\xa4\x7f");
    char *text = utf8_json_take(json_dumps(value, JSON_COMPACT));
    json_t *again = json_loads(text, 0, NULL);

    (void)state;
    assert_string_equal(text, "{\"a\":\"x\\u0085y\\u202e\xc3\xa4\\u007f\"}");
    assert_true(json_equal(value, again));
    json_decref(value);
    json_decref(again);
    free(text);
    assert_null(utf8_json_take(NULL));
}

/* ---- the log ---- */

static char *logged(enum log_format format, const char *message, const char *value, char *line,
                    size_t size)
{
    struct log log = {-1, LOG_LEVEL_INFO, format};
    struct log_field fields[] = {{"value", value}, {"last", "end"}};
    int ends[2];
    ssize_t got;

    assert_int_equal(pipe(ends), 0);
    log.fd = ends[1];
    log_fields(&log, LOG_LEVEL_INFO, fields, 2, "%s", message);
    got = read(ends[0], line, size - 1);
    assert_true(got > 0);
    line[got] = 0;
    assert_int_equal(line[got - 1], '\n');
    close(ends[0]);
    close(ends[1]);
    return line;
}

static void log_lines_are_json_whatever_bytes_they_are_given(void **state)
{
    uint64_t seed = 7;
    char line[8192];

    (void)state;
    for (int round = 0; round < 400; round++) {
        char message[3000];
        char value[3000];
        size_t sizes[2] = {random_below(&seed, 2500), random_below(&seed, 2500)};
        json_t *json;
        size_t bad;

        for (size_t i = 0; i < sizes[0]; i++)
            message[i] = (char)(1 + random_below(&seed, 255));
        for (size_t i = 0; i < sizes[1]; i++)
            value[i] = (char)(1 + random_below(&seed, 255));
        message[sizes[0]] = value[sizes[1]] = 0;
        json = json_loads(logged(LOG_FORMAT_JSON, message, value, line, sizeof(line)), 0, NULL);
        assert_non_null(json);
        assert_non_null(json_object_get(json, "message"));
        json_decref(json);
        logged(LOG_FORMAT_TEXT, message, value, line, sizeof(line));
        assert_true(utf8_valid(line, strlen(line), &bad));
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    }
    assert_non_null(strstr(logged(LOG_FORMAT_JSON, "a\xff", "\xe2\x80\xae", line, sizeof(line)),
                           "\"message\":\"a\\\\xff\",\"value\":\"\\u202e\",\"last\":\"end\"}\n"));
}

/* ---- the grammar ---- */

static const struct sample {
    enum grammar_kind kind;
    const char *text;
    enum grammar_rule made;
    enum grammar_rule taken;
    size_t at; /* of what is wrong with it as something made */
} samples[] = {
    {GRAMMAR_NAME, "Alice", 0, 0, 0},
    {GRAMMAR_NAME, "a, b", 0, 0, 0},
    {GRAMMAR_NAME, "J\xc3\xbcrgen \xe2\x80\x8d x", 0, 0, 0},
    {GRAMMAR_NAME, "", GRAMMAR_MIN_LENGTH, GRAMMAR_MIN_LENGTH, 0},
    {GRAMMAR_NAME, "admin ", GRAMMAR_BLANK, 0, 5},
    {GRAMMAR_NAME,
     "\xc2\xa0"
     "admin",
     GRAMMAR_BLANK, 0, 0},
    {GRAMMAR_NAME, "\xe3\x80\x80", GRAMMAR_BLANK, 0, 0},
    {GRAMMAR_NAME, "a\tb", GRAMMAR_CONTROL, 0, 1},
    {GRAMMAR_NAME, "ab\xc2\x85", GRAMMAR_CONTROL, 0, 2},
    {GRAMMAR_NAME, "\xe2\x80\xaenimda", GRAMMAR_CONTROL, 0, 0},
    {GRAMMAR_NAME, "a\xe2\x80\xa8", GRAMMAR_CONTROL, 0, 1},
    {GRAMMAR_NAME, "a\xff", GRAMMAR_UTF8, GRAMMAR_UTF8, 1},
    {GRAMMAR_LABEL, "gold", 0, 0, 0},
    {GRAMMAR_LABEL, "x, gold", GRAMMAR_COMMA, 0, 1},
    {GRAMMAR_LABEL, " gold", GRAMMAR_BLANK, 0, 0},
    {GRAMMAR_LABEL, "very gold", 0, 0, 0},
    {GRAMMAR_SECRET, " a,b ", 0, 0, 0},
    {GRAMMAR_SECRET, "\n", GRAMMAR_CONTROL, GRAMMAR_CONTROL, 0},
    {GRAMMAR_SECRET, "a\x7f", GRAMMAR_CONTROL, GRAMMAR_CONTROL, 1},
    {GRAMMAR_SECRET, "a\xc2\x85", GRAMMAR_CONTROL, 0, 1},
    {GRAMMAR_HOST, "edge-7.example", 0, 0, 0},
    {GRAMMAR_HOST, "edge\x01", GRAMMAR_CONTROL, GRAMMAR_CONTROL, 4},
    {GRAMMAR_HOST, "edge\xc2\x85", GRAMMAR_CONTROL, 0, 4},
    {GRAMMAR_HOST, "edge\xe4", GRAMMAR_UTF8, GRAMMAR_UTF8, 4},
    {GRAMMAR_REGION, "eu-1", 0, 0, 0},
    {GRAMMAR_REGION, "EU", GRAMMAR_ALPHABET, GRAMMAR_ALPHABET, 0},
    {GRAMMAR_REGION, "e_u", GRAMMAR_ALPHABET, GRAMMAR_ALPHABET, 1},
    {GRAMMAR_AGENT, "0.1.0 (x)", 0, 0, 0},
    {GRAMMAR_AGENT, "0.1\xc3\xa4", GRAMMAR_ALPHABET, GRAMMAR_ALPHABET, 3},
    {GRAMMAR_TOKEN, "rst_abc-DEF", 0, 0, 0},
    {GRAMMAR_TOKEN, "two words", GRAMMAR_ALPHABET, GRAMMAR_ALPHABET, 3},
    {GRAMMAR_TOKEN, "a\n", GRAMMAR_ALPHABET, GRAMMAR_ALPHABET, 1},
};

static void each_rule_is_broken_where_it_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        const struct sample *sample = &samples[i];
        size_t size = strlen(sample->text);
        struct grammar_fault fault;

        assert_int_equal(grammar_check(sample->kind, GRAMMAR_MADE, sample->text, size, &fault),
                         sample->made);
        assert_int_equal(fault.rule, sample->made);
        if (sample->made != GRAMMAR_GOOD)
            assert_int_equal(fault.at, sample->at);
        assert_int_equal(grammar_check(sample->kind, GRAMMAR_TAKEN, sample->text, size, NULL),
                         sample->taken);
    }
}

static void lengths_count_characters_or_bytes_as_the_kind_says(void **state)
{
    (void)state;
    for (int kind = 0; kind < GRAMMAR_KINDS; kind++) {
        struct grammar_limits limits = grammar_limits(kind);
        char text[5000];
        size_t width = limits.in_bytes ? 1 : 4;

        for (size_t i = 0; i <= limits.max; i++)
            memcpy(text + i * width, limits.in_bytes ? "x" : "\xf0\x9f\x94\x91", width);
        assert_int_equal(grammar_check(kind, GRAMMAR_MADE, text, limits.max * width, NULL), 0);
        assert_int_equal(grammar_check(kind, GRAMMAR_TAKEN, text, limits.max * width, NULL), 0);
        assert_int_equal(grammar_check(kind, GRAMMAR_MADE, text, (limits.max + 1) * width, NULL),
                         GRAMMAR_MAX_LENGTH);
        assert_int_equal(grammar_check(kind, GRAMMAR_TAKEN, text, (limits.max + 1) * width, NULL),
                         GRAMMAR_MAX_LENGTH);
    }
}

static void what_is_made_is_taken(void **state)
{
    uint64_t seed = 11;

    (void)state;
    for (int round = 0; round < 200000; round++) {
        size_t size = random_below(&seed, 12);
        char text[12];

        for (size_t i = 0; i < size; i++)
            text[i] = (char)random_next(&seed);
        for (int kind = 0; kind < GRAMMAR_KINDS; kind++) {
            if (grammar_check(kind, GRAMMAR_MADE, text, size, NULL) == GRAMMAR_GOOD)
                assert_int_equal(grammar_check(kind, GRAMMAR_TAKEN, text, size, NULL), 0);
        }
    }
}

static void explanations_hold_none_of_the_text(void **state)
{
    char why[GRAMMAR_TEXT_SIZE];

    (void)state;
    for (int kind = 0; kind < GRAMMAR_KINDS; kind++) {
        for (int rule = 0; rule < GRAMMAR_RULES; rule++) {
            const struct grammar_fault fault = {rule, 1234};

            assert_true(strlen(grammar_explain(kind, &fault, why)) > 4);
            assert_true(strlen(why) < GRAMMAR_TEXT_SIZE - 1);
            assert_non_null(grammar_rule_name(rule));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlong_forms_surrogates_and_cut_sequences_are_no_text),
        cmocka_unit_test(controls_and_bad_bytes_are_shown_escaped),
        cmocka_unit_test(text_for_a_terminal_holds_no_raw_control),
        cmocka_unit_test(json_is_the_same_value_without_raw_controls),
        cmocka_unit_test(log_lines_are_json_whatever_bytes_they_are_given),
        cmocka_unit_test(each_rule_is_broken_where_it_says),
        cmocka_unit_test(lengths_count_characters_or_bytes_as_the_kind_says),
        cmocka_unit_test(what_is_made_is_taken),
        cmocka_unit_test(explanations_hold_none_of_the_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

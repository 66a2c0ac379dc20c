/* test_http_range.c - Range headers, good, odd and hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "control/http/http_range.h"

enum { SIZE = 1000 };

static void ranges_are_read_as_the_standard_says(void **state)
{
    static const struct {
        const char *text;
        enum http_range kind;
        uint64_t first;
        uint64_t last;
    } rows[] = {
        {NULL, HTTP_RANGE_WHOLE, 0, 0},
        {"", HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=0-", HTTP_RANGE_PART, 0, 999},
        {"bytes=0-0", HTTP_RANGE_PART, 0, 0},
        {"BYTES=7-9", HTTP_RANGE_PART, 7, 9},
        {"bytes=999-", HTTP_RANGE_PART, 999, 999},
        {"bytes=500-99999", HTTP_RANGE_PART, 500, 999},
        {"bytes=-1", HTTP_RANGE_PART, 999, 999},
        {"bytes=-5000", HTTP_RANGE_PART, 0, 999},
        {"bytes=-0", HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=1000-", HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=18446744073709551615-", HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=18446744073709551616-", HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=5-18446744073709551616", HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=9-7", HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=", HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=-", HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=5", HTTP_RANGE_WHOLE, 0, 0},
        {"bytes= 5-", HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=+5-", HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=--5", HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=0-1,5-6", HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=5-x", HTTP_RANGE_WHOLE, 0, 0},
        {"lines=1-2", HTTP_RANGE_WHOLE, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t first = 0;
        uint64_t last = 0;

        if (http_range_read(rows[i].text, SIZE, &first, &last) != rows[i].kind ||
            first != rows[i].first || last != rows[i].last)
            fail_msg("%s: %llu to %llu", rows[i].text, (unsigned long long)first,
                     (unsigned long long)last);
    }
}

static void empty_file_has_no_part(void **state)
{
    uint64_t first;
    uint64_t last;

    (void)state;
    assert_int_equal(http_range_read("bytes=0-", 0, &first, &last), HTTP_RANGE_UNSATISFIABLE);
    assert_int_equal(http_range_read("bytes=-5", 0, &first, &last), HTTP_RANGE_UNSATISFIABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_read_as_the_standard_says),
        cmocka_unit_test(empty_file_has_no_part),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

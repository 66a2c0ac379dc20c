/* base/states.h: tables decide as they read, and docs/states.md is what they print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/states.h"
#include "tests/lib/machines.h"

enum { RED, GREEN, BROKEN, STATES };
enum { GO, HALT, FAIL, EVENTS };

static const char *const states[STATES] = {"red", "green", "broken"};
static const char *const events[EVENTS] = {"go", "halt", "fail"};
static const struct states_way ways[] = {
    {RED, GO, GREEN, "cars may pass"},
    {GREEN, HALT, RED, "cars stop"},
    {BROKEN, FAIL, STATES_NONE, "it is broken"},
    {STATES_ANY, FAIL, BROKEN, "somebody is called"},
    {STATES_ANY, HALT, STATES_SAME, "nothing to do"},
};
static const struct states_machine light = {
    .name = "A light",
    .source = "light.c",
    .states = states,
    .n_states = STATES,
    .events = events,
    .n_events = EVENTS,
    .ways = ways,
    .n_ways = sizeof(ways) / sizeof(ways[0]),
    .first = RED,
};

static void the_first_way_that_fits_decides(void **state)
{
    (void)state;
    assert_int_equal(states_next(&light, RED, GO), GREEN);
    assert_int_equal(states_next(&light, GREEN, HALT), RED);
    assert_int_equal(states_next(&light, GREEN, FAIL), BROKEN);
    assert_int_equal(states_next(&light, BROKEN, FAIL), STATES_NONE);
    assert_int_equal(states_next(&light, BROKEN, HALT), BROKEN);
    assert_int_equal(states_next(&light, GREEN, GO), STATES_NONE);
}

static void a_diagram_has_an_arrow_for_each_way_that_decides(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    (void)state;
    assert_non_null(to);
    states_print(&light, to);
    assert_int_equal(fclose(to), 0);
    assert_non_null(strstr(text, "[*] --> red"));
    assert_non_null(strstr(text, "red --> green: go"));
    assert_non_null(strstr(text, "green --> broken: fail"));
    assert_non_null(strstr(text, "broken --> broken: halt"));
    assert_null(strstr(text, "broken --> broken: fail"));
    assert_non_null(strstr(text, "| any other | fail | broken | somebody is called |"));
    free(text);
}

static char *read_file(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *from = fopen(path, "r");
    FILE *to = open_memstream(&text, &size);
    int byte;

    assert_non_null(from);
    assert_non_null(to);
    while ((byte = fgetc(from)) != EOF)
        assert_int_equal(fputc(byte, to), byte);
    assert_int_equal(fclose(from), 0);
    assert_int_equal(fclose(to), 0);
    return text;
}

static void the_document_is_what_the_tables_print(void **state)
{
    char *kept = read_file("docs/states.md");
    char *printed = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&printed, &size);

    (void)state;
    assert_non_null(to);
    machines_print(to);
    assert_int_equal(fclose(to), 0);
    if (strcmp(kept, printed) != 0)
        fail_msg("docs/states.md is not what the tables print; run `make states`");
    free(kept);
    free(printed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_way_that_fits_decides),
        cmocka_unit_test(a_diagram_has_an_arrow_for_each_way_that_decides),
        cmocka_unit_test(the_document_is_what_the_tables_print),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_repo_pages.c - pages stay right while rows come and go between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/repo_fixture.h"

enum { ROWS = 25 };

static struct repo_fixture *f;
static struct repo_scope scope;
static struct repo_consumer rows[ROWS];

static struct repo_consumer add(const char *prefix, int i)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "%s-%d", prefix, i);
    return repo_fixture_consumer(f, &scope, name);
}

/* Neighbouring scopes are filled too: a page must not leave its own. */
static int set_up(void **state)
{
    const struct repo_scope before = repo_fixture_cp(1);
    const struct repo_scope after = repo_fixture_cp(3);

    (void)state;
    f = repo_fixture_create(0);
    scope = repo_fixture_cp(2);
    repo_fixture_consumer(f, &before, "other");
    repo_fixture_consumer(f, &after, "other");
    for (int i = 0; i < ROWS; i++)
        rows[i] = add("user", i);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    repo_fixture_destroy(f);
    return 0;
}

static struct repo_consumer_rows list(const struct repo_page *page)
{
    struct repo_consumer_rows result;
    struct error err = ERROR_INIT;

    assert_int_equal(repo_consumer_list(REPO_CALL(f, .err = &err), &scope,
                                        &(struct repo_consumer_query){.page = *page}, &result),
                     0);
    return result;
}

static void delete (const struct repo_consumer *consumer)
{
    struct error err = ERROR_INIT;

    assert_int_equal(repo_consumer_delete(
                         REPO_CALL(f, .err = &err),
                         &(struct repo_path){.scope = scope, .consumer_id = consumer->model.id}),
                     0);
}

static void assert_page(const struct repo_consumer_rows *result, int first, size_t count,
                        bool more_before, bool more_after)
{
    assert_int_equal(result->count, count);
    for (size_t i = 0; i < count; i++)
        assert_true(uuid_equal(&result->items[i].model.id, &rows[first + (int)i].model.id));
    assert_int_equal(result->info.more_before, more_before);
    assert_int_equal(result->info.more_after, more_after);
}

static void forward_pages_cover_all_rows_once(void **state)
{
    struct repo_page page = {.size = 10};
    struct repo_consumer_rows result = list(&page);

    (void)state;
    assert_page(&result, 0, 10, false, true);
    page = (struct repo_page){.size = 10, .has_after = true, .after = rows[9].model.id};
    result = list(&page);
    assert_page(&result, 10, 10, true, true);
    page.after = rows[19].model.id;
    result = list(&page);
    assert_page(&result, 20, 5, true, false);
    page.after = rows[24].model.id;
    result = list(&page);
    assert_page(&result, 25, 0, true, false);
}

static void backward_pages_cover_all_rows_once(void **state)
{
    struct repo_page page = {.size = 10, .has_before = true, .before = rows[24].model.id};
    struct repo_consumer_rows result = list(&page);

    (void)state;
    assert_page(&result, 14, 10, true, true);
    page.before = rows[14].model.id;
    result = list(&page);
    assert_page(&result, 4, 10, true, true);
    page.before = rows[4].model.id;
    result = list(&page);
    assert_page(&result, 0, 4, false, true);
    page.before = rows[0].model.id;
    result = list(&page);
    assert_page(&result, 0, 0, false, true);
}

static void page_as_large_as_the_rest_has_nothing_after_it(void **state)
{
    struct repo_page page = {.size = ROWS};
    struct repo_consumer_rows result = list(&page);

    (void)state;
    assert_page(&result, 0, ROWS, false, false);
    page.size = SIZE_MAX;
    result = list(&page);
    assert_page(&result, 0, ROWS, false, false);
}

static void both_bounds_cut_the_page(void **state)
{
    const struct repo_page page = {.size = 10,
                                   .has_after = true,
                                   .after = rows[3].model.id,
                                   .has_before = true,
                                   .before = rows[8].model.id};
    struct repo_consumer_rows result = list(&page);

    (void)state;
    assert_page(&result, 4, 4, true, true);
}

static void deleted_cursor_row_does_not_matter(void **state)
{
    struct repo_page page = {.size = 5, .has_after = true, .after = rows[9].model.id};
    struct repo_consumer_rows result;

    (void)state;
    delete (&rows[9]);
    result = list(&page);
    assert_page(&result, 10, 5, true, true);
    page = (struct repo_page){.size = 5, .has_before = true, .before = rows[9].model.id};
    result = list(&page);
    assert_page(&result, 4, 5, true, true);
}

/* Every row that is there from the first page to the last is seen exactly once. */
static void walk_while_rows_come_and_go(bool backward)
{
    struct uuid end;
    struct repo_page page = {.size = 3, .has_before = backward};
    bool seen[ROWS] = {false};
    int round = 0;

    memset(&end, 0xff, sizeof(end));
    page.before = end;
    for (;;) {
        struct repo_consumer_rows result = list(&page);

        for (size_t i = 0; i < result.count; i++) {
            for (int k = 0; k < ROWS; k++) {
                if (!uuid_equal(&result.items[i].model.id, &rows[k].model.id))
                    continue;
                assert_false(seen[k]);
                seen[k] = true;
            }
        }
        if (!(backward ? result.info.more_before : result.info.more_after))
            break;
        page.has_after = !backward;
        page.after = result.items[result.count - 1].model.id;
        page.before = result.items[0].model.id;
        if (round < 5) {
            add("new", round);
            delete (&rows[2 + 4 * round]); /* 2, 6, 10, 14, 18: ahead or behind, some seen */
        }
        round++;
    }
    for (int k = 0; k < ROWS; k++) {
        if (k % 4 != 2 || k > 18)
            assert_true(seen[k]);
    }
}

static void forward_walk_sees_every_lasting_row_once(void **state)
{
    (void)state;
    walk_while_rows_come_and_go(false);
}

static void backward_walk_sees_every_lasting_row_once(void **state)
{
    (void)state;
    walk_while_rows_come_and_go(true);
}

static void empty_scope_gives_an_empty_page(void **state)
{
    struct repo_page page = {.size = 10};
    struct repo_consumer_rows result;

    (void)state;
    scope = repo_fixture_cp(4);
    result = list(&page);
    assert_page(&result, 0, 0, false, false);
    page = (struct repo_page){.size = 10, .has_after = true, .after = rows[0].model.id};
    result = list(&page);
    assert_page(&result, 0, 0, false, false);
    page = (struct repo_page){.size = 10, .has_before = true, .before = rows[0].model.id};
    result = list(&page);
    assert_page(&result, 0, 0, false, false);
}

static void filtered_page_respects_its_bounds(void **state)
{
    const struct repo_page pages[] = {{.size = 1},
                                      {.size = 1, .has_after = true, .after = rows[4].model.id},
                                      {.size = 1, .has_after = true, .after = rows[5].model.id},
                                      {.size = 1, .has_before = true, .before = rows[5].model.id}};
    const size_t counts[] = {1, 1, 0, 0};
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct repo_consumer_rows result;

        assert_int_equal(repo_consumer_list(
                             REPO_CALL(f, .err = &err), &scope,
                             &(struct repo_consumer_query){.page = pages[i], .username = "user-5"},
                             &result),
                         0);
        assert_page(&result, 5, counts[i], i == 2, i == 3);
    }
}

/* At all its limits. */
static void add_large(int i)
{
    static char text[64][MODEL_LABEL_MAX + 1];
    static const char *labels[64];
    struct repo_consumer input = {.model.tags = {labels, 64}, .model.groups = {labels, 64}};
    struct repo_consumer made;
    struct repo_commit commit;
    char name[32];

    for (int n = 0; n < 64; n++) {
        memset(text[n], 'x', MODEL_LABEL_MAX);
        (void)snprintf(text[n], 4, "%03d", n);
        text[n][3] = 'x';
        labels[n] = text[n];
    }
    (void)snprintf(name, sizeof(name), "large-%d", i);
    input.model.username = name;
    assert_int_equal(repo_consumer_create(REPO_CALL(f, .commit = &commit, .err = &f->err), &scope,
                                          &input, &made),
                     0);
}

static void large_rows_end_a_page_early_and_none_is_lost(void **state)
{
    enum { LARGE = 200, LEAST = 5, MOST = 150 };
    struct repo_page page = {.size = 1000, .has_after = true, .after = rows[ROWS - 1].model.id};
    struct repo_consumer_rows result;
    size_t forward = 0;
    size_t backward = 0;

    (void)state;
    for (int i = 0; i < LARGE; i++)
        add_large(i);
    do {
        result = list(&page);
        assert_in_range(result.count, LEAST, MOST);
        forward += result.count;
        page.after = result.items[result.count - 1].model.id;
    } while (result.info.more_after);
    assert_int_equal(forward, LARGE);
    page = (struct repo_page){.size = 1000, .has_before = true, .before = page.after};
    do {
        result = list(&page);
        backward += result.count;
        page.before = result.items[0].model.id;
    } while (result.info.more_before);
    assert_int_equal(backward, ROWS + LARGE - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(forward_pages_cover_all_rows_once),
        TEST(backward_pages_cover_all_rows_once),
        TEST(page_as_large_as_the_rest_has_nothing_after_it),
        TEST(both_bounds_cut_the_page),
        TEST(deleted_cursor_row_does_not_matter),
        TEST(forward_walk_sees_every_lasting_row_once),
        TEST(backward_walk_sees_every_lasting_row_once),
        TEST(empty_scope_gives_an_empty_page),
        TEST(filtered_page_respects_its_bounds),
        TEST(large_rows_end_a_page_early_and_none_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

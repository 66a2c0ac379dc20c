/* test_repo_view.c - what every implementation's view promises (control/repo/view.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "control/repo/ops.h"
#include "tests/lib/repo_fixture.h"

enum { CONSUMERS = 5, KEYS = 2 };

static struct repo_fixture *f;
static struct repo_realm realm;
static struct repo_scope scope;
static struct repo_consumer consumers[CONSUMERS];
static struct repo_key keys[CONSUMERS][KEYS];
static struct repo_view *view;
static struct error err;

static const unsigned only_1[] = {1, 0};

/* A realm of five consumers with two keys each, and another control plane's beside it. */
static int set_up(void **state)
{
    struct repo_realm other;
    struct repo_scope beside;

    (void)state;
    f = repo_fixture_create(0);
    err = (struct error)ERROR_INIT;
    realm = repo_fixture_realm(f, "prod", only_1);
    scope = repo_fixture_realm_scope(&realm);
    for (int i = 0; i < CONSUMERS; i++) {
        char text[32];

        (void)snprintf(text, sizeof(text), "user-%d", i);
        consumers[i] = repo_fixture_consumer(f, &scope, text);
        for (int j = 0; j < KEYS; j++) {
            (void)snprintf(text, sizeof(text), "key-%d-%d", i, j);
            keys[i][j] = repo_fixture_key(f, &scope, &consumers[i].model.id, text);
        }
    }
    other = repo_fixture_realm(f, "other", (const unsigned[]){2, 0});
    beside = repo_fixture_realm_scope(&other);
    (void)repo_fixture_consumer(f, &beside, "beside");
    assert_int_equal(f->repo->ops->view(f->repo, &view, &err), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    view->ops->close(view);
    repo_fixture_destroy(f);
    return 0;
}

static struct repo_path path_of(int consumer, int key)
{
    struct repo_path path = {.scope = scope};

    if (consumer >= 0)
        path.consumer_id = consumers[consumer].model.id;
    if (key >= 0)
        path.key_id = keys[consumer][key].model.id;
    return path;
}

/* What came, in its order. */
struct seen {
    size_t count;
    struct {
        size_t at;
        struct uuid id;
    } items[32];
    size_t stop_at; /* 0: never */
};

static int note_consumer(void *context, size_t at, const struct repo_record *record,
                         struct error *e)
{
    struct seen *seen = context;
    struct model_consumer consumer;
    struct repo_labels labels;

    assert_int_equal(repo_consumer_borrow(record, &labels, &consumer, e), 0);
    seen->items[seen->count].at = at;
    seen->items[seen->count++].id = consumer.id;
    return seen->count == seen->stop_at ? E_CANCELED : 0;
}

static int note_key(void *context, size_t at, const struct repo_record *record, struct error *e)
{
    struct seen *seen = context;
    struct repo_labels labels;
    struct model_key key;

    assert_int_equal(repo_key_borrow(record, &labels, &key, e), 0);
    seen->items[seen->count].at = at;
    seen->items[seen->count++].id = key.id;
    return seen->count == seen->stop_at ? E_CANCELED : 0;
}

static void assert_seen(const struct seen *seen, size_t index, size_t at, const struct uuid *id)
{
    assert_true(index < seen->count);
    assert_int_equal(seen->items[index].at, at);
    assert_true(uuid_equal(&seen->items[index].id, id));
}

/* ---- selections ---- */

static void records_come_in_the_order_of_the_paths(void **state)
{
    const struct repo_path paths[] = {path_of(3, -1), path_of(0, -1), path_of(3, -1)};
    const struct repo_selection selection = {.paths = paths, .count = 3};
    struct seen seen = {.count = 0};

    (void)state;
    assert_int_equal(view->ops->consumers(view, &selection, note_consumer, &seen, &err), 0);
    assert_int_equal(seen.count, 3);
    assert_seen(&seen, 0, 0, &consumers[3].model.id);
    assert_seen(&seen, 1, 1, &consumers[0].model.id);
    assert_seen(&seen, 2, 2, &consumers[3].model.id);
}

static void short_paths_stand_for_all_below_them(void **state)
{
    const struct repo_path paths[] = {path_of(2, 1), path_of(1, -1), path_of(-1, -1)};
    const struct repo_selection selection = {.paths = paths, .count = 3};
    struct seen seen = {.count = 0};

    (void)state;
    assert_int_equal(view->ops->keys(view, &selection, note_key, &seen, &err), 0);
    assert_int_equal(seen.count, 1 + KEYS + CONSUMERS * KEYS);
    assert_seen(&seen, 0, 0, &keys[2][1].model.id);
    assert_seen(&seen, 1, 1, &keys[1][0].model.id);
    assert_seen(&seen, 2, 1, &keys[1][1].model.id);
    assert_seen(&seen, 3, 2, &keys[0][0].model.id);
    assert_seen(&seen, 12, 2, &keys[4][1].model.id);
    seen.count = 0;
    assert_int_equal(view->ops->consumers(view, &selection, note_consumer, &seen, &err), 0);
    assert_int_equal(seen.count, 2 + CONSUMERS);
}

static void buckets_narrow_what_is_given(void **state)
{
    const struct repo_path all = path_of(-1, -1);
    struct set_hash_marks marks = {{0}};
    const struct repo_selection selection = {.paths = &all, .count = 1, .buckets = &marks};
    const unsigned wanted = set_hash_bucket(&consumers[2].model.id);
    struct seen seen = {.count = 0};
    size_t expected = 0;

    (void)state;
    for (int i = 0; i < CONSUMERS; i++)
        expected += set_hash_bucket(&consumers[i].model.id) == wanted;
    set_hash_mark(&marks, wanted);
    assert_int_equal(view->ops->consumers(view, &selection, note_consumer, &seen, &err), 0);
    assert_int_equal(seen.count, expected);
    seen.count = 0;
    assert_int_equal(view->ops->keys(view, &selection, note_key, &seen, &err), 0);
    assert_int_equal(seen.count, expected * KEYS);
}

static void what_is_not_there_is_left_out(void **state)
{
    const struct uuid nobody = repo_fixture_uuid(99);
    const struct repo_path paths[] = {{.scope = scope, .consumer_id = nobody},
                                      {.scope = repo_fixture_cp(7)},
                                      {.scope = scope, .consumer_id = nobody, .key_id = nobody},
                                      path_of(1, 0)};
    const struct repo_selection selection = {.paths = paths, .count = 4};
    struct seen seen = {.count = 0};
    bool found[4];

    (void)state;
    assert_int_equal(view->ops->keys(view, &selection, note_key, &seen, &err), 0);
    assert_int_equal(seen.count, 1);
    assert_seen(&seen, 0, 3, &keys[1][0].model.id);
    assert_int_equal(view->ops->exist(view, paths, 4, found, &err), 0);
    assert_false(found[0]);
    assert_false(found[2]);
    assert_true(found[3]);
}

static void code_of_the_function_ends_the_read(void **state)
{
    const struct repo_path paths[] = {path_of(-1, -1), path_of(0, -1)};
    const struct repo_selection selection = {.paths = paths, .count = 2};
    struct seen seen = {.stop_at = 3};

    (void)state;
    assert_int_equal(view->ops->consumers(view, &selection, note_consumer, &seen, &err),
                     E_CANCELED);
    assert_int_equal(seen.count, 3);
}

/* ---- the whole ---- */

static int count_realm(void *context, const struct repo_realm_view *seen, struct error *e)
{
    unsigned *count = context;

    (void)e;
    assert_true(uuid_equal(&seen->id, &realm.model.id));
    assert_int_equal(seen->number, realm.model.number);
    (*count)++;
    return 0;
}

static void realms_are_those_that_the_control_plane_may_see(void **state)
{
    const struct uuid cp = repo_fixture_uuid(1);
    struct repo_realm_view one;
    unsigned count = 0;

    (void)state;
    assert_int_equal(view->ops->realms(view, &cp, count_realm, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_int_equal(view->ops->realm(view, &realm.model.id, &one, &err), 0);
    assert_int_equal(count_realm(&count, &one, &err), 0);
    assert_int_equal(view->ops->realm(view, &cp, &one, &err), E_NOT_FOUND);
}

static void view_stands_still(void **state)
{
    const struct repo_numbered_scope numbered = {.id = scope, .number = realm.model.number};
    const struct repo_path all = path_of(-1, -1);
    const struct repo_selection selection = {.paths = &all, .count = 1};
    struct set_hash before;
    struct set_hash after;
    struct repo_view_head head;
    struct repo_counts counts;
    struct seen seen = {.count = 0};

    (void)state;
    assert_int_equal(view->ops->digests(view, &numbered, 1, &before, &err), 0);
    assert_int_equal(repo_realm_delete(REPO_CALL(f, .err = &err), &realm.model.id, true), 0);
    assert_int_equal(view->ops->head(view, &head, &err), 0);
    assert_int_equal(head.version, repo_fixture_version(f) - 1);
    assert_int_equal(view->ops->consumers(view, &selection, note_consumer, &seen, &err), 0);
    assert_int_equal(seen.count, CONSUMERS);
    assert_int_equal(view->ops->counts(view, &numbered, 1, &counts, &err), 0);
    assert_int_equal(counts.consumers, CONSUMERS);
    assert_int_equal(counts.keys, CONSUMERS * KEYS);
    assert_int_equal(view->ops->digests(view, &numbered, 1, &after, &err), 0);
    assert_true(set_hash_equal(&before, &after));
}

static void buckets_add_up_to_the_scope(void **state)
{
    const struct repo_numbered_scope numbered = {.id = scope, .number = realm.model.number};
    struct set_hash buckets[SET_HASH_BUCKETS];
    struct set_hash sum = {0};
    struct set_hash whole;

    (void)state;
    assert_int_equal(view->ops->digests(view, &numbered, 1, &whole, &err), 0);
    assert_int_equal(view->ops->buckets(view, &scope, buckets, &err), 0);
    for (unsigned i = 0; i < SET_HASH_BUCKETS; i++)
        set_hash_add(&sum, &buckets[i]);
    assert_false(set_hash_is_zero(&whole));
    assert_true(set_hash_equal(&sum, &whole));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_come_in_the_order_of_the_paths),
        TEST(short_paths_stand_for_all_below_them),
        TEST(buckets_narrow_what_is_given),
        TEST(what_is_not_there_is_left_out),
        TEST(code_of_the_function_ends_the_read),
        TEST(realms_are_those_that_the_control_plane_may_see),
        TEST(view_stands_still),
        TEST(buckets_add_up_to_the_scope),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* agent/integrity.h: which comparison or repair follows what was found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/integrity.h"

static struct apply_compared differing(uint32_t scope, unsigned buckets,
                                       enum feed_wish_kind answered)
{
    struct apply_compared compared = {.scopes = 1,
                                      .mismatches = 1,
                                      .scope = scope,
                                      .with_buckets = answered != FEED_WISH_NONE,
                                      .answered = answered};

    for (unsigned bucket = 0; bucket < buckets; bucket++)
        set_hash_mark(&compared.differing, 3 * bucket);
    return compared;
}

static struct apply_compared equal(enum feed_wish_kind answered)
{
    return (struct apply_compared){.scopes = 1, .answered = answered};
}

/* The feed that asked brings this. */
static enum integrity_step answer(struct integrity *integrity,
                                  const struct apply_compared *compared, uint64_t consumers)
{
    (void)integrity_connect(integrity);
    return integrity_applied(integrity, compared, consumers);
}

static void difference_is_narrowed_down_repaired_and_all_is_compared(void **state)
{
    struct integrity integrity = {.left = 0};
    struct apply_compared compared = differing(7, 0, FEED_WISH_NONE);

    (void)state;
    assert_int_equal(integrity_applied(&integrity, &compared, 100), INTEGRITY_ASK);
    assert_int_equal(integrity.wish.kind, FEED_WISH_BUCKETS);
    assert_int_equal(integrity.wish.scope, 7);
    /* What comes before the answer changes nothing. */
    assert_int_equal(integrity_applied(&integrity, &compared, 100), INTEGRITY_NOTHING);
    assert_int_equal(integrity_suspect(&integrity, 8), INTEGRITY_NOTHING);

    compared = differing(7, 5, FEED_WISH_BUCKETS);
    assert_int_equal(answer(&integrity, &compared, 100), INTEGRITY_ASK);
    assert_int_equal(integrity.wish.kind, FEED_WISH_CONTENT);
    assert_int_equal(set_hash_marks_count(&integrity.wish.buckets), 5);

    compared = equal(FEED_WISH_CONTENT);
    assert_int_equal(answer(&integrity, &compared, 100), INTEGRITY_ASK);
    assert_int_equal(integrity.wish.kind, FEED_WISH_DIGESTS);

    compared = equal(FEED_WISH_DIGESTS);
    assert_int_equal(answer(&integrity, &compared, 100), INTEGRITY_NOTHING);
    assert_int_equal(integrity.wish.kind, FEED_WISH_NONE);
}

static void sum_that_alone_was_wrong_is_compared_again(void **state)
{
    struct integrity integrity = {.wish = {.kind = FEED_WISH_BUCKETS, .scope = 7}};
    const struct apply_compared compared = differing(7, 0, FEED_WISH_BUCKETS);

    (void)state;
    assert_int_equal(answer(&integrity, &compared, 100), INTEGRITY_ASK);
    assert_int_equal(integrity.wish.kind, FEED_WISH_DIGESTS);
}

/* Twelve million consumers: more than the limit stands in one bucket. */
static void large_scopes_are_repaired_bucket_by_bucket(void **state)
{
    struct integrity integrity = {.wish = {.kind = FEED_WISH_BUCKETS}};
    struct apply_compared compared = differing(0, 60, FEED_WISH_BUCKETS);

    (void)state;
    assert_int_equal(answer(&integrity, &compared, 12000000), INTEGRITY_ASK);
    assert_int_equal(set_hash_marks_count(&integrity.wish.buckets), 1);
    assert_true(set_hash_marked(&integrity.wish.buckets, 0));
    /* Each repair leaves fewer. */
    for (unsigned left = 59; left > 0; left--) {
        compared = differing(0, left, FEED_WISH_CONTENT);
        assert_int_equal(answer(&integrity, &compared, 1000000), INTEGRITY_ASK);
        assert_int_equal(integrity.wish.kind, FEED_WISH_CONTENT);
        assert_in_range(set_hash_marks_count(&integrity.wish.buckets), 1, 5);
    }
}

static void repairs_without_fruit_end_in_one_snapshot(void **state)
{
    struct integrity integrity = {.wish = {.kind = FEED_WISH_BUCKETS}};
    struct apply_compared compared = differing(7, 4, FEED_WISH_BUCKETS);

    (void)state;
    assert_int_equal(answer(&integrity, &compared, 100), INTEGRITY_ASK);
    compared.answered = FEED_WISH_CONTENT;
    for (int i = 1; i < INTEGRITY_FRUITLESS_MAX; i++)
        assert_int_equal(answer(&integrity, &compared, 100), INTEGRITY_ASK);
    assert_int_equal(answer(&integrity, &compared, 100), INTEGRITY_SNAPSHOT);
    assert_int_equal(integrity.wish.kind, FEED_WISH_NONE);

    /* The copy is new, and commits still differ: nothing more until the next full comparison. */
    integrity_loaded(&integrity);
    compared = differing(7, 0, FEED_WISH_NONE);
    assert_int_equal(integrity_applied(&integrity, &compared, 100), INTEGRITY_NOTHING);
    assert_int_equal(integrity_suspect(&integrity, 7), INTEGRITY_NOTHING);
    assert_int_equal(integrity_compare_all(&integrity), INTEGRITY_ASK);
}

static void new_copy_is_compared_by_the_connection_that_follows(void **state)
{
    struct integrity integrity = {.wish = {.kind = FEED_WISH_CONTENT, .scope = 7}};

    (void)state;
    integrity_loaded(&integrity);
    assert_int_equal(integrity.wish.kind, FEED_WISH_DIGESTS);
}

/* The walk finds something while the answer to the former wish waits to be applied. */
static void answer_to_one_wish_does_not_end_the_one_that_replaced_it(void **state)
{
    struct integrity integrity = {.wish = {.kind = FEED_WISH_DIGESTS}};
    const struct apply_compared compared = equal(FEED_WISH_DIGESTS);

    (void)state;
    (void)integrity_connect(&integrity);
    assert_int_equal(integrity_suspect(&integrity, 9), INTEGRITY_ASK);
    assert_int_equal(integrity_applied(&integrity, &compared, 100), INTEGRITY_NOTHING);
    assert_int_equal(integrity.wish.kind, FEED_WISH_BUCKETS);
    assert_int_equal(integrity_connect(&integrity).scope, 9);
}

static void what_a_feed_brings_that_did_not_ask_answers_nothing(void **state)
{
    struct integrity integrity = {.wish = {.kind = FEED_WISH_BUCKETS, .scope = 7}};
    const struct apply_compared compared = equal(FEED_WISH_DIGESTS);

    (void)state;
    integrity_connected_without(&integrity);
    assert_int_equal(integrity_applied(&integrity, &compared, 100), INTEGRITY_NOTHING);
    assert_int_equal(integrity.wish.kind, FEED_WISH_BUCKETS);
    assert_int_equal(integrity_unanswered(&integrity), INTEGRITY_NOTHING);
}

static void wish_without_an_answer_is_asked_again_a_few_times(void **state)
{
    struct integrity integrity = {.left = 0};
    struct apply_compared compared = differing(7, 0, FEED_WISH_NONE);

    (void)state;
    assert_int_equal(integrity_compare_all(&integrity), INTEGRITY_ASK);
    for (int i = 1; i < INTEGRITY_UNANSWERED_MAX; i++) {
        assert_int_equal(integrity_connect(&integrity).kind, FEED_WISH_DIGESTS);
        assert_int_equal(integrity_applied(&integrity, &compared, 100), INTEGRITY_NOTHING);
        assert_int_equal(integrity_unanswered(&integrity), INTEGRITY_ASK);
    }
    (void)integrity_connect(&integrity);
    assert_int_equal(integrity_unanswered(&integrity), INTEGRITY_GIVE_UP);
    /* Commits that differ ask no more, until the next round. */
    assert_int_equal(integrity_connect(&integrity).kind, FEED_WISH_NONE);
    assert_int_equal(integrity_applied(&integrity, &compared, 100), INTEGRITY_NOTHING);
    assert_int_equal(integrity_compare_all(&integrity), INTEGRITY_ASK);
    compared = equal(FEED_WISH_DIGESTS);
    assert_int_equal(answer(&integrity, &compared, 100), INTEGRITY_NOTHING);
    assert_int_equal(integrity.unanswered, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(difference_is_narrowed_down_repaired_and_all_is_compared),
        cmocka_unit_test(sum_that_alone_was_wrong_is_compared_again),
        cmocka_unit_test(large_scopes_are_repaired_bucket_by_bucket),
        cmocka_unit_test(repairs_without_fruit_end_in_one_snapshot),
        cmocka_unit_test(new_copy_is_compared_by_the_connection_that_follows),
        cmocka_unit_test(answer_to_one_wish_does_not_end_the_one_that_replaced_it),
        cmocka_unit_test(what_a_feed_brings_that_did_not_ask_answers_nothing),
        cmocka_unit_test(wish_without_an_answer_is_asked_again_a_few_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A feed as a real control plane gave it, replayed to the feed's reader with everything that a bad
 * way can do to it: whatever happens, what comes out is the source's transactions, whole, in order
 * and from the first on; and what is not, is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/feed/feed.h"
#include "sync/feed.h"
#include "tests/lib/feed_client.h"
#include "tests/lib/repo_fixture.h"

enum { RECORDING_MAX = 64 * 1024, TRANSACTIONS_MAX = 32, LINES_MAX = 256 };

/* What was recorded. */
static struct buffer recording;
static size_t lines[LINES_MAX + 1]; /* where each begins; and the end */
static size_t n_lines;
static char *truth[TRANSACTIONS_MAX]; /* the transactions' changes, one a line, sorted */
static size_t n_truth;
static struct feed_expectation expectation;

/* ---- transactions as text ---- */

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *take_text(struct buffer *buffer)
{
    size_t ignored;

    assert_int_equal(buffer_terminate(buffer), 0);
    return (char *)buffer_take(buffer, &ignored);
}

/* Sorted, because order among changes of one kind says nothing. */
static char *text_of(const struct feed_transaction *transaction)
{
    char **texts = calloc(transaction->count + 1, sizeof(*texts));
    struct buffer all;

    assert_non_null(texts);
    buffer_init(&all, RECORDING_MAX);
    assert_int_equal(buffer_printf(&all, "%llu\n", (unsigned long long)transaction->cursor.version),
                     0);
    for (size_t i = 0; i < transaction->count; i++) {
        struct buffer one;

        buffer_init(&one, RECORDING_MAX);
        assert_int_equal(change_encode(&transaction->changes[i], &one), 0);
        texts[i] = take_text(&one);
    }
    qsort(texts, transaction->count, sizeof(*texts), compare_lines);
    for (size_t i = 0; i < transaction->count; i++) {
        assert_int_equal(buffer_append_string(&all, texts[i]), 0);
        free(texts[i]);
    }
    free(texts);
    return take_text(&all);
}

/* ---- recording ---- */

static struct repo_fixture *repo;
static struct feed_client client;

static void note_line(const struct feed_line *line)
{
    assert_true(n_lines < LINES_MAX);
    lines[n_lines++] = recording.size;
    assert_int_equal(feed_line_encode(line, &recording), 0);
    lines[n_lines] = recording.size;
}

/* Takes lines up to the end of the next transaction; heartbeats may stand between. */
static void record_transaction(void)
{
    struct feed_line line;

    do {
        assert_true(feed_client_line(&client, &line));
        note_line(&line);
    } while (line.kind != FEED_LINE_COMMIT);
}

/* Something of each kind: names with more than ASCII, expiry, a move, deletes, a realm that comes
 * and goes. */
static void record_changes(const struct uuid *cp)
{
    static const unsigned nobody[] = {0};
    static const unsigned allowed[] = {1, 0};
    const struct repo_scope own = {REPO_SCOPE_CP, *cp};
    struct repo_realm realm = repo_fixture_realm(repo, "prod", allowed);
    struct repo_scope scope = repo_fixture_realm_scope(&realm);
    struct repo_consumer consumer;
    struct repo_commit commit;
    struct repo_key key;

    record_transaction();
    consumer =
        repo_fixture_consumer(repo, &scope, "Alice \"\xc3\x84\xe2\x82\xac\xf0\x9f\x98\x80\"");
    record_transaction();
    key = repo_fixture_key(repo, &scope, &consumer.model.id, "secret-1");
    record_transaction();
    (void)repo_fixture_key(repo, &scope, &consumer.model.id, "secret-2");
    record_transaction();
    assert_int_equal(repo_key_delete(REPO_CALL(repo, .commit = &commit, .err = &repo->err),
                                     &(struct repo_path){.scope = scope,
                                                         .consumer_id = consumer.model.id,
                                                         .key_id = key.model.id}),
                     0);
    record_transaction();
    consumer = repo_fixture_consumer(repo, &own, "Izumi");
    record_transaction();
    (void)repo_fixture_key(repo, &own, &consumer.model.id, "own-secret");
    record_transaction();
    (void)repo_fixture_allow(repo, &realm.model.id, nobody);
    record_transaction();
    (void)repo_fixture_allow(repo, &realm.model.id, allowed);
    record_transaction();
    assert_int_equal(
        repo_consumer_delete(REPO_CALL(repo, .commit = &commit, .err = &repo->err),
                             &(struct repo_path){.scope = own, .consumer_id = consumer.model.id}),
        0);
    record_transaction();
}

/* ---- replaying ---- */

/* What came out of a replay. */
struct replay {
    size_t n; /* transactions, all of them true */
    struct error err;
};

static bool on_hello(void *context, const struct feed_line *line)
{
    (void)context;
    (void)line;
    return true;
}

static int on_transaction(void *context, struct feed_transaction *transaction, struct error *err)
{
    struct replay *replay = context;
    char *text = text_of(transaction);

    (void)err;
    assert_true(replay->n < n_truth);
    if (strcmp(text, truth[replay->n]) != 0)
        fail_msg("transaction %zu is not the source's:\n%s\nbut:\n%s", replay->n, text,
                 truth[replay->n]);
    replay->n++;
    free(text);
    feed_transaction_destroy(transaction);
    return 0;
}

static void on_heartbeat(void *context, const struct feed_line *line)
{
    (void)context;
    (void)line;
}

static void on_resync(void *context, enum feed_resync_reason reason,
                      const struct snapshot_name *snapshot)
{
    (void)context;
    (void)snapshot;
    (void)reason;
    (void)snapshot;
}

/* Gives the reader the bytes in pieces of `piece`. */
static struct replay replay(const void *bytes, size_t size, size_t piece)
{
    struct replay result = {.n = 0};
    struct feed_events events = {on_hello, on_transaction, on_heartbeat, on_resync, &result};
    struct feed_reader *reader;

    assert_int_equal(feed_reader_create(&expectation, &events, &reader), 0);
    for (size_t at = 0; at < size && result.err.code == 0; at += piece)
        (void)feed_reader_take(reader, (const char *)bytes + at,
                               size - at < piece ? size - at : piece, &result.err);
    feed_reader_destroy(reader);
    return result;
}

static int take_truth(void *context, struct feed_transaction *transaction, struct error *err)
{
    (void)context;
    (void)err;
    assert_true(n_truth < TRANSACTIONS_MAX);
    truth[n_truth++] = text_of(transaction);
    feed_transaction_destroy(transaction);
    return 0;
}

static void learn_truth(void)
{
    struct feed_events events = {on_hello, take_truth, on_heartbeat, on_resync, NULL};
    struct error err = ERROR_INIT;
    struct feed_reader *reader;

    assert_int_equal(feed_reader_create(&expectation, &events, &reader), 0);
    if (feed_reader_take(reader, recording.data, recording.size, &err) != 0)
        fail_msg("%s", err.message);
    feed_reader_destroy(reader);
}

static int record(void **state)
{
    struct feed_options options = {.heartbeat_ms = 3600 * 1000, .region = "us"};
    struct log log = {STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT};
    struct uuid cp = repo_fixture_uuid(1);
    struct repo_head head;
    struct feed *feed;
    struct feed_line line;
    char dir[128];

    (void)state;
    buffer_init(&recording, RECORDING_MAX);
    repo = repo_fixture_create(0);
    (void)snprintf(dir, sizeof(dir), "%s/snapshots", repo->dir);
    options.snapshot_dir = dir;
    options.log = &log;
    assert_int_equal(repo_head(repo->repo, &head, &repo->err), 0);
    assert_int_equal(feed_create(repo->repo, &options, &feed, &repo->err), 0);
    feed_client_connect(&client, feed, &cp, "host", &head.epoch, head.version);
    line = feed_client_expect(&client, FEED_LINE_HELLO);
    note_line(&line);
    line = feed_client_expect(&client, FEED_LINE_HEARTBEAT);
    note_line(&line);
    record_changes(&cp);
    feed_client_disconnect(&client);
    feed_stop(feed);
    feed_destroy(feed);
    repo_fixture_destroy(repo);
    expectation = (struct feed_expectation){.control_plane_id = cp,
                                            .region = "us",
                                            .cursor = {head.epoch, head.version},
                                            .max_transaction_bytes = (size_t)1024 * 1024};
    learn_truth();
    return 0;
}

static int forget(void **state)
{
    (void)state;
    buffer_finish(&recording);
    for (size_t i = 0; i < n_truth; i++)
        free(truth[i]);
    return 0;
}

/* ---- tests ---- */

static void recording_is_what_it_should_be(void **state)
{
    struct replay result = replay(recording.data, recording.size, recording.size);

    (void)state;
    assert_int_equal(result.err.code, 0);
    assert_int_equal(result.n, n_truth);
    assert_int_equal(n_truth, 10);
    assert_true(recording.size > 2000);
}

static void session_cut_at_any_byte_gives_whole_transactions_and_no_complaint(void **state)
{
    size_t given = 0;

    (void)state;
    for (size_t cut = 0; cut <= recording.size; cut++) {
        struct replay result = replay(recording.data, cut, cut + 1);

        assert_int_equal(result.err.code, 0);
        assert_in_range(result.n, given, given + 1); /* one more at the end of each, never less */
        given = result.n;
    }
    assert_int_equal(given, n_truth);
}

static void pieces_of_any_size_give_the_same(void **state)
{
    (void)state;
    for (size_t piece = 1; piece <= 600; piece++) {
        struct replay result = replay(recording.data, recording.size, piece);

        assert_int_equal(result.err.code, 0);
        assert_int_equal(result.n, n_truth);
    }
}

static void any_byte_inverted_is_found_before_its_transaction_is_given(void **state)
{
    (void)state;
    for (size_t i = 0; i < recording.size; i++) {
        struct replay result;

        recording.data[i] ^= 0xff;
        result = replay(recording.data, recording.size, recording.size);
        recording.data[i] ^= 0xff;
        /* The last line end is the exception: the line has not come yet. */
        if (result.err.code == 0 && i + 1 < recording.size)
            fail_msg("byte %zu, inverted, was taken", i);
        assert_true(result.err.code == 0 || result.err.code == E_PROTOCOL ||
                    result.err.code == E_RESYNC);
    }
}

/* The recording with line `a` and the one behind it exchanged, or `a` twice, or without it. */
enum change_of_lines { SWAPPED, TWICE, MISSING };

static void append_line(struct buffer *out, size_t line)
{
    assert_int_equal(
        buffer_append(out, recording.data + lines[line], lines[line + 1] - lines[line]), 0);
}

static struct replay replay_lines(enum change_of_lines change, size_t first, size_t count)
{
    struct replay result;
    struct buffer out;

    buffer_init(&out, 2 * (size_t)RECORDING_MAX);
    for (size_t i = 0; i < first; i++)
        append_line(&out, i);
    for (size_t i = 0; i < count && change != MISSING; i++)
        append_line(&out, first + (change == SWAPPED ? count - 1 - i : i));
    for (size_t i = 0; i < count && change == TWICE; i++)
        append_line(&out, first + i);
    for (size_t i = first + count; i < n_lines; i++)
        append_line(&out, i);
    result = replay(out.data, out.size, out.size);
    buffer_finish(&out);
    return result;
}

/* on_transaction() asserts that all that was given is true; here it is only counted. */
static void lines_swapped_repeated_or_missing_never_change_what_is_given(void **state)
{
    unsigned found = 0;

    (void)state;
    for (size_t i = 0; i < n_lines; i++) {
        found += replay_lines(TWICE, i, 1).err.code != 0;
        found += replay_lines(MISSING, i, 1).err.code != 0;
        if (i + 1 < n_lines)
            found += replay_lines(SWAPPED, i, 2).err.code != 0;
    }
    /* What is no fault: a heartbeat more, less or elsewhere, changes of one kind in another order,
     * and the last line, which may still come. */
    assert_in_range(found, 2 * n_lines, 3 * n_lines);
}

/* Whole pieces of 2 to 12 lines, transactions among them. */
static void pieces_repeated_or_missing_are_found(void **state)
{
    (void)state;
    for (size_t count = 2; count <= 12; count++) {
        for (size_t first = 2; first + count < n_lines; first++) {
            assert_int_not_equal(replay_lines(TWICE, first, count).err.code, 0);
            assert_int_not_equal(replay_lines(MISSING, first, count).err.code, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recording_is_what_it_should_be),
        cmocka_unit_test(session_cut_at_any_byte_gives_whole_transactions_and_no_complaint),
        cmocka_unit_test(pieces_of_any_size_give_the_same),
        cmocka_unit_test(any_byte_inverted_is_found_before_its_transaction_is_given),
        cmocka_unit_test(lines_swapped_repeated_or_missing_never_change_what_is_given),
        cmocka_unit_test(pieces_repeated_or_missing_are_found),
    };

    return cmocka_run_group_tests(tests, record, forget);
}

/* test_repo_delta.c - what a feed is told: each way in which a realm, a consumer or a key can
 * appear, change and vanish for one control plane, several versions taken together.
 *
 * Changes are compared as text, one a line: "+c 2 alice" is the consumer alice given in scope 2,
 * "-k 0 one" a key deleted in the control plane's own scope.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "store/record.h"
#include "tests/lib/repo_fixture.h"

static struct repo_fixture *f;
static struct repo *repo;
static struct error err;
static struct repo_realm a; /* number 1, visible to control plane 1 */
static struct repo_realm b; /* number 2, visible to nobody */
static struct repo_scope a_scope;
static struct repo_scope b_scope;
static const unsigned only_1[] = {1, 0};
static const unsigned only_2[] = {2, 0};
static uint64_t from; /* the newest version when set_up ended */

/* ---- names for what has none in a change ---- */

struct label {
    struct uuid id;
    char text[16];
};
static struct label labels[64];
static size_t n_labels;

static const char *label_of(const struct uuid *id)
{
    for (size_t i = 0; i < n_labels; i++) {
        if (uuid_equal(&labels[i].id, id))
            return labels[i].text;
    }
    return "?";
}

static void set_label(const struct uuid *id, const char *text)
{
    assert_true(n_labels < 64);
    labels[n_labels].id = *id;
    (void)snprintf(labels[n_labels].text, sizeof(labels[n_labels].text), "%s", text);
    n_labels++;
}

static struct repo_consumer consumer(const struct repo_scope *scope, const char *username)
{
    struct repo_consumer created = repo_fixture_consumer(f, scope, username);

    set_label(&created.model.id, username);
    return created;
}

static struct repo_key key(const struct repo_scope *scope, const struct repo_consumer *owner,
                           const char *secret)
{
    struct repo_key created = repo_fixture_key(f, scope, &owner->model.id, secret);

    set_label(&created.model.id, secret);
    return created;
}

static int set_up(void **state)
{
    (void)state;
    f = repo_fixture_create(0);
    repo = f->repo;
    n_labels = 0;
    a = repo_fixture_realm(f, "a", only_1);
    b = repo_fixture_realm(f, "b", NULL);
    a_scope = repo_fixture_realm_scope(&a);
    b_scope = repo_fixture_realm_scope(&b);
    from = repo_fixture_version(f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    repo_fixture_destroy(f);
    return 0;
}

/* ---- the recording sink ---- */

struct record {
    char text[4096];
    size_t size;
    enum change_kind last;
};

static int take(void *context, const struct change *change)
{
    static const char *const signs[CHANGE_KINDS] = {"-r", "-k", "-c", "=b", "+r", "+c", "+k"};
    struct record *record = context;
    const char *name = "";

    assert_true(change->kind >= record->last);
    record->last = change->kind;
    if (change->kind == CHANGE_REALM)
        name = change->realm.name;
    else if (change->kind == CHANGE_CONSUMER)
        name = change->consumer.username;
    else if (change->kind == CHANGE_CONSUMER_DELETE)
        name = label_of(&change->id);
    else if (change->kind == CHANGE_KEY || change->kind == CHANGE_KEY_DELETE)
        name = label_of(&change->key.id);
    record->size +=
        (size_t)snprintf(record->text + record->size, sizeof(record->text) - record->size,
                         "%s %u%s%s\n", signs[change->kind], change->scope, *name ? " " : "", name);
    assert_true(record->size < sizeof(record->text));
    return 0;
}

static int read_delta(const struct uuid *control_plane_id, uint64_t since, repo_change_fn change,
                      void *context, struct repo_delta *ret)
{
    const struct repo_transaction_query query = {.control_plane_id = control_plane_id,
                                                 .from = since};
    const struct repo_transaction_sink sink = {.change = change, .context = context};

    return repo_transaction(repo, &query, &sink, ret, &err);
}

static void assert_delta_for(unsigned cp, uint64_t since, const char *expected)
{
    const struct uuid id = repo_fixture_uuid(cp);
    struct record record = {.text = ""};
    struct repo_delta delta;

    assert_int_equal(read_delta(&id, since, take, &record, &delta), 0);
    assert_int_equal(delta.outcome, REPO_DELTA_OK);
    assert_int_equal(delta.version, repo_fixture_version(f));
    assert_string_equal(record.text, expected);
}

static void assert_delta(const char *expected)
{
    assert_delta_for(1, from, expected);
}

static void move(const struct repo_consumer *who, const struct repo_realm *source,
                 const struct repo_realm *target)
{
    assert_int_equal(
        repo_consumer_move(REPO_CALL(f, .err = &err),
                           &(struct repo_path){.scope = {REPO_SCOPE_REALM, source->model.id},
                                               .consumer_id = who->model.id},
                           &target->model.id),
        0);
}

/* ---- realms ---- */

static void nothing_is_said_when_nothing_happened(void **state)
{
    (void)state;
    assert_delta("");
    assert_delta_for(1, 0, "+r 1 a\n");
    assert_delta_for(2, 0, "");
}

static void realm_that_appears_comes_with_all_in_it(void **state)
{
    struct repo_consumer alice = consumer(&b_scope, "alice");

    (void)state;
    consumer(&b_scope, "bob");
    key(&b_scope, &alice, "one");
    assert_delta("");
    repo_fixture_allow(f, &b.model.id, only_1);
    assert_delta("+r 2 b\n+c 2 alice\n+c 2 bob\n+k 2 one\n");
}

static void realm_that_vanishes_is_one_delete(void **state)
{
    struct repo_consumer alice = consumer(&a_scope, "alice");

    (void)state;
    key(&a_scope, &alice, "one");
    from = repo_fixture_version(f);
    consumer(&a_scope, "bob");
    repo_fixture_allow(f, &a.model.id, only_2);
    consumer(&a_scope, "carol");
    assert_delta("-r 1\n");
    assert_delta_for(2, from, "+r 1 a\n+c 1 alice\n+c 1 bob\n+c 1 carol\n+k 1 one\n");
}

static void realm_that_vanishes_and_comes_back_is_sent_itself(void **state)
{
    struct repo_consumer alice = consumer(&a_scope, "alice");

    (void)state;
    from = repo_fixture_version(f);
    repo_fixture_allow(f, &a.model.id, NULL);
    key(&a_scope, &alice, "one");
    repo_fixture_allow(f, &a.model.id, only_1);
    assert_delta("+r 1 a\n+k 1 one\n");
}

static void realm_that_appears_and_vanishes_is_nothing(void **state)
{
    (void)state;
    consumer(&b_scope, "alice");
    repo_fixture_allow(f, &b.model.id, only_1);
    repo_fixture_allow(f, &b.model.id, NULL);
    assert_delta("");
}

static void realm_created_and_deleted_is_nothing(void **state)
{
    struct repo_realm c = repo_fixture_realm(f, "c", only_1);
    struct repo_scope scope = repo_fixture_realm_scope(&c);

    (void)state;
    consumer(&scope, "alice");
    assert_int_equal(repo_realm_delete(REPO_CALL(f, .err = &err), &c.model.id, true), 0);
    assert_delta("");
}

static void realm_deleted_and_created_by_the_same_name_is_another(void **state)
{
    struct repo_realm again;
    struct repo_scope scope;

    (void)state;
    consumer(&a_scope, "alice");
    from = repo_fixture_version(f);
    assert_int_equal(repo_realm_delete(REPO_CALL(f, .err = &err), &a.model.id, true), 0);
    again = repo_fixture_realm(f, "a", only_1);
    scope = repo_fixture_realm_scope(&again);
    consumer(&scope, "alice");
    assert_delta("-r 1\n+r 3 a\n+c 3 alice\n");
}

static void realm_that_changes_does_not_send_its_consumers(void **state)
{
    const struct repo_realm input = {.model = {.ttl_min = 60}};
    struct repo_realm ret;

    (void)state;
    consumer(&a_scope, "alice");
    from = repo_fixture_version(f);
    assert_int_equal(repo_realm_update(REPO_CALL(f, .err = &err), &a.model.id,
                                       &(struct repo_realm_change){REPO_SET_TTL, input}, &ret),
                     0);
    assert_delta("+r 1 a\n");
    assert_delta_for(2, from, "");
}

static void allow_all_and_star_allow_everybody(void **state)
{
    static const char *const star[] = {"*"};
    struct repo_realm input = {.allow_all_control_planes = true};
    struct repo_realm ret;

    (void)state;
    assert_int_equal(repo_realm_update(REPO_CALL(f, .err = &err), &b.model.id,
                                       &(struct repo_realm_change){REPO_SET_ALLOW_ALL, input},
                                       &ret),
                     0);
    assert_delta_for(7, from, "+r 2 b\n");
    input = (struct repo_realm){.allowed_control_planes = {.items = star, .count = 1}};
    assert_int_equal(
        repo_realm_update(REPO_CALL(f, .err = &err), &b.model.id,
                          &(struct repo_realm_change){REPO_SET_ALLOW_ALL | REPO_SET_ALLOWED, input},
                          &ret),
        0);
    assert_delta_for(7, from, "+r 2 b\n");
    assert_delta_for(7, from + 1, "+r 2 b\n");
}

/* ---- consumers and keys ---- */

static void entities_come_in_their_newest_state_once(void **state)
{
    struct repo_consumer alice = consumer(&a_scope, "alice");
    const struct repo_consumer input = {.model = {.username = "alicia"}};
    struct repo_consumer ret;
    struct repo_key one;

    (void)state;
    one = key(&a_scope, &alice, "one");
    assert_delta("+c 1 alice\n+k 1 one\n");
    from = repo_fixture_version(f);
    assert_int_equal(
        repo_consumer_update(REPO_CALL(f, .err = &err),
                             &(struct repo_path){.scope = a_scope, .consumer_id = alice.model.id},
                             &(struct repo_consumer_change){REPO_SET_USERNAME, input}, &ret),
        0);
    assert_delta("+c 1 alicia\n");
    assert_int_equal(repo_key_delete(REPO_CALL(f, .err = &err),
                                     &(struct repo_path){.scope = a_scope,
                                                         .consumer_id = alice.model.id,
                                                         .key_id = one.model.id}),
                     0);
    key(&a_scope, &alice, "two");
    assert_delta("-k 1 one\n+c 1 alicia\n+k 1 two\n");
    assert_int_equal(
        repo_consumer_delete(REPO_CALL(f, .err = &err),
                             &(struct repo_path){.scope = a_scope, .consumer_id = alice.model.id}),
        0);
    assert_delta("-c 1 alice\n");
}

static void control_plane_sees_its_own_consumers_and_no_others(void **state)
{
    const struct repo_scope mine = repo_fixture_cp(1);
    const struct repo_scope theirs = repo_fixture_cp(2);
    struct repo_consumer alice = consumer(&mine, "alice");

    (void)state;
    key(&mine, &alice, "one");
    consumer(&theirs, "bob");
    assert_delta_for(1, from, "+c 0 alice\n+k 0 one\n");
    assert_delta_for(2, from, "+c 0 bob\n");
}

static void secret_handed_over_is_deleted_before_it_is_given(void **state)
{
    struct repo_consumer alice = consumer(&a_scope, "alice");
    struct repo_consumer bob = consumer(&a_scope, "bob");
    struct repo_key before = repo_fixture_key(f, &a_scope, &alice.model.id, "one");
    struct repo_key after;

    (void)state;
    set_label(&before.model.id, "before");
    from = repo_fixture_version(f);
    assert_int_equal(repo_key_delete(REPO_CALL(f, .err = &err),
                                     &(struct repo_path){.scope = a_scope,
                                                         .consumer_id = alice.model.id,
                                                         .key_id = before.model.id}),
                     0);
    after = repo_fixture_key(f, &a_scope, &bob.model.id, "one");
    set_label(&after.model.id, "after");
    assert_delta("-k 1 before\n+k 1 after\n");
}

static void moving_between_visible_realms_is_a_delete_and_a_whole_consumer(void **state)
{
    struct repo_consumer alice = consumer(&a_scope, "alice");

    (void)state;
    key(&a_scope, &alice, "one");
    key(&a_scope, &alice, "two");
    repo_fixture_allow(f, &b.model.id, only_1);
    from = repo_fixture_version(f);
    move(&alice, &a, &b);
    assert_delta("-c 1 alice\n+c 2 alice\n+k 2 one\n+k 2 two\n");
}

static void moving_out_of_sight_is_a_delete_and_into_sight_a_whole_consumer(void **state)
{
    struct repo_consumer alice = consumer(&a_scope, "alice");
    struct repo_consumer bob = consumer(&b_scope, "bob");

    (void)state;
    key(&a_scope, &alice, "one");
    key(&b_scope, &bob, "two");
    from = repo_fixture_version(f);
    move(&alice, &a, &b);
    assert_delta("-c 1 alice\n");
    move(&bob, &b, &a);
    assert_delta("-c 1 alice\n+c 1 bob\n+k 1 two\n");
}

/* A key lost while the consumer was out of sight must not survive its return. */
static void consumer_that_leaves_and_comes_back_is_deleted_first(void **state)
{
    struct repo_consumer alice = consumer(&a_scope, "alice");
    struct repo_key one = key(&a_scope, &alice, "one");

    (void)state;
    key(&a_scope, &alice, "two");
    from = repo_fixture_version(f);
    move(&alice, &a, &b);
    assert_int_equal(repo_key_delete(REPO_CALL(f, .err = &err),
                                     &(struct repo_path){.scope = b_scope,
                                                         .consumer_id = alice.model.id,
                                                         .key_id = one.model.id}),
                     0);
    move(&alice, &b, &a);
    assert_delta("-c 1 alice\n+c 1 alice\n+k 1 two\n");
}

static void moving_into_a_realm_that_appears_is_said_once(void **state)
{
    struct repo_consumer alice = consumer(&a_scope, "alice");

    (void)state;
    key(&a_scope, &alice, "one");
    from = repo_fixture_version(f);
    move(&alice, &a, &b);
    repo_fixture_allow(f, &b.model.id, only_1);
    assert_delta("-c 1 alice\n+r 2 b\n+c 2 alice\n+k 2 one\n");
}

/* ---- limits ---- */

static int stop_at_third(void *context, const struct change *change)
{
    int *count = context;

    (void)change;
    return ++*count == 3 ? E_TOO_LARGE : 0;
}

static int fail_at_once(void *context, const struct change *change)
{
    (void)context;
    (void)change;
    return E_CANCELED;
}

static void sink_can_call_it_too_large_or_stop(void **state)
{
    const struct uuid id = repo_fixture_uuid(1);
    struct repo_delta delta;
    int count = 0;

    (void)state;
    for (int i = 0; i < 5; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "user-%d", i);
        consumer(&a_scope, name);
    }
    assert_int_equal(read_delta(&id, from, stop_at_third, &count, &delta), 0);
    assert_int_equal(delta.outcome, REPO_DELTA_TOO_LARGE);
    assert_int_equal(delta.version, repo_fixture_version(f));
    assert_int_equal(read_delta(&id, from, fail_at_once, NULL, &delta), E_CANCELED);
}

static void cursor_ahead_of_the_source_is_future(void **state)
{
    const struct uuid id = repo_fixture_uuid(1);
    struct record record = {.text = ""};
    struct repo_delta delta;

    (void)state;
    assert_int_equal(read_delta(&id, from + 1, take, &record, &delta), 0);
    assert_int_equal(delta.outcome, REPO_DELTA_FUTURE);
    assert_string_equal(record.text, "");
}

static enum repo_delta_outcome outcome_from(uint64_t version)
{
    const struct uuid id = repo_fixture_uuid(1);
    struct record record = {.text = ""};
    struct repo_delta delta;

    assert_int_equal(read_delta(&id, version, take, &record, &delta), 0);
    return delta.outcome;
}

static void compacted_history_is_too_old_exactly_at_its_edge(void **state)
{
    enum { KEEP = 10 };
    struct repo_head head;

    (void)state;
    f->options.keep_versions = KEEP;
    repo_fixture_reopen(f);
    repo = f->repo;
    for (int i = 0; i < 4 * KEEP; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "user-%d", i);
        repo_fixture_consumer(f, &a_scope, name);
    }
    assert_int_equal(repo_head(repo, &head, &err), 0);
    assert_int_equal(head.oldest, head.version - KEEP);
    assert_int_equal(outcome_from(head.oldest), REPO_DELTA_OK);
    assert_int_equal(outcome_from(head.oldest - 1), REPO_DELTA_TOO_OLD);
    assert_int_equal(outcome_from(0), REPO_DELTA_TOO_OLD);
    assert_int_equal(outcome_from(head.version), REPO_DELTA_OK);
}

static void time_is_that_of_the_newest_visible_version(void **state)
{
    const struct uuid id = repo_fixture_uuid(1);
    const struct uuid other = repo_fixture_uuid(2);
    struct record record = {.text = ""};
    struct repo_consumer alice;
    struct repo_delta delta;

    (void)state;
    alice = consumer(&a_scope, "alice");
    for (int i = 0; i < 3; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "hidden-%d", i);
        consumer(&b_scope, name);
    }
    assert_int_equal(read_delta(&id, from, take, &record, &delta), 0);
    assert_int_equal(delta.time_ms, alice.created_ms);
    assert_int_equal(delta.changes, 1);
    assert_int_equal(read_delta(&other, from, take, &record, &delta), 0);
    assert_int_equal(delta.changes, 0);
}

/* ---- concerns ---- */

static bool concerns(uint64_t version, unsigned cp)
{
    const struct uuid id = repo_fixture_uuid(cp);
    bool result = false;

    assert_int_equal(repo_concerns(repo, version, &id, &result, &err), 0);
    return result;
}

static void version_concerns_whom_it_was_or_is_visible_to(void **state)
{
    uint64_t version;

    (void)state;
    consumer(&a_scope, "alice");
    version = repo_fixture_version(f);
    assert_true(concerns(version, 1));
    assert_false(concerns(version, 2));
    repo_fixture_allow(f, &a.model.id, only_2);
    assert_true(concerns(version + 1, 1));
    assert_true(concerns(version + 1, 2));
    assert_false(concerns(version + 1, 3));
    consumer(&a_scope, "bob");
    assert_true(concerns(version, 1)); /* as it was then, not as it is now */
    assert_false(concerns(version, 2));
    assert_false(concerns(version + 2, 1));
    assert_true(concerns(version + 2, 2));
    assert_int_equal(repo_realm_delete(REPO_CALL(f, .err = &err), &a.model.id, true), 0);
    assert_true(concerns(version + 3, 2));
    assert_true(concerns(version + 2, 2));
    assert_false(concerns(version + 4, 2));
    assert_false(concerns(0, 1));
}

/* ---- snapshots ---- */

struct snapshot {
    struct snapshot_header header;
    bool has_header;
    uint64_t counts[4];
    uint32_t scope;
    struct uuid consumer; /* the last one */
    struct uuid key;      /* its last key; nil: none came yet */
};

static int take_header(void *context, const struct snapshot_header *header)
{
    struct snapshot *snapshot = context;

    assert_false(snapshot->has_header);
    snapshot->has_header = true;
    snapshot->header = *header;
    return 0;
}

static void take_consumer(struct snapshot *snapshot, const struct snapshot_record *record)
{
    struct record_consumer view;

    assert_true(record_view_consumer(record->bytes, record->size, &view));
    assert_true(
        record->scope > snapshot->scope ||
        (record->scope == snapshot->scope && uuid_compare(&view.id, &snapshot->consumer) > 0));
    snapshot->consumer = view.id;
    memset(&snapshot->key, 0, sizeof(snapshot->key));
}

static void take_key(struct snapshot *snapshot, const struct snapshot_record *record)
{
    struct record_key view;

    assert_true(record_view_key(record->bytes, record->size, &view));
    assert_int_equal(record->scope, snapshot->scope);
    assert_true(uuid_equal(&view.consumer_id, &snapshot->consumer));
    assert_true(uuid_compare(&view.id, &snapshot->key) > 0);
    snapshot->key = view.id;
}

/* Asserts the order of docs/protocol.md. */
static int take_record(void *context, const struct snapshot_record *record)
{
    struct snapshot *snapshot = context;

    assert_true(snapshot->has_header);
    if (record->kind == SNAPSHOT_REALM) {
        assert_int_equal(snapshot->counts[SNAPSHOT_CONSUMER], 0);
        assert_true(record->scope > snapshot->scope);
    } else {
        if (snapshot->counts[SNAPSHOT_CONSUMER] == 0)
            snapshot->scope = 0; /* the realms' numbers are behind us */
        if (record->kind == SNAPSHOT_CONSUMER)
            take_consumer(snapshot, record);
        else
            take_key(snapshot, record);
    }
    snapshot->scope = record->scope;
    snapshot->counts[record->kind]++;
    return 0;
}

static void snapshot_is_ordered_and_counts_what_it_holds(void **state)
{
    const struct repo_scope own = repo_fixture_cp(1);
    const struct repo_scope scopes[] = {own, a_scope, b_scope};
    const struct uuid id = repo_fixture_uuid(1);
    struct snapshot snapshot = {.has_header = false};
    const struct repo_snapshot_sink sink = {
        .header = take_header, .record = take_record, .context = &snapshot};

    (void)state;
    repo_fixture_realm(f, "hidden", only_2);
    repo_fixture_allow(f, &b.model.id, only_1);
    for (int i = 0; i < 60; i++) {
        const struct repo_scope *scope = &scopes[i % 3];
        struct repo_consumer owner;
        char name[32];

        (void)snprintf(name, sizeof(name), "user-%d", i / 3);
        owner = repo_fixture_consumer(f, scope, name);
        repo_fixture_key(f, scope, &owner.model.id, name); /* the same secret in three scopes */
    }
    assert_int_equal(repo_snapshot(repo, &id, &sink, &err), 0);
    assert_int_equal(snapshot.header.cursor.version, repo_fixture_version(f));
    assert_true(uuid_equal(&snapshot.header.control_plane_id, &id));
    assert_int_equal(snapshot.header.realms, 2);
    assert_int_equal(snapshot.header.consumers, 60);
    assert_int_equal(snapshot.header.keys, 60);
    assert_int_equal(snapshot.counts[SNAPSHOT_REALM], 2);
    assert_int_equal(snapshot.counts[SNAPSHOT_CONSUMER], 60);
    assert_int_equal(snapshot.counts[SNAPSHOT_KEY], 60);
}

static int refuse_record(void *context, const struct snapshot_record *record)
{
    (void)context;
    (void)record;
    return E_NO_SPACE;
}

static void snapshot_stops_when_its_receiver_fails(void **state)
{
    const struct uuid id = repo_fixture_uuid(1);
    struct snapshot snapshot = {.has_header = false};
    const struct repo_snapshot_sink sink = {
        .header = take_header, .record = refuse_record, .context = &snapshot};

    (void)state;
    assert_int_equal(repo_snapshot(repo, &id, &sink, &err), E_NO_SPACE);
    assert_int_equal(err.code, E_NO_SPACE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_said_when_nothing_happened),
        TEST(realm_that_appears_comes_with_all_in_it),
        TEST(realm_that_vanishes_is_one_delete),
        TEST(realm_that_vanishes_and_comes_back_is_sent_itself),
        TEST(realm_that_appears_and_vanishes_is_nothing),
        TEST(realm_created_and_deleted_is_nothing),
        TEST(realm_deleted_and_created_by_the_same_name_is_another),
        TEST(realm_that_changes_does_not_send_its_consumers),
        TEST(allow_all_and_star_allow_everybody),
        TEST(entities_come_in_their_newest_state_once),
        TEST(control_plane_sees_its_own_consumers_and_no_others),
        TEST(secret_handed_over_is_deleted_before_it_is_given),
        TEST(moving_between_visible_realms_is_a_delete_and_a_whole_consumer),
        TEST(moving_out_of_sight_is_a_delete_and_into_sight_a_whole_consumer),
        TEST(consumer_that_leaves_and_comes_back_is_deleted_first),
        TEST(moving_into_a_realm_that_appears_is_said_once),
        TEST(sink_can_call_it_too_large_or_stop),
        TEST(cursor_ahead_of_the_source_is_future),
        TEST(compacted_history_is_too_old_exactly_at_its_edge),
        TEST(time_is_that_of_the_newest_visible_version),
        TEST(version_concerns_whom_it_was_or_is_visible_to),
        TEST(snapshot_is_ordered_and_counts_what_it_holds),
        TEST(snapshot_stops_when_its_receiver_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

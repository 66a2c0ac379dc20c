/* test_repo.c - the embedded repository: entities, uniqueness, partial updates, what a restart
 * keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/repo_fixture.h"

static struct repo_fixture *f;
static struct repo *repo;
static struct error err;

static int set_up(void **state)
{
    (void)state;
    f = repo_fixture_create(0);
    repo = f->repo;
    err = (struct error)ERROR_INIT;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    repo_fixture_destroy(f);
    return 0;
}

static void reopen(void)
{
    repo_fixture_reopen(f);
    repo = f->repo;
}

static void assert_fails(int rc, int code, const char *field)
{
    assert_int_equal(rc, code);
    assert_int_equal(err.code, code);
    assert_string_not_equal(err.message, "");
    if (field == NULL)
        assert_null(err.field);
    else
        assert_string_equal(err.field, field);
    err = (struct error)ERROR_INIT;
}

static const struct model_strings two_labels = {.items = (const char *const[]){"gold", "eu"},
                                                .count = 2};

static void assert_two_labels(const struct model_strings *strings)
{
    assert_int_equal(strings->count, 2);
    assert_string_equal(strings->items[0], "gold");
    assert_string_equal(strings->items[1], "eu");
}

/* ---- realms ---- */

static void realm_comes_back_as_it_was_created(void **state)
{
    static const char *const allowed[] = {"497F6ECA-6276-4993-BFEB-53CBBBBA6F08", "*"};
    const struct repo_realm input = {
        .model = {.name = "prod", .ttl_min = 7, .negative_ttl_min = 5, .groups = two_labels},
        .allowed_control_planes = {.items = allowed, .count = 2}};
    struct repo_commit commit = {0};
    struct repo_realm created;
    struct repo_realm got;

    (void)state;
    assert_int_equal(
        repo_realm_create(REPO_CALL(f, .commit = &commit, .err = &err), &input, &created), 0);
    assert_int_equal(commit.version, 1);
    assert_int_equal(repo_realm_get(REPO_CALL(f, .err = &err), &created.model.id, &got), 0);
    assert_true(uuid_equal(&got.model.id, &created.model.id));
    assert_int_equal(got.model.number, 1);
    assert_string_equal(got.model.name, "prod");
    assert_string_equal(got.model.region, "us");
    assert_int_equal(got.model.ttl_min, 7);
    assert_int_equal(got.model.negative_ttl_min, 5);
    assert_two_labels(&got.model.groups);
    assert_int_equal(got.allowed_control_planes.count, 2);
    assert_string_equal(got.allowed_control_planes.items[0],
                        "497f6eca-6276-4993-bfeb-53cbbbba6f08");
    assert_string_equal(got.allowed_control_planes.items[1], "*");
    assert_false(got.allow_all_control_planes);
    assert_true(got.created_ms > 0);
    assert_int_equal(got.created_ms, got.updated_ms);
}

static void realm_name_is_unique_and_free_after_rename_and_delete(void **state)
{
    struct repo_realm a = repo_fixture_realm(f, "a", NULL);
    struct repo_realm b = repo_fixture_realm(f, "b", NULL);
    struct repo_realm input = {.model = {.name = "a", .ttl_min = 10, .negative_ttl_min = 10}};
    struct repo_realm ret;

    (void)state;
    assert_fails(repo_realm_create(REPO_CALL(f, .err = &err), &input, &ret), E_CONFLICT, "name");
    assert_fails(repo_realm_update(REPO_CALL(f, .err = &err), &b.model.id,
                                   &(struct repo_realm_change){REPO_SET_NAME, input}, &ret),
                 E_CONFLICT, "name");
    input.model.name = "c";
    assert_int_equal(repo_realm_update(REPO_CALL(f, .err = &err), &a.model.id,
                                       &(struct repo_realm_change){REPO_SET_NAME, input}, &ret),
                     0);
    a = repo_fixture_realm(f, "a", NULL);
    assert_int_equal(repo_realm_delete(REPO_CALL(f, .err = &err), &a.model.id, false), 0);
    a = repo_fixture_realm(f, "a", NULL);
    assert_int_equal(a.model.number, 4); /* never reused */
}

static void realm_patch_changes_only_what_its_bits_name(void **state)
{
    const unsigned allowed[] = {1, 0};
    struct repo_realm realm = repo_fixture_realm(f, "prod", allowed);
    const struct repo_realm input = {
        .model = {.name = "other", .ttl_min = 99, .negative_ttl_min = 98, .groups = two_labels},
        .allow_all_control_planes = true};
    struct repo_commit commit;
    struct repo_realm got;

    (void)state;
    assert_int_equal(
        repo_realm_update(REPO_CALL(f, .commit = &commit, .err = &err), &realm.model.id,
                          &(struct repo_realm_change){REPO_SET_TTL | REPO_SET_GROUPS, input}, &got),
        0);
    assert_string_equal(got.model.name, "prod");
    assert_int_equal(got.model.ttl_min, 99);
    assert_int_equal(got.model.negative_ttl_min, 10);
    assert_two_labels(&got.model.groups);
    assert_int_equal(got.allowed_control_planes.count, 1);
    assert_false(got.allow_all_control_planes);
    assert_int_equal(commit.version, 2);
    assert_int_equal(
        repo_realm_update(REPO_CALL(f, .commit = &commit, .err = &err), &realm.model.id,
                          &(struct repo_realm_change){REPO_SET_NAME | REPO_SET_NEGATIVE_TTL |
                                                          REPO_SET_ALLOWED | REPO_SET_ALLOW_ALL,
                                                      input},
                          &got),
        0);
    assert_string_equal(got.model.name, "other");
    assert_int_equal(got.model.negative_ttl_min, 98);
    assert_int_equal(got.allowed_control_planes.count, 0);
    assert_true(got.allow_all_control_planes);
}

static void update_to_equal_values_spends_no_version(void **state)
{
    struct repo_realm realm = repo_fixture_realm(f, "prod", NULL);
    struct repo_scope scope = repo_fixture_realm_scope(&realm);
    struct repo_consumer consumer = repo_fixture_consumer(f, &scope, "alice");
    struct repo_commit commit = {.version = 99};
    struct repo_realm got_realm;
    struct repo_consumer got;

    (void)state;
    assert_int_equal(
        repo_realm_update(REPO_CALL(f, .commit = &commit, .err = &err), &realm.model.id,
                          &(struct repo_realm_change){REPO_SET_NAME, realm}, &got_realm),
        0);
    assert_int_equal(commit.version, 0);
    assert_int_equal(
        repo_consumer_update(REPO_CALL(f, .commit = &commit, .err = &err),
                             &(struct repo_path){.scope = scope, .consumer_id = consumer.model.id},
                             &(struct repo_consumer_change){REPO_SET_USERNAME, consumer}, &got),
        0);
    assert_int_equal(commit.version, 0);
    assert_int_equal(repo_fixture_version(f), 2);
}

static void realm_refuses_control_planes_that_are_no_uuid(void **state)
{
    static const char *const allowed[] = {"nonsense"};
    const struct repo_realm input = {
        .model = {.name = "prod", .ttl_min = 10, .negative_ttl_min = 10},
        .allowed_control_planes = {.items = allowed, .count = 1}};
    struct repo_realm ret;

    (void)state;
    assert_fails(repo_realm_create(REPO_CALL(f, .err = &err), &input, &ret), E_INVALID,
                 "allowed_control_planes");
}

static void realm_with_consumers_is_deleted_only_by_force(void **state)
{
    struct repo_realm realm = repo_fixture_realm(f, "prod", NULL);
    struct repo_realm other = repo_fixture_realm(f, "other", NULL);
    struct repo_scope scope = repo_fixture_realm_scope(&realm);
    struct repo_scope other_scope = repo_fixture_realm_scope(&other);
    struct repo_consumer alice = repo_fixture_consumer(f, &scope, "alice");
    struct repo_consumer bob = repo_fixture_consumer(f, &other_scope, "bob");
    struct repo_owner owner;
    struct repo_realm got;

    (void)state;
    repo_fixture_key(f, &scope, &alice.model.id, "one");
    repo_fixture_key(f, &other_scope, &bob.model.id, "one");
    assert_fails(repo_realm_delete(REPO_CALL(f, .err = &err), &realm.model.id, false), E_NOT_EMPTY,
                 NULL);
    assert_int_equal(repo_realm_delete(REPO_CALL(f, .err = &err), &realm.model.id, true), 0);
    assert_fails(repo_realm_get(REPO_CALL(f, .err = &err), &realm.model.id, &got), E_NOT_FOUND,
                 "realmId");
    assert_fails(
        repo_consumer_get(REPO_CALL(f, .err = &err),
                          &(struct repo_path){.scope = scope, .consumer_id = alice.model.id},
                          &owner.consumer),
        E_NOT_FOUND, "realmId");
    assert_fails(repo_realm_delete(REPO_CALL(f, .err = &err), &realm.model.id, true), E_NOT_FOUND,
                 "realmId");
    assert_int_equal(repo_authenticate(REPO_CALL(f, .err = &err), &other_scope,
                                       &(struct repo_login){"one", 3, 1}, &owner),
                     0);
    assert_string_equal(owner.consumer.model.username, "bob");
}

static void large_realm_is_deleted_by_force_whole(void **state)
{
    enum { CONSUMERS = 300 };
    struct repo_realm realm = repo_fixture_realm(f, "prod", NULL);
    struct repo_scope scope = repo_fixture_realm_scope(&realm);
    const struct repo_page page = {.size = 1};
    struct repo_realm_rows realms;

    (void)state;
    for (int i = 0; i < CONSUMERS; i++) {
        struct repo_consumer consumer;
        char name[32];

        (void)snprintf(name, sizeof(name), "user-%d", i);
        consumer = repo_fixture_consumer(f, &scope, name);
        repo_fixture_key(f, &scope, &consumer.model.id, name);
    }
    assert_int_equal(repo_realm_delete(REPO_CALL(f, .err = &err), &realm.model.id, true), 0);
    assert_int_equal(repo_realm_list(REPO_CALL(f, .err = &err), &page, &realms), 0);
    assert_int_equal(realms.count, 0);
    assert_false(realms.info.more_after);
    assert_int_equal(repo_fixture_version(f), 2 + 2 * CONSUMERS);
}

/* ---- consumers ---- */

static void consumer_comes_back_as_it_was_created(void **state)
{
    struct repo_scope scope = repo_fixture_cp(1);
    const struct repo_consumer input = {.model = {.username = "alice",
                                                  .custom_id = "c-1",
                                                  .type = MODEL_CONSUMER_ADMIN,
                                                  .tags = two_labels,
                                                  .groups = two_labels}};
    struct repo_consumer created;
    struct repo_consumer got;

    (void)state;
    assert_int_equal(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &created), 0);
    assert_int_equal(
        repo_consumer_get(REPO_CALL(f, .err = &err),
                          &(struct repo_path){.scope = scope, .consumer_id = created.model.id},
                          &got),
        0);
    assert_string_equal(got.model.username, "alice");
    assert_string_equal(got.model.custom_id, "c-1");
    assert_int_equal(got.model.type, MODEL_CONSUMER_ADMIN);
    assert_two_labels(&got.model.tags);
    assert_two_labels(&got.model.groups);
}

static void consumer_names_are_unique_within_their_scope_only(void **state)
{
    struct repo_realm realm = repo_fixture_realm(f, "prod", NULL);
    struct repo_scope scope = repo_fixture_realm_scope(&realm);
    struct repo_scope other = repo_fixture_cp(1);
    struct repo_consumer input = {.model = {.username = "alice", .custom_id = "c-1"}};
    struct repo_consumer ret;

    (void)state;
    assert_int_equal(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &ret), 0);
    assert_fails(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &ret), E_CONFLICT,
                 "username");
    input.model.username = "bob";
    assert_fails(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &ret), E_CONFLICT,
                 "custom_id");
    input.model.custom_id = "alice"; /* usernames and custom ids do not meet */
    assert_int_equal(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &ret), 0);
    assert_int_equal(repo_consumer_create(REPO_CALL(f, .err = &err), &other, &input, &ret), 0);
    assert_int_equal(repo_fixture_version(f), 4);
}

static void failed_create_leaves_its_username_free(void **state)
{
    struct repo_scope scope = repo_fixture_cp(1);
    struct repo_consumer input = {.model = {.username = "alice", .custom_id = "c-1"}};
    struct repo_consumer ret;

    (void)state;
    assert_int_equal(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &ret), 0);
    input.model.username = "bob";
    assert_fails(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &ret), E_CONFLICT,
                 "custom_id");
    repo_fixture_consumer(f, &scope, "bob");
}

static void consumer_in_an_unknown_realm_is_not_found(void **state)
{
    struct repo_scope scope = {.kind = REPO_SCOPE_REALM, .id = repo_fixture_uuid(9)};
    struct repo_consumer input = {.model = {.username = "alice"}};
    const struct repo_page page = {.size = 10};
    struct repo_consumer_rows rows;
    struct repo_consumer ret;

    (void)state;
    assert_fails(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &ret), E_NOT_FOUND,
                 "realmId");
    assert_fails(repo_consumer_list(REPO_CALL(f, .err = &err), &scope,
                                    &(struct repo_consumer_query){.page = page}, &rows),
                 E_NOT_FOUND, "realmId");
    scope = repo_fixture_cp(1);
    assert_fails(repo_consumer_get(REPO_CALL(f, .err = &err),
                                   &(struct repo_path){.scope = scope, .consumer_id = scope.id},
                                   &ret),
                 E_NOT_FOUND, "consumerId");
}

static void consumer_patch_sets_and_removes_the_custom_id(void **state)
{
    struct repo_scope scope = repo_fixture_cp(1);
    struct repo_consumer consumer = repo_fixture_consumer(f, &scope, "alice");
    struct repo_consumer input = {.model = {.custom_id = "c-1", .type = MODEL_CONSUMER_DEVELOPER}};
    struct repo_consumer got;

    (void)state;
    assert_int_equal(repo_consumer_update(
                         REPO_CALL(f, .err = &err),
                         &(struct repo_path){.scope = scope, .consumer_id = consumer.model.id},
                         &(struct repo_consumer_change){REPO_SET_CUSTOM_ID | REPO_SET_TYPE, input},
                         &got),
                     0);
    assert_string_equal(got.model.username, "alice");
    assert_string_equal(got.model.custom_id, "c-1");
    assert_int_equal(got.model.type, MODEL_CONSUMER_DEVELOPER);
    input.model.custom_id = NULL;
    assert_int_equal(
        repo_consumer_update(REPO_CALL(f, .err = &err),
                             &(struct repo_path){.scope = scope, .consumer_id = consumer.model.id},
                             &(struct repo_consumer_change){REPO_SET_CUSTOM_ID, input}, &got),
        0);
    assert_null(got.model.custom_id);
    input = (struct repo_consumer){.model = {.username = "bob", .custom_id = "c-1"}};
    assert_int_equal(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &got), 0);
    assert_fails(
        repo_consumer_update(REPO_CALL(f, .err = &err),
                             &(struct repo_path){.scope = scope, .consumer_id = consumer.model.id},
                             &(struct repo_consumer_change){REPO_SET_USERNAME, input}, &got),
        E_CONFLICT, "username");
    assert_fails(
        repo_consumer_update(REPO_CALL(f, .err = &err),
                             &(struct repo_path){.scope = scope, .consumer_id = consumer.model.id},
                             &(struct repo_consumer_change){REPO_SET_CUSTOM_ID, input}, &got),
        E_CONFLICT, "custom_id");
}

static void values_over_their_limits_are_refused(void **state)
{
    static char long_name[MODEL_NAME_MAX + 2];
    struct repo_scope scope = repo_fixture_cp(1);
    struct repo_consumer input = {.model = {.username = long_name}};
    struct repo_consumer ret;
    uint64_t version = repo_fixture_version(f);

    (void)state;
    memset(long_name, 'x', sizeof(long_name) - 1);
    assert_fails(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &ret), E_INVALID,
                 NULL);
    input.model.username = "broken \xff";
    assert_fails(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &ret), E_INVALID,
                 NULL);
    assert_int_equal(repo_fixture_version(f), version);
}

static void filters_find_whole_names(void **state)
{
    struct repo_scope scope = repo_fixture_cp(1);
    struct repo_consumer_query query = {.page = {.size = 10}, .username = "alice"};
    struct repo_consumer input = {.model = {.username = "alice", .custom_id = "c-1"}};
    struct repo_consumer ret;
    struct repo_consumer_rows rows;

    (void)state;
    repo_fixture_consumer(f, &scope, "alic");
    assert_int_equal(repo_consumer_create(REPO_CALL(f, .err = &err), &scope, &input, &ret), 0);
    assert_int_equal(repo_consumer_list(REPO_CALL(f, .err = &err), &scope, &query, &rows), 0);
    assert_int_equal(rows.count, 1);
    assert_string_equal(rows.items[0].model.custom_id, "c-1");
    query.custom_id = "other";
    assert_int_equal(repo_consumer_list(REPO_CALL(f, .err = &err), &scope, &query, &rows), 0);
    assert_int_equal(rows.count, 0);
    query.username = NULL;
    query.custom_id = "c-1";
    assert_int_equal(repo_consumer_list(REPO_CALL(f, .err = &err), &scope, &query, &rows), 0);
    assert_int_equal(rows.count, 1);
}

static void deleted_consumer_takes_its_keys_and_names_along(void **state)
{
    struct repo_scope scope = repo_fixture_cp(1);
    struct repo_consumer alice = repo_fixture_consumer(f, &scope, "alice");
    struct repo_consumer bob = repo_fixture_consumer(f, &scope, "bob");
    struct repo_owner owner;

    (void)state;
    repo_fixture_key(f, &scope, &alice.model.id, "one");
    repo_fixture_key(f, &scope, &alice.model.id, "two");
    assert_int_equal(
        repo_consumer_delete(REPO_CALL(f, .err = &err),
                             &(struct repo_path){.scope = scope, .consumer_id = alice.model.id}),
        0);
    assert_fails(repo_authenticate(REPO_CALL(f, .err = &err), &scope,
                                   &(struct repo_login){"one", 3, 1}, &owner),
                 E_NOT_FOUND, "secret");
    repo_fixture_key(f, &scope, &bob.model.id, "one");
    repo_fixture_consumer(f, &scope, "alice");
    assert_fails(
        repo_consumer_delete(REPO_CALL(f, .err = &err),
                             &(struct repo_path){.scope = scope, .consumer_id = alice.model.id}),
        E_NOT_FOUND, "consumerId");
}

/* ---- moving ---- */

static void moved_consumer_keeps_its_keys(void **state)
{
    struct repo_realm from = repo_fixture_realm(f, "from", NULL);
    struct repo_realm to = repo_fixture_realm(f, "to", NULL);
    struct repo_scope from_scope = repo_fixture_realm_scope(&from);
    struct repo_scope to_scope = repo_fixture_realm_scope(&to);
    struct repo_consumer alice = repo_fixture_consumer(f, &from_scope, "alice");
    struct repo_key key = repo_fixture_key(f, &from_scope, &alice.model.id, "one");
    struct repo_commit commit;
    struct repo_owner owner;

    (void)state;
    repo_fixture_key(f, &from_scope, &alice.model.id, "two");
    assert_int_equal(
        repo_consumer_move(REPO_CALL(f, .commit = &commit, .err = &err),
                           &(struct repo_path){.scope = {REPO_SCOPE_REALM, from.model.id},
                                               .consumer_id = alice.model.id},
                           &to.model.id),
        0);
    assert_int_equal(commit.version, 6);
    assert_fails(repo_authenticate(REPO_CALL(f, .err = &err), &from_scope,
                                   &(struct repo_login){"one", 3, 1}, &owner),
                 E_NOT_FOUND, "secret");
    assert_int_equal(repo_authenticate(REPO_CALL(f, .err = &err), &to_scope,
                                       &(struct repo_login){"one", 3, 1}, &owner),
                     0);
    assert_true(uuid_equal(&owner.consumer.model.id, &alice.model.id));
    assert_true(uuid_equal(&owner.key.model.id, &key.model.id));
    assert_int_equal(repo_realm_delete(REPO_CALL(f, .err = &err), &from.model.id, false), 0);
    assert_fails(repo_realm_delete(REPO_CALL(f, .err = &err), &to.model.id, false), E_NOT_EMPTY,
                 NULL);
}

static void move_refuses_what_is_taken_in_the_target(void **state)
{
    struct repo_realm from = repo_fixture_realm(f, "from", NULL);
    struct repo_realm to = repo_fixture_realm(f, "to", NULL);
    struct repo_scope from_scope = repo_fixture_realm_scope(&from);
    struct repo_scope to_scope = repo_fixture_realm_scope(&to);
    struct repo_consumer alice = repo_fixture_consumer(f, &from_scope, "alice");
    struct repo_consumer other = repo_fixture_consumer(f, &to_scope, "alice");
    struct repo_consumer renamed = {.model = {.username = "bob", .custom_id = "c-1"}};
    const struct uuid nowhere = repo_fixture_uuid(9);
    struct repo_owner owner;
    uint64_t version;

    (void)state;
    repo_fixture_key(f, &from_scope, &alice.model.id, "one");
    assert_fails(repo_consumer_move(REPO_CALL(f, .err = &err),
                                    &(struct repo_path){.scope = {REPO_SCOPE_REALM, from.model.id},
                                                        .consumer_id = alice.model.id},
                                    &to.model.id),
                 E_CONFLICT, "username");
    assert_int_equal(
        repo_consumer_update(
            REPO_CALL(f, .err = &err),
            &(struct repo_path){.scope = to_scope, .consumer_id = other.model.id},
            &(struct repo_consumer_change){REPO_SET_USERNAME | REPO_SET_CUSTOM_ID, renamed},
            &owner.consumer),
        0);
    assert_int_equal(repo_consumer_update(
                         REPO_CALL(f, .err = &err),
                         &(struct repo_path){.scope = from_scope, .consumer_id = alice.model.id},
                         &(struct repo_consumer_change){REPO_SET_CUSTOM_ID, renamed},
                         &owner.consumer),
                     0);
    assert_fails(repo_consumer_move(REPO_CALL(f, .err = &err),
                                    &(struct repo_path){.scope = {REPO_SCOPE_REALM, from.model.id},
                                                        .consumer_id = alice.model.id},
                                    &to.model.id),
                 E_CONFLICT, "custom_id");
    renamed.model.custom_id = NULL;
    assert_int_equal(repo_consumer_update(
                         REPO_CALL(f, .err = &err),
                         &(struct repo_path){.scope = from_scope, .consumer_id = alice.model.id},
                         &(struct repo_consumer_change){REPO_SET_CUSTOM_ID, renamed},
                         &owner.consumer),
                     0);
    repo_fixture_key(f, &to_scope, &other.model.id, "one");
    version = repo_fixture_version(f);
    assert_fails(repo_consumer_move(REPO_CALL(f, .err = &err),
                                    &(struct repo_path){.scope = {REPO_SCOPE_REALM, from.model.id},
                                                        .consumer_id = alice.model.id},
                                    &to.model.id),
                 E_CONFLICT, "secret");
    assert_fails(repo_consumer_move(REPO_CALL(f, .err = &err),
                                    &(struct repo_path){.scope = {REPO_SCOPE_REALM, from.model.id},
                                                        .consumer_id = alice.model.id},
                                    &nowhere),
                 E_MISSING_REFERENCE, "target_realm_id");
    assert_fails(repo_consumer_move(REPO_CALL(f, .err = &err),
                                    &(struct repo_path){.scope = {REPO_SCOPE_REALM, nowhere},
                                                        .consumer_id = alice.model.id},
                                    &to.model.id),
                 E_NOT_FOUND, "realmId");
    assert_fails(repo_consumer_move(REPO_CALL(f, .err = &err),
                                    &(struct repo_path){.scope = {REPO_SCOPE_REALM, from.model.id},
                                                        .consumer_id = nowhere},
                                    &to.model.id),
                 E_NOT_FOUND, "consumerId");
    assert_int_equal(repo_fixture_version(f), version);
    assert_int_equal(repo_authenticate(REPO_CALL(f, .err = &err), &from_scope,
                                       &(struct repo_login){"one", 3, 1}, &owner),
                     0);
}

static void move_to_the_same_realm_changes_nothing(void **state)
{
    struct repo_realm realm = repo_fixture_realm(f, "prod", NULL);
    struct repo_scope scope = repo_fixture_realm_scope(&realm);
    struct repo_consumer alice = repo_fixture_consumer(f, &scope, "alice");
    struct repo_commit commit;

    (void)state;
    assert_int_equal(
        repo_consumer_move(REPO_CALL(f, .commit = &commit, .err = &err),
                           &(struct repo_path){.scope = {REPO_SCOPE_REALM, realm.model.id},
                                               .consumer_id = alice.model.id},
                           &realm.model.id),
        0);
    assert_int_equal(commit.version, 0);
}

/* ---- keys ---- */

static void secret_is_unique_within_its_scope_and_never_in_a_message(void **state)
{
    struct repo_realm realm = repo_fixture_realm(f, "prod", NULL);
    struct repo_scope scope = repo_fixture_realm_scope(&realm);
    struct repo_scope other = repo_fixture_cp(1);
    struct repo_consumer alice = repo_fixture_consumer(f, &scope, "alice");
    struct repo_consumer bob = repo_fixture_consumer(f, &other, "bob");
    const struct repo_key input = {.type = REPO_KEY_LEGACY};
    struct repo_key key;

    (void)state;
    repo_fixture_key(f, &scope, &alice.model.id, "hush-hush");
    assert_int_equal(
        repo_key_create(REPO_CALL(f, .err = &err),
                        &(struct repo_path){.scope = scope, .consumer_id = alice.model.id},
                        &(struct repo_key_input){input, "hush-hush", 9}, &key),
        E_CONFLICT);
    assert_null(strstr(err.message, "hush"));
    assert_string_equal(err.field, "secret");
    repo_fixture_key(f, &other, &bob.model.id, "hush-hush");
}

static void key_is_listed_read_and_deleted_by_its_path(void **state)
{
    struct repo_scope scope = repo_fixture_cp(1);
    struct repo_consumer alice = repo_fixture_consumer(f, &scope, "alice");
    struct repo_consumer bob = repo_fixture_consumer(f, &scope, "bob");
    const struct repo_key input = {.model = {.tags = two_labels, .expires_at_ms = 5000},
                                   .type = REPO_KEY_NEW};
    const struct repo_page page = {.size = 10};
    struct repo_key created;
    struct repo_key_rows rows;
    struct repo_key got;

    (void)state;
    assert_int_equal(
        repo_key_create(REPO_CALL(f, .err = &err),
                        &(struct repo_path){.scope = scope, .consumer_id = alice.model.id},
                        &(struct repo_key_input){input, "one", 3}, &created),
        0);
    repo_fixture_key(f, &scope, &alice.model.id, "two");
    assert_int_equal(
        repo_key_list(REPO_CALL(f, .err = &err),
                      &(struct repo_path){.scope = scope, .consumer_id = alice.model.id}, &page,
                      &rows),
        0);
    assert_int_equal(rows.count, 2);
    assert_true(uuid_equal(&rows.items[0].model.id, &created.model.id));
    assert_int_equal(rows.items[1].type, REPO_KEY_LEGACY);
    assert_int_equal(repo_key_get(REPO_CALL(f, .err = &err),
                                  &(struct repo_path){.scope = scope,
                                                      .consumer_id = alice.model.id,
                                                      .key_id = created.model.id},
                                  &got),
                     0);
    assert_int_equal(got.type, REPO_KEY_NEW);
    assert_int_equal(got.model.expires_at_ms, 5000);
    assert_two_labels(&got.model.tags);
    assert_fails(repo_key_get(REPO_CALL(f, .err = &err),
                              &(struct repo_path){.scope = scope,
                                                  .consumer_id = bob.model.id,
                                                  .key_id = created.model.id},
                              &got),
                 E_NOT_FOUND, "keyId");
    assert_fails(
        repo_key_delete(REPO_CALL(f, .err = &err), &(struct repo_path){.scope = scope,
                                                                       .consumer_id = bob.model.id,
                                                                       .key_id = created.model.id}),
        E_NOT_FOUND, "keyId");
    assert_int_equal(repo_key_delete(REPO_CALL(f, .err = &err),
                                     &(struct repo_path){.scope = scope,
                                                         .consumer_id = alice.model.id,
                                                         .key_id = created.model.id}),
                     0);
    assert_fails(repo_key_delete(REPO_CALL(f, .err = &err),
                                 &(struct repo_path){.scope = scope,
                                                     .consumer_id = alice.model.id,
                                                     .key_id = created.model.id}),
                 E_NOT_FOUND, "keyId");
    repo_fixture_key(f, &scope, &bob.model.id, "one");
}

static void authentication_ends_when_the_key_expires(void **state)
{
    struct repo_scope scope = repo_fixture_cp(1);
    struct repo_consumer alice = repo_fixture_consumer(f, &scope, "alice");
    const struct repo_key input = {.model = {.expires_at_ms = 5000}};
    static char too_long[MODEL_SECRET_MAX + 1];
    struct repo_owner owner;

    (void)state;
    assert_int_equal(
        repo_key_create(REPO_CALL(f, .err = &err),
                        &(struct repo_path){.scope = scope, .consumer_id = alice.model.id},
                        &(struct repo_key_input){input, "one", 3}, &owner.key),
        0);
    assert_int_equal(repo_authenticate(REPO_CALL(f, .err = &err), &scope,
                                       &(struct repo_login){"one", 3, 4999}, &owner),
                     0);
    assert_string_equal(owner.consumer.model.username, "alice");
    assert_fails(repo_authenticate(REPO_CALL(f, .err = &err), &scope,
                                   &(struct repo_login){"one", 3, 5000}, &owner),
                 E_NOT_FOUND, "secret");
    assert_fails(repo_authenticate(REPO_CALL(f, .err = &err), &scope,
                                   &(struct repo_login){"two", 3, 1}, &owner),
                 E_NOT_FOUND, "secret");
    assert_fails(repo_authenticate(REPO_CALL(f, .err = &err), &scope,
                                   &(struct repo_login){too_long, sizeof(too_long), 1}, &owner),
                 E_NOT_FOUND, "secret");
    assert_fails(repo_key_create(REPO_CALL(f, .err = &err),
                                 &(struct repo_path){.scope = scope, .consumer_id = alice.model.id},
                                 &(struct repo_key_input){input, too_long, sizeof(too_long)},
                                 &owner.key),
                 E_INVALID, "secret");
}

/* ---- groups and tokens ---- */

static void group_names_are_unique_within_a_control_plane(void **state)
{
    const struct uuid cp = repo_fixture_uuid(1);
    const struct uuid other = repo_fixture_uuid(2);
    struct repo_group input = {.name = "gold", .tags = two_labels};
    const struct repo_page page = {.size = 10};
    struct repo_group group;
    struct repo_group_rows rows;

    (void)state;
    assert_int_equal(repo_group_create(REPO_CALL(f, .err = &err), &cp, &input, &group), 0);
    assert_fails(repo_group_create(REPO_CALL(f, .err = &err), &cp, &input, &group), E_CONFLICT,
                 "name");
    assert_int_equal(repo_group_create(REPO_CALL(f, .err = &err), &other, &input, &group), 0);
    assert_fails(repo_group_get(REPO_CALL(f, .err = &err), &cp, &group.id, &group), E_NOT_FOUND,
                 "id");
    assert_int_equal(repo_group_list(REPO_CALL(f, .err = &err), &cp, &page, &rows), 0);
    assert_int_equal(rows.count, 1);
    assert_two_labels(&rows.items[0].tags);
    input = (struct repo_group){.name = "silver"};
    assert_int_equal(repo_group_update(REPO_CALL(f, .err = &err), &cp, &rows.items[0].id,
                                       &(struct repo_group_change){REPO_SET_NAME, input}, &group),
                     0);
    assert_string_equal(group.name, "silver");
    assert_two_labels(&group.tags);
    assert_int_equal(repo_group_delete(REPO_CALL(f, .err = &err), &cp, &rows.items[0].id), 0);
    assert_fails(repo_group_delete(REPO_CALL(f, .err = &err), &cp, &rows.items[0].id), E_NOT_FOUND,
                 "id");
    assert_int_equal(repo_group_create(REPO_CALL(f, .err = &err), &cp, &input, &group), 0);
    assert_int_equal(repo_fixture_version(f), 0); /* feeds carry none of it */
}

static void token_is_found_by_its_hash_until_it_is_deleted(void **state)
{
    const uint8_t hash[DIGEST_BYTES] = {1, 2, 3};
    const uint8_t other[DIGEST_BYTES] = {1, 2, 4};
    const struct repo_token input = {.name = "edge",
                                     .role = REPO_ROLE_DATA_PLANE,
                                     .has_control_plane = true,
                                     .control_plane_id = repo_fixture_uuid(1)};
    const struct repo_page page = {.size = 10};
    struct repo_token_rows rows;
    struct repo_token token;
    struct repo_token got;

    (void)state;
    assert_int_equal(repo_token_create(REPO_CALL(f, .err = &err), &input, hash, &token), 0);
    assert_fails(repo_token_create(REPO_CALL(f, .err = &err), &input, hash, &token), E_CONFLICT,
                 "secret");
    assert_int_equal(repo_token_find(REPO_CALL(f, .err = &err), hash, &got), 0);
    assert_string_equal(got.name, "edge");
    assert_int_equal(got.role, REPO_ROLE_DATA_PLANE);
    assert_true(got.has_control_plane);
    assert_true(uuid_equal(&got.control_plane_id, &input.control_plane_id));
    assert_fails(repo_token_find(REPO_CALL(f, .err = &err), other, &got), E_NOT_FOUND, NULL);
    assert_int_equal(repo_token_list(REPO_CALL(f, .err = &err), &page, &rows), 0);
    assert_int_equal(rows.count, 1);
    assert_int_equal(repo_token_delete(REPO_CALL(f, .err = &err), &rows.items[0].id), 0);
    assert_fails(repo_token_find(REPO_CALL(f, .err = &err), hash, &got), E_NOT_FOUND, NULL);
    assert_fails(repo_token_delete(REPO_CALL(f, .err = &err), &rows.items[0].id), E_NOT_FOUND,
                 "id");
}

/* ---- life ---- */

static void reopening_keeps_everything(void **state)
{
    struct repo_realm realm = repo_fixture_realm(f, "prod", NULL);
    struct repo_scope scope = repo_fixture_realm_scope(&realm);
    struct repo_consumer alice = repo_fixture_consumer(f, &scope, "alice");
    struct repo_head before;
    struct repo_head after;
    struct repo_owner owner;
    struct repo_realm next;

    (void)state;
    repo_fixture_key(f, &scope, &alice.model.id, "one");
    assert_int_equal(repo_head(repo, &before, &err), 0);
    reopen();
    assert_int_equal(repo_head(repo, &after, &err), 0);
    assert_memory_equal(&before.epoch, &after.epoch, sizeof(before.epoch));
    assert_memory_equal(before.digest_key, after.digest_key, DIGEST_KEY_BYTES);
    assert_int_equal(after.version, 3);
    assert_int_equal(repo_authenticate(REPO_CALL(f, .err = &err), &scope,
                                       &(struct repo_login){"one", 3, 1}, &owner),
                     0);
    next = repo_fixture_realm(f, "next", NULL);
    assert_int_equal(next.model.number, 2);
    assert_true(uuid_compare(&next.model.id, &owner.key.model.id) > 0);
    assert_int_equal(repo_fixture_version(f), 4);
}

static void restored_store_begins_a_new_history_with_its_old_secrets(void **state)
{
    struct repo_scope scope = repo_fixture_cp(1);
    struct repo_consumer alice = repo_fixture_consumer(f, &scope, "alice");
    struct repo_head before;
    struct repo_head after;
    struct repo_owner owner;
    char marker[128];

    (void)state;
    repo_fixture_key(f, &scope, &alice.model.id, "one");
    (void)snprintf(marker, sizeof(marker), "%s/new-epoch", f->dir);
    assert_int_equal(repo_head(repo, &before, &err), 0);
    close(open(marker, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    reopen();
    assert_int_equal(repo_head(repo, &after, &err), 0);
    assert_false(uuid_equal(&before.epoch, &after.epoch));
    assert_int_equal(after.version, 2);
    assert_int_equal(repo_authenticate(REPO_CALL(f, .err = &err), &scope,
                                       &(struct repo_login){"one", 3, 1}, &owner),
                     0);
    assert_int_equal(access(marker, F_OK), -1);
    reopen();
    assert_int_equal(repo_head(repo, &before, &err), 0);
    assert_true(uuid_equal(&before.epoch, &after.epoch));
}

static void second_open_is_refused_with_the_holders_pid(void **state)
{
    struct repo *second;
    char pid[32];

    (void)state;
    (void)snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    assert_int_equal(repo_lmdb_open(f->dir, &f->options, &second, &err), E_LOCKED);
    assert_non_null(strstr(err.message, pid));
}

static void files_are_private(void **state)
{
    char path[128];
    struct stat info;

    (void)state;
    assert_int_equal(stat(f->dir, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    (void)snprintf(path, sizeof(path), "%s/control.mdb/data.mdb", f->dir);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static int64_t stopped_clock(void *context)
{
    (void)context;
    return 1000;
}

static void ids_ascend_within_a_millisecond(void **state)
{
    struct repo_scope scope = repo_fixture_cp(1);
    struct uuid last = {{0}};

    (void)state;
    for (int i = 0; i < 200; i++) {
        struct repo_consumer consumer;
        char name[32];

        (void)snprintf(name, sizeof(name), "user-%d", i);
        consumer = repo_fixture_consumer(f, &scope, name);
        assert_true(uuid_compare(&consumer.model.id, &last) > 0);
        assert_int_equal(consumer.model.id.bytes[6] >> 4, 7);
        assert_int_equal(consumer.model.id.bytes[8] >> 6, 2);
        last = consumer.model.id;
    }
}

static void times_come_from_the_given_clock(void **state)
{
    struct repo_scope scope = repo_fixture_cp(1);
    struct repo_consumer consumer;

    (void)state;
    f->options.clock = (struct clock){.wall_ms = stopped_clock, .boot_ms = stopped_clock};
    reopen();
    consumer = repo_fixture_consumer(f, &scope, "alice");
    assert_int_equal(consumer.created_ms, 1000);
}

static void region_of_a_wrong_size_is_refused(void **state)
{
    static char long_region[MODEL_REGION_MAX + 2];
    struct repo_options options = f->options;
    struct repo *second;

    (void)state;
    memset(long_region, 'x', sizeof(long_region) - 1);
    options.region = long_region;
    assert_int_equal(repo_lmdb_open(f->dir, &options, &second, &err), E_INVALID);
    options.region = "";
    assert_int_equal(repo_lmdb_open(f->dir, &options, &second, &err), E_INVALID);
}

/* The same file damages a host's copy and this store: both call it so. */
static void file_that_is_no_environment_is_damage(void **state)
{
    static const char garbage[8192] = "not a database";
    char path[128];
    int fd;

    (void)state;
    repo_close(repo);
    (void)snprintf(path, sizeof(path), "%s/control.mdb/data.mdb", f->dir);
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, garbage, sizeof(garbage)), sizeof(garbage));
    assert_int_equal(close(fd), 0);
    assert_fails(repo_lmdb_open(f->dir, &f->options, &repo, &err), E_CORRUPT, NULL);
    assert_int_equal(unlink(path), 0);
    repo_fixture_open(f);
    repo = f->repo;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(realm_comes_back_as_it_was_created),
        TEST(realm_name_is_unique_and_free_after_rename_and_delete),
        TEST(realm_patch_changes_only_what_its_bits_name),
        TEST(update_to_equal_values_spends_no_version),
        TEST(realm_refuses_control_planes_that_are_no_uuid),
        TEST(realm_with_consumers_is_deleted_only_by_force),
        TEST(large_realm_is_deleted_by_force_whole),
        TEST(consumer_comes_back_as_it_was_created),
        TEST(consumer_names_are_unique_within_their_scope_only),
        TEST(failed_create_leaves_its_username_free),
        TEST(consumer_in_an_unknown_realm_is_not_found),
        TEST(consumer_patch_sets_and_removes_the_custom_id),
        TEST(values_over_their_limits_are_refused),
        TEST(filters_find_whole_names),
        TEST(deleted_consumer_takes_its_keys_and_names_along),
        TEST(moved_consumer_keeps_its_keys),
        TEST(move_refuses_what_is_taken_in_the_target),
        TEST(move_to_the_same_realm_changes_nothing),
        TEST(secret_is_unique_within_its_scope_and_never_in_a_message),
        TEST(key_is_listed_read_and_deleted_by_its_path),
        TEST(authentication_ends_when_the_key_expires),
        TEST(group_names_are_unique_within_a_control_plane),
        TEST(token_is_found_by_its_hash_until_it_is_deleted),
        TEST(reopening_keeps_everything),
        TEST(restored_store_begins_a_new_history_with_its_old_secrets),
        TEST(second_open_is_refused_with_the_holders_pid),
        TEST(files_are_private),
        TEST(ids_ascend_within_a_millisecond),
        TEST(times_come_from_the_given_clock),
        TEST(region_of_a_wrong_size_is_refused),
        TEST(file_that_is_no_environment_is_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

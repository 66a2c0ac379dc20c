#include "tests/lib/repo_fixture.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { ARENA_MAX = 512 * 1024 * 1024 };

void repo_fixture_open(struct repo_fixture *fixture)
{
    int rc = repo_lmdb_open(fixture->dir, &fixture->options, &fixture->repo, &fixture->err);

    if (rc != 0)
        print_error("%s\n", fixture->err.message);
    assert_int_equal(rc, 0);
}

struct repo_fixture *repo_fixture_create(uint64_t keep_versions)
{
    struct repo_fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    (void)snprintf(fixture->dir, sizeof(fixture->dir), "/tmp/realmstore-repo-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    arena_init(&fixture->arena, ARENA_MAX);
    fixture->options = (struct repo_options){
        .region = "us", .keep_versions = keep_versions, .clock = clock_system};
    repo_fixture_open(fixture);
    return fixture;
}

void repo_fixture_destroy(struct repo_fixture *fixture)
{
    repo_close(fixture->repo);
    arena_finish(&fixture->arena);
    repo_fixture_remove_tree(fixture->dir);
    free(fixture);
}

void repo_fixture_reopen(struct repo_fixture *fixture)
{
    repo_close(fixture->repo);
    repo_fixture_open(fixture);
}

int repo_fixture_setup(void **state)
{
    *state = repo_fixture_create(0);
    return 0;
}

int repo_fixture_teardown(void **state)
{
    repo_fixture_destroy(*state);
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

void repo_fixture_remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct uuid repo_fixture_uuid(unsigned n)
{
    char text[UUID_TEXT_SIZE];
    struct uuid id;

    (void)snprintf(text, sizeof(text), "497f6eca-6276-4993-bfeb-%012u", n);
    assert_true(uuid_parse(text, &id));
    return id;
}

struct repo_scope repo_fixture_cp(unsigned n)
{
    return (struct repo_scope){.kind = REPO_SCOPE_CP, .id = repo_fixture_uuid(n)};
}

struct repo_scope repo_fixture_realm_scope(const struct repo_realm *realm)
{
    return (struct repo_scope){.kind = REPO_SCOPE_REALM, .id = realm->model.id};
}

static struct model_strings allowed_strings(struct repo_fixture *fixture, const unsigned *allowed)
{
    struct model_strings strings = {.count = 0};
    const char **items;

    while (allowed != NULL && allowed[strings.count] != 0)
        strings.count++;
    items = arena_array(&fixture->arena, strings.count, sizeof(*items));
    assert_non_null(items);
    for (size_t i = 0; i < strings.count; i++) {
        struct uuid id = repo_fixture_uuid(allowed[i]);
        char text[UUID_TEXT_SIZE];

        items[i] = arena_string(&fixture->arena, uuid_format(&id, text));
        assert_non_null(items[i]);
    }
    strings.items = items;
    return strings;
}

struct repo_realm repo_fixture_realm(struct repo_fixture *fixture, const char *name,
                                     const unsigned *allowed)
{
    struct repo_realm input = {.model = {.name = name, .ttl_min = 10, .negative_ttl_min = 10},
                               .allowed_control_planes = allowed_strings(fixture, allowed)};
    struct repo_realm realm;

    assert_int_equal(repo_realm_create(REPO_CALL(fixture, .err = &fixture->err), &input, &realm),
                     0);
    return realm;
}

struct repo_commit repo_fixture_allow(struct repo_fixture *fixture, const struct uuid *realm_id,
                                      const unsigned *allowed)
{
    struct repo_realm input = {.allowed_control_planes = allowed_strings(fixture, allowed)};
    struct repo_realm realm;
    struct repo_commit commit;

    assert_int_equal(
        repo_realm_update(REPO_CALL(fixture, .commit = &commit, .err = &fixture->err), realm_id,
                          &(struct repo_realm_change){REPO_SET_ALLOWED, input}, &realm),
        0);
    return commit;
}

struct repo_consumer repo_fixture_consumer(struct repo_fixture *fixture,
                                           const struct repo_scope *scope, const char *username)
{
    struct repo_consumer input = {.model = {.username = username}};
    struct repo_consumer consumer;

    assert_int_equal(
        repo_consumer_create(REPO_CALL(fixture, .err = &fixture->err), scope, &input, &consumer),
        0);
    return consumer;
}

struct repo_key repo_fixture_key(struct repo_fixture *fixture, const struct repo_scope *scope,
                                 const struct uuid *consumer_id, const char *secret)
{
    struct repo_key input = {.type = REPO_KEY_LEGACY};
    struct repo_key key;

    assert_int_equal(
        repo_key_create(REPO_CALL(fixture, .err = &fixture->err),
                        &(struct repo_path){.scope = *scope, .consumer_id = *consumer_id},
                        &(struct repo_key_input){input, secret, strlen(secret)}, &key),
        0);
    return key;
}

uint64_t repo_fixture_version(struct repo_fixture *fixture)
{
    struct repo_head head;

    assert_int_equal(repo_head(fixture->repo, &head, &fixture->err), 0);
    return head.version;
}

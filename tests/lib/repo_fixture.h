/* repo_fixture.h - an embedded repository in a temporary directory, and short ways to fill it.
 *
 * The helpers assert: a failure in them is a failure of the test that called them.
 */
#ifndef RS_TESTS_REPO_FIXTURE_H
#define RS_TESTS_REPO_FIXTURE_H

#include "base/arena.h"
#include "control/repo/repo.h"

struct repo_fixture {
    char dir[64];
    struct repo_options options;
    struct repo *repo;
    struct arena arena; /* results of the helpers */
    struct error err;
};

/* A call for one expression; the other members follow. */
#define REPO_CALL(fixture, ...)                                                                    \
    (&(struct repo_call){.repo = (fixture)->repo, .arena = &(fixture)->arena, __VA_ARGS__})

/* For cmocka: *state becomes a struct repo_fixture *. */
int repo_fixture_setup(void **state);
int repo_fixture_teardown(void **state);

struct repo_fixture *repo_fixture_create(uint64_t keep_versions);
void repo_fixture_destroy(struct repo_fixture *fixture);
/* After repo_close(). */
void repo_fixture_open(struct repo_fixture *fixture);
void repo_fixture_reopen(struct repo_fixture *fixture);
/* Removes a directory and the files and directories in it. */
void repo_fixture_remove_tree(const char *path);

struct uuid repo_fixture_uuid(unsigned n); /* a fixed one for each number */
struct repo_scope repo_fixture_cp(unsigned n);
struct repo_scope repo_fixture_realm_scope(const struct repo_realm *realm);

/* A realm that allows the control planes of repo_fixture_uuid(n) for each n up to a 0; none:
 * nobody. */
struct repo_realm repo_fixture_realm(struct repo_fixture *fixture, const char *name,
                                     const unsigned *allowed);
struct repo_commit repo_fixture_allow(struct repo_fixture *fixture, const struct uuid *realm_id,
                                      const unsigned *allowed);
struct repo_consumer repo_fixture_consumer(struct repo_fixture *fixture,
                                           const struct repo_scope *scope, const char *username);
struct repo_key repo_fixture_key(struct repo_fixture *fixture, const struct repo_scope *scope,
                                 const struct uuid *consumer_id, const char *secret);
uint64_t repo_fixture_version(struct repo_fixture *fixture); /* newest */

#endif

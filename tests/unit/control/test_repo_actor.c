/* test_repo_actor.c - callers that are bound to a control plane: what they see and change, and that
 * this is looked at in the transaction of the change. tests/unit/control/test_rest_tenants.c has
 * the same for each route.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <cmocka.h>

#include "control/repo/lmdb/store.h"
#include "control/repo/visibility.h"
#include "tests/lib/repo_fixture.h"

static struct repo_fixture *f;
static struct uuid a;
static struct uuid b;
static struct error err;

static int set_up(void **state)
{
    (void)state;
    f = repo_fixture_create(0);
    a = repo_fixture_uuid(1);
    b = repo_fixture_uuid(2);
    err = (struct error)ERROR_INIT;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    repo_fixture_destroy(f);
    return 0;
}

#define AS_A REPO_CALL(f, .actor = &a, .err = &err)

/* ---- the rule ---- */

static void realm_is_its_actors_own_when_no_other_is_named(void **state)
{
#define OWN        "497f6eca-6276-4993-bfeb-000000000001"
#define OTHER      "497f6eca-6276-4993-bfeb-000000000002"
#define LIST(text) text, sizeof(text) - 1
    static const struct {
        const char *allowed; /* each with a NUL */
        size_t size;
        bool allow_all;
        bool sees;
        bool changes;
    } rows[] = {
        {LIST(""), false, false, false},
        {LIST(""), true, true, false},
        {LIST(OWN "\0"), false, true, true},
        {LIST(OWN "\0" OWN "\0"), false, true, true},
        {LIST(OWN "\0"), true, true, false},
        {LIST(OTHER "\0"), false, false, false},
        {LIST(OTHER "\0"), true, true, false},
        {LIST(OWN "\0" OTHER "\0"), false, true, false},
        {LIST(OTHER "\0" OWN "\0"), false, true, false},
        {LIST("*\0"), false, true, false},
        {LIST(OWN "\0*\0"), false, true, false},
        {LIST("*\0" OTHER "\0"), false, true, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct repo_visibility visibility = {.exists = true,
                                                   .allow_all = rows[i].allow_all,
                                                   .allowed = rows[i].allowed,
                                                   .allowed_size = rows[i].size};
        const int rc = rows[i].changes ? 0 : E_PERMISSION;

        assert_int_equal(repo_actor_sees(&a, &visibility), rows[i].sees);
        assert_int_equal(repo_visible_to(&visibility, OWN), rows[i].sees);
        assert_int_equal(repo_actor_may_change(&a, &visibility, &err), rc);
        assert_int_equal(repo_actor_may_allow(&a, &visibility, &err), rc);
        assert_true(repo_actor_sees(NULL, &visibility));
        assert_int_equal(repo_actor_may_change(NULL, &visibility, &err), 0);
        assert_int_equal(repo_actor_may_allow(NULL, &visibility, &err), 0);
    }
}

static void realm_that_is_not_there_is_seen_by_nobody(void **state)
{
    static const struct repo_visibility nothing = {.allow_all = true};

    (void)state;
    assert_false(repo_visible_to(&nothing, OWN));
    assert_int_equal(repo_actor_may_change(&a, &nothing, &err), E_PERMISSION);
}

/* ---- what is no realm ---- */

static void scope_of_another_control_plane_is_refused(void **state)
{
    const struct repo_path path = {.scope = repo_fixture_cp(2), .consumer_id = a, .key_id = a};
    const struct repo_consumer input = {.model = {.username = "alice"}};
    const struct repo_consumer_query query = {.page = {.size = 1}};
    const struct repo_key_input key = {.secret = "k", .secret_size = 1};
    const struct repo_login login = {.secret = "k", .secret_size = 1};
    const struct repo_consumer_change change = {.set = 0};
    struct repo_consumer_rows rows;
    struct repo_consumer consumer;
    struct repo_key_rows keys;
    struct repo_owner owner;
    struct repo_key made;

    (void)state;
    assert_int_equal(repo_consumer_list(AS_A, &path.scope, &query, &rows), E_PERMISSION);
    assert_int_equal(repo_consumer_create(AS_A, &path.scope, &input, &consumer), E_PERMISSION);
    assert_int_equal(repo_consumer_get(AS_A, &path, &consumer), E_PERMISSION);
    assert_int_equal(repo_consumer_update(AS_A, &path, &change, &consumer), E_PERMISSION);
    assert_int_equal(repo_consumer_delete(AS_A, &path), E_PERMISSION);
    assert_int_equal(repo_key_list(AS_A, &path, &query.page, &keys), E_PERMISSION);
    assert_int_equal(repo_key_create(AS_A, &path, &key, &made), E_PERMISSION);
    assert_int_equal(repo_key_get(AS_A, &path, &made), E_PERMISSION);
    assert_int_equal(repo_key_delete(AS_A, &path), E_PERMISSION);
    assert_int_equal(repo_authenticate(AS_A, &path.scope, &login, &owner), E_PERMISSION);
    assert_int_equal(repo_fixture_version(f), 0);
}

static void groups_of_another_control_plane_are_refused(void **state)
{
    const struct repo_group input = {.name = "gold"};
    const struct repo_group_change change = {.set = REPO_SET_NAME, .to = {.name = "silver"}};
    const struct repo_page page = {.size = 1};
    struct repo_group_rows rows;
    struct repo_group group;
    struct uuid id;

    (void)state;
    assert_int_equal(repo_group_create(REPO_CALL(f, .err = &err), &b, &input, &group), 0);
    id = group.id;
    assert_int_equal(repo_group_list(AS_A, &b, &page, &rows), E_PERMISSION);
    assert_int_equal(repo_group_create(AS_A, &b, &input, &group), E_PERMISSION);
    assert_int_equal(repo_group_get(AS_A, &b, &id, &group), E_PERMISSION);
    assert_int_equal(repo_group_update(AS_A, &b, &id, &change, &group), E_PERMISSION);
    assert_int_equal(repo_group_delete(AS_A, &b, &id), E_PERMISSION);
    assert_int_equal(repo_group_create(AS_A, &a, &input, &group), 0);
    assert_int_equal(repo_group_get(REPO_CALL(f, .err = &err), &b, &id, &group), 0);
    assert_string_equal(group.name, "gold");
}

static void tokens_are_the_organisations(void **state)
{
    const struct repo_token input = {.name = "t", .role = REPO_ROLE_VIEWER};
    const struct repo_page page = {.size = 1};
    const uint8_t hash[DIGEST_BYTES] = {1};
    struct repo_token_rows rows;
    struct repo_token token;

    (void)state;
    assert_int_equal(repo_token_create(REPO_CALL(f, .err = &err), &input, hash, &token), 0);
    assert_int_equal(repo_token_list(AS_A, &page, &rows), E_PERMISSION);
    assert_int_equal(repo_token_delete(AS_A, &token.id), E_PERMISSION);
    assert_int_equal(repo_token_create(AS_A, &input, hash, &token), E_PERMISSION);
    assert_int_equal(repo_token_find(REPO_CALL(f, .err = &err), hash, &token), 0);
}

/* ---- under way ---- */

/* Holds the writer thread in its listener, so that writes gather behind it. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool held;
    bool open;
};
static struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void hold(void *context, uint64_t version)
{
    (void)context;
    (void)version;
    pthread_mutex_lock(&gate.lock);
    gate.held = true;
    pthread_cond_broadcast(&gate.changed);
    while (!gate.open)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

/* A write of a thread of its own. */
struct attempt {
    pthread_t thread;
    int (*run)(struct attempt *attempt);
    struct uuid realm_id;
    struct arena arena;
    struct error err;
    int rc;
};

static void *attempt_main(void *context)
{
    struct attempt *attempt = context;

    attempt->rc = attempt->run(attempt);
    return NULL;
}

/* Returns when the write stands in the queue: its last job is another. */
static void enqueue(struct attempt *attempt)
{
    struct lmdb_writer *writer = &lmdb_repo(f->repo)->writer;
    const struct lmdb_job *before;
    bool queued = false;

    pthread_mutex_lock(&writer->lock);
    before = writer->last;
    pthread_mutex_unlock(&writer->lock);
    arena_init(&attempt->arena, (size_t)1 << 20);
    assert_int_equal(pthread_create(&attempt->thread, NULL, attempt_main, attempt), 0);
    while (!queued) {
        pthread_mutex_lock(&writer->lock);
        queued = writer->last != before;
        pthread_mutex_unlock(&writer->lock);
        sched_yield();
    }
}

static int finish(struct attempt *attempt)
{
    assert_int_equal(pthread_join(attempt->thread, NULL), 0);
    arena_finish(&attempt->arena);
    return attempt->rc;
}

static int first_write(struct attempt *attempt)
{
    const struct repo_call call = {.repo = f->repo, .arena = &attempt->arena, .err = &attempt->err};
    const struct repo_scope scope = repo_fixture_cp(9);
    const struct repo_consumer input = {.model = {.username = "first"}};
    struct repo_consumer consumer;

    return repo_consumer_create(&call, &scope, &input, &consumer);
}

static int share(struct attempt *attempt)
{
    const struct repo_call call = {.repo = f->repo, .arena = &attempt->arena, .err = &attempt->err};
    const struct repo_realm_change change = {.set = REPO_SET_ALLOW_ALL,
                                             .to = {.allow_all_control_planes = true}};
    struct repo_realm realm;

    return repo_realm_update(&call, &attempt->realm_id, &change, &realm);
}

static int create_as_a(struct attempt *attempt)
{
    const struct repo_call call = {
        .repo = f->repo, .arena = &attempt->arena, .actor = &a, .err = &attempt->err};
    const struct repo_scope scope = {.kind = REPO_SCOPE_REALM, .id = attempt->realm_id};
    const struct repo_consumer input = {.model = {.username = "late"}};
    struct repo_consumer consumer;

    return repo_consumer_create(&call, &scope, &input, &consumer);
}

static int delete_as_a(struct attempt *attempt)
{
    const struct repo_call call = {.repo = f->repo, .actor = &a, .err = &attempt->err};

    return repo_realm_delete(&call, &attempt->realm_id, false);
}

/* The realm is A's own when the changes are asked for, and shared when their turn comes. */
static void realm_that_becomes_shared_under_way_is_not_changed(void **state)
{
    const unsigned own[] = {1, 0};
    const struct repo_realm realm = repo_fixture_realm(f, "prod", own);
    struct attempt first = {.run = first_write, .err = ERROR_INIT};
    struct attempt sharing = {.run = share, .realm_id = realm.model.id, .err = ERROR_INIT};
    struct attempt create = {.run = create_as_a, .realm_id = realm.model.id, .err = ERROR_INIT};
    struct attempt deletion = {.run = delete_as_a, .realm_id = realm.model.id, .err = ERROR_INIT};
    struct repo_realm after;

    (void)state;
    gate.held = gate.open = false;
    repo_on_commit(f->repo, hold, NULL);
    arena_init(&first.arena, (size_t)1 << 20);
    assert_int_equal(pthread_create(&first.thread, NULL, attempt_main, &first), 0);
    pthread_mutex_lock(&gate.lock);
    while (!gate.held)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    enqueue(&sharing);
    enqueue(&create);
    enqueue(&deletion);
    pthread_mutex_lock(&gate.lock);
    gate.open = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    assert_int_equal(finish(&first), 0);
    assert_int_equal(finish(&sharing), 0);
    assert_int_equal(finish(&create), E_PERMISSION);
    assert_int_equal(finish(&deletion), E_PERMISSION);
    repo_on_commit(f->repo, NULL, NULL);
    assert_int_equal(repo_realm_get(AS_A, &realm.model.id, &after), 0);
    assert_true(after.allow_all_control_planes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(realm_is_its_actors_own_when_no_other_is_named),
        TEST(realm_that_is_not_there_is_seen_by_nobody),
        TEST(scope_of_another_control_plane_is_refused),
        TEST(groups_of_another_control_plane_are_refused),
        TEST(tokens_are_the_organisations),
        TEST(realm_that_becomes_shared_under_way_is_not_changed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

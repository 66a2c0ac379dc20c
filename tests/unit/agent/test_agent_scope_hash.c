/* An agent's copy that is not what it should be, against a real control plane: bits flipped, rows
 * deleted and added behind the agent's back while it runs and while it is stopped, a change lost on
 * the way. Each is found and repaired from the differing buckets, without another snapshot; how
 * many bytes that took is printed and bounded. What no repair puts right is copied anew, once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "agent/replica.h"
#include "base/clock.h"
#include "store/bucket.h"
#include "store/env.h"
#include "tests/lib/child.h"
#include "tests/lib/control_fixture.h"

#define CP "497f6eca-6276-4993-bfeb-53cbbbba6f08"

enum {
    GUARD_MS = 120 * 1000,
    CONSUMERS = 2000,
    REPAIR_MAX_BYTES = 128 * 1024, /* a snapshot of these consumers has some 300 KiB */
    STORE_MAP_BYTES = 256 * 1024 * 1024
};

/* ---- a proxy that loses a change: it makes a new key a deletion of what is not there; and one
 * that lies about every digest ---- */

struct proxy {
    int listener;
    unsigned port; /* of the control plane */
    char url[64];
    pthread_t acceptor;
    _Atomic bool armed;
    _Atomic bool lost;
    _Atomic bool lying;
};

struct pipe_ends {
    struct proxy *proxy;
    int from;
    int to;
};

/* A line of the same length, so that nothing else of the stream changes. */
static void lose_key(struct proxy *proxy, char *text)
{
    static const char key[] = "{\"type\":\"key\",";
    char *line = strstr(text, key);
    char *end = line != NULL ? strchr(line, '\n') : NULL;
    char *consumer = line != NULL ? strstr(line, "\"scope\"") : NULL;
    char *digest = line != NULL ? strstr(line, ",\"digest\"") : NULL;
    char lost[512];
    int length;

    if (end == NULL || consumer == NULL || digest == NULL)
        return;
    length = snprintf(lost, sizeof(lost), "{\"type\":\"key_delete\",%.*s", (int)(digest - consumer),
                      consumer);
    memcpy(line, lost, (size_t)length);
    memset(line + length, ' ', (size_t)(end - line) - (size_t)length);
    end[-1] = '}';
    proxy->armed = false;
    proxy->lost = true;
}

/* Another first digit of the scope's digest, and of its first bucket's where those are told. */
static void lie(char *text)
{
    static const char *const members[] = {"\"hash\":\"", "\"buckets\":\""};
    char *line = text;

    while ((line = strstr(line, "{\"type\":\"digest\"")) != NULL) {
        char *end = strchr(line, '\n');

        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
            char *member = strstr(line, members[i]);
            char *digit = member != NULL ? member + strlen(members[i]) : NULL;

            if (digit != NULL && end != NULL && digit < end)
                *digit = *digit == '0' ? '1' : '0';
        }
        line++;
    }
}

static void *pump(void *argument)
{
    struct pipe_ends *ends = argument;
    char bytes[65536];
    ssize_t count;

    while ((count = recv(ends->from, bytes, sizeof(bytes) - 1, 0)) > 0) {
        bytes[count] = 0;
        if (ends->proxy->armed)
            lose_key(ends->proxy, bytes);
        if (ends->proxy->lying)
            lie(bytes);
        if (send(ends->to, bytes, (size_t)count, MSG_NOSIGNAL) != count)
            break;
    }
    (void)shutdown(ends->from, SHUT_RDWR);
    (void)shutdown(ends->to, SHUT_RDWR);
    free(ends);
    return NULL;
}

static int connect_to(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        abort();
    return fd;
}

static pthread_t start_pump(struct proxy *proxy, int from, int to)
{
    struct pipe_ends *ends = malloc(sizeof(*ends));
    pthread_t thread;

    if (ends == NULL)
        abort();
    *ends = (struct pipe_ends){proxy, from, to};
    if (pthread_create(&thread, NULL, pump, ends) != 0)
        abort();
    return thread;
}

static void *serve(void *argument)
{
    struct pipe_ends *both = argument;
    pthread_t there = start_pump(both->proxy, both->from, both->to);
    pthread_t back = start_pump(both->proxy, both->to, both->from);

    (void)pthread_join(there, NULL);
    (void)pthread_join(back, NULL);
    (void)close(both->from);
    (void)close(both->to);
    free(both);
    return NULL;
}

/* Connections end when the agent's do, before the proxy; their threads with them. */
static void *accept_all(void *argument)
{
    struct proxy *proxy = argument;
    pthread_t threads[64];
    size_t n = 0;
    int fd;

    while ((fd = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct pipe_ends *both = malloc(sizeof(*both));

        if (both == NULL || n == sizeof(threads) / sizeof(threads[0]))
            abort();
        *both = (struct pipe_ends){proxy, fd, connect_to(proxy->port)};
        if (pthread_create(&threads[n++], NULL, serve, both) != 0)
            abort();
    }
    while (n > 0)
        (void)pthread_join(threads[--n], NULL);
    return NULL;
}

static void proxy_start(struct proxy *proxy, const char *url)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);

    *proxy = (struct proxy){.port = (unsigned)strtoul(strrchr(url, ':') + 1, NULL, 10)};
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(proxy->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(proxy->listener, 16), 0);
    assert_int_equal(getsockname(proxy->listener, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(proxy->url, sizeof(proxy->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&proxy->acceptor, NULL, accept_all, proxy), 0);
}

static void proxy_stop(struct proxy *proxy)
{
    (void)shutdown(proxy->listener, SHUT_RDWR);
    assert_int_equal(pthread_join(proxy->acceptor, NULL), 0);
    assert_int_equal(close(proxy->listener), 0);
}

/* ---- the world ---- */

struct world {
    char dir[64];
    struct fixture *control;
    struct proxy proxy;
    struct repo_scope realm;
    char token[AUTH_SECRET_SIZE];
    uv_loop_t loop;
    uv_timer_t guard;
    uv_timer_t look;
    bool late;
    struct log log;
    struct store *store;
    struct http_client *http;
    struct board *board;
    struct replica *replica;
    bool replica_closed;
    struct board_copy seen;
    uint64_t wanted; /* for conditions */
    bool walking;
};

static const struct source_metrics *seen(const struct world *world)
{
    return &world->seen.sources[0];
}

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)facts;
    (void)kind;
    (void)walk;
    return remove(path);
}

/* The next slice of the walk as soon as the last one is done, where the agent waits a second. */
static void on_look(uv_timer_t *timer)
{
    struct world *world = timer->data;

    if (world->walking && world->replica != NULL)
        replica_walk(world->replica);
}

static void on_guard(uv_timer_t *timer)
{
    ((struct world *)timer->data)->late = true;
}

static void on_closed(void *context)
{
    ((struct world *)context)->replica_closed = true;
}

static void ignore(void *context)
{
    (void)context;
}

static void run_until(struct world *world, bool (*condition)(struct world *world))
{
    world->late = false;
    assert_int_equal(uv_timer_start(&world->guard, on_guard, GUARD_MS, 0), 0);
    assert_int_equal(uv_timer_start(&world->look, on_look, 1, 1), 0);
    for (;;) {
        board_read(world->board, &world->seen);
        if (condition(world))
            break;
        (void)uv_run(&world->loop, UV_RUN_ONCE);
        if (world->late)
            fail_msg("not within %d ms; state %d, version %u, %u mismatches, %u repaired", GUARD_MS,
                     (int)seen(world)->state, (unsigned)seen(world)->cursor.version,
                     (unsigned)seen(world)->digest_mismatches, (unsigned)seen(world)->repaired);
    }
    assert_int_equal(uv_timer_stop(&world->guard), 0);
    assert_int_equal(uv_timer_stop(&world->look), 0);
}

static uint64_t newest(struct world *world)
{
    struct error err = ERROR_INIT;
    struct repo_head head;

    assert_int_equal(repo_head(world->control->repo, &head, &err), 0);
    return head.version;
}

static bool is_closed(struct world *world)
{
    return world->replica_closed;
}

/* Live at the newest version, and the source's digests were all as ours. */
static bool is_proven(struct world *world)
{
    return seen(world)->state == SOURCE_LIVE && seen(world)->cursor.version == newest(world) &&
           seen(world)->digests_compared > world->wanted;
}

/* All that the host has was compared, and it says so. */
static bool is_verified(struct world *world)
{
    return is_proven(world) && seen(world)->verified == newest(world);
}

static bool has_mismatch(struct world *world)
{
    return seen(world)->digest_mismatches > 0;
}

static bool has_given_up(struct world *world)
{
    return seen(world)->resyncs[SESSION_RESYNC_DIGEST] > 0;
}

static bool has_new_copy(struct world *world)
{
    return seen(world)->snapshots > 0 && seen(world)->state == SOURCE_LIVE;
}

static bool has_walked(struct world *world)
{
    return seen(world)->walk_rounds >= world->wanted;
}

static bool is_repaired(struct world *world)
{
    return seen(world)->repaired >= world->wanted && seen(world)->state == SOURCE_LIVE &&
           seen(world)->cursor.version == newest(world);
}

static void start(struct world *world)
{
    struct store_options store = {.dir = world->dir, .map_bytes = STORE_MAP_BYTES};
    char region[] = "us";
    char *urls[] = {world->proxy.url};
    struct config_source source = {
        .region = region, .token = world->token, .urls = urls, .urls_count = 1};
    struct replica_options options = {
        .loop = &world->loop, .log = &world->log, .host_name = "host", .source = &source};
    struct error err = ERROR_INIT;

    store.clock = clock_system;
    assert_true(uuid_parse(CP, &store.control_plane_id));
    options.control_plane_id = store.control_plane_id;
    if (store_open(&store, &world->store, &err) != 0)
        fail_msg("%s", err.message);
    world->board = board_create(&store.control_plane_id, "host", &(struct uuid){{7}});
    assert_non_null(world->board);
    assert_int_equal(http_client_create(&world->loop, &world->http, &err), 0);
    options.store = world->store;
    options.http = world->http;
    options.board = world->board;
    world->replica_closed = false;
    if (replica_create(&options, &world->replica, &err) != 0)
        fail_msg("%s", err.message);
}

static void stop(struct world *world)
{
    world->walking = false;
    replica_close(world->replica, on_closed, world);
    world->replica = NULL;
    run_until(world, is_closed);
    http_client_close(world->http, ignore, NULL);
    while (uv_run(&world->loop, UV_RUN_NOWAIT) != 0)
        continue;
    store_close(world->store);
    board_destroy(world->board);
}

/* ---- the control plane's content ---- */

static struct repo_consumer make_consumer(struct world *world, struct arena *arena, unsigned n)
{
    char name[32];
    const struct repo_consumer input = {.model = {.username = name}};
    struct repo *repo = world->control->repo;
    struct error err = ERROR_INIT;
    struct repo_consumer made;

    (void)snprintf(name, sizeof(name), "consumer-%u", n);
    if (repo_consumer_create(&(struct repo_call){.repo = repo, .arena = arena, .err = &err},
                             &world->realm, &input, &made) != 0)
        fail_msg("%s", err.message);
    return made;
}

static struct repo_key make_key(struct world *world, struct arena *arena,
                                const struct uuid *consumer_id, unsigned n)
{
    const struct repo_key input = {.type = REPO_KEY_LEGACY};
    struct repo *repo = world->control->repo;
    struct error err = ERROR_INIT;
    struct repo_key made;
    char secret[32];

    (void)snprintf(secret, sizeof(secret), "secret-%u", n);
    if (repo_key_create(&(struct repo_call){.repo = repo, .arena = arena, .err = &err},
                        &(struct repo_path){.scope = world->realm, .consumer_id = *consumer_id},
                        &(struct repo_key_input){input, secret, strlen(secret)}, &made) != 0)
        fail_msg("%s", err.message);
    return made;
}

struct maker {
    struct world *world;
    unsigned from;
    unsigned step;
};

/* One of several callers, which share commits. */
static void *make_some(void *argument)
{
    const struct maker *maker = argument;

    for (unsigned n = maker->from; n < CONSUMERS; n += maker->step) {
        struct repo_consumer consumer;
        struct arena arena;

        arena_init(&arena, 1 << 20);
        consumer = make_consumer(maker->world, &arena, n);
        for (unsigned k = 0; k < n % 4; k++)
            (void)make_key(maker->world, &arena, &consumer.model.id, 4 * n + k);
        arena_finish(&arena);
    }
    return NULL;
}

static void make_all(struct world *world)
{
    enum { MAKERS = 16 };
    struct maker makers[MAKERS];
    pthread_t threads[MAKERS];

    for (unsigned i = 0; i < MAKERS; i++) {
        makers[i] = (struct maker){world, i, MAKERS};
        assert_int_equal(pthread_create(&threads[i], NULL, make_some, &makers[i]), 0);
    }
    for (unsigned i = 0; i < MAKERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void open_world(struct world *world)
{
    char realm[UUID_TEXT_SIZE];

    memset(world, 0, sizeof(*world));
    (void)snprintf(world->dir, sizeof(world->dir), "/tmp/test_agent_scope_hash.XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    world->control = fixture_start(NULL);
    fixture_make_realm(world->control, "prod", CP, realm);
    world->realm.kind = REPO_SCOPE_REALM;
    assert_true(uuid_parse(realm, &world->realm.id));
    (void)snprintf(world->token, sizeof(world->token), "%s",
                   fixture_make_token(world->control, "data-plane", CP));
    make_all(world);
    proxy_start(&world->proxy, world->control->url);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    assert_int_equal(uv_timer_init(&world->loop, &world->guard), 0);
    assert_int_equal(uv_timer_init(&world->loop, &world->look), 0);
    world->guard.data = world->look.data = world;
    world->log = (struct log){STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT};
    if (getenv("TEST_LOG") != NULL)
        world->log.level = LOG_LEVEL_DEBUG;
    start(world);
    run_until(world, is_proven);
    assert_int_equal(seen(world)->snapshots, 1);
}

static void close_world(struct world *world)
{
    stop(world);
    proxy_stop(&world->proxy);
    fixture_stop(world->control);
    uv_close((uv_handle_t *)&world->guard, NULL);
    uv_close((uv_handle_t *)&world->look, NULL);
    assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    assert_int_equal(nftw(world->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- damage, by another process, as LMDB wants it ---- */

typedef void (*damage_fn)(struct env *env, MDB_txn *txn, unsigned n);

static bool seek(MDB_cursor *cursor, MDB_val *key, MDB_val *value, unsigned skip)
{
    bool found = mdb_cursor_get(cursor, key, value, MDB_LAST) == 0;

    while (found && skip-- > 0)
        found = mdb_cursor_get(cursor, key, value, MDB_PREV) == 0;
    return found;
}

/* LMDB moves what stands in a page that it has changed already: key and value are copied. */
static void rewrite(MDB_txn *txn, MDB_dbi table, MDB_val key, MDB_val value, size_t at,
                    unsigned char bit)
{
    unsigned char *copy = malloc(value.mv_size);
    unsigned char name[64];

    if (copy == NULL || key.mv_size > sizeof(name))
        abort();
    memcpy(name, key.mv_data, key.mv_size);
    key.mv_data = name;
    memcpy(copy, value.mv_data, value.mv_size);
    copy[at] ^= bit;
    value.mv_data = copy;
    if (mdb_put(txn, table, &key, &value, 0) != 0)
        abort();
    free(copy);
}

/* In the n-th bucket of `lookup`, somewhere in what it uses. */
static void flip_in_lookup(struct env *env, MDB_txn *txn, unsigned n)
{
    MDB_dbi table = env->tables[TABLE_LOOKUP];
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;

    if (mdb_cursor_open(txn, table, &cursor) != 0 || !seek(cursor, &key, &value, 3 * n))
        abort();
    mdb_cursor_close(cursor);
    rewrite(txn, table, key, value,
            (size_t)(1103 * n + 57) % bucket_used(value.mv_data, value.mv_size),
            (unsigned char)(1 << n % 8));
}

static void delete_consumer_row(struct env *env, MDB_txn *txn, unsigned n)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;

    if (mdb_cursor_open(txn, env->tables[TABLE_CONSUMERS], &cursor) != 0 ||
        !seek(cursor, &key, &value, 37 * n) || mdb_cursor_del(cursor, 0) != 0)
        abort();
    mdb_cursor_close(cursor);
}

/* A consumer's or key's row under an id that nobody gave. */
static void add_row(struct env *env, MDB_txn *txn, unsigned n)
{
    unsigned char name[64];
    unsigned char copy[4096];
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;

    if (mdb_cursor_open(txn, env->tables[TABLE_CONSUMERS], &cursor) != 0 ||
        !seek(cursor, &key, &value, 41 * n) || value.mv_size > sizeof(copy))
        abort();
    mdb_cursor_close(cursor);
    memcpy(name, key.mv_data, key.mv_size);
    memcpy(copy, value.mv_data, value.mv_size);
    name[LAYOUT_CONSUMER_KEY_BYTES - 1] ^= 0x5a;
    key.mv_data = name;
    value.mv_data = copy;
    if (mdb_put(txn, env->tables[TABLE_CONSUMERS], &key, &value, 0) != 0)
        abort();
}

static void damage(const struct world *world, damage_fn hit, unsigned times)
{
    char dir[128];
    pid_t child;
    int status;

    (void)snprintf(dir, sizeof(dir), "%s/us/g-000001", world->dir);
    child = child_fork();
    if (child == 0) {
        struct error err = ERROR_INIT;
        struct env env;
        MDB_txn *txn;

        if (env_open_writer(dir, STORE_MAP_BYTES, (gid_t)-1, &env, &err) != 0 ||
            mdb_txn_begin(env.mdb, NULL, 0, &txn) != 0)
            _exit(1);
        for (unsigned n = 0; n < times; n++)
            hit(&env, txn, n);
        if (mdb_txn_commit(txn) != 0)
            _exit(1);
        env_close(&env);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Walks twice around, so that what was mended first is fetched next; then everything is
 * compared. */
static void walk_and_repair(struct world *world, uint64_t at_least)
{
    world->walking = true;
    world->wanted = seen(world)->walk_rounds + 3;
    run_until(world, has_walked);
    world->wanted = at_least;
    run_until(world, is_repaired);
    world->walking = false;
}

/* After a restart the copy is compared as a whole, and a round of the walk finds nothing more. */
static void assert_all_is_well(struct world *world)
{
    uint64_t found;

    stop(world);
    start(world);
    world->wanted = 0;
    run_until(world, is_verified);
    world->walking = true;
    world->wanted = 2;
    run_until(world, has_walked);
    found = seen(world)->digest_mismatches + seen(world)->mended;
    assert_int_equal(found, 0);
    assert_int_equal(seen(world)->snapshots, 0);
}

static void say(const char *what, const struct world *world, uint64_t before)
{
    uint64_t bytes = seen(world)->received_bytes - before;

    print_message("%s: %u differences put right with %u bytes\n", what,
                  (unsigned)seen(world)->repaired, (unsigned)bytes);
    assert_true(bytes < REPAIR_MAX_BYTES);
    assert_true(seen(world)->snapshots <= 1);
    for (int reason = SESSION_RESYNC_NO_CURSOR + 1; reason < SESSION_RESYNCS; reason++)
        assert_int_equal(seen(world)->resyncs[reason], 0);
}

/* ---- tests ---- */

static void bits_flipped_while_it_runs_are_found_and_repaired(void **state)
{
    struct world world;
    uint64_t before;

    (void)state;
    open_world(&world);
    before = seen(&world)->received_bytes;
    damage(&world, flip_in_lookup, 12);
    walk_and_repair(&world, 6);
    say("12 flips", &world, before);
    assert_all_is_well(&world);
    close_world(&world);
}

static void rows_deleted_while_it_is_stopped_come_back(void **state)
{
    struct world world;

    (void)state;
    open_world(&world);
    stop(&world);
    damage(&world, delete_consumer_row, 10);
    start(&world);
    world.wanted = 0;
    run_until(&world, is_proven);
    walk_and_repair(&world, 5);
    say("10 rows deleted", &world, 0);
    assert_all_is_well(&world);
    close_world(&world);
}

static void rows_added_while_it_runs_go(void **state)
{
    struct world world;
    uint64_t before;

    (void)state;
    open_world(&world);
    before = seen(&world)->received_bytes;
    damage(&world, add_row, 10);
    walk_and_repair(&world, 5);
    say("10 rows added", &world, before);
    assert_all_is_well(&world);
    close_world(&world);
}

static void change_lost_on_the_way_is_found_at_its_commit(void **state)
{
    struct repo_consumer consumer;
    struct arena arena;
    struct world world;
    uint64_t before;

    (void)state;
    open_world(&world);
    arena_init(&arena, 1 << 20);
    consumer = make_consumer(&world, &arena, CONSUMERS);
    world.wanted = seen(&world)->digests_compared;
    run_until(&world, is_verified);
    before = seen(&world)->received_bytes;
    world.proxy.armed = true;
    (void)make_key(&world, &arena, &consumer.model.id, 4 * CONSUMERS);
    run_until(&world, has_mismatch);
    assert_int_equal(seen(&world)->verified, 0);
    world.wanted = 1;
    run_until(&world, is_repaired);
    assert_true(world.proxy.lost);
    assert_int_equal(seen(&world)->repaired, 1);
    say("a key lost on the way", &world, before);
    assert_all_is_well(&world);
    arena_finish(&arena);
    close_world(&world);
}

static void what_no_repair_puts_right_is_copied_anew_once(void **state)
{
    struct world world;

    (void)state;
    open_world(&world);
    world.wanted = 0;
    run_until(&world, is_verified);
    world.proxy.lying = true;
    stop(&world);
    start(&world); /* compares everything */
    run_until(&world, has_given_up);
    run_until(&world, has_new_copy);
    assert_int_equal(seen(&world)->resyncs[SESSION_RESYNC_DIGEST], 1);
    assert_int_equal(seen(&world)->verified, 0);
    world.proxy.lying = false;
    assert_all_is_well(&world);
    close_world(&world);
}

static bool has_reached_and_is_verified(struct world *world)
{
    return is_verified(world) && seen(world)->counts.realms == world->wanted;
}

/* A second realm, allowed for this control plane, with a consumer and two keys. */
static struct repo_scope make_second_realm(struct world *world, struct arena *arena)
{
    struct repo_scope scope = {.kind = REPO_SCOPE_REALM};
    const struct repo_scope first = world->realm;
    struct repo_consumer consumer;
    char realm[UUID_TEXT_SIZE];

    fixture_make_realm(world->control, "second", CP, realm);
    assert_true(uuid_parse(realm, &scope.id));
    world->realm = scope;
    consumer = make_consumer(world, arena, 1);
    (void)make_key(world, arena, &consumer.model.id, 10 * CONSUMERS);
    world->realm = first;
    return scope;
}

/* No digest comes for a scope that is gone. */
static void copy_stays_verified_when_a_realm_goes(void **state)
{
    const char *const nobody[] = {"6c1f1d3e-0000-4000-8000-00000000000b"};
    const struct repo_realm_change disallowed = {.set = REPO_SET_ALLOWED,
                                                 .to = {.allowed_control_planes = {nobody, 1}}};
    struct error err = ERROR_INIT;
    struct repo_scope scope;
    struct repo_realm realm;
    struct repo_call call;
    struct arena arena;
    struct world world;

    (void)state;
    open_world(&world);
    arena_init(&arena, 1 << 20);
    call = (struct repo_call){.repo = world.control->repo, .arena = &arena, .err = &err};
    for (int deleted = 0; deleted < 2; deleted++) {
        scope = make_second_realm(&world, &arena);
        world.wanted = 2;
        run_until(&world, has_reached_and_is_verified);
        if (deleted)
            assert_int_equal(repo_realm_delete(&call, &scope.id, true), 0);
        else
            assert_int_equal(repo_realm_update(&call, &scope.id, &disallowed, &realm), 0);
        world.wanted = 1;
        run_until(&world, has_reached_and_is_verified);
        if (!deleted) /* its name is free again for the second turn */
            assert_int_equal(repo_realm_delete(&call, &scope.id, true), 0);
    }
    assert_int_equal(seen(&world)->digest_mismatches, 0);
    arena_finish(&arena);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_flipped_while_it_runs_are_found_and_repaired),
        cmocka_unit_test(rows_deleted_while_it_is_stopped_come_back),
        cmocka_unit_test(rows_added_while_it_runs_go),
        cmocka_unit_test(change_lost_on_the_way_is_found_at_its_commit),
        cmocka_unit_test(what_no_repair_puts_right_is_copied_anew_once),
        cmocka_unit_test(copy_stays_verified_when_a_realm_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/lib/replica_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"

enum { GUARD_MS = 120 * 1000 }; /* a machine that is ten times slower makes it */

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)facts;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void on_changed(uv_async_t *async)
{
    (void)async;
}

static void on_look(uv_timer_t *timer)
{
    (void)timer;
}

static void on_guard(uv_timer_t *timer)
{
    struct world *world = timer->data;

    world->late = true;
}

static void on_closed(void *context)
{
    struct world *world = context;

    world->replica_closed = true;
}

static void ignore(void *context)
{
    (void)context;
}

void world_open_in(struct world *world, const char *dir, uint64_t version)
{
    memset(world, 0, sizeof(*world));
    (void)snprintf(world->dir, sizeof(world->dir), "%s", dir);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    assert_int_equal(uv_async_init(&world->loop, &world->changed, on_changed), 0);
    assert_int_equal(uv_timer_init(&world->loop, &world->guard), 0);
    assert_int_equal(uv_timer_init(&world->loop, &world->look), 0);
    world->guard.data = world;
    world->plane = fake_plane_start(version, &world->changed);
    world->log = (struct log){STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT};
    if (getenv("TEST_LOG") != NULL)
        world->log.level = LOG_LEVEL_DEBUG;
}

void world_open(struct world *world, uint64_t version)
{
    char dir[] = "/tmp/realmstore-test-XXXXXX";

    assert_non_null(mkdtemp(dir));
    world_open_in(world, dir, version);
}

void world_start(struct world *world)
{
    struct store_options store = {.dir = world->dir, .map_bytes = 64 * 1024 * 1024};
    char region[] = "us";
    char token[] = "token";
    char *urls[1];
    struct config_source source = {.region = region, .token = token, .urls = urls, .urls_count = 1};
    struct replica_options options = {
        .loop = &world->loop, .log = &world->log, .host_name = "host", .source = &source};
    struct error err = ERROR_INIT;

    urls[0] = strdup(fake_plane_url(world->plane));
    assert_non_null(urls[0]);
    store.clock = clock_system;
    assert_true(uuid_parse(FAKE_PLANE_ID, &store.control_plane_id));
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
    free(urls[0]);
}

void world_run_until(struct world *world, bool (*condition)(struct world *world))
{
    world->late = false;
    assert_int_equal(uv_timer_start(&world->guard, on_guard, GUARD_MS, 0), 0);
    assert_int_equal(uv_timer_start(&world->look, on_look, 2, 2), 0);
    for (;;) {
        if (world->board != NULL)
            board_read(world->board, &world->seen);
        if (condition(world))
            break;
        (void)uv_run(&world->loop, UV_RUN_ONCE);
        if (world->late)
            fail_msg("not within %d ms; state %d, version %u", GUARD_MS,
                     (int)world->seen.sources[0].state,
                     (unsigned)world->seen.sources[0].cursor.version);
    }
    assert_int_equal(uv_timer_stop(&world->guard), 0);
    assert_int_equal(uv_timer_stop(&world->look), 0);
}

static bool is_closed(struct world *world)
{
    return world->replica_closed;
}

void world_stop(struct world *world)
{
    replica_close(world->replica, on_closed, world);
    world_run_until(world, is_closed);
    http_client_close(world->http, ignore, NULL);
    store_close(world->store);
    board_destroy(world->board);
    world->board = NULL;
}

void world_close(struct world *world)
{
    fake_plane_stop(world->plane);
    uv_close((uv_handle_t *)&world->changed, NULL);
    uv_close((uv_handle_t *)&world->guard, NULL);
    uv_close((uv_handle_t *)&world->look, NULL);
    assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    assert_int_equal(nftw(world->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

const struct source_metrics *world_seen(const struct world *world)
{
    return &world->seen.sources[0];
}

bool world_is_live(struct world *world)
{
    return world_seen(world)->state == SOURCE_LIVE &&
           world_seen(world)->cursor.version == world->plane->version;
}

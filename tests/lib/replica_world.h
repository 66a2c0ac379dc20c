/* replica_world.h - one replica of the agent with a real store, against a fake control plane.
 *
 * Every function asserts success (cmocka).
 */
#ifndef RS_TESTS_REPLICA_WORLD_H
#define RS_TESTS_REPLICA_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/replica.h"
#include "tests/lib/fake_plane.h"

struct world {
    char dir[64]; /* the store */
    uv_loop_t loop;
    uv_async_t changed;
    uv_timer_t guard;
    uv_timer_t look; /* readers' view has no event of its own: looked at every few milliseconds */
    bool late;
    struct log log;
    struct store *store;
    struct http_client *http;
    struct board *board;
    struct fake_plane *plane;
    struct replica *replica;
    bool replica_closed;
    struct board_copy seen;
    unsigned wanted; /* for conditions */
};

/* A control plane at `version`, and a new directory. */
void world_open(struct world *world, uint64_t version);
/* The same with a directory that is there. */
void world_open_in(struct world *world, const char *dir, uint64_t version);
void world_close(struct world *world); /* removes the directory */

/* The agent's part: from an open store to a closed one. */
void world_start(struct world *world);
void world_stop(struct world *world);

/* Runs the loop until the condition holds; it may look at world->seen. */
void world_run_until(struct world *world, bool (*condition)(struct world *world));
const struct source_metrics *world_seen(const struct world *world);
/* All that the control plane has is visible. */
bool world_is_live(struct world *world);

#endif

/* source_internal.h - what the files behind source.h share. */
#ifndef RS_STORE_SOURCE_INTERNAL_H
#define RS_STORE_SOURCE_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "store/current.h"
#include "store/generation.h"
#include "store/source.h"
#include "store/status.h"
#include "store/tables.h"

struct store {
    char dir[PATH_MAX];
    gid_t gid; /* the reader group or FILES_NO_GROUP */
    struct uuid control_plane_id;
    size_t map_bytes;
    uint64_t compact_bytes; /* see store_options */
    uint64_t compact_lag_txns;
    struct clock clock;
    int lock_fd;

    pthread_mutex_t mutex; /* guards what follows */
    struct status status;
    struct status_info info; /* what the page says */
    bool open[STATUS_SLOTS]; /* slots with an open source */
};

struct load;

struct source {
    struct store *store; /* borrowed */
    unsigned slot;
    char region[STATUS_REGION_SIZE];
    char dir[PATH_MAX];
    uint32_t last_number;  /* the newest generation number ever given out */
    uint32_t previous;     /* the generation that is kept for a rollback; 0: none */
    bool previous_dropped; /* for want of room, since source_upkeep() told it last */

    struct generation live;     /* number 0: nothing serves */
    struct tables tables;       /* the open live transaction */
    struct layout_meta pending; /* live.meta as it will be after it */
    struct buffer record;       /* scratch */
    struct buffer lookup;       /* scratch */

    struct load *load; /* owned; NULL: no load is under way */
};

/* ---- store.c ---- */

/* Takes the region's slot, or a free one. E_BUSY: the source is open. E_TOO_LARGE: no slot is free.
 */
int store_take_slot(struct store *store, const char *region, unsigned *ret, struct error *err);
void store_give_slot(struct store *store, unsigned slot);
/* Publishes the meta of what serves now (generation 0: nothing). */
void store_publish(struct store *store, unsigned slot, const char *region,
                   const struct generation *live);
void store_publish_state(struct store *store, unsigned slot, enum source_state state);
void store_publish_heard(struct store *store, unsigned slot);
/* Makes the status page durable. */
int store_sync_status(struct store *store, struct error *err);

/* A change of generation: ages count from `wall_ms` when that is earlier than what is known. */
void store_limit_heard(struct store *store, unsigned slot, int64_t wall_ms);

/* ---- source_keep.c ---- */

/* Makes the finished generation *next the serving one, and `previous` (0: none) the kept one;
 * removes every other. Takes *next over, also on failure, when the former goes on serving. */
int source_switch(struct source *source, struct generation *next, uint32_t previous,
                  struct error *err);
/* Gives up the kept generation when the disk has less room than what serves takes. */
void source_spare_disk(struct source *source);
/* Removes every generation that neither serves nor is kept, and notes the highest number seen. */
int source_remove_others(struct source *source, const struct current *current, struct error *err);
/* The generation is a good one, but is it this source's? E_EXISTS_ELSEWHERE, E_CORRUPT. */
int source_check_owner(const struct source *source, const struct generation *generation,
                       struct error *err);

/* ---- source_compact.c ---- */

/* Moves the serving generation to a compacted copy of itself. */
int source_compact(struct source *source, struct error *err);

/* ---- source_room.c ---- */

/* Keeps at least half of the map free, while the disk allows it. No transaction may be open. */
void source_widen(const struct source *source, struct env *env);

#endif

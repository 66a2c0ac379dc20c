/* source_internal.h - what the files behind source.h share. */
#ifndef RS_STORE_SOURCE_INTERNAL_H
#define RS_STORE_SOURCE_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "store/consumers.h"
#include "store/generation.h"
#include "store/retention.h"
#include "store/source.h"
#include "store/source_walk.h"
#include "store/status.h"
#include "store/tables.h"

struct store {
    char dir[PATH_MAX];
    gid_t gid; /* the reader group or FILES_NO_GROUP */
    struct uuid control_plane_id;
    size_t map_bytes;
    uint64_t compact_bytes; /* see store_options */
    uint64_t compact_lag_txns;
    unsigned retention_ms;
    int64_t former_retention_ms; /* what an earlier agent promised to readers */
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
    uint32_t last_number; /* the newest generation number ever given out */

    struct generation live;      /* number 0: nothing serves */
    struct retention retention;  /* of `live` */
    struct tables tables;        /* the open live transaction */
    struct layout_meta pending;  /* live.meta as it will be after it */
    struct model_cursor durable; /* what a power loss leaves at least */
    bool unsettled;              /* `live` is visible, but a sync that was to keep it failed */
    bool current_unsynced;       /* of `current`, that is */
    struct index index;          /* of that transaction */
    struct trees trees;          /* of that transaction, or of the walk's */
    struct buffer record;        /* scratch */
    struct buffer consumer;      /* scratch */

    struct walk walk; /* over the live generation */

    uint32_t previous;     /* the generation that served before; 0: not kept */
    bool previous_dropped; /* for want of room, since source_upkeep() told it last */
    enum source_fallback fallback;

    struct load *load; /* owned; NULL: no load is under way */
};

/* ---- source.c ---- */

/* E_EXISTS_ELSEWHERE, E_CORRUPT: the generation is of another control plane, or region. */
int source_check_owner(const struct source *source, const struct generation *generation,
                       struct error *err);

/* ---- source_settle.c ---- */

/* `live` has become visible: makes it durable. */
int source_sync(struct source *source, struct error *err);

/* ---- source_reopen.c ---- */

/* Opens the serving generation anew. On failure none is open: the source is copied again. */
int source_reopen(struct source *source, struct error *err);

/* ---- source_compact.c ---- */

/* Moves the serving generation to a compacted copy of itself. On failure it goes on serving. */
int source_compact(struct source *source, struct error *err);
/* ---- source_repair.c ---- */

/* Counts the records anew, in a transaction of its own. */
int source_recount(struct source *source, struct error *err);

/* ---- generations.c ---- */

/* Reads `current`: the generation that serves (0: none), and source->previous. Where it has rotted,
 * the status page tells. */
int generations_read(struct source *source, uint32_t *ret_serving, struct error *err);
/* Makes the finished generation *next the serving one and `previous` (0: none) the kept one, for
 * the agent and for readers; every other goes. Takes *next over. On failure it is closed, nothing
 * on disk names it, and the former one goes on serving. With 0 it serves; source_settle() tells
 * whether it is durable. */
int generations_switch(struct source *source, struct generation *next, uint32_t previous,
                       struct error *err);
/* Writes `current` once more as it is. */
int generations_write_again(const struct source *source, struct error *err);
/* Removes one generation; one that is gone is no error. */
int generations_remove(const struct source *source, uint32_t number, struct error *err);
/* Removes all but `serving` and source->previous, and notes the highest number seen. */
int generations_remove_others(struct source *source, uint32_t serving, struct error *err);
/* The file system has as much free space as this generation takes. */
bool generations_has_room(const struct source *source, uint32_t serving);
/* Gives the previous generation up; false when there is none, or it cannot be removed. */
bool generations_drop(struct source *source);
/* Does so when the file system has less free space than what serves takes. */
void generations_spare_disk(struct source *source);

/* ---- store.c ---- */

/* Takes the region's slot, or a free one. E_BUSY: the source is open. E_TOO_LARGE: no slot is
 * free. */
int store_take_slot(struct store *store, const char *region, unsigned *ret, struct error *err);
/* Which generation of the slot's region serves, as the page says; 0: none. */
uint32_t store_published(struct store *store, unsigned slot);
void store_give_slot(struct store *store, unsigned slot);
/* Publishes the meta of what serves now (generation 0: nothing). */
void store_publish(struct store *store, unsigned slot, const char *region,
                   const struct generation *live);
void store_publish_state(struct store *store, unsigned slot, enum source_state state);
void store_publish_heard(struct store *store, unsigned slot);
void store_publish_verified(struct store *store, unsigned slot, uint64_t version);
/* Makes the status page durable. */
int store_sync_status(struct store *store, struct error *err);

#endif

/* source_internal.h - what the files behind source.h share. */
#ifndef RS_STORE_SOURCE_INTERNAL_H
#define RS_STORE_SOURCE_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "store/consumers.h"
#include "store/generation.h"
#include "store/source.h"
#include "store/status.h"
#include "store/tables.h"

struct store {
    char dir[PATH_MAX];
    gid_t gid; /* the reader group or FILES_NO_GROUP */
    struct uuid control_plane_id;
    size_t map_bytes;
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

    struct generation live;     /* number 0: nothing serves */
    struct tables tables;       /* the open live transaction */
    struct layout_meta pending; /* live.meta as it will be after it */
    struct index index;         /* of that transaction */
    struct buffer record;       /* scratch */
    struct buffer consumer;     /* scratch */

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

#endif

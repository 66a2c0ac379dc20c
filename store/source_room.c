/* source_room.c - what to do when a write finds no room, and the upkeep that looks ahead.
 *
 * LMDB says "full" for its map and the disk says it for the file; both become E_NO_SPACE. The map
 * is address space and follows the disk: it may always be as large as the file plus what is free.
 * So there is one answer to both: enlarge the map if the disk has more than it; else give up the
 * previous generation; else the last good state serves until there is room.
 */
#include "store/source_internal.h"

#include <string.h>

#include "store/files.h"

bool source_make_room(struct source *source)
{
    if (source->live.number == 0)
        return false;
    return env_grow(&source->live.env, files_free_bytes(source->dir), NULL) == 0 ||
           generations_drop(source);
}

void source_make_load_room(struct source *source)
{
    (void)generations_drop(source); /* there is nothing else to give up */
}

/* ---- upkeep ---- */

static bool is_bloated(const struct store *store, const struct env_room *room,
                       const struct source_readers *readers)
{
    return room->file_bytes > store->compact_bytes && room->file_bytes / 2 > room->used_bytes &&
           readers->oldest_lag_txns > store->compact_lag_txns;
}

static int compact(struct source *source, const struct env_room *room, struct error *err)
{
    int rc;

    if (files_free_bytes(source->dir) > room->used_bytes)
        rc = source_compact(source, err);
    else
        rc = error_set(err, E_NO_SPACE, "the disk has no room for a copy");
    if (rc != 0)
        return error_context(err, "the store grew to %llu bytes and could not be compacted",
                             (unsigned long long)room->file_bytes);
    return 0;
}

static int compact_if_bloated(struct source *source, const struct source_readers *readers,
                              struct env_room *room, struct source_upkeep *upkeep,
                              struct error *err)
{
    uint64_t former_bytes = room->file_bytes;
    int rc;

    if (source->load != NULL || !is_bloated(source->store, room, readers))
        return 0;
    rc = compact(source, room, err);
    if (rc != 0)
        return rc;
    upkeep->compacted = true;
    upkeep->compacted_from_bytes = former_bytes;
    return env_measure(&source->live.env, room, err);
}

int source_upkeep(struct source *source, const struct source_readers *readers,
                  struct source_upkeep *ret, struct error *err)
{
    struct env_room room = {.map_bytes = 0};
    int rc = 0;

    *ret = (struct source_upkeep){.file_bytes = 0};
    if (source->live.number != 0)
        rc = env_measure(&source->live.env, &room, err);
    if (rc == 0)
        rc = compact_if_bloated(source, readers, &room, ret, err);
    generations_spare_disk(source);
    ret->file_bytes = room.file_bytes;
    ret->used_bytes = room.used_bytes;
    ret->map_bytes = room.map_bytes;
    ret->disk_free_bytes = files_free_bytes(source->dir);
    ret->previous = source->previous;
    ret->previous_dropped = source->previous_dropped;
    source->previous_dropped = false;
    return rc;
}

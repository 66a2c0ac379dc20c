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
           keep_drop(source);
}

void source_make_load_room(struct source *source)
{
    (void)keep_drop(source); /* there is nothing else to give up */
}

int source_upkeep(struct source *source, struct source_upkeep *ret, struct error *err)
{
    struct env_room room = {.map_bytes = 0};
    int rc = 0;

    if (source->live.number != 0)
        rc = env_measure(&source->live.env, &room, err);
    keep_spare_disk(source);
    *ret = (struct source_upkeep){
        .file_bytes = room.file_bytes,
        .used_bytes = room.used_bytes,
        .map_bytes = room.map_bytes,
        .disk_free_bytes = files_free_bytes(source->dir),
        .previous = source->previous,
        .previous_dropped = source->previous_dropped,
    };
    source->previous_dropped = false;
    return rc;
}

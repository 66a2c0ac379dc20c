/* /status and /readyz. */
#include "agent/status_text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "base/utf8.h"
const char *status_state_text(enum source_state state)
{
    static const char *const texts[] = {
        [SOURCE_EMPTY] = "empty",     [SOURCE_SYNCING] = "syncing",
        [SOURCE_LIVE] = "live",       [SOURCE_DISCONNECTED] = "disconnected",
        [SOURCE_STOPPED] = "stopped",
    };

    assert((size_t)state < sizeof(texts) / sizeof(texts[0]));
    return texts[state];
}

bool status_ready(const struct board_copy *board)
{
    size_t used = 0;

    for (size_t i = 0; i < CONFIG_SOURCES_MAX; i++) {
        if (board->sources[i].region[0] == 0)
            continue;
        if (!board->sources[i].complete)
            return false;
        used++;
    }
    return used > 0;
}

/* NULL when out of memory; json_pack() passes that on. */
static json_t *source_json(const struct source_metrics *source, int64_t boot_ms)
{
    char epoch[UUID_TEXT_SIZE];
    json_int_t age_ms = source->heard_boot_ms != 0 ? boot_ms - source->heard_boot_ms : -1;

    return json_pack(
        "{s:s, s:s, s:b, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I}",
        "region", source->region, "state", status_state_text(source->state), "complete",
        (int)source->complete, "refusing", (int)source->refusing, "epoch",
        uuid_format(&source->cursor.epoch, epoch), "version", (json_int_t)source->cursor.version,
        "source_version", (json_int_t)source->source_version, "age_ms", age_ms, "commit_time_ms",
        (json_int_t)source->commit_time_ms, "realms", (json_int_t)source->counts.realms,
        "consumers", (json_int_t)source->counts.consumers, "keys", (json_int_t)source->counts.keys,
        "queue_bytes", (json_int_t)source->queue_bytes, "no_room", (int)source->no_room,
        "store_bytes", (json_int_t)source->file_bytes, "disk_free_bytes",
        (json_int_t)source->disk_free_bytes, "commit_waits_ms",
        (json_int_t)source->commit_waits_ms);
}

int status_json(const struct board_copy *board, int64_t boot_ms, struct buffer *out)
{
    json_t *sources = json_array();
    json_t *page = json_pack("{s:s, s:s, s:s, s:s, s:b, s:o}", "version", REALMSTORE_VERSION,
                             "control_plane_id", board->control_plane_id, "host_name",
                             board->host_name, "instance", board->instance, "ready",
                             (int)status_ready(board), "sources", sources);
    char *text = NULL;
    int rc = E_NO_MEMORY;

    for (size_t i = 0; page != NULL && i < CONFIG_SOURCES_MAX; i++) {
        if (board->sources[i].region[0] != 0 &&
            json_array_append_new(sources, source_json(&board->sources[i], boot_ms)) != 0)
            goto done;
    }
    text = utf8_json_take(json_dumps(page, JSON_COMPACT));
    if (text != NULL)
        rc = buffer_append_string(out, text);
    if (rc == 0)
        rc = buffer_append_string(out, "\n");
done:
    free(text);
    json_decref(page);
    return rc;
}

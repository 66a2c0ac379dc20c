/* source.c - opening a source, what it says of itself, and the readers of its environment.
 *
 * On disk `current` decides which generation serves and which one is kept (generations.c); the
 * status page repeats the former for readers. A generation directory that `current` does not name
 * is the leftover of a load that was cut off, or of a removal, and goes. What cannot be trusted is
 * removed too: the source is empty then and the agent copies it anew, which is always possible and
 * never wrong.
 */
#include "store/source_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/files.h"

/* The generation is a good one, but is it ours? */
int source_check_owner(const struct source *source, const struct generation *generation,
                       struct error *err)
{
    const struct layout_meta *meta = &generation->meta;
    char text[UUID_TEXT_SIZE];

    if (!uuid_equal(&meta->control_plane_id, &source->store->control_plane_id))
        return error_set(err, E_EXISTS_ELSEWHERE,
                         "%s holds data of control plane %s: use another store directory, or "
                         "remove it to start afresh",
                         source->dir, uuid_format(&meta->control_plane_id, text));
    if (strcmp(meta->region, source->region) != 0)
        return error_set(err, E_CORRUPT, "%s holds data of region %s", source->dir, meta->region);
    return 0;
}

static bool is_discardable(int code)
{
    return code == E_CORRUPT || code == E_FORMAT || code == E_NOT_FOUND;
}

/* Opens what `current` names. What is unusable is removed and told in *discarded. */
static int open_current(struct source *source, struct error *discarded, struct error *err)
{
    const struct store *store = source->store;
    struct error reason = ERROR_INIT;
    uint32_t number = 0;
    int rc = generations_read(source, &number, err);

    if (rc == 0)
        rc = generations_remove_others(source, number, err);
    if (rc == 0) /* a former agent may have failed to sync the name in it */
        rc = files_sync_dir(source->dir, err);
    if (rc != 0 || number == 0)
        return rc;
    rc = generation_open_writer(source->dir, number, store->map_bytes, store->gid, &source->live,
                                &reason);
    if (rc == 0)
        rc = source_check_owner(source, &source->live, &reason);
    if (rc == 0) {
        source->durable = source->live.meta.cursor;
        return 0;
    }
    generation_close(&source->live);
    if (!is_discardable(rc)) {
        *err = reason;
        return rc;
    }
    *discarded = reason;
    store_publish(source->store, source->slot, source->region, &source->live);
    return generations_remove(source, number, err);
}

int source_open(struct store *store, const char *region, struct source **ret,
                struct error *ret_discarded, struct error *err)
{
    struct error discarded = ERROR_INIT;
    struct source *source;
    int rc;

    if (!layout_region_valid(region))
        return error_set(err, E_INVALID, "region \"%.80s\" is not 1 to %d of a-z, 0-9 and -",
                         region, MODEL_REGION_MAX);
    source = calloc(1, sizeof(*source));
    if (source == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    source->store = store;
    memcpy(source->region, region, strlen(region));
    buffer_init(&source->record, RECORD_MAX_BYTES);
    buffer_init(&source->consumer, RECORD_MAX_BYTES);
    index_init(&source->index, &source->tables);
    rc = store_take_slot(store, region, &source->slot, err);
    if (rc != 0) {
        free(source);
        return rc;
    }
    rc = files_join(source->dir, store->dir, region, err);
    if (rc == 0)
        rc = files_make_dir(source->dir, store->gid, err);
    if (rc == 0) /* its name may be new, and must not be lost when what is in it is not */
        rc = files_sync_dir(store->dir, err);
    if (rc == 0)
        rc = open_current(source, &discarded, err);
    if (rc != 0) {
        source_close(source);
        return rc;
    }
    store_publish(store, source->slot, region, &source->live);
    retention_start(source);
    retention_wait_from_now(source);
    if (source->live.number != 0 && !generation_counts_fit(&source->live))
        rc = source_recount(source, err); /* the digests tell what is missing */
    if (rc != 0) {
        source_close(source);
        return rc;
    }
    if (ret_discarded != NULL)
        *ret_discarded = discarded;
    *ret = source;
    return 0;
}

void source_close(struct source *source)
{
    if (source == NULL)
        return;
    source_abort(source);
    source_load_abort(source);
    retention_stop(source);
    generation_close(&source->live);
    store_give_slot(source->store, source->slot);
    buffer_finish(&source->record);
    buffer_finish(&source->consumer);
    index_finish(&source->index);
    free(source);
}

const char *source_region(const struct source *source)
{
    return source->region;
}

struct source_key_check source_key_check(const struct source *source)
{
    struct source_key_check check = {{0}};

    _Static_assert(sizeof(check) == LAYOUT_CHECK_BYTES, "the head's check");
    if (source->live.number != 0)
        memcpy(check.bytes, source->live.meta.digest_key_check, sizeof(check.bytes));
    return check;
}

bool source_key_matches(const struct source_key_check *check,
                        const uint8_t digest_key[DIGEST_KEY_BYTES])
{
    uint8_t bytes[LAYOUT_CHECK_BYTES];

    layout_key_check(digest_key, bytes);
    return memcmp(check->bytes, bytes, sizeof(bytes)) == 0;
}

struct source_counts source_counts(const struct source *source)
{
    const struct layout_meta *meta = &source->live.meta;

    if (source->live.number == 0)
        return (struct source_counts){0};
    return (struct source_counts){meta->realms, meta->consumers, meta->keys};
}

void source_set_state(struct source *source, enum source_state state)
{
    store_publish_state(source->store, source->slot, state);
}

void source_heard(struct source *source)
{
    store_publish_heard(source->store, source->slot);
}

void source_verified(struct source *source, uint64_t version)
{
    store_publish_verified(source->store, source->slot, version);
}

/* ---- readers ---- */

struct reader_scan {
    struct source_readers *readers;
    uint64_t newest;
};

static void scan_slot(void *context, pid_t pid, uint64_t txn_id)
{
    struct reader_scan *scan = context;

    scan->readers->in_use++;
    if (txn_id < scan->newest && scan->newest - txn_id >= scan->readers->oldest_lag_txns) {
        scan->readers->oldest_lag_txns = scan->newest - txn_id;
        scan->readers->oldest_pid = pid;
    }
}

int source_check_readers(struct source *source, struct source_readers *ret, struct error *err)
{
    struct source_readers readers = {.cleared = 0};
    struct reader_scan scan = {.readers = &readers};
    MDB_envinfo info;

    (void)err; /* nothing here fails any more but in ways that a slot's writer made up */
    if (source->live.number != 0) {
        readers.cleared = env_slots_clear(&source->live.env);
        (void)mdb_env_info(source->live.env.mdb, &info); /* fails for NULL only */
        scan.newest = info.me_last_txnid;
        env_slots_each(&source->live.env, scan_slot, &scan);
        if (source->retention.n_held == 0)
            retention_start(source); /* there may be free slots for it now */
        retention_advance(source);
        readers.retained = source->retention.n_held;
        readers.retained_age_ms = retention_age_ms(source);
    }
    *ret = readers;
    return 0;
}

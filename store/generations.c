/* generations.c - which generations of a source serve and stay on disk: switching, keeping the
 * former one, going back to it.
 *
 * `current` has one line or two: the generation that serves, and the one that served before it. One
 * rename changes both, so that there is no step in between at which a crash could leave a source
 * without its serving generation or with a wrong idea of the previous one. Readers follow the
 * status page, which is written after; what it names until then is one of the two, and both are
 * there.
 */
#include "store/source_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <openssl/crypto.h>

#include "store/files.h"

enum { CURRENT_MAX_BYTES = 2 * (GENERATION_NAME_SIZE + 1) };

/* What cannot be understood names no generation. */
static int read_current(const struct source *source, uint32_t *ret_serving, uint32_t *ret_previous,
                        struct error *err)
{
    char text[CURRENT_MAX_BYTES + 1] = "";
    char *second;
    size_t size = 0;
    int rc = files_read(source->dir, "current", text, CURRENT_MAX_BYTES, &size, err);

    *ret_serving = *ret_previous = 0;
    if (rc == E_NOT_FOUND || rc == E_TOO_LARGE)
        return 0;
    if (rc != 0)
        return rc;
    text[size] = 0;
    second = strchr(text, '\n');
    if (second != NULL) {
        *second++ = 0;
        second[strcspn(second, "\n")] = 0;
        *ret_previous = generation_parse(second);
    }
    *ret_serving = generation_parse(text);
    return 0;
}

/* Replaces `current`; `previous` may be 0. */
static int write_current(const struct source *source, uint32_t serving, uint32_t previous,
                         struct error *err)
{
    char names[2][GENERATION_NAME_SIZE];
    char lines[CURRENT_MAX_BYTES + 1];
    int length = snprintf(lines, sizeof(lines), "%s\n", generation_name(serving, names[0]));

    if (previous != 0)
        length += snprintf(lines + length, sizeof(lines) - (size_t)length, "%s\n",
                           generation_name(previous, names[1]));
    return files_write(source->dir, "current", lines, (size_t)length, source->store->gid, err);
}

static bool is_there(const struct source *source, uint32_t number)
{
    char name[GENERATION_NAME_SIZE];
    char path[PATH_MAX];

    return number != 0 && files_join(path, source->dir, generation_name(number, name), NULL) == 0 &&
           access(path, F_OK) == 0;
}

/* A byte of `current` may have rotted: then it names what is not there, or one generation twice,
 * and the status page, which repeats for readers what serves, is believed instead. Only then: the
 * page is not synced, and after a power loss it may name a generation that served long before. */
int generations_read(struct source *source, uint32_t *ret_serving, struct error *err)
{
    uint32_t published = store_published(source->store, source->slot);
    int rc = read_current(source, ret_serving, &source->previous, err);

    if (rc != 0 || published == *ret_serving || !is_there(source, published) ||
        (is_there(source, *ret_serving) && *ret_serving != source->previous))
        return rc;
    *ret_serving = published;
    if (source->previous == published)
        source->previous = 0;
    (void)write_current(source, published, source->previous, NULL); /* found again next time */
    return 0;
}

int generations_remove(const struct source *source, uint32_t number, struct error *err)
{
    char name[GENERATION_NAME_SIZE];
    char path[PATH_MAX];
    int rc = files_join(path, source->dir, generation_name(number, name), err);

    return rc != 0 ? rc : files_remove_tree(path, err);
}

int generations_remove_others(struct source *source, uint32_t serving, struct error *err)
{
    DIR *dir = opendir(source->dir);
    struct dirent *entry;
    int rc = 0;

    if (dir == NULL)
        return error_set_errno(err, errno, "cannot list %s", source->dir);
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        uint32_t number = generation_parse(entry->d_name);

        if (number > source->last_number)
            source->last_number = number;
        if (number != 0 && number != serving && number != source->previous)
            rc = generations_remove(source, number, err);
    }
    (void)closedir(dir); /* nothing was written */
    return rc;
}

/* ---- room ---- */

bool generations_has_room(const struct source *source, uint32_t serving)
{
    char name[GENERATION_NAME_SIZE];
    char dir[PATH_MAX];

    return files_join(dir, source->dir, generation_name(serving, name), NULL) != 0 ||
           files_free_bytes(source->dir) >= files_disk_bytes(dir, "data.mdb");
}

bool generations_drop(struct source *source)
{
    /* Its files go first, because `current` cannot be written on a full disk; a second line that
     * names nothing is harmless. */
    if (source->previous == 0 || source->live.number == 0 ||
        generations_remove(source, source->previous, NULL) != 0)
        return false;
    source->previous = 0;
    source->previous_dropped = true;
    (void)write_current(source, source->live.number, 0, NULL);
    return true;
}

void generations_spare_disk(struct source *source)
{
    if (source->live.number != 0 && !generations_has_room(source, source->live.number))
        (void)generations_drop(source); /* tried again at the next occasion */
}

/* ---- switching ---- */

/* Writing `current` may fail behind its rename, when the directory cannot be synced: then the file
 * has the new name in it, and only a power loss would bring the old one back. */
static bool may_be_named(const struct source *source, uint32_t number)
{
    uint32_t serving;
    uint32_t previous;

    return read_current(source, &serving, &previous, NULL) != 0 || serving == number;
}

int generations_write_again(const struct source *source, struct error *err)
{
    return write_current(source, source->live.number, source->previous, err);
}

int generations_switch(struct source *source, struct generation *next, uint32_t previous,
                       struct error *err)
{
    int rc = write_current(source, next->number, previous, err);

    if (rc != 0 && !may_be_named(source, next->number)) {
        generation_close(next);
        return rc;
    }
    retention_stop(source); /* from here on there is no way back */
    generation_close(&source->live);
    source->live = *next;
    walk_reset(&source->walk);
    OPENSSL_cleanse(next->digest_key, DIGEST_KEY_BYTES);
    source->previous = previous;
    source->unsettled = source->current_unsynced = rc != 0;
    if (rc == 0)
        source->durable = source->live.meta.cursor;
    store_publish(source->store, source->slot, source->region, &source->live);
    retention_start(source);
    /* `current` and the page go to disk before the files they named go. No failure harms: what is
     * left is removed by the next switch or source_open(). */
    if (rc == 0 && store_sync_status(source->store, NULL) == 0)
        (void)generations_remove_others(source, source->live.number, NULL);
    return 0;
}

/* ---- the way back ---- */

enum source_fallback source_fallback(const struct source *source)
{
    return source->fallback;
}

int source_rollback(struct source *source, struct error *err)
{
    const struct store *store = source->store;
    struct generation target;
    uint32_t former = source->live.number;
    int rc;

    if (source->previous == 0)
        return error_set(err, E_NOT_FOUND, "source %s has no previous generation", source->region);
    if (source->load != NULL || source->tables.txn != NULL)
        return error_set(err, E_BUSY, "source %s is being written", source->region);
    rc = generation_open_writer(source->dir, source->previous, store->map_bytes, store->gid,
                                &target, err);
    if (rc != 0)
        return rc;
    rc = source_check_owner(source, &target, err);
    if (rc != 0) {
        generation_close(&target);
        return rc;
    }
    return generations_switch(source, &target, former, err);
}

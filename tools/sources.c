/* sources.c - see sources.h. */
#include "tools/sources.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/files.h"
#include "store/retained.h"
#include "tools/backup.h"
#include "tools/capture.h"
#include "tools/patience.h"
#include "tools/tool.h"

static int by_region(const void *a, const void *b)
{
    return strcmp(((const struct tool_source *)a)->region, ((const struct tool_source *)b)->region);
}

static int list_store(const char *store_dir, struct tool_sources *ret, struct error *err)
{
    struct tool_sources sources = {.n = 0};
    struct status_info info;
    struct status status;
    int rc = status_open(store_dir, &status, err);

    if (rc != 0)
        return rc;
    (void)status_read(&status, &info); /* torn: what does not fit shows when it is opened */
    status_close(&status);
    for (unsigned i = 0; i < STATUS_SLOTS; i++) {
        struct tool_source *source = &sources.items[sources.n];

        if (info.slots[i].region[0] == 0)
            continue;
        memcpy(source->region, info.slots[i].region, sizeof(source->region));
        source->generation.number = info.slots[i].generation;
        source->slot = i;
        if (!layout_region_valid(source->region))
            return error_set(err, E_CORRUPT, "%s/status names a region that is none", store_dir);
        sources.n++;
    }
    *ret = sources;
    return 0;
}

int sources_list(const char *store_dir, struct tool_sources *ret, struct error *err)
{
    int rc =
        backup_is(store_dir) ? backup_list(store_dir, ret, err) : list_store(store_dir, ret, err);

    if (rc == 0)
        qsort(ret->items, ret->n, sizeof(ret->items[0]), by_region);
    return rc;
}

static int begin_snapshot(struct tool_source *source, struct error *err)
{
    int rc;

    if (source->retained) {
        rc = retained_begin(source->generation.env.mdb, &source->txn);
        if (rc != 0)
            return error_set(err, rc, "cannot begin a snapshot: %s", error_text(rc));
    } else {
        rc = mdb_txn_begin(source->generation.env.mdb, NULL, MDB_RDONLY, &source->txn);
        if (rc != 0) {
            source->txn = NULL;
            return env_error(err, rc, "begin a snapshot");
        }
    }
    rc = env_read_meta(&source->generation.env, source->txn, &source->meta);
    return rc == 0 ? 0 : error_set(err, rc, "cannot read the source's head");
}

/* The agent may switch to another generation between listing and opening; then the page says so. */
static bool has_moved_on(const char *store_dir, struct tool_source *source, uint32_t number)
{
    struct tool_sources now = {.n = 0};

    if (sources_list(store_dir, &now, NULL) != 0)
        return false;
    for (size_t i = 0; i < now.n; i++) {
        if (strcmp(now.items[i].region, source->region) == 0) {
            source->generation.number = now.items[i].generation.number;
            return source->generation.number != number;
        }
    }
    return false;
}

static bool use_slots;

void sources_use_slots(void)
{
    use_slots = true;
}

static int open_once(const char *store_dir, struct tool_source *source, struct error *err)
{
    uint32_t number = source->generation.number;
    char dir[PATH_MAX];
    int rc = files_join(dir, store_dir, source->region, err);

    source->generation.number = 0;
    if (rc != 0 || number == 0)
        return rc;
    if (source->backup)
        return generation_open_backup(dir, &source->generation, err);
    if (source->status.words == NULL)
        rc = status_open(store_dir, &source->status, err);
    if (rc != 0)
        return rc;
    source->begun_ms = clock_boot_ms();
    source->promised_ms = status_retention_ms(&source->status);
    if (use_slots)
        return generation_open_reader(dir, number, &source->generation, err);
    return retained_open_auto(&source->status, source->slot, dir, number, &source->generation,
                              &source->retained, err);
}

int source_view_open(const char *store_dir, struct tool_source *source, struct error *err)
{
    enum { ATTEMPTS = 8 };
    uint32_t number = source->generation.number;
    int rc;

    patience_begin();
    rc = open_once(store_dir, source, err);
    for (int i = 1; i < ATTEMPTS && rc == E_NOT_FOUND && has_moved_on(store_dir, source, number);
         i++) {
        number = source->generation.number;
        rc = open_once(store_dir, source, err);
    }
    if (rc == 0 && source->generation.number != 0)
        rc = env_open_handles(&source->generation.env, err);
    if (rc == 0 && source->generation.number != 0)
        rc = begin_snapshot(source, err);
    patience_end();
    if (rc != 0) {
        source_view_close(source);
        return error_context(err, "source %s", source->region);
    }
    return 0;
}

void source_view_close(struct tool_source *source)
{
    if (source->txn != NULL)
        mdb_txn_abort(source->txn);
    source->txn = NULL;
    generation_close(&source->generation);
    status_close(&source->status);
}

/* A pass may take longer than the retention time, so the clock decides where the page cannot. */
bool source_view_overtaken(const struct tool_source *source)
{
    if (!source->retained || source->txn == NULL)
        return false;
    switch (status_pages(&source->status, source->slot, source->generation.number,
                         mdb_txn_id(source->txn))) {
    case STATUS_PAGES_KEPT:
        return false;
    case STATUS_PAGES_OVERTAKEN:
        return true;
    case STATUS_PAGES_UNTOLD:
        break;
    }
    return clock_boot_ms() - source->begun_ms >= source->promised_ms;
}

int sources_open(const char *store_dir, struct tool_sources *ret, struct error *err)
{
    struct tool_sources sources = {.n = 0};
    int rc = sources_list(store_dir, &sources, err);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < sources.n && rc == 0; i++)
        rc = source_view_open(store_dir, &sources.items[i], err);
    if (rc != 0) {
        sources_close(&sources);
        return rc;
    }
    *ret = sources;
    return 0;
}

void sources_close(struct tool_sources *sources)
{
    for (size_t i = 0; i < sources->n; i++)
        source_view_close(&sources->items[i]);
    sources->n = 0;
}

/* ---- passes ---- */

/* One attempt; E_OVERTAKEN when what it saw is void, its output with it. */
static int walk_once(const char *store_dir, const struct source_pass *pass, struct error *err)
{
    struct capture capture = CAPTURE_INIT;
    struct tool_sources sources;
    bool retained = false;
    bool overtaken = false;
    int rc = sources_open(store_dir, &sources, err);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < sources.n; i++)
        retained = retained || sources.items[i].retained;
    if (retained)
        rc = capture_begin(&capture, err);
    for (size_t i = 0; i < sources.n && rc == 0; i++) {
        if (sources.items[i].generation.number != 0)
            rc = pass->visit(pass->context, &sources.items[i], err);
    }
    for (size_t i = 0; i < sources.n; i++)
        overtaken = overtaken || source_view_overtaken(&sources.items[i]);
    sources_close(&sources);
    if (capture_end(&capture, !overtaken, rc == 0 ? err : NULL) != 0 && rc == 0)
        rc = err->code;
    return !overtaken ? rc
                      : error_set(err, E_OVERTAKEN,
                                  "the agent used pages again that were still being read");
}

int sources_walk(const char *store_dir, const struct source_pass *pass, struct error *err)
{
    enum { ATTEMPTS = 3 };
    int rc = E_OVERTAKEN;

    for (int i = 0; i < ATTEMPTS && rc == E_OVERTAKEN; i++) {
        if (i > 0)
            (void)tool_fail("%s; starting over", err->message);
        *err = (struct error)ERROR_INIT;
        pass->restart(pass->context);
        rc = walk_once(store_dir, pass, err);
    }
    if (rc != E_OVERTAKEN)
        return rc;
    return error_set(err, rc,
                     "the store changes faster than it can be read without a reader slot: use "
                     "--slots, where this user can write lock.mdb, or raise the agent's "
                     "retention_ms");
}

/* ---- walking ---- */

static int step(struct table_walk *walk, MDB_cursor_op op, struct error *err)
{
    int rc = mdb_cursor_get(walk->cursor, &walk->key, &walk->value, op);

    walk->at_end = rc != 0;
    if (source_view_overtaken(walk->source))
        return error_set(err, E_OVERTAKEN,
                         "the agent used pages again that were still being read: use --slots");
    if (rc == 0 || rc == MDB_NOTFOUND)
        return 0;
    return env_error(err, rc, "read the next record");
}

int walk_begin(struct table_walk *walk, const struct tool_source *source, enum table table,
               const MDB_val *from, struct error *err)
{
    int rc;

    *walk = (struct table_walk){.source = source, .table = table, .at_end = true};
    rc = mdb_cursor_open(source->txn, source->generation.env.tables[table], &walk->cursor);
    if (rc != 0)
        return env_error(err, rc, "open a cursor");
    if (from == NULL)
        return step(walk, MDB_FIRST, err);
    walk->key = *from;
    return step(walk, MDB_SET_RANGE, err);
}

int walk_next(struct table_walk *walk, struct error *err)
{
    return step(walk, MDB_NEXT, err);
}

void walk_end(struct table_walk *walk)
{
    if (walk->cursor != NULL)
        mdb_cursor_close(walk->cursor);
    walk->cursor = NULL;
}

struct tables source_view_tables(const struct tool_source *source)
{
    return (struct tables){.env = &source->generation.env, .txn = source->txn};
}

int source_view_get(const struct tool_source *source, enum table table, MDB_val key, MDB_val *ret)
{
    return lmdb_code(mdb_get(source->txn, source->generation.env.tables[table], &key, ret));
}

const char *source_view_scope(const struct tool_source *source, uint32_t scope,
                              char text[SCOPE_TEXT_SIZE])
{
    struct record_realm realm;
    char id[UUID_TEXT_SIZE];
    MDB_val value;

    if (scope == MODEL_SCOPE_CP)
        (void)snprintf(text, SCOPE_TEXT_SIZE, "cp");
    else if (source_view_get(source, TABLE_REALMS, env_val(&scope, sizeof(scope)), &value) == 0 &&
             record_view_realm(value.mv_data, value.mv_size, &realm))
        (void)snprintf(text, SCOPE_TEXT_SIZE, "realm:%s", uuid_format(&realm.id, id));
    else
        (void)snprintf(text, SCOPE_TEXT_SIZE, "scope:%u", scope);
    return text;
}

/* sources.c - see sources.h. */
#include "tools/sources.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/files.h"
#include "store/retained.h"
#include "store/trees.h"
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
    struct env *env = &source->generation.env;
    struct tree unnamed;
    int rc = env_begin_pages(env, &source->txn, &unnamed);

    if (rc != 0) {
        source->txn = NULL;
        return error_set(err, rc, "cannot begin a snapshot: %s", error_text(rc));
    }
    rc = env_check_open_file(env); /* no page of the snapshot is behind the file's end */
    if (rc == 0)
        rc = env_read_meta_row(&unnamed, &source->meta);
    if (rc != 0)
        return error_set(err, rc, "cannot read the source's head: %s", error_text(rc));
    source->trees = malloc(sizeof(*source->trees));
    if (source->trees == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    return trees_open_snapshot(source->trees, &unnamed, mdb_txn_id(source->txn), err);
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
    free(source->trees);
    source->trees = NULL;
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
        source_damage(err);
        return rc;
    }
    *ret = sources;
    return 0;
}

void source_damage(struct error *err)
{
    static const char hint[] = "; `realmctl verify` tells more";
    size_t size = strlen(err->message);

    if (err->code == E_CORRUPT && strstr(err->message, "realmctl verify") == NULL &&
        size + sizeof(hint) <= sizeof(err->message))
        memcpy(err->message + size, hint, sizeof(hint));
}

void sources_close(struct tool_sources *sources)
{
    for (size_t i = 0; i < sources->n; i++)
        source_view_close(&sources->items[i]);
    sources->n = 0;
}

/* ---- passes ---- */

static int visit(const struct source_pass *pass, const struct tool_source *source,
                 struct error *err)
{
    int rc = pass->visit(pass->context, source, err);

    if (rc == 0 || err->code == 0) /* without a message it was told already */
        return rc;
    (void)error_context(err, "source %s", source->region);
    source_damage(err);
    return rc;
}

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
            rc = visit(pass, &sources.items[i], err);
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

/* Takes the pair that a step of the pages gave, or the end. */
static int show(struct table_walk *walk, int rc, struct error *err)
{
    walk->at_end = rc != 0;
    walk->key = walk->pages.key;
    walk->value = walk->pages.value;
    if (source_view_overtaken(walk->source))
        return error_set(err, E_OVERTAKEN,
                         "the agent used pages again that were still being read: use --slots");
    if (rc == 0 || rc == E_NOT_FOUND)
        return 0;
    return error_set(err, rc, "page %" PRIu64 " of table %s is damaged", walk->pages.page,
                     source_table_name(walk->table));
}

int walk_begin(struct table_walk *walk, const struct tool_source *source, enum table table,
               const MDB_val *from, struct error *err)
{
    walk->source = source;
    walk->table = table;
    return show(walk,
                tree_walk_begin(&walk->pages, &source->trees->tables[table],
                                from != NULL ? *from : env_val("", 0)),
                err);
}

int walk_next(struct table_walk *walk, struct error *err)
{
    return show(walk, tree_walk_next(&walk->pages), err);
}

const char *source_table_name(enum table table)
{
    const char *name = env_table_name(table);

    return name != NULL ? name : "lookup";
}

struct tables source_view_tables(const struct tool_source *source)
{
    return (struct tables){
        .env = &source->generation.env, .txn = source->txn, .trees = source->trees};
}

int source_view_get(const struct tool_source *source, enum table table, MDB_val key, MDB_val *ret)
{
    const struct tables tables = source_view_tables(source);

    return tables_get(&tables, table, key, ret, NULL);
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

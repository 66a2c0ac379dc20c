/* sources.h - every source of a store, opened read-only in one consistent snapshot each.
 *
 * A store or a backup (tools/backup.h). For the commands that look at records rather than ask
 * questions (dump, get, verify). The public library must not have the same store open in this
 * process meanwhile.
 *
 * Pages are read by store/tree.h alone, which checks each before it follows it: a damaged one is
 * E_CORRUPT, never the end of the process.
 *
 * Where the agent retains, a source is read without a reader slot, unless sources_use_slots() was
 * called: the agent then keeps its pages for the retention time only. Each step of a walk checks
 * that, and gives E_OVERTAKEN; sources_walk() starts over.
 */
#ifndef RS_TOOLS_SOURCES_H
#define RS_TOOLS_SOURCES_H

#include <lmdb.h>

#include "base/error.h"
#include "store/consumers.h"
#include "store/generation.h"
#include "store/record.h"
#include "store/status.h"

struct tool_source {
    char region[STATUS_REGION_SIZE];
    struct generation generation; /* number 0: the source has no copy yet */
    struct layout_meta meta;      /* of the snapshot */
    MDB_txn *txn;
    struct trees *trees;  /* owned; the tables in that transaction */
    bool retained;        /* read without a slot */
    int64_t begun_ms;     /* of a retained one: boot clock before it was opened, */
    int64_t promised_ms;  /* and the retention time then */
    unsigned slot;        /* in the status page */
    struct status status; /* while the generation is open */
    bool backup;          /* no store: nobody writes to it */
};

struct tool_sources {
    size_t n;
    struct tool_source items[STATUS_SLOTS]; /* sorted by region */
};

/* From now on: through slots (`realmctl --slots`). */
void sources_use_slots(void);

/* Opens all. What cannot be opened is E_CORRUPT, E_FORMAT, ... of that source, with its message. */
int sources_open(const char *store_dir, struct tool_sources *ret, struct error *err);
void sources_close(struct tool_sources *sources);

/* Names of the sources without opening any; generation numbers in .generation.number. */
int sources_list(const char *store_dir, struct tool_sources *ret, struct error *err);
/* Opens one that sources_list() gave. */
int source_view_open(const char *store_dir, struct tool_source *source, struct error *err);
void source_view_close(struct tool_source *source);
/* Says in the message of E_CORRUPT which command tells more. */
void source_damage(struct error *err);

/* Without a slot: what was read until now may be wrong, errors included. */
bool source_view_overtaken(const struct tool_source *source);

/* One pass over every source that has a copy, in order; what it prints comes out when it is known
 * to be right. */
struct source_pass {
    void (*restart)(void *context); /* forget what an overtaken attempt gathered */
    int (*visit)(void *context, const struct tool_source *source, struct error *err);
    void *context;
};
/* E_OVERTAKEN: each of several attempts was. Else what opening or visit() gave; its message names
 * the source. */
int sources_walk(const char *store_dir, const struct source_pass *pass, struct error *err);

/* ---- walking tables ---- */

struct table_walk {
    const struct tool_source *source; /* borrowed */
    enum table table;
    struct tree_walk pages;
    MDB_val key; /* both borrowed from the snapshot */
    MDB_val value;
    bool at_end;
};

/* Positions on the first pair at or after `from` (NULL: the first of all). walk_next() goes on;
 * both set at_end. E_CORRUPT: "page N of table T is damaged"; the walk has ended. */
int walk_begin(struct table_walk *walk, const struct tool_source *source, enum table table,
               const MDB_val *from, struct error *err);
int walk_next(struct table_walk *walk, struct error *err);
/* As messages call it. */
const char *source_table_name(enum table table);

/* For what store/consumers.h and store/index.h find. */
struct tables source_view_tables(const struct tool_source *source);
/* The value of one key; E_NOT_FOUND. */
int source_view_get(const struct tool_source *source, enum table table, MDB_val key, MDB_val *ret);
/* "cp", or "realm:UUID" of a scope number; "scope:N" when the realm is missing. */
enum { SCOPE_TEXT_SIZE = 48 };
const char *source_view_scope(const struct tool_source *source, uint32_t scope,
                              char text[SCOPE_TEXT_SIZE]);

#endif

/* view.h - what the feed reads of a repository: one version of it, as it stands still.
 *
 *     repo.c: open a view --> delta.c (touched.c, scopes.c), concerns.c --> close it
 *                                  | the reads below
 *                             lmdb/view.c, or another implementation
 *
 * All reads of a view see the state that its head names, whatever is written meanwhile. Reads that
 * concern many entities take them as a list, so that a database across a network answers with one
 * exchange; results come one by one through a function, so that none has to be held. That function
 * may read from the view itself only where it is said. Its code, when it is not 0, ends the read
 * and is returned.
 *
 * LOANS: strings and records that a read gives are borrowed until the next read of the view, and
 * those that a function is called with until it returns. THREADS: a view is one thread's.
 */
#ifndef RS_CONTROL_REPO_VIEW_H
#define RS_CONTROL_REPO_VIEW_H

#include "base/set_hash.h"
#include "control/repo/entity.h"
#include "control/repo/repo.h"
#include "control/repo/visibility.h"

struct repo_view;

/* Where the view stands in the history. */
struct repo_view_head {
    struct uuid epoch;
    uint64_t version;
    uint64_t oldest; /* the log holds (oldest, version] */
    int64_t time_ms; /* commit time of `version` */
};

/* ---- the change log: what a version touched ---- */

enum repo_touch_kind {
    REPO_TOUCH_REALM = 1,
    REPO_TOUCH_CONSUMER = 2,
    REPO_TOUCH_CONSUMER_WHOLE = 3, /* appeared here with all its keys: the target of a move */
    REPO_TOUCH_KEY = 4
};
struct repo_touch {
    enum repo_touch_kind kind;
    struct repo_scope scope;       /* the realm itself for REPO_TOUCH_REALM */
    uint32_t number;               /* REPO_TOUCH_REALM */
    struct repo_visibility before; /* REPO_TOUCH_REALM: as it was before the transaction */
    struct uuid consumer_id;
    struct uuid key_id; /* REPO_TOUCH_KEY */
};
struct repo_log_position {
    uint64_t version;
    int64_t time_ms;
};
typedef int (*repo_touch_fn)(void *context, const struct repo_log_position *position,
                             const struct repo_touch *touch, struct error *err);

/* ---- the state ---- */

struct repo_numbered_scope {
    struct repo_scope id;
    uint32_t number; /* as hosts know it */
};
struct repo_realm_view {
    struct uuid id;
    uint32_t number;
    struct repo_visibility visibility;
    struct repo_record record;
};
typedef int (*repo_realm_fn)(void *context, const struct repo_realm_view *realm, struct error *err);

struct repo_counts {
    uint64_t consumers;
    uint64_t keys;
};

/* Entities to be read. A nil consumer stands for all of the scope, a nil key for all of the
 * consumer; what is not there is left out. */
struct repo_selection {
    const struct repo_path *paths;
    size_t count;
    const struct set_hash_marks *buckets; /* only of consumers in these buckets; NULL: of all */
};
/* `at`: which of the paths led to the record. Records come in the order of the paths; those of one
 * path in the order of their ids. */
typedef int (*repo_record_fn)(void *context, size_t at, const struct repo_record *record,
                              struct error *err);

struct repo_view_ops {
    void (*close)(struct repo_view *view);

    int (*head)(struct repo_view *view, struct repo_view_head *ret, struct error *err);
    /* What the versions in (from, to] touched, ascending. The function may call realm(), and log()
     * again. */
    int (*log)(struct repo_view *view, uint64_t from, uint64_t to, repo_touch_fn visit,
               void *context, struct error *err);

    /* Each realm that the control plane may see. */
    int (*realms)(struct repo_view *view, const struct uuid *control_plane_id, repo_realm_fn visit,
                  void *context, struct error *err);
    /* E_NOT_FOUND. */
    int (*realm)(struct repo_view *view, const struct uuid *id, struct repo_realm_view *ret,
                 struct error *err);
    /* Whether each consumer is there, or, for a path with a key, the key. */
    int (*exist)(struct repo_view *view, const struct repo_path *paths, size_t count, bool *ret,
                 struct error *err);
    int (*consumers)(struct repo_view *view, const struct repo_selection *selection,
                     repo_record_fn visit, void *context, struct error *err);
    int (*keys)(struct repo_view *view, const struct repo_selection *selection,
                repo_record_fn visit, void *context, struct error *err);

    /* Of all the scopes together. */
    int (*counts)(struct repo_view *view, const struct repo_numbered_scope *scopes, size_t count,
                  struct repo_counts *ret, struct error *err);
    /* The set hash of each scope. */
    int (*digests)(struct repo_view *view, const struct repo_numbered_scope *scopes, size_t count,
                   struct set_hash *ret, struct error *err);
    /* And of each bucket of one. */
    int (*buckets)(struct repo_view *view, const struct repo_scope *scope,
                   struct set_hash ret[SET_HASH_BUCKETS], struct error *err);
};

/* Implementations embed this first. */
struct repo_view {
    const struct repo_view_ops *ops;
};

#endif

/* reader.c - opening a store, snapshots, status. See reader_internal.h for the parts.
 *
 * rs_begin() costs an uncontended mutex and three loads: is this process the opener, has the status
 * page moved, is a snapshot idle. A snapshot keeps its read transactions (reset) when it is idle,
 * and with them their slots in LMDB's reader table, so that renewing one is a few stores to shared
 * memory.
 */
#include "store/reader_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SAME_CODE(name) _Static_assert((int)RS_##name == (int)(name), "public and internal code")
SAME_CODE(E_NO_MEMORY);
SAME_CODE(E_INVALID);
SAME_CODE(E_NO_STORE);
SAME_CODE(E_FORMAT);
SAME_CODE(E_CORRUPT);
SAME_CODE(E_PERMISSION);
SAME_CODE(E_READ_ONLY_MOUNT);
SAME_CODE(E_FORKED);
SAME_CODE(E_READERS_FULL);
SAME_CODE(E_PID_COLLISION);
SAME_CODE(E_NOT_READY);
SAME_CODE(E_IO);
SAME_CODE(E_BUSY);
SAME_CODE(E_MAP_RESIZED);
SAME_CODE(E_UNSUPPORTED);
SAME_CODE(E_OVERTAKEN);
SAME_CODE(E_TOO_SMALL);
_Static_assert((int)RS_SOURCES_MAX == (int)STATUS_SLOTS, "a status entry for every slot");
_Static_assert(sizeof(((rs_source_status *)0)->region) == STATUS_REGION_SIZE, "regions fit");

const char *rs_strerror(int code)
{
    switch (code) {
    case RS_FOUND:
        return "found";
    case RS_NOT_FOUND:
        return "not found";
    case RS_STALE:
        return "the answer is older than the realm allows";
    default:
        return error_text(code);
    }
}

int reader_code(int code)
{
    enum { LAST_PUBLIC = -99 };

    if (code >= LAST_PUBLIC)
        return code;
    return code == E_NOT_FOUND ? E_CORRUPT : E_IO; /* something the store names is missing */
}

/* ---- fork ---- */

/* A page that the kernel zeroes in a child makes fork() visible without a system call. */
static int watch_fork(rs_store *store, struct error *err)
{
    long size = sysconf(_SC_PAGESIZE);
    unsigned char *page;

    page = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return error_set_errno(err, errno, "cannot map a page");
    if (madvise(page, (size_t)size, MADV_WIPEONFORK) != 0)
        store->pid = getpid(); /* a kernel before 4.14 */
    *page = 1;
    store->alive = page;
    return 0;
}

static void unwatch_fork(rs_store *store)
{
    if (store->alive != NULL)
        (void)munmap((void *)(uintptr_t)store->alive, (size_t)sysconf(_SC_PAGESIZE));
}

bool reader_is_forked(const rs_store *store)
{
    return *store->alive != 1 || (store->pid != 0 && store->pid != getpid());
}

/* ---- opening ---- */

/* Nothing can be read through slots when the whole store is mounted read-only, and nothing without
 * them when the agent retains nothing; say so even while the store is empty. */
static int check_mode(const rs_store *store, struct error *err)
{
    bool retains = status_retention_ms(&store->view->page->status) > 0;
    struct statvfs fs;

    if (store->mode == RS_MODE_RETAINED && !retains)
        return error_set(err, E_UNSUPPORTED,
                         "%s: the agent retains nothing for readers without slots: set its "
                         "retention_ms, or use slots",
                         store->dir);
    if (store->mode == RS_MODE_RETAINED || (store->mode == RS_MODE_AUTO && retains))
        return 0;
    if (statvfs(store->dir, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0)
        return error_set(err, E_READ_ONLY_MOUNT,
                         "%s is on a read-only mount, where reader slots cannot be taken: mount it "
                         "read-write for this process%s",
                         store->dir,
                         retains ? ", or use the retained mode"
                                 : ", or set the agent's retention_ms for reading without slots");
    return 0; /* what else may be wrong with it shows when it is opened */
}

/* One bad source must not stop the others; but when none can serve, opening fails with its
 * reason. */
static int check_any_opens(const struct view *view)
{
    int first = 0;

    for (unsigned i = 0; i < view->n_sources; i++) {
        int error = view->sources[i].error;

        if (error == 0 || error == E_NOT_READY)
            return 0;
        if (first == 0)
            first = error;
    }
    return first;
}

static int open_dir(rs_store *store, const char *dir, struct error *err)
{
    int rc;

    if (strlen(dir) >= sizeof(store->dir))
        return error_set(err, E_INVALID, "the store directory's path is too long");
    memcpy(store->dir, dir, strlen(dir) + 1);
    rc = watch_fork(store, err);
    if (rc == 0)
        rc = view_refresh(store, err);
    if (rc == 0)
        rc = check_mode(store, err);
    return rc != 0 ? rc : check_any_opens(store->view);
}

static void reader_tell(const rs_options *options, const struct error *err)
{
    if (options != NULL && options->message != NULL && options->message_size > 0)
        (void)snprintf(options->message, options->message_size, "%s", err->message);
}

/* A caller that was built before there was a mode does not know of rs_check(): it keeps what it was
 * built for. */
static bool read_mode(const rs_options *options, rs_mode *ret)
{
    if (options->size < offsetof(rs_options, mode))
        return false;
    *ret = RS_MODE_SLOTS;
    if (options->size >= offsetof(rs_options, mode) + sizeof(options->mode))
        *ret = options->mode;
    return *ret >= RS_MODE_AUTO && *ret <= RS_MODE_RETAINED;
}

int reader_open(rs_store **ret, const char *dir, const rs_options *options,
                const struct clock *clock)
{
    struct error err = ERROR_INIT;
    rs_store *store;
    rs_mode mode = RS_MODE_AUTO;
    int rc;

    if (ret == NULL || dir == NULL || (options != NULL && !read_mode(options, &mode)))
        return RS_E_INVALID;
    store = calloc(1, sizeof(*store));
    if (store == NULL)
        return RS_E_NO_MEMORY;
    store->clock = *clock;
    store->mode = mode;
    atomic_init(&store->suspect, true);
    (void)pthread_mutex_init(&store->mutex, NULL); /* cannot fail with default attributes */
    rc = open_dir(store, dir, &err);
    if (rc != 0) {
        reader_tell(options, &err);
        rs_close(store);
        return reader_code(rc);
    }
    *ret = store;
    return 0;
}

int rs_open(rs_store **ret, const char *dir, const rs_options *options)
{
    return reader_open(ret, dir, options, &clock_system);
}

/* ---- snapshots ---- */

/* In a forked child the transactions are left alone: they hold the parent's slots. */
static void snapshot_destroy(rs_snapshot *snapshot)
{
    rs_store *store = snapshot->store;

    if (!reader_is_forked(store)) {
        for (unsigned i = 0; i < snapshot->view->n_sources; i++) {
            if (snapshot->txns[i] != NULL)
                mdb_txn_abort(snapshot->txns[i]);
        }
    }
    view_release(store, snapshot->view);
    free(snapshot);
}

/* Idle snapshots of a view that is no longer the current one are of no use. */
static void drop_idle(rs_store *store)
{
    while (store->idle != NULL) {
        rs_snapshot *snapshot = store->idle;

        store->idle = snapshot->next;
        snapshot_destroy(snapshot);
    }
}

void rs_close(rs_store *store)
{
    if (store == NULL)
        return;
    if (store->alive != NULL) {
        drop_idle(store);
        view_release(store, store->view);
    }
    unwatch_fork(store);
    (void)pthread_mutex_destroy(&store->mutex);
    free(store);
}

/* Follows the status page; the mutex is held. */
static int reader_follow(rs_store *store)
{
    struct error reason = ERROR_INIT; /* per source it stands in the view; lookups report it */
    const struct view *former = store->view;
    int rc = view_refresh(store, &reason);

    if (store->view != former)
        drop_idle(store);
    return rc;
}

static int take_snapshot(rs_store *store, rs_snapshot **ret)
{
    rs_snapshot *snapshot = store->idle;

    if (snapshot != NULL) {
        store->idle = snapshot->next;
    } else {
        snapshot = calloc(1, sizeof(*snapshot));
        if (snapshot == NULL)
            return E_NO_MEMORY;
        snapshot->store = store;
        snapshot->view = store->view;
        snapshot->view->refs++;
    }
    store->n_in_use++;
    *ret = snapshot;
    return 0;
}

int rs_begin(rs_store *store, rs_snapshot **ret)
{
    int rc;

    if (store == NULL || ret == NULL)
        return RS_E_INVALID;
    if (reader_is_forked(store))
        return RS_E_FORKED;
    (void)pthread_mutex_lock(&store->mutex); /* a plain mutex used right cannot fail */
    rc = reader_follow(store);
    if (rc == 0)
        rc = take_snapshot(store, ret);
    (void)pthread_mutex_unlock(&store->mutex);
    return reader_code(rc);
}

void rs_end(rs_snapshot *snapshot)
{
    rs_store *store;

    if (snapshot == NULL || reader_is_forked(snapshot->store))
        return; /* in a child the slots are the parent's */
    store = snapshot->store;
    for (unsigned i = 0; snapshot->active != 0; i++) {
        if ((snapshot->active & 1u << i) != 0)
            mdb_txn_reset(snapshot->txns[i]);
        snapshot->active &= ~(1u << i);
    }
    snapshot->answered = 0;
    (void)pthread_mutex_lock(&store->mutex);
    store->n_in_use--;
    if (snapshot->view == store->view) {
        snapshot->next = store->idle;
        store->idle = snapshot;
    } else {
        snapshot_destroy(snapshot);
    }
    (void)pthread_mutex_unlock(&store->mutex);
}

static int reader_begin_txn(MDB_env *env, MDB_txn **txn)
{
    int rc;

    if (*txn != NULL)
        return lmdb_code(mdb_txn_renew(*txn));
    rc = mdb_txn_begin(env, NULL, MDB_RDONLY, txn);
    if (rc != 0)
        *txn = NULL;
    return lmdb_code(rc);
}

/* All that points into the map. */
static void forget_found(rs_snapshot *snapshot)
{
    memset(snapshot->realms, 0, sizeof(snapshot->realms));
    memset(snapshot->entries, 0, sizeof(snapshot->entries));
    memset(snapshot->versions, 0, sizeof(snapshot->versions));
    memset(snapshot->epochs, 0, sizeof(snapshot->epochs));
}

/* Another version of the source makes every entry found before worthless, at once. */
static void note_version(rs_snapshot *snapshot, unsigned source, size_t version)
{
    snapshot->versions[source] = version;
    snapshot->epochs[source] = ++snapshot->last_epoch;
    if (snapshot->last_epoch == 0)
        forget_found(snapshot); /* the numbers begin anew */
}

static int begin_source_txn(rs_snapshot *snapshot, unsigned source, size_t *ret_version)
{
    const struct opened *opened = snapshot->view->sources[source].opened;
    int rc;

    if (opened->retained)
        retained_note_begin(snapshot, source);
    rc = reader_begin_txn(opened->generation.env.mdb, &snapshot->txns[source]);
    if (rc == 0)
        *ret_version = mdb_txn_id(snapshot->txns[source]);
    return rc;
}

/* Whether the version that the tree is of is at least the one that the page told before. A flipped
 * bit in a meta page leads to a former version, whole, whose pages have not been used again yet. */
static int check_not_older(const struct tree *tree, const struct model_cursor *told)
{
    struct layout_meta meta;
    int rc = env_read_meta_row(tree, &meta);

    if (rc != 0)
        return rc;
    return uuid_equal(&meta.cursor.epoch, &told->epoch) && meta.cursor.version < told->version
               ? E_CORRUPT
               : 0;
}

/* One attempt. E_OVERTAKEN: again, please. */
static int try_begin(rs_snapshot *snapshot, unsigned source, struct tree_candidate *former)
{
    const struct view_source *from = &snapshot->view->sources[source];
    const struct env *env = &from->opened->generation.env;
    struct model_cursor told;
    bool has_told = status_cursor(&snapshot->view->page->status, from->slot,
                                  from->opened->generation.number, &told);
    size_t version = 0;
    struct tree tree;
    int rc = begin_source_txn(snapshot, source, &version);

    if (rc != 0)
        return rc;
    if (version == snapshot->versions[source])
        return 0;
    rc = tree_open_begun(env->map, env->page_bytes, version, former, &tree);
    if (rc == 0 && has_told)
        rc = check_not_older(&tree, &told);
    if (rc != 0) {
        mdb_txn_reset(snapshot->txns[source]);
        return rc;
    }
    snapshot->lookups[source] = tree;
    note_version(snapshot, source, version);
    return 0;
}

/* Begins the source's transaction and finds its table `lookup`. */
static int begin_source(rs_snapshot *snapshot, unsigned source)
{
    enum { ATTEMPTS = 8 };
    struct tree_candidate former = {.version = 0};
    int rc = E_OVERTAKEN;

    /* Damage is believed when it is still there at the end: pages may have been used again. */
    for (int i = 0; i < ATTEMPTS && (rc == E_OVERTAKEN || rc == E_CORRUPT); i++)
        rc = try_begin(snapshot, source, &former);
    return rc;
}

static int move_map(struct env *env)
{
    int rc = env_check_open_file(env);

    if (rc == 0)
        rc = lmdb_code(mdb_env_set_mapsize(env->mdb, 0));
    return rc == 0 ? env_map_pages(env) : rc;
}

/* The writer's map grew beyond ours. Ours may be moved only while nothing points into it: this
 * snapshot must be the only one in use, and the mutex keeps others from beginning. */
static int grow_map(rs_snapshot *snapshot, unsigned source)
{
    rs_store *store = snapshot->store;
    int rc = E_MAP_RESIZED;

    (void)pthread_mutex_lock(&store->mutex);
    if (store->n_in_use == 1) {
        rc = move_map(&snapshot->view->sources[source].opened->generation.env);
        forget_found(snapshot);
        for (rs_snapshot *idle = store->idle; idle != NULL; idle = idle->next)
            forget_found(idle);
    }
    (void)pthread_mutex_unlock(&store->mutex);
    return rc;
}

int reader_txn(rs_snapshot *snapshot, unsigned source, MDB_txn **ret)
{
    if ((snapshot->active & 1u << source) == 0) {
        int rc = begin_source(snapshot, source);

        if (rc == E_MAP_RESIZED) {
            rc = grow_map(snapshot, source);
            if (rc == 0)
                rc = begin_source(snapshot, source);
        }
        if (rc != 0)
            return rc;
        snapshot->active |= 1u << source;
    }
    *ret = snapshot->txns[source];
    return 0;
}

int reader_table(const rs_snapshot *snapshot, unsigned source, enum table table, struct tree *ret)
{
    int rc = tree_open_named(&snapshot->lookups[source], env_table_name(table), ret);

    return rc == E_NOT_FOUND ? E_CORRUPT : rc;
}

int reader_get(const rs_snapshot *snapshot, unsigned source, enum table table, MDB_val key,
               MDB_val *ret)
{
    struct tree tree;
    int rc = reader_table(snapshot, source, table, &tree);

    return rc == 0 ? tree_get(&tree, key, ret) : rc;
}

/* ---- status ---- */

static int fill_status(const struct status *page, unsigned slot, const struct clock *clock,
                       const struct status_source *source, rs_source_status *ret)
{
    memcpy(ret->region, source->region, sizeof(ret->region));
    ret->state = (rs_state)source->state;
    ret->generation = source->generation;
    memcpy(ret->epoch, source->cursor.epoch.bytes, sizeof(ret->epoch));
    ret->version = source->cursor.version;
    ret->commit_time_ms = source->commit_time_ms;
    ret->realms = source->realms;
    ret->consumers = source->consumers;
    ret->keys = source->keys;
    ret->verified_version = source->verified_version;
    ret->verified_ms = source->verified_ms;
    return source->damaged ? E_CORRUPT : status_age(page, slot, clock, &ret->age_ms);
}

/* The page as it stands, to *ret. */
static int copy_status(const rs_store *store, rs_status_info *ret)
{
    const struct status *page = &store->view->page->status;
    struct status_info info;
    int rc = status_read(page, &info) && !info.damaged ? 0 : E_CORRUPT;

    memset(ret, 0, sizeof(*ret));
    memcpy(ret->control_plane_id, info.control_plane_id.bytes, UUID_BYTES);
    ret->agent_pid = info.agent_pid;
    ret->retention_ms = status_retention_ms(page);
    ret->mode =
        store->mode == RS_MODE_RETAINED || store->view->retained ? RS_MODE_RETAINED : RS_MODE_SLOTS;
    for (unsigned i = 0; i < STATUS_SLOTS && rc == 0; i++) {
        if (info.slots[i].region[0] != 0)
            rc = fill_status(page, i, &store->clock, &info.slots[i],
                             &ret->sources[ret->n_sources++]);
        else if (info.slots[i].damaged)
            rc = E_CORRUPT;
    }
    return rc;
}

/* What the page of a removed directory says of its agent has no meaning any more. */
static void mark_gone(rs_status_info *status)
{
    status->agent_pid = 0;
    for (size_t i = 0; i < status->n_sources; i++)
        status->sources[i].state = RS_STATE_GONE;
}

int rs_status(rs_store *store, rs_status_info *ret)
{
    rs_status_info status;
    int rc;

    if (store == NULL || ret == NULL)
        return RS_E_INVALID;
    if (reader_is_forked(store))
        return RS_E_FORKED;
    place_note_age(store, -1);               /* who asks wants to know */
    (void)pthread_mutex_lock(&store->mutex); /* keeps the page from being given up */
    rc = reader_follow(store);
    if (rc == 0)
        rc = copy_status(store, &status);
    if (rc == 0 && store->gone)
        mark_gone(&status);
    (void)pthread_mutex_unlock(&store->mutex);
    if (rc != 0)
        return reader_code(rc);
    *ret = status;
    return 0;
}

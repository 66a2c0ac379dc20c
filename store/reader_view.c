/* reader_view.c - which generations serve: following the status page, and the store's directory
 * where it is another one now (reader_place.c). See reader_internal.h.
 *
 * Normal path: `switches` of the page is what the view was made at, and nothing is done. After a
 * switch the new generations are opened, those that some view has open already are shared with it.
 * The agent may remove a generation between our reading its number and our opening it; then the
 * page has moved on again, and we follow. A source that cannot be opened is noted with its code:
 * the others go on serving, and opening it is tried again now and then.
 */
#include "store/reader_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/files.h"
#include "store/retained.h"

enum {
    FOLLOW_ATTEMPTS = 8,  /* switches of generations that we follow in one go */
    FAULT_RETRY_MS = 1000 /* between attempts to open a source that failed */
};

/* ---- references ---- */

void page_release(struct page *page)
{
    if (page == NULL || --page->refs > 0)
        return;
    status_close(&page->status);
    free(page);
}

/* In a forked child LMDB's environment is left alone: closing it would free the parent's reader
 * slots. */
static void opened_release(rs_store *store, struct opened *opened)
{
    struct opened **at = &store->opened;

    if (opened == NULL || --opened->refs > 0)
        return;
    while (*at != opened)
        at = &(*at)->next;
    *at = opened->next;
    if (!reader_is_forked(store))
        generation_close(&opened->generation);
    digest_key_wipe(&opened->digest_key);
    free(opened);
}

void view_release(rs_store *store, struct view *view)
{
    if (view == NULL || --view->refs > 0)
        return;
    for (unsigned i = 0; i < view->n_sources; i++)
        opened_release(store, view->sources[i].opened);
    page_release(view->page);
    free(view);
}

/* ---- opening ---- */

/* NULL, with the reason in *err, on failure; so the other functions that return what they made. */
struct page *page_open(const rs_store *store, struct error *err)
{
    struct page *page = calloc(1, sizeof(*page));

    if (page == NULL) {
        (void)error_set(err, E_NO_MEMORY, NULL);
        return NULL;
    }
    page->refs = 1;
    if (status_open(store->dir, &page->status, err) != 0) {
        free(page);
        return NULL;
    }
    return page;
}

static int stat_data(const char *source_dir, uint32_t number, struct stat *ret)
{
    char name[GENERATION_NAME_SIZE];
    char dir[PATH_MAX];
    char path[PATH_MAX];

    if (files_join(dir, source_dir, generation_name(number, name), NULL) != 0 ||
        files_join(path, dir, "data.mdb", NULL) != 0 || stat(path, ret) != 0)
        return E_NOT_FOUND;
    return 0;
}

/* Whether sources are to be read without a slot, as the page stands now. */
static bool is_to_be_retained(const rs_store *store, const struct status *page)
{
    return store->mode == RS_MODE_RETAINED ||
           (store->mode == RS_MODE_AUTO && status_retention_ms(page) > 0);
}

static int open_in_mode(const rs_store *store, const struct status *page, unsigned slot,
                        const char *source_dir, uint32_t number, struct opened *opened,
                        struct error *err)
{
    if (store->mode == RS_MODE_SLOTS)
        return generation_open_reader(source_dir, number, &opened->generation, err);
    if (store->mode == RS_MODE_AUTO)
        return retained_open_auto(page, slot, source_dir, number, &opened->generation,
                                  &opened->retained, err);
    opened->retained = true;
    return retained_open(page, slot, source_dir, number, &opened->generation, err);
}

static int open_generation(rs_store *store, const struct status *page, unsigned slot,
                           const char *source_dir, uint32_t number, struct opened **ret,
                           struct error *err)
{
    struct opened *opened = calloc(1, sizeof(*opened));
    struct stat file;
    int rc;

    if (opened == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    opened->refs = 1;
    rc = open_in_mode(store, page, slot, source_dir, number, opened, err);
    if (rc == 0 && stat_data(source_dir, number, &file) != 0) {
        generation_close(&opened->generation);
        rc = error_set(err, E_NOT_FOUND, "%s: generation %u was removed", source_dir, number);
    }
    if (rc != 0) {
        free(opened);
        return rc;
    }
    opened->device = file.st_dev;
    opened->inode = file.st_ino;
    digest_key_init(&opened->digest_key, opened->generation.digest_key);
    opened->next = store->opened;
    store->opened = opened;
    *ret = opened;
    return 0;
}

/* What any view has open in the same mode must not be opened twice: LMDB would lose its locks. That
 * need not be the former view: a snapshot may live through a switch and a rollback. (Without a slot
 * no lock is taken, so that the two modes do not meet.) */
static struct opened *find_opened(const rs_store *store, const char *source_dir, uint32_t number,
                                  bool retained)
{
    struct stat file;

    if (store->opened == NULL || stat_data(source_dir, number, &file) != 0)
        return NULL;
    for (struct opened *opened = store->opened; opened != NULL; opened = opened->next) {
        if (file.st_dev == opened->device && file.st_ino == opened->inode &&
            opened->retained == retained)
            return opened;
    }
    return NULL;
}

static int open_source(rs_store *store, const struct status *page, const struct status_source *slot,
                       struct view_source *source, struct error *err)
{
    char dir[PATH_MAX];
    int rc;

    memcpy(source->region, slot->region, sizeof(source->region));
    if (slot->generation == 0)
        return E_NOT_READY;
    if (!layout_region_valid(slot->region))
        return error_set(err, E_CORRUPT, "%s/status holds a region that is none", store->dir);
    rc = files_join(dir, store->dir, slot->region, err);
    if (rc != 0)
        return rc;
    source->opened = find_opened(store, dir, slot->generation, is_to_be_retained(store, page));
    if (source->opened != NULL) {
        source->opened->refs++;
        return 0;
    }
    return open_generation(store, page, source->slot, dir, slot->generation, &source->opened, err);
}

/* One digest serves all sources with one digest key. */
static void note_same_keys(struct view *view)
{
    for (unsigned i = 0; i < view->n_sources; i++) {
        const struct opened *opened = view->sources[i].opened;

        view->sources[i].same_key = i;
        for (unsigned j = 0; j < i && opened != NULL; j++) {
            const struct opened *earlier = view->sources[j].opened;

            if (earlier != NULL && memcmp(earlier->generation.digest_key,
                                          opened->generation.digest_key, DIGEST_KEY_BYTES) == 0) {
                view->sources[i].same_key = j;
                break;
            }
        }
    }
}

/* ---- views ---- */

/* Fills the sources of a new view. The first failure's reason goes to *err. */
static void open_sources(rs_store *store, struct view *view, struct error *err)
{
    struct status_info info;
    /* A torn copy (the agent died while it wrote) has each word right by itself; a mismatch shows
     * when the generation is opened. */
    bool whole = status_read(&view->page->status, &info);

    for (unsigned slot = 0; slot < STATUS_SLOTS; slot++) {
        struct view_source *source = &view->sources[view->n_sources];
        struct error reason = ERROR_INIT;

        if (info.slots[slot].region[0] == 0)
            continue;
        source->slot = slot;
        if (whole && info.slots[slot].damaged)
            source->error = error_set(&reason, E_CORRUPT, "%s/status is damaged", store->dir);
        else
            source->error =
                open_source(store, &view->page->status, &info.slots[slot], source, &reason);
        if (source->opened != NULL && source->opened->retained)
            view->retained = true;
        view->n_sources++;
        if (source->error == 0 || source->error == E_NOT_READY)
            continue;
        view->faulty = true;
        if (err->code == 0)
            *err = reason;
    }
    note_same_keys(view);
}

/* `page` is transferred. */
static struct view *make_view(rs_store *store, struct page *page, struct error *err)
{
    struct view *view = calloc(1, sizeof(*view));

    if (view == NULL) {
        page_release(page);
        (void)error_set(err, E_NO_MEMORY, NULL);
        return NULL;
    }
    view->refs = 1;
    view->page = page;
    view->switches = status_switches(&page->status); /* before the slots: a later switch shows */
    view->to_be_retained = is_to_be_retained(store, &page->status);
    open_sources(store, view, err);
    view->retry_at_ms = store->clock.boot_ms(store->clock.context) + FAULT_RETRY_MS;
    return view;
}

/* The page to read: the former view's, or the one that replaced it. The caller owns one
 * reference. */
static struct page *current_page(const rs_store *store, struct error *err)
{
    struct page *page = store->view != NULL ? store->view->page : NULL;

    if (page == NULL || status_replaced(&page->status))
        return page_open(store, err);
    page->refs++;
    return page;
}

static bool is_current(const rs_store *store)
{
    const struct view *view = store->view;

    if (view == NULL || status_switches(&view->page->status) != view->switches ||
        is_to_be_retained(store, &view->page->status) != view->to_be_retained)
        return false;
    return !view->faulty || store->clock.boot_ms(store->clock.context) < view->retry_at_ms;
}

/* The view that we have serves on, with ages that grow, until the page can be read. */
static void keep_view(rs_store *store)
{
    struct view *view = store->view;

    view->switches = status_switches(&view->page->status);
    view->faulty = true;
    view->retry_at_ms = store->clock.boot_ms(store->clock.context) + FAULT_RETRY_MS;
}

int view_refresh(rs_store *store, struct error *err)
{
    struct page *elsewhere = place_look(store);

    for (int i = 0; i < FOLLOW_ATTEMPTS && (elsewhere != NULL || !is_current(store)); i++) {
        struct page *page = elsewhere;
        struct view *view;

        elsewhere = NULL;
        *err = (struct error)ERROR_INIT;
        if (page == NULL)
            page = current_page(store, err);
        if (page == NULL && store->view != NULL) {
            keep_view(store);
            return 0;
        }
        if (page == NULL)
            return err->code;
        view = make_view(store, page, err);
        if (view == NULL)
            return err->code;
        view_release(store, store->view);
        store->view = view;
    }
    return 0;
}

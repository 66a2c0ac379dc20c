/* reader_place.c - whether the store's directory is still the one that is mapped.
 *
 * Who removes a store's directory and lets the agent make a new one leaves readers with files that
 * have no name any more: they would answer from these for ever. Nobody can tell them, since nothing
 * is written there. But their ages grow, which lookups see, and only then is there reason to look:
 * with the next snapshot, at most once a second, by one stat(), while no source was heard for some
 * seconds; else never.
 *
 *   path leads to          what happens
 *   the same page          nothing: the agent is stopped, or hears nothing
 *   nothing                the copy that is mapped serves on and grows old; the state says so
 *   another page           readers move there, with their next snapshot, once a source has a
 *                          complete copy or if it is another control plane's
 */
#include "store/reader_internal.h"

#include <sys/stat.h>

#include "store/files.h"

enum { LOOK_EVERY_MS = 1000 };

/* The youngest age of the view's sources; INT64_MAX: none was ever heard. */
static int64_t youngest_ms(const rs_store *store)
{
    const struct view *view = store->view;
    int64_t youngest = INT64_MAX;

    for (unsigned i = 0; i < view->n_sources; i++) {
        int64_t age = status_age_ms(&view->page->status, view->sources[i].slot, &store->clock);

        if (age >= 0 && age < youngest)
            youngest = age;
    }
    return youngest;
}

static bool is_same_page(const struct stat *file, const struct status *page)
{
    return file->st_dev == page->device && file->st_ino == page->inode;
}

/* Whether the page of another store is worth moving to. */
static bool is_ready(const struct status *ours, const struct status *other)
{
    struct status_info now;
    struct status_info then;

    if (!status_read(other, &now))
        return false;               /* soon */
    (void)status_read(ours, &then); /* nobody writes it */
    if (!uuid_equal(&now.control_plane_id, &then.control_plane_id))
        return true;
    for (unsigned i = 0; i < STATUS_SLOTS; i++) {
        if (now.slots[i].region[0] != 0 && now.slots[i].generation != 0)
            return true;
    }
    return false;
}

static struct page *open_if_ready(const rs_store *store)
{
    struct page *page = page_open(store, NULL);

    if (page == NULL || is_ready(&store->view->page->status, &page->status))
        return page;
    page_release(page);
    return NULL;
}

static struct page *reader_place_look(rs_store *store)
{
    struct page *page = NULL;
    char path[PATH_MAX];
    struct stat file;
    bool there = files_join(path, store->dir, "status", NULL) == 0 && stat(path, &file) == 0;

    if (there && is_same_page(&file, &store->view->page->status)) {
        store->gone = false;
        return NULL;
    }
    if (there)
        page = open_if_ready(store);
    store->gone = page == NULL;
    return page;
}

struct page *place_look(rs_store *store)
{
    int64_t youngest;
    int64_t now;

    if (store->view == NULL || !atomic_load_explicit(&store->suspect, memory_order_relaxed))
        return NULL;
    now = store->clock.boot_ms(store->clock.context);
    if (now < store->look_at_ms && store->look_at_ms - now <= PLACE_SUSPECT_AGE_MS)
        return NULL;
    youngest = youngest_ms(store);
    if (youngest < PLACE_SUSPECT_AGE_MS) {
        store->gone = false;
        atomic_store_explicit(&store->suspect, false, memory_order_relaxed);
        return NULL;
    }
    store->look_at_ms = now + LOOK_EVERY_MS;
    return reader_place_look(store);
}

/* sorter.c - see sorter.h. */
#include "store/sorter.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buffer.h"
#include "store/entry.h"
#include "store/files.h"

enum {
    PART_BITS = 7,
    PARTS = 1 << PART_BITS, /* 10 million entries of 180 bytes: 14 MB each */
    WRITE_BYTES = 64 * 1024
};

struct part {
    int fd; /* -1: nothing was written */
    uint64_t entries;
    uint64_t bytes;
    struct buffer unwritten;
};

struct sorter {
    char dir[PATH_MAX];
    struct part parts[PARTS];
};

/* One entry of the part at hand. */
struct item {
    uint64_t hash;
    const unsigned char *entry;
};

int sorter_create(const char *dir, struct sorter **ret, struct error *err)
{
    struct sorter *sorter = calloc(1, sizeof(*sorter));
    int rc;

    if (sorter == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    for (int i = 0; i < PARTS; i++) {
        sorter->parts[i].fd = -1;
        buffer_init(&sorter->parts[i].unwritten, WRITE_BYTES + ENTRY_MAX_BYTES);
    }
    rc = files_join(sorter->dir, dir, "sort", err);
    if (rc != 0) {
        sorter_destroy(sorter);
        return rc;
    }
    *ret = sorter;
    return 0;
}

void sorter_destroy(struct sorter *sorter)
{
    if (sorter == NULL)
        return;
    for (int i = 0; i < PARTS; i++) {
        if (sorter->parts[i].fd >= 0)
            (void)close(sorter->parts[i].fd); /* unlinked: nothing is lost */
        buffer_finish(&sorter->parts[i].unwritten);
    }
    free(sorter);
}

/* ---- filling ---- */

/* Not O_TMPFILE: not every file system has it. */
static int open_part(const struct sorter *sorter, struct part *part, struct error *err)
{
    part->fd = open(sorter->dir, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (part->fd < 0 || unlink(sorter->dir) != 0)
        return error_set_errno(err, errno, "cannot make %s", sorter->dir);
    return 0;
}

static int flush(const struct sorter *sorter, struct part *part, struct error *err)
{
    size_t done = 0;
    int rc = part->fd >= 0 ? 0 : open_part(sorter, part, err);

    while (rc == 0 && done < part->unwritten.size) {
        ssize_t written = write(part->fd, part->unwritten.data + done, part->unwritten.size - done);

        if (written < 0 && errno != EINTR)
            rc = error_set_errno(err, errno, "cannot write %s", sorter->dir);
        else if (written > 0)
            done += (size_t)written;
    }
    part->bytes += done;
    buffer_clear(&part->unwritten);
    return rc;
}

int sorter_add(struct sorter *sorter, const unsigned char *entry, size_t size, struct error *err)
{
    struct part *part = &sorter->parts[entry_hash(entry_name(entry)) >> (64 - PART_BITS)];
    int rc = buffer_append(&part->unwritten, entry, size);

    if (rc != 0)
        return error_set(err, rc, NULL);
    part->entries++;
    return part->unwritten.size >= WRITE_BYTES ? flush(sorter, part, err) : 0;
}

/* ---- walking ---- */

static int sorter_compare(const void *a, const void *b)
{
    const struct item *x = a;
    const struct item *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return entry_compare(x->entry, y->entry);
}

/* A part in memory: its bytes mapped, its entries in order. */
struct sorted {
    struct sorter *sorter; /* borrowed */
    struct part *part;     /* borrowed; nobody else touches it meanwhile */
    unsigned char *bytes;  /* mapped; NULL: not yet */
    struct item *items;    /* owned */
    int rc;
    struct error err;
    pthread_t thread;
    bool running;
};

static int sort(struct sorted *sorted)
{
    struct part *part = sorted->part;
    const unsigned char *at;

    if (flush(sorted->sorter, part, &sorted->err) != 0)
        return sorted->err.code;
    at = mmap(NULL, part->bytes, PROT_READ, MAP_PRIVATE, part->fd, 0);
    if (at == MAP_FAILED)
        return error_set_errno(&sorted->err, errno, "cannot map %s", sorted->sorter->dir);
    sorted->bytes = (unsigned char *)(uintptr_t)at;
    sorted->items = calloc(part->entries, sizeof(*sorted->items));
    if (sorted->items == NULL)
        return error_set(&sorted->err, E_NO_MEMORY, NULL);
    for (uint64_t i = 0; i < part->entries; i++) {
        sorted->items[i] = (struct item){entry_hash(entry_name(at)), at};
        at += entry_size(at);
    }
    qsort(sorted->items, part->entries, sizeof(*sorted->items), sorter_compare);
    return 0;
}

static void *sort_main(void *context)
{
    struct sorted *sorted = context;

    sorted->rc = sort(sorted);
    return NULL;
}

/* In a thread of its own, or at once where there is none to be had. */
static void sorter_begin(struct sorted *sorted, struct sorter *sorter, struct part *part)
{
    *sorted = (struct sorted){.sorter = sorter, .part = part};
    sorted->running = pthread_create(&sorted->thread, NULL, sort_main, sorted) == 0;
    if (!sorted->running)
        sorted->rc = sort(sorted);
}

static int await(struct sorted *sorted, struct error *err)
{
    if (sorted->running)
        (void)pthread_join(sorted->thread, NULL); /* fails only for a thread that is not ours */
    sorted->running = false;
    if (sorted->rc != 0)
        *err = sorted->err;
    return sorted->rc;
}

/* Gives the disk's room back before the part after the next one is mapped. */
static void release(struct sorted *sorted)
{
    struct part *part = sorted->part;

    if (part == NULL)
        return;
    free(sorted->items);
    if (sorted->bytes != NULL)
        (void)munmap(sorted->bytes, part->bytes); /* our own mapping: cannot fail */
    if (part->fd >= 0)
        (void)close(part->fd);
    part->fd = -1;
    sorted->part = NULL;
}

static int visit_all(const struct sorted *sorted, sorter_visit_fn visit, void *context,
                     struct error *err)
{
    int rc = 0;

    for (uint64_t i = 0; i < sorted->part->entries && rc == 0; i++) {
        const unsigned char *entry = sorted->items[i].entry;

        rc = visit(context, entry, entry_size(entry), err);
    }
    return rc;
}

/* The part with entries that is at `from` or behind it; NULL: none. */
static struct part *next_part(struct sorter *sorter, struct part *from)
{
    while (from < sorter->parts + PARTS && from->entries == 0)
        from++;
    return from < sorter->parts + PARTS ? from : NULL;
}

int sorter_walk(struct sorter *sorter, sorter_visit_fn visit, void *context, struct error *err)
{
    struct part *part = next_part(sorter, sorter->parts);
    struct sorted turns[2] = {{.part = NULL}, {.part = NULL}};
    struct sorted *now = &turns[0];
    struct sorted *next = &turns[1];
    int rc = 0;

    if (part != NULL)
        sorter_begin(now, sorter, part);
    while (rc == 0 && now->part != NULL) {
        struct sorted *done = now;

        rc = await(now, err);
        part = next_part(sorter, now->part + 1);
        if (rc == 0 && part != NULL)
            sorter_begin(next, sorter, part);
        if (rc == 0)
            rc = visit_all(now, visit, context, err);
        release(done);
        now = next;
        next = done;
    }
    if (now->running)
        (void)await(now, &(struct error)ERROR_INIT); /* what went wrong first is told */
    release(now);
    return rc;
}

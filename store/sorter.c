/* sorter.c - see sorter.h. */
#include "store/sorter.h"

#include <errno.h>
#include <fcntl.h>
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

static int compare(const void *a, const void *b)
{
    const struct item *x = a;
    const struct item *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return entry_compare(x->entry, y->entry);
}

static int visit_sorted(const struct part *part, const unsigned char *bytes, struct item *items,
                        sorter_visit_fn visit, void *context, struct error *err)
{
    int rc = 0;

    for (uint64_t i = 0; i < part->entries; i++) {
        items[i] = (struct item){entry_hash(entry_name(bytes)), bytes};
        bytes += entry_size(bytes);
    }
    qsort(items, part->entries, sizeof(*items), compare);
    for (uint64_t i = 0; i < part->entries && rc == 0; i++)
        rc = visit(context, items[i].entry, entry_size(items[i].entry), err);
    return rc;
}

static int walk_part(struct sorter *sorter, struct part *part, sorter_visit_fn visit, void *context,
                     struct error *err)
{
    struct item *items;
    void *bytes;
    int rc = flush(sorter, part, err);

    if (rc != 0)
        return rc;
    bytes = mmap(NULL, part->bytes, PROT_READ, MAP_PRIVATE, part->fd, 0);
    if (bytes == MAP_FAILED)
        return error_set_errno(err, errno, "cannot map %s", sorter->dir);
    items = calloc(part->entries, sizeof(*items));
    if (items == NULL)
        rc = error_set(err, E_NO_MEMORY, NULL);
    else
        rc = visit_sorted(part, bytes, items, visit, context, err);
    free(items);
    (void)munmap(bytes, part->bytes); /* our own mapping: cannot fail */
    (void)close(part->fd);            /* gives the disk's room back before the next part */
    part->fd = -1;
    return rc;
}

int sorter_walk(struct sorter *sorter, sorter_visit_fn visit, void *context, struct error *err)
{
    int rc = 0;

    for (int i = 0; i < PARTS && rc == 0; i++) {
        if (sorter->parts[i].entries > 0)
            rc = walk_part(sorter, &sorter->parts[i], visit, context, err);
    }
    return rc;
}

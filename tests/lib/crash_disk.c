/* crash_disk.c - see crash_disk.h.
 *
 * Contents belong to files, names to directories, as on a real disk: `names` has every name that
 * ever was durable or is on its way, with the file it stands for in the two worlds.
 */
#include "tests/lib/crash_disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/random.h"

enum { SECTOR_BYTES = 512, PAGE_BYTES = 4096, NAMES_MAX = 512, FILES_MAX = 1024 };

/* A write within one page, or a truncation, that no sync has covered. */
struct pending {
    struct pending *next;
    bool truncates;
    bool forgotten; /* by a sync that failed */
    uint64_t offset;
    size_t size;
    unsigned char data[];
};

struct file {
    bool is_dir;
    unsigned char *bytes; /* durable */
    size_t size;
    struct pending *first;
    struct pending **last;
};

/* One entry of a directory, in one world. file -1: it is not there. */
struct name {
    char path[PATH_MAX / 8]; /* below the root; tests use short ones */
    int file;
};

struct names {
    size_t n;
    struct name items[NAMES_MAX];
};

/* A change of one name that its directory's sync has not covered. `step` orders those of a rename
 * together. */
struct name_change {
    struct name name;
    unsigned step;
};

struct crash_disk {
    char root[PATH_MAX];
    struct file files[FILES_MAX];
    int n_files;
    struct names now;     /* as the process sees them */
    struct names durable; /* as the disk has them */
    struct name_change changes[NAMES_MAX];
    size_t n_changes;
    unsigned step;
};

/* ---- fates ---- */

/* How what was not synced fares, drawn once for each file and directory. */
enum fate { FATE_LOST, FATE_KEPT, FATE_PARTLY, FATES };

static enum fate draw_fate(uint64_t *seed)
{
    return (enum fate)(random_below(seed, FATES));
}

/* ---- contents ---- */

static void resize(unsigned char **bytes, size_t *size, size_t wanted)
{
    unsigned char *grown = realloc(*bytes, wanted > 0 ? wanted : 1);

    assert_non_null(grown);
    if (wanted > *size)
        memset(grown + *size, 0, wanted - *size);
    *bytes = grown;
    *size = wanted;
}

static void apply_pending(const struct pending *pending, unsigned char **bytes, size_t *size)
{
    if (pending->truncates) {
        resize(bytes, size, pending->offset);
        return;
    }
    if (pending->offset + pending->size > *size)
        resize(bytes, size, pending->offset + pending->size);
    memcpy(*bytes + pending->offset, pending->data, pending->size);
}

/* Each sector that the write touches is there or not. */
static void apply_torn(const struct pending *pending, unsigned char **bytes, size_t *size,
                       uint64_t *seed)
{
    uint64_t at = pending->offset;
    uint64_t end = pending->offset + pending->size;

    while (at < end) {
        uint64_t sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
        uint64_t stop = sector_end < end ? sector_end : end;

        if (random_below(seed, 2) == 0) {
            if (stop > *size)
                resize(bytes, size, stop);
            memcpy(*bytes + at, pending->data + (at - pending->offset), stop - at);
        }
        at = stop;
    }
}

static void apply_partly(const struct pending *pending, unsigned char **bytes, size_t *size,
                         uint64_t *seed)
{
    switch (draw_fate(seed)) {
    case FATE_LOST:
    case FATES:
        break;
    case FATE_KEPT:
        apply_pending(pending, bytes, size);
        break;
    case FATE_PARTLY:
        if (!pending->truncates)
            apply_torn(pending, bytes, size, seed);
        break;
    }
}

static void drop_pending(struct file *file)
{
    while (file->first != NULL) {
        struct pending *next = file->first->next;

        free(file->first);
        file->first = next;
    }
    file->last = &file->first;
}

/* It is in one of the pages of [from, to). */
static bool is_within(const struct pending *pending, uint64_t from, uint64_t to)
{
    uint64_t page = pending->offset / PAGE_BYTES;

    return !pending->truncates && page >= from / PAGE_BYTES && page <= (to - 1) / PAGE_BYTES;
}

/* The pages of [from, to); `size_too`: and the size. What was forgotten stays as it is, on its way
 * for ever. */
static void sync_range(struct file *file, uint64_t from, uint64_t to, bool size_too)
{
    struct pending **at = &file->first;

    while (*at != NULL) {
        struct pending *pending = *at;
        bool covered = pending->truncates ? size_too : is_within(pending, from, to);

        if (pending->forgotten || !covered) {
            at = &pending->next;
            continue;
        }
        apply_pending(pending, &file->bytes, &file->size);
        *at = pending->next;
        free(pending);
    }
    file->last = at;
}

/* A size is the file system's matter, not a page's. */
static void forget_range(struct file *file, uint64_t from, uint64_t to)
{
    for (struct pending *pending = file->first; pending != NULL; pending = pending->next)
        pending->forgotten |= is_within(pending, from, to);
}

/* A page that is written to is dirty as a whole. */
static void remember_page(struct file *file, uint64_t page)
{
    for (struct pending *pending = file->first; pending != NULL; pending = pending->next) {
        if (!pending->truncates && pending->offset / PAGE_BYTES == page)
            pending->forgotten = false;
    }
}

static void add_pending(struct file *file, bool truncates, uint64_t offset, const void *data,
                        size_t size)
{
    struct pending *pending = malloc(sizeof(*pending) + size);

    assert_non_null(pending);
    *pending = (struct pending){.truncates = truncates, .offset = offset, .size = size};
    if (size > 0)
        memcpy(pending->data, data, size);
    *file->last = pending;
    file->last = &pending->next;
}

static void add_write(struct file *file, uint64_t offset, const unsigned char *data, size_t size)
{
    while (size > 0) {
        size_t room = PAGE_BYTES - offset % PAGE_BYTES;
        size_t part = size < room ? size : room;

        remember_page(file, offset / PAGE_BYTES);
        add_pending(file, false, offset, data, part);
        offset += part;
        data += part;
        size -= part;
    }
}

/* ---- names ---- */

static struct name *find_name(struct names *names, const char *path)
{
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->items[i].path, path) == 0)
            return &names->items[i];
    }
    return NULL;
}

static void set_name(struct names *names, const struct name *name)
{
    struct name *found = find_name(names, name->path);

    if (found == NULL) {
        assert_true(names->n < NAMES_MAX);
        found = &names->items[names->n++];
    }
    *found = *name;
}

static const char *below(const struct crash_disk *disk, const char *path)
{
    size_t length = strlen(disk->root);

    assert_int_equal(strncmp(path, disk->root, length), 0);
    return path[length] == '/' ? path + length + 1 : "";
}

/* The directory that holds `path` is `dir` ("" for the root). */
static bool is_in(const char *path, const char *dir)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash != NULL ? (size_t)(slash - path) : 0;

    return strlen(dir) == length && strncmp(path, dir, length) == 0;
}

static void change_name(struct crash_disk *disk, const char *path, int file)
{
    struct name_change *change = &disk->changes[disk->n_changes];

    assert_true(disk->n_changes < NAMES_MAX);
    disk->n_changes++;
    (void)snprintf(change->name.path, sizeof(change->name.path), "%s", path);
    change->name.file = file;
    change->step = disk->step;
    set_name(&disk->now, &change->name);
}

static int file_of(struct crash_disk *disk, const char *path)
{
    const struct name *name = find_name(&disk->now, path);

    return name != NULL ? name->file : -1;
}

static int add_file(struct crash_disk *disk, bool is_dir)
{
    struct file *file = &disk->files[disk->n_files];

    assert_true(disk->n_files < FILES_MAX);
    file->is_dir = is_dir;
    file->last = &file->first;
    return disk->n_files++;
}

static void sync_names(struct crash_disk *disk, const char *dir)
{
    size_t kept = 0;

    for (size_t i = 0; i < disk->n_changes; i++) {
        if (is_in(disk->changes[i].name.path, dir))
            set_name(&disk->durable, &disk->changes[i].name);
        else
            disk->changes[kept++] = disk->changes[i];
    }
    disk->n_changes = kept;
}

/* ---- entries ---- */

struct crash_disk *crash_disk_create(const char *root)
{
    struct crash_disk *disk = calloc(1, sizeof(*disk));

    assert_non_null(disk);
    (void)snprintf(disk->root, sizeof(disk->root), "%s", root);
    return disk;
}

void crash_disk_destroy(struct crash_disk *disk)
{
    for (int i = 0; i < disk->n_files; i++) {
        drop_pending(&disk->files[i]);
        free(disk->files[i].bytes);
    }
    free(disk);
}

static void begin_rename(struct crash_disk *disk, const char *from, const void *data, size_t size)
{
    char to[PATH_MAX];

    assert_true(size < sizeof(to));
    memcpy(to, data, size);
    to[size] = 0;
    change_name(disk, below(disk, to), file_of(disk, from));
    change_name(disk, from, -1);
}

void crash_disk_begin(struct crash_disk *disk, const struct write_log_entry *entry,
                      const char *path, const void *data)
{
    const char *name = entry->op != WRITE_LOG_NOTE ? below(disk, path) : "";
    int file = file_of(disk, name);

    disk->step++;
    switch ((enum write_log_op)entry->op) {
    case WRITE_LOG_CREATE:
    case WRITE_LOG_MKDIR:
        change_name(disk, name, add_file(disk, entry->op == WRITE_LOG_MKDIR));
        break;
    case WRITE_LOG_WRITE:
        assert_true(file >= 0);
        add_write(&disk->files[file], entry->offset, data, entry->data_size);
        break;
    case WRITE_LOG_TRUNCATE:
        assert_true(file >= 0);
        add_pending(&disk->files[file], true, entry->offset, NULL, 0);
        break;
    case WRITE_LOG_RENAME:
        begin_rename(disk, name, data, entry->data_size);
        break;
    case WRITE_LOG_UNLINK:
        change_name(disk, name, -1);
        break;
    case WRITE_LOG_SYNC:
    case WRITE_LOG_NOTE:
        break;
    }
}

void crash_disk_end(struct crash_disk *disk, const struct write_log_entry *entry, const char *path)
{
    const char *name = entry->op != WRITE_LOG_NOTE ? below(disk, path) : "";
    const int file = file_of(disk, name);
    const bool failed = (entry->flags & WRITE_LOG_FAILED) != 0;
    const bool is_file = file >= 0 && !disk->files[file].is_dir;
    const uint64_t end = entry->offset + entry->data_size;

    if (entry->op == WRITE_LOG_WRITE && failed)
        forget_range(&disk->files[file], entry->offset, end);
    else if (entry->op == WRITE_LOG_WRITE && (entry->flags & WRITE_LOG_DURABLE) != 0)
        sync_range(&disk->files[file], entry->offset, end, false);
    if (entry->op != WRITE_LOG_SYNC)
        return;
    if (is_file && failed)
        forget_range(&disk->files[file], 0, UINT64_MAX);
    else if (is_file)
        sync_range(&disk->files[file], 0, UINT64_MAX, true);
    else if (!failed)
        sync_names(disk, name);
}

/* ---- what is left ---- */

/* How many of the directory's changes came to the disk, by its fate. */
static unsigned draw_last_step(const struct crash_disk *disk, uint64_t *seed)
{
    enum fate fate = draw_fate(seed);

    if (fate == FATE_LOST)
        return 0;
    if (fate == FATE_KEPT || disk->n_changes == 0)
        return UINT_MAX;
    return disk->changes[random_below(seed, disk->n_changes)].step;
}

static bool is_first_of_its_dir(const struct crash_disk *disk, size_t i, char dir[PATH_MAX])
{
    const char *path = disk->changes[i].name.path;
    const char *slash = strrchr(path, '/');

    (void)snprintf(dir, PATH_MAX, "%.*s", slash != NULL ? (int)(slash - path) : 0, path);
    for (size_t j = 0; j < i; j++) {
        if (is_in(disk->changes[j].name.path, dir))
            return false;
    }
    return true;
}

static void settle_names(const struct crash_disk *disk, struct names *names, uint64_t *seed)
{
    char dir[PATH_MAX];

    *names = disk->durable;
    for (size_t i = 0; i < disk->n_changes; i++) {
        unsigned last;

        if (!is_first_of_its_dir(disk, i, dir))
            continue;
        last = draw_last_step(disk, seed);
        for (size_t j = i; j < disk->n_changes; j++) {
            if (is_in(disk->changes[j].name.path, dir) && disk->changes[j].step <= last)
                set_name(names, &disk->changes[j].name);
        }
    }
}

static void leave_file(const struct file *file, const char *path, uint64_t *seed)
{
    enum fate fate = draw_fate(seed);
    unsigned char *bytes = NULL;
    size_t size = 0;
    int fd = openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

    if (fd < 0)
        return; /* its directory was lost */
    resize(&bytes, &size, file->size);
    if (file->size > 0)
        memcpy(bytes, file->bytes, file->size);
    for (const struct pending *pending = file->first; pending != NULL; pending = pending->next) {
        if (fate == FATE_KEPT)
            apply_pending(pending, &bytes, &size);
        else if (fate == FATE_PARTLY)
            apply_partly(pending, &bytes, &size, seed);
    }
    assert_int_equal(write(fd, bytes, size), size);
    assert_int_equal(close(fd), 0);
    free(bytes);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->path, ((const struct name *)b)->path);
}

void crash_disk_leave(const struct crash_disk *disk, const char *dir, uint64_t seed)
{
    struct names *names = malloc(sizeof(*names));
    char path[PATH_MAX];

    assert_non_null(names);
    settle_names(disk, names, &seed);
    qsort(names->items, names->n, sizeof(names->items[0]), by_path); /* directories first */
    assert_int_equal(mkdir(dir, 0750), 0);
    for (size_t i = 0; i < names->n; i++) {
        const struct name *name = &names->items[i];

        if (name->file < 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, name->path);
        if (disk->files[name->file].is_dir)
            (void)mkdir(path, 0750); /* fails where its own directory was lost */
        else
            leave_file(&disk->files[name->file], path, &seed);
    }
    free(names);
}

/* status_writer.c - the agent's half of the status page; see status.h. */
#include "store/status.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/own.h"
#include "store/files.h"

static uint64_t status_writer_load(const struct status *status, unsigned at)
{
    return atomic_load_explicit(&status->words[at], memory_order_relaxed);
}

static void store(struct status *status, unsigned at, uint64_t value)
{
    atomic_store_explicit(&status->words[at], value, memory_order_release);
}

static void store_bytes(struct status *status, unsigned at, const void *bytes, size_t size)
{
    for (size_t done = 0; done < size; done += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, (const char *)bytes + done, sizeof(word));
        store(status, at++, word);
    }
}

/* Makes the sequence odd, whatever a writer that died left behind. */
static void write_begin(struct status *status)
{
    uint64_t sequence = status_writer_load(status, STATUS_AT_SEQUENCE);

    atomic_store_explicit(&status->words[STATUS_AT_SEQUENCE], sequence | 1, memory_order_relaxed);
}

static void write_end(struct status *status)
{
    uint64_t sequence = status_writer_load(status, STATUS_AT_SEQUENCE);

    assert(sequence % 2 != 0);
    store(status, STATUS_AT_SEALED, sequence + 1);
    store(status, STATUS_AT_SEQUENCE, sequence + 1);
}

static void add_switch(struct status *status)
{
    store(status, STATUS_AT_SWITCHES, status_writer_load(status, STATUS_AT_SWITCHES) + 1);
}

static void seal_slot(struct status *status, unsigned slot)
{
    unsigned at = status_slot_at(slot);

    store(status, at + STATUS_AT_HEARD_CHECK,
          status_heard_check(status_writer_load(status, at + STATUS_AT_HEARD_BOOT),
                             status_writer_load(status, at + STATUS_AT_HEARD_WALL)));
    store(status, at + STATUS_AT_CHECK, status_slot_check(status, slot));
}

static void seal_head(struct status *status)
{
    store(status, STATUS_AT_HEAD_CHECK, status_head_check(status));
}

void status_seal(struct status *status, unsigned slot)
{
    seal_head(status);
    seal_slot(status, slot);
}

static void store_slot(struct status *status, unsigned slot, const struct status_source *source)
{
    unsigned at = status_slot_at(slot);

    store_bytes(status, at + STATUS_AT_REGION, source->region, sizeof(source->region));
    store(status, at + STATUS_AT_STATE, (uint64_t)source->generation << 32 | source->state);
    store_bytes(status, at + STATUS_AT_EPOCH, &source->cursor.epoch, sizeof(source->cursor.epoch));
    store(status, at + STATUS_AT_VERSION, source->cursor.version);
    store(status, at + STATUS_AT_COMMIT_TIME, (uint64_t)source->commit_time_ms);
    store(status, at + STATUS_AT_HEARD_BOOT, (uint64_t)source->heard_boot_ms);
    store(status, at + STATUS_AT_HEARD_WALL, (uint64_t)source->heard_wall_ms);
    store(status, at + STATUS_AT_REALMS, source->realms);
    store(status, at + STATUS_AT_CONSUMERS, source->consumers);
    store(status, at + STATUS_AT_KEYS, source->keys);
    store(status, at + STATUS_AT_VERIFIED, source->verified_version);
    store(status, at + STATUS_AT_VERIFIED_WALL, (uint64_t)source->verified_ms);
    seal_slot(status, slot);
}

/* A region takes whole words, so that bytes behind its NUL must not differ by accident. */
static bool same_region(const struct status *status, unsigned at, const char *region)
{
    for (unsigned i = 0; i < STATUS_REGION_SIZE / sizeof(uint64_t); i++) {
        uint64_t word;

        memcpy(&word, region + i * sizeof(word), sizeof(word));
        if (word != status_writer_load(status, at + STATUS_AT_REGION + i))
            return false;
    }
    return true;
}

void status_put_source(struct status *status, unsigned slot, const struct status_source *source)
{
    unsigned at = status_slot_at(slot);
    bool switched;

    assert(slot < STATUS_SLOTS);
    switched = status_writer_load(status, at + STATUS_AT_STATE) >> 32 != source->generation ||
               !same_region(status, at, source->region);
    write_begin(status);
    store_slot(status, slot, source);
    if (switched)
        add_switch(status);
    write_end(status);
}

void status_put_agent(struct status *status, int64_t pid)
{
    write_begin(status);
    store(status, STATUS_AT_AGENT_PID, (uint64_t)pid);
    seal_head(status);
    write_end(status);
}

void status_put_retention(struct status *status, int64_t retention_ms)
{
    write_begin(status);
    store(status, STATUS_AT_RETENTION, (uint64_t)retention_ms);
    seal_head(status);
    write_end(status);
    atomic_thread_fence(memory_order_seq_cst); /* before any later write into a page */
}

void status_put_retained(struct status *status, unsigned slot, uint32_t generation, uint64_t txn_id)
{
    assert(slot < STATUS_SLOTS);
    store(status, status_slot_at(slot) + STATUS_AT_RETAINED,
          status_retained_word(generation, txn_id));
    atomic_thread_fence(memory_order_seq_cst); /* a release store orders what came before it only */
}

int status_sync(struct status *status, struct error *err)
{
    if (msync(status->words, STATUS_BYTES, MS_SYNC) != 0)
        return error_set_errno(err, errno, "cannot sync the status page");
    return 0;
}

/* ---- opening ---- */

/* Rewrites boot-clock times of an earlier boot, so that they count on from now by this boot's
 * clock. The boot id comes last: who sees it sees the new times. */
static void adopt_boot(struct status *status, const struct clock *clock, struct status_info *info)
{
    int64_t boot_now = clock->boot_ms(clock->context);
    int64_t wall_now = clock->wall_ms(clock->context);

    if (status_same_boot(status))
        return;
    for (unsigned i = 0; i < STATUS_SLOTS; i++) {
        struct status_source *source = &info->slots[i];
        int64_t age = wall_now - source->heard_wall_ms;

        if (source->heard_wall_ms == 0)
            continue;
        source->heard_boot_ms = boot_now - (age > 0 ? age : 0);
        status_put_source(status, i, source);
    }
    write_begin(status);
    store_bytes(status, STATUS_AT_BOOT_ID, &status->boot_id, sizeof(status->boot_id));
    write_end(status);
}

/* Tells readers of a file that is about to be replaced. A file of another format has the same first
 * words; one that is no status page at all has no readers. */
static void mark_replaced(int fd)
{
    const off_t at = STATUS_AT_MAGIC * sizeof(uint64_t);
    struct status old = {.words = NULL};
    uint64_t magic;
    void *page;

    if (pread(fd, &magic, sizeof(magic), at) != (ssize_t)sizeof(magic) || magic != status_magic() ||
        lseek(fd, 0, SEEK_END) < (off_t)(STATUS_HEAD_WORDS * sizeof(uint64_t)))
        return;
    page =
        mmap(NULL, STATUS_HEAD_WORDS * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return; /* readers then stay on the old page and report growing ages */
    old.words = page;
    store(&old, STATUS_AT_REPLACED, 1);
    add_switch(&old);
    (void)munmap(page, STATUS_HEAD_WORDS * sizeof(uint64_t)); /* our own mapping */
}

static int make_file(const char *dir, const struct uuid *control_plane_id, gid_t gid,
                     struct error *err)
{
    uint64_t words[STATUS_WORDS] = {
        [STATUS_AT_MAGIC] = status_magic(),
        [STATUS_AT_FORMAT] = status_format_word(),
    };

    memcpy(&words[STATUS_AT_CONTROL_PLANE], control_plane_id, sizeof(*control_plane_id));
    return files_write(dir, "status", words, sizeof(words), gid, err);
}

/* Maps the file at `path`, or tells why it cannot be used; a file that is there but useless is
 * marked. */
static int open_existing(const char *path, struct status *ret, struct error *err)
{
    int fd;
    int rc = own_open(path, O_RDWR, 0, &fd, err);

    if (rc != 0)
        return rc;
    rc = status_map(fd, path, true, ret, err);
    if (rc == E_CORRUPT || rc == E_FORMAT)
        mark_replaced(fd);
    (void)close(fd); /* the mapping stays */
    return rc;
}

int status_open_writer(const char *dir, const struct uuid *control_plane_id, gid_t gid,
                       const struct clock *clock, struct status *ret, struct status_info *info,
                       struct error *err)
{
    char path[PATH_MAX];
    char text[UUID_TEXT_SIZE];
    struct status status = {.words = NULL};
    int rc = files_join(path, dir, "status", err);

    if (rc == 0)
        rc = open_existing(path, &status, err);
    if (rc == E_NOT_FOUND || rc == E_CORRUPT || rc == E_FORMAT) {
        rc = make_file(dir, control_plane_id, gid, err);
        if (rc == 0)
            rc = open_existing(path, &status, err);
    }
    if (rc != 0)
        return rc;
    (void)status_read(&status, info); /* torn: the agent died writing; each source is put anew */
    if (!uuid_equal(&info->control_plane_id, control_plane_id)) {
        status_close(&status);
        return error_set(err, E_EXISTS_ELSEWHERE,
                         "%s holds the store of control plane %s: use another directory, or remove "
                         "it to start afresh",
                         dir, uuid_format(&info->control_plane_id, text));
    }
    write_begin(&status);
    for (unsigned i = 0; i < STATUS_SLOTS; i++)
        status_seal(&status, i); /* a former agent did not, and free slots count too */
    write_end(&status);
    adopt_boot(&status, clock, info);
    *ret = status;
    return 0;
}

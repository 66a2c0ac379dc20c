/* status.c - mapping and reading the status page; see status.h. */
#include "store/status.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/checksum.h"
#include "store/files.h"

uint64_t status_magic(void)
{
    uint64_t magic;

    memcpy(&magic, "RSSTATUS", sizeof(magic));
    return magic;
}

uint64_t status_format_word(void)
{
    return (uint64_t)STATUS_SLOTS << 32 | STATUS_FORMAT;
}

static uint64_t status_load(const struct status *status, unsigned at)
{
    return atomic_load_explicit(&status->words[at], memory_order_acquire);
}

static void load_bytes(const struct status *status, unsigned at, void *bytes, size_t size)
{
    for (size_t done = 0; done < size; done += sizeof(uint64_t)) {
        uint64_t word = status_load(status, at++);

        memcpy((char *)bytes + done, &word, sizeof(word));
    }
}

/* ---- mapping ---- */

static int check_page(const struct status *status, const char *path, struct error *err)
{
    if (status_load(status, STATUS_AT_MAGIC) != status_magic())
        return error_set(err, E_CORRUPT, "%s is not a status page", path);
    if (status_load(status, STATUS_AT_FORMAT) != status_format_word())
        return error_set(err, E_FORMAT,
                         "%s has another format (%u, this program reads %d): update the agent or "
                         "this program",
                         path, (unsigned)status_load(status, STATUS_AT_FORMAT), STATUS_FORMAT);
    return 0;
}

/* Which boot of the host this is; nil, which no page has, when the kernel does not tell. */
static struct uuid read_boot_id(void)
{
    struct uuid id = {{0}};
    char text[UUID_TEXT_SIZE];
    size_t size;

    if (files_read("/proc/sys/kernel/random", "boot_id", text, sizeof(text), &size, NULL) == 0)
        (void)uuid_parse_n(text, size > 0 ? size - 1 : 0, &id); /* less the newline */
    return id;
}

int status_map(int fd, const char *path, bool writable, struct status *ret, struct error *err)
{
    struct status status = {.boot_id = read_boot_id()};
    struct stat file;
    void *page;
    int rc;

    if (fstat(fd, &file) != 0)
        return error_set_errno(err, errno, "cannot stat %s", path);
    if (file.st_size != STATUS_BYTES)
        return error_set(err, E_CORRUPT, "%s has %lld bytes instead of %d", path,
                         (long long)file.st_size, STATUS_BYTES);
    page =
        mmap(NULL, STATUS_BYTES, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return error_set_errno(err, errno, "cannot map %s", path);
    status.words = page;
    status.device = file.st_dev;
    status.inode = file.st_ino;
    rc = check_page(&status, path, err);
    if (rc != 0) {
        status_close(&status);
        return rc;
    }
    *ret = status;
    return 0;
}

int status_open(const char *dir, struct status *ret, struct error *err)
{
    char path[PATH_MAX];
    int fd;
    int rc = files_join(path, dir, "status", err);

    if (rc != 0)
        return rc;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, E_NO_STORE,
                         "no store in %s: %s is missing (realm-agent makes it when it starts)", dir,
                         path);
    if (fd < 0)
        return error_set_errno(err, errno,
                               "cannot open %s (is this user in the store's reader group?)", path);
    rc = status_map(fd, path, false, ret, err);
    (void)close(fd); /* the mapping stays */
    return rc;
}

void status_close(struct status *status)
{
    if (status->words != NULL)
        (void)munmap(status->words, STATUS_BYTES); /* our own mapping: cannot fail */
    status->words = NULL;
}

/* ---- reading ---- */

uint64_t status_switches(const struct status *status)
{
    return status_load(status, STATUS_AT_SWITCHES);
}

bool status_replaced(const struct status *status)
{
    return status_load(status, STATUS_AT_REPLACED) != 0;
}

bool status_same_boot(const struct status *status)
{
    struct uuid written;

    load_bytes(status, STATUS_AT_BOOT_ID, &written, sizeof(written));
    return uuid_equal(&written, &status->boot_id) && !uuid_is_nil(&written);
}

/* ---- checksums ---- */

static uint64_t seal(const uint64_t *words, size_t n)
{
    return (uint64_t)1 << 32 | checksum(0, words, n * sizeof(words[0]));
}

uint64_t status_head_check(const struct status *status)
{
    const uint64_t words[] = {
        status_load(status, STATUS_AT_CONTROL_PLANE),
        status_load(status, STATUS_AT_CONTROL_PLANE + 1),
        status_load(status, STATUS_AT_AGENT_PID),
        status_load(status, STATUS_AT_RETENTION),
    };

    return seal(words, sizeof(words) / sizeof(words[0]));
}

uint64_t status_heard_check(uint64_t boot, uint64_t wall)
{
    const uint64_t words[] = {boot, wall};

    return seal(words, sizeof(words) / sizeof(words[0]));
}

uint64_t status_slot_check(const struct status *status, unsigned slot)
{
    uint64_t words[STATUS_AT_CHECK];
    size_t n = 0;

    for (unsigned i = 0; i < STATUS_AT_CHECK; i++) {
        if (i != STATUS_AT_HEARD_BOOT && i != STATUS_AT_HEARD_WALL && i != STATUS_AT_RETAINED &&
            i != STATUS_AT_HEARD_CHECK)
            words[n++] = status_load(status, status_slot_at(slot) + i);
    }
    return seal(words, n);
}

bool status_is_sealed(const struct status *status)
{
    return status_load(status, STATUS_AT_SEALED) == status_load(status, STATUS_AT_SEQUENCE);
}

static bool fits(uint64_t kept, uint64_t check)
{
    return kept == 0 || kept == check; /* 0: a former agent wrote the page */
}

static void read_slot(const struct status *status, unsigned slot, struct status_source *ret)
{
    unsigned at = status_slot_at(slot);
    uint64_t state = status_load(status, at + STATUS_AT_STATE);

    load_bytes(status, at + STATUS_AT_REGION, ret->region, sizeof(ret->region));
    ret->region[STATUS_REGION_SIZE - 1] = 0;
    ret->state = (uint32_t)state;
    ret->generation = (uint32_t)(state >> 32);
    load_bytes(status, at + STATUS_AT_EPOCH, &ret->cursor.epoch, sizeof(ret->cursor.epoch));
    ret->cursor.version = status_load(status, at + STATUS_AT_VERSION);
    ret->commit_time_ms = (int64_t)status_load(status, at + STATUS_AT_COMMIT_TIME);
    ret->heard_boot_ms = (int64_t)status_load(status, at + STATUS_AT_HEARD_BOOT);
    ret->heard_wall_ms = (int64_t)status_load(status, at + STATUS_AT_HEARD_WALL);
    ret->realms = status_load(status, at + STATUS_AT_REALMS);
    ret->consumers = status_load(status, at + STATUS_AT_CONSUMERS);
    ret->keys = status_load(status, at + STATUS_AT_KEYS);
    ret->verified_version = status_load(status, at + STATUS_AT_VERIFIED);
    ret->verified_ms = (int64_t)status_load(status, at + STATUS_AT_VERIFIED_WALL);
    ret->damaged =
        !fits(status_load(status, at + STATUS_AT_CHECK), status_slot_check(status, slot)) &&
        status_is_sealed(status);
}

static void read_page(const struct status *status, struct status_info *ret)
{
    load_bytes(status, STATUS_AT_CONTROL_PLANE, &ret->control_plane_id,
               sizeof(ret->control_plane_id));
    ret->agent_pid = (int64_t)status_load(status, STATUS_AT_AGENT_PID);
    ret->damaged = !fits(status_load(status, STATUS_AT_HEAD_CHECK), status_head_check(status)) &&
                   status_is_sealed(status);
    for (unsigned i = 0; i < STATUS_SLOTS; i++)
        read_slot(status, i, &ret->slots[i]);
}

bool status_read(const struct status *status, struct status_info *ret)
{
    /* The writer needs about a microsecond; only one that lost its processor is met more than a few
     * times, and only one that died or was stopped is met so often. */
    enum { ATTEMPTS = 1000, YIELD_AFTER = 50 };

    for (int i = 0; i < ATTEMPTS; i++) {
        uint64_t before = status_load(status, STATUS_AT_SEQUENCE);

        if (i >= YIELD_AFTER)
            (void)sched_yield(); /* cannot fail on Linux */
        if (before % 2 != 0)
            continue;
        read_page(status, ret);
        if (atomic_load_explicit(&status->words[STATUS_AT_SEQUENCE], memory_order_relaxed) ==
            before)
            return true;
    }
    read_page(status, ret);
    return false;
}

/* The two times as they were written together. False: the writer is at it, or they are damaged. */
static bool read_heard(const struct status *status, unsigned at, uint64_t *ret_boot,
                       uint64_t *ret_wall)
{
    uint64_t check = status_load(status, at + STATUS_AT_HEARD_CHECK);

    *ret_boot = status_load(status, at + STATUS_AT_HEARD_BOOT);
    *ret_wall = status_load(status, at + STATUS_AT_HEARD_WALL);
    return fits(check, status_heard_check(*ret_boot, *ret_wall));
}

int status_age(const struct status *status, unsigned slot, const struct clock *clock,
               int64_t *ret_ms)
{
    enum { ATTEMPTS = 1000, YIELD_AFTER = 50 };
    unsigned at = status_slot_at(slot);
    uint64_t boot;
    uint64_t wall;
    int64_t age;

    for (int i = 0; !read_heard(status, at, &boot, &wall); i++) {
        if (!status_is_sealed(status) && i >= YIELD_AFTER)
            break; /* the writer died, was stopped, or keeps none: each word is right by itself */
        if (i == ATTEMPTS)
            return E_CORRUPT;
        if (i >= YIELD_AFTER)
            (void)sched_yield(); /* cannot fail on Linux */
    }
    *ret_ms = -1;
    if (wall == 0)
        return 0;
    if (status_same_boot(status))
        age = clock->boot_ms(clock->context) - (int64_t)boot;
    else
        age = clock->wall_ms(clock->context) - (int64_t)wall;
    *ret_ms = age > 0 ? age : 0;
    return 0;
}

int64_t status_age_ms(const struct status *status, unsigned slot, const struct clock *clock)
{
    int64_t age_ms;

    return status_age(status, slot, clock, &age_ms) == 0 ? age_ms : -1;
}

bool status_cursor(const struct status *status, unsigned slot, uint32_t generation,
                   struct model_cursor *ret)
{
    unsigned at = status_slot_at(slot);
    uint64_t before = status_load(status, STATUS_AT_SEQUENCE);
    bool known =
        status_load(status, at + STATUS_AT_STATE) >> 32 == generation && status_same_boot(status);

    load_bytes(status, at + STATUS_AT_EPOCH, &ret->epoch, sizeof(ret->epoch));
    ret->version = status_load(status, at + STATUS_AT_VERSION);
    return known && before % 2 == 0 &&
           atomic_load_explicit(&status->words[STATUS_AT_SEQUENCE], memory_order_relaxed) == before;
}

/* ---- retained transactions ---- */

int64_t status_retention_ms(const struct status *status)
{
    return (int64_t)status_load(status, STATUS_AT_RETENTION);
}

static const uint64_t retained_txn_mask = ((uint64_t)1 << STATUS_RETAINED_TXN_BITS) - 1;

static uint64_t load_retained(const struct status *status, unsigned slot)
{
    return status_load(status, status_slot_at(slot) + STATUS_AT_RETAINED);
}

bool status_retains(const struct status *status, unsigned slot, uint32_t generation)
{
    return status_retention_ms(status) > 0 &&
           load_retained(status, slot) != status_retained_word(generation, 0);
}

/* Why comparing afterwards is enough. The agent, in one thread: (1) stores the word that gives a
 * transaction up, (2) a fence, (3) releases the transaction, (4) lets LMDB write into its pages.
 * The reader, in one thread: (a) reads pages, (b) a fence, (c) loads the word. Had (a) seen a byte
 * of (4), the fences order (1) before (4) and (a) before (c), so (c) sees (1) and the transaction
 * counts as overtaken. Both sides touch the same page cache, one by pwrite() and one through its
 * map, which are coherent on every file system that LMDB supports. It is the reader's half of a
 * sequence lock; ThreadSanitizer sees neither the kernel's stores nor the fence, and has nothing to
 * say here. */
enum status_pages status_pages(const struct status *status, unsigned slot, uint32_t generation,
                               uint64_t txn_id)
{
    uint64_t word;
    uint64_t oldest;

    atomic_thread_fence(memory_order_acquire);
    word = load_retained(status, slot);
    if (status_replaced(status) || status_retention_ms(status) == 0)
        return STATUS_PAGES_OVERTAKEN; /* the agent writes another page, or retains nothing */
    if ((word ^ status_retained_word(generation, 0)) & ~retained_txn_mask)
        return STATUS_PAGES_UNTOLD;
    oldest = word & retained_txn_mask;
    return oldest == 0 || txn_id < oldest ? STATUS_PAGES_OVERTAKEN : STATUS_PAGES_KEPT;
}

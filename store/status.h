/* status.h - the page through which the agent tells readers how each source stands.
 *
 * The file `status` is mapped by the agent for writing and by every reader for reading. It has a
 * head and one slot a source, all in 64-bit words that are read and written as atomics
 * (docs/store-format.md has the list). Three ways to read it, by what they cost and promise:
 *
 *  - status_switches(): one word that moves when a reader must look again, because a source
 *    appeared, left or has a new generation, or the file was replaced;
 *  - status_age_ms(): a few words, each right by itself, never blocked by a writer that died;
 *  - status_read(): the whole page, consistent by a sequence lock; may give up.
 *
 * The sequence is odd while the writer is at work. Data words are stored with release and loaded
 * with acquire order, so that whoever sees a new word sees the odd sequence too (fences would do
 * the same, but ThreadSanitizer does not know them).
 */
#ifndef RS_STORE_STATUS_H
#define RS_STORE_STATUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/model.h"
#include "base/uuid.h"

enum {
    STATUS_FORMAT = 2,
    STATUS_SLOTS = 32,
    STATUS_REGION_SIZE = MODEL_REGION_MAX + 1,
    STATUS_HEAD_WORDS = 16,
    STATUS_SLOT_WORDS = 32,
    STATUS_WORDS = STATUS_HEAD_WORDS + STATUS_SLOTS * STATUS_SLOT_WORDS,
    STATUS_BYTES = STATUS_WORDS * 8
};

/* One slot. An empty region: the slot is free. */
struct status_source {
    char region[STATUS_REGION_SIZE];
    uint32_t state;      /* enum source_state */
    uint32_t generation; /* 0: none */
    struct model_cursor cursor;
    int64_t commit_time_ms;
    int64_t heard_boot_ms; /* boot clock of the boot that status.boot_id names; may be negative */
    int64_t heard_wall_ms; /* 0: never heard */
    uint64_t realms;
    uint64_t consumers;
    uint64_t keys;
    uint64_t verified_version; /* the newest one that was compared with its source, and equal */
    int64_t verified_ms;       /* when, wall clock; 0: never in this epoch */
    bool damaged;              /* read: its checksum does not fit */
};

struct status_info {
    struct uuid control_plane_id;
    int64_t agent_pid; /* 0: no agent runs */
    bool damaged;      /* read: the head's checksum does not fit */
    struct status_source slots[STATUS_SLOTS];
};

typedef _Atomic uint64_t status_word;

struct status {
    status_word *words;  /* the mapping; NULL: none */
    struct uuid boot_id; /* this boot of the host */
    dev_t device;        /* of the file that is mapped, whatever its path leads to now */
    ino_t inode;
};

/* ---- reading ---- */

/* Maps dir/status for reading. E_NO_STORE, E_PERMISSION, E_FORMAT, E_CORRUPT, E_IO. */
int status_open(const char *dir, struct status *ret, struct error *err);
void status_close(struct status *status); /* not open: no effect */

uint64_t status_switches(const struct status *status);
/* The file was replaced by another one: map it again. */
bool status_replaced(const struct status *status);
/* Copies the page. False when no consistent copy could be had because the writer died or stopped
 * half-way; *ret then holds what was there, each word right by itself. */
bool status_read(const struct status *status, struct status_info *ret);
/* Milliseconds since the slot's source was heard, never negative; -1: never. By the boot clock, or
 * by the wall clock when the host was started again since. */
int64_t status_age_ms(const struct status *status, unsigned slot, const struct clock *clock);
/* The same; E_CORRUPT: the times do not fit their checksum. */
int status_age(const struct status *status, unsigned slot, const struct clock *clock,
               int64_t *ret_ms);
/* What lookups in the slot's `generation` see at least. False: the page does not tell just now, or
 * was written before the host was started again, when a power loss may have taken the last commit
 * back. */
bool status_cursor(const struct status *status, unsigned slot, uint32_t generation,
                   struct model_cursor *ret);
/* How long the agent keeps the pages of a version after it was replaced; 0: readers need slots. */
int64_t status_retention_ms(const struct status *status);
/* Whether readers without slots are protected in the slot's `generation` at all. */
bool status_retains(const struct status *status, unsigned slot, uint32_t generation);
/* What the page says of the pages of one transaction. */
enum status_pages {
    STATUS_PAGES_KEPT,
    STATUS_PAGES_OVERTAKEN, /* they may have been used again by now, or nobody keeps them */
    STATUS_PAGES_UNTOLD     /* the agent writes another generation now: they change no more, but may
                             * have been used again before; the time that passed tells */
};
/* Of the transaction `txn_id` in the slot's `generation`. Called after the pages were read;
 * status.c argues the order. */
enum status_pages status_pages(const struct status *status, unsigned slot, uint32_t generation,
                               uint64_t txn_id);
/* The page says so; where it does not tell, the caller's clock must. */
static inline bool status_overtaken(const struct status *status, unsigned slot, uint32_t generation,
                                    uint64_t txn_id)
{
    return status_pages(status, slot, generation, txn_id) == STATUS_PAGES_OVERTAKEN;
}

/* ---- writing: the agent; calls are serialised by the caller ---- */

/* Maps dir/status for writing and takes its contents over into *info, so that ages outlive the
 * agent. A missing or unusable file is made new: written beside, then renamed, after readers of the
 * old one were told. E_EXISTS_ELSEWHERE: it belongs to another control plane. */
int status_open_writer(const char *dir, const struct uuid *control_plane_id, gid_t gid,
                       const struct clock *clock, struct status *ret, struct status_info *info,
                       struct error *err);
/* Publish one slot or the agent's pid; moves `switches` when region or generation changed. */
void status_put_source(struct status *status, unsigned slot, const struct status_source *source);
void status_put_agent(struct status *status, int64_t pid);
void status_put_retention(struct status *status, int64_t retention_ms);
/* A single word, right by itself and outside the sequence lock. Any thread. */
/* The oldest transaction of `generation` whose pages stay; 0: none is retained. On return no later
 * write of this thread can be seen without this one. */
void status_put_retained(struct status *status, unsigned slot, uint32_t generation,
                         uint64_t txn_id);
/* Writes the checksums of head and slot anew, for who has changed words by himself (tests). */
void status_seal(struct status *status, unsigned slot);
/* Makes the page durable. */
int status_sync(struct status *status, struct error *err);

/* ---- shared by the two halves ---- */

enum {
    STATUS_AT_MAGIC = 0,
    STATUS_AT_FORMAT = 1, /* low half: format; high half: slots */
    STATUS_AT_REPLACED = 2,
    STATUS_AT_SWITCHES = 3,
    STATUS_AT_SEQUENCE = 4,
    STATUS_AT_CONTROL_PLANE = 5, /* 2 words */
    STATUS_AT_BOOT_ID = 7,       /* 2 words */
    STATUS_AT_AGENT_PID = 9,
    STATUS_AT_RETENTION = 10,
    STATUS_AT_HEAD_CHECK = 11, /* status_head_check(); 0, as former agents left it: none */
    STATUS_AT_SEALED =
        12, /* the sequence up to which checksums were kept; see status_is_sealed() */

    /* in a slot */
    STATUS_AT_REGION = 0, /* 8 words */
    STATUS_AT_STATE = 8,  /* low half: state; high half: generation */
    STATUS_AT_EPOCH = 9,  /* 2 words */
    STATUS_AT_VERSION = 11,
    STATUS_AT_COMMIT_TIME = 12,
    STATUS_AT_HEARD_BOOT = 13,
    STATUS_AT_HEARD_WALL = 14,
    STATUS_AT_REALMS = 15,
    STATUS_AT_CONSUMERS = 16,
    STATUS_AT_KEYS = 17,
    STATUS_AT_RETAINED = 18, /* status_retained_word() */
    STATUS_AT_VERIFIED = 19,
    STATUS_AT_VERIFIED_WALL = 20,
    STATUS_AT_HEARD_CHECK = 21, /* status_heard_check(); 0: none */
    STATUS_AT_CHECK = 22        /* status_slot_check(); 0: none */
};

/* Checksums of what a word or two of a flipped page would change answers by: of control plane, pid
 * and retention time; of the two times of a slot, which change alone; of all else that is written
 * with the slot. Never 0. */
uint64_t status_head_check(const struct status *status);
uint64_t status_heard_check(uint64_t boot, uint64_t wall);
uint64_t status_slot_check(const struct status *status, unsigned slot);
/* Whether the checksums stand for what is there. Not while a writer is at work, and not behind an
 * agent of a former version that took the store back: it moves the sequence, and knows of none. */
bool status_is_sealed(const struct status *status);

/* Maps the open file after checking size, magic and format; `path` is for messages. */
int status_map(int fd, const char *path, bool writable, struct status *ret, struct error *err);
uint64_t status_magic(void);
uint64_t status_format_word(void);
/* Generation and transaction in one word, so that neither is ever compared with the other's
 * successor: 24 bits of the generation, 40 of the transaction (a thousand commits a second for 34
 * years). */
enum { STATUS_RETAINED_TXN_BITS = 40 };
static inline uint64_t status_retained_word(uint32_t generation, uint64_t txn_id)
{
    return (uint64_t)generation << STATUS_RETAINED_TXN_BITS | txn_id;
}
static inline unsigned status_slot_at(unsigned slot)
{
    return STATUS_HEAD_WORDS + slot * STATUS_SLOT_WORDS;
}
/* The page was written in this boot of the host, so that its boot-clock times mean something. */
bool status_same_boot(const struct status *status);

#endif

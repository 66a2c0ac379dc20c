/* generation.h - one complete copy of a source: a directory with an environment and its digest key.
 *
 * Opened by the agent for writing and by readers (librealmstore, realmctl) for reading, with the
 * same checks: the format, the region, that the digest key is the one the digests were made with.
 */
#ifndef RS_STORE_GENERATION_H
#define RS_STORE_GENERATION_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "store/env.h"
#include "store/layout.h"

enum {
    GENERATION_NAME_SIZE = 16, /* "g-" and up to 10 digits */
    GENERATION_OF_BACKUP = 1   /* the number that a backup, which has no other, goes by */
};

struct generation {
    uint32_t number; /* 0: none is open */
    struct env env;
    struct layout_meta meta; /* as it stood when the generation was opened */
    uint8_t digest_key[DIGEST_KEY_BYTES];
};

const char *generation_name(uint32_t number, char name[GENERATION_NAME_SIZE]);
/* Reads "g-000001"; 0 for anything else. */
uint32_t generation_parse(const char *name);

/* Whether the tables have as many rows as the head counts. Readers refuse what has not; the writer
 * opens it, since it can be repaired. */
bool generation_counts_fit(const struct generation *generation);

/* Open source_dir/g-NNNNNN. E_NOT_FOUND: it is gone. E_CORRUPT, E_FORMAT, and what env.h says. */
int generation_open_reader(const char *source_dir, uint32_t number, struct generation *ret,
                           struct error *err);
/* Without a reader slot (retained.h); *ret_txn_id as env_open_retained() has it. */
int generation_open_retained(const char *source_dir, uint32_t number, struct generation *ret,
                             uint64_t *ret_txn_id, struct error *err);
int generation_open_writer(const char *source_dir, uint32_t number, size_t map_bytes, gid_t gid,
                           struct generation *ret, struct error *err);
/* Opens a backup's copy, without a digest key, as env_open_frozen() does. */
int generation_open_backup(const char *dir, struct generation *ret, struct error *err);
/* Closes the environment and wipes the digest key; none open: no effect. */
void generation_close(struct generation *generation);

#endif

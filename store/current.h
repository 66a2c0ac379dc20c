/* current.h - the file `current` of a source: which generation serves, and which one is kept.
 *
 * Two lines, "g-000003" and "g-000002": the serving generation, and the one that `realmctl
 * rollback` goes back to. One file, replaced by rename, so that both change in one step. The second
 * line may be missing.
 */
#ifndef RS_STORE_CURRENT_H
#define RS_STORE_CURRENT_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct current {
    uint32_t serving;  /* 0: none */
    uint32_t previous; /* 0: none is kept */
};

/* A missing or unusable file names none: the source is copied anew. */
int current_read(const char *source_dir, struct current *ret, struct error *err);
/* Durable when it returns. */
int current_write(const char *source_dir, const struct current *current, gid_t gid,
                  struct error *err);

#endif

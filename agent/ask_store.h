/* ask_store.h - the agent's own store, looked into as any reader does: through librealmstore, in
 * retained mode. (LMDB's slots cannot be had: the writer has the same files open in this process,
 * and closing a second handle would drop its locks.) With retention_ms 0 nothing can be read so,
 * and every look is ASK_STORE_UNKNOWN.
 *
 * Belongs to one thread.
 */
#ifndef RS_AGENT_ASK_STORE_H
#define RS_AGENT_ASK_STORE_H

#include <stddef.h>

#include "agent/ask_question.h"
#include "base/log.h"

enum ask_store_result {
    ASK_STORE_FOUND,
    ASK_STORE_STALE_FOUND, /* what was found is older than the realm's ttl allows */
    ASK_STORE_MISS,        /* known to be unknown, current or not */
    ASK_STORE_UNKNOWN      /* no complete copy, or it cannot be read now */
};

struct ask_store;

/* `log` is borrowed. Nothing is opened yet. NULL when out of memory. */
struct ask_store *ask_store_create(const char *dir, unsigned retention_ms, const struct log *log);
void ask_store_destroy(struct ask_store *store); /* NULL allowed */

/* Looks the key up in one place, whose region is named. Where something was found, *ret_text is the
 * answer, the caller's to free. */
enum ask_store_result ask_store_look(struct ask_store *store, const struct ask_place *place,
                                     const char *secret, size_t secret_size, char **ret_text);
/* Lets go of generations that were replaced. */
void ask_store_follow(struct ask_store *store);

#endif

/* ask_question.h - the words of the agent's on-demand socket: what a gateway asks, what it is told.
 *
 *     POST /v1/auth  {"secret": "...", "sources": [{"type":"realm","region":"us","id":"UUID"},
 *                                                  {"type":"cp"}]}
 *
 * docs/operations.md describes them for whoever writes a client.
 */
#ifndef RS_AGENT_ASK_QUESTION_H
#define RS_AGENT_ASK_QUESTION_H

#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>

#include "base/error.h"
#include "base/model.h"
#include "base/uuid.h"

enum {
    ASK_BODY_MAX_BYTES = 64 * 1024,
    ASK_PLACES_MAX = 64 /* sources of one question; each may cost a request to a control plane */
};

/* One place to look for a key. */
struct ask_place {
    bool is_realm; /* else the control plane's own consumers */
    struct uuid realm_id;
    char region[MODEL_REGION_MAX + 1]; /* "": every region that is followed */
};

struct ask_question {
    char *secret; /* owned; wiped */
    size_t secret_size;
    struct ask_place *places; /* owned; in the order of the question */
    size_t n_places;
};

/* E_INVALID: the message says what is wrong, and never holds the secret. E_NO_MEMORY. */
int ask_question_parse(const void *bytes, size_t size, struct ask_question **ret,
                       struct error *err);
void ask_question_destroy(struct ask_question *question); /* NULL allowed */

/* Who a key belongs to; borrowed strings, NULL where there is none. */
struct ask_found {
    const char *id;
    const char *username;
    const char *custom_id;
    const char *credential_id;
    const char *realm_name;
};

/* The answer's text, the caller's to free; NULL when out of memory. `groups`, an array of names, is
 * taken over; NULL passes. */
char *ask_found_text(const struct ask_place *place, const struct ask_found *found, json_t *groups);
char *ask_not_found_text(void);

#endif

/* verdict.h - what is known about a request, and what follows from it. */
#ifndef GATE_VERDICT_H
#define GATE_VERDICT_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/core/text.h"

enum gate_on_stale {
    GATE_STALE_SERVE, /* a stale answer is as good as a current one */
    GATE_STALE_DENY,  /* a stale answer is a no */
    GATE_STALE_ASK    /* misses and stale answers are asked for; DENY when nobody answers */
};

/* Each has a word, see gate_verdict_word(). */
enum gate_verdict {
    GATE_UNDECIDED,
    GATE_FOUND,
    GATE_ASKED,        /* found by the control plane, which was asked */
    GATE_STALE,        /* served although it is older than the realm allows */
    GATE_ANONYMOUS,    /* no valid key; the anonymous consumer stands in */
    GATE_PREFLIGHT,    /* OPTIONS, let through without a look */
    GATE_MISSING,      /* no key, or an empty one */
    GATE_DUPLICATE,    /* more than one key of one name */
    GATE_UNKNOWN,      /* nobody's key, or an expired one */
    GATE_STALE_DENIED, /* whatever the answer was, it is too old */
    GATE_NO_ANONYMOUS, /* the anonymous consumer does not exist */
    GATE_FORBIDDEN,    /* in none of the groups that are required */
    GATE_ERROR         /* the store cannot tell */
};

/* What a lookup's code means: RS_FOUND, RS_NOT_FOUND, RS_STALE or RS_E_*. `is_somebody`: it gave a
 * consumer, however old. */
enum gate_verdict gate_verdict_of_lookup(int code, bool is_somebody, enum gate_on_stale on_stale);
/* What the control plane's answer means: RS_FOUND, RS_NOT_FOUND, or negative: nobody could be
 * asked. `was_stale`: what the store had said before. */
enum gate_verdict gate_verdict_of_answer(int code, bool was_stale);
/* Whether a lookup's code is a reason to ask the control plane. */
bool gate_verdict_asks(int code, enum gate_on_stale on_stale);

/* Whether a consumer was found by a key of the request. */
bool gate_verdict_has_consumer(enum gate_verdict verdict);
/* Whether the request may go on. */
bool gate_verdict_lets_in(enum gate_verdict verdict);
/* HTTP status of a refusal. */
int gate_verdict_code(enum gate_verdict verdict);
/* The word for logs; "" while nothing is decided. */
const char *gate_verdict_word(enum gate_verdict verdict);

/* Whether one of `groups` is one of `required`; true when none is required. */
bool gate_has_group(const struct gate_text *required, size_t n_required,
                    const struct gate_text *groups, size_t n_groups);

#endif

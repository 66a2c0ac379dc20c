/* verdict.c - what is known about a request, and what follows from it. */
#include "gateway/core/verdict.h"

#include <realmstore.h>

enum { UNAUTHORIZED = 401, FORBIDDEN = 403, INTERNAL_ERROR = 500 };

static enum gate_verdict of_stale(bool is_somebody, enum gate_on_stale on_stale)
{
    if (on_stale != GATE_STALE_SERVE)
        return GATE_STALE_DENIED;
    return is_somebody ? GATE_STALE : GATE_UNKNOWN;
}

enum gate_verdict gate_verdict_of_lookup(int code, bool is_somebody, enum gate_on_stale on_stale)
{
    switch (code) {
    case RS_FOUND:
        return GATE_FOUND;
    case RS_NOT_FOUND:
        return GATE_UNKNOWN;
    case RS_STALE:
        return of_stale(is_somebody, on_stale);
    default:
        return GATE_ERROR;
    }
}

enum gate_verdict gate_verdict_of_answer(int code, bool was_stale)
{
    if (code == RS_FOUND)
        return GATE_ASKED;
    return code == RS_NOT_FOUND || !was_stale ? GATE_UNKNOWN : GATE_STALE_DENIED;
}

bool gate_verdict_asks(int code, enum gate_on_stale on_stale)
{
    return on_stale == GATE_STALE_ASK && (code == RS_NOT_FOUND || code == RS_STALE);
}

bool gate_verdict_has_consumer(enum gate_verdict verdict)
{
    return verdict == GATE_FOUND || verdict == GATE_ASKED || verdict == GATE_STALE;
}

bool gate_verdict_lets_in(enum gate_verdict verdict)
{
    return gate_verdict_has_consumer(verdict) || verdict == GATE_ANONYMOUS ||
           verdict == GATE_PREFLIGHT;
}

int gate_verdict_code(enum gate_verdict verdict)
{
    switch (verdict) {
    case GATE_MISSING:
    case GATE_DUPLICATE:
    case GATE_UNKNOWN:
    case GATE_STALE_DENIED:
        return UNAUTHORIZED;
    case GATE_FORBIDDEN:
        return FORBIDDEN;
    default:
        return INTERNAL_ERROR;
    }
}

const char *gate_verdict_word(enum gate_verdict verdict)
{
    static const char *const words[] = {
        [GATE_UNDECIDED] = "",
        [GATE_FOUND] = "found",
        [GATE_ASKED] = "asked",
        [GATE_STALE] = "stale",
        [GATE_ANONYMOUS] = "anonymous",
        [GATE_PREFLIGHT] = "preflight",
        [GATE_MISSING] = "missing",
        [GATE_DUPLICATE] = "duplicate",
        [GATE_UNKNOWN] = "unknown",
        [GATE_STALE_DENIED] = "stale_denied",
        [GATE_NO_ANONYMOUS] = "no_anonymous",
        [GATE_FORBIDDEN] = "forbidden",
        [GATE_ERROR] = "error",
    };

    return words[verdict];
}

bool gate_has_group(const struct gate_text *required, size_t n_required,
                    const struct gate_text *groups, size_t n_groups)
{
    for (size_t i = 0; i < n_required; i++) {
        if (gate_names_have((struct gate_names){groups, n_groups}, required[i]))
            return true;
    }
    return n_required == 0;
}

/* ask_upstream.h - one question to the control plane of one region: POST /v1/sync/auth
 * (docs/protocol.md), at its URLs in turn until one answers or the time is over.
 *
 * All functions and callbacks belong to the loop's thread.
 */
#ifndef RS_AGENT_ASK_UPSTREAM_H
#define RS_AGENT_ASK_UPSTREAM_H

#include <stdint.h>
#include <uv.h>

#include "agent/ask_cache.h"
#include "agent/config.h"
#include "sync/http.h"

struct ask_upstream_options {
    uv_loop_t *loop;
    struct http_client *http;
    struct uuid control_plane_id;
    const struct config_source *source; /* copied */
    unsigned first_url;                 /* of its URLs: the one to begin with */
    const struct ask_place *place;      /* copied; its region is the source's */
    const char *secret;                 /* copied, wiped */
    size_t secret_size;
    uint32_t connect_ms;
    uint32_t try_ms;   /* one URL, all in all */
    uint32_t total_ms; /* all of them */
};

struct ask_upstream_events {
    /* Exactly one of the two, unless canceled; the question is gone when it returns. `url` is the
     * one that answered. */
    void (*answered)(void *context, const struct ask_answer *answer, unsigned url);
    /* `is_outage`: nothing of the control plane is to be had. Else one of its URLs did answer, with
     * something that can only be about this question. */
    void (*failed)(void *context, const struct error *err, bool is_outage);
    void *context;
};

struct ask_upstream;

/* Asks; an event follows, never before this has returned. E_NO_MEMORY, E_INVALID. */
int ask_upstream_start(const struct ask_upstream_options *options,
                       const struct ask_upstream_events *events, struct ask_upstream **ret,
                       struct error *err);
void ask_upstream_cancel(struct ask_upstream *upstream); /* no event; NULL allowed */

#endif

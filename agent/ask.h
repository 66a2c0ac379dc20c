/* ask.h - questions on demand: whose key is this, when the store cannot say or is not to be trusted
 * alone?
 *
 *     question --> the store -- found ---------------------------------------------> answer
 *                     | for each place in order
 *                     +--> the cache -- found ------------------------------------> answer
 *                            | else, unless it is a miss that is kept
 *                            +--> the control plane of the place's region --> cache --> answer
 *
 * The store goes first, as a gateway's own lookup does: what it finds and may give is the answer.
 * What a control plane says is kept (ask_cache.h) until the feed has caught up with it; an answer
 * that the feed has overtaken while it was under way is looked up in the store instead. Equal
 * questions that are asked at the same time are one question to the control plane.
 *
 * A place without a region stands for each region that is followed, in the configuration's order.
 *
 * All functions and callbacks belong to the loop's thread.
 */
#ifndef RS_AGENT_ASK_H
#define RS_AGENT_ASK_H

#include <stdint.h>
#include <uv.h>

#include "agent/ask_question.h"
#include "agent/config.h"
#include "agent/metrics.h"
#include "base/clock.h"
#include "base/log.h"
#include "sync/http.h"

struct ask_limits {
    uint32_t total_ms;    /* one question, all in all */
    uint32_t try_ms;      /* one URL of a control plane */
    uint32_t connect_ms;  /* of it: TCP and TLS */
    uint32_t rest_ms;     /* a region that did not answer is not asked again before */
    unsigned flights_max; /* requests to control planes at once */
    size_t cache_bytes;
};
extern const struct ask_limits ask_limits_default;

struct ask_options {
    uv_loop_t *loop; /* these are borrowed for its life */
    struct http_client *http;
    struct board *board;
    const struct log *log;
    const char *store_dir; /* copied */
    unsigned retention_ms;
    struct uuid control_plane_id;
    struct clock clock;
    struct ask_limits limits;
};

enum ask_result { ASK_FOUND, ASK_NOT_FOUND, ASK_UNAVAILABLE };

/* `text`: the answer, or, when nobody could be asked, why not. Borrowed for the call. */
_Static_assert(ASK_UNAVAILABLE + 1 == ASK_RESULTS, "a counter for each result");
typedef void (*ask_answer_fn)(void *context, enum ask_result result, const char *text);

struct ask;

int ask_create(const struct ask_options *options, struct ask **ret, struct error *err);
/* Answers what is under way with "unavailable", then closed(context) from the loop. Replicas may
 * not call it any more. */
void ask_close(struct ask *ask, void (*closed)(void *context), void *context);

/* What is followed now; borrowed until the next call. E_NO_MEMORY: nothing has changed. */
int ask_configure(struct ask *ask, const struct config_source *sources, unsigned count,
                  struct error *err);
/* All that the region's control plane said up to `cursor` is visible to lookups. */
void ask_reached(struct ask *ask, const char *region, const struct model_cursor *cursor);

/* Takes the question over. The answer comes exactly once, perhaps before this returns. */
void ask_start(struct ask *ask, struct ask_question *question, ask_answer_fn answered,
               void *context);

#endif

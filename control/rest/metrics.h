/* metrics.h - what the control plane counts, in Prometheus' text format.
 *
 * Counting is a few relaxed atomic additions, from any thread. Requests are counted by route, not
 * by path, so that identifiers neither appear nor make series without end.
 */
#ifndef RS_CONTROL_METRICS_H
#define RS_CONTROL_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "control/feed/feed.h"
#include "control/http/http.h"

struct metrics;

struct metrics_route {
    const char *method;
    const char *pattern;
};

/* `routes` is copied, its strings are borrowed for ever. Route -1 (no route matched) is added. */
int metrics_create(const struct metrics_route *routes, size_t count, struct metrics **ret);
void metrics_destroy(struct metrics *metrics); /* NULL allowed */

void metrics_count(struct metrics *metrics, int route, unsigned status, int64_t duration_us);

/* What is asked for rather than counted. */
struct metrics_state {
    struct http_stats http;
    struct feed_stats feed;
    uint64_t version; /* newest in the repository */
};
int metrics_render(struct metrics *metrics, const struct metrics_state *state, struct buffer *out);

#endif

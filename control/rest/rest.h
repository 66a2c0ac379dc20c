/* rest.h - the REST API: from a request to the repository and back. docs/rest.md is its
 * description.
 *
 * A request passes, in this order: route (404), method (501, 405), caller (401, 429), role (403),
 * path and query parameters (400), content type (415), body (400), the route's own function. Each
 * step either goes on or answers with a problem document; a request that is refused changes
 * nothing.
 */
#ifndef RS_CONTROL_REST_H
#define RS_CONTROL_REST_H

#include "base/log.h"
#include "control/rest/auth.h"
#include "control/feed/feed.h"
#include "control/http/http.h"
#include "control/rest/metrics.h"
#include "control/repo/repo.h"

struct rest {
    struct repo *repo;
    struct feed *feed;
    struct auth *auth;
    struct metrics *metrics;
    struct http_server *http; /* for its figures; may be NULL */
    const char *region;
    const struct log *log;
    struct log_pace *failure_pace; /* of lines about requests that failed; borrowed */
};

/* http_admit_fn, http_handler_fn and http_observer_fn; `context` is a struct rest, only read. A
 * call begins in rest_admit(), which goes through the steps up to the role: before a byte of the
 * body. */
bool rest_admit(void *context, struct http_request *request, struct http_admission *ret);
void rest_handle(void *context, struct http_request *request);
void rest_observe(void *context, const struct http_request *request, unsigned status,
                  int64_t duration_us);

/* "GET /v1/realms" etc., for metrics_create(). */
size_t rest_route_count(void);
const char *rest_route_method(size_t route);
const char *rest_route_pattern(size_t route);

#endif

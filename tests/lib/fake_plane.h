/* fake_plane.h - a control plane with real records on a fake_source: at version v it holds one
 * realm with the consumers 1..v, each with one key whose secret is "key-<number>". It knows nothing
 * of digests: a feed that wishes for some gets one version, or no more than it had.
 *
 * The test changes the members between requests (under no lock: only while no request is under way,
 * or before the connection that is to see them).
 */
#ifndef RS_TESTS_FAKE_PLANE_H
#define RS_TESTS_FAKE_PLANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/model.h"

#define FAKE_PLANE_ID    "497f6eca-6276-4993-bfeb-53cbbbba6f08"
#define FAKE_PLANE_REALM "2b9c7c22-0000-4000-8000-000000000001"

struct fake_plane {
    _Atomic uint64_t version;          /* newest */
    _Atomic uint64_t snapshot_version; /* 0: the newest */
    _Atomic int64_t time_ms;           /* of its commits */
    _Atomic bool impossible;         /* transactions give keys to a consumer that does not exist */
    _Atomic bool shared_secret;      /* transactions give keys the first key's secret */
    _Atomic unsigned spoilt_repairs; /* so many wishes are answered by a repair that cannot be */
    _Atomic bool damaged;            /* snapshots hold a record that is none */
    _Atomic bool down;               /* every request is a 503 */
    _Atomic bool wishless; /* a former version: a feed that wishes gets one change and no answer */
    _Atomic bool
        beating; /* short heartbeats, one after the other, while a wish is to be answered */
    _Atomic unsigned feeds;
    _Atomic unsigned wishes; /* of the feeds, those that asked for more than changes */
    _Atomic unsigned snapshots;
    _Atomic uint64_t acked;
    struct fake_source *source; /* owned */
};

/* `changed` is sent after each request; may be NULL. */
struct fake_plane *fake_plane_start(uint64_t version, uv_async_t *changed);
void fake_plane_stop(struct fake_plane *plane);
const char *fake_plane_url(const struct fake_plane *plane);

#endif

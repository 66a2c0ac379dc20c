/* sync_http.h - what hosts ask for, /v1/sync/... (docs/protocol.md): the feed, snapshots,
 * acknowledgements (sync_http.c), one key's owner (sync_auth.c). Routes of rest_routes.c. */
#ifndef RS_CONTROL_SYNC_HTTP_H
#define RS_CONTROL_SYNC_HTTP_H

struct rest_call;
struct uuid;

/* A host speaks for the control plane that its credentials are bound to and for no other:
 * E_PERMISSION. */
int sync_http_check_control_plane(struct rest_call *call, const struct uuid *id);

int sync_http_feed(struct rest_call *call);
int sync_http_snapshot(struct rest_call *call);
int sync_http_ack(struct rest_call *call);
int sync_http_auth(struct rest_call *call);

#endif

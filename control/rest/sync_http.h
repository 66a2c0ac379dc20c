/* sync_http.h - the feed over HTTP: /v1/sync/feed, /v1/sync/snapshots, /v1/sync/ack
 * (docs/protocol.md). Routes of rest_routes.c. */
#ifndef RS_CONTROL_SYNC_HTTP_H
#define RS_CONTROL_SYNC_HTTP_H

struct rest_call;

int sync_http_feed(struct rest_call *call);
int sync_http_snapshot(struct rest_call *call);
int sync_http_ack(struct rest_call *call);

#endif

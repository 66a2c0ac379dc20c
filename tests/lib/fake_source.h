/* fake_source.h - a control plane's feed server that misbehaves as told: real sockets on a random
 * port.
 *
 * Each request is given to the test's respond(), which says what bytes to answer and what to do
 * then. respond() runs in the connection's thread; calls do not overlap. After each one `changed`
 * (if given) is sent, so that a test's loop looks at its condition again.
 */
#ifndef RS_TESTS_FAKE_SOURCE_H
#define RS_TESTS_FAKE_SOURCE_H

#include <stddef.h>
#include <uv.h>

#include "base/buffer.h"

struct fake_request {
    const char *target; /* path and query */
    const char *head;   /* the request's lines, NUL-terminated */
    const char *body;
};

enum fake_then {
    FAKE_CLOSE, /* an orderly end */
    FAKE_RESET, /* TCP reset */
    FAKE_HOLD   /* nothing more, until the client goes */
};

struct fake_reply {
    struct buffer bytes; /* from the status line on; freed by the server */
    enum fake_then then;
    unsigned drip_ms; /* 0: all at once; else one byte each so often */
};

struct fake_source;

struct fake_source *fake_source_start(void (*respond)(void *context,
                                                      const struct fake_request *request,
                                                      struct fake_reply *reply),
                                      void *context, uv_async_t *changed);
/* Ends all connections and waits for their threads. */
void fake_source_stop(struct fake_source *fake);
const char *fake_source_url(const struct fake_source *fake);

/* Appends "HTTP/1.1 <status>", the headers (each ended by \r\n; may be "") and the end of the head.
 * The body runs until the connection's end. */
void fake_head(struct buffer *out, const char *status, const char *headers);

#endif

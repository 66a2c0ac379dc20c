/* http.h - HTTP requests on a libuv loop, through libcurl's multi interface.
 *
 * One client serves any number of requests at once. Each request streams its answer into a handler;
 * the handler may pause it, and whoever holds the request may cancel it at any moment, also from
 * inside the handler.
 *
 *     http_request_start -> data, data, ... -> done      (done exactly once, unless canceled)
 *                              |  HTTP_PAUSE -> http_request_resume -> data (the same bytes) ...
 *
 * Redirects are refused (a token never follows), protocols are http and https, the version is
 * HTTP/1.1. The environment's proxy settings are heeded, except for loopback hosts.
 *
 * All functions and callbacks belong to the loop's thread.
 */
#ifndef RS_SYNC_HTTP_H
#define RS_SYNC_HTTP_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"

struct http_client;
struct http_request;

int http_client_create(uv_loop_t *loop, struct http_client **ret, struct error *err);
/* Cancels all requests, closes all connections; closed(context) follows when the loop has let go of
 * every handle and the client is freed. Not from inside a handler. */
void http_client_close(struct http_client *client, void (*closed)(void *context), void *context);

/* How the request proves who it is. Members are NULL where they are not used; all are copied. */
struct http_credentials {
    const char *token;            /* sent as a bearer token */
    const char *client_cert_file; /* PEM */
    const char *client_key_file;  /* PEM */
    const char *ca_file;          /* PEM; NULL: the system's authorities */
};

struct http_request_options {
    const char *url; /* copied */
    const struct http_credentials *credentials;
    const char *json_body; /* NULL: GET; else POST of this JSON text (copied) */
    uint64_t range_from;   /* asks for the body from this byte on, */
    const char *if_range;  /* if its ETag is still this one (copied); NULL: all of it */
    uint32_t connect_timeout_ms;
    uint32_t total_timeout_ms; /* 0: none */
};

enum http_take {
    HTTP_TAKEN,
    HTTP_PAUSE, /* nothing was taken; the same bytes come again after http_request_resume() */
};

struct http_result {
    long status;            /* 0: there was no answer */
    int64_t retry_after_ms; /* 0: the answer did not say */
    struct error err;       /* code 0: a 2xx answer, complete */
};

struct http_handler {
    /* Bytes of a 2xx body. May cancel the request; then the answer is ignored. */
    enum http_take (*data)(void *context, const void *bytes, size_t size);
    /* The request is over and gone when this returns. */
    void (*done)(void *context, const struct http_result *result);
    void *context;
};

/* E_NO_MEMORY, E_INVALID. On success *ret is valid until done() or http_request_cancel(). */
int http_request_start(struct http_client *client, const struct http_request_options *options,
                       const struct http_handler *handler, struct http_request **ret,
                       struct error *err);
/* From inside data(): which byte of the whole body the answer begins with. UINT64_MAX: it does not
 * say. */
uint64_t http_request_offset(const struct http_request *request);
void http_request_resume(struct http_request *request);
/* Ends it without done(). NULL allowed. */
void http_request_cancel(struct http_request *request);

#endif

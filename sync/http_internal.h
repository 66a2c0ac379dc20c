/* http_internal.h - what http.c (the loop's side) and http_request.c (curl's side) share. */
#ifndef RS_SYNC_HTTP_INTERNAL_H
#define RS_SYNC_HTTP_INTERNAL_H

#include <stdbool.h>
#include <curl/curl.h>

#include "base/buffer.h"
#include "sync/http.h"

/* curl forbids adding and removing transfers from inside its callbacks. What is asked for there is
 * noted in the request's stage and done when curl has returned (http.c, settle). */
enum request_stage {
    REQUEST_NEW,    /* not given to curl yet */
    REQUEST_ACTIVE, /* curl works on it */
    REQUEST_DEAD    /* canceled inside a callback: to be taken from curl and freed */
};

struct http_request {
    struct http_client *client; /* borrowed */
    struct http_request *next;  /* the client's list */
    struct http_handler handler;
    enum request_stage stage;
    bool resume_wanted;
    CURL *easy;                 /* owned */
    struct curl_slist *headers; /* owned */
    struct buffer problem;      /* start of a refusal's body */
    char curl_message[CURL_ERROR_SIZE];
};

/* Creates the request with its curl handle; it is in no list and not given to curl. */
int http_request_create(const struct http_request_options *options,
                        const struct http_handler *handler, struct http_request **ret,
                        struct error *err);
/* Frees it; curl must have let go of it. NULL allowed. */
void http_request_destroy(struct http_request *request);
/* What curl's end of the transfer means. */
void http_request_result(struct http_request *request, CURLcode code, struct http_result *ret);

#endif

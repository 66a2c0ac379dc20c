/* control_fixture.h - a whole control plane inside the test program: repository in a temporary
 * folder, feed, REST over HTTP on a random port; and a client for it.
 *
 * Any failure to start, and any answer that does not come, ends the program with a message.
 */
#ifndef RS_TESTS_LIB_CONTROL_FIXTURE_H
#define RS_TESTS_LIB_CONTROL_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "control/rest/rest.h"

#define FIXTURE_ADMIN "fixture-admin-token-0123456789"

struct fixture_options {
    uint32_t heartbeat_ms;  /* 0: 100 */
    unsigned auth_failures; /* a minute; 0: more than any test has */
    const char *tls_cert;   /* PEM texts; NULL: plain HTTP */
    int64_t patience_ms;    /* of the feed; 0: its own */
    const char *tls_key;
    const char *client_ca;
};

struct fixture {
    char dir[64];
    char url[HTTP_URL_SIZE];
    struct log log;
    struct auth auth;
    struct repo *repo;
    struct feed *feed;
    struct metrics *metrics;
    struct http_server *http;
    struct log_pace failure_pace;
    struct rest rest;
};

struct fixture *fixture_start(const struct fixture_options *options); /* NULL: defaults */
/* In the order of control/main.c. */
void fixture_stop(struct fixture *fixture);

struct reply {
    long status;
    char *headers; /* all of them, as received */
    char *body;    /* NUL-terminated */
    size_t size;   /* of the body, without the NUL */
    json_t *json;  /* NULL when the body is none */
};

/* `body` NULL: none. `token` NULL: no Authorization header. `header` (may be NULL) is one more
 * line, "Name: value"; it takes the place of the default Content-Type when it is one. */
struct reply *fixture_request(struct fixture *fixture, const char *token, const char *method,
                              const char *path, const char *header, const char *body,
                              size_t body_size);
void reply_free(struct reply *reply);
/* Whether the status and, where given, a member of the body are there. */
const char *reply_text(const struct reply *reply, const char *member);

/* As the administrator: a JSON text or NULL; the answer's status must be `status`, or the program
 * ends, showing the answer. The result is to be decref'd; NULL for an answer without body. */
json_t *fixture_call(struct fixture *fixture, long status, const char *method, const char *path,
                     const char *body);
/* The same with printf for the path. */
json_t *fixture_callf(struct fixture *fixture, long status, const char *method, const char *body,
                      const char *path, ...) __attribute__((format(printf, 5, 6)));

/* Shortcuts; identifiers are written into `id`. */
void fixture_make_realm(struct fixture *fixture, const char *name, const char *control_plane,
                        char id[UUID_TEXT_SIZE]);
void fixture_make_consumer(struct fixture *fixture, const char *realm, const char *username,
                           char id[UUID_TEXT_SIZE]);
/* The new token's secret, in static memory until the next call. */
const char *fixture_make_token(struct fixture *fixture, const char *role,
                               const char *control_plane);

#endif

/* rest.h - a blocking REST client for tests: one connection, kept alive; JSON in, JSON out.
 *
 * Built to talk to a server that is killed and started again: a transport failure is an answer
 * (REST_NO_ANSWER), not an end. Not thread-safe; one client a thread.
 */
#ifndef RS_TESTS_LIB_REST_H
#define RS_TESTS_LIB_REST_H

#include <stdbool.h>
#include <jansson.h>

struct rest_client;

enum { REST_NO_ANSWER = 0 };

/* `url` without a final slash; both strings are copied. Exits the process when out of memory. */
struct rest_client *rest_create(const char *url, const char *token);
void rest_destroy(struct rest_client *client);

/* Sends `body` (NULL: none; the reference is taken over). Returns the HTTP status, or
 * REST_NO_ANSWER when none came: the request may or may not have been carried out. *ret (may be
 * NULL) is a new reference to the answer's JSON or NULL. */
long rest_call(struct rest_client *client, const char *method, const char *path, json_t *body,
               json_t **ret);
/* Whether the last call may have been sent twice: libcurl sends a request again, without a word,
 * when the connection that it had kept ends before the first byte of an answer. A server that was
 * killed may have carried the first one out. */
bool rest_may_be_resent(const struct rest_client *client);

#endif

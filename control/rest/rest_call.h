/* rest_call.h - one REST request being served; what the rest_*.c files share.
 *
 * A route's function reads the call, talks to the repository and either sets the answer with
 * rest_reply() and returns 0, or returns an error code with call->error filled; rest.c turns codes
 * into problem documents. One that answers the HTTP request itself (a stream, a file) returns
 * REST_ANSWERED: the call, which lives in the request's memory, is gone by then. Violations of the
 * input are collected, all of them, with rest_invalid(); rest_verdict() then says whether there
 * were any.
 */
#ifndef RS_CONTROL_REST_CALL_H
#define RS_CONTROL_REST_CALL_H

#include <stdbool.h>

#include "base/grammar.h"
#include "control/rest/json.h"
#include "control/rest/rest.h"

enum { REST_PARAMS_MAX = 3, REST_SEGMENTS_MAX = 8 };

enum rest_status { REST_OK = 200, REST_CREATED = 201, REST_ACCEPTED = 202, REST_NO_CONTENT = 204 };

enum { REST_ANSWERED = 1 };

struct rest_call;

enum rest_route_flags {
    REST_BODY = 1 << 0,   /* takes a JSON object */
    REST_CHANGE = 1 << 1, /* takes ?wait=applied */
    REST_NO_HEAD = 1 << 2 /* a GET with side effects */
};

struct rest_route {
    enum http_method method;
    const char *pattern; /* "{name}" segments are UUIDs, "{name*}" ones any text */
    enum auth_access access;
    unsigned flags;
    int (*run)(struct rest_call *call);
};

/* A path parameter. */
struct rest_param {
    char name[16];
    const char *text; /* decoded */
    bool is_uuid;
    struct uuid id;
};

struct rest_pair {
    const char *name;
    const char *value; /* NULL: not decodable */
};

struct rest_call {
    const struct rest *rest;
    struct http_request *request;
    struct arena *arena; /* the request's */
    const struct rest_route *route;
    struct auth_identity identity;
    struct repo_call repo; /* what the repository is called with */
    struct rest_param params[REST_PARAMS_MAX];
    size_t n_params;
    struct rest_pair *query;
    size_t n_query;
    json_t *body;    /* owned; NULL without REST_BODY */
    json_t *invalid; /* owned array of violations, or NULL */
    bool no_memory;  /* a violation could not be recorded */
    struct error error;
    struct repo_commit commit;
    bool wait;
    int64_t timeout_ms;
    unsigned status;
    json_t *answer; /* owned, or NULL */
};

/* ---- input ---- */

/* Records a violation; returns its object (borrowed, NULL when out of memory) for what else belongs
 * to the rule. `source` is "body", "query", "path" or "header". */
json_t *rest_invalid(struct rest_call *call, const char *source, const char *field,
                     const char *rule, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The same for text that breaks a rule of the grammar. */
void rest_invalid_text(struct rest_call *call, const char *source, const char *field,
                       enum grammar_kind kind, const struct grammar_fault *fault);
/* 0 without violations, E_INVALID, or E_NO_MEMORY. */
int rest_verdict(struct rest_call *call);

/* Percent-decodes `size` bytes ('+' is a space in queries); NULL for what is not text: a bad
 * escape, NUL, invalid UTF-8 (or out of memory, which sets no_memory). */
char *rest_decode(struct rest_call *call, const char *text, size_t size, bool plus_is_space);
/* Splits the query string. 0 or E_NO_MEMORY. */
int rest_query_parse(struct rest_call *call);
/* First value of the parameter, or NULL: not given, or not decodable (a violation then). */
const char *rest_query_get(struct rest_call *call, const char *name);
/* The parameter as an integer between min and max, `fallback` when it is not given; anything else
 * is a violation. */
int64_t rest_query_integer(struct rest_call *call, const char *name, int64_t fallback, int64_t min,
                           int64_t max);
/* "true" or "false". */
bool rest_query_flag(struct rest_call *call, const char *name);
/* The parameter as a UUID: whether it was given and good. `required`: absence is a violation. */
bool rest_query_uuid(struct rest_call *call, const char *name, bool required, struct uuid *ret);

/* ---- output ---- */

/* Sets the answer; `answer` is taken over. 0, or E_NO_MEMORY when it is NULL (with 204: never). */
int rest_reply(struct rest_call *call, unsigned status, json_t *answer);

/* Append and set that take the value over and pass failures on: a NULL container or value makes
 * *json NULL, so that a document is checked once, by rest_reply(). */
void rest_append(json_t **json, json_t *value);
void rest_set(json_t **json, const char *name, json_t *value);

/* ---- pages ---- */

/* Konnect's: page[size], page[after], page[before]; filter[...] is checked against `filters` (NULL
 * terminated, or NULL: none). Violations are recorded. */
void rest_page_read(struct rest_call *call, const char *const *filters, struct repo_page *ret);
/* {data, meta: {size, next, previous}}. `data` is taken over, NULL passes. */
int rest_page_reply(struct rest_call *call, const struct repo_page *page,
                    const struct repo_page_info *info, json_t *data, const struct uuid *first,
                    const struct uuid *last);
/* Kong's: size and offset; {data, next, offset}. */
void rest_offset_read(struct rest_call *call, struct repo_page *ret);
int rest_offset_reply(struct rest_call *call, const struct repo_page *page,
                      const struct repo_page_info *info, json_t *data, const struct uuid *last);

#endif

/* http.h - an HTTP/1.1 server for two very different kinds of caller: operators, whose requests end
 * in a disk write, and thousands of followers, whose answers never end.
 *
 * Each listening address has one epoll thread, which parses requests, writes answers and never
 * blocks. A complete request is suspended and handed to a pool of workers; there the handler may
 * block. The answer may be given by the worker at once, or later by any thread: the request waits
 * without holding one.
 *
 *   epoll thread: headers --suspend--> queue --> worker: admit() --resume--> body
 *   epoll thread: body complete --suspend--> queue --> worker: handler --> http_answer*()
 *   epoll thread: <--resume-- answer is written; keep-alive
 *
 * (Without a body, one worker does both.) What the server gives before it knows the caller is
 * small: a connection among strangers, ten seconds for the headers, no byte of a body. admit() says
 * who it is; from then on connection, body and worker come out of the budget of the caller's class,
 * and of each budget no other class can take any. docs/operations.md, "Limits", has them all.
 *
 * Everything a client can make us hold is bounded: headers and URI by the connection's memory
 * (431, 414), one body (413), a caller's bodies together and the large answers that it has not
 * taken (429), a class's bodies, answers, queue and connections (503), the time that a request may
 * take to arrive. A request whose head says two things is refused (400, base/request_head.h). A
 * connection that is closed while the client still sends is drained for a while, so that the client
 * gets to see the answer (http_linger.c).
 *
 * THREADS: the calls on one request must not overlap; calls on different ones may.
 */
#ifndef RS_CONTROL_HTTP_H
#define RS_CONTROL_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/log.h"

enum http_method {
    HTTP_GET,
    HTTP_HEAD, /* the answer's body is not sent; handlers treat it as GET */
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER,
    HTTP_METHODS
};

enum { HTTP_ID_SIZE = 33, HTTP_NO_ROUTE = -1 };

/* Who the caller is, as far as budgets go. */
enum http_class {
    HTTP_STRANGER, /* nobody, or a public path */
    HTTP_OPERATOR,
    HTTP_HOST,
    HTTP_CLASSES
};

struct http_admission {
    enum http_class class;
    /* The caller among those of its class: none of them has more than half of its room for bodies,
     * nor for answers. */
    uint64_t caller;
};

/* What a handler sees. Lives until the answer was sent; what is in the arena (path and query too)
 * until it begins to be. */
struct http_request {
    enum http_method method;
    const char *path;  /* as sent: still percent-encoded, without the query; begins with '/' */
    const char *query; /* as sent, without '?'; "" when there is none */
    const char *body;  /* `body_size` bytes, not terminated; NULL when empty */
    size_t body_size;
    char id[HTTP_ID_SIZE]; /* random; also sent to the client as Request-Id */
    int64_t start_us;      /* boot clock */
    int route;             /* for the observer; the callbacks' to set; HTTP_NO_ROUTE before */
    void *call;            /* admit()'s to set, for the handler */
    struct arena arena;    /* the handler's to use until it answers */
};

/* The headers are there, the body is not. True: *ret says whose request it is, and the handler is
 * called when the body is there. False: it was answered. In a worker; NULL admits all as operators.
 */
typedef bool (*http_admit_fn)(void *context, struct http_request *request,
                              struct http_admission *ret);
typedef void (*http_handler_fn)(void *context, struct http_request *request);
/* Called once for each answer when it begins to be sent, from an epoll thread: must be quick. */
typedef void (*http_observer_fn)(void *context, const struct http_request *request, unsigned status,
                                 int64_t duration_us);

struct http_options {
    size_t workers;           /* 0: 48; they mostly wait for group commits */
    size_t queue_max;         /* requests of a class that wait for a worker; 0: 4096 */
    unsigned max_connections; /* of known callers, on all addresses; 0: 20,000 */
    unsigned
        max_strangers; /* connections whose caller is not known yet; 0: an eighth, 1024 at least */
    unsigned max_strangers_per_address; /* loopback excepted; 0: a quarter of max_strangers */
    unsigned
        header_timeout_s; /* for a connection's first headers, and from the first line on; 0: 10 */
    unsigned idle_timeout_s; /* between requests; 0: 60 */
    unsigned
        dead_timeout_s;    /* a client whose host acknowledges nothing for so long is gone; 0: 60 */
    size_t body_max_bytes; /* 0: 1 MiB; hosts have 64 KiB at most */
    size_t bodies_max_bytes; /* of all operators' requests in hand; hosts have a quarter as much
                              * besides; 0: 64 MiB */
    unsigned auth_failures_per_minute; /* by address, before they are answered 429; 0: 60 */
    const char
        *tls_cert_pem; /* NULL: plain HTTP; borrowed until http_destroy(), as is what follows */
    const char *tls_key_pem;
    const char *client_ca_pem; /* NULL: client certificates are not asked for */
    http_admit_fn admit;
    http_handler_fn handler;
    http_observer_fn observer; /* may be NULL */
    void *context;             /* of all three */
    const struct log *log;
};

struct http_server;

/* Starts the workers. */
int http_create(const struct http_options *options, struct http_server **ret, struct error *err);
/* Binds "address:port" ("[address]:port" for IPv6; port 0 picks one) and accepts from now on.
 * `ret_url` gets e.g. "http://127.0.0.1:8080". */
enum { HTTP_URL_SIZE = 96, HTTP_LISTENERS_MAX = 16 };
int http_listen(struct http_server *server, const char *address, char ret_url[HTTP_URL_SIZE],
                struct error *err);
/* True when the address (of the same form) can be reached from this host alone. */
bool http_address_is_loopback(const char *address);
/* No new connections; new requests on old ones are answered 503. Not to be undone. */
void http_stop_accepting(struct http_server *server);
/* Lets answers in progress go out (for five seconds at most), then closes every connection and
 * joins all threads. Streams must have ended and deferred answers been given before, or be about
 * to without the caller's help. Frees the server. NULL allowed. */
void http_destroy(struct http_server *server);

struct http_stats {
    size_t connections;
    size_t by_class[HTTP_CLASSES]; /* of these */
    size_t requests;               /* in progress, streams included */
    size_t queued;                 /* waiting for a worker */
    size_t body_bytes;             /* of request bodies held */
    size_t answer_bytes;           /* of larger answers that are being sent */
    /* Since the start: */
    uint64_t refused_busy;  /* answered 503, or 429 for a caller's share of bodies or answers */
    uint64_t malformed;     /* answered 400 for their head */
    uint64_t displaced;     /* connections closed because another one needed the room */
    uint64_t expired;       /* connections closed because a request took too long to arrive */
    uint64_t turned_away;   /* connections for which there was no room */
    uint64_t auth_failures; /* reported by http_auth_failed() */
    uint64_t auth_limited;  /* of these, answered 429 */
};
void http_stats(struct http_server *server, struct http_stats *ret);

/* ---- reading the request ---- */

/* Value of a header, or NULL; borrowed until the answer is given. */
const char *http_header(const struct http_request *request, const char *name);
/* The request's credentials are missing or wrong: counts it against the address that it came from.
 * 0: not too many yet; else how many seconds to wait, for Retry-After. Who has valid credentials is
 * not asked, whatever others at the same address do. */
unsigned http_auth_failed(const struct http_request *request);
/* Common name of the client certificate's subject, when one was presented, the configured authority
 * vouches for it, and it is for clients: 0, E_NOT_FOUND without a certificate, E_UNAUTHORIZED with
 * the reason. An extended key usage, where there is one, must hold clientAuth or any (RFC 5280: a
 * certificate without one is for everything). `names`: a digest of all that the certificate calls
 * its holder; that of a renewed one is equal. */
int http_client_name(const struct http_request *request, char *name, size_t size,
                     uint8_t names[DIGEST_BYTES], struct error *err);

/* ---- answering: exactly one of these, once, from any thread; the request is gone afterwards
 * ---- */

/* Adds a header to the coming answer. 0 or E_NO_MEMORY. */
int http_answer_header(struct http_request *request, const char *name, const char *value);
/* `body` is transferred (from malloc; may be NULL when size is 0). */
void http_answer(struct http_request *request, unsigned status, const char *content_type,
                 char *body, size_t size);
/* A file that never changes under its path: `size` bytes, or the part that the request's Range and
 * If-Range ask for (206, or 416). `etag` is a quoted string; fd is transferred. Returns how many
 * bytes of the file the answer holds (0 for HEAD). */
uint64_t http_answer_file(struct http_request *request, const char *content_type, const char *etag,
                          int fd, uint64_t size);
/* An RFC 9457 problem document. `detail` and `extra` may be NULL; the members of the object `extra`
 * are added (the reference is taken over). */
struct json_t;
void http_answer_problem(struct http_request *request, unsigned status, const char *detail,
                         struct json_t *extra);

/* ---- endless answers ---- */

/* Where a stream's bytes come from. All three run in the epoll thread and must not block. */
struct http_source {
    /* Up to `max` bytes: their number, 0 when there is nothing now (http_stream_wake() will come),
     * -1 at the end. */
    ssize_t (*read)(void *context, char *bytes, size_t max);
    /* The stream is over, whoever ended it; no read() comes after. After close() has returned,
     * http_stream_wake() must not be called any more. */
    void (*close)(void *context);
    void *context;
};

struct http_stream;

/* A stream that can be woken from now on; goes either to http_stream_start or http_stream_cancel.
 * NULL: out of memory. */
struct http_stream *http_stream_create(struct http_request *request);
/* Answers 200 with the stream. */
void http_stream_start(struct http_stream *stream, const char *content_type,
                       const struct http_source *source);
/* Before the start only; the request has still to be answered. */
void http_stream_cancel(struct http_stream *stream);
/* There may be something to read. Any thread, any number of times. */
void http_stream_wake(struct http_stream *stream);
/* The peer does not read and shall not be waited for: the connection ends. As
 * http_stream_wake(). */
void http_stream_cut(struct http_stream *stream);

#endif

/* http_internal.h - what the http_*.c files share; nobody else includes it.
 *
 * One exchange is one request and its answer:
 *
 * clang-format off
 *   NEW --headers--> KNOCKING --admit()--> ADMITTED --> RECEIVING --body--> PENDING
 *    |                  |  '---- no body, or answered by admit() ------------. |
 *    | refused          |                                                    v v
 *    '---------------------------------------------------------------> ANSWERED --queued--> SENDING
 * clang-format on
 *
 * In KNOCKING and PENDING the connection is suspended and the exchange belongs to a worker, or to
 * whoever the handler gave it to; in all other states it belongs to the epoll thread. MHD's own
 * mutex orders the two.
 */
#ifndef RS_CONTROL_HTTP_INTERNAL_H
#define RS_CONTROL_HTTP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include <microhttpd.h>

#include "base/buffer.h"
#include "base/guests.h"
#include "base/request_head.h"
#include "control/http/http.h"

enum exchange_state {
    EXCHANGE_NEW,
    EXCHANGE_KNOCKING,
    EXCHANGE_ADMITTED,
    EXCHANGE_RECEIVING,
    EXCHANGE_PENDING,
    EXCHANGE_ANSWERED,
    EXCHANGE_SENDING
};

struct http_connection;
struct http_lane_state;

struct http_extra_header {
    const char *name;
    const char *value;
    struct http_extra_header *next;
};

struct exchange {
    struct http_request request; /* first: handlers hold a pointer to it */
    struct http_server *server;
    struct MHD_Connection *connection;
    struct http_connection *guest; /* NULL: there was no memory for it */
    enum exchange_state state;
    struct request_target target;
    struct http_admission admission;
    uint64_t length; /* of the body, as announced */
    bool chunked;
    bool at_headers; /* MHD has not gone on to the body */
    bool must_close; /* after the answer: what follows on the connection is no request */
    struct buffer body;
    size_t reserved;                   /* of the caller's room for bodies, */
    size_t answered;                   /* and for answers */
    size_t discarded;                  /* bytes of a body that is over the limit */
    struct http_extra_header *headers; /* in the arena */
    unsigned status;
    struct MHD_Response *response; /* owned until queued; NULL in ANSWERED: out of memory */
    struct exchange *next;         /* in the pool's queue */
    struct http_lane_state *lane;  /* the one that it was taken from */
};

/* What workers do: let requests in, and serve each class. */
enum http_lane {
    LANE_STRANGER = HTTP_STRANGER,
    LANE_OPERATOR = HTTP_OPERATOR,
    LANE_HOST = HTTP_HOST,
    LANE_GATE, /* requests of strangers are let in, or not */
    LANE_DOOR, /* those on connections whose caller was known before */
    LANES
};

struct http_lane_state {
    struct exchange *head;
    struct exchange **tail;
    size_t queued;
    size_t running;
    size_t reserved; /* workers that no other lane gets */
};

/* One thread of the pool and what it does at the moment. */
struct http_worker {
    struct http_pool *pool;
    struct http_lane_state *lane;
};
typedef void (*http_run_fn)(struct http_worker *worker, struct exchange *exchange);

/* Bounded queues of exchanges, and the threads that serve them. */
struct http_pool {
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    struct http_lane_state lanes[LANES];
    size_t shared; /* workers that are reserved for none */
    size_t queue_max;
    bool stopping;
    pthread_t *threads;
    size_t n_threads;
    http_run_fn run;
};

int http_pool_start(struct http_pool *pool, size_t threads, size_t queue_max, http_run_fn run,
                    struct error *err);
/* False when the lane's queue is full. */
bool http_pool_push(struct http_pool *pool, struct exchange *exchange, enum http_lane lane);
/* The worker has let the exchange in and would serve it too: HTTP_STAY when its lane has a worker
 * to spare, which this one is from now on. */
enum http_stay { HTTP_STAY, HTTP_STAY_QUEUED, HTTP_STAY_REFUSED };
enum http_stay http_pool_stay(struct http_worker *worker, struct exchange *exchange,
                              enum http_lane lane);
size_t http_pool_queued(struct http_pool *pool);
/* Runs what is queued, then joins the threads. */
void http_pool_stop(struct http_pool *pool);

/* http_bodies.c: bytes of bodies, of requests or of answers, by class and by caller. */
struct http_share;
struct http_bodies {
    pthread_mutex_t mutex;
    size_t max[HTTP_CLASSES];
    size_t used[HTTP_CLASSES];
    LIST_HEAD(http_shares, http_share) shares[256]; /* of callers that hold some */
};
enum http_room { HTTP_ROOM, HTTP_ROOM_NOT_FOR_CALLER, HTTP_ROOM_NOT_FOR_CLASS };

void http_bodies_init(struct http_bodies *bodies, const size_t max[HTTP_CLASSES]);
void http_bodies_finish(struct http_bodies *bodies); /* nothing is held any more */
enum http_room http_bodies_take(struct http_bodies *bodies, const struct http_admission *who,
                                size_t size);
void http_bodies_give(struct http_bodies *bodies, const struct http_admission *who, size_t size);
size_t http_bodies_used(struct http_bodies *bodies);

/* http_failures.c: how often an address failed to authenticate, in constant memory. */
enum { HTTP_FAILURE_ROWS = 2, HTTP_FAILURE_CELLS = 4096 };
struct http_failures {
    pthread_mutex_t mutex;
    int64_t interval_ms;
    int64_t burst_ms;
    uint64_t seeds[HTTP_FAILURE_ROWS][2];
    int64_t cells[HTTP_FAILURE_ROWS][HTTP_FAILURE_CELLS];
    uint64_t count;
    uint64_t limited;
};

void http_failures_init(struct http_failures *failures, unsigned per_minute);
void http_failures_finish(struct http_failures *failures);
/* Counts one; 0, or the milliseconds until the next one is taken. */
int64_t http_failures_count(struct http_failures *failures, const struct guest_key *from,
                            int64_t now_ms);

/* http_linger.c: closed connections whose client still sends. */
enum { HTTP_LINGERING_MAX = 64 };
struct http_lingering {
    int fd; /* owned */
    int64_t deadline_ms;
    size_t read;
};
struct http_linger {
    pthread_mutex_t mutex; /* over what follows, but for the thread's own use of a descriptor */
    struct http_lingering waiting[HTTP_LINGERING_MAX];
    size_t count;
    struct http_lingering taken[HTTP_LINGERING_MAX]; /* the thread's alone */
    size_t n_taken;
    int wake_fd; /* owned */
    bool stopping;
    pthread_t thread;
    struct guests *guests; /* borrowed: their deadlines are looked at here, too */
};

int http_linger_start(struct http_linger *linger, struct guests *guests, struct error *err);
/* Reads on from what `fd` is for a while, then lets go of it. The caller may close fd. */
void http_linger_add(struct http_linger *linger, int fd);
void http_linger_stop(struct http_linger *linger);

/* One connection. */
struct http_connection {
    struct guest guest;
    struct guest_key address;
    bool linger; /* when it is closed, the client may still be sending */
};

struct http_server {
    struct http_options options; /* defaults filled in */
    struct http_pool pool;
    struct guests guests;
    struct http_bodies bodies;
    struct http_bodies answers; /* that are being sent, the larger ones */
    struct http_failures failures;
    struct http_linger linger;
    struct MHD_Daemon *listeners[HTTP_LISTENERS_MAX];
    size_t n_listeners;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t active;  /* exchanges that exist */
    size_t pending; /* of these, those that belong to a worker or a handler */
    atomic_uint_fast64_t refused_busy;
    atomic_uint_fast64_t malformed;
    atomic_bool stopping;
};

/* http.c: a condition variable that waits by the monotonic clock. */
void http_cond_init(pthread_cond_t *cond);

/* http_connection.c: a connection's life; NULL connections are passed over. */
void http_on_connection(void *context, struct MHD_Connection *connection, void **state,
                        enum MHD_ConnectionNotificationCode code);
struct http_connection *http_connection_of(struct MHD_Connection *connection);
/* Its last caller had valid credentials. */
bool http_connection_is_known(const struct http_connection *connection);
/* A request's first line is there: its headers have until then. */
void http_connection_begin(struct http_server *server, struct http_connection *connection);
/* Its headers are there, or all of it. */
void http_connection_busy(struct http_server *server, struct http_connection *connection);
/* Its body of `size` bytes has until then. */
void http_connection_body(struct http_server *server, struct http_connection *connection,
                          uint64_t size);
/* The answer is being sent. */
void http_connection_sending(struct http_server *server, struct http_connection *connection);
/* The next request is awaited. */
void http_connection_idle(struct http_server *server, struct http_connection *connection);

/* http_tls.c */
extern const char http_tls_priorities[];

/* http_listen.c */
int http_socket_open(const char *address, unsigned dead_timeout_s, int *ret_fd, int *ret_family,
                     struct error *err);
int http_socket_url(int fd, bool tls, char ret_url[HTTP_URL_SIZE], struct error *err);

/* http_exchange.c: MHD's callbacks, which all run in an epoll thread. */
void *http_on_uri(void *context, const char *uri, struct MHD_Connection *connection);
enum MHD_Result http_on_access(void *context, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload,
                               size_t *upload_size, void **state);
void http_on_completed(void *context, struct MHD_Connection *connection, void **state,
                       enum MHD_RequestTerminationCode code);
/* The pool's job: admit(), the handler, or both. */
void http_run(struct http_worker *worker, struct exchange *exchange);

/* http_answer.c: makes `response` (may be NULL: out of memory) the exchange's answer. Out of
 * KNOCKING and PENDING it resumes the connection, after which the exchange must not be touched. */
void http_complete(struct exchange *exchange, unsigned status, struct MHD_Response *response);
/* The same, for lack of room: says when to come back, and counts. */
void http_refuse_busy(struct exchange *exchange, unsigned status, const char *detail);
/* The worker is done with it: resumes the connection. */
void http_give_back(struct exchange *exchange);
/* Adds the headers that every answer has and those of the handler. NULL stays NULL; on failure the
 * response is destroyed and the result NULL. */
struct MHD_Response *http_decorate(struct exchange *exchange, struct MHD_Response *response,
                                   const char *content_type);
struct MHD_Response *http_problem_response(struct exchange *exchange, unsigned status,
                                           const char *detail, struct json_t *extra);

static inline struct exchange *exchange_of(struct http_request *request)
{
    return (struct exchange *)request;
}

#endif

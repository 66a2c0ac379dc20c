/* http_internal.h - what the http_*.c files share; nobody else includes it.
 *
 * One exchange is one request and its answer:
 *
 *   NEW --headers--> RECEIVING --complete--> PENDING --http_answer*()--> ANSWERED --queued-->
 * SENDING
 *    '------------- refused (too large, busy, stopping) ---------------> SENDING
 *
 * In PENDING the connection is suspended and the exchange belongs to the handler; in all other
 * states it belongs to the epoll thread. MHD's own mutex orders the two.
 */
#ifndef RS_CONTROL_HTTP_INTERNAL_H
#define RS_CONTROL_HTTP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include <microhttpd.h>

#include "base/buffer.h"
#include "control/http/http.h"

enum exchange_state {
    EXCHANGE_NEW,
    EXCHANGE_RECEIVING,
    EXCHANGE_PENDING,
    EXCHANGE_ANSWERED,
    EXCHANGE_SENDING
};

struct http_extra_header {
    const char *name;
    const char *value;
    struct http_extra_header *next;
};

struct exchange {
    struct http_request request; /* first: handlers hold a pointer to it */
    struct http_server *server;
    struct MHD_Connection *connection;
    enum exchange_state state;
    struct buffer body;
    size_t discarded;                  /* bytes of a body that is over the limit */
    struct http_extra_header *headers; /* in the arena */
    unsigned status;
    struct MHD_Response *response; /* owned until queued; NULL in ANSWERED: out of memory */
    bool is_stream;
    struct exchange *next; /* in the pool's queue */
};

/* A bounded queue of exchanges and the threads that serve it. */
struct http_pool {
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    struct exchange *head;
    struct exchange **tail;
    size_t queued;
    size_t queue_max;
    bool stopping;
    pthread_t *threads;
    size_t n_threads;
    void (*run)(struct exchange *exchange);
};

int http_pool_start(struct http_pool *pool, size_t threads, size_t queue_max,
                    void (*run)(struct exchange *exchange), struct error *err);
/* False when the queue is full. */
bool http_pool_push(struct http_pool *pool, struct exchange *exchange);
size_t http_pool_queued(struct http_pool *pool);
/* Runs what is queued, then joins the threads. */
void http_pool_stop(struct http_pool *pool);

/* Connections from which a request is awaited, and the thread that ends those that take too long.
 */
struct http_arrivals {
    pthread_mutex_t mutex;
    pthread_cond_t stop;
    TAILQ_HEAD(arrival_list, arrival) awaited;
    int64_t limit_ms;
    bool stopping;
    pthread_t thread;
};

int http_arrivals_start(struct http_arrivals *arrivals, int64_t limit_ms, struct error *err);
void http_arrivals_stop(struct http_arrivals *arrivals);

struct http_server {
    struct http_options options; /* defaults filled in */
    struct http_pool pool;
    struct http_arrivals arrivals;
    struct MHD_Daemon *listeners[HTTP_LISTENERS_MAX];
    size_t n_listeners;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t active;        /* exchanges that exist */
    size_t pending;       /* of these, those that belong to a handler */
    atomic_size_t bodies; /* bytes of request bodies held */
    atomic_uint_fast64_t refused_busy;
    atomic_bool stopping;
};

/* http.c: a condition variable that waits by the monotonic clock. */
void http_cond_init(pthread_cond_t *cond);

/* http_arrival.c: from now on a request is awaited; it is complete. */
void http_arrival_await(struct http_server *server, struct MHD_Connection *connection);
void http_arrival_done(struct http_server *server, struct MHD_Connection *connection);
void http_on_connection(void *context, struct MHD_Connection *connection, void **state,
                        enum MHD_ConnectionNotificationCode code);

/* http_listen.c */
int http_socket_open(const char *address, int *ret_fd, int *ret_family, struct error *err);
int http_socket_url(int fd, bool tls, char ret_url[HTTP_URL_SIZE], struct error *err);

/* http_exchange.c: MHD's callbacks, which all run in an epoll thread. */
void *http_on_uri(void *context, const char *uri, struct MHD_Connection *connection);
enum MHD_Result http_on_access(void *context, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload,
                               size_t *upload_size, void **state);
void http_on_completed(void *context, struct MHD_Connection *connection, void **state,
                       enum MHD_RequestTerminationCode code);
/* The pool's job. */
void http_run(struct exchange *exchange);

/* http_answer.c: makes `response` (may be NULL: out of memory) the exchange's answer. Out of
 * PENDING it resumes the connection, after which the exchange must not be touched. */
void http_complete(struct exchange *exchange, unsigned status, struct MHD_Response *response);
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

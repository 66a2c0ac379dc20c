/* fault_proxy.h - a TCP proxy that does to what passes what bad networks, proxies and servers do.
 *
 * It knows just enough HTTP to tell requests apart (a request begins a piece of the client's bytes;
 * nobody pipelines), so that a fault can be meant for some of them, and to count the bytes of one
 * answer, head included. Faults hit answers; requests pass as they are.
 *
 * One fault is set at a time; it holds for connections that are open already, from the next byte
 * on. Thread-safe.
 */
#ifndef RS_TESTS_FAULT_PROXY_H
#define RS_TESTS_FAULT_PROXY_H

#include <stddef.h>
#include <stdint.h>

enum fault_kind {
    FAULT_NONE,
    FAULT_CUT,       /* the connection ends in order behind `at` bytes of the answer */
    FAULT_RESET,     /* the same by TCP reset */
    FAULT_STALL,     /* nothing passes behind `at` bytes until another fault is set */
    FAULT_DRIP,      /* `size` bytes pass every `ms` */
    FAULT_DUPLICATE, /* the `size` bytes from `at` on pass twice */
    FAULT_REORDER,   /* the `size` bytes from `at` on change places with as many behind them */
    FAULT_CORRUPT,   /* the byte at `at`, and each `size` further ones (0: no more), is inverted */
    FAULT_FLOOD,     /* `size` bytes of x come in between at `at` */
    FAULT_ANSWER     /* `text` is the answer; the server is not asked */
};

struct fault {
    enum fault_kind kind;
    const char *match; /* part of the request's first line, e.g. "/v1/sync/feed"; NULL: of all */
    unsigned times;    /* requests it hits before it is over; 0: all */
    size_t at;
    size_t size;
    unsigned ms;
    const char *text; /* copied, like `match` */
};

struct fault_proxy;

/* Listens on a random port of 127.0.0.1 and connects to `port` there. `changed` (NULL: none) is
 * called in a thread of the proxy after each request that a fault hit. */
struct fault_proxy *fault_proxy_start(uint16_t port, void (*changed)(void *context), void *context);
void fault_proxy_stop(struct fault_proxy *proxy);
uint16_t fault_proxy_port(const struct fault_proxy *proxy);
const char *fault_proxy_url(const struct fault_proxy *proxy);

void fault_proxy_set(struct fault_proxy *proxy, const struct fault *fault);
/* Connects elsewhere from the next connection on. */
void fault_proxy_aim(struct fault_proxy *proxy, uint16_t port);
/* Ends all connections by TCP reset. */
void fault_proxy_sever(struct fault_proxy *proxy);
/* Requests that the present fault has hit. */
unsigned fault_proxy_hits(struct fault_proxy *proxy);
unsigned fault_proxy_connections(struct fault_proxy *proxy);

/* "cut 100 /v1/sync/feed" and the like, for programs that are driven by text:
 *
 *     none | cut AT | reset AT | stall AT | drip SIZE MS | duplicate AT SIZE | reorder AT SIZE |
 *     corrupt AT EVERY | flood AT SIZE | answer STATUS -- each followed by a match, or nothing
 *     sever | aim PORT
 *
 * Returns 0, or -1 for what it does not understand. */
int fault_proxy_command(struct fault_proxy *proxy, const char *text);

#endif

#include "tests/lib/fault_proxy.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "tests/lib/loopback.h"

enum { PIECE_BYTES = 64 * 1024, HELD_MAX_BYTES = 256 * 1024 * 1024, LINE_SIZE = 1024 };

/* One connection, a thread of its own. */
struct link {
    struct fault_proxy *proxy;
    pthread_t thread;
    int client; /* -1: closed */
    int server; /* -1: none, or ended */
    int wakeup; /* eventfd: the fault was changed, or the end */
    bool sever; /* under the proxy's mutex */

    char line[LINE_SIZE]; /* of the request that is answered now */
    bool hit;             /* counted for this request and fault */
    unsigned hit_round;   /* of the fault that was */
    size_t passed;        /* bytes of the answer that the server gave and we have dealt with */
    struct buffer held;   /* what the server gave and has not passed yet */
    bool ended;           /* the server's side is over; so will be the client's behind `held` */
    LIST_ENTRY(link) entry;
};

struct text {
    struct text *next;
    char bytes[];
};

struct fault_proxy {
    int listener;
    uint16_t port;
    char url[64];
    pthread_t acceptor;
    void (*changed)(void *context);
    void *context;

    pthread_mutex_t mutex; /* over what follows */
    bool stopping;
    uint16_t target;
    struct fault fault;
    struct text *texts; /* owned: of this fault and of former ones */
    unsigned round;     /* of the fault: counts each fault_proxy_set() */
    unsigned hits;
    unsigned connections;
    LIST_HEAD(link_list, link) links;
};

/* A failing helper must not let a test pass. */
static void check(bool good)
{
    if (!good)
        abort();
}

static void lock(struct fault_proxy *proxy)
{
    check(pthread_mutex_lock(&proxy->mutex) == 0);
}

static void unlock(struct fault_proxy *proxy)
{
    check(pthread_mutex_unlock(&proxy->mutex) == 0);
}

/* ---- sockets ---- */

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    check(fd >= 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)close(fd);
        return -1;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void close_fd(int *fd, bool reset)
{
    struct linger now = {1, 0};

    if (*fd < 0)
        return;
    if (reset)
        (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    (void)close(*fd);
    *fd = -1;
}

/* Under the mutex, because fault_proxy_stop() looks at the sockets of running links. */
static void close_both(struct link *link, bool reset)
{
    lock(link->proxy);
    close_fd(&link->client, reset);
    close_fd(&link->server, reset);
    unlock(link->proxy);
}

static bool send_all(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;

    while (size > 0) {
        ssize_t count = send(fd, at, size, MSG_NOSIGNAL);

        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        at += count;
        size -= (size_t)count;
    }
    return true;
}

/* ---- the fault ---- */

/* The fault that holds for the link's present request. Counts a request the first time. */
static struct fault fault_of(struct link *link)
{
    struct fault_proxy *proxy = link->proxy;
    struct fault fault;
    bool news = false;

    lock(proxy);
    fault = proxy->fault;
    if (link->hit_round != proxy->round) {
        link->hit_round = proxy->round;
        link->hit = false;
    }
    if (fault.match != NULL && strstr(link->line, fault.match) == NULL)
        fault.kind = FAULT_NONE;
    if (fault.kind != FAULT_NONE && !link->hit) {
        if (fault.times != 0 && proxy->hits >= fault.times) {
            fault.kind = FAULT_NONE;
        } else {
            proxy->hits++;
            link->hit = news = true;
        }
    }
    unlock(proxy);
    if (news && proxy->changed != NULL)
        proxy->changed(proxy->context);
    return fault;
}

/* Passes `size` bytes of what is held. */
static bool pass(struct link *link, size_t size)
{
    bool good;

    if (size == 0)
        return true;
    good = send_all(link->client, link->held.data, size);
    buffer_consume(&link->held, size);
    link->passed += size;
    return good;
}

static void invert(struct link *link, const struct fault *fault, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        size_t place = link->passed + i;

        if (place == fault->at ||
            (fault->size > 0 && place > fault->at && (place - fault->at) % fault->size == 0))
            link->held.data[i] ^= 0xff;
    }
}

/* The `size` bytes and as many behind them change places. */
static bool reorder(struct link *link, size_t size)
{
    bool good = send_all(link->client, link->held.data + size, size) &&
                send_all(link->client, link->held.data, size);

    buffer_consume(&link->held, 2 * size);
    link->passed += 2 * size;
    return good;
}

static bool flood(struct link *link, size_t size)
{
    char bytes[4096];
    bool good = true;

    memset(bytes, 'x', sizeof(bytes));
    while (size > 0 && good) {
        size_t count = size < sizeof(bytes) ? size : sizeof(bytes);

        good = send_all(link->client, bytes, count);
        size -= count;
    }
    return good;
}

/* Does the fault that stands at `at`, now that enough is held for it. */
static bool strike(struct link *link, const struct fault *fault)
{
    switch (fault->kind) {
    case FAULT_CUT:
    case FAULT_RESET:
        close_both(link, fault->kind == FAULT_RESET);
        return false;
    case FAULT_DUPLICATE:
        return send_all(link->client, link->held.data, fault->size) && pass(link, fault->size);
    case FAULT_REORDER:
        return reorder(link, fault->size);
    case FAULT_FLOOD:
        return flood(link, fault->size) && pass(link, 1);
    default:
        return true;
    }
}

/* How many bytes must be held at `at` for the fault to be done. */
static size_t needed(const struct fault *fault)
{
    switch (fault->kind) {
    case FAULT_DUPLICATE:
        return fault->size;
    case FAULT_REORDER:
        return 2 * fault->size;
    case FAULT_FLOOD:
        return 1;
    default:
        return 0;
    }
}

static bool strikes_once(enum fault_kind kind)
{
    return kind == FAULT_CUT || kind == FAULT_RESET || kind == FAULT_DUPLICATE ||
           kind == FAULT_REORDER || kind == FAULT_FLOOD;
}

/* Passes on what may pass now. Returns ms until it wants to be called again, -1: when something
 * comes; -2: the connection is over. */
static int forward(struct link *link)
{
    const struct fault fault = fault_of(link);
    size_t size = link->held.size;

    if (fault.kind == FAULT_STALL && link->passed + size > fault.at)
        size = fault.at > link->passed ? fault.at - link->passed : 0;
    if (fault.kind == FAULT_DRIP && size > fault.size)
        size = fault.size;
    if (fault.kind == FAULT_CORRUPT)
        invert(link, &fault, size);
    if (strikes_once(fault.kind) && link->passed <= fault.at) {
        size_t before = fault.at - link->passed;

        if (size >= before + needed(&fault)) {
            if (!pass(link, before) || !strike(link, &fault))
                return -2;
            size = link->held.size;
        } else if (size > before && !link->ended) {
            size = before; /* the rest of what the fault needs is still to come */
        }
    }
    if (size > 0 && !pass(link, size))
        return -2;
    if (link->ended && link->held.size == 0)
        return -2;
    return fault.kind == FAULT_DRIP && link->held.size > 0 ? (int)fault.ms : -1;
}

/* ---- one connection ---- */

/* A piece that begins with a method begins a request. */
static bool begins_request(const char *bytes, size_t size)
{
    return (size > 4 && memcmp(bytes, "GET ", 4) == 0) ||
           (size > 5 && memcmp(bytes, "POST ", 5) == 0);
}

static void note_request(struct link *link, const char *bytes, size_t size)
{
    const char *end = memchr(bytes, '\r', size);
    size_t length = end != NULL ? (size_t)(end - bytes) : size;

    if (length >= sizeof(link->line))
        length = sizeof(link->line) - 1;
    lock(link->proxy);
    memcpy(link->line, bytes, length);
    link->line[length] = 0;
    link->hit = false;
    unlock(link->proxy);
    link->passed = 0;
}

/* The client's bytes; false: the connection is over. */
static bool from_client(struct link *link)
{
    char *bytes = malloc(PIECE_BYTES);
    ssize_t size;
    bool good;

    check(bytes != NULL);
    size = recv(link->client, bytes, PIECE_BYTES, 0);
    good = size > 0;
    if (good && begins_request(bytes, (size_t)size)) {
        struct fault fault;

        note_request(link, bytes, (size_t)size);
        fault = fault_of(link);
        if (fault.kind == FAULT_ANSWER) { /* to be read before it is closed, so no reset */
            (void)send_all(link->client, fault.text, strlen(fault.text));
            (void)shutdown(link->client, SHUT_WR);
            while (recv(link->client, bytes, PIECE_BYTES, 0) > 0)
                continue;
            good = false;
        }
    }
    if (good)
        good = send_all(link->server, bytes, (size_t)size);
    free(bytes);
    return good;
}

static void from_server(struct link *link)
{
    char *bytes = malloc(PIECE_BYTES);
    ssize_t size;

    check(bytes != NULL);
    size = recv(link->server, bytes, PIECE_BYTES, 0);
    if (size > 0)
        check(buffer_append(&link->held, bytes, (size_t)size) == 0);
    else
        link->ended = true;
    free(bytes);
}

static bool is_over(struct link *link)
{
    bool over;

    lock(link->proxy);
    over = link->sever || link->proxy->stopping;
    unlock(link->proxy);
    return over;
}

static void run(struct link *link)
{
    int wait_ms = -1;

    while (wait_ms != -2 && !is_over(link)) {
        struct pollfd polled[] = {{link->client, POLLIN, 0},
                                  {link->ended ? -1 : link->server, POLLIN, 0},
                                  {link->wakeup, POLLIN, 0}};
        uint64_t ignored;
        int count = poll(polled, 3, wait_ms);

        check(count >= 0 || errno == EINTR);
        if (polled[2].revents != 0)
            check(read(link->wakeup, &ignored, sizeof(ignored)) == (ssize_t)sizeof(ignored));
        if (polled[0].revents != 0 && !from_client(link))
            return;
        if (polled[1].revents != 0)
            from_server(link);
        /* A drip goes by its clock alone. */
        if (wait_ms < 0 || count == 0 || polled[2].revents != 0)
            wait_ms = forward(link);
    }
}

static void *link_main(void *argument)
{
    struct link *link = argument;
    uint16_t target;
    bool severed;
    int server;

    lock(link->proxy);
    target = link->proxy->target;
    unlock(link->proxy);
    server = connect_to(target);
    lock(link->proxy);
    link->server = server;
    unlock(link->proxy);
    if (link->server >= 0)
        run(link);
    lock(link->proxy);
    severed = link->sever;
    unlock(link->proxy);
    close_both(link, severed);
    return NULL;
}

/* ---- the proxy ---- */

static void add_link(struct fault_proxy *proxy, int client)
{
    struct link *link = calloc(1, sizeof(*link));
    int on = 1;

    check(link != NULL);
    (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    link->proxy = proxy;
    link->client = client;
    link->server = -1;
    link->wakeup = eventfd(0, EFD_CLOEXEC);
    check(link->wakeup >= 0);
    buffer_init(&link->held, HELD_MAX_BYTES);
    lock(proxy);
    proxy->connections++;
    LIST_INSERT_HEAD(&proxy->links, link, entry);
    check(pthread_create(&link->thread, NULL, link_main, link) == 0);
    unlock(proxy);
}

static void *accept_all(void *argument)
{
    struct fault_proxy *proxy = argument;
    int fd;

    while ((fd = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        add_link(proxy, fd);
    return NULL;
}

struct fault_proxy *fault_proxy_start(uint16_t port, void (*changed)(void *context), void *context)
{
    struct fault_proxy *proxy = calloc(1, sizeof(*proxy));

    check(proxy != NULL);
    proxy->target = port;
    proxy->changed = changed;
    proxy->context = context;
    LIST_INIT(&proxy->links);
    check(pthread_mutex_init(&proxy->mutex, NULL) == 0);
    proxy->listener = loopback_listen(&proxy->port);
    (void)snprintf(proxy->url, sizeof(proxy->url), "http://127.0.0.1:%u", proxy->port);
    check(pthread_create(&proxy->acceptor, NULL, accept_all, proxy) == 0);
    return proxy;
}

/* Under the mutex. */
static void wake_all(struct fault_proxy *proxy)
{
    const uint64_t one = 1;
    struct link *link;

    for (link = LIST_FIRST(&proxy->links); link != NULL; link = LIST_NEXT(link, entry))
        check(write(link->wakeup, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

void fault_proxy_stop(struct fault_proxy *proxy)
{
    struct link *link;

    lock(proxy);
    proxy->stopping = true;
    unlock(proxy);
    (void)shutdown(proxy->listener, SHUT_RDWR); /* ends accept4() */
    check(pthread_join(proxy->acceptor, NULL) == 0);
    lock(proxy);
    wake_all(proxy);
    for (link = LIST_FIRST(&proxy->links); link != NULL; link = LIST_NEXT(link, entry)) {
        if (link->client >= 0)
            (void)shutdown(link->client, SHUT_RDWR); /* ends a send that waits for the client */
    }
    unlock(proxy);
    link = LIST_FIRST(&proxy->links);
    while (link != NULL) {
        struct link *next = LIST_NEXT(link, entry);

        check(pthread_join(link->thread, NULL) == 0);
        (void)close(link->wakeup);
        buffer_finish(&link->held);
        free(link);
        link = next;
    }
    (void)close(proxy->listener);
    (void)pthread_mutex_destroy(&proxy->mutex);
    while (proxy->texts != NULL) {
        struct text *next = proxy->texts->next;

        free(proxy->texts);
        proxy->texts = next;
    }
    free(proxy);
}

uint16_t fault_proxy_port(const struct fault_proxy *proxy)
{
    return proxy->port;
}

const char *fault_proxy_url(const struct fault_proxy *proxy)
{
    return proxy->url;
}

/* ---- the test's wishes ---- */

/* Kept until the proxy stops: a link may use it after the fault was changed. */
static const char *copy_of(struct fault_proxy *proxy, const char *text)
{
    size_t size = text != NULL ? strlen(text) + 1 : 0;
    struct text *copy;

    if (text == NULL)
        return NULL;
    copy = malloc(sizeof(*copy) + size);
    check(copy != NULL);
    memcpy(copy->bytes, text, size);
    copy->next = proxy->texts;
    proxy->texts = copy;
    return copy->bytes;
}

void fault_proxy_set(struct fault_proxy *proxy, const struct fault *fault)
{
    lock(proxy);
    proxy->fault = *fault;
    proxy->fault.match = copy_of(proxy, fault->match);
    proxy->fault.text = copy_of(proxy, fault->text);
    proxy->round++;
    proxy->hits = 0;
    wake_all(proxy);
    unlock(proxy);
}

void fault_proxy_aim(struct fault_proxy *proxy, uint16_t port)
{
    lock(proxy);
    proxy->target = port;
    unlock(proxy);
}

void fault_proxy_sever(struct fault_proxy *proxy)
{
    struct link *link;

    lock(proxy);
    for (link = LIST_FIRST(&proxy->links); link != NULL; link = LIST_NEXT(link, entry))
        link->sever = true;
    wake_all(proxy);
    unlock(proxy);
}

unsigned fault_proxy_hits(struct fault_proxy *proxy)
{
    unsigned hits;

    lock(proxy);
    hits = proxy->hits;
    unlock(proxy);
    return hits;
}

unsigned fault_proxy_connections(struct fault_proxy *proxy)
{
    unsigned connections;

    lock(proxy);
    connections = proxy->connections;
    unlock(proxy);
    return connections;
}

/* ---- wishes as text ---- */

static const struct verb {
    const char *name;
    enum fault_kind kind;
    int numbers;
} verbs[] = {
    {"none", FAULT_NONE, 0},           {"cut", FAULT_CUT, 1},         {"reset", FAULT_RESET, 1},
    {"stall", FAULT_STALL, 1},         {"drip", FAULT_DRIP, 2},       {"corrupt", FAULT_CORRUPT, 2},
    {"duplicate", FAULT_DUPLICATE, 2}, {"reorder", FAULT_REORDER, 2}, {"answer", FAULT_ANSWER, 1},
    {"flood", FAULT_FLOOD, 2},
};

static void set_command(struct fault_proxy *proxy, const struct verb *verb,
                        const unsigned long numbers[2], const char *match)
{
    char text[256];
    struct fault fault = {.kind = verb->kind,
                          .match = match[0] != 0 ? match : NULL,
                          .at = numbers[0],
                          .size = numbers[1]};

    if (verb->kind == FAULT_DRIP) {
        fault.size = numbers[0];
        fault.ms = (unsigned)numbers[1];
    }
    if (verb->kind == FAULT_ANSWER) {
        (void)snprintf(text, sizeof(text),
                       "HTTP/1.1 %lu Injected\r\nContent-Length: 0\r\nRetry-After: 1\r\n"
                       "Location: http://127.0.0.1:1/\r\nConnection: close\r\n\r\n",
                       numbers[0]);
        fault.text = text;
    }
    fault_proxy_set(proxy, &fault);
}

int fault_proxy_command(struct fault_proxy *proxy, const char *text)
{
    char name[16] = "";
    unsigned long numbers[2] = {0, 0};
    int used = 0;

    (void)sscanf(text, "%15s%n", name, &used);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        const char *at = text + used;

        if (strcmp(verbs[i].name, name) != 0)
            continue;
        for (int number = 0; number < verbs[i].numbers; number++) {
            char *end;

            numbers[number] = strtoul(at, &end, 10);
            if (end == at)
                return -1;
            at = end;
        }
        set_command(proxy, &verbs[i], numbers, at + strspn(at, " "));
        return 0;
    }
    if (strcmp(name, "sever") == 0) {
        fault_proxy_sever(proxy);
        return 0;
    }
    if (strcmp(name, "aim") == 0) {
        fault_proxy_aim(proxy, (uint16_t)strtoul(text + used, NULL, 10));
        return 0;
    }
    return -1;
}

/* The HTTP layer against those who mean it ill: requests of two meanings, slow ones, many of them,
 * large bodies, false credentials. Real sockets on loopback.
 */
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "control/http/http_internal.h"
#include "tests/lib/raw_client.h"

enum {
    DAMAGED = 900 /* as many strangers as there is room for */,
    MEGABYTE = 1024 * 1024,
    CROWD = 500
};

struct fixture {
    struct log log;
    struct http_server *server;
    char url[HTTP_URL_SIZE];
    sem_t entered; /* POST /block: posted when a worker is inside */
    sem_t leave;
    atomic_uint handled;
};

/* Who one is, is said in a header; "/" and what is below is public. */
static bool admit(void *context, struct http_request *request, struct http_admission *ret)
{
    const char *who = http_header(request, "Who");
    unsigned wait_s;

    (void)context;
    if (request->path[1] == 0 || strcmp(request->path, "/healthz") == 0) {
        ret->class = HTTP_STRANGER;
        return true;
    }
    if (who != NULL) {
        ret->class = strncmp(who, "host", 4) == 0 ? HTTP_HOST : HTTP_OPERATOR;
        ret->caller = (uint64_t)who[strlen(who) - 1];
        return true;
    }
    wait_s = http_auth_failed(request);
    http_answer_problem(request, wait_s > 0 ? 429 : 401, NULL, NULL);
    return false;
}

static void serve(void *context, struct http_request *request)
{
    struct fixture *f = context;

    if (strcmp(request->path, "/block") == 0) {
        sem_post(&f->entered);
        sem_wait(&f->leave);
    }
    (void)atomic_fetch_add(&f->handled, 1);
    if (strcmp(request->path, "/large") == 0) {
        http_answer(request, 200, "text/plain", calloc(1, 8 * MEGABYTE), 8 * MEGABYTE);
        return;
    }
    http_answer(request, 200, "text/plain", strdup("served"), strlen("served"));
}

static struct fixture *start(const struct http_options *base)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct http_options options = *base;
    struct error err = ERROR_INIT;

    f->log = (struct log){STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT};
    sem_init(&f->entered, 0, 0);
    sem_init(&f->leave, 0, 0);
    options.admit = admit;
    options.handler = serve;
    options.context = f;
    options.log = &f->log;
    if (options.max_connections == 0)
        options.max_connections = 500;
    assert_int_equal(http_create(&options, &f->server, &err), 0);
    assert_int_equal(http_listen(f->server, "127.0.0.1:0", f->url, &err), 0);
    return f;
}

static void stop(struct fixture *f)
{
    http_destroy(f->server);
    sem_destroy(&f->entered);
    sem_destroy(&f->leave);
    free(f);
}

static struct http_stats stats_of(const struct fixture *f)
{
    struct http_stats stats;

    http_stats(f->server, &stats);
    return stats;
}

static int dial(const struct fixture *f)
{
    return raw_dial(raw_port_of(f->url));
}

/* One request on a connection of its own; the status. */
static unsigned ask(const struct fixture *f, const char *request)
{
    int fd = dial(f);
    char *answer;
    unsigned status = 0;

    raw_say(fd, request);
    answer = raw_hear(fd, NULL, NULL);
    (void)sscanf(answer, "HTTP/1.1 %u", &status);
    free(answer);
    close(fd);
    return status;
}

#define HEALTH  "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#define AS(who) "Host: x\r\nConnection: close\r\nWho: " who "\r\n"

/* ---- requests of two meanings ---- */

static int dial_server(const void *context)
{
    return dial(context);
}

static void request_of_two_meanings_is_400_and_the_connection_ends(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    char *taken = raw_find_taken(dial_server, f);

    (void)state;
    if (taken != NULL)
        fail_msg("%s", taken);
    assert_int_equal(atomic_load(&f->handled), 0);
    assert_true(stats_of(f).malformed > 0);
    stop(f);
}

/* ---- random damage: what the server takes, the grammar of RFC 9112 must take ---- */

/* Cuts the head at every CRLF, as nothing in the server does; false: there are other line ends in
 * it, or what is left is no head. The text is cut into pieces. */
static bool read_strictly(char *text, size_t size, struct request_head *head)
{
    char *end = memmem(text, size, "\r\n\r\n", 4);
    char *line = text;

    if (end == NULL)
        return false;
    for (char *at = text; at < end; at++) {
        if (*at == 0 || (*at == '\n' && (at == text || at[-1] != '\r')) ||
            (*at == '\r' && at[1] != '\n'))
            return false;
    }
    *end = 0;
    memset(head, 0, sizeof(*head));
    for (char *next = line; next != NULL; line = next) {
        struct request_header *header = &head->headers[head->count];
        char *colon;

        next = strstr(line, "\r\n");
        if (next != NULL) {
            *next = 0;
            next += 2;
        }
        if (line == text) {
            char *blank = strchr(line, ' ');
            char *second = blank != NULL ? strchr(blank + 1, ' ') : NULL;

            if (second == NULL)
                return false;
            *blank = *second = 0;
            head->method = line;
            request_target_note(&head->target, blank + 1);
            head->version = second + 1;
            continue;
        }
        colon = strchr(line, ':');
        if (colon == NULL || head->count == REQUEST_HEADERS_MAX - 1)
            return false;
        header->name = line;
        header->name_size = (size_t)(colon - line);
        header->value = colon + 1 + strspn(colon + 1, " \t");
        header->value_size = strlen(header->value);
        head->count++;
    }
    return request_head_fault(head) == NULL;
}

static size_t damage(char *text, size_t size, unsigned *random)
{
    static const struct {
        const char *bytes;
        size_t size;
    } pieces[] = {
        {"\r", 1},
        {"\n", 1},
        {"\0", 1},
        {" ", 1},
        {"\t", 1},
        {":", 1},
        {",", 1},
        {"+", 1},
        {"0", 1},
        {"\x0b", 1},
        {"\x80", 1},
        {"a", 1},
        {"\r\n", 2},
        {"\r\n ", 3},
        {"\n\n", 2},
        {"\r\r", 2},
        {"\n\r\n", 3},
        {"\0\r\n", 3},
        {"\x7f", 1},
        {"\r\nHost: y", 9},
        {"\r\nContent-Length: 1", 19},
        {"\r\nTransfer-Encoding: chunked", 28},
    };
    const size_t at = (size_t)rand_r(random) % size;
    const size_t piece = (size_t)rand_r(random) % (sizeof(pieces) / sizeof(pieces[0]));
    const size_t removed = (size_t)rand_r(random) % 3 % (size - at);

    memmove(text + at + pieces[piece].size, text + at + removed, size - at - removed);
    memcpy(text + at, pieces[piece].bytes, pieces[piece].size);
    return size - removed + pieces[piece].size;
}

static const char *escaped(const char *text, size_t size)
{
    static char out[2048];
    size_t used = 0;

    for (size_t i = 0; i < size; i++)
        used += (size_t)snprintf(out + used, sizeof(out) - used, text[i] > ' ' ? "%c" : "\\x%02x",
                                 (unsigned char)text[i]);
    return out;
}

/* libmicrohttpd shows no raw bytes: NUL stands where CR should (base/request_head.h). And it passes
 * over what it takes for empty lines before a request. */
static bool is_in_the_blind_spot(const char *text, size_t size)
{
    return memmem(text, size, "\0\n", 2) != NULL || memmem(text, size, "\0\r\n\n", 4) != NULL ||
           strchr("\r\n", text[0]) != NULL;
}

struct damaged {
    int fd;
    size_t size;
    char text[512];
};

static void send_damaged(const struct fixture *f, struct damaged *damaged, unsigned *random)
{
    static const char *const bases[] = {
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Some: thing\r\nAccept: */*\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: x\r\nWho: op-1\r\nContent-Length: 2\r\n\r\nok",
    };
    const char *base = bases[(size_t)rand_r(random) % (sizeof(bases) / sizeof(bases[0]))];
    unsigned damages = 1 + (unsigned)rand_r(random) % 2;

    damaged->size = strlen(base);
    memcpy(damaged->text, base, damaged->size);
    while (damages-- > 0)
        damaged->size = damage(damaged->text, damaged->size, random);
    damaged->fd = dial(f);
    (void)raw_send(damaged->fd, damaged->text, damaged->size); /* it may be refused on the way */
}

/* Whether it was taken. */
static bool judge_damaged(struct damaged *damaged)
{
    char *answer = raw_hear(damaged->fd, NULL, NULL);
    const bool taken = strncmp(answer, "HTTP/1.1 200", 12) == 0;
    const char *shown = escaped(damaged->text, damaged->size);
    struct request_head head;

    close(damaged->fd);
    free(answer);
    if (taken && !is_in_the_blind_spot(damaged->text, damaged->size)) {
        damaged->text[damaged->size] = 0;
        if (!read_strictly(damaged->text, damaged->size, &head))
            fail_msg("'%s' was taken", shown);
    }
    return taken;
}

static void whatever_is_taken_is_of_one_meaning(void **state)
{
    struct fixture *f = start(&(struct http_options){
        .auth_failures_per_minute = 60000, .header_timeout_s = 1, .idle_timeout_s = 1});
    struct damaged *all = calloc(DAMAGED, sizeof(*all));
    unsigned random = 1; /* the same requests each time */
    unsigned taken = 0;

    (void)state;
    /* All at once, since those that wait for more, or for another request, end at a deadline. */
    for (unsigned i = 0; i < DAMAGED; i++)
        send_damaged(f, &all[i], &random);
    for (unsigned i = 0; i < DAMAGED; i++)
        taken += judge_damaged(&all[i]);
    assert_true(taken > DAMAGED / 20); /* not all damage does harm */
    free(all);
    stop(f);
}

static void unusual_requests_of_one_meaning_are_taken(void **state)
{
    static const char *const rows[] = {
        HEALTH,
        "\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost:x\r\nCONNECTION:close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost:\t [::1]:80  \r\nX:\r\nY:  \r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\tb \xc3\xa9 \r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\nX: b\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "GET http://x/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET HTTPS://x/healthz?a=%00&b=+ HTTP/1.1\r\nHost: x\r\nCookie: a=b; c=d\r\nConnection: "
        "close\r\n\r\n",
        "POST /x HTTP/1.1\r\n" AS("op-1") "Content-Length: 2\r\n\r\nok",
        "POST /x HTTP/1.1\r\n" AS("op-1") "Transfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    };
    struct fixture *f = start(&(struct http_options){0});

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned status = ask(f, rows[i]);

        if (status != 200)
            fail_msg("%u for '%s'", status, rows[i]);
    }
    assert_int_equal(stats_of(f).malformed, 0);
    stop(f);
}

/* Whatever two readers think of a chunked body's end, nothing behind it becomes a request. */
static void nothing_behind_a_chunked_body_is_a_request(void **state)
{
    static const char *const bodies[] = {
        "2\r\nok\r\n0\r\n\r\n",
        "2;x\nok\r\n0\r\n\r\n",
        "2\nok\n0\n\n",
        "0\r\nContent-Length: 40\r\n\r\n",
    };
    struct fixture *f = start(&(struct http_options){0});

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        char request[512];
        char *answer;
        int fd = dial(f);

        (void)snprintf(
            request, sizeof(request),
            "POST /x HTTP/1.1\r\nHost: x\r\nWho: op-1\r\nTransfer-Encoding: chunked\r\n\r\n"
            "%sGET /y HTTP/1.1\r\nHost: x\r\nWho: op-1\r\n\r\n",
            bodies[i]);
        raw_say(fd, request);
        answer = raw_hear(fd, NULL, NULL);
        if (strncmp(answer, "HTTP/1.1 ", 9) != 0 || strstr(answer + 1, "HTTP/1.1 ") != NULL)
            fail_msg("'%s': '%s'", bodies[i], answer);
        free(answer);
        close(fd);
    }
    stop(f);
}

static void long_keep_alive_connection_is_checked_each_time(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    int fd = dial(f);
    char *answer;

    (void)state;
    for (int i = 0; i < 200; i++) {
        char request[400];

        /* Of many sizes, two at a time, so that the parser's memory is moved about. */
        (void)snprintf(request, sizeof(request),
                       "GET /healthz?%0*d HTTP/1.1\r\nHost: x\r\nX: %0*d\r\n\r\n"
                       "POST /x HTTP/1.1\r\nHost: x\r\nWho: op-1\r\nContent-Length: 3\r\n\r\nabc",
                       1 + i, 0, 200 - i, 0);
        raw_say(fd, request);
        for (int n = 0; n < 2; n++) {
            static char text[2048];
            size_t used = 0;

            memset(text, 0, sizeof(text));
            while (strstr(text, "served") == NULL) {
                ssize_t count = recv(fd, text + used, 1, 0);

                assert_int_equal(count, 1);
                used++;
            }
            assert_int_equal(strncmp(text, "HTTP/1.1 200", 12), 0);
        }
    }
    raw_say(fd, "GET /healthz HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n");
    answer = raw_hear(fd, NULL, NULL);
    assert_int_equal(strncmp(answer, "HTTP/1.1 400", 12), 0);
    free(answer);
    close(fd);
    stop(f);
}

/* ---- many connections ---- */

static void five_hundred_unfinished_requests_block_nobody(void **state)
{
    struct fixture *f = start(&(struct http_options){.max_strangers = 100});
    int *crowd = calloc(CROWD, sizeof(*crowd));

    (void)state;
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = dial(f);
        (void)raw_send(crowd[i], "GET /healthz HTTP/1.1\r\nHo", 25);
        assert_int_equal(ask(f, HEALTH), 200);
    }
    assert_int_equal(ask(f, "GET /x HTTP/1.1\r\n" AS("op-1") "\r\n"), 200);
    assert_int_equal(ask(f, "GET /x HTTP/1.1\r\n" AS("host-1") "\r\n"), 200);
    assert_true(stats_of(f).displaced >= CROWD - 100);
    assert_true(stats_of(f).by_class[HTTP_STRANGER] <= 100);
    for (int i = 0; i < CROWD; i++)
        close(crowd[i]);
    free(crowd);
    stop(f);
}

/* A known caller's connection is not among those that strangers push out. */
static void strangers_do_not_push_out_those_who_are_known(void **state)
{
    struct fixture *f = start(&(struct http_options){.max_strangers = 10});
    int host = dial(f);
    int crowd[50];

    (void)state;
    raw_say(host, "GET /x HTTP/1.1\r\nHost: x\r\nWho: host-1\r\n\r\n");
    free(raw_hear(host, "served", NULL));
    for (int i = 0; i < 50; i++)
        crowd[i] = dial(f);
    assert_int_equal(ask(f, HEALTH), 200); /* so they were all seen */
    raw_say(host, "GET /x HTTP/1.1\r\nHost: x\r\nWho: host-1\r\n\r\n");
    free(raw_hear(host, "served", NULL));
    assert_int_equal(atomic_load(&f->handled), 3);
    for (int i = 0; i < 50; i++)
        close(crowd[i]);
    close(host);
    stop(f);
}

/* Operators have a quarter of max_connections, 64 at least; hosts have their own places. */
static void operators_connections_leave_room_for_hosts(void **state)
{
    struct fixture *f = start(&(struct http_options){.max_connections = 20});
    int crowd[80];

    (void)state;
    for (int i = 0; i < 80; i++) { /* idle ones make room: the oldest goes */
        crowd[i] = dial(f);
        raw_say(crowd[i], "GET /x HTTP/1.1\r\nHost: x\r\nWho: op-1\r\n\r\n");
        free(raw_hear(crowd[i], "served", NULL));
    }
    assert_int_equal(stats_of(f).by_class[HTTP_OPERATOR], 64);
    assert_int_equal(ask(f, "GET /x HTTP/1.1\r\n" AS("host-1") "\r\n"), 200);
    assert_int_equal(ask(f, HEALTH), 200);
    for (int i = 0; i < 80; i++)
        close(crowd[i]);
    stop(f);
}

/* ---- slow ones ---- */

static void headers_have_a_time_that_bytes_do_not_prolong(void **state)
{
    struct fixture *f = start(&(struct http_options){.header_timeout_s = 1});
    int fd = dial(f);
    int64_t start_ms = clock_boot_ms();

    (void)state;
    raw_say(fd, "GET /healthz HTTP/1.1\r\n");
    for (;;) {
        struct pollfd closed = {fd, POLLIN, 0};

        if (!raw_send(fd, "X: y\r\n", 6) || poll(&closed, 1, 100) == 1)
            break;
        assert_true(clock_boot_ms() - start_ms < RAW_PATIENCE_MS);
    }
    assert_int_equal(stats_of(f).expired, 1);
    close(fd);
    stop(f);
}

static void slow_bodies_of_strangers_get_no_room_at_all(void **state)
{
    struct fixture *f = start(&(struct http_options){.auth_failures_per_minute = 1000});
    int crowd[66];

    (void)state;
    for (int i = 0; i < 66; i++) {
        char *answer;

        crowd[i] = dial(f);
        raw_say(crowd[i], "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n{");
        answer = raw_hear(crowd[i], "}", NULL);
        assert_non_null(strstr(answer, "HTTP/1.1 401")); /* at the headers, not after the body */
        free(answer);
    }
    assert_int_equal(stats_of(f).body_bytes, 0);
    assert_int_equal(ask(f, "POST /x HTTP/1.1\r\n" AS("host-1") "Content-Length: 2\r\n\r\nok"),
                     200);
    assert_int_equal(ask(f, "POST /x HTTP/1.1\r\n" AS("op-1") "Content-Length: 2\r\n\r\nok"), 200);
    for (int i = 0; i < 66; i++)
        close(crowd[i]);
    stop(f);
}

static void slow_bodies_of_one_caller_leave_room_for_the_next(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    int crowd[66];

    (void)state;
    for (int i = 0; i < 66; i++) {
        crowd[i] = dial(f);
        raw_say(crowd[i],
                "POST /x HTTP/1.1\r\nHost: x\r\nWho: op-1\r\nContent-Length: 1048576\r\n\r\n{");
    }
    while (stats_of(f).refused_busy < 66 - 32)
        (void)poll(NULL, 0, 1);
    assert_int_equal(stats_of(f).body_bytes, 32 * MEGABYTE);
    assert_int_equal(ask(f, "POST /x HTTP/1.1\r\n" AS("op-1") "Content-Length: 1\r\n\r\n1"), 429);
    assert_int_equal(ask(f, "POST /x HTTP/1.1\r\n" AS("op-2") "Content-Length: 1\r\n\r\n1"), 200);
    assert_int_equal(ask(f, "POST /x HTTP/1.1\r\n" AS("host-1") "Content-Length: 1\r\n\r\n1"), 200);
    for (int i = 0; i < 66; i++)
        close(crowd[i]);
    while (stats_of(f).body_bytes > 0) /* what was held is given back */
        (void)poll(NULL, 0, 1);
    stop(f);
}

static void answers_that_one_caller_does_not_take_leave_room_for_the_next(void **state)
{
    struct fixture *f = start(&(struct http_options){.bodies_max_bytes = 8 * MEGABYTE});
    int crowd[10];

    (void)state;
    for (int i = 0; i < 10; i++) {
        crowd[i] = dial(f);
        (void)setsockopt(crowd[i], SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int));
        raw_say(crowd[i], "GET /large HTTP/1.1\r\n" AS("op-1") "\r\n");
    }
    while (stats_of(f).refused_busy < 10 - 2)
        (void)poll(NULL, 0, 1);
    assert_int_equal(stats_of(f).answer_bytes, 16 * MEGABYTE);
    assert_int_equal(ask(f, "GET /large HTTP/1.1\r\n" AS("op-1") "\r\n"), 429);
    assert_int_equal(ask(f, "GET /x HTTP/1.1\r\n" AS("op-1") "\r\n"), 200);
    /* What was changed is changed: such an answer is given. */
    assert_int_equal(ask(f, "DELETE /large HTTP/1.1\r\n" AS("op-1") "\r\n"), 200);
    assert_int_equal(ask(f, "GET /large HTTP/1.1\r\n" AS("op-2") "\r\n"), 200);
    for (int i = 0; i < 10; i++)
        close(crowd[i]);
    while (stats_of(f).answer_bytes > 0)
        (void)poll(NULL, 0, 1);
    stop(f);
}

static void slow_body_has_a_time_by_its_size(void **state)
{
    struct fixture *f = start(&(struct http_options){.header_timeout_s = 1});
    int fd = dial(f);
    int64_t start_ms = clock_boot_ms();

    (void)state;
    raw_say(fd, "POST /x HTTP/1.1\r\nHost: x\r\nWho: op-1\r\nContent-Length: 32768\r\n\r\n");
    for (;;) {
        struct pollfd closed = {fd, POLLIN, 0};

        if (!raw_send(fd, "x", 1) || poll(&closed, 1, 100) == 1)
            break;
        assert_true(clock_boot_ms() - start_ms < RAW_PATIENCE_MS);
    }
    assert_int_equal(atomic_load(&f->handled), 0);
    close(fd);
    stop(f);
}

/* Requests of operators in every worker that they can get. */
static void hosts_and_health_have_workers_that_operators_cannot_take(void **state)
{
    struct fixture *f = start(&(struct http_options){.workers = 16});
    int crowd[32];

    (void)state;
    for (int i = 0; i < 32; i++) {
        crowd[i] = dial(f);
        raw_say(crowd[i], "GET /block HTTP/1.1\r\nHost: x\r\nWho: op-1\r\n\r\n");
    }
    for (int i = 0; i < 9; i++) /* 16 less those of strangers, hosts, gate and door */
        sem_wait(&f->entered);
    while (stats_of(f).queued != 32 - 9) /* all have come in, and wait */
        (void)poll(NULL, 0, 1);
    assert_int_equal(sem_trywait(&f->entered), -1);
    assert_int_equal(ask(f, HEALTH), 200);
    assert_int_equal(ask(f, "POST /x HTTP/1.1\r\n" AS("host-1") "Content-Length: 1\r\n\r\n1"), 200);
    for (int i = 0; i < 32; i++)
        sem_post(&f->leave);
    for (int i = 0; i < 32; i++) {
        free(raw_hear(crowd[i], "served", NULL));
        close(crowd[i]);
    }
    stop(f);
}

static void hosts_bodies_are_small(void **state)
{
    struct fixture *f = start(&(struct http_options){0});

    (void)state;
    assert_int_equal(ask(f, "POST /x HTTP/1.1\r\n" AS("host-1") "Content-Length: 65537\r\n\r\n"),
                     413);
    stop(f);
}

/* ---- false credentials ---- */

static void failures_are_429_in_the_end_and_valid_credentials_never(void **state)
{
    struct fixture *f = start(&(struct http_options){.auth_failures_per_minute = 30});
    unsigned counts[3] = {0};

    (void)state;
    for (int i = 0; i < 200; i++) {
        unsigned status = ask(f, "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

        assert_true(status == 401 || status == 429);
        counts[status == 429]++;
        if (i % 10 == 0)
            assert_int_equal(ask(f, "GET /x HTTP/1.1\r\n" AS("host-1") "\r\n"), 200);
    }
    assert_true(counts[0] >= 30); /* more on a machine that takes seconds for this */
    assert_true(counts[1] > 0);
    assert_int_equal(stats_of(f).auth_failures, 200);
    assert_int_equal(stats_of(f).auth_limited, counts[1]);
    stop(f);
}

static void failures_of_one_address_are_not_anothers(void **state)
{
    static struct http_failures failures;
    const struct guest_key first = {0, 1};
    const struct guest_key second = {0, 2};
    int taken = 0;

    (void)state;
    http_failures_init(&failures, 60);
    while (http_failures_count(&failures, &first, 1000) == 0)
        taken++;
    assert_int_equal(taken, 60);
    assert_int_equal(http_failures_count(&failures, &second, 1000), 0);
    assert_int_equal(http_failures_count(&failures, &first, 1000), 1000);
    assert_int_equal(http_failures_count(&failures, &first, 2000), 0);
    assert_int_equal(http_failures_count(&failures, &first, 2000), 1000);
    http_failures_finish(&failures);
}

/* ---- large bodies that are refused ---- */

/* A client that sends all before it looks for an answer. */
static void refused_large_body_ends_in_the_answer_not_in_a_reset(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    char *body = calloc(5, MEGABYTE);

    (void)state;
    for (int i = 0; i < 8; i++) {
        int fd = dial(f);
        char *answer;
        bool reset;

        raw_say(fd, i % 2 == 0 ? "POST /x HTTP/1.1\r\nHost: x\r\nWho: op-1\r\n"
                                 "Content-Length: 5242880\r\n\r\n"
                               : "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5242880\r\n\r\n");
        assert_true(raw_send(fd, body, (size_t)5 * MEGABYTE));
        answer = raw_hear(fd, NULL, &reset);
        assert_false(reset);
        assert_non_null(strstr(answer, i % 2 == 0 ? "HTTP/1.1 413" : "HTTP/1.1 401"));
        free(answer);
        close(fd);
    }
    free(body);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_of_two_meanings_is_400_and_the_connection_ends),
        cmocka_unit_test(unusual_requests_of_one_meaning_are_taken),
        cmocka_unit_test(nothing_behind_a_chunked_body_is_a_request),
        cmocka_unit_test(long_keep_alive_connection_is_checked_each_time),
        cmocka_unit_test(five_hundred_unfinished_requests_block_nobody),
        cmocka_unit_test(strangers_do_not_push_out_those_who_are_known),
        cmocka_unit_test(operators_connections_leave_room_for_hosts),
        cmocka_unit_test(headers_have_a_time_that_bytes_do_not_prolong),
        cmocka_unit_test(slow_bodies_of_strangers_get_no_room_at_all),
        cmocka_unit_test(slow_bodies_of_one_caller_leave_room_for_the_next),
        cmocka_unit_test(answers_that_one_caller_does_not_take_leave_room_for_the_next),
        cmocka_unit_test(slow_body_has_a_time_by_its_size),
        cmocka_unit_test(hosts_and_health_have_workers_that_operators_cannot_take),
        cmocka_unit_test(hosts_bodies_are_small),
        cmocka_unit_test(whatever_is_taken_is_of_one_meaning),
        cmocka_unit_test(failures_are_429_in_the_end_and_valid_credentials_never),
        cmocka_unit_test(failures_of_one_address_are_not_anothers),
        cmocka_unit_test(refused_large_body_ends_in_the_answer_not_in_a_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

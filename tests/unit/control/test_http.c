/* The HTTP layer alone: limits, queue, late answers, streams, stopping. Real sockets on
 * loopback. */
#include <poll.h>
#include <pthread.h>
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

#include "control/http/http.h"
#include "tests/lib/raw_client.h"

enum { BODY_MAX = 4096, PATIENCE_MS = 20000, STREAM_ITEMS = 20000 };

/* A stream of numbered lines, made by another thread. */
struct numbers {
    struct http_stream *stream;
    atomic_uint made;
    unsigned limit; /* the stream ends behind it */
    unsigned sent;
    atomic_bool *closed;
    atomic_uint *n_closed;
};

struct fixture {
    struct log log;
    struct http_server *server;
    char url[HTTP_URL_SIZE];
    uint16_t port;
    sem_t entered; /* /block: posted when a worker is inside */
    sem_t leave;
    struct http_request *kept; /* /late */
    sem_t have_kept;
    struct numbers *numbers; /* the newest /stream */
    sem_t have_numbers;
    atomic_uint n_closed;
    atomic_uint observed;
    int quiet_fd;
};

/* ---- the handler under test's other side ---- */

static void answer_text(struct http_request *request, unsigned status, const char *text)
{
    http_answer(request, status, "text/plain", strdup(text), strlen(text));
}

static void serve_echo(struct fixture *f, struct http_request *request)
{
    char *copy = malloc(request->body_size + 1);

    (void)f;
    memcpy(copy, request->body_size > 0 ? request->body : "", request->body_size);
    http_answer(request, 200, "text/plain", copy, request->body_size);
}

static void serve_target(struct fixture *f, struct http_request *request)
{
    char text[512];

    (void)f;
    (void)snprintf(text, sizeof(text), "%s|%s", request->path, request->query);
    answer_text(request, 200, text);
}

static void serve_block(struct fixture *f, struct http_request *request)
{
    sem_post(&f->entered);
    sem_wait(&f->leave);
    answer_text(request, 200, "released");
}

static void serve_late(struct fixture *f, struct http_request *request)
{
    f->kept = request;
    sem_post(&f->have_kept);
}

static ssize_t numbers_read(void *context, char *bytes, size_t max)
{
    struct numbers *numbers = context;

    if (numbers->sent == numbers->limit)
        return -1;
    if (numbers->sent == atomic_load(&numbers->made))
        return 0;
    return snprintf(bytes, max, "%u\n", numbers->sent++);
}

static void numbers_close(void *context)
{
    struct numbers *numbers = context;

    (void)atomic_fetch_add(numbers->n_closed, 1);
    free(numbers);
}

static void serve_stream(struct fixture *f, struct http_request *request)
{
    struct numbers *numbers = calloc(1, sizeof(*numbers));
    struct http_source source = {numbers_read, numbers_close, numbers};

    numbers->n_closed = &f->n_closed;
    numbers->limit = STREAM_ITEMS;
    numbers->stream = http_stream_create(request);
    f->numbers = numbers;
    sem_post(&f->have_numbers);
    http_stream_start(numbers->stream, "text/plain", &source);
}

static void serve(void *context, struct http_request *request)
{
    static const struct {
        const char *path;
        void (*serve)(struct fixture *, struct http_request *);
    } paths[] = {{"/echo", serve_echo},
                 {"/block", serve_block},
                 {"/late", serve_late},
                 {"/stream", serve_stream}};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (strcmp(request->path, paths[i].path) == 0) {
            paths[i].serve(context, request);
            return;
        }
    }
    serve_target(context, request);
}

static void observe(void *context, const struct http_request *request, unsigned status,
                    int64_t duration_us)
{
    struct fixture *f = context;

    assert_in_range(status, 200, 599);
    assert_true(duration_us >= 0);
    assert_int_equal(request->path[0], '/');
    (void)atomic_fetch_add(&f->observed, 1);
}

/* ---- starting and stopping ---- */

static struct fixture *start(const struct http_options *base)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct http_options options = *base;
    struct error err = ERROR_INIT;

    f->log = (struct log){STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT};
    sem_init(&f->entered, 0, 0);
    sem_init(&f->leave, 0, 0);
    sem_init(&f->have_kept, 0, 0);
    sem_init(&f->have_numbers, 0, 0);
    options.body_max_bytes = BODY_MAX;
    options.handler = serve;
    options.observer = observe;
    options.context = f;
    options.log = &f->log;
    if (options.max_connections == 0)
        options.max_connections = 2000;
    assert_int_equal(http_create(&options, &f->server, &err), 0);
    assert_int_equal(http_listen(f->server, "127.0.0.1:0", f->url, &err), 0);
    f->port = raw_port_of(f->url);
    return f;
}

static void stop(struct fixture *f)
{
    http_destroy(f->server);
    sem_destroy(&f->entered);
    sem_destroy(&f->leave);
    sem_destroy(&f->have_kept);
    sem_destroy(&f->have_numbers);
    free(f);
}

/* ---- a client on a bare socket ---- */

static int dial(const struct fixture *f)
{
    return raw_dial(f->port);
}

/* Reads until `until` was seen or, with NULL, until the peer closes; fails when neither happens. */
static char *hear(int fd, const char *until)
{
    char *text = raw_hear(fd, until, NULL);

    assert_true(until == NULL || strstr(text, until) != NULL);
    return text;
}

static char *ask(const struct fixture *f, const char *request)
{
    int fd = dial(f);
    char *answer;

    raw_say(fd, request);
    answer = hear(fd, NULL);
    close(fd);
    return answer;
}

static void assert_starts(char *answer, const char *start)
{
    if (strncmp(answer, start, strlen(start)) != 0)
        fail_msg("'%s' does not start with '%s'", answer, start);
    free(answer);
}

#define CLOSE "Host: x\r\nConnection: close\r\n"

/* ---- tests ---- */

static void answers_on_one_connection_until_it_is_closed(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    int fd = dial(f);

    (void)state;
    for (int i = 0; i < 3; i++) {
        char *answer;

        raw_say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
        answer = hear(fd, "\r\n\r\nhello");
        assert_non_null(strstr(answer, "HTTP/1.1 200"));
        assert_non_null(strstr(answer, "Request-Id: "));
        assert_non_null(strstr(answer, "Cache-Control: no-store"));
        free(answer);
    }
    close(fd);
    assert_int_equal(atomic_load(&f->observed), 3);
    stop(f);
}

static void path_and_query_arrive_as_they_were_sent(void **state)
{
    static const struct {
        const char *target;
        const char *seen;
    } rows[] = {
        {"/a%2Fb/c%00d?x=%41&y=+", "/a%2Fb/c%00d|x=%41&y=+"},
        {"/", "/|"},
        {"/a?", "/a|"},
        {"/a?b?c", "/a|b?c"},
        {"http://host:80/abs?q", "/abs|q"},
        {"http://host", "/|"},
    };
    struct fixture *f = start(&(struct http_options){0});

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char request[256];
        char *answer;

        (void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" CLOSE "\r\n",
                       rows[i].target);
        answer = ask(f, request);
        assert_non_null(strstr(answer, "\r\n\r\n"));
        assert_string_equal(strstr(answer, "\r\n\r\n") + 4, rows[i].seen);
        free(answer);
    }
    stop(f);
}

static void head_has_the_length_but_not_the_body(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    char *answer = ask(f, "HEAD /abc HTTP/1.1\r\n" CLOSE "\r\n");

    (void)state;
    assert_non_null(strstr(answer, "Content-Length: 5"));
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    free(answer);
    stop(f);
}

static void body_over_the_limit_is_413_whether_announced_or_chunked(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    int fd = dial(f);
    char chunk[1024 + 9];

    (void)state;
    assert_starts(ask(f, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n\r\n"),
                  "HTTP/1.1 413");
    assert_starts(ask(f, "POST /echo HTTP/1.1\r\nHost: x\r\n"
                         "Content-Length: 99999999999999999999\r\n\r\n"),
                  "HTTP/1.1 4"); /* 413 or 400: MHD's to say */
    raw_say(fd, "POST /echo HTTP/1.1\r\n" CLOSE "Transfer-Encoding: chunked\r\n\r\n");
    (void)snprintf(chunk, sizeof(chunk), "400\r\n%01024d\r\n", 0);
    for (int i = 0; i < 5; i++)
        raw_say(fd, chunk);
    raw_say(fd, "0\r\n\r\n");
    assert_starts(hear(fd, NULL), "HTTP/1.1 413");
    close(fd);
    stop(f);
}

static void body_without_end_is_cut_off(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    int fd = dial(f);
    char *chunk = malloc(65536 + 16);
    size_t sent = 0;

    (void)state;
    raw_say(fd, "POST /echo HTTP/1.1\r\n" CLOSE "Transfer-Encoding: chunked\r\n\r\n");
    (void)sprintf(chunk, "10000\r\n%065536d\r\n", 0);
    while (sent < ((size_t)64 << 20) && raw_send(fd, chunk, strlen(chunk)))
        sent += 65536;
    assert_true(sent < ((size_t)64 << 20));
    free(chunk);
    close(fd);
    stop(f);
}

static void body_at_the_limit_is_taken(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    int fd = dial(f);
    char body[BODY_MAX + 1];
    char *answer;

    (void)state;
    (void)snprintf(body, sizeof(body), "%0*d", BODY_MAX, 7);
    raw_say(fd, "POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 4096\r\n\r\n");
    raw_say(fd, body);
    answer = hear(fd, NULL);
    assert_string_equal(strstr(answer, "\r\n\r\n") + 4, body);
    free(answer);
    close(fd);
    stop(f);
}

static void bodies_over_the_common_limit_are_503(void **state)
{
    struct fixture *f = start(&(struct http_options){.bodies_max_bytes = 1000});
    char request[2200];

    (void)state;
    (void)snprintf(request, sizeof(request),
                   "POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 2000\r\n\r\n%02000d", 0);
    assert_starts(ask(f, request), "HTTP/1.1 503");
    assert_starts(ask(f, "POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 2\r\n\r\nok"),
                  "HTTP/1.1 200"); /* what was held is given back */
    stop(f);
}

static void long_header_is_431_and_long_target_414(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    char *request = malloc(40000);

    (void)state;
    (void)snprintf(request, 40000, "GET / HTTP/1.1\r\n" CLOSE "X: %030000d\r\n\r\n", 0);
    assert_starts(ask(f, request), "HTTP/1.1 431");
    (void)snprintf(request, 40000, "GET /%030000d HTTP/1.1\r\n" CLOSE "\r\n", 0);
    assert_starts(ask(f, request), "HTTP/1.1 414");
    free(request);
    stop(f);
}

static void connection_that_stays_silent_is_closed(void **state)
{
    struct fixture *f = start(&(struct http_options){.idle_timeout_s = 1});
    int silent = dial(f);
    int half = dial(f);
    int body = dial(f);

    (void)state;
    raw_say(half, "GET / HTTP/1.1\r\nHos");
    raw_say(body, "POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 100\r\n\r\nabc");
    free(hear(silent, NULL));
    free(hear(half, NULL));
    free(hear(body, NULL));
    close(silent);
    close(half);
    close(body);
    stop(f);
}

/* Sends a byte every 50 ms until the server has enough; for 15 s at most. */
static void assert_cut_off_while_dripping(const struct fixture *f, const char *start)
{
    int fd = dial(f);
    int drops = 0;

    raw_say(fd, start);
    while (drops < 300 && raw_send(fd, "x", 1)) {
        struct pollfd closed = {fd, POLLIN, 0};

        if (poll(&closed, 1, 50) == 1)
            break;
        drops++;
    }
    assert_in_range(drops, 1, 299);
    close(fd);
}

static void request_that_drips_is_cut_off_although_never_silent(void **state)
{
    struct fixture *f = start(&(struct http_options){.idle_timeout_s = 1});

    (void)state;
    assert_cut_off_while_dripping(f,
                                  "POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 4000\r\n\r\n");
    assert_cut_off_while_dripping(f, "GET / HTTP/1.1\r\nHost: x\r\nX: ");
    assert_cut_off_while_dripping(f, "GET /");
    stop(f);
}

static void full_queue_is_503_with_retry_after(void **state)
{
    struct fixture *f = start(&(struct http_options){.workers = 1, .queue_max = 1});
    int inside = dial(f);
    int queued = dial(f);
    struct http_stats stats;
    char *answer;

    (void)state;
    raw_say(inside, "GET /block HTTP/1.1\r\n" CLOSE "\r\n");
    sem_wait(&f->entered);
    raw_say(queued, "GET /block HTTP/1.1\r\n" CLOSE "\r\n");
    do
        http_stats(f->server, &stats);
    while (stats.queued < 1);
    answer = ask(f, "GET / HTTP/1.1\r\n" CLOSE "\r\n");
    assert_non_null(strstr(answer, "Retry-After: "));
    assert_starts(answer, "HTTP/1.1 503");
    sem_post(&f->leave);
    sem_post(&f->leave);
    assert_starts(hear(inside, NULL), "HTTP/1.1 200");
    assert_starts(hear(queued, NULL), "HTTP/1.1 200");
    http_stats(f->server, &stats);
    assert_int_equal(stats.refused_busy, 1);
    close(inside);
    close(queued);
    stop(f);
}

static void answer_may_come_later_from_another_thread(void **state)
{
    struct fixture *f = start(&(struct http_options){.workers = 1});
    int fd = dial(f);

    (void)state;
    raw_say(fd, "GET /late HTTP/1.1\r\n" CLOSE "\r\n");
    sem_wait(&f->have_kept);
    assert_starts(ask(f, "GET / HTTP/1.1\r\n" CLOSE "\r\n"), "HTTP/1.1 200"); /* worker is free */
    answer_text(f->kept, 202, "late");
    assert_starts(hear(fd, NULL), "HTTP/1.1 202");
    close(fd);
    stop(f);
}

static void client_that_leaves_before_a_late_answer_does_no_harm(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    int fd = dial(f);

    (void)state;
    raw_say(fd, "GET /late HTTP/1.1\r\n" CLOSE "\r\n");
    sem_wait(&f->have_kept);
    close(fd);
    answer_text(f->kept, 200, "nobody");
    stop(f);
}

static void *make_numbers(void *context)
{
    struct numbers *numbers = context;
    struct http_stream *stream = numbers->stream;

    for (unsigned i = 0; i < STREAM_ITEMS; i++) {
        (void)atomic_fetch_add(&numbers->made, 1);
        http_stream_wake(stream);
    }
    return NULL;
}

static void stream_loses_no_wake_up(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    int fd = dial(f);
    pthread_t maker;
    char *answer;
    char *at;

    (void)state;
    raw_say(fd, "GET /stream HTTP/1.0\r\n\r\n"); /* 1.0: lines without chunks between them */
    sem_wait(&f->have_numbers);
    assert_int_equal(pthread_create(&maker, NULL, make_numbers, f->numbers), 0);
    answer = hear(fd, NULL);
    pthread_join(maker, NULL);
    at = strstr(answer, "\r\n\r\n") + 4;
    for (unsigned i = 0; i < STREAM_ITEMS; i++) {
        assert_int_equal(strtoul(at, &at, 10), i);
        at++;
    }
    free(answer);
    close(fd);
    stop(f);
}

static void stream_whose_client_left_is_closed_at_the_next_write(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    int fd = dial(f);

    (void)state;
    raw_say(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    sem_wait(&f->have_numbers);
    free(hear(fd, "\r\n\r\n"));
    close(fd);
    /* The first write makes the peer send a reset, a later one sees it. One wake for all of them:
     * after the close none is allowed. */
    atomic_store(&f->numbers->made, STREAM_ITEMS - 1);
    http_stream_wake(f->numbers->stream);
    for (int i = 0; i < PATIENCE_MS && atomic_load(&f->n_closed) == 0; i++)
        (void)poll(NULL, 0, 1);
    assert_int_equal(atomic_load(&f->n_closed), 1);
    stop(f);
}

static void idle_stream_outlives_the_idle_timeout(void **state)
{
    struct fixture *f = start(&(struct http_options){.idle_timeout_s = 1});
    int fd = dial(f);

    (void)state;
    raw_say(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    sem_wait(&f->have_numbers);
    free(hear(fd, "\r\n\r\n"));
    (void)poll(NULL, 0, 2500); /* the time itself is what is tested */
    (void)atomic_fetch_add(&f->numbers->made, 1);
    http_stream_wake(f->numbers->stream);
    free(hear(fd, "\r\n0\n"));
    atomic_store(&f->numbers->made, STREAM_ITEMS);
    http_stream_wake(f->numbers->stream);
    free(hear(fd, "\r\n0\r\n\r\n"));
    close(fd);
    stop(f);
}

static void addresses_are_understood_or_refused(void **state)
{
    static const struct {
        const char *text;
        int code;
        bool loopback;
    } rows[] = {
        {"127.0.0.1:0", 0, true},
        {"[::1]:0", 0, true},
        {"0.0.0.0:0", 0, false},
        {"localhost:0", 0, true},
        {"8080", E_CONFIG, true},
        {":8080", E_CONFIG, true},
        {"127.0.0.1:", E_CONFIG, true},
        {"::1:80", E_CONFIG, true},
        {"[::1:80", E_CONFIG, true},
        {"127.0.0.1:http", E_CONFIG, true},
        {"127.0.0.1:123456789", E_CONFIG, true},
    };
    struct fixture *f = start(&(struct http_options){0});

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = ERROR_INIT;
        char url[HTTP_URL_SIZE];
        int rc = http_listen(f->server, rows[i].text, url, &err);

        if (rc == E_IO && rows[i].text[0] == '[')
            continue; /* a machine without IPv6 */
        if (rc != rows[i].code)
            fail_msg("%s: %d, %s", rows[i].text, rc, err.message);
        if (rc == 0)
            assert_int_equal(http_address_is_loopback(rows[i].text), rows[i].loopback);
    }
    stop(f);
}

static void taken_address_is_refused_with_the_reason(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    struct error err = ERROR_INIT;
    char url[HTTP_URL_SIZE];

    (void)state;
    assert_int_equal(http_listen(f->server, f->url + strlen("http://"), url, &err), E_IO);
    assert_non_null(strstr(err.message, "in use"));
    stop(f);
}

static void stopping_lets_the_answer_in_progress_out(void **state)
{
    struct fixture *f = start(&(struct http_options){0});
    int kept_alive = dial(f);
    int inside = dial(f);

    (void)state;
    raw_say(kept_alive, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    free(hear(kept_alive, "/|"));
    raw_say(inside, "GET /block HTTP/1.1\r\nHost: x\r\n\r\n");
    sem_wait(&f->entered);
    http_stop_accepting(f->server);
    raw_say(kept_alive, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_starts(hear(kept_alive, NULL), "HTTP/1.1 503");
    sem_post(&f->leave);
    assert_starts(hear(inside, "released"), "HTTP/1.1 200");
    close(kept_alive);
    close(inside);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_on_one_connection_until_it_is_closed),
        cmocka_unit_test(path_and_query_arrive_as_they_were_sent),
        cmocka_unit_test(head_has_the_length_but_not_the_body),
        cmocka_unit_test(body_over_the_limit_is_413_whether_announced_or_chunked),
        cmocka_unit_test(body_without_end_is_cut_off),
        cmocka_unit_test(body_at_the_limit_is_taken),
        cmocka_unit_test(bodies_over_the_common_limit_are_503),
        cmocka_unit_test(long_header_is_431_and_long_target_414),
        cmocka_unit_test(connection_that_stays_silent_is_closed),
        cmocka_unit_test(request_that_drips_is_cut_off_although_never_silent),
        cmocka_unit_test(full_queue_is_503_with_retry_after),
        cmocka_unit_test(answer_may_come_later_from_another_thread),
        cmocka_unit_test(client_that_leaves_before_a_late_answer_does_no_harm),
        cmocka_unit_test(stream_loses_no_wake_up),
        cmocka_unit_test(stream_whose_client_left_is_closed_at_the_next_write),
        cmocka_unit_test(idle_stream_outlives_the_idle_timeout),
        cmocka_unit_test(addresses_are_understood_or_refused),
        cmocka_unit_test(taken_address_is_refused_with_the_reason),
        cmocka_unit_test(stopping_lets_the_answer_in_progress_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

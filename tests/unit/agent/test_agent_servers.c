/* The agent's two servers against those who mean it ill: many connections that do nothing, requests
 * of two meanings, large bodies, a port that is taken. Real sockets.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/ask_server.h"
#include "agent/status_server.h"
#include "base/clock.h"
#include "tests/lib/raw_client.h"

enum { SLOW_CLIENTS = 385, IDLE_CLIENTS = 200, LARGE = 5 * 1024 * 1024 };

struct world {
    struct board *board;
    _Atomic int64_t pulse;
    struct status_server *status;
    char dir[64];
    char socket[96];
    uv_loop_t loop;
    uv_async_t end;
    struct ask_server *ask;
    pthread_t thread;
};

/* ---- the loop's thread ---- */

static void on_question(void *context, struct ask_question *question, struct ask_exchange *exchange)
{
    (void)context;
    ask_question_destroy(question);
    ask_server_answer(exchange, ASK_NOT_FOUND, "{\"result\":\"not_found\"}");
}

static void on_closed(void *context)
{
    (void)context;
}

static void on_end(uv_async_t *async)
{
    struct world *world = async->data;

    ask_server_quiesce(world->ask);
    ask_server_stop(world->ask, on_closed, NULL);
    uv_close((uv_handle_t *)async, NULL);
}

static void *run_loop(void *context)
{
    (void)uv_run(context, UV_RUN_DEFAULT); /* until the handles are closed */
    return NULL;
}

static int open_world(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    struct uuid id = {{1}};
    struct error err = ERROR_INIT;

    world->board = board_create(&id, "host", &(struct uuid){{7}});
    assert_non_null(world->board);
    atomic_store(&world->pulse, clock_boot_ms());
    assert_int_equal(
        status_server_start("127.0.0.1:0", world->board, &world->pulse, &world->status, &err), 0);
    (void)snprintf(world->dir, sizeof(world->dir), "/tmp/servers.XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    (void)snprintf(world->socket, sizeof(world->socket), "%s/" ASK_SOCKET_NAME, world->dir);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    assert_int_equal(uv_async_init(&world->loop, &world->end, on_end), 0);
    world->end.data = world;
    assert_int_equal(ask_server_start(&world->loop, world->dir, world->board, on_question, world,
                                      &world->ask, &err),
                     0);
    assert_int_equal(pthread_create(&world->thread, NULL, run_loop, &world->loop), 0);
    *state = world;
    return 0;
}

static int close_world(void **state)
{
    struct world *world = *state;

    assert_int_equal(uv_async_send(&world->end), 0);
    pthread_join(world->thread, NULL);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    status_server_stop(world->status);
    board_destroy(world->board);
    assert_int_equal(rmdir(world->dir), 0);
    free(world);
    return 0;
}

static int dial_status(const void *context)
{
    const struct world *world = context;

    return raw_dial(status_server_port(world->status));
}

static int dial_ask(const void *context)
{
    const struct world *world = context;

    return raw_dial_unix(world->socket);
}

static void assert_answer(int fd, const char *request, const char *start)
{
    char *answer;

    raw_say(fd, request);
    answer = raw_hear(fd, "\r\n\r\n", NULL);
    if (strncmp(answer, start, strlen(start)) != 0)
        fail_msg("'%s' instead of '%s'", answer, start);
    free(answer);
    (void)close(fd);
}

#define HEALTH   "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
#define QUESTION "{\"secret\":\"s\",\"sources\":[{\"type\":\"cp\"}]}"
#define ASK                                                                                        \
    "POST /v1/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\nConnection: "                      \
    "close\r\n\r\n" QUESTION

/* ---- tests ---- */

static void idle_connections_keep_nobody_from_the_status_pages(void **state)
{
    struct world *world = *state;
    int crowd[IDLE_CLIENTS];

    for (int i = 0; i < IDLE_CLIENTS; i++) {
        crowd[i] = dial_status(world);
        if (i % 2 == 0)
            (void)raw_send(crowd[i], "GET /heal", 9);
    }
    assert_answer(dial_status(world), HEALTH, "HTTP/1.1 200");
    for (int i = 0; i < IDLE_CLIENTS; i++)
        (void)close(crowd[i]);
}

static void slow_clients_keep_nobody_from_asking(void **state)
{
    struct world *world = *state;
    int crowd[SLOW_CLIENTS];

    assert_int_equal(strlen(QUESTION), 40);
    for (int i = 0; i < SLOW_CLIENTS; i++) {
        crowd[i] = dial_ask(world);
        (void)raw_send(crowd[i], ASK, strlen(ASK) - (i % 2 == 0 ? 1 : 60)); /* all but the end */
    }
    assert_answer(dial_ask(world), ASK, "HTTP/1.1 200");
    for (int i = 0; i < SLOW_CLIENTS; i++)
        (void)close(crowd[i]);
}

static void request_of_two_meanings_is_400_and_the_connection_ends(void **state)
{
    char *taken = raw_find_taken(dial_status, *state);

    if (taken == NULL)
        taken = raw_find_taken(dial_ask, *state);
    if (taken != NULL)
        fail_msg("%s", taken);
}

static void kept_connection_asks_again_and_again(void **state)
{
    int fd = dial_ask(*state);

    for (int i = 0; i < 100; i++) {
        char *answer;

        raw_say(fd, "POST /v1/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n" QUESTION);
        answer = raw_hear(fd, "not_found\"}", NULL);
        assert_int_equal(strncmp(answer, "HTTP/1.1 200", 12), 0);
        free(answer);
    }
    (void)close(fd);
}

static void large_question_ends_in_413_not_in_a_reset(void **state)
{
    char *body = calloc(1, LARGE);
    int fd = dial_ask(*state);
    char *answer;
    bool reset;

    raw_say(fd, "POST /v1/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 5242880\r\nConnection: "
                "close\r\n\r\n");
    assert_true(raw_send(fd, body, LARGE));
    answer = raw_hear(fd, NULL, &reset);
    assert_false(reset);
    assert_int_equal(strncmp(answer, "HTTP/1.1 413", 12), 0);
    free(answer);
    free(body);
    (void)close(fd);
}

static void port_of_another_agent_is_refused(void **state)
{
    struct world *world = *state;
    struct status_server *second = NULL;
    struct error err = ERROR_INIT;
    char listen[32];

    (void)snprintf(listen, sizeof(listen), "127.0.0.1:%u", status_server_port(world->status));
    assert_int_equal(status_server_start(listen, world->board, &world->pulse, &second, &err), E_IO);
    assert_non_null(strstr(err.message, "in use"));
    assert_non_null(strstr(err.message, listen));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_connections_keep_nobody_from_the_status_pages),
        cmocka_unit_test(slow_clients_keep_nobody_from_asking),
        cmocka_unit_test(request_of_two_meanings_is_400_and_the_connection_ends),
        cmocka_unit_test(kept_connection_asks_again_and_again),
        cmocka_unit_test(large_question_ends_in_413_not_in_a_reset),
        cmocka_unit_test(port_of_another_agent_is_refused),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}

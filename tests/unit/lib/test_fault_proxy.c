/* The fault proxy does what its header says, or the tests that use it prove nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/lib/fake_source.h"
#include "tests/lib/fault_proxy.h"

/* What the server answers to everything. */
#define HEAD    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
#define LETTERS "abcdefghijklmnopqrstuvwxyz"

enum { AT = sizeof(HEAD) - 1, ANSWER_MAX = 1024 * 1024 };

struct world {
    struct fake_source *fake;
    struct fault_proxy *proxy;
    char *answer;
    size_t size;
    bool reset;
};

static void respond(void *context, const struct fake_request *request, struct fake_reply *reply)
{
    (void)context;
    (void)request;
    fake_head(&reply->bytes, "200 OK", "");
    assert_int_equal(buffer_append_string(&reply->bytes, LETTERS), 0);
}

static uint16_t port_of(const char *url)
{
    return (uint16_t)strtoul(strrchr(url, ':') + 1, NULL, 10);
}

static int open_world(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    world->answer = malloc(ANSWER_MAX);
    assert_non_null(world->answer);
    world->fake = fake_source_start(respond, NULL, NULL);
    world->proxy = fault_proxy_start(port_of(fake_source_url(world->fake)), NULL, NULL);
    *state = world;
    return 0;
}

static int close_world(void **state)
{
    struct world *world = *state;

    fault_proxy_stop(world->proxy);
    fake_source_stop(world->fake);
    free(world->answer);
    free(world);
    return 0;
}

static int connect_and_ask(struct world *world, const char *path)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(fault_proxy_port(world->proxy))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char request[128];

    assert_true(fd >= 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n\r\n", path);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    return fd;
}

static void read_to_end(struct world *world, int fd)
{
    ssize_t count;

    world->size = 0;
    while ((count = recv(fd, world->answer + world->size, ANSWER_MAX - 1 - world->size, 0)) > 0)
        world->size += (size_t)count;
    world->reset = count < 0;
    world->answer[world->size] = 0;
    assert_int_equal(close(fd), 0);
}

static void ask(struct world *world, const char *path)
{
    read_to_end(world, connect_and_ask(world, path));
}

static void set(struct world *world, struct fault fault)
{
    fault_proxy_set(world->proxy, &fault);
}

/* ---- tests ---- */

static void without_a_fault_everything_passes(void **state)
{
    struct world *world = *state;

    ask(world, "/");
    assert_string_equal(world->answer, HEAD LETTERS);
    assert_int_equal(fault_proxy_connections(world->proxy), 1);
}

static void cut_and_reset_stop_at_the_byte(void **state)
{
    struct world *world = *state;

    for (size_t cut = 0; cut <= AT + 26; cut += 7) {
        set(world, (struct fault){.kind = FAULT_CUT, .at = cut});
        ask(world, "/");
        assert_false(world->reset);
        assert_int_equal(world->size, cut);
    }
    set(world, (struct fault){.kind = FAULT_RESET, .at = AT + 3});
    ask(world, "/");
    assert_true(world->reset);
}

static void bytes_are_doubled_exchanged_inverted_and_flooded(void **state)
{
    struct world *world = *state;

    set(world, (struct fault){.kind = FAULT_DUPLICATE, .at = AT + 2, .size = 3});
    ask(world, "/");
    assert_string_equal(world->answer, HEAD "abcdecdefghijklmnopqrstuvwxyz");
    set(world, (struct fault){.kind = FAULT_REORDER, .at = AT + 2, .size = 3});
    ask(world, "/");
    assert_string_equal(world->answer, HEAD "abfghcdeijklmnopqrstuvwxyz");
    set(world, (struct fault){.kind = FAULT_CORRUPT, .at = AT + 1, .size = 24});
    ask(world, "/");
    assert_string_equal(world->answer, HEAD "a\x9d"
                                            "cdefghijklmnopqrstuvwxy\x85");
    set(world, (struct fault){.kind = FAULT_FLOOD, .at = AT + 1, .size = 200000});
    ask(world, "/");
    assert_int_equal(world->size, AT + 26 + 200000);
    assert_int_equal(world->answer[AT + 200000], 'x');
    assert_string_equal(world->answer + AT + 200001, "bcdefghijklmnopqrstuvwxyz");
}

static void stall_holds_until_the_fault_is_over(void **state)
{
    struct world *world = *state;
    int fd;

    set(world, (struct fault){.kind = FAULT_STALL, .at = AT});
    fd = connect_and_ask(world, "/");
    assert_int_equal(recv(fd, world->answer, AT, MSG_WAITALL), AT);
    while (fault_proxy_hits(world->proxy) == 0)
        (void)usleep(1000);
    assert_int_equal(recv(fd, world->answer, 1, MSG_DONTWAIT), -1);
    set(world, (struct fault){.kind = FAULT_NONE});
    read_to_end(world, fd);
    assert_string_equal(world->answer, LETTERS);
}

static void drip_loses_nothing(void **state)
{
    struct world *world = *state;

    set(world, (struct fault){.kind = FAULT_DRIP, .size = 5, .ms = 1});
    ask(world, "/");
    assert_string_equal(world->answer, HEAD LETTERS);
}

static void answer_comes_from_the_proxy_and_for_the_match_alone(void **state)
{
    struct world *world = *state;

    set(world, (struct fault){.kind = FAULT_ANSWER, .match = "/this", .text = "own words"});
    ask(world, "/this");
    assert_string_equal(world->answer, "own words");
    ask(world, "/that");
    assert_string_equal(world->answer, HEAD LETTERS);
    assert_int_equal(fault_proxy_hits(world->proxy), 1);
}

static void fault_is_over_after_its_times(void **state)
{
    struct world *world = *state;

    set(world, (struct fault){.kind = FAULT_CUT, .at = 3, .times = 2});
    for (int i = 0; i < 3; i++) {
        ask(world, "/");
        assert_int_equal(world->size, i < 2 ? 3 : AT + 26);
    }
}

static void commands_are_read_or_refused(void **state)
{
    struct world *world = *state;

    assert_int_equal(fault_proxy_command(world->proxy, "cut 5 /this"), 0);
    ask(world, "/this");
    assert_int_equal(world->size, 5);
    ask(world, "/that");
    assert_int_equal(world->size, AT + 26);
    assert_int_equal(fault_proxy_command(world->proxy, "answer 418"), 0);
    ask(world, "/that");
    assert_non_null(strstr(world->answer, "HTTP/1.1 418 "));
    assert_int_equal(fault_proxy_command(world->proxy, "none"), 0);
    assert_int_equal(fault_proxy_command(world->proxy, "cut"), -1);
    assert_int_equal(fault_proxy_command(world->proxy, "burn 5"), -1);
    assert_int_equal(fault_proxy_command(world->proxy, ""), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(without_a_fault_everything_passes),
        TEST(cut_and_reset_stop_at_the_byte),
        TEST(bytes_are_doubled_exchanged_inverted_and_flooded),
        TEST(stall_holds_until_the_fault_is_over),
        TEST(drip_loses_nothing),
        TEST(answer_comes_from_the_proxy_and_for_the_match_alone),
        TEST(fault_is_over_after_its_times),
        TEST(commands_are_read_or_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

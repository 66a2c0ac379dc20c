/* realm-agent as a process: start, signals, reload, status pages, stop. The child's log is what is
 * waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/lib/child.h"
#include "tests/lib/fake_plane.h"

enum { GUARD_S = 30 };

struct daemon {
    pid_t pid;
    FILE *log;
    char line[4096]; /* the last that was waited for */
};

struct world {
    char dir[64];
    char config[128];
    struct fake_plane *plane;
};

/* ---- files ---- */

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)facts;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void write_file(const struct world *world, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void write_file(const struct world *world, const char *name, const char *format, ...)
{
    char path[128];
    va_list args;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", world->dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    va_start(args, format);
    assert_true(vfprintf(file, format, args) > 0);
    va_end(args);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void write_config(const struct world *world, const char *more)
{
    write_file(world, "config.yaml",
               "store_dir: %s/store\ncontrol_plane_id: " FAKE_PLANE_ID "\nhost_name: host\n"
               "listen: 127.0.0.1:0\nlog: {level: info, format: text}\n"
               "sources:\n  - region: us\n    urls: [%s]\n    token_file: %s/token\n%s",
               world->dir, fake_plane_url(world->plane), world->dir, more);
}

static int open_world(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    (void)alarm(GUARD_S); /* a hanging child must not hang the tests */
    (void)snprintf(world->dir, sizeof(world->dir), "/tmp/test_agent_daemon.XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    (void)snprintf(world->config, sizeof(world->config), "%s/config.yaml", world->dir);
    world->plane = fake_plane_start(3, NULL);
    write_file(world, "token", "first\n");
    write_config(world, "");
    *state = world;
    return 0;
}

static int close_world(void **state)
{
    struct world *world = *state;

    fake_plane_stop(world->plane);
    assert_int_equal(nftw(world->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(world);
    return 0;
}

/* ---- the child ---- */

static void run_child(const struct world *world, int log_fd)
{
    const char *build = getenv("BUILD");
    char program[4096];
    char option[] = "--config";
    char config[sizeof(world->config)];
    char *const arguments[] = {program, option, config, NULL};

    (void)snprintf(program, sizeof(program), "%s/bin/realm-agent", build != NULL ? build : "build");
    memcpy(config, world->config, sizeof(config));
    (void)dup2(log_fd, STDERR_FILENO);
    (void)close_range(STDERR_FILENO + 1, ~0U, 0); /* the fake's sockets are not the agent's */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)execv(program, arguments);
    _exit(127);
}

static struct daemon start(const struct world *world)
{
    struct daemon child = {.pid = 0};
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    child.pid = child_fork();
    if (child.pid == 0) {
        (void)close(ends[0]);
        run_child(world, ends[1]);
    }
    assert_true(child.pid > 0);
    assert_int_equal(close(ends[1]), 0);
    child.log = fdopen(ends[0], "r");
    assert_non_null(child.log);
    return child;
}

/* Reads the log up to a line that says this. */
static void wait_for(struct daemon *child, const char *says)
{
    char seen[16384] = "";

    while (fgets(child->line, sizeof(child->line), child->log) != NULL) {
        if (strstr(child->line, says) != NULL)
            return;
        if (strlen(seen) + strlen(child->line) < sizeof(seen))
            (void)snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%s", child->line);
    }
    fail_msg("\"%s\" is not in the log:\n%s", says, seen);
}

/* The exit code; a bad one comes with the rest of the log. */
static int wait_for_exit(struct daemon *child)
{
    int status;

    while (fgets(child->line, sizeof(child->line), child->log) != NULL) {
        if (strstr(child->line, "ERROR: ") != NULL || strstr(child->line, "    #") != NULL)
            print_message("%s", child->line); /* of a sanitizer */
    }
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    assert_int_equal(fclose(child->log), 0);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void send_signal(const struct daemon *child, int number)
{
    assert_int_equal(kill(child->pid, number), 0);
}

/* ---- status pages ---- */

static unsigned port_of(const struct daemon *child)
{
    return (unsigned)strtoul(strstr(child->line, "(port ") + 6, NULL, 10);
}

static void get(unsigned port, const char *path, char *answer, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char request[128];
    size_t used = 0;
    ssize_t count;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)snprintf(request, sizeof(request),
                   "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    while ((count = read(fd, answer + used, size - 1 - used)) > 0)
        used += (size_t)count;
    answer[used] = 0;
    assert_int_equal(close(fd), 0);
}

static void assert_answers(unsigned port, const char *path, const char *status, const char *says)
{
    char *answer = malloc(256 * 1024);

    assert_non_null(answer);
    get(port, path, answer, 256 * 1024);
    if (strncmp(answer + 9, status, 3) != 0 || strstr(answer, says) == NULL)
        fail_msg("%s: no \"%s\" in: %s", path, says, answer);
    free(answer);
}

/* ---- tests ---- */

static void sigterm_and_sigint_stop_in_order(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT};
    struct world *world = *state;

    for (size_t i = 0; i < 2; i++) {
        struct daemon child = start(world);

        wait_for(&child, i == 0 ? "published" : "connected");
        send_signal(&child, signals[i]);
        wait_for(&child, "stopped at version");
        assert_int_equal(wait_for_exit(&child), 0);
    }
    assert_int_equal(world->plane->snapshots, 1);
}

static void sigterm_right_after_the_start_stops_too(void **state)
{
    struct world *world = *state;
    struct daemon child;

    world->plane->down = true;
    child = start(world);
    wait_for(&child, "realm-agent " REALMSTORE_VERSION);
    send_signal(&child, SIGTERM);
    assert_int_equal(wait_for_exit(&child), 0);
}

static void second_agent_on_one_store_is_refused(void **state)
{
    struct world *world = *state;
    struct daemon first = start(world);
    struct daemon second;

    wait_for(&first, "connected");
    second = start(world);
    assert_int_equal(wait_for_exit(&second), 2);
    send_signal(&first, SIGTERM);
    assert_int_equal(wait_for_exit(&first), 0);
}

static void status_pages_answer(void **state)
{
    struct world *world = *state;
    struct daemon child;
    unsigned port;

    world->plane->down = true;
    child = start(world);
    wait_for(&child, "status on");
    port = port_of(&child);
    assert_answers(port, "/healthz", "200", "ok");
    assert_answers(port, "/readyz", "503", "no complete copy");
    assert_answers(port, "/none", "404", "/metrics");
    world->plane->down = false;
    wait_for(&child, "published");
    assert_answers(port, "/readyz", "200", "ready");
    assert_answers(port, "/status", "200", "\"version\":3");
    assert_answers(port, "/metrics", "200", "realm_agent_consumers{region=\"us\"} 3\n");
    assert_answers(port, "/metrics", "200", "# TYPE realm_agent_propagation_seconds histogram\n");
    assert_answers(port, "/metrics", "200", "realm_agent_snapshots_total{region=\"us\"} 1\n");
    send_signal(&child, SIGTERM);
    assert_int_equal(wait_for_exit(&child), 0);
}

static void reload_without_a_change_keeps_the_stream(void **state)
{
    struct world *world = *state;
    struct daemon child = start(world);
    unsigned feeds;

    wait_for(&child, "published");
    wait_for(&child, "connected");
    feeds = world->plane->feeds;
    send_signal(&child, SIGHUP);
    wait_for(&child, "configuration reloaded");
    assert_int_equal(world->plane->feeds, feeds);
    send_signal(&child, SIGTERM);
    assert_int_equal(wait_for_exit(&child), 0);
    assert_int_equal(world->plane->feeds, feeds);
}

static void reload_with_a_new_token_restarts_the_source(void **state)
{
    struct world *world = *state;
    struct daemon child = start(world);

    wait_for(&child, "published");
    write_file(world, "token", "second\n");
    send_signal(&child, SIGHUP);
    wait_for(&child, "stopped at version 3");
    wait_for(&child, "serving version 3");
    wait_for(&child, "connected");
    send_signal(&child, SIGTERM);
    assert_int_equal(wait_for_exit(&child), 0);
    assert_int_equal(world->plane->snapshots, 1);
}

static void reload_adds_and_removes_sources(void **state)
{
    struct world *world = *state;
    struct daemon child = start(world);
    char more[512];

    wait_for(&child, "published");
    (void)snprintf(more, sizeof(more),
                   "  - region: eu\n    urls: [http://127.0.0.1:1]\n    token_file: %s/token\n",
                   world->dir);
    write_config(world, more);
    send_signal(&child, SIGHUP);
    wait_for(&child, "region=\"eu\"");
    write_config(world, "");
    send_signal(&child, SIGHUP);
    do {
        wait_for(&child, "region=\"eu\"");
    } while (strstr(child.line, "stopped at version") == NULL);
    send_signal(&child, SIGTERM);
    assert_int_equal(wait_for_exit(&child), 0);
}

static void reload_of_a_bad_file_keeps_the_former_configuration(void **state)
{
    struct world *world = *state;
    struct daemon child = start(world);

    wait_for(&child, "published");
    write_file(world, "config.yaml", "stor_dir: x\n");
    send_signal(&child, SIGHUP);
    wait_for(&child, "the former configuration stays");
    write_config(world, "");
    send_signal(&child, SIGHUP);
    wait_for(&child, "configuration reloaded");
    send_signal(&child, SIGTERM);
    assert_int_equal(wait_for_exit(&child), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(sigterm_and_sigint_stop_in_order),
        TEST(sigterm_right_after_the_start_stops_too),
        TEST(second_agent_on_one_store_is_refused),
        TEST(status_pages_answer),
        TEST(reload_without_a_change_keeps_the_stream),
        TEST(reload_with_a_new_token_restarts_the_source),
        TEST(reload_adds_and_removes_sources),
        TEST(reload_of_a_bad_file_keeps_the_former_configuration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

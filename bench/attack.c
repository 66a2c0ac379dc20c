/* attack.c - how late a revocation is while somebody attacks the control plane, per idle.
 *
 *     attack SCENARIO SECONDS URL ADMIN_TOKEN_FILE REALM CONSUMER STORE_DIR SERVER_PID
 *            [TOKEN_FILE CONTROL_PLANE]
 *
 * Keys are made and deleted one after the other for SECONDS, first in quiet, then under the attack,
 * each until the host in STORE_DIR refuses the deleted one. Printed are the p99 from the request
 * and from its answer, attacked per idle, and the most memory that the server took.
 *
 * A scenario is a row of a table: so many connections, what each of them sends at first, and what
 * it goes on sending. None reads. One that the server ends is made anew, until the measurement is
 * over.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <curl/curl.h>
#include <sys/socket.h>

#include "bench/lib/probe.h"

enum {
    REQUEST_SIZE = 4096,
    CONNECTIONS_MAX = 1024,
    SAMPLES_MAX = 1000000,
    TURN_MS = 20, /* between two looks of the attacker */
    WARM_UP_MS = 3000
};

struct attack;

struct scenario {
    const char *name;
    size_t connections;
    /* What connection `n` sends at first; at most REQUEST_SIZE - 1 bytes. */
    void (*request)(const struct attack *attack, size_t n, char *out);
    const char *drip; /* what it goes on sending; NULL: nothing */
    int drip_ms;      /* how often */
    int lives_ms;     /* it goes by itself after so long; 0: never */
};

struct attack {
    const struct scenario *scenario;
    char host[128];
    char port[16];
    char token[512];
    const char *control_plane;
    char epoch[64];
    long long version;
    pid_t server;
    unsigned long max_kib;
    atomic_bool stop;
    atomic_ulong made;
    pthread_t thread;
};

/* ---- scenarios ---- */

static void put_feed(const struct attack *attack, size_t n, const char *wish, char *out)
{
    (void)snprintf(
        out, REQUEST_SIZE,
        "GET /v1/sync/feed?control_plane_id=%s&host=attacker-%zu&epoch=%s&version=%lld%s "
        "HTTP/1.1\r\nHost: attack\r\nAuthorization: Bearer %s\r\n\r\n",
        attack->control_plane, n, attack->epoch, attack->version, wish, attack->token);
}

/* Feeds that wish for the content of all buckets of the largest realm, and never read. Each leaves
 * another bucket out, so that no two can share what is made. */
static void put_repair(const struct attack *attack, size_t n, char *out)
{
    char wish[] =
        "&repair=1&buckets=ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    wish[sizeof(wish) - 2 - n % 64] = 'e';
    put_feed(attack, n, wish, out);
}

/* Somebody without credentials announces a megabyte and sends a byte now and then. */
static void put_slow_body(const struct attack *attack, size_t n, char *out)
{
    (void)attack;
    (void)n;
    (void)snprintf(
        out, REQUEST_SIZE,
        "POST /v1/sync/ack HTTP/1.1\r\nHost: attack\r\nContent-Length: 1048576\r\n\r\n{");
}

/* The same with a host's credentials. */
static void put_slow_body_of_host(const struct attack *attack, size_t n, char *out)
{
    (void)n;
    (void)snprintf(out, REQUEST_SIZE,
                   "POST /v1/sync/ack HTTP/1.1\r\nHost: attack\r\nAuthorization: Bearer %s\r\n"
                   "Content-Length: 1048576\r\n\r\n{",
                   attack->token);
}

static void put_unfinished(const struct attack *attack, size_t n, char *out)
{
    (void)attack;
    (void)n;
    (void)snprintf(out, REQUEST_SIZE, "GET /healthz HTTP/1.1\r\nHost: att");
}

/* A token that nobody has, as often as a connection allows. */
static void put_false_token(const struct attack *attack, size_t n, char *out)
{
    (void)attack;
    (void)snprintf(out, REQUEST_SIZE,
                   "GET /v1/realms HTTP/1.1\r\nHost: attack\r\n"
                   "Authorization: Bearer false-token-false-token-%zu\r\n\r\n",
                   n);
}

static const struct scenario scenarios[] = {
    {"unread_repairs", 60, put_repair, NULL, 0, 0},
    {"abandoned_repairs", 60, put_repair, NULL, 0, 500},
    {"slow_bodies", 66, put_slow_body, "x", 100, 0},
    {"slow_bodies_of_a_host", 66, put_slow_body_of_host, "x", 100, 0},
    {"unfinished_requests", 500, put_unfinished, NULL, 0, 0},
    {"false_tokens", 200, put_false_token, NULL, 0, 0},
};

static const struct scenario *find_scenario(const char *name)
{
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    }
    probe_die("no such scenario");
}

/* ---- the attacker's thread ---- */

static int connect_to(const struct attack *attack)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int fd = -1;

    if (getaddrinfo(attack->host, attack->port, &hints, &found) != 0)
        return -1;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        (void)close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

static int open_one(struct attack *attack, size_t n)
{
    char request[REQUEST_SIZE];
    int fd = connect_to(attack);

    if (fd < 0)
        return -1;
    attack->scenario->request(attack, n, request);
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) {
        (void)close(fd);
        return -1;
    }
    atomic_fetch_add(&attack->made, 1);
    return fd;
}

/* False: the server has ended it. */
static bool is_open(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};

    return poll(&poll_fd, 1, 0) == 0 || (poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0;
}

struct connection {
    int fd; /* -1: none */
    double until_us;
};

static void end(struct connection *connection)
{
    (void)close(connection->fd);
    connection->fd = -1;
}

static void drip_into(struct connection *connection, const char *text)
{
    if (send(connection->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno != EAGAIN)
        end(connection);
}

static void turn(struct attack *attack, struct connection *connections, bool drip)
{
    const struct scenario *scenario = attack->scenario;
    const unsigned long kib = probe_anonymous_kib(attack->server);

    if (kib > attack->max_kib)
        attack->max_kib = kib;
    for (size_t i = 0; i < scenario->connections; i++) {
        struct connection *connection = &connections[i];
        const double now_us = probe_now_us();

        if (connection->fd >= 0 && drip)
            drip_into(connection, scenario->drip);
        if (connection->fd >= 0 &&
            (!is_open(connection->fd) || (scenario->lives_ms > 0 && now_us > connection->until_us)))
            end(connection);
        if (connection->fd < 0) {
            connection->fd = open_one(attack, i);
            connection->until_us = now_us + scenario->lives_ms * 1e3;
        }
    }
}

static void *attack_main(void *context)
{
    const struct timespec pause = {0, TURN_MS * 1000000L};
    struct attack *attack = context;
    const struct scenario *scenario = attack->scenario;
    struct connection connections[CONNECTIONS_MAX];
    double drip_us = probe_now_us();

    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        connections[i].fd = -1;
    while (!atomic_load(&attack->stop)) {
        const bool drip = scenario->drip != NULL && probe_now_us() >= drip_us;

        turn(attack, connections, drip);
        if (drip)
            drip_us += scenario->drip_ms * 1e3;
        (void)nanosleep(&pause, NULL); /* a shorter one does no harm */
    }
    for (size_t i = 0; i < scenario->connections; i++) {
        if (connections[i].fd >= 0)
            end(&connections[i]);
    }
    return NULL;
}

/* ---- measuring ---- */

struct p99 {
    double revoked_us; /* from the request */
    double late_us;    /* of both kinds of change, from the answer */
    double longest_us; /* the same, at most */
    size_t samples;    /* of each kind */
};

static struct p99 measure(const struct probe *probe, double seconds)
{
    double *revoked = calloc(SAMPLES_MAX, sizeof(double));
    double *late = calloc(2 * (size_t)SAMPLES_MAX, sizeof(double));
    const double end_us = probe_now_us() + seconds * 1e6;
    struct p99 p99 = {.samples = 0};

    if (revoked == NULL || late == NULL)
        probe_die("no memory for the samples");
    while (p99.samples == 0 || (probe_now_us() < end_us && p99.samples < SAMPLES_MAX)) {
        const struct probe_times times = probe_change(probe);

        revoked[p99.samples] = times.revoked_us;
        late[2 * p99.samples] = times.created_us;
        late[2 * p99.samples + 1] = times.deleted_us > 0 ? times.deleted_us : 0;
        p99.samples++;
    }
    p99.revoked_us = probe_percentile(revoked, p99.samples, 0.99);
    p99.late_us = probe_percentile(late, 2 * p99.samples, 0.99);
    p99.longest_us = probe_percentile(late, 2 * p99.samples, 1);
    free(revoked);
    free(late);
    return p99;
}

static void print(const struct attack *attack, const struct p99 *idle, const struct p99 *attacked)
{
    const char *name = attack->scenario->name;

    (void)printf("revocation_p99_under_%s_per_idle %.2f (%.0f us / %.0f us; %zu and %zu samples)\n",
                 name, attacked->revoked_us / idle->revoked_us, attacked->revoked_us,
                 idle->revoked_us, attacked->samples, idle->samples);
    (void)printf("change_after_its_answer_p99_under_%s_per_idle %.2f (%.0f us / %.0f us)\n", name,
                 attacked->late_us / idle->late_us, attacked->late_us, idle->late_us);
    (void)printf("change_after_its_answer_longest_under_%s_ms %.0f (idle %.0f)\n", name,
                 attacked->longest_us / 1e3, idle->longest_us / 1e3);
    (void)printf("server_memory_under_%s_mib %.0f (at most; %lu connections made)\n", name,
                 (double)attack->max_kib / 1024, atomic_load(&attack->made));
}

static void read_url(const char *url, struct attack *attack)
{
    char host[sizeof(attack->host)];

    if (sscanf(url, "http://%127[^:/]:%15[0-9]", host, attack->port) != 2)
        probe_die("the URL must be http://HOST:PORT");
    memcpy(attack->host, host, sizeof(host));
}

/* Where the attacker's hosts say that they stand. */
static void read_cursor(struct rest_client *client, struct attack *attack)
{
    json_t *epoch = NULL;

    if (rest_call(client, "GET", "/v1/epoch", NULL, &epoch) != 200)
        probe_die("cannot read the epoch");
    (void)snprintf(attack->epoch, sizeof(attack->epoch), "%s",
                   json_string_value(json_object_get(epoch, "epoch")));
    attack->version = json_integer_value(json_object_get(epoch, "version"));
    json_decref(epoch);
}

static void run(struct attack *attack, const struct probe *probe, double seconds)
{
    const struct timespec warm_up = {WARM_UP_MS / 1000, 0};
    struct p99 idle;
    struct p99 attacked;

    (void)measure(probe, seconds / 4); /* caches and files grow warm */
    idle = measure(probe, seconds);
    if (pthread_create(&attack->thread, NULL, attack_main, attack) != 0)
        probe_die("cannot start a thread");
    (void)nanosleep(&warm_up, NULL); /* a shorter one measures more of the beginning */
    attacked = measure(probe, seconds);
    atomic_store(&attack->stop, true);
    (void)pthread_join(attack->thread, NULL); /* ours: never fails */
    print(attack, &idle, &attacked);
}

int main(int argc, char **argv)
{
    struct attack attack = {.max_kib = 0};
    struct probe probe = {.client = NULL};
    char text[512];

    if (argc != 9 && argc != 11) {
        (void)fprintf(stderr, "bench: bad usage; see the head of bench/attack.c\n");
        return 2;
    }
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    attack.scenario = find_scenario(argv[1]);
    read_url(argv[3], &attack);
    attack.server = (pid_t)strtol(argv[8], NULL, 10);
    if (argc == 11) {
        probe_read_line(argv[9], attack.token, sizeof(attack.token));
        attack.control_plane = argv[10];
    }
    probe_read_line(argv[4], text, sizeof(text));
    probe.client = rest_create(argv[3], text);
    read_cursor(probe.client, &attack);
    probe.realm = argv[5];
    probe.consumer = argv[6];
    (void)snprintf(text, sizeof(text), "realm:%s", argv[5]);
    if (rs_open(&probe.store, argv[7], NULL) != 0 || rs_source_parse(text, &probe.source) != 0)
        probe_die("cannot open the store");
    run(&attack, &probe, strtod(argv[2], NULL));
    rs_close(probe.store);
    rest_destroy(probe.client);
    return 0;
}

/* The feed over HTTP: lines arrive, acknowledgements complete waits, many followers, stopping. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <cmocka.h>
#include <curl/curl.h>

#include "tests/lib/control_fixture.h"

#define CP          "497f6eca-6276-4993-bfeb-53cbbbba6f08"
#define BITS_LESS_1 "000000000000000000000000000000000000000000000000000000000000001"
#define BITS        "8" BITS_LESS_1

enum { FOLLOWERS = 1000, PATIENCE_MS = 30000, UNREAD_CONSUMERS = 400 };

/* A host that follows: one transfer of a curl multi handle, its lines kept. */
struct host {
    CURL *curl;
    struct curl_slist *headers;
    struct buffer text;
};

struct hosts {
    CURLM *multi;
    struct host *items;
    size_t count;
};

static size_t keep(char *bytes, size_t size, size_t count, void *context)
{
    return buffer_append(context, bytes, size * count) == 0 ? size * count : 0;
}

static void host_open(struct host *host, CURLM *multi, const struct fixture *f, const char *token,
                      const char *name, const char *cursor)
{
    char text[512];

    buffer_init(&host->text, (size_t)1 << 24);
    host->curl = curl_easy_init();
    (void)snprintf(text, sizeof(text), "Authorization: Bearer %s", token);
    host->headers = curl_slist_append(NULL, text);
    (void)snprintf(text, sizeof(text), "%s/v1/sync/feed?control_plane_id=" CP "&host=%s%s", f->url,
                   name, cursor);
    curl_easy_setopt(host->curl, CURLOPT_URL, text);
    curl_easy_setopt(host->curl, CURLOPT_HTTPHEADER, host->headers);
    curl_easy_setopt(host->curl, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(host->curl, CURLOPT_WRITEDATA, &host->text);
    curl_easy_setopt(host->curl, CURLOPT_NOSIGNAL, 1L);
    assert_int_equal(curl_multi_add_handle(multi, host->curl), CURLM_OK);
}

static struct hosts hosts_open(const struct fixture *f, const char *token, size_t count,
                               const char *cursor)
{
    struct hosts hosts = {curl_multi_init(), calloc(count, sizeof(struct host)), count};

    for (size_t i = 0; i < count; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "edge-%zu", i);
        host_open(&hosts.items[i], hosts.multi, f, token, name, cursor);
    }
    return hosts;
}

static void hosts_close(struct hosts *hosts)
{
    for (size_t i = 0; i < hosts->count; i++) {
        curl_multi_remove_handle(hosts->multi, hosts->items[i].curl);
        curl_easy_cleanup(hosts->items[i].curl);
        curl_slist_free_all(hosts->items[i].headers);
        buffer_finish(&hosts->items[i].text);
    }
    curl_multi_cleanup(hosts->multi);
    free(hosts->items);
}

static bool has(struct host *host, const char *text)
{
    return buffer_terminate(&host->text) == 0 &&
           strstr((const char *)host->text.data, text) != NULL;
}

static int64_t now_ms(void)
{
    return clock_boot_ms();
}

/* Reads until every host has the text (NULL: until every stream has ended). */
static void hosts_await(struct hosts *hosts, const char *text)
{
    int64_t until = now_ms() + PATIENCE_MS;
    int running = 1;

    for (;;) {
        size_t missing = 0;

        assert_int_equal(curl_multi_perform(hosts->multi, &running), CURLM_OK);
        for (size_t i = 0; text != NULL && i < hosts->count; i++)
            missing += !has(&hosts->items[i], text);
        if (text != NULL ? missing == 0 : running == 0)
            return;
        if (now_ms() > until)
            fail_msg("%zu hosts never got %s; the first has %s", missing,
                     text != NULL ? text : "an end", (char *)hosts->items[0].text.data);
        assert_int_equal(curl_multi_poll(hosts->multi, NULL, 0, 100, NULL), CURLM_OK);
    }
}

/* "&epoch=...&version=..." of the newest state, as if just taken from a snapshot. */
static void newest_cursor(struct fixture *f, char cursor[128])
{
    struct error err = ERROR_INIT;
    struct repo_head head;
    char epoch[UUID_TEXT_SIZE];

    assert_int_equal(repo_head(f->repo, &head, &err), 0);
    (void)snprintf(cursor, 128, "&epoch=%s&version=%llu", uuid_format(&head.epoch, epoch),
                   (unsigned long long)head.version);
}

static long acknowledge(struct fixture *f, const char *token, const char *host, uint64_t version)
{
    struct error err = ERROR_INIT;
    struct repo_head head;
    char epoch[UUID_TEXT_SIZE];
    char body[512];
    struct reply *reply;
    long status;

    assert_int_equal(repo_head(f->repo, &head, &err), 0);
    (void)snprintf(body, sizeof(body),
                   "{\"control_plane_id\":\"" CP "\",\"host\":\"%s\",\"epoch\":\"%s\","
                   "\"version\":%llu}",
                   host, uuid_format(&head.epoch, epoch),
                   (unsigned long long)(version > 0 ? version : head.version));
    reply = fixture_request(f, token, "POST", "/v1/sync/ack", NULL, body, strlen(body));
    status = reply->status;
    reply_free(reply);
    return status;
}

static void start_with_realm(struct fixture **ret, char realm[UUID_TEXT_SIZE],
                             char token[AUTH_SECRET_SIZE], char cursor[128])
{
    *ret = fixture_start(NULL);
    fixture_make_realm(*ret, "prod", CP, realm);
    (void)snprintf(token, AUTH_SECRET_SIZE, "%s", fixture_make_token(*ret, "data-plane", CP));
    newest_cursor(*ret, cursor);
}

static void feed_says_hello_then_beats_then_carries_a_change(void **state)
{
    struct fixture *f;
    struct hosts hosts;
    char realm[UUID_TEXT_SIZE];
    char consumer[UUID_TEXT_SIZE];
    char token[AUTH_SECRET_SIZE];
    char cursor[128];

    (void)state;
    start_with_realm(&f, realm, token, cursor);
    hosts = hosts_open(f, token, 1, cursor);
    hosts_await(&hosts, "{\"type\":\"hello\",\"protocol\":1,\"region\":\"us\"");
    hosts_await(&hosts, "\"type\":\"heartbeat\"");
    fixture_make_consumer(f, realm, "Alice", consumer);
    hosts_await(&hosts, "\"username\":\"Alice\"");
    hosts_await(&hosts, "\"type\":\"commit\"");
    hosts_close(&hosts);
    fixture_stop(f);
}

/* What a host without a cursor is told: the snapshot's path. */
static void await_snapshot(struct fixture *f, const char *token, char path[128])
{
    struct hosts hosts = hosts_open(f, token, 1, "");
    const char *at;

    hosts_await(&hosts, "\"reason\":\"no_cursor\"");
    hosts_await(&hosts, NULL);
    at = strstr((const char *)hosts.items[0].text.data, "/v1/sync/snapshots/");
    assert_non_null(at);
    (void)snprintf(path, 128, "%.*s", (int)strcspn(at, "\""), at);
    hosts_close(&hosts);
}

static struct reply *get_part(struct fixture *f, const char *token, const char *path,
                              const char *header)
{
    return fixture_request(f, token, "GET", path, header, NULL, 0);
}

static void host_without_cursor_is_sent_to_the_snapshot(void **state)
{
    struct fixture *f;
    struct reply *reply;
    char realm[UUID_TEXT_SIZE];
    char token[AUTH_SECRET_SIZE];
    char cursor[128];
    char path[128];
    char etag[128];

    (void)state;
    start_with_realm(&f, realm, token, cursor);
    await_snapshot(f, token, path);
    reply = fixture_request(f, token, "GET", path, NULL, NULL, 0);
    assert_int_equal(reply->status, 200);
    assert_non_null(strstr(reply->headers, "Realmstore-Version: 1"));
    assert_non_null(strstr(reply->headers, "Realmstore-Epoch: "));
    assert_non_null(strstr(reply->headers, "Content-Length: "));
    assert_non_null(strstr(reply->headers, "application/vnd.realmstore.snapshot"));
    assert_non_null(strstr(reply->headers, "Accept-Ranges: bytes"));
    assert_non_null(strstr(reply->headers, "Cache-Control: private, max-age=31536000, immutable"));
    assert_null(strstr(reply->headers, "no-store"));
    (void)snprintf(etag, sizeof(etag), "ETag: \"%s\"", strrchr(path, '/') + 1);
    assert_non_null(strstr(reply->headers, etag));
    assert_memory_equal(reply->body, "\x28\xb5\x2f\xfd", 4); /* zstd */
    reply_free(reply);
    fixture_stop(f);
}

static void snapshot_is_given_in_parts(void **state)
{
    struct fixture *f;
    struct reply *whole;
    struct reply *reply;
    char realm[UUID_TEXT_SIZE];
    char token[AUTH_SECRET_SIZE];
    char cursor[128];
    char path[128];
    char text[256];

    (void)state;
    start_with_realm(&f, realm, token, cursor);
    await_snapshot(f, token, path);
    whole = get_part(f, token, path, NULL);
    reply = get_part(f, token, path, "Range: bytes=5-");
    assert_int_equal(reply->status, 206);
    assert_int_equal(reply->size, whole->size - 5);
    assert_memory_equal(reply->body, whole->body + 5, reply->size);
    (void)snprintf(text, sizeof(text), "Content-Range: bytes 5-%zu/%zu", whole->size - 1,
                   whole->size);
    assert_non_null(strstr(reply->headers, text));
    reply_free(reply);
    reply = get_part(f, token, path, "Range: bytes=2-3");
    assert_int_equal(reply->status, 206);
    assert_int_equal(reply->size, 2);
    reply_free(reply);
    (void)snprintf(text, sizeof(text), "Range: bytes=%zu-", whole->size);
    reply = get_part(f, token, path, text);
    assert_int_equal(reply->status, 416);
    (void)snprintf(text, sizeof(text), "Content-Range: bytes */%zu", whole->size);
    assert_non_null(strstr(reply->headers, text));
    reply_free(reply);
    (void)snprintf(text, sizeof(text), "Range: bytes=5-\r\nIf-Range: \"%s\"",
                   strrchr(path, '/') + 1);
    reply = get_part(f, token, path, text);
    assert_int_equal(reply->status, 206);
    reply_free(reply);
    reply = get_part(f, token, path, "Range: bytes=5-\r\nIf-Range: \"other\"");
    assert_int_equal(reply->status, 200);
    assert_int_equal(reply->size, whole->size);
    reply_free(reply);
    reply = fixture_request(f, token, "HEAD", path, "Range: bytes=5-", NULL, 0);
    assert_int_equal(reply->status, 200);
    assert_int_equal(reply->size, 0);
    reply_free(reply);
    reply_free(whole);
    fixture_stop(f);
}

static void feed_parameters_are_checked(void **state)
{
    static const char *const bad[] = {
        "",
        "?control_plane_id=" CP,
        "?control_plane_id=x&host=h",
        "?control_plane_id=" CP "&host=",
        "?control_plane_id=" CP "&host=a%0Ab",
        "?control_plane_id=" CP "&host=%ff",
        "?control_plane_id=" CP "&host=h&version=3",
        "?control_plane_id=" CP "&host=h&epoch=" CP,
        "?control_plane_id=" CP "&host=h&epoch=x&version=3",
        "?control_plane_id=" CP "&host=h&epoch=" CP "&version=-3",
        "?control_plane_id=" CP "&host=h&compare=some",
        "?control_plane_id=" CP "&host=h&compare=-1",
        "?control_plane_id=" CP "&host=h&compare=4294967296",
        "?control_plane_id=" CP "&host=h&compare=all&repair=1&buckets=" BITS,
        "?control_plane_id=" CP "&host=h&repair=1",
        "?control_plane_id=" CP "&host=h&repair=x&buckets=" BITS,
        "?control_plane_id=" CP "&host=h&repair=1&buckets=" BITS "00",
        "?control_plane_id=" CP "&host=h&repair=1&buckets=g" BITS_LESS_1,
    };
    struct fixture *f = fixture_start(NULL);
    char token[AUTH_SECRET_SIZE];

    (void)state;
    (void)snprintf(token, sizeof(token), "%s", fixture_make_token(f, "data-plane", CP));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char path[512];
        struct reply *reply;

        (void)snprintf(path, sizeof(path), "/v1/sync/feed%s", bad[i]);
        reply = fixture_request(f, token, "GET", path, NULL, NULL, 0);
        if (reply->status != 400)
            fail_msg("%s: %ld", path, reply->status);
        reply_free(reply);
    }
    assert_int_equal(acknowledge(f, token, "nobody", 0), 409);
    fixture_stop(f);
}

/* Makes a consumer with ?wait=applied in a thread of its own. */
struct waiting {
    struct fixture *fixture;
    const char *path;
    struct reply *reply;
    pthread_t thread;
};

static void deleting_a_token_ends_the_feeds_that_it_opened_and_no_others(void **state)
{
    char cursor[128];
    char token[256];
    char deleted[UUID_TEXT_SIZE];
    struct fixture *f = fixture_start(NULL);
    struct hosts others = {curl_multi_init(), calloc(1, sizeof(struct host)), 1};
    struct hosts hosts;
    json_t *tokens;

    (void)state;
    newest_cursor(f, cursor);
    (void)snprintf(token, sizeof(token), "%s", fixture_make_token(f, "data-plane", CP));
    tokens = fixture_call(f, 200, "GET", "/v1/tokens", NULL);
    (void)snprintf(deleted, sizeof(deleted), "%s",
                   json_string_value(
                       json_object_get(json_array_get(json_object_get(tokens, "data"), 0), "id")));
    json_decref(tokens);
    hosts = hosts_open(f, token, 3, cursor);
    hosts_await(&hosts, "heartbeat");
    host_open(&others.items[0], others.multi, f, fixture_make_token(f, "data-plane", CP), "other",
              cursor);
    hosts_await(&others, "heartbeat");

    json_decref(fixture_callf(f, 204, "DELETE", NULL, "/v1/tokens/%s", deleted));
    hosts_await(&hosts, NULL);
    buffer_clear(&others.items[0].text);
    hosts_await(&others, "heartbeat");
    hosts_close(&hosts);

    hosts = hosts_open(f, token, 1, cursor);
    hosts_await(&hosts, "401");
    hosts_close(&hosts);
    hosts_close(&others);
    fixture_stop(f);
}

static void *wait_applied(void *context)
{
    struct waiting *waiting = context;

    waiting->reply = fixture_request(waiting->fixture, FIXTURE_ADMIN, "POST", waiting->path, NULL,
                                     "{\"username\":\"w\"}", 16);
    return NULL;
}

/* Zeros are as good as nothing: with them a host would be taken for one that names no feed. */
static void acknowledgement_of_an_instance_names_a_feed(void **state)
{
    static const char *const feeds[] = {"", ",\"feed\":\"00000000-0000-0000-0000-000000000000\""};
    struct fixture *f = fixture_start(NULL);
    const char *token = fixture_make_token(f, "data-plane", CP);

    (void)state;
    for (size_t i = 0; i < sizeof(feeds) / sizeof(feeds[0]); i++) {
        char body[512];
        struct reply *reply;

        (void)snprintf(body, sizeof(body),
                       "{\"control_plane_id\":\"" CP "\",\"host\":\"edge\",\"instance\":\"" CP
                       "\",\"epoch\":\"" CP "\",\"version\":1%s}",
                       feeds[i]);
        reply = fixture_request(f, token, "POST", "/v1/sync/ack", NULL, body, strlen(body));
        assert_int_equal(reply->status, 400);
        assert_non_null(strstr(reply->body, "dependent_fields"));
        reply_free(reply);
    }
    fixture_stop(f);
}

static void wait_ends_when_the_host_has_acknowledged(void **state)
{
    struct fixture *f;
    struct hosts hosts;
    struct waiting waiting;
    char realm[UUID_TEXT_SIZE];
    char token[AUTH_SECRET_SIZE];
    char cursor[128];
    char path[256];
    json_t *listed;

    (void)state;
    start_with_realm(&f, realm, token, cursor);
    hosts = hosts_open(f, token, 2, cursor);
    hosts_await(&hosts, "\"type\":\"heartbeat\"");
    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers?wait=applied&timeout_ms=20000",
                   realm);
    waiting = (struct waiting){.fixture = f, .path = path};
    assert_int_equal(pthread_create(&waiting.thread, NULL, wait_applied, &waiting), 0);
    hosts_await(&hosts, "\"type\":\"commit\"");
    assert_int_equal(acknowledge(f, token, "edge-0", 0), 204);
    assert_int_equal(acknowledge(f, token, "edge-1", 0), 204);
    pthread_join(waiting.thread, NULL);
    assert_int_equal(waiting.reply->status, 201);
    assert_non_null(strstr(waiting.reply->headers, "Realm-Applied: applied=2 total=2"));
    assert_string_equal(reply_text(waiting.reply, "username"), "w");
    reply_free(waiting.reply);
    listed = fixture_call(f, 200, "GET", "/v1/hosts", NULL);
    assert_int_equal(json_array_size(json_object_get(listed, "data")), 2);
    assert_int_equal(json_integer_value(json_object_get(
                         json_array_get(json_object_get(listed, "data"), 0), "applied_version")),
                     2);
    json_decref(listed);
    hosts_close(&hosts);
    fixture_stop(f);
}

static void wait_names_the_late_hosts_when_time_is_over(void **state)
{
    struct fixture *f;
    struct hosts hosts;
    struct reply *reply;
    char realm[UUID_TEXT_SIZE];
    char token[AUTH_SECRET_SIZE];
    char cursor[128];
    char path[256];
    const char *id;

    (void)state;
    start_with_realm(&f, realm, token, cursor);
    hosts = hosts_open(f, token, 1, cursor);
    hosts_await(&hosts, "\"type\":\"heartbeat\"");
    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers?wait=applied&timeout_ms=50", realm);
    reply = fixture_request(f, FIXTURE_ADMIN, "POST", path, NULL, "{\"username\":\"late\"}", 19);
    assert_int_equal(reply->status, 202);
    assert_non_null(strstr(reply->headers, "Realm-Applied: applied=0 total=1"));
    assert_string_equal(json_string_value(json_array_get(json_object_get(reply->json, "late"), 0)),
                        "edge-0");
    id = reply_text(reply, "id");
    assert_non_null(id);
    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers/%s?wait=applied&timeout_ms=0",
                   realm, id);
    reply_free(reply);
    reply = fixture_request(f, FIXTURE_ADMIN, "DELETE", path, NULL, NULL, 0);
    assert_int_equal(reply->status, 202); /* a 204 has no place for the names */
    assert_int_equal(json_array_size(json_object_get(reply->json, "late")), 1);
    reply_free(reply);
    hosts_close(&hosts);
    fixture_stop(f);
}

static void wait_needs_nobody_without_hosts_and_for_what_hosts_do_not_see(void **state)
{
    struct fixture *f;
    struct hosts hosts;
    struct reply *reply;
    char realm[UUID_TEXT_SIZE];
    char token[AUTH_SECRET_SIZE];
    char cursor[128];

    (void)state;
    start_with_realm(&f, realm, token, cursor);
    hosts = hosts_open(f, token, 1, cursor);
    hosts_await(&hosts, "\"type\":\"heartbeat\"");
    /* A realm that this control plane may not use; a group, which no feed carries. */
    reply = fixture_request(f, FIXTURE_ADMIN, "POST", "/v1/realms?wait=applied", NULL,
                            "{\"name\":\"x\"}", 12);
    assert_int_equal(reply->status, 201);
    assert_non_null(strstr(reply->headers, "Realm-Applied: applied=0 total=0"));
    reply_free(reply);
    reply = fixture_request(f, FIXTURE_ADMIN, "POST",
                            "/v2/control-planes/" CP "/core-entities/consumer_groups?wait=applied",
                            NULL, "{\"name\":\"g\"}", 12);
    assert_int_equal(reply->status, 201);
    assert_non_null(strstr(reply->headers, "Realm-Applied: applied=0 total=0"));
    reply_free(reply);
    hosts_close(&hosts);
    fixture_stop(f);
}

static void stopping_answers_a_wait_in_progress(void **state)
{
    struct fixture *f;
    struct hosts hosts;
    struct waiting waiting;
    char realm[UUID_TEXT_SIZE];
    char token[AUTH_SECRET_SIZE];
    char cursor[128];
    char path[256];

    (void)state;
    start_with_realm(&f, realm, token, cursor);
    hosts = hosts_open(f, token, 1, cursor);
    hosts_await(&hosts, "\"type\":\"heartbeat\"");
    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers?wait=applied&timeout_ms=60000",
                   realm);
    waiting = (struct waiting){.fixture = f, .path = path};
    assert_int_equal(pthread_create(&waiting.thread, NULL, wait_applied, &waiting), 0);
    hosts_await(&hosts, "\"type\":\"commit\"");
    fixture_stop(f);
    pthread_join(waiting.thread, NULL);
    assert_int_equal(waiting.reply->status, 202);
    reply_free(waiting.reply);
    hosts_await(&hosts, NULL);
    hosts_close(&hosts);
}

static void a_thousand_followers_get_a_change_and_a_clean_end(void **state)
{
    struct rlimit limit = {4 * FOLLOWERS, 4 * FOLLOWERS};
    struct fixture *f;
    struct hosts hosts;
    struct feed_stats stats;
    char realm[UUID_TEXT_SIZE];
    char consumer[UUID_TEXT_SIZE];
    char token[AUTH_SECRET_SIZE];
    char cursor[128];

    (void)state;
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    start_with_realm(&f, realm, token, cursor);
    hosts = hosts_open(f, token, FOLLOWERS, cursor);
    hosts_await(&hosts, "\"type\":\"heartbeat\"");
    feed_stats(f->feed, &stats);
    assert_int_equal(stats.followers, FOLLOWERS);
    fixture_make_consumer(f, realm, "everywhere", consumer);
    hosts_await(&hosts, "\"username\":\"everywhere\"");
    hosts_await(&hosts, "\"type\":\"commit\"");
    fixture_stop(f);
    hosts_await(&hosts, NULL);
    hosts_close(&hosts);
}

/* More than the sockets' buffers take of somebody who does not read: some 32 KB each. */
static void make_large(struct fixture *f, const char *realm)
{
    struct repo_scope scope = {.kind = REPO_SCOPE_REALM};
    const char *tags[MODEL_LABELS_MAX];
    char tag[MODEL_LABEL_MAX];
    char name[32];

    assert_true(uuid_parse(realm, &scope.id));
    memset(tag, 'x', sizeof(tag));
    tag[sizeof(tag) - 1] = 0;
    for (size_t i = 0; i < MODEL_LABELS_MAX; i++)
        tags[i] = tag;
    for (int i = 0; i < UNREAD_CONSUMERS; i++) {
        struct repo_consumer input = {
            .model = {.username = name, .tags = {tags, MODEL_LABELS_MAX}}};
        struct error err = ERROR_INIT;
        struct repo_consumer made;
        struct repo_call call;
        struct arena arena;

        (void)snprintf(name, sizeof(name), "consumer-%d", i);
        arena_init(&arena, 1 << 20);
        call = (struct repo_call){.repo = f->repo, .arena = &arena, .err = &err};
        if (repo_consumer_create(&call, &scope, &input, &made) != 0)
            fail_msg("%s", err.message);
        arena_finish(&arena);
    }
}

/* Asks for all since the cursor, and reads nothing. */
static int ask_without_reading(const struct fixture *f, const char *token, const char *cursor)
{
    const int little = 4096;
    struct sockaddr_in address = {.sin_family = AF_INET};
    char request[1024];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_port = htons((uint16_t)atoi(strrchr(f->url, ':') + 1));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)snprintf(request, sizeof(request),
                   "GET /v1/sync/feed?control_plane_id=" CP "&host=deaf%s HTTP/1.1\r\n"
                   "Host: x\r\nAuthorization: Bearer %s\r\n\r\n",
                   cursor, token);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    return fd;
}

static void connection_that_does_not_read_its_feed_is_ended(void **state)
{
    struct fixture *f = fixture_start(&(struct fixture_options){.patience_ms = 300});
    const int64_t until_ms = now_ms() + PATIENCE_MS;
    struct feed_stats stats = {.followers = 1};
    struct pollfd end = {.events = 0};
    char realm[UUID_TEXT_SIZE];
    char token[AUTH_SECRET_SIZE];
    char cursor[128];

    (void)state;
    fixture_make_realm(f, "prod", CP, realm);
    (void)snprintf(token, sizeof(token), "%s", fixture_make_token(f, "data-plane", CP));
    newest_cursor(f, cursor);
    make_large(f, realm);
    end.fd = ask_without_reading(f, token, cursor);
    while (stats.followers_cut == 0 || stats.followers > 0) { /* and the connection is gone */
        assert_true(now_ms() < until_ms);
        (void)sched_yield();
        feed_stats(f->feed, &stats);
    }
    assert_int_equal(stats.held_bytes, 0);
    assert_int_equal(poll(&end, 1, PATIENCE_MS), 1); /* the peer is told, whatever lies before it */
    assert_true((end.revents & POLLERR) != 0);
    assert_int_equal(close(end.fd), 0);
    fixture_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(feed_says_hello_then_beats_then_carries_a_change),
        cmocka_unit_test(host_without_cursor_is_sent_to_the_snapshot),
        cmocka_unit_test(snapshot_is_given_in_parts),
        cmocka_unit_test(feed_parameters_are_checked),
        cmocka_unit_test(deleting_a_token_ends_the_feeds_that_it_opened_and_no_others),
        cmocka_unit_test(acknowledgement_of_an_instance_names_a_feed),
        cmocka_unit_test(wait_ends_when_the_host_has_acknowledged),
        cmocka_unit_test(wait_names_the_late_hosts_when_time_is_over),
        cmocka_unit_test(wait_needs_nobody_without_hosts_and_for_what_hosts_do_not_see),
        cmocka_unit_test(stopping_answers_a_wait_in_progress),
        cmocka_unit_test(connection_that_does_not_read_its_feed_is_ended),
        cmocka_unit_test(a_thousand_followers_get_a_change_and_a_clean_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

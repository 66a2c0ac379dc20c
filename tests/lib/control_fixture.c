#include "tests/lib/control_fixture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <curl/curl.h>

enum { CALL_TIMEOUT_S = 60, PATH_SIZE = 4096 };

static void must(bool ok, const char *what, const char *why)
{
    if (ok)
        return;
    (void)fprintf(stderr, "fixture: %s: %s\n", what, why);
    abort();
}

static void write_admin_token(const struct fixture *fixture, char path[128])
{
    FILE *file;

    (void)snprintf(path, 128, "%s/admin.token", fixture->dir);
    file = fopen(path, "w");
    must(file != NULL && fputs(FIXTURE_ADMIN "\n", file) >= 0 && fclose(file) == 0, "token file",
         path);
    must(chmod(path, 0600) == 0, "chmod", path);
}

static void start_repo(struct fixture *fixture, const struct fixture_options *options)
{
    const struct repo_options repo = {.region = "us", .clock = clock_system};
    struct feed_options feed = {.patience_ms = options->patience_ms,
                                .heartbeat_ms =
                                    options->heartbeat_ms > 0 ? options->heartbeat_ms : 100,
                                .region = "us",
                                .log = &fixture->log};
    struct error err = ERROR_INIT;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/data", fixture->dir);
    must(repo_lmdb_open(path, &repo, &fixture->repo, &err) == 0, "repository", err.message);
    (void)snprintf(path, sizeof(path), "%s/snapshots", fixture->dir);
    feed.snapshot_dir = path;
    must(feed_create(fixture->repo, &feed, &fixture->feed, &err) == 0, "feed", err.message);
}

static void start_http(struct fixture *fixture, const struct fixture_options *options)
{
    const struct http_options http = {
        .max_connections = 4000,
        .tls_cert_pem = options->tls_cert,
        .tls_key_pem = options->tls_key,
        .client_ca_pem = options->client_ca,
        .auth_failures_per_minute = options->auth_failures > 0 ? options->auth_failures : 60000,
        .admit = rest_admit,
        .handler = rest_handle,
        .observer = rest_observe,
        .context = &fixture->rest,
        .log = &fixture->log};
    struct metrics_route routes[128];
    struct error err = ERROR_INIT;

    must(rest_route_count() <= 128, "routes", "more than the fixture has room for");
    for (size_t i = 0; i < rest_route_count(); i++)
        routes[i] = (struct metrics_route){rest_route_method(i), rest_route_pattern(i)};
    must(metrics_create(routes, rest_route_count(), &fixture->metrics) == 0, "metrics", "");
    must(http_create(&http, &fixture->http, &err) == 0, "http", err.message);
    fixture->rest = (struct rest){.repo = fixture->repo,
                                  .feed = fixture->feed,
                                  .auth = &fixture->auth,
                                  .metrics = fixture->metrics,
                                  .failure_pace = &fixture->failure_pace,
                                  .http = fixture->http,
                                  .region = "us",
                                  .log = &fixture->log};
    must(http_listen(fixture->http, "127.0.0.1:0", fixture->url, &err) == 0, "listen", err.message);
}

struct fixture *fixture_start(const struct fixture_options *options)
{
    static const struct fixture_options defaults;
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct error err = ERROR_INIT;
    char token[128];

    must(fixture != NULL, "memory", "");
    if (options == NULL)
        options = &defaults;
    fixture->log = (struct log){STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT};
    (void)snprintf(fixture->dir, sizeof(fixture->dir), "/tmp/control.XXXXXX");
    must(mkdtemp(fixture->dir) != NULL, "mkdtemp", fixture->dir);
    write_admin_token(fixture, token);
    must(auth_init(&fixture->auth, token, &err) == 0, "auth", err.message);
    start_repo(fixture, options);
    fixture->auth.repo = fixture->repo;
    start_http(fixture, options);
    return fixture;
}

void fixture_stop(struct fixture *fixture)
{
    char command[128];

    http_stop_accepting(fixture->http);
    feed_stop(fixture->feed);
    http_destroy(fixture->http);
    feed_destroy(fixture->feed);
    metrics_destroy(fixture->metrics);
    repo_close(fixture->repo);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", fixture->dir);
    must(system(command) == 0, command, "failed");
    free(fixture);
}

/* ---- the client ---- */

static size_t collect(char *bytes, size_t size, size_t count, void *context)
{
    return buffer_append(context, bytes, size * count) == 0 ? size * count : 0;
}

static struct curl_slist *header_list(const char *token, const char *header, bool with_body)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    char line[8192];

    if (token != NULL) {
        (void)snprintf(line, sizeof(line), "Authorization: Bearer %s", token);
        list = curl_slist_append(list, line);
    }
    if (header != NULL)
        list = curl_slist_append(list, header);
    if (with_body && (header == NULL || strncasecmp(header, "Content-Type", 12) != 0))
        list = curl_slist_append(list, "Content-Type: application/json");
    return list;
}

static void perform(CURL *curl, const char *what, struct reply *ret)
{
    struct buffer body;
    struct buffer headers;
    CURLcode code;

    buffer_init(&body, (size_t)64 << 20);
    buffer_init(&headers, (size_t)1 << 20);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)CALL_TIMEOUT_S);
    code = curl_easy_perform(curl);
    must(code == CURLE_OK, what, curl_easy_strerror(code));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->status);
    must(buffer_terminate(&body) == 0 && buffer_terminate(&headers) == 0, "memory", "");
    ret->size = body.size;
    ret->json = json_loadb((char *)body.data, body.size, 0, NULL);
    ret->body = (char *)body.data; /* moved */
    ret->headers = (char *)headers.data;
}

struct reply *fixture_request(struct fixture *fixture, const char *token, const char *method,
                              const char *path, const char *header, const char *body,
                              size_t body_size)
{
    struct curl_slist *headers = header_list(token, header, body != NULL);
    struct reply *reply = calloc(1, sizeof(*reply));
    CURL *curl = curl_easy_init();
    char *url = NULL;

    must(curl != NULL && reply != NULL && asprintf(&url, "%s%s", fixture->url, path) > 0, "memory",
         "");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    if (body != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_size);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    perform(curl, path, reply);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    free(url);
    return reply;
}

void reply_free(struct reply *reply)
{
    json_decref(reply->json);
    free(reply->body);
    free(reply->headers);
    free(reply);
}

const char *reply_text(const struct reply *reply, const char *member)
{
    return json_string_value(json_object_get(reply->json, member));
}

json_t *fixture_call(struct fixture *fixture, long status, const char *method, const char *path,
                     const char *body)
{
    struct reply *reply = fixture_request(fixture, FIXTURE_ADMIN, method, path, NULL, body,
                                          body != NULL ? strlen(body) : 0);
    json_t *json = json_incref(reply->json);

    if (reply->status != status)
        (void)fprintf(stderr, "fixture: %s %s %s: %ld, not %ld\n", method, path,
                      body != NULL ? body : "", reply->status, status);
    must(reply->status == status, "answer", reply->body);
    reply_free(reply);
    return json;
}

json_t *fixture_callf(struct fixture *fixture, long status, const char *method, const char *body,
                      const char *path, ...)
{
    char text[PATH_SIZE];
    va_list args;

    va_start(args, path);
    (void)vsnprintf(text, sizeof(text), path, args);
    va_end(args);
    return fixture_call(fixture, status, method, text, body);
}

static void take_id(json_t *answer, char id[UUID_TEXT_SIZE])
{
    (void)snprintf(id, UUID_TEXT_SIZE, "%s", json_string_value(json_object_get(answer, "id")));
    json_decref(answer);
}

void fixture_make_realm(struct fixture *fixture, const char *name, const char *control_plane,
                        char id[UUID_TEXT_SIZE])
{
    char body[512];

    (void)snprintf(body, sizeof(body), "{\"name\":\"%s\",\"allowed_control_planes\":[\"%s\"]}",
                   name, control_plane);
    take_id(fixture_call(fixture, 201, "POST", "/v1/realms", body), id);
}

void fixture_make_consumer(struct fixture *fixture, const char *realm, const char *username,
                           char id[UUID_TEXT_SIZE])
{
    char body[512];

    (void)snprintf(body, sizeof(body), "{\"username\":\"%s\"}", username);
    take_id(fixture_callf(fixture, 201, "POST", body, "/v1/realms/%s/consumers", realm), id);
}

const char *fixture_make_token(struct fixture *fixture, const char *role, const char *control_plane)
{
    static char secret[AUTH_SECRET_SIZE];
    char body[512];
    json_t *answer;

    (void)snprintf(body, sizeof(body), "{\"name\":\"t\",\"role\":\"%s\"%s%s%s}", role,
                   control_plane != NULL ? ",\"control_plane_id\":\"" : "",
                   control_plane != NULL ? control_plane : "", control_plane != NULL ? "\"" : "");
    answer = fixture_call(fixture, 201, "POST", "/v1/tokens", body);
    (void)snprintf(secret, sizeof(secret), "%s",
                   json_string_value(json_object_get(answer, "token")));
    json_decref(answer);
    return secret;
}

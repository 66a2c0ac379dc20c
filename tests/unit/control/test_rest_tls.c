/* TLS and client certificates, with certificates that the openssl command makes here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <curl/curl.h>

#include "tests/lib/control_fixture.h"

#define CP       "497f6eca-6276-4993-bfeb-53cbbbba6f08"
#define OTHER_CP "6c1f1d3e-0000-4000-8000-00000000000b"
#define SNAPSHOT "/v1/sync/snapshots/unknown" /* 404 to those who may ask */
#define FEED     "/v1/sync/feed?host=h&control_plane_id="

struct world {
    char dir[64];
    struct fixture *fixture;
    char *pem[3];
};

static void run(const struct world *world, const char *command)
{
    char line[1024];

    (void)snprintf(line, sizeof(line), "cd '%s' && { %s; } >log 2>&1 || { cat log; false; }",
                   world->dir, command);
    assert_int_equal(system(line), 0);
}

/* As docs/rest.md tells operators to. */
static void make_certificate(const struct world *world, const char *file, const char *subject,
                             const char *authority, const char *extensions)
{
    char command[900];

    (void)snprintf(command, sizeof(command),
                   "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                   "-keyout %s.key -subj '/CN=%s' -out %s.csr && "
                   "printf '%s' >%s.ext && "
                   "openssl x509 -req -in %s.csr -CA %s.pem -CAkey %s.key -CAcreateserial "
                   "-days 30 -extfile %s.ext -out %s.pem",
                   file, subject, file, extensions, file, file, authority, authority, file, file);
    run(world, command);
}

static void make_authority(const struct world *world, const char *file)
{
    char command[512];

    (void)snprintf(command, sizeof(command),
                   "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                   "-keyout %s.key -subj '/CN=%s' -days 30 -out %s.pem",
                   file, file, file);
    run(world, command);
}

static char *read_file(const struct world *world, const char *name)
{
    char path[128];
    char *text = calloc(1, 65536);
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", world->dir, name);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, 65535, file) > 0);
    (void)fclose(file);
    return text;
}

static int start(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    struct fixture_options options = {0};

    (void)snprintf(world->dir, sizeof(world->dir), "/tmp/tls.XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    make_authority(world, "ca");
    make_authority(world, "stranger");
    make_certificate(world, "server", "localhost", "ca",
                     "subjectAltName=DNS:localhost,IP:127.0.0.1");
    make_certificate(world, "host", CP, "ca", "extendedKeyUsage=clientAuth");
    make_certificate(world, "nameless", "edge-7", "ca", "extendedKeyUsage=clientAuth");
    make_certificate(world, "forged", CP, "stranger", "extendedKeyUsage=clientAuth");
    options.tls_cert = world->pem[0] = read_file(world, "server.pem");
    options.tls_key = world->pem[1] = read_file(world, "server.key");
    options.client_ca = world->pem[2] = read_file(world, "ca.pem");
    world->fixture = fixture_start(&options);
    *state = world;
    return 0;
}

static int stop(void **state)
{
    struct world *world = *state;
    char log[128];

    fixture_stop(world->fixture);
    run(world, "rm -f -- *.pem *.key *.csr *.ext *.srl");
    (void)snprintf(log, sizeof(log), "%s/log", world->dir);
    (void)unlink(log);
    assert_int_equal(rmdir(world->dir), 0);
    for (int i = 0; i < 3; i++)
        free(world->pem[i]);
    free(world);
    return 0;
}

static size_t drop(char *bytes, size_t size, size_t count, void *context)
{
    (void)bytes;
    (void)context;
    return size * count;
}

/* The status, or 0 when the connection failed. `certificate` NULL: none. */
static long get(const struct world *world, const char *path, const char *certificate,
                const char *token, long tls_max)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = NULL;
    char url[512];
    char ca[128];
    char cert[128];
    char key[128];
    char line[256];
    long status = 0;

    (void)snprintf(url, sizeof(url), "%s%s", world->fixture->url, path);
    (void)snprintf(ca, sizeof(ca), "%s/ca.pem", world->dir);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L);
    if (tls_max != 0)
        curl_easy_setopt(curl, CURLOPT_SSLVERSION, tls_max);
    if (certificate != NULL) {
        (void)snprintf(cert, sizeof(cert), "%s/%s.pem", world->dir, certificate);
        (void)snprintf(key, sizeof(key), "%s/%s.key", world->dir, certificate);
        curl_easy_setopt(curl, CURLOPT_SSLCERT, cert);
        curl_easy_setopt(curl, CURLOPT_SSLKEY, key);
    }
    if (token != NULL) {
        (void)snprintf(line, sizeof(line), "Authorization: Bearer %s", token);
        headers = curl_slist_append(NULL, line);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    }
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return status;
}

static void token_works_over_tls_without_a_certificate(void **state)
{
    assert_int_equal(strncmp(((struct world *)*state)->fixture->url, "https://", 8), 0);
    assert_int_equal(get(*state, "/v1/realms", NULL, FIXTURE_ADMIN, 0), 200);
    assert_int_equal(get(*state, "/v1/realms", NULL, NULL, 0), 401);
}

static void certificate_named_after_a_control_plane_is_its_host(void **state)
{
    assert_int_equal(get(*state, SNAPSHOT, "host", NULL, 0), 404);
    assert_int_equal(get(*state, FEED OTHER_CP, "host", NULL, 0), 403);
    assert_int_equal(get(*state, "/v1/realms", "host", NULL, 0), 403);
}

static void token_goes_before_the_certificate(void **state)
{
    assert_int_equal(get(*state, "/v1/realms", "host", FIXTURE_ADMIN, 0), 200);
    assert_int_equal(get(*state, SNAPSHOT, "host", "wrong-token-wrong-token", 0), 401);
}

static void other_certificates_are_nobody(void **state)
{
    long forged = get(*state, SNAPSHOT, "forged", NULL, 0);

    assert_int_equal(get(*state, SNAPSHOT, "nameless", NULL, 0), 401);
    assert_true(forged == 401 || forged == 0); /* refused by us or already in the handshake */
}

static void tls_1_1_is_refused_and_1_2_taken(void **state)
{
    assert_int_equal(
        get(*state, "/healthz", NULL, NULL, CURL_SSLVERSION_MAX_TLSv1_1 | CURL_SSLVERSION_TLSv1_1),
        0);
    assert_int_equal(get(*state, "/healthz", NULL, NULL, CURL_SSLVERSION_MAX_TLSv1_2), 200);
    assert_int_equal(get(*state, "/healthz", NULL, NULL, CURL_SSLVERSION_TLSv1_3), 200);
}

static void plain_http_on_the_tls_port_is_closed(void **state)
{
    struct world *world = *state;
    char url[HTTP_URL_SIZE];
    char kept[HTTP_URL_SIZE];

    memcpy(kept, world->fixture->url, sizeof(kept));
    (void)snprintf(url, sizeof(url), "http%s", kept + strlen("https"));
    memcpy(world->fixture->url, url, sizeof(url));
    assert_int_equal(get(world, "/healthz", NULL, NULL, 0), 0);
    memcpy(world->fixture->url, kept, sizeof(kept));
}

static void key_that_does_not_fit_is_refused_at_the_start(void **state)
{
    struct world *world = *state;
    char *key = read_file(world, "host.key");
    const struct http_options options = {.workers = 1,
                                         .max_connections = 10,
                                         .tls_cert_pem = world->pem[0],
                                         .tls_key_pem = key,
                                         .log = &world->fixture->log};
    struct error err = ERROR_INIT;
    struct http_server *server;
    char url[HTTP_URL_SIZE];

    assert_int_equal(http_create(&options, &server, &err), 0);
    assert_int_equal(http_listen(server, "127.0.0.1:0", url, &err), E_CONFIG);
    assert_non_null(strstr(err.message, "certificate"));
    http_destroy(server);
    free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_works_over_tls_without_a_certificate),
        cmocka_unit_test(certificate_named_after_a_control_plane_is_its_host),
        cmocka_unit_test(token_goes_before_the_certificate),
        cmocka_unit_test(other_certificates_are_nobody),
        cmocka_unit_test(tls_1_1_is_refused_and_1_2_taken),
        cmocka_unit_test(plain_http_on_the_tls_port_is_closed),
        cmocka_unit_test(key_that_does_not_fit_is_refused_at_the_start),
    };

    return cmocka_run_group_tests(tests, start, stop);
}

/* TLS and client certificates, with certificates that the openssl command makes here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <cmocka.h>
#include <curl/curl.h>

#include "tests/lib/child.h"
#include "tests/lib/control_fixture.h"
#include "tests/lib/raw_client.h"

#define CP       "497f6eca-6276-4993-bfeb-53cbbbba6f08"
#define OTHER_CP "6c1f1d3e-0000-4000-8000-00000000000b"
#define SNAPSHOT "/v1/sync/snapshots/unknown" /* 404 to those who may ask */
#define FEED     "/v1/sync/feed?host=h&control_plane_id="

#define EC     "ec -pkeyopt ec_paramgen_curve:prime256v1"
#define CLIENT "extendedKeyUsage=clientAuth"
#define PAST   "20200101000000Z"
#define FUTURE "20910101000000Z"

struct world {
    char dir[64];
    struct fixture *fixture;
    char *pem[3];
    const char *weak; /* the certificate that the next client of dial_tls() shows, or NULL */
};

static void run(const struct world *world, const char *command)
{
    char line[1024];

    (void)snprintf(line, sizeof(line), "cd '%s' && { %s; } >log 2>&1 || { cat log; false; }",
                   world->dir, command);
    assert_int_equal(system(line), 0);
}

/* A certificate with its time, signed with `digest`; `key` is openssl's -newkey and what belongs to
 * it. */
static void make_odd_certificate(const struct world *world, const char *file, const char *key,
                                 const char *extensions, const char *digest, const char *from,
                                 const char *to)
{
    char command[900];

    (void)snprintf(
        command, sizeof(command),
        "openssl req -new -newkey %s -nodes -keyout %s.key -subj '/CN=" CP "' -out %s.csr && "
        "printf '%s' >%s.ext && : >index.txt && printf '[ca]\ndefault_ca=d\n[d]\n"
        "database=index.txt\nnew_certs_dir=.\npolicy=p\nserial=serial\nunique_subject=no\n[p]\n"
        "commonName=supplied\n' >ca.cnf && "
        "openssl ca -batch -config ca.cnf -rand_serial -cert ca.pem -keyfile ca.key -md %s "
        "-startdate %s -enddate %s -in %s.csr -extfile %s.ext -notext -out %s.pem",
        key, file, file, extensions, file, digest, from, to, file, file, file);
    run(world, command);
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
    make_certificate(world, "long-name", CP "0", "ca", "extendedKeyUsage=clientAuth");
    make_certificate(world, "two-names", CP "/CN=" OTHER_CP, "ca", "extendedKeyUsage=clientAuth");
    make_certificate(world, "for-servers", CP, "ca", "extendedKeyUsage=serverAuth");
    make_certificate(world, "for-all", CP, "ca", "extendedKeyUsage=anyExtendedKeyUsage");
    make_certificate(world, "for-nothing-said", CP, "ca", "basicConstraints=CA:FALSE");
    make_certificate(world, "middle", "middle", "ca", "basicConstraints=critical,CA:TRUE");
    make_certificate(world, "below", CP, "middle", "extendedKeyUsage=clientAuth");
    run(world, "cat below.pem middle.pem >chain.pem && cp below.key chain.key");
    make_odd_certificate(world, "expired", EC, CLIENT, "sha256", PAST, "20210101000000Z");
    make_odd_certificate(world, "future", EC, CLIENT, "sha256", "20900101000000Z", FUTURE);
    make_odd_certificate(world, "rsa-1024", "rsa:1024", CLIENT, "sha256", PAST, FUTURE);
    make_odd_certificate(world, "rsa-2048", "rsa:2048", CLIENT, "sha256", PAST, FUTURE);
    make_odd_certificate(world, "sha-1", EC, CLIENT, "sha1", PAST, FUTURE);
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
    run(world, "rm -f -- *.pem *.key *.csr *.ext *.srl *.cnf index.* serial*");
    (void)snprintf(log, sizeof(log), "%s/log", world->dir);
    (void)unlink(log);
    assert_int_equal(rmdir(world->dir), 0);
    for (int i = 0; i < 3; i++)
        free(world->pem[i]);
    free(world);
    return 0;
}

static char body[4096]; /* of the last answer */

static size_t keep(char *bytes, size_t size, size_t count, void *context)
{
    size_t used = strlen(body);

    (void)context;
    (void)snprintf(body + used, sizeof(body) - used, "%.*s", (int)(size * count), bytes);
    return size * count;
}

static const char *cipher_list = "DEFAULT:@SECLEVEL=0";

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
    body[0] = 0;
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
    /* The client is not the one to refuse here. */
    curl_easy_setopt(curl, CURLOPT_SSL_CIPHER_LIST, cipher_list);
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

static void assert_refused(const struct world *world, const char *certificate, const char *why)
{
    long status = get(world, SNAPSHOT, certificate, NULL, 0);

    if (status != 401 || strstr(body, why) == NULL)
        fail_msg("%s: %ld, '%s'", certificate, status, body);
}

static void refusal_of_a_certificate_says_what_is_wrong(void **state)
{
    assert_refused(*state, "nameless", "not a control plane's UUID");
    assert_refused(*state, "long-name", "common name");
    assert_refused(*state, "two-names", "once");
    assert_refused(*state, "for-servers", "extended key usage");
    assert_refused(*state, "expired", "expired");
    assert_refused(*state, "future", "not valid yet");
    assert_refused(*state, "below", "issuer");
}

static void good_certificates_of_all_kinds_are_taken(void **state)
{
    static const char *const files[] = {"for-all", "for-nothing-said", "chain", "rsa-2048"};

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        long status = get(*state, SNAPSHOT, files[i], NULL, 0);

        if (status != 404)
            fail_msg("%s: %ld, '%s'", files[i], status, body);
    }
}

static void ciphers_without_forward_secrecy_or_authentication_are_refused(void **state)
{
    static const char *const lists[] = {"ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0",
                                        "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0",
                                        "AES128-GCM-SHA256:@SECLEVEL=0"};
    const char *kept = cipher_list;

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        cipher_list = lists[i];
        assert_int_equal(get(*state, "/healthz", NULL, NULL, CURL_SSLVERSION_MAX_TLSv1_2), 0);
    }
    cipher_list = "ECDHE-ECDSA-AES128-GCM-SHA256";
    assert_int_equal(get(*state, "/healthz", NULL, NULL, CURL_SSLVERSION_MAX_TLSv1_2), 200);
    cipher_list = kept;
}

static void run_client(const struct world *world, int fd)
{
    char weak[128] = "";
    char command[256];

    if (world->weak != NULL)
        (void)snprintf(weak, sizeof(weak), "-cert %s.pem -key %s.key -cipher ALL:@SECLEVEL=0",
                       world->weak, world->weak);
    (void)snprintf(command, sizeof(command),
                   "exec openssl s_client -quiet -connect 127.0.0.1:%u %s 2>/dev/null",
                   raw_port_of(world->fixture->url), weak);
    (void)dup2(fd, STDIN_FILENO);
    (void)dup2(fd, STDOUT_FILENO);
    if (chdir(world->dir) == 0)
        (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* A socket on whose other end openssl speaks TLS; the process is init's to wait for. */
static int dial_tls(const void *context)
{
    int fds[2];
    pid_t child;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    child = child_fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (fork() == 0) /* outlives its parent */
            run_client(context, fds[1]);
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(fds[1]);
    return fds[0];
}

/* libcurl would not even load it. */
static void assert_too_weak(struct world *world, const char *certificate)
{
    char *answer;
    int fd;

    world->weak = certificate;
    fd = dial_tls(world);
    world->weak = NULL;
    raw_say(fd, "GET " SNAPSHOT " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    answer = raw_hear(fd, NULL, NULL);
    if (strncmp(answer, "HTTP/1.1 401", 12) != 0 || strstr(answer, "too weak") == NULL)
        fail_msg("%s: '%s'", certificate, answer);
    free(answer);
    close(fd);
}

static void weak_certificates_are_refused(void **state)
{
    assert_too_weak(*state, "rsa-1024");
    assert_too_weak(*state, "sha-1");
}

static void request_of_two_meanings_is_400_over_tls(void **state)
{
    char *taken = raw_find_taken(dial_tls, *state);

    if (taken != NULL)
        fail_msg("%s", taken);
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
        cmocka_unit_test(refusal_of_a_certificate_says_what_is_wrong),
        cmocka_unit_test(weak_certificates_are_refused),
        cmocka_unit_test(good_certificates_of_all_kinds_are_taken),
        cmocka_unit_test(ciphers_without_forward_secrecy_or_authentication_are_refused),
        cmocka_unit_test(request_of_two_meanings_is_400_over_tls),
        cmocka_unit_test(tls_1_1_is_refused_and_1_2_taken),
        cmocka_unit_test(plain_http_on_the_tls_port_is_closed),
        cmocka_unit_test(key_that_does_not_fit_is_refused_at_the_start),
    };

    return cmocka_run_group_tests(tests, start, stop);
}

/* agent/config.h: defaults, overrides, and messages that name the line, the key or the variable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "agent/config.h"

#define PLANE  "control_plane_id: 497f6eca-6276-4993-bfeb-53cbbbba6f08\n"
#define SOURCE "sources:\n  - region: us\n    urls: [http://127.0.0.1:1]\n    token_file: token\n"

static char *const no_environment[] = {NULL};

/* Each test runs in a directory of its own that holds a token file. */
static int enter_directory(void **state)
{
    char *dir = strdup("/tmp/test_agent_config.XXXXXX");

    *state = dir;
    if (dir == NULL || mkdtemp(dir) == NULL || chdir(dir) != 0)
        return -1;
    return 0;
}

static int leave_directory(void **state)
{
    static const char *const names[] = {"token", "config", "other", "cert", "key", "other_key"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)unlink(names[i]); /* not every test makes each */
    if (chdir("/") != 0 || rmdir(*state) != 0)
        return -1;
    free(*state);
    return 0;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(name, mode), 0);
}

/* A certificate of its own, and its key. */
static void make_pair(const char *cert, const char *key)
{
    char command[256];

    (void)snprintf(command, sizeof(command),
                   "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
                   "-subj /CN=x -keyout %s -out %s 2>/dev/null",
                   key, cert);
    assert_int_equal(system(command), 0);
}

static struct config *load_with(const char *text, char *const *environment)
{
    struct config *config = NULL;
    struct error err = ERROR_INIT;

    write_file("token", "abc\n", 0600);
    write_file("config", text, 0644);
    if (config_load("config", environment, &config, &err) != 0)
        fail_msg("%s", err.message);
    return config;
}

static void assert_refused_with(const char *text, char *const *environment, const char *says)
{
    struct config *config = NULL;
    struct error err = ERROR_INIT;

    write_file("token", "abc\n", 0600);
    write_file("config", text, 0644);
    if (config_load("config", environment, &config, &err) != E_CONFIG)
        fail_msg("not refused (%s): %s", err.message, text);
    if (strstr(err.message, says) == NULL)
        fail_msg("\"%s\" is not in: %s", says, err.message);
}

static void smallest_configuration_gets_the_defaults(void **state)
{
    struct config *config = load_with(PLANE SOURCE, no_environment);
    char name[256] = "";

    (void)state;
    assert_int_equal(gethostname(name, sizeof(name) - 1), 0);
    assert_string_equal(config->store_dir, "/var/lib/realm-agent");
    assert_null(config->reader_group);
    assert_string_equal(config->host_name, name);
    assert_string_equal(config->listen, "127.0.0.1:9464");
    assert_int_equal(config->retention_ms, 1000);
    assert_int_equal(config->guard_percent, 30);
    assert_int_equal(config->log.level, LOG_LEVEL_INFO);
    assert_int_equal(config->log.format, LOG_FORMAT_JSON);
    assert_int_equal(config->control_plane_id.bytes[0], 0x49);
    assert_int_equal(config->sources_count, 1);
    assert_string_equal(config->sources[0].token, "abc");
    assert_false(config->sources[0].token_is_public);
    config_free(config);
}

static void everything_can_be_set(void **state)
{
    struct config *config;

    (void)state;
    make_pair("cert", "key");
    config = load_with("store_dir: /srv/store\nreader_group: readers\nhost_name: edge-7\n"
                       "listen: \"\"\nretention_ms: 0\n" PLANE "sources:\n"
                       "  - region: us\n"
                       "    urls: [https://a.example:8443, https://b.example]\n"
                       "    token_file: token\n"
                       "    ca_file: cert\n"
                       "  - region: eu-west-1\n"
                       "    urls:\n"
                       "      - http://c.example\n"
                       "    client_cert_file: cert\n"
                       "    client_key_file: key\n"
                       "    allow_plain_http: true\n"
                       "log: {level: debug, format: text}\n",
                       no_environment);
    assert_string_equal(config->store_dir, "/srv/store");
    assert_string_equal(config->reader_group, "readers");
    assert_string_equal(config->host_name, "edge-7");
    assert_string_equal(config->listen, "");
    assert_int_equal(config->retention_ms, 0);
    assert_int_equal(config->sources_count, 2);
    assert_int_equal(config->sources[0].urls_count, 2);
    assert_string_equal(config->sources[0].urls[1], "https://b.example");
    assert_string_equal(config->sources[1].region, "eu-west-1");
    assert_null(config->sources[1].token);
    assert_true(config->sources[1].allow_plain_http);
    assert_int_equal(config->log.level, LOG_LEVEL_DEBUG);
    assert_int_equal(config->log.format, LOG_FORMAT_TEXT);
    config_free(config);
}

static void unknown_keys_are_named_with_their_line(void **state)
{
    (void)state;
    assert_refused_with("# comment\n\n" PLANE "stor_dir: x\n" SOURCE, no_environment,
                        "config: line 4: unknown key \"stor_dir\"");
    assert_refused_with(PLANE SOURCE "    ca_fil: x\n", no_environment,
                        "config: line 6: unknown key \"ca_fil\"");
    assert_refused_with(PLANE SOURCE "log: {level: info, colour: red}\n", no_environment,
                        "config: line 6: unknown key \"colour\"");
}

static void wrong_yaml_is_named_with_its_line(void **state)
{
    (void)state;
    assert_refused_with(PLANE "store_dir: [a]\n" SOURCE, no_environment, "line 2");
    assert_refused_with(PLANE "store_dir: a\nstore_dir: b\n" SOURCE, no_environment, "line 3");
    assert_refused_with(PLANE "sources: none\n", no_environment, "line 2");
    assert_refused_with(PLANE SOURCE "    allow_plain_http: maybe\n", no_environment, "line 6");
    assert_refused_with("- a\n- b\n", no_environment, "config: line");
    assert_refused_with("store_dir: [a\n", no_environment, "config: line");
    assert_refused_with("store_dir: \"\\q\"\n", no_environment, "config: line");
    assert_refused_with("", no_environment, "control_plane_id is missing");
}

static void wrong_values_are_named_with_their_key(void **state)
{
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {SOURCE, "config: control_plane_id is missing"},
        {"control_plane_id: 497f\n" SOURCE, "control_plane_id: \"497f\" is not a UUID"},
        {PLANE, "sources is missing"},
        {PLANE "sources: []\n", "sources is missing"},
        {PLANE "sources:\n  - urls: [http://127.0.0.1]\n    token_file: token\n",
         "sources[0]: region is missing"},
        {PLANE "sources:\n  - region: US\n    urls: [http://127.0.0.1]\n    token_file: token\n",
         "sources[0]: region must be of lower-case letters"},
        {PLANE "sources:\n  - region: ../x\n    urls: [http://127.0.0.1]\n    token_file: token\n",
         "sources[0]: region"},
        {PLANE "sources:\n  - region: us\n    token_file: token\n", "sources[0]: urls is missing"},
        {PLANE "sources:\n  - region: us\n    urls: [\"\"]\n    token_file: token\n",
         "sources[0]: urls[0] is empty"},
        {PLANE "sources:\n  - region: us\n    urls: [http://127.0.0.1, http://x.example]\n"
               "    token_file: token\n",
         "sources[0]: urls[1]: plain http is for loopback"},
        {PLANE "sources:\n  - region: us\n    urls: [http://127.0.0.1]\n",
         "sources[0]: token_file is missing"},
        {PLANE "sources:\n  - region: us\n    urls: [http://127.0.0.1]\n"
               "    client_cert_file: token\n",
         "client_cert_file and client_key_file go together"},
        {PLANE SOURCE "    client_cert_file: token\n    client_key_file: token\n", "both given"},
        {PLANE "sources:\n  - region: us\n    urls: [http://127.0.0.1]\n    token_file: none\n",
         "sources[0]: token_file: cannot open none"},
        {PLANE SOURCE "    ca_file: none\n", "sources[0]: ca_file: cannot open none"},
        {PLANE SOURCE "  - region: us\n    urls: [http://127.0.0.1]\n    token_file: token\n",
         "sources[1]: region \"us\" is that of sources[0]"},
        {PLANE SOURCE "# \xc3(\n", "line 6: byte "},
        {PLANE SOURCE "listen: nowhere\n", "listen: \"nowhere\""},
        {PLANE SOURCE "listen: \"127.0.0.1:65536\"\n", "listen:"},
        {PLANE SOURCE "listen: \"localhost:80\"\n", "listen:"},
        {PLANE SOURCE "retention_ms: 99\n", "retention_ms: \"99\" is not 0 (off) or 100 to 10000"},
        {PLANE SOURCE "retention_ms: 10001\n", "retention_ms:"},
        {PLANE SOURCE "retention_ms: -1\n", "retention_ms:"},
        {PLANE SOURCE "retention_ms: 1s\n", "retention_ms:"},
        {PLANE SOURCE "guard_percent: 101\n", "guard_percent: \"101\" is not 0 to 100 (off)"},
        {PLANE SOURCE "guard_percent: -1\n", "guard_percent:"},
        {PLANE SOURCE "guard_percent: half\n", "guard_percent:"},
        {PLANE SOURCE "log: {level: loud}\n", "log.level: \"loud\""},
        {PLANE SOURCE "log: {format: xml}\n", "log.format: \"xml\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_refused_with(cases[i].text, no_environment, cases[i].says);
}

static void listen_takes_v6_in_brackets(void **state)
{
    struct config *config = load_with(PLANE SOURCE "listen: \"[::1]:9464\"\n", no_environment);

    (void)state;
    assert_string_equal(config->listen, "[::1]:9464");
    config_free(config);
}

static void environment_overrides_every_scalar(void **state)
{
    static char dir[] = "REALM_AGENT_STORE_DIR=/srv/other";
    static char level[] = "REALM_AGENT_LOG_LEVEL=error";
    static char region[] = "REALM_AGENT_SOURCES_0_REGION=eu";
    static char url[] = "REALM_AGENT_SOURCES_0_URLS_1=http://127.0.0.2";
    static char region1[] = "REALM_AGENT_SOURCES_1_REGION=us";
    static char url1[] = "REALM_AGENT_SOURCES_1_URLS_0=http://x.example";
    static char token1[] = "REALM_AGENT_SOURCES_1_TOKEN_FILE=token";
    static char plain1[] = "REALM_AGENT_SOURCES_1_ALLOW_PLAIN_HTTP=true";
    static char retention[] = "REALM_AGENT_RETENTION_MS=250";
    static char unrelated[] = "REALM_AGENCY=x";
    char *const environment[] = {plain1, dir,       level,   region,    url, url1,
                                 token1, unrelated, region1, retention, NULL};
    struct config *config = load_with(PLANE SOURCE, environment);

    (void)state;
    assert_string_equal(config->store_dir, "/srv/other");
    assert_int_equal(config->log.level, LOG_LEVEL_ERROR);
    assert_int_equal(config->retention_ms, 250);
    assert_string_equal(config->sources[0].region, "eu");
    assert_string_equal(config->sources[0].urls[0], "http://127.0.0.1:1");
    assert_string_equal(config->sources[0].urls[1], "http://127.0.0.2");
    assert_int_equal(config->sources_count, 2);
    assert_string_equal(config->sources[1].region, "us");
    config_free(config);
}

static void unknown_variables_are_named(void **state)
{
    static const char *const names[] = {
        "REALM_AGENT_STORE_DIRS",        "REALM_AGENT_SOURCES_0_COLOUR",
        "REALM_AGENT_SOURCES_X_REGION",  "REALM_AGENT_SOURCES_0",
        "REALM_AGENT_SOURCES_99_REGION", "REALM_AGENT_SOURCES_0_URLS_X",
        "REALM_AGENT_SOURCES_0_URLS_99", "REALM_AGENT_"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char variable[128];
        char *const environment[] = {variable, NULL};

        (void)snprintf(variable, sizeof(variable), "%s=x", names[i]);
        assert_refused_with(PLANE SOURCE, environment, names[i]);
    }
}

static void variables_of_a_kubernetes_service_are_no_settings(void **state)
{
    static char variables[][80] = {"REALM_AGENT_SERVICE_HOST=10.0.0.11",
                                   "REALM_AGENT_SERVICE_HOST=fd00::11",
                                   "REALM_AGENT_SERVICE_PORT=9464",
                                   "REALM_AGENT_SERVICE_PORT_METRICS=9464",
                                   "REALM_AGENT_PORT=tcp://10.0.0.11:9464",
                                   "REALM_AGENT_PORT=tcp://[fd00::11]:9464",
                                   "REALM_AGENT_PORT_9464_TCP=tcp://10.0.0.11:9464",
                                   "REALM_AGENT_PORT_9464_TCP_PROTO=tcp",
                                   "REALM_AGENT_PORT_9464_TCP_PORT=9464",
                                   "REALM_AGENT_PORT_9464_TCP_ADDR=10.0.0.11",
                                   "REALM_AGENT_METRICS_SERVICE_HOST=10.0.0.12",
                                   "REALM_AGENT_METRICS_PORT=udp://10.0.0.12:53",
                                   "REALM_AGENT_PORT_X_PORT_53_UDP_ADDR=10.0.0.12"};

    (void)state;
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        char *const environment[] = {variables[i], NULL};
        struct config *config = load_with(PLANE SOURCE, environment);

        assert_int_equal(config->service_variables, 1);
        config_free(config);
    }
}

static void what_only_looks_like_a_service_is_an_error(void **state)
{
    static char variables[][80] = {"REALM_AGENT_PORT=9464",
                                   "REALM_AGENT_PORTS=tcp://10.0.0.11:9464",
                                   "REALM_AGENT_SERVICE_HOST=edge-7",
                                   "REALM_AGENT_SERVICE_HOSTS=10.0.0.11",
                                   "REALM_AGENT_SERVICE=10.0.0.11",
                                   "REALM_AGENT_PORT_TCP=tcp://10.0.0.11:9464",
                                   "REALM_AGENT_PORT_9464_TCP_ADDRESS=10.0.0.11",
                                   "REALM_AGENT_PORT_9464_ICMP=tcp://10.0.0.11:9464",
                                   "REALM_AGENT_LISTENPORT=9464"};

    (void)state;
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        char *const environment[] = {variables[i], NULL};

        assert_refused_with(PLANE SOURCE, environment, "no such setting");
    }
}

static void gap_in_a_list_from_the_environment_is_an_error(void **state)
{
    static char region[] = "REALM_AGENT_SOURCES_2_REGION=eu";
    char *const environment[] = {region, NULL};

    (void)state;
    assert_refused_with(PLANE SOURCE, environment, "sources[1]: region is missing");
}

#define TLS_SOURCE                                                                                 \
    "sources:\n  - region: us\n    urls: [https://x.example]\n    client_cert_file: cert\n"        \
    "    client_key_file: "

static void tls_files_that_no_connection_could_use_are_refused(void **state)
{
    (void)state;
    make_pair("cert", "key");
    make_pair("other", "other_key");
    config_free(load_with(PLANE TLS_SOURCE "key\n    ca_file: other\n", no_environment));
    assert_refused_with(PLANE TLS_SOURCE "other_key\n", no_environment, "do not match");
    assert_refused_with(PLANE TLS_SOURCE "cert\n", no_environment, "holds no private key");
    assert_refused_with(PLANE TLS_SOURCE "key\n    ca_file: key\n", no_environment,
                        "ca_file: key holds no certificate");
    assert_int_equal(system("openssl ec -aes128 -passout pass:x -in key -out other 2>/dev/null"),
                     0);
    assert_refused_with(PLANE TLS_SOURCE "other\n", no_environment, "other has a passphrase");
}

static void token_is_trimmed_and_never_in_a_message(void **state)
{
    struct config *config = NULL;
    struct error err = ERROR_INIT;

    (void)state;
    write_file("config", PLANE SOURCE, 0644);
    write_file("token", "abc \r\n\n", 0644);
    assert_int_equal(config_load("config", no_environment, &config, &err), 0);
    assert_string_equal(config->sources[0].token, "abc");
    assert_true(config->sources[0].token_is_public);
    config_free(config);
    write_file("token", "hidden value\n", 0600);
    assert_int_equal(config_load("config", no_environment, &config, &err), E_CONFIG);
    assert_null(strstr(err.message, "hidden"));
    write_file("token", "\n", 0600);
    assert_int_equal(config_load("config", no_environment, &config, &err), E_CONFIG);
    assert_non_null(strstr(err.message, "token is empty"));
}

static void missing_file_is_named(void **state)
{
    struct config *config = NULL;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(config_load("none", no_environment, &config, &err), E_NOT_FOUND);
    assert_non_null(strstr(err.message, "cannot open none"));
}

static void sources_differ_by_what_a_stream_depends_on(void **state)
{
    struct config *config = load_with(PLANE SOURCE, no_environment);
    struct config_source copy;

    (void)state;
    assert_int_equal(config_source_copy(&config->sources[0], &copy), 0);
    assert_true(config_source_equal(&config->sources[0], &copy));
    copy.token[0] = 'x';
    assert_false(config_source_equal(&config->sources[0], &copy));
    copy.token[0] = 'a';
    copy.urls[0][7] = '2';
    assert_false(config_source_equal(&config->sources[0], &copy));
    config_source_finish(&copy);
    config_free(config);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, enter_directory, leave_directory)
    const struct CMUnitTest tests[] = {
        TEST(smallest_configuration_gets_the_defaults),
        TEST(everything_can_be_set),
        TEST(unknown_keys_are_named_with_their_line),
        TEST(wrong_yaml_is_named_with_its_line),
        TEST(wrong_values_are_named_with_their_key),
        TEST(listen_takes_v6_in_brackets),
        TEST(environment_overrides_every_scalar),
        TEST(unknown_variables_are_named),
        TEST(variables_of_a_kubernetes_service_are_no_settings),
        TEST(what_only_looks_like_a_service_is_an_error),
        TEST(gap_in_a_list_from_the_environment_is_an_error),
        TEST(tls_files_that_no_connection_could_use_are_refused),
        TEST(token_is_trimmed_and_never_in_a_message),
        TEST(missing_file_is_named),
        TEST(sources_differ_by_what_a_stream_depends_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* realm-control's settings: file and options, and what is refused with which words. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/rest/auth.h"
#include "control/config.h"

enum { ARGUMENTS_MAX = 16 };

struct world {
    char dir[64];
    char yaml[80];
};

static int start(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    (void)snprintf(world->dir, sizeof(world->dir), "/tmp/config.XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    (void)snprintf(world->yaml, sizeof(world->yaml), "%s/c.yaml", world->dir);
    *state = world;
    return 0;
}

static int stop(void **state)
{
    struct world *world = *state;

    (void)unlink(world->yaml);
    assert_int_equal(rmdir(world->dir), 0);
    free(world);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Options in one string, split at spaces. */
static int read_config(const char *options, struct control_config *ret,
                       enum control_config_action *ret_action, struct error *err)
{
    char *copy = strdup(options);
    char *argv[ARGUMENTS_MAX] = {copy};
    char name[] = "realm-control";
    int argc = 1;
    int rc;

    argv[0] = name;
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    rc = control_config_read(argc, argv, ret, ret_action, err);
    free(copy);
    return rc;
}

static struct control_config read_good(const char *options)
{
    struct error err = ERROR_INIT;
    struct control_config config;
    enum control_config_action action;

    if (read_config(options, &config, &action, &err) != 0)
        fail_msg("%s: %s", options, err.message);
    assert_int_equal(action, CONTROL_CONFIG_RUN);
    return config;
}

static void assert_refused(const char *options, const char *part)
{
    struct error err = ERROR_INIT;
    struct control_config config;
    enum control_config_action action;

    assert_int_equal(read_config(options, &config, &action, &err), E_CONFIG);
    if (strstr(err.message, part) == NULL)
        fail_msg("'%s' does not mention '%s'", err.message, part);
}

static void defaults_work(void **state)
{
    struct control_config config = read_good("--admin-token-file t");

    (void)state;
    assert_int_equal(config.n_listen, 1);
    assert_string_equal(config.listen[0], "127.0.0.1:8080");
    assert_string_equal(config.data_dir, "/var/lib/realm-control");
    assert_string_equal(config.region, "us");
    assert_null(config.tls_cert);
    assert_int_equal(config.heartbeat_ms, 5000);
    assert_int_equal(config.keep_versions, 1000000);
    assert_int_equal(config.max_connections, 20000);
    assert_int_equal(config.max_strangers, 0);
    assert_int_equal(config.auth_failures_per_minute, 60);
    assert_int_equal(config.max_feeds_per_token, 15000); /* a quarter is for others */
    assert_int_equal(config.max_hosts_per_control_plane, 20000);
    assert_int_equal(config.feed_max_mib, 256);
    assert_int_equal(config.log_level, LOG_LEVEL_INFO);
    control_config_finish(&config);
}

static void options_win_over_the_file(void **state)
{
    struct world *world = *state;
    struct control_config config;
    char options[256];

    write_file(world->yaml, "listen: [\"127.0.0.1:1\", \"[::1]:2\"]\n"
                            "data_dir: /from/file\n"
                            "region: eu\n"
                            "admin_token_file: /t\n"
                            "heartbeat_ms: 700\n"
                            "max_feeds_per_token: 7\n"
                            "max_hosts_per_token: 9\n"
                            "log_format: json\n");
    (void)snprintf(options, sizeof(options), "--region au --config %s", world->yaml);
    config = read_good(options);
    assert_int_equal(config.n_listen, 2);
    assert_string_equal(config.listen[1], "[::1]:2");
    assert_string_equal(config.data_dir, "/from/file");
    assert_string_equal(config.region, "au");
    assert_int_equal(config.heartbeat_ms, 700);
    assert_int_equal(config.max_feeds_per_token, 7);
    assert_int_equal(config.max_hosts_per_token, 9);
    assert_int_equal(config.log_format, LOG_FORMAT_JSON);
    control_config_finish(&config);
    (void)snprintf(options, sizeof(options), "--config %s --listen 127.0.0.1:9 --listen=[::1]:8",
                   world->yaml);
    config = read_good(options);
    assert_int_equal(config.n_listen, 2);
    assert_string_equal(config.listen[0], "127.0.0.1:9");
    control_config_finish(&config);
}

static void faults_of_the_file_are_told_with_line_and_key(void **state)
{
    static const struct {
        const char *text;
        const char *first;
        const char *second;
    } rows[] = {
        {"data_dir: /x\nregion: us\ncolour: blue\n", "line 3", "colour"},
        {"data_dir: /x\n\"colour\": blue\n", "line 2", "colour"},
        {"data_dir: [1]\n", "line 1", "data_dir"},
        {"listen: foo\n", "line 1", "SEQUENCE"},
        {"data_dir: a\ndata_dir: b\n", "data_dir", "second time"},
        {"data_dir: \"unterminated\n", "line", "c.yaml"},
        {"heartbeat_ms: soon\n", "heartbeat-ms", "soon"},
    };
    struct world *world = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char options[256];

        write_file(world->yaml, rows[i].text);
        (void)snprintf(options, sizeof(options), "--admin-token-file t --config %s", world->yaml);
        assert_refused(options, rows[i].first);
        assert_refused(options, rows[i].second);
    }
}

static void wrong_options_are_refused(void **state)
{
    static const char *const rows[][2] = {
        {"", "openssl rand -hex 32"},
        {"--admin-token-file t --database postgresql://x", "PostgreSQL is not supported"},
        {"--admin-token-file t --tls-cert c", "--tls-key"},
        {"--admin-token-file t --client-ca c", "--tls-cert"},
        {"--admin-token-file t --region U!", "--region"},
        {"--admin-token-file t --heartbeat-ms 0", "--heartbeat-ms"},
        {"--admin-token-file t --max-feeds-per-token 0", "--max-feeds-per-token"},
        {"--admin-token-file t --feed-max-mib 63", "--feed-max-mib"},
        {"--admin-token-file t --keep-versions -1", "--keep-versions"},
        {"--admin-token-file t --max-connections 1e9", "--max-connections"},
        {"--admin-token-file t --max-strangers 0", "--max-strangers"},
        {"--admin-token-file t --max-strangers-per-address x", "--max-strangers-per-address"},
        {"--admin-token-file t --auth-failures-per-minute 0", "--auth-failures-per-minute"},
        {"--admin-token-file t --log-level loud", "--log-level"},
        {"--admin-token-file t --log-format xml", "--log-format"},
        {"--admin-token-file t extra", "extra"},
        {"--no-such-option", "--help"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_refused(rows[i][0], rows[i][1]);
}

static void help_and_version_need_nothing_else(void **state)
{
    struct error err = ERROR_INIT;
    struct control_config config;
    enum control_config_action action;

    (void)state;
    assert_int_equal(read_config("--version", &config, &action, &err), 0);
    assert_int_equal(action, CONTROL_CONFIG_VERSION);
    assert_int_equal(read_config("--region ! --help", &config, &action, &err), 0);
    assert_int_equal(action, CONTROL_CONFIG_HELP);
}

static void token_after_a_nul_is_not_cut_off(void **state)
{
    struct world *world = *state;
    struct error err = ERROR_INIT;
    struct auth auth = {0};
    FILE *file = fopen(world->yaml, "w");

    assert_non_null(file);
    assert_int_equal(fwrite("0123456789abcdef\0rest\n", 1, 22, file), 22);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(world->yaml, 0600), 0);
    assert_int_equal(auth_init(&auth, world->yaml, &err), E_CONFIG);
    assert_non_null(strstr(err.message, "a NUL at byte 17"));
    assert_null(strstr(err.message, "012345"));
}

static void token_file_that_became_bad_leaves_the_former_token(void **state)
{
    struct world *world = *state;
    struct error err = ERROR_INIT;
    struct auth auth = {0};
    uint8_t first[DIGEST_BYTES];

    write_file(world->yaml, "0123456789abcdef\n");
    assert_int_equal(chmod(world->yaml, 0600), 0);
    assert_int_equal(auth_init(&auth, world->yaml, &err), 0);
    memcpy(first, auth.admin_hash, sizeof(first));
    write_file(world->yaml, "short\n");
    assert_int_equal(auth_reload(&auth, world->yaml, &err), E_CONFIG);
    assert_memory_equal(auth.admin_hash, first, sizeof(first));
    write_file(world->yaml, "fedcba9876543210\n");
    assert_int_equal(auth_reload(&auth, world->yaml, &err), 0);
    assert_memory_not_equal(auth.admin_hash, first, sizeof(first));
}

static void admin_token_is_long_and_not_for_others(void **state)
{
    static const struct {
        const char *text;
        mode_t mode;
        int code;
    } rows[] = {
        {"0123456789abcdef\n", 0600, 0},
        {"0123456789abcdef", 0640, 0},
        {"0123456789abcdef \r\n\n", 0400, 0},
        {"0123456789abcdef\nrest", 0400, E_CONFIG},
        {"0123456789abcdef rest\n", 0600, E_CONFIG},
        {"0123456789abcdef\trest\n", 0600, E_CONFIG},
        {"0123456789abcdef\rrest\n", 0600, E_CONFIG},
        {"0123456789abcd\xc3\xa4", 0600, E_CONFIG},
        {" 0123456789abcdef", 0600, E_CONFIG},
        {"0123456789abcdef\n", 0644, E_CONFIG},
        {"0123456789abcdef\n", 0660, E_CONFIG},
        {"0123456789abcde\n", 0600, E_CONFIG},
        {"", 0600, E_CONFIG},
        {"\n0123456789abcdef", 0600, E_CONFIG},
    };
    struct world *world = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = ERROR_INIT;
        struct auth auth = {0};

        (void)unlink(world->yaml);
        write_file(world->yaml, rows[i].text);
        assert_int_equal(chmod(world->yaml, rows[i].mode), 0);
        if (auth_init(&auth, world->yaml, &err) != rows[i].code)
            fail_msg("row %zu: %s", i, err.message);
        if (rows[i].code != 0)
            assert_non_null(strstr(err.message, world->yaml));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_work),
        cmocka_unit_test(options_win_over_the_file),
        cmocka_unit_test(faults_of_the_file_are_told_with_line_and_key),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(help_and_version_need_nothing_else),
        cmocka_unit_test(admin_token_is_long_and_not_for_others),
        cmocka_unit_test(token_after_a_nul_is_not_cut_off),
        cmocka_unit_test(token_file_that_became_bad_leaves_the_former_token),
    };

    return cmocka_run_group_tests(tests, start, stop);
}

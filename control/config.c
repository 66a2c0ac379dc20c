/* config.c - see config.h. */
#include "control/config.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/grammar.h"
#include "control/config_text.h"

static const char default_listen[] = "127.0.0.1:8080";
static const char default_data_dir[] = "/var/lib/realm-control";
static const char default_region[] = "us";

enum {
    HEARTBEAT_DEFAULT_MS = 5000,
    KEEP_VERSIONS_DEFAULT = 1000000,
    CONNECTIONS_DEFAULT = 20000,
    HOSTS_DEFAULT = 20000,
    CONNECTIONS_MAX = 1000000,
    FAILURES_DEFAULT = 60,
    FAILURES_MAX = 60000,
    FEED_MIB_DEFAULT = 256,
    FEED_MIB_MIN = 64, /* a repair of 48 fits */
    FEED_MIB_MAX = 64 * 1024
};

/* What getopt_long returns: the options that stand for themselves, then the scalars in order. */
enum {
    OPTION_CONFIG = 256,
    OPTION_LISTEN,
    OPTION_CHECK,
    OPTION_VERSION,
    OPTION_HELP,
    OPTION_SCALARS
};

struct scalar {
    const char *option;
    const char *argument;
    const char *help;
    size_t offset;
};

static const struct scalar scalars[] = {
#define X(member, option, argument, help)                                                          \
    {option, argument, help, offsetof(struct control_config_text, member)},
    CONTROL_CONFIG_SCALARS(X)
#undef X
};
enum { SCALARS = sizeof(scalars) / sizeof(scalars[0]) };

static const struct option plain_options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
};
enum { PLAIN_OPTIONS = sizeof(plain_options) / sizeof(plain_options[0]) };

static void fill_options(struct option options[PLAIN_OPTIONS + SCALARS + 1])
{
    memcpy(options, plain_options, sizeof(plain_options));
    for (int i = 0; i < SCALARS; i++)
        options[PLAIN_OPTIONS + i] =
            (struct option){scalars[i].option, required_argument, NULL, OPTION_SCALARS + i};
    options[PLAIN_OPTIONS + SCALARS] = (struct option){0};
}

void control_config_print_help(FILE *out)
{
    (void)fputs("Usage: realm-control [OPTION...]\n\n"
                "The control plane: REST API, durable store and feed for realm-agent.\n\n"
                "  --config FILE              settings in YAML, by the names below with _ for -\n"
                "  --listen ADDRESS:PORT      may be repeated; port 0 picks one (127.0.0.1:8080)\n",
                out);
    for (size_t i = 0; i < SCALARS; i++) {
        char left[48];

        (void)snprintf(left, sizeof(left), "--%s %s", scalars[i].option, scalars[i].argument);
        (void)fprintf(out, "  %-26s %s\n", left, scalars[i].help);
    }
    (void)fputs("  --check-config             check settings, token and TLS files, and exit: 0 "
                "good, 1 not\n"
                "  --version\n"
                "  --help\n"
                "\n"
                "SIGHUP reads the administrator's token and the log's settings again; SIGTERM and\n"
                "SIGINT stop in order.\n"
                "Exit codes: 0 stopped as asked, 1 bad usage or configuration, 2 cannot run.\n",
                out);
}

/* ---- options over the file ---- */

static int replace(char **where, const char *value)
{
    char *copy = strdup(value);

    if (copy == NULL)
        return E_NO_MEMORY;
    free(*where);
    *where = copy;
    return 0;
}

static void drop_listen(struct control_config_text *text)
{
    for (unsigned i = 0; i < text->listen_count; i++)
        free(text->listen[i]);
    free(text->listen);
    text->listen = NULL;
    text->listen_count = 0;
}

static int add_listen(struct control_config_text *text, const char *address, struct error *err)
{
    char **grown;

    if (text->listen_count == CONTROL_CONFIG_LISTEN_MAX)
        return error_set(err, E_CONFIG, "more than %d --listen", CONTROL_CONFIG_LISTEN_MAX);
    grown = realloc(text->listen, (text->listen_count + 1) * sizeof(*grown));
    if (grown == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    text->listen = grown;
    grown[text->listen_count] = strdup(address);
    if (grown[text->listen_count] == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    text->listen_count++;
    return 0;
}

static char **scalar_at(struct control_config_text *text, size_t index)
{
    return (char **)((char *)text + scalars[index].offset);
}

/* One option; the first --listen takes the place of the file's list. */
static int apply_option(struct control_config_text *text, int option, const char *value,
                        bool *listened, struct error *err)
{
    int rc = 0;

    if (option == OPTION_LISTEN) {
        if (!*listened)
            drop_listen(text);
        *listened = true;
        return add_listen(text, value, err);
    }
    if (option >= OPTION_SCALARS)
        rc = replace(scalar_at(text, (size_t)(option - OPTION_SCALARS)), value);
    return rc != 0 ? error_set(err, rc, NULL) : 0;
}

/* Goes through the options once: for their form, --help, --version and --config. */
static int scan_options(int argc, char **argv, const struct option *options,
                        enum control_config_action *ret_action, const char **ret_file,
                        struct error *err)
{
    int option;

    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?')
            return error_set(err, E_CONFIG, "try --help");
        if (option == OPTION_HELP || option == OPTION_VERSION) {
            *ret_action = option == OPTION_HELP ? CONTROL_CONFIG_HELP : CONTROL_CONFIG_VERSION;
            return 0;
        }
        if (option == OPTION_CHECK)
            *ret_action = CONTROL_CONFIG_CHECK;
        if (option == OPTION_CONFIG)
            *ret_file = optarg;
    }
    if (optind < argc)
        return error_set(err, E_CONFIG, "unexpected argument '%s'; try --help", argv[optind]);
    return 0;
}

static int apply_options(int argc, char **argv, const struct option *options,
                         struct control_config_text *text, struct error *err)
{
    bool listened = false;
    int option;
    int rc = 0;

    optind = 1;
    while (rc == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (optarg != NULL)
            rc = apply_option(text, option, optarg, &listened, err);
    }
    return rc;
}

/* ---- values ---- */

struct number {
    const char *option;
    const char *text; /* NULL: not given */
    uint64_t min;
    uint64_t max;
    uint64_t fallback;
    uint64_t *ret;
};

static int read_number(const struct number *number, struct error *err)
{
    const char *text = number->text;
    unsigned long long value;
    char *end;

    *number->ret = number->fallback;
    if (text == NULL)
        return 0;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != 0 || errno != 0 || value < number->min ||
        value > number->max)
        return error_set(err, E_CONFIG, "--%s '%s' is not a number from %llu to %llu",
                         number->option, text, (unsigned long long)number->min,
                         (unsigned long long)number->max);
    *number->ret = value;
    return 0;
}

/* Unless it is told otherwise, one tenant leaves a quarter of the hosts' connections to others. */
static void share_connections(struct control_config *config)
{
    const uint64_t share = config->max_connections - config->max_connections / 4;

    if (config->max_feeds_per_token == 0)
        config->max_feeds_per_token = share;
    if (config->max_feeds_per_control_plane == 0)
        config->max_feeds_per_control_plane = share;
}

static int read_numbers(const struct control_config_text *text, struct control_config *config,
                        struct error *err)
{
    uint64_t heartbeat_ms = 0;
    uint64_t connections = 0;
    uint64_t feed_mib = 0;
    uint64_t strangers = 0;
    uint64_t per_address = 0;
    uint64_t failures = 0;
    const struct number numbers[] = {
        {"heartbeat-ms", text->heartbeat_ms, 10, 3600000, HEARTBEAT_DEFAULT_MS, &heartbeat_ms},
        {"keep-versions", text->keep_versions, 1, INT64_MAX, KEEP_VERSIONS_DEFAULT,
         &config->keep_versions},
        {"max-connections", text->max_connections, 1, CONNECTIONS_MAX, CONNECTIONS_DEFAULT,
         &connections},
        {"max-strangers", text->max_strangers, 1, CONNECTIONS_MAX, 0, &strangers},
        {"max-strangers-per-address", text->max_strangers_per_address, 1, CONNECTIONS_MAX, 0,
         &per_address},
        {"auth-failures-per-minute", text->auth_failures_per_minute, 1, FAILURES_MAX,
         FAILURES_DEFAULT, &failures},
        {"max-feeds-per-token", text->max_feeds_per_token, 1, CONNECTIONS_MAX, 0,
         &config->max_feeds_per_token},
        {"max-feeds-per-control-plane", text->max_feeds_per_control_plane, 1, CONNECTIONS_MAX, 0,
         &config->max_feeds_per_control_plane},
        {"max-hosts-per-token", text->max_hosts_per_token, 1, CONNECTIONS_MAX, HOSTS_DEFAULT,
         &config->max_hosts_per_token},
        {"max-hosts-per-control-plane", text->max_hosts_per_control_plane, 1, CONNECTIONS_MAX,
         HOSTS_DEFAULT, &config->max_hosts_per_control_plane},
        {"feed-max-mib", text->feed_max_mib, FEED_MIB_MIN, FEED_MIB_MAX, FEED_MIB_DEFAULT,
         &feed_mib},
    };
    int rc = 0;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && rc == 0; i++)
        rc = read_number(&numbers[i], err);
    config->heartbeat_ms = (uint32_t)heartbeat_ms;
    config->feed_max_mib = (unsigned)feed_mib;
    config->max_connections = (unsigned)connections;
    config->max_strangers = (unsigned)strangers;
    config->max_strangers_per_address = (unsigned)per_address;
    config->auth_failures_per_minute = (unsigned)failures;
    share_connections(config);
    return rc;
}

static int check_region(const char *region, struct error *err)
{
    struct grammar_fault fault;
    char why[GRAMMAR_TEXT_SIZE];

    if (grammar_check(GRAMMAR_REGION, GRAMMAR_MADE, region, strlen(region), &fault) == GRAMMAR_GOOD)
        return 0;
    return error_set(err, E_CONFIG, "--region '%s' %s", region,
                     grammar_explain(GRAMMAR_REGION, &fault, why));
}

static int check_combination(const struct control_config_text *text, struct error *err)
{
    if (text->database != NULL)
        return error_set(err, E_CONFIG,
                         "PostgreSQL is not supported by this build; use --data-dir instead of "
                         "--database");
    if (text->admin_token_file == NULL)
        return error_set(err, E_CONFIG,
                         "no --admin-token-file; make one with "
                         "(umask 077; openssl rand -hex 32 > FILE)");
    if ((text->tls_cert == NULL) != (text->tls_key == NULL))
        return error_set(err, E_CONFIG, "--tls-cert and --tls-key go together");
    if (text->client_ca != NULL && text->tls_cert == NULL)
        return error_set(err, E_CONFIG, "--client-ca needs --tls-cert and --tls-key");
    return 0;
}

static const char *or_default(const char *text, const char *fallback)
{
    return text != NULL ? text : fallback;
}

static int interpret(struct control_config *config, struct error *err)
{
    struct control_config_text *text = config->text;
    int rc = check_combination(text, err);

    if (rc == 0 && text->listen_count == 0)
        rc = add_listen(text, default_listen, err);
    if (rc != 0)
        return rc;
    config->listen = (const char *const *)text->listen;
    config->n_listen = text->listen_count;
    config->data_dir = or_default(text->data_dir, default_data_dir);
    config->region = or_default(text->region, default_region);
    config->admin_token_file = text->admin_token_file;
    config->tls_cert = text->tls_cert;
    config->tls_key = text->tls_key;
    config->client_ca = text->client_ca;
    if (!log_level_parse(or_default(text->log_level, "info"), &config->log_level))
        return error_set(err, E_CONFIG, "--log-level '%s' is not error, warning, info or debug",
                         text->log_level);
    if (!log_format_parse(or_default(text->log_format, "text"), &config->log_format))
        return error_set(err, E_CONFIG, "--log-format '%s' is not text or json", text->log_format);
    rc = check_region(config->region, err);
    return rc != 0 ? rc : read_numbers(text, config, err);
}

int control_config_read(int argc, char **argv, struct control_config *ret,
                        enum control_config_action *ret_action, struct error *err)
{
    struct option options[PLAIN_OPTIONS + SCALARS + 1];
    const char *file = NULL;
    int rc;

    *ret = (struct control_config){0};
    *ret_action = CONTROL_CONFIG_RUN;
    fill_options(options);
    rc = scan_options(argc, argv, options, ret_action, &file, err);
    if (rc != 0 || *ret_action == CONTROL_CONFIG_HELP || *ret_action == CONTROL_CONFIG_VERSION)
        return rc;
    if (file != NULL) {
        rc = control_config_yaml_load(file, &ret->text, err);
    } else {
        ret->text = calloc(1, sizeof(*ret->text));
        if (ret->text == NULL)
            rc = error_set(err, E_NO_MEMORY, NULL);
    }
    if (rc == 0)
        rc = apply_options(argc, argv, options, ret->text, err);
    if (rc == 0)
        rc = interpret(ret, err);
    if (rc != 0)
        control_config_finish(ret);
    return rc;
}

void control_config_finish(struct control_config *config)
{
    if (config->text != NULL) {
        drop_listen(config->text);
        for (size_t i = 0; i < SCALARS; i++)
            free(*scalar_at(config->text, i));
    }
    free(config->text);
    *config = (struct control_config){0};
}

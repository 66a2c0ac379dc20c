/* realm-agent: options and exit codes. The work is agent_run()'s.
 *
 * Exit codes: 0 stopped as asked, 1 bad usage or configuration, 2 cannot run.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "agent/agent.h"
#include "base/process.h"
#include "base/utf8.h"
#include "base/wipe.h"

enum { EXIT_STOPPED = 0, EXIT_USAGE = 1, EXIT_CANNOT_RUN = 2 };

struct arguments {
    const char *config;
    bool check_only;
};

static void print_help(FILE *out)
{
    (void)fputs(
        "Usage: realm-agent --config FILE [--check-config]\n"
        "Keeps this host's copy of the realms current.\n"
        "\n"
        "  --config FILE    the configuration (YAML); see realm-agent(8)\n"
        "  --check-config   check it and exit: 0 good, 1 not\n"
        "  --version        print the version and exit\n"
        "  --help           print this and exit\n"
        "\n"
        "SIGHUP reloads the configuration, SIGTERM and SIGINT stop in order.\n"
        "REALM_AGENT_<PATH> in the environment overrides a setting: REALM_AGENT_LOG_LEVEL=debug.\n"
        "Exit codes: 0 stopped as asked, 1 bad usage or configuration, 2 cannot run.\n",
        out);
}

/* -1: go on; else the exit code. */
static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"check-config", no_argument, NULL, 'k'},
                                            {"version", no_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            ret->config = optarg;
            break;
        case 'k':
            ret->check_only = true;
            break;
        case 'v':
            puts("realm-agent " REALMSTORE_VERSION);
            return EXIT_STOPPED;
        case 'h':
            print_help(stdout);
            return EXIT_STOPPED;
        default: /* getopt has said what is wrong */
            print_help(stderr);
            return EXIT_USAGE;
        }
    }
    if (ret->config == NULL || optind != argc) {
        (void)fputs(ret->config == NULL ? "realm-agent: --config is missing\n"
                                        : "realm-agent: too many arguments\n",
                    stderr);
        print_help(stderr);
        return EXIT_USAGE;
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {NULL, false};
    struct config *config;
    struct error err = ERROR_INIT;
    int code;

    process_begin_daemon();
    wipe_openssl();
    json_set_alloc_funcs(malloc, wipe_free);
    code = parse_arguments(argc, argv, &arguments);
    if (code >= 0)
        return code;
    if (config_load(arguments.config, environ, &config, &err) != 0) {
        utf8_complain("realm-agent", err.message);
        return EXIT_USAGE;
    }
    if (arguments.check_only) {
        for (unsigned i = 0; i < config->sources_count; i++) {
            if (config->sources[i].token_is_public)
                (void)fprintf(stderr, "realm-agent: warning: %s can be read by every user\n",
                              config->sources[i].token_file);
            if (config->sources[i].tls_warning.text[0] != 0)
                utf8_complain("realm-agent: warning", config->sources[i].tls_warning.text);
        }
        config_free(config);
        puts("configuration OK");
        return EXIT_STOPPED;
    }
    if (agent_run(arguments.config, environ, config, &err) != 0) {
        utf8_complain("realm-agent", err.message);
        return err.code == E_CONFIG ? EXIT_USAGE : EXIT_CANNOT_RUN;
    }
    return EXIT_STOPPED;
}

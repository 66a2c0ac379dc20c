/* realmctl.c - the inspection tool's main: global options, then one command (see tool.h). */
#include <getopt.h>
#include <string.h>

#include "base/process.h"
#include "tools/sources.h"
#include "tools/tool.h"

#define DEFAULT_STORE "/var/lib/realm-agent"

static const struct command *const commands[] = {
    &command_stat,   &command_dump, &command_get,    &command_lookup,   &command_readers,
    &command_verify, &command_diff, &command_backup, &command_rollback,
};
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_help(FILE *to)
{
    (void)fputs("Usage: realmctl [--store DIR] [--json] [--slots] COMMAND [ARGUMENTS]\n"
                "Look into the local copy of the realms that realm-agent keeps.\n\n"
                "  --store DIR  the store (default " DEFAULT_STORE ")\n"
                "  --json       answer in JSON\n"
                "  --slots      read through reader slots, for passes longer than the agent's\n"
                "               retention_ms; trusts every member of the reader group\n"
                "  --help       this text; realmctl COMMAND --help tells more\n"
                "  --version    print the version\n\n"
                "Commands:\n",
                to);
    for (size_t i = 0; i < N_COMMANDS; i++)
        (void)fprintf(to, "  %-8s  %s\n", commands[i]->name, commands[i]->summary);
    (void)fputs("\nExit status: 0 yes, 1 no or a fault was found, 2 cannot tell.\n"
                "Only rollback changes the store. No secret or digest is printed.\n",
                to);
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    }
    return NULL;
}

/* A command's own --help; its other options are its own business. */
static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

/* --json may stand behind the command too; takes it out of the arguments. */
static bool take_json(int *argc, char **argv)
{
    int kept = 1;

    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--json") != 0)
            argv[kept++] = argv[i];
    }
    if (kept == *argc)
        return false;
    argv[kept] = NULL;
    *argc = kept;
    return true;
}

static int run_command(struct tool *tool, int argc, char **argv)
{
    const struct command *command = find_command(argv[0]);

    if (command == NULL) {
        (void)tool_fail("there is no command \"%s\"", argv[0]);
        (void)fputs("Try 'realmctl --help'.\n", stderr);
        return TOOL_UNKNOWN;
    }
    if (wants_help(argc, argv)) {
        tool_print_usage(command, stdout);
        return TOOL_YES;
    }
    if (take_json(&argc, argv))
        tool->json = true;
    optind = 0; /* getopt starts afresh with the command's arguments */
    return command->run(tool, argc, argv);
}

/* Gives -1 when a command follows at argv[optind], else the exit code. */
static int parse_options(int argc, char **argv, struct tool *tool)
{
    static const struct option options[] = {
        {"store", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
        {"slots", no_argument, NULL, 'l'},       {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},     {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
        switch (option) {
        case 's':
            tool->store_dir = optarg;
            break;
        case 'j':
            tool->json = true;
            break;
        case 'l':
            tool->slots = true;
            sources_use_slots();
            break;
        case 'h':
            print_help(stdout);
            return TOOL_YES;
        case 'V':
            printf("realmctl %s\n", REALMSTORE_VERSION);
            return TOOL_YES;
        default:
            (void)fputs("Try 'realmctl --help'.\n", stderr);
            return TOOL_UNKNOWN;
        }
    }
    if (optind < argc)
        return -1;
    print_help(stderr);
    return TOOL_UNKNOWN;
}

int main(int argc, char **argv)
{
    struct tool tool = {.store_dir = DEFAULT_STORE};
    int rc;

    process_open_standard();
    rc = parse_options(argc, argv, &tool);
    if (rc == -1)
        rc = run_command(&tool, argc - optind, argv + optind);
    if (fflush(stdout) != 0 || ferror(stdout) != 0)
        return tool_fail("cannot write to standard output");
    return rc;
}

/* verify.c - realmctl verify: checks every source and lists what is wrong.
 *
 * Damaged pages are found before they are followed. But a disk that cannot read a page, or a file
 * that somebody cuts, is a signal to who reads the map. So a child does the work, and its death is
 * a fault like the others.
 */
#include "tools/verify.h"

#include "tools/capture.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* More are counted, not listed. */
enum { FAULTS_LISTED = 1000 };

struct verify {
    const struct tool *tool;
    json_t *faults; /* with --json */
    uint64_t n_faults;
    struct progress progress;
};

static void add_fault(struct verify *verify, const char *region, const char *table,
                      const char *text)
{
    if (++verify->n_faults > FAULTS_LISTED)
        return;
    progress_end(&verify->progress);
    if (verify->tool->json)
        (void)json_array_append_new(verify->faults, /* without memory the count still tells */
                                    json_pack("{ss, so, ss}", "region", region, "table",
                                              tool_json_string(table), "fault", text));
    else if (table != NULL)
        printf("%s: %s: %s\n", region, table, text);
    else
        printf("%s: %s\n", region, text);
}

static void on_fault(void *context, const struct tool_source *source, const char *table,
                     const char *text)
{
    add_fault(context, source->region, table, text);
}

/* Damage that shows when the source is opened is a fault; anything else means we cannot tell. */
static bool is_fault(int code)
{
    return code == E_CORRUPT || code == E_FORMAT || code == E_NOT_FOUND;
}

/* E_OVERTAKEN: what was found, and printed, is void and was forgotten. */
static int verify_open(struct verify *verify, struct tool_source *source, struct error *err)
{
    const struct verify_sink sink = {
        .fault = on_fault, .context = verify, .progress = &verify->progress};
    struct capture capture = CAPTURE_INIT;
    uint64_t former_n = verify->n_faults;
    bool overtaken;
    int rc = source->retained ? capture_begin(&capture, err) : 0;

    if (rc == 0)
        rc = verify_source(source, &sink, err);
    overtaken = source_view_overtaken(source);
    if (capture_end(&capture, !overtaken, rc == 0 ? err : NULL) != 0 && rc == 0)
        rc = err->code;
    if (!overtaken)
        return rc;
    verify->n_faults = former_n;
    while (json_array_size(verify->faults) > former_n)
        (void)json_array_remove(verify->faults, json_array_size(verify->faults) - 1);
    return error_set(err, E_OVERTAKEN,
                     "source %s: the agent used pages again that were still being read",
                     source->region);
}

static int verify_one(struct verify *verify, struct tool_source *source)
{
    enum { ATTEMPTS = 3 };
    struct error err = ERROR_INIT;
    int rc = E_OVERTAKEN;

    for (int i = 0; i < ATTEMPTS && rc == E_OVERTAKEN; i++) {
        struct tool_source attempt = *source;

        if (i > 0)
            (void)tool_fail("%s; starting over", err.message);
        err = (struct error)ERROR_INIT;
        rc = source_view_open(verify->tool->store_dir, &attempt, &err);
        if (rc == 0 && attempt.generation.number == 0)
            (void)tool_fail("source %s has no complete copy yet", source->region); /* no fault */
        else if (rc == 0)
            rc = verify_open(verify, &attempt, &err);
        source_view_close(&attempt);
    }
    if (rc == 0)
        return TOOL_YES;
    if (!is_fault(rc))
        return tool_fail("%s", err.message);
    add_fault(verify, source->region, NULL, err.message);
    return TOOL_YES; /* the fault is counted */
}

static int verify_report(struct verify *verify)
{
    if (verify->tool->json)
        return tool_print_json(json_pack("{sb, sI, sO}", "ok", verify->n_faults == 0, "faults",
                                         (json_int_t)verify->n_faults, "list", verify->faults));
    if (verify->n_faults > FAULTS_LISTED)
        printf("... and %llu more\n", (unsigned long long)verify->n_faults - FAULTS_LISTED);
    if (verify->n_faults == 0)
        printf("no faults\n");
    return 0;
}

static int verify_store(const struct tool *tool)
{
    struct verify verify = {.tool = tool, .faults = json_array()};
    struct error err = ERROR_INIT;
    struct tool_sources sources = {.n = 0};
    int rc = sources_list(tool->store_dir, &sources, &err);

    if (verify.faults == NULL)
        return tool_fail("%s", error_text(E_NO_MEMORY));
    if (is_fault(rc))
        add_fault(&verify, "status", NULL, err.message);
    else if (rc != 0)
        rc = tool_fail("%s", err.message);
    else {
        progress_begin(&verify.progress, "verify");
        for (size_t i = 0; i < sources.n && rc == TOOL_YES; i++)
            rc = verify_one(&verify, &sources.items[i]);
        progress_end(&verify.progress);
    }
    if (rc != TOOL_UNKNOWN && verify_report(&verify) == 0)
        rc = verify.n_faults == 0 ? TOOL_YES : TOOL_NO;
    else
        rc = TOOL_UNKNOWN;
    json_decref(verify.faults);
    return rc;
}

static int killed(const struct tool *tool, int signal_number)
{
    struct verify verify = {.tool = tool, .faults = json_array()};
    char text[192];
    int rc;

    (void)snprintf(text, sizeof(text),
                   "the disk cannot read a page of a data file, or the file was cut meanwhile: "
                   "reading it was ended by %s",
                   strsignal(signal_number));
    add_fault(&verify, "store", NULL, text);
    rc = verify_report(&verify) == 0 ? TOOL_NO : TOOL_UNKNOWN;
    json_decref(verify.faults);
    return rc;
}

static bool is_damage(int signal_number)
{
    return signal_number == SIGSEGV || signal_number == SIGBUS || signal_number == SIGABRT;
}

static int verify_run(const struct tool *tool, int argc, char **argv)
{
    int status;
    pid_t child;

    (void)argv; /* argv[0] is the command */
    if (argc > 1)
        return tool_misused(&command_verify, "verify takes no arguments");
    child = fork();
    if (child < 0)
        return tool_fail("cannot start the check: %s", strerror(errno));
    if (child == 0) {
        int rc = verify_store(tool);

        _exit(fflush(stdout) == 0 ? rc : TOOL_UNKNOWN);
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return tool_fail("cannot wait for the check: %s", strerror(errno));
    }
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    return is_damage(WTERMSIG(status)) ? killed(tool, WTERMSIG(status))
                                       : tool_fail("the check was killed");
}

const struct command command_verify = {
    .name = "verify",
    .arguments = "",
    .summary = "Check the structure, every record, every reference and every count",
    .help =
        "Reads the whole store: each record is checked in full, each reference between realms,\n"
        "consumers, keys and lookup entries is followed both ways, counts and digests are "
        "compared.\n"
        "Faults are\n"
        "listed one a line; with --json one object with ok, faults (how many) and list. The agent\n"
        "may run meanwhile: one consistent version of each source is checked.\n\n"
        "A running agent finds and repairs what is damaged by itself, in one round of checking "
        "its\n"
        "file. To copy everything anew, stop the agent, remove the region's directory, start "
        "it.\n\n"
        "Exit status: 0 no faults, 1 faults found, 2 the store cannot be read.\n",
    .run = verify_run,
};

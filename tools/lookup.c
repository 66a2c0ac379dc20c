/* lookup.c - realmctl lookup: ask the store as a gateway does, with the key from standard input.
 *
 * Through the public library alone, except for the list of realms when no --source is given. The
 * key never stands in an argument, where every user of the host could read it.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <openssl/crypto.h>

#include "realmstore.h"
#include "tools/sources.h"
#include "tools/patience.h"
#include "tools/tool.h"

struct source_list {
    rs_source *items; /* owned */
    size_t n;
};

static int add_source(struct source_list *list, const rs_source *source)
{
    rs_source *grown = realloc(list->items, (list->n + 1) * sizeof(*grown));

    if (grown == NULL)
        return tool_fail("%s", error_text(E_NO_MEMORY));
    list->items = grown;
    list->items[list->n++] = *source;
    return 0;
}

/* ---- the key ---- */

static ssize_t lookup_read_all(char *key, size_t max)
{
    size_t size = 0;

    while (size < max) {
        ssize_t got = read(STDIN_FILENO, key + size, max - size);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        size += (size_t)got;
        if (isatty(STDIN_FILENO) && key[size - 1] == '\n')
            break; /* a line is enough from a person */
    }
    return (ssize_t)size;
}

/* Prompts without echo at a terminal. One newline at the end is not part of the key; a longer key
 * than the store allows is read far enough to be known as such. */
static int lookup_read_key(char *key, size_t max, size_t *ret_size)
{
    struct termios saved;
    struct termios silent;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &saved) == 0;
    ssize_t size;

    if (terminal) {
        silent = saved;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        (void)fputs("API key: ", stderr);
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent); /* worst case: the key is echoed */
    }
    size = lookup_read_all(key, max);
    if (terminal) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved);
        (void)fputc('\n', stderr);
    }
    if (size < 0)
        return tool_fail("cannot read the key from standard input: %s", strerror(errno));
    if (size > 0 && key[size - 1] == '\n')
        size--;
    if (size == 0)
        return tool_fail("no key on standard input");
    *ret_size = (size_t)size;
    return 0;
}

/* ---- sources ---- */

static int add_realms(void *context, const struct tool_source *source, struct error *err)
{
    struct source_list *list = context;
    struct table_walk walk;
    int rc = walk_begin(&walk, source, TABLE_REALMS, NULL, err);

    while (rc == 0 && !walk.at_end) {
        rs_source asked = RS_SOURCE_REALM_INIT;
        struct record_realm realm;

        if (record_view_realm(walk.value.mv_data, walk.value.mv_size, &realm)) {
            memcpy(asked.realm_id, realm.id.bytes, UUID_BYTES);
            memcpy(asked.region, source->region, sizeof(asked.region));
            if (add_source(list, &asked) != 0)
                rc = error_set(err, E_NO_MEMORY, NULL);
        }
        if (rc == 0)
            rc = walk_next(&walk, err);
    }
    return rc;
}

static void forget_realms(void *context)
{
    struct source_list *list = context;

    list->n = 0;
}

/* Every realm of the store in number order, then the control plane's own consumers. */
static int add_all(const struct tool *tool, struct source_list *list)
{
    const rs_source cp = {.scope = RS_SCOPE_CP};
    const struct source_pass pass = {forget_realms, add_realms, list};
    struct error err = ERROR_INIT;

    if (sources_walk(tool->store_dir, &pass, &err) != 0)
        return tool_fail("%s", err.message);
    return add_source(list, &cp);
}

/* ---- the answer ---- */

static const char *result_text(int rc)
{
    switch (rc) {
    case RS_FOUND:
        return "found";
    case RS_NOT_FOUND:
        return "not_found";
    default:
        return "stale";
    }
}

static json_t *scope_json(const rs_answer *answer)
{
    if (answer->id == NULL)
        return json_null();
    if (answer->scope == RS_SCOPE_CP)
        return json_string("cp");
    return json_sprintf("realm:%s", answer->realm_id);
}

static json_t *answer_json(int rc, const rs_answer *answer)
{
    json_t *groups = json_array();

    for (size_t i = 0; i < answer->n_groups; i++)
        (void)json_array_append_new(groups, tool_json_string(answer->groups[i]));
    return json_pack("{ss, so, so, so, so, so, so, so}", "result", result_text(rc), "id",
                     tool_json_string(answer->id), "username", tool_json_string(answer->username),
                     "custom_id", tool_json_string(answer->custom_id), "groups", groups,
                     "credential_id", tool_json_string(answer->credential_id), "scope",
                     scope_json(answer), "age_ms",
                     answer->age_ms < 0 ? json_null() : json_integer(answer->age_ms));
}

static void print_line(const char *label, const char *text)
{
    printf("%-12s", label);
    tool_print_text(text != NULL ? text : "-");
    (void)putchar('\n');
}

static int lookup_print_text(int rc, const rs_answer *answer)
{
    printf("%s\n", rc == RS_NOT_FOUND ? "not found" : result_text(rc));
    if (answer->id == NULL)
        return 0;
    print_line("id", answer->id);
    print_line("username", answer->username);
    print_line("custom id", answer->custom_id);
    print_line("credential", answer->credential_id);
    print_line("realm",
               answer->scope == RS_SCOPE_CP ? "- (the control plane's own)" : answer->realm_id);
    printf("%-12s", "groups");
    for (size_t i = 0; i < answer->n_groups; i++) {
        if (i > 0)
            (void)fputs(", ", stdout);
        tool_print_text(answer->groups[i]);
    }
    printf("\n%-12s%lld ms\n", "age", (long long)answer->age_ms);
    return 0;
}

static int lookup_print_answer(const struct tool *tool, int rc, const rs_answer *answer)
{
    return tool->json ? tool_print_json(answer_json(rc, answer)) : lookup_print_text(rc, answer);
}

static int lookup_ask(const struct tool *tool, rs_store *store, const struct source_list *list,
                      const char *key, size_t key_size)
{
    static char buffer[RS_ANSWER_MAX_BYTES];
    rs_answer answer;
    int rc =
        rs_lookup_copy(store, list->items, list->n, key, key_size, buffer, sizeof(buffer), &answer);

    if (rc < 0)
        return tool_fail("%s: %s", tool->store_dir, rs_strerror(rc));
    if (lookup_print_answer(tool, rc, &answer) != 0)
        return TOOL_UNKNOWN;
    if (rc == RS_STALE)
        return TOOL_UNKNOWN;
    return rc == RS_FOUND ? TOOL_YES : TOOL_NO;
}

static int ask_with_key(const struct tool *tool, const struct source_list *list)
{
    char key[MODEL_SECRET_MAX +
             2]; /* the longest key, its newline, and a byte that shows a longer one */
    char message[256] = "";
    rs_options options = RS_OPTIONS_INIT;
    rs_store *store;
    size_t size = 0;
    int rc;

    options.message = message;
    options.message_size = sizeof(message);
    options.mode = tool->slots ? RS_MODE_SLOTS : RS_MODE_AUTO;
    patience_begin();
    rc = rs_open(&store, tool->store_dir, &options);
    patience_end();
    if (rc != 0)
        return tool_fail("%s", message[0] != 0 ? message : rs_strerror(rc));
    rc = lookup_read_key(key, sizeof(key), &size);
    patience_begin();
    if (rc == 0)
        rc = lookup_ask(tool, store, list, key, size);
    patience_end();
    OPENSSL_cleanse(key, sizeof(key));
    rs_close(store);
    return rc;
}

static int parse_options(const struct tool *tool, int argc, char **argv, struct source_list *list)
{
    static const struct option options[] = {
        {"source", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    rs_source source;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 's')
            return tool_misused(&command_lookup, "wrong usage of lookup");
        if (rs_source_parse(optarg, &source) != 0)
            return tool_misused(&command_lookup,
                                "wrong source \"%s\": it is cp, cp:REGION, realm:ID or "
                                "realm:REGION:ID",
                                optarg);
        if (add_source(list, &source) != 0)
            return TOOL_UNKNOWN;
    }
    if (optind < argc)
        return tool_misused(&command_lookup,
                            "lookup takes no arguments: the key comes on standard input");
    return list->n > 0 ? 0 : add_all(tool, list);
}

static int lookup_run(const struct tool *tool, int argc, char **argv)
{
    struct source_list list = {.n = 0};
    int rc = parse_options(tool, argc, argv, &list);

    if (rc == 0)
        rc = ask_with_key(tool, &list);
    free(list.items);
    return rc;
}

const struct command command_lookup = {
    .name = "lookup",
    .arguments = "[--source realm:ID|cp]... < KEY",
    .summary = "Look an API key up, as a gateway does",
    .help =
        "  --source SOURCE  where to look: realm:ID, realm:REGION:ID, cp or cp:REGION; may be "
        "given\n"
        "                   several times, the first that knows the key answers. Default: every\n"
        "                   realm of the store by number, then cp\n\n"
        "The key is read from standard input, never from an argument; one newline at its end is\n"
        "dropped. At a terminal it is asked for without echo.\n\n"
        "With --json: one object with result (found, not_found, stale), id, username, custom_id,\n"
        "groups, credential_id, scope and age_ms. stale: the control plane has not been heard for\n"
        "longer than the realm allows; the last known answer is shown.\n\n"
        "Exit status: 0 found, 1 not found, 2 cannot tell (stale, no copy yet, not readable).\n",
    .run = lookup_run,
};

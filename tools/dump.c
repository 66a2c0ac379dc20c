/* dump.c - realmctl dump: every realm and consumer, one a line, in an order that never changes. */
#include <getopt.h>
#include <string.h>

#include "tools/entity.h"
#include "tools/tool.h"

enum format { FORMAT_NDJSON, FORMAT_TABLE };

struct dump {
    enum format format;
    bool all; /* else `realm` alone */
    struct uuid realm;
    bool found; /* the realm was somewhere */
    uint64_t records;
    struct progress progress;
};

/* ---- realms ---- */

static void print_joined(const struct record_strings *list)
{
    if (list->count == 0)
        (void)putchar('-');
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            (void)putchar(',');
        tool_print_text(record_strings_get(list, i));
    }
}

static int print_realm(struct dump *dump, const struct tool_source *source,
                       const struct record_realm *realm)
{
    char id[UUID_TEXT_SIZE];

    dump->records++;
    if (dump->format == FORMAT_NDJSON)
        return tool_print_json(entity_realm_json(source, realm)) == 0 ? 0 : E_IO;
    printf("%-8s realm     %s  %u ", source->region, uuid_format(&realm->id, id), realm->number);
    tool_print_text(realm->name);
    printf("  ttl %u min, negative %u min, groups ", realm->ttl_min, realm->negative_ttl_min);
    print_joined(&realm->groups);
    (void)putchar('\n');
    return 0;
}

static bool is_wanted(const struct dump *dump, const struct record_realm *realm)
{
    return dump->all || uuid_equal(&realm->id, &dump->realm);
}

/* Prints the realms that were asked for; the number of the last one goes to *ret_scope. */
static int dump_realms(struct dump *dump, const struct tool_source *source, uint32_t *ret_scope,
                       struct error *err)
{
    struct table_walk walk;
    int rc = walk_begin(&walk, source, TABLE_REALMS, NULL, err);

    while (rc == 0 && !walk.at_end) {
        struct record_realm realm;

        if (!record_check(RECORD_REALM, walk.value.mv_data, walk.value.mv_size) ||
            !record_view_realm(walk.value.mv_data, walk.value.mv_size, &realm))
            rc = error_set(err, E_CORRUPT,
                           "a realm's record is damaged; `realmctl verify` tells which");
        else if (is_wanted(dump, &realm)) {
            dump->found = true;
            *ret_scope = realm.number;
            rc = print_realm(dump, source, &realm);
        }
        if (rc == 0)
            rc = walk_next(&walk, err);
    }
    return rc;
}

/* ---- consumers ---- */

static int print_consumer(struct dump *dump, struct consumer_walk *walk, struct error *err)
{
    const struct record_consumer *consumer = &walk->consumer;
    char scope[SCOPE_TEXT_SIZE];
    char id[UUID_TEXT_SIZE];
    size_t n_keys;
    json_t *value;
    int rc;

    dump->records++;
    progress_at(&dump->progress, dump->records);
    if (dump->format == FORMAT_NDJSON) {
        rc = entity_consumer_json(walk, &value, err);
        return rc != 0 ? rc : tool_print_json(value) == 0 ? 0 : E_IO;
    }
    rc = entity_count_keys(walk, &n_keys, err);
    if (rc != 0)
        return rc;
    printf("%-8s consumer  %s  %s  ", walk->rows.source->region, uuid_format(&consumer->id, id),
           source_view_scope(walk->rows.source, walk->scope, scope));
    tool_print_text(consumer->username != NULL ? consumer->username : "-");
    (void)fputs("  ", stdout);
    tool_print_text(consumer->custom_id != NULL ? consumer->custom_id : "-");
    printf("  %zu key%s  ", n_keys, n_keys == 1 ? "" : "s");
    print_joined(&consumer->groups);
    (void)putchar('\n');
    return 0;
}

static int dump_consumers(struct dump *dump, const struct tool_source *source, uint32_t scope,
                          struct error *err)
{
    struct consumer_walk walk;
    int rc = consumer_walk_begin(&walk, source, scope, err);

    if (rc != 0)
        return rc;
    while (rc == 0 && !walk.at_end && (dump->all || walk.scope == scope)) {
        rc = print_consumer(dump, &walk, err);
        if (rc == 0)
            rc = consumer_walk_next(&walk, err);
    }
    return rc;
}

static int dump_source(void *context, const struct tool_source *source, struct error *err)
{
    struct dump *dump = context;
    uint32_t wanted = MODEL_SCOPE_CP;
    int rc = dump_realms(dump, source, &wanted, err);

    if (rc != 0)
        return rc;
    if (dump->all)
        return dump_consumers(dump, source, MODEL_SCOPE_CP, err); /* the first scope */
    return wanted != MODEL_SCOPE_CP ? dump_consumers(dump, source, wanted, err) : 0;
}

/* ---- the command ---- */

static void restart(void *context)
{
    struct dump *dump = context;

    dump->found = false;
    dump->records = 0;
}

static int dump_store(const struct tool *tool, struct dump *dump)
{
    const struct source_pass pass = {restart, dump_source, dump};
    struct error err = ERROR_INIT;
    int rc;

    progress_begin(&dump->progress, "dump");
    rc = sources_walk(tool->store_dir, &pass, &err);
    progress_end(&dump->progress);
    if (rc != 0) /* without a message it was the output, which was told already */
        return err.code != 0 ? tool_fail("%s", err.message) : TOOL_UNKNOWN;
    if (dump->all || dump->found)
        return TOOL_YES;
    (void)tool_fail("the store does not hold this realm"); /* which is an answer */
    return TOOL_NO;
}

static int dump_run(const struct tool *tool, int argc, char **argv)
{
    static const struct option options[] = {
        {"realm", required_argument, NULL, 'r'},
        {"format", required_argument, NULL, 'f'},
        {NULL, 0, NULL, 0},
    };
    struct dump dump = {.format = FORMAT_NDJSON, .all = true};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'r' && uuid_parse(optarg, &dump.realm))
            dump.all = false;
        else if (option == 'f' && strcmp(optarg, "table") == 0 && !tool->json)
            dump.format = FORMAT_TABLE;
        else if (option == 'f' && strcmp(optarg, "ndjson") == 0)
            dump.format = FORMAT_NDJSON;
        else if (option == '?')
            return tool_misused(&command_dump, "wrong usage of dump");
        else
            return tool_misused(&command_dump, "wrong value \"%s\"", optarg);
    }
    if (optind < argc)
        return tool_misused(&command_dump, "dump takes no argument \"%s\"", argv[optind]);
    return dump_store(tool, &dump);
}

const struct command command_dump = {
    .name = "dump",
    .arguments = "[--realm ID] [--format ndjson|table]",
    .summary = "Print every realm and consumer, one a line",
    .help =
        "  --realm ID       only this realm (UUID) and its consumers\n"
        "  --format ndjson  one JSON object a line (default); table: columns for reading\n\n"
        "The order is fixed: sources by region; in each the realms by number, then the consumers\n"
        "by scope and id, each with its keys by id. Two stores can be compared with diff. Digests\n"
        "of keys are never printed. The dump is one consistent version of each source.\n\n"
        "Exit status: 0 printed, 1 no such realm, 2 the store cannot be read.\n",
    .run = dump_run,
};

/* get.c - realmctl get: the consumers that an id, a username or a custom id names.
 *
 * Names have no index on the host, where no request ever looks for one: all consumers are read.
 */
#include <string.h>

#include "tools/entity.h"
#include "tools/tool.h"

struct get {
    const struct tool *tool;
    const char *name;
    uint64_t seen;
    size_t found;
    struct progress progress;
};

static void print_list(const char *label, json_t *array)
{
    size_t i;
    json_t *item;

    printf("%-12s", label);
    json_array_foreach(array, i, item)
    {
        if (i > 0)
            (void)fputs(", ", stdout);
        tool_print_text(json_string_value(item));
    }
    (void)putchar('\n');
}

static void print_member(const json_t *consumer, const char *name, const char *label)
{
    const char *text = json_string_value(json_object_get(consumer, name));

    printf("%-12s", label);
    tool_print_text(text != NULL ? text : "-");
    (void)putchar('\n');
}

static void print_keys(const json_t *keys)
{
    size_t i;
    json_t *key;

    json_array_foreach(keys, i, key)
    {
        const char *expires = json_string_value(json_object_get(key, "expires_at"));

        printf("%-12s%s, expires %s\n", "key", json_string_value(json_object_get(key, "id")),
               expires != NULL ? expires : "never");
    }
}

static void get_print_text(const struct get *get, const json_t *consumer)
{
    if (get->found > 0)
        (void)putchar('\n');
    print_member(consumer, "id", "id");
    print_member(consumer, "username", "username");
    print_member(consumer, "custom_id", "custom id");
    print_member(consumer, "type", "type");
    print_member(consumer, "region", "region");
    print_member(consumer, "scope", "scope");
    print_list("groups", json_object_get(consumer, "consumer_groups"));
    print_list("tags", json_object_get(consumer, "tags"));
    print_keys(json_object_get(consumer, "keys"));
}

static int print_match(struct get *get, struct consumer_walk *walk, struct error *err)
{
    json_t *consumer;
    int rc = entity_consumer_json(walk, &consumer, err);

    if (rc != 0)
        return rc;
    if (!get->tool->json) {
        get_print_text(get, consumer);
        json_decref(consumer);
    } else if (tool_print_json(consumer) != 0) {
        return error_set(err, E_IO, "cannot write");
    }
    get->found++;
    return 0;
}

static bool is_match(const struct get *get, const struct record_consumer *consumer)
{
    char id[UUID_TEXT_SIZE];

    return (consumer->username != NULL && strcmp(consumer->username, get->name) == 0) ||
           (consumer->custom_id != NULL && strcmp(consumer->custom_id, get->name) == 0) ||
           strcasecmp(uuid_format(&consumer->id, id), get->name) == 0;
}

static int search(void *context, const struct tool_source *source, struct error *err)
{
    struct get *get = context;
    struct consumer_walk walk;
    int rc = consumer_walk_begin(&walk, source, MODEL_SCOPE_CP, err);

    if (rc != 0)
        return rc;
    while (rc == 0 && !walk.at_end) {
        progress_at(&get->progress, ++get->seen);
        if (is_match(get, &walk.consumer))
            rc = print_match(get, &walk, err);
        if (rc == 0)
            rc = consumer_walk_next(&walk, err);
    }
    return rc;
}

static void restart(void *context)
{
    struct get *get = context;

    get->seen = 0;
    get->found = 0;
}

static int get_run(const struct tool *tool, int argc, char **argv)
{
    struct get get = {.tool = tool};
    const struct source_pass pass = {restart, search, &get};
    struct error err = ERROR_INIT;
    int rc;

    if (argc != 2)
        return tool_misused(&command_get, "get takes one consumer");
    get.name = argv[1];
    progress_begin(&get.progress, "get");
    rc = sources_walk(tool->store_dir, &pass, &err);
    progress_end(&get.progress);
    if (rc != 0)
        return tool_fail("%s", err.message);
    return get.found > 0 ? TOOL_YES : TOOL_NO;
}

const struct command command_get = {
    .name = "get",
    .arguments = "CONSUMER",
    .summary = "Show the consumers with this id, username or custom id",
    .help = "Every match in every realm and source is shown, with the ids of its keys. With --json "
            "each\n"
            "match is one line, as dump prints it. Reads all consumers: seconds for millions.\n\n"
            "Exit status: 0 found, 1 not found, 2 the store cannot be read.\n",
    .run = get_run,
};

/* diff.c - realmctl diff: two stores, or a store and a backup, or two backups. */
#include "tools/diff.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/files.h"

struct diff {
    const struct tool *tool;
    uint64_t differences;
    struct progress progress;
};

/* ---- opening a side ---- */

static bool holds(const char *dir, const char *name)
{
    char path[PATH_MAX];

    return files_join(path, dir, name, NULL) == 0 && access(path, F_OK) == 0;
}

static int by_region(const void *a, const void *b)
{
    return strcmp(((const struct tool_source *)a)->region, ((const struct tool_source *)b)->region);
}

static int open_copies(const char *dir, DIR *list, struct tool_sources *ret, struct error *err)
{
    struct dirent *entry;
    char path[PATH_MAX];
    int rc = 0;

    while (rc == 0 && ret->n < STATUS_SLOTS && (entry = readdir(list)) != NULL) {
        if (!layout_region_valid(entry->d_name) ||
            files_join(path, dir, entry->d_name, NULL) != 0 || !holds(path, "data.mdb"))
            continue;
        rc = source_view_open_copy(path, &ret->items[ret->n], err);
        ret->n += rc == 0;
    }
    if (rc == 0 && ret->n == 0)
        return error_set(err, E_NO_STORE, "%s is neither a store nor a backup", dir);
    qsort(ret->items, ret->n, sizeof(ret->items[0]), by_region);
    return rc;
}

/* A store has a status page; a backup has none. */
static int open_side(const char *dir, struct tool_sources *ret, struct error *err)
{
    DIR *list;
    int rc;

    ret->n = 0;
    if (holds(dir, "status"))
        return sources_open(dir, ret, err);
    list = opendir(dir);
    if (list == NULL)
        return error_set_errno(err, errno, "cannot open %s", dir);
    rc = open_copies(dir, list, ret, err);
    (void)closedir(list); /* nothing was written */
    if (rc != 0)
        sources_close(ret);
    return rc;
}

/* ---- telling ---- */

static const char *how_text(enum diff_how how)
{
    static const char *const texts[] = {"only_in_a", "only_in_b", "changed"};

    return texts[how];
}

static json_t *fields_json(const struct difference *difference)
{
    json_t *array = json_array();

    for (size_t i = 0; difference->fields[i] != NULL; i++)
        (void)json_array_append_new(array, json_string(difference->fields[i]));
    return array; /* jansson passes NULLs through: tool_print_json() tells */
}

static void print_json(const struct difference *difference)
{
    char scope[SCOPE_TEXT_SIZE];
    char id[UUID_TEXT_SIZE];
    char consumer[UUID_TEXT_SIZE];
    bool is_key = !uuid_is_nil(&difference->consumer_id);

    (void)tool_print_json(
        json_pack(/* stdout is checked at the end */
                  "{ss, ss, ss, ss, so, ss, so}", "region", difference->source->region, "kind",
                  difference->kind, "scope",
                  source_view_scope(difference->source, difference->scope, scope), "id",
                  uuid_format(&difference->id, id), "consumer_id",
                  tool_json_string(is_key ? uuid_format(&difference->consumer_id, consumer) : NULL),
                  "difference", how_text(difference->how), "fields", fields_json(difference)));
}

static void print_text(const struct difference *difference)
{
    char scope[SCOPE_TEXT_SIZE];
    char id[UUID_TEXT_SIZE];

    printf("%s: %s %s", difference->source->region, difference->kind,
           uuid_format(&difference->id, id));
    if (!uuid_is_nil(&difference->consumer_id))
        printf(" of consumer %s", uuid_format(&difference->consumer_id, id));
    printf(" (%s): ", source_view_scope(difference->source, difference->scope, scope));
    if (difference->how != DIFF_CHANGED)
        printf("only in %s\n", difference->how == DIFF_ONLY_IN_A ? "A" : "B");
    else {
        printf("differs in");
        for (size_t i = 0; difference->fields[i] != NULL; i++)
            printf("%s %s", i > 0 ? "," : "", difference->fields[i]);
        printf("\n");
    }
}

static void on_difference(void *context, const struct difference *difference)
{
    struct diff *diff = context;

    diff->differences++;
    progress_end(&diff->progress);
    if (diff->tool->json)
        print_json(difference);
    else
        print_text(difference);
}

static void tell_missing_source(struct diff *diff, const char *region, enum diff_how how)
{
    diff->differences++;
    if (diff->tool->json)
        (void)tool_print_json(json_pack("{ss, ss, ss}", "region", region, "kind", "source",
                                        "difference", how_text(how)));
    else
        printf("%s: only in %s\n", region, how == DIFF_ONLY_IN_A ? "A" : "B");
}

/* ---- comparing ---- */

static int compare_source(struct diff *diff, const struct tool_source *a,
                          const struct tool_source *b)
{
    const struct diff_sink sink = {on_difference, diff, &diff->progress};
    struct error err = ERROR_INIT;

    if (a->generation.number == 0 || b->generation.number == 0)
        return tool_fail("source %s has no complete copy in %s", a->region,
                         a->generation.number == 0 ? "A" : "B");
    if (memcmp(a->meta.digest_key_check, b->meta.digest_key_check,
               sizeof(a->meta.digest_key_check)) != 0)
        (void)tool_fail("source %s: the digest keys differ, so digests are not compared",
                        a->region);
    if (diff_sources(a, b, &sink, &err) != 0)
        return tool_fail("%s", err.message);
    return TOOL_YES;
}

/* Both are sorted by region. */
static int compare(struct diff *diff, const struct tool_sources *a, const struct tool_sources *b)
{
    int rc = TOOL_YES;
    size_t i = 0;
    size_t j = 0;

    while (rc == TOOL_YES && (i < a->n || j < b->n)) {
        int order = i == a->n ? 1 : j == b->n ? -1 : strcmp(a->items[i].region, b->items[j].region);

        if (order < 0)
            tell_missing_source(diff, a->items[i].region, DIFF_ONLY_IN_A);
        else if (order > 0)
            tell_missing_source(diff, b->items[j].region, DIFF_ONLY_IN_B);
        else
            rc = compare_source(diff, &a->items[i], &b->items[j]);
        i += order <= 0;
        j += order >= 0;
    }
    return rc;
}

/* LMDB must not open one file twice in a process. */
static bool is_same(const char *a, const char *b)
{
    char paths[2][PATH_MAX];

    return realpath(a, paths[0]) != NULL && realpath(b, paths[1]) != NULL &&
           strcmp(paths[0], paths[1]) == 0;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct diff diff = {.tool = tool};
    struct error err = ERROR_INIT;
    struct tool_sources a;
    struct tool_sources b;
    int rc;

    if (argc != 3)
        return tool_misused(&command_diff, "diff takes two stores or backups");
    if (is_same(argv[1], argv[2]))
        return tool_misused(&command_diff, "A and B are one directory");
    if (open_side(argv[1], &a, &err) != 0)
        return tool_fail("A: %s", err.message);
    if (open_side(argv[2], &b, &err) != 0) {
        sources_close(&a);
        return tool_fail("B: %s", err.message);
    }
    progress_begin(&diff.progress, "diff");
    rc = compare(&diff, &a, &b);
    progress_end(&diff.progress);
    sources_close(&b);
    sources_close(&a);
    if (rc != TOOL_YES)
        return rc;
    if (diff.differences == 0 && !tool->json)
        printf("no differences\n");
    return diff.differences == 0 ? TOOL_YES : TOOL_NO;
}

const struct command command_diff = {
    .name = "diff",
    .arguments = "A B",
    .summary = "Compare two stores or backups, entity by entity",
    .help =
        "A and B are store directories, or what `realmctl backup` made. Realms, consumers and "
        "keys\n"
        "that only one has, or that differ, are listed one a line, with the members that differ;\n"
        "with --json one object a line: region, kind, scope, id, consumer_id, difference\n"
        "(only_in_a, only_in_b, changed), fields. A key whose secret was changed differs in\n"
        "\"digest\"; the digest itself is not shown. Versions are not compared: stores at "
        "different\n"
        "versions may hold the same. --store plays no part.\n\n"
        "Exit status: 0 no differences, 1 differences, 2 cannot tell.\n",
    .run = run,
};

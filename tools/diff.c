/* diff.c - realmctl diff: what two stores or backups hold differently, record by record.
 *
 * Both sides sort their tables alike, so that one merge over each table finds every difference.
 * Positions and times of the feed are not compared: two hosts that hold the same records are equal,
 * however each of them got there.
 */
#include <string.h>
#include <sys/stat.h>

#include "tools/diff_entity.h"
#include "tools/tool.h"

enum { SIDES = 2 };

enum difference { ONLY_IN_A, ONLY_IN_B, CHANGED };

struct diff {
    const struct tool *tool;
    const struct tool_source *sides[SIDES]; /* of the source at hand */
    bool digests;                           /* both sides made theirs with one digest key */
    bool different;
    uint64_t records;
    struct progress progress;
};

/* ---- output ---- */

static json_t *fields_json(unsigned fields)
{
    json_t *array = json_array();

    for (int i = 0; i < DIFF_FIELDS; i++) {
        if ((fields & 1U << i) != 0)
            (void)json_array_append_new(array, json_string(diff_field_names[i]));
    }
    return array; /* NULL makes json_pack() fail */
}

static int print_json(const struct diff_subject *subject, enum difference difference,
                      unsigned fields)
{
    static const char *const names[] = {"only_in_a", "only_in_b", "changed"};
    const bool is_record = !uuid_is_nil(&subject->id);
    char id[UUID_TEXT_SIZE];
    char consumer[UUID_TEXT_SIZE];
    char scope[SCOPE_TEXT_SIZE];

    return tool_print_json(
        json_pack("{ss, ss, so, so, so, ss, so}", "region", subject->source->region, "entity",
                  subject->entity, "id",
                  tool_json_string(is_record ? uuid_format(&subject->id, id) : NULL), "scope",
                  tool_json_string(
                      is_record ? source_view_scope(subject->source, subject->scope, scope) : NULL),
                  "consumer_id",
                  tool_json_string(uuid_is_nil(&subject->consumer_id)
                                       ? NULL
                                       : uuid_format(&subject->consumer_id, consumer)),
                  "difference", names[difference], "fields", fields_json(fields)));
}

static void diff_print_text(const struct diff_subject *subject, enum difference difference,
                            unsigned fields)
{
    char text[UUID_TEXT_SIZE];
    char scope[SCOPE_TEXT_SIZE];
    const char *separator = " ";

    printf("%s: %s", subject->source->region, subject->entity);
    if (!uuid_is_nil(&subject->id))
        printf(" %s", uuid_format(&subject->id, text));
    if (!uuid_is_nil(&subject->consumer_id))
        printf(" of consumer %s", uuid_format(&subject->consumer_id, text));
    if (strcmp(subject->entity, "consumer") == 0 || strcmp(subject->entity, "key") == 0)
        printf(" in %s", source_view_scope(subject->source, subject->scope, scope));
    if (difference != CHANGED) {
        printf(": only in %c\n", difference == ONLY_IN_A ? 'A' : 'B');
        return;
    }
    printf(": different");
    for (int i = 0; i < DIFF_FIELDS; i++) {
        if ((fields & 1U << i) == 0)
            continue;
        printf("%s%s", separator, diff_field_names[i]);
        separator = ", ";
    }
    (void)putchar('\n'); /* main() checks stdout once, at the end */
}

static int diff_report(struct diff *diff, const struct diff_subject *subject,
                       enum difference difference, unsigned fields)
{
    diff->different = true;
    progress_end(&diff->progress);
    if (diff->tool->json)
        return print_json(subject, difference, fields) == 0 ? 0 : E_IO;
    diff_print_text(subject, difference, fields);
    return 0;
}

/* ---- the merge ---- */

static int report_single(struct diff *diff, const struct table_walk *walk,
                         enum difference difference, struct error *err)
{
    struct diff_subject subject = {.scope = 0};
    struct diff_record record;
    int rc = diff_read(walk, &record, &subject, err);

    return rc != 0 ? rc : diff_report(diff, &subject, difference, 0);
}

static int compare_pair(struct diff *diff, const struct table_walk *a, const struct table_walk *b,
                        struct error *err)
{
    struct diff_subject subject = {.scope = 0};
    struct diff_record records[SIDES];
    unsigned fields;
    int rc = diff_read(b, &records[1], &subject, err);

    if (rc == 0)
        rc = diff_read(a, &records[0], &subject, err);
    if (rc != 0)
        return rc;
    fields = diff_compare(&records[0], &records[1]);
    if (!diff->digests) /* under different digest keys equal secrets have different digests */
        fields &= ~(1U << DIFF_FIELD_DIGEST);
    return fields == 0 ? 0 : diff_report(diff, &subject, CHANGED, fields);
}

/* Takes the lesser of both sides' records, or the pair, and moves on. */
static int merge_step(struct diff *diff, const struct diff_table *table, struct table_walk *a,
                      struct table_walk *b, struct error *err)
{
    int order = a->at_end ? 1 : b->at_end ? -1 : table->order(&a->key, &b->key);
    int rc;

    progress_at(&diff->progress, ++diff->records);
    if (order < 0)
        rc = report_single(diff, a, ONLY_IN_A, err);
    else if (order > 0)
        rc = report_single(diff, b, ONLY_IN_B, err);
    else
        rc = compare_pair(diff, a, b, err);
    if (rc == 0 && order <= 0)
        rc = walk_next(a, err);
    if (rc == 0 && order >= 0)
        rc = walk_next(b, err);
    return rc;
}

static int diff_table(struct diff *diff, const struct diff_table *table, struct error *err)
{
    struct table_walk a;
    struct table_walk b;
    int rc = walk_begin(&a, diff->sides[0], table->table, NULL, err);

    if (rc == 0)
        rc = walk_begin(&b, diff->sides[1], table->table, NULL, err);
    while (rc == 0 && !(a.at_end && b.at_end))
        rc = merge_step(diff, table, &a, &b, err);
    return rc;
}

/* ---- sources ---- */

static int diff_source(struct diff *diff, struct error *err)
{
    struct diff_subject subject = {.entity = "source", .source = diff->sides[0]};
    int rc = 0;

    diff->digests = memcmp(diff->sides[0]->meta.digest_key_check,
                           diff->sides[1]->meta.digest_key_check, LAYOUT_CHECK_BYTES) == 0;
    if (!diff->digests)
        rc = diff_report(diff, &subject, CHANGED, 1U << DIFF_FIELD_DIGEST_KEY);
    for (int i = 0; i < DIFF_TABLES && rc == 0; i++)
        rc = diff_table(diff, &diff_tables[i], err);
    if (rc == 0 || err->code == 0)
        return rc;
    (void)error_context(err, "source %s", diff->sides[0]->region);
    source_damage(err);
    return rc;
}

/* Sources are sorted by region on both sides. */
static int diff_sources(struct diff *diff, const struct tool_sources *a,
                        const struct tool_sources *b, struct error *err)
{
    size_t i = 0;
    size_t j = 0;
    int rc = 0;

    while (rc == 0 && (i < a->n || j < b->n)) {
        int order = i == a->n ? 1 : j == b->n ? -1 : strcmp(a->items[i].region, b->items[j].region);
        struct diff_subject subject = {.entity = "source",
                                       .source = order <= 0 ? &a->items[i] : &b->items[j]};

        if (order == 0) {
            diff->sides[0] = &a->items[i];
            diff->sides[1] = &b->items[j];
            rc = diff_source(diff, err);
        } else
            rc = diff_report(diff, &subject, order < 0 ? ONLY_IN_A : ONLY_IN_B, 0);
        i += order <= 0;
        j += order >= 0;
    }
    return rc;
}

/* ---- the command ---- */

/* Without a copy of a source there is nothing to compare. */
static int open_side(const char *dir, struct tool_sources *ret, struct error *err)
{
    struct tool_sources sources = {.n = 0};
    int rc = sources_open(dir, &sources, err);

    for (size_t i = 0; i < sources.n && rc == 0; i++) {
        if (sources.items[i].generation.number == 0)
            rc = error_set(err, E_NOT_READY, "source %s has no complete copy yet",
                           sources.items[i].region);
    }
    if (rc != 0) {
        sources_close(&sources);
        return error_context(err, "%s", dir);
    }
    *ret = sources;
    return 0;
}

static int diff_stores(struct diff *diff, const char *dir_a, const char *dir_b)
{
    struct error err = ERROR_INIT;
    struct tool_sources a = {.n = 0};
    struct tool_sources b = {.n = 0};
    int rc = open_side(dir_a, &a, &err);

    if (rc == 0)
        rc = open_side(dir_b, &b, &err);
    if (rc == 0) {
        progress_begin(&diff->progress, "diff");
        rc = diff_sources(diff, &a, &b, &err);
        progress_end(&diff->progress);
    }
    sources_close(&a);
    sources_close(&b);
    if (rc != 0) /* without a message it was the output, which was told already */
        return err.code != 0 ? tool_fail("%s", err.message) : TOOL_UNKNOWN;
    return diff->different ? TOOL_NO : TOOL_YES;
}

static bool is_same_directory(const char *a, const char *b)
{
    struct stat x;
    struct stat y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Equal, if it can be read. */
static int diff_with_itself(const char *dir)
{
    struct error err = ERROR_INIT;
    struct tool_sources sources = {.n = 0};

    if (open_side(dir, &sources, &err) != 0)
        return tool_fail("%s", err.message);
    sources_close(&sources);
    return TOOL_YES;
}

static int diff_run(const struct tool *tool, int argc, char **argv)
{
    struct diff diff = {.tool = tool};

    if (argc != 3)
        return tool_misused(&command_diff, "diff takes two stores or backups");
    /* LMDB loses its locks when a process opens one environment twice. */
    return is_same_directory(argv[1], argv[2]) ? diff_with_itself(argv[1])
                                               : diff_stores(&diff, argv[1], argv[2]);
}

const struct command command_diff = {
    .name = "diff",
    .arguments = "A B",
    .summary = "Tell what two stores or backups hold differently",
    .help =
        "Compares every realm, consumer and key of each source (region) and prints one line for\n"
        "each that is in A only, in B only, or has different fields; with --json one object a\n"
        "line with region, entity (source, realm, consumer, key), id, scope, consumer_id,\n"
        "difference (only_in_a, only_in_b, changed) and fields. Different digests are told, never\n"
        "printed. Where the two sides have different digest keys, that is told once for the "
        "source\n"
        "and digests are not compared. Versions and times are not compared either.\n\n"
        "Agents may run meanwhile: one consistent version of each source is read.\n\n"
        "Exit status: 0 equal, 1 different, 2 a store cannot be read.\n",
    .run = diff_run,
};

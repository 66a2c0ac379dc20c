/* diff_source.c - see diff.h.
 *
 * Both sides sort alike, so that one pass over each table of both finds what only one has. Records
 * are canonical: equal entities have equal bytes, and only unequal ones are taken apart.
 */
#include "tools/diff.h"

#include <string.h>

struct pair {
    const struct diff_sink *sink;
    enum table table;
    struct table_walk a;
    struct table_walk b;
    bool same_digest_key;
    uint64_t records;
};

/* ---- fields ---- */

static void add_field(struct difference *difference, bool differs, const char *field)
{
    size_t n = 0;

    if (!differs)
        return;
    while (difference->fields[n] != NULL)
        n++;
    if (n + 1 < DIFF_FIELDS_MAX)
        difference->fields[n] = field;
}

static bool text_differs(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a != b : strcmp(a, b) != 0;
}

static bool list_differs(const struct record_strings *a, const struct record_strings *b)
{
    bool differs = a->count != b->count;

    for (size_t i = 0; i < a->count && !differs; i++)
        differs = text_differs(record_strings_get(a, i), record_strings_get(b, i));
    return differs;
}

static bool compare_realms(const MDB_val *one, const MDB_val *other, struct difference *ret)
{
    struct record_realm a;
    struct record_realm b;

    if (!record_view_realm(one->mv_data, one->mv_size, &a) ||
        !record_view_realm(other->mv_data, other->mv_size, &b))
        return false;
    add_field(ret, !uuid_equal(&a.id, &b.id), "id");
    add_field(ret, text_differs(a.name, b.name), "name");
    add_field(ret, text_differs(a.region, b.region), "realm_region");
    add_field(ret, a.ttl_min != b.ttl_min, "ttl");
    add_field(ret, a.negative_ttl_min != b.negative_ttl_min, "negative_ttl");
    add_field(ret, list_differs(&a.groups, &b.groups), "consumer_groups");
    return true;
}

static bool compare_consumers(const MDB_val *one, const MDB_val *other, struct difference *ret)
{
    struct record_consumer a;
    struct record_consumer b;

    if (!record_view_consumer(one->mv_data, one->mv_size, &a) ||
        !record_view_consumer(other->mv_data, other->mv_size, &b))
        return false;
    add_field(ret, a.type != b.type, "type");
    add_field(ret, text_differs(a.username, b.username), "username");
    add_field(ret, text_differs(a.custom_id, b.custom_id), "custom_id");
    add_field(ret, list_differs(&a.tags, &b.tags), "tags");
    add_field(ret, list_differs(&a.groups, &b.groups), "consumer_groups");
    return true;
}

static bool compare_keys(const MDB_val *one, const MDB_val *other, bool same_digest_key,
                         struct difference *ret)
{
    struct record_key a;
    struct record_key b;

    if (!record_view_key(one->mv_data, one->mv_size, &a) ||
        !record_view_key(other->mv_data, other->mv_size, &b))
        return false;
    add_field(ret, a.expires_at_ms != b.expires_at_ms, "expires_at");
    add_field(ret, list_differs(&a.tags, &b.tags), "tags");
    add_field(ret, same_digest_key && memcmp(a.digest, b.digest, DIGEST_BYTES) != 0, "digest");
    return true;
}

/* ---- what a pair of a table is ---- */

/* Fills who it is; false when the record is damaged. */
static bool identify(const struct table_walk *walk, struct difference *ret)
{
    const MDB_val *key = &walk->key;
    const MDB_val *value = &walk->value;
    struct record_consumer consumer;
    struct record_realm realm;
    struct record_key record;

    memset(ret, 0, sizeof(*ret));
    ret->source = walk->source;
    switch (walk->table) {
    case TABLE_REALMS:
        ret->kind = "realm";
        if (!record_check(RECORD_REALM, value->mv_data, value->mv_size) ||
            !record_view_realm(value->mv_data, value->mv_size, &realm))
            return false;
        ret->scope = realm.number;
        ret->id = realm.id;
        return true;
    case TABLE_CONSUMERS:
        ret->kind = "consumer";
        if (key->mv_size != LAYOUT_CONSUMER_KEY_BYTES ||
            !record_check(RECORD_CONSUMER, value->mv_data, value->mv_size) ||
            !record_view_consumer(value->mv_data, value->mv_size, &consumer))
            return false;
        ret->scope = layout_key_scope(key->mv_data);
        ret->id = consumer.id;
        return true;
    case TABLE_CONSUMER_KEYS:
        ret->kind = "key";
        if (key->mv_size != LAYOUT_KEY_KEY_BYTES ||
            !record_check(RECORD_KEY, value->mv_data, value->mv_size) ||
            !record_view_key(value->mv_data, value->mv_size, &record))
            return false;
        ret->scope = layout_key_scope(key->mv_data);
        ret->id = record.id;
        ret->consumer_id = record.consumer_id;
        return true;
    default:
        return false;
    }
}

static int damaged(const struct table_walk *walk, struct error *err)
{
    return error_set(err, E_CORRUPT,
                     "source %s: a record is damaged; `realmctl verify` tells which",
                     walk->source->region);
}

static int tell_one(const struct pair *pair, const struct table_walk *walk, enum diff_how how,
                    struct error *err)
{
    struct difference difference;

    if (!identify(walk, &difference))
        return damaged(walk, err);
    difference.how = how;
    pair->sink->difference(pair->sink->context, &difference);
    return 0;
}

static int compare_both(const struct pair *pair, struct error *err)
{
    const MDB_val *a = &pair->a.value;
    const MDB_val *b = &pair->b.value;
    struct difference difference;
    struct difference other;
    bool good;

    if (a->mv_size == b->mv_size && memcmp(a->mv_data, b->mv_data, a->mv_size) == 0)
        return 0;
    if (!identify(&pair->a, &difference))
        return damaged(&pair->a, err);
    if (!identify(&pair->b, &other))
        return damaged(&pair->b, err);
    difference.how = DIFF_CHANGED;
    if (pair->table == TABLE_REALMS)
        good = compare_realms(a, b, &difference);
    else if (pair->table == TABLE_CONSUMERS)
        good = compare_consumers(a, b, &difference);
    else
        good = compare_keys(a, b, pair->same_digest_key, &difference);
    if (good && difference.fields[0] != NULL)
        pair->sink->difference(pair->sink->context, &difference);
    return good ? 0 : damaged(&pair->a, err);
}

/* ---- the walk ---- */

/* Below 0: A's key comes first. A side at its end comes last. */
static int order(const struct pair *pair)
{
    const MDB_val *a = &pair->a.key;
    const MDB_val *b = &pair->b.key;
    uint32_t numbers[2];
    size_t shorter;
    int rc;

    if (pair->a.at_end || pair->b.at_end)
        return pair->a.at_end - pair->b.at_end;
    if (pair->table == TABLE_REALMS) { /* integers in host order */
        memcpy(&numbers[0], a->mv_data, sizeof(numbers[0]));
        memcpy(&numbers[1], b->mv_data, sizeof(numbers[1]));
        return (numbers[0] > numbers[1]) - (numbers[0] < numbers[1]);
    }
    shorter = a->mv_size < b->mv_size ? a->mv_size : b->mv_size;
    rc = memcmp(a->mv_data, b->mv_data, shorter);
    return rc != 0 ? rc : (a->mv_size > b->mv_size) - (a->mv_size < b->mv_size);
}

static int step(struct pair *pair, struct error *err)
{
    int which = order(pair);
    int rc;

    if (which < 0)
        rc = tell_one(pair, &pair->a, DIFF_ONLY_IN_A, err);
    else if (which > 0)
        rc = tell_one(pair, &pair->b, DIFF_ONLY_IN_B, err);
    else
        rc = compare_both(pair, err);
    if (rc == 0 && which <= 0)
        rc = walk_next(&pair->a, err);
    if (rc == 0 && which >= 0)
        rc = walk_next(&pair->b, err);
    progress_at(pair->sink->progress, ++pair->records);
    return rc;
}

int diff_sources(const struct tool_source *a, const struct tool_source *b,
                 const struct diff_sink *sink, struct error *err)
{
    static const enum table tables[] = {TABLE_REALMS, TABLE_CONSUMERS, TABLE_CONSUMER_KEYS};
    struct pair pair = {.sink = sink};
    int rc = 0;

    pair.same_digest_key = memcmp(a->meta.digest_key_check, b->meta.digest_key_check,
                                  sizeof(a->meta.digest_key_check)) == 0;
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && rc == 0; i++) {
        pair.table = tables[i];
        memset(&pair.b, 0, sizeof(pair.b));
        rc = walk_begin(&pair.a, a, tables[i], NULL, err);
        if (rc == 0)
            rc = walk_begin(&pair.b, b, tables[i], NULL, err);
        while (rc == 0 && !(pair.a.at_end && pair.b.at_end))
            rc = step(&pair, err);
        walk_end(&pair.a);
        walk_end(&pair.b);
    }
    return rc;
}

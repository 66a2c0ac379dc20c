/* verify_source.c - see verify.h.
 *
 * Each table is walked once and each record compared with what it refers to and with what must
 * refer to it:
 *
 *     realms <-> realm_ids       consumers -> realms       consumers <-> lookup
 *
 * and the digests with what the records add up to.
 *
 * Each page on the way is checked before it is followed. A damaged one is a fault and ends its
 * table; what depends on the whole of it, counts and digests, is then not compared.
 */
#include "tools/verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "store/bytes.h"
#include "store/scope_hashes.h"
#include "store/holding.h"
#include "store/trees.h"

struct check {
    const struct tool_source *source;
    const struct verify_sink *sink;
    const char *table; /* being walked */
    uint64_t records;  /* seen in all */
    uint64_t consumers;
    uint64_t keys;
    bool has_bucket; /* a bucket was seen, up to this hash */
    uint64_t former_last;
    bool cut_off; /* by a damaged page: not all records were seen */
};

static void fault(struct check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fault(struct check *check, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    check->sink->fault(check->sink->context, check->source, check->table, text);
}

static bool verify_source_find(const struct check *check, enum table table, const void *key,
                               size_t size, MDB_val *ret)
{
    return source_view_get(check->source, table, env_val(key, size), ret) == 0;
}

/* ---- realms ---- */

static void check_realm(struct check *check, const MDB_val *key, const MDB_val *value)
{
    struct record_realm realm;
    uint32_t number;
    MDB_val back;
    char id[UUID_TEXT_SIZE];

    if (key->mv_size != sizeof(number)) {
        fault(check, "a realm's number has %zu bytes", key->mv_size);
        return;
    }
    memcpy(&number, key->mv_data, sizeof(number));
    if (!record_check(RECORD_REALM, value->mv_data, value->mv_size) ||
        !record_view_realm(value->mv_data, value->mv_size, &realm)) {
        fault(check, "the record of realm number %" PRIu32 " is damaged", number);
        return;
    }
    uuid_format(&realm.id, id);
    if (realm.number != number)
        fault(check, "realm %s says it is number %" PRIu32 " but stands under %" PRIu32, id,
              realm.number, number);
    if (!verify_source_find(check, TABLE_REALM_IDS, realm.id.bytes, UUID_BYTES, &back) ||
        back.mv_size != sizeof(number) || memcmp(back.mv_data, &number, sizeof(number)) != 0)
        fault(check, "realm %s is not in realm_ids under its number %" PRIu32, id, number);
}

static void check_realm_id(struct check *check, const MDB_val *key, const MDB_val *value)
{
    struct record_realm realm;
    struct uuid id = {{0}};
    char text[UUID_TEXT_SIZE];
    MDB_val back;

    if (key->mv_size != UUID_BYTES || value->mv_size != sizeof(uint32_t)) {
        fault(check, "an entry has a wrong size");
        return;
    }
    memcpy(id.bytes, key->mv_data, UUID_BYTES);
    if (!verify_source_find(check, TABLE_REALMS, value->mv_data, value->mv_size, &back) ||
        !record_view_realm(back.mv_data, back.mv_size, &realm) || !uuid_equal(&realm.id, &id))
        fault(check, "realm %s leads to a realm that is not there", uuid_format(&id, text));
}

/* ---- consumers ---- */

static bool scope_exists(const struct check *check, uint32_t scope)
{
    MDB_val value;

    return scope == MODEL_SCOPE_CP ||
           verify_source_find(check, TABLE_REALMS, &scope, sizeof(scope), &value);
}

static void check_place(struct check *check, const MDB_val *value,
                        const struct consumer_place *place)
{
    char text[UUID_TEXT_SIZE];

    if (place->home != consumers_home(place->n_keys, place->record.mv_size) ||
        value->mv_size != (place->home == HOME_TABLE ? place->record.mv_size : 0))
        fault(check, "the record of consumer %s is not where it belongs",
              uuid_format(&place->id, text));
}

static void check_consumer(struct check *check, const MDB_val *key, const MDB_val *value)
{
    const struct tables tables = source_view_tables(check->source);
    const unsigned char *bytes = key->mv_data;
    struct consumer_place place;
    char text[UUID_TEXT_SIZE];
    struct uuid id;

    check->consumers++;
    memcpy(id.bytes, bytes + 4, UUID_BYTES);
    uuid_format(&id, text);
    if (consumers_find(&tables, layout_key_scope(bytes), &id, &place, NULL) != 0 ||
        !record_check(RECORD_CONSUMER, place.record.mv_data, place.record.mv_size))
        fault(check, "the record of consumer %s in scope %" PRIu32 " is damaged", text,
              layout_key_scope(bytes));
    else
        check_place(check, value, &place);
    if (!scope_exists(check, layout_key_scope(bytes)))
        fault(check, "consumer %s is in realm number %" PRIu32 ", which is not there", text,
              layout_key_scope(bytes));
}

/* ---- keys ---- */

static void check_key(struct check *check, const MDB_val *name, const MDB_val *value)
{
    const struct tables tables = source_view_tables(check->source);
    const unsigned char *bytes = name->mv_data;
    struct consumer_place place;
    char text[UUID_TEXT_SIZE];
    struct record_key key;
    struct entry entry;
    struct uuid id;
    int rc;

    check->keys++;
    memcpy(id.bytes, bytes + LAYOUT_CONSUMER_KEY_BYTES, UUID_BYTES);
    uuid_format(&id, text);
    rc = consumers_read_row(&tables, *name, *value, &key, &entry, NULL);
    if (rc == E_NOT_FOUND)
        fault(check, "no lookup entry leads to key %s", text);
    else if (rc != 0 || !holding_row_fits(*value, &key))
        fault(check, "the record of key %s is damaged", text);
    if (rc != 0)
        return;
    rc = consumers_find(&tables, layout_key_scope(bytes), &key.consumer_id, &place, NULL);
    if (rc == E_NOT_FOUND)
        fault(check, "key %s belongs to a consumer that is not there", text);
    else if (rc == 0 && !holding_entry_fits(&entry, &key, &place))
        fault(check, "the entry of key %s leads to another consumer", text);
}

static void check_row(struct check *check, const MDB_val *key, const MDB_val *value)
{
    if (key->mv_size == LAYOUT_CONSUMER_KEY_BYTES)
        check_consumer(check, key, value);
    else if (key->mv_size == LAYOUT_KEY_KEY_BYTES)
        check_key(check, key, value);
    else
        fault(check, "a key has %zu bytes", key->mv_size);
}

/* ---- lookup ---- */

static void check_consumer_entry(struct check *check, const struct entry *entry)
{
    const struct tables tables = source_view_tables(check->source);
    uint8_t name[ENTRY_NAME_BYTES];
    struct record_consumer consumer;
    struct consumer_place place;
    char text[UUID_TEXT_SIZE];

    if (!record_view_consumer(entry->record, entry->record_size, &consumer))
        return; /* the bucket's own check told */
    entry_name_of_consumer(entry->scope, &consumer.id, name);
    if (memcmp(name, entry->name, sizeof(name)) != 0 ||
        consumers_find(&tables, entry->scope, &consumer.id, &place, NULL) != 0 ||
        place.home != HOME_ENTRY)
        fault(check, "the entry of consumer %s is of no use", uuid_format(&consumer.id, text));
}

/* The row that a key's entry belongs to must know it. */
static void check_key_entry(struct check *check, const struct entry *entry)
{
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    struct record_consumer consumer = {.id = entry->consumer_id};
    char text[UUID_TEXT_SIZE];
    MDB_val value;

    if (entry->record != NULL &&
        !record_view_consumer(entry->record, entry->record_size, &consumer))
        return; /* the bucket's own check told */
    layout_key_key(entry->scope, &consumer.id, &entry->key_id, bytes);
    if (!verify_source_find(check, TABLE_CONSUMERS, bytes, sizeof(bytes), &value))
        fault(check, "the entry of key %s leads to a key that is not there",
              uuid_format(&entry->key_id, text));
    else if (value.mv_size < LAYOUT_HASH_BYTES ||
             bytes_get_u64(value.mv_data) != entry_hash(entry->name))
        fault(check, "the entry of key %s has another digest than the key",
              uuid_format(&entry->key_id, text));
}

static void check_bucket(struct check *check, const MDB_val *key, const MDB_val *value)
{
    const uint64_t first = check->has_bucket ? check->former_last + 1 : 0;
    size_t count = bucket_count(value->mv_data, value->mv_size);
    uint64_t says_first;
    uint64_t last;

    if (!bucket_key_read(key->mv_data, key->mv_size, &last)) {
        fault(check, "a bucket's key is damaged");
        return;
    }
    check->has_bucket = true;
    check->former_last = last;
    if (!bucket_check(value->mv_data, value->mv_size, first, last) ||
        (bucket_range(value->mv_data, value->mv_size, &says_first, &last) && says_first != first)) {
        fault(check, "the bucket up to %016" PRIx64 " is damaged", last);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        size_t room = 0;
        const unsigned char *bytes = bucket_at(value->mv_data, value->mv_size, i, &room);
        struct entry entry;

        if (bytes == NULL || !entry_view(bytes, room, &entry))
            continue; /* cannot be after the check */
        if (entry_hash(entry.name) > last || entry_hash(entry.name) < first)
            fault(check, "an entry stands in another bucket than its own");
        if (entry.kind == ENTRY_CONSUMER)
            check_consumer_entry(check, &entry);
        else
            check_key_entry(check, &entry);
    }
}

/* ---- digests ---- */

/* What the records of the scope add up to; those that are damaged were told as such. */
static int sum_scope(const struct check *check, uint32_t scope, struct buffer *scratch,
                     struct set_hash sums[SET_HASH_BUCKETS], struct error *err)
{
    const struct tables tables = source_view_tables(check->source);
    const struct uuid *after = NULL;
    struct holding holding;
    struct uuid id;
    int rc = scope == MODEL_SCOPE_CP ? E_NOT_FOUND : holding_realm(&tables, scope, &holding, err);

    memset(sums, 0, SET_HASH_BUCKETS * sizeof(*sums));
    if (rc == 0)
        set_hash_add(&sums[SET_HASH_BUCKET_OF_REALM], &holding.hash);
    if (rc != 0 && rc != E_NOT_FOUND)
        return rc;
    while ((rc = holding_next(&tables, scope, after, &id, err)) == 0) {
        after = &id;
        rc = holding_read(&tables, scope, &id, scratch, &holding, err);
        if (rc != 0)
            return rc;
        set_hash_add(&sums[set_hash_bucket(&id)], &holding.hash);
        if (check->sink->progress != NULL)
            progress_at(check->sink->progress, check->records);
    }
    return rc == E_NOT_FOUND ? 0 : rc;
}

static int check_scope_digest(struct check *check, uint32_t scope, struct buffer *scratch,
                              struct error *err)
{
    const struct tables tables = source_view_tables(check->source);
    struct set_hash sums[SET_HASH_BUCKETS];
    struct set_hash known[SET_HASH_BUCKETS];
    struct set_hash total = {0};
    struct set_hash whole;
    unsigned wrong = 0;
    int rc = sum_scope(check, scope, scratch, sums, err);

    if (rc == 0)
        rc = scope_hashes_get_buckets(&tables, scope, known, err);
    if (rc == 0)
        rc = scope_hashes_get(&tables, scope, &whole, err);
    if (rc != 0)
        return rc;
    for (unsigned bucket = 0; bucket < SET_HASH_BUCKETS; bucket++) {
        set_hash_add(&total, &sums[bucket]);
        wrong += !set_hash_equal(&sums[bucket], &known[bucket]);
    }
    if (wrong > 0 || !set_hash_equal(&total, &whole))
        fault(check,
              "the records of scope %" PRIu32 " are not what its digests say, in %u of %d buckets",
              scope, wrong, SET_HASH_BUCKETS);
    return 0;
}

static int check_digests(struct check *check, struct error *err)
{
    const struct tables tables = source_view_tables(check->source);
    struct buffer scratch;
    uint32_t scope = 0;
    int rc;

    check->table = env_table_name(TABLE_DIGESTS);
    buffer_init(&scratch, RECORD_MAX_BYTES);
    while ((rc = holding_next_scope(&tables, scope, &scope, err)) == 0) {
        rc = check_scope_digest(check, scope, &scratch, err);
        if (rc != 0 || scope++ == UINT32_MAX)
            break;
    }
    buffer_finish(&scratch);
    return rc == E_NOT_FOUND ? 0 : rc;
}

/* ---- all ---- */

static void check_page_only(struct check *check, const MDB_val *key, const MDB_val *value)
{
    (void)check;
    (void)key;
    (void)value; /* is compared where it is used */
}

static const struct {
    enum table table;
    void (*check)(struct check *check, const MDB_val *key, const MDB_val *value);
} table_checks[] = {
    {TABLE_REALMS, check_realm},   {TABLE_REALM_IDS, check_realm_id},
    {TABLE_CONSUMERS, check_row},  {TABLE_LOOKUP, check_bucket},
    {TABLE_META, check_page_only}, {TABLE_DIGESTS, check_page_only},
};
enum { N_CHECKS = sizeof(table_checks) / sizeof(table_checks[0]) };

/* How many pairs the table has goes to *ret_count. */
static int check_table(struct check *check, size_t i, uint64_t *ret_count, struct error *err)
{
    static const unsigned char behind_names[] = {0xff};
    const MDB_val buckets = env_val(behind_names, sizeof(behind_names));
    struct table_walk walk;
    int rc;

    check->table = source_table_name(table_checks[i].table);
    *ret_count = 0;
    rc = walk_begin(&walk, check->source, table_checks[i].table,
                    table_checks[i].table == TABLE_LOOKUP ? &buckets : NULL, err);
    while (rc == 0 && !walk.at_end) {
        table_checks[i].check(check, &walk.key, &walk.value);
        (*ret_count)++;
        check->records++;
        if (check->sink->progress != NULL)
            progress_at(check->sink->progress, check->records);
        rc = walk_next(&walk, err);
    }
    if (rc != E_CORRUPT)
        return rc;
    check->cut_off = true;
    fault(check, "%s: what stands behind it was not read", err->message);
    *err = (struct error)ERROR_INIT;
    return 0;
}

/* Of LMDB's own list: the agent would write over what it wrongly names. */
static int check_free_pages(struct check *check, struct error *err)
{
    int rc = trees_check_free(check->source->trees, err);

    if (rc != E_CORRUPT)
        return rc;
    if (source_view_overtaken(check->source))
        return error_set(err, E_OVERTAKEN, NULL);
    check->table = NULL;
    fault(check, "%s", err->message);
    *err = (struct error)ERROR_INIT;
    return 0;
}

static void check_count(struct check *check, size_t i, const char *what, uint64_t count,
                        uint64_t expected)
{
    check->table = source_table_name(table_checks[i].table);
    if (count != expected)
        fault(check, "%" PRIu64 " %s instead of the %" PRIu64 " that meta counts", count, what,
              expected);
}

int verify_source(const struct tool_source *source, const struct verify_sink *sink,
                  struct error *err)
{
    enum { REALMS, REALM_IDS, CONSUMERS }; /* places in table_checks[] */
    const struct layout_meta *meta = &source->meta;
    struct check check = {.source = source, .sink = sink};
    uint64_t counts[N_CHECKS];
    int rc = check_free_pages(&check, err);

    if (rc != 0)
        return error_context(err, "source %s", source->region);
    for (size_t i = 0; i < N_CHECKS; i++) {
        rc = check_table(&check, i, &counts[i], err);
        if (rc != 0)
            return error_context(err, "source %s: %s", source->region, check.table);
    }
    if (check.cut_off)
        return 0;
    /* That each key has its entry in `lookup` was checked from both sides. */
    check_count(&check, REALMS, "realms", counts[REALMS], meta->realms);
    check_count(&check, REALM_IDS, "realms", counts[REALM_IDS], meta->realms);
    check_count(&check, CONSUMERS, "consumers", check.consumers, meta->consumers);
    check_count(&check, CONSUMERS, "keys", check.keys, meta->keys);
    return check_digests(&check, err);
}

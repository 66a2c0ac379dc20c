/* verify_source.c - see verify.h.
 *
 * Each table is walked once and each record compared with what it refers to and with what must
 * refer to it:
 *
 *     realms <-> realm_ids       consumers -> realms
 *     consumer_keys -> consumers       consumer_keys <-> lookup
 */
#include "tools/verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "store/bytes.h"

struct check {
    const struct tool_source *source;
    const struct verify_sink *sink;
    const char *table; /* being walked */
    uint64_t records;  /* seen in all */
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

static bool find(const struct check *check, enum table table, const void *key, size_t size,
                 MDB_val *ret)
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

    memcpy(&number, key->mv_data, sizeof(number)); /* LMDB holds integer keys to their size */
    if (!record_check(RECORD_REALM, value->mv_data, value->mv_size) ||
        !record_view_realm(value->mv_data, value->mv_size, &realm)) {
        fault(check, "the record of realm number %" PRIu32 " is damaged", number);
        return;
    }
    uuid_format(&realm.id, id);
    if (realm.number != number)
        fault(check, "realm %s says it is number %" PRIu32 " but stands under %" PRIu32, id,
              realm.number, number);
    if (!find(check, TABLE_REALM_IDS, realm.id.bytes, UUID_BYTES, &back) ||
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
    if (!find(check, TABLE_REALMS, value->mv_data, value->mv_size, &back) ||
        !record_view_realm(back.mv_data, back.mv_size, &realm) || !uuid_equal(&realm.id, &id))
        fault(check, "realm %s leads to a realm that is not there", uuid_format(&id, text));
}

/* ---- consumers ---- */

static bool scope_exists(const struct check *check, uint32_t scope)
{
    MDB_val value;

    return scope == MODEL_SCOPE_CP || find(check, TABLE_REALMS, &scope, sizeof(scope), &value);
}

static void check_consumer(struct check *check, const MDB_val *key, const MDB_val *value)
{
    const unsigned char *bytes = key->mv_data;
    struct record_consumer consumer;
    char text[UUID_TEXT_SIZE];
    struct uuid id;

    if (key->mv_size != LAYOUT_CONSUMER_KEY_BYTES) {
        fault(check, "a key has %zu bytes", key->mv_size);
        return;
    }
    memcpy(id.bytes, bytes + 4, UUID_BYTES);
    uuid_format(&id, text);
    if (!record_check(RECORD_CONSUMER, value->mv_data, value->mv_size) ||
        !record_view_consumer(value->mv_data, value->mv_size, &consumer))
        fault(check, "the record of consumer %s in scope %" PRIu32 " is damaged", text,
              layout_key_scope(bytes));
    else if (!uuid_equal(&consumer.id, &id))
        fault(check, "the record under consumer %s is another one's", text);
    if (!scope_exists(check, layout_key_scope(bytes)))
        fault(check, "consumer %s is in realm number %" PRIu32 ", which is not there", text,
              layout_key_scope(bytes));
}

/* ---- keys ---- */

/* The entry of `lookup` that a key must have. */
static bool has_lookup(const struct check *check, uint32_t scope, const struct record_key *key)
{
    uint64_t prefix = layout_lookup_key(key->digest);
    const unsigned char *found;
    struct layout_lookup entry;
    MDB_val value;

    if (!find(check, TABLE_LOOKUP, &prefix, sizeof(prefix), &value))
        return false;
    found = layout_find_lookup(value.mv_data, value.mv_size, key->digest, scope);
    if (found == NULL)
        return false;
    layout_unpack_lookup(found, &entry);
    return uuid_equal(&entry.key_id, &key->id) &&
           uuid_equal(&entry.consumer_id, &key->consumer_id) &&
           entry.expires_at_ms == key->expires_at_ms;
}

static void check_key(struct check *check, const MDB_val *key, const MDB_val *value)
{
    const unsigned char *bytes = key->mv_data;
    unsigned char expected[LAYOUT_KEY_KEY_BYTES];
    struct record_key record;
    struct uuid id;
    char text[UUID_TEXT_SIZE];
    MDB_val consumer;

    if (key->mv_size != LAYOUT_KEY_KEY_BYTES) {
        fault(check, "a key has %zu bytes", key->mv_size);
        return;
    }
    memcpy(id.bytes, bytes + LAYOUT_CONSUMER_KEY_BYTES, UUID_BYTES);
    uuid_format(&id, text);
    if (!find(check, TABLE_CONSUMERS, bytes, LAYOUT_CONSUMER_KEY_BYTES, &consumer))
        fault(check, "key %s belongs to a consumer that is not there", text);
    if (!record_check(RECORD_KEY, value->mv_data, value->mv_size) ||
        !record_view_key(value->mv_data, value->mv_size, &record)) {
        fault(check, "the record of key %s is damaged", text);
        return;
    }
    layout_key_key(layout_key_scope(bytes), &record.consumer_id, &record.id, expected);
    if (memcmp(bytes, expected, sizeof(expected)) != 0)
        fault(check, "the record under key %s is another one's", text);
    if (!has_lookup(check, layout_key_scope(bytes), &record))
        fault(check, "no lookup entry leads to key %s", text);
}

/* ---- lookup ---- */

/* The record that an entry leads to must be a key with this digest. */
static void check_entry(struct check *check, const struct layout_lookup *entry)
{
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    char text[UUID_TEXT_SIZE];
    struct record_key key;
    MDB_val value;

    uuid_format(&entry->key_id, text);
    layout_key_key(entry->scope, &entry->consumer_id, &entry->key_id, bytes);
    if (!find(check, TABLE_CONSUMERS, bytes, LAYOUT_CONSUMER_KEY_BYTES, &value))
        fault(check, "the entry of key %s leads to a consumer that is not there", text);
    if (!find(check, TABLE_CONSUMER_KEYS, bytes, sizeof(bytes), &value))
        fault(check, "the entry of key %s leads to a key that is not there", text);
    else if (record_view_key(value.mv_data, value.mv_size, &key) &&
             (memcmp(key.digest, entry->digest, DIGEST_BYTES) != 0 ||
              key.expires_at_ms != entry->expires_at_ms))
        fault(check, "the entry of key %s has another digest or expiry than the key", text);
}

static void check_lookup(struct check *check, const MDB_val *key, const MDB_val *value)
{
    const unsigned char *entries = value->mv_data;
    struct layout_lookup former;
    uint64_t prefix;

    if (value->mv_size == 0 || value->mv_size % LAYOUT_LOOKUP_BYTES != 0) {
        fault(check, "an entry has %zu bytes", value->mv_size);
        return;
    }
    memcpy(&prefix, key->mv_data, sizeof(prefix)); /* LMDB holds integer keys to their size */
    for (size_t at = 0; at < value->mv_size; at += LAYOUT_LOOKUP_BYTES) {
        struct layout_lookup entry;
        int order = -1;

        layout_unpack_lookup(entries + at, &entry);
        if (layout_lookup_key(entry.digest) != prefix)
            fault(check, "an entry stands under another digest's start");
        if (at > 0)
            order = memcmp(former.digest, entry.digest, DIGEST_BYTES);
        if (order > 0 || (order == 0 && former.scope >= entry.scope))
            fault(check, "the entries of one digest's start are out of order");
        check_entry(check, &entry);
        former = entry;
    }
}

/* ---- all ---- */

static const struct {
    const char *name;
    enum table table;
    void (*check)(struct check *check, const MDB_val *key, const MDB_val *value);
} table_checks[] = {
    {"realms", TABLE_REALMS, check_realm},
    {"realm_ids", TABLE_REALM_IDS, check_realm_id},
    {"consumers", TABLE_CONSUMERS, check_consumer},
    {"consumer_keys", TABLE_CONSUMER_KEYS, check_key},
    {"lookup", TABLE_LOOKUP, check_lookup},
};
enum { N_CHECKS = sizeof(table_checks) / sizeof(table_checks[0]) };

/* How many pairs the table has goes to *ret_count. */
static int check_table(struct check *check, size_t i, uint64_t *ret_count, struct error *err)
{
    struct table_walk walk;
    int rc;

    check->table = table_checks[i].name;
    *ret_count = 0;
    rc = walk_begin(&walk, check->source, table_checks[i].table, NULL, err);
    while (rc == 0 && !walk.at_end) {
        table_checks[i].check(check, &walk.key, &walk.value);
        (*ret_count)++;
        check->records++;
        if (check->sink->progress != NULL)
            progress_at(check->sink->progress, check->records);
        rc = walk_next(&walk, err);
    }
    walk_end(&walk);
    return rc;
}

int verify_source(const struct tool_source *source, const struct verify_sink *sink,
                  struct error *err)
{
    const struct layout_meta *meta = &source->meta;
    /* Lookup entries share values; that each key has one was checked from both sides. */
    const uint64_t expected[N_CHECKS] = {meta->realms, meta->realms, meta->consumers, meta->keys};
    struct check check = {.source = source, .sink = sink};

    for (size_t i = 0; i < N_CHECKS; i++) {
        uint64_t count;
        int rc = check_table(&check, i, &count, err);

        if (rc != 0)
            return error_context(err, "source %s: %s", source->region, check.table);
        if (table_checks[i].table != TABLE_LOOKUP && count != expected[i])
            fault(&check, "%" PRIu64 " records instead of the %" PRIu64 " that meta counts", count,
                  expected[i]);
    }
    return 0;
}

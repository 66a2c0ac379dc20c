/* diff_entity.c - see diff_entity.h. */
#include "tools/diff_entity.h"

#include <string.h>

const char *const diff_field_names[DIFF_FIELDS] = {
    "id",     "name",       "realm_region", "ttl",  "negative_ttl", "consumer_groups",
    "type",   "username",   "custom_id",    "tags", "consumer_id",  "expires_at",
    "digest", "digest_key",
};

/* ---- comparing fields: each gives the set of those that differ ---- */

static unsigned mark(bool same, enum diff_field field)
{
    return same ? 0 : 1U << field;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_list(const struct record_strings *a, const struct record_strings *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(record_strings_get(a, i), record_strings_get(b, i)) != 0)
            return false;
    }
    return true;
}

static unsigned compare_realms(const union diff_record *a, const union diff_record *b)
{
    const struct record_realm *x = &a->realm;
    const struct record_realm *y = &b->realm;

    return mark(uuid_equal(&x->id, &y->id), DIFF_FIELD_ID) |
           mark(same_text(x->name, y->name), DIFF_FIELD_NAME) |
           mark(same_text(x->region, y->region), DIFF_FIELD_REALM_REGION) |
           mark(x->ttl_min == y->ttl_min, DIFF_FIELD_TTL) |
           mark(x->negative_ttl_min == y->negative_ttl_min, DIFF_FIELD_NEGATIVE_TTL) |
           mark(same_list(&x->groups, &y->groups), DIFF_FIELD_GROUPS);
}

static unsigned compare_consumers(const union diff_record *a, const union diff_record *b)
{
    const struct record_consumer *x = &a->consumer;
    const struct record_consumer *y = &b->consumer;

    return mark(uuid_equal(&x->id, &y->id), DIFF_FIELD_ID) |
           mark(x->type == y->type, DIFF_FIELD_TYPE) |
           mark(same_text(x->username, y->username), DIFF_FIELD_USERNAME) |
           mark(same_text(x->custom_id, y->custom_id), DIFF_FIELD_CUSTOM_ID) |
           mark(same_list(&x->tags, &y->tags), DIFF_FIELD_TAGS) |
           mark(same_list(&x->groups, &y->groups), DIFF_FIELD_GROUPS);
}

static unsigned compare_keys(const union diff_record *a, const union diff_record *b)
{
    const struct record_key *x = &a->key;
    const struct record_key *y = &b->key;

    return mark(uuid_equal(&x->id, &y->id), DIFF_FIELD_ID) |
           mark(uuid_equal(&x->consumer_id, &y->consumer_id), DIFF_FIELD_CONSUMER_ID) |
           mark(x->expires_at_ms == y->expires_at_ms, DIFF_FIELD_EXPIRES_AT) |
           mark(same_list(&x->tags, &y->tags), DIFF_FIELD_TAGS) |
           mark(memcmp(x->digest, y->digest, DIGEST_BYTES) == 0, DIFF_FIELD_DIGEST);
}

/* ---- reading entities ---- */

static bool view_realm(const MDB_val *key, const MDB_val *value, union diff_record *record,
                       struct diff_subject *subject)
{
    if (key->mv_size != sizeof(subject->scope) ||
        !record_view_realm(value->mv_data, value->mv_size, &record->realm))
        return false;
    memcpy(&subject->scope, key->mv_data, sizeof(subject->scope));
    subject->id = record->realm.id;
    return true;
}

static bool view_consumer(const MDB_val *key, const MDB_val *value, union diff_record *record,
                          struct diff_subject *subject)
{
    if (key->mv_size != LAYOUT_CONSUMER_KEY_BYTES ||
        !record_view_consumer(value->mv_data, value->mv_size, &record->consumer))
        return false;
    subject->scope = layout_key_scope(key->mv_data);
    subject->id = record->consumer.id;
    return true;
}

static bool view_key(const MDB_val *key, const MDB_val *value, union diff_record *record,
                     struct diff_subject *subject)
{
    if (key->mv_size != LAYOUT_KEY_KEY_BYTES ||
        !record_view_key(value->mv_data, value->mv_size, &record->key))
        return false;
    subject->scope = layout_key_scope(key->mv_data);
    subject->id = record->key.id;
    subject->consumer_id = record->key.consumer_id;
    return true;
}

static int order_numbers(const MDB_val *a, const MDB_val *b)
{
    uint32_t x;
    uint32_t y;

    memcpy(&x, a->mv_data, sizeof(x)); /* LMDB holds integer keys to their size */
    memcpy(&y, b->mv_data, sizeof(y));
    return (x > y) - (x < y);
}

static int order_bytes(const MDB_val *a, const MDB_val *b)
{
    size_t size = a->mv_size < b->mv_size ? a->mv_size : b->mv_size;
    int order = memcmp(a->mv_data, b->mv_data, size);

    return order != 0 ? order : (a->mv_size > b->mv_size) - (a->mv_size < b->mv_size);
}

const struct diff_kind diff_kinds[DIFF_KINDS] = {
    {"realm", RECORD_REALM, TABLE_REALMS, order_numbers, view_realm, compare_realms},
    {"consumer", RECORD_CONSUMER, TABLE_CONSUMERS, order_bytes, view_consumer, compare_consumers},
    {"key", RECORD_KEY, TABLE_CONSUMER_KEYS, order_bytes, view_key, compare_keys},
};

int diff_read(const struct diff_kind *kind, const struct table_walk *walk,
              union diff_record *record, struct diff_subject *subject, struct error *err)
{
    subject->entity = kind->name;
    subject->source = walk->source;
    if (record_check(kind->kind, walk->value.mv_data, walk->value.mv_size) &&
        kind->view(&walk->key, &walk->value, record, subject))
        return 0;
    return error_set(err, E_CORRUPT, "a %s's record is damaged; `realmctl verify` tells which",
                     kind->name);
}

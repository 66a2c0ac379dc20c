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

static bool diff_entity_same_text(const char *a, const char *b)
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

static unsigned compare_realms(const struct diff_record *a, const struct diff_record *b)
{
    const struct record_realm *x = &a->realm;
    const struct record_realm *y = &b->realm;

    return mark(uuid_equal(&x->id, &y->id), DIFF_FIELD_ID) |
           mark(diff_entity_same_text(x->name, y->name), DIFF_FIELD_NAME) |
           mark(diff_entity_same_text(x->region, y->region), DIFF_FIELD_REALM_REGION) |
           mark(x->ttl_min == y->ttl_min, DIFF_FIELD_TTL) |
           mark(x->negative_ttl_min == y->negative_ttl_min, DIFF_FIELD_NEGATIVE_TTL) |
           mark(same_list(&x->groups, &y->groups), DIFF_FIELD_GROUPS);
}

static unsigned compare_consumers(const struct diff_record *a, const struct diff_record *b)
{
    const struct record_consumer *x = &a->consumer;
    const struct record_consumer *y = &b->consumer;

    return mark(uuid_equal(&x->id, &y->id), DIFF_FIELD_ID) |
           mark(x->type == y->type, DIFF_FIELD_TYPE) |
           mark(diff_entity_same_text(x->username, y->username), DIFF_FIELD_USERNAME) |
           mark(diff_entity_same_text(x->custom_id, y->custom_id), DIFF_FIELD_CUSTOM_ID) |
           mark(same_list(&x->tags, &y->tags), DIFF_FIELD_TAGS) |
           mark(same_list(&x->groups, &y->groups), DIFF_FIELD_GROUPS);
}

static unsigned compare_keys(const struct diff_record *a, const struct diff_record *b)
{
    const struct record_key *x = &a->key;
    const struct record_key *y = &b->key;

    return mark(uuid_equal(&x->id, &y->id), DIFF_FIELD_ID) |
           mark(uuid_equal(&x->consumer_id, &y->consumer_id), DIFF_FIELD_CONSUMER_ID) |
           mark(x->expires_at_ms == y->expires_at_ms, DIFF_FIELD_EXPIRES_AT) |
           mark(same_list(&x->tags, &y->tags), DIFF_FIELD_TAGS) |
           mark(memcmp(x->digest, y->digest, DIGEST_BYTES) == 0, DIFF_FIELD_DIGEST);
}

unsigned diff_compare(const struct diff_record *a, const struct diff_record *b)
{
    switch (a->kind) {
    case RECORD_REALM:
        return compare_realms(a, b);
    case RECORD_CONSUMER:
        return compare_consumers(a, b);
    case RECORD_KEY:
        return compare_keys(a, b);
    }
    return 0;
}

/* ---- reading entities ---- */

static int diff_entity_read_realm(const struct table_walk *walk, struct diff_record *record,
                                  struct diff_subject *subject)
{
    record->kind = RECORD_REALM;
    subject->entity = "realm";
    if (walk->key.mv_size != sizeof(subject->scope) ||
        !record_check(RECORD_REALM, walk->value.mv_data, walk->value.mv_size) ||
        !record_view_realm(walk->value.mv_data, walk->value.mv_size, &record->realm))
        return E_CORRUPT;
    memcpy(&subject->scope, walk->key.mv_data, sizeof(subject->scope));
    subject->id = record->realm.id;
    return 0;
}

static int diff_entity_read_consumer(const struct table_walk *walk, struct diff_record *record,
                                     struct diff_subject *subject)
{
    const struct tables tables = source_view_tables(walk->source);
    const unsigned char *name = walk->key.mv_data;
    struct consumer_place place;
    int rc;

    record->kind = RECORD_CONSUMER;
    subject->entity = "consumer";
    subject->scope = layout_key_scope(name);
    memcpy(subject->id.bytes, name + sizeof(subject->scope), UUID_BYTES);
    rc = consumers_find(&tables, subject->scope, &subject->id, &place, NULL);
    if (rc == 0 &&
        (!record_check(RECORD_CONSUMER, place.record.mv_data, place.record.mv_size) ||
         !record_view_consumer(place.record.mv_data, place.record.mv_size, &record->consumer)))
        rc = E_CORRUPT;
    return rc;
}

static int diff_entity_read_key(const struct table_walk *walk, struct diff_record *record,
                                struct diff_subject *subject)
{
    const struct tables tables = source_view_tables(walk->source);
    struct entry entry;
    int rc = consumers_read_row(&tables, walk->key, walk->value, &record->key, &entry, NULL);

    record->kind = RECORD_KEY;
    subject->entity = "key";
    subject->scope = layout_key_scope(walk->key.mv_data);
    subject->id = record->key.id;
    subject->consumer_id = record->key.consumer_id;
    return rc;
}

int diff_read(const struct table_walk *walk, struct diff_record *record,
              struct diff_subject *subject, struct error *err)
{
    int rc = E_CORRUPT;

    subject->source = walk->source;
    subject->entity = "row";
    if (walk->table == TABLE_REALMS)
        rc = diff_entity_read_realm(walk, record, subject);
    else if (walk->key.mv_size == LAYOUT_CONSUMER_KEY_BYTES)
        rc = diff_entity_read_consumer(walk, record, subject);
    else if (walk->key.mv_size == LAYOUT_KEY_KEY_BYTES)
        rc = diff_entity_read_key(walk, record, subject);
    if (rc == E_CORRUPT || rc == E_NOT_FOUND)
        return error_set(err, E_CORRUPT, "a %s's record is damaged; `realmctl verify` tells which",
                         subject->entity);
    return rc == 0 ? 0 : error_set(err, rc, NULL);
}

/* ---- orders ---- */

static int order_bytes(const MDB_val *a, const MDB_val *b)
{
    size_t size = a->mv_size < b->mv_size ? a->mv_size : b->mv_size;
    int order = memcmp(a->mv_data, b->mv_data, size);

    return order != 0 ? order : (a->mv_size > b->mv_size) - (a->mv_size < b->mv_size);
}

/* Keys of another size are damaged, and told when they are read. */
static int order_numbers(const MDB_val *a, const MDB_val *b)
{
    uint32_t x;
    uint32_t y;

    if (a->mv_size != sizeof(x) || b->mv_size != sizeof(y))
        return order_bytes(a, b);
    memcpy(&x, a->mv_data, sizeof(x));
    memcpy(&y, b->mv_data, sizeof(y));
    return (x > y) - (x < y);
}

const struct diff_table diff_tables[DIFF_TABLES] = {
    {TABLE_REALMS, order_numbers},
    {TABLE_CONSUMERS, order_bytes},
};

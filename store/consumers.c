/* consumers.c - see consumers.h. */
#include "store/consumers.h"

#include <string.h>

#include "store/bytes.h"

enum consumer_home consumers_home(uint64_t n_keys, size_t record_size)
{
    if (n_keys == 0)
        return HOME_TABLE;
    return entry_is_inline(n_keys, record_size) ? HOME_KEYS : HOME_ENTRY;
}

static int misplaced(const struct consumer_place *place, struct error *err)
{
    char text[UUID_TEXT_SIZE];

    return error_set(err, E_CORRUPT, "the record of consumer %s in scope %u is missing or damaged",
                     uuid_format(&place->id, text), place->scope);
}

/* ---- rows of consumer_keys ---- */

int consumers_pack_row(const struct record_key *key, MDB_val record, struct buffer *out)
{
    unsigned char *hash;
    int rc;

    buffer_clear(out);
    rc = buffer_append_zero(out, LAYOUT_HASH_BYTES, &hash);
    if (rc == 0)
        bytes_put_u64(hash, entry_hash(key->digest));
    if (rc == 0 && key->tags.count > 0)
        rc = buffer_append(out, record.mv_data, record.mv_size);
    return rc;
}

static int bad_row(struct error *err)
{
    return error_set(err, E_CORRUPT, "a row of consumer_keys is damaged");
}

int consumers_read_row(const struct tables *tables, MDB_val key, MDB_val value,
                       struct record_key *ret, struct entry *ret_entry, struct error *err)
{
    const unsigned char *name = key.mv_data;
    const unsigned char *bytes = value.mv_data;
    struct record_key view = {.tags = {.count = 0}};
    int rc;

    if (key.mv_size != LAYOUT_KEY_KEY_BYTES || value.mv_size < LAYOUT_HASH_BYTES)
        return bad_row(err);
    if (value.mv_size > LAYOUT_HASH_BYTES &&
        !record_view_key(bytes + LAYOUT_HASH_BYTES, value.mv_size - LAYOUT_HASH_BYTES, &view))
        return bad_row(err);
    memcpy(view.consumer_id.bytes, name + sizeof(uint32_t), UUID_BYTES);
    memcpy(view.id.bytes, name + LAYOUT_CONSUMER_KEY_BYTES, UUID_BYTES);
    rc = index_find_key(tables, bytes_get_u64(bytes), layout_key_scope(name), &view.id, ret_entry,
                        err);
    if (rc != 0)
        return rc;
    view.digest = ret_entry->name;
    view.expires_at_ms = ret_entry->expires_at_ms;
    *ret = view;
    return 0;
}

/* ---- finding ---- */

/* The entry of the consumer's first key. */
static int first_entry(const struct tables *tables, const unsigned char *consumer,
                       struct entry *ret, struct error *err)
{
    struct record_key view;
    MDB_val key;
    MDB_val value;
    int rc = tables_first(tables, TABLE_CONSUMER_KEYS, consumer, LAYOUT_CONSUMER_KEY_BYTES, &key,
                          &value, err);

    return rc == 0 ? consumers_read_row(tables, key, value, &view, ret, err) : rc;
}

/* The record that stands in `lookup`; E_NOT_FOUND. */
static int find_record(const struct tables *tables, const unsigned char *consumer,
                       struct consumer_place *place, struct error *err)
{
    struct entry entry = {.kind = ENTRY_KEY_REFERENCE};
    uint8_t name[ENTRY_NAME_BYTES];
    int rc = 0;

    place->home = HOME_KEYS;
    if (place->n_keys <= ENTRY_INLINE_KEYS) {
        rc = first_entry(tables, consumer, &entry, err);
        if (rc != 0)
            return rc;
    }
    if (entry.kind == ENTRY_KEY_REFERENCE) {
        place->home = HOME_ENTRY;
        entry_name_of_consumer(place->scope, &place->id, name);
        rc = index_find(tables, name, place->scope, true, &entry, err);
    }
    if (rc == 0)
        place->record = env_val(entry.record, entry.record_size);
    return rc;
}

int consumers_find(const struct tables *tables, uint32_t scope, const struct uuid *id,
                   struct consumer_place *ret, struct error *err)
{
    unsigned char key[LAYOUT_CONSUMER_KEY_BYTES];
    struct consumer_place place = {.scope = scope, .id = *id, .home = HOME_TABLE};
    struct record_consumer view;
    const unsigned char *bytes;
    MDB_val value;
    int rc;

    layout_consumer_key(scope, id, key);
    rc = tables_get(tables, TABLE_CONSUMERS, env_val(key, sizeof(key)), &value, err);
    if (rc != 0)
        return rc;
    if (value.mv_size < LAYOUT_KEY_COUNT_BYTES)
        return misplaced(&place, err);
    bytes = value.mv_data;
    place.n_keys = bytes_get_u32(bytes);
    place.record = env_val(bytes + LAYOUT_KEY_COUNT_BYTES, value.mv_size - LAYOUT_KEY_COUNT_BYTES);
    if (place.n_keys > 0)
        rc = find_record(tables, key, &place, err);
    if (rc == E_NOT_FOUND ||
        (rc == 0 && (!record_view_consumer(place.record.mv_data, place.record.mv_size, &view) ||
                     !uuid_equal(&view.id, id))))
        return misplaced(&place, err);
    if (rc == 0)
        *ret = place;
    return rc;
}

/* ---- placing ---- */

int consumers_put_key(struct index *index, uint32_t scope, const struct uuid *consumer_id,
                      const struct consumer_key *key, enum consumer_home home, MDB_val record,
                      struct error *err)
{
    struct entry entry = {
        .kind = ENTRY_KEY_REFERENCE,
        .scope = scope,
        .name = key->digest,
        .key_id = key->id,
        .expires_at_ms = key->expires_at_ms,
        .consumer_id = *consumer_id,
    };

    if (home == HOME_KEYS) {
        entry.kind = ENTRY_KEY_RECORD;
        entry.record = record.mv_data;
        entry.record_size = record.mv_size;
    }
    return index_put(index, &entry, err);
}

/* The entries of all of the consumer's keys, which are there already, with the record or without.
 * There are few: more than ENTRY_INLINE_KEYS only while the record moves away from them. */
static int put_keys(struct index *index, const unsigned char *consumer, enum consumer_home home,
                    MDB_val record, struct error *err)
{
    unsigned char at[LAYOUT_KEY_KEY_BYTES + 1];
    size_t size = LAYOUT_CONSUMER_KEY_BYTES;

    memcpy(at, consumer, size);
    for (;;) {
        uint8_t digest[DIGEST_BYTES];
        struct consumer_key key = {.digest = digest};
        struct record_key view;
        struct entry entry;
        MDB_val row;
        MDB_val value;
        int rc = tables_at_or_after(index->tables, TABLE_CONSUMER_KEYS, env_val(at, size), &row,
                                    &value, err);

        if (rc == E_NOT_FOUND ||
            (rc == 0 && memcmp(row.mv_data, consumer, LAYOUT_CONSUMER_KEY_BYTES) != 0))
            return 0;
        if (rc == 0)
            rc = consumers_read_row(index->tables, row, value, &view, &entry, err);
        if (rc != 0)
            return rc == E_NOT_FOUND ? bad_row(err) : rc;
        memcpy(at, row.mv_data, LAYOUT_KEY_KEY_BYTES);
        at[LAYOUT_KEY_KEY_BYTES] = 0; /* behind this key and in front of any other */
        size = sizeof(at);
        memcpy(digest, view.digest, DIGEST_BYTES);
        key.id = view.id;
        key.expires_at_ms = view.expires_at_ms;
        rc = consumers_put_key(index, layout_key_scope(consumer), &view.consumer_id, &key, home,
                               record, err);
        if (rc != 0)
            return rc;
    }
}

static int put_count(struct index *index, const unsigned char *consumer, uint32_t n_keys,
                     MDB_val record, struct error *err)
{
    unsigned char *count;
    int rc;

    buffer_clear(&index->value);
    rc = buffer_append_zero(&index->value, LAYOUT_KEY_COUNT_BYTES, &count);
    if (rc == 0)
        bytes_put_u32(count, n_keys);
    if (rc == 0 && n_keys == 0)
        rc = buffer_append(&index->value, record.mv_data, record.mv_size);
    if (rc != 0)
        return error_set(err, rc, NULL);
    return tables_put(index->tables, TABLE_CONSUMERS, env_val(consumer, LAYOUT_CONSUMER_KEY_BYTES),
                      env_val(index->value.data, index->value.size), 0, err);
}

static int put_entry(struct index *index, uint32_t scope, const uint8_t *name, MDB_val record,
                     struct error *err)
{
    const struct entry entry = {.kind = ENTRY_CONSUMER,
                                .scope = scope,
                                .name = name,
                                .record = record.mv_data,
                                .record_size = record.mv_size};

    return index_put(index, &entry, err);
}

static bool is_same(const MDB_val *a, const MDB_val *b)
{
    return a->mv_size == b->mv_size && memcmp(a->mv_data, b->mv_data, a->mv_size) == 0;
}

int consumers_put(struct index *index, const struct consumer_place *former, uint32_t scope,
                  const struct uuid *id, uint32_t n_keys, MDB_val record, struct error *err)
{
    enum consumer_home home = consumers_home(n_keys, record.mv_size);
    enum consumer_home left = former != NULL ? former->home : HOME_TABLE;
    bool rewrite = left != home || former == NULL || !is_same(&former->record, &record);
    bool recount = former == NULL || former->n_keys != n_keys;
    unsigned char consumer[LAYOUT_CONSUMER_KEY_BYTES];
    uint8_t name[ENTRY_NAME_BYTES];
    int rc = 0;

    layout_consumer_key(scope, id, consumer);
    entry_name_of_consumer(scope, id, name);
    if (left == HOME_ENTRY && home != HOME_ENTRY)
        rc = index_drop(index, name, scope, true, err);
    if (rc == 0 && home == HOME_ENTRY && rewrite)
        rc = put_entry(index, scope, name, record, err);
    if (rc == 0 && (left != home || (home == HOME_KEYS && rewrite)))
        rc = put_keys(index, consumer, home, record, err);
    if (rc == 0 && (recount || (home == HOME_TABLE && rewrite)))
        rc = put_count(index, consumer, n_keys, record, err);
    return rc;
}

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

/* ---- rows of keys ---- */

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
    return error_set(err, E_CORRUPT, "the row of a key is damaged");
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

int consumers_next_key(const struct tables *tables,
                       const unsigned char consumer[LAYOUT_CONSUMER_KEY_BYTES],
                       const struct uuid *key_id, MDB_val *ret_row, MDB_val *ret_value,
                       struct error *err)
{
    unsigned char from[LAYOUT_KEY_KEY_BYTES + 1] = {0}; /* behind the row that it begins with */
    size_t size = LAYOUT_CONSUMER_KEY_BYTES;
    int rc;

    memcpy(from, consumer, size);
    if (key_id != NULL) {
        memcpy(from + size, key_id->bytes, UUID_BYTES);
        size += UUID_BYTES;
    }
    rc = tables_at_or_after(tables, TABLE_CONSUMERS, env_val(from, size + 1), ret_row, ret_value,
                            err);
    if (rc != 0)
        return rc;
    if (ret_row->mv_size < LAYOUT_CONSUMER_KEY_BYTES ||
        memcmp(ret_row->mv_data, consumer, LAYOUT_CONSUMER_KEY_BYTES) != 0)
        return E_NOT_FOUND;
    return ret_row->mv_size == LAYOUT_KEY_KEY_BYTES ? 0 : bad_row(err);
}

/* ---- finding ---- */

static struct uuid key_of_row(const MDB_val *row)
{
    struct uuid id;

    memcpy(id.bytes, (const unsigned char *)row->mv_data + LAYOUT_CONSUMER_KEY_BYTES, UUID_BYTES);
    return id;
}

/* Counts the keys' rows as far as it matters, and reads the first one's entry. */
static int count_keys(const struct tables *tables, const unsigned char *consumer, uint32_t *ret,
                      struct entry *ret_first, struct error *err)
{
    struct record_key view;
    struct uuid id;
    MDB_val row;
    MDB_val value;
    int rc = consumers_next_key(tables, consumer, NULL, &row, &value, err);

    *ret = 0;
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    rc = consumers_read_row(tables, row, value, &view, ret_first, err);
    while (rc == 0 && ++*ret < CONSUMER_COUNTED_KEYS) {
        id = key_of_row(&row);
        rc = consumers_next_key(tables, consumer, &id, &row, &value, err);
        if (rc == E_NOT_FOUND)
            return 0;
    }
    return rc;
}

/* The record that stands in `lookup`; E_NOT_FOUND. */
static int find_record(const struct tables *tables, const struct entry *first,
                       struct consumer_place *place, struct error *err)
{
    uint8_t name[ENTRY_NAME_BYTES];
    struct entry entry = *first;
    int rc = 0;

    place->home = HOME_KEYS;
    if (first->kind == ENTRY_KEY_REFERENCE) {
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
    struct entry first;
    int rc;

    layout_consumer_key(scope, id, key);
    rc = tables_get(tables, TABLE_CONSUMERS, env_val(key, sizeof(key)), &place.record, err);
    if (rc != 0)
        return rc;
    rc = count_keys(tables, key, &place.n_keys, &first, err);
    if (rc == 0 && place.n_keys > 0)
        rc = place.record.mv_size == 0 ? find_record(tables, &first, &place, err)
                                       : misplaced(&place, err);
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
    const struct uuid *former = NULL;
    struct consumer_key key;
    uint8_t digest[DIGEST_BYTES];
    struct record_key view;
    struct entry entry;
    MDB_val row;
    MDB_val value;
    int rc;

    for (;;) {
        rc = consumers_next_key(index->tables, consumer, former, &row, &value, err);
        if (rc != 0)
            return rc == E_NOT_FOUND ? 0 : rc;
        rc = consumers_read_row(index->tables, row, value, &view, &entry, err);
        if (rc != 0)
            return rc == E_NOT_FOUND ? bad_row(err) : rc;
        memcpy(digest, view.digest, DIGEST_BYTES);
        key = (struct consumer_key){view.id, digest, view.expires_at_ms};
        former = &key.id;
        rc = consumers_put_key(index, layout_key_scope(consumer), &view.consumer_id, &key, home,
                               record, err);
        if (rc != 0)
            return rc;
    }
}

static int put_row(const struct index *index, const unsigned char *consumer, MDB_val record,
                   struct error *err)
{
    return tables_put(index->tables, TABLE_CONSUMERS, env_val(consumer, LAYOUT_CONSUMER_KEY_BYTES),
                      record, 0, err);
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
    bool new_row = former == NULL || (left == HOME_TABLE) != (home == HOME_TABLE);
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
    if (rc == 0 && (new_row || (home == HOME_TABLE && rewrite)))
        rc = put_row(index, consumer, home == HOME_TABLE ? record : env_val(NULL, 0), err);
    return rc;
}

/* holding.c - see holding.h. */
#include "store/holding.h"

#include <string.h>

bool holding_row_fits(MDB_val value, const struct record_key *key)
{
    const unsigned char *record = (const unsigned char *)value.mv_data + LAYOUT_HASH_BYTES;
    size_t size = value.mv_size - LAYOUT_HASH_BYTES;
    struct record_key view;

    if (size == 0)
        return true;
    return record_check(RECORD_KEY, record, size) && record_view_key(record, size, &view) &&
           view.tags.count > 0 && uuid_equal(&view.id, &key->id) &&
           uuid_equal(&view.consumer_id, &key->consumer_id) &&
           memcmp(view.digest, key->digest, DIGEST_BYTES) == 0 &&
           view.expires_at_ms == key->expires_at_ms;
}

bool holding_entry_fits(const struct entry *entry, const struct record_key *key,
                        const struct consumer_place *place)
{
    if (place->home != HOME_KEYS)
        return entry->kind == ENTRY_KEY_REFERENCE &&
               uuid_equal(&entry->consumer_id, &key->consumer_id);
    return entry->kind == ENTRY_KEY_RECORD && entry->record_size == place->record.mv_size &&
           memcmp(entry->record, place->record.mv_data, entry->record_size) == 0;
}

int holding_key_hash(MDB_val value, const struct record_key *key, struct buffer *scratch,
                     struct set_hash *ret, struct error *err)
{
    struct model_key model = {
        .id = key->id, .consumer_id = key->consumer_id, .expires_at_ms = key->expires_at_ms};
    int rc;

    if (value.mv_size > LAYOUT_HASH_BYTES) {
        *ret = set_hash_of((const unsigned char *)value.mv_data + LAYOUT_HASH_BYTES,
                           value.mv_size - LAYOUT_HASH_BYTES);
        return 0;
    }
    memcpy(model.digest, key->digest, DIGEST_BYTES);
    buffer_clear(scratch);
    rc = record_encode_key(&model, scratch);
    if (rc != 0)
        return error_set(err, rc, NULL);
    *ret = set_hash_of(scratch->data, scratch->size);
    return 0;
}

/* False, with *err untouched, for what is damage and no failure to read. */
static bool is_failure(int rc)
{
    return rc != 0 && rc != E_NOT_FOUND && rc != E_CORRUPT;
}

static int add_key(const struct tables *tables, const struct consumer_place *place, MDB_val row,
                   MDB_val value, struct buffer *scratch, struct holding *holding,
                   struct error *err)
{
    struct record_key key;
    struct entry entry;
    struct set_hash hash;
    int rc = consumers_read_row(tables, row, value, &key, &entry, err);

    if (rc != 0 || !holding_row_fits(value, &key) || !holding_entry_fits(&entry, &key, place)) {
        holding->sound = false;
        return is_failure(rc) ? rc : 0;
    }
    rc = holding_key_hash(value, &key, scratch, &hash, err);
    if (rc != 0)
        return rc;
    set_hash_add(&holding->hash, &hash);
    holding->records++;
    return 0;
}

int holding_read(const struct tables *tables, uint32_t scope, const struct uuid *id,
                 struct buffer *scratch, struct holding *ret, struct error *err)
{
    struct holding holding = {.records = 1};
    struct consumer_place place;
    unsigned char name[LAYOUT_CONSUMER_KEY_BYTES];
    struct error damage = ERROR_INIT;
    struct uuid key_id;
    MDB_val row;
    MDB_val value;
    int rc = consumers_find(tables, scope, id, &place, &damage);

    if (is_failure(rc)) {
        *err = damage;
        return rc;
    }
    holding.sound = rc == 0 &&
                    record_check(RECORD_CONSUMER, place.record.mv_data, place.record.mv_size) &&
                    place.home == consumers_home(place.n_keys, place.record.mv_size);
    if (holding.sound)
        holding.hash = set_hash_of(place.record.mv_data, place.record.mv_size);
    layout_consumer_key(scope, id, name);
    rc = holding.sound ? consumers_next_key(tables, name, NULL, &row, &value, &damage) : 0;
    while (rc == 0 && holding.sound) {
        memcpy(key_id.bytes, (const unsigned char *)row.mv_data + LAYOUT_CONSUMER_KEY_BYTES,
               UUID_BYTES);
        rc = add_key(tables, &place, row, value, scratch, &holding, &damage);
        if (rc == 0 && holding.sound)
            rc = consumers_next_key(tables, name, &key_id, &row, &value, &damage);
    }
    if (rc == E_CORRUPT)
        holding.sound = false;
    if (is_failure(rc)) {
        *err = damage;
        return rc;
    }
    if (!holding.sound)
        holding.hash = set_hash_of(id->bytes, UUID_BYTES);
    *ret = holding;
    return 0;
}

/* ---- realms ---- */

int holding_realm(const struct tables *tables, uint32_t scope, struct holding *ret,
                  struct error *err)
{
    struct record_realm view;
    uint32_t number = 0;
    MDB_val record;
    MDB_val back;
    int rc = tables_get(tables, TABLE_REALMS, env_val(&scope, sizeof(scope)), &record, err);

    if (rc != 0)
        return rc;
    ret->hash = set_hash_of(&scope, sizeof(scope));
    ret->sound = false;
    if (!record_check(RECORD_REALM, record.mv_data, record.mv_size) ||
        !record_view_realm(record.mv_data, record.mv_size, &view) || view.number != scope)
        return 0;
    rc = tables_get(tables, TABLE_REALM_IDS, env_val(view.id.bytes, UUID_BYTES), &back, err);
    if (rc == 0 && back.mv_size == sizeof(number))
        memcpy(&number, back.mv_data, sizeof(number));
    if (number != scope)
        return rc == E_NOT_FOUND ? 0 : rc;
    ret->sound = true;
    ret->hash = set_hash_of(record.mv_data, record.mv_size);
    return 0;
}

/* ---- going from one to the next ---- */

int holding_next(const struct tables *tables, uint32_t scope, const struct uuid *after,
                 struct uuid *ret, struct error *err)
{
    unsigned char from[LAYOUT_KEY_KEY_BYTES + 1]; /* behind every key of `after` */
    size_t size = LAYOUT_SCOPE_BYTES;
    MDB_val key;
    MDB_val value;
    int rc;

    layout_scope_key(scope, from);
    if (after != NULL) {
        layout_consumer_key(scope, after, from);
        memset(from + LAYOUT_CONSUMER_KEY_BYTES, 0xff, sizeof(from) - LAYOUT_CONSUMER_KEY_BYTES);
        size = sizeof(from);
    }
    rc = tables_at_or_after(tables, TABLE_CONSUMERS, env_val(from, size), &key, &value, err);
    if (rc != 0)
        return rc;
    if (key.mv_size < LAYOUT_CONSUMER_KEY_BYTES)
        return error_set(err, E_CORRUPT, "consumers holds a key of %zu bytes", key.mv_size);
    if (memcmp(key.mv_data, from, LAYOUT_SCOPE_BYTES) != 0)
        return E_NOT_FOUND;
    memcpy(ret->bytes, (const unsigned char *)key.mv_data + LAYOUT_SCOPE_BYTES, UUID_BYTES);
    return 0;
}

/* The smallest scope from `from` on that has a key in the table; keys begin with it, big-endian. */
static int next_in_table(const struct tables *tables, enum table table, uint32_t from,
                         uint32_t *ret, struct error *err)
{
    unsigned char bytes[LAYOUT_SCOPE_BYTES];
    MDB_val key;
    MDB_val value;
    int rc;

    layout_scope_key(from, bytes);
    rc = tables_at_or_after(tables, table, env_val(bytes, sizeof(bytes)), &key, &value, err);
    if (rc == 0 && key.mv_size < sizeof(bytes))
        return error_set(err, E_CORRUPT, "a key has %zu bytes", key.mv_size);
    if (rc == 0)
        *ret = layout_key_scope(key.mv_data);
    return rc;
}

static int next_realm(const struct tables *tables, uint32_t from, uint32_t *ret, struct error *err)
{
    MDB_val key;
    MDB_val value;
    int rc =
        tables_at_or_after(tables, TABLE_REALMS, env_val(&from, sizeof(from)), &key, &value, err);

    if (rc == 0)
        memcpy(ret, key.mv_data, sizeof(*ret)); /* LMDB holds integer keys to their size */
    return rc;
}

int holding_next_scope(const struct tables *tables, uint32_t from, uint32_t *ret, struct error *err)
{
    uint32_t found[3];
    const int codes[] = {next_realm(tables, from, &found[0], err),
                         next_in_table(tables, TABLE_CONSUMERS, from, &found[1], err),
                         next_in_table(tables, TABLE_DIGESTS, from, &found[2], err)};
    int rc = E_NOT_FOUND;

    for (size_t i = 0; i < 3; i++) {
        if (codes[i] != 0 && codes[i] != E_NOT_FOUND)
            return codes[i];
        if (codes[i] == 0 && (rc != 0 || found[i] < *ret)) {
            *ret = found[i];
            rc = 0;
        }
    }
    return rc;
}

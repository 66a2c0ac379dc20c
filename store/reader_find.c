/* reader_find.c - rs_find(): one of the control plane's own consumers, by id or username.
 *
 * An id names a row of the table `consumers`; the record stands there, or in `lookup` where the
 * consumer's first key leads. Usernames have no index: every consumer of the scope is read, by
 * seeking from row to row, which follows no pointer unchecked and so is as safe without a slot as a
 * lookup is.
 */
#include "store/reader_internal.h"

#include <string.h>

#include "store/bytes.h"

struct find {
    rs_snapshot *snapshot;
    const char *region; /* NULL: every one */
    const char *name;
    bool by_id;
    struct uuid id;
    struct consumer_view answer;
};

/* Where one source is read. */
struct place {
    const struct tree *lookup;
    struct tree consumers;
};

/* ---- one consumer's record ---- */

/* The entry of the key with this id, of whose digest the hash is known. */
static int find_key_entry(const struct place *place, uint64_t hash, const unsigned char *key_id,
                          struct entry *ret)
{
    MDB_val bucket;
    int rc = tree_seek_hash(place->lookup, BUCKET_KEY_FIRST_BYTE, hash, &bucket);
    size_t count = rc == 0 ? bucket_count(bucket.mv_data, bucket.mv_size) : 0;

    for (size_t i = 0; i < count; i++) {
        size_t room = 0;
        const unsigned char *at = bucket_at(bucket.mv_data, bucket.mv_size, i, &room);

        if (at == NULL || !entry_view(at, room, ret))
            return E_CORRUPT;
        if (entry_hash(ret->name) == hash && ret->kind != ENTRY_CONSUMER &&
            ret->scope == MODEL_SCOPE_CP && memcmp(ret->key_id.bytes, key_id, UUID_BYTES) == 0)
            return 0;
    }
    return rc == 0 || rc == E_NOT_FOUND ? E_CORRUPT : rc;
}

static int find_consumer_entry(const struct place *place, const struct uuid *id, struct entry *ret)
{
    uint8_t name[ENTRY_NAME_BYTES];
    const unsigned char *found = NULL;
    bool damaged = false;
    size_t room = 0;
    MDB_val bucket;
    int rc;

    entry_name_of_consumer(MODEL_SCOPE_CP, id, name);
    rc = tree_seek_hash(place->lookup, BUCKET_KEY_FIRST_BYTE, entry_hash(name), &bucket);
    if (rc == 0)
        found = bucket_find(bucket.mv_data, bucket.mv_size, name, MODEL_SCOPE_CP, true, &room,
                            &damaged);
    if (rc != 0 && rc != E_NOT_FOUND)
        return rc;
    return found != NULL && entry_view(found, room, ret) ? 0 : E_CORRUPT;
}

/* The record of a consumer with keys, by way of its first key's row. */
static int read_by_key(const struct place *place, const unsigned char *consumer,
                       struct record_consumer *ret)
{
    unsigned char from[LAYOUT_CONSUMER_KEY_BYTES + 1] = {0}; /* behind the consumer's own row */
    struct entry entry;
    MDB_val row;
    MDB_val value;
    int rc;

    memcpy(from, consumer, LAYOUT_CONSUMER_KEY_BYTES);
    rc = tree_seek(&place->consumers, env_val(from, sizeof(from)), &row, &value);
    if (rc != 0)
        return rc == E_NOT_FOUND ? E_CORRUPT : rc;
    if (row.mv_size != LAYOUT_KEY_KEY_BYTES || value.mv_size < LAYOUT_HASH_BYTES ||
        memcmp(row.mv_data, consumer, LAYOUT_CONSUMER_KEY_BYTES) != 0)
        return E_CORRUPT;
    rc = find_key_entry(place, bytes_get_u64(value.mv_data),
                        (const unsigned char *)row.mv_data + LAYOUT_CONSUMER_KEY_BYTES, &entry);
    if (rc == 0 && entry.kind == ENTRY_KEY_REFERENCE) {
        const struct uuid id = entry.consumer_id;

        rc = find_consumer_entry(place, &id, &entry);
    }
    if (rc == 0 && !record_view_consumer(entry.record, entry.record_size, ret))
        rc = E_CORRUPT;
    return rc;
}

/* The record of the consumer whose row this is. */
static int read_row(const struct place *place, MDB_val row, MDB_val value,
                    struct record_consumer *ret)
{
    int rc = 0;

    if (value.mv_size == 0)
        rc = read_by_key(place, row.mv_data, ret);
    else if (!record_view_consumer(value.mv_data, value.mv_size, ret))
        rc = E_CORRUPT;
    if (rc == 0 && memcmp(ret->id.bytes, (const unsigned char *)row.mv_data + sizeof(uint32_t),
                          UUID_BYTES) != 0)
        rc = E_CORRUPT;
    return rc;
}

/* ---- looking for it ---- */

/* RS_FOUND, RS_NOT_FOUND, or an error; so the next ones. */
static int find_by_id(const struct find *find, const struct place *place,
                      struct record_consumer *ret)
{
    unsigned char bytes[LAYOUT_CONSUMER_KEY_BYTES];
    MDB_val row = env_val(bytes, sizeof(bytes));
    MDB_val value;
    int rc;

    layout_consumer_key(MODEL_SCOPE_CP, &find->id, bytes);
    rc = tree_get(&place->consumers, row, &value);
    if (rc != 0)
        return rc == E_NOT_FOUND ? RS_NOT_FOUND : rc;
    return read_row(place, row, value, ret);
}

static int find_by_username(const struct find *find, const struct place *place,
                            struct record_consumer *ret)
{
    /* Behind a consumer's row and those of its keys: nothing is as long as this and greater. */
    unsigned char from[LAYOUT_KEY_KEY_BYTES + 1] = {0};
    size_t size = LAYOUT_CONSUMER_KEY_BYTES;
    MDB_val row;
    MDB_val value;
    int rc;

    for (;;) {
        rc = tree_seek(&place->consumers, env_val(from, size), &row, &value);
        if (rc == E_NOT_FOUND)
            return RS_NOT_FOUND;
        if (rc != 0)
            return rc;
        if (row.mv_size != LAYOUT_CONSUMER_KEY_BYTES)
            return E_CORRUPT;
        if (layout_key_scope(row.mv_data) != MODEL_SCOPE_CP)
            return RS_NOT_FOUND;
        rc = read_row(place, row, value, ret);
        if (rc != 0 || (ret->username != NULL && strcmp(ret->username, find->name) == 0))
            return rc;
        memcpy(from, row.mv_data, LAYOUT_CONSUMER_KEY_BYTES);
        memset(from + LAYOUT_CONSUMER_KEY_BYTES, 0xff, sizeof(from) - LAYOUT_CONSUMER_KEY_BYTES);
        size = sizeof(from);
    }
}

static int find_in_source(struct find *find, unsigned source)
{
    const struct view_source *from = &find->snapshot->view->sources[source];
    struct consumer_view *answer = &find->answer;
    struct place place = {.lookup = &find->snapshot->lookups[source]};
    MDB_txn *txn;
    int rc = from->error;

    if (rc == 0)
        rc = reader_txn(find->snapshot, source, &txn);
    if (rc == 0)
        rc = tree_open_named(place.lookup, env_table_name(TABLE_CONSUMERS), &place.consumers);
    if (rc != 0)
        return rc == E_NOT_FOUND ? E_CORRUPT : rc;
    rc = find->by_id ? find_by_id(find, &place, &answer->consumer) : RS_NOT_FOUND;
    if (rc == RS_NOT_FOUND)
        rc = find_by_username(find, &place, &answer->consumer);
    if (rc == RS_FOUND) {
        answer->age_ms = status_age_ms(&find->snapshot->view->page->status, from->slot,
                                       &find->snapshot->store->clock);
        answer->own_groups = reader_own_groups(&answer->consumer.groups, &answer->realm.groups);
    }
    return rc;
}

/* As with keys: a source that cannot be read makes a "no" impossible. */
static int find_once(void *context, struct consumer_view *ret)
{
    struct find *find = context;
    const struct view *view = find->snapshot->view;
    int unasked = 0;
    bool any = false;

    for (unsigned i = 0; i < view->n_sources; i++) {
        int rc;

        if (find->region != NULL && strcmp(view->sources[i].region, find->region) != 0)
            continue;
        any = true;
        memset(&find->answer, 0, sizeof(find->answer));
        rc = find_in_source(find, i);
        if (rc == RS_FOUND) {
            *ret = find->answer;
            return rc;
        }
        if (rc != RS_NOT_FOUND && unasked == 0)
            unasked = rc;
    }
    memset(ret, 0, sizeof(*ret));
    if (!any)
        return RS_E_NOT_READY;
    return unasked != 0 ? unasked : RS_NOT_FOUND;
}

int rs_find(rs_snapshot *snapshot, const char *region, const char *name, rs_consumer *ret)
{
    struct find find = {.snapshot = snapshot, .name = name};
    struct consumer_view answer;
    int rc;

    if (snapshot == NULL || name == NULL || ret == NULL)
        return RS_E_INVALID;
    if (reader_is_forked(snapshot->store))
        return RS_E_FORKED;
    if (region != NULL && region[0] != 0)
        find.region = region;
    find.by_id = uuid_parse(name, &find.id);
    rc = reader_answer(snapshot, find_once, &find, &answer);
    if (rc < 0)
        return reader_code(rc);
    memcpy(ret, &answer, sizeof(answer));
    return rc;
}

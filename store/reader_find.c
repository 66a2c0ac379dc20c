/* reader_find.c - rs_find(): one of the control plane's own consumers, by id or username.
 *
 * An id names a row of the table `consumers`; the record stands there, or in `lookup` where the
 * consumer's first key leads. Usernames have no index: the rows of the scope are walked
 * (tree.h), which ends whatever the pages hold. Since every row is checked on the way, a walk to
 * the end is also the proof that nobody has the name or id.
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

        if (at == NULL || !entry_view_intact(at, room, ret))
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
    return found != NULL && entry_view_intact(found, room, ret) ? 0 : E_CORRUPT;
}

/* The record of a consumer with keys, by way of its first key's row. */
static int read_by_key(const struct place *place, const MDB_val *row, const MDB_val *value,
                       const unsigned char *consumer, struct record_consumer *ret)
{
    struct entry entry;
    int rc;

    if (row->mv_size != LAYOUT_KEY_KEY_BYTES || value->mv_size < LAYOUT_HASH_BYTES ||
        memcmp(row->mv_data, consumer, LAYOUT_CONSUMER_KEY_BYTES) != 0)
        return E_CORRUPT;
    rc = find_key_entry(place, bytes_get_u64(value->mv_data),
                        (const unsigned char *)row->mv_data + LAYOUT_CONSUMER_KEY_BYTES, &entry);
    if (rc == 0 && entry.kind == ENTRY_KEY_REFERENCE) {
        const struct uuid id = entry.consumer_id;

        rc = find_consumer_entry(place, &id, &entry);
    }
    if (rc == 0 && !reader_view_consumer(entry.record, entry.record_size, ret))
        rc = E_CORRUPT;
    return rc;
}

static bool is_of_row(const struct record_consumer *consumer, const unsigned char *row)
{
    return memcmp(consumer->id.bytes, row + LAYOUT_SCOPE_BYTES, UUID_BYTES) == 0;
}

/* ---- looking for it ---- */

/* RS_FOUND, RS_NOT_FOUND, which proves nothing, or an error. */
static int find_by_id(const struct find *find, const struct place *place,
                      struct record_consumer *ret)
{
    unsigned char bytes[LAYOUT_CONSUMER_KEY_BYTES + 1] = {
        0}; /* and behind the consumer's own row */
    MDB_val row = env_val(bytes, LAYOUT_CONSUMER_KEY_BYTES);
    MDB_val value;
    int rc;

    layout_consumer_key(MODEL_SCOPE_CP, &find->id, bytes);
    rc = tree_get(&place->consumers, row, &value);
    if (rc != 0)
        return rc == E_NOT_FOUND ? RS_NOT_FOUND : rc;
    if (value.mv_size == 0) {
        rc = tree_seek(&place->consumers, env_val(bytes, sizeof(bytes)), &row, &value);
        if (rc == 0)
            rc = read_by_key(place, &row, &value, bytes, ret);
    } else if (!reader_view_consumer(value.mv_data, value.mv_size, ret)) {
        rc = E_CORRUPT;
    }
    if (rc != 0)
        return rc == E_NOT_FOUND ? E_CORRUPT : rc;
    return is_of_row(ret, bytes) ? RS_FOUND : E_CORRUPT;
}

/* The row at hand is of the scope; E_NOT_FOUND: the former one was the last. */
static int check_scope(const struct tree_walk *walk)
{
    if (walk->key.mv_size < LAYOUT_CONSUMER_KEY_BYTES)
        return E_CORRUPT;
    return layout_key_scope(walk->key.mv_data) == MODEL_SCOPE_CP ? 0 : E_NOT_FOUND;
}

static int next_row(struct tree_walk *walk)
{
    int rc = tree_walk_next(walk);

    return rc == 0 ? check_scope(walk) : rc;
}

/* Reads the consumer at whose row the walk is, and goes on to the next one's. *ret_end: there is
 * none; E_NOT_FOUND is never given. */
static int read_and_pass(const struct place *place, struct tree_walk *walk,
                         struct record_consumer *ret, bool *ret_end)
{
    unsigned char consumer[LAYOUT_CONSUMER_KEY_BYTES];
    const MDB_val value = walk->value;
    int rc;

    if (walk->key.mv_size != sizeof(consumer))
        return E_CORRUPT;
    memcpy(consumer, walk->key.mv_data, sizeof(consumer));
    if (value.mv_size > 0 && !reader_view_consumer(value.mv_data, value.mv_size, ret))
        return E_CORRUPT;
    rc = next_row(walk);
    if (value.mv_size == 0) {
        int found =
            rc == 0 ? read_by_key(place, &walk->key, &walk->value, consumer, ret) : E_CORRUPT;

        if (found != 0)
            return found;
    }
    if (!is_of_row(ret, consumer))
        return E_CORRUPT;
    while (rc == 0 && walk->key.mv_size == LAYOUT_KEY_KEY_BYTES) {
        if (memcmp(walk->key.mv_data, consumer, sizeof(consumer)) != 0)
            return E_CORRUPT; /* a key without its consumer */
        rc = next_row(walk);
    }
    *ret_end = rc == E_NOT_FOUND;
    return *ret_end ? 0 : rc;
}

static bool is_wanted(const struct find *find, const struct record_consumer *consumer)
{
    return (find->by_id && uuid_equal(&consumer->id, &find->id)) ||
           (consumer->username != NULL && strcmp(consumer->username, find->name) == 0);
}

/* RS_FOUND, RS_NOT_FOUND, or an error. */
static int find_by_walk(const struct find *find, const struct place *place,
                        struct record_consumer *ret)
{
    struct tree_walk walk;
    bool end = false;
    int rc = tree_walk_begin(&walk, &place->consumers, env_val("", 0));

    if (rc == 0)
        rc = check_scope(&walk);
    while (rc == 0 && !end) {
        rc = read_and_pass(place, &walk, ret, &end);
        if (rc == 0 && is_wanted(find, ret))
            return RS_FOUND;
    }
    return rc == 0 || rc == E_NOT_FOUND ? RS_NOT_FOUND : rc;
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
        rc = find_by_walk(find, &place, &answer->consumer);
    if (rc == RS_FOUND) {
        if (status_age(&find->snapshot->view->page->status, from->slot,
                       &find->snapshot->store->clock, &answer->age_ms) != 0)
            return E_CORRUPT;
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
    place_note_age(snapshot->store, rc == RS_FOUND ? answer.age_ms : -1);
    if (rc < 0)
        return reader_code(rc);
    memcpy(ret, &answer, sizeof(answer));
    return rc;
}

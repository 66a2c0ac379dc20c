/* source_repair.c - makes buckets of a scope what they are at the source, inside a live
 * transaction.
 *
 * A consumer with its keys is the unit: what the store really holds of it is read and checked
 * (holding.h); what is not whole, or not what it should be, is taken out by force, without trust in
 * anything but the rows' keys, and put in again. Deletes run before inserts, so that a secret that
 * was given away is free. The scope's hashes are recomputed from the records, not adjusted.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "store/bytes.h"
#include "store/scope_hashes.h"
#include "store/holding.h"
#include "store/source_internal.h"

struct repair {
    struct source *source;
    const struct source_content *content;
    source_difference_fn differs;
    void *context;

    struct set_hash *expected; /* owned; of each consumer of the content, its keys included */
    bool *missing;             /* owned; it has to be put */
    bool changed;              /* something was different */
    size_t *first_key;         /* owned; where its keys begin; one more stands at the end */
};

static void source_repair_tell(struct repair *repair, enum source_difference_kind kind,
                               bool is_realm, const struct uuid *id)
{
    const struct source_difference difference = {
        .kind = kind, .scope = repair->content->scope, .is_realm = is_realm, .id = *id};

    repair->changed = true;
    repair->differs(repair->context, &difference);
}

/* ---- what is expected ---- */

static int add_record(struct repair *repair, size_t i, int encoded, struct error *err)
{
    const struct buffer *record = &repair->source->record;
    struct set_hash hash;

    if (encoded != 0)
        return error_set(err, encoded, "what a bucket holds does not fit a record");
    hash = set_hash_of(record->data, record->size);
    set_hash_add(&repair->expected[i], &hash);
    return 0;
}

static int expect_consumer(struct repair *repair, size_t i, struct error *err)
{
    struct buffer *record = &repair->source->record;

    buffer_clear(record);
    return add_record(repair, i, record_encode_consumer(repair->content->consumers[i], record),
                      err);
}

static int expect_key(struct repair *repair, size_t i, const struct model_key *key,
                      struct error *err)
{
    struct buffer *record = &repair->source->record;

    buffer_clear(record);
    return add_record(repair, i, record_encode_key(key, record), err);
}

/* Both lists are sorted: keys are dealt out to their consumers. */
static int expect_all(struct repair *repair, struct error *err)
{
    const struct source_content *content = repair->content;
    size_t key = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < content->n_consumers; i++) {
        const struct uuid *id = &content->consumers[i]->id;

        rc = expect_consumer(repair, i, err);
        repair->first_key[i] = key;
        while (rc == 0 && key < content->n_keys && uuid_equal(&content->keys[key]->consumer_id, id))
            rc = expect_key(repair, i, content->keys[key++], err);
    }
    repair->first_key[content->n_consumers] = key;
    if (rc == 0 && key < content->n_keys)
        rc = error_set(err, E_PROTOCOL, "a bucket has a key without its consumer");
    return rc;
}

/* ---- taking out ---- */

/* A row that was added may name another consumer's key, whose entry is to stay. */
static bool leads_to(const struct entry *entry, const unsigned char *consumer_id)
{
    struct record_consumer view = {.id = entry->consumer_id};

    return (entry->record != NULL &&
            !record_view_consumer(entry->record, entry->record_size, &view)) ||
           memcmp(view.id.bytes, consumer_id, UUID_BYTES) == 0;
}

/* The entry of the key whose row begins with `row`. */
static int drop_entry(struct source *source, uint64_t hash,
                      const unsigned char row[LAYOUT_KEY_KEY_BYTES], struct error *err)
{
    uint32_t scope = layout_key_scope(row);
    struct uuid key_id;
    uint8_t name[ENTRY_NAME_BYTES];
    struct entry entry;
    int rc = index_mend_at(&source->index, hash, err);

    memcpy(key_id.bytes, row + LAYOUT_CONSUMER_KEY_BYTES, UUID_BYTES);
    if (rc == 0)
        rc = index_find_key(&source->tables, hash, scope, &key_id, &entry, err);
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    if (!leads_to(&entry, row + LAYOUT_SCOPE_BYTES))
        return 0;
    memcpy(name, entry.name, sizeof(name)); /* moves when the map changes */
    return index_drop(&source->index, name, scope, false, err);
}

/* The key's row, whatever it holds, and the entry that it leads to. */
static int take_key_out(struct source *source, MDB_val row, MDB_val value, struct error *err)
{
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    int rc = 0;

    memcpy(bytes, row.mv_data, sizeof(bytes));
    if (value.mv_size >= LAYOUT_HASH_BYTES)
        rc = drop_entry(source, bytes_get_u64(value.mv_data), bytes, err);
    if (rc == 0)
        rc = tables_delete(&source->tables, TABLE_CONSUMERS, env_val(bytes, sizeof(bytes)), err);
    return rc;
}

/* A row that is found again after it was taken out would be for ever. */
static int still_there(struct error *err)
{
    return error_set(err, E_CORRUPT, "a row is found and cannot be taken out");
}

static int take_out(struct source *source, uint32_t scope, const struct uuid *id, struct error *err)
{
    unsigned char consumer[LAYOUT_CONSUMER_KEY_BYTES];
    uint8_t name[ENTRY_NAME_BYTES];
    MDB_val row;
    MDB_val value;
    int rc;

    layout_consumer_key(scope, id, consumer);
    while ((rc = consumers_next_key(&source->tables, consumer, NULL, &row, &value, err)) == 0) {
        rc = take_key_out(source, row, value, err);
        if (rc != 0)
            return rc == E_NOT_FOUND ? still_there(err) : rc;
    }
    if (rc != E_NOT_FOUND)
        return rc;
    entry_name_of_consumer(scope, id, name);
    rc = index_mend_at(&source->index, entry_hash(name), err);
    if (rc == 0)
        rc = index_drop(&source->index, name, scope, true, err);
    if (rc == 0)
        rc = tables_delete(&source->tables, TABLE_CONSUMERS, env_val(consumer, sizeof(consumer)),
                           err);
    return rc == E_NOT_FOUND ? 0 : rc;
}

/* ---- comparing ---- */

static int compare_ids(const void *a, const void *b)
{
    const struct model_consumer *const *x = a;
    const struct model_consumer *const *y = b;

    return uuid_compare(&(*x)->id, &(*y)->id);
}

/* The consumer's place in the content; n_consumers: it is not in it. */
static size_t find_expected(const struct repair *repair, const struct uuid *id)
{
    const struct source_content *content = repair->content;
    const struct model_consumer wanted = {.id = *id};
    const struct model_consumer *key = &wanted;
    const struct model_consumer *const *found;

    if (content->n_consumers == 0)
        return 0;
    found = bsearch(&key, content->consumers, content->n_consumers, sizeof(void *), compare_ids);
    return found != NULL ? (size_t)(found - content->consumers) : content->n_consumers;
}

/* One consumer that the store has in a bucket that is repaired. */
static int compare_held(struct repair *repair, const struct uuid *id, struct error *err)
{
    size_t i = find_expected(repair, id);
    bool is_known = i < repair->content->n_consumers;
    struct holding holding = {.sound = false};
    int rc = 0;

    if (is_known) {
        rc = holding_read(&repair->source->tables, repair->content->scope, id,
                          &repair->source->record, &holding, err);
        if (rc != 0)
            return rc;
        repair->missing[i] = !holding.sound || !set_hash_equal(&holding.hash, &repair->expected[i]);
        if (!repair->missing[i])
            return 0;
    }
    source_repair_tell(repair, is_known ? SOURCE_DIFFERENT : SOURCE_EXTRA, false, id);
    return take_out(repair->source, repair->content->scope, id, err);
}

/* All that the store has in the buckets; what is not in there is missing. */
static int compare_all(struct repair *repair, struct error *err)
{
    const struct source_content *content = repair->content;
    const struct uuid *after = NULL;
    bool *held = calloc(content->n_consumers + 1, sizeof(*held));
    struct uuid id;
    int rc = held != NULL ? 0 : error_set(err, E_NO_MEMORY, NULL);

    while (rc == 0 &&
           (rc = holding_next(&repair->source->tables, content->scope, after, &id, err)) == 0) {
        after = &id;
        if (!set_hash_marked(&content->buckets, set_hash_bucket(&id)))
            continue;
        held[find_expected(repair, &id)] = true;
        rc = compare_held(repair, &id, err);
    }
    if (rc == E_NOT_FOUND)
        rc = 0;
    for (size_t i = 0; rc == 0 && i < content->n_consumers; i++) {
        if (!held[i]) {
            repair->missing[i] = true;
            source_repair_tell(repair, SOURCE_MISSING, false, &content->consumers[i]->id);
        }
    }
    free(held);
    return rc;
}

/* ---- the realm ---- */

/* The id that follows; false behind the last one. */
static bool increment(unsigned char id[UUID_BYTES])
{
    for (int i = UUID_BYTES - 1; i >= 0; i--) {
        if (++id[i] != 0)
            return true;
    }
    return false;
}

/* Whatever leads to the number, and what stands under the id. */
static int take_ids_out(struct source *source, uint32_t scope, const struct uuid *id,
                        struct error *err)
{
    unsigned char from[UUID_BYTES] = {0};
    MDB_val key = env_val(from, sizeof(from));
    MDB_val value;
    int rc;

    while ((rc = tables_at_or_after(&source->tables, TABLE_REALM_IDS, key, &key, &value, err)) ==
           0) {
        bool leads_here =
            value.mv_size == sizeof(scope) && memcmp(value.mv_data, &scope, sizeof(scope)) == 0;

        if (key.mv_size != sizeof(from))
            return error_set(err, E_CORRUPT, "realm_ids holds a key of %zu bytes", key.mv_size);
        memcpy(from, key.mv_data, sizeof(from));
        key = env_val(from, sizeof(from));
        if (leads_here || memcmp(from, id->bytes, sizeof(from)) == 0)
            rc = tables_delete(&source->tables, TABLE_REALM_IDS, key, err);
        if (rc != 0)
            return rc;
        if (!increment(from))
            return 0;
    }
    return rc == E_NOT_FOUND ? 0 : rc;
}

static int take_realm_out(struct source *source, uint32_t scope, const struct uuid *id,
                          struct error *err)
{
    int rc = tables_delete(&source->tables, TABLE_REALMS, env_val(&scope, sizeof(scope)), err);

    return rc == 0 || rc == E_NOT_FOUND ? take_ids_out(source, scope, id, err) : rc;
}

static int repair_realm(struct repair *repair, struct error *err)
{
    const struct model_realm *realm = repair->content->realm;
    struct source *source = repair->source;
    struct holding holding = {.sound = false};
    struct set_hash expected;
    int rc;

    buffer_clear(&source->record);
    if (record_encode_realm(realm, &source->record) != 0)
        return error_set(err, E_PROTOCOL, "a realm does not fit a record");
    expected = set_hash_of(source->record.data, source->record.size);
    rc = holding_realm(&source->tables, realm->number, &holding, err);
    if (rc != 0 && rc != E_NOT_FOUND)
        return rc;
    if (holding.sound && set_hash_equal(&holding.hash, &expected))
        return 0;
    source_repair_tell(repair, rc == 0 ? SOURCE_DIFFERENT : SOURCE_MISSING, true, &realm->id);
    rc = take_realm_out(source, realm->number, &realm->id, err);
    return rc == 0 ? source_put_realm(source, realm, err) : rc;
}

/* The source has no such realm: nothing of it stays, in whatever bucket. */
static int remove_scope(struct repair *repair, struct error *err)
{
    static const struct set_hash nothing[SET_HASH_BUCKETS];
    struct source *source = repair->source;
    uint32_t scope = repair->content->scope;
    struct record_realm view = {.number = scope};
    struct uuid former;
    struct uuid id;
    MDB_val record;
    bool first = true;
    int rc;

    for (; (rc = holding_next(&source->tables, scope, NULL, &id, err)) == 0; first = false) {
        if (!first && uuid_compare(&former, &id) >= 0)
            return still_there(err);
        former = id;
        source_repair_tell(repair, SOURCE_EXTRA, false, &id);
        rc = take_out(source, scope, &id, err);
        if (rc != 0)
            return rc;
    }
    if (rc != E_NOT_FOUND)
        return rc;
    if (tables_get(&source->tables, TABLE_REALMS, env_val(&scope, sizeof(scope)), &record, err) ==
            0 &&
        record_view_realm(record.mv_data, record.mv_size, &view))
        source_repair_tell(repair, SOURCE_EXTRA, true, &view.id);
    rc = take_realm_out(source, scope, &view.id, err);
    return rc == 0 ? scope_hashes_set(&source->tables, scope, nothing, err) : rc;
}

/* ---- putting in ---- */

static int put_missing(struct repair *repair, size_t i, struct error *err)
{
    const struct source_content *content = repair->content;
    struct source *source = repair->source;
    int rc = source_put_consumer(source, content->scope, content->consumers[i], err);

    for (size_t key = repair->first_key[i]; rc == 0 && key < repair->first_key[i + 1]; key++) {
        rc = index_mend_at(&source->index, entry_hash(content->keys[key]->digest), err);
        if (rc == 0)
            rc = source_put_key(source, content->scope, content->keys[key], err);
    }
    return rc;
}

static int put_all(struct repair *repair, struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < repair->content->n_consumers; i++) {
        if (repair->missing[i])
            rc = put_missing(repair, i, err);
    }
    return rc;
}

/* ---- digests ---- */

static int set_digests(struct repair *repair, struct error *err)
{
    const struct source_content *content = repair->content;
    struct set_hash buckets[SET_HASH_BUCKETS];
    struct holding realm;
    int rc = scope_hashes_get_buckets(&repair->source->tables, content->scope, buckets, err);

    for (unsigned b = 0; b < SET_HASH_BUCKETS; b++) {
        if (set_hash_marked(&content->buckets, b))
            buckets[b] = (struct set_hash){0};
    }
    for (size_t i = 0; i < content->n_consumers; i++)
        set_hash_add(&buckets[set_hash_bucket(&content->consumers[i]->id)], &repair->expected[i]);
    if (rc == 0 && content->realm != NULL) {
        rc = holding_realm(&repair->source->tables, content->scope, &realm, err);
        if (rc == 0)
            set_hash_add(&buckets[SET_HASH_BUCKET_OF_REALM], &realm.hash);
    }
    return rc == 0 ? scope_hashes_set(&repair->source->tables, content->scope, buckets, err) : rc;
}

/* ---- counts ---- */

/* What came or went behind our back was not counted. */
static int recount(struct source *source, struct error *err)
{
    struct layout_meta *meta = &source->pending;
    MDB_cursor *cursor;
    MDB_stat realms;
    MDB_val key;
    MDB_val value;
    int rc = trees_check_table(&source->trees, TABLE_CONSUMERS, err);

    if (rc != 0)
        return rc;
    rc = mdb_stat(source->tables.txn, source->live.env.tables[TABLE_REALMS], &realms);
    if (rc == 0)
        rc = mdb_cursor_open(source->tables.txn, source->live.env.tables[TABLE_CONSUMERS], &cursor);
    if (rc != 0)
        return env_error(err, rc, "count the records");
    meta->realms = realms.ms_entries;
    meta->consumers = meta->keys = 0;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        if (key.mv_size == LAYOUT_CONSUMER_KEY_BYTES)
            meta->consumers++;
        else
            meta->keys++;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : env_error(err, rc, "count the records");
}

int source_recount(struct source *source, struct error *err)
{
    struct model_cursor cursor = source->live.meta.cursor;
    int64_t time_ms = source->live.meta.commit_time_ms;
    int rc = source_begin(source, err);

    if (rc != 0)
        return rc;
    rc = recount(source, err);
    if (rc == 0)
        return source_commit(source, &cursor, time_ms, err);
    source_abort(source);
    return rc;
}

static int source_repair_run(struct repair *repair, struct error *err)
{
    int rc = expect_all(repair, err);

    if (rc == 0 && repair->content->realm != NULL)
        rc = repair_realm(repair, err);
    if (rc == 0)
        rc = compare_all(repair, err);
    if (rc == 0)
        rc = put_all(repair, err);
    return rc == 0 ? set_digests(repair, err) : rc;
}

int source_repair(struct source *source, const struct source_content *content,
                  source_difference_fn differs, void *context, struct error *err)
{
    const size_t n = content->n_consumers + 1;
    struct repair repair = {
        .source = source, .content = content, .differs = differs, .context = context};
    bool whole_realm = content->scope != MODEL_SCOPE_CP && content->realm == NULL &&
                       set_hash_marked(&content->buckets, SET_HASH_BUCKET_OF_REALM);
    int rc;

    assert(source->tables.txn != NULL);
    walk_again(&source->walk);
    if (whole_realm) {
        rc = remove_scope(&repair, err);
        return rc == 0 && repair.changed ? recount(source, err) : rc;
    }
    repair.expected = calloc(n, sizeof(*repair.expected));
    repair.missing = calloc(n, sizeof(*repair.missing));
    repair.first_key = calloc(n, sizeof(*repair.first_key));
    if (repair.expected == NULL || repair.missing == NULL || repair.first_key == NULL)
        rc = error_set(err, E_NO_MEMORY, NULL);
    else
        rc = source_repair_run(&repair, err);
    if (rc == 0 && repair.changed)
        rc = recount(source, err);
    free(repair.expected);
    free(repair.missing);
    free(repair.first_key);
    return rc;
}

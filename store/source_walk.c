/* source_walk.c - the slow walk over a source's own file: does it hold what its digests say?
 *
 *     lookup    each bucket is checked in full, and each entry against the row that must know it
 *     scopes    each record that a scope holds is checked and hashed; the sums are compared with
 * the table `digests`
 *
 * and so round and round, a slice at a time between the commits, in a read transaction. Live
 * changes behind the walk's place are added to its sums as they come (walk_note()), so that these
 * are exact when the scope's end is reached, and nothing has to stand still for that.
 *
 * What is found is mended at once as far as it can be without the source: what is left of a damaged
 * bucket is written anew, entries that no row knows are dropped, and digests are made to say what
 * is there. That is what repair (source_repair.c) needs: digests that differ from the source's
 * exactly where the records do.
 *
 * Failure: a tree that cannot be read is E_CORRUPT; only a full copy helps then.
 */
#include "store/source_walk.h"

#include <string.h>

#include "store/bytes.h"
#include "store/scope_hashes.h"
#include "store/holding.h"
#include "store/source_internal.h"

/* A slice ends after so many records, or when it has taken so long, at a record's end. */
enum { SLICE_RECORDS = 4096, SLICE_MS = 10 };

void walk_reset(struct walk *walk)
{
    *walk = (struct walk){.stage = WALK_LOOKUP};
}

void walk_again(struct walk *walk)
{
    walk->in_scope = false;
}

void walk_note(struct walk *walk, uint32_t scope, const struct uuid *consumer_id,
               const struct set_hash *less, const struct set_hash *more)
{
    unsigned bucket = SET_HASH_BUCKET_OF_REALM;

    if (walk->stage != WALK_SCOPES || !walk->in_scope || walk->scope != scope)
        return;
    if (consumer_id != NULL) {
        if (!walk->has_consumer || uuid_compare(consumer_id, &walk->consumer_id) > 0)
            return; /* is still to come */
        bucket = set_hash_bucket(consumer_id);
    }
    set_hash_remove(&walk->sums[bucket], less);
    set_hash_add(&walk->sums[bucket], more);
}

/* ---- a slice ---- */

struct slice {
    struct source *source;
    struct source_walked *ret;
    struct tables tables; /* of the read transaction */
    int64_t until_ms;

    /* What is to be mended when the read transaction is over; the slice ends with it. */
    bool mend_bucket;
    uint64_t above; /* no hash of the bucket may be smaller */
    bool drop_entry;
    bool entry_is_consumer;
    uint32_t entry_scope;
    uint8_t entry_name[ENTRY_NAME_BYTES];
    bool set_digests;
};

static bool is_over(const struct slice *slice)
{
    const struct clock *clock = &slice->source->store->clock;

    return slice->mend_bucket || slice->drop_entry || slice->set_digests ||
           slice->ret->round_done || slice->ret->records >= SLICE_RECORDS ||
           clock->boot_ms(clock->context) >= slice->until_ms;
}

/* ---- lookup ---- */

/* What is asked of the tables below: no answer, because they could not be read, is not "no". */
static int known(bool is, bool *ret)
{
    *ret = is;
    return 0;
}

/* The row that the key's entry belongs to knows it. */
static int is_known_key(const struct slice *slice, const struct entry *entry, bool *ret,
                        struct error *err)
{
    struct record_consumer consumer = {.id = entry->consumer_id};
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    MDB_val value;
    int rc;

    if (entry->record != NULL &&
        !record_view_consumer(entry->record, entry->record_size, &consumer))
        return known(false, ret);
    layout_key_key(entry->scope, &consumer.id, &entry->key_id, bytes);
    rc = tables_get(&slice->tables, TABLE_CONSUMERS, env_val(bytes, sizeof(bytes)), &value, err);
    if (rc != 0 && rc != E_NOT_FOUND)
        return rc;
    return known(rc == 0 && value.mv_size >= LAYOUT_HASH_BYTES &&
                     bytes_get_u64(value.mv_data) == entry_hash(entry->name),
                 ret);
}

/* The consumer's row is there, and its keys refer to the entry. */
static int is_known_consumer(const struct slice *slice, const struct entry *entry, bool *ret,
                             struct error *err)
{
    struct record_consumer consumer;
    struct error damage = ERROR_INIT;
    struct consumer_place place;
    uint8_t name[ENTRY_NAME_BYTES];
    int rc;

    if (!record_view_consumer(entry->record, entry->record_size, &consumer))
        return known(false, ret);
    entry_name_of_consumer(entry->scope, &consumer.id, name);
    if (memcmp(name, entry->name, sizeof(name)) != 0)
        return known(false, ret);
    rc = consumers_find(&slice->tables, entry->scope, &consumer.id, &place, &damage);
    if (rc == 0)
        return known(place.home == HOME_ENTRY, ret);
    if (rc == E_NOT_FOUND || rc == E_CORRUPT) /* what is damaged there is the scope's matter */
        return known(rc == E_CORRUPT, ret);
    *err = damage;
    return rc;
}

/* *ret_fits false: the entry is out of the bucket's range, so that no lookup finds it. */
static int walk_entry(struct slice *slice, const struct entry *entry, uint64_t last, bool *ret_fits,
                      struct error *err)
{
    bool is_consumer = entry->kind == ENTRY_CONSUMER;
    bool is_known = true;
    int rc = 0;

    slice->ret->records++;
    *ret_fits = entry_hash(entry->name) <= last && entry_hash(entry->name) >= slice->above;
    if (*ret_fits && !slice->drop_entry)
        rc = is_consumer ? is_known_consumer(slice, entry, &is_known, err)
                         : is_known_key(slice, entry, &is_known, err);
    if (rc != 0 || is_known)
        return rc;
    slice->drop_entry = true;
    slice->entry_is_consumer = is_consumer;
    slice->entry_scope = entry->scope;
    memcpy(slice->entry_name, entry->name, ENTRY_NAME_BYTES);
    return 0;
}

static int walk_entries(struct slice *slice, const MDB_val *value, uint64_t last, bool *ret_good,
                        struct error *err)
{
    size_t count = bucket_count(value->mv_data, value->mv_size);

    for (size_t i = 0; i < count; i++) {
        size_t room = 0;
        const unsigned char *at = bucket_at(value->mv_data, value->mv_size, i, &room);
        struct entry entry;
        int rc;

        *ret_good = at != NULL && entry_view(at, room, &entry);
        if (!*ret_good)
            return 0;
        rc = walk_entry(slice, &entry, last, ret_good, err);
        if (rc != 0 || !*ret_good)
            return rc;
    }
    return 0;
}

/* The bucket behind the last one. */
static int walk_bucket(struct slice *slice, struct error *err)
{
    struct walk *walk = &slice->source->walk;
    unsigned char from[BUCKET_KEY_BYTES + 1] = {BUCKET_KEY_FIRST_BYTE};
    size_t size = 1;
    uint64_t last;
    bool good;
    MDB_val key;
    MDB_val value;
    int rc;

    slice->above = 0;
    if (walk->has_bucket) {
        memcpy(from, walk->bucket, BUCKET_KEY_BYTES);
        size = sizeof(from);
        (void)bucket_key_read(walk->bucket, BUCKET_KEY_BYTES, &last); /* it was one */
        slice->above = last + 1;
    }
    rc = tables_at_or_after(&slice->tables, TABLE_LOOKUP, env_val(from, size), &key, &value, err);
    if (rc == E_NOT_FOUND) {
        *walk = (struct walk){.stage = WALK_SCOPES};
        return 0;
    }
    if (rc != 0)
        return rc;
    if (!bucket_key_read(key.mv_data, key.mv_size, &last))
        return error_set(err, E_CORRUPT, "a key of the lookup table is damaged");
    good = bucket_check(value.mv_data, value.mv_size, slice->above, last);
    if (good)
        rc = walk_entries(slice, &value, last, &good, err);
    if (rc != 0)
        return rc;
    slice->mend_bucket = !good;
    if (slice->drop_entry && !slice->mend_bucket)
        return 0; /* once more, there may be others */
    memcpy(walk->bucket, key.mv_data, BUCKET_KEY_BYTES);
    walk->has_bucket = true;
    return 0;
}

/* ---- scopes ---- */

/* The realm's record counts when realm_ids leads to it, as lookups need. */
static int walk_realm(struct slice *slice, struct error *err)
{
    struct walk *walk = &slice->source->walk;
    struct holding holding;
    int rc = holding_realm(&slice->tables, walk->scope, &holding, err);

    slice->ret->records++;
    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    set_hash_add(&walk->sums[SET_HASH_BUCKET_OF_REALM], &holding.hash);
    return 0;
}

static int begin_scope(struct slice *slice, struct error *err)
{
    struct walk *walk = &slice->source->walk;
    uint32_t scope;
    int rc = holding_next_scope(&slice->tables, walk->scope, &scope, err);

    if (rc == E_NOT_FOUND) {
        slice->ret->round_done = true;
        walk_reset(walk);
        return 0;
    }
    if (rc != 0)
        return rc;
    *walk = (struct walk){.stage = WALK_SCOPES, .scope = scope, .in_scope = true};
    return scope == MODEL_SCOPE_CP ? 0 : walk_realm(slice, err);
}

/* The next scope, or the end of the round. */
static void leave_scope(struct walk *walk, struct source_walked *walked)
{
    walked->round_done = walk->scope == UINT32_MAX;
    if (walked->round_done)
        walk_reset(walk);
    else
        *walk = (struct walk){.stage = WALK_SCOPES, .scope = walk->scope + 1};
}

/* Do the digests say what was found? */
static int end_scope(struct slice *slice, struct error *err)
{
    struct walk *walk = &slice->source->walk;
    struct set_hash known[SET_HASH_BUCKETS];
    struct set_hash whole;
    struct set_hash sum = {0};
    int rc = scope_hashes_get_buckets(&slice->tables, walk->scope, known, err);

    if (rc == 0)
        rc = scope_hashes_get(&slice->tables, walk->scope, &whole, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < SET_HASH_BUCKETS; i++)
        set_hash_add(&sum, &walk->sums[i]);
    slice->set_digests =
        !set_hash_equal(&sum, &whole) || memcmp(known, walk->sums, sizeof(known)) != 0;
    if (!slice->set_digests)
        leave_scope(walk, slice->ret);
    return 0;
}

/* The next consumer of the scope, with its keys; rows of keys without one count as one that is
 * damaged. */
static int walk_consumer(struct slice *slice, struct error *err)
{
    struct walk *walk = &slice->source->walk;
    struct holding holding;
    int rc = holding_next(&slice->tables, walk->scope,
                          walk->has_consumer ? &walk->consumer_id : NULL, &walk->consumer_id, err);

    if (rc == E_NOT_FOUND)
        return end_scope(slice, err);
    if (rc != 0)
        return rc;
    walk->has_consumer = true;
    rc = holding_read(&slice->tables, walk->scope, &walk->consumer_id, &slice->source->record,
                      &holding, err);
    if (rc != 0)
        return rc;
    set_hash_add(&walk->sums[set_hash_bucket(&walk->consumer_id)], &holding.hash);
    slice->ret->records += holding.records;
    return 0;
}

static int walk_slice(struct slice *slice, struct error *err)
{
    const struct walk *walk = &slice->source->walk;
    int rc = 0;

    while (rc == 0 && !is_over(slice)) {
        if (walk->stage == WALK_LOOKUP)
            rc = walk_bucket(slice, err);
        else
            rc = walk->in_scope ? walk_consumer(slice, err) : begin_scope(slice, err);
    }
    return rc;
}

/* ---- mending ---- */

/* One write transaction that changes neither cursor nor content, as far as the source knows. */
static int mend(struct slice *slice, struct error *err)
{
    struct source *source = slice->source;
    struct layout_meta meta = source->live.meta;
    int rc = source_begin(source, err);

    if (rc != 0)
        return rc;
    if (slice->mend_bucket)
        rc = index_mend(&source->index, source->walk.bucket, err);
    if (rc == 0 && slice->drop_entry)
        rc = index_drop(&source->index, slice->entry_name, slice->entry_scope,
                        slice->entry_is_consumer, err);
    if (rc == 0 && slice->set_digests)
        rc = scope_hashes_set(&source->tables, source->walk.scope, source->walk.sums, err);
    if (rc != 0) {
        source_abort(source);
        return rc;
    }
    rc = source_commit(source, &meta.cursor, meta.commit_time_ms, err);
    if (rc != 0)
        return rc;
    slice->ret->mended = slice->mend_bucket || slice->drop_entry;
    slice->ret->differs = slice->set_digests;
    slice->ret->scope = source->walk.scope;
    if (slice->set_digests)
        leave_scope(&source->walk, slice->ret);
    return 0;
}

int source_walk(struct source *source, struct source_walked *ret, struct error *err)
{
    const struct clock *clock = &source->store->clock;
    struct source_walked walked = {.records = 0};
    struct slice slice = {.source = source,
                          .ret = &walked,
                          .tables = {.env = &source->live.env},
                          .until_ms = clock->boot_ms(clock->context) + SLICE_MS};
    int rc;

    if (source->live.number == 0)
        return error_set(err, E_NOT_READY, NULL);
    rc = mdb_txn_begin(source->live.env.mdb, NULL, MDB_RDONLY, &slice.tables.txn);
    if (rc != 0)
        return env_error(err, rc, "begin a snapshot");
    rc = tables_watch(&slice.tables, &source->live.env, &source->trees, false, err);
    if (rc == 0)
        rc = walk_slice(&slice, err);
    mdb_txn_abort(slice.tables.txn);
    if (rc == 0 && (slice.mend_bucket || slice.drop_entry || slice.set_digests))
        rc = mend(&slice, err);
    if (rc != 0)
        walk_again(&source->walk);
    else
        *ret = walked;
    return rc;
}

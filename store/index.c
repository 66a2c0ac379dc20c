/* index.c - see index.h. */
#include "store/index.h"

#include <string.h>

/* A bucket of less than a quarter of a page goes into a neighbour that has room to grow. */
enum {
    MERGE_BELOW_BYTES = BUCKET_ONE_PAGE_BYTES / 4,
    MERGED_MAX_BYTES = BUCKET_ONE_PAGE_BYTES / 4 * 3
};

/* The hashes that belong to a bucket. */
struct range {
    uint64_t first;
    uint64_t last;
};

/* A bucket in the table; key and value are borrowed until the next change. */
struct place {
    unsigned char key[BUCKET_KEY_BYTES];
    uint64_t last_hash;
    MDB_val value;
};

void index_init(struct index *index, const struct tables *tables)
{
    index->tables = tables;
    index->next_hash = 0;
    bucket_draft_init(&index->draft);
    buffer_init(&index->value, BUCKET_MAX_BYTES);
    buffer_init(&index->entry, ENTRY_MAX_BYTES);
}

void index_finish(struct index *index)
{
    bucket_draft_finish(&index->draft);
    buffer_finish(&index->value);
    buffer_finish(&index->entry);
}

static int index_damaged(struct error *err)
{
    return error_set(err, E_CORRUPT, "a bucket of the lookup table is damaged");
}

/* The bucket to which the hash belongs; E_NOT_FOUND: none reaches so far. */
static int find_bucket(const struct tables *tables, uint64_t hash, struct place *ret,
                       struct error *err)
{
    unsigned char wanted[BUCKET_KEY_BYTES];
    MDB_val key;
    int rc;

    bucket_key(hash, wanted);
    rc = tables_at_or_after(tables, TABLE_LOOKUP, env_val(wanted, sizeof(wanted)), &key,
                            &ret->value, err);
    if (rc != 0)
        return rc;
    if (!bucket_key_read(key.mv_data, key.mv_size, &ret->last_hash))
        return index_damaged(err); /* behind the names of tables there are buckets only */
    memcpy(ret->key, key.mv_data, BUCKET_KEY_BYTES);
    return 0;
}

int index_find(const struct tables *tables, const uint8_t name[ENTRY_NAME_BYTES], uint32_t scope,
               bool consumer, struct entry *ret, struct error *err)
{
    const unsigned char *found;
    struct place place;
    bool is_damaged;
    size_t room = 0;
    int rc = find_bucket(tables, entry_hash(name), &place, err);

    if (rc != 0)
        return rc;
    found = bucket_find(place.value.mv_data, place.value.mv_size, name, scope, consumer, &room,
                        &is_damaged);
    if (found == NULL)
        return is_damaged ? index_damaged(err) : E_NOT_FOUND;
    return entry_view(found, room, ret) ? 0 : index_damaged(err);
}

int index_find_key(const struct tables *tables, uint64_t hash, uint32_t scope,
                   const struct uuid *key_id, struct entry *ret, struct error *err)
{
    struct place place;
    size_t count;
    int rc = find_bucket(tables, hash, &place, err);

    if (rc != 0)
        return rc;
    count = bucket_count(place.value.mv_data, place.value.mv_size);
    for (size_t i = 0; i < count; i++) {
        size_t room = 0;
        const unsigned char *at = bucket_at(place.value.mv_data, place.value.mv_size, i, &room);
        struct entry entry;

        if (at == NULL || !entry_view(at, room, &entry))
            return index_damaged(err);
        if (entry_hash(entry.name) == hash && entry.kind != ENTRY_CONSUMER &&
            entry.scope == scope && uuid_equal(&entry.key_id, key_id)) {
            return entry_view_intact(at, room, ret) ? 0 : index_damaged(err);
        }
    }
    return E_NOT_FOUND;
}

/* The bucket in front of the one under `key`. */
static int find_before(const struct tables *tables, const unsigned char key[BUCKET_KEY_BYTES],
                       struct place *ret, struct error *err)
{
    MDB_val before;
    int rc = tables_before(tables, TABLE_LOOKUP, env_val(key, BUCKET_KEY_BYTES), &before, err);

    if (rc != 0)
        return rc;
    if (!bucket_key_read(before.mv_data, before.mv_size, &ret->last_hash))
        return E_NOT_FOUND; /* the name of a table */
    memcpy(ret->key, before.mv_data, BUCKET_KEY_BYTES);
    return tables_get(tables, TABLE_LOOKUP, env_val(ret->key, BUCKET_KEY_BYTES), &ret->value, err);
}

/* The first hash that belongs to a bucket: the one behind the bucket before. */
static int first_hash_by_tree(const struct tables *tables, const struct place *place, uint64_t *ret,
                              struct error *err)
{
    struct place before;
    int rc = find_before(tables, place->key, &before, err);

    if (rc != 0 && rc != E_NOT_FOUND)
        return rc;
    *ret = rc == 0 ? before.last_hash + 1 : 0;
    return 0;
}

/* The same, from the bucket itself where it says so. */
static int first_hash_of(const struct tables *tables, const struct place *place, uint64_t *ret,
                         struct error *err)
{
    uint64_t last;

    if (bucket_range(place->value.mv_data, place->value.mv_size, ret, &last) &&
        last == place->last_hash)
        return 0;
    return first_hash_by_tree(tables, place, ret, err);
}

/* Writes the entries [from, to) of the draft as the bucket of the range. */
static int write_bucket(struct index *index, size_t from, size_t to, const struct range *range,
                        unsigned flags, struct error *err)
{
    unsigned char key[BUCKET_KEY_BYTES];
    int rc = bucket_build(&index->draft, from, to, range->first, range->last, &index->value);

    bucket_key(range->last, key);
    if (rc == E_TOO_LARGE)
        return error_set(err, rc, "more keys have one hash than the lookup table can hold");
    if (rc != 0)
        return error_set(err, rc, NULL);
    return tables_put(index->tables, TABLE_LOOKUP, env_val(key, sizeof(key)),
                      env_val(index->value.data, index->value.size), flags, err);
}

static uint64_t hash_at(const struct bucket_draft *draft, size_t i)
{
    return entry_hash(entry_name(bucket_draft_at(draft, i)));
}

/* The draft in place of the bucket of the range, in two when one page is too small. */
static int write_draft(struct index *index, const struct range *range, struct error *err)
{
    size_t count = bucket_draft_count(&index->draft);
    struct range upper = *range;
    size_t cut = 0;
    int rc = 0;

    if (bucket_draft_bytes(&index->draft, 0, count) > BUCKET_FULL_BYTES)
        cut = bucket_draft_middle(&index->draft);
    if (cut > 0 && cut < count) {
        const struct range lower = {range->first, hash_at(&index->draft, cut - 1)};

        upper.first = lower.last + 1;
        rc = write_bucket(index, 0, cut, &lower, 0, err);
    } else {
        cut = 0;
    }
    return rc == 0 ? write_bucket(index, cut, count, &upper, 0, err) : rc;
}

int index_put(struct index *index, const struct entry *entry, struct error *err)
{
    struct place place = {.last_hash = UINT64_MAX, .value = {0, NULL}};
    struct range range;
    int rc = find_bucket(index->tables, entry_hash(entry->name), &place, err);

    if (rc == E_NOT_FOUND)
        bucket_key(UINT64_MAX, place.key);
    else if (rc != 0)
        return rc;
    range.last = place.last_hash;
    rc = first_hash_of(index->tables, &place, &range.first, err);
    if (rc != 0)
        return rc;
    buffer_clear(&index->entry);
    bucket_draft_clear(&index->draft);
    rc = entry_pack(entry, &index->entry);
    if (rc == 0)
        rc = bucket_draft_edit(&index->draft, place.value.mv_data, place.value.mv_size,
                               index->entry.data, index->entry.data);
    if (rc == E_CORRUPT)
        return index_damaged(err);
    return rc == 0 ? write_draft(index, &range, err) : error_set(err, rc, NULL);
}

/* Gathers what passes its check, wherever in the value it stands: slots may be what is damaged.
 * Entries that are in order stay so. */
static int gather_intact(struct bucket_draft *draft, MDB_val value, uint64_t first_hash,
                         uint64_t last_hash)
{
    const unsigned char *bytes = value.mv_data;
    size_t at = 0;
    int rc = 0;

    bucket_draft_clear(draft);
    while (rc == 0 && at + ENTRY_HEAD_BYTES <= value.mv_size) {
        size_t size = entry_size(bytes + at);
        size_t count = bucket_draft_count(draft);

        if (size < ENTRY_HEAD_BYTES || size > value.mv_size - at ||
            !entry_check(bytes + at, size)) {
            at += ENTRY_ALIGNMENT;
            continue;
        }
        if (entry_hash(entry_name(bytes + at)) >= first_hash &&
            entry_hash(entry_name(bytes + at)) <= last_hash &&
            (count == 0 || entry_compare(bucket_draft_at(draft, count - 1), bytes + at) < 0))
            rc = bucket_draft_add(draft, bytes + at, size);
        at += size;
    }
    return rc;
}

static int delete_bucket(struct index *index, uint64_t last_hash, struct error *err)
{
    unsigned char key[BUCKET_KEY_BYTES];

    bucket_key(last_hash, key);
    return tables_delete(index->tables, TABLE_LOOKUP, env_val(key, sizeof(key)), err);
}

/* Moves what is left of a nearly empty bucket into the next one, if that has room. The draft holds
 * the small one. */
static int merge(struct index *index, const struct range *small, struct error *err)
{
    size_t size = bucket_draft_bytes(&index->draft, 0, bucket_draft_count(&index->draft));
    struct range both = {.first = small->first};
    struct place next;
    int rc = E_NOT_FOUND;

    if (small->last != UINT64_MAX)
        rc = find_bucket(index->tables, small->last + 1, &next, err);
    if (rc == E_NOT_FOUND ||
        (rc == 0 && size + bucket_used(next.value.mv_data, next.value.mv_size) > MERGED_MAX_BYTES))
        return write_draft(index, small, err);
    if (rc == 0 &&
        bucket_draft_edit(&index->draft, next.value.mv_data, next.value.mv_size, NULL, NULL) != 0)
        rc = index_damaged(err);
    both.last = next.last_hash;
    if (rc == 0)
        rc = delete_bucket(index, small->last, err);
    return rc == 0 ? write_draft(index, &both, err) : rc;
}

/* The bucket that takes the range over: the next one or, behind the last one, the one before. */
static int find_heir(const struct tables *tables, const struct range *empty, struct place *ret,
                     struct error *err)
{
    unsigned char key[BUCKET_KEY_BYTES];
    int rc = E_NOT_FOUND;

    if (empty->last != UINT64_MAX)
        rc = find_bucket(tables, empty->last + 1, ret, err);
    if (rc != E_NOT_FOUND)
        return rc;
    bucket_key(empty->last, key);
    return find_before(tables, key, ret, err);
}

/* Hands the range of a bucket of which nothing is left over to its heir. */
static int index_hand_over(struct index *index, struct range empty, struct error *err)
{
    for (;;) {
        struct range both = empty;
        struct place heir;
        int rc = find_heir(index->tables, &empty, &heir, err);

        if (rc != 0 && rc != E_NOT_FOUND)
            return rc;
        if (rc == E_NOT_FOUND)
            return delete_bucket(index, empty.last, err); /* the only one */
        if (heir.last_hash > empty.last)
            both.last = heir.last_hash;
        else
            rc = first_hash_of(index->tables, &heir, &both.first, err);
        if (rc == 0 && gather_intact(&index->draft, heir.value, both.first, both.last) != 0)
            rc = error_set(err, E_NO_MEMORY, NULL);
        if (rc == 0)
            rc = delete_bucket(index, heir.last_hash > empty.last ? empty.last : heir.last_hash,
                               err);
        if (rc != 0)
            return rc;
        if (bucket_draft_count(&index->draft) > 0)
            return write_draft(index, &both, err);
        empty = both; /* nothing was left of the heir either */
    }
}

int index_drop(struct index *index, const uint8_t name[ENTRY_NAME_BYTES], uint32_t scope,
               bool consumer, struct error *err)
{
    bool is_damaged;
    size_t room = 0;
    const unsigned char *found;
    struct range range;
    struct place place;
    size_t count;
    int rc = find_bucket(index->tables, entry_hash(name), &place, err);

    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    found = bucket_find(place.value.mv_data, place.value.mv_size, name, scope, consumer, &room,
                        &is_damaged);
    if (found == NULL)
        return is_damaged ? index_damaged(err) : 0;
    bucket_draft_clear(&index->draft);
    rc = bucket_draft_edit(&index->draft, place.value.mv_data, place.value.mv_size, found, NULL);
    if (rc != 0)
        return rc == E_CORRUPT ? index_damaged(err) : error_set(err, rc, NULL);
    range.last = place.last_hash;
    rc = first_hash_of(index->tables, &place, &range.first, err);
    if (rc != 0)
        return rc;
    count = bucket_draft_count(&index->draft);
    if (count == 0)
        return index_hand_over(index, range, err);
    if (bucket_draft_bytes(&index->draft, 0, count) < MERGE_BELOW_BYTES)
        return merge(index, &range, err);
    return write_draft(index, &range, err);
}

/* What is left of the bucket, written anew. */
static int mend(struct index *index, const struct place *place, struct error *err)
{
    struct range range = {.last = place->last_hash};
    int rc = first_hash_by_tree(index->tables, place, &range.first, err);

    if (rc != 0)
        return rc;
    rc = gather_intact(&index->draft, place->value, range.first, range.last);
    if (rc != 0)
        return error_set(err, rc, NULL);
    if (bucket_draft_count(&index->draft) == 0)
        return index_hand_over(index, range, err);
    return write_draft(index, &range, err);
}

int index_mend(struct index *index, const unsigned char key[BUCKET_KEY_BYTES], struct error *err)
{
    struct place place;
    int rc =
        tables_get(index->tables, TABLE_LOOKUP, env_val(key, BUCKET_KEY_BYTES), &place.value, err);

    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    if (!bucket_key_read(key, BUCKET_KEY_BYTES, &place.last_hash))
        return index_damaged(err);
    memcpy(place.key, key, BUCKET_KEY_BYTES);
    return mend(index, &place, err);
}

int index_mend_at(struct index *index, uint64_t hash, struct error *err)
{
    struct place place;
    int rc = find_bucket(index->tables, hash, &place, err);

    if (rc != 0)
        return rc == E_NOT_FOUND ? 0 : rc;
    if (bucket_check(place.value.mv_data, place.value.mv_size, hash, place.last_hash))
        return 0;
    return mend(index, &place, err);
}

int index_append(struct index *index, size_t from, size_t to, bool last, struct error *err)
{
    const struct range range = {index->next_hash,
                                last ? UINT64_MAX : hash_at(&index->draft, to - 1)};

    index->next_hash = range.last + 1;
    return write_bucket(index, from, to, &range, MDB_APPEND, err);
}

/* reader_lookup.c - rs_lookup(): from an API key to a consumer.
 *
 * For each source that the caller names, in order: find the store's source that holds the realm,
 * compute the key's digest under that source's digest key (once a digest key), read its `lookup`
 * entry, which has the consumer's record with it or leads to it. One HMAC and one descent, for
 * consumers of many keys two; nothing is allocated.
 *
 * A "no" must be honest: a source that cannot be asked (no copy yet, damaged) makes the answer a
 * failure, never a miss; a source that was not heard for too long makes it stale.
 */
#include "store/reader_internal.h"

#include <string.h>

enum {
    MINUTE_MS = 60 * 1000,
    HASH_BITS = 64,
    DEFAULT_NEGATIVE_TTL_MIN = 10 /* of a realm that the store does not hold; Konnect's default */
};

/* One call of rs_lookup(). */
struct lookup {
    rs_snapshot *snapshot;
    const rs_source *sources;
    size_t n_sources;
    const void *key;
    size_t key_size;
    uint32_t computed; /* bit i: digests[i] is there */
    bool miss_is_stale;
    bool age_is_damaged; /* of a source that was asked */
    int64_t miss_age_ms; /* the oldest source asked so far; -1: one was never heard */
    struct consumer_view answer;
    uint8_t digests[STATUS_SLOTS][DIGEST_BYTES];
};

static int64_t source_age_ms(struct lookup *lookup, unsigned source)
{
    const struct view *view = lookup->snapshot->view;
    int64_t age_ms = -1;

    if (status_age(&view->page->status, view->sources[source].slot, &lookup->snapshot->store->clock,
                   &age_ms) != 0)
        lookup->age_is_damaged = true;
    place_note_age(lookup->snapshot->store, age_ms);
    return age_ms;
}

static bool is_older(int64_t age_ms, uint32_t limit_min)
{
    return age_ms < 0 || age_ms > (int64_t)limit_min * MINUTE_MS;
}

static void note_age(struct lookup *lookup, int64_t age_ms)
{
    if (age_ms < 0 || lookup->miss_age_ms < 0)
        lookup->miss_age_ms = -1;
    else if (age_ms > lookup->miss_age_ms)
        lookup->miss_age_ms = age_ms;
}

static void note_miss(struct lookup *lookup, int64_t age_ms, uint32_t limit_min)
{
    note_age(lookup, age_ms);
    if (is_older(age_ms, limit_min))
        lookup->miss_is_stale = true;
}

/* ---- realms ---- */

/* Where a realm's entry may stand in the snapshot's cache; UUIDs of version 7 differ in their
 * tail. */
static struct realm_entry *cache_slot(rs_snapshot *snapshot, unsigned source, const struct uuid *id)
{
    unsigned hash = id->bytes[UUID_BYTES - 1] ^ id->bytes[UUID_BYTES - 2] ^ source;

    return &snapshot->realms[hash % REALM_CACHE_ENTRIES];
}

/* 0: none of the source's realms has this id. Only all of them together prove it: one flipped bit
 * in a page or key of `realm_ids` would hide one. This is for a realm that a gateway asks for and
 * the store does not hold, and done once a version. */
static int prove_no_realm(const rs_snapshot *snapshot, unsigned source, const struct uuid *id)
{
    struct tree_walk walk;
    struct tree realms;
    int rc = reader_table(snapshot, source, TABLE_REALMS, &realms);

    if (rc != 0)
        return rc;
    for (rc = tree_walk_begin(&walk, &realms, env_val("", 0)); rc == 0;
         rc = tree_walk_next(&walk)) {
        struct record_realm realm;

        if (!reader_view_realm(&walk.value, &realm) || walk.key.mv_size != sizeof(realm.number) ||
            memcmp(walk.key.mv_data, &realm.number, sizeof(realm.number)) != 0 ||
            uuid_equal(&realm.id, id))
            return E_CORRUPT;
    }
    return rc == E_NOT_FOUND ? 0 : rc;
}

static int reader_lookup_read_realm(const rs_snapshot *snapshot, unsigned source,
                                    const struct uuid *id, struct realm_entry *ret)
{
    MDB_val key = env_val(id->bytes, UUID_BYTES);
    MDB_val value;
    int rc = reader_get(snapshot, source, TABLE_REALM_IDS, key, &value);

    if (rc == E_NOT_FOUND) {
        ret->number = MODEL_SCOPE_CP;
        return prove_no_realm(snapshot, source, id);
    }
    if (rc != 0)
        return rc;
    if (value.mv_size != sizeof(ret->number))
        return E_CORRUPT;
    memcpy(&ret->number, value.mv_data, sizeof(ret->number));
    key = env_val(&ret->number, sizeof(ret->number));
    rc = reader_get(snapshot, source, TABLE_REALMS, key, &value);
    if (rc != 0)
        return rc == E_NOT_FOUND ? E_CORRUPT : rc;
    if (!reader_view_realm(&value, &ret->realm) || ret->realm.number != ret->number ||
        ret->number == MODEL_SCOPE_CP || !uuid_equal(&ret->realm.id, id))
        return E_CORRUPT;
    return 0;
}

/* *ret is NULL when the source does not hold the realm; else borrowed until the snapshot ends. */
static int reader_lookup_find_realm(rs_snapshot *snapshot, unsigned source, const struct uuid *id,
                                    const struct record_realm **ret)
{
    struct realm_entry *entry = cache_slot(snapshot, source, id);
    struct realm_entry fresh = {.source = source, .id = *id};
    MDB_txn *txn;
    int rc = reader_txn(snapshot, source, &txn);

    if (rc != 0)
        return rc;
    if (entry->txn_id != mdb_txn_id(txn) || entry->source != source ||
        !uuid_equal(&entry->id, id)) {
        rc = reader_lookup_read_realm(snapshot, source, id, &fresh);
        if (rc != 0)
            return rc;
        fresh.txn_id = mdb_txn_id(txn);
        *entry = fresh;
    } else if (entry->number != MODEL_SCOPE_CP &&
               !record_is_intact(entry->realm.groups.record, entry->realm.groups.size)) {
        return E_CORRUPT; /* its name and groups are read from the map, now */
    }
    *ret = entry->number != MODEL_SCOPE_CP ? &entry->realm : NULL;
    return 0;
}

/* ---- keys ---- */

static const uint8_t *digest_for(struct lookup *lookup, unsigned source)
{
    const struct view *view = lookup->snapshot->view;
    unsigned i = view->sources[source].same_key;

    if ((lookup->computed & 1u << i) == 0) {
        digest_compute(&view->sources[i].opened->digest_key, lookup->key, lookup->key_size,
                       lookup->digests[i]);
        lookup->computed |= 1u << i;
    }
    return lookup->digests[i];
}

static bool list_has(const struct record_strings *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        const char *item = record_strings_get(list, i);

        if (item != NULL && strcmp(item, text) == 0)
            return true;
    }
    return false;
}

uint64_t reader_own_groups(const struct record_strings *consumers,
                           const struct record_strings *realms)
{
    uint64_t own = 0;

    for (size_t i = 0; i < consumers->count; i++) {
        const char *group = record_strings_get(consumers, i);

        if (group != NULL && !list_has(realms, group))
            own |= (uint64_t)1 << i;
    }
    return own;
}

/* What names an entry of `lookup`. */
struct wanted {
    const uint8_t *name;
    uint32_t scope;
    bool consumer;
};

/* No bucket reaches as far as the hash. The last one of a table takes every later hash, so that
 * this is a table without entries, or one whose last bucket an earlier version of the agent
 * removed. */
static int prove_end(const struct tree *lookups, uint64_t hash)
{
    unsigned char key[BUCKET_KEY_BYTES];
    struct tree_walk walk;
    int rc;

    bucket_key(hash, key);
    rc = tree_walk_begin(&walk, lookups, env_val(key, sizeof(key)));
    return rc == E_NOT_FOUND ? RS_NOT_FOUND : E_CORRUPT;
}

/* RS_FOUND, RS_NOT_FOUND, or an error. The source's transaction is begun. */
static int find_entry(rs_snapshot *snapshot, unsigned source, const struct wanted *wanted,
                      struct entry *ret)
{
    const struct tree *lookups = &snapshot->lookups[source];
    uint64_t hash = entry_hash(wanted->name);
    struct entry_slot *slot = &snapshot->entries[hash >> (HASH_BITS - ENTRY_CACHE_BITS)];
    const unsigned char *found = slot->entry;
    size_t room = slot->room;
    bool damaged = false;
    MDB_val value;
    int rc;

    if (slot->hash != hash || slot->epoch != snapshot->epochs[source] ||
        !entry_is(found, wanted->name, wanted->scope, wanted->consumer)) {
        tree_fetch(lookups, tree_guess(lookups, hash, slot->hash, found));
        rc = tree_seek_hash(lookups, BUCKET_KEY_FIRST_BYTE, hash, &value);
        if (rc != 0)
            return rc == E_NOT_FOUND ? prove_end(lookups, hash) : rc;
        found = bucket_find(value.mv_data, value.mv_size, wanted->name, wanted->scope,
                            wanted->consumer, &room, &damaged);
        if (found == NULL)
            return !damaged && bucket_covers(value.mv_data, value.mv_size, hash) ? RS_NOT_FOUND
                                                                                 : E_CORRUPT;
        *slot = (struct entry_slot){hash, found, (uint32_t)room, snapshot->epochs[source]};
    }
    return entry_view_intact(found, room, ret) ? RS_FOUND : E_CORRUPT;
}

/* The consumer to which a key's entry leads. */
static int reader_lookup_read_consumer(struct lookup *lookup, unsigned source,
                                       const struct entry *key)
{
    struct consumer_view *answer = &lookup->answer;
    struct entry entry = *key;
    uint8_t name[ENTRY_NAME_BYTES];
    int rc = RS_FOUND;

    if (key->kind == ENTRY_KEY_REFERENCE) {
        const struct wanted wanted = {name, key->scope, true};

        entry_name_of_consumer(key->scope, &key->consumer_id, name);
        rc = find_entry(lookup->snapshot, source, &wanted, &entry);
    }
    if (rc < 0)
        return rc;
    if (rc == RS_NOT_FOUND ||
        !reader_view_consumer(entry.record, entry.record_size, &answer->consumer) ||
        (key->kind == ENTRY_KEY_REFERENCE && !uuid_equal(&answer->consumer.id, &key->consumer_id)))
        return E_CORRUPT;
    answer->key_id = key->key_id;
    return RS_FOUND;
}

static bool is_expired(const struct lookup *lookup, const struct entry *key)
{
    const struct clock *clock = &lookup->snapshot->store->clock;

    /* Asks for the time only when there is an end to compare it with. */
    return key->expires_at_ms != 0 &&
           model_is_expired(key->expires_at_ms, clock->wall_ms(clock->context));
}

/* Looks the key up in one scope of one source; RS_FOUND fills lookup->answer.consumer. */
static int reader_lookup_find_key(struct lookup *lookup, unsigned source, uint32_t scope)
{
    const struct wanted wanted = {digest_for(lookup, source), scope, false};
    struct entry entry;
    MDB_txn *txn;
    int rc = reader_txn(lookup->snapshot, source, &txn);

    if (rc == 0)
        rc = find_entry(lookup->snapshot, source, &wanted, &entry);
    if (rc != RS_FOUND)
        return rc;
    return is_expired(lookup, &entry) ? RS_NOT_FOUND
                                      : reader_lookup_read_consumer(lookup, source, &entry);
}

/* ---- sources ---- */

static bool region_matches(const struct view_source *source, const rs_source *asked)
{
    return asked->region[0] == 0 ||
           strncmp(source->region, asked->region, sizeof(asked->region)) == 0;
}

/* Asks for a realm that `source` holds. */
static int ask_realm(struct lookup *lookup, unsigned source, const struct record_realm *realm)
{
    struct consumer_view *answer = &lookup->answer;
    int64_t age_ms = source_age_ms(lookup, source);
    int rc = reader_lookup_find_key(lookup, source, realm->number);

    if (rc == RS_NOT_FOUND)
        note_miss(lookup, age_ms, realm->negative_ttl_min);
    if (rc != RS_FOUND)
        return rc;
    answer->realm = *realm;
    answer->age_ms = age_ms;
    answer->own_groups = reader_own_groups(&answer->consumer.groups, &realm->groups);
    return is_older(age_ms, realm->ttl_min) ? RS_STALE : RS_FOUND;
}

/* A realm lives in one region, so that the source that holds it is the only one to ask. When none
 * does, every source that may hold it must have been able to say so. */
static int ask_realm_sources(struct lookup *lookup, const rs_source *asked)
{
    const struct view *view = lookup->snapshot->view;
    bool any = false;
    int unasked = 0;
    struct uuid id;

    memcpy(id.bytes, asked->realm_id, UUID_BYTES);
    for (unsigned i = 0; i < view->n_sources; i++) {
        const struct record_realm *realm = NULL;
        int rc = view->sources[i].error;

        if (!region_matches(&view->sources[i], asked))
            continue;
        any = true;
        if (rc == 0)
            rc = reader_lookup_find_realm(lookup->snapshot, i, &id, &realm);
        if (rc == 0 && realm != NULL)
            return ask_realm(lookup, i, realm);
        if (unasked == 0)
            unasked = rc;
    }
    if (!any)
        return RS_E_NOT_READY; /* a region that has never been copied */
    if (unasked != 0)
        return unasked;
    for (unsigned i = 0; i < view->n_sources; i++) {
        if (region_matches(&view->sources[i], asked))
            note_miss(lookup, source_age_ms(lookup, i), DEFAULT_NEGATIVE_TTL_MIN);
    }
    return RS_NOT_FOUND;
}

/* The control plane's own consumers, in each source that has some. They have no ttl. */
static int ask_cp_sources(struct lookup *lookup, const rs_source *asked)
{
    const struct view *view = lookup->snapshot->view;
    struct consumer_view *answer = &lookup->answer;
    bool any = false;
    int unasked = 0;

    for (unsigned i = 0; i < view->n_sources; i++) {
        int rc = view->sources[i].error;

        if (!region_matches(&view->sources[i], asked))
            continue;
        any = true;
        if (rc == 0)
            rc = reader_lookup_find_key(lookup, i, MODEL_SCOPE_CP);
        if (rc == RS_FOUND) {
            memset(&answer->realm, 0, sizeof(answer->realm));
            answer->age_ms = source_age_ms(lookup, i);
            answer->own_groups = reader_own_groups(&answer->consumer.groups, &answer->realm.groups);
            return RS_FOUND;
        }
        if (rc == RS_NOT_FOUND)
            note_age(lookup, source_age_ms(lookup, i));
        else if (unasked == 0)
            unasked = rc;
    }
    if (!any)
        return RS_E_NOT_READY;
    return unasked != 0 ? unasked : RS_NOT_FOUND;
}

/* RS_NOT_FOUND goes on to the next; all else ends the lookup. */
static int ask_all(struct lookup *lookup, const rs_source *sources, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int rc;

        if (sources[i].scope == RS_SCOPE_REALM)
            rc = ask_realm_sources(lookup, &sources[i]);
        else if (sources[i].scope == RS_SCOPE_CP)
            rc = ask_cp_sources(lookup, &sources[i]);
        else
            return RS_E_INVALID;
        if (rc != RS_NOT_FOUND)
            return rc;
    }
    memset(&lookup->answer, 0, sizeof(lookup->answer));
    lookup->answer.age_ms = lookup->miss_age_ms;
    return lookup->miss_is_stale ? RS_STALE : RS_NOT_FOUND;
}

static int look_up_once(void *context, struct consumer_view *ret)
{
    struct lookup *lookup = context;
    int rc;

    lookup->computed = 0;
    lookup->miss_is_stale = false;
    lookup->age_is_damaged = false;
    lookup->miss_age_ms = 0;
    memset(&lookup->answer, 0, sizeof(lookup->answer));
    rc = ask_all(lookup, lookup->sources, lookup->n_sources);
    if (rc >= 0 && lookup->age_is_damaged)
        return E_CORRUPT;
    if (rc >= 0)
        *ret = lookup->answer;
    return rc;
}

/* Without slots an answer, and a failure too, may come from pages that the agent has used again:
 * what was overtaken is looked up again on fresh transactions. */
static int answer_retained(rs_snapshot *snapshot, reader_once once, void *context,
                           struct consumer_view *ret)
{
    enum { ATTEMPTS = 4 };

    for (int i = 0; i < ATTEMPTS; i++) {
        bool repeat = false;
        int answer;
        int rc = retained_before(snapshot);

        if (rc != 0)
            return rc;
        answer = once(context, ret);
        rc = retained_after(snapshot, &repeat);
        if (rc != 0)
            return rc;
        if (!repeat) {
            snapshot->answered |= answer >= 0 ? snapshot->active : 0;
            return answer;
        }
    }
    return E_OVERTAKEN;
}

int reader_answer(rs_snapshot *snapshot, reader_once once, void *context, struct consumer_view *ret)
{
    return snapshot->view->retained ? answer_retained(snapshot, once, context, ret)
                                    : once(context, ret);
}

int rs_lookup(rs_snapshot *snapshot, const rs_source *sources, size_t n, const void *key,
              size_t key_size, rs_consumer *ret)
{
    struct consumer_view answer;
    struct lookup lookup; /* its digests, a kilobyte, stay as they are until `computed` says so */
    int rc;

    if (snapshot == NULL || ret == NULL || (sources == NULL && n > 0) ||
        (key == NULL && key_size > 0))
        return RS_E_INVALID;
    if (reader_is_forked(snapshot->store))
        return RS_E_FORKED;
    if (key_size == 0 || key_size > MODEL_SECRET_MAX)
        n = 0; /* no key is like that: a "no" that needs no source */
    lookup.snapshot = snapshot;
    lookup.sources = sources;
    lookup.n_sources = n;
    lookup.key = key;
    lookup.key_size = key_size;
    rc = reader_answer(snapshot, look_up_once, &lookup, &answer);
    if (rc < 0) {
        place_note_age(snapshot->store, -1);
        return reader_code(rc);
    }
    memcpy(ret, &answer, sizeof(answer));
    return rc;
}

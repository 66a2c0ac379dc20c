/* source_load_records.c - the records of a full load, from the snapshot's order into the tables.
 *
 * Realms, consumers and keys come in the order of their tables and are appended, page after full
 * page. A consumer's record is written when all of its keys are known: their number decides where
 * it stands (store/consumers.h). Entries of `lookup` are the exception, ordered by hash: they wait
 * in the sorter and are appended, bucket after full bucket, when the last record was there.
 */
#include "store/source_load.h"

#include <string.h>

#include "store/bytes.h"

static int out_of_order(const char *what, const struct uuid *id, struct error *err)
{
    char text[UUID_TEXT_SIZE];

    return error_set(err, E_CORRUPT, "%s %s comes twice or out of order", what,
                     uuid_format(id, text));
}

/* ---- digests ---- */

/* Writes the sums of the scope whose last record has come. */
static int write_sums(struct load *load, struct error *err)
{
    static const struct set_hash none;
    int rc = 0;

    for (unsigned bucket = 0; rc == 0 && bucket < SET_HASH_BUCKETS; bucket++)
        rc = scope_hashes_change(&load->tables, load->summed, bucket, &none, &load->sums[bucket],
                                 err);
    memset(load->sums, 0, sizeof(load->sums));
    return rc;
}

static int sum(struct load *load, uint32_t scope, unsigned bucket, MDB_val record,
               struct error *err)
{
    struct set_hash hash = set_hash_of(record.mv_data, record.mv_size);
    int rc = scope == load->summed ? 0 : write_sums(load, err);

    load->summed = scope;
    set_hash_add(&load->sums[bucket], &hash);
    return rc;
}

/* ---- realms ---- */

static int load_realm(struct load *load, uint32_t scope, MDB_val record, struct error *err)
{
    struct record_realm realm;
    int rc;

    if (!record_view_realm(record.mv_data, record.mv_size, &realm) || realm.number != scope)
        return error_set(err, E_CORRUPT, "a realm's record does not belong to scope %u", scope);
    rc = tables_put(&load->tables, TABLE_REALMS, env_val(&scope, sizeof(scope)), record, MDB_APPEND,
                    err);
    if (rc == 0)
        rc = tables_put(&load->tables, TABLE_REALM_IDS, env_val(&realm.id, sizeof(realm.id)),
                        env_val(&scope, sizeof(scope)), MDB_NOOVERWRITE, err);
    if (rc == E_CONFLICT)
        return out_of_order("realm", &realm.id, err);
    if (rc != 0)
        return rc;
    load->next.meta.realms++;
    return sum(load, scope, SET_HASH_BUCKET_OF_REALM, record, err);
}

/* ---- consumers ---- */

static int add_entry(struct load *load, const struct entry *entry, struct error *err)
{
    int rc;

    buffer_clear(&load->index.entry);
    rc = entry_pack(entry, &load->index.entry);
    if (rc != 0)
        return error_set(err, rc, NULL);
    return sorter_add(load->sorter, load->index.entry.data, load->index.entry.size, err);
}

static int add_key_entry(struct load *load, const struct load_key *key, bool is_inline,
                         struct error *err)
{
    const struct entry entry = {
        .kind = is_inline ? ENTRY_KEY_RECORD : ENTRY_KEY_REFERENCE,
        .scope = load->scope,
        .name = key->digest,
        .key_id = key->id,
        .expires_at_ms = key->expires_at_ms,
        .consumer_id = load->consumer_id,
        .record = is_inline ? load->consumer.data : NULL,
        .record_size = is_inline ? load->consumer.size : 0,
    };

    return add_entry(load, &entry, err);
}

static int add_consumer_entry(struct load *load, struct error *err)
{
    uint8_t name[ENTRY_NAME_BYTES];
    const struct entry entry = {.kind = ENTRY_CONSUMER,
                                .scope = load->scope,
                                .name = name,
                                .record = load->consumer.data,
                                .record_size = load->consumer.size};

    entry_name_of_consumer(load->scope, &load->consumer_id, name);
    return add_entry(load, &entry, err);
}

/* The entries of the keys that waited for their number to be known. */
static int add_waiting(struct load *load, bool is_inline, struct error *err)
{
    int rc = 0;

    for (uint32_t i = 0; i < load->n_keys && i < ENTRY_INLINE_KEYS && rc == 0; i++)
        rc = add_key_entry(load, &load->waiting[i], is_inline, err);
    return rc;
}

/* The consumer's row, in front of its keys'. */
static int append_row(struct load *load, MDB_val value, struct error *err)
{
    unsigned char key[LAYOUT_CONSUMER_KEY_BYTES];
    int rc;

    layout_consumer_key(load->scope, &load->consumer_id, key);
    rc = tables_put(&load->tables, TABLE_CONSUMERS, env_val(key, sizeof(key)), value, MDB_APPEND,
                    err);
    return rc == E_CONFLICT ? out_of_order("consumer", &load->consumer_id, err) : rc;
}

/* Writes what waits of the consumer whose last key has come. */
static int end_consumer(struct load *load, struct error *err)
{
    enum consumer_home home = consumers_home(load->n_keys, load->consumer.size);
    int rc;

    if (!load->has_consumer)
        return 0;
    load->has_consumer = false;
    if (home == HOME_TABLE)
        return append_row(load, env_val(load->consumer.data, load->consumer.size), err);
    rc = add_waiting(load, home == HOME_KEYS, err);
    return rc == 0 && home == HOME_ENTRY ? add_consumer_entry(load, err) : rc;
}

static int load_consumer(struct load *load, uint32_t scope, MDB_val record, struct error *err)
{
    struct record_consumer consumer;
    int rc = end_consumer(load, err);

    if (rc != 0)
        return rc;
    if (!record_view_consumer(record.mv_data, record.mv_size, &consumer))
        return error_set(err, E_CORRUPT, "a consumer's record is damaged");
    if (scope != load->known_scope) {
        rc = tables_need_scope(&load->tables, scope, err);
        if (rc != 0)
            return rc;
        load->known_scope = scope;
    }
    buffer_clear(&load->consumer);
    rc = buffer_append(&load->consumer, record.mv_data, record.mv_size);
    if (rc != 0)
        return error_set(err, rc, NULL);
    load->has_consumer = true;
    load->scope = scope;
    load->consumer_id = consumer.id;
    load->n_keys = 0;
    load->next.meta.consumers++;
    return sum(load, scope, set_hash_bucket(&consumer.id), record, err);
}

/* ---- keys ---- */

/* The first keys wait; with one too many the record stands apart, and nothing waits any more. */
static int gather_key(struct load *load, const struct record_key *key, struct error *err)
{
    struct load_key next = {.id = key->id, .expires_at_ms = key->expires_at_ms};

    memcpy(next.digest, key->digest, DIGEST_BYTES);
    if (load->n_keys < ENTRY_INLINE_KEYS) {
        load->waiting[load->n_keys++] = next;
        return 0;
    }
    load->n_keys++;
    return add_key_entry(load, &next, false, err);
}

static int load_key(struct load *load, uint32_t scope, MDB_val record, struct error *err)
{
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    char text[UUID_TEXT_SIZE];
    struct record_key key;
    int rc;

    if (!record_view_key(record.mv_data, record.mv_size, &key))
        return error_set(err, E_CORRUPT, "a key's record is damaged");
    if (!load->has_consumer || scope != load->scope ||
        !uuid_equal(&key.consumer_id, &load->consumer_id))
        return error_set(err, E_MISSING_REFERENCE,
                         "key %s does not follow its consumer in scope %u",
                         uuid_format(&key.id, text), scope);
    if (load->n_keys == 0) {
        rc = append_row(load, env_val(NULL, 0), err);
        if (rc != 0)
            return rc;
    }
    layout_key_key(scope, &key.consumer_id, &key.id, bytes);
    rc = consumers_pack_row(&key, record, &load->index.value);
    if (rc != 0)
        return error_set(err, rc, NULL);
    rc = tables_put(&load->tables, TABLE_CONSUMERS, env_val(bytes, sizeof(bytes)),
                    env_val(load->index.value.data, load->index.value.size), MDB_APPEND, err);
    if (rc == E_CONFLICT)
        return out_of_order("key", &key.id, err);
    if (rc != 0)
        return rc;
    load->next.meta.keys++;
    rc = sum(load, scope, set_hash_bucket(&key.consumer_id), record, err);
    return rc == 0 ? gather_key(load, &key, err) : rc;
}

int load_record(struct load *load, enum record_kind kind, uint32_t scope, MDB_val record,
                struct error *err)
{
    switch (kind) {
    case RECORD_REALM:
        if (load->next.meta.consumers > 0)
            return error_set(err, E_CORRUPT, "a realm comes after a consumer");
        return load_realm(load, scope, record, err);
    case RECORD_CONSUMER:
        return load_consumer(load, scope, record, err);
    case RECORD_KEY:
        return load_key(load, scope, record, err);
    }
    return error_set(err, E_CORRUPT, "a record has the unknown kind %d", (int)kind);
}

/* ---- lookup ---- */

/* Writes what the draft holds as one bucket and empties it. */
static int append_bucket(struct load *load, bool last, struct error *err)
{
    struct bucket_draft *draft = &load->index.draft;
    int rc = index_append(&load->index, 0, bucket_draft_count(draft), last, err);

    bucket_draft_clear(draft);
    return rc == E_CONFLICT ? error_set(err, E_CORRUPT, "entries are out of order") : rc;
}

static int check_same_secret(const unsigned char *former, const unsigned char *entry,
                             struct error *err)
{
    char text[UUID_TEXT_SIZE];
    struct entry view;

    if (former == NULL || entry_compare(former, entry) != 0 ||
        !entry_view(entry, entry_size(entry), &view))
        return 0;
    return error_set(err, E_PROTOCOL, "key %s of scope %u has another key's secret",
                     uuid_format(&view.key_id, text), view.scope);
}

/* Takes the entries in order; those of one hash stay together. */
static int append_entry(void *context, const unsigned char *entry, size_t size, struct error *err)
{
    struct load *load = context;
    struct bucket_draft *draft = &load->index.draft;
    size_t count = bucket_draft_count(draft);
    const unsigned char *former = count > 0 ? bucket_draft_at(draft, count - 1) : NULL;
    int rc = check_same_secret(former, entry, err);

    if (rc == 0 && former != NULL &&
        bucket_draft_bytes(draft, 0, count) + BUCKET_SLOT_ROOM + size > BUCKET_FULL_BYTES &&
        entry_hash(entry_name(former)) != entry_hash(entry_name(entry)))
        rc = append_bucket(load, false, err);
    if (rc == 0) {
        rc = bucket_draft_add(draft, entry, size);
        if (rc != 0)
            (void)error_set(err, rc, NULL);
    }
    return rc == 0 ? load_count(load, err) : rc;
}

int load_finish_records(struct load *load, struct error *err)
{
    int rc;

    if (load->finished)
        return 0;
    load->finished = true;
    rc = end_consumer(load, err);
    if (rc == 0)
        rc = write_sums(load, err);
    bucket_draft_clear(&load->index.draft);
    if (rc == 0)
        rc = sorter_walk(load->sorter, append_entry, load, err);
    if (rc == 0 && bucket_draft_count(&load->index.draft) > 0)
        rc = append_bucket(load, true, err);
    return rc;
}

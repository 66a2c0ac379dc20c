/* source_load.c - a full load: builds a new generation beside the one that serves.
 *
 * Records come in the store's own order, so that realms, consumers and lookup entries are appended
 * to their tables, page after full page. Nothing is synced until the end and transactions are cut
 * every LOAD_TXN_RECORDS records, which bounds LMDB's list of changed pages. Publishing goes
 *
 *     meta, sync data -> digest.key -> `current` -> status page -> remove what is not kept
 *
 * and a crash after any step leaves either the former or the new generation as the one that serves,
 * complete; source_open() removes what `current` does not name.
 */
#include "store/source_internal.h"

#include <stdlib.h>
#include <string.h>

#include "store/files.h"

enum { LOAD_TXN_RECORDS = 100000 };

struct load {
    char dir[PATH_MAX];
    struct generation next;
    struct tables tables;
    unsigned in_txn;        /* records in the open transaction */
    enum record_kind stage; /* kinds come in the order of their numbers */
    uint32_t known_scope;   /* the last scope that was found to exist */
    bool has_pending;       /* `pending` holds the entries of one lookup key not written yet */
    uint64_t pending_key;
    struct buffer pending;
};

/* ---- begin and end ---- */

void source_load_abort(struct source *source)
{
    struct load *load = source->load;

    if (load == NULL)
        return;
    if (load->tables.txn != NULL)
        mdb_txn_abort(load->tables.txn);
    generation_close(&load->next);
    /* What cannot be removed now is a leftover for the next source_open(). */
    (void)files_remove_tree(load->dir, NULL);
    buffer_finish(&load->pending);
    free(load);
    source->load = NULL;
}

static int begin_txn(struct load *load, struct error *err)
{
    int rc;

    env_widen(&load->next.env, load->dir);
    rc = mdb_txn_begin(load->next.env.mdb, NULL, 0, &load->tables.txn);
    if (rc == 0)
        return 0;
    load->tables.txn = NULL;
    return env_error(err, rc, "begin a transaction");
}

static int commit_txn(struct load *load, struct error *err)
{
    int rc = mdb_txn_commit(load->tables.txn);

    load->tables.txn = NULL; /* the handle is gone either way */
    load->in_txn = 0;
    return rc == 0 ? 0 : env_commit_error(&load->next.env, err, rc, "commit a part of the load");
}

static int make_environment(const struct source *source, struct load *load, struct error *err)
{
    const struct store *store = source->store;
    int rc = files_remove_tree(load->dir, err); /* LMDB must find it empty */

    if (rc == 0)
        rc = files_make_dir(load->dir, store->gid, err);
    if (rc == 0)
        rc = env_create(load->dir, store->map_bytes, store->gid, &load->next.env, err);
    return rc != 0 ? rc : begin_txn(load, err);
}

int source_load_begin(struct source *source, const uint8_t digest_key[DIGEST_KEY_BYTES],
                      struct error *err)
{
    char name[GENERATION_NAME_SIZE];
    struct load *load;
    int rc;

    source_load_abort(source);
    keep_spare_disk(source); /* the new generation will be about as large as the serving one */
    load = calloc(1, sizeof(*load));
    if (load == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    source->load = load;
    buffer_init(&load->pending, source->lookup.max);
    load->stage = RECORD_REALM;
    load->tables.env = &load->next.env;
    load->next.number = ++source->last_number;
    load->next.meta.control_plane_id = source->store->control_plane_id;
    memcpy(load->next.meta.region, source->region, sizeof(load->next.meta.region));
    memcpy(load->next.digest_key, digest_key, DIGEST_KEY_BYTES);
    layout_key_check(digest_key, load->next.meta.digest_key_check);
    rc = files_join(load->dir, source->dir, generation_name(load->next.number, name), err);
    if (rc == 0)
        rc = make_environment(source, load, err);
    if (rc != 0)
        source_load_abort(source);
    return rc;
}

/* ---- records ---- */

static int out_of_order(const char *what, const struct uuid *id, struct error *err)
{
    char text[UUID_TEXT_SIZE];

    return error_set(err, E_CORRUPT, "%s %s comes twice or out of order", what,
                     uuid_format(id, text));
}

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
    if (rc == 0)
        load->next.meta.realms++;
    return rc == E_CONFLICT ? out_of_order("realm", &realm.id, err) : rc;
}

static int load_consumer(struct load *load, uint32_t scope, MDB_val record, struct error *err)
{
    unsigned char key[LAYOUT_CONSUMER_KEY_BYTES];
    struct record_consumer consumer;
    int rc;

    if (!record_view_consumer(record.mv_data, record.mv_size, &consumer))
        return error_set(err, E_CORRUPT, "a consumer's record is damaged");
    if (scope != load->known_scope) {
        rc = tables_need_scope(&load->tables, scope, err);
        if (rc != 0)
            return rc;
        load->known_scope = scope;
    }
    layout_consumer_key(scope, &consumer.id, key);
    rc = tables_put(&load->tables, TABLE_CONSUMERS, env_val(key, sizeof(key)), record, MDB_APPEND,
                    err);
    if (rc == 0)
        load->next.meta.consumers++;
    return rc == E_CONFLICT ? out_of_order("consumer", &consumer.id, err) : rc;
}

/* Writes the entries gathered under one lookup key. */
static int flush_lookup(struct load *load, struct error *err)
{
    int rc;

    if (!load->has_pending)
        return 0;
    load->has_pending = false;
    rc = tables_put(&load->tables, TABLE_LOOKUP,
                    env_val(&load->pending_key, sizeof(load->pending_key)),
                    env_val(load->pending.data, load->pending.size), MDB_APPEND, err);
    buffer_clear(&load->pending);
    return rc == E_CONFLICT ? error_set(err, E_CORRUPT, "keys come out of order of their digests")
                            : rc;
}

/* Keys come sorted by digest: those of one lookup key stand together. */
static int gather_lookup(struct load *load, const struct layout_lookup *entry, struct error *err)
{
    uint64_t key = layout_lookup_key(entry->digest);
    char text[UUID_TEXT_SIZE];
    int rc = 0;

    if (load->has_pending && load->pending_key != key)
        rc = flush_lookup(load, err);
    if (rc != 0)
        return rc;
    if (load->has_pending && layout_find_lookup(load->pending.data, load->pending.size,
                                                entry->digest, entry->scope) != NULL)
        return error_set(err, E_PROTOCOL, "key %s of scope %u has another key's secret",
                         uuid_format(&entry->key_id, text), entry->scope);
    load->has_pending = true;
    load->pending_key = key;
    rc = layout_put_lookup(&load->pending, entry);
    return rc == 0 ? 0 : error_set(err, rc, NULL);
}

static int load_key(struct load *load, uint32_t scope, MDB_val record, struct error *err)
{
    unsigned char bytes[LAYOUT_KEY_KEY_BYTES];
    struct layout_lookup entry = {.scope = scope};
    struct record_key key;
    int rc;

    if (!record_view_key(record.mv_data, record.mv_size, &key))
        return error_set(err, E_CORRUPT, "a key's record is damaged");
    rc = tables_need_consumer(&load->tables, scope, &key.consumer_id, err);
    if (rc != 0)
        return rc;
    layout_key_key(scope, &key.consumer_id, &key.id, bytes);
    rc = tables_put(&load->tables, TABLE_CONSUMER_KEYS, env_val(bytes, sizeof(bytes)), record,
                    MDB_NOOVERWRITE, err);
    if (rc == E_CONFLICT)
        return out_of_order("key", &key.id, err);
    if (rc != 0)
        return rc;
    load->next.meta.keys++;
    memcpy(entry.digest, key.digest, DIGEST_BYTES);
    entry.consumer_id = key.consumer_id;
    entry.key_id = key.id;
    entry.expires_at_ms = key.expires_at_ms;
    return gather_lookup(load, &entry, err);
}

static int load_one(struct load *load, enum record_kind kind, uint32_t scope, MDB_val record,
                    struct error *err)
{
    switch (kind) {
    case RECORD_REALM:
        return load_realm(load, scope, record, err);
    case RECORD_CONSUMER:
        return load_consumer(load, scope, record, err);
    case RECORD_KEY:
        return load_key(load, scope, record, err);
    }
    return error_set(err, E_CORRUPT, "a record has the unknown kind %d", (int)kind);
}

int source_load_record(struct source *source, enum record_kind kind, uint32_t scope,
                       const void *bytes, size_t size, struct error *err)
{
    struct load *load = source->load;
    int rc = 0;

    if (load == NULL)
        return error_set(err, E_INVALID, "no load is under way");
    if (!record_check(kind, bytes, size))
        return error_set(err, E_CORRUPT, "a record of kind %d and %zu bytes is damaged", (int)kind,
                         size);
    if (kind < load->stage)
        return error_set(err, E_CORRUPT, "a record of kind %d comes after one of kind %d",
                         (int)kind, (int)load->stage);
    load->stage = kind;
    if (load->in_txn == LOAD_TXN_RECORDS) {
        rc = commit_txn(load, err);
        if (rc == 0)
            rc = begin_txn(load, err);
    }
    if (rc != 0)
        return rc;
    load->in_txn++;
    return load_one(load, kind, scope, env_val(bytes, size), err);
}

/* ---- publishing ---- */

static int check_counts(const struct layout_meta *meta, const struct source_counts *expected,
                        struct error *err)
{
    if (meta->realms == expected->realms && meta->consumers == expected->consumers &&
        meta->keys == expected->keys)
        return 0;
    return error_set(err, E_CORRUPT,
                     "%llu realms, %llu consumers and %llu keys came instead of %llu, %llu, %llu",
                     (unsigned long long)meta->realms, (unsigned long long)meta->consumers,
                     (unsigned long long)meta->keys, (unsigned long long)expected->realms,
                     (unsigned long long)expected->consumers, (unsigned long long)expected->keys);
}

/* Everything of the new generation on disk, `current` still naming the former one. */
static int finish_generation(const struct source *source, struct load *load, struct error *err)
{
    const gid_t gid = source->store->gid;
    int rc = flush_lookup(load, err);

    if (rc == 0)
        rc = tables_put_meta(&load->tables, &load->next.meta, err);
    if (rc == 0)
        rc = commit_txn(load, err);
    if (rc == 0)
        rc = env_cover_file(&load->next.env, err);
    if (rc == 0)
        rc = env_make_durable(&load->next.env, err);
    if (rc == 0)
        rc =
            files_write(load->dir, "digest.key", load->next.digest_key, DIGEST_KEY_BYTES, gid, err);
    return rc;
}

/* Hands the finished generation over. The one that serves now is kept if there is room for both. */
static int hand_over(struct source *source, struct error *err)
{
    struct load *load = source->load;
    uint32_t former = source->live.number;
    bool keep = former != 0 && keep_has_room(source, load->next.number);
    int rc = keep_switch(source, &load->next, keep ? former : 0, err);

    if (rc != 0)
        return rc;
    source->fallback = keep          ? SOURCE_FALLBACK_KEPT
                       : former != 0 ? SOURCE_FALLBACK_DROPPED
                                     : SOURCE_FALLBACK_NONE;
    buffer_finish(&load->pending);
    free(load);
    source->load = NULL;
    return 0;
}

int source_load_publish(struct source *source, const struct model_cursor *cursor, int64_t time_ms,
                        const struct source_counts *expected, struct error *err)
{
    struct load *load = source->load;
    int rc;

    if (load == NULL)
        return error_set(err, E_INVALID, "no load is under way");
    load->next.meta.cursor = *cursor;
    load->next.meta.commit_time_ms = time_ms;
    rc = check_counts(&load->next.meta, expected, err);
    if (rc == 0)
        rc = finish_generation(source, load, err);
    if (rc == 0)
        rc = hand_over(source, err);
    if (rc != 0)
        source_load_abort(source);
    return rc;
}

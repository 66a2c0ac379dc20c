/* The writer thread's side of applying: store calls in the order that store/source.h asks for.
 *
 * Happy path: a batch of transactions is one LMDB transaction with the cursor of the newest; a load
 * is begin, chunks, publish in jobs of their own.
 *
 * Failure: the LMDB transaction or the load is aborted here at once, so that what served goes on
 * serving; the loop's side decides what follows.
 */
#include "agent/apply_job.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* In front of each record of a chunk; host order, it never leaves the process. */
struct chunk_frame {
    uint32_t kind;
    uint32_t scope;
    uint32_t size;
};

struct apply_item *apply_item_create(enum apply_kind kind)
{
    struct apply_item *item = calloc(1, sizeof(*item));

    if (item == NULL)
        return NULL;
    item->kind = kind;
    if (kind == APPLY_LOAD_CHUNK)
        buffer_init(&item->chunk,
                    APPLY_CHUNK_BYTES + sizeof(struct chunk_frame) + SNAPSHOT_RECORD_MAX_BYTES);
    return item;
}

void apply_item_destroy(struct apply_item *item)
{
    if (item->kind == APPLY_TRANSACTION)
        feed_transaction_destroy(item->transaction);
    else if (item->kind == APPLY_LOAD_CHUNK)
        buffer_finish(&item->chunk);
    else if (item->kind == APPLY_LOAD_BEGIN)
        explicit_bzero(item->load.digest_key, sizeof(item->load.digest_key));
    free(item);
}

int apply_chunk_add(struct buffer *chunk, const struct snapshot_record *record)
{
    struct chunk_frame frame = {record->kind, record->scope, (uint32_t)record->size};
    int rc = buffer_reserve(chunk, sizeof(frame) + record->size);

    if (rc != 0)
        return rc;
    (void)buffer_append(chunk, &frame, sizeof(frame)); /* the room is there */
    (void)buffer_append(chunk, record->bytes, record->size);
    return 0;
}

/* ---- transactions ---- */

static int put_change(struct source *source, const struct change *change, struct error *err)
{
    switch (change->kind) {
    case CHANGE_REALM_DELETE:
        return source_delete_realm(source, change->scope, err);
    case CHANGE_KEY_DELETE:
        return source_delete_key(source, change->scope, &change->key.consumer_id, &change->key.id,
                                 err);
    case CHANGE_CONSUMER_DELETE:
        return source_delete_consumer(source, change->scope, &change->id, err);
    case CHANGE_REALM:
        return source_put_realm(source, &change->realm, err);
    case CHANGE_CONSUMER:
        return source_put_consumer(source, change->scope, &change->consumer, err);
    case CHANGE_KEY:
        return source_put_key(source, change->scope, &change->key, err);
    case CHANGE_BUCKET: /* apply_repair() did that before */
        return 0;
    case CHANGE_KINDS:
        break;
    }
    return error_set(err, E_INVALID, NULL);
}

/* Deletes come first: what is gone at the source need not be whole to be repaired. */
static int put_changes(struct apply_job *job, const struct feed_transaction *transaction)
{
    bool repaired = false;
    int rc = 0;

    for (size_t i = 0; i < transaction->count && rc == 0; i++) {
        const struct change *change = &transaction->changes[i];

        if (!repaired && change->kind >= CHANGE_BUCKET) {
            repaired = true;
            rc = apply_repair(job, transaction);
        }
        if (rc == 0)
            rc = put_change(job->source, change, &job->err);
    }
    return rc;
}

static int put_transaction(struct apply_job *job, const struct apply_item *item)
{
    const struct feed_transaction *transaction = item->transaction;
    int rc = put_changes(job, transaction);

    if (rc == 0)
        rc = apply_compare(job, transaction);
    if (rc != 0)
        return error_context(&job->err, "transaction to version %" PRIu64,
                             transaction->cursor.version);
    job->result.transactions++;
    job->result.changes += transaction->count;
    job->result.time_ms = transaction->time_ms;
    if (item == job->items)
        job->result.oldest_time_ms = transaction->time_ms;
    job->result.received_ms = item->received_ms;
    return 0;
}

static int try_batch(struct apply_job *job)
{
    const struct apply_item *last = NULL;

    job->err = (struct error)ERROR_INIT;
    job->result = (struct apply_result){.time_ms = 0};
    if (source_begin(job->source, &job->err) != 0)
        return job->err.code;
    for (const struct apply_item *item = job->items; item != NULL; item = item->next) {
        if (put_transaction(job, item) != 0) {
            source_abort(job->source);
            return job->err.code;
        }
        last = item;
    }
    assert(last != NULL); /* a job is never empty */
    return source_commit(job->source, &last->transaction->cursor, job->result.time_ms, &job->err);
}

/* Each turn enlarges the map or frees disk; there are few turns until neither is possible. */
static void run_batch(struct apply_job *job)
{
    int rc = try_batch(job);

    while (rc == E_NO_SPACE && source_make_room(job->source))
        rc = try_batch(job);
}

/* ---- loads ---- */

/* After a failure, which job->err tells, or when the session gives the load up. */
static void run_load_abort(struct apply_job *job)
{
    if (job->loading)
        source_load_abort(job->source);
    job->loading = false;
    if (job->err.code == E_NO_SPACE)
        source_make_load_room(job->source);
}

static void run_load_begin(struct apply_job *job)
{
    if (source_load_begin(job->source, job->items->load.digest_key, &job->err) != 0) {
        run_load_abort(job);
        return;
    }
    job->loading = true;
    job->header = job->items->load.header;
}

static void run_load_chunk(struct apply_job *job)
{
    const unsigned char *at = job->items->chunk.data;
    const unsigned char *end = at + job->items->chunk.size;
    struct chunk_frame frame;
    int rc = 0;

    while (at < end && rc == 0) {
        memcpy(&frame, at, sizeof(frame));
        at += sizeof(frame);
        rc = source_load_record(job->source, (enum record_kind)frame.kind, frame.scope, at,
                                frame.size, &job->err);
        at += frame.size;
    }
    if (rc != 0)
        run_load_abort(job);
}

/* If the epoch is unchanged and the version rises, whatever is gone was deleted, or its realm
 * disallowed: the source commits each with its reason, and does not finish a snapshot whose records
 * are not as many as it has counted. In another history, or backward, nothing explains it. */
static bool is_explained(const struct apply_job *job)
{
    const struct model_cursor now = source_visible(job->source);
    const struct model_cursor *next = &job->header.cursor;

    if (uuid_is_nil(&now.epoch) || job->guard.percent >= APPLY_GUARD_OFF ||
        uuid_equal(&next->epoch, &job->guard.accepted))
        return true;
    return uuid_equal(&now.epoch, &next->epoch) && next->version >= now.version;
}

static int check_loss(struct apply_job *job)
{
    struct source_loss loss;
    char id[UUID_TEXT_SIZE];
    int rc;

    if (is_explained(job))
        return 0;
    rc = source_load_loss(job->source, &loss, &job->err);
    if (rc != 0 ||
        (double)(loss.before - loss.after) * 100 <= (double)loss.before * job->guard.percent)
        return rc;
    return error_set(&job->err, E_REFUSED,
                     "the snapshot would leave %" PRIu64 " of %" PRIu64 " consumers of %s%s",
                     loss.after, loss.before,
                     uuid_is_nil(&loss.realm_id) ? "the control plane itself" : "realm ",
                     uuid_is_nil(&loss.realm_id) ? "" : uuid_format(&loss.realm_id, id));
}

static void run_load_end(struct apply_job *job)
{
    struct source_counts expected = {job->header.realms, job->header.consumers, job->header.keys};

    if (check_loss(job) != 0) {
        run_load_abort(job);
        return;
    }
    job->result.time_ms = job->result.oldest_time_ms = job->header.time_ms;
    job->result.changes = expected.realms + expected.consumers + expected.keys;
    if (source_load_publish(job->source, &job->header.cursor, job->header.time_ms, &expected,
                            &job->err) != 0)
        run_load_abort(job);
    job->loading = false;
    job->result.fallback = source_fallback(job->source);
}

/* ---- upkeep ---- */

static void run_upkeep(struct apply_job *job)
{
    job->readers_known = source_check_readers(job->source, &job->readers, &job->err) == 0;
    if (job->readers_known)
        (void)source_upkeep(job->source, &job->readers, &job->upkeep, &job->err); /* err tells */
}

void apply_job_run(struct apply_job *job)
{
    uint64_t start_ns = uv_hrtime();

    switch (job->kind) {
    case APPLY_TRANSACTION:
        run_batch(job);
        break;
    case APPLY_LOAD_BEGIN:
        run_load_begin(job);
        break;
    case APPLY_LOAD_CHUNK:
        run_load_chunk(job);
        break;
    case APPLY_LOAD_END:
        run_load_end(job);
        break;
    case APPLY_LOAD_ABORT:
        run_load_abort(job);
        break;
    case APPLY_READERS:
        (void)source_settle(job->source, NULL); /* a disk may be well again; the cursors tell */
        run_upkeep(job);
        break;
    case APPLY_WALK:
        (void)source_settle(job->source, NULL); /* as above */
        (void)source_walk(job->source, &job->walked, &job->err);
        break;
    }
    job->result.duration_us = (uv_hrtime() - start_ns) / 1000;
    job->result.visible = source_visible(job->source);
    job->result.durable = source_durable(job->source);
    job->result.counts = source_counts(job->source);
    job->result.key_check = source_key_check(job->source);
}

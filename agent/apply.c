/* The loop's side of applying: the queue, what becomes one job, and what its end means.
 *
 * Failure: when a job fails, what waited behind it is dropped (it follows a state that will never
 * be there) and failed() is called once; the session then starts over from the durable cursor.
 */
#include "agent/apply.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "agent/apply_job.h"
#include "agent/apply_states.h"
#include "agent/writer.h"
#include "base/clock.h"

struct apply {
    struct apply_events events;
    struct writer *writer; /* owned */
    struct apply_job job;  /* the writer thread's from writer_run() to apply_on_done() */
    enum apply_state state;
    int64_t started_ms; /* boot time of the job that runs */
    void (*closed)(void *context);
    void *closed_context;

    /* The queue. */
    struct apply_item *first; /* owned */
    struct apply_item **last;
    size_t queued_bytes;
    unsigned queued_chunks;
    bool readers_asked;
    bool walk_asked;

    struct apply_item *filling; /* owned: the chunk that is not full yet */
    struct apply_guard guard;

    /* As of the last job that finished. */
    struct model_cursor visible;
    struct model_cursor durable;
    struct source_counts counts;
    struct source_key_check key_check;
};

/* ---- the queue ---- */

static void push(struct apply *apply, struct apply_item *item)
{
    item->next = NULL;
    *apply->last = item;
    apply->last = &item->next;
    apply->queued_bytes += item->bytes;
    apply->queued_chunks += item->kind == APPLY_LOAD_CHUNK;
}

static struct apply_item *pop(struct apply *apply)
{
    struct apply_item *item = apply->first;

    apply->first = item->next;
    if (apply->first == NULL)
        apply->last = &apply->first;
    apply->queued_bytes -= item->bytes;
    apply->queued_chunks -= item->kind == APPLY_LOAD_CHUNK;
    item->next = NULL;
    return item;
}

static void destroy_items(struct apply_item *items)
{
    while (items != NULL) {
        struct apply_item *next = items->next;

        apply_item_destroy(items);
        items = next;
    }
}

static void drop_queue(struct apply *apply)
{
    writer_assert_loop(apply->writer);
    while (apply->first != NULL)
        apply_item_destroy(pop(apply));
    if (apply->filling != NULL)
        apply_item_destroy(apply->filling);
    apply->filling = NULL;
    apply->readers_asked = false;
    apply->walk_asked = false;
}

/* What the next job is: all transactions that stand together, or one item of another kind. */
static struct apply_item *apply_take_batch(struct apply *apply)
{
    struct apply_item *items = pop(apply);
    struct apply_item *last = items;

    while (items->kind == APPLY_TRANSACTION && apply->first != NULL &&
           apply->first->kind == APPLY_TRANSACTION) {
        last->next = pop(apply);
        last = last->next;
    }
    return items;
}

static void advance(struct apply *apply, enum apply_event event)
{
    writer_assert_loop(apply->writer);
    apply->state = apply_next_state(apply->state, event);
}

static void run_next(struct apply *apply)
{
    struct apply_job *job = &apply->job;

    job->items = apply_take_batch(apply);
    job->kind = job->items->kind;
    job->err = (struct error)ERROR_INIT;
    job->result = (struct apply_result){.time_ms = 0};
    job->guard = apply->guard;
    apply->started_ms = clock_boot_ms();
    writer_run(apply->writer);
}

static void apply_enqueue(struct apply *apply, struct apply_item *item)
{
    const bool was_idle = apply->state == APPLY_IDLE;

    push(apply, item);
    advance(apply, APPLY_EVENT_QUEUED);
    if (was_idle)
        run_next(apply);
    else if (apply->state == APPLY_CLOSING)
        drop_queue(apply);
}

/* ---- the end of a job ---- */

/* A question beside the work, whose failure harms nothing. */
static bool is_question(const struct apply_job *job)
{
    return job->kind == APPLY_READERS || (job->kind == APPLY_WALK && job->err.code == E_NOT_READY);
}

static bool is_load(enum apply_kind kind)
{
    return kind >= APPLY_LOAD_BEGIN && kind <= APPLY_LOAD_ABORT;
}

static bool has_failed(const struct apply_job *job)
{
    return job->err.code != 0 && !is_question(job);
}

static void apply_report(struct apply *apply, const struct apply_job *job)
{
    if (has_failed(job)) {
        drop_queue(apply);
        apply->events.failed(apply->events.context, &job->err, is_load(job->kind));
        return;
    }
    if (job->kind == APPLY_TRANSACTION)
        apply->events.applied(apply->events.context, &job->result);
    else if (job->kind == APPLY_LOAD_END)
        apply->events.loaded(apply->events.context, &job->result);
    else if (job->kind == APPLY_READERS && job->readers_known) {
        apply->events.readers(apply->events.context, &job->readers);
        apply->events.upkeep(apply->events.context, &job->upkeep, &job->err);
    } else if (job->kind == APPLY_WALK && job->err.code == 0) {
        apply->events.walked(apply->events.context, &job->walked);
    }
}

static void apply_take_answer(struct apply *apply, struct apply_job *job)
{
    destroy_items(job->items);
    job->items = NULL;
    apply->visible = job->result.visible;
    apply->durable = job->result.durable;
    apply->counts = job->result.counts;
    apply->key_check = job->result.key_check;
    if (job->kind == APPLY_READERS)
        apply->readers_asked = false;
    if (job->kind == APPLY_WALK)
        apply->walk_asked = false;
}

/* What apply_report() tells may queue more, and may close: it is looked at afterwards. */
static void apply_on_done(void *context)
{
    struct apply *apply = context;

    apply_take_answer(apply, &apply->job);
    advance(apply, has_failed(&apply->job) ? APPLY_EVENT_FAILED : APPLY_EVENT_DONE);
    if (apply->state == APPLY_TELLING)
        apply_report(apply, &apply->job);
    if (apply->state == APPLY_CLOSING)
        return;
    advance(apply, apply->first != NULL ? APPLY_EVENT_NEXT : APPLY_EVENT_REST);
    if (apply->state == APPLY_RUNNING)
        run_next(apply);
    apply->events.moved(apply->events.context);
}

static void on_run(void *context)
{
    struct apply *apply = context;

    writer_assert_thread(apply->writer);
    apply_job_run(&apply->job);
}

/* ---- public ---- */

int apply_create(uv_loop_t *loop, struct source *source, const struct apply_events *events,
                 struct apply **ret, struct error *err)
{
    struct apply *apply = calloc(1, sizeof(*apply));
    struct writer_calls calls = {on_run, apply_on_done, apply};
    int rc;

    if (apply == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    apply->events = *events;
    apply->last = &apply->first;
    apply->guard.percent = APPLY_GUARD_OFF;
    apply->job.source = source;
    apply->visible = source_visible(source);
    apply->durable = source_durable(source);
    apply->counts = source_counts(source);
    apply->key_check = source_key_check(source);
    rc = writer_create(loop, &calls, &apply->writer, err);
    if (rc != 0) {
        free(apply);
        return rc;
    }
    *ret = apply;
    return 0;
}

static void on_writer_closed(void *context)
{
    struct apply *apply = context;
    void (*closed)(void *) = apply->closed;
    void *closed_context = apply->closed_context;

    free(apply);
    closed(closed_context);
}

void apply_close(struct apply *apply, void (*closed)(void *context), void *context)
{
    apply->closed = closed;
    apply->closed_context = context;
    advance(apply, APPLY_EVENT_CLOSE);
    drop_queue(apply);
    writer_close(apply->writer, on_writer_closed, apply);
}

int apply_transaction(struct apply *apply, struct feed_transaction *transaction, struct error *err)
{
    struct apply_item *item = apply_item_create(APPLY_TRANSACTION);

    if (item == NULL) {
        feed_transaction_destroy(transaction);
        return error_set(err, E_NO_MEMORY, "no memory to queue a transaction");
    }
    item->transaction = transaction;
    item->received_ms = clock_boot_ms();
    item->bytes = feed_transaction_bytes(transaction);
    apply_enqueue(apply, item);
    return 0;
}

void apply_set_guard(struct apply *apply, unsigned percent)
{
    writer_assert_loop(apply->writer);
    apply->guard.percent = percent;
}

void apply_accept_epoch(struct apply *apply, const struct uuid *epoch)
{
    writer_assert_loop(apply->writer);
    apply->guard.accepted = *epoch;
}

static int push_new(struct apply *apply, enum apply_kind kind, struct error *err)
{
    struct apply_item *item = apply_item_create(kind);

    if (item == NULL)
        return error_set(err, E_NO_MEMORY, "no memory for a snapshot");
    apply_enqueue(apply, item);
    return 0;
}

int apply_load_begin(struct apply *apply, const struct snapshot_header *header,
                     const uint8_t digest_key[DIGEST_KEY_BYTES], struct error *err)
{
    struct apply_item *item = apply_item_create(APPLY_LOAD_BEGIN);

    if (item == NULL)
        return error_set(err, E_NO_MEMORY, "no memory for a snapshot");
    item->load.header = *header;
    memcpy(item->load.digest_key, digest_key, DIGEST_KEY_BYTES);
    apply_enqueue(apply, item);
    return 0;
}

static void push_chunk(struct apply *apply)
{
    struct apply_item *item = apply->filling;

    if (item == NULL)
        return;
    apply->filling = NULL;
    item->bytes = item->chunk.size;
    apply_enqueue(apply, item);
}

int apply_load_record(struct apply *apply, const struct snapshot_record *record, struct error *err)
{
    int rc = 0;

    writer_assert_loop(apply->writer);
    if (apply->filling == NULL)
        apply->filling = apply_item_create(APPLY_LOAD_CHUNK);
    if (apply->filling == NULL)
        rc = E_NO_MEMORY;
    if (rc == 0)
        rc = apply_chunk_add(&apply->filling->chunk, record);
    if (rc != 0)
        return error_set(err, rc, "no memory for a snapshot's records");
    if (apply->filling->chunk.size >= APPLY_CHUNK_BYTES)
        push_chunk(apply);
    return 0;
}

int apply_load_end(struct apply *apply, struct error *err)
{
    push_chunk(apply);
    return push_new(apply, APPLY_LOAD_END, err);
}

void apply_load_abort(struct apply *apply)
{
    struct error err = ERROR_INIT;
    struct apply_item *kept = NULL;
    struct apply_item **end = &kept;

    writer_assert_loop(apply->writer);
    /* Chunks that wait need no work any more; transactions from before the load do. */
    while (apply->first != NULL) {
        struct apply_item *item = pop(apply);

        if (!is_load(item->kind)) {
            *end = item;
            end = &item->next;
        } else {
            apply_item_destroy(item);
        }
    }
    while (kept != NULL) {
        struct apply_item *next = kept->next;

        push(apply, kept);
        kept = next;
    }
    if (apply->filling != NULL)
        apply_item_destroy(apply->filling);
    apply->filling = NULL;
    if (push_new(apply, APPLY_LOAD_ABORT, &err) != 0)
        return; /* the next load_begin, or closing the source, removes what is left */
}

/* *asked until it is done; without memory, the next turn of the timer asks again. */
static void apply_ask(struct apply *apply, enum apply_kind kind, bool *asked)
{
    struct error err = ERROR_INIT;

    writer_assert_loop(apply->writer);
    if (!*asked)
        *asked = push_new(apply, kind, &err) == 0;
}

void apply_upkeep(struct apply *apply)
{
    apply_ask(apply, APPLY_READERS, &apply->readers_asked);
}

void apply_walk(struct apply *apply)
{
    apply_ask(apply, APPLY_WALK, &apply->walk_asked);
}

bool apply_full(const struct apply *apply)
{
    writer_assert_loop(apply->writer);
    return apply->queued_bytes >= APPLY_QUEUE_MAX_BYTES || apply->queued_chunks >= APPLY_CHUNKS_MAX;
}

bool apply_idle(const struct apply *apply)
{
    writer_assert_loop(apply->writer);
    return apply->state != APPLY_RUNNING && apply->first == NULL && apply->filling == NULL;
}

int64_t apply_running_ms(const struct apply *apply)
{
    writer_assert_loop(apply->writer);
    return apply->state == APPLY_RUNNING ? clock_boot_ms() - apply->started_ms : 0;
}

bool apply_was_repair(const struct apply *apply)
{
    writer_assert_loop(apply->writer);
    return apply->job.result.compared.answered == FEED_WISH_CONTENT;
}

size_t apply_queued_bytes(const struct apply *apply)
{
    writer_assert_loop(apply->writer);
    return apply->queued_bytes;
}

struct model_cursor apply_visible(const struct apply *apply)
{
    writer_assert_loop(apply->writer);
    return apply->visible;
}

struct model_cursor apply_durable(const struct apply *apply)
{
    writer_assert_loop(apply->writer);
    return apply->durable;
}

struct source_counts apply_counts(const struct apply *apply)
{
    writer_assert_loop(apply->writer);
    return apply->counts;
}

bool apply_has_digest_key(const struct apply *apply, const uint8_t digest_key[DIGEST_KEY_BYTES])
{
    writer_assert_loop(apply->writer);
    return source_key_matches(&apply->key_check, digest_key);
}

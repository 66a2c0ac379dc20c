/* writer.c - the one thread that writes, and its group commit.
 *
 * LMDB has one writer and ties its transaction to a thread, and a synced commit costs about half a
 * millisecond however little it carries. So callers queue their writes and sleep; the thread takes
 * all that wait, runs each in a nested transaction with a version of its own, and commits them
 * together. While that commit runs the next batch gathers: no timer, no added delay.
 *
 *     caller: lmdb_write() --> queue --> thread: [child, child, ...] --> commit, sync
 *                                                --> listener --> callers wake
 *
 * Failure modes: a write that fails aborts its child alone. A commit that fails fails every write
 * of the batch, and the in-memory state goes back to what is on disk.
 */
#include "control/repo/lmdb/writer.h"

#include <string.h>

#include "control/repo/lmdb/log.h"
#include "control/repo/lmdb/state.h"
#include "control/repo/lmdb/store.h"
#include "control/repo/lmdb/txn.h"

enum {
    BATCH_MAX = 256,      /* bounds the delay of the first in a batch: some 10 ms */
    TRIM_MARGIN = 64,     /* log entries dropped per commit beyond those it adds */
    TOUCHED_MAX = 1 << 20 /* bytes of one log entry: a realm that names 1,024 planes needs 38 KiB */
};

/* One caller's request; lives on its stack until `done`. */
struct lmdb_job {
    lmdb_write_fn run;
    void *args;
    enum lmdb_write_mode mode;
    const struct uuid *actor; /* borrowed */
    struct error *err;
    int rc;
    uint64_t version; /* 0: spent none */
    bool done;
    pthread_cond_t finished;
    struct lmdb_job *next;
};

/* ---- the callers' side ---- */

static void writer_enqueue(struct lmdb_writer *writer, struct lmdb_job *job)
{
    if (writer->last != NULL)
        writer->last->next = job;
    else
        writer->first = job;
    writer->last = job;
    pthread_cond_signal(&writer->wanted);
}

int lmdb_write(const struct repo_call *call, lmdb_write_fn run, void *args,
               enum lmdb_write_mode mode)
{
    struct lmdb_writer *writer = &lmdb_repo(call->repo)->writer;
    struct lmdb_job job = {
        .run = run, .args = args, .mode = mode, .actor = call->actor, .err = call->err};

    pthread_cond_init(&job.finished, NULL); /* cannot fail on Linux */
    pthread_mutex_lock(&writer->lock);
    if (writer->stopping) {
        job.rc = error_set(call->err, E_CANCELED, "the control store is being closed");
    } else {
        writer_enqueue(writer, &job);
        while (!job.done)
            pthread_cond_wait(&job.finished, &writer->lock);
    }
    pthread_mutex_unlock(&writer->lock);
    pthread_cond_destroy(&job.finished);
    if (job.rc == 0 && call->commit != NULL)
        call->commit->version = job.version;
    return job.rc;
}

/* ---- the thread's side ---- */

/* Waits for work and unhooks a batch; NULL: stop, and nothing is left to do. */
static struct lmdb_job *writer_take_batch(struct lmdb_writer *writer)
{
    struct lmdb_job *batch;
    struct lmdb_job *last;

    pthread_mutex_lock(&writer->lock);
    while (writer->first == NULL && !writer->stopping)
        pthread_cond_wait(&writer->wanted, &writer->lock);
    batch = last = writer->first;
    if (batch != NULL) {
        for (int n = 1; n < BATCH_MAX && last->next != NULL; n++) {
            if (batch->mode == LMDB_WRITE_ALONE || last->next->mode == LMDB_WRITE_ALONE)
                break;
            last = last->next;
        }
        writer->first = last->next;
        if (writer->first == NULL)
            writer->last = NULL;
        last->next = NULL;
    }
    pthread_mutex_unlock(&writer->lock);
    return batch;
}

/* Runs one write inside `handle`; *state moves on only when it succeeds. */
static int run_job(struct lmdb_repo *repo, struct lmdb_job *job, MDB_txn *handle,
                   struct lmdb_state *state)
{
    struct lmdb_write write = {.txn = {.repo = repo, .handle = handle, .actor = job->actor},
                               .state = *state};

    write.now_ms = repo->clock.wall_ms(repo->clock.context);
    buffer_init(&write.touched, TOUCHED_MAX);
    job->rc = job->run(&write, job->args, job->err);
    if (job->rc == 0)
        job->rc = lmdb_log_append(&write, job->err);
    if (job->rc == 0)
        *state = write.state;
    buffer_finish(&write.touched);
    return job->rc;
}

static void accept(struct lmdb_job *job, struct lmdb_state *state, const struct lmdb_state *after)
{
    job->version = after->version > state->version ? after->version : 0;
    *state = *after;
}

static void run_child(struct lmdb_repo *repo, struct lmdb_job *job, MDB_txn *parent,
                      struct lmdb_state *state)
{
    struct lmdb_state after = *state;
    MDB_txn *child;

    job->rc = lmdb_error(mdb_txn_begin(repo->env, parent, 0, &child), "to begin a write", job->err);
    if (job->rc != 0)
        return;
    if (run_job(repo, job, child, &after) != 0) {
        mdb_txn_abort(child);
        return;
    }
    job->rc = lmdb_error(mdb_txn_commit(child), "to end a write", job->err);
    if (job->rc == 0)
        accept(job, state, &after);
}

/* A write without company needs no nesting: when it fails, the whole transaction is dropped. */
static void run_single(struct lmdb_repo *repo, struct lmdb_job *job, MDB_txn *handle,
                       struct lmdb_state *state)
{
    struct lmdb_state after = *state;

    if (run_job(repo, job, handle, &after) == 0)
        accept(job, state, &after);
}

static bool any_succeeded(const struct lmdb_job *batch)
{
    for (const struct lmdb_job *job = batch; job != NULL; job = job->next) {
        if (job->rc == 0)
            return true;
    }
    return false;
}

static int commit_batch(struct lmdb_repo *repo, MDB_txn *handle, struct lmdb_state *state,
                        struct error *err)
{
    struct lmdb_txn txn = {.repo = repo, .handle = handle};
    size_t added = (size_t)(state->version - repo->writer.state.version);
    int rc = 0;

    if (added > 0)
        rc = lmdb_log_trim(&txn, state, 2 * added + TRIM_MARGIN, err);
    if (rc == 0)
        rc = lmdb_state_write(&txn, state, err);
    if (rc != 0) {
        mdb_txn_abort(handle);
        return rc;
    }
    return lmdb_error(mdb_txn_commit(handle), "to commit", err);
}

/* What went wrong for all goes to those that had succeeded so far. */
static void fail_batch(struct lmdb_job *batch, const struct error *cause)
{
    for (struct lmdb_job *job = batch; job != NULL; job = job->next) {
        if (job->rc == 0)
            job->rc = error_set(job->err, cause->code, "%s", cause->message);
    }
}

static void notify(struct lmdb_repo *repo, uint64_t version)
{
    struct lmdb_listener *listener = &repo->listener;

    pthread_mutex_lock(&listener->lock);
    if (listener->call != NULL)
        listener->call(listener->context, version);
    pthread_mutex_unlock(&listener->lock);
}

static void run_batch(struct lmdb_repo *repo, struct lmdb_job *batch)
{
    struct lmdb_state state = repo->writer.state;
    struct error err = ERROR_INIT;
    MDB_txn *handle;

    if (lmdb_error(mdb_txn_begin(repo->env, NULL, 0, &handle), "to begin writing", &err) != 0) {
        fail_batch(batch, &err);
        return;
    }
    if (batch->next == NULL) {
        run_single(repo, batch, handle, &state);
    } else {
        for (struct lmdb_job *job = batch; job != NULL; job = job->next)
            run_child(repo, job, handle, &state);
    }
    if (!any_succeeded(batch)) {
        mdb_txn_abort(handle);
        return;
    }
    if (commit_batch(repo, handle, &state, &err) != 0) {
        fail_batch(batch, &err);
        return;
    }
    if (state.version > repo->writer.state.version)
        notify(repo, state.version);
    repo->writer.state = state;
}

static void finish_batch(struct lmdb_writer *writer, struct lmdb_job *batch)
{
    pthread_mutex_lock(&writer->lock);
    while (batch != NULL) {
        struct lmdb_job *next = batch->next; /* once done, the job is its caller's again */

        batch->done = true;
        pthread_cond_signal(&batch->finished);
        batch = next;
    }
    pthread_mutex_unlock(&writer->lock);
}

static void *writer_main(void *context)
{
    struct lmdb_repo *repo = context;
    struct lmdb_job *batch;

    while ((batch = writer_take_batch(&repo->writer)) != NULL) {
        run_batch(repo, batch);
        finish_batch(&repo->writer, batch);
    }
    return NULL;
}

int lmdb_writer_start(struct lmdb_repo *repo, const struct lmdb_state *state, struct error *err)
{
    struct lmdb_writer *writer = &repo->writer;
    int rc;

    writer->state = *state;
    rc = pthread_create(&writer->thread, NULL, writer_main, repo);
    if (rc != 0)
        return error_set_errno(err, rc, "cannot start the control store's writer thread");
    return 0;
}

void lmdb_writer_stop(struct lmdb_repo *repo)
{
    struct lmdb_writer *writer = &repo->writer;

    pthread_mutex_lock(&writer->lock);
    writer->stopping = true;
    pthread_cond_signal(&writer->wanted);
    pthread_mutex_unlock(&writer->lock);
    (void)pthread_join(writer->thread, NULL); /* fails only for a thread that is not ours */
}

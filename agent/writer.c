/* writer.c - see writer.h. */
#include "agent/writer.h"

#include <assert.h>
#include <stdlib.h>

/* Who has the job now. */
enum job { JOB_NONE, JOB_GIVEN, JOB_FINISHED };

struct writer {
    struct writer_calls calls;
    uv_thread_t loop; /* the loop's thread */
    uv_thread_t thread;
    uv_async_t async; /* the thread's way to the loop */
    void (*closed)(void *context);
    void *closed_context;

    uv_mutex_t mutex; /* over what follows */
    uv_cond_t changed;
    enum job job;
    bool quit;   /* the loop's wish */
    bool exited; /* the thread's last word */
};

/* ---- who may ---- */

static bool is_self(uv_thread_t owner)
{
    const uv_thread_t self = uv_thread_self();

    return uv_thread_equal(&self, &owner) != 0;
}

void writer_assert_loop(const struct writer *writer)
{
    assert(is_self(writer->loop));
    (void)writer;
}

void writer_assert_thread(const struct writer *writer)
{
    assert(is_self(writer->thread));
    (void)writer;
}

/* ---- in the thread ---- */

/* Waits for a job; false when there will be none. */
static bool take_job(struct writer *writer)
{
    bool given;

    uv_mutex_lock(&writer->mutex);
    while (writer->job != JOB_GIVEN && !writer->quit)
        uv_cond_wait(&writer->changed, &writer->mutex);
    given = writer->job == JOB_GIVEN;
    uv_mutex_unlock(&writer->mutex);
    return given;
}

static void writer_report(struct writer *writer, bool exited)
{
    uv_mutex_lock(&writer->mutex);
    if (exited)
        writer->exited = true;
    else
        writer->job = JOB_FINISHED;
    uv_mutex_unlock(&writer->mutex);
    (void)uv_async_send(&writer->async); /* never fails on an open handle */
}

static void thread_main(void *argument)
{
    struct writer *writer = argument;

    while (take_job(writer)) {
        writer->calls.run(writer->calls.context);
        writer_report(writer, false);
    }
    writer_report(writer, true);
}

/* ---- in the loop ---- */

static void writer_on_closed(uv_handle_t *handle)
{
    struct writer *writer = handle->data;
    void (*closed)(void *) = writer->closed;
    void *context = writer->closed_context;

    uv_cond_destroy(&writer->changed);
    uv_mutex_destroy(&writer->mutex);
    free(writer);
    closed(context);
}

/* Several sends may arrive as one call: both facts are looked at each time. */
static void on_async(uv_async_t *async)
{
    struct writer *writer = async->data;
    bool finished;
    bool exited;

    writer_assert_loop(writer);
    uv_mutex_lock(&writer->mutex);
    finished = writer->job == JOB_FINISHED;
    exited = writer->exited;
    if (finished)
        writer->job = JOB_NONE;
    uv_mutex_unlock(&writer->mutex);
    if (finished)
        writer->calls.done(writer->calls.context);
    if (exited) {
        (void)uv_thread_join(&writer->thread); /* it is on its way out: no wait */
        uv_close((uv_handle_t *)&writer->async, writer_on_closed);
    }
}

static void on_abandoned(uv_handle_t *handle)
{
    free(handle->data);
}

static int writer_start(struct writer *writer, uv_loop_t *loop)
{
    if (uv_mutex_init(&writer->mutex) != 0)
        return E_NO_MEMORY;
    if (uv_cond_init(&writer->changed) != 0)
        goto no_cond;
    if (uv_async_init(loop, &writer->async, on_async) != 0)
        goto no_async;
    writer->async.data = writer;
    if (uv_thread_create(&writer->thread, thread_main, writer) == 0)
        return 0;
    /* The loop still knows the handle: its memory goes in the close callback. */
    uv_cond_destroy(&writer->changed);
    uv_mutex_destroy(&writer->mutex);
    uv_close((uv_handle_t *)&writer->async, on_abandoned);
    return E_IO;
no_async:
    uv_cond_destroy(&writer->changed);
no_cond:
    uv_mutex_destroy(&writer->mutex);
    return E_NO_MEMORY;
}

int writer_create(uv_loop_t *loop, const struct writer_calls *calls, struct writer **ret,
                  struct error *err)
{
    struct writer *writer = calloc(1, sizeof(*writer));
    int rc;

    if (writer == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    writer->calls = *calls;
    writer->loop = uv_thread_self();
    rc = writer_start(writer, loop);
    if (rc == E_NO_MEMORY)
        free(writer); /* no handle was left in the loop */
    if (rc != 0)
        return error_set(err, rc, "cannot start a writer thread");
    *ret = writer;
    return 0;
}

void writer_run(struct writer *writer)
{
    writer_assert_loop(writer);
    uv_mutex_lock(&writer->mutex);
    assert(writer->job == JOB_NONE && !writer->quit);
    writer->job = JOB_GIVEN;
    uv_cond_signal(&writer->changed);
    uv_mutex_unlock(&writer->mutex);
}

void writer_close(struct writer *writer, void (*closed)(void *context), void *context)
{
    writer_assert_loop(writer);
    writer->closed = closed;
    writer->closed_context = context;
    uv_mutex_lock(&writer->mutex);
    writer->quit = true;
    uv_cond_signal(&writer->changed);
    uv_mutex_unlock(&writer->mutex);
}

/* writer.h - one thread that runs one job at a time for a libuv loop.
 *
 * LMDB binds a write transaction to its thread, and a full load spans many jobs: so each source has
 * a thread of its own instead of a share of libuv's pool.
 *
 *     loop:   writer_run ............................ done(context)
 *     thread:            run(context) ... returns
 *
 * Between writer_run() and done() what `context` points to belongs to the thread; the hand-over in
 * both directions is ordered by a mutex, so the job itself needs none.
 */
#ifndef RS_AGENT_WRITER_H
#define RS_AGENT_WRITER_H

#include <stdbool.h>
#include <uv.h>

#include "base/error.h"

struct writer;

struct writer_calls {
    void (*run)(void *context);  /* in the thread */
    void (*done)(void *context); /* in the loop */
    void *context;
};

int writer_create(uv_loop_t *loop, const struct writer_calls *calls, struct writer **ret,
                  struct error *err);
/* Asserts that the caller is the loop's thread, which created the writer, or the writer's own. */
void writer_assert_loop(const struct writer *writer);
void writer_assert_thread(const struct writer *writer);
/* No job may be running. */
void writer_run(struct writer *writer);
/* A job that runs is finished first, its done() comes too; then closed(context), with the thread
 * gone and the writer freed. */
void writer_close(struct writer *writer, void (*closed)(void *context), void *context);

#endif

/* The feed's bytes to events. feed.h has the diagram and the limits.
 *
 * Happy path: lines that lie whole in the given bytes are decoded in place; only a line that is cut
 * by the end of the bytes is copied to `partial`. Changes go straight into the open transaction's
 * arena.
 *
 * Failure: the first error ends the reader; what was given out before is good and stays with its
 * owner.
 */
#include "sync/feed.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum stage { STAGE_HELLO, STAGE_BETWEEN, STAGE_INSIDE, STAGE_OVER };

enum {
    FIRST_ITEMS = 16,                       /* capacity of a transaction's list at first */
    SCRATCH_BYTES = 2 * FEED_LINE_MAX_BYTES /* strings of a line outside a transaction */
};

struct feed_reader {
    struct feed_expectation expect;
    struct feed_events events;
    struct model_cursor cursor; /* after the last transaction that was given out */
    enum stage stage;
    struct buffer partial;         /* start of a line whose end has not come */
    struct feed_transaction *open; /* owned; stage INSIDE */
    enum change_kind last_kind;    /* in the open transaction */
    uint64_t lines;
};

int feed_reader_create(const struct feed_expectation *expectation, const struct feed_events *events,
                       struct feed_reader **ret)
{
    struct feed_reader *reader = calloc(1, sizeof(*reader));

    if (reader == NULL)
        return E_NO_MEMORY;
    reader->expect = *expectation;
    reader->events = *events;
    reader->cursor = expectation->cursor;
    buffer_init_secret(&reader->partial, FEED_LINE_MAX_BYTES);
    *ret = reader;
    return 0;
}

void feed_reader_destroy(struct feed_reader *reader)
{
    if (reader == NULL)
        return;
    feed_transaction_destroy(reader->open);
    buffer_finish(&reader->partial);
    free(reader);
}

struct model_cursor feed_reader_cursor(const struct feed_reader *reader)
{
    return reader->cursor;
}

uint64_t feed_reader_lines(const struct feed_reader *reader)
{
    return reader->lines;
}

/* ---- lines ---- */

static int misplaced(const char *what, struct error *err)
{
    return error_set(err, E_PROTOCOL, "the feed has a %s line where none may stand", what);
}

static int take_hello(struct feed_reader *reader, const struct feed_line *line, struct error *err)
{
    char theirs[UUID_TEXT_SIZE];
    char ours[UUID_TEXT_SIZE];

    if (reader->stage != STAGE_HELLO)
        return misplaced("hello", err);
    if (line->hello.protocol != FEED_PROTOCOL)
        return error_set(err, E_PROTOCOL, "the feed speaks protocol %" PRIu32 ", this agent %d",
                         line->hello.protocol, FEED_PROTOCOL);
    if (!uuid_equal(&line->hello.control_plane_id, &reader->expect.control_plane_id))
        return error_set(err, E_PROTOCOL, "the feed is of control plane %s, not %s",
                         uuid_format(&line->hello.control_plane_id, theirs),
                         uuid_format(&reader->expect.control_plane_id, ours));
    if (strcmp(line->hello.region, reader->expect.region) != 0)
        return error_set(err, E_PROTOCOL, "the feed is of region \"%s\", the source says \"%s\"",
                         line->hello.region, reader->expect.region);
    reader->stage = reader->events.hello(reader->events.context, line) ? STAGE_BETWEEN : STAGE_OVER;
    /* A cursor of another history follows nothing: only a resync can come now. */
    if (!uuid_equal(&line->hello.epoch, &reader->cursor.epoch))
        reader->cursor = (struct model_cursor){.version = 0};
    return 0;
}

static int take_begin(struct feed_reader *reader, const struct feed_line *line, struct error *err)
{
    if (reader->stage != STAGE_BETWEEN)
        return misplaced("begin", err);
    if (uuid_is_nil(&reader->cursor.epoch))
        return error_set(err, E_RESYNC,
                         "the feed sends changes to a host that has no state of this "
                         "history");
    if (line->begin.prev != reader->cursor.version)
        return error_set(err, E_RESYNC,
                         "a gap: the transaction to version %" PRIu64 " follows version %" PRIu64
                         ", this host has %" PRIu64,
                         line->begin.version, line->begin.prev, reader->cursor.version);
    if (line->begin.version < line->begin.prev ||
        (line->begin.version == line->begin.prev && !reader->expect.wished))
        return error_set(err, E_PROTOCOL, "a transaction goes from version %" PRIu64 " to %" PRIu64,
                         line->begin.prev, line->begin.version);
    reader->open = feed_transaction_create(reader->expect.max_transaction_bytes);
    if (reader->open == NULL)
        return error_set(err, E_NO_MEMORY, "no memory for a transaction");
    reader->open->cursor.epoch = reader->cursor.epoch;
    reader->open->cursor.version = line->begin.version;
    reader->open->time_ms = line->begin.time_ms;
    reader->last_kind = CHANGE_REALM_DELETE;
    reader->stage = STAGE_INSIDE;
    return 0;
}

/* Room for one item more; NULL: no memory. */
static void *grow(void *items, size_t count, size_t *capacity, size_t size, struct error *err)
{
    size_t wanted = *capacity > 0 ? *capacity * 2 : FIRST_ITEMS;
    void *grown;

    if (count < *capacity)
        return items;
    grown = reallocarray(items, wanted, size);
    if (grown == NULL)
        (void)error_set(err, E_NO_MEMORY, "no memory for a transaction of %zu lines", wanted);
    else
        *capacity = wanted;
    return grown;
}

static int check_size(const struct feed_reader *reader, struct error *err)
{
    if (feed_transaction_bytes(reader->open) <= reader->expect.max_transaction_bytes)
        return 0;
    return error_set(err, E_TOO_LARGE, "the transaction to version %" PRIu64 " is over %zu bytes",
                     reader->open->cursor.version, reader->expect.max_transaction_bytes);
}

static int take_change(struct feed_reader *reader, const struct feed_line *line, struct error *err)
{
    struct feed_transaction *open = reader->open;
    struct change *changes;

    if (reader->stage != STAGE_INSIDE)
        return misplaced("change", err);
    assert(open != NULL);
    if (line->change.kind < reader->last_kind || open->n_digests > 0)
        return error_set(err, E_PROTOCOL, "change %zu of a transaction is out of order",
                         open->count + 1);
    changes = grow(open->changes, open->count, &open->capacity, sizeof(*changes), err);
    if (changes == NULL)
        return err->code;
    open->changes = changes;
    open->changes[open->count++] = line->change;
    reader->last_kind = line->change.kind;
    return check_size(reader, err);
}

static int take_digest(struct feed_reader *reader, const struct feed_line *line, struct error *err)
{
    struct feed_transaction *open = reader->open;
    struct feed_scope_hash *digests;

    if (reader->stage != STAGE_INSIDE)
        return misplaced("digest", err);
    assert(open != NULL);
    if (open->n_digests > 0 && line->digest.scope <= open->digests[open->n_digests - 1].scope)
        return error_set(err, E_PROTOCOL, "digest %zu of a transaction is out of order",
                         open->n_digests + 1);
    digests = grow(open->digests, open->n_digests, &open->digests_capacity, sizeof(*digests), err);
    if (digests == NULL)
        return err->code;
    open->digests = digests;
    open->digests[open->n_digests++] = line->digest;
    return check_size(reader, err);
}

/* At most one answers a wish, and only that one may stay where the reader stands. */
static int check_answer(struct feed_reader *reader, const struct feed_transaction *whole,
                        struct error *err)
{
    const bool answers = feed_transaction_answers(whole);

    if (!answers && whole->cursor.version == reader->cursor.version)
        return error_set(err, E_PROTOCOL,
                         "a transaction stays at version %" PRIu64 " and answers nothing",
                         whole->cursor.version);
    if (answers)
        reader->expect.wished = false;
    return 0;
}

static int take_commit(struct feed_reader *reader, const struct feed_line *line, struct error *err)
{
    struct feed_transaction *whole = reader->open;

    if (reader->stage != STAGE_INSIDE)
        return misplaced("commit", err);
    assert(whole != NULL);
    if (line->commit.version != whole->cursor.version || line->commit.changes != whole->count)
        return error_set(err, E_PROTOCOL,
                         "the commit says version %" PRIu64 " with %" PRIu64
                         " changes, the transaction was %" PRIu64 " with %zu",
                         line->commit.version, line->commit.changes, whole->cursor.version,
                         whole->count);
    whole->all_scopes = line->commit.all_scopes;
    if (check_answer(reader, whole, err) != 0)
        return err->code;
    reader->open = NULL;
    reader->cursor = whole->cursor;
    reader->stage = STAGE_BETWEEN;
    return reader->events.transaction(reader->events.context, whole, err);
}

static int take_heartbeat(struct feed_reader *reader, const struct feed_line *line,
                          struct error *err)
{
    if (reader->stage != STAGE_BETWEEN)
        return misplaced("heartbeat", err);
    if (uuid_is_nil(&reader->cursor.epoch))
        return error_set(err, E_RESYNC,
                         "the feed calls a host current that has no state of this "
                         "history");
    if (line->heartbeat.version < reader->cursor.version)
        return error_set(err, E_PROTOCOL,
                         "a heartbeat says version %" PRIu64 ", this host has %" PRIu64,
                         line->heartbeat.version, reader->cursor.version);
    reader->events.heartbeat(reader->events.context, line);
    return 0;
}

static int take_preparing(const struct feed_reader *reader, struct error *err)
{
    return reader->stage == STAGE_BETWEEN ? 0 : misplaced("preparing", err);
}

static int take_resync(struct feed_reader *reader, const struct feed_line *line, struct error *err)
{
    if (reader->stage != STAGE_BETWEEN)
        return misplaced("resync", err);
    reader->stage = STAGE_OVER;
    reader->events.resync(reader->events.context, line->resync.reason, &line->resync.snapshot);
    return 0;
}

static int feed_dispatch(struct feed_reader *reader, const struct feed_line *line,
                         struct error *err)
{
    if (reader->stage == STAGE_HELLO && line->kind != FEED_LINE_HELLO)
        return error_set(err, E_PROTOCOL, "the feed does not begin with hello");
    switch (line->kind) {
    case FEED_LINE_HELLO:
        return take_hello(reader, line, err);
    case FEED_LINE_BEGIN:
        return take_begin(reader, line, err);
    case FEED_LINE_CHANGE:
        return take_change(reader, line, err);
    case FEED_LINE_DIGEST:
        return take_digest(reader, line, err);
    case FEED_LINE_COMMIT:
        return take_commit(reader, line, err);
    case FEED_LINE_HEARTBEAT:
        return take_heartbeat(reader, line, err);
    case FEED_LINE_PREPARING:
        return take_preparing(reader, err);
    case FEED_LINE_RESYNC:
        return take_resync(reader, line, err);
    }
    return error_set(err, E_PROTOCOL, NULL);
}

static int take_line(struct feed_reader *reader, const char *text, size_t length, struct error *err)
{
    struct arena scratch;
    struct feed_line line;
    int rc;

    reader->lines++;
    arena_init(&scratch, SCRATCH_BYTES);
    rc = feed_line_decode(text, length, reader->open != NULL ? &reader->open->arena : &scratch,
                          &line, err);
    /* Its ceiling is the likelier reason than the machine's when the arena is that full; and the
     * way out, a snapshot, needs less memory. */
    if (rc == E_NO_MEMORY && reader->open != NULL &&
        reader->open->arena.used_bytes > reader->expect.max_transaction_bytes / 2)
        rc = error_set(err, E_TOO_LARGE, "a transaction is over %zu bytes",
                       reader->expect.max_transaction_bytes);
    if (rc == 0)
        rc = feed_dispatch(reader, &line, err);
    arena_finish(&scratch);
    return rc;
}

/* ---- bytes ---- */

static int keep_partial(struct feed_reader *reader, const char *bytes, size_t size,
                        struct error *err)
{
    int rc = buffer_append(&reader->partial, bytes, size);

    if (rc == E_TOO_LARGE)
        return error_set(err, E_PROTOCOL, "a feed line is longer than %d bytes",
                         FEED_LINE_MAX_BYTES);
    if (rc != 0)
        return error_set(err, rc, "no memory for a feed line");
    return 0;
}

/* The next line of the bytes: whole and in place, or joined with what was kept of it. */
static int next_line(struct feed_reader *reader, const char *bytes, size_t size, struct error *err)
{
    int rc;

    if (reader->partial.size == 0)
        return take_line(reader, bytes, size, err);
    rc = keep_partial(reader, bytes, size, err);
    if (rc == 0)
        rc = take_line(reader, (const char *)reader->partial.data, reader->partial.size, err);
    buffer_clear(&reader->partial);
    return rc;
}

int feed_reader_take(struct feed_reader *reader, const void *bytes, size_t size, struct error *err)
{
    const char *at = bytes;
    const char *end = at + size;
    int rc = 0;

    while (at < end && rc == 0 && reader->stage != STAGE_OVER) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));

        if (newline == NULL)
            return keep_partial(reader, at, (size_t)(end - at), err);
        rc = next_line(reader, at, (size_t)(newline - at), err);
        at = newline + 1;
    }
    return rc;
}

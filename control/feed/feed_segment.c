/* feed_segment.c - the repository's changes as the bytes of one transaction.
 *
 * A segment holds the change lines, the digest lines and the commit line. The begin line names the
 * version that a follower's feed carried before, which differs between followers, so it is not part
 * of it; that is what lets all of them share the rest.
 */
#include "control/feed/feed_internal.h"

#include <stdlib.h>

struct encoding {
    struct buffer out;
    const atomic_bool *canceled; /* NULL: never */
};

static bool is_canceled(const struct encoding *encoding)
{
    return encoding->canceled != NULL && atomic_load(encoding->canceled);
}

static int encode(void *context, const struct change *change)
{
    struct encoding *encoding = context;

    return is_canceled(encoding) ? E_CANCELED : change_encode(change, &encoding->out);
}

static int encode_digest(void *context, const struct feed_scope_hash *digest)
{
    const struct feed_line line = {.kind = FEED_LINE_DIGEST, .digest = *digest};
    struct encoding *encoding = context;

    return is_canceled(encoding) ? E_CANCELED : feed_line_encode(&line, &encoding->out);
}

static bool wants_all(const struct feed_wish *wish)
{
    return wish != NULL && wish->kind == FEED_WISH_DIGESTS;
}

static int append_commit(struct buffer *out, const struct repo_delta *delta,
                         const struct feed_wish *wish)
{
    const struct feed_line line = {.kind = FEED_LINE_COMMIT,
                                   .commit = {.version = delta->version,
                                              .changes = delta->changes,
                                              .all_scopes = wants_all(wish)}};

    return feed_line_encode(&line, out);
}

/* Takes the buffer's bytes, without the room it had to grow. */
static void take_bytes(struct feed_segment *segment, struct buffer *out)
{
    unsigned char *fitting;

    segment->bytes = buffer_take(out, &segment->size);
    fitting = realloc(segment->bytes, segment->size);
    if (fitting != NULL)
        segment->bytes = fitting;
}

static struct feed_segment *segment_new(uint64_t from, const struct repo_delta *delta)
{
    struct feed_segment *segment = calloc(1, sizeof(*segment));

    if (segment == NULL)
        return NULL;
    segment->refs = 1;
    segment->low = segment->base = from;
    segment->to = delta->version;
    segment->time_ms = delta->time_ms;
    segment->too_large = delta->outcome == REPO_DELTA_TOO_LARGE;
    return segment;
}

/* Turns the answer into a segment, if there is anything to tell. */
static int make(const struct repo_transaction_query *query, struct buffer *out,
                struct feed_delta *ret, struct error *err)
{
    const struct repo_delta *delta = &ret->repo;
    bool lines = delta->outcome == REPO_DELTA_OK && (delta->changes > 0 || query->wish != NULL);
    int rc = lines ? append_commit(out, delta, query->wish) : 0;

    if (rc == E_TOO_LARGE) {
        ret->repo.outcome = REPO_DELTA_TOO_LARGE;
        lines = false;
    } else if (rc != 0) {
        return error_set(err, rc, NULL);
    }
    if (!lines && delta->outcome != REPO_DELTA_TOO_LARGE)
        return 0;
    ret->segment = segment_new(query->from, delta);
    if (ret->segment == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    if (lines)
        take_bytes(ret->segment, out);
    return 0;
}

int feed_segment_make(struct repo *repo, const struct repo_transaction_query *query,
                      const struct feed_bounds *bounds, struct feed_delta *ret, struct error *err)
{
    struct encoding encoding = {.canceled = bounds->canceled};
    const struct repo_transaction_sink sink = {encode, encode_digest, &encoding};
    int rc;

    ret->segment = NULL;
    buffer_init(&encoding.out, bounds->max_bytes);
    rc = repo_transaction(repo, query, &sink, &ret->repo, err);
    if (rc == 0)
        rc = make(query, &encoding.out, ret, err);
    buffer_finish(&encoding.out);
    return rc;
}

void feed_segment_unref(struct feed_segment *segment)
{
    if (segment == NULL || --segment->refs > 0)
        return;
    free(segment->bytes);
    free(segment);
}
